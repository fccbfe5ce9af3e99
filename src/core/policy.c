/* SPDX-License-Identifier: MIT */
/*
 * policy.c - the level policy
 *
 * Each step has four parts, in this order: take the sample in, compare it with the three
 * thresholds, move the level, and say when to sample again.
 *
 * The deadline. Sampling is only worth its cost where it can change the level, so the pace is
 * the time in which the nearest threshold could be reached: the gap to it, divided by twice the
 * present stall rate (a rate may double before the sample), and never below 1/16 (it may start from
 * zero). Near a threshold that is 20 ms, or 100 ms where nothing has changed for a second; far
 * from one a quarter of the window. On the way down the deadline is the end of Quiet or Calm, and
 * no later than a quarter of a window, so that a stall in between is not overlooked.
 *
 * An alarm between samples says nothing of the rate, so the highest is assumed, at the fastest pace:
 * Low is found when it is reached.
 *
 * After a rest the last sample may be hours old: window_recent() says what of the growth is recent.
 *
 * Where there is no PSI but memory.events, the caller turns what that counts into signals; then it
 * is sampled twice a window while the level is not High.
 *
 * An alarm in High starts a probe: samples 20, 40, 80 ... ms apart for one window of early. If
 * nothing was told by then, the alarm was false, and sampling stops. A memory.events that keeps
 * giving false alarms (a container full of clean page cache does so all day) is ignored for 0.1 s,
 * 0.2 s ... 10 s after each probe.
 */
#include "policy.h"

#include <string.h>

static const struct trigger *trigger_of(const struct policy_options *o, enum threshold threshold)
{
	return threshold == THRESHOLD_EARLY ? &o->early
	       : threshold == THRESHOLD_LOW ? &o->low
					    : &o->critical;
}

void policy_init(struct policy *policy, const struct policy_options *options)
{
	*policy = (struct policy){ .options = *options, .level = LEVEL_HIGH };
	if (policy->options.headroom_percent == HEADROOM_OFF)
		policy->options.headroom_percent = 0;
	if (policy->options.forecast_usec == FORECAST_OFF)
		policy->options.forecast_usec = 0;
	if (policy->options.quiet_usec == 0)
		policy->options.quiet_usec = 2 * options->low.window_usec;
	for (unsigned i = 0, k; i < THRESHOLDS; i++) {
		const struct trigger *t = trigger_of(&policy->options, i);

		for (k = 0; k < i; k++)
			if (trigger_of(options, k)->kind == t->kind &&
			    trigger_of(options, k)->window_usec == t->window_usec)
				break;
		policy->window_of[i] = (uint8_t)k;
		window_init(&policy->windows[i], t->window_usec);
	}
}

/* One window's sample. `s` is of an alarm of the trigger, which is derived from early: its ringing says nothing of another kind. */
static void measure(const struct policy *p, struct window *window, const struct trigger *t,
		    enum policy_event event, const struct policy_sample *s, uint64_t now)
{
	const struct trigger *early = &p->options.early;
	bool full = t->kind == PSI_FULL, alarm = event == POLICY_ALARM;
	uint64_t total = full ? s->full_usec : s->some_usec, vouched = 0;
	uint64_t last = window_last_usec(window), before = window_last_total(window);
	uint32_t avg10 = full ? s->full_avg10_centi : s->some_avg10_centi;

	if (alarm && t->kind == early->kind)
		vouched = early->threshold_usec;
	/* An even stall and a burst 5.5 times its size look the same in avg10; only the trigger
	 * distinguishes them. */
	if (last == 0 || total < before || now - last <= window->length_usec)
		window_add(window, now, total);
	else
		window_resume(window, now, total,
			      window_recent(window->length_usec, total - before, now - last,
					    vouched, alarm ? avg10 : 0));
	/* what grew may have grown just now, and go on so: how soon is the threshold reached? */
	if ((alarm || event == POLICY_EVENTS) && now - last >= POLICY_PACE_STEADY_USEC)
		window->grown_usec = window->grown;
}

/* What a step found. */
struct finding {
	bool early, low, critical; /* over these; each implies those before it */
	bool forecast;		   /* the limit is reached within Forecast */
	enum reason reason;
};

/* Half of the threshold's share of time, over as much of the window as was seen: a process that
 * takes over a Low has seen little of it, and must not end the Low for that. */
static bool is_at_half(const struct window *window, uint64_t threshold)
{
	uint64_t seen = window_seen_usec(window);

	return seen > 0 && (unsigned __int128)2 * window_growth(window) * window->length_usec >=
				   (unsigned __int128)threshold * seen;
}

/* Growth of memory.events, which is noted. */
static bool take_oom(struct policy *p, const struct policy_sample *s)
{
	bool oom = s->has_oom && p->has_oom && s->oom > p->oom;

	if (s->has_oom) {
		p->has_oom = true;
		p->oom = s->oom;
	}
	return oom;
}

static struct finding take_in(struct policy *p, enum policy_event event,
			      const struct policy_sample *s, uint64_t now)
{
	const struct policy_options *o = &p->options;
	enum level signal = event == POLICY_SIGNAL ? s->signal : LEVEL_HIGH;
	bool rang = event == POLICY_ALARM || event == POLICY_EVENTS, oom = take_oom(p, s);
	struct finding f = { .reason = oom			? REASON_OOM
				       : event == POLICY_SIGNAL ? s->signal_reason
								: REASON_STALL };

	if (rang && now - window_last_usec(policy_window(p, THRESHOLD_LOW)) >= POLICY_FAST_USEC)
		p->fast_until_usec = now + POLICY_FAST_USEC;
	for (unsigned i = 0; i < THRESHOLDS && s->has_psi; i++)
		if (p->window_of[i] == i)
			measure(p, &p->windows[i], trigger_of(o, i), event, s, now);
	f.critical = oom ||
		     window_growth(policy_window(p, THRESHOLD_CRITICAL)) >=
			     o->critical.threshold_usec ||
		     (signal == LEVEL_LOW && s->signal_critical);
	f.low = f.critical ||
		window_growth(policy_window(p, THRESHOLD_LOW)) >= o->low.threshold_usec ||
		signal == LEVEL_LOW;
	f.early = f.low ||
		  window_growth(policy_window(p, THRESHOLD_EARLY)) >= o->early.threshold_usec ||
		  signal == LEVEL_NEUTRAL;
	f.forecast = s->left_usec > 0 && s->left_usec <= o->forecast_usec;

	if (f.low || f.forecast ||
	    is_at_half(policy_window(p, THRESHOLD_LOW), o->low.threshold_usec))
		p->above_half_low_usec = now;
	if (f.early || f.forecast)
		p->early_usec = now;
	if (p->since_usec == 0 && (f.early || policy_window(p, THRESHOLD_EARLY)->grown > 0))
		p->since_usec = now;
	return f;
}

void policy_forget(struct policy *p)
{
	for (unsigned i = 0; i < THRESHOLDS; i++)
		window_init(&p->windows[i], p->windows[i].length_usec);
	p->since_usec = 0;
	p->has_oom = false;
}

static void take_level(struct policy *p, enum level level, bool critical, uint64_t now)
{
	p->level = level;
	p->told_critical = critical;
	p->alarm_usec = 0;
	p->false_alarms = 0;
	p->pace_usec = 0;
	p->fast_until_usec = now + POLICY_FAST_USEC;
	if (level == LEVEL_LOW)
		p->told_usec = now;
	if (level == LEVEL_HIGH)
		p->unanswered = 0;
}

void policy_effect(struct policy *p, bool gave)
{
	p->unanswered = gave || p->level == LEVEL_HIGH ? 0 : p->unanswered + 1;
}

/* Since the last Low, by the Rearm that counts; critical is never told less often. */
static bool is_rearmed(const struct policy *p, bool critical, uint64_t now)
{
	unsigned factor = critical ? 1 : policy_rearm_factor(p->unanswered);

	return (now - p->told_usec) / factor >= p->options.rearm_usec;
}

void policy_resume(struct policy *p, enum level level, bool critical, uint64_t now)
{
	if (level > p->level)
		policy_forget(p);
	take_level(p, level, critical, now);
	p->above_half_low_usec = now;
	p->early_usec = now;
}

static void tell(struct policy *p, struct policy_verdict *v, enum level level, bool critical,
		 enum reason reason, uint64_t now)
{
	take_level(p, level, critical, now);
	v->tell = true;
	v->level = level;
	v->critical = critical;
	v->reason = reason;
	v->since_usec = p->since_usec;
}

/* Stalls go before: this comes where there are none. */
static bool foretold(struct policy *p, const struct finding *f, uint64_t now,
		     struct policy_verdict *v)
{
	if (!f->forecast || (p->told_usec > 0 && !is_rearmed(p, false, now)))
		return false;
	tell(p, v, LEVEL_LOW, false, REASON_FORECAST, now);
	return true;
}

/* A false alarm: do not listen to memory.events for a while, longer each time. */
static void mute_events(struct policy *p, uint64_t now)
{
	p->events_muted_until_usec = now + MIN(POLICY_MUTE_MIN_USEC << MIN(p->false_alarms, 7u),
					       POLICY_MUTE_MAX_USEC);
	p->false_alarms++;
}

/* Neutral for want of headroom alone: nothing stalls, and neither Quiet nor Calm runs. */
static bool is_idle_neutral(const struct policy *p, uint64_t now)
{
	return p->level == LEVEL_NEUTRAL && window_growth(policy_window(p, THRESHOLD_EARLY)) == 0 &&
	       now - p->early_usec >= p->options.calm_usec;
}

/*
 * Low from a higher level, by a stall that is ours, or by a forecast. Returns: whether it was told, or must be known first whose the
 * stall is. One that is not ours is Neutral.
 */
static bool becomes_low(struct policy *p, const struct policy_sample *s, struct finding *f,
			uint64_t now, struct policy_verdict *v)
{
	bool judged = f->reason == REASON_SIGNAL || f->reason == REASON_SIMULATED;

	if (f->low && !judged && p->options.descendants != DESCENDANTS_COUNT) {
		v->want_cause = !s->has_cause;
		if (v->want_cause)
			return true;
		if (s->cause == CAUSE_DESCENDANT)
			f->low = f->critical = false;
	}
	if (f->low)
		tell(p, v, LEVEL_LOW, f->critical, f->reason, now);
	return f->low || foretold(p, f, now, v);
}

static void step_high(struct policy *p, enum policy_event event, const struct policy_sample *s,
		      struct finding *f, bool first, uint64_t now, struct policy_verdict *v)
{
	bool alarm = event == POLICY_ALARM || event == POLICY_EVENTS;

	if (becomes_low(p, s, f, now, v))
		return;
	if (f->early) {
		tell(p, v, LEVEL_NEUTRAL, false, f->reason, now);
		return;
	}
	if (p->options.headroom_percent > 0) {
		if (s->headroom == HEADROOM_SHORT) {
			/* Calm counts from here, so that Neutral is not left again at once */
			p->early_usec = now;
			tell(p, v, LEVEL_NEUTRAL, false, REASON_HEADROOM, now);
			return;
		}
		if ((first || alarm) && s->headroom == HEADROOM_UNKNOWN) {
			/* and nothing else: the answer may change all of it */
			v->want_headroom = true;
			return;
		}
	}
	if (p->alarm_usec > 0 && now - p->alarm_usec >= p->options.early.window_usec) {
		p->alarm_usec = 0;
		p->since_usec = 0;
		mute_events(p, now);
	}
	/* after the end of a probe, so that an alarm that comes with it begins the next one */
	if (alarm && p->alarm_usec == 0) {
		p->alarm_usec = now;
		p->pace_usec = 0;
		if (now > p->events_muted_until_usec +
				  POLICY_MUTE_MAX_USEC) /* there was no other alarm at once */
			p->false_alarms = 0;
	}
	if (p->alarm_usec == 0)
		p->since_usec = 0;
}

static void step_neutral(struct policy *p, enum policy_event event, const struct policy_sample *s,
			 struct finding *f, uint64_t now, struct policy_verdict *v)
{
	if (becomes_low(p, s, f, now, v))
		return;
	if (event == POLICY_EVENTS && s->headroom == HEADROOM_UNKNOWN && is_idle_neutral(p, now))
		mute_events(p, now);
	if (now - p->early_usec < p->options.calm_usec)
		return;
	p->since_usec = 0; /* that stall is over, whatever headroom says */
	if (p->options.headroom_percent == 0 || s->headroom == HEADROOM_ENOUGH)
		tell(p, v, LEVEL_HIGH, false, REASON_CALM, now);
	else if (s->headroom == HEADROOM_UNKNOWN)
		v->want_headroom = true;
}

static void step_low(struct policy *p, const struct finding *f, uint64_t now,
		     struct policy_verdict *v)
{
	if (f->critical && !p->told_critical)
		tell(p, v, LEVEL_LOW, true, f->reason, now);
	else if (f->low && is_rearmed(p, f->critical, now))
		tell(p, v, LEVEL_LOW, f->critical,
		     f->reason == REASON_STALL ? REASON_REPEAT : f->reason, now);
	else if (!foretold(p, f, now, v) && now - p->above_half_low_usec >= p->options.quiet_usec)
		tell(p, v, LEVEL_NEUTRAL, false, REASON_CALM, now);
}

/* The earliest time at which `window` could reach `threshold`. */
static uint64_t could_reach(const struct window *window, uint64_t threshold, uint64_t now)
{
	uint64_t growth = window_growth(window);
	unsigned rate = CLAMP(2 * window_rate_1024(window), 64u, 1024u);

	if (growth >= threshold)
		return now;
	return now + MIN((threshold - growth) * 1024 / rate, window->length_usec / 4);
}

/* When Low may be repeated; USEC_NEVER: it might have been already. */
static uint64_t next_repeat(const struct policy *p, uint64_t now)
{
	uint64_t rearm = p->options.rearm_usec, next = p->told_usec + rearm;

	if (next <= now) /* for what is not critical */
		next = p->told_usec + rearm * policy_rearm_factor(p->unanswered);
	return next > now ? next : USEC_NEVER;
}

/* When the nearest threshold above the level could be reached. */
static uint64_t next_threshold(const struct policy *p, uint64_t now)
{
	const struct policy_options *o = &p->options;
	uint64_t next = could_reach(policy_window(p, THRESHOLD_CRITICAL),
				    o->critical.threshold_usec, now);

	if (p->level > LEVEL_LOW)
		next = MIN(next, could_reach(policy_window(p, THRESHOLD_LOW), o->low.threshold_usec,
					     now));
	if (p->level > LEVEL_NEUTRAL)
		next = MIN(next, could_reach(policy_window(p, THRESHOLD_EARLY),
					     o->early.threshold_usec, now));
	return next;
}

static uint64_t next_in_high(struct policy *p, uint64_t now, uint64_t floor)
{
	uint64_t next;

	if (p->alarm_usec == 0) /* at rest; only the end of a hold is worth a look */
		return p->events_muted_until_usec > now ? p->events_muted_until_usec : USEC_NEVER;
	p->pace_usec = p->pace_usec == 0 ? floor : 2 * p->pace_usec;
	next = MIN(now + p->pace_usec, p->alarm_usec + p->options.early.window_usec);
	return MIN(next, next_threshold(p, now));
}

static uint64_t next_in_neutral(struct policy *p, enum policy_event event,
				const struct policy_sample *s, uint64_t now)
{
	const struct policy_options *o = &p->options;
	uint64_t next;

	if (is_idle_neutral(p, now)) {
		if (event == POLICY_TICK)
			p->pace_usec = CLAMP(2 * p->pace_usec, POLICY_PACE_IDLE_USEC,
					     POLICY_PACE_MAX_USEC);
		next = now + MAX(p->pace_usec, POLICY_PACE_IDLE_USEC);
		return p->events_muted_until_usec > now ? MIN(next, p->events_muted_until_usec)
							: next;
	}
	p->pace_usec = 0;
	next = MAX(p->early_usec + o->calm_usec, now + o->early.window_usec / 4);
	if (!s->has_psi)
		return next;
	if (s->has_cause && s->cause == CAUSE_DESCENDANT) /* until it is ours, too */
		return MIN(next, now + MIN(o->low.window_usec, o->critical.window_usec) / 4);
	return MIN(next, next_threshold(p, now));
}

static uint64_t next_in_low(const struct policy *p, bool has_psi, uint64_t now)
{
	uint64_t next = p->above_half_low_usec + p->options.quiet_usec;

	if (!has_psi)
		return next;
	next = MIN(next, now + p->options.low.window_usec / 8);
	next = MIN(next, next_repeat(p, now));
	return p->told_critical ? next : MIN(next, next_threshold(p, now));
}

static uint64_t next_look(struct policy *p, enum policy_event event, const struct policy_sample *s,
			  uint64_t now)
{
	uint64_t next = USEC_NEVER, floor = POLICY_PACE_MIN_USEC;

	if (p->level == LEVEL_HIGH && p->alarm_usec > 0 && event == POLICY_EVENTS)
		floor = POLICY_PACE_EVENTS_USEC;
	else if (p->level != LEVEL_HIGH && now >= p->fast_until_usec)
		floor = POLICY_PACE_STEADY_USEC;
	switch (p->level) {
	case LEVEL_HIGH:
		next = next_in_high(p, now, floor);
		break;
	case LEVEL_NEUTRAL:
		next = next_in_neutral(p, event, s, now);
		break;
	case LEVEL_LOW:
		next = next_in_low(p, s->has_psi, now);
		break;
	}
	/* memory.events alone: below High its alarms are off, and what it counts is sampled */
	if (p->level != LEVEL_HIGH && !s->has_psi && s->has_oom)
		next = MIN(next, now + p->options.low.window_usec / 2);
	return MAX(next, now + floor);
}

void policy_step(struct policy *p, enum policy_event event, const struct policy_sample *s,
		 uint64_t now, struct policy_verdict *ret)
{
	bool first = !p->started, had_oom = p->has_oom;
	uint64_t oom = p->oom;
	struct finding f = take_in(p, event, s, now);

	*ret = (struct policy_verdict){ .deadline_usec = USEC_NEVER };
	p->started = true;
	if (event == POLICY_SIGNAL && s->signal > p->level) {
		/* the source itself judged High */
		policy_forget(p);
		tell(p, ret, s->signal, false, s->signal_reason, now);
	} else {
		switch (p->level) {
		case LEVEL_HIGH:
			step_high(p, event, s, &f, first, now, ret);
			break;
		case LEVEL_NEUTRAL:
			step_neutral(p, event, s, &f, now, ret);
			break;
		case LEVEL_LOW:
			step_low(p, &f, now, ret);
			break;
		}
	}

	if (ret->want_cause) { /* it is asked again, and an oom must be news again */
		p->has_oom = had_oom;
		p->oom = oom;
	}
	ret->deadline_usec = ret->want_headroom || ret->want_cause ? now
								   : next_look(p, event, s, now);
	/* While sampling, each sample reads memory.events anyway. */
	ret->listen = p->events_muted_until_usec <= now &&
		      (ret->deadline_usec == USEC_NEVER || is_idle_neutral(p, now));
}
