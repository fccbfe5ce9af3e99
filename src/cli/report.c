/* SPDX-License-Identifier: MIT */
/*
 * report.c - psibridge report: a trace as a page with pictures, or as one picture
 *
 *     files --> series --> sections: what was told, what other triggers would have done --> pictures, tables --> a file
 *
 * Those cgroups that stalled most have a section. The page is one file, runs no script, and asks for nothing: a browser is told so, too
 * (its Content-Security-Policy). Names in it are of others' choice.
 */
#include "cli/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "cli/tune.h"
#include "cli/words.h"
#include "core/names.h"
#include "core/utf8.h"

static const char help[] =
	"psibridge report - draw what a trace has recorded: stalls, memory, what was told\n"
	"\n"
	"Usage: psibridge report FILE... --output OUT.html|OUT.svg|OUT.png [OPTION...]\n"
	"\n"
	"FILE is as for \"psibridge replay\", or a directory of such files, as psibridged\n"
	"keeps them in /var/lib/psibridge/trace. Pictures are drawn by gnuplot.\n"
	"\n"
	"  -o, --output FILE    a page to open in a browser (.html), or a picture (.svg,\n"
	"                       .png)\n"
	"  --cgroup PATH        only this one               [the eight that stalled most]\n"
	"  --beside TRIGGER     and when this one would have spoken; may be repeated\n"
	"  --dark               a picture on a dark ground; a page has both\n"
	"  --help\n"
	"\n" THRESHOLD_HELP "\n"
	"What was told live is shown where the trace has it and no threshold is given\n"
	"here; else what psibridge would have told.\n"
	"\n"
	"Exit status: 0 it is drawn, 1 it is not, or some lines could not be read, 2 the\n"
	"command line makes no sense.\n"
	"\n"
	"Example: psibridge report friday.trace --beside \"full 1s/10s\" -o friday.html\n";

#define FILES_MAX 64
#define SECTIONS_MAX 8
#define ROWS_MAX 100
#define AROUND_USEC \
	(5 * USEC_PER_SEC) /* before and after a notification, as src/monitor/effect.c looks */

struct session {
	const char *files[FILES_MAX + 1], *output, *cgroup;
	unsigned file_count;
	bool dark, live;
	struct policy_options options;
	struct report_beside
		beside[REPORT_BESIDE_MAX]; /* what others ask for, and what --beside adds */
	unsigned beside_count;
	struct trace_set set;
	struct report_section *sections; /* of all, the worst first */
	unsigned shown;
};

/* ---- what there is to show ----------------------------------------------------------------------- */

static bool find_told(const struct session *s, struct report_section *section)
{
	bool live = s->live && trace_has_told(section->series);

	section->levels = live ? "told live (bar: Neutral < Low < critical)"
			       : "psibridge (bar: Neutral < Low < critical)";
	section->told = trace_told(section->series, live ? NULL : &s->options, true);
	return !section->told.failed;
}

/* Where it is between two points of a straight growth. */
static uint64_t crossing(const struct trace_growth *a, const struct trace_growth *b,
			 uint64_t threshold_usec)
{
	double part = ((double)threshold_usec - (double)a->growth_usec) /
		      ((double)b->growth_usec - (double)a->growth_usec);

	return a->at_usec + (uint64_t)((double)(b->at_usec - a->at_usec) * part);
}

/* From where the trigger is passed to where it is not any more. */
static bool find_spans(const struct trace_series *series, struct report_beside *b)
{
	const uint64_t threshold = b->trigger.threshold_usec;
	size_t count;
	struct trace_growth *points = trace_growth(series, &b->trigger, &count);
	bool over = false, before;

	b->spans = points ? calloc(count, sizeof(*b->spans)) : NULL;
	for (size_t i = 0; b->spans && i < count; i++) {
		const struct trace_growth *p = &points[i];
		uint64_t at = p->at_usec;

		before = over;
		over = p->growth_usec >= threshold;
		if (i > 0 && over != before)
			at = crossing(p - 1, p, threshold);
		if (over && !before)
			b->spans[b->count++].from_usec = at;
		if (over || before)
			b->spans[b->count - 1].to_usec = over ? p->at_usec : at;
	}
	free(points);
	return b->spans;
}

/* A moment of a series: its clock's, or since it began. */
static const char *when(const struct trace_series *s, uint64_t usec, char *buf)
{
	uint64_t end = s->samples[s->count - 1].time_usec, span = end - s->samples[0].time_usec;
	time_t at = (time_t)((s->began_usec + usec) / USEC_PER_SEC);
	struct tm tm;

	if (s->began_usec == 0 || end < 60 * USEC_PER_SEC || !localtime_r(&at, &tm))
		snprintf(buf, OUTPUT_WORD_MAX, "%.1f s", (double)usec / (double)USEC_PER_SEC);
	else
		strftime(buf, OUTPUT_WORD_MAX,
			 span < 86400 * USEC_PER_SEC ? "%H:%M:%S" : "%d %b %H:%M:%S", &tm);
	return buf;
}

static bool find_beside(const struct session *s, struct report_section *section)
{
	memcpy(section->beside, s->beside, sizeof(s->beside));
	for (; section->beside_count < s->beside_count; section->beside_count++) {
		struct report_beside *b = &section->beside[section->beside_count];
		char trigger[TRIGGER_TEXT_MAX], first[OUTPUT_WORD_MAX];
		uint64_t times = 0; /* that the kernel would have said so: at most once a window */
		int n;

		if (!find_spans(section->series, b))
			return false;
		for (size_t i = 0; i < b->count; i++)
			times += 1 + (b->spans[i].to_usec - b->spans[i].from_usec) /
					     b->trigger.window_usec;
		trigger_format(&b->trigger, trigger);
		n = snprintf(b->label, sizeof(b->label), "%s%s%s: %s", b->who, *b->who ? ", " : "",
			     trigger, times == 0 ? "never" : "");
		if (times > 0)
			snprintf(b->label + n, sizeof(b->label) - (size_t)n,
				 "%" PRIu64 " time%s from %s", times, times == 1 ? "" : "s",
				 when(section->series, b->spans[0].from_usec, first));
	}
	return true;
}

static void find_stall(struct report_section *section)
{
	const struct trace_series *s = section->series;

	for (size_t i = 0; i < s->count; i++)
		section->most_bytes = MAX(section->most_bytes,
					  MAX(s->samples[i].used_bytes, s->samples[i].limit_bytes));
	section->some_usec = trace_stalled(s, PSI_SOME);
	section->full_usec = trace_stalled(s, PSI_FULL);
}

static int worst_first(const void *a, const void *b)
{
	const struct report_section *x = a, *y = b;

	if (x->some_usec != y->some_usec)
		return x->some_usec < y->some_usec ? 1 : -1;
	return strcmp(x->series->cgroup, y->series->cgroup);
}

static bool find_sections(struct session *s)
{
	unsigned i = 0;

	s->sections = calloc(s->set.count, sizeof(*s->sections));
	if (!s->sections)
		return false;
	for (const struct trace_series *t = s->set.first; t; t = t->next) {
		s->sections[i].series = t;
		find_stall(&s->sections[i++]);
	}
	qsort(s->sections, s->set.count, sizeof(*s->sections), worst_first);
	while (s->shown < MIN(s->set.count, SECTIONS_MAX) &&
	       (s->shown == 0 || s->sections[s->shown].some_usec > 0))
		s->shown++;
	for (i = 0; i < s->shown; i++) {
		struct report_section *section = &s->sections[i];
		bool files = s->file_count > 1;

		section->low = s->options.low;
		if (asprintf(&section->title, "%s%s%s%s%s", section->series->cgroup,
			     section->series->cgroup[1] ? "" : ", the whole machine",
			     files ? " (" : "", files ? section->series->file : "",
			     files ? ")" : "") < 0 ||
		    !find_told(s, section) || !find_beside(s, section))
			return false;
	}
	return true;
}

/* ---- the page ------------------------------------------------------------------------------------ */

static void put_text(const char *text, FILE *out)
{
	size_t capacity = 3 * strlen(text) + 1;
	char *clean = malloc(capacity);

	if (!clean)
		return;
	utf8_hide_controls(clean, utf8_replace(text, clean, capacity));
	for (const char *p = clean; *p; p++)
		if (strchr("&<>\"'", *p))
			fprintf(out, "&#%d;", *p);
		else
			fputc(*p, out);
	free(clean);
}

static const char style[] =
	"*{box-sizing:border-box}"
	"body{background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif;"
	"margin:0 auto;padding:1rem;max-width:64rem}"
	"h1,h2,h3{line-height:1.2;overflow-wrap:anywhere}h2{margin-top:2.5rem;border-top:1px solid var(--grid);padding-top:1rem}"
	"p{max-width:46rem}figure{margin:1rem 0}svg{display:block;width:100%;height:auto}.narrow{display:none}"
	"figcaption,.aside{font-size:.875rem}"
	"table{border-collapse:collapse;font-size:.875rem;width:100%}.scroll{overflow-x:auto}pre{overflow-x:auto;padding:.5rem;border:1px solid var(--grid)}"
	"th{white-space:normal!important}th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid var(--grid);vertical-align:top}"
	".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
	".low{font-weight:bold}td span{font-weight:normal}"
	"pre{overflow-x:auto;border:1px solid var(--grid);padding:.5rem}"
	"a{color:inherit}"
	"@media(max-width:600px){body{padding:.5rem}.wide{display:none}.narrow{display:block}"
	"th,td{padding-right:.4rem}table{font-size:.8rem}}"
	"@media print{:root{color-scheme:light}}";

static void put_head(const struct session *s, FILE *out)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Memory pressure: ",
	      out);
	put_text(s->files[0], out);
	fputs("</title>\n<style>", out);
	report_css(out);
	fprintf(out, "%s</style>\n</head>\n<body>\n<h1>Memory pressure: ", style);
	for (unsigned i = 0; i < s->file_count; i++) {
		fputs(i > 0 ? ", " : "", out);
		put_text(s->files[i], out);
	}
	fputs("</h1>\n", out);
}

static void put_settings(const struct session *s, FILE *out)
{
	struct value value;
	char text[VALUE_TEXT_MAX];

	fputs("<p class=\"aside\">Judged with", out);
	for (enum setting i = SETTING_EARLY; i <= SETTING_CRITICAL; i++) {
		(void)setting_get(&s->options, i, &value);
		value_format(setting_table[i].form, &value, text);
		fprintf(out, "%s %s %s", i > 0 ? "," : "", setting_table[i].word, text);
	}
	fputs(". Between two lines of a trace what grew is taken as grown evenly.</p>\n", out);
}

/* What of all there is here. */
static void put_overview(const struct session *s, FILE *out)
{
	char span[OUTPUT_WORD_MAX], some[OUTPUT_WORD_MAX], full[OUTPUT_WORD_MAX];
	unsigned left_out = s->set.count - s->shown;

	fprintf(out, "<p>%s of %u cgroup%s.", output_span(s->set.usec, span), s->set.count,
		s->set.count == 1 ? "" : "s");
	if (left_out > 0)
		fprintf(out,
			" Shown are the %u that stalled most; %u other%s left out, of which the worst stalled %s.",
			s->shown, left_out, left_out == 1 ? " is" : "s are",
			output_span(s->sections[s->shown].some_usec, some));
	fputs("</p>\n", out);
	put_settings(s, out);
	if (s->shown < 2)
		return;
	fputs("<table><thead><tr><th>cgroup<th class=\"n\">some stalled<th class=\"n\">all stalled</thead>\n",
	      out);
	for (unsigned i = 0; i < s->shown; i++) {
		fprintf(out, "<tr><td><a href=\"#c%u\">", i);
		put_text(s->sections[i].title, out);
		fprintf(out, "</a><td class=\"n\">%s<td class=\"n\">%s\n",
			output_span(s->sections[i].some_usec, some),
			output_span(s->sections[i].full_usec, full));
	}
	fputs("</table>\n", out);
}

/* How memory in use changed in those seconds. */
static void put_change(uint64_t from, uint64_t to, FILE *out)
{
	char size[OUTPUT_WORD_MAX];

	if (from == 0 || to == 0)
		fputs("<td class=\"n\">?", out);
	else
		fprintf(out, "<td class=\"n\">%s%s", to < from ? "−" : "+",
			output_size(to < from ? from - to : to - from, size));
}

static void put_told(const struct trace_series *s, const struct trace_sample *t, bool memory,
		     FILE *out)
{
	static const char *const causes[] = {
		[CAUSE_UNKNOWN] = "",
		[CAUSE_OWN] = ": its own limit",
		[CAUSE_ANCESTOR] = ": a limit above it",
		[CAUSE_DESCENDANT] = ": a limit below it",
		[CAUSE_MACHINE] = ": the machine",
	};
	const struct psb_notification n = { .reason = (enum psb_reason)t->reason };
	const struct trace_sample before = trace_at(s, usec_sub(t->time_usec, AROUND_USEC)),
				  at = trace_at(s, t->time_usec),
				  after = trace_at(s, t->time_usec + AROUND_USEC);
	bool low = t->told == LEVEL_LOW, ended = after.time_usec < t->time_usec + AROUND_USEC;
	char time[OUTPUT_WORD_MAX], a[OUTPUT_WORD_MAX], b[OUTPUT_WORD_MAX], cause[CAUSE_TEXT_MAX];

	fprintf(out,
		"<tr%s><td class=\"n\">%s<td>%s: <span>%s%s</span><td class=\"n\">%s<td class=\"n\">%s",
		low ? " class=\"low\"" : "", when(s, t->time_usec, time),
		low && t->critical ? "Low, critical" : words_level(t->told, false)->brief,
		words_cause(&n, cause), causes[t->cause],
		output_span(usec_sub(at.some_usec, before.some_usec), a),
		ended ? "?" : output_span(usec_sub(after.some_usec, at.some_usec), b));
	if (memory)
		put_change(at.used_bytes, ended ? 0 : after.used_bytes, out);
	fputc('\n', out);
}

static void put_notifications(const struct report_section *s, FILE *out)
{
	bool memory = s->most_bytes > 0;

	fputs("<h3>Notifications</h3>\n", out);
	if (s->told.count == 0) {
		fputs("<p>There was none.</p>\n", out);
		return;
	}
	fprintf(out,
		"<table><thead><tr><th class=\"n\">at<th>told<th class=\"n\">stalled, 5 s before"
		"<th class=\"n\">5 s after%s</thead>\n",
		memory ? "<th class=\"n\">memory, 5 s after" : "");
	for (size_t i = 0; i < MIN(s->told.count, (size_t)ROWS_MAX); i++)
		put_told(s->series, &s->told.list[i], memory, out);
	fputs("</table>\n", out);
	if (s->told.count > ROWS_MAX)
		fprintf(out, "<p>And %zu more, which “psibridge replay” prints.</p>\n",
			s->told.count - ROWS_MAX);
}

static void put_beside(const struct report_section *s, FILE *out)
{
	fputs("<h3>Other triggers</h3>\n<p>What the kernel would have told whoever had set these, over a window that slides, at "
	      "most once a window:</p>\n<ul>\n",
	      out);
	for (unsigned i = 0; i < s->beside_count; i++)
		fprintf(out, "<li>%s\n", s->beside[i].label);
	fputs("</ul>\n", out);
}

static int put_section(const struct report_section *s, unsigned number, FILE *out)
{
	const struct trace_series *t = s->series;
	char some[OUTPUT_WORD_MAX], full[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX];
	const char *classes[] = { "wide", "narrow" };
	int r = 0;

	fprintf(out, "<h2 id=\"c%u\">", number);
	put_text(s->title, out);
	fprintf(out,
		"</h2>\n<p>In %s some tasks waited for memory for %s, and all of them for %s.</p>\n<figure>\n",
		output_span(t->samples[t->count - 1].time_usec - t->samples[0].time_usec, span),
		output_span(s->some_usec, some), output_span(s->full_usec, full));
	for (unsigned i = 0; i < ELEMENTSOF(classes) && r == 0; i++) {
		const struct report_look look = { REPORT_INLINE, false, i ? 400 : 960, i ? 13 : 14,
						  i ? 300 : 800 };

		fprintf(out, "<div class=\"%s\">", classes[i]);
		r = report_draw(s, 1, &look, out);
		fputs("</div>\n", out);
	}
	fputs("<figcaption>Each column is the worst of its time. In the lane of levels a low bar is Neutral (memory is tight), "
	      "a middle one Low (memory is short), a high one Low and critical (all tasks wait); a line is a Low that is told.</figcaption>\n"
	      "</figure>\n",
	      out);
	put_notifications(s, out);
	put_beside(s, out);
	return r;
}

/* ---- a better setting -------------------------------------------------------------------------------- */

static void put_drop_in(const struct tune_result *result, FILE *out)
{
	char *text = NULL;
	size_t size;
	FILE *lines = open_memstream(&text, &size);

	if (lines) {
		tune_drop_in(result, lines);
		fclose(lines);
	}
	fputs("<pre>", out);
	for (char *rest = text, *line; rest && (line = strsep(&rest, "\n"));) {
		put_text(line, out);
		fputc('\n', out);
	}
	fputs("</pre>\n", out);
	free(text);
}

static void put_recommendation(const struct tune_result *result, const struct tune_options *options,
			       FILE *out)
{
	char reasons[TUNE_REASONS_MAX];

	fprintf(out, "<h3>To %s</h3>\n<p>%s", tune_purposes[options->purpose],
		result->why_not ? result->why_not : "");
	if (result->best) {
		tune_reasons(result, options, reasons, sizeof(reasons));
		fprintf(out, " <strong>%s</strong>. %s</p>\n", result->best->name, reasons);
		put_drop_in(result, out);
	} else {
		fputs("</p>\n", out);
	}
}

static void put_tune_table(const struct tune_result *result, const struct tune_options *options,
			   FILE *out)
{
	static const char *const heads[TUNE_CELLS] = {
		"Lows",		"in vain",	"told of",     "after", "before worst",
		"before limit", "stall in Low", "time in Low", "flaps"
	};
	const struct tune_point *rows[TUNE_POINTS_MAX];
	size_t count = tune_rows(result, rows);

	fputs("<div class=\"scroll\"><table>\n<tr><th>setting</th>", out);
	for (unsigned i = 0; i < TUNE_CELLS; i++)
		fprintf(out, "<th class=\"n\">%s</th>", heads[i]);
	fputs("</tr>\n", out);
	for (size_t i = 0; i < count; i++) {
		char cells[TUNE_CELLS][TUNE_CELL_MAX];

		tune_cells(result, options, rows[i], cells);
		fprintf(out, "<tr%s><td>%s</td>", rows[i] == result->best ? " class=\"low\"" : "",
			rows[i]->name);
		for (unsigned c = 0; c < TUNE_CELLS; c++)
			fprintf(out, "<td class=\"n\">%s</td>", cells[c]);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n<p class=\"aside\">psibridge-tune(1) says what the columns are; q is Quiet=10s, r is Rearm=60s.</p>\n",
	      out);
}

/* What psibridge tune says: a recommendation for each purpose, and the table of the first. */
static int put_tuning(const struct session *s, FILE *out)
{
	struct tune_result result;
	struct tune_options options = { .privileged = true, .progress = isatty(STDERR_FILENO) };
	int r;

	options.at_most = tune_at_most[TUNE_TRIM];
	r = tune_traces(&s->set, &options, &result);
	fputs("<h2>A better setting</h2>\n", out);
	for (enum tune_purpose p = TUNE_TRIM; p <= TUNE_RESTART && r == 0; p++) {
		options.purpose = p;
		options.at_most = tune_at_most[p];
		tune_choose(&result, &options);
		put_recommendation(&result, &options, out);
		if (p == TUNE_TRIM)
			put_tune_table(&result, &options, out);
	}
	tune_done(&result);
	return r;
}

static int put_page(const struct session *s, FILE *out)
{
	int r = 0;

	put_head(s, out);
	put_overview(s, out);
	for (unsigned i = 0; i < s->shown && r == 0; i++)
		r = put_section(&s->sections[i], i, out);
	if (r == 0)
		r = put_tuning(s, out);
	fprintf(out,
		"<p class=\"aside\">Made by psibridge %s; psibridge-tuning(7) says how to read it.</p>\n</body>\n</html>\n",
		psb_version());
	return r;
}

/* ---- the verb ------------------------------------------------------------------------------------ */

static int make(struct session *s, enum report_form form)
{
	const struct report_look look = { form, s->dark, 720, 15, 600 };
	char *text = NULL;
	size_t size;
	FILE *out = find_sections(s) ? open_memstream(&text, &size) : NULL;
	int r = -ENOMEM;

	if (!out) {
		complain("report", "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r = form == REPORT_INLINE ? put_page(s, out)
				  : report_draw(s->sections, s->shown, &look, out);
	if (fclose(out) == EOF && r == 0) {
		r = -ENOMEM;
		complain("report", "%s", strerror(ENOMEM));
	}
	if (r == 0) {
		r = output_file(s->output, text, size);
		if (r < 0)
			complain("report", "%s: %s", s->output, strerror(-r));
	}
	free(text);
	return r;
}

static void free_all(struct session *s)
{
	for (unsigned i = 0; i < s->shown; i++) {
		free(s->sections[i].title);
		free(s->sections[i].told.list);
		for (unsigned k = 0; k < REPORT_BESIDE_MAX; k++)
			free(s->sections[i].beside[k].spans);
	}
	free(s->sections);
	trace_set_free(&s->set);
}

static int report(struct session *s, enum report_form form)
{
	int r = trace_set_read("report", s->files, s->cgroup, &s->set), made = r;

	if (s->set.first)
		made = make(s, form);
	if (s->set.first && made == 0 && s->shown < s->set.count && form != REPORT_INLINE)
		complain("report", "%u of %u cgroups, those that stalled most, are in %s", s->shown,
			 s->set.count, s->output);
	free_all(s);
	return r == 0 && made == 0 ? EXIT_OK : EXIT_FAILED;
}

static int take_file(const struct args *args, const struct args_setting *option)
{
	struct session *s = option->to;

	s->files[s->file_count++] = args->value;
	return 0;
}

static int take_beside(const struct args *args, const struct args_setting *option)
{
	struct session *s = option->to;
	struct report_beside beside = { .who = "" };
	const char *why = "there are too many of them";

	if (s->beside_count == REPORT_BESIDE_MAX ||
	    trigger_parse(args->value, strlen(args->value), &beside.trigger, &why) < 0)
		return args_refuse(args, why);
	s->beside[s->beside_count++] = beside;
	return 0;
}

/* By the end of its name. Errors: -EINVAL, told. */
static int form_of(const char *output)
{
	static const char *const ends[] = {
		[REPORT_SVG] = ".svg", [REPORT_PNG] = ".png", [REPORT_INLINE] = ".html"
	};

	for (int form = 0; output && form < (int)ELEMENTSOF(ends); form++)
		if (scan_ends_with(scan_string(output), ends[form]))
			return form;
	complain("report", "%s%s%s: a file that ends in .html, .svg or .png was expected",
		 output ? "--output \"" : "--output is missing", output ? output : "",
		 output ? "\"" : "");
	return -EINVAL;
}

int verb_report(int argc, char **argv)
{
	static struct session s = {
		.beside = { { .who = "systemd", .trigger = { PSI_SOME, 200000, 2000000 } },
			    { .who = "GLib", .trigger = { PSI_SOME, 70000, 2000000 } },
			    { .who = "lmkd", .trigger = { PSI_FULL, 700000, 1000000 } } },
		.beside_count = 3,
	};
	const struct args_setting options[] = {
		ARGS_TEXT("output", "a file that ends in .html, .svg or .png", &s.output),
		ARGS_SETTING("cgroup", "the path of a cgroup", policy_take_cgroup, &s.cgroup, 0, 0),
		ARGS_SETTING("beside", "a trigger such as \"some 200ms/2s\"", take_beside, &s, 0,
			     0),
		ARGS_FLAG("dark", &s.dark),
	};
	struct args_setting settings[SETTING_COUNT + ELEMENTSOF(options) + FILES_MAX + 1] = { 0 };
	struct policy_options built_in;
	int status, form;

	policy_settings(settings, &s.options);
	memcpy(settings + SETTING_COUNT, options, sizeof(options));
	for (unsigned i = 0; i < FILES_MAX; i++)
		settings[SETTING_COUNT + ELEMENTSOF(options) + i] = (struct args_setting)
			ARGS_SETTING(NULL, NULL, take_file, &s, 0, 0);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (s.file_count == 0) {
		complain("report", "a FILE is missing; \"-\" is standard input");
		return EXIT_USAGE;
	}
	form = form_of(s.output);
	if (form < 0 || !policy_settings_fit("report", &s.options))
		return EXIT_USAGE;
	settings_built_in(&built_in);
	s.live = settings_are_equal(&s.options, &built_in);
	return report(&s, (enum report_form)form);
}
