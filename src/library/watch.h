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
	struct loop_work attach_work, detach_work, present_work, simulate_work;

	/* under the bridge's lock; written by the loop's thread */
	bool closed;  /* the host gave it up */
	bool running; /* attached to the loop */
	bool present_posted;
	struct simulation *simulations; /* that the loop has not seen yet, in order */
	enum psb_available available;
	bool critical, gone;
	struct psb_stats stats;
	struct psb_source source;

	/* for psb_watch_load(): its caller and the loop must not wait for each other */
	pthread_mutex_t load_lock;
	struct memory load_memory;
};

/* What every told level does: publish, then deliver. */
void watch_tell(struct psb_watch *watch, struct label *label, const struct psb_notification *n);
/* Have the present state told to registrations that asked for it (PSB_TELL_PRESENT). */
void watch_present(struct psb_watch *watch);
/* Publish level and counters; what is listened to. */
void watch_publish(struct psb_watch *watch);
void watch_publish_source(struct psb_watch *watch);
/* What waits in watch->simulations: do it (the run of simulate_work), or drop it. */
void watch_simulate(struct loop_work *work);
void watch_forget_simulations(struct psb_watch *watch);

/* Why it failed, to where the caller wants it. */
void watch_explain(const struct psb_watch_options *options, const char *why, int error);

/* Copy what the caller gave, NULL or a structure of any age. Errors: -EINVAL, -E2BIG (explained). */
int watch_options_take(const struct psb_watch_options *theirs, struct psb_watch_options *ret);
/* Resolve options: what was asked for (which a psibridged is asked for, too), and with it what the policy goes by.
 * Errors: -EINVAL, and the words in why[WHY_MAX]. */
int watch_options_parse(const struct psb_watch_options *options, struct policy_options *ret_asked,
			struct policy_options *ret, char *why);
int watch_target_parse(const struct psb_watch_options *options, const struct policy_options *asked,
		       struct target *ret, char *why);
