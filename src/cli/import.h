/* SPDX-License-Identifier: MIT */
/*
 * import.h - lines of any trace: ours, and what others record
 *
 * Each is recognised by its first line that has the form of another's (psibridge-trace(5), IMPORTING, says what each is worth). JSON is
 * no text of lines: trace-json.h.
 */
#pragma once

#include "cli/stamp.h"
#include "core/cgpath.h"
#include "core/trace.h"

/* From the first line to the last; plain data, all zero at first. */
struct import {
	struct trace_reader reader;
	bool has_base, has_stamp, has_some;
	uint64_t base_usec; /* the first time, from which all others count */
	uint64_t stamp_usec; /* the latest that was written on a line, and is that of those behind it, too */
	uint64_t interval_usec; /* psi2log, where its lines have no time */
	uint64_t units[64];	/* of a table: of its columns, in microseconds */
	struct trace_sample
		total; /* what was said so far, by a format that says it a piece at a time */
	char cgroup[CGPATH_MAX];
	char instance[256]; /* Prometheus's label */
};

/*
 * The next line, as trace_read(): 1, 0, -EINVAL or -ENOTSUP. Lines before the first that was recognised say nothing, up to a number of
 * them. *ret is good until the next call. Its form says what is to be done with it.
 */
int import_read(struct import *import, struct scan line, struct trace_sample *ret,
		const char **ret_why);
/* What is said of a file in which nothing was recognised, and of metrics with none of ours. */
extern const char import_unknown[], import_no_metrics[];

/* What a sample with `stamp_usec` has as its time. False: it is before the first. */
bool import_time(struct import *import, uint64_t stamp_usec, struct trace_sample *ret);

/* Prometheus's name of a metric. False: it is none of ours. */
bool import_metric(struct scan name, bool *ret_container, enum trace_form *ret);
