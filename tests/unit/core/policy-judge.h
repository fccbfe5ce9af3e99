/* SPDX-License-Identifier: MIT */
/*
 * policy-judge.h - is this what the policy had to say?
 *
 * The judge shares no code with the policy but the windows, which have a judge of their own
 * (test-window.c). What the samples call for must be told at that step, and nothing else may be told.
 *
 * Included, after cmocka.h, by test-policy-walk.c, which draws its steps, and test-policy-model.c, which tries
 * all of them. It knows the policy's numbers from policy.h, so that a clock may be scaled down.
 */
#pragma once

#include "core/policy.h"

struct judge {
	const struct policy_options *options;
	uint64_t quiet;
	uint64_t late; /* so much after its deadline a sample may come */
	bool has_psi;
	struct window early, low, critical;
	uint64_t some_usec; /* the last total */
	bool has_oom;
	uint64_t oom;

	enum level level;
	bool told_critical;
	/* last times */
	uint64_t told_usec, told_low_usec, half_low_usec, early_usec, alarm_usec;
	uint64_t cause_usec; /* ... anything happened that could have led up */
	uint64_t room_usec;  /* ... headroom was short */
	uint64_t told[4], criticals, repeats, spaced, steps;
	unsigned unanswered; /* Lows in a row */
};

#define REQUIRE(condition, promise)                                                               \
	do {                                                                                      \
		if (!(condition))                                                                 \
			fail_msg("step %llu: %s (%s)", (unsigned long long)judge->steps, promise, \
				 #condition);                                                     \
	} while (0)

static void judge_forget(struct judge *judge)
{
	window_init(&judge->early, judge->options->early.window_usec);
	window_init(&judge->low, judge->options->low.window_usec);
	window_init(&judge->critical, judge->options->critical.window_usec);
	judge->has_oom = false;
}

static void judge_begin(struct judge *judge, const struct policy_options *options, bool has_psi,
			uint64_t late)
{
	*judge = (struct judge){ .options = options, .level = LEVEL_HIGH, .has_psi = has_psi };
	judge->quiet = options->quiet_usec ? options->quiet_usec : 2 * options->low.window_usec;
	judge->late = late;
	judge_forget(judge);
}

/* After a rest an alarm vouches for early's threshold, of its own kind, and avg10 for what it shows. */
static uint64_t grown(const struct judge *judge, struct window *w, enum psi_kind kind,
		      const struct policy_sample *s, bool alarm, uint64_t now)
{
	uint64_t total = kind == PSI_SOME ? s->some_usec : s->full_usec, vouched = 0;
	uint64_t rest = now - window_last_usec(w), before = window_last_total(w);
	uint32_t avg10 = kind == PSI_SOME ? s->some_avg10_centi : s->full_avg10_centi;

	if (alarm && kind == judge->options->early.kind)
		vouched = judge->options->early.threshold_usec;
	if (w->count > 0 && total >= before && rest > w->length_usec)
		window_resume(w, now, total,
			      window_recent(w->length_usec, total - before, rest, vouched,
					    alarm ? avg10 : 0));
	else if (judge->has_psi)
		window_add(w, now, total);
	return window_growth(w);
}

/* What the sample calls for. */
struct judged {
	bool early, low, critical, oom, lifted;
	bool foretold; /* and it is not too soon */
};

/* Half of low's share of time, over as much of the window as was seen. */
static bool is_at_half_of_low(const struct judge *judge)
{
	uint64_t seen = window_seen_usec(&judge->low);

	return seen > 0 && 2.0L * window_growth(&judge->low) * judge->low.length_usec >=
				   (long double)judge->options->low.threshold_usec * seen;
}

/* So long between two equal Lows: Rearm, and twice, four times ... that of who gives nothing back. */
static uint64_t rearm_of(const struct judge *judge, bool critical)
{
	unsigned factor = 1;

	for (unsigned i = POLICY_UNANSWERED_MAX; i <= judge->unanswered && !critical; i++)
		factor = MIN(2 * factor, POLICY_REARM_FACTOR_MAX);
	return judge->options->rearm_usec * factor;
}

static struct judged judge_sample(struct judge *judge, enum policy_event event,
				  const struct policy_sample *s, uint64_t now)
{
	const struct policy_options *o = judge->options;
	bool alarm = event == POLICY_ALARM, signal = event == POLICY_SIGNAL;
	bool low = signal && s->signal == LEVEL_LOW;
	uint64_t early_usec = grown(judge, &judge->early, o->early.kind, s, alarm, now);
	uint64_t low_usec = grown(judge, &judge->low, o->low.kind, s, alarm, now);
	uint64_t critical_usec = grown(judge, &judge->critical, o->critical.kind, s, alarm, now);
	struct judged f = { .oom = s->has_oom && judge->has_oom && s->oom > judge->oom,
			    .lifted = signal && s->signal > judge->level };

	f.critical = f.oom || critical_usec >= o->critical.threshold_usec ||
		     (low && s->signal_critical);
	f.low = f.critical || low || low_usec >= o->low.threshold_usec;
	f.early = f.low || early_usec >= o->early.threshold_usec ||
		  (signal && s->signal == LEVEL_NEUTRAL);
	bool reached = s->left_usec > 0 && o->forecast_usec > 0 && s->left_usec <= o->forecast_usec;

	f.foretold = reached && (judge->told_low_usec == 0 ||
				 now - judge->told_low_usec >= rearm_of(judge, false));
	if (f.low || reached || is_at_half_of_low(judge))
		judge->half_low_usec = now;
	if (f.early || reached)
		judge->early_usec = now;
	if (f.oom || signal || reached || s->some_usec > judge->some_usec)
		judge->cause_usec = now;
	if (alarm || event == POLICY_EVENTS)
		judge->alarm_usec = now;
	judge->some_usec = s->some_usec;
	if (s->has_oom) {
		judge->has_oom = true;
		judge->oom = s->oom;
	}
	return f;
}

static void judge_silence(const struct judge *judge, const struct policy_sample *s,
			  const struct judged *f, uint64_t now)
{
	const struct policy_options *o = judge->options;
	enum level level = judge->level;

	REQUIRE(!f->lifted, "a signal that lifts is told");
	REQUIRE(!f->low || level == LEVEL_LOW, "over low is told at once");
	REQUIRE(!f->early || level != LEVEL_HIGH, "over early is told at once");
	REQUIRE(!f->critical || judge->told_critical, "critical is told at once");
	REQUIRE(!f->foretold, "what the forecast says is told at once, or after rearm");
	REQUIRE(level != LEVEL_LOW || !f->low ||
			now - judge->told_low_usec < rearm_of(judge, f->critical),
		"Low is repeated after rearm");
	REQUIRE(level != LEVEL_LOW || now - judge->half_low_usec < judge->quiet,
		"Low ends after Quiet");
	REQUIRE(level != LEVEL_NEUTRAL || now - judge->early_usec < o->calm_usec ||
			(o->headroom_percent > 0 && s->headroom == HEADROOM_SHORT),
		"Neutral ends after Calm");
}

static void judge_low(const struct judge *judge, enum policy_event event,
		      const struct policy_sample *s, const struct judged *f,
		      const struct policy_verdict *v, uint64_t now)
{
	bool again = judge->level == LEVEL_LOW;

	REQUIRE(f->low || f->foretold, "no Low without a stall that is ours, or a forecast");
	REQUIRE((v->reason == REASON_FORECAST) == !f->low, "a stall goes before a forecast");
	REQUIRE(again || event == POLICY_SIGNAL || s->has_cause || !f->low ||
			judge->options->descendants == DESCENDANTS_COUNT,
		"no Low before it is known whose it is");
	REQUIRE(v->critical == f->critical, "critical is told, and not without a cause");
	REQUIRE(v->since_usec > 0 || f->oom || event == POLICY_SIGNAL || !f->low,
		"a stall has a beginning");
	REQUIRE(v->reason != REASON_CALM && v->reason != REASON_HEADROOM, "Low has another reason");
	REQUIRE((v->reason == REASON_REPEAT) <= again, "a repeat follows a Low");
	REQUIRE(!again || (v->critical && !judge->told_critical) ||
			now - judge->told_low_usec >= rearm_of(judge, v->critical),
		"no repeat within rearm");
}

static void judge_relief(const struct judge *judge, const struct policy_sample *s,
			 const struct judged *f, const struct policy_verdict *v, uint64_t now)
{
	const struct policy_options *o = judge->options;

	REQUIRE(v->level != judge->level && !v->critical, "only from another level");
	if (f->lifted)
		return;
	REQUIRE(!f->low && !f->foretold, "Low goes before Neutral and High");
	REQUIRE(v->reason != REASON_FORECAST, "a forecast is of Low");
	if (v->level == LEVEL_HIGH) {
		REQUIRE(judge->level == LEVEL_NEUTRAL && v->reason == REASON_CALM,
			"High follows Neutral");
		REQUIRE(now - judge->early_usec >= o->calm_usec, "High after Calm");
		REQUIRE(v->since_usec == 0, "High has no stall");
		REQUIRE(o->headroom_percent == 0 || s->headroom == HEADROOM_ENOUGH,
			"High needs headroom");
	} else if (judge->level == LEVEL_LOW) {
		REQUIRE(v->reason == REASON_CALM && now - judge->half_low_usec >= judge->quiet,
			"Low ends after Quiet");
	} else if (v->reason == REASON_HEADROOM) {
		REQUIRE(s->headroom == HEADROOM_SHORT && o->headroom_percent > 0,
			"headroom is short");
	} else {
		REQUIRE(f->early && v->reason != REASON_CALM, "no Neutral without a cause");
	}
}

static void judge_told(struct judge *judge, enum policy_event event, const struct policy_sample *s,
		       const struct judged *f, const struct policy_verdict *v, uint64_t now)
{
	bool by_signal = event == POLICY_SIGNAL && v->reason == s->signal_reason;

	REQUIRE(v->since_usec <= now, "a stall begins in the past");
	REQUIRE((v->reason == REASON_OOM) <= f->oom, "the reason oom needs an oom");
	REQUIRE((v->reason == REASON_SIGNAL || v->reason == REASON_SIMULATED) <= by_signal,
		"the reason signal needs a signal");
	REQUIRE(!f->lifted || (v->level == s->signal && by_signal), "a signal that lifts is told");
	if (v->level == LEVEL_LOW)
		judge_low(judge, event, s, f, v, now);
	else
		judge_relief(judge, s, f, v, now);

	judge->repeats += v->level == LEVEL_LOW && judge->level == LEVEL_LOW &&
			  v->critical == judge->told_critical;
	judge->spaced += v->level == LEVEL_LOW && judge->level == LEVEL_LOW &&
			 judge->unanswered >= POLICY_UNANSWERED_MAX && !v->critical;
	judge->told[v->level]++;
	if (v->level == LEVEL_HIGH)
		judge->unanswered = 0;
	judge->criticals += v->critical;
	judge->level = v->level;
	judge->told_critical = v->critical;
	judge->told_usec = now;
	if (v->level == LEVEL_LOW)
		judge->told_low_usec = now;
	if (v->reason == REASON_HEADROOM)
		judge->early_usec = now;
	if (f->lifted)
		judge_forget(judge);
}

static void judge_deadline(const struct judge *judge, const struct policy *p,
			   enum policy_event event, enum level before,
			   const struct policy_verdict *v, uint64_t now)
{
	const struct policy_options *o = judge->options;
	bool never = v->deadline_usec == USEC_NEVER, steady, idle;
	uint64_t wait = v->deadline_usec - now, floor = POLICY_PACE_MIN_USEC;

	REQUIRE(p->fast_until_usec <= now + POLICY_FAST_USEC,
		"fast for a second"); /* alarms, too */
	REQUIRE(p->events_muted_until_usec <= now + POLICY_MUTE_MAX_USEC, "a hold is no longer");
	steady = now >= judge->told_usec + POLICY_FAST_USEC && now >= p->fast_until_usec;
	if (event == POLICY_EVENTS && before == LEVEL_HIGH && judge->level == LEVEL_HIGH)
		floor = POLICY_PACE_EVENTS_USEC;
	else if (judge->level != LEVEL_HIGH && steady)
		floor = POLICY_PACE_STEADY_USEC;
	REQUIRE(never || wait >= floor, "no faster than the pace");
	switch (judge->level) {
	case LEVEL_HIGH: /* when a probe and a hold end, to the millisecond: test-policy-alarms.c */
		REQUIRE(v->listen == never, "only at rest memory.events is listened to");
		if (judge->alarm_usec == now && !v->tell)
			REQUIRE(wait <= MAX(o->early.window_usec, floor), "an alarm is probed");
		REQUIRE(never || wait <= MAX(o->early.window_usec, POLICY_MUTE_MAX_USEC),
			"a probe and a hold end");
		REQUIRE(never || now <= MAX(judge->alarm_usec, judge->told_usec) +
						 2 * o->early.window_usec + POLICY_MUTE_MAX_USEC +
						 2 * judge->late,
			"High and calm: nothing wakes us");
		break;
	case LEVEL_NEUTRAL:
		REQUIRE(!never && wait <= MAX(POLICY_PACE_MAX_USEC, o->calm_usec),
			"Neutral looks again");
		idle = now - judge->early_usec >= o->calm_usec && window_growth(&judge->early) == 0;
		REQUIRE(v->listen == (idle && p->events_muted_until_usec <= now),
			"only idle Neutral listens");
		REQUIRE(idle || !judge->has_psi ||
				wait <= MAX(floor,
					    MIN(o->low.window_usec, o->critical.window_usec) / 4),
			"only idle Neutral looks seldom");
		break;
	case LEVEL_LOW:
		REQUIRE(!never && !v->listen, "Low looks again, and so does not listen");
		REQUIRE(v->deadline_usec <= MAX(judge->half_low_usec + judge->quiet, now + floor),
			"Low looks for its end");
		REQUIRE(!judge->has_psi || wait <= MAX(floor, o->low.window_usec / 8),
			"Low looks often");
		break;
	}
}

static void judge_liveness(const struct judge *judge, uint64_t now)
{
	const struct policy_options *o = judge->options;
	uint64_t window = MAX(MAX(o->low.window_usec, o->critical.window_usec),
			      o->early.window_usec);
	uint64_t look = judge->late;
	uint64_t low_ends, high_comes;

	if (judge->has_psi)
		look += MAX(o->low.window_usec / 8, POLICY_PACE_STEADY_USEC);
	low_ends = window + judge->quiet + 2 * look;
	high_comes = low_ends + o->calm_usec + POLICY_PACE_MAX_USEC + window + 2 * judge->late;
	REQUIRE(judge->level != LEVEL_LOW || now - judge->cause_usec <= low_ends,
		"Low is followed by Neutral or High once stalls end");
	REQUIRE(judge->level != LEVEL_NEUTRAL ||
			now - MAX(judge->cause_usec, judge->room_usec) <= high_comes,
		"Neutral is followed by High once there are neither stalls nor want of headroom");
}

/* One step of the policy, judged. The answers, should it ask: `headroom` and `cause`. Returns: whether it did. */
static bool judged_step(struct judge *judge, struct policy *p, enum policy_event event,
			struct policy_sample *s, enum headroom headroom, enum cause cause,
			uint64_t now, struct policy_verdict *v)
{
	struct judged f = judge_sample(judge, event, s, now);
	enum level before = judge->level;
	bool asked;

	judge->steps++;
	policy_step(p, event, s, now, v);
	asked = v->want_headroom || v->want_cause;
	if (v->want_cause) {
		REQUIRE(!v->tell && !v->want_headroom && v->deadline_usec == now,
			"what asks for the cause does nothing else");
		REQUIRE(f.low && before != LEVEL_LOW, "only a Low has to be ours");
		s->has_cause = true;
		s->cause = cause;
		if (cause == CAUSE_DESCENDANT)
			f.low = f.critical = false;
		policy_step(p, event, s, now, v);
		REQUIRE(!v->want_cause, "the cause is asked for once");
	}
	if (v->want_headroom) {
		REQUIRE(!v->tell && v->deadline_usec == now,
			"what asks for headroom does nothing else");
		REQUIRE(judge->options->headroom_percent > 0, "headroom is off");
		s->headroom = headroom;
		policy_step(p, event, s, now, v);
		REQUIRE(!v->want_headroom, "headroom is asked for once");
	}
	if (v->tell)
		judge_told(judge, event, s, &f, v, now);
	else
		judge_silence(judge, s, &f, now);
	REQUIRE(p->level == judge->level, "the level is what was told");
	judge_deadline(judge, p, event, before, v, now);
	judge_liveness(judge, now);
	return asked;
}

/* Another process told that level, now. */
static void judged_resume(struct judge *judge, struct policy *p, enum level level, bool critical,
			  uint64_t now)
{
	if (level > judge->level)
		judge_forget(judge);
	policy_resume(p, level, critical, now);
	judge->level = level;
	judge->told_critical = level == LEVEL_LOW && critical;
	judge->told_usec = judge->half_low_usec = judge->early_usec = judge->cause_usec = now;
	if (level == LEVEL_LOW)
		judge->told_low_usec = now;
	if (level == LEVEL_HIGH)
		judge->unanswered = 0;
}

/* What the last Low achieved is known. */
static void judged_effect(struct judge *judge, struct policy *p, bool gave)
{
	policy_effect(p, gave);
	judge->unanswered = gave || judge->level == LEVEL_HIGH ? 0 : judge->unanswered + 1;
}
