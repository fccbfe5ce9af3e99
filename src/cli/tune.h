/* SPDX-License-Identifier: MIT */
/*
 * tune.h - a grid of settings, and those that others ship, held against traces; one is recommended
 *
 * tune.c scores them, tune-choose.c recommends, tune-print.c has the words for people and for scripts.
 */
#pragma once

#include <stdio.h>

#include "cli/output.h"
#include "cli/trace-series.h"
#include "cli/score.h"

/* What a Low is answered with: memory is given back, load is refused, the program is started anew. */
enum tune_purpose { TUNE_TRIM, TUNE_SHED, TUNE_RESTART };

struct tune_options {
	enum tune_purpose purpose;
	unsigned at_most;	    /* an hour: tune_rate() */
	uint64_t before_limit_usec; /* 0: no matter */
	bool privileged;	    /* with triggers of short windows */
	bool progress;		    /* on stderr */
};

extern const unsigned tune_at_most[]; /* unless another is asked for, by purpose */

#define TUNE_POINTS_MAX 416

struct tune_point {
	char name[TRIGGER_TEXT_MAX + 16]; /* "some 70ms/2s quiet", "systemd-oomd" */
	struct candidate candidate;
	struct score score;
	bool in_grid;
	unsigned permille; /* of the grid: threshold in its window */
	unsigned pace;	   /* 0: built-in times; the more, the further from them */
	bool frontier; /* no other one of the grid is as good in everything, and better in something */
};

struct tune_result {
	struct tune_point *points;
	size_t count;
	const char *cgroup; /* NULL: several */
	unsigned series;
	unsigned episodes[SEVERITIES], limits;
	uint64_t usec, some_usec;
	const struct tune_point *best; /* NULL: the traces don't bear it */
	const char *why_not; /* why not, or what is to be said against it; NULL: nothing */
	unsigned as_good;    /* others of the grid that meet the same criteria */
};

/* Scores all on traces, of which there is one series at least, on all CPUs; chooses. Errors: -ENOMEM. */
int tune_traces(const struct trace_set *set, const struct tune_options *options,
		struct tune_result *ret);
void tune_done(struct tune_result *result);

/* Fills in `best`, `why_not`, `as_good`, `frontier`. */
void tune_choose(struct tune_result *result, const struct tune_options *options);

/* The least severity of an episode in which that purpose wants a Low. */
enum severity tune_wanted(enum tune_purpose purpose);
/* Episodes it wants, and of these those without one; Lows in others, or needless. */
unsigned tune_episodes(const struct tune_result *result, enum tune_purpose purpose);
unsigned tune_missed(const struct tune_result *result, const struct tune_point *point,
		     enum tune_purpose purpose);
unsigned tune_false(const struct tune_point *point, enum tune_purpose purpose);
/* From the begin of a wanted episode to Low, on average over those with one; USEC_NEVER: there is none. */
uint64_t tune_delay(const struct tune_point *point, enum tune_purpose purpose);
/* What counts for `at_most`, an hour, or in all of less than an hour: each Low, for trimming; else each time that Low began. */
double tune_rate(const struct tune_result *result, const struct tune_point *point,
		 enum tune_purpose purpose);

/* ---- for people ---- */

extern const char *const tune_purposes[]; /* "trim", ... */

/* The settings that are shown: some of the frontier, the best one, other people's. Returns: how many. */
size_t tune_rows(const struct tune_result *result, const struct tune_point *rows[TUNE_POINTS_MAX]);
/* A row: Lows, in vain, told of, after, before the worst, before a limit, stall and time in Low, flaps. */
#define TUNE_CELLS 9
#define TUNE_CELL_MAX 16
void tune_cells(const struct tune_result *result, const struct tune_options *options,
		const struct tune_point *point, char cells[TUNE_CELLS][TUNE_CELL_MAX]);
/* Of a result with a `best`: why it is, and what it gives up, into text[size]; its lines for psibridged. */
#define TUNE_REASONS_MAX 1024
void tune_reasons(const struct tune_result *result, const struct tune_options *options, char *text,
		  size_t size);
void tune_drop_in(const struct tune_result *result, FILE *out);

/* Errors: of output.h. */
int tune_print(const struct tune_result *result, const struct tune_options *options,
	       const struct output *output);
int tune_print_json(const struct tune_result *result, const struct tune_options *options);
