/* SPDX-License-Identifier: MIT */
/*
 * monitor-internal.h - between monitor.c (sample, policy, notification), monitor-source.c (the source,
 * and lost alarms), monitor-stream.c and monitor-records.c (what is read from FIFO and socket)
 */
#pragma once

#include "monitor/monitor.h"

/* Under polling the pace is never faster than this. */
#define POLLING_PACE_MIN_USEC (250 * USEC_PER_MSEC)

/* ---- monitor.c ---- */

/* Read what there is into monitor->psi and monitor->events. Errors: -ENODEV: the cgroup was removed (if
 * only a file of it ended, monitor_settle() takes another source); -errno. */
int monitor_sample(struct monitor *monitor, uint64_t now);
/* Let the policy judge the last sample, and tell. Only what is special about the event need be in
 * `sample`. */
void monitor_judge(struct monitor *monitor, enum policy_event event, struct policy_sample *sample,
		   uint64_t now);
void monitor_count_alarm(struct monitor *monitor, uint64_t now);
/* Count and hand over what was judged here or elsewhere. */
void monitor_deliver(struct monitor *monitor, const struct psb_notification *notification,
		     uint64_t now);
/* After each step: set the one timer, and listen to memory.events or not. */
void monitor_settle(struct monitor *monitor, uint64_t now);
void monitor_listen(struct monitor *monitor);
void monitor_lose_cgroup(struct monitor *monitor);

/* ---- monitor-source.c ---- */

/* Was the cgroup removed, or replaced by another of its name? False where that can't be found out. */
bool monitor_cgroup_is_gone(const struct monitor *monitor);
/* What reading a file of it said. Returns: that, but 0 where the file ended and the cgroup is there. */
int monitor_check(struct monitor *monitor, int result);
/* The source, or whether its alarms are used, has changed: tell the owner. */
void monitor_moved_on(struct monitor *monitor, uint64_t now);
/* It broke (peer closed, trigger dropped, file ended): take whatever else works, or nothing, and try
 * this one again later. */
void monitor_source_broke(struct monitor *monitor, const char *what, uint64_t now);
void monitor_climb_later(struct monitor *monitor, uint64_t now);
void monitor_climb_again(struct monitor *monitor, uint64_t now);
/* Could a better source appear later? Else the ladder is not tried again. */
bool monitor_may_climb(const struct monitor *monitor);
/* At rest a sample found `growth` in `elapsed_usec` that no alarm had announced. */
void monitor_doubt_alarms(struct monitor *monitor, uint64_t growth, uint64_t elapsed_usec,
			  uint64_t now);
/* The time of polling is over: rely on the alarms again. */
void monitor_trust_alarms(struct monitor *monitor, uint64_t now);
/* Take everything out of the loop. What is busy is released from a later dispatch, and the last one
 * goes on with what waited for it: detaching, or the next source. */
void monitor_cancel_all(struct monitor *monitor);
void monitor_events_released(struct loop_op *op);

/* The same path again, where something else is there now. */
bool monitor_climb_anew(struct monitor *monitor);

/* ---- monitor-stream.c ---- */

/* The source is a FIFO, or a socket that is not psibridged's: listen to it. */
int monitor_stream_attach(struct monitor *monitor, uint64_t now);
/* On each tick: listen again, and look whether a FIFO is still there. */
void monitor_stream_tick(struct monitor *monitor, uint64_t now);
/* When to call monitor_stream_tick() at the latest. */
uint64_t monitor_stream_deadline(const struct monitor *monitor);

/* ---- monitor-records.c ---- */

/* The socket is psibridged's: listen to it. */
int monitor_records_attach(struct monitor *monitor, uint64_t now);
/* Before a tick's sample: is it psibridged that judges, so that nothing is to be sampled? A deadline
 * of its own that has passed is dealt with, and a simulation that is over ended. */
bool monitor_records_rule(struct monitor *monitor, uint64_t now);
/* When to call monitor_records_rule() at the latest. */
uint64_t monitor_records_deadline(const struct monitor *monitor);
