/* SPDX-License-Identifier: MIT */
/*
 * meter-internal.h - between meter.c (looking, judging, telling) and meter-source.c (what is
 * listened to, and whether it is to be believed)
 */
#pragma once

#include "library/meter.h"

/* Under polling the pace is never faster than this. */
#define POLLING_PACE_MIN_USEC (250 * USEC_PER_MSEC)

/* ---- meter.c ---- */

/* Read what there is into meter->psi and meter->events. Errors: -ENODEV: the cgroup was removed;
 * -errno. */
int meter_sample(struct meter *meter, uint64_t now);
/* Let the policy judge the last sample, and tell. Only what is special about the event need be in
 * `sample`. */
void meter_judge(struct meter *meter, enum policy_event event, struct policy_sample *sample,
		 uint64_t now);
/* Count and hand over what was judged here or elsewhere. */
void meter_deliver(struct meter *meter, const struct psb_notification *notification, uint64_t now);
/* After each step: set the one timer, and listen to memory.events or not. */
void meter_settle(struct meter *meter, uint64_t now);
void meter_listen(struct meter *meter);
void meter_lose_cgroup(struct meter *meter);

/* ---- meter-source.c ---- */

/* The source, or the trust in it, is another than before: tell the owner. */
void meter_moved_on(struct meter *meter, uint64_t now);
/* It broke (peer closed, trigger dropped): take whatever else works, and try this one again later. */
void meter_source_broke(struct meter *meter, const char *what, uint64_t now);
void meter_climb_later(struct meter *meter, uint64_t now);
void meter_climb_again(struct meter *meter, uint64_t now);
/* At rest a sample found `growth` in `elapsed_usec` that no alarm had announced. */
void meter_doubt_alarms(struct meter *meter, uint64_t growth, uint64_t elapsed_usec, uint64_t now);
/* The time of polling is over: believe the alarms once more. */
void meter_trust_alarms(struct meter *meter, uint64_t now);
/* Take everything out of the loop. What is busy is released from a later dispatch, and the last one
 * goes on with what waited for it: detaching, or the next source. */
void meter_cancel_all(struct meter *meter);
void meter_events_released(struct loop_op *op);

/* ---- meter-records.c ---- */

/* The socket is psibridged's: listen to it. */
int meter_records_attach(struct meter *meter, uint64_t now);
/* Before a tick's sample: is it psibridged that judges, so that nothing is to be sampled? A deadline
 * of its own that has passed is dealt with, and a simulation that is over ended. */
bool meter_records_rule(struct meter *meter, uint64_t now);
/* When to call meter_records_rule() at the latest. */
uint64_t meter_records_deadline(const struct meter *meter);
