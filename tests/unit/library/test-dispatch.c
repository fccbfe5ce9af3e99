/* SPDX-License-Identifier: MIT */
/*
 * test-dispatch.c - what psibridge.h promises of callbacks, through the public interface
 */
#include "library-bench.h"

/* ---- what is told ------------------------------------------------------------------------------ */

BENCH_INLINE_TOO(low_neutral_and_high_are_told_in_order_and_critical_beside_low)
{
	static const char levels[] = "LCNHNCH";
	int critical;

	listen_to(b, &b->rx);
	for (unsigned i = 0; levels[i]; i++) {
		const char one[] = { levels[i], '\0' };
		struct psb_notification n;

		say_and_hear(b, &b->rx, one);
		n = received(&b->rx, i);
		assert_int_equal(n.reason, PSB_REASON_SIMULATED);
		assert_int_equal(psb_watch_available(b->watch, &critical), n.available);
		assert_int_equal(critical, n.critical);
	}
	assert_int_equal(b->rx.cgroup[0], '/');
	assert_int_equal(stats_of(b).low, 3);
	assert_int_equal(stats_of(b).critical, 2);
	assert_int_equal(stats_of(b).neutral, 2);
	assert_int_equal(stats_of(b).high, 2);
	assert_int_equal(stats_of(b).superseded, 0);
}

/* ---- slow callbacks ------------------------------------------------------------------------ */

BENCH_INLINE_TOO(a_callback_that_blocks_delays_only_itself_and_then_hears_the_newest)
{
	b->rx.held = true;
	listen_with(b, &b->rx, 0);
	listen_to(b, &b->fence);
	say_and_hear(b, &b->fence, "L");
	hear(&b->rx, "L");
	say_and_hear(b, &b->fence, "NLNH");
	assert_int_equal(READ(&b->rx, calls), 1);
	assert_int_equal(stats_of(b).superseded, 3);
	hold(&b->rx, false);
	hear(&b->rx, "H");
	say_and_hear(b, &b->rx, "L");
}

/* Until the watch has told so many Lows, to whomever. */
static void await_lows(struct bench *b, uint64_t lows)
{
	AWAIT_SEEN(stats_of(b).low >= lows);
}

/* 20 times this is more than the longest pause after an event of a FIFO (monitor-stream.c). */
#define WORK_USEC (60 * USEC_PER_MSEC)

/* Takes its time. That is no waiting for anything: the time it takes is what the test is about. */
static void work_on_low(_unused_ struct receiver *rx, const struct psb_notification *n)
{
	if (n->available == PSB_LOW && !n->critical)
		usleep(WORK_USEC);
}

BENCH_INLINE_TOO(a_repeated_low_comes_no_sooner_than_20_times_the_last_calls_duration)
{
	b->peer = open_fifo("fifo");
	b->rx.act = work_on_low;
	listen_to(b, &b->rx);
	/* the source repeats as fast as it is written to */
	for (uint64_t lows = 1; READ(&b->rx, calls) < 3; lows++) {
		assert_int_equal(write(b->peer, "x", 1), 1);
		await_lows(b, lows);
	}
	hear(&b->rx, "LLL");
	for (unsigned i = 1; i < 3; i++) {
		assert_received(b, i, PSB_REASON_SIGNAL);
		assert_true(b->rx.at_usec[i] - b->rx.at_usec[i - 1] >= 20 * WORK_USEC);
	}
	await_lows(b, 4);

	/* a turn for the worse is no repetition */
	say_and_hear(b, &b->rx, "C");
	assert_true(b->rx.at_usec[3] - b->rx.at_usec[2] < 20 * WORK_USEC);
}

BENCH_INLINE_TOO(calls_are_counted_also_those_of_who_was_removed)
{
	b->rx.act = work_on_low;
	listen_to(b, &b->rx);
	listen_to(b, &b->fence);
	say_and_hear(b, &b->fence, "L");
	hear(&b->rx, "L");
	AWAIT_SEEN(stats_of(b).callback_usec >= WORK_USEC); /* it is counted after the call */
	psb_registration_remove(b->rx.registration);
	say_and_hear(b, &b->fence, "N");
	assert_int_equal(stats_of(b).callbacks, 3);
	assert_true(stats_of(b).callback_usec >= WORK_USEC);
}

/* ---- the present state --------------------------------------------------------------------- */

BENCH_INLINE_TOO(the_present_state_is_told_to_those_who_ask)
{
	static const char levels[] = "HLN";

	listen_to(b, &b->fence);
	for (unsigned i = 0; levels[i]; i++) {
		const char one[] = { levels[i], '\0' };

		if (i > 0)
			say_and_hear(b, &b->fence, one); /* who is not told what was present */
		listen_with(b, &b->rx, b->variant->flags | PSB_TELL_PRESENT);
		hear(&b->rx, one);
		assert_received(b, i, PSB_REASON_PRESENT);
		psb_registration_remove(b->rx.registration);
	}
}

/* News that comes first is the present state; what was present before it is not told behind it. */
BENCH_INLINE_TOO(the_present_state_never_follows_newer_news)
{
	for (int i = 0; i < 200; i++) {
		struct receiver rx = { .calls = 0 };

		if (i % 3 == 0)
			say(b, "L");
		listen_with(b, &rx, b->variant->flags | PSB_TELL_PRESENT);
		if (i % 3 != 0)
			say(b, "L");
		hear_last(&rx, 'L');
		for (unsigned k = 1; k < READ(&rx, calls); k++)
			assert_int_not_equal(received(&rx, k).reason, PSB_REASON_PRESENT);
		say(b, "H");
		hear_last(&rx, 'H');
		assert_true(READ(&rx, calls) <= 3);
		psb_registration_remove(rx.registration);
	}
}
