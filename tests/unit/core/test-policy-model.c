/* SPDX-License-Identifier: MIT */
/*
 * test-policy-model.c - the level policy, exhaustively, for small windows (src/core/policy.h)
 *
 * Every state that src/core/policy.c can reach is visited, and from each every step is made that the library could make: any
 * stall, any alarm (true, false, late), any out-of-memory, any signal, any headroom, any cause, any level that another process
 * told, any effect of a Low; a deadline kept or missed by one unit, or a rest of up to `rest` units. Each is judged by policy-judge.h.
 *
 * What makes the states finite, and loses nothing: the policy and its judge look at times only as differences from now, and at
 * totals only as differences from one another; so all times become ages, all totals distances from the newest, and an age
 * beyond everything it is compared with becomes one value. Of the beginning of a stall only whether there is one matters,
 * of the pace what is under two windows, of false alarms what is not yet the longest hold.
 *
 * The paces are scaled down as the windows are, which takes a policy of its own.
 *
 * PSIBRIDGE_MODEL=all (make model) searches all settings, which takes a minute.
 */
#define POLICY_PACE_MIN_USEC 1
#define POLICY_PACE_STEADY_USEC 1
#define POLICY_FAST_USEC 1
#define POLICY_PACE_EVENTS_USEC 1
#define POLICY_PACE_IDLE_USEC 2
#define POLICY_PACE_MAX_USEC 4
#define POLICY_MUTE_MIN_USEC 1
#define POLICY_MUTE_MAX_USEC 4
#define POLICY_UNANSWERED_MAX 1
#define POLICY_REARM_FACTOR_MAX 2u
#define policy_effect model_policy_effect
#define policy_init model_policy_init
#define policy_forget model_policy_forget
#define policy_resume model_policy_resume
#define policy_step model_policy_step
#include "core/policy.c"

#include "../unit.h"
#include "policy-judge.h"

#define LATE 1u
#define NOW 1000u
#define TOTAL 1000u
#define SLOTS 9 /* of the longest window, and four */
#define INDEX_SIZE (1u << 23)
#define NO_DEADLINE 255
#define UNANSWERED_MAX 1u /* from here on the factor is the greatest */

struct packed_window {
	unsigned char count, grown_usec, grown, age[SLOTS], deficit[SLOTS];
};

struct state {
	struct packed_window early, low, critical;
	unsigned char level, told_critical, told_age, half_low_age, early_age, unanswered;
	unsigned char probe; /* age + 1; 0: none */
	unsigned char since, hold, pace, false_alarms;
	unsigned char wait, listen; /* what the last verdict said */
	unsigned char judged_half_low_age, judged_early_age, alarm_age, cause_age;
};

static const struct setting {
	const char *name;
	unsigned window, early, low, critical, rearm, quiet, calm, rest;
} settings[] = {
	{ "three", 3, 1, 2, 2, 4, 3, 3, 7 },
	{ "four", 4, 1, 2, 2, 6, 8, 6, 9 },
	{ "upside-down", 4, 3, 2, 1, 3, 2, 9, 9 },
	{ "five", 5, 1, 3, 2, 7, 10, 7, 11 },
};

static struct search {
	const struct setting *setting;
	struct policy_options options;
	uint64_t age_max, told_age_max, alarm_age_max;
	struct state *states;
	uint32_t *index; /* a hash table of numbers of states, from 1 */
	size_t count, capacity;
	uint64_t steps;
} search;

/* ---- states ---------------------------------------------------------------------------------- */

static struct packed_window pack_window(const struct window *w)
{
	struct packed_window packed = { .count = (unsigned char)w->count,
					.grown_usec = (unsigned char)w->grown_usec,
					.grown = (unsigned char)w->grown };

	assert_in_range(w->count, 0, SLOTS);
	for (unsigned i = 0; i < w->count; i++) {
		const struct window_slot *slot = &w->slots[(w->first + i) % WINDOW_SLOTS];

		packed.age[i] = (unsigned char)(window_last_usec(w) - slot->at_usec);
		packed.deficit[i] = (unsigned char)(window_last_total(w) - slot->total);
	}
	return packed;
}

static struct window unpack_window(const struct packed_window *packed)
{
	struct window w = { .length_usec = search.setting->window,
			    .count = packed->count,
			    .grown_usec = packed->grown_usec,
			    .grown = packed->grown };

	for (unsigned i = 0; i < packed->count; i++)
		w.slots[i] = (struct window_slot){ NOW - packed->age[i],
						   TOTAL - packed->deficit[i] };
	if (w.count > 0)
		window_add(&w, NOW, TOTAL); /* which is the newest: its growth is found */
	return w;
}

static unsigned char age_of(uint64_t at, uint64_t now, uint64_t most)
{
	return (unsigned char)MIN(now - at, most);
}

static struct state pack(const struct policy *p, const struct judge *j,
			 const struct policy_verdict *v, uint64_t now)
{
	bool low = p->level == LEVEL_LOW, high = p->level == LEVEL_HIGH;
	uint64_t most = search.age_max, cause = j->cause_usec;

	if (p->level == LEVEL_NEUTRAL)
		cause = MAX(cause, j->room_usec);
	return (struct state){
		.early = pack_window(policy_window(p, THRESHOLD_EARLY)),
		.low = pack_window(policy_window(p, THRESHOLD_LOW)),
		.critical = pack_window(policy_window(p, THRESHOLD_CRITICAL)),
		.level = (unsigned char)p->level,
		.told_critical = low && p->told_critical,
		.told_age = age_of(p->told_usec, now,
				   low ? search.told_age_max
				       : policy_rearm_factor(p->unanswered) *
						   search.setting->rearm),
		.unanswered = (unsigned char)MIN(p->unanswered, UNANSWERED_MAX),
		.half_low_age = low ? age_of(p->above_half_low_usec, now, most) : 0,
		.early_age = age_of(p->early_usec, now, most),
		.probe = p->alarm_usec == 0 ? 0 : (unsigned char)(now - p->alarm_usec + 1),
		.since = p->since_usec > 0,
		.hold = (unsigned char)usec_sub(p->events_muted_until_usec, now),
		.pace = (unsigned char)MIN(p->pace_usec, 2u * search.setting->window),
		.false_alarms = (unsigned char)MIN(p->false_alarms, 3u),
		.wait = v->deadline_usec == USEC_NEVER ? NO_DEADLINE
						       : (unsigned char)(v->deadline_usec - now),
		.listen = v->listen,
		.judged_half_low_age = low ? age_of(j->half_low_usec, now, most) : 0,
		.judged_early_age = age_of(j->early_usec, now, most),
		.alarm_age = high ? age_of(MAX(j->alarm_usec, j->told_usec), now,
					   search.alarm_age_max)
				  : 0,
		.cause_age = high ? 0 : age_of(cause, now, 250),
	};
}

static void unpack(const struct state *s, struct policy *p, struct judge *j)
{
	policy_init(p, &search.options);
	p->windows[p->window_of[THRESHOLD_EARLY]] = unpack_window(&s->early);
	p->windows[p->window_of[THRESHOLD_LOW]] = unpack_window(&s->low);
	p->windows[p->window_of[THRESHOLD_CRITICAL]] = unpack_window(&s->critical);
	p->level = (enum level)s->level;
	p->told_critical = s->told_critical;
	p->told_usec = NOW - s->told_age;
	p->unanswered = s->unanswered;
	p->above_half_low_usec = NOW - s->half_low_age;
	p->early_usec = NOW - s->early_age;
	p->alarm_usec = s->probe == 0 ? 0 : NOW - (s->probe - 1u);
	p->since_usec = s->since ? NOW : 0;
	p->events_muted_until_usec = s->hold > 0 ? NOW + s->hold : 0;
	p->pace_usec = s->pace;
	p->false_alarms = s->false_alarms;
	p->has_oom = p->started = true;
	p->oom = 7;

	judge_begin(j, &search.options, true, LATE);
	j->early = *policy_window(p, THRESHOLD_EARLY);
	j->low = *policy_window(p, THRESHOLD_LOW);
	j->critical = *policy_window(p, THRESHOLD_CRITICAL);
	j->level = p->level;
	j->told_critical = s->told_critical;
	j->told_low_usec = p->told_usec;
	j->unanswered = s->unanswered;
	j->half_low_usec = NOW - s->judged_half_low_age;
	j->early_usec = NOW - s->judged_early_age;
	j->alarm_usec = j->told_usec = NOW - s->alarm_age;
	j->cause_usec = NOW - s->cause_age;
	j->some_usec = TOTAL;
	j->has_oom = true;
	j->oom = 7;
	j->steps = search.steps;
}

/* A state that was not seen before will be visited. */
static void add(const struct state *state)
{
	const unsigned char *bytes = (const unsigned char *)state;
	uint64_t hash = 0;
	uint32_t *slot;

	for (size_t i = 0; i < sizeof(*state); i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x9e3779b97f4a7c15) ^ hash >> 29;
	for (slot = &search.index[hash % INDEX_SIZE]; *slot > 0; slot++) {
		if (memcmp(&search.states[*slot - 1], state, sizeof(*state)) == 0)
			return;
		if (slot == &search.index[INDEX_SIZE - 1])
			slot = search.index - 1;
	}
	if (search.count == search.capacity) {
		search.capacity = 2 * search.capacity + 1024;
		search.states = realloc(search.states, search.capacity * sizeof(*state));
		assert_non_null(search.states);
	}
	search.states[search.count++] = *state;
	*slot = (uint32_t)search.count;
	assert_true(search.count < INDEX_SIZE / 2);
}

/* ---- steps ----------------------------------------------------------------------------------- */

enum { RESUME = 4, EFFECT }; /* events beside those of enum policy_event */

struct step {
	unsigned event, dt, some, full, oom;
	enum level level; /* of a signal, or resumed */
	bool critical, burst, gave;
	unsigned left;
};

static bool judge_one(const struct state *from, const struct step *step, enum headroom headroom,
		      enum cause cause)
{
	uint64_t now = NOW + step->dt;
	struct policy_sample s = {
		.has_psi = true,
		.some_usec = TOTAL + step->some,
		.full_usec = TOTAL + step->full,
		.some_avg10_centi = step->burst ? 10000 : 0,
		.full_avg10_centi = step->burst ? 10000 : 0,
		.has_oom = true,
		.oom = 7 + step->oom,
		.signal = step->level,
		.signal_critical = step->critical,
		.signal_reason = REASON_SIGNAL,
		.left_usec = step->left,
	};
	enum policy_event event = (enum policy_event)step->event;
	struct policy p;
	struct judge j;
	struct policy_verdict v;
	struct state to;
	bool asked;

	search.steps++;
	unpack(from, &p, &j);
	if (step->event == RESUME) {
		judged_resume(&j, &p, step->level, step->critical, now);
		event = POLICY_TICK;
	}
	if (step->event == EFFECT) {
		judged_effect(&j, &p, step->gave);
		event = POLICY_TICK;
	}
	if (headroom == HEADROOM_SHORT)
		j.room_usec = now;
	asked = judged_step(&j, &p, event, &s, headroom, cause, now, &v);
	to = pack(&p, &j, &v, now);
	add(&to);
	return asked;
}

static void judge_both(const struct state *from, const struct step *step)
{
	if (!judge_one(from, step, HEADROOM_ENOUGH, CAUSE_OWN))
		return;
	judge_one(from, step, HEADROOM_SHORT, CAUSE_OWN);
	judge_one(from, step, HEADROOM_ENOUGH, CAUSE_DESCENDANT);
}

/* Whatever may have grown in that time. After a rest what matters is how much, not each unit of it. */
static void grow(const struct state *from, struct step step)
{
	unsigned window = search.setting->window;
	const unsigned coarse[] = { 0, 1, 2, window, step.dt };
	bool rest = step.dt > window + 1;

	for (unsigned i = 0; i < (rest ? ELEMENTSOF(coarse) : step.dt + 1); i++) {
		step.some = rest ? coarse[i] : i;
		for (step.full = 0; step.full <= step.some;
		     step.full += rest ? MAX(step.some, 1u) : 1)
			judge_both(from, &step);
	}
	for (step.some = 0; step.some <= step.dt; step.some += step.dt)
		for (step.full = 0, step.left = 1; step.left <= 2; step.left++)
			judge_both(from, &step);
	step.left = 0;
	if (step.event != POLICY_ALARM && step.dt <= 2) {
		step.some = step.full = 0;
		step.oom = 1;
		judge_both(from, &step);
	}
}

static void visit(const struct state *from)
{
	unsigned limit = from->wait == NO_DEADLINE ? search.setting->rest : from->wait + LATE;

	for (unsigned dt = 1; dt <= limit; dt++) {
		grow(from, (struct step){ .event = POLICY_TICK, .dt = dt });
		grow(from, (struct step){ .event = POLICY_ALARM, .dt = dt });
		if (dt > search.setting->window)
			grow(from, (struct step){ .event = POLICY_ALARM, .dt = dt, .burst = true });
		if (from->listen)
			grow(from, (struct step){ .event = POLICY_EVENTS, .dt = dt });
	}
	for (unsigned event = POLICY_SIGNAL; event <= RESUME; event++)
		for (unsigned level = 0; level <= LEVEL_HIGH; level++) /* 0: critical */
			judge_both(from, &(struct step){ .event = event,
							 .dt = 1,
							 .level = MAX(level, LEVEL_LOW),
							 .critical = level == 0 });
	for (unsigned gave = 0; gave <= 1; gave++)
		judge_both(from, &(struct step){ .event = EFFECT, .dt = 1, .gave = gave });
}

static void search_all(const struct setting *setting)
{
	struct policy_sample s = { .has_psi = true,
				   .some_usec = TOTAL,
				   .full_usec = TOTAL,
				   .has_oom = true,
				   .oom = 7,
				   .headroom = HEADROOM_ENOUGH };
	struct policy_verdict v;
	struct policy p;
	struct judge j;
	struct state state;

	search = (struct search){ .setting = setting };
	search.options = (struct policy_options){
		.early = { PSI_SOME, setting->early, setting->window },
		.low = { PSI_SOME, setting->low, setting->window },
		.critical = { PSI_FULL, setting->critical, setting->window },
		.rearm_usec = setting->rearm,
		.quiet_usec = setting->quiet,
		.calm_usec = setting->calm,
		.headroom_percent = 25,
		.forecast_usec = 1,
	};
	search.age_max = MAX(MAX(setting->rearm, setting->quiet), setting->calm) + 1;
	search.told_age_max = MAX(search.age_max, POLICY_REARM_FACTOR_MAX * setting->rearm + 1);
	search.alarm_age_max = 2 * setting->window + POLICY_MUTE_MAX_USEC + 2 * LATE + 1;
	search.index = calloc(INDEX_SIZE, sizeof(*search.index));
	assert_non_null(search.index);

	judge_begin(&j, &search.options, true, LATE);
	policy_init(&p, &search.options);
	policy_step(&p, POLICY_TICK, &s, NOW, &v);
	state = pack(&p, &j, &v, NOW);
	add(&state);
	for (size_t i = 0; i < search.count; i++) {
		state = search.states[i];
		visit(&state);
	}
	print_message("%s: %zu states, %llu steps\n", setting->name, search.count,
		      (unsigned long long)search.steps);
	free(search.states);
	free(search.index);
}

PROMISE(every_promise_is_kept_in_every_state)
{
	const char *which = getenv("PSIBRIDGE_MODEL");
	size_t n = which && strcmp(which, "all") == 0 ? ELEMENTSOF(settings) : 1;

	for (size_t i = 0; i < n; i++)
		search_all(&settings[i]);
}
