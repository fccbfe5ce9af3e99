/* SPDX-License-Identifier: MIT */
/*
 * why.c - psibridge why [CGROUP]: one notification explained
 *
 *     trace --> what was told (or would have been) --> the last Low up to a time --> the stall that led to it,
 *               the thresholds it passed, whose it was, what was told next, what came back
 *
 * Where nothing was told it says how near the most of it came.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/find-cgroup.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "cli/trace-look.h"
#include "cli/words.h"
#include "core/duration.h"
#include "core/names.h"
#include "core/setting.h"

static const char help[] =
	"psibridge why - say why Low was told, and what came of it\n"
	"\n"
	"Usage: psibridge why [CGROUP] [OPTION...]\n"
	"\n"
	"Without CGROUP it is the one that was told Low last. What psibridged observed\n"
	"is read; of a trace without notifications it is what would have been told.\n"
	"\n"
	"  --at TIME            the last Low up to then: 14:03, 14:03:07,\n"
	"                       \"2026-11-24 14:03\", -2h before the end, or 90s after\n"
	"                       the begin of the trace\n"
	"  --trace FILE         another trace, or a directory of them\n"
	"                                                    [" TRACE_DIRECTORY "]\n"
	"  --rung 2|3           of a trace without notifications: as with a privileged\n"
	"                       trigger, or with one of 2 s  [2]\n"
	"  --help\n"
	"\n" THRESHOLD_HELP "\n"
	"Those of psibridged hold where it runs and none is given.\n"
	"\n"
	"Exit status: 0 it is explained, 1 nothing could be read or nothing was told, 2\n"
	"the command line makes no sense.\n"
	"\n"
	"Example: psibridge why /shop.slice --at 14:03\n";

static const char default_trace[] = TRACE_DIRECTORY;

#define QUIET_USEC (2 * USEC_PER_SEC) /* so long without any: a stall began after it */
#define AFTER_USEC (5 * USEC_PER_SEC)

struct session {
	struct output output;
	struct trace_set set;
	const char *cgroup, *at, *trace;
	struct policy_options options;
	const char *of; /* whose settings these are */
	bool privileged;
	/* what is explained: */
	const struct trace_series *series;
	struct trace_told notes;
	size_t note;
};

/* ---- times ------------------------------------------------------------------------------------------ */

static uint64_t end_of(const struct trace_series *t)
{
	return t->samples[t->count - 1].time_usec;
}

/* Of the day, or of a day; in local time. Seconds since the Epoch; -1: it is neither. */
static time_t parse_clock(const char *text, time_t now)
{
	static const char *const forms[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d",
					     "%H:%M:%S", "%H:%M" };

	for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
		struct tm tm;
		const char *end;
		time_t t;

		localtime_r(&now, &tm);
		tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
		tm.tm_isdst = -1;
		end = strptime(text, forms[i], &tm);
		if (!end || *end)
			continue;
		t = mktime(&tm);
		if (forms[i][1] == 'H' && t > now) /* yesterday's */
			t -= 24 * 3600;
		return t;
	}
	return -1;
}

/* Up to when, on the series' clock. Errors: -EINVAL: no time. -ERANGE: a time of day, and when it began is not known. */
static int time_limit(const char *text, const struct trace_series *t, uint64_t *ret)
{
	bool back = text && text[0] == '-';
	uint64_t end = t->began_usec + end_of(t), usec;
	const char *why;
	time_t clock;

	*ret = end_of(t);
	if (!text)
		return 0;
	if (duration_parse(text + back, strlen(text + back), &usec, &why) == 0) {
		*ret = back ? usec_sub(end_of(t), usec) : usec;
		return 0;
	}
	clock = parse_clock(text, t->began_usec ? (time_t)(end / USEC_PER_SEC) : time(NULL));
	if (clock < 0)
		return -EINVAL;
	if (t->began_usec == 0)
		return -ERANGE;
	/* what is said to the second, the minute or the day is meant to its end */
	usec = (uint64_t)clock * USEC_PER_SEC +
	       (!strchr(text, ':')			  ? 86400 * USEC_PER_SEC
		: strchr(text, ':') != strrchr(text, ':') ? USEC_PER_SEC
							  : 60 * USEC_PER_SEC) -
	       1;
	*ret = usec_sub(usec, t->began_usec);
	return 0;
}

/* "14:03:07.123", or "12.345 s" where no time of day is known */
static const char *when(const struct trace_series *t, uint64_t usec, char *buf)
{
	if (t->began_usec > 0)
		return output_clock(t->began_usec + usec, buf);
	snprintf(buf, OUTPUT_WORD_MAX, "%.3f s", (double)usec / (double)USEC_PER_SEC);
	return buf;
}

/* ---- which one ---------------------------------------------------------------------------------------- */

/* Is it Low from there on, and was not before? */
static bool begins_low(const struct trace_told *n, size_t i)
{
	return n->list[i].told == LEVEL_LOW && (i == 0 || n->list[i - 1].told != LEVEL_LOW);
}

/* The last Low of `told` that began up to the limit; its count: there is none. */
static size_t last_low(const struct trace_told *told, uint64_t limit)
{
	for (size_t i = told->count; i-- > 0;)
		if (begins_low(told, i) && told->list[i].time_usec <= limit)
			return i;
	return told->count;
}

/* That, of all series. Returns 1; 0: there is none, and s->series is the one that stalled most. Errors: of time_limit(), -ENOMEM. */
static int choose(struct session *s, bool live)
{
	uint64_t latest = 0, most = 0;
	const struct trace_series *worst = s->set.first;

	for (const struct trace_series *t = s->set.first; t; t = t->next) {
		struct trace_told told;
		uint64_t limit, stalled = trace_stalled(t, PSI_SOME);
		int r = time_limit(s->at, t, &limit);
		size_t i;

		if (r < 0)
			return r;
		told = trace_told(t, live ? NULL : &s->options, s->privileged);
		i = last_low(&told, limit);
		if (i < told.count &&
		    (!s->series || t->began_usec + told.list[i].time_usec >= latest)) {
			latest = t->began_usec + told.list[i].time_usec;
			s->series = t;
			free(s->notes.list);
			s->notes = told;
			s->note = i;
			told.list = NULL;
		}
		free(told.list);
		if (told.failed || s->notes.failed)
			return -ENOMEM;
		if (stalled > most) {
			most = stalled;
			worst = t;
		}
	}
	if (s->series)
		return 1;
	s->series = worst;
	return 0;
}

/* ---- whose settings ----------------------------------------------------------------------------------- */

/* From psibridged's answer, the live watch that says most of the cgroup. */
static void take_watch(struct session *s, const json_t *watch)
{
	const json_t *settings = json_object_get(watch, "settings");

	for (enum setting i = SETTING_EARLY; i <= SETTING_CRITICAL; i++) {
		const char *text = answer_text(settings, setting_table[i].word);
		struct value value;

		if (value_parse(FORM_TRIGGER, text, strlen(text), &value, NULL) == 0)
			setting_put(&s->options, i, &value);
	}
	s->of = "psibridged's";
}

static void ask_settings(struct session *s)
{
	char why[CONTROL_WHY_MAX];
	json_t *status = NULL;
	const json_t *watch, *best = NULL;

	if (control_ask_status(NULL, USEC_PER_SEC, &status, why) < 0)
		return;
	EACH_ANSWER(watch, status, "watches") {
		const char *path = answer_text(watch, "path");

		if (!answer_flag(watch, "shadow") && choice_covers(path, s->series->cgroup) &&
		    (!best || strlen(path) > strlen(answer_text(best, "path"))))
			best = watch;
	}
	if (best)
		take_watch(s, best);
	json_decref(status);
}

/* ---- words -------------------------------------------------------------------------------------------- */

/* "Low: some 312 ms of 2 s; its threshold is 200 ms, passed by 56 %" */
static void print_threshold(const struct session *s, const char *name,
			    const struct trigger *trigger, uint64_t at)
{
	uint64_t growth = trace_grown(s->series, trigger->kind, usec_sub(at, trigger->window_usec),
				      at);
	char stalled[OUTPUT_WORD_MAX], window[OUTPUT_WORD_MAX], threshold[OUTPUT_WORD_MAX];
	double percent = (double)growth * 100 / (double)trigger->threshold_usec;

	printf("  %-10s%s %s of %s; threshold %s", name,
	       trigger->kind == PSI_FULL ? "full" : "some", output_span(growth, stalled),
	       output_span(trigger->window_usec, window),
	       output_span(trigger->threshold_usec, threshold));
	if (percent >= 100)
		printf(", passed by %.0f %%\n", percent - 100);
	else
		printf(": %.0f %% of it\n", percent);
}

/* The first stall of those that led to it: two seconds without any before it. */
static uint64_t begin_of_stall(const struct trace_series *t, uint64_t at)
{
	uint64_t begin = at;

	for (size_t i = t->count - 1; i > 0; i--) {
		const struct trace_sample *a = &t->samples[i - 1], *b = &t->samples[i];

		if (a->time_usec >= at || b->some_usec <= a->some_usec)
			continue;
		if (begin != at && b->time_usec + QUIET_USEC < begin)
			break;
		begin = a->time_usec;
	}
	return begin;
}

static uint64_t used_at(const struct trace_series *t, uint64_t at)
{
	uint64_t used = 0;

	for (size_t i = 0; i < t->count && t->samples[i].time_usec <= at; i++)
		used = t->samples[i].used_bytes ? t->samples[i].used_bytes : used;
	return used;
}

/* The least in use up to so long after it. */
static uint64_t least_after(const struct trace_series *t, uint64_t at, uint64_t used)
{
	for (size_t i = 0; i < t->count && t->samples[i].time_usec <= at + AFTER_USEC; i++)
		if (t->samples[i].time_usec > at && t->samples[i].used_bytes > 0)
			used = MIN(used, t->samples[i].used_bytes);
	return used;
}

static void print_note(const struct session *s, const struct trace_sample *n, bool here)
{
	const struct psb_notification notification = {
		.cgroup = s->series->cgroup,
		.available = (enum psb_available)n->told,
		.reason = (enum psb_reason)n->reason,
		.cause = (enum psb_cause)n->cause,
	};
	char at[OUTPUT_WORD_MAX], cause[CAUSE_TEXT_MAX];

	printf("%s %-13s", here ? ">" : " ", when(s->series, n->time_usec, at));
	output_painted(&s->output, output_level_paint(n->told), "%-31s",
		       words_level(n->told, n->critical)->sentence);
	output_line("%s", words_cause(&notification, cause));
}

static void print_repeats(const struct session *s, uint64_t last, unsigned *repeats)
{
	char at[OUTPUT_WORD_MAX];

	if (*repeats > 0)
		printf("  %-13stold Low the last of %u more time%s\n", when(s->series, last, at),
		       *repeats, *repeats == 1 ? "" : "s");
	*repeats = 0;
}

/* From the first stall to the next High. A repeat of Low counts, and has no line. */
static void print_story(const struct session *s, uint64_t begin)
{
	const struct trace_told *n = &s->notes;
	uint64_t calm = 0, last = 0;
	char at[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX];
	unsigned repeats = 0;
	size_t i = s->note;

	while (i > 0 && n->list[i - 1].time_usec >= begin && n->list[i - 1].told != LEVEL_LOW)
		i--;
	for (size_t k = 1; k < s->series->count && s->series->samples[k].time_usec <= begin; k++)
		if (s->series->samples[k].some_usec > s->series->samples[k - 1].some_usec)
			calm = s->series->samples[k].time_usec;
	printf("  %-13sfirst stall; none for %s before\n", when(s->series, begin, at),
	       output_span(begin - calm, span));
	for (; i < n->count; i++) {
		const struct trace_sample *note = &n->list[i];

		if (i > s->note && begins_low(n, i))
			break;
		if (note->told == LEVEL_LOW && note->reason == REASON_REPEAT) {
			repeats++;
			last = note->time_usec;
			continue;
		}
		print_repeats(s, last, &repeats);
		print_note(s, note, i == s->note);
		if (note->told == LEVEL_HIGH)
			break;
	}
	print_repeats(s, last, &repeats);
}

static void print_memory(const struct session *s, uint64_t at)
{
	const struct trace_series *t = s->series;
	uint64_t used = used_at(t, at), least = least_after(t, at, used);
	uint64_t limit = s->notes.list[s->note].limit_bytes;
	char memory[OUTPUT_MEMORY_MAX], back[OUTPUT_WORD_MAX], before[OUTPUT_WORD_MAX],
		after[OUTPUT_WORD_MAX];

	if (used > 0)
		printf("  %-10s%s in use (%s)\n", "memory", output_memory(used, limit, "", memory),
		       limit ? "without page cache" : "no limit is known");
	printf("  %-10s", "after it");
	if (used > 0 && used - least > used / 100)
		printf("%s went back within 5 s\n%12s", output_size(used - least, back), "");
	else if (used > 0)
		printf("nothing went back within 5 s\n%12s", "");
	printf("stalled %s in the 5 s before, %s after\n",
	       output_span(trace_grown(t, PSI_SOME, usec_sub(at, AFTER_USEC), at), before),
	       output_span(trace_grown(t, PSI_SOME, at, at + AFTER_USEC), after));
}

static void explain(struct session *s, bool live)
{
	const struct trace_sample *low = &s->notes.list[s->note];
	uint64_t begin = begin_of_stall(s->series, low->time_usec);

	output_painted(&s->output, PAINT_BOLD, "%s", s->series->cgroup);
	printf("%s\n\n", live ? "" : ", as these settings would have told it");
	print_story(s, begin);
	printf("\nWhen it was told (%s settings):\n", s->of);
	print_threshold(s, "low", &s->options.low, low->time_usec);
	print_threshold(s, "critical", &s->options.critical, low->time_usec);
	print_memory(s, low->time_usec);
	printf("\nWhat another setting would have done:\n  psibridge tune %s ", s->series->file);
	output_line("%s", s->series->cgroup);
}

/* Why nothing was told: how near it came. */
static void explain_nothing(const struct session *s)
{
	const struct trigger *low = &s->options.low;
	struct trace_growth most = { .growth_usec = 0 }, *points;
	char time[OUTPUT_WORD_MAX], stalled[OUTPUT_WORD_MAX], threshold[OUTPUT_WORD_MAX],
		window[OUTPUT_WORD_MAX];
	size_t count = 0;
	uint64_t limit;

	(void)time_limit(s->at, s->series, &limit);
	points = trace_growth(s->series, low, &count);
	for (size_t i = 0; points && i < count && points[i].at_usec <= limit; i++)
		if (points[i].growth_usec > most.growth_usec)
			most = points[i];
	free(points);
	output_text("%s was not told Low.", s->series->cgroup);
	printf("\nLow is at %s %s of %s (%s settings); most was %s",
	       low->kind == PSI_FULL ? "full" : "some", output_span(low->threshold_usec, threshold),
	       output_span(low->window_usec, window), s->of,
	       output_span(most.growth_usec, stalled));
	if (most.growth_usec > 0)
		printf(", at %s", when(s->series, most.at_usec, time));
	printf(" (%.0f %% of it).\n", (double)most.growth_usec * 100 / (double)low->threshold_usec);
}

/* ---- the command line ---------------------------------------------------------------------------------- */

static int why(struct session *s, bool settings_given)
{
	const char *paths[] = { s->trace, NULL };
	int r = trace_set_read("why", paths, s->cgroup, &s->set);
	bool live = false;

	if (!s->set.first) {
		if (s->trace == default_trace)
			complain(
				"why",
				"psibridged keeps there what it observes (Trace= in psibridged.conf(5)); --trace reads another trace");
		return EXIT_FAILED;
	}
	for (const struct trace_series *t = s->set.first; t && !live; t = t->next)
		live = trace_has_told(t);
	r = choose(s, live);
	if (r == -ENOMEM)
		complain("why", "%s", strerror(ENOMEM));
	else if (r < 0)
		complain(
			"why", "--at \"%s\": %s was expected", s->at,
			r == -EINVAL
				? "a time such as 14:03, \"2026-11-24 14:03\", -2h or 90s"
				: "the trace does not say when it began; a time since then, such as 90s,");
	if (r < 0)
		return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	if (live && !settings_given)
		ask_settings(s);
	if (r > 0)
		explain(s, live);
	else
		explain_nothing(s);
	return r > 0 ? EXIT_OK : EXIT_FAILED;
}

int verb_why(int argc, char **argv)
{
	static struct session s = { .trace = default_trace };
	struct policy_options built_in;
	uint64_t rung = PSB_RUNG_PRIVILEGED;
	struct args_setting settings[SETTING_COUNT + 5];
	const struct args_setting own[] = {
		ARGS_TEXT("at", "a time", &s.at),
		ARGS_TEXT("trace", "a trace, or a directory", &s.trace),
		ARGS_NUMBER("rung", "2 or 3", PSB_RUNG_PRIVILEGED, PSB_RUNG_TRIGGER, &rung),
		ARGS_SETTING(NULL, NULL, policy_take_cgroup, &s.cgroup, 0, 0),
		ARGS_NO_MORE,
	};
	int status;

	policy_settings(settings, &s.options);
	built_in = s.options;
	memcpy(settings + SETTING_COUNT, own, sizeof(own));
	output_init(&s.output);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (!policy_settings_fit("why", &s.options))
		return EXIT_USAGE;
	s.privileged = rung == PSB_RUNG_PRIVILEGED;
	s.of = settings_are_equal(&built_in, &s.options) ? "built-in" : "these";
	status = why(&s, !settings_are_equal(&built_in, &s.options));
	free(s.notes.list);
	trace_set_free(&s.set);
	return status;
}
