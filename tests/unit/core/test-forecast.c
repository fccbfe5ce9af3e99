/* SPDX-License-Identifier: MIT */
/*
 * test-forecast.c - programs under a limit, and what is foretold of them (src/core/forecast.h)
 *
 * A program is what it has in use at each time, in 1/10,000 of its limit, 640 MiB. It is looked at when the forecast says so;
 * Low is told as the policy does, when the limit is reached within two seconds, at most every 8 s.
 */
#include "../unit.h"
#include "core/forecast.h"
#include "random.h"

#define MS(n) ((n)*USEC_PER_MSEC)
#define SEC(n) ((n)*USEC_PER_SEC)
#define HOUR SEC(3600)
#define MIB (UINT64_C(1) << 20)
#define LIMIT (640 * MIB)
#define FORECAST SEC(2)
#define REARM MS(8192)
#define START HOUR

struct world {
	uint64_t t; /* since its beginning */
	uint64_t low_usec, lows, looks;
	bool gives_back; /* within 0.3 s of a Low */
	uint64_t mib_per_sec, base;
	uint64_t grows_since;
};

typedef uint64_t program_fn(struct world *w);

/* Returns: when the limit was reached, 0: never in `duration`. */
static uint64_t run(struct world *w, program_fn *program, uint64_t duration)
{
	struct forecast f = { 0 };
	uint64_t next = 1, used, left;

	for (; w->t < duration; w->t += MS(1)) {
		used = program(w);
		if (used >= LIMIT)
			return w->t;
		if (START + w->t < next)
			continue;
		w->looks++;
		left = forecast_look(&f, used, LIMIT, START + w->t);
		next = forecast_next(&f);
		assert_in_range(next - START - w->t, FORECAST_PACE_MIN_USEC,
				FORECAST_PACE_MAX_USEC);
		if (left > FORECAST || (w->lows > 0 && w->t - w->low_usec < REARM))
			continue;
		w->low_usec = w->t;
		w->lows++;
		forecast_told(&f);
	}
	return 0;
}

static uint64_t idles_and_grows(struct world *w)
{
	return w->base + usec_sub(w->t, w->grows_since) * w->mib_per_sec * MIB / USEC_PER_SEC;
}

PROMISE(low_comes_before_the_limit_is_reached)
{
	static const struct {
		uint64_t mib_per_sec, base_mib, idles_ms, lead_ms; /* at least */
	} rows[] = {
		/* what idled for long is looked at every 10 s */
		{ 1, 320, 60000, 1700 },
		{ 5, 320, 60000, 1700 },
		{ 20, 320, 60000, 1700 },
		/* where three quarters suffice for the time */
		{ 20, 440, 2000, 1700 },
		{ 40, 440, 2000, 1600 },
		{ 80, 440, 2000, 1600 },
		/* and where they do not: an eighth is left */
		{ 160, 440, 2000, 600 },
		{ 320, 440, 2000, 150 },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct world w = { .mib_per_sec = rows[i].mib_per_sec,
				   .base = rows[i].base_mib * MIB,
				   .grows_since = MS(rows[i].idles_ms) };
		uint64_t reached = run(&w, idles_and_grows, HOUR);

		print_message("%llu MiB/s from %llu: Low %llu ms before the limit\n",
			      (unsigned long long)w.mib_per_sec,
			      (unsigned long long)rows[i].base_mib,
			      (unsigned long long)((reached - w.low_usec) / 1000));
		assert_int_equal(w.lows, 1);
		assert_in_range(reached - w.low_usec, MS(rows[i].lead_ms), MS(2100));
	}
}

/* ---- look by look ---------------------------------------------------------------------------------------- */

enum { TOLD = 1, STALLED }; /* after that look */

PROMISE(each_look_says_when_the_limit_is_reached_and_when_the_next_one_is_due)
{
	static const struct {
		const char *what; /* NULL: as before */
		uint64_t after_ms, used_mib;
		uint64_t left_ms; /* 0: there is nothing to tell */
		uint64_t next_ms; /* 0: whenever */
		unsigned then, limit_mib;
	} looks[] = {
		{ "what is not known may be fast", 1000, 0, 0, 1000, 0, 0 },
		{ NULL, 1000, 320, 0, 125, 0, 0 },
		{ "idle for a minute, at half", 60000, 320, 0, 10000, 0, 0 },
		{ "so it is under half: nothing else tells that it grows", 0, 100, 0, 843, 0, 0 },
		{ NULL, 60000, 100, 0, 10000, 0, 0 },
		{ NULL, 1000, 250, 0, 325, 0, 0 },
		{ "a second look that grows as fast", 0, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 1800, 0, 0, 0 },
		{ "and then not", 1000, 550, 0, 0, 0, 0 },
		{ "much slower is no second look", 0, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 462, 0, 0, 0, 0 },
		{ NULL, 1000, 512, 0, 0, 0, 0 },
		{ "no time for one", 0, 450, 0, 0, 0, 0 },
		{ NULL, 100, 520, 171, 100, 0, 0 },
		{ "three quarters", 0, 300, 0, 0, 0, 0 },
		{ NULL, 100, 370, 0, 0, 0, 0 },
		{ NULL, 100, 440, 0, 0, 0, 0 },
		{ NULL, 100, 479, 0, 0, 0, 0 },
		{ NULL, 100, 518, 312, 0, 0, 0 },
		{ "it has been there: an eighth of 80 more", 0, 560, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 535, 0, 0, 0, 0 },
		{ NULL, 1000, 569, 0, 0, 0, 0 },
		{ NULL, 1000, 604, 1028, 0, 0, 0 },
		{ "two hours later that is forgotten", 0, 560, 0, 0, 0, 0 },
		{ NULL, 1000, 450, 0, 0, 0, 0 },
		{ NULL, 3600000, 450, 0, 0, 0, 0 },
		{ NULL, 3600000, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 1800, 0, 0, 0 },
		{ "and at once where it stalled there", 0, 560, 0, 0, 0, 0 },
		{ NULL, 1000, 450, 0, 0, STALLED, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 1800, 0, 0, 0 },
		{ "after a Low it came to 600, and back", 0, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 1800, 0, TOLD, 0 },
		{ NULL, 1000, 600, 0, 0, 0, 0 },
		{ NULL, 1000, 450, 0, 0, 0, 0 },
		{ NULL, 10000, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 0, 0, 0, 0 },
		{ NULL, 1000, 600, 0, 0, 0, 0 },
		{ "the next time it goes on: the Low was needed", 500, 625, 300, 0, TOLD, 0 },
		{ NULL, 1000, 625, 0, 0, 0, 0 },
		{ NULL, 1000, 450, 0, 0, 0, 0 },
		{ NULL, 10000, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 1800, 0, 0, 0 },
		{ "noise just under the limit", 0, 634, 0, 0, 0, 0 },
		{ NULL, 100, 635, 0, 0, 0, 0 },
		{ NULL, 100, 636, 0, 0, 0, 0 },
		{ "another limit is another matter", 0, 450, 0, 0, 0, 0 },
		{ NULL, 1000, 500, 0, 0, 0, 0 },
		{ NULL, 1000, 550, 0, 0, 0, 600 },
	};
	struct forecast f = { 0 };
	uint64_t now = START, next;

	for (size_t i = 0; i < ELEMENTSOF(looks); i++) {
		uint64_t limit = (looks[i].limit_mib ? looks[i].limit_mib : 640) * MIB, left;

		if (looks[i].after_ms == 0)
			f = (struct forecast){ 0 };
		now += MS(looks[i].after_ms);
		left = forecast_look(&f, looks[i].used_mib * MIB, limit, now);
		next = forecast_next(&f);
		print_message("%s %llu MiB: %lld ms, next %lld ms\n",
			      looks[i].what ? looks[i].what : "...",
			      (unsigned long long)looks[i].used_mib, (long long)left / 1000,
			      (long long)(next - now) / 1000);
		if (looks[i].left_ms > 0)
			assert_int_equal(left / 1000, looks[i].left_ms);
		else
			assert_true(left == USEC_NEVER);
		if (looks[i].next_ms > 0)
			assert_int_equal((next - now) / 1000, looks[i].next_ms);
		if (looks[i].then == TOLD)
			forecast_told(&f);
		if (looks[i].then == STALLED)
			forecast_stalled(&f);
	}
}

#define UNKNOWN FORECAST_HITS_UNKNOWN

PROMISE(page_cache_is_told_apart_only_where_it_could_matter)
{
	static const struct {
		uint64_t rough_mib, kept_mib; /* 0: it is enough, and the look is given ... */
		uint64_t given_mib, hits;
	} looks[] = {
		{ 100, 0, 100, 0 }, /* nothing is told under three quarters */
		{ 479, 0, 479, 0 },
		{ 500, 300, 300, 0 }, /* for the first time */
		{ 500, 0, 300, 0 },   /* neither grows */
		{ 501, 0, 300, 0 },
		{ 490, 0, 300, 0 },
		{ 492, 301, 301, 0 }, /* by a 512th, since it was less */
		{ 492, 301, 301, 0 }, /* it grew a look before */
		{ 492, 0, 301, UNKNOWN },
		/* within a 16th of the limit one is traded for the other ... */
		{ 600, 302, 302, UNKNOWN },
		{ 600, 302, 302, UNKNOWN },
		{ 600, 302, 302, UNKNOWN },
		{ 400, 0, 400, UNKNOWN },
		{ 600, 302, 302, 5 },
		/* ... whenever it is reached */
		{ 600, 0, 302, 5 },
		{ 600, 302, 302, 6 },
		{ 600, 0, 302, 6 },
		{ 600, 302, 302, UNKNOWN },
	};
	struct forecast f = { 0 };
	uint64_t now = START;

	for (size_t i = 0; i < ELEMENTSOF(looks); i++) {
		uint64_t bytes = looks[i].rough_mib * MIB;

		print_message("look %zu\n", i);
		assert_int_equal(forecast_is_enough(&f, &bytes, LIMIT, looks[i].hits),
				 looks[i].kept_mib == 0);
		if (looks[i].kept_mib == 0)
			assert_int_equal(bytes, looks[i].given_mib * MIB);
		now += SEC(1);
		forecast_look(&f, looks[i].given_mib * MIB, LIMIT, now);
	}
}

/* ---- programs that do not get there --------------------------------------------------------------------- */

static uint64_t percent(double percent)
{
	return (uint64_t)(percent / 100 * (double)LIMIT);
}

static double triangle(uint64_t t, uint64_t period)
{
	double phase = (double)(t % period) / (double)period;

	return phase < 0.9 ? phase / 0.9 : (1 - phase) / 0.1;
}

static uint64_t period;

static uint64_t breathes(struct world *w)
{
	return percent(60 + 25 * triangle(w->t, period));
}

/* A collector's heap: each time to another height. */
static uint64_t breathes_unevenly(struct world *w)
{
	random_state = 77 + w->t / period;
	return percent(60 + (20 + 5 * (double)draw(1000) / 1000) * triangle(w->t, period));
}

static uint64_t stays_at_90(struct world *w)
{
	random_state = w->t;
	return percent(90 - 0.2 + 0.4 * (double)draw(1000) / 1000);
}

static uint64_t stays_at_99(struct world *w)
{
	random_state = w->t;
	return percent(99 - 0.2 + 0.4 * (double)draw(1000) / 1000);
}

static uint64_t stays_under_half(struct world *w)
{
	return percent(w->t < SEC(1) ? 40 * (double)w->t / SEC(1) : 40);
}

/* A program that starts takes at once what it needs. */
static uint64_t starts(struct world *w)
{
	return percent(w->t < SEC(1) ? 70 * (double)w->t / SEC(1) : 70);
}

/* Something big now and then, all of it at once. */
static uint64_t steps(struct world *w)
{
	return percent(w->t % SEC(20) < SEC(10) ? 70 : 84);
}

PROMISE(what_does_not_get_there_is_not_told)
{
	static const struct {
		const char *what;
		program_fn *program;
		uint64_t period, lows_max;
	} rows[] = {
		{ "breathes every 2 s", breathes, SEC(2), 1 },
		{ "breathes every 7 s", breathes, SEC(7), 1 },
		{ "breathes every 20 s", breathes, SEC(20), 1 },
		{ "breathes every minute", breathes, SEC(60), 1 },
		{ "unevenly, every 2 s", breathes_unevenly, SEC(2), 1 },
		{ "unevenly, every 7 s", breathes_unevenly, SEC(7), 1 },
		{ "unevenly, every 30 s", breathes_unevenly, SEC(30), 1 },
		{ "90 %", stays_at_90, 0, 0 },
		{ "99 %", stays_at_99, 0, 0 },
		{ "under half", stays_under_half, 0, 0 },
		{ "starts", starts, 0, 0 },
		{ "steps", steps, 0, 1 },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct world w = { 0 };

		period = rows[i].period;
		assert_int_equal(run(&w, rows[i].program, HOUR), 0);
		print_message("%-22s %llu Low, %llu looks in an hour\n", rows[i].what,
			      (unsigned long long)w.lows, (unsigned long long)w.looks);
		assert_in_range(w.lows, 0, rows[i].lows_max);
	}
}

/* ---- again and again --------------------------------------------------------------------------------------- */

/* Garbage, which is collected only when Low is told; that takes 0.3 s. */
static uint64_t collects_when_told(struct world *w)
{
	uint64_t from = w->grows_since;

	if (w->lows > 0 && w->t >= w->low_usec + MS(300) && from <= w->low_usec)
		w->grows_since = from = w->t + SEC(10);
	return w->base + usec_sub(w->t, from) * w->mib_per_sec * MIB / USEC_PER_SEC;
}

PROMISE(who_gives_back_when_told_is_told_in_time_each_time)
{
	for (uint64_t rate = 10; rate <= 160; rate *= 2) {
		struct world w = { .mib_per_sec = rate, .base = 200 * MIB };

		assert_int_equal(run(&w, collects_when_told, HOUR), 0);
		print_message("%llu MiB/s: %llu times\n", (unsigned long long)rate,
			      (unsigned long long)w.lows);
		assert_in_range(w.lows, 30, HOUR);
	}
}
