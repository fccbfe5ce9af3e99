/* SPDX-License-Identifier: MIT */
/*
 * model.h - the policy's state in a finite number of forms, and the promises
 *
 * Included by the verifier that spin makes of policy.pml. struct model is what the search stores and compares. Each step
 * unpacks it into a struct policy at the fixed time NOW, lets policy_step() do its work, judges that, and packs the result.
 *
 * Why packing loses nothing: the policy looks at times only as differences from now, and at totals only as differences from one
 * another. told, loud and early are only ever compared with rearm, quiet and calm (and added to them for deadlines, which
 * then lie in the past), so all ages over AGE_MAX are alike. of `since` only zero or not matters, `pace` only up to
 * the window, `empty` only until the hold is at its longest.
 */
#include <stdio.h>
#include <string.h>

#include "core/policy.h"

#define SLOTS (WINDOW + 4)
#define NOW 1000u
#define TOTAL 1000u
#define AGE_MAX (MAX(MAX(REARM, QUIET), CALM) + 1)
#define LATE 1

/* Low ends: the stall leaves the window, Quiet, and a look that may be late before and after. */
#define LOOK (MAX(WINDOW / 8, 1) + LATE)
#define LOW_ENDS (WINDOW + QUIET + 2 * LOOK)
/* High comes: Calm after that, and an idle Neutral looks every POLICY_PACE_MAX_USEC only. */
#define HIGH_COMES (LOW_ENDS + CALM + POLICY_PACE_MAX_USEC + WINDOW + 2 * LATE)

struct model_window {
	unsigned char count, grown_usec, grown;
	unsigned char age[SLOTS], deficit[SLOTS];
};

struct model {
	struct model_window early, low, critical;
	unsigned char level, told_critical, told_age, loud_age, early_age;
	unsigned char alarm; /* age + 1, 0: none */
	unsigned char since, hold, pace, empty, started;
	/* what the last verdict said */
	unsigned char wait; /* until the deadline, 255: none */
	unsigned char listen;
	/* what the judge remembers, apart from the policy */
	unsigned char last_level, last_critical, last_age;
	unsigned char cause_age, room_age, probe_age;
	unsigned char loud_since, early_since; /* ages of the last sample that surely was so */
};

static const struct policy_options model_options = {
	.early = { PSI_SOME, EARLY, WINDOW },
	.low = { PSI_SOME, LOW, WINDOW },
	.critical = { PSI_FULL, CRITICAL, WINDOW },
	.rearm_usec = REARM,
	.quiet_usec = QUIET,
	.calm_usec = CALM,
	.headroom_percent = 25,
};

static void pack_window(const struct window *w, struct model_window *m)
{
	memset(m, 0, sizeof(*m));
	m->count = (unsigned char)w->count;
	m->grown_usec = (unsigned char)w->grown_usec;
	m->grown = (unsigned char)w->grown;
	for (unsigned i = 0; i < w->count; i++) {
		const struct window_slot *slot = &w->slots[(w->first + i) % WINDOW_SLOTS];

		m->age[i] = (unsigned char)(window_last_usec(w) - slot->at_usec);
		m->deficit[i] = (unsigned char)(window_last_total(w) - slot->total);
	}
}

static void unpack_window(const struct model_window *m, struct window *w)
{
	window_init(w, WINDOW);
	w->count = m->count;
	w->grown_usec = m->grown_usec;
	w->grown = m->grown;
	for (unsigned i = 0; i < m->count; i++)
		w->slots[i] = (struct window_slot){ NOW - m->age[i], TOTAL - m->deficit[i] };
}

static unsigned char age_of(uint64_t at, uint64_t now)
{
	return (unsigned char)MIN(now - at, (uint64_t)AGE_MAX);
}

static void pack(const struct policy *p, uint64_t now, struct model *m)
{
	pack_window(&p->early, &m->early);
	pack_window(&p->low, &m->low);
	pack_window(&p->critical, &m->critical);
	m->level = (unsigned char)p->level;
	m->told_critical = p->level == LEVEL_LOW && p->told_critical;
	m->told_age = p->level == LEVEL_LOW ? age_of(p->told_usec, now) : 0;
	m->loud_age = p->level == LEVEL_LOW ? age_of(p->above_half_low_usec, now) : 0;
	m->early_age = age_of(p->early_usec, now);
	m->alarm = p->alarm_usec == 0 ? 0 : (unsigned char)(now - p->alarm_usec + 1);
	m->since = p->since_usec > 0;
	m->hold = (unsigned char)usec_sub(p->events_muted_until_usec, now);
	m->pace = (unsigned char)MIN(p->pace_usec, 2u * WINDOW);
	m->empty = (unsigned char)MIN(p->false_alarms, 3u);
	m->started = p->started;
}

static void unpack(const struct model *m, struct policy *p)
{
	policy_init(p, &model_options);
	unpack_window(&m->early, &p->early);
	unpack_window(&m->low, &p->low);
	unpack_window(&m->critical, &p->critical);
	p->level = (enum level)m->level;
	p->told_critical = m->told_critical;
	p->told_usec = NOW - m->told_age;
	p->above_half_low_usec = NOW - m->loud_age;
	p->early_usec = NOW - m->early_age;
	p->alarm_usec = m->alarm == 0 ? 0 : NOW - (m->alarm - 1u);
	p->since_usec = m->since ? NOW : 0;
	p->events_muted_until_usec = m->hold > 0 ? NOW + m->hold : 0;
	p->pace_usec = m->pace;
	p->false_alarms = m->empty;
	p->has_oom = true;
	p->oom = 7;
	p->started = m->started;
}

static void model_begin(struct model *m)
{
	struct policy_sample s = { .has_psi = true,
				   .some_usec = TOTAL,
				   .full_usec = TOTAL,
				   .has_oom = true,
				   .oom = 7,
				   .headroom = HEADROOM_ENOUGH };
	struct policy_verdict v;
	struct policy p;

	memset(m, 0, sizeof(*m));
	policy_init(&p, &model_options);
	policy_step(&p, POLICY_TICK, &s, NOW, &v);
	p.early_usec = NOW - AGE_MAX;
	pack(&p, NOW, m);
	m->wait = 255;
	m->listen = v.listen;
	m->last_level = LEVEL_HIGH;
	m->cause_age = m->room_age = 0;
	m->loud_since = m->early_since = AGE_MAX;
}

/* How far the next step may lie away. */
static unsigned char model_limit(const struct model *m)
{
	return m->wait == 255 ? REST : (unsigned char)(m->wait + LATE);
}

#define MODEL_RESUME 4 /* an event beside those of enum policy_event */

static const enum level model_levels[] = { LEVEL_HIGH, LEVEL_NEUTRAL, LEVEL_LOW, LEVEL_LOW };

static void sample_of(int event, int some, int full, int oom, int what, int burst,
		      struct policy_sample *s)
{
	*s = (struct policy_sample){
		.has_psi = true,
		.some_usec = TOTAL + (unsigned)some,
		.full_usec = TOTAL + (unsigned)full,
		.some_avg10_centi = burst ? 10000 : 0,
		.full_avg10_centi = burst ? 10000 : 0,
		.has_oom = true,
		.oom = 7 + (unsigned)oom,
	};
	if (event == POLICY_SIGNAL) {
		s->signal = model_levels[what];
		s->signal_critical = what == 3;
		s->signal_reason = REASON_SIGNAL;
	}
}

/* A resumed policy is looked at once more, as meter_resume() does. */
static enum policy_event resume(struct policy *p, int event, int what, unsigned now)
{
	if (event != MODEL_RESUME)
		return (enum policy_event)event;
	policy_resume(p, model_levels[what], what == 3, now);
	return POLICY_TICK;
}

static int model_asks(const struct model *m, int event, int dt, int some, int full, int oom,
		      int what, int burst)
{
	struct policy_sample s;
	struct policy_verdict v;
	struct policy p;

	unpack(m, &p);
	sample_of(event, some, full, oom, what, burst, &s);
	policy_step(&p, resume(&p, event, what, NOW + (unsigned)dt), &s, NOW + (unsigned)dt, &v);
	return v.want_headroom;
}

#define PROMISE(condition, text)                                       \
	do {                                                           \
		if (!(condition)) {                                    \
			printf("broken: %s (%s)\n", text, #condition); \
			return 1;                                      \
		}                                                      \
	} while (0)

static unsigned char older(unsigned char age, int dt, unsigned limit)
{
	return (unsigned char)MIN((unsigned)age + (unsigned)dt, limit);
}

/* Growth that surely lies within the window: since the first sample not before its far edge. */
static uint64_t sure_growth(const struct model_window *m, int dt, int growth)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < m->count; i++)
		if (m->age[i] + (unsigned)dt <= WINDOW)
			most = MAX(most, (uint64_t)m->deficit[i] + (unsigned)growth);
	return most;
}

/* Growth that may lie within it: since the last sample not after its far edge. */
static uint64_t possible_growth(const struct model_window *m, int dt, int growth)
{
	uint64_t least = UINT64_MAX, all = 0;

	for (unsigned i = 0; i < m->count; i++) {
		uint64_t since = (uint64_t)m->deficit[i] + (unsigned)growth;

		all = MAX(all, since);
		if (m->age[i] + (unsigned)dt >= WINDOW)
			least = MIN(least, since);
	}
	return MIN(least, all);
}

static int model_step(struct model *m, int event, int dt, int some, int full, int oom, int what,
		      int burst, int room)
{
	const unsigned now = NOW + (unsigned)dt;
	struct model before = *m;
	struct policy_sample s;
	struct policy_verdict v;
	struct policy p;
	bool alarm = event == POLICY_ALARM || event == POLICY_EVENTS, asked, lifted;
	bool must_critical, must_low, must_early, may_critical, may_low, may_early;
	bool signal = event == POLICY_SIGNAL, low = signal && what >= 2;
	bool resumed = event == MODEL_RESUME;

	unpack(m, &p);
	sample_of(event, some, full, oom, what, burst, &s);
	event = (int)resume(&p, event, what, now);
	if (resumed) { /* as if that had been told, and what a better level leaves behind were nothing */
		if (model_levels[what] > (enum level)before.last_level)
			before.early.count = before.low.count = before.critical.count = 0;
		before.last_level = (unsigned char)model_levels[what];
		before.last_critical = what == 3;
		before.probe_age = 0;
	}
	policy_step(&p, (enum policy_event)event, &s, now, &v);
	asked = v.want_headroom;
	if (asked) {
		PROMISE(!v.tell, "who asks for headroom tells nothing");
		s.headroom = room ? HEADROOM_ENOUGH : HEADROOM_SHORT;
		policy_step(&p, (enum policy_event)event, &s, now, &v);
		PROMISE(!v.want_headroom, "headroom is asked for once");
	}

	/* what the samples say */
	lifted = signal && s.signal > (enum level)before.last_level;
	must_critical = oom || (low && what == 3) ||
			sure_growth(&before.critical, dt, full) >= CRITICAL;
	must_low = must_critical || low || sure_growth(&before.low, dt, some) >= LOW;
	must_early = must_low || (signal && what == 1) ||
		     sure_growth(&before.early, dt, some) >= EARLY;
	may_critical = must_critical || possible_growth(&before.critical, dt, full) >= CRITICAL;
	may_low = must_low || may_critical || possible_growth(&before.low, dt, some) >= LOW;
	may_early = must_early || may_low || possible_growth(&before.early, dt, some) >= EARLY;

	m->last_age = older(before.last_age, dt, AGE_MAX);
	m->early_since = must_early ? 0 : older(before.early_since, dt, AGE_MAX);
	m->loud_since = must_low || 2 * sure_growth(&before.low, dt, some) >= LOW
				? 0
				: older(before.loud_since, dt, AGE_MAX);
	m->cause_age = some > 0 || oom || signal ? 0 : older(before.cause_age, dt, HIGH_COMES + 1);
	if (resumed) {
		m->last_level = before.last_level;
		m->last_critical = before.last_critical;
		m->last_age = m->early_since = m->loud_since = m->cause_age = 0;
	}
	m->room_age = asked && !room ? 0 : older(before.room_age, dt, HIGH_COMES + 1);

	if (lifted)
		PROMISE(v.tell && v.level == s.signal, "a signal that lifts is told");
	if (v.tell && !lifted) {
		PROMISE(v.level == LEVEL_LOW || !v.critical, "only Low is critical");
		switch (v.level) {
		case LEVEL_LOW:
			PROMISE(may_low, "no Low without a cause");
			PROMISE(!v.critical || may_critical, "no critical without a cause");
			PROMISE(before.last_level != LEVEL_LOW || m->last_age >= REARM ||
					(v.critical && !before.last_critical),
				"never two equal notifications within rearm");
			break;
		case LEVEL_NEUTRAL:
			PROMISE(before.last_level != LEVEL_NEUTRAL,
				"Neutral only from another level");
			PROMISE(!must_low, "Low goes before Neutral");
			PROMISE(before.last_level == LEVEL_HIGH || m->loud_since >= QUIET,
				"Low ends after Quiet");
			PROMISE(before.last_level == LEVEL_LOW || may_early || (asked && !room),
				"no Neutral without a cause");
			break;
		case LEVEL_HIGH:
			PROMISE(before.last_level == LEVEL_NEUTRAL && !must_early && asked && room,
				"High after Neutral, calm, with headroom");
			PROMISE(m->early_since >= CALM, "Neutral ends after Calm");
			break;
		}
	}
	if (!v.tell) {
		PROMISE(!must_low || before.last_level == LEVEL_LOW, "over low is told at once");
		PROMISE(!must_early || before.last_level != LEVEL_HIGH,
			"over early is told at once");
		PROMISE(!must_critical || before.last_critical, "critical is told at once");
		PROMISE(!must_low || m->last_age < REARM, "Low is repeated after rearm");
	}
	if (v.tell) {
		m->last_level = (unsigned char)v.level;
		m->last_critical = v.critical;
		m->last_age = 0;
		m->probe_age = 0;
	}
	if (m->last_level != LEVEL_LOW) {
		m->last_age = 0;
		m->loud_since = AGE_MAX;
	}
	if (v.tell && v.reason == REASON_HEADROOM)
		m->early_since = 0;
	PROMISE(p.level == (enum level)m->last_level, "the level is what was told");

	/* the next look */
	PROMISE(v.deadline_usec >= now + POLICY_PACE_EVENTS_USEC, "never sooner than the pace");
	PROMISE(v.deadline_usec != USEC_NEVER || v.listen, "who does not sample listens");
	if (m->last_level != LEVEL_HIGH) {
		m->probe_age = 0;
		PROMISE(v.deadline_usec != USEC_NEVER, "a deadline whenever not High");
		PROMISE(v.deadline_usec - now <= MAX(CALM, POLICY_PACE_MAX_USEC), "and a near one");
	} else if (!v.tell) {
		/* an alarm is probed for one window of early, and then there may be a hold; after that, nothing */
		m->probe_age = alarm ? 0 : older(before.probe_age, dt, 100);
		if (m->probe_age > 2 * WINDOW + POLICY_MUTE_MAX_USEC + 4)
			PROMISE(v.deadline_usec == USEC_NEVER && v.listen,
				"High and calm: nothing wakes us");
		if (alarm && before.alarm == 0)
			PROMISE(v.deadline_usec != USEC_NEVER && !v.listen, "an alarm is probed");
	}

	/* and in the end */
	PROMISE(m->last_level != LEVEL_LOW || m->cause_age <= LOW_ENDS,
		"Low is followed by Neutral or High once stalls end");
	PROMISE(m->last_level != LEVEL_NEUTRAL || MIN(m->cause_age, m->room_age) <= HIGH_COMES,
		"Neutral is followed by High once stalls end and there is headroom");
	if (m->last_level == LEVEL_HIGH)
		m->cause_age = m->room_age = 0;
	if (m->last_level == LEVEL_LOW)
		m->room_age = 0;
	if (m->probe_age > 2 * WINDOW + POLICY_MUTE_MAX_USEC + 4)
		m->probe_age = 2 * WINDOW + POLICY_MUTE_MAX_USEC + 4;

	if (p.early.count > SLOTS || p.low.count > SLOTS || p.critical.count > SLOTS) {
		printf("broken: SLOTS of the model is too small\n");
		return 1;
	}
	pack(&p, now, m);
	m->wait = v.deadline_usec == USEC_NEVER ? 255 : (unsigned char)(v.deadline_usec - now);
	m->listen = v.listen;
	return 0;
}
