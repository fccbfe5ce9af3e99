/* SPDX-License-Identifier: MIT */
/*
 * rows.c - a table of cgroups that lives through surveys
 *
 * Rows stand in an array in the order of the last survey, and in a search tree (tsearch(3)) by
 * path. A survey stamps what it sees and builds the array anew; what was not stamped is gone.
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
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "core/cgpattern.h"

struct rows {
	void *tree; /* struct row, by cgroup */
	struct row **all;
	size_t count, capacity;
	unsigned surveys;
	bool complete; /* the last survey was */
	uint64_t last_usec, interval_usec;
	int error; /* of a callback */
};

static int by_cgroup(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->cgroup, ((const struct row *)b)->cgroup);
}

int rows_new(struct rows **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

static void row_free(void *row)
{
	if (row)
		free(((struct row *)row)->cgroup);
	free(row);
}

struct rows *rows_free(struct rows *rows)
{
	if (!rows)
		return NULL;
	tdestroy(rows->tree, row_free);
	free(rows->all);
	free(rows);
	return NULL;
}

size_t rows_count(const struct rows *rows)
{
	return rows->count;
}

struct row *rows_at(const struct rows *rows, size_t index)
{
	return rows->all[index];
}

uint64_t rows_interval_usec(const struct rows *rows)
{
	return rows->interval_usec;
}

static struct row *find(const struct rows *rows, const char *cgroup)
{
	union {
		const char *given;
		char *key;
	} name = { cgroup }; /* is only compared with */
	struct row key = { .cgroup = name.key };
	struct row *const *found = tfind(&key, &rows->tree, by_cgroup);

	return found ? *found : NULL;
}

/* ---- a survey -------------------------------------------------------------------------------- */

static struct row *add(struct rows *rows, const char *cgroup)
{
	struct row *row = calloc(1, sizeof(*row));

	if (row)
		row->cgroup = strdup(cgroup);
	if (!row || !row->cgroup || !tsearch(row, &rows->tree, by_cgroup)) {
		row_free(row);
		return NULL;
	}
	return row;
}

static int append(struct rows *rows, struct row *row)
{
	if (rows->count == rows->capacity) {
		size_t capacity = MAX(rows->capacity * 2, (size_t)64);
		struct row **bigger = realloc(rows->all, capacity * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		rows->all = bigger;
		rows->capacity = capacity;
	}
	rows->all[rows->count++] = row;
	return 0;
}

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

static void seen(const struct psb_survey_row *now, void *userdata)
{
	struct rows *rows = userdata;
	struct row *row = find(rows, now->cgroup);

	if (rows->error < 0 || (row && row->survey == rows->surveys))
		return;
	if (!row)
		row = add(rows, now->cgroup);
	if (!row || append(rows, row) < 0) {
		rows->error = -ENOMEM;
		return;
	}
	/* without PSI nothing is known, and what it counts when it is back is not of this interval */
	row->has_rate = rows->interval_usec > 0 && now->has_pressure &&
			(row->now.has_pressure || row->survey == 0);
	row->some_centi = row->full_centi = 0;
	if (!now->has_pressure)
		row->history_count = 0;
	if (row->has_rate) {
		row->some_centi = rate(row->now.some_total_usec, now->some_total_usec,
				       rows->interval_usec);
		row->full_centi = rate(row->now.full_total_usec, now->full_total_usec,
				       rows->interval_usec);
		remember(row);
	}
	row->now = *now;
	row->now.cgroup = row->cgroup;
	row->survey = rows->surveys;
}

/* What is in `old` and was not seen again. */
static void forget(struct rows *rows, struct row **old, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (old[i]->survey != rows->surveys) {
			tdelete(old[i], &rows->tree, by_cgroup);
			row_free(old[i]);
		}
}

int rows_survey(struct rows *rows, const char *pattern, uint64_t now_usec)
{
	struct row **old = steal(rows->all);
	size_t count = rows->count;
	int r = 0;

	rows->count = rows->capacity = 0;
	rows->error = 0;
	rows->interval_usec = 0;
	if (rows->complete)
		rows->interval_usec = MAX(usec_sub(now_usec, rows->last_usec), UINT64_C(1));
	rows->last_usec = now_usec;
	rows->surveys++;
	if (!pattern)
		r = psb_survey("/", seen, rows);
	if (r == 0)
		r = psb_survey(pattern ? pattern : "**", seen, rows);
	if (r == 0)
		r = rows->error;
	rows->complete = r == 0;
	forget(rows, old, count);
	free(old);
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
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
	char path[CGPATH_MAX];
	int r = strchr(watch, '*') ? cgpattern_new(watch, NULL, &pattern, NULL)
				   : cgpath_normalise(watch, NULL, path, NULL);

	for (size_t i = 0; r == 0 && i < rows->count; i++) {
		struct row *row = rows->all[i];

		if (row->available == 0 && (pattern ? cgpattern_match(pattern, row->cgroup)
						    : strcmp(path, row->cgroup) == 0))
			row->available = PSB_HIGH;
	}
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
	const json_t *cgroups = json_object_get(status, "cgroups"), *cgroup, *watch;
	size_t i;

	for (i = 0; i < rows->count; i++) {
		rows->all[i]->available = 0;
		rows->all[i]->critical = rows->all[i]->judged = false;
	}
	json_array_foreach(cgroups, i, cgroup)
	{
		struct row *row = find(rows, answer_text(cgroup, "cgroup"));

		if (row && !answer_flag(cgroup, "candidate")) {
			lower(row, answer_level(cgroup), answer_flag(cgroup, "critical"));
			row->judged = true;
		}
	}
	json_array_foreach(json_object_get(status, "watches"), i,
			   watch) if (strcmp(answer_text(watch, "state"), "watching") == 0)
		cover(rows, answer_text(watch, "path"));
	json_array_foreach(cgroups, i, cgroup) if (answer_level(cgroup) != PSB_HIGH &&
						   !answer_flag(cgroup, "candidate"))
		rise(rows, answer_text(cgroup, "cgroup"), answer_level(cgroup),
		     answer_flag(cgroup, "critical"));
}
