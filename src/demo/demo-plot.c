/* SPDX-License-Identifier: MIT */
/*
 * demo-plot.c - both runs side by side, as a table, and one above the other, as a plot
 *
 * The plot has a column for every so many milliseconds of a run and eight steps a line, in the
 * block characters of Unicode (three steps in ASCII). Both runs share both scales, so heights may
 * be compared. Samples do not fall on the edges of columns; between two of them a stall is taken
 * as even.
 *
 *     20 ┤▅▇▆█▆▇▅▇           what a column is: the share of its time in which somebody waited
 *      0 ┼──▲───────         marks: when the program was told
 *           Low 2.0 s
 */
#include "demo/demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/words.h"

#define LINES 4
#define STEPS 8
#define MARGIN 7
#define COLUMNS_MAX 110
#define LABEL_WIDTH 36
#define VALUE_WIDTH 19

/*
 * ---- the table
 * -------------------------------------------------------------------------------------
 */

static void row(const struct output *output, const char *label, const char *without,
		const char *with, enum paint paint)
{
	printf("  %-*s%*s%s%*s%s\n", LABEL_WIDTH, label, VALUE_WIDTH, without,
	       output_paint(output, paint), VALUE_WIDTH, with, output_paint(output, PAINT_PLAIN));
}

static void passes_text(const struct demo_run *run, bool simulated, char *buf)
{
	uint64_t tenths = demo_passes_tenths(run);

	if (simulated)
		snprintf(buf, OUTPUT_WORD_MAX, "-");
	else
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
}

static void stall_text(const struct demo_run *run, bool simulated, char *buf)
{
	if (simulated)
		snprintf(buf, OUTPUT_WORD_MAX, "-");
	else
		output_span(run->stall_usec, buf);
}

static void reaction_text(const struct demo_run *run, char *buf)
{
	uint64_t low = demo_low_usec(run);

	if (low == USEC_NEVER || run->first_stall_usec == USEC_NEVER)
		snprintf(buf, OUTPUT_WORD_MAX, "-");
	else
		output_span(usec_sub(low, run->first_stall_usec), buf);
}

void demo_table(const struct output *output, const struct demo_run *without,
		const struct demo_run *with, bool simulated)
{
	char a[OUTPUT_WORD_MAX], b[OUTPUT_WORD_MAX], at[OUTPUT_WORD_MAX + 4], label[80];

	fputs(output_paint(output, PAINT_BOLD), stdout);
	row(output, simulated ? "SIMULATED" : "", "without psibridge", "with psibridge",
	    PAINT_BOLD);
	passes_text(without, simulated, a);
	passes_text(with, simulated, b);
	row(output, "neighbour: passes over its file", a, b, PAINT_GOOD);
	stall_text(without, simulated, a);
	stall_text(with, simulated, b);
	row(output, "time stalled for want of memory", a, b, PAINT_GOOD);
	output_size(without->rss_before_bytes, a);
	output_size(with->rss_before_bytes, b);
	row(output, "program: memory (RSS) at the start", a, b, PAINT_PLAIN);
	output_size(without->rss_after_bytes, a);
	output_size(with->rss_after_bytes, b);
	row(output, "program: memory (RSS) at the end", a, b, PAINT_GOOD);
	reaction_text(with, b);
	row(output, "from the first stall to the callback", "-", b, PAINT_PLAIN);
	if (with->collect_usec > 0) {
		output_span(with->collect_usec, b);
		row(output, "collecting and trimming took", "-", b, PAINT_PLAIN);
	}
	for (unsigned i = 0; i < with->news_count; i++) {
		snprintf(label, sizeof(label), "told %s", words_level(with->news[i].available, 0));
		output_span(with->news[i].at_usec, a);
		snprintf(at, sizeof(at), "at %s", a);
		row(output, label, "-", at, PAINT_PLAIN);
	}
}

/*
 * ---- the plot
 * --------------------------------------------------------------------------------------
 */

/* Stall since the start at a moment between samples. */
static uint64_t stall_at(const struct demo_run *run, uint64_t at_usec)
{
	uint64_t t0 = 0, s0 = 0;

	for (unsigned i = 0; i < run->sample_count; i++) {
		const struct demo_sample *s = &run->samples[i];

		if (s->at_usec >= at_usec)
			return s0 + (s->stall_usec - s0) * (at_usec - t0) / MAX(s->at_usec - t0, 1);
		t0 = s->at_usec;
		s0 = s->stall_usec;
	}
	return s0;
}

static uint64_t rss_at(const struct demo_run *run, uint64_t at_usec)
{
	for (unsigned i = 0; i < run->sample_count; i++)
		if (run->samples[i].at_usec >= at_usec)
			return run->samples[i].rss_bytes;
	return run->rss_after_bytes;
}

/* Percent of a column's time, or MiB at its end; in thousandths. */
static void values_of(const struct demo_run *run, bool rss, uint64_t length_usec, unsigned columns,
		      uint64_t *values)
{
	for (unsigned i = 0; i < columns; i++) {
		uint64_t from = length_usec * i / columns, to = length_usec * (i + 1) / columns;

		if (rss)
			values[i] = rss_at(run, to) * 1000 >> 20;
		else
			values[i] = (stall_at(run, to) - stall_at(run, from)) * 100 * 1000 /
				    MAX(to - from, 1);
	}
}

/* The top of the scale: the next round number. */
static uint64_t scale_top(const uint64_t *a, const uint64_t *b, unsigned columns)
{
	static const unsigned round[] = { 5,   10,  20,	 30,  50,  75,	100,
					  150, 200, 300, 400, 500, 750, 1000 };
	uint64_t most = 0;

	for (unsigned i = 0; i < columns; i++)
		most = MAX(most, MAX(a[i], b[i]));
	for (size_t i = 0; i < ELEMENTSOF(round); i++)
		if (most <= round[i] * UINT64_C(1000))
			return round[i] * UINT64_C(1000);
	return (most / 1000 + 999) / 1000 * 1000 * 1000;
}

static const char *glyph(const struct output *output, unsigned steps)
{
	static const char *const unicode[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const ascii[] = { " ", ".", ".", ".", ":", ":", ":", "#", "#" };

	return (output->utf8 ? unicode : ascii)[steps];
}

/* How much of `line` (0: the lowest) a value fills. Little is not nothing. */
static unsigned steps_of(uint64_t value, uint64_t top, unsigned line)
{
	uint64_t steps = (value * LINES * STEPS + top / 2) / top;

	if (value > 0 && steps == 0)
		steps = 1;
	return (unsigned)MIN(usec_sub(steps, line * STEPS), (uint64_t)STEPS);
}

static void bars(const struct output *output, const uint64_t *values, unsigned columns,
		 uint64_t top, enum paint paint)
{
	for (unsigned line = LINES; line-- > 0;) {
		if (line == LINES - 1)
			printf("%*" PRIu64 " %s", MARGIN - 2, top / 1000, output->utf8 ? "┤" : "|");
		else
			printf("%*s%s", MARGIN - 1, "", output->utf8 ? "│" : "|");
		fputs(output_paint(output, paint), stdout);
		for (unsigned i = 0, blanks = 0; i < columns; i++) {
			unsigned steps = steps_of(values[i], top, line);

			if (steps == 0) {
				blanks++;
				continue;
			}
			printf("%*s%s", (int)blanks, "", glyph(output, steps));
			blanks = 0;
		}
		printf("%s\n", output_paint(output, PAINT_PLAIN));
	}
}

static enum paint paint_of(enum psb_available available)
{
	switch (available) {
	case PSB_LOW:
		return PAINT_BAD;
	case PSB_NEUTRAL:
		return PAINT_WARN;
	case PSB_HIGH:
		return PAINT_GOOD;
	}
	return PAINT_PLAIN;
}

static const char *name_of(enum psb_available available)
{
	switch (available) {
	case PSB_LOW:
		return "Low";
	case PSB_NEUTRAL:
		return "Neutral";
	case PSB_HIGH:
		return "High";
	}
	return "?";
}

/* The news that falls into column `i`; the last one, if there are more. NULL: none. */
static const struct demo_news *news_in(const struct demo_run *run, uint64_t length_usec,
				       unsigned columns, unsigned column)
{
	const struct demo_news *found = NULL;

	for (unsigned i = 0; i < run->news_count; i++)
		if (run->news[i].at_usec * columns / length_usec == column)
			found = &run->news[i];
	return found;
}

static void axis(const struct output *output, const struct demo_run *run, uint64_t length_usec,
		 unsigned columns)
{
	printf("%*d %s", MARGIN - 2, 0, output->utf8 ? "┼" : "+");
	for (unsigned i = 0; i < columns; i++) {
		const struct demo_news *news = news_in(run, length_usec, columns, i);

		if (news)
			printf("%s%s%s", output_paint(output, paint_of(news->available)),
			       output->utf8 ? "▲" : "^", output_paint(output, PAINT_PLAIN));
		else
			fputs(output->utf8 ? "─" : "-", stdout);
	}
	putchar('\n');
}

/* Words under the marks; they give way to each other to the right. */
static void mark_words(const struct output *output, const struct demo_run *run,
		       uint64_t length_usec, unsigned columns)
{
	unsigned at = 0;

	printf("%*s", MARGIN, "");
	for (unsigned i = 0; i < run->news_count; i++) {
		const struct demo_news *news = &run->news[i];
		unsigned want = (unsigned)MIN(news->at_usec * columns / length_usec,
					      (uint64_t)columns);
		char span[OUTPUT_WORD_MAX];
		unsigned length;

		if (news->at_usec >= length_usec)
			continue;
		output_span(news->at_usec, span);
		length = (unsigned)(strlen(name_of(news->available)) + 1 + strlen(span));
		want = MAX(MIN(want, columns - MIN(length, columns)), at > 0 ? at + 2 : 0);
		if (want + length > columns)
			break;
		printf("%*s%s%s %s%s", (int)(want - at), "",
		       output_paint(output, paint_of(news->available)), name_of(news->available),
		       span, output_paint(output, PAINT_PLAIN));
		at = want + length;
	}
	putchar('\n');
}

static void ruler(uint64_t length_usec, unsigned columns)
{
	unsigned seconds = (unsigned)((length_usec + USEC_PER_SEC / 2) / USEC_PER_SEC),
		 step = MAX(seconds / 4, 1), at = 0;

	printf("%*s", MARGIN, "");
	for (unsigned s = 0; s <= seconds; s += step) {
		char word[24];
		int length = snprintf(word, sizeof(word), "%u s", s);
		unsigned want = MIN(s * columns / seconds, columns - (unsigned)length);

		if (want < at)
			break;
		printf("%*s%s", (int)(want - at), "", word);
		at = want + (unsigned)length;
	}
	putchar('\n');
}

void demo_plot(const struct output *output, const struct demo_run *without,
	       const struct demo_run *with, bool simulated)
{
	uint64_t a[COLUMNS_MAX], b[COLUMNS_MAX], top,
		length = MAX(without->length_usec, with->length_usec);
	unsigned columns = MIN(output->width, COLUMNS_MAX + MARGIN) - MARGIN - 1;

	length = MAX(length, USEC_PER_SEC);
	values_of(without, simulated, length, columns, a);
	values_of(with, simulated, length, columns, b);
	top = scale_top(a, b, columns);

	printf("%s%s: without psibridge%s\n", output_paint(output, PAINT_BOLD),
	       simulated ? "memory of the program, MiB"
			 : "time stalled for want of memory, percent",
	       output_paint(output, PAINT_PLAIN));
	bars(output, a, columns, top, PAINT_BAD);
	axis(output, without, length, columns);
	printf("%swith psibridge%s\n", output_paint(output, PAINT_BOLD),
	       output_paint(output, PAINT_PLAIN));
	bars(output, b, columns, top, PAINT_GOOD);
	axis(output, with, length, columns);
	if (with->news_count > 0)
		mark_words(output, with, length, columns);
	ruler(length, columns);
}
