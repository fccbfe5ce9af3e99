/* SPDX-License-Identifier: MIT */
/*
 * test-dispatch.c - what psibridge.h promises of callbacks, through the public interface
 */
#include "library-bench.h"

/* ---- what is told ------------------------------------------------------------------------------ */

BENCH_INLINE_TOO(low_neutral_and_high_are_told_in_order_and_critical_beside_low)
{
	static const struct {
		enum psb_available available;
		int critical;
	} levels[] = { { PSB_LOW, 0 },	   { PSB_LOW, 1 }, { PSB_NEUTRAL, 0 }, { PSB_HIGH, 0 },
		       { PSB_NEUTRAL, 0 }, { PSB_LOW, 1 }, { PSB_HIGH, 0 } };
	int critical;

	listen_with(b, &b->rx, b->variant->flags);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		assert_int_equal(
			psb_watch_simulate(b->watch, levels[i].available, levels[i].critical), 0);
		AWAIT(&b->rx, b->rx.calls == i + 1);
		assert_received(b, i, levels[i].available, PSB_REASON_SIMULATED);
		assert_int_equal(received(&b->rx, i).kind, PSB_KIND_LEVEL);
		assert_int_equal(received(&b->rx, i).critical, levels[i].critical);
		assert_int_equal(psb_watch_available(b->watch, &critical), levels[i].available);
		assert_int_equal(critical, levels[i].critical);
	}
	assert_int_equal(READ(&b->rx, cgroup[0]), '/');
}

BENCH(what_makes_no_sense_is_refused)
{
	psb_registration *untouched = (psb_registration *)1;

	assert_int_equal(psb_watch_add_callback(NULL, receive, NULL, 0, &untouched), -EINVAL);
	assert_int_equal(psb_watch_add_callback(b->watch, NULL, NULL, 0, &untouched), -EINVAL);
	assert_int_equal(psb_watch_add_callback(b->watch, receive, NULL, PSB_TELL_EFFECT, &untouched), -EINVAL);
	assert_int_equal(psb_watch_add_callback(b->watch, receive, NULL, 16, &untouched), -EINVAL);
	assert_ptr_equal(untouched, (psb_registration *)1);
	assert_int_equal(psb_registration_remove(NULL), 0);
	assert_int_equal(psb_watch_simulate(b->watch, (enum psb_available)0, 0), -EINVAL);
	assert_int_equal(psb_watch_simulate(b->watch, (enum psb_available)4, 0), -EINVAL);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_HIGH, 1), -EINVAL);
}

/* ---- slow callbacks ------------------------------------------------------------------------ */

BENCH_INLINE_TOO(a_callback_that_blocks_delays_only_itself_and_then_hears_the_newest)
{
	static const enum psb_available levels[] = { PSB_NEUTRAL, PSB_LOW, PSB_NEUTRAL, PSB_HIGH };

	b->rx.held = true;
	listen_with(b, &b->rx, 0);
	listen_with(b, &b->fence, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.inside == 1);
	AWAIT(&b->fence, b->fence.calls == 1);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		say(b, levels[i]);
		AWAIT(&b->fence, b->fence.calls == i + 2);
		assert_int_equal(received(&b->fence, i + 1).available, levels[i]);
	}
	assert_int_equal(READ(&b->rx, calls), 1);
	assert_int_equal(stats_of(b).superseded, ELEMENTSOF(levels) - 1);

	hold_receiver(&b->rx, false);
	AWAIT(&b->rx, b->rx.calls == 2 && b->rx.inside == 0);
	assert_int_equal(received(&b->rx, 1).available, PSB_HIGH);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.calls == 3);
	assert_int_equal(received(&b->rx, 2).available, PSB_LOW);
}

/* Until the watch has told so many Lows, to whomever. */
static void await_lows(struct bench *b, uint64_t lows)
{
	AWAIT_SEEN(stats_of(b).low >= lows);
}

/* 20 times this is more than the longest pause after an event of a FIFO (monitor-stream.c). */
#define WORK_USEC (60 * USEC_PER_MSEC)

/* Takes its time. That is no waiting for anything: the time it takes is what the test is about. */
static void work_on_low(struct receiver *rx, const struct psb_notification *n)
{
	(void)rx;
	if (n->available == PSB_LOW && !n->critical)
		usleep(WORK_USEC);
}

BENCH_INLINE_TOO(a_repeated_low_comes_no_sooner_than_20_times_the_last_calls_duration)
{
	int fd = open_fifo("fifo");

	b->rx.act = work_on_low;
	listen_with(b, &b->rx, b->variant->flags);
	/* the source repeats as fast as it is written to */
	for (uint64_t lows = 1; READ(&b->rx, calls) < 3; lows++) {
		assert_int_equal(write(fd, "x", 1), 1);
		await_lows(b, lows);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(received(&b->rx, i).reason, PSB_REASON_SIGNAL);
	for (unsigned i = 1; i < 3; i++)
		assert_true(b->rx.at_usec[i] - b->rx.at_usec[i - 1] >= 20 * WORK_USEC);
	await_lows(b, 4);

	/* a turn for the worse is no repetition */
	AWAIT(&b->rx, b->rx.inside == 0);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	AWAIT(&b->rx, b->rx.calls == 4);
	assert_true(b->rx.at_usec[3] - b->rx.at_usec[2] < 20 * WORK_USEC);
	close(fd);
}

/* ---- the present state --------------------------------------------------------------------- */

BENCH_INLINE_TOO(the_present_state_is_told_to_those_who_ask)
{
	static const enum psb_available levels[] = { PSB_HIGH, PSB_LOW, PSB_NEUTRAL };

	listen_with(b, &b->fence, b->variant->flags);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		if (i > 0) {
			say(b, levels[i]);
			AWAIT(&b->fence, b->fence.calls == i);
		}
		listen_with(b, &b->rx, b->variant->flags | PSB_TELL_PRESENT);
		AWAIT(&b->rx, b->rx.calls == i + 1 && b->rx.inside == 0);
		assert_int_equal(received(&b->rx, i).available, levels[i]);
		assert_int_equal(received(&b->rx, i).reason, PSB_REASON_PRESENT);
		assert_int_equal(received(&b->rx, i).kind, PSB_KIND_LEVEL);
		psb_registration_remove(b->rx.registration);
	}
	/* and to nobody else */
	assert_int_equal(READ(&b->fence, calls), ELEMENTSOF(levels) - 1);
	for (unsigned k = 0; k < READ(&b->fence, calls); k++)
		assert_int_equal(received(&b->fence, k).reason, PSB_REASON_SIMULATED);
}

/* News that comes first is the present state; what was present before it is not told behind it. */
BENCH_INLINE_TOO(the_present_state_never_follows_newer_news)
{
	for (int i = 0; i < 200; i++) {
		static struct receiver rx;

		receiver_init(&rx);
		if (i % 3 == 0)
			say(b, PSB_LOW);
		listen_with(b, &rx, b->variant->flags | PSB_TELL_PRESENT);
		if (i % 3 != 0)
			say(b, PSB_LOW);
		AWAIT(&rx, last_is(&rx, PSB_LOW));
		for (unsigned k = 1; k < READ(&rx, calls); k++)
			assert_int_not_equal(received(&rx, k).reason, PSB_REASON_PRESENT);
		say(b, PSB_HIGH);
		AWAIT(&rx, last_is(&rx, PSB_HIGH) && rx.inside == 0);
		assert_true(READ(&rx, calls) <= 3);
		psb_registration_remove(rx.registration);
		receiver_destroy(&rx);
	}
}

/* ---- counters ------------------------------------------------------------------------------ */

BENCH_INLINE_TOO(calls_are_counted_also_those_of_who_was_removed)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	b->rx.act = work_on_low;
	listen_with(b, &b->rx, b->variant->flags);
	listen_with(b, &b->fence, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.calls == 1 && b->rx.inside == 0);
	AWAIT(&b->fence, b->fence.calls == 1);
	while (psb_watch_stats(b->watch, &stats) == 0 && stats.callback_usec < WORK_USEC)
		usleep(1000); /* time is counted after the call; the driver's timeout is the bound */
	psb_registration_remove(b->rx.registration);
	say(b, PSB_NEUTRAL);
	AWAIT(&b->fence, b->fence.calls == 2);
	assert_int_equal(psb_watch_stats(b->watch, &stats), 0);
	assert_int_equal(stats.callbacks, 3);
	assert_true(stats.callback_usec >= WORK_USEC);
	assert_int_equal(stats.superseded, 0);
	assert_int_equal(stats.low, 1);
	assert_int_equal(stats.critical, 0);
	assert_int_equal(stats.neutral, 1);
	assert_int_equal(stats.high, 0);
}
