/* SPDX-License-Identifier: MIT */
/*
 * test-removal.c - registrations, watches and bridges that end: from outside, from inside a callback, each other, all at once
 */
#include "library-bench.h"

/* ---- while a call runs ----------------------------------------------------------------------- */

/* Returns when b->rx's callback is in its call, which lasts until hold(false). */
static void enter_call(struct bench *b)
{
	b->rx.held = true;
	listen_to(b, &b->rx);
	say(b, "L");
	hear(&b->rx, "L");
}

/* Lets the call end when a thread that does `what` to the bench waits for it; that must return after the call. */
static void wait_for_call(struct bench *b, void *(*what)(void *bench))
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, b);
	await_waiting(&b->fence);
	assert_int_equal(READ(&b->fence, done), 0);
	hold(&b->rx, false);
	pthread_join(thread, NULL);
	assert_int_equal(b->fence.result, 0);
}

/* Their result: how many calls were running when it returned. */
static void *remove_it(void *bench)
{
	struct bench *b = bench;
	int r;

	about_to_wait(&b->fence);
	r = psb_registration_remove(b->rx.registration);
	note_done(&b->fence, r < 0 ? r : (int)READ(&b->rx, inside));
	return NULL;
}

static void *unref_the_watch(void *bench)
{
	struct bench *b = bench;

	about_to_wait(&b->fence);
	psb_watch_unref(steal(b->watch));
	note_done(&b->fence, (int)READ(&b->rx, inside));
	return NULL;
}

BENCH_INLINE_TOO(when_removal_returns_no_call_is_running_and_none_will_come)
{
	enter_call(b);
	wait_for_call(b, remove_it);
	listen_to(b, &b->fence);
	say_and_hear(b, &b->fence, "H");
	assert_int_equal(b->rx.calls, 1);
}

BENCH_INLINE_TOO(the_last_reference_to_a_watch_waits_for_its_callbacks)
{
	enter_call(b);
	wait_for_call(b, unref_the_watch);
}

static void remove_myself(struct receiver *rx, const struct psb_notification *n)
{
	if (n->available == PSB_HIGH) /* and once more */
		psb_registration_remove(rx->registration);
	note_done(rx, psb_registration_remove(rx->registration));
}

BENCH_INLINE_TOO(after_removal_from_inside_there_is_no_further_call)
{
	listen_to(b, &b->fence);
	b->rx.act = remove_myself;
	for (unsigned i = 0; i < 4; i++) {
		unsigned calls = b->rx.calls;

		listen_to(b, &b->rx);
		say(b, i % 2 ? "H" : "L");
		/* one call, of that, or of the N before, which may still be on its way */
		AWAIT(&b->rx, b->rx.calls > calls && b->rx.inside == 0);
		b->rx.heard = calls + 1;
		assert_int_equal(b->rx.result, 0);
		say(b, "N");
		hear_last(&b->fence, 'N');
		hear(&b->rx, "");
	}
}

/* What one-shot callbacks do while their host tears down. */
static void remove_myself_when_told_to(struct receiver *rx, const struct psb_notification *n)
{
	AWAIT_FOR(rx, !rx->held, USEC_NEVER);
	remove_myself(rx, n);
}

/* Or gives up the last references, while a thread waits for the callback to end. */
static void give_up_everything_when_told_to(struct receiver *rx,
					    _unused_ const struct psb_notification *n)
{
	AWAIT_FOR(rx, !rx->held, USEC_NEVER);
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
}

INLINE_TOO(a_callback_may_end_what_others_wait_for)
{
	for (int i = 0; i < 6; i++) {
		struct bench *b = bench_new(state);

		b->rx.act = i < 2 ? remove_myself_when_told_to : give_up_everything_when_told_to;
		enter_call(b);
		wait_for_call(b, i == 0 ? unref_the_watch : remove_it);
		assert_int_equal(b->rx.inside, 0);
		assert_int_equal(b->rx.result, 0);
		if (i >= 2) {
			b->watch = NULL;
			b->bridge = NULL;
		}
		bench_free(b);
	}
}

/* The userdata goes with the watch; address sanitizer sees who comes late. */
INLINE_TOO(what_was_simulated_does_not_outlive_the_watch)
{
	for (int i = 0; i < 50; i++) {
		struct bench *b = bench_new(state);

		listen_to(b, &b->rx);
		say(b, "LH");
		bench_free(b);
	}
}

/* ---- from inside a callback ---------------------------------------------------------------- */

static void give_up_everything(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	psb_bridge_dispatch(rx->bridge); /* refused, and to no harm */
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
	note_done(rx, 0);
	/* the notification stays what it is to the end of the call: receive() reads its cgroup again */
	AWAIT_FOR(rx, false, GLANCE_USEC);
}

INLINE_TOO(a_callback_may_give_up_the_watch_and_the_bridge)
{
	for (int foreign = 0; foreign < 2; foreign++) {
		struct bench *b = bench_at_rest(state);
		psb_watch *keeper = NULL;

		b->rx.act = give_up_everything;
		listen_to(b, &b->rx);
		say(b, "L");
		if (!foreign)
			run(b);
		/* between two dispatches a thread's callback may end the bridge: another watch keeps it */
		else if (!b->variant->flags)
			keeper = watch_fifo(b->bridge, LONG_USEC);
		while (foreign && READ(&b->rx, done) == 0)
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
		hear(&b->rx, "L");
		assert_int_equal(b->rx.cgroup[0], '/');
		psb_watch_unref(keeper);
		b->watch = NULL;
		b->bridge = NULL;
		bench_free(b);
	}
}

static void remove_the_other(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	note_done(rx, psb_registration_remove(steal(rx->other)));
}

static void add_the_fence(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	if (!rx->other)
		psb_watch_add_callback(rx->watch, receive, &rx[1], PSB_INLINE,
				       (psb_registration **)&rx->other);
	note_done(rx, rx->other ? 0 : -1);
}

BENCH_INLINE_TOO(a_callback_may_add_and_remove_others)
{
	/* adding: what came during a notification hears the next one */
	b->rx.act = add_the_fence;
	listen_to(b, &b->rx);
	say_and_hear(b, &b->rx, "LN");
	hear_last(&b->fence, 'N');
	assert_int_equal(b->rx.result, 0);

	/* removing: the other one hears no more, whichever of them comes first in the list */
	b->rx.act = remove_the_other;
	for (unsigned i = 0; i < 2; i++) {
		if (i == 1) {
			listen_to(b, &b->fence);
			b->rx.other = b->fence.registration;
		}
		say_and_hear(b, &b->rx, i ? "H" : "L");
		assert_int_equal(b->rx.result, 0);
		b->fence.heard = READ(&b->fence, calls);
		say_and_hear(b, &b->rx, "N");
		hear(&b->fence, "");
	}
}

static void nothing(_unused_ const struct psb_finding *finding, _unused_ void *userdata)
{
}

/* Every function of the interface. A lock that were held would be met by one of them, or by a thread of theirs. */
static void call_everything(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	struct psb_load load = { .size = sizeof(load) };
	static struct psb_source source;
	struct psb_stats stats = { .size = sizeof(stats) };
	struct psb_notification note = { .size = sizeof(note) };
	psb_registration *registration = NULL;
	psb_mailbox *mailbox = NULL;
	psb_bridge *bridge;
	psb_watch *watch;
	int failed = 0;
	const char *why;

	source.size = sizeof(source);
	failed += psb_bridge_start(rx->bridge) != -EALREADY;
	failed += psb_bridge_fd(rx->bridge) != -EBUSY;
	failed += psb_bridge_dispatch(rx->bridge) != -EBUSY;
	failed += psb_bridge_backend(rx->bridge, &why) != PSB_BACKEND_URING && !*why;
	psb_watch_unref(psb_watch_ref(rx->watch));
	failed += psb_watch_add_callback(rx->watch, receive, NULL, PSB_TELL_SOURCE,
					 &registration) != 0;
	failed += psb_registration_remove(registration) != 0;
	failed += psb_watch_available(rx->watch, NULL) != PSB_LOW;
	failed += psb_watch_load(rx->watch, &load) != 0;
	failed += psb_watch_source(rx->watch, &source) != 0;
	failed += psb_watch_stats(rx->watch, &stats) != 0;
	failed += psb_watch_simulate(rx->watch, PSB_LOW, 0) != 0;
	failed += psb_diagnose(NULL, nothing, NULL) < 0;
	failed += psb_mailbox_new(rx->watch, 0, &mailbox) != 0;
	failed += psb_mailbox_take(mailbox, 0, &note) != 0;
	failed += psb_mailbox_close(mailbox) != 0;
	psb_mailbox_free(mailbox);
	failed += psb_bridge_new(NULL, &bridge) != 0;
	watch = watch_fifo(bridge, LONG_USEC);
	failed += psb_bridge_start(bridge) != 0;
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	psb_watch_unref(watch_fifo(rx->bridge, LONG_USEC));
	rx->act = NULL;
	note_done(rx, failed);
}

BENCH_INLINE_TOO(every_function_may_be_called_from_inside_a_callback)
{
	b->rx.act = call_everything;
	listen_to(b, &b->rx);
	say(b, "L");
	AWAIT(&b->rx, b->rx.done == 1);
	assert_int_equal(b->rx.result, 0);
}

/* ---- each other ---------------------------------------------------------------------------- */

static pthread_barrier_t all_inside;

/* All are inside before any of them removes its neighbour. */
static void remove_neighbour(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	const struct receiver *neighbour = rx->other;

	pthread_barrier_wait(&all_inside);
	note_done(rx, psb_registration_remove(neighbour->registration));
}

PROMISE(callbacks_that_remove_each_other_are_told_of_the_deadlock_once)
{
	for (unsigned round = 0; round < 20; round++) {
		struct receiver ring[3] = { { .calls = 0 } };
		unsigned n = 2 + round % 2, deadlocks = 0;
		struct bench *b = bench_new(state);

		pthread_barrier_init(&all_inside, NULL, n);
		for (unsigned i = 0; i < n; i++) {
			ring[i].act = remove_neighbour;
			ring[i].other = &ring[(i + 1) % n];
			listen_with(b, &ring[i], 0);
		}
		say(b, "L");
		for (unsigned i = 0; i < n; i++) {
			hear(&ring[i], "L");
			assert_true(ring[i].result == 0 || ring[i].result == -EDEADLK);
			deadlocks += ring[i].result != 0;
		}
		assert_int_equal(deadlocks, 1);
		listen_with(b, &b->fence, 0);
		say_and_hear(b, &b->fence, "H");
		bench_free(b);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(ring[i].calls, 1);
		pthread_barrier_destroy(&all_inside);
	}
}

/* Of two bridges: when both are inside, gives up all of the other one. */
static void give_up_neighbour(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	struct receiver *neighbour = rx->other;
	struct bench *other = CONTAINER_OF(neighbour, struct bench, rx);

	pthread_barrier_wait(&all_inside);
	psb_watch_unref(steal(other->watch));
	psb_bridge_unref(steal(other->bridge));
	note_done(rx, 0);
}

INLINE_TOO(callbacks_of_two_bridges_may_do_away_with_each_other)
{
	pthread_barrier_init(&all_inside, NULL, 2);
	for (int round = 0; round < 20; round++) {
		struct bench *b[2] = { bench_new(state), bench_new(state) };
		bool all = round % 2;

		for (unsigned i = 0; i < 2; i++) {
			b[i]->rx.act = all ? give_up_neighbour : remove_neighbour;
			b[i]->rx.other = &b[!i]->rx;
			listen_to(b[i], &b[i]->rx);
		}
		for (unsigned i = 0; i < 2; i++)
			say(b[i], "L");
		for (unsigned i = 0; i < 2; i++)
			hear(&b[i]->rx, "L");
		if (!all)
			assert_int_equal(b[0]->rx.result + b[1]->rx.result, -EDEADLK);
		for (unsigned i = 0; i < 2; i++)
			bench_free(b[i]);
	}
	pthread_barrier_destroy(&all_inside);
}

static void *say_all_the_time(void *arg)
{
	struct bench *b = arg;

	while (!READ(&b->fence, done)) {
		say(b, "LH");
		sched_yield();
	}
	return NULL;
}

BENCH_INLINE_TOO(a_thousand_registrations_come_and_go_in_a_stream_of_news)
{
	unsigned heard_something = 0;
	pthread_t thread;

	listen_with(b, &b->fence, 0);
	pthread_create(&thread, NULL, say_all_the_time, b);
	for (int i = 0; i < 1000; i++) {
		struct receiver *rx = calloc(1,
					     sizeof(*rx)); /* freed at once: latecomers are seen */

		listen_with(b, rx,
			    (i % 2 ? b->variant->flags : 0) | (i % 3 ? 0 : PSB_TELL_PRESENT));
		if (i % 10 == 0)
			AWAIT(rx, rx->calls > 0);
		assert_int_equal(psb_registration_remove(rx->registration), 0);
		heard_something += rx->calls > 0;
		assert_int_equal(rx->inside, 0);
		free(rx);
	}
	note_done(&b->fence, 0);
	pthread_join(thread, NULL);
	assert_true(heard_something >= 100);
}
