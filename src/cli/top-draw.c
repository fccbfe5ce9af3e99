/* SPDX-License-Identifier: MIT */
/*
 * top-draw.c - a frame of `psibridge top`
 *
 *     title         time, how many, how often, sorted by what
 *     psibridged    what it says, or why it says nothing
 *     heading
 *     rows ...
 *     remark        once seen, never forgotten: what looking does
 *     keys          or the filter that is being typed
 *
 * A frame is composed in memory and written at once, each line ended by "erase to its end", so
 * nothing flickers. What does not fit is cut off: a cgroup's path at its front, for its end says
 * more. Which columns there are depends on the width.
 */
#include "cli/top.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/words.h"
#include "core/duration.h"
#include "core/utf8.h"

#define FRAME_LINES 5 /* all but the rows */
#define END_OF_LINE "\033[K\r\n"

struct frame {
	FILE *out;
	const struct output *output;
	unsigned columns;
	unsigned spark; /* samples; 0: no such column */
	bool limit, oom;
};

static struct frame frame_for(const struct output *output, unsigned columns, FILE *out)
{
	struct frame f = { .out = out, .output = output, .columns = columns };

	f.spark = columns >= 120 ? ROWS_HISTORY : columns >= 80 ? 12 : 0;
	f.limit = columns >= 100;
	f.oom = columns >= 80;
	return f;
}

/* ---- text that fits -------------------------------------------------------------------------- */

/* Characters of `text`, each taken for one column wide. */
static unsigned width_of(const char *text)
{
	size_t left = strlen(text);
	unsigned width = 0;

	while (left > 0) {
		size_t n = MAX(utf8_character(text, left), (size_t)1);

		text += n;
		left -= n;
		width++;
	}
	return width;
}

static bool is_control(const char *p, size_t n)
{
	unsigned char c = (unsigned char)p[0];

	return n == 0 || c < 0x20 || c == 0x7f ||
	       (n == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0);
}

/* Up to `width` columns of it, from column `skip` on. */
static void put_part(const struct frame *f, const char *text, unsigned skip, unsigned width)
{
	size_t left = strlen(text);

	while (left > 0 && width > 0) {
		size_t n = utf8_character(text, left);

		if (skip > 0) {
			skip--;
		} else {
			if (is_control(text, n) || (n > 1 && !f->output->utf8))
				putc('?', f->out);
			else
				fwrite(text, 1, n, f->out);
			width--;
		}
		n = MAX(n, (size_t)1);
		text += n;
		left -= n;
	}
}

static void put_start(const struct frame *f, const char *text, unsigned width)
{
	put_part(f, text, 0, width);
}

static void put_end(const struct frame *f, const char *text, unsigned width)
{
	unsigned wide = width_of(text);
	const char *dots = f->output->utf8 ? "\xe2\x80\xa6" : "<";

	if (wide <= width) {
		put_start(f, text, width);
	} else if (width > 0) {
		fputs(dots, f->out);
		put_part(f, text, wide - width + 1, width - 1);
	}
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Small shares matter, so the steps grow. */
static unsigned step_of(unsigned centi)
{
	static const unsigned steps[] = { 1, 100, 200, 500, 1000, 2000, 4000, 7000 };
	unsigned step = 0;

	while (step < ELEMENTSOF(steps) && centi >= steps[step])
		step++;
	return step;
}

static void put_spark(const struct frame *f, const struct row *row)
{
	static const char *const blocks[] = { " ",
					      "\xe2\x96\x81",
					      "\xe2\x96\x82",
					      "\xe2\x96\x83",
					      "\xe2\x96\x84",
					      "\xe2\x96\x85",
					      "\xe2\x96\x86",
					      "\xe2\x96\x87",
					      "\xe2\x96\x88" };
	static const char *const letters[] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };
	unsigned count = MIN(row->history_count, f->spark);

	fprintf(f->out, "%*s", (int)(f->spark - count), "");
	for (unsigned i = row->history_count - count; i < row->history_count; i++)
		fputs((f->output->utf8 ? blocks : letters)[step_of(row->history[i])], f->out);
	fputs("  ", f->out);
}

static void put_share(const struct frame *f, const struct row *row, unsigned centi)
{
	if (row->has_rate)
		fprintf(f->out, "%3u.%02u  ", centi / 100, centi % 100);
	else
		fputs("     -  ", f->out);
}

static const char *level_word(const struct row *row)
{
	switch (row->available) {
	case PSB_LOW:
		return row->critical ? "CRITICAL" : "Low";
	case PSB_NEUTRAL:
		return "Neutral";
	case PSB_HIGH:
		return "High";
	}
	return "-";
}

static enum paint level_paint(const struct row *row)
{
	return row->available == PSB_LOW       ? PAINT_BAD
	       : row->available == PSB_NEUTRAL ? PAINT_WARN
	       : row->available == PSB_HIGH    ? PAINT_GOOD
					       : PAINT_PLAIN;
}

static void put_memory(const struct frame *f, const struct row *row)
{
	uint64_t limit = row->now.limit_bytes;
	char word[OUTPUT_WORD_MAX] = "-";

	if (row->now.current_bytes > 0)
		output_size(row->now.current_bytes, word);
	fprintf(f->out, "%9s", word);
	if (f->limit) {
		/* memory.high is where it begins to hurt */
		if (row->now.high_bytes > 0 && (limit == 0 || row->now.high_bytes < limit))
			limit = row->now.high_bytes;
		strcpy(word, "-");
		if (limit > 0)
			output_size(limit, word);
		fprintf(f->out, " %9s", word);
	}
	fputs("  ", f->out);
}

static unsigned fixed_columns(const struct frame *f)
{
	return 8 + 8 + (f->spark > 0 ? f->spark + 2 : 0) + 10 + 9 + (f->limit ? 10 : 0) + 2 +
	       (f->oom ? 7 : 0);
}

static unsigned path_columns(const struct frame *f)
{
	return f->columns > fixed_columns(f) ? f->columns - fixed_columns(f) : 0;
}

static void put_heading(const struct frame *f)
{
	fprintf(f->out, "%s%s", output_paint(f->output, PAINT_BOLD), " SOME %   FULL %  ");
	if (f->spark > 0)
		fprintf(f->out, "%-*s  ", (int)f->spark,
			f->spark >= 16 ? "SOME, THE LAST 30" : "SOME, LATELY");
	fprintf(f->out, "%-8s  %9s", "LEVEL", "USE");
	if (f->limit)
		fprintf(f->out, " %9s", "LIMIT");
	fprintf(f->out, "  %s%s%s", f->oom ? " KILLS  " : "", path_columns(f) >= 6 ? "CGROUP" : "",
		output_paint(f->output, PAINT_PLAIN));
}

static void put_row(const struct frame *f, const struct row *row, bool cut)
{
	put_share(f, row, row->some_centi);
	put_share(f, row, row->full_centi);
	if (f->spark > 0)
		put_spark(f, row);
	fprintf(f->out, "%s%-8s%s  ", output_paint(f->output, level_paint(row)), level_word(row),
		output_paint(f->output, PAINT_PLAIN));
	put_memory(f, row);
	if (f->oom && row->now.has_events)
		fprintf(f->out, "%5" PRIu64 "  ", MIN(row->now.oom_kill_events, UINT64_C(99999)));
	else if (f->oom)
		fputs("    -  ", f->out);
	if (cut)
		put_end(f, row->cgroup, path_columns(f));
	else
		put_start(f, row->cgroup, UINT32_MAX);
}

/* ---- the frame ------------------------------------------------------------------------------- */

static const char *sort_word(enum top_sort sort)
{
	switch (sort) {
	case TOP_SOME:
		return "some";
	case TOP_FULL:
		return "full";
	case TOP_MEMORY:
		return "memory";
	case TOP_NAME:
		return "name";
	}
	return "?";
}

static void put_title(const struct frame *f, const struct top *top)
{
	char pace[DURATION_TEXT_MAX], line[512];

	duration_format(top->pace_usec / USEC_PER_MSEC * USEC_PER_MSEC, pace);
	snprintf(line, sizeof(line), "psibridge top: %zu cgroup%s, every %s, by %s%s%s%s%s%s",
		 rows_count(top->rows), rows_count(top->rows) == 1 ? "" : "s", pace,
		 sort_word(top->sort), top->reverse ? ", reversed" : "",
		 top->paused ? ", PAUSED" : "", top->filter[0] ? ", only with \"" : "", top->filter,
		 top->filter[0] ? "\"" : "");
	fputs(output_paint(f->output, PAINT_BOLD), f->out);
	put_start(f, line, f->columns);
	fprintf(f->out, "%s" END_OF_LINE, output_paint(f->output, PAINT_PLAIN));
}

static void put_daemon(const struct frame *f, const struct top *top)
{
	size_t low = 0;
	char line[CONTROL_WHY_MAX + 64];

	for (size_t i = 0; i < rows_count(top->rows); i++) {
		const struct row *row = rows_at(top->rows, i);

		low += row->judged && row->available == PSB_LOW;
	}
	if (top->trouble[0])
		snprintf(line, sizeof(line), "%s", top->trouble);
	else if (!top->has_daemon)
		snprintf(line, sizeof(line), "No levels: %s", top->why);
	else if (top->is_blind)
		snprintf(line, sizeof(line), "No levels: no watch of psibridged works");
	else if (low == 0)
		snprintf(line, sizeof(line), "psibridged: memory is nowhere short");
	else
		snprintf(line, sizeof(line), "psibridged: memory is short in %zu cgroup%s", low,
			 low == 1 ? "" : "s");
	fputs(output_paint(f->output, top->trouble[0] || low > 0 || top->is_blind ? PAINT_BAD
				      : top->has_daemon				  ? PAINT_GOOD
										  : PAINT_DIM),
	      f->out);
	put_start(f, line, f->columns);
	fprintf(f->out, "%s" END_OF_LINE, output_paint(f->output, PAINT_PLAIN));
}

static void put_remark(const struct frame *f)
{
	fputs(output_paint(f->output, PAINT_DIM), f->out);
	put_start(f, "Mind: reading these files can swallow other programs' unprivileged alarms",
		  f->columns);
	fprintf(f->out, "%s" END_OF_LINE, output_paint(f->output, PAINT_PLAIN));
}

static void put_keys(const struct frame *f, const struct top *top)
{
	char line[TOP_FILTER_MAX + 128];

	if (top->typing)
		snprintf(line, sizeof(line), "Only with: %s_   (Enter: done, Esc: all)",
			 top->filter);
	else
		snprintf(line, sizeof(line),
			 "q quit  s some  f full  m memory  n name  r reverse  p pause  / filter  "
			 "arrows");
	put_start(f, line, f->columns);
	fputs("\033[K", f->out);
}

static void put_rows(const struct frame *f, struct top *top, unsigned lines)
{
	top->page = lines > FRAME_LINES ? lines - FRAME_LINES : 1;
	if (top->first + top->page > top->shown_count)
		top->first = top->shown_count > top->page ? top->shown_count - top->page : 0;
	for (size_t i = 0; i < top->page; i++) {
		if (top->first + i < top->shown_count)
			put_row(f, top->shown[top->first + i], true);
		else if (i == 0 && !top->trouble[0])
			put_start(f, "no cgroup matches", f->columns);
		fputs(END_OF_LINE, f->out);
	}
}

static int write_out(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

int top_draw(struct top *top, unsigned columns, unsigned lines)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	struct frame f = frame_for(&top->output, columns, out);
	int r = -ENOMEM;

	if (!out)
		return -errno;
	fputs("\033[H", out);
	put_title(&f, top);
	put_daemon(&f, top);
	put_heading(&f);
	fputs(END_OF_LINE, out);
	put_rows(&f, top, lines);
	put_remark(&f);
	put_keys(&f, top);
	fputs("\033[J", out);
	if (fclose(out) == 0)
		r = write_out(text, size);
	free(text);
	return r;
}

int top_print(const struct top *top)
{
	struct frame f = frame_for(&top->output, 120, stdout);

	errno = 0;
	put_heading(&f);
	putchar('\n');
	for (size_t i = 0; i < top->shown_count; i++) {
		put_row(&f, top->shown[i], false);
		putchar('\n');
	}
	return fflush(stdout) == EOF || ferror(stdout) ? (errno > 0 ? -errno : -EIO) : 0;
}
