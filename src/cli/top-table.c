/* SPDX-License-Identifier: MIT */
/*
 * top-table.c - the table of `psibridge top`: a survey, what of it is shown, and its lines
 *
 * The numbers are our own (psb_survey()), the levels psibridged's; without it there are none. It
 * is asked with little patience, and for a while not at all after it did not answer: a daemon that
 * hangs must not make the keys hang.
 *
 * A survey takes 26 us a cgroup (measured without a memory controller; memory.stat, which the kernel
 * has to sum up, comes on top). So the pace is stretched to ten times what the last one took.
 *
 * The same text goes to a file and, without colour, to the screen. What does not fit is cut off: a
 * cgroup's path at its front, for its end says more. Each character is taken for one column wide.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top.h"
#include "cli/wait.h"
#include "cli/words.h"
#include "core/utf8.h"

#define BATCH_COLUMNS 120
#define SHARE 10 /* one part in so many of the time is for surveys */
#define DAEMON_PATIENCE_USEC (1 * USEC_PER_SEC)
#define DAEMON_PAUSE_USEC (10 * USEC_PER_SEC)

/* ---- a look ---------------------------------------------------------------------------------- */

static void ask_daemon(struct top *top)
{
	json_t *status = NULL;
	int r;

	if (now_usec() < top->ask_usec)
		return;
	r = control_ask_status(top->control, DAEMON_PATIENCE_USEC, &status, top->why);
	top->has_daemon = r == 0;
	top->is_blind = control_is_blind(status);
	if (r < 0 && !control_is_absent(r))
		top->ask_usec = now_usec() + DAEMON_PAUSE_USEC;
	rows_judge(&top->rows, status);
	json_decref(status);
}

int top_look(struct top *top)
{
	uint64_t begun = now_usec();
	int r = rows_survey(&top->rows, top->pattern, begun);

	top->trouble[0] = '\0';
	if (r < 0)
		snprintf(top->trouble, sizeof(top->trouble), "cgroups cannot be read: %s",
			 r == -EINVAL	? "that is no path and no pattern"
			 : r == -ENOENT ? "there is no such cgroup"
					: strerror(-r));
	top->pace_usec = MAX(top->interval_usec, SHARE * usec_sub(now_usec(), begun));
	ask_daemon(top);
	if (r == 0)
		r = top_choose(top);
	else
		top->shown_count = 0;
	return r;
}

/* ---- filter and sort ------------------------------------------------------------------------- */

static uint64_t sort_value(const struct row *row, unsigned sort)
{
	const struct psb_survey_row *now = &row->now;
	uint64_t total = sort == TOP_SOME ? now->some_total_usec : now->full_total_usec;

	if (sort == TOP_MEMORY || sort == TOP_NAME)
		return sort == TOP_MEMORY ? now->current_bytes : 0;
	/* the total decides between those that are equally calm */
	return (uint64_t)(sort == TOP_SOME ? row->some_centi : row->full_centi) << 48 |
	       MIN(total, (UINT64_C(1) << 48) - 1);
}

static int compare(const void *a, const void *b, void *userdata)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
	const struct top *top = userdata;
	uint64_t p = sort_value(x, top->sort), q = sort_value(y, top->sort);
	int order = p != q ? (p > q ? -1 : 1) : strcmp(x->cgroup, y->cgroup);

	return top->reverse ? -order : order;
}

int top_choose(struct top *top)
{
	size_t count = top->rows.count;
	struct row **bigger = realloc(top->shown, (count + 1) * sizeof(*bigger));

	if (!bigger) {
		top->shown_count = 0;
		return -ENOMEM;
	}
	top->shown = bigger;
	top->shown_count = 0;
	for (size_t i = 0; i < count; i++)
		if (strstr(top->rows.all[i].cgroup, top->filter))
			top->shown[top->shown_count++] = &top->rows.all[i];
	qsort_r(top->shown, top->shown_count, sizeof(*top->shown), compare, top);
	return 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct table table_for(const struct output *output, unsigned columns)
{
	unsigned wide = columns > 0 ? columns : BATCH_COLUMNS;

	return (struct table){
		.output = output,
		.columns = columns,
		.spark = wide >= 120  ? ROWS_HISTORY
			 : wide >= 80 ? 12
				      : 0,
		.limit = wide >= 100,
		.oom = wide >= 80,
	};
}

unsigned table_level_column(const struct table *t)
{
	return 8 + 8 + (t->spark > 0 ? t->spark + 2 : 0);
}

/* How many are left for a path. */
static unsigned path_columns(const struct table *t)
{
	unsigned fixed = table_level_column(t) + TABLE_LEVEL_COLUMNS + 2 + 9 + (t->limit ? 10 : 0) +
			 2 + (t->oom ? 7 : 0);

	if (t->columns == 0)
		return UINT32_MAX;
	return t->columns > fixed ? t->columns - fixed : 0;
}

void table_heading(const struct table *t, FILE *out)
{
	fprintf(out, "%s%s", output_paint(t->output, PAINT_BOLD), " SOME %   FULL %  ");
	if (t->spark > 0)
		fprintf(out, "%-*s  ", (int)t->spark,
			t->spark >= 16 ? "SOME, THE LAST 30" : "SOME, LATELY");
	fprintf(out, "%-*s  %9s", TABLE_LEVEL_COLUMNS, "LEVEL", "USE");
	if (t->limit)
		fprintf(out, " %9s", "LIMIT");
	fprintf(out, "  %s%s%s", t->oom ? " KILLS  " : "", path_columns(t) >= 6 ? "CGROUP" : "",
		output_paint(t->output, PAINT_PLAIN));
}

/* ---- the columns ----------------------------------------------------------------------------- */

/* Small shares matter, so the steps grow. */
static unsigned step_of(unsigned centi)
{
	static const unsigned steps[] = { 1, 100, 200, 500, 1000, 2000, 4000, 7000 };
	unsigned step = 0;

	while (step < ELEMENTSOF(steps) && centi >= steps[step])
		step++;
	return step;
}

static void put_spark(const struct table *t, FILE *out, const struct row *row)
{
	unsigned count = MIN(row->history_count, t->spark);

	fprintf(out, "%*s", (int)(t->spark - count), "");
	for (unsigned i = row->history_count - count; i < row->history_count; i++)
		fputs(output_bar(t->output, step_of(row->history[i])), out);
	fputs("  ", out);
}

static void put_share(FILE *out, const struct row *row, unsigned centi)
{
	if (row->has_rate)
		fprintf(out, "%3u.%02u  ", centi / 100, centi % 100);
	else
		fputs("     -  ", out);
}

/* 0 is unknown, or none. */
static void put_size(FILE *out, uint64_t bytes)
{
	char word[OUTPUT_WORD_MAX];

	fprintf(out, "%9s", bytes > 0 ? output_size(bytes, word) : "-");
}

static void put_memory(const struct table *t, FILE *out, const struct row *row)
{
	uint64_t limit = row->now.limit_bytes, high = row->now.high_bytes;

	put_size(out, row->now.current_bytes);
	if (t->limit) {
		putc(' ', out);
		/* memory.high is where it begins to hurt */
		put_size(out, high > 0 && (limit == 0 || high < limit) ? high : limit);
	}
	fputs("  ", out);
}

/* Cut off at the front; a control character, or one that the locale has not, becomes '?'. */
static void put_path(const struct table *t, FILE *out, const char *path)
{
	size_t left = strlen(path), size = left, wide = 0, skip = 0, n;
	bool control;

	for (size_t at = 0; at < size; at += utf8_next(path + at, size - at, &control))
		wide++;
	if (wide > path_columns(t)) {
		if (path_columns(t) == 0)
			return;
		skip = wide - path_columns(t) + 1;
		fputs(t->output->utf8 ? "…" : "<", out);
	}
	for (; left > 0; path += n, left -= n) {
		n = utf8_next(path, left, &control);
		if (skip > 0)
			skip--;
		else if (control || utf8_character(path, left) == 0 || (n > 1 && !t->output->utf8))
			putc('?', out);
		else
			fwrite(path, 1, n, out);
	}
}

void table_row(const struct table *t, FILE *out, const struct row *row)
{
	put_share(out, row, row->some_centi);
	put_share(out, row, row->full_centi);
	if (t->spark > 0)
		put_spark(t, out, row);
	fprintf(out, "%s%-*s%s  ", output_paint(t->output, output_level_paint(row->available)),
		TABLE_LEVEL_COLUMNS, words_level(row->available, row->critical)->brief,
		output_paint(t->output, PAINT_PLAIN));
	put_memory(t, out, row);
	if (t->oom && row->now.has_events)
		fprintf(out, "%5" PRIu64 "  ", MIN(row->now.oom_kill_events, UINT64_C(99999)));
	else if (t->oom)
		fputs("    -  ", out);
	put_path(t, out, row->cgroup);
}
