/* SPDX-License-Identifier: MIT */
/*
 * top.h - what the files of `psibridge top` share
 *
 *     top.c          options, --batch
 *     top-screen.c   the terminal: frames and keys
 *     top-table.c    surveys and their pace, what is shown, lines of text
 *     rows.c         what is in it
 */
#pragma once

#include <stdio.h>

#include "cli/control-client.h"
#include "cli/output.h"
#include "cli/rows.h"

enum top_sort { TOP_SOME, TOP_FULL, TOP_MEMORY, TOP_NAME };

#define TOP_FILTER_MAX 64

struct top {
	struct output output;
	struct rows rows;
	const char *pattern, *control;
	uint64_t interval_usec; /* asked for */
	uint64_t pace_usec;	/* taken: a survey takes a tenth of the time at most */
	uint64_t ask_usec;	/* psibridged is not asked before */
	unsigned sort;		/* enum top_sort */
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

/* A survey, psibridged's levels, and the choice anew. Errors: of rows_survey(), -ENOMEM. */
int top_look(struct top *top);

/* Filter and sort anew. Errors: -ENOMEM. */
int top_choose(struct top *top);

/*
 * Until `q` or a signal. Errors: of the first look; -ENOTTY: standard input or output is no terminal; -ENOTSUP: the
 * terminal is of a kind that cannot be drawn on; -errno.
 */
int top_screen(struct top *top);

/* ---- the table ------------------------------------------------------------------------------- */

/* Which columns there are follows from the width. */
struct table {
	const struct output *output;
	unsigned columns; /* 0: whatever a cgroup's path needs */
	unsigned spark;	  /* samples; 0: no such column */
	bool limit, oom;
};

struct table table_for(const struct output *output, unsigned columns);

/* A line without its end, coloured as `output` says. */
void table_heading(const struct table *table, FILE *out);
void table_row(const struct table *table, FILE *out, const struct row *row);
/* Where the level stands in a row: its column, and how many it takes. */
unsigned table_level_column(const struct table *table);
#define TABLE_LEVEL_COLUMNS 8
