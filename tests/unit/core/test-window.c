/* SPDX-License-Identifier: MIT */
/*
 * test-window.c - growth of a counter over a sliding window (src/core/window.h)
 *
 * The table fixes single answers. The random runs compare with a reference
 * that shares nothing with the code: it keeps every sample there ever was, and answers with the
 * exact growth of the line drawn through them.
 */
#include "../unit.h"
#include "random.h"
#include "core/window.h"

#define MS USEC_PER_MSEC
#define SEC USEC_PER_SEC
#define HOUR (3600 * SEC)

/* ---- single answers: what the random runs do not draw ------------------------------------------ */

PROMISE(the_answer_is_what_grew_inside_the_window)
{
	static const struct {
		const char *what;
		uint64_t length;
		uint64_t samples[8]; /* time and total, until a time is 0 */
		uint64_t growth;
	} table[] = {
		{ "nothing was seen", 2 * SEC, { 0 }, 0 },
		{ "one sample is no growth", 2 * SEC, { SEC, 5 * SEC }, 0 },
		{ "a tenth of an interval",
		  2 * SEC,
		  { SEC, 0, 2 * SEC, 1000, 3900 * MS, 1007 },
		  107 },
		{ "hours without a sample", 2 * SEC, { SEC, 0, SEC + HOUR, 3600 * 1000 }, 2000 },
		{ "two samples of one moment", 2 * SEC, { SEC, 0, 2 * SEC, 10, 2 * SEC, 25 }, 25 },
		{ "years",
		  10 * SEC,
		  { 1, UINT64_MAX / 4, 1 + UINT64_MAX / 4, UINT64_MAX / 2 },
		  10 * SEC },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct window w;

		window_init(&w, table[i].length);
		for (const uint64_t *p = table[i].samples; *p > 0; p += 2)
			window_add(&w, p[0], p[1]);
		if (window_growth(&w) != table[i].growth)
			fail_msg("%s: %llu", table[i].what, (unsigned long long)window_growth(&w));
	}
}

PROMISE(a_counter_that_goes_back_starts_afresh)
{
	struct window w;

	window_init(&w, 2 * SEC);
	window_add(&w, SEC, 1000);
	window_add(&w, SEC + 100 * MS, 5000);
	window_add(&w, SEC + 200 * MS, 400);
	assert_int_equal(window_growth(&w), 0);
	assert_int_equal(window_rate_1024(&w), 0);
	assert_int_equal(window_last_total(&w), 400);
	assert_int_equal(window_last_usec(&w), SEC + 200 * MS);
	window_add(&w, SEC + 300 * MS, 450);
	assert_int_equal(window_growth(&w), 50);
	assert_int_equal(w.length_usec, 2 * SEC);
	/* by one, and within the same moment */
	window_add(&w, SEC + 300 * MS, 449);
	assert_int_equal(window_growth(&w), 0);
	assert_int_equal(window_last_total(&w), 449);
}

PROMISE(the_rate_is_that_of_the_newest_interval)
{
	static const struct {
		uint64_t at, total, rate;
	} steps[] = {
		{ SEC, 0, 0 },
		{ SEC + 100 * MS, 50 * MS, 512 },
		{ SEC + 200 * MS, 75 * MS, 256 },
		/* the same moment once more: it belongs to the interval before */
		{ SEC + 200 * MS, 125 * MS, 768 },
		/* counters of several CPUs are not read at one instant: a little too much is all of it */
		{ SEC + 300 * MS, 300 * MS, 1024 },
		{ SEC + 400 * MS, 300 * MS, 0 },
		/* also where the sample shares its slot with others */
		{ SEC + 400 * MS + 10, 300 * MS + 5, 512 },
	};
	struct window w;

	window_init(&w, 2 * SEC);
	assert_int_equal(window_rate_1024(&w), 0);
	for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
		window_add(&w, steps[i].at, steps[i].total);
		assert_int_equal(window_rate_1024(&w), steps[i].rate);
	}
}

/* ---- after a rest ---------------------------------------------------------------------------- */

PROMISE(what_is_recent_is_what_two_witnesses_allow)
{
	static const struct {
		const char *what;
		uint64_t length, growth, elapsed, vouched;
		uint32_t avg10;
		uint64_t recent;
	} table[] = {
		{ "no longer than the window", 2 * SEC, 300 * MS, 2 * SEC, 0, 0, 300 * MS },
		{ "what the window holds", 2 * SEC, 3 * SEC, 2 * SEC, 0, 0, 2 * SEC },
		{ "evenly", 2 * SEC, 300 * MS, 4 * SEC, 0, 0, 150 * MS },
		{ "an hour: next to nothing", 2 * SEC, 1800 * MS, HOUR, 0, 0, 1 * MS },
		{ "an alarm's threshold", 2 * SEC, 300 * MS, HOUR, 20 * MS, 0, 20 * MS },
		{ "but not more than grew", 2 * SEC, 7 * MS, HOUR, 20 * MS, 0, 7 * MS },
		{ "evenly is more", 2 * SEC, SEC, 10 * SEC, 20 * MS, 0, 200 * MS },
		/* 18.13 % after a period of 2 s that stalled all the time */
		{ "avg10 18.13 %", 2 * SEC, 5 * SEC, HOUR, 0, 1813, 2 * SEC },
		{ "avg10 9.06 %: half of it", 2 * SEC, 5 * SEC, HOUR, 0, 906, 999448 },
		{ "avg10 0.01 %: 1 ms", 2 * SEC, 5 * SEC, HOUR, 0, 1, 2777 },
		{ "the same, little grew", 2 * SEC, 2 * MS, HOUR, 0, 1, 1103 },
		{ "avg10, and less grew", 2 * SEC, 30 * MS, HOUR, 0, 1813, 30 * MS },
		{ "the greater: avg10", 2 * SEC, SEC, HOUR, 20 * MS, 181, 199669 },
		{ "the greater: the alarm", 2 * SEC, SEC, HOUR, 300 * MS, 181, 300 * MS },
		{ "a short window", 100 * MS, SEC, HOUR, 5 * MS, 1813, 100 * MS },
		{ "the highest avg10", 10 * SEC, 20 * SEC, HOUR, 0, 10000, 10 * SEC },
		{ "nothing grew", 2 * SEC, 0, HOUR, 20 * MS, 1813, 0 },
		{ "years", 10 * SEC, UINT64_MAX / 2, UINT64_MAX / 2, 0, 0, 10 * SEC },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t r = window_recent(table[i].length, table[i].growth, table[i].elapsed,
					   table[i].vouched, table[i].avg10);

		if (r != table[i].recent)
			fail_msg("%s: %llu, not %llu", table[i].what, (unsigned long long)r,
				 (unsigned long long)table[i].recent);
	}
}

PROMISE(after_a_rest_the_recent_part_is_the_window)
{
	static const struct {
		uint64_t at, total, recent;
	} table[] = {
		{ HOUR, 5 * SEC, 300 * MS },  { HOUR, 5 * SEC, 0 },
		{ HOUR, 5 * SEC, 2 * SEC },   { HOUR, 300 * MS, 300 * MS },
		{ SEC, 300 * MS, 300 * MS },  /* the window begins before the clock did */
		{ HOUR, 100 * MS, 300 * MS }, /* more than there ever was is cut */
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t at = table[i].at, recent = MIN(table[i].recent, table[i].total);
		struct window w;

		window_init(&w, 2 * SEC);
		window_add(&w, 1, 0);
		window_resume(&w, at, table[i].total, table[i].recent);
		assert_int_equal(w.length_usec, 2 * SEC);
		assert_int_equal(window_growth(&w), recent);
		assert_int_equal(window_last_usec(&w), at);
		assert_int_equal(window_last_total(&w), table[i].total);
		/* and slides out as any growth does */
		window_add(&w, at + SEC, table[i].total);
		if (at > 2 * SEC)
			assert_int_equal(window_growth(&w), recent / 2);
		window_add(&w, at + 2 * SEC, table[i].total);
		assert_int_equal(window_growth(&w), 0);
	}
}

/* ---- the random comparison ------------------------------------------------------------------- */

#define SAMPLES 600

struct point {
	uint64_t at, total;
};

/* The line through all samples at `at`, which lies between the first and the last. Rounded down. */
static uint64_t exact_total(const struct point *p, uint64_t at)
{
	while (p[1].at <= at)
		p++;
	return p->total + (uint64_t)((unsigned __int128)(p[1].total - p->total) * (at - p->at) /
				     (p[1].at - p->at));
}

static uint64_t spacing(uint64_t length, unsigned mood)
{
	static const unsigned parts[] = { 64, 33, 32, 31, 20, 8, 4 };
	unsigned part;

	switch (mood) {
	case 0:
		return 1;
	case 1:
		return 1 + draw(length / 32 + 2);
	case 2:
		part = parts[draw(ELEMENTSOF(parts))];
		return 1 + length / part;
	case 3: /* just so that no two share a slot */
		return (length + 31) / 32;
	case 4:
		return 1 + draw(length + 1);
	case 5:
		return draw(20) ? 1 + length / 100 : length + draw(HOUR);
	default:
		return 1 + draw(2 * SEC);
	}
}

static void compare(const struct window *w, const struct point *p, size_t n)
{
	uint64_t now = p[n - 1].at, length = w->length_usec, step = length / 32 + 1;
	uint64_t edge = now > length ? now - length : 0, got = window_growth(w), want, error,
		 allowed;
	size_t before = 0, after = n - 1;

	if (w->count > WINDOW_SLOTS)
		fail_msg("%u slots after %zu samples, window %llu", w->count, n,
			 (unsigned long long)length);
	if (edge <= p[0].at) {
		assert_int_equal(got, p[n - 1].total - p[0].total);
		return;
	}
	/* the two samples around the edge, and what shares a slot with them */
	while (before + 1 < n && p[before + 1].at <= edge)
		before++;
	for (size_t i = before; before > 0 && p[before].at + step > p[i].at; before--)
		;
	while (after > 0 && p[after - 1].at >= edge)
		after--;
	for (size_t i = after; after + 1 < n && p[after].at < p[i].at + step; after++)
		;
	want = p[n - 1].total - exact_total(p, edge);
	error = got > want ? got - want : want - got;
	allowed = p[after].total - p[before].total;
	if (error > allowed + 1)
		fail_msg("window %llu, sample %zu: %llu, not %llu +- %llu",
			 (unsigned long long)length, n, (unsigned long long)got,
			 (unsigned long long)want, (unsigned long long)allowed);
}

PROMISE(the_answer_is_as_exact_as_promised_at_any_spacing)
{
	static const uint64_t lengths[] = { 1,	  2,	    3,	     31,	32,
					    33,	  63,	    95,	     64,	100,
					    1000, 100 * MS, 2 * SEC, 1500 * MS, 10 * SEC };
	static struct point p[SAMPLES];

	for (unsigned run = 0; run < 40 * ELEMENTSOF(lengths); run++) {
		uint64_t length = lengths[run % ELEMENTSOF(lengths)], total = draw(1000000);
		uint64_t now = 1 + (draw(2) ? draw(3 * length) : draw(1000 * HOUR));
		unsigned mood = (unsigned)draw(7), rate = 0;
		struct window w;

		window_init(&w, length);
		for (size_t n = 0; n < SAMPLES; n++) {
			uint64_t dt = spacing(length, mood);

			if (draw(50) == 0)
				mood = (unsigned)draw(7);
			if (draw(10) == 0)
				rate = (unsigned)draw(5) * 256;
			if (n > 0)
				now += dt;
			if (n > 0)
				total += draw(8) ? (uint64_t)((unsigned __int128)dt * rate / 1024)
						 : draw(dt + 1);
			p[n] = (struct point){ now, total };
			window_add(&w, now, total);
			compare(&w, p, n + 1);
		}
	}
}
