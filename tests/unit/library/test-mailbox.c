/* SPDX-License-Identifier: MIT */
/*
 * test-mailbox.c - what psibridge.h promises of mailboxes: the host comes and takes
 *
 * An inline callback beside the mailbox (`fence`) tells when a notification is in it: mailboxes are
 * filled before inline callbacks are called.
 */
#include "pattern-bench.h"

#include <sys/wait.h>

#define PATIENCE_USEC (PATIENCE_SEC * USEC_PER_SEC)

static psb_mailbox *open_mailbox(struct bench *b, unsigned flags)
{
	psb_mailbox *mailbox = NULL;

	assert_int_equal(psb_mailbox_new(b->watch, flags, &mailbox), 0);
	assert_non_null(mailbox);
	return mailbox;
}

/* What comes within the patience of a test. */
static struct psb_notification taken(psb_mailbox *mailbox)
{
	struct psb_notification n = { .size = sizeof(n) };

	assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_USEC, &n), 1);
	return n;
}

static void assert_empty(psb_mailbox *mailbox)
{
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };

	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), 0);
	assert_int_equal(n.available, PSB_NEUTRAL); /* nothing was written */
}

/* Says it, and waits until it is in every mailbox. */
static void say_and_wait(struct bench *b, enum psb_available available)
{
	unsigned calls = READ(&b->fence, calls);

	if (!b->fence.registration)
		listen_with(b, &b->fence, PSB_INLINE);
	say(b, available);
	AWAIT(&b->fence, b->fence.calls > calls);
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
	int r;

	about_to_wait(&t->rx);
	r = psb_mailbox_take(t->mailbox, PSB_FOREVER, &t->n);
	note_done(&t->rx, r);
	return NULL;
}

static void start_taker(struct taker *t, psb_mailbox *mailbox)
{
	receiver_init(&t->rx);
	t->mailbox = mailbox;
	t->n = (struct psb_notification){ .size = sizeof(t->n) };
	assert_int_equal(pthread_create(&t->thread, NULL, take_once, t), 0);
	await_waiting(&t->rx);
}

/* Returns what psb_mailbox_take() returned. */
static int end_of(struct taker *t)
{
	AWAIT(&t->rx, t->rx.done == 1);
	pthread_join(t->thread, NULL);
	receiver_destroy(&t->rx);
	return t->rx.result;
}

/* ---- what is taken ------------------------------------------------------------------------------- */

BENCH(what_a_callback_would_be_told_can_be_taken)
{
	static const enum psb_available levels[] = { PSB_LOW, PSB_NEUTRAL, PSB_HIGH, PSB_LOW };
	psb_mailbox *mailbox = open_mailbox(b, 0);

	assert_empty(mailbox);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		struct psb_notification n;

		say(b, levels[i]);
		n = taken(mailbox);
		assert_int_equal(n.size, sizeof(n));
		assert_int_equal(n.kind, PSB_KIND_LEVEL);
		assert_int_equal(n.available, levels[i]);
		assert_int_equal(n.reason, PSB_REASON_SIMULATED);
		assert_int_equal(n.cgroup[0], '/');
		assert_true(n.time_usec > 0);
		assert_empty(mailbox);
	}
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	assert_int_equal(taken(mailbox).critical, 1);
	psb_mailbox_free(mailbox);
}

BENCH(nobody_who_does_not_take_delays_anybody_and_the_newest_state_wins)
{
	static const enum psb_available levels[] = { PSB_LOW, PSB_NEUTRAL, PSB_LOW, PSB_NEUTRAL };
	psb_mailbox *mailbox = open_mailbox(b, 0), *other = open_mailbox(b, 0);

	listen_with(b, &b->rx, 0);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		say_and_wait(b, levels[i]);
		AWAIT(&b->rx, b->rx.calls == i + 1);
		assert_int_equal(taken(other).available, levels[i]);
	}
	assert_int_equal(taken(mailbox).available, PSB_NEUTRAL);
	assert_empty(mailbox);
	assert_int_equal(stats_of(b).superseded, ELEMENTSOF(levels) - 1);
	/* taking is a call, too: two callbacks, one mailbox emptied each time, one at the end */
	assert_int_equal(stats_of(b).callbacks, 3 * ELEMENTSOF(levels) + 1);

	/* what was missed and has ended is not told at all */
	say_and_wait(b, PSB_LOW);
	say_and_wait(b, PSB_NEUTRAL);
	assert_empty(mailbox);
	psb_mailbox_free(other);
	psb_mailbox_free(mailbox);
}

/* A socket that nobody serves any more: the watch moves to the next rung. */
PROMISE(a_move_to_another_rung_is_told_beside_the_level_to_those_who_ask)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));
	int listener = listen_at(options.source), peer;
	psb_mailbox *mailbox, *plain;
	bool kinds[4] = { false };
	struct bench *b;

	need_another_rung(state);
	options.rungs = 0;
	options.quiet_usec = options.calm_usec = LONG_USEC;
	b = bench_with(state, &options, PSB_INLINE | PSB_TELL_SOURCE);
	peer = accept_soon(listener);
	plain = open_mailbox(b, 0);
	mailbox = open_mailbox(b, PSB_TELL_SOURCE);
	say_and_wait(b, PSB_LOW);
	close(peer);
	close(listener);
	unlink(in_directory("socket"));
	AWAIT(&b->rx, of_kind(&b->rx, PSB_KIND_SOURCE) > 0);
	while (!kinds[PSB_KIND_SOURCE] || !kinds[PSB_KIND_LEVEL])
		kinds[taken(mailbox).kind] = true;
	assert_int_equal(taken(plain).kind, PSB_KIND_LEVEL);
	assert_empty(plain);
	psb_mailbox_free(mailbox);
	psb_mailbox_free(plain);
}

/* ---- waiting ------------------------------------------------------------------------------------- */

BENCH(a_take_waits_as_long_as_it_was_told)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };
	uint64_t before = clock_usec(CLOCK_MONOTONIC), after;
	struct taker taker;

	assert_int_equal(psb_mailbox_take(mailbox, GLANCE_USEC, &n), 0);
	after = clock_usec(CLOCK_MONOTONIC);
	assert_true(after - before >= GLANCE_USEC);
	assert_int_equal(n.available, PSB_NEUTRAL);

	/* for ever, until there is something */
	start_taker(&taker, mailbox);
	assert_int_equal(READ(&taker.rx, done), 0);
	say(b, PSB_LOW);
	assert_int_equal(end_of(&taker), 1);
	assert_int_equal(taker.n.available, PSB_LOW);

	/* so long that now and it together are more than a clock can say */
	say(b, PSB_HIGH);
	assert_int_equal(psb_mailbox_take(mailbox, PSB_FOREVER - 1, &n), 1);
	assert_int_equal(n.available, PSB_HIGH);
	say_and_wait(b, PSB_LOW);
	assert_int_equal(psb_mailbox_take(mailbox, PSB_FOREVER / 2, &n), 1);
	psb_mailbox_free(mailbox);
}

BENCH(a_second_thread_is_turned_away_and_closing_ends_it_for_all)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };
	struct taker taker;

	start_taker(&taker, mailbox);
	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), -EBUSY);
	assert_int_equal(psb_mailbox_take(mailbox, PSB_FOREVER, &n), -EBUSY);
	assert_int_equal(READ(&taker.rx, done), 0);
	assert_int_equal(psb_mailbox_close(mailbox), 0);
	assert_int_equal(end_of(&taker), -ECANCELED);
	say_and_wait(b, PSB_LOW); /* it lies in the slot */
	assert_int_equal(psb_mailbox_take(mailbox, PSB_FOREVER, &n), -ECANCELED);
	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), -ECANCELED);
	assert_int_equal(n.available, PSB_NEUTRAL);
	assert_int_equal(psb_mailbox_close(mailbox), 0);
	psb_mailbox_free(mailbox);
}

/* ---- the end -------------------------------------------------------------------------------------- */

/* Now and then news comes at that very moment; sanitizers see who comes too late. */
BENCH(freeing_waits_until_nobody_is_inside)
{
	struct taker taker;

	for (int i = 0; i < 200; i++) {
		psb_mailbox *mailbox = open_mailbox(b, i % 3 ? 0 : PSB_TELL_PRESENT);
		int r;

		start_taker(&taker, mailbox);
		if (i % 2)
			say(b, i % 4 == 1 ? PSB_LOW : PSB_HIGH);
		assert_null(psb_mailbox_free(mailbox));
		r = end_of(&taker);
		assert_true(r == 1 || r == -ECANCELED);
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
	psb_mailbox *mailbox = open_mailbox(b, 0);
	struct psb_notification n = { .size = sizeof(n) };
	struct psb_load load = { .size = sizeof(load) };
	struct taker taker;
	pthread_t thread;
	void *result;

	start_taker(&taker, mailbox);
	pthread_cancel(taker.thread);
	pthread_join(taker.thread, &result);
	assert_true(result == PTHREAD_CANCELED);
	receiver_destroy(&taker.rx);
	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), 0);
	say(b, PSB_LOW);
	assert_int_equal(psb_mailbox_take(mailbox, PSB_FOREVER, &n), 1);

	assert_int_equal(pthread_create(&thread, NULL, load_cancelled, b), 0);
	pthread_join(thread, &result);
	assert_true(result == PTHREAD_CANCELED);
	assert_int_equal(psb_watch_load(b->watch, &load), 0);
	psb_mailbox_free(mailbox);
}

BENCH(a_mailbox_keeps_its_watch_and_its_bridge_alive)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	int fd = open_fifo("fifo");
	struct psb_notification n;

	psb_watch_unref(b->watch);
	psb_bridge_unref(b->bridge);
	b->watch = NULL;
	b->bridge = NULL;
	assert_int_equal(write(fd, "x", 1), 1);
	n = taken(mailbox);
	assert_int_equal(n.available, PSB_LOW);
	assert_int_equal(n.reason, PSB_REASON_SIGNAL);
	psb_mailbox_free(mailbox); /* and with it all the rest: no descriptor is left */
	close(fd);
}

static void take_and_free(struct receiver *rx, const struct psb_notification *n)
{
	psb_mailbox *mailbox = (psb_mailbox *)rx->other;
	struct psb_notification mine = { .size = sizeof(mine) };
	int failed = psb_mailbox_take(mailbox, 0, &mine) != 1;

	failed += mine.available != n->available;
	failed += psb_mailbox_close(mailbox) != 0;
	failed += psb_mailbox_free(mailbox) != NULL;
	failed += psb_mailbox_new(rx->watch, 0, &mailbox) != 0;
	psb_mailbox_free(mailbox);
	note_done(rx, failed);
}

BENCH_INLINE_TOO(all_of_it_may_be_done_inside_a_callback)
{
	b->rx.act = take_and_free;
	b->rx.other = (psb_registration *)open_mailbox(b, 0); /* its userdata, so to speak */
	listen_with(b, &b->rx, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.done == 1 && b->rx.inside == 0);
	assert_int_equal(b->rx.result, 0);
}

/* Returns the line of the first broken promise, or 0. */
static int child_finds_a_dead_mailbox(struct bench *b, psb_mailbox *mailbox)
{
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *another;

#define WANT(expression)   \
	if (!(expression)) \
		return __LINE__;
	WANT(psb_mailbox_new(b->watch, 0, &another) == -ECHILD);
	WANT(psb_mailbox_take(mailbox, PSB_FOREVER, &n) == -ECHILD);
	WANT(psb_mailbox_close(mailbox) == -ECHILD);
	psb_watch_unref(b->watch);
	psb_bridge_unref(b->bridge);
	WANT(count_descriptors() != descriptors_before);
	WANT(psb_mailbox_free(mailbox) == NULL);
	WANT(count_descriptors() == descriptors_before);
#undef WANT
	return 0;
}

BENCH(in_a_forked_child_it_is_dead_and_can_be_freed)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	struct taker taker;
	int status;
	pid_t pid;

	say(b, PSB_LOW);
	taken(mailbox);		      /* so there is a label in the child's hands, */
	say_and_wait(b, PSB_NEUTRAL); /* and an entry in the slot */
	taken(mailbox);
	start_taker(&taker, mailbox); /* and somebody waits, who is not there */
	pid = fork();
	if (pid == 0)
		_exit(child_finds_a_dead_mailbox(b, mailbox) & 0xff);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status))
		fail_msg("in the child, line %d (modulo 256)", WEXITSTATUS(status));
	say(b, PSB_LOW);
	assert_int_equal(end_of(&taker), 1);
	psb_mailbox_free(mailbox);
}

/* ---- slow takers ---------------------------------------------------------------------------------- */

/* 20 times this is more than the longest pause after an event of a FIFO (monitor-stream.c). */
#define WORK_USEC (60 * USEC_PER_MSEC)

/* What it does between two takes is its call. That takes time, which is what this is about. */
BENCH(a_repeated_low_comes_no_sooner_than_20_times_what_the_last_one_took)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	int fd = open_fifo("fifo");
	uint64_t at[3], until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;
	struct psb_notification n = { .size = sizeof(n) };

	for (unsigned i = 0; i < ELEMENTSOF(at);) {
		assert_true(clock_usec(CLOCK_MONOTONIC) < until);
		assert_int_equal(write(fd, "x", 1), 1); /* repeats as fast as it is written to */
		if (psb_mailbox_take(mailbox, USEC_PER_MSEC, &n) == 0)
			continue;
		at[i++] = clock_usec(CLOCK_MONOTONIC);
		assert_int_equal(n.available, PSB_LOW);
		assert_int_equal(n.reason, PSB_REASON_SIGNAL);
		usleep(WORK_USEC);
	}
	for (unsigned i = 1; i < ELEMENTSOF(at); i++)
		assert_true(at[i] - at[i - 1] >= 20 * WORK_USEC);
	/* the time that a take waited is no work */
	assert_in_range(stats_of(b).callback_usec, 2 * WORK_USEC, 20 * WORK_USEC);

	/* a turn for the worse is no repetition */
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	assert_int_equal(taken(mailbox).critical, 1);
	assert_true(clock_usec(CLOCK_MONOTONIC) - at[2] < 20 * WORK_USEC);
	close(fd);
	psb_mailbox_free(mailbox);
}

/* A take that does not wait is not from a thread of its own: what passes until the next is idle time. */
BENCH(who_polls_is_told_each_repeated_low)
{
	psb_mailbox *mailbox = open_mailbox(b, 0);
	int fd = open_fifo("fifo");
	struct psb_notification n = { .size = sizeof(n) };
	uint64_t start = clock_usec(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < 10; i++) {
		do {
			assert_true(clock_usec(CLOCK_MONOTONIC) - start < PATIENCE_USEC);
			assert_int_equal(write(fd, "x", 1), 1);
			usleep(WORK_USEC);
		} while (psb_mailbox_take(mailbox, 0, &n) == 0);
		assert_int_equal(n.available, PSB_LOW);
	}
	assert_true(clock_usec(CLOCK_MONOTONIC) - start < 9 * 20 * WORK_USEC);
	assert_int_equal(stats_of(b).callbacks, 10);
	assert_int_equal(stats_of(b).callback_usec, 0);
	close(fd);
	psb_mailbox_free(mailbox);
}

/* ---- what it is given ------------------------------------------------------------------------------ */

BENCH(what_makes_no_sense_is_refused)
{
	psb_mailbox *mailbox = open_mailbox(b, 0), *untouched = (psb_mailbox *)1;
	struct psb_notification n = { .size = sizeof(n) };

	assert_int_equal(psb_mailbox_new(NULL, 0, &untouched), -EINVAL);
	assert_int_equal(psb_mailbox_new(b->watch, 0, NULL), -EINVAL);
	assert_int_equal(psb_mailbox_new(b->watch, PSB_INLINE, &untouched), -EINVAL);
	assert_int_equal(psb_mailbox_new(b->watch, 8, &untouched), -EINVAL);
	assert_ptr_equal(untouched, (psb_mailbox *)1);
	assert_int_equal(psb_mailbox_take(NULL, 0, &n), -EINVAL);
	assert_int_equal(psb_mailbox_take(mailbox, 0, NULL), -EINVAL);
	assert_int_equal(psb_mailbox_close(NULL), -EINVAL);
	assert_null(psb_mailbox_free(NULL));
	psb_mailbox_free(mailbox);
}

/* One thread for all: a loop of its own, and a mailbox that is looked into between. */
PROMISE(a_foreign_loop_fills_it_too_with_the_present_state_first)
{
	struct psb_notification n = { .size = sizeof(n) };
	struct bench *b = bench_at_rest(state);
	psb_mailbox *mailbox = open_mailbox(b, PSB_TELL_PRESENT);

	assert_true(psb_bridge_fd(b->bridge) >= 0);
	assert_empty(mailbox); /* nobody has dispatched yet */
	AWAIT_SEEN(psb_bridge_dispatch(b->bridge) >= 0 && psb_mailbox_take(mailbox, 0, &n) == 1);
	assert_int_equal(n.available, PSB_HIGH);
	assert_int_equal(n.reason, PSB_REASON_PRESENT);
	psb_mailbox_free(mailbox);
}

/* ---- of a pattern ----------------------------------------------------------------------------- */

PROMISE(of_a_pattern_each_cgroup_has_a_slot_of_its_own)
{
	psb_mailbox *mailbox;
	struct psb_notification n;
	struct bench *b = hear_all(state, 3, LONG_USEC);

	listen_with(b, &b->fence, PSB_INLINE);
	mailbox = open_mailbox(b, 0);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0);
	simulate_at(b, numbered(2), PSB_LOW, 0);
	simulate_at(b, numbered(0), PSB_NEUTRAL, 0);
	AWAIT(&b->fence, b->fence.calls == 4);
	for (unsigned i = 0; i < 3; i++) { /* the oldest slot first */
		n = taken(mailbox);
		assert_string_equal(n.cgroup, numbered(i));
		assert_int_equal(n.available, i == 2 ? PSB_LOW : PSB_NEUTRAL);
	}
	assert_empty(mailbox);
	psb_mailbox_free(mailbox);
}

/* Also when it was removed meanwhile, and nobody else remembers it. Address sanitizer looks on. */
PROMISE(the_cgroups_name_is_valid_until_the_next_take)
{
	struct psb_notification n, gone;
	psb_mailbox *mailbox;
	struct bench *b = hear_all(state, 2, QUIET_USEC);

	listen_with(b, &b->fence, PSB_INLINE);
	mailbox = open_mailbox(b, 0);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	n = taken(mailbox);
	assert_int_equal(rmdir(in_mount(numbered(0))), 0);
	AWAIT(&b->fence,
	      b->fence.calls > 1 && b->fence.received[b->fence.calls - 1].kind == PSB_KIND_GONE);
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_string_equal(n.cgroup, numbered(0));
	gone = taken(mailbox);
	assert_int_equal(gone.kind, PSB_KIND_GONE);
	assert_int_not_equal(gone.available, PSB_LOW);
	assert_string_equal(gone.cgroup, numbered(0));
	simulate_at(b, numbered(1), PSB_LOW, 0);
	AWAIT(&b->fence, last_is(&b->fence, PSB_LOW));
	assert_string_equal(gone.cgroup, numbered(0));
	assert_string_equal(taken(mailbox).cgroup, numbered(1));
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0); /* what nobody takes is freed with it */
	AWAIT(&b->fence, last_is(&b->fence, PSB_NEUTRAL));
	psb_mailbox_free(mailbox);
}
