/* SPDX-License-Identifier: MIT */
/*
 * average.h - how long tasks stalled, from avg10 alone
 *
 * Every 2 s the kernel makes of avg10: avg10 * 1677/2048 + percent of these 2 s * 371/2048 (calc_avgs(), EXP_10s, PSI_FREQ in
 * kernel/sched/psi.c; 1677/2048 is e^(-2/10)). Read that often it gives the percent of each period back, but for rounding, which does
 * not add up. Over several periods only their weighted sum is known: an even stall is taken, and the bounds are all of it in the latest
 * periods, where it weighs most, and in the earliest.
 */
#pragma once

#include "core/trace.h"

struct average {
	bool begun;
	uint64_t time_usec; /* of the last that counted */
	struct average_line {
		uint32_t centi;
		int64_t sum_usec;
		uint64_t total_usec;
	} some, full;
};

/* Over all cgroups. */
struct average_worth {
	uint64_t apart_usec;		/* the longest between two samples */
	uint64_t least_usec, most_usec; /* between which the sum of all `some` is */
};

/* The next sample of a cgroup: its totals from its averages, and when that was, 1 s either way. False: the kernel did not average since the sample before. */
bool average_add(struct average *state, struct average_worth *worth, struct trace_sample *sample);
