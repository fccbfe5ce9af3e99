/* SPDX-License-Identifier: MIT */
/*
 * replay.h - a trace through the policy: what would have been told
 *
 * A replay is what a monitor is, for one cgroup, with the trace in the kernel's place: a trigger that is armed as on the kernel rings,
 * the policy samples when it wants to, and what lies between two lines of the trace is taken as grown evenly. The policy is the same
 * function with the same state: nothing of it is modelled.
 */
#pragma once

#include "forecast.h"
#include "policy.h"
#include "trace.h"

struct replay_told {
	struct trace_sample at; /* as the policy saw it, with what was told */
	/* Where the trace has a gap in which tasks waited, longer than the window of what was passed, it was between these, the lines around it;
	 * else both are the time itself. */
	uint64_t earliest_usec, latest_usec;
	uint64_t stall_usec; /* since the notification before */
	uint64_t since_usec;
};

typedef void replay_fn(const struct replay_told *told, void *userdata);

/* The kernel's trigger. Privileged: looked at ten times a window while something stalls, over the window that slides. Else: every 2.004 s, over what grew
 * since the look before (facts in kernel/sched/psi.c: psi_trigger, window_update(), and measured on 6.12 and 6.18). */
struct replay_trigger {
	struct trigger armed;
	bool privileged;
	struct window window;
	uint64_t next_usec; /* USEC_NEVER: nothing stalls */
	uint64_t total;
};

struct replay {
	struct policy policy;
	struct replay_trigger trigger;
	struct trace_sample last;
	uint64_t grown_usec;
	bool begun;
	bool told;		    /* anything, of this sample */
	uint64_t silent_until_usec; /* the trigger rings once a window */
	bool samples_only; /* to be set after replay_init(): who looked when the trace was made is no matter */
	struct forecast forecast;
	uint64_t deadline_usec, safety_usec, ahead_usec;
	uint64_t told_some_usec;
	unsigned gaps;	  /* in which a burst may have been Low, though evenly spread it is not */
	enum cause cause; /* that was recorded last */
	replay_fn *fn;
	void *userdata;
};

/* `privileged`: with triggers of short windows. `options` as for policy_init(). */
void replay_init(struct replay *replay, const struct policy_options *options, bool privileged,
		 replay_fn *fn, void *userdata);

/* The next sample of this cgroup. Times never go back. */
void replay_feed(struct replay *replay, const struct trace_sample *sample);

/* The same as replay_feed() for each of them, from the first sample on. Their triggers are one, but for the threshold: what it looks at is found once. */
void replay_feed_all(struct replay *replays, size_t count, const struct trace_sample *sample);

/* What the kernel counted at a time from that of line `a` to that of `b`, the next of its cgroup. */
struct trace_sample replay_between(const struct trace_sample *a, const struct trace_sample *b,
				   uint64_t at_usec);
