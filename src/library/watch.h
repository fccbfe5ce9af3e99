/* SPDX-License-Identifier: MIT */
/*
 * watch.h - what a psb_watch is made of
 *
 * A watch of one cgroup has a monitor, or waits for the next cgroup. A watch of a pattern
 * has a group: a monitor on the root (the fixed part) and one for each cgroup below that stalls now.
 */
#pragma once

#include "kernel/pathwait.h"
#include "library/dispatch.h"
#include "monitor/group.h"

struct simulation;

struct psb_watch {
	struct psb_bridge *bridge;
	unsigned refs; /* under the bridge's lock */
	struct psb_watch *next, **back;
	struct policy_options options;
	struct target target;
	struct label *label; /* with those of older cgroups, whose paths the host was given */
	struct dispatch dispatch;
	struct monitor *monitor; /* NULL: there is a group, or `path_wait` is waited for */
	struct psb_stats past;	 /* of the monitors before this one */
	struct path_wait path_wait;
	unsigned rungs; /* that may be used */
	struct group *group;
	/* under the bridge's lock: what the loop has to do, */
	struct loop_work work;
	bool posted;   /* the work is with the loop */
	bool attached; /* the loop has seen it */
	bool closed;   /* the host gave it up, */
	bool released; /* and nothing is left of it but the memory that the posted work is in */
	bool asked_present;
	struct wire_report report;	/* what was freed, and nobody heard of yet */
	struct simulation *simulations; /* in order */
	/* and what it published */
	enum psb_available available;
	bool critical, gone;
	struct psb_stats stats;
	struct psb_source source;

	/* for psb_watch_load(): its caller and the loop must not wait for each other */
	pthread_mutex_t load_lock;
	struct memory load_memory;
};

static inline int watch_check(const struct psb_watch *watch)
{
	return watch ? bridge_check(watch->bridge) : -EINVAL;
}

/* The loop has something to do for it. Lock held. */
static inline void watch_post(struct psb_watch *watch)
{
	bridge_post(watch->bridge, &watch->work, &watch->posted);
}

/* Have the present state told to registrations that asked for it (PSB_TELL_PRESENT). */
void watch_present(struct psb_watch *watch);
/* Do, on the loop's thread, what `list` has, or drop it. */
void watch_simulate(struct psb_watch *watch, struct simulation *list);
void watch_forget(struct psb_watch *watch, struct simulation *list);

/* Why it failed, to where the caller wants it. */
void watch_explain(const struct psb_watch_options *options, const char *why, int error);

/* Copy what the caller gave, NULL or a structure of any age. Errors: -EINVAL, -E2BIG (explained). */
int watch_options_take(const struct psb_watch_options *theirs, struct psb_watch_options *ret);
/* What holds for the policy, and what is to be watched. Errors: as psb_watch_new(), in words in why[WHY_MAX]; on
 * success it is "", or a warning. */
int watch_options_resolve(const struct psb_watch_options *options, struct policy_options *ret,
			  struct target *ret_target, char *why);
