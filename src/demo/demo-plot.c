/* SPDX-License-Identifier: MIT */
/*
 * demo-plot.c - what is seen: progress, then both runs side by side, as a table, and one above the other, as a plot
 *
 * The plot has a column for every so many milliseconds of a run and eight steps a line, in the block characters of Unicode (or ASCII).
 * Both runs share both scales, so heights may be compared. Between two samples a stall is taken as even.
 *
 *     20 ┤▅▇▆█▆▇▅▇           what a column is: the share of its time in which a task waited
 *      0 ┼──▲───────         marks: when the program was told
 *           Low 2.0 s
 */
#include "demo/demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/words.h"

#define LINES 4
#define STEPS 8
#define MARGIN 7
#define COLUMNS_MAX 110
#define LABEL_WIDTH 36
#define VALUE_WIDTH 19

/* ---- progress ---------------------------------------------------------------------------------- */

void demo_progress(const char *what, uint64_t done_usec, uint64_t length_usec)
{
	static const char *before;
	char bar[25] = "........................";
	bool is_new = !before || !what || strcmp(before, what) != 0;

	before = what;
	if (!isatty(STDERR_FILENO)) {
		if (what && is_new)
			fprintf(stderr, "psibridge demo: %s ...\n", what);
		return;
	}
	fputs("\r\033[K", stderr);
	if (!what)
		return;
	if (length_usec == 0) {
		fprintf(stderr, "  %s ...", what);
		return;
	}
	memset(bar, '#', MIN(done_usec * (sizeof(bar) - 1) / length_usec, sizeof(bar) - 1));
	fprintf(stderr, "  %-18s [%s] %2u of %u s", what, bar, (unsigned)(done_usec / USEC_PER_SEC),
		(unsigned)(length_usec / USEC_PER_SEC));
}

/* ---- the table --------------------------------------------------------------------------------- */

static void row(const struct output *output, const char *label, const char *without,
		const char *with, enum paint paint)
{
	printf("  %-*s%*s%s%*s%s\n", LABEL_WIDTH, label, VALUE_WIDTH, without,
	       output_paint(output, paint), VALUE_WIDTH, with, output_paint(output, PAINT_PLAIN));
}

/* A length of time, or a dash where there is none. */
static const char *span_if(bool known, uint64_t usec, char *buf)
{
	return known ? output_span(usec, buf) : "-";
}

/* A pass is once over the file. */
static const char *passes_of(const struct demo *demo, const struct demo_run *run, char *buf)
{
	double passes = (double)run->read_bytes / (double)demo->file_bytes;

	snprintf(buf, OUTPUT_WORD_MAX, "%.1f", passes);
	return demo->lab ? buf : "-";
}

void demo_table(const struct output *output, const struct demo *demo)
{
	const struct demo_run *without = &demo->without, *with = &demo->with;
	bool simulated = !demo->lab;
	bool felt = with->first_stall_usec != USEC_NEVER && with->first_low_usec != USEC_NEVER;
	char a[OUTPUT_WORD_MAX], b[OUTPUT_WORD_MAX], at[OUTPUT_WORD_MAX + 4], label[80];

	fputs(output_paint(output, PAINT_BOLD), stdout);
	row(output, simulated ? "SIMULATED" : "", "without psibridge", "with psibridge",
	    PAINT_BOLD);
	row(output, "neighbour: passes over its file", passes_of(demo, without, a),
	    passes_of(demo, with, b), PAINT_GOOD);
	row(output, "time stalled for want of memory", span_if(!simulated, without->stall_usec, a),
	    span_if(!simulated, with->stall_usec, b), PAINT_GOOD);
	row(output, "program: memory (RSS) at the start", output_size(without->rss_before_bytes, a),
	    output_size(with->rss_before_bytes, b), PAINT_PLAIN);
	row(output, "program: memory (RSS) at the end", output_size(without->rss_after_bytes, a),
	    output_size(with->rss_after_bytes, b), PAINT_GOOD);
	row(output, "from the first stall to the callback", "-",
	    span_if(felt, usec_sub(with->first_low_usec, with->first_stall_usec), b), PAINT_PLAIN);
	if (with->collect_usec > 0)
		row(output, "collecting and trimming took", "-", output_span(with->collect_usec, b),
		    PAINT_PLAIN);
	for (unsigned i = 0; i < with->news_count; i++) {
		snprintf(label, sizeof(label), "told %s",
			 words_level(with->news[i].available, false)->sentence);
		snprintf(at, sizeof(at), "at %s", output_span(with->news[i].at_usec, a));
		row(output, label, "-", at, PAINT_PLAIN);
	}
}

/* ---- the plot ---------------------------------------------------------------------------------- */

struct plot {
	const struct output *output;
	unsigned columns;
	uint64_t length_usec, top; /* what a row of bars is wide and high */
};

/* What was sampled at a moment, or would have been. */
static struct demo_sample sample_at(const struct demo_run *run, uint64_t at_usec)
{
	struct demo_sample before = { 0 };

	for (unsigned i = 0; i < run->sample_count; i++) {
		struct demo_sample s = run->samples[i];

		if (s.at_usec >= at_usec) {
			s.stall_usec = before.stall_usec +
				       (s.stall_usec - before.stall_usec) *
					       (at_usec - before.at_usec) /
					       MAX(s.at_usec - before.at_usec, 1);
			return s;
		}
		before = s;
	}
	return before;
}

/* Percent of a column's time, in thousandths. */
static void values_of(const struct plot *plot, const struct demo_run *run, uint64_t *values)
{
	struct demo_sample from = { 0 }, to;

	for (unsigned i = 0; i < plot->columns; i++, from = to) {
		to = sample_at(run, plot->length_usec * (i + 1) / plot->columns);
		values[i] = (to.stall_usec - from.stall_usec) * 100 * 1000 * plot->columns /
			    plot->length_usec;
	}
}

/* The top of the scale: the next round number of percent. */
static uint64_t scale_top(const uint64_t *a, const uint64_t *b, unsigned columns)
{
	static const unsigned round[] = { 5, 10, 20, 30, 50, 75, 100 };
	uint64_t most = 0;
	size_t i = 0;

	for (unsigned at = 0; at < columns; at++)
		most = MAX(most, MAX(a[at], b[at]));
	while (i < ELEMENTSOF(round) - 1 && most > round[i] * UINT64_C(1000))
		i++;
	return round[i] * UINT64_C(1000);
}

/* How much of `line` (0: the lowest) a value fills. Little is not nothing. */
static unsigned steps_of(uint64_t value, uint64_t top, unsigned line)
{
	uint64_t steps = (value * LINES * STEPS + top / 2) / top;

	if (value > 0 && steps == 0)
		steps = 1;
	return (unsigned)MIN(usec_sub(steps, line * STEPS), (uint64_t)STEPS);
}

static void bars(const struct plot *plot, const uint64_t *values, enum paint paint)
{
	bool utf8 = plot->output->utf8;

	for (unsigned line = LINES; line-- > 0;) {
		if (line == LINES - 1)
			printf("%*" PRIu64 " %s", MARGIN - 2, plot->top / 1000, utf8 ? "┤" : "|");
		else
			printf("%*s%s", MARGIN - 1, "", utf8 ? "│" : "|");
		fputs(output_paint(plot->output, paint), stdout);
		for (unsigned i = 0, blanks = 0; i < plot->columns; i++) {
			unsigned steps = steps_of(values[i], plot->top, line);

			if (steps == 0) {
				blanks++;
				continue;
			}
			printf("%*s%s", (int)blanks, "", output_bar(plot->output, steps));
			blanks = 0;
		}
		printf("%s\n", output_paint(plot->output, PAINT_PLAIN));
	}
}

static void axis(const struct plot *plot, const struct demo_run *run)
{
	const struct output *output = plot->output;
	enum psb_available told[COLUMNS_MAX] = { 0 }; /* the last one of a column */

	for (unsigned i = 0; i < run->news_count; i++)
		if (run->news[i].at_usec < plot->length_usec)
			told[run->news[i].at_usec * plot->columns / plot->length_usec] =
				run->news[i].available;
	printf("%*d %s", MARGIN - 2, 0, output->utf8 ? "┼" : "+");
	for (unsigned i = 0; i < plot->columns; i++)
		if (told[i] == 0)
			fputs(output->utf8 ? "─" : "-", stdout);
		else
			printf("%s%s%s", output_paint(output, output_level_paint(told[i])),
			       output->utf8 ? "▲" : "^", output_paint(output, PAINT_PLAIN));
	putchar('\n');
}

/* Below the axis, at a time, or as far to the right of the word before, which ends at *at, as need be. */
static void put_word(const struct plot *plot, unsigned *at, uint64_t when_usec, const char *word,
		     enum paint paint)
{
	unsigned length = (unsigned)strlen(word), last = plot->columns - MIN(length, plot->columns),
		 want = (unsigned)MIN(when_usec * plot->columns / plot->length_usec,
				      (uint64_t)last);

	if (*at > 0)
		want = MAX(want, *at + 2);
	if (want > last)
		return;
	printf("%*s%s%s%s", (int)(want - *at), "", output_paint(plot->output, paint), word,
	       output_paint(plot->output, PAINT_PLAIN));
	*at = want + length;
}

static void mark_words(const struct plot *plot, const struct demo_run *run)
{
	unsigned at = 0;

	printf("%*s", MARGIN, "");
	for (unsigned i = 0; i < run->news_count; i++) {
		const struct demo_news *news = &run->news[i];
		char span[OUTPUT_WORD_MAX], word[OUTPUT_WORD_MAX + 16];

		snprintf(word, sizeof(word), "%s %s", words_level(news->available, false)->brief,
			 output_span(news->at_usec, span));
		if (news->at_usec < plot->length_usec)
			put_word(plot, &at, news->at_usec, word,
				 output_level_paint(news->available));
	}
	putchar('\n');
}

static void ruler(const struct plot *plot)
{
	unsigned seconds = (unsigned)((plot->length_usec + USEC_PER_SEC / 2) / USEC_PER_SEC),
		 at = 0;

	printf("%*s", MARGIN, "");
	for (unsigned s = 0; s <= seconds; s += MAX(seconds / 4, 1)) {
		char word[24];

		snprintf(word, sizeof(word), "%u s", s);
		put_word(plot, &at, s * USEC_PER_SEC, word, PAINT_PLAIN);
	}
	putchar('\n');
}

void demo_plot(const struct output *output, const struct demo *demo)
{
	const struct demo_run *without = &demo->without, *with = &demo->with;
	const char *bold = output_paint(output, PAINT_BOLD),
		   *plain = output_paint(output, PAINT_PLAIN);
	struct plot plot = { .output = output,
			     .columns = MIN(output->width, COLUMNS_MAX + MARGIN) - MARGIN - 1,
			     .length_usec = MAX(MAX(without->length_usec, with->length_usec),
						USEC_PER_SEC) };
	uint64_t a[COLUMNS_MAX], b[COLUMNS_MAX];

	values_of(&plot, without, a);
	values_of(&plot, with, b);
	plot.top = scale_top(a, b, plot.columns);
	printf("\n%stime stalled for want of memory, percent: without psibridge%s\n", bold, plain);
	bars(&plot, a, PAINT_BAD);
	axis(&plot, without);
	printf("%swith psibridge%s\n", bold, plain);
	bars(&plot, b, PAINT_GOOD);
	axis(&plot, with);
	if (with->news_count > 0)
		mark_words(&plot, with);
	ruler(&plot);
}
