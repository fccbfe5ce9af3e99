/* SPDX-License-Identifier: MIT */
/*
 * test-mailbox.c - what psibridge.h promises of mailboxes: the host comes and takes
 *
 * An inline callback beside the mailbox (`fence`) tells when a notification is in it: mailboxes are filled before inline callbacks
 * are called. That a mailbox may be used inside a callback is in test-removal.c, after fork(2) in test-bridge.c, of a pattern in
 * test-members.c.
 */
#include "library-bench.h"

static psb_mailbox *open_mailbox(struct bench *b, unsigned flags)
{
	psb_mailbox *mailbox = NULL;

	assert_int_equal(psb_mailbox_new(b->watch, flags, &mailbox), 0);
	if (!b->mailbox)
		b->mailbox = mailbox;
	return mailbox;
}

/* What comes within `usec` is that; '-': nothing. */
static struct psb_notification take_for(psb_mailbox *mailbox, uint64_t usec, char wanted)
{
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };

	if (wanted == '-') {
		assert_int_equal(psb_mailbox_take(mailbox, usec, &n), 0);
		assert_int_equal(n.available, PSB_NEUTRAL); /* nothing was written */
	} else {
		assert_int_equal(psb_mailbox_take(mailbox, usec, &n), 1);
		assert_int_equal(letter(&n), wanted);
	}
	return n;
}

static struct psb_notification take(psb_mailbox *mailbox, char wanted)
{
	return take_for(mailbox, wanted == '-' ? 0 : PATIENCE_USEC, wanted);
}

/* Says it, and waits until it is in every mailbox. */
static void put(struct bench *b, const char *levels)
{
	if (!b->fence.registration)
		listen_with(b, &b->fence, PSB_INLINE);
	say_and_hear(b, &b->fence, levels);
}

/* A thread that takes once; `done` and `result` of its rx say what came of it. */
struct taker {
	struct receiver rx;
	psb_mailbox *mailbox;
	struct psb_notification n;
	pthread_t thread;
};

static void *take_once(void *arg)
{
	struct taker *t = arg;

	about_to_wait(&t->rx);
	note_done(&t->rx, psb_mailbox_take(t->mailbox, PSB_FOREVER, &t->n));
	return NULL;
}

static void start_taker(struct taker *t, psb_mailbox *mailbox)
{
	*t = (struct taker){ .mailbox = mailbox, .n.size = sizeof(t->n) };
	assert_int_equal(pthread_create(&t->thread, NULL, take_once, t), 0);
	await_waiting(&t->rx);
}

/* Returns what psb_mailbox_take() returned. */
static int end_of(struct taker *t)
{
	AWAIT(&t->rx, t->rx.done == 1);
	pthread_join(t->thread, NULL);
	return t->rx.result;
}

/* ---- what is taken ------------------------------------------------------------------------------- */

BENCH(what_a_callback_would_be_told_can_be_taken)
{
	static const char levels[] = "LNHLC";

	open_mailbox(b, 0);
	take(b->mailbox, '-');
	for (unsigned i = 0; levels[i]; i++) {
		const char one[] = { levels[i], '\0' };
		struct psb_notification n;

		say(b, one);
		n = take(b->mailbox, levels[i]);
		assert_int_equal(n.size, sizeof(n));
		assert_int_equal(n.reason, PSB_REASON_SIMULATED);
		assert_int_equal(n.cgroup[0], '/');
		assert_true(n.time_usec > 0);
		take(b->mailbox, '-');
	}
}

BENCH(nobody_who_does_not_take_delays_anybody_and_the_newest_state_wins)
{
	static const char *const levels[] = { "L", "N", "L", "N" };
	psb_mailbox *late = open_mailbox(b, 0), *other = open_mailbox(b, 0);

	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		put(b, levels[i]);
		take(other, *levels[i]);
	}
	take(late, 'N');
	take(late, '-');
	assert_int_equal(stats_of(b).superseded, 3);
	/* taking is a call, too: an inline callback, one mailbox emptied each time, one at the end */
	assert_int_equal(stats_of(b).callbacks, 4 + 4 + 1);

	/* what was missed and has ended is not told at all */
	put(b, "LN");
	take(late, '-');
	psb_mailbox_free(other);
}

/* A socket that nobody serves any more: the watch moves to the next rung. */
PROMISE(a_move_to_another_rung_is_told_beside_the_level_to_those_who_ask)
{
	struct psb_watch_options options = quick_options(fake_path("socket"));
	int listener = listen_at(options.source), peer;
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *plain;
	struct bench *b;

	need_another_rung(state);
	options.rungs = 0;
	options.quiet_usec = options.calm_usec = LONG_USEC;
	b = bench_with(state, &options, PSB_INLINE | PSB_TELL_SOURCE);
	peer = accept_soon(listener);
	open_mailbox(b, PSB_TELL_SOURCE);
	plain = open_mailbox(b, 0);
	say_and_hear(b, &b->rx, "L");
	close(peer);
	close(listener);
	unlink(fake_path("socket"));
	hear_last(&b->rx, 'S');
	for (unsigned seen = 0; seen != 3;) {
		assert_int_equal(psb_mailbox_take(b->mailbox, PATIENCE_USEC, &n), 1);
		seen |= n.kind == PSB_KIND_SOURCE ? 1 : 2;
	}
	take(plain, 'L');
	take(plain, '-');
	psb_mailbox_free(plain);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

BENCH(a_take_waits_as_long_as_it_was_told)
{
	uint64_t before = now_usec();
	struct taker taker;

	open_mailbox(b, 0);
	take_for(b->mailbox, GLANCE_USEC, '-');
	assert_true(now_usec() - before >= GLANCE_USEC);

	/* for ever, until there is something */
	start_taker(&taker, b->mailbox);
	assert_int_equal(READ(&taker.rx, done), 0);
	say(b, "L");
	assert_int_equal(end_of(&taker), 1);
	assert_int_equal(taker.n.available, PSB_LOW);

	/* so long that now and it together are more than a clock can say */
	say(b, "H");
	take_for(b->mailbox, PSB_FOREVER - 1, 'H');
	put(b, "L");
	take_for(b->mailbox, PSB_FOREVER / 2, 'L');
}

BENCH(a_second_thread_is_turned_away_and_closing_ends_it_for_all)
{
	static const uint64_t waits[] = { 0, PSB_FOREVER };
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };
	struct taker taker;

	open_mailbox(b, 0);
	start_taker(&taker, b->mailbox);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(psb_mailbox_take(b->mailbox, waits[i], &n), -EBUSY);
	assert_int_equal(READ(&taker.rx, done), 0);
	assert_int_equal(psb_mailbox_close(b->mailbox), 0);
	assert_int_equal(end_of(&taker), -ECANCELED);
	put(b, "L"); /* it lies in the slot */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(psb_mailbox_take(b->mailbox, waits[i], &n), -ECANCELED);
	assert_int_equal(n.available, PSB_NEUTRAL);
	assert_int_equal(psb_mailbox_close(b->mailbox), 0);
}

/* ---- the end -------------------------------------------------------------------------------------- */

/* Now and then news comes at that very moment; sanitizers see who comes too late. */
BENCH(freeing_waits_until_nobody_is_inside)
{
	struct taker taker;

	for (int i = 0; i < 200; i++) {
		open_mailbox(b, i % 3 ? 0 : PSB_TELL_PRESENT);
		start_taker(&taker, b->mailbox);
		if (i % 2)
			say(b, i % 4 == 1 ? "L" : "H");
		assert_null(psb_mailbox_free(steal(b->mailbox)));
		if (end_of(&taker) != 1)
			assert_int_equal(taker.rx.result, -ECANCELED);
	}
}

static void *load_cancelled(void *arg)
{
	struct bench *b = arg;
	struct psb_load load = { .size = sizeof(load) };

	pthread_cancel(pthread_self());
	psb_watch_load(b->watch, &load);
	pthread_testcancel();
	return NULL;
}

/* Were a lock left held, the next call would wait for ever. */
BENCH(a_thread_may_be_cancelled_inside)
{
	struct psb_load load = { .size = sizeof(load) };
	struct taker taker;
	pthread_t thread;
	void *result;

	open_mailbox(b, 0);
	start_taker(&taker, b->mailbox);
	pthread_cancel(taker.thread);
	pthread_join(taker.thread, &result);
	assert_true(result == PTHREAD_CANCELED);
	take(b->mailbox, '-');
	say(b, "L");
	take_for(b->mailbox, PSB_FOREVER, 'L');

	assert_int_equal(pthread_create(&thread, NULL, load_cancelled, b), 0);
	pthread_join(thread, &result);
	assert_true(result == PTHREAD_CANCELED);
	assert_int_equal(psb_watch_load(b->watch, &load), 0);
}

BENCH(a_mailbox_keeps_its_watch_and_its_bridge_alive)
{
	open_mailbox(b, 0);
	b->peer = open_fifo("fifo");
	psb_watch_unref(steal(b->watch));
	psb_bridge_unref(steal(b->bridge));
	assert_int_equal(write(b->peer, "x", 1), 1);
	assert_int_equal(take(b->mailbox, 'L').reason, PSB_REASON_SIGNAL);
	/* and with it all the rest goes: no descriptor is left */
}

/* ---- slow takers ---------------------------------------------------------------------------------- */

/* 20 times this is more than the longest pause after an event of a FIFO (monitor-stream.c). */
#define WORK_USEC (60 * USEC_PER_MSEC)

/* Writes, as fast as the source repeats, until there is a Low to take. Returns: when. */
static uint64_t take_signal(struct bench *b, uint64_t usec, void (*between)(void))
{
	struct psb_notification n = { .size = sizeof(n) };
	uint64_t until = now_usec() + PATIENCE_USEC;

	do {
		assert_true(now_usec() < until);
		assert_int_equal(write(b->peer, "x", 1), 1);
		if (between)
			between();
	} while (psb_mailbox_take(b->mailbox, usec, &n) == 0);
	assert_int_equal(n.available, PSB_LOW);
	assert_int_equal(n.reason, PSB_REASON_SIGNAL);
	return now_usec();
}

static void work(void)
{
	usleep(WORK_USEC);
}

/* What it does between two takes is its call. That takes time, which is what this is about. */
BENCH(a_repeated_low_comes_no_sooner_than_20_times_what_the_last_one_took)
{
	uint64_t at[3];

	b->peer = open_fifo("fifo");
	open_mailbox(b, 0);
	for (unsigned i = 0; i < ELEMENTSOF(at); i++) {
		at[i] = take_signal(b, USEC_PER_MSEC, NULL);
		work();
		assert_true(i == 0 || at[i] - at[i - 1] >= 20 * WORK_USEC);
	}
	/* the time that a take waited is no work */
	assert_in_range(stats_of(b).callback_usec, 2 * WORK_USEC, 20 * WORK_USEC);

	/* a turn for the worse is no repetition */
	say(b, "C");
	take(b->mailbox, 'C');
	assert_true(now_usec() - at[2] < 20 * WORK_USEC);
}

/* A take that does not wait is not from a thread of its own: what passes until the next is idle time. */
BENCH(who_polls_is_told_each_repeated_low)
{
	uint64_t start = now_usec();

	b->peer = open_fifo("fifo");
	open_mailbox(b, 0);
	for (unsigned i = 0; i < 10; i++)
		take_signal(b, 0, work);
	assert_true(now_usec() - start < 9 * 20 * WORK_USEC);
	assert_int_equal(stats_of(b).callbacks, 10);
	assert_int_equal(stats_of(b).callback_usec, 0);
}
