/* SPDX-License-Identifier: MIT */
/*
 * rows.h - cgroups over several surveys: what each has now, how fast it stalls, what psibridged
 * makes of it
 */
#pragma once

#include <jansson.h>

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
	bool judged; /* psibridged named it; else `available` follows from what covers it */
};

struct rows {
	struct row *all; /* by name, so parents before their children */
	size_t count;
	uint64_t interval_usec; /* between the last two surveys; 0: there was one only */
	/* of rows.c alone */
	bool complete; /* the last survey was */
	uint64_t last_usec;
};

/* It began as zeros. */
void rows_done(struct rows *rows);

/*
 * Look at all that matches `pattern` (or at one path; NULL: all cgroups and the root) at
 * `now_usec`. Cgroups that are gone leave the table, and all rows are elsewhere. Errors: of
 * psb_survey(), -ENOMEM; there are no rows then.
 */
int rows_survey(struct rows *rows, const char *pattern, uint64_t now_usec);

/* Fill in what psibridged makes of them; `status` NULL: it is not there. */
void rows_judge(struct rows *rows, const json_t *status);
