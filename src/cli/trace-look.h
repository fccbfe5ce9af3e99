/* SPDX-License-Identifier: MIT */
/*
 * trace-look.h - what the samples of one cgroup say: at a time, over a window, and what was told
 */
#pragma once

#include "cli/trace-series.h"
#include "core/policy.h"

/* Notifications, in their order: samples with `told`. */
struct trace_told {
	struct trace_sample *list;
	size_t count;
	bool failed; /* no memory: some are missing */
};

/* Are there any in it? */
bool trace_has_told(const struct trace_series *series);

/* Those that are in it (`options` NULL), or what would have been told; `privileged`: as with a privileged trigger. The list is to be freed. */
struct trace_told trace_told(const struct trace_series *series,
			     const struct policy_options *options, bool privileged);

/* What the kernel counted at that time; before the first sample and after the last one as in that, with its time. */
struct trace_sample trace_at(const struct trace_series *series, uint64_t usec);

/* How much of some or full grew between two times. */
uint64_t trace_grown(const struct trace_series *series, enum psi_kind kind, uint64_t from_usec,
		     uint64_t to_usec);

/* Over all of it; the counters may begin anew. */
uint64_t trace_stalled(const struct trace_series *series, enum psi_kind kind);

/* The growth within the trigger's window that ends then. */
struct trace_growth {
	uint64_t at_usec, growth_usec;
};

/*
 * At all times between which it is straight, in their order: a true sliding window, whatever the distance of two samples. *ret_count of them,
 * to be freed; NULL: no memory.
 */
struct trace_growth *trace_growth(const struct trace_series *series, const struct trigger *trigger,
				  size_t *ret_count);
