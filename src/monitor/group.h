/* SPDX-License-Identifier: MIT */
/*
 * group.h - a pattern: one trigger at its root, a monitor for each cgroup that stalls now
 *
 * All of it runs on the loop's thread, but group_new(), which runs before anything is attached, and group_matches().
 */
#pragma once

#include "core/cgpattern.h"
#include "monitor/monitor.h"

struct group;

struct group_owner {
	/* A cgroup of the pattern was judged anew or removed, or the root moved to another source. */
	void (*told)(void *userdata, struct label *label,
		     const struct psb_notification *notification);
	/* One was looked at, as monitor_owner has it. */
	void (*sampled)(void *userdata, struct label *label, const struct psb_notification *sample);
	/* Levels or counters changed. */
	void (*stepped)(void *userdata);
	/* The root is another one, or has another source, or none. */
	void (*moved)(void *userdata);
	/* Nothing of the loop refers to it any more: group_free() is allowed. */
	void (*detached)(void *userdata);
	/* One more cgroup may be notified of, and one less. Errors: -ENOMEM, and then it is not observed. */
	int (*reserve)(void *userdata);
	void (*release)(void *userdata);
};

/*
 * Arms the root. `options`, `target` and `label` (the path of the root) stay as long as the group; `mask` is the rungs that may
 * be used. Errors: as psb_watch_new(), in words in why[WHY_MAX].
 */
int group_new(struct monitor_context *context, const struct group_owner *owner, void *userdata,
	      const struct policy_options *options, const struct target *target,
	      struct label *label, const char *pattern, unsigned mask, struct group **ret,
	      char *why);
void group_attach(struct group *group);
/* owner->detached follows, now or from a later dispatch. */
void group_detach(struct group *group);
struct group *group_free(struct group *group);
DEFINE_CLEANUP(struct group *, group_free);

/* Does the pattern mean this cgroup? Any thread. */
bool group_matches(const struct group *group, const char *path);
/* As psb_watch_simulate_at(), for a path that matches. */
void group_simulate(struct group *group, struct label *label, enum level level, bool critical,
		    uint64_t told_usec);
/* The programs in it freed something; nothing, if it is not under observation. */
void group_report(struct group *group, const char *path, uint64_t bytes, uint64_t usec);
/* As psb_watch_list(). */
void group_list(struct group *group, psb_member_fn *fn, void *userdata);

/* The lowest level of all its cgroups, and the sum of their counters. */
enum psb_available group_level(const struct group *group, bool *ret_critical);
void group_count(const struct group *group, struct psb_stats *ret);
/* NULL: it was removed, and the next of its name is waited for. */
const struct monitor *group_root(const struct group *group);
