/* SPDX-License-Identifier: MIT */
/*
 * test-effect.c - what a Low achieved, on a clock of numbers (src/monitor/effect.h)
 */
#include "../unit.h"
#include "monitor/effect.h"

#define MS(n) ((n)*USEC_PER_MSEC)
#define MIB (UINT64_C(1) << 20)
#define LOW (UINT64_C(3600) * USEC_PER_SEC) /* when it is told */
#define UNKNOWN PSB_UNKNOWN

/* Looks when it wants to; `before` is held, from `at_ms` on `then`, from `again_ms` on `before` again. */
static const struct run {
	const char *what;
	uint64_t before, at_ms, then, again_ms;
	bool reported;
	uint64_t bytes;
	unsigned first_ms, within_ms; /* after the Low, so much later at most; 0: never */
	bool gave;
} runs[] = {
	{ "40 MiB at once", 400 * MIB, 0, 360 * MIB, 6000, false, 40 * MIB, 1, 50, true },
	{ "after 100 ms", 400 * MIB, 100, 360 * MIB, 6000, false, 40 * MIB, 100, 50, true },
	{ "after 2 s", 400 * MIB, 2000, 360 * MIB, 6000, false, 40 * MIB, 2000, 500, true },
	{ "just in time", 400 * MIB, 4999, 360 * MIB, 6000, false, 40 * MIB, 4999, 1, true },
	{ "too late", 400 * MIB, 5001, 360 * MIB, 6000, false, 0, 0, 0, false },
	{ "for 510 ms", 400 * MIB, 3000, 300 * MIB, 3510, false, 100 * MIB, 3000, 500, true },
	{ "1 % of it", 400 * MIB, 100, 396 * MIB, 6000, false, 4 * MIB, 100, 50, true },
	{ "a little less", 400 * MIB, 100, 396 * MIB + 1, 6000, false, 0, 0, 0, false },
	{ "2 MiB of little", 20 * MIB, 100, 18 * MIB, 6000, false, 2 * MIB, 100, 50, true },
	{ "a little less of little", 20 * MIB, 100, 18 * MIB + 1, 6000, false, 0, 0, 0, false },
	{ "it grows", 400 * MIB, 100, 500 * MIB, 6000, false, 0, 0, 0, false },
	{ "nothing, but the host says so", 400 * MIB, 100, 400 * MIB, 0, true, 0, 0, 0, true },
	{ "it cannot be read any more", 400 * MIB, 100, UNKNOWN, 6000, false, 0, 0, 0, false },
};

PROMISE(what_went_back_is_what_was_held_before_less_the_least_within_5_s)
{
	for (const struct run *r = runs; r < runs + ELEMENTSOF(runs); r++) {
		const uint64_t since = LOW - MS(300), first = LOW + MS(r->first_ms);
		struct psb_stats stats = { .bytes_back = 7 };
		struct effect e = { .low_usec = 0 };
		uint64_t now = LOW, last = 0, bytes;
		unsigned looks = 0, found = 0;
		bool gave = !r->gave;

		effect_begin(&e, now, since, r->before);
		effect_report(&e, r->reported ? MIB : 0);
		while (!effect_end(&e, now, &stats, &gave)) {
			last = now;
			now = effect_deadline(&e);
			if (now <= last || now - last > MS(500))
				fail_msg("%s: a look after %llu us", r->what,
					 (unsigned long long)(now - last));
			bytes = now >= LOW + MS(r->at_ms) && now < LOW + MS(r->again_ms)
					? r->then
					: r->before;
			found += effect_look(&e, now, bytes);
			looks++;
		}
		if (now != LOW + EFFECT_USEC || looks > 25)
			fail_msg("%s: %u looks", r->what, looks);
		if (stats.effect_bytes != r->bytes || stats.bytes_back != 7 + r->bytes)
			fail_msg("%s: %llu bytes", r->what, (unsigned long long)stats.effect_bytes);
		if (gave != r->gave || found != (r->bytes > 0))
			fail_msg("%s: that it gave is said %u times, and %d", r->what, found, gave);
		if (r->first_ms == 0)
			assert_int_equal(stats.first_back_usec, UNKNOWN);
		else if (since + stats.first_back_usec < first ||
			 since + stats.first_back_usec > first + MS(r->within_ms))
			fail_msg("%s: the first after %llu us", r->what,
				 (unsigned long long)stats.first_back_usec);
		assert_int_equal(stats.effects, 1);
		assert_int_equal(stats.effect_usec, LOW);
		assert_int_equal(effect_deadline(&e), USEC_NEVER);
	}
}

PROMISE(a_further_low_belongs_to_the_same_effect)
{
	struct psb_stats stats = { .size = 0 };
	struct effect e = { .low_usec = 0 };
	bool gave;

	effect_begin(&e, LOW, 0, 100 * MIB);
	assert_true(effect_look(&e, LOW + MS(100), 60 * MIB));
	effect_begin(&e, LOW + MS(200), LOW, 60 * MIB);
	assert_false(effect_end(&e, LOW + EFFECT_USEC - 1, &stats, &gave));
	assert_true(effect_end(&e, LOW + EFFECT_USEC, &stats, &gave));
	assert_int_equal(stats.effect_bytes, 40 * MIB);
	assert_int_equal(stats.first_back_usec, MS(100)); /* without a stall, from the Low on */
	/* what was reported before the next Low is no answer to it */
	effect_report(&e, MIB);
	effect_begin(&e, LOW, 0, 100 * MIB);
	assert_true(effect_end(&e, LOW + EFFECT_USEC, &stats, &gave));
	assert_false(gave);
}

/* Samples every 250 ms from 10 s before the Low to the end, but for a rest before `rest_ms`; it stalls `rate` percent of the time
 * until the Low, and half of that afterwards. */
static const struct stalled {
	const char *what;
	unsigned rate, rest_ms, avg10_centi;
	bool forgets, blind, stops;
	uint64_t before, after;
} stalls[] = {
	{ "all the time", 100, 0, 0, false, false, false, MS(5000), MS(2500) },
	{ "a tenth", 10, 0, 0, false, false, false, MS(500), MS(250) },
	{ "none", 0, 0, 0, false, false, false, 0, 0 },
	/* 1 % of avg10 is at most 110.314 ms, 19 of 20 parts of which are within the 5 s */
	{ "a rest of an hour, then 250 ms before", 100, 250, 100, false, false, false,
	  104798 + MS(250), MS(2500) },
	{ "another source", 10, 0, 0, true, false, false, MS(500), UNKNOWN },
	{ "no samples", 10, 0, 0, false, true, false, UNKNOWN, UNKNOWN },
	{ "none any more", 10, 0, 0, false, false, true, MS(500), UNKNOWN },
};

PROMISE(the_stall_of_the_5_s_before_and_after_is_known)
{
	for (const struct stalled *s = stalls; s < stalls + ELEMENTSOF(stalls); s++) {
		uint64_t begin = s->rest_ms > 0 ? LOW - MS(s->rest_ms) : LOW - MS(10000);
		uint64_t total = MS(70000), now = begin;
		struct psb_stats stats = { .size = 0 };
		struct effect e = { .low_usec = 0 };
		bool gave;

		if (s->rest_ms > 0)
			effect_stall(&e, MS(5000), 0, 0);
		for (; now <= LOW + EFFECT_USEC; now += MS(50)) {
			if (now > begin)
				total += MS(50) * s->rate / (now > LOW ? 200 : 100);
			if (s->forgets && now == LOW + MS(1000)) {
				total = MS(900000);
				effect_forget(&e);
			}
			bool sampled = !s->blind && !(s->stops && now > LOW);

			if (sampled && ((now - begin) % MS(250) == 0 || now == LOW))
				effect_stall(&e, now, total, now == begin ? s->avg10_centi : 0);
			if (now == LOW)
				effect_begin(&e, now, LOW, MIB);
		}
		if (!s->blind && !s->stops)
			effect_stall(&e, LOW + EFFECT_USEC, total, 0);
		assert_true(effect_end(&e, LOW + EFFECT_USEC, &stats, &gave));
		if (stats.stall_before_usec != s->before || stats.stall_after_usec != s->after)
			fail_msg("%s: %llu us before, %llu us after", s->what,
				 (unsigned long long)stats.stall_before_usec,
				 (unsigned long long)stats.stall_after_usec);
	}
}

PROMISE(what_grew_between_two_samples_of_one_source_is_returned)
{
	struct effect e = { .low_usec = 0 };

	assert_int_equal(effect_stall(&e, MS(1000), MS(500), 0), 0);
	assert_int_equal(effect_stall(&e, MS(2000), MS(530), 0), MS(30));
	assert_int_equal(effect_stall(&e, MS(3600000), MS(600), 0), MS(70));
	effect_forget(&e);
	assert_int_equal(effect_stall(&e, MS(3600250), MS(90), 0), 0);
	assert_int_equal(effect_stall(&e, MS(3600500), MS(90), 0), 0);
	assert_int_equal(effect_stall(&e, MS(3600750), MS(91), 0), MS(1));
}
