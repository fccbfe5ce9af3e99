/* SPDX-License-Identifier: MIT */
/*
 * replay.c - a trace through the policy
 *
 *     line --> [line before ... line]: each look of the trigger and each deadline of the policy that
 *              falls in between, in their order, with the numbers of that moment --> policy_step()
 *
 * A line of psibridged's (it has an event) is itself a look of the policy that was in force, so it is a step, whatever is replayed. In between
 * the policy looked only while nothing changed, which is not in the trace: these looks fall in there as above, and no others do.
 *
 * Where nothing stalls and the policy is at rest a line costs some comparisons. Of a longer gap in which tasks waited only its first hour
 * and its last are gone through: nobody looked for days, and in a damaged trace it may be a thousand years. By then each window was over,
 * and what even growth does it does for all of the gap.
 */
#include "replay.h"

/* Where alarms may be swallowed (src/monitor/monitor-source.c). */
#define SAFETY_USEC (10 * USEC_PER_SEC)
#define LOOKS_A_WINDOW 10
#define EVERYBODYS_LOOK_USEC (2004 * USEC_PER_MSEC)
#define HOUR_USEC (3600 * USEC_PER_SEC)
#define DAY_USEC (24 * HOUR_USEC) /* no time of the policy is longer */

/* ---- the kernel's trigger -------------------------------------------------------------------------- */

static void trigger_init(struct replay_trigger *t, const struct trigger *early, bool privileged)
{
	*t = (struct replay_trigger){
		.armed = trigger_to_arm(early, privileged),
		.privileged = privileged,
		.next_usec = USEC_NEVER,
	};
	window_init(&t->window, t->armed.window_usec);
}

static uint64_t look_of(const struct replay_trigger *t)
{
	return t->privileged ? t->armed.window_usec / LOOKS_A_WINDOW : EVERYBODYS_LOOK_USEC;
}

/* Something stalls from `from` on: the kernel looks at it, if it does not already. */
static void trigger_wake(struct replay_trigger *t, const struct trace_sample *from)
{
	if (t->next_usec != USEC_NEVER)
		return;
	t->next_usec = from->time_usec + look_of(t);
	t->total = trace_total(from, t->armed.kind);
	if (t->privileged)
		window_add(&t->window, from->time_usec, t->total);
}

/* The time up to `to` is left out. */
static void trigger_skip(struct replay_trigger *t, const struct trace_sample *to)
{
	if (t->next_usec == USEC_NEVER)
		return;
	t->next_usec = USEC_NEVER;
	trigger_wake(t, to);
}

/* Its look is due. Returns: what grew; until that is nothing, it goes on to look. */
static uint64_t trigger_look(struct replay_trigger *t, uint64_t total)
{
	uint64_t growth = usec_sub(total, t->total);

	t->total = total;
	if (t->privileged) {
		window_add(&t->window, t->next_usec, total);
		growth = window_growth(&t->window);
	}
	t->next_usec = growth > 0 ? t->next_usec + look_of(t) : USEC_NEVER;
	return growth;
}

/* ---- a step ---------------------------------------------------------------------------------------- */

static uint64_t part(uint64_t a, uint64_t b, uint64_t elapsed, uint64_t whole)
{
	uint64_t product;

	if (b <= a)
		return b;
	if (!__builtin_mul_overflow(b - a, elapsed, &product)) /* ten times as fast */
		return a + product / whole;
	return a + (uint64_t)((unsigned __int128)(b - a) * elapsed / whole);
}

static uint64_t total_between(const struct trace_sample *a, const struct trace_sample *b,
			      enum psi_kind kind, uint64_t at)
{
	uint64_t whole = b->time_usec - a->time_usec;

	return whole == 0
		       ? trace_total(a, kind)
		       : part(trace_total(a, kind), trace_total(b, kind), at - a->time_usec, whole);
}

struct trace_sample replay_between(const struct trace_sample *a, const struct trace_sample *b,
				   uint64_t at)
{
	uint64_t whole = b->time_usec - a->time_usec, elapsed = at - a->time_usec;
	struct trace_sample s = at < b->time_usec ? *a : *b;

	s.time_usec = at;
	s.told = 0;
	if (whole == 0)
		return s;
	s.some_usec = part(a->some_usec, b->some_usec, elapsed, whole);
	s.full_usec = part(a->full_usec, b->full_usec, elapsed, whole);
	s.used_bytes = part(a->used_bytes, b->used_bytes, elapsed, whole);
	return s;
}

/* How much of the limit is free says whether there is headroom; without a limit there is. */
static enum headroom headroom_of(const struct replay *r, const struct trace_sample *s)
{
	unsigned percent = r->policy.options.headroom_percent;

	if (s->limit_bytes == 0 || s->used_bytes == 0)
		return HEADROOM_ENOUGH;
	return usec_sub(s->limit_bytes, s->used_bytes) >= s->limit_bytes / 100 * percent
		       ? HEADROOM_ENOUGH
		       : HEADROOM_SHORT;
}

static uint64_t window_of(const struct replay *r, const struct policy_verdict *v)
{
	const struct policy_options *o = &r->policy.options;

	return v->level != LEVEL_LOW ? o->early.window_usec
	       : v->critical	     ? o->critical.window_usec
				     : o->low.window_usec;
}

/* `end_usec`: of the gap in which it was told; 0: there is none. */
static void tell(struct replay *r, const struct trace_sample *at, const struct policy_verdict *v,
		 uint64_t end_usec)
{
	bool is_wide = usec_sub(end_usec, r->last.time_usec) > window_of(r, v);
	struct replay_told told = {
		.at = *at,
		.earliest_usec = is_wide ? r->last.time_usec : at->time_usec,
		.latest_usec = is_wide ? end_usec : at->time_usec,
		.stall_usec = at->some_usec - r->told_some_usec,
		.since_usec = v->since_usec,
	};

	told.at.told = v->level;
	told.at.critical = v->critical;
	told.at.reason = v->reason;
	told.at.cause = r->cause;
	r->told_some_usec = at->some_usec;
	r->fn(&told, r->userdata);
}

/* How soon the limit is reached; 0: it is not. */
static uint64_t look_ahead(struct replay *r, const struct trace_sample *at, uint64_t now)
{
	uint64_t left;

	if (r->policy.options.forecast_usec == 0 || at->limit_bytes == 0 || at->used_bytes == 0)
		return 0;
	left = forecast_look(&r->forecast, at->used_bytes, at->limit_bytes, now);
	r->ahead_usec = forecast_next(&r->forecast) - 1;
	return left == USEC_NEVER ? 0 : left;
}

static void step(struct replay *r, enum policy_event event, const struct trace_sample *at,
		 uint64_t end_usec)
{
	struct policy_sample s = {
		.has_psi = at->has_psi,
		.some_usec = at->some_usec,
		.full_usec = at->full_usec,
		.some_avg10_centi = at->some_avg10_centi,
		.full_avg10_centi = at->full_avg10_centi,
		.has_oom = at->has_oom,
		.oom = at->oom,
	};
	struct policy_verdict v;
	uint64_t now = at->time_usec + 1; /* the policy's times are over 0 */

	r->ahead_usec = USEC_NEVER;
	if (at->event == EVENT_NONE || r->samples_only)
		s.left_usec = look_ahead(r, at, now);
	else if (at->told && at->reason == REASON_FORECAST) /* it was looked at in between */
		s.left_usec = 1;
	if (event == POLICY_SIGNAL) {
		s.signal = at->told;
		s.signal_critical = at->critical;
		s.signal_reason = at->reason;
	}
	for (;;) {
		policy_step(&r->policy, event, &s, now, &v);
		if (v.want_headroom) {
			s.headroom = headroom_of(r, at);
		} else if (v.want_cause) {
			s.has_cause = true;
			s.cause = r->cause;
		} else {
			break;
		}
	}
	if (v.tell && v.level == LEVEL_LOW && v.reason == REASON_FORECAST)
		forecast_told(&r->forecast);
	else if (v.tell && v.level == LEVEL_LOW)
		forecast_stalled(&r->forecast);
	if (v.tell)
		tell(r, at, &v, end_usec);
	r->told |= v.tell;
	r->deadline_usec = v.deadline_usec == USEC_NEVER ? USEC_NEVER : v.deadline_usec - 1;
	r->safety_usec = r->trigger.privileged ? USEC_NEVER : at->time_usec + SAFETY_USEC;
}

/* ---- lines ----------------------------------------------------------------------------------------- */

void replay_init(struct replay *r, const struct policy_options *options, bool privileged,
		 replay_fn *fn, void *userdata)
{
	*r = (struct replay){ .fn = fn, .userdata = userdata };
	policy_init(&r->policy, options);
	trigger_init(&r->trigger, &options->early, privileged);
}

/* The counters began anew: another cgroup of that name. */
static bool is_another(const struct trace_sample *a, const struct trace_sample *b)
{
	return b->some_usec < a->some_usec || b->full_usec < a->full_usec;
}

static bool may_pass(const struct replay *r, const struct trigger *trigger,
		     const struct trace_sample *s)
{
	return s->time_usec - r->last.time_usec > trigger->window_usec &&
	       trace_total(s, trigger->kind) - trace_total(&r->last, trigger->kind) >=
		       trigger->threshold_usec;
}

/* It is not Low, as it would be after even growth that passes a threshold: does all that grew, at once? */
static bool may_hide_low(const struct replay *r, const struct trace_sample *s)
{
	return r->policy.level != LEVEL_LOW && (may_pass(r, &r->policy.options.low, s) ||
						may_pass(r, &r->policy.options.critical, s));
}

/* How much of a gap is gone through at each end. While nothing grows the policy comes to rest by itself, and looks until then. */
static uint64_t edge_usec(const struct trace_sample *a, const struct trace_sample *b)
{
	return b->some_usec == a->some_usec ? DAY_USEC : HOUR_USEC;
}

/* May all be left out that is that far from both lines? */
static bool is_far(uint64_t at, const struct trace_sample *a, const struct trace_sample *b)
{
	return at - a->time_usec > edge_usec(a, b) && b->time_usec - at > edge_usec(a, b);
}

/* What the policy wants before `until`, which is not after `s`. */
static void catch_up(struct replay *r, const struct trace_sample *s, uint64_t until, uint64_t end)
{
	struct trace_sample at;
	uint64_t due;

	while ((due = MIN(MIN(r->deadline_usec, r->safety_usec), r->ahead_usec)) < until) {
		if (is_far(due, &r->last, s))
			due = s->time_usec - edge_usec(&r->last, s);
		at = replay_between(&r->last, s, due);
		step(r, POLICY_TICK, &at, end);
	}
}

static void ring(struct replay *r, const struct trace_sample *s, uint64_t now, uint64_t end)
{
	struct trace_sample at;

	if (now < r->silent_until_usec)
		return;
	if (r->trigger.privileged)
		r->silent_until_usec = now + r->trigger.armed.window_usec;
	catch_up(r, s, now, end);
	at = replay_between(&r->last, s, now);
	step(r, POLICY_ALARM, &at, end);
}

/* What the policies and the trigger, which is the first one's, do before or at the time of `s`. */
static void catch_up_all(struct replay *all, size_t count, const struct trace_sample *s,
			 uint64_t end)
{
	struct replay_trigger *t = &all->trigger;
	const struct trace_sample *last = &all->last;
	struct trace_sample at;
	uint64_t now, growth;

	while ((now = t->next_usec) <= s->time_usec) {
		if (is_far(now, last, s)) {
			at = replay_between(last, s, s->time_usec - edge_usec(last, s));
			trigger_skip(t, &at);
			continue;
		}
		growth = trigger_look(t, total_between(last, s, t->armed.kind, now));
		for (size_t i = 0; i < count; i++)
			if (growth >= all[i].trigger.armed.threshold_usec)
				ring(&all[i], s, now, end);
	}
	for (size_t i = 0; i < count; i++)
		catch_up(&all[i], s, s->time_usec + 1, end);
}

static enum policy_event event_of(const struct trace_sample *s)
{
	if (s->told && s->reason == REASON_SIMULATED)
		return POLICY_SIGNAL;
	return s->event == EVENT_ALARM	  ? POLICY_ALARM
	       : s->event == EVENT_EVENTS ? POLICY_EVENTS
					  : POLICY_TICK;
}

static void begin(struct replay *r, const struct trace_sample *s)
{
	const struct policy_options options = r->policy.options;
	bool begins = s->event == EVENT_BEGIN && !r->samples_only;

	r->told_some_usec = s->some_usec;
	r->trigger.next_usec = USEC_NEVER;
	r->begun = true;
	r->grown_usec = s->time_usec;
	if (begins)
		policy_init(&r->policy, &options);
	if (begins && s->told && s->reason == REASON_PRESENT)
		policy_resume(&r->policy, s->told, s->critical, s->time_usec + 1);
	step(r, r->samples_only ? POLICY_TICK : event_of(s), s, 0);
}

/* A look of psibridged's. What was looked at before, and was not written, had not changed; what one of these told is not judged again at
 * once, for it was this one. */
static void look(struct replay *all, size_t count, const struct trace_sample *s)
{
	bool grown = trace_has_grown(&all->last, s);

	if (!grown && s->time_usec - all->grown_usec > TRACE_SETTLE_USEC)
		catch_up_all(all, count, s, 0);
	for (struct replay *r = all; r < all + count; r++) {
		if (grown)
			r->grown_usec = s->time_usec;
		if (s->event == EVENT_GAVE || s->event == EVENT_KEPT)
			policy_effect(&r->policy, s->event == EVENT_GAVE);
		else if (!r->told || event_of(s) != POLICY_TICK)
			step(r, event_of(s), s, 0);
	}
}

/* Who looked is not known. */
static void pass(struct replay *all, size_t count, const struct trace_sample *s)
{
	const struct trace_sample *last = &all->last;
	enum psi_kind kind = all->trigger.armed.kind;
	/* where nothing grew a gap is known */
	uint64_t end = s->some_usec > last->some_usec ? s->time_usec : 0;
	bool oom = s->has_oom && last->has_oom && s->oom > last->oom;

	if (trace_total(s, kind) > trace_total(last, kind))
		trigger_wake(&all->trigger, last);
	catch_up_all(all, count, s, end);
	for (struct replay *r = all; r < all + count; r++) {
		if (oom)
			step(r, POLICY_EVENTS, s, end);
		if (may_hide_low(r, s))
			r->gaps++;
	}
}

void replay_feed_all(struct replay *all, size_t count, const struct trace_sample *s)
{
	bool samples_only = all->samples_only;

	for (struct replay *r = all; r < all + count; r++) {
		r->told = false;
		if (s->told)
			r->cause = s->cause;
	}
	if (!all->begun || (s->event == EVENT_BEGIN && !samples_only) || is_another(&all->last, s))
		for (struct replay *r = all; r < all + count; r++)
			begin(r, s);
	else if (s->event != EVENT_NONE && !samples_only)
		look(all, count, s);
	else
		pass(all, count, s);
	for (struct replay *r = all; r < all + count; r++)
		r->last = *s;
}

void replay_feed(struct replay *r, const struct trace_sample *s)
{
	replay_feed_all(r, 1, s);
}
