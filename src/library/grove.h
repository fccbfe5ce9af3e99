/* SPDX-License-Identifier: MIT */
/*
 * grove.h - a pattern: one trigger at the trunk, a meter for each cgroup that stalls now
 */
#pragma once

#include "library/watch.h"

/* Arms the trunk. `watch` has its options, target and label; `mask` is the rungs that may be used.
 * Errors: as psb_watch_new(). */
int grove_new(struct psb_watch *watch, const char *pattern, unsigned mask, struct grove **ret,
	      char *why);
void grove_attach(struct grove *grove);
/* watch_free() follows from a later dispatch. */
void grove_detach(struct grove *grove);
struct grove *grove_free(struct grove *grove);
DEFINE_CLEANUP(struct grove *, grove_free);

/* Does the pattern mean this cgroup? Any thread. */
bool grove_matches(const struct grove *grove, const char *path);
/* As psb_watch_simulate_at(), for a path that matches. On the loop's thread. */
void grove_simulate(struct grove *grove, const char *path, enum level level, bool critical,
		    bool untold);
/* As psb_watch_list(). */
void grove_list(struct grove *grove, psb_member_fn *fn, void *userdata);

/* The lowest level of all its cgroups; adds their counters to `stats`. */
enum psb_available grove_level(const struct grove *grove, bool *ret_critical);
void grove_count(const struct grove *grove, struct psb_stats *stats);
const struct meter *grove_trunk(const struct grove *grove);
