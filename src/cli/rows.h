/* SPDX-License-Identifier: MIT */
/*
 * rows.h - cgroups over several surveys: what each has now, how fast it stalls, what psibridged
 * makes of it
 */
#pragma once

#include "cli/control-client.h"
#include "core/util.h"
#include "psibridge/tools.h"

#define ROWS_HISTORY 30

struct row {
	char *cgroup;
	struct psb_survey_row now; /* its `cgroup` is the one above */
	bool has_rate;		   /* it was there in the survey before, or is younger than that */
	unsigned some_centi, full_centi; /* share of the last interval, hundredths of a percent */
	unsigned history[ROWS_HISTORY];	 /* of some_centi, the oldest first */
	unsigned history_count;
	unsigned available; /* enum psb_available; 0: psibridged does not watch it */
	bool critical;
	bool judged;	 /* psibridged named it; else `available` follows from what covers it */
	unsigned survey; /* the one it was last seen in */
};

struct rows;

int rows_new(struct rows **ret);
struct rows *rows_free(struct rows *rows);
DEFINE_CLEANUP(struct rows *, rows_free);

/*
 * Look at all that matches `pattern` (or at one path; NULL: all cgroups and the root) at
 * `now_usec`. Cgroups that are gone leave the table. Errors: of psb_survey().
 */
int rows_survey(struct rows *rows, const char *pattern, uint64_t now_usec);

/* In the order of the survey, parents before their children. */
size_t rows_count(const struct rows *rows);
struct row *rows_at(const struct rows *rows, size_t index);

/* Between the last two surveys; 0: there was one only. */
uint64_t rows_interval_usec(const struct rows *rows);

/* Fill in what psibridged makes of them; `status` NULL: it is not there. */
void rows_judge(struct rows *rows, const json_t *status);
