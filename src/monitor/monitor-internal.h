/* SPDX-License-Identifier: MIT */
/*
 * monitor-internal.h - the files of a monitor, each of which uses those before it
 *
 * Below monitor.c nothing touches the loop: what happened is left in the monitor (`ended`, `has_next`,
 * `proving`, `hear_usec`, `listening`), and monitor_settle() makes the loop agree with it.
 */
#pragma once

#include "monitor/monitor.h"

/* Under polling the pace is never faster than this. */
#define POLLING_PACE_MIN_USEC (250 * USEC_PER_MSEC)

/* ---- monitor-judge.c ---- */

/* Read what there is into monitor->psi and monitor->events. Errors: -ENODEV: the cgroup was removed (if
 * only a file of it ended, monitor_settle() takes another source); -errno. */
int monitor_sample(struct monitor *monitor, uint64_t now);
/* Let the policy judge the last sample, and tell. Only what is special about the event need be in
 * `sample`. */
void monitor_judge(struct monitor *monitor, enum policy_event event, struct policy_sample *sample,
		   uint64_t now);
/* Both. */
void monitor_look(struct monitor *monitor, enum policy_event event, uint64_t now);
/* Both, for a level that was judged elsewhere. */
void monitor_judge_signal(struct monitor *monitor, enum level level, bool critical,
			  enum reason reason, uint64_t now);
void monitor_count_alarm(struct monitor *monitor, uint64_t now);
/* Count and hand over what was judged here or elsewhere. */
void monitor_deliver(struct monitor *monitor, const struct psb_notification *notification,
		     uint64_t now);
/* What the last Low gave back, when it is due. */
void monitor_measure_effect(struct monitor *monitor, uint64_t now);
/* The source, or whether its alarms are used, has changed: tell the owner. */
void monitor_moved_on(struct monitor *monitor, uint64_t now);
/* Was the cgroup removed, or replaced by another of its name? False where that can't be found out. */
bool monitor_cgroup_is_gone(const struct monitor *monitor);
/* The source broke (peer closed, trigger dropped, file ended): monitor_settle() takes another. */
void monitor_end_source(struct monitor *monitor, const char *what);

/* ---- monitor-stream.c: the source is a FIFO, or a socket that is not psibridged's ---- */

void monitor_stream_begin(struct monitor *monitor, uint64_t now);
/* What the loop says of it. */
void monitor_stream_take(struct monitor *monitor, int result, uint64_t now);
/* On each tick. */
void monitor_stream_tick(struct monitor *monitor, uint64_t now);
/* Now and then: is it a FIFO that is not there any more? */
bool monitor_stream_left(struct monitor *monitor, uint64_t now);
/* When to call these two at the latest. */
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

/* It ended: take whatever else works into `next`, or nothing, and try this one again later. */
void monitor_replace_source(struct monitor *monitor, uint64_t now);
/* psibridged, which is `next`, has answered; or not, or not in time: monitor_drop_next() when that is
 * out of the loop. */
void monitor_end_proof(struct monitor *monitor, bool answered, uint64_t now);
void monitor_drop_next(struct monitor *monitor, uint64_t now);
void monitor_climb_later(struct monitor *monitor, uint64_t now);
void monitor_climb_again(struct monitor *monitor, uint64_t now);
/* The same path again, where something else is there now. */
bool monitor_climb_anew(struct monitor *monitor);
/* Could a better source appear later? Else the ladder is not tried again. */
bool monitor_may_climb(const struct monitor *monitor);
/* At rest a sample found `growth` in `elapsed_usec` that no alarm had announced. */
void monitor_doubt_alarms(struct monitor *monitor, uint64_t growth, uint64_t elapsed_usec,
			  uint64_t now);
/* The time of polling is over: rely on the alarms again. */
void monitor_trust_alarms(struct monitor *monitor, uint64_t now);

/* ---- monitor.c ---- */

/* After each step. */
void monitor_settle(struct monitor *monitor, uint64_t now);
