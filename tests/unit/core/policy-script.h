/* SPDX-License-Identifier: MIT */
/*
 * policy-script.h - scripts for the level policy
 *
 * A script is a list of rows. Most rows are one step: what happened since the row before, what must
 * be told, and when the policy wants to look again. A row with `run` follows the policy's own
 * deadlines for that long while the stall of the row is spread evenly over it; it says what must be
 * told, and when. Whatever a row does not mention must not happen: no notification, no deadline, no
 * listening, no question about headroom.
 *
 * Included, after cmocka.h, by the tests that play scripts.
 */
#pragma once

#include "core/policy.h"

#define MS(n) ((n)*USEC_PER_MSEC)
#define SEC(n) ((n)*USEC_PER_SEC)
#define HOUR SEC(3600)
#define START HOUR

#define DUE UINT64_MAX /* after: at the deadline */
#define AT(t) .next = { t, t }
#define WITHIN(a, b) .next = { a, b }
#define ANY .next = { 0, USEC_NEVER }
#define TOLD(level, why) .told = level, .reason = REASON_##why
#define BETWEEN(a, b) .from = a, .to = b
#define STALL(ms) .stall = MS(ms)
#define LEFT(ms) .left = MS(ms)
#define FULL(ms) .full = MS(ms)
#define LISTEN .listen = true
#define SHORT .is_short = true
#define ASKED .asked = true
#define ALARM POLICY_ALARM
#define EVENTS POLICY_EVENTS
#define SIGNAL POLICY_SIGNAL

/* What is told. */
enum told { NOTHING, HIGH, NEUTRAL, LOW, CRITICAL };

struct row {
	const char *what;
	uint64_t after; /* since the row before, or DUE */
	enum policy_event event;
	uint64_t stall, full; /* growth of the totals */
	uint32_t avg10, full10;
	unsigned oom;	   /* growth of oom */
	bool is_short;	   /* of headroom, if asked */
	enum cause cause;  /* ... for that */
	uint64_t left;	   /* until the limit is reached */
	enum told signal;  /* POLICY_SIGNAL */
	enum reason by;	   /* ... REASON_SIGNAL unless told otherwise */
	uint64_t run;	   /* follow the deadlines for so long */
	uint64_t from, to; /* ... and it is told so long after the beginning of the row */

	enum told told;
	enum reason reason;
	uint64_t next[2]; /* deadline - now lies between these; both 0: there is none */
	bool listen;
	bool asked; /* for headroom */
};

struct script {
	struct policy policy;
	struct policy_sample sample; /* running totals */
	struct policy_verdict verdict;
	uint64_t now;
	bool blind; /* a source without PSI */
	unsigned asked, steps;
};

static const struct policy_options defaults = {
	.early = { PSI_SOME, MS(20), SEC(2) },
	.low = { PSI_SOME, MS(200), SEC(2) },
	.critical = { PSI_FULL, MS(100), SEC(2) },
	.rearm_usec = (8192 * USEC_PER_MSEC),
	.calm_usec = SEC(10),
	.headroom_percent = 25,
};

static void step(struct script *s, enum policy_event event, const struct row *row)
{
	static const enum level levels[] = { 0, LEVEL_HIGH, LEVEL_NEUTRAL, LEVEL_LOW, LEVEL_LOW };
	struct policy_sample sample = s->sample;

	sample.has_psi = !s->blind;
	sample.some_avg10_centi = row->avg10;
	sample.full_avg10_centi = row->full10;
	sample.headroom = HEADROOM_UNKNOWN;
	sample.left_usec = row->left;
	if (event == POLICY_SIGNAL) {
		sample.signal = levels[row->signal];
		sample.signal_critical = row->signal == CRITICAL;
		sample.signal_reason = row->by ? row->by : REASON_SIGNAL;
	}
	s->asked = 0;
	s->steps++;
	policy_step(&s->policy, event, &sample, s->now, &s->verdict);
	if (s->verdict.want_cause) {
		if (s->verdict.tell || s->verdict.deadline_usec != s->now)
			fail_msg("%s: a step that asks for the cause did something else too",
				 row->what);
		sample.has_cause = true;
		sample.cause = row->cause;
		policy_step(&s->policy, event, &sample, s->now, &s->verdict);
	}
	if (s->verdict.want_headroom) {
		if (s->verdict.tell || s->verdict.deadline_usec != s->now)
			fail_msg("%s: a step that asks for headroom did something else too",
				 row->what);
		s->asked++;
		sample.headroom = row->is_short ? HEADROOM_SHORT : HEADROOM_ENOUGH;
		policy_step(&s->policy, event, &sample, s->now, &s->verdict);
		if (s->verdict.want_headroom)
			fail_msg("%s: it asked for headroom twice", row->what);
	}
}

static enum told what_was_told(const struct policy_verdict *v)
{
	if (!v->tell)
		return NOTHING;
	switch (v->level) {
	case LEVEL_HIGH:
		return HIGH;
	case LEVEL_NEUTRAL:
		return NEUTRAL;
	case LEVEL_LOW:
		return v->critical ? CRITICAL : LOW;
	}
	return NOTHING;
}

static void check_told(const struct script *s, const struct row *row)
{
	static const char *const names[] = { "nothing", "High", "Neutral", "Low", "Low, critical" };
	enum told told = what_was_told(&s->verdict);

	if (told != row->told)
		fail_msg("%s: %s was told, not %s", row->what, names[told], names[row->told]);
	if (told != NOTHING && s->verdict.reason != row->reason)
		fail_msg("%s: reason %d, not %d", row->what, s->verdict.reason, row->reason);
}

static void one_step(struct script *s, const struct row *row)
{
	const struct policy_verdict *v = &s->verdict;
	uint64_t next;

	if (row->after == DUE) {
		if (v->deadline_usec == USEC_NEVER)
			fail_msg("%s: there is no deadline", row->what);
		s->now = v->deadline_usec;
	} else {
		s->now += row->after;
	}
	s->sample.some_usec += row->stall;
	s->sample.full_usec += row->full;
	s->sample.oom += row->oom;
	step(s, row->event, row);
	check_told(s, row);
	next = v->deadline_usec - s->now;
	if (row->next[1] == 0 && v->deadline_usec != USEC_NEVER)
		fail_msg("%s: a deadline in %llu us", row->what, (unsigned long long)next);
	if (row->next[1] != 0 && v->deadline_usec == USEC_NEVER)
		fail_msg("%s: there is no deadline", row->what);
	if (row->next[1] != 0 && (next < row->next[0] || next > row->next[1]))
		fail_msg("%s: the deadline is in %llu us", row->what, (unsigned long long)next);
	if (v->listen != row->listen)
		fail_msg("%s: memory.events is %slistened to", row->what, v->listen ? "" : "not ");
	if ((s->asked > 0) != row->asked)
		fail_msg("%s: headroom was %sasked for", row->what, s->asked ? "" : "not ");
}

static void follow(struct script *s, const struct row *row)
{
	const struct policy_verdict *v = &s->verdict;
	struct policy_sample before = s->sample;
	uint64_t start = s->now;
	bool told = false;

	while (v->deadline_usec <= start + row->run) {
		uint64_t past = v->deadline_usec - start;

		s->now = v->deadline_usec;
		s->sample.some_usec = before.some_usec + row->stall * past / row->run;
		s->sample.full_usec = before.full_usec + row->full * past / row->run;
		step(s, POLICY_TICK, row);
		if (v->tell) {
			check_told(s, row);
			if (told)
				fail_msg("%s: told twice", row->what);
			told = true;
			if (past < row->from || past > row->to)
				fail_msg("%s: told after %llu us", row->what,
					 (unsigned long long)past);
		}
		if (v->deadline_usec < s->now + POLICY_PACE_MIN_USEC)
			fail_msg("%s: a deadline in %llu us", row->what,
				 (unsigned long long)(v->deadline_usec - s->now));
	}
	if (!told && row->told != NOTHING)
		fail_msg("%s: it was not told", row->what);
	s->now = start + row->run;
	s->sample.some_usec = before.some_usec + row->stall;
	s->sample.full_usec = before.full_usec + row->full;
}

static void play_on(struct script *s, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].run > 0)
			follow(s, &rows[i]);
		else
			one_step(s, &rows[i]);
	}
}

static const struct row baseline = { "the baseline", 0, LISTEN, ASKED };

/* Every script begins at rest, with stall of long ago in the counters. */
static void begin(struct script *s, const struct policy_options *options)
{
	*s = (struct script){ .now = START };
	s->sample = (struct policy_sample){
		.some_usec = SEC(700), .full_usec = SEC(300), .has_oom = true, .oom = 41
	};
	policy_init(&s->policy, options);
	if (options->headroom_percent > 0)
		one_step(s, &baseline);
	else
		one_step(s, &(struct row){ "the baseline", 0, LISTEN });
}

#define PLAY(options, ...)                                        \
	do {                                                      \
		static const struct row rows[] = { __VA_ARGS__ }; \
		struct script play_script;                        \
		begin(&play_script, options);                     \
		play_on(&play_script, rows, ELEMENTSOF(rows));    \
	} while (0)

#define PLAY_ON(script, ...)                                      \
	do {                                                      \
		static const struct row rows[] = { __VA_ARGS__ }; \
		play_on(script, rows, ELEMENTSOF(rows));          \
	} while (0)

/* Rows that many scripts begin with. Their stall lies 1 s after the baseline, so it is known
 * exactly. */
#define TO_NEUTRAL                                                                          \
	{                                                                                   \
		"20 ms in a second", SEC(1), POLICY_ALARM, STALL(20), TOLD(NEUTRAL, STALL), \
			AT(MS(180))                                                         \
	}
#define TO_LOW                                                           \
	{                                                                \
		"200 ms in a second", SEC(1), POLICY_ALARM, STALL(200),  \
			.told = LOW, .reason = REASON_STALL, AT(MS(250)) \
	}
