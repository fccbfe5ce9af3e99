/* SPDX-License-Identifier: MIT */
/*
 * trace.h - the text of a trace: what the kernel counted, over time (psibridge-trace(5))
 *
 *     # psibridge trace 1
 *     # began 1764504000.123456
 *     time_s	some_us	full_us	some_avg10	full_avg10	used_kib	limit_kib	oom	event	told	reason	cause	cgroup
 *     0.100220	5210	1204	0.00	0.00	498112	524288	0	begin	-	-	-	/shop.slice
 *     2.301144	312877	98220	3.92	1.20	524110	524288	0	alarm	low	stall	own	/shop.slice
 *
 * One line for each time something changed in one cgroup, fields with one tab between them, "-" where a number is not known.
 * What grows (some_us, full_us, oom) are the kernel's counters as they stood then; between two lines of a cgroup they are taken as
 * grown evenly, so who writes a trace writes the last unchanged line, too, when a rest ends (trace_take()). The names of the columns say which
 * there are, in any order; `cgroup` is the last, where it takes the rest of the line. Columns of other names are skipped, comments are
 * too. What a spreadsheet makes of it is read as well: commas for the tabs, and no first line.
 */
#pragma once

#include "policy.h"
#include "scan.h"

#define TRACE_VERSION 1
#define TRACE_LINE_MAX 512 /* without the cgroup */
/* so that sums of times fit 64 bits */
#define TRACE_LATEST_USEC (UINT64_C(0xffffffffff) * USEC_PER_SEC)

enum trace_column {
	TRACE_TIME,
	TRACE_SOME,
	TRACE_FULL,
	TRACE_SOME_AVG10,
	TRACE_FULL_AVG10,
	TRACE_USED,
	TRACE_LIMIT,
	TRACE_OOM,
	TRACE_EVENT,
	TRACE_TOLD,
	TRACE_REASON,
	TRACE_CAUSE,
	TRACE_CGROUP,
	TRACE_COLUMNS,
};

/* What others record may be less than a sample: who reads a file makes samples of it (src/cli/import.h). */
enum trace_form {
	TRACE_TOTALS,
	TRACE_AVG10,	  /* only averages */
	TRACE_SOME_ALONE, /* one of the two counters, and the time is that since the Epoch */
	TRACE_FULL_ALONE,
};

/* What a monitor saw and did, in a trace of psibridged: such a trace is all that entered the policy. */
enum trace_event {
	EVENT_NONE, /* it is not known who looked */
	EVENT_BEGIN, /* the baseline of a policy that knows nothing else, but the level where that is in `told` */
	EVENT_TICK,   /* the policy wanted to look */
	EVENT_ALARM,  /* the PSI trigger rang */
	EVENT_EVENTS, /* memory.events rang */
	EVENT_GAVE,   /* what the last Low achieved: something, */
	EVENT_KEPT,   /* or nothing */
	EVENTS,
};

/* A day of one cgroup may be most of a million of these, which are in memory and gone through 400 times (psibridge tune). */
struct trace_sample {
	uint64_t time_usec; /* since the trace began */
	uint64_t some_usec, full_usec;
	uint64_t used_bytes, limit_bytes; /* 0: not known, or none */
	uint64_t oom;			  /* oom + oom_kill of memory.events */
	uint32_t some_avg10_centi, full_avg10_centi;
	bool has_psi, has_oom, critical;
	enum trace_form form;
	enum trace_event event : 8;
	enum level told : 8; /* at this time; 0: nothing was */
	enum reason reason : 8;
	enum cause cause : 8;
	struct scan cgroup; /* a piece of the line */
};

/* From the first line to the last; plain data, all zero at first. */
struct trace_reader {
	unsigned lines;
	enum trace_format {
		TRACE_UNDECIDED,
		TRACE_OURS,
		TRACE_OOMSTAT, /* from here on: src/cli/import.h */
		TRACE_PSI2LOG,
		TRACE_PRESSURE,
		TRACE_METRICS,
		TRACE_TABLE,
		TRACE_JSON,
	} format;
	uint64_t began_usec; /* since the Epoch; 0: not known */
	unsigned count;	     /* of columns; 0: their names did not come yet */
	char separator;
	uint8_t columns[64]; /* enum trace_column; TRACE_COLUMNS: skipped */
};

#define TRACE_FOREIGN 2

/*
 * The next line, without its newline. Returns: 1: *ret is what it says; 0: it says nothing of a cgroup; TRACE_FOREIGN: it is no comment,
 * and no trace of ours has begun. Errors: -EINVAL: it is no such line, *ret_why (a constant string) says why. -ENOTSUP: a trace of a later
 * version.
 */
int trace_read(struct trace_reader *reader, struct scan line, struct trace_sample *ret,
	       const char **ret_why);

/* A decimal number, with an exponent or without, in units of 10^-digits; what is less is cut off. False: none, or it does not fit. */
bool trace_decimal(struct scan *s, unsigned digits, uint64_t *ret);

/* A place in the samples of one cgroup, which goes forward only. */
struct trace_cursor {
	const struct trace_sample *samples; /* one at least */
	size_t count, at; /* samples[at] is not after the time that was asked for last */
};

static inline uint64_t trace_total(const struct trace_sample *sample, enum psi_kind kind)
{
	return kind == PSI_FULL ? sample->full_usec : sample->some_usec;
}

/* As it stood then, grown evenly between two samples; before the first one as in it, after the last one as in that. */
uint64_t trace_total_at(struct trace_cursor *cursor, enum psi_kind kind, uint64_t time_usec);

/* What was seen of one cgroup, and what of it is in the trace; zero at first, and where it has been away. */
struct trace_last {
	struct trace_sample seen, written;
	uint64_t grown_usec;
	bool begun;
};

/* So long after growth each look of psibridged is a line: how windows empty decides when it is calm again. */
#define TRACE_SETTLE_USEC (2 * USEC_PER_SEC)

static inline bool trace_has_grown(const struct trace_sample *a, const struct trace_sample *b)
{
	return a->some_usec != b->some_usec || a->full_usec != b->full_usec || a->oom != b->oom;
}

/*
 * Which lines are written for a sample. What has not changed is no news; of use 1 % is, that avg10 falls is not. Returns: how many there are in
 * lines[2], the last of them `sample`; 0: none.
 */
unsigned trace_take(struct trace_last *series, const struct trace_sample *sample,
		    struct trace_sample *lines);

/* The lines that a trace begins with. Returns the length of what is in buf[TRACE_LINE_MAX]. */
size_t trace_begin(uint64_t began_usec, char *buf);
/* A line, up to its cgroup: that, and a newline, are the caller's to put behind it. */
size_t trace_format(const struct trace_sample *sample, char *buf);
