/* SPDX-License-Identifier: MIT */
/*
 * trace-join.h - samples from what is less than one, and needs what stood elsewhere in the file: averages that came before, one counter
 * of the two
 */
#pragma once

#include "cli/average.h"

/* All zero at first. */
struct trace_join {
	void *cgroups; /* tsearch(3) */
	struct trace_point *points;
	size_t count;
	struct average_worth worth;
};

/*
 * What `sample` is, by its form. Returns: 1: a sample, as its form now says; 0: it was kept, or says nothing. Errors: -ENOMEM; -E2BIG: more
 * than can be kept.
 */
int trace_join_add(struct trace_join *join, struct trace_sample *sample, unsigned line);

/* What was kept, joined by cgroup and time, from the first time on: that is *ret_began_usec. */
void trace_join_all(struct trace_join *join,
		    void (*fn)(const struct trace_sample *sample, unsigned line, void *userdata),
		    void *userdata, uint64_t *ret_began_usec);

void trace_join_free(struct trace_join *join);
