/* SPDX-License-Identifier: MIT */
/*
 * tune-print.c - the table, 79 columns wide, the recommendation in words, and what to paste
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/tune.h"
#include "core/setting.h"

#define FRONTIER_MAX 8
#define HEAD "  %-19s%6s%5s%9s%7s%7s%7s%6s%6s%5s"

const char *const tune_purposes[] = { "trim", "shed", "restart" };

/* "0.8s", "35s", "12m", "7h"; "-0.8s" */
static const char *brief(int64_t usec, char *buf)
{
	uint64_t size = usec < 0 ? (uint64_t)-usec : (uint64_t)usec;
	double sec = (double)(size / 100000) / 10; /* cut off, as output_span() does */
	const char *sign = usec < 0 ? "-" : "";

	if (sec < 99.95)
		snprintf(buf, TUNE_CELL_MAX, "%s%.1fs", sign, sec);
	else if (sec < 5940)
		snprintf(buf, TUNE_CELL_MAX, "%s%.0fm", sign, sec / 60);
	else
		snprintf(buf, TUNE_CELL_MAX, "%s%.0fh", sign, sec / 3600);
	return buf;
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part * 100 / (double)whole : 0;
}

void tune_cells(const struct tune_result *r, const struct tune_options *o,
		const struct tune_point *p, char cells[TUNE_CELLS][TUNE_CELL_MAX])
{
	uint64_t delay = tune_delay(p, o->purpose);
	unsigned wanted = tune_episodes(r, o->purpose);

	for (unsigned i = 0; i < TUNE_CELLS; i++)
		strcpy(cells[i], "never");
	snprintf(cells[0], TUNE_CELL_MAX, "%.3g", tune_rate(r, p, o->purpose));
	snprintf(cells[1], TUNE_CELL_MAX, "%u", tune_false(p, o->purpose));
	snprintf(cells[2], TUNE_CELL_MAX, "%u/%u", wanted - tune_missed(r, p, o->purpose), wanted);
	if (delay != USEC_NEVER)
		brief((int64_t)delay, cells[3]);
	if (p->score.worst_lead_usec != INT64_MIN)
		brief(p->score.worst_lead_usec, cells[4]);
	if (r->limits == 0)
		strcpy(cells[5], "-");
	else if (p->score.unseen == 0 && p->score.lead_usec != UINT64_MAX)
		brief((int64_t)p->score.lead_usec, cells[5]);
	snprintf(cells[6], TUNE_CELL_MAX, "%.0f%%", share(p->score.low_some_usec, r->some_usec));
	snprintf(cells[7], TUNE_CELL_MAX, "%.1f%%", share(p->score.low_usec, r->usec));
	snprintf(cells[8], TUNE_CELL_MAX, "%u", p->score.flaps);
}

static int print_row(const struct tune_result *r, const struct tune_options *o,
		     const struct output *output, const struct tune_point *p)
{
	static const int widths[TUNE_CELLS] = { 6, 5, 9, 7, 7, 7, 6, 6, 5 };
	char cells[TUNE_CELLS][TUNE_CELL_MAX];

	errno = 0;
	tune_cells(r, o, p, cells);
	output_painted(output, p == r->best ? PAINT_BOLD : PAINT_PLAIN, "%c %-19s",
		       p == r->best ? '*' : ' ', p->name);
	for (unsigned i = 0; i < TUNE_CELLS; i++)
		printf("%*s", widths[i], cells[i]);
	return output_end_line();
}

/* By how often they speak. */
static int by_lows(const void *a, const void *b)
{
	const struct tune_point *x = *(const struct tune_point *const *)a,
				*y = *(const struct tune_point *const *)b;

	if (x->score.lows != y->score.lows)
		return x->score.lows < y->score.lows ? -1 : 1;
	return x < y ? -1 : x > y;
}

size_t tune_rows(const struct tune_result *r, const struct tune_point *rows[TUNE_POINTS_MAX])
{
	const struct tune_point *list[TUNE_POINTS_MAX];
	size_t count = 0, shown, n = 0;

	for (size_t i = 0; i < r->count; i++)
		if (r->points[i].frontier && &r->points[i] != r->best)
			list[count++] = &r->points[i];
	qsort(list, count, sizeof(*list), by_lows);
	shown = MIN(count, (size_t)FRONTIER_MAX);
	for (size_t i = 0; i < shown; i++)
		rows[n++] = list[shown == 1 ? 0 : i * (count - 1) / (shown - 1)];
	if (r->best)
		rows[n++] = r->best;
	for (size_t i = 0; i < r->count; i++)
		if (!r->points[i].in_grid)
			rows[n++] = &r->points[i];
	return n;
}

static int print_table(const struct tune_result *r, const struct tune_options *o,
		       const struct output *output)
{
	const struct tune_point *rows[TUNE_POINTS_MAX];
	size_t count = tune_rows(r, rows);
	int n;

	output_painted(output, PAINT_DIM, "  %-19s%6s%5s%9s%7s%7s%7s%12s", "", "Lows", "in", "told",
		       "after", "before", "before", "in Low:");
	fputc('\n', stdout);
	output_painted(output, PAINT_DIM, HEAD, "setting",
		       r->usec < 3600 * USEC_PER_SEC ? "in all" : "/h", "vain", "of", "", "worst",
		       "limit", "stall", "time", "flap");
	n = output_end_line();
	for (size_t i = 0; i < count && n == 0; i++)
		n = print_row(r, o, output, rows[i]);
	return n;
}

/* ---- words ------------------------------------------------------------------------------------------------ */

static void print_facts(const struct tune_result *r, const struct output *output)
{
	char span[OUTPUT_WORD_MAX], stalled[OUTPUT_WORD_MAX], text[512];
	unsigned light = r->episodes[SEVERITY_LIGHT], heavy = r->episodes[SEVERITY_HEAVY],
		 lost = r->episodes[SEVERITY_LOST];

	snprintf(
		text, sizeof(text),
		"%s of %u cgroup%s. %s stalled in %u episode%s: %u light, %u heavy (some over 10 %% of its worst ten seconds), %u lost (full over 50 %%, or out of memory). A limit was reached %u time%s.",
		output_span(r->usec, span), r->series, r->series == 1 ? "" : "s",
		output_span(r->some_usec, stalled), light + heavy + lost,
		light + heavy + lost == 1 ? "" : "s", light, heavy, lost, r->limits,
		r->limits == 1 ? "" : "s");
	output_paragraph(output, "", 0, text);
	fputc('\n', stdout);
}

static const char *certainty(unsigned episodes)
{
	return episodes < 5    ? "a guess"
	       : episodes < 20 ? "a first answer; record longer before it decides over much"
			       : "as sure as this load stays as it was";
}

/* The earliest of the frontier, for what the best one gives up. */
static const struct tune_point *earliest(const struct tune_result *r, enum tune_purpose purpose)
{
	const struct tune_point *found = NULL;

	for (size_t i = 0; i < r->count; i++)
		if (r->points[i].frontier &&
		    tune_missed(r, &r->points[i], purpose) <= tune_missed(r, r->best, purpose) &&
		    tune_false(&r->points[i], purpose) <= tune_false(r->best, purpose) &&
		    (!found || tune_delay(&r->points[i], purpose) < tune_delay(found, purpose)))
			found = &r->points[i];
	return found == r->best ? NULL : found;
}

void tune_reasons(const struct tune_result *r, const struct tune_options *o, char *text,
		  size_t size)
{
	const struct tune_point *b = r->best, *e = earliest(r, o->purpose);
	char after[OUTPUT_WORD_MAX], low[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX],
		sooner[OUTPUT_WORD_MAX];
	unsigned wanted = tune_episodes(r, o->purpose), missed = tune_missed(r, b, o->purpose);
	unsigned lighter = 0;
	size_t n;

	for (unsigned s = SEVERITY_LIGHT; s < tune_wanted(o->purpose); s++)
		lighter += r->episodes[s];
	n = (size_t)snprintf(
		text, size,
		"It would have told Low %u time%s, in %u of %u episodes that call for it, %s after their begin on average, %u of them in vain, and been Low for %s.",
		b->score.lows, b->score.lows == 1 ? "" : "s", wanted - missed, wanted,
		output_span(tune_delay(b, o->purpose), after), tune_false(b, o->purpose),
		output_span(b->score.low_usec, low));
	if (e && tune_delay(e, o->purpose) < tune_delay(b, o->purpose))
		n += (size_t)snprintf(
			text + n, size - n, " It gives up: %s speaks %s sooner, %u time%s.",
			e->name,
			output_span(tune_delay(b, o->purpose) - tune_delay(e, o->purpose), sooner),
			e->score.lows, e->score.lows == 1 ? "" : "s");
	if (lighter > 0 && n < size)
		n += (size_t)snprintf(text + n, size - n, " %u lighter episode%s no reason to %s.",
				      lighter, lighter == 1 ? " is" : "s are",
				      tune_purposes[o->purpose]);
	if (n < size)
		snprintf(
			text + n, size - n,
			" How sure: %u episode%s in %s, %s; %u other setting%s of the grid did as well.",
			wanted, wanted == 1 ? "" : "s", output_span(r->usec, span),
			certainty(wanted), r->as_good, r->as_good == 1 ? "" : "s");
}

/* The settings that are not built in. */
static bool differs(const struct tune_result *r, enum setting setting, char *text)
{
	struct policy_options built_in;
	char other[VALUE_TEXT_MAX];
	struct value value;

	settings_built_in(&built_in);
	setting_get(&built_in, setting, &value);
	value_format(setting_table[setting].form, &value, other);
	setting_get(&r->best->candidate.options, setting, &value);
	value_format(setting_table[setting].form, &value, text);
	return setting == SETTING_LOW || strcmp(text, other) != 0;
}

/* A cgroup's name is of others' choice, and this goes to a terminal, and from there to a shell. */
static void put_cgroup(const char *cgroup, FILE *out)
{
	for (const char *p = cgroup; *p; p++)
		fputc((unsigned char)*p < ' ' || *p == 0x7f || *p == '\'' ? '?' : *p, out);
}

void tune_drop_in(const struct tune_result *r, FILE *out)
{
	char text[VALUE_TEXT_MAX];

	fprintf(out, "# /etc/psibridge/psibridged.conf.d/50-tuned.conf\n[%s",
		r->cgroup ? "Watch " : "Defaults");
	put_cgroup(r->cgroup ? r->cgroup : "", out);
	fputs("]\n", out);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (differs(r, i, text))
			fprintf(out, "%s=%s\n", setting_table[i].key, text);
	if (!r->cgroup)
		return;
	fputs("# or, until the machine restarts:\n# psibridge set '", out);
	put_cgroup(r->cgroup, out);
	fputc('\'', out);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (differs(r, i, text))
			fprintf(out, " --%s \"%s\"", setting_table[i].word, text);
	fputc('\n', out);
}

int tune_print(const struct tune_result *r, const struct tune_options *o,
	       const struct output *output)
{
	char text[TUNE_REASONS_MAX];
	int n;

	print_facts(r, output);
	n = print_table(r, o, output);
	if (n < 0)
		return n;
	errno = 0;
	fputc('\n', stdout);
	if (r->why_not)
		output_paragraph(output, "", 0, r->why_not);
	if (!r->best)
		return output_end();
	output_painted(output, PAINT_BOLD, "For %s: %s", tune_purposes[o->purpose], r->best->name);
	fputc('\n', stdout);
	tune_reasons(r, o, text, sizeof(text));
	output_paragraph(output, "", 0, text);
	fputc('\n', stdout);
	tune_drop_in(r, stdout);
	return output_end();
}

static json_t *point_json(const struct tune_result *r, const struct tune_options *o,
			  const struct tune_point *p)
{
	const struct score *s = &p->score;
	uint64_t delay = tune_delay(p, o->purpose);
	json_t *object = json_pack(
		"{s:s, s:b, s:b, s:i, s:i, s:f, s:i, s:i, s:i, s:i, s:o, s:o, s:i, s:i}", "setting",
		p->name, "in_grid", p->in_grid, "frontier", p->frontier, "low", (int)s->lows,
		"critical", (int)s->criticals, "low_per_hour", tune_rate(r, p, o->purpose),
		"in_vain", (int)tune_false(p, o->purpose), "needless", (int)s->needless, "flaps",
		(int)s->flaps, "missed", (int)tune_missed(r, p, o->purpose), "low_usec",
		output_json_number(s->low_usec), "low_some_usec",
		output_json_number(s->low_some_usec), "limits", (int)s->limits, "limits_unseen",
		(int)s->unseen);

	if (delay != USEC_NEVER)
		json_object_set_new(object, "after_usec", output_json_number(delay));
	if (s->worst_lead_usec != INT64_MIN)
		json_object_set_new(object, "before_worst_usec", json_integer(s->worst_lead_usec));
	if (s->lead_usec != UINT64_MAX)
		json_object_set_new(object, "before_limit_usec", output_json_number(s->lead_usec));
	return object;
}

static json_t *settings_json(const struct policy_options *o)
{
	json_t *object = json_object();

	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		char text[VALUE_TEXT_MAX];
		struct value value;

		setting_get(o, i, &value);
		value_format(setting_table[i].form, &value, text);
		json_object_set_new(object, setting_table[i].key, json_string(text));
	}
	return object;
}

int tune_print_json(const struct tune_result *r, const struct tune_options *o)
{
	json_t *last;
	int n = 0;

	for (size_t i = 0; i < r->count && n == 0; i++) {
		json_t *object = point_json(r, o, &r->points[i]);

		json_object_set_new(object, "event", json_string("candidate"));
		n = output_json(object);
	}
	if (n < 0)
		return n;
	last = json_pack("{s:s, s:s, s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:s?}", "event",
			 "recommendation", "for", tune_purposes[o->purpose], "duration_usec",
			 output_json_number(r->usec), "some_usec", output_json_number(r->some_usec),
			 "light", (int)r->episodes[SEVERITY_LIGHT], "heavy",
			 (int)r->episodes[SEVERITY_HEAVY], "lost", (int)r->episodes[SEVERITY_LOST],
			 "limits", (int)r->limits, "as_good", (int)r->as_good, "why_not",
			 r->why_not);
	if (r->best) {
		json_object_set_new(last, "best", point_json(r, o, r->best));
		json_object_set_new(last, "settings", settings_json(&r->best->candidate.options));
	}
	return output_json(last);
}
