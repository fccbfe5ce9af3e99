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

/* The lowest level of all its cgroups; adds their counters to `stats`. */
enum psb_available grove_level(const struct grove *grove, bool *ret_critical);
void grove_count(const struct grove *grove, struct psb_stats *stats);
const struct meter *grove_trunk(const struct grove *grove);
