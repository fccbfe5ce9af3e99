/* SPDX-License-Identifier: MIT */
/*
 * tune-choose.c - criteria, one after the other: each leaves those that are as good as the best
 *
 *     trim     misses none, is early; then: not in vain
 *     shed     as few mistakes of both kinds as can be had; then: not Low for long, no flaps, early
 *     restart  never in vain; then: misses none, is not late, and asks for much
 *
 * What is left of a grid then differs in nothing that was seen, and the one nearest to the built-in setting is taken.
 */
#include <stdlib.h>

#include "cli/tune.h"

const unsigned tune_at_most[] = { [TUNE_TRIM] = 60, [TUNE_SHED] = 4, [TUNE_RESTART] = 1 };

enum severity tune_wanted(enum tune_purpose purpose)
{
	return purpose == TUNE_TRIM   ? SEVERITY_LIGHT
	       : purpose == TUNE_SHED ? SEVERITY_HEAVY
				      : SEVERITY_LOST;
}

unsigned tune_episodes(const struct tune_result *result, enum tune_purpose purpose)
{
	unsigned count = 0;

	for (unsigned s = tune_wanted(purpose); s < SEVERITIES; s++)
		count += result->episodes[s];
	return count;
}

static unsigned spoken(const struct tune_point *point, enum tune_purpose purpose)
{
	unsigned count = 0;

	for (unsigned s = tune_wanted(purpose); s < SEVERITIES; s++)
		count += point->score.spoken[s];
	return count;
}

unsigned tune_missed(const struct tune_result *result, const struct tune_point *point,
		     enum tune_purpose purpose)
{
	return tune_episodes(result, purpose) - spoken(point, purpose);
}

unsigned tune_false(const struct tune_point *point, enum tune_purpose purpose)
{
	unsigned count = 0;

	if (purpose == TUNE_TRIM)
		return point->score.needless;
	for (unsigned s = 0; s < tune_wanted(purpose); s++)
		count += point->score.began[s];
	return count;
}

uint64_t tune_delay(const struct tune_point *point, enum tune_purpose purpose)
{
	unsigned count = spoken(point, purpose);
	uint64_t usec = 0;

	for (unsigned s = tune_wanted(purpose); s < SEVERITIES; s++)
		usec += point->score.delay_usec[s];
	return count ? usec / count : USEC_NEVER;
}

double tune_rate(const struct tune_result *result, const struct tune_point *point,
		 enum tune_purpose purpose)
{
	double hours = (double)result->usec / (3600.0 * (double)USEC_PER_SEC);
	unsigned count = purpose == TUNE_TRIM ? point->score.lows : 0;

	for (unsigned s = 0; s < SEVERITIES && purpose != TUNE_TRIM; s++)
		count += point->score.began[s];
	return count / MAX(hours, 1.0);
}

/* ---- criteria: the less, the better ------------------------------------------------------------------ */

struct question {
	const struct tune_result *result;
	const struct tune_options *options;
};

typedef double criterion_fn(const struct question *q, const struct tune_point *p);

static double is_too_often(const struct question *q, const struct tune_point *p)
{
	return tune_rate(q->result, p, q->options->purpose) > q->options->at_most;
}

static double is_too_late(const struct question *q, const struct tune_point *p)
{
	return q->options->before_limit_usec > 0 && q->result->limits > 0 &&
	       (p->score.unseen > 0 || p->score.lead_usec < q->options->before_limit_usec);
}

static double missed(const struct question *q, const struct tune_point *p)
{
	return tune_missed(q->result, p, q->options->purpose);
}

static double in_vain(const struct question *q, const struct tune_point *p)
{
	return tune_false(p, q->options->purpose);
}

static double mistakes(const struct question *q, const struct tune_point *p)
{
	return missed(q, p) + in_vain(q, p);
}

static double delay(const struct question *q, const struct tune_point *p)
{
	uint64_t usec = tune_delay(p, q->options->purpose);

	return usec == USEC_NEVER ? 0 : (double)usec / USEC_PER_SEC;
}

/* While it is Low, load is refused. */
static double percent_in_low(const struct question *q, const struct tune_point *p)
{
	return q->result->usec ? (double)p->score.low_usec * 100 / (double)q->result->usec : 0;
}

static double flaps(_unused_ const struct question *q, const struct tune_point *p)
{
	return p->score.flaps;
}

static double rate(const struct question *q, const struct tune_point *p)
{
	return tune_rate(q->result, p, q->options->purpose);
}

static double pace(_unused_ const struct question *q, const struct tune_point *p)
{
	return p->pace;
}

/* A program that is ended for nothing is worse than one that is ended ten seconds later: full, and much of it. */
static double leniency(_unused_ const struct question *q, const struct tune_point *p)
{
	return (p->candidate.options.low.kind == PSI_SOME ? 1000.0 : 0.0) - p->permille;
}

/* From some 200ms/2s: windows that need a privilege, and each step of the grid. */
static double distance(_unused_ const struct question *q, const struct tune_point *p)
{
	const struct trigger *low = &p->candidate.options.low;
	double ratio = p->permille > 100 ? p->permille / 100.0 : 100.0 / p->permille;

	return ratio + (low->window_usec % (2 * USEC_PER_SEC) != 0) +
	       (low->window_usec != 2 * USEC_PER_SEC) + (low->kind == PSI_FULL);
}

/* Of what is as good as the best: so much more is no difference. */
static const struct {
	criterion_fn *less;
	double tolerance;
} criteria[][10] = {
	[TUNE_TRIM] = { { is_too_often, 0 },
			{ is_too_late, 0 },
			{ missed, 0 },
			{ delay, 0.5 },
			{ in_vain, 0 },
			{ pace, 0 },
			{ distance, 0 } },
	[TUNE_SHED] = { { is_too_often, 0 },
			{ is_too_late, 0 },
			{ mistakes, 0 },
			{ percent_in_low, 5 },
			{ flaps, 0 },
			{ delay, 1 },
			{ rate, 0 },
			{ pace, 0 },
			{ distance, 0 } },
	[TUNE_RESTART] = { { in_vain, 0 },
			   { is_too_often, 0 },
			   { missed, 0 },
			   { is_too_late, 0 },
			   { delay, 10 },
			   { rate, 0 },
			   { pace, 0 },
			   { leniency, 0 },
			   { distance, 0 } },
};

/* Leaves in list[0..count] what is as good as the best. Returns how many. */
static size_t leave_best(const struct question *q, const struct tune_point **list, size_t count,
			 criterion_fn *less, double tolerance)
{
	double best = less(q, list[0]);
	size_t left = 0;

	for (size_t i = 1; i < count; i++)
		best = MIN(best, less(q, list[i]));
	for (size_t i = 0; i < count; i++)
		if (less(q, list[i]) <= best + tolerance)
			list[left++] = list[i];
	return left;
}

/* ---- the frontier ------------------------------------------------------------------------------------- */

/* In how often, what is missed, how soon and what is in vain. */
static bool is_dominated(const struct question *q, const struct tune_point *p,
			 const struct tune_point *by)
{
	static criterion_fn *const each[] = { rate, missed, delay, in_vain };
	bool better = false;

	for (size_t i = 0; i < ELEMENTSOF(each); i++) {
		if (each[i](q, by) > each[i](q, p))
			return false;
		better = better || each[i](q, by) < each[i](q, p);
	}
	/* of equals the one nearest to the built-in stays */
	return better || pace(q, by) + distance(q, by) < pace(q, p) + distance(q, p) ||
	       (pace(q, by) + distance(q, by) == pace(q, p) + distance(q, p) && by < p);
}

static void find_frontier(const struct question *q, struct tune_result *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct tune_point *p = &r->points[i];

		p->frontier = p->in_grid && p->score.lows > 0;
		for (size_t k = 0; k < r->count && p->frontier; k++)
			p->frontier = k == i || !r->points[k].in_grid ||
				      r->points[k].score.lows == 0 ||
				      !is_dominated(q, p, &r->points[k]);
	}
}

/* ---- the choice ----------------------------------------------------------------------------------------- */

static const char *objection(const struct question *q, const struct tune_point *best)
{
	const struct tune_result *r = q->result;
	enum tune_purpose purpose = q->options->purpose;

	if (tune_episodes(r, purpose) == 0)
		return purpose == TUNE_RESTART
			       ? "No episode was lost (full under 50 % of its worst ten seconds, and no out-of-memory): these traces do not say when to restart."
		       : purpose == TUNE_SHED
			       ? "No episode was heavy (some under 10 % of its worst ten seconds): these traces do not say when to shed load."
			       : "Nothing stalled for 1 % of ten seconds: these traces do not say when to trim.";
	if (purpose == TUNE_RESTART && in_vain(q, best) > 0)
		return "None of the settings tells the lost episodes from the others.";
	if (is_too_often(q, best))
		return "None of the settings tells Low so seldom; this one comes nearest.";
	if (is_too_late(q, best))
		return "None of the settings is so early before each limit; this one is the best of them.";
	if (missed(q, best) > 0)
		return "Some episodes are missed by every setting that meets the rest.";
	return NULL;
}

void tune_choose(struct tune_result *r, const struct tune_options *options)
{
	const struct question q = { r, options };
	const struct tune_point *list[TUNE_POINTS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < r->count; i++)
		if (r->points[i].in_grid)
			list[count++] = &r->points[i];
	for (size_t i = 0; criteria[options->purpose][i].less; i++) {
		if (criteria[options->purpose][i].less == pace)
			r->as_good = (unsigned)count - 1;
		count = leave_best(&q, list, count, criteria[options->purpose][i].less,
				   criteria[options->purpose][i].tolerance);
	}
	r->why_not = objection(&q, list[0]);
	r->best = tune_episodes(r, options->purpose) > 0 &&
				  !(options->purpose == TUNE_RESTART && in_vain(&q, list[0]) > 0)
			  ? list[0]
			  : NULL;
	find_frontier(&q, r);
}
