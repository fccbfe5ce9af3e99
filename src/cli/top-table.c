/* SPDX-License-Identifier: MIT */
/*
 * top-table.c - lines of the table of `psibridge top`
 *
 * The same text goes to a file and, without colour, to the screen. What does not fit is cut off: a
 * cgroup's path at its front, for its end says more. Each character is taken for one column wide.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/top.h"
#include "cli/words.h"
#include "core/utf8.h"

#define BATCH_COLUMNS 120

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
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const letters[] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	unsigned count = MIN(row->history_count, t->spark);

	fprintf(out, "%*s", (int)(t->spark - count), "");
	for (unsigned i = row->history_count - count; i < row->history_count; i++)
		fputs((t->output->utf8 ? blocks : letters)[step_of(row->history[i])], out);
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
	char word[OUTPUT_WORD_MAX] = "-";

	if (bytes > 0)
		output_size(bytes, word);
	fprintf(out, "%9s", word);
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
		TABLE_LEVEL_COLUMNS, words_level_brief(row->available, row->critical),
		output_paint(t->output, PAINT_PLAIN));
	put_memory(t, out, row);
	if (t->oom && row->now.has_events)
		fprintf(out, "%5" PRIu64 "  ", MIN(row->now.oom_kill_events, UINT64_C(99999)));
	else if (t->oom)
		fputs("    -  ", out);
	put_path(t, out, row->cgroup);
}
