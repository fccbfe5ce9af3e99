/* SPDX-License-Identifier: MIT */
/*
 * history.h - counters of cgroups, which outlive them
 *
 * How often and for how long a cgroup was Low, and how often the kernel killed in it. A cgroup's own files go with it;
 * here it is kept for an hour after its last event. There are at most HISTORY_MAX: the one with the oldest event is
 * dropped for a new one.
 */
#pragma once

#include "core/oomkill.h"
#include "daemon/daemon.h"

#define HISTORY_MAX 1024

struct past {
	char *cgroup;
	uint64_t low;	   /* times that it became Low */
	uint64_t low_usec; /* ... and how long it was, until now */
	uint64_t killed;   /* times that the kernel killed a process in it; the last one: */
	char *limit; /* whose limit it was; "": the machine's memory; NULL: no kill, or no memory */
	char task[OOM_TASK_MAX];
	uint64_t pid, usage_bytes, limit_bytes, killed_usec;
	uint64_t heard_usec; /* its last event */
	uint64_t since_usec; /* it is Low since then; 0: it is not */
	/* what Lows achieved that its clients were told, and the last of them; as in psb_stats */
	uint64_t effects, bytes_back, unanswered;
	uint64_t effect_usec, effect_bytes, effect_reported_bytes;
	uint64_t first_back_usec, stall_before_usec, stall_after_usec;
};

/* From now on what is killed in a cgroup that a watch of `daemon` covers is counted, and goes to the journal with the last
 * numbers of its cgroup; where the kernel's log cannot be read that is logged. NULL: not. Errors: -ENOMEM. */
int history_new(struct daemon *daemon, struct history **ret);
struct history *history_free(struct history *history);

/* Without memory it may be dropped at once. */
void history_level(struct history *history, const struct psb_notification *notification);
/* The last effect in `stats` is that of `cgroup`. Returns how many Lows in a row were unanswered before. */
uint64_t history_effect(struct history *history, const char *cgroup, const struct psb_stats *stats);
void history_kill(struct history *history, const struct oom_kill *kill, uint64_t now_usec);

/* In no order. False behind the last. Valid until the next of the calls above. */
bool history_get(struct history *history, size_t index, uint64_t now_usec, struct past *ret);
