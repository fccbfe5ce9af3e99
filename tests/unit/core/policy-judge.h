/* SPDX-License-Identifier: MIT */
/*
 * policy-judge.h - is this what the policy had to say?
 *
 * The judge shares no code with the policy. From the samples it bounds the growth in each window
 * from below and from above (how exact a window is, is what window.h promises). What the lower
 * bound calls for must be told at that step, and what is told must be possible by the upper bound;
 * what lies between may go either way.
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
#define HISTORY 4096

/* A threshold, and how far the growth in its window can be from what the samples say. */
struct bound {
	const struct trigger *trigger;
	uint64_t edge_at;   /* the number of the last sample not after the far edge */
	uint64_t low, high; /* growth lies between */
};

struct judge {
	const struct policy_options *options;
	uint64_t quiet;
	struct {
		uint64_t at, total[2];
	} history[HISTORY];
	uint64_t count; /* of samples since the baseline */
	struct bound early, lowmem, critical;
	bool knows_oom;
	uint64_t oom;

	enum level level;
	bool told_critical;
	uint64_t told_usec, told_low_usec;
	uint64_t must_loud, may_loud, must_early, may_early; /* last times */
	uint64_t cause; /* the last time anything happened that could have led up */
	uint64_t told[4], criticals, repeats;
	uint64_t recent_steps[64], steps;
};

#define HIST(j, i) ((j)->history[(i) % HISTORY])

static void bound_growth(struct judge *j, struct bound *b, enum policy_event event, uint32_t avg10)
{
	uint64_t last = j->count - 1, now = HIST(j, last).at, length = b->trigger->window_usec;
	uint64_t edge = now - length, slack = length / 32 + 1, before, after;
	enum psi_kind kind = b->trigger->kind;
	uint64_t total = HIST(j, last).total[kind];

	if (HIST(j, 0).at >= edge && j->count < HISTORY) { /* since the baseline: exactly */
		b->low = b->high = total - HIST(j, 0).total[kind];
		return;
	}
	while (b->edge_at < last && HIST(j, b->edge_at + 1).at <= edge)
		b->edge_at++;
	before = after = b->edge_at;
	while (before > 0 && HIST(j, before).at + slack > HIST(j, b->edge_at).at)
		before--;
	if (HIST(j, after).at < edge)
		after++;
	for (uint64_t start = HIST(j, after).at; after < last && HIST(j, after).at < start + slack;)
		after++;
	b->low = total - HIST(j, after).total[kind];
	b->high = total - HIST(j, before).total[kind];

	if (last > 0 && now - HIST(j, last - 1).at > length) { /* after a rest */
		uint64_t growth = total - HIST(j, last - 1).total[kind], witness = 0;
		uint64_t evenly = (uint64_t)((double)growth * (double)length /
					     (double)(now - HIST(j, last - 1).at));

		if (event == POLICY_ALARM) {
			if (kind == j->options->early.kind)
				witness = j->options->early.threshold_usec;
			witness = MAX(witness, (uint64_t)(avg10 * 200.0 / 0.1813));
		}
		b->low = MIN(evenly > 0 ? evenly - 1 : 0, length);
		b->high = MIN(MAX(evenly, MIN(growth, witness)) + 1, length);
		if (growth == 0)
			b->high = 0;
	}
}

static bool must(const struct bound *b)
{
	return b->low >= b->trigger->threshold_usec;
}

static bool may(const struct bound *b)
{
	return b->high >= b->trigger->threshold_usec;
}

static void judge_forget(struct judge *j)
{
	j->count = 0;
	j->early.edge_at = j->lowmem.edge_at = j->critical.edge_at = 0;
	j->early.low = j->early.high = j->lowmem.low = j->lowmem.high = j->critical.low =
		j->critical.high = 0;
}

static void judge_sample(struct judge *j, const struct policy_sample *s, enum policy_event event,
			 uint64_t now)
{
	if (j->count > 0 && (s->some_usec < HIST(j, j->count - 1).total[0] ||
			     s->full_usec < HIST(j, j->count - 1).total[1]))
		judge_forget(j);
	HIST(j, j->count).at = now;
	HIST(j, j->count).total[PSI_SOME] = s->some_usec;
	HIST(j, j->count).total[PSI_FULL] = s->full_usec;
	if (j->count > 0 && s->some_usec > HIST(j, j->count - 1).total[PSI_SOME])
		j->cause = now;
	j->count++;
	struct bound *bounds[] = { &j->early, &j->lowmem, &j->critical };

	for (unsigned i = 0; i < ELEMENTSOF(bounds); i++)
		bound_growth(j, bounds[i], event,
			     bounds[i]->trigger->kind == PSI_SOME ? s->some_avg10_centi
								  : s->full_avg10_centi);
}

#define REQUIRE(condition, promise)                                                           \
	do {                                                                                  \
		if (!(condition))                                                             \
			fail_msg("step %llu: %s (%s)", (unsigned long long)j->steps, promise, \
				 #condition);                                                 \
	} while (0)

struct finding {
	bool must_early, may_early, must_low, may_low, must_critical, may_critical, must_loud,
		may_loud, oom;
};

/* Of what was seen of the window. */
static bool is_at_half(const struct judge *j, uint64_t growth)
{
	uint64_t length = j->lowmem.trigger->window_usec, seen = length;

	if (j->count < 2)
		return false;
	if (j->count < HISTORY)
		seen = MIN(seen, HIST(j, j->count - 1).at - HIST(j, 0).at);
	return seen > 0 &&
	       2.0L * growth * length >= (long double)j->lowmem.trigger->threshold_usec * seen;
}

static struct finding find(struct judge *j, enum policy_event event, const struct policy_sample *s)
{
	bool signal = event == POLICY_SIGNAL, low = signal && s->signal == LEVEL_LOW;
	struct finding f = { .oom = s->has_oom && j->knows_oom && s->oom > j->oom };

	if (s->has_oom) {
		j->knows_oom = true;
		j->oom = s->oom;
	}
	f.must_critical = f.oom || must(&j->critical) || (low && s->signal_critical);
	f.may_critical = f.must_critical || may(&j->critical);
	f.must_low = f.must_critical || low || must(&j->lowmem);
	f.may_low = f.must_low || f.may_critical || may(&j->lowmem);
	f.must_early = f.must_low || must(&j->early) || (signal && s->signal == LEVEL_NEUTRAL);
	f.may_early = f.must_early || f.may_low || may(&j->early);
	f.must_loud = f.must_low || is_at_half(j, j->lowmem.low);
	f.may_loud = f.may_low || is_at_half(j, j->lowmem.high);
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
		REQUIRE(!f->must_low || j->level == LEVEL_LOW, "over low is told at once");
		REQUIRE(!f->must_early || j->level != LEVEL_HIGH, "over early is told at once");
		REQUIRE(!f->must_critical || j->told_critical, "critical is told at once");
		REQUIRE(j->level != LEVEL_LOW || !f->must_low ||
				now - j->told_low_usec < o->rearm_usec,
			"Low is repeated after rearm");
		REQUIRE(j->level != LEVEL_LOW || now - j->may_loud < j->quiet,
			"Low ends after Quiet");
		REQUIRE(j->level != LEVEL_NEUTRAL || now - j->may_early < o->calm_usec ||
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
		REQUIRE(f->may_low, "no Low without a cause");
		REQUIRE(!v->critical || f->may_critical, "no critical without a cause");
		REQUIRE(v->critical || !f->must_critical, "critical is told");
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
		REQUIRE(lifted || !f->must_low, "Low goes before Neutral");
		if (lifted)
			break;
		if (j->level == LEVEL_LOW)
			REQUIRE(v->reason == REASON_CALM && now - j->must_loud >= j->quiet,
				"Low ends after Quiet");
		else if (v->reason == REASON_HEADROOM)
			REQUIRE(s->headroom == HEADROOM_SHORT && o->headroom_percent > 0,
				"headroom is short");
		else
			REQUIRE(f->may_early && v->reason != REASON_CALM,
				"no Neutral without a cause");
		break;
	case LEVEL_HIGH:
		REQUIRE(j->level != LEVEL_HIGH, "High only from another level");
		REQUIRE(v->since_usec == 0, "High has no stall");
		if (lifted)
			break;
		REQUIRE(j->level == LEVEL_NEUTRAL && v->reason == REASON_CALM,
			"High follows Neutral");
		REQUIRE(now - j->must_early >= o->calm_usec, "High after Calm");
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
		j->must_early = j->may_early = now;
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
		idle = now - j->may_early >= o->calm_usec && j->early.high == 0;
		REQUIRE(v->deadline_usec != USEC_NEVER && wait <= SEC(60), "Neutral looks again");
		if (idle)
			REQUIRE(v->listen == (p->events_muted_until_usec <= now),
				"idle Neutral listens");
		else if (v->listen ||
			 (has_psi &&
			  wait > MAX(floor, MIN(o->low.window_usec, o->critical.window_usec) / 4)))
			REQUIRE(now - j->must_early >= o->calm_usec && j->early.low == 0,
				"only idle Neutral looks seldom, or listens");
		break;
	case LEVEL_LOW:
		REQUIRE(v->deadline_usec != USEC_NEVER, "Low looks again");
		REQUIRE(v->deadline_usec <= MAX(j->may_loud + j->quiet, now + floor),
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
