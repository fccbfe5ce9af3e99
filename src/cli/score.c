/* SPDX-License-Identifier: MIT */
/*
 * score.c - episodes and limits of a trace; spans of Low held against them
 */
#include "cli/score.h"

#include "cli/grow.h"
#include "core/replay.h"

#include <errno.h>
#include <stdlib.h>

/* ---- facts ------------------------------------------------------------------------------------------ */

/* Within ten seconds before the sample at `now`; nothing where the counters began anew. */
static uint64_t recent(struct trace_cursor *back, enum psi_kind kind,
		       const struct trace_sample *now)
{
	return usec_sub(trace_total(now, kind),
			trace_total_at(back, kind, usec_sub(now->time_usec, SCORE_WINDOW_USEC)));
}

static struct episode *add_episode(struct facts *f, uint64_t begin)
{
	void *list = grow(f->episodes, f->count, sizeof(*f->episodes));

	if (!list)
		return NULL;
	f->episodes = list;
	f->episodes[f->count] = (struct episode){ .begin_usec = begin,
						  .end_usec = begin,
						  .worst_usec = begin };
	return &f->episodes[f->count++];
}

static int add_limit(struct facts *f, uint64_t at, bool oom)
{
	void *list = grow(f->limits, f->limit_count, sizeof(*f->limits));

	if (!list)
		return -ENOMEM;
	f->limits = list;
	f->limits[f->limit_count].at_usec = at;
	f->limits[f->limit_count++].oom = oom;
	return 0;
}

/* The first stall after `from`, up to samples[last]. */
static uint64_t first_stall(const struct trace_sample *samples, size_t last, uint64_t from)
{
	size_t i = last;

	while (i > 0 && samples[i - 1].time_usec >= from)
		i--;
	i = i > 0 ? i - 1 : 0;
	while (i < last && samples[i + 1].some_usec <= samples[i].some_usec)
		i++;
	return MAX(from, samples[i].time_usec);
}

static enum severity severity_of(const struct episode *e)
{
	return e->worst_full_usec >= SCORE_WINDOW_USEC / 2    ? SEVERITY_LOST
	       : e->worst_some_usec >= SCORE_WINDOW_USEC / 10 ? SEVERITY_HEAVY
							      : SEVERITY_LIGHT;
}

static int find_episodes(const struct trace_sample *s, size_t count, struct facts *f)
{
	struct trace_cursor some_back = { s, count, 0 }, full_back = { s, count, 0 };
	struct episode *open = NULL;

	for (size_t i = 1; i < count; i++) {
		bool stalls = s[i].some_usec > s[i - 1].some_usec;
		uint64_t some = recent(&some_back, PSI_SOME, &s[i]);
		uint64_t full = recent(&full_back, PSI_FULL, &s[i]);

		if (open && (some < SCORE_EPISODE_USEC ||
			     s[i - 1].time_usec > open->end_usec + SCORE_WINDOW_USEC))
			open = NULL;
		if (some < SCORE_EPISODE_USEC || !stalls)
			continue;
		if (!open) {
			uint64_t from = usec_sub(s[i].time_usec, SCORE_WINDOW_USEC);

			if (f->count > 0)
				from = MAX(from, f->episodes[f->count - 1].end_usec);
			open = add_episode(f, first_stall(s, i, from));
		}
		if (!open)
			return -ENOMEM;
		open->end_usec = s[i].time_usec;
		open->worst_full_usec = MAX(open->worst_full_usec, full);
		if (some > open->worst_some_usec) {
			open->worst_some_usec = some;
			open->worst_usec = MAX(open->begin_usec,
					       usec_sub(s[i].time_usec, SCORE_WINDOW_USEC));
		}
		open->severity = severity_of(open);
	}
	return 0;
}

static int find_limits(const struct trace_sample *s, size_t count, struct facts *f)
{
	bool armed = true;

	for (size_t i = 0; i < count; i++) {
		uint64_t limit = s[i].limit_bytes;
		bool oom = i > 0 && s[i].has_oom && s[i - 1].has_oom && s[i].oom > s[i - 1].oom;
		bool full = limit > 0 && s[i].used_bytes >= limit / 100 * 95;
		bool again = f->limit_count > 0 &&
			     s[i].time_usec - f->limits[f->limit_count - 1].at_usec <
				     SCORE_WINDOW_USEC;

		if (oom && again)
			f->limits[f->limit_count - 1].oom = true;
		else if ((oom || (full && armed && i > 0)) && add_limit(f, s[i].time_usec, oom) < 0)
			return -ENOMEM;
		if (full)
			armed = false;
		else if (limit == 0 || s[i].used_bytes < limit / 100 * 90)
			armed = true;
	}
	return 0;
}

/* An out-of-memory within an episode, or in the ten seconds after it, has lost it; one by itself is an episode. */
static int take_ooms(struct facts *f)
{
	for (size_t i = 0, e = 0; i < f->limit_count; i++) {
		uint64_t at = f->limits[i].at_usec;
		struct episode *lost;

		if (!f->limits[i].oom)
			continue;
		while (e < f->count && f->episodes[e].end_usec + SCORE_WINDOW_USEC < at)
			e++;
		if (e == f->count || f->episodes[e].begin_usec > at) {
			if (!add_episode(f, at))
				return -ENOMEM;
			for (size_t k = f->count - 1; k > e; k--) /* to its place */
				f->episodes[k] = f->episodes[k - 1];
			f->episodes[e] = (struct episode){ .begin_usec = at,
							   .end_usec = at,
							   .worst_usec = at };
		}
		lost = &f->episodes[e];
		lost->severity = SEVERITY_LOST;
		lost->end_usec = MAX(lost->end_usec, at);
	}
	return 0;
}

int facts_find(const struct trace_sample *samples, size_t count, struct facts *ret)
{
	int r;

	*ret = (struct facts){ .usec = samples[count - 1].time_usec - samples[0].time_usec };
	for (size_t i = 1; i < count; i++)
		ret->some_usec += usec_sub(samples[i].some_usec, samples[i - 1].some_usec);
	r = find_episodes(samples, count, ret);
	if (r == 0)
		r = find_limits(samples, count, ret);
	return r == 0 ? take_ooms(ret) : r;
}

void facts_done(struct facts *facts)
{
	free(facts->episodes);
	free(facts->limits);
	*facts = (struct facts){ .count = 0 };
}

/* ---- spans of Low ------------------------------------------------------------------------------------- */

struct scoring {
	const struct facts *facts;
	struct score *score;
	struct trace_cursor after; /* for what follows a Low */
	uint64_t low_usec;	   /* since when it is Low, +1; 0: it is not */
	uint64_t low_some_usec;	   /* counted by then */
	uint64_t ended_usec;	   /* of the last span, +1; 0: none yet */
	size_t episode, limit;	   /* those before are over, or were seen */
	uint64_t worst_some_usec;  /* of this trace */
	size_t worst;
};

static bool limit_follows(const struct facts *f, size_t i, uint64_t at)
{
	while (i < f->limit_count && f->limits[i].at_usec < at)
		i++;
	return i < f->limit_count && f->limits[i].at_usec <= at + SCORE_WINDOW_USEC;
}

/* The episode that is going on then, or begins within ten seconds. */
static enum severity severity_at(const struct scoring *s, uint64_t at)
{
	const struct facts *f = s->facts;

	/* the one that was spoken of last may still go on */
	for (size_t i = usec_sub(s->episode, 1); i < f->count; i++) {
		if (f->episodes[i].begin_usec > at + SCORE_WINDOW_USEC)
			break;
		if (f->episodes[i].end_usec + SCORE_WINDOW_USEC >= at)
			return f->episodes[i].severity;
	}
	return SEVERITY_NONE;
}

static void begin_low(struct scoring *s, uint64_t at, uint64_t some)
{
	uint64_t before = trace_total_at(&s->after, PSI_SOME, at);
	struct trace_cursor ahead = s->after;
	uint64_t follows = trace_total_at(&ahead, PSI_SOME, at + SCORE_WINDOW_USEC);

	s->low_usec = at + 1;
	s->low_some_usec = some;
	s->score->began[severity_at(s, at)]++;
	s->score->flaps += s->ended_usec > 0 && at + 1 < s->ended_usec + SCORE_FLAP_USEC;
	s->score->needless += usec_sub(follows, before) < SCORE_NOTHING_USEC &&
			      !limit_follows(s->facts, s->limit, at);
}

static void see_limits(struct scoring *s, uint64_t from, uint64_t to)
{
	const struct facts *f = s->facts;

	for (; s->limit < f->limit_count && f->limits[s->limit].at_usec <= from; s->limit++)
		s->score->unseen++;
	for (; s->limit < f->limit_count &&
	       f->limits[s->limit].at_usec <= usec_add(to, SCORE_WINDOW_USEC);
	     s->limit++)
		s->score->lead_usec = MIN(s->score->lead_usec, f->limits[s->limit].at_usec - from);
}

/* Low from then to then. */
static void end_low(struct scoring *s, uint64_t to, uint64_t some)
{
	uint64_t from = s->low_usec - 1;
	const struct facts *f = s->facts;

	s->score->low_usec += to - from;
	s->score->low_some_usec += usec_sub(some, s->low_some_usec);
	for (; s->episode < f->count; s->episode++) {
		const struct episode *e = &f->episodes[s->episode];

		if (e->begin_usec > usec_add(to, SCORE_WINDOW_USEC))
			break; /* a later span may be its */
		if (e->end_usec + SCORE_WINDOW_USEC < from)
			continue; /* it was missed */
		s->score->spoken[e->severity]++;
		s->score->delay_usec[e->severity] += usec_sub(from, e->begin_usec);
		if (s->worst == s->episode && s->worst_some_usec == s->score->worst_some_usec)
			s->score->worst_lead_usec = (int64_t)e->worst_usec - (int64_t)from;
	}
	see_limits(s, from, to);
	s->low_usec = 0;
	s->ended_usec = to + 1;
}

static void take_level(struct scoring *s, enum level level, uint64_t at, uint64_t some)
{
	if (level == LEVEL_LOW && s->low_usec == 0)
		begin_low(s, at, some);
	else if (level != LEVEL_LOW && s->low_usec > 0)
		end_low(s, at, some);
}

static void told(const struct replay_told *t, void *userdata)
{
	struct scoring *s = userdata;

	s->score->lows += t->at.told == LEVEL_LOW;
	s->score->criticals += t->at.told == LEVEL_LOW && t->at.critical;
	take_level(s, t->at.told, t->at.time_usec, t->at.some_usec);
}

/* ---- rules on avg10 -------------------------------------------------------------------------------------- */

#define RENEWED_USEC (2 * USEC_PER_SEC)
#define DAY_USEC (86400 * USEC_PER_SEC)

/* What may be left out behind `t`: where nothing stalls all of it up to the next sample but one renewal, and of a gap that is gone through for
 * longer than a day, which is damage, all but its last day. */
static uint64_t skip_of(const struct trace_sample *at, uint64_t t, enum psi_kind kind, double avg)
{
	uint64_t left = usec_sub(at[1].time_usec, t), keep = USEC_NEVER;

	if (avg < 0.01 && trace_total(&at[1], kind) == trace_total(at, kind))
		keep = RENEWED_USEC;
	else if (t - at->time_usec > DAY_USEC)
		keep = DAY_USEC;
	return left > keep ? (left - keep) / RENEWED_USEC * RENEWED_USEC : 0;
}

/*
 * avg10 is renewed every 2 s from what stalled since, with the weight 1 - exp(-2/10) (kernel/sched/psi.c: calc_avgs(), EXP_10s). Where nothing
 * stalls and it is under a hundredth of a percent, the time up to the next sample is left out.
 */
static void run_rule(const struct trace_sample *samples, size_t count, const struct candidate *rule,
		     struct scoring *s)
{
	static const double weight = 0.18126924692201815;
	struct trace_cursor at = { samples, count, 0 };
	uint64_t before = trace_total(&samples[0], rule->kind), end = samples[count - 1].time_usec;
	uint64_t since = USEC_NEVER, skip;
	double avg = 0;

	for (uint64_t t = samples[0].time_usec; t <= end; t += RENEWED_USEC) {
		uint64_t total = trace_total_at(&at, rule->kind, t);
		double percent = (double)usec_sub(total, before) / (RENEWED_USEC / 100);
		bool low;

		avg += weight * (percent - avg);
		before = total;
		if (avg <= rule->avg10_percent)
			since = USEC_NEVER;
		else if (since == USEC_NEVER)
			since = t;
		low = since != USEC_NEVER && t - since >= rule->for_usec;
		s->score->lows += low && s->low_usec == 0;
		take_level(s, low ? LEVEL_LOW : LEVEL_HIGH, t, samples[at.at].some_usec);
		skip = at.at + 1 < count ? skip_of(&samples[at.at], t, rule->kind, avg) : 0;
		if (skip > 0)
			before = trace_total_at(&at, rule->kind, t += skip);
	}
}

/* ---- all --------------------------------------------------------------------------------------------------- */

/* The worst episode of all the traces so far is the one whose lead is kept. */
static void find_worst(struct scoring *s)
{
	const struct facts *f = s->facts;

	s->worst = SIZE_MAX;
	for (size_t i = 0; i < f->count; i++)
		if (f->episodes[i].worst_some_usec > s->score->worst_some_usec) {
			s->score->worst_some_usec = f->episodes[i].worst_some_usec;
			s->score->worst_lead_usec = INT64_MIN;
			s->worst = i;
			s->worst_some_usec = s->score->worst_some_usec;
		}
}

bool score_together(const struct candidate *a, const struct candidate *b, bool privileged)
{
	struct trigger x = trigger_to_arm(&a->options.early, privileged);
	struct trigger y = trigger_to_arm(&b->options.early, privileged);

	return a->avg10_percent == 0 && b->avg10_percent == 0 && x.kind == y.kind &&
	       x.window_usec == y.window_usec;
}

/* Of those that fit together. */
static void run_settings(const struct trace_sample *samples, size_t count,
			 const struct scored *scored, size_t scored_count, bool privileged,
			 struct scoring *s)
{
	struct replay replays[SCORE_TOGETHER_MAX];

	for (size_t i = 0; i < scored_count; i++) {
		replay_init(&replays[i], &scored[i].candidate->options, privileged, told, &s[i]);
		replays[i].samples_only = true;
	}
	for (size_t i = 0; i < count; i++)
		replay_feed_all(replays, scored_count, &samples[i]);
}

void score_add(const struct trace_sample *samples, size_t count, const struct facts *facts,
	       const struct scored *scored, size_t scored_count, bool privileged)
{
	struct scoring s[SCORE_TOGETHER_MAX];

	for (size_t i = 0; i < scored_count; i++) {
		s[i] = (struct scoring){ .facts = facts,
					 .score = scored[i].score,
					 .after = { samples, count, 0 } };
		find_worst(&s[i]);
	}
	if (scored->candidate->avg10_percent > 0)
		run_rule(samples, count, scored->candidate, s);
	else
		run_settings(samples, count, scored, scored_count, privileged, s);
	for (size_t i = 0; i < scored_count; i++) {
		if (s[i].low_usec > 0)
			end_low(&s[i], samples[count - 1].time_usec, samples[count - 1].some_usec);
		see_limits(&s[i], USEC_NEVER, USEC_NEVER);
		s[i].score->limits += (unsigned)facts->limit_count;
	}
}
