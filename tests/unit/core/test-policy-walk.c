/* SPDX-License-Identifier: MIT */
/*
 * test-policy-walk.c - ten million random steps through the level policy (src/core/policy.h)
 *
 * A small world makes stalls (calm, showers, storms, bursts),
 * out-of-memory kills, alarms that are true, false, late or lost, and signals; a driver samples it
 * as the library does: at or a little after the deadline, or when an alarm rings, and it answers
 * the question about headroom.
 *
 * Every step is judged by policy-judge.h.
 *
 * PSIBRIDGE_SEED=n walks another way. The seed is printed.
 */
#include "../unit.h"
#include "policy-judge.h"
#include "random.h"

#define MS(n) ((n)*USEC_PER_MSEC)
#define SEC(n) ((n)*USEC_PER_SEC)
#define LATE_MAX MS(50) /* so much after its deadline the driver may sample */
#define STEPS 10000000

/* ---- the world ------------------------------------------------------------------------------- */

static bool one_in(unsigned n)
{
	return draw(n) == 0;
}

/* avg10 as calc_avgs() in kernel/sched/psi.c has it: every 2 s, by 371/2048 towards what that
 * period stalled */
struct average {
	double percent;
	uint64_t period_growth;
};

static void average_add(struct average *a, uint64_t start, uint64_t dt, uint64_t growth)
{
	uint64_t left = SEC(2) - start % SEC(2);
	double rate = (double)growth / (double)dt;

	for (unsigned i = 0; dt >= left && i < 60; i++) {
		a->period_growth += (uint64_t)(rate * (double)left);
		a->percent += ((double)a->period_growth / 20000.0 - a->percent) * 371 / 2048;
		a->period_growth = 0;
		dt -= left;
		left = SEC(2);
	}
	dt %= SEC(2);
	a->period_growth += (uint64_t)(rate * (double)dt);
}

struct world {
	uint64_t now, some, full, oom, weather_ends, ring_growth;
	unsigned rate, full_rate;		   /* of 1024 */
	bool is_below;				   /* what is over low is so for a limit below */
	uint64_t left;				   /* until the limit is reached */
	bool bursts, is_short, privileged, speaks; /* speaks: a FIFO or socket, and nothing else */
	struct average some10, full10;
};

static void change_weather(struct world *w)
{
	static const uint64_t spans[] = { MS(30), MS(300), SEC(3), SEC(30), SEC(200) };
	static const unsigned rates[] = { 0, 0, 0, 2, 8, 12, 40, 60, 100, 120, 300, 1024 };

	w->rate = rates[draw(ELEMENTSOF(rates))];
	w->full_rate = one_in(3) ? 0 : (unsigned)draw(w->rate + 1);
	w->bursts = w->rate > 0 && one_in(3);
	w->left = one_in(8) ? 1 + draw(SEC(4)) : 0;
	w->weather_ends = w->now + 1 + draw(spans[draw(ELEMENTSOF(spans))]);
	if (one_in(4))
		w->is_short = !w->is_short;
	w->is_below = one_in(4);
}

static void pass_time(struct world *w, uint64_t dt)
{
	uint64_t some = dt * w->rate / 1024, full = dt * w->full_rate / 1024;

	if (w->bursts) { /* most of the time none, then all at once */
		some = one_in(8) ? MIN(dt, 8 * some) : 0;
		full = w->full_rate > 0 && one_in(2) ? some : 0;
	}
	average_add(&w->some10, w->now, dt, some);
	average_add(&w->full10, w->now, dt, full);
	w->now += dt;
	w->some += some;
	w->full += full;
	w->ring_growth += some;
	if (w->now >= w->weather_ends)
		change_weather(w);
}

/* ---- the driver ------------------------------------------------------------------------------ */

struct next {
	enum policy_event event;
	uint64_t dt;
};

static void sooner(struct next *next, enum policy_event event, uint64_t dt)
{
	if (dt < next->dt)
		*next = (struct next){ event, dt };
}

static uint64_t until_tick(const struct world *w, const struct policy_verdict *v)
{
	uint64_t late = one_in(20) ? draw(LATE_MAX) : draw(MS(1));

	if (v->deadline_usec != USEC_NEVER)
		return v->deadline_usec > w->now ? v->deadline_usec - w->now + late : 1 + late;
	if (!w->privileged)
		return SEC(10) + late;			   /* the safety sample */
	return one_in(4) ? 1 + draw(SEC(20)) : USEC_NEVER; /* the timer had another reason */
}

/* When the next thing happens, and what. */
static struct next next_event(const struct world *w, const struct trigger *early,
			      const struct policy_verdict *v)
{
	struct next next = { POLICY_TICK, until_tick(w, v) };

	/* the trigger rings once its threshold has been reached, unless the alarm is lost */
	if (w->rate > 0 && !one_in(8)) {
		uint64_t left = usec_sub(early->threshold_usec, w->ring_growth) + 1;

		sooner(&next, POLICY_ALARM,
		       MAX(left * 1024 / w->rate +
				   draw(w->privileged ? early->window_usec / 10 + 1 : SEC(2)),
			   MS(20)));
	}
	if (one_in(100)) /* a false one */
		sooner(&next, POLICY_ALARM, MS(20) + draw(one_in(2) ? MS(200) : SEC(3600)));
	if (v->listen && one_in(w->is_short ? 2 : 6))
		sooner(&next, POLICY_EVENTS, 1 + draw(one_in(3) ? SEC(600) : MS(100)));
	if (one_in(w->speaks ? 4 : 400))
		sooner(&next, POLICY_SIGNAL, 1 + draw(one_in(2) ? MS(10) : SEC(10)));
	if (one_in(200) && next.event == POLICY_TICK && next.dt > MS(30)) /* for another reason */
		sooner(&next, POLICY_TICK, MS(20) + draw(next.dt - MS(20)));
	if (next.dt == USEC_NEVER) /* nothing at all is no step */
		next.dt = SEC(1) + draw(SEC(7200));
	return next;
}

/* Sometimes the source, the cgroup, or the process that judges is another one. */
static void change_all(struct world *w, struct policy *p, struct judge *judge)
{
	enum level level = (enum level)(1 + draw(3));
	uint64_t more = draw(SEC(1000));

	if (one_in(20000)) {
		policy_forget(p);
		judge_forget(judge);
		w->some += more;
		w->full += draw(more + 1);
	}
	if (one_in(20000))
		w->some = w->full = w->oom = draw(2) * draw(w->full + 1);
	if (one_in(2000))
		judged_resume(judge, p, level, level == LEVEL_LOW && one_in(3), w->now);
	if (one_in(judge->level == LEVEL_LOW ? 100 : 10000))
		judged_effect(judge, p, one_in(8));
}

static void one_step(struct world *w, struct policy *p, struct judge *judge,
		     struct policy_verdict *v)
{
	static uint64_t recent[64], n;
	struct next next = next_event(w, &judge->options->early, v);
	struct policy_sample s = { .has_psi = judge->has_psi, .has_oom = !one_in(1000) };

	pass_time(w, next.dt);
	if (next.event == POLICY_ALARM)
		w->ring_growth = 0;
	if (one_in(next.event == POLICY_EVENTS ? 50 : 3000))
		w->oom += 1 + draw(3);
	change_all(w, p, judge);
	s.some_usec = w->some;
	s.full_usec = w->full;
	s.some_avg10_centi = (uint32_t)(w->some10.percent * 100);
	s.full_avg10_centi = (uint32_t)(w->full10.percent * 100);
	s.oom = w->oom;
	s.left_usec = one_in(3) ? w->left : 0; /* not at each sample */
	if (next.event == POLICY_SIGNAL) {
		s.signal = w->speaks && !one_in(8) ? LEVEL_LOW : (enum level)(1 + draw(3));
		s.signal_critical = s.signal == LEVEL_LOW && one_in(3);
		s.signal_reason = one_in(2) ? REASON_SIGNAL : REASON_SIMULATED;
	}
	if (w->is_short)
		judge->room_usec = w->now;
	judged_step(judge, p, next.event, &s, w->is_short ? HEADROOM_SHORT : HEADROOM_ENOUGH,
		    w->is_below ? CAUSE_DESCENDANT : (enum cause)draw(CAUSE_DESCENDANT), w->now, v);

	/* 50 samples a second, and room for the alarms among them */
	if (next.event == POLICY_TICK || next.event == POLICY_ALARM) {
		uint64_t *oldest = &recent[n++ % ELEMENTSOF(recent)];

		REQUIRE(*oldest > w->now || *oldest == 0 || w->now - *oldest >= SEC(1),
			"no more than 50 samples a second");
		*oldest = w->now;
	}
}

static const struct {
	const char *what, *early, *low, *critical;
	uint64_t rearm, quiet, calm;
	unsigned headroom;
	bool blind;
	uint64_t forecast;
} sets[] = {
	{ "the defaults", "some 20ms/2s", "some 200ms/2s", "full 100ms/2s", MS(8192), 0, SEC(10),
	  25, false, SEC(2) },
	{ "no headroom", "some 20ms/2s", "some 200ms/2s", "full 100ms/2s", MS(8192), 0, SEC(10), 0,
	  false, 0 },
	{ "shortest windows", "some 1ms/100ms", "some 10ms/100ms", "full 5ms/100ms", SEC(1), 0,
	  SEC(1), 25, false, 0 },
	{ "longest windows", "some 100ms/10s", "some 1s/10s", "full 500ms/10s", SEC(20), 0, SEC(10),
	  25, false, 0 },
	{ "long early, short low", "some 100ms/10s", "some 10ms/100ms", "full 100ms/2s", SEC(8),
	  SEC(1), SEC(5), 10, false, 0 },
	{ "short early, long low", "some 2ms/100ms", "some 1s/10s", "full 50ms/500ms", SEC(8),
	  SEC(1), SEC(5), 10, false, 0 },
	{ "the smallest thresholds, everything at once", "some 1us/1s", "some 1us/1s",
	  "full 1us/1s", 1, 1, 1, 1, false, 0 },
	{ "the greatest thresholds", "some 1s/1s", "some 1s/1s", "full 1s/1s", SEC(8), SEC(1),
	  SEC(3), 99, false, 0 },
	{ "full early, some critical, upside down", "full 300ms/2s", "full 200ms/1s",
	  "some 250ms/750ms", MS(100), MS(100), SEC(1), 25, false, SEC(1) },
	{ "a source without PSI", "some 20ms/2s", "some 200ms/2s", "full 100ms/2s", MS(8192), 0,
	  SEC(10), 25, true, SEC(1) },
};

static struct policy_options options_of(size_t set)
{
	struct policy_options o = { .rearm_usec = sets[set].rearm,
				    .quiet_usec = sets[set].quiet,
				    .calm_usec = sets[set].calm,
				    .headroom_percent = sets[set].headroom,
				    .forecast_usec = sets[set].forecast };

	trigger_parse(sets[set].early, strlen(sets[set].early), &o.early, NULL);
	trigger_parse(sets[set].low, strlen(sets[set].low), &o.low, NULL);
	trigger_parse(sets[set].critical, strlen(sets[set].critical), &o.critical, NULL);
	return o;
}

static uint64_t spaced; /* Lows that were told to who gave nothing back, in all walks */

static void walk(size_t set, uint64_t steps)
{
	const struct policy_options options = options_of(set);
	struct world w = { .now = SEC(3600),
			   .some = SEC(70),
			   .full = SEC(40),
			   .speaks = sets[set].blind,
			   .privileged = draw(2) };
	struct policy_sample s = { .has_psi = !sets[set].blind,
				   .some_usec = w.some,
				   .full_usec = w.full };
	struct judge judge;
	struct policy_verdict v;
	struct policy p;

	judge_begin(&judge, &options, s.has_psi, LATE_MAX);
	judge.some_usec = w.some;
	policy_init(&p, &options);
	judged_step(&judge, &p, POLICY_TICK, &s, HEADROOM_ENOUGH, CAUSE_OWN, w.now, &v);
	assert_true(!v.tell && v.deadline_usec == USEC_NEVER && v.listen);
	for (uint64_t i = 0; i < steps; i++) {
		if (one_in(10000))
			w.privileged = !w.privileged;
		one_step(&w, &p, &judge, &v);
	}
	print_message(
		"%-44s %7llu Low (%llu critical, %llu again, %llu spaced), %llu Neutral, %llu High in %llu h\n",
		sets[set].what, (unsigned long long)judge.told[LEVEL_LOW],
		(unsigned long long)judge.criticals, (unsigned long long)judge.repeats,
		(unsigned long long)judge.spaced, (unsigned long long)judge.told[LEVEL_NEUTRAL],
		(unsigned long long)judge.told[LEVEL_HIGH],
		(unsigned long long)(w.now / SEC(3600)));
	/* a walk that never gets anywhere proves nothing */
	for (enum level level = LEVEL_LOW; level <= LEVEL_HIGH; level++)
		assert_in_range(judge.told[level], 500, UINT64_MAX);
	assert_in_range(judge.criticals, 300, UINT64_MAX);
	assert_in_range(judge.repeats, 3, UINT64_MAX);
	spaced += judge.spaced;
}

PROMISE(ten_million_random_steps_keep_every_promise)
{
	const char *text = getenv("PSIBRIDGE_SEED");

	random_state = text ? strtoull(text, NULL, 0) : 20240229;
	print_message("PSIBRIDGE_SEED=%llu\n", (unsigned long long)random_state);
	for (size_t set = 0; set < ELEMENTSOF(sets); set++)
		walk(set, STEPS / ELEMENTSOF(sets));
	assert_in_range(spaced, 500, UINT64_MAX);
}
