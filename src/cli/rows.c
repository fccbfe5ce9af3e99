/* SPDX-License-Identifier: MIT */
/*
 * rows.c - a table of cgroups that lives through surveys
 *
 * A survey makes the table anew: each cgroup that it sees takes over from the row that it had, found
 * by its name; what was not seen again is gone.
 *
 * A row's rate is the growth of its `total=` over the time between two surveys. A cgroup that was
 * not there the last time was born since, so all its stall is of this interval; the same where a
 * total went back, for that is another cgroup of the same name. In the very first survey, and after
 * one that failed, nothing is known about when it stalled.
 *
 * psibridged lists cgroups that are not at rest or have clients. Every other one that a watch
 * covers is High, unless something below it is listed with less: the pressure of a cgroup includes
 * that of the cgroups below it, and a pattern that ends in two stars names only the deepest.
 */
#include "cli/rows.h"

#include <errno.h>
#include <string.h>

#include "cli/control-client.h"
#include "cli/find-cgroup.h"
#include "cli/grow.h"

static int by_name(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return strcmp(x->cgroup, y->cgroup);
}

static int is_name(const void *name, const void *b)
{
	const struct row *row = b;

	return strcmp(name, row->cgroup);
}

static struct row *find(const struct rows *rows, const char *cgroup)
{
	return rows->count == 0
		       ? NULL
		       : bsearch(cgroup, rows->all, rows->count, sizeof(*rows->all), is_name);
}

void rows_done(struct rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		free(rows->all[i].cgroup);
	free(rows->all);
	rows->all = NULL;
	rows->count = 0;
}

/* ---- a survey -------------------------------------------------------------------------------- */

struct survey {
	struct rows before, *rows;
	int error;
};

static unsigned rate(uint64_t before, uint64_t after, uint64_t interval_usec)
{
	uint64_t growth = after >= before ? after - before : after;

	return (unsigned)((unsigned __int128)MIN(growth, interval_usec) * 10000 / interval_usec);
}

static void remember(struct row *row)
{
	if (row->history_count == ROWS_HISTORY)
		memmove(row->history, row->history + 1,
			(ROWS_HISTORY - 1) * sizeof(row->history[0]));
	else
		row->history_count++;
	row->history[row->history_count - 1] = row->some_centi;
}

/* The next row, with what was known of the cgroup. NULL: out of memory. */
static struct row *add(struct survey *survey, const char *cgroup, const struct row *before)
{
	struct rows *rows = survey->rows;
	struct row *row = grow(rows->all, rows->count, sizeof(*row));

	if (!row)
		return NULL;
	rows->all = row;
	row += rows->count;
	*row = before ? *before : (struct row){ 0 };
	row->cgroup = strdup(cgroup);
	rows->count += row->cgroup != NULL;
	return row->cgroup ? row : NULL;
}

static void seen(const struct psb_survey_row *now, void *userdata)
{
	struct survey *survey = userdata;
	struct row *before = find(&survey->before, now->cgroup), *row;
	uint64_t interval = survey->rows->interval_usec;

	if (survey->error < 0)
		return;
	row = add(survey, now->cgroup, before);
	if (!row) {
		survey->error = -ENOMEM;
		return;
	}
	/* without PSI nothing is known, and what it counts when it is back is not of this interval */
	row->has_rate = interval > 0 && now->has_pressure && (!before || row->now.has_pressure);
	row->some_centi = row->full_centi = 0;
	if (!now->has_pressure)
		row->history_count = 0;
	if (row->has_rate) {
		row->some_centi = rate(row->now.some_total_usec, now->some_total_usec, interval);
		row->full_centi = rate(row->now.full_total_usec, now->full_total_usec, interval);
		remember(row);
	}
	row->now = *now;
	row->now.cgroup = row->cgroup;
}

int rows_survey(struct rows *rows, const char *pattern, uint64_t now_usec)
{
	struct survey survey = { .before = *rows, .rows = rows };
	int r = 0;

	*rows = (struct rows){ .last_usec = now_usec };
	if (survey.before.complete)
		rows->interval_usec = MAX(usec_sub(now_usec, survey.before.last_usec), UINT64_C(1));
	if (!pattern)
		r = psb_survey("/", seen, &survey);
	if (r == 0)
		r = psb_survey(pattern ? pattern : "**", seen, &survey);
	if (r == 0)
		r = survey.error;
	rows->complete = r == 0;
	if (r < 0)
		rows_done(rows);
	else if (rows->count > 0)
		qsort(rows->all, rows->count, sizeof(*rows->all), by_name);
	rows_done(&survey.before);
	return r;
}

/* ---- what psibridged makes of it ------------------------------------------------------------- */

static void lower(struct row *row, unsigned available, bool critical)
{
	if (row->available == 0 || available < row->available) {
		row->available = available;
		row->critical = critical;
	} else if (available == row->available) {
		row->critical = row->critical || critical;
	}
}

static void cover(struct rows *rows, const char *watch)
{
	struct choice covered;

	if (choice_make(watch, NULL, &covered, NULL) < 0)
		return;
	for (size_t i = 0; i < rows->count; i++)
		if (rows->all[i].available == 0 && choice_has(&covered, rows->all[i].cgroup))
			rows->all[i].available = PSB_HIGH;
	choice_done(&covered);
}

/* To those above, as far as they are covered and were not judged themselves. */
static void rise(struct rows *rows, const char *cgroup, unsigned available, bool critical)
{
	char path[CGPATH_MAX], *slash;
	size_t size = strlen(cgroup);

	if (size >= sizeof(path))
		return;
	memcpy(path, cgroup, size + 1);
	while ((slash = strrchr(path, '/')) != NULL && path[1]) {
		struct row *row;

		slash[slash == path] = '\0';
		row = find(rows, path);
		if (row && row->available != 0 && !row->judged)
			lower(row, available, critical);
	}
}

void rows_judge(struct rows *rows, const json_t *status)
{
	const json_t *cgroup, *watch;
	size_t i;

	for (i = 0; i < rows->count; i++) {
		rows->all[i].available = 0;
		rows->all[i].critical = rows->all[i].judged = false;
	}
	EACH_ANSWER(cgroup, status, "cgroups") {
		struct row *row = find(rows, answer_text(cgroup, "cgroup"));

		if (row && !answer_flag(cgroup, "candidate")) {
			lower(row, answer_level(cgroup), answer_flag(cgroup, "critical"));
			row->judged = true;
		}
	}
	EACH_ANSWER(watch, status, "watches")
		if (strcmp(answer_text(watch, "state"), "watching") == 0)
			cover(rows, answer_text(watch, "path"));
	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_level(cgroup) != PSB_HIGH && !answer_flag(cgroup, "candidate"))
			rise(rows, answer_text(cgroup, "cgroup"), answer_level(cgroup),
			     answer_flag(cgroup, "critical"));
}
