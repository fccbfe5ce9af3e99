/* SPDX-License-Identifier: MIT */
/*
 * average.c - totals from averages, in fixed point: a weight of 1 is 1 << 32, a percentage is in hundredths
 */
#include "cli/average.h"

#define PERIOD_USEC (2 * USEC_PER_SEC)
/* The last period ended up to 2 s before it was read. */
#define LATE_USEC (PERIOD_USEC / 2)
#define KEPT UINT64_C(1677)
#define OF UINT64_C(2048)
#define ONE (UINT64_C(1) << 32)
#define PERIODS_MAX 60 /* of what was before not a hundredth of a percent is left */
#define USEC_PER_CENTI (PERIOD_USEC / 10000)

/* How much of the weighted sum fits into the periods from `first` to `last`, in this order; as a stall. */
static uint64_t fill(int64_t sum, const uint64_t *weights, unsigned n, bool latest_first)
{
	uint64_t centi = 0;

	for (unsigned i = 0; i < n && sum > 0; i++) {
		uint64_t weight = weights[latest_first ? i : n - 1 - i];
		uint64_t here = MIN((uint64_t)sum / weight, UINT64_C(10000));

		centi += here;
		sum -= (int64_t)(here * weight);
	}
	return centi * USEC_PER_CENTI;
}

static void add_periods(struct average_line *a, uint32_t centi, uint64_t periods,
			struct average_worth *worth)
{
	unsigned n = (unsigned)MIN(periods, (uint64_t)PERIODS_MAX);
	uint64_t weights[PERIODS_MAX], kept = ONE, least, most;
	int64_t sum, even;

	for (unsigned i = 0; i < n; i++) {
		weights[i] = kept / OF * (OF - KEPT);
		kept = kept * KEPT / OF;
	}
	sum = (int64_t)(centi * ONE) - (int64_t)(a->centi * kept);
	even = sum / (int64_t)((ONE - kept) / USEC_PER_CENTI) * (int64_t)periods;
	a->centi = centi;
	a->sum_usec += MIN(even, (int64_t)(periods * PERIOD_USEC));
	a->total_usec = MAX(a->total_usec, (uint64_t)MAX(a->sum_usec, INT64_C(0)));
	if (!worth)
		return;
	least = fill(sum, weights, n, true);
	most = fill(sum, weights, n, false) + (periods - n) * PERIOD_USEC;
	worth->least_usec += least;
	worth->most_usec += MAX(most, least);
}

bool average_add(struct average *s, struct average_worth *worth, struct trace_sample *sample)
{
	uint64_t apart = usec_sub(sample->time_usec, s->time_usec);
	bool same = sample->some_avg10_centi == s->some.centi &&
		    sample->full_avg10_centi == s->full.centi;
	uint64_t periods = MAX((apart + PERIOD_USEC / 2) / PERIOD_USEC, UINT64_C(1));

	if (s->begun && same && apart < PERIOD_USEC)
		return false;
	if (s->begun) {
		worth->apart_usec = MAX(worth->apart_usec, apart);
		add_periods(&s->some, sample->some_avg10_centi, periods, worth);
		add_periods(&s->full, sample->full_avg10_centi, periods, NULL);
	} else {
		s->some.centi = sample->some_avg10_centi;
		s->full.centi = sample->full_avg10_centi;
	}
	s->begun = true;
	s->time_usec = sample->time_usec;
	sample->form = TRACE_TOTALS;
	sample->time_usec = usec_sub(sample->time_usec, LATE_USEC);
	sample->has_psi = true;
	sample->some_usec = s->some.total_usec;
	sample->full_usec = s->full.total_usec;
	return true;
}
