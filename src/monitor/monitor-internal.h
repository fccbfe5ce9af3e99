/* SPDX-License-Identifier: MIT */
/*
 * monitor-internal.h - the files of a monitor, each of which uses those before it
 *
 * Below monitor.c nothing touches the loop: what happened is left in the monitor (`broke`, `has_next`,
 * `hear_usec`, `listening`), and monitor_settle() makes the loop agree with it.
 */
#pragma once

#include "monitor/monitor.h"

#include <sys/types.h>

/* ---- monitor-judge.c ---- */

/* Read what there is into monitor->psi and monitor->events. Errors: -ENODEV: the cgroup was removed (if
 * only a file of it ended, monitor_settle() takes another source); -errno. */
int monitor_sample(struct monitor *monitor, uint64_t now);
/* Let the policy judge the last sample, and tell. Only what is special about the event need be in
 * `sample`. */
void monitor_judge(struct monitor *monitor, enum policy_event event, struct policy_sample *sample,
		   uint64_t now);
/* Hand out the last sample, and what it led to; `verdict` may be NULL. */
void monitor_show(struct monitor *monitor, enum trace_event event,
		  const struct policy_verdict *verdict, uint64_t now);
/* Sample and judge. */
void monitor_look(struct monitor *monitor, enum policy_event event, uint64_t now);
/* Is the limit near? Without touching memory.pressure, for reading that can swallow an alarm; if it is, it is sampled and
 * judged. */
void monitor_look_ahead(struct monitor *monitor, uint64_t now);
/* The same for a level that was judged elsewhere. */
void monitor_judge_signal(struct monitor *monitor, enum level level, bool critical,
			  enum reason reason, uint64_t now);
void monitor_count_alarm(struct monitor *monitor, uint64_t now);
/* What limits are reached from here on belongs to the next stall. `calm`: nothing stalls now. */
void monitor_mark_limits(struct monitor *monitor, bool calm, uint64_t now);
/* Count and hand over what was judged here or elsewhere. */
void monitor_deliver(struct monitor *monitor, const struct psb_notification *notification,
		     uint64_t now);
/* What the last Low gave back, where that is due: after a sample, or on a tick that takes none. */
void monitor_follow_effect(struct monitor *monitor, uint64_t now);
/* Was something given back, or nothing? */
void monitor_answer(struct monitor *monitor, bool gave, uint64_t now);
/* It is in the counters. */
void monitor_tell_effect(struct monitor *monitor, uint64_t now);
/* The source, or whether its alarms are used, has changed: tell the owner. */
void monitor_moved_on(struct monitor *monitor, uint64_t now);
/* Was the cgroup removed, or replaced by another of its name? False where that can't be found out. */
bool monitor_cgroup_is_gone(const struct monitor *monitor);
/* The source broke: monitor_settle() takes one of these rungs. */
void monitor_end_source(struct monitor *monitor, unsigned rungs, const char *what);
/* Those below the source's own. */
unsigned monitor_lower_rungs(const struct monitor *monitor);

/* ---- monitor-stream.c: the source is a FIFO, or a socket ---- */

void monitor_stream_begin(struct monitor *monitor, uint64_t now);
/* What the loop says of it; it is not psibridged's. */
void monitor_stream_take(struct monitor *monitor, int result, uint64_t now);
/* On each tick. */
void monitor_stream_tick(struct monitor *monitor, uint64_t now);
/* When to call it at the latest. */
uint64_t monitor_stream_deadline(const struct monitor *monitor);

/* ---- monitor-records.c: the socket is psibridged's ---- */

void monitor_records_begin(struct monitor *monitor, uint64_t now);
void monitor_records_take(struct monitor *monitor, int result, uint64_t now);
/* Before a tick's sample: is it psibridged that judges, so that nothing is to be sampled? A deadline
 * of its own that has passed is dealt with, and a simulation that is over ended. */
bool monitor_records_rule(struct monitor *monitor, uint64_t now);
/* When to call monitor_records_rule() at the latest. */
uint64_t monitor_records_deadline(const struct monitor *monitor);

/* ---- monitor-source.c ---- */

/* It broke: take whatever else works into `next`, or nothing, and try this one again later. */
void monitor_replace_source(struct monitor *monitor, uint64_t now);
void monitor_climb_again(struct monitor *monitor, uint64_t now);
/* Set the time for that, if a better source could appear. */
void monitor_climb_later(struct monitor *monitor, uint64_t now);
/* After a sample that no alarm announced, in which `some` grew: can alarms be believed, or is it sampled
 * instead? */
void monitor_weigh_alarms(struct monitor *monitor, bool resting, uint64_t growth,
			  uint64_t elapsed_usec, uint64_t now);
/* At rest: the sample that the policy does not ask for. */
uint64_t monitor_rest_deadline(const struct monitor *monitor, uint64_t now);

/* ---- monitor.c ---- */

/* After each step. */
void monitor_settle(struct monitor *monitor, uint64_t now);
