/* SPDX-License-Identifier: MIT */
/*
 * trace-series.h - whole traces in memory: of each cgroup its samples, in their order
 *
 * A path may be a directory: then it is all "*.trace" in it, by name, as psibridged keeps them. A file that says when it began, and did
 * so when all before it had ended, goes on with their cgroups on one clock. The cgroups of any other file are others, on its own clock.
 */
#pragma once

#include "core/trace.h"

/* Where psibridged keeps its own: StateDirectory= of its unit. */
#define TRACE_DIRECTORY "/var/lib/psibridge/trace"

struct trace_series {
	struct trace_series *next;    /* in the order in which they came */
	struct trace_sample *samples; /* the last one at the end of the trace; `cgroup` is not set */
	size_t count;
	uint64_t began_usec; /* since the Epoch, of time 0; 0: not known */
	unsigned clock;	     /* those with another number have another time 0 */
	unsigned format;     /* of struct trace_reader */
	const char *file;    /* one of the paths: the first that it is from */
	char cgroup[];
};

struct trace_set {
	struct trace_series *first, **end;
	unsigned count;
	uint64_t usec; /* from the first line to the last, over all clocks */
	/* the clock of the file that is read, and private to trace-series.c: */
	const char *only, *file;
	unsigned clock;
	uint64_t began_usec, offset_usec, first_usec, last_usec;
	struct trace_reader reader;
	void *known;
	size_t samples;
	bool failed;
};

/*
 * Reads all of `paths`, up to a NULL; of them only the cgroup `only`, unless it is NULL. What is wrong is said as trace_file_read() does. Errors: its own,
 * of the first path that has one, the others are read too; -ENOMEM; -ENOENT: there is no line (told). Then, too, the set has what could be read.
 */
int trace_set_read(const char *verb, const char *const *paths, const char *only,
		   struct trace_set *ret);
void trace_set_free(struct trace_set *set);
