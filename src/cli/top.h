/* SPDX-License-Identifier: MIT */
/*
 * top.h - what the files of `psibridge top` share
 *
 *     top.c         options, surveys and their pace, keys, --batch and --json
 *     top-draw.c    a frame: from rows and the size of a terminal to text
 *     rows.c        the table behind it, screen.c the terminal
 */
#pragma once

#include "cli/output.h"
#include "cli/rows.h"

enum top_sort { TOP_SOME, TOP_FULL, TOP_MEMORY, TOP_NAME };

#define TOP_FILTER_MAX 64

struct top {
	struct output output;
	struct rows *rows;
	const char *pattern, *control;
	uint64_t interval_usec; /* asked for */
	uint64_t pace_usec;	/* taken: a survey takes a tenth of the time at most */
	enum top_sort sort;
	bool reverse, paused;
	bool typing; /* the filter */
	char filter[TOP_FILTER_MAX];
	bool has_daemon;
	bool is_blind;		   /* it answered, and none of its watches works */
	char why[CONTROL_WHY_MAX]; /* if it did not: in words */
	char trouble[128];	   /* the last survey failed: in words; "" */
	/* what is shown: filtered and sorted */
	struct row **shown;
	size_t shown_count;
	size_t first; /* the row on top */
	size_t page;  /* how many rows the last frame had */
};

/* Filter and sort anew. Errors: -ENOMEM. */
int top_choose(struct top *top);

/* A whole screen, written out. Errors: -errno of writing, -ENOMEM. */
int top_draw(struct top *top, unsigned columns, unsigned lines);

/* A table of all rows as plain text. Errors: of writing. */
int top_print(const struct top *top);
