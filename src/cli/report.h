/* SPDX-License-Identifier: MIT */
/*
 * report.h - psibridge report: between what is in a trace (report.c) and its pictures (report-draw.c)
 */
#pragma once

#include <stdio.h>

#include "cli/trace-look.h"

struct report_span {
	uint64_t from_usec, to_usec;
};

/* What another trigger would have done: when it was passed. */
struct report_beside {
	const char *who; /* asks the kernel for it; "": nobody known */
	struct trigger trigger;
	char label[120];
	struct report_span *spans;
	size_t count;
};

#define REPORT_BESIDE_MAX 12

/* One cgroup. Times are those of its series. */
struct report_section {
	const struct trace_series *series;
	char *title; /* of others' choice */
	struct trigger low;
	const char *levels; /* whose they are, a label */
	struct trace_told told;
	struct report_beside beside[REPORT_BESIDE_MAX];
	unsigned beside_count;
	uint64_t some_usec, full_usec; /* stalled in all */
	uint64_t most_bytes;	       /* in use, or a limit; 0: neither is known */
};

enum report_form { REPORT_SVG, REPORT_PNG, REPORT_INLINE };

struct report_look {
	enum report_form form;
	bool dark;	      /* of REPORT_INLINE the page decides, by report_css() */
	unsigned width, font; /* in pixels */
	unsigned columns;     /* of what is drawn: each is the worst of its time */
};

/* A picture of these sections, one above the other, to `out`: drawn by gnuplot. Errors, which are told: -EIO (it failed, or is not there),
 * -ENOMEM. */
int report_draw(const struct report_section *sections, unsigned count,
		const struct report_look *look, FILE *out);

/* The colours, light and dark, of a page and of REPORT_INLINE in it: --text, --back and --grid, and others. */
void report_css(FILE *out);
