/* SPDX-License-Identifier: MIT */
/*
 * policy-judge.h - is this what the policy had to say?
 *
 * The judge shares no code with the policy but the windows, which have a judge of their own
 * (test-window.c). What the samples call for must be told at that step, and nothing else may be told.
 *
 * Included, after cmocka.h, by test-policy-walk.c.
 */
#pragma once

#include "core/policy.h"

#define MS(n) ((n)*USEC_PER_MSEC)
#define SEC(n) ((n)*USEC_PER_SEC)
#define LATE_MAX MS(50) /* so much after its deadline the driver may sample */
#define PACE_MIN MS(20)
#define PACE_MIN_EVENTS MS(10)
#define PACE_STEADY MS(100) /* after a second of the same level */

struct judge {
	const struct policy_options *options;
	uint64_t quiet;
	struct window early, lowmem, critical;
	uint64_t last[2]; /* totals */
	bool knows_oom;
	uint64_t oom;

	enum level level;
	bool told_critical;
	uint64_t told_usec, told_low_usec;
	uint64_t half_low_usec, early_usec; /* last times */
	uint64_t cause; /* the last time anything happened that could have led up */
	uint64_t told[4], criticals, repeats;
	uint64_t recent_steps[64], steps;
};

static void judge_forget(struct judge *j)
{
	window_init(&j->early, j->options->early.window_usec);
	window_init(&j->lowmem, j->options->low.window_usec);
	window_init(&j->critical, j->options->critical.window_usec);
}

/* After a rest an alarm vouches for early's threshold, of its own kind, and avg10 for what it shows. */
static void judge_window(const struct judge *j, struct window *w, enum psi_kind kind,
			 const struct policy_sample *s, bool alarm, uint64_t now)
{
	uint64_t total = kind == PSI_SOME ? s->some_usec : s->full_usec, vouched = 0;
	uint64_t rest = now - window_last_usec(w), before = window_last_total(w);
	uint32_t avg10 = kind == PSI_SOME ? s->some_avg10_centi : s->full_avg10_centi;

	if (alarm && kind == j->options->early.kind)
		vouched = j->options->early.threshold_usec;
	if (w->count > 0 && total >= before && rest > w->length_usec)
		window_resume(w, now, total,
			      window_recent(w->length_usec, total - before, rest, vouched,
					    alarm ? avg10 : 0));
	else
		window_add(w, now, total);
}

static void judge_sample(struct judge *j, const struct policy_sample *s, enum policy_event event,
			 uint64_t now)
{
	bool alarm = event == POLICY_ALARM;

	if (j->early.count > 0 && s->some_usec > j->last[PSI_SOME])
		j->cause = now;
	j->last[PSI_SOME] = s->some_usec;
	j->last[PSI_FULL] = s->full_usec;
	judge_window(j, &j->early, j->options->early.kind, s, alarm, now);
	judge_window(j, &j->lowmem, j->options->low.kind, s, alarm, now);
	judge_window(j, &j->critical, j->options->critical.kind, s, alarm, now);
}

#define REQUIRE(condition, promise)                                                           \
	do {                                                                                  \
		if (!(condition))                                                             \
			fail_msg("step %llu: %s (%s)", (unsigned long long)j->steps, promise, \
				 #condition);                                                 \
	} while (0)

/* What the sample calls for. */
struct finding {
	bool early, low, critical, half_low, oom;
};

/* Half of low's share of time, over as much of the window as was seen. */
static bool is_at_half(const struct judge *j)
{
	uint64_t seen = window_seen_usec(&j->lowmem);

	return seen > 0 && 2.0L * window_growth(&j->lowmem) * j->lowmem.length_usec >=
				   (long double)j->options->low.threshold_usec * seen;
}

static struct finding find(struct judge *j, enum policy_event event, const struct policy_sample *s,
			   uint64_t now)
{
	const struct policy_options *o = j->options;
	bool signal = event == POLICY_SIGNAL, low = signal && s->signal == LEVEL_LOW;
	struct finding f = { .oom = s->has_oom && j->knows_oom && s->oom > j->oom };

	if (s->has_oom) {
		j->knows_oom = true;
		j->oom = s->oom;
	}
	f.critical = f.oom || window_growth(&j->critical) >= o->critical.threshold_usec ||
		     (low && s->signal_critical);
	f.low = f.critical || low || window_growth(&j->lowmem) >= o->low.threshold_usec;
	f.early = f.low || window_growth(&j->early) >= o->early.threshold_usec ||
		  (signal && s->signal == LEVEL_NEUTRAL);
	f.half_low = f.low || is_at_half(j);
	if (f.half_low)
		j->half_low_usec = now;
	if (f.early)
		j->early_usec = now;
	if (f.oom || signal)
		j->cause = now;
	return f;
}

static void judge_notification(struct judge *j, enum policy_event event,
			       const struct policy_sample *s, const struct finding *f,
			       const struct policy_verdict *v, uint64_t now)
{
	const struct policy_options *o = j->options;
	bool lifted = event == POLICY_SIGNAL && s->signal > j->level;
	bool by_signal = event == POLICY_SIGNAL && v->reason == s->signal_reason;

	if (lifted)
		REQUIRE(v->tell && v->level == s->signal && by_signal,
			"a signal that lifts is told");
	if (!v->tell) {
		REQUIRE(!f->low || j->level == LEVEL_LOW, "over low is told at once");
		REQUIRE(!f->early || j->level != LEVEL_HIGH, "over early is told at once");
		REQUIRE(!f->critical || j->told_critical, "critical is told at once");
		REQUIRE(j->level != LEVEL_LOW || !f->low || now - j->told_low_usec < o->rearm_usec,
			"Low is repeated after rearm");
		REQUIRE(j->level != LEVEL_LOW || now - j->half_low_usec < j->quiet,
			"Low ends after Quiet");
		REQUIRE(j->level != LEVEL_NEUTRAL || now - j->early_usec < o->calm_usec ||
				(o->headroom_percent > 0 && s->headroom == HEADROOM_SHORT),
			"Neutral ends after Calm");
		return;
	}

	REQUIRE(v->level == LEVEL_LOW || !v->critical, "only Low is critical");
	REQUIRE(v->since_usec <= now, "a stall begins in the past");
	REQUIRE((v->reason == REASON_OOM) <= f->oom, "the reason oom needs an oom");
	REQUIRE((v->reason == REASON_SIGNAL || v->reason == REASON_SIMULATED) <= by_signal,
		"the reason signal needs a signal");
	switch (v->level) {
	case LEVEL_LOW:
		REQUIRE(f->low, "no Low without a cause");
		REQUIRE(v->critical == f->critical, "critical is told, and not without a cause");
		REQUIRE(v->since_usec > 0 || f->oom || event == POLICY_SIGNAL,
			"a stall has a beginning");
		REQUIRE(v->reason != REASON_CALM && v->reason != REASON_HEADROOM,
			"Low has another reason");
		REQUIRE((v->reason == REASON_REPEAT) <= (j->level == LEVEL_LOW),
			"a repeat follows a Low");
		if (j->level == LEVEL_LOW && !(v->critical && !j->told_critical))
			REQUIRE(now - j->told_low_usec >= o->rearm_usec, "no repeat within rearm");
		break;
	case LEVEL_NEUTRAL:
		REQUIRE(j->level != LEVEL_NEUTRAL, "Neutral only from another level");
		REQUIRE(lifted || !f->low, "Low goes before Neutral");
		if (lifted)
			break;
		if (j->level == LEVEL_LOW)
			REQUIRE(v->reason == REASON_CALM && now - j->half_low_usec >= j->quiet,
				"Low ends after Quiet");
		else if (v->reason == REASON_HEADROOM)
			REQUIRE(s->headroom == HEADROOM_SHORT && o->headroom_percent > 0,
				"headroom is short");
		else
			REQUIRE(f->early && v->reason != REASON_CALM, "no Neutral without a cause");
		break;
	case LEVEL_HIGH:
		REQUIRE(j->level != LEVEL_HIGH, "High only from another level");
		REQUIRE(v->since_usec == 0, "High has no stall");
		if (lifted)
			break;
		REQUIRE(j->level == LEVEL_NEUTRAL && v->reason == REASON_CALM,
			"High follows Neutral");
		REQUIRE(now - j->early_usec >= o->calm_usec, "High after Calm");
		REQUIRE(o->headroom_percent == 0 || s->headroom == HEADROOM_ENOUGH,
			"High needs headroom");
		break;
	}
}

static void take_over(struct judge *j, const struct policy_verdict *v, uint64_t now)
{
	if (v->level == LEVEL_LOW && j->level == LEVEL_LOW && v->critical == j->told_critical &&
	    j->told_usec > 0)
		j->repeats++;
	j->level = v->level;
	j->told_critical = v->critical;
	j->told_usec = now;
	if (v->level == LEVEL_LOW)
		j->told_low_usec = now;
	if (v->reason == REASON_HEADROOM)
		j->early_usec = now;
	j->told[v->level]++;
	j->criticals += v->critical;
}

static void judge_deadline(struct judge *j, enum policy_event event, const struct policy_verdict *v,
			   const struct policy *p, enum level before, bool has_psi, uint64_t now)
{
	const struct policy_options *o = j->options;
	bool alarm = event == POLICY_ALARM || event == POLICY_EVENTS, idle;
	uint64_t wait = v->deadline_usec - now;
	uint64_t floor = event == POLICY_EVENTS && before == LEVEL_HIGH && j->level == LEVEL_HIGH
				 ? PACE_MIN_EVENTS
				 : PACE_MIN;

	REQUIRE(p->fast_until_usec <= now + SEC(1), "fast for a second"); /* after an alarm, too */
	if (j->level != LEVEL_HIGH && now >= j->told_usec + SEC(1) && now >= p->fast_until_usec)
		floor = PACE_STEADY;
	REQUIRE(v->deadline_usec == USEC_NEVER || wait >= floor, "no faster than the pace");
	REQUIRE(p->events_muted_until_usec <= now + SEC(10), "a hold is no longer than 10 s");
	switch (j->level) {
	case LEVEL_HIGH: /* when a probe and a hold end, to the millisecond: test-policy-alarms.c */
		if (alarm && !v->tell)
			REQUIRE(v->deadline_usec <= now + MAX(o->early.window_usec, floor) &&
					!v->listen,
				"an alarm is probed");
		REQUIRE(v->deadline_usec <= now + MAX(o->early.window_usec, SEC(10)) ||
				v->deadline_usec == USEC_NEVER,
			"a probe and a hold end");
		REQUIRE(v->listen == (v->deadline_usec == USEC_NEVER),
			"only at rest memory.events is listened to");
		break;
	case LEVEL_NEUTRAL:
		idle = now - j->early_usec >= o->calm_usec && window_growth(&j->early) == 0;
		REQUIRE(v->deadline_usec != USEC_NEVER && wait <= SEC(60), "Neutral looks again");
		if (idle)
			REQUIRE(v->listen == (p->events_muted_until_usec <= now),
				"idle Neutral listens");
		else
			REQUIRE(!v->listen && (!has_psi ||
					       wait <= MAX(floor, MIN(o->low.window_usec,
								      o->critical.window_usec) /
									  4)),
				"only idle Neutral looks seldom, or listens");
		break;
	case LEVEL_LOW:
		REQUIRE(v->deadline_usec != USEC_NEVER, "Low looks again");
		REQUIRE(v->deadline_usec <= MAX(j->half_low_usec + j->quiet, now + floor),
			"Low looks for its end");
		REQUIRE(!has_psi || wait <= MAX(floor, o->low.window_usec / 8), "Low looks often");
		REQUIRE(!v->listen, "who samples does not listen");
		break;
	}
}

static void judge_liveness(const struct judge *j, uint64_t room_since, bool has_psi, uint64_t now)
{
	const struct policy_options *o = j->options;
	uint64_t window = MAX(MAX(o->low.window_usec, o->critical.window_usec),
			      o->early.window_usec);
	uint64_t look = has_psi ? MAX(o->low.window_usec / 8, PACE_STEADY) + LATE_MAX : LATE_MAX;
	uint64_t low_ends = window + j->quiet + 2 * look;
	uint64_t high_comes = low_ends + o->calm_usec + SEC(60) + window + 2 * LATE_MAX;

	REQUIRE(j->level != LEVEL_LOW || now - j->cause <= low_ends,
		"Low is followed by Neutral or High once stalls end");
	REQUIRE(j->level != LEVEL_NEUTRAL || now - MAX(j->cause, room_since) <= high_comes,
		"Neutral is followed by High once there are neither stalls nor want of headroom");
}
