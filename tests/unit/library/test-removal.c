/* SPDX-License-Identifier: MIT */
/*
 * test-removal.c - registrations, watches and bridges that end: from outside, from inside a
 * callback, each other, all at once
 */
#include "library-bench.h"

/* ---- removal ------------------------------------------------------------------------------- */

/* Returns when b->rx's callback is in its call, which lasts until hold_receiver(false). */
static void enter_call(struct bench *b)
{
	b->rx.held = true;
	listen_with(b, &b->rx, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.inside == 1);
}

/* Lets the call end when a thread that does `what` to the bench waits for it; that must return after the call. */
static void wait_for_call(struct bench *b, void *(*what)(void *bench))
{
	pthread_t thread;

	pthread_create(&thread, NULL, what, b);
	await_waiting(&b->fence);
	assert_int_equal(READ(&b->fence, done), 0);
	hold_receiver(&b->rx, false);
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
	listen_with(b, &b->fence, b->variant->flags);
	say(b, PSB_HIGH);
	AWAIT(&b->fence, b->fence.calls == 1);
	assert_int_equal(b->rx.calls, 1);
}

BENCH_INLINE_TOO(the_last_reference_to_a_watch_waits_for_its_callbacks)
{
	enter_call(b);
	wait_for_call(b, unref_the_watch);
}

static void remove_myself(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	note_done(rx, psb_registration_remove(rx->registration));
}

static void remove_myself_twice(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	psb_registration_remove(rx->registration);
	note_done(rx, psb_registration_remove(rx->registration));
}

BENCH_INLINE_TOO(after_removal_from_inside_there_is_no_further_call)
{
	void (*const acts[])(struct receiver *,
			     const struct psb_notification *) = { remove_myself,
								  remove_myself_twice };

	listen_with(b, &b->fence, b->variant->flags);
	for (unsigned i = 0; i < 2 * ELEMENTSOF(acts); i++) {
		b->rx.act = acts[i / 2];
		listen_with(b, &b->rx, b->variant->flags);
		say(b, i % 2 ? PSB_HIGH : PSB_LOW);
		AWAIT(&b->rx, b->rx.done == i + 1 && b->rx.inside == 0);
		assert_int_equal(b->rx.result, 0);
		say(b, PSB_NEUTRAL);
		AWAIT(&b->fence, last_is(&b->fence, PSB_NEUTRAL));
		assert_int_equal(READ(&b->rx, calls), i + 1);
	}
}

static void wait_until_opened(struct receiver *rx)
{
	pthread_mutex_lock(&rx->lock);
	while (rx->held)
		pthread_cond_wait(&rx->changed, &rx->lock);
	pthread_mutex_unlock(&rx->lock);
}

/* What one-shot callbacks do while their host tears down. */
static void remove_myself_when_told_to(struct receiver *rx, const struct psb_notification *n)
{
	wait_until_opened(rx);
	remove_myself(rx, n);
}

INLINE_TOO(removing_itself_while_others_wait_for_it_is_harmless)
{
	for (int i = 0; i < 2; i++) {
		struct bench *b = bench_new(state);

		b->rx.act = remove_myself_when_told_to;
		enter_call(b);
		wait_for_call(b, i == 0 ? unref_the_watch : remove_it);
		assert_int_equal(b->rx.inside, 0);
		assert_int_equal(b->rx.result, 0);
		bench_free(b);
	}
}

/* The userdata goes with the watch; address sanitizer sees who comes late. */
INLINE_TOO(what_was_simulated_does_not_outlive_the_watch)
{
	for (int i = 0; i < 50; i++) {
		struct bench *b = bench_new(state);

		listen_with(b, &b->rx, b->variant->flags);
		say(b, PSB_LOW);
		say(b, PSB_HIGH);
		bench_free(b);
	}
}

/* ---- from inside a callback ---------------------------------------------------------------- */

static void give_up_everything(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
	note_done(rx, 0);
	/* the notification stays what it is to the end of the call: receive() reads its cgroup again */
	AWAIT_FOR(rx, false, GLANCE_USEC);
}

BENCH_INLINE_TOO(a_callback_may_give_up_the_watch_and_the_bridge)
{
	b->rx.act = give_up_everything;
	listen_with(b, &b->rx, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.done == 1 && b->rx.inside == 0);
	assert_int_equal(b->rx.cgroup[0], '/');
	b->watch = NULL;
	b->bridge = NULL;
}

static void remove_the_other(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	note_done(rx, psb_registration_remove(steal(rx->other)));
}

static void add_another(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	if (!rx->other)
		psb_watch_add_callback(rx->watch, rx[1].act ? NULL : receive, &rx[1], PSB_INLINE,
				       &rx->other);
	note_done(rx, rx->other ? 0 : -1);
}

BENCH_INLINE_TOO(a_callback_may_add_and_remove_others)
{
	static struct receiver receivers[2];

	receiver_init(&receivers[0]);
	receiver_init(&receivers[1]);
	/* adding: whoever came during a notification hears the next one */
	receivers[0].act = add_another;
	listen_with(b, &receivers[0], b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&receivers[0], receivers[0].done == 1 && receivers[0].inside == 0);
	say(b, PSB_NEUTRAL);
	AWAIT(&receivers[1], receivers[1].calls >= 1);
	assert_true(last_is(&receivers[1], PSB_NEUTRAL));
	AWAIT(&receivers[0], receivers[0].done == 2 && receivers[0].inside == 0);

	/* removing: the other one hears no more, whichever of them comes first in the list */
	unsigned calls = READ(&receivers[1], calls);

	b->rx.act = remove_the_other;
	b->rx.other = steal(receivers[0].other);
	psb_registration_remove(receivers[0].registration);
	listen_with(b, &b->rx, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.done == 1 && b->rx.inside == 0);
	assert_int_equal(b->rx.result, 0);
	calls = READ(&receivers[1], calls);
	listen_with(b, &b->fence, b->variant->flags);
	say(b, PSB_HIGH);
	AWAIT(&b->fence, b->fence.calls == 1);
	assert_int_equal(READ(&receivers[1], calls), calls);
	bench_free(b);
	receiver_destroy(&receivers[0]);
	receiver_destroy(&receivers[1]);
}

static void nothing(const struct psb_finding *finding, void *userdata)
{
	(void)finding;
	(void)userdata;
}

/* Every function of the interface. A lock that were held would be met by one of them, or by a
 * thread of theirs. */
static void call_everything(struct receiver *rx, const struct psb_notification *n)
{
	struct psb_load load = { .size = sizeof(load) };
	static struct psb_source source;
	struct psb_stats stats = { .size = sizeof(stats) };
	psb_registration *registration = NULL;
	psb_bridge *bridge;
	psb_watch *watch;
	int failed = 0;
	const char *why;

	(void)n;
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
	failed += psb_bridge_new(NULL, &bridge) != 0;
	watch = watch_fifo(bridge, LONG_USEC);
	failed += psb_bridge_start(bridge) != 0;
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	watch = watch_fifo(rx->bridge, LONG_USEC);
	psb_watch_unref(watch);
	rx->act = NULL;
	note_done(rx, failed);
}

BENCH_INLINE_TOO(every_function_may_be_called_from_inside_a_callback)
{
	b->rx.act = call_everything;
	listen_with(b, &b->rx, b->variant->flags);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.done == 1);
	assert_int_equal(b->rx.result, 0);
}

/* ---- each other ---------------------------------------------------------------------------- */

struct ring {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	psb_registration *registration[3];
	unsigned n, inside, deadlocks, others, calls;
};
struct ring_member {
	struct ring *ring;
	unsigned i;
};

/* All are inside before anybody removes his neighbour. */
static void remove_neighbour(const struct psb_notification *n, void *userdata)
{
	struct ring_member *m = userdata;
	struct ring *ring = m->ring;
	int r;

	(void)n;
	pthread_mutex_lock(&ring->lock);
	ring->inside++;
	ring->calls++;
	pthread_cond_broadcast(&ring->changed);
	while (ring->inside < ring->n)
		pthread_cond_wait(&ring->changed, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
	r = psb_registration_remove(ring->registration[(m->i + 1) % ring->n]);
	pthread_mutex_lock(&ring->lock);
	ring->deadlocks += r == -EDEADLK;
	ring->others += r == 0;
	pthread_cond_broadcast(&ring->changed);
	pthread_mutex_unlock(&ring->lock);
}

PROMISE(callbacks_that_remove_each_other_are_told_of_the_deadlock_once)
{
	for (unsigned n = 2; n <= 3; n++) {
		for (int round = 0; round < 10; round++) {
			struct bench *b = bench_new(state);
			struct ring ring = { .n = n };
			struct ring_member members[3];
			struct timespec until = from_now(PATIENCE_SEC * USEC_PER_SEC);
			pthread_condattr_t attributes;
			bool late = false;

			pthread_mutex_init(&ring.lock, NULL);
			pthread_condattr_init(&attributes);
			pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
			pthread_cond_init(&ring.changed, &attributes);
			pthread_condattr_destroy(&attributes);
			for (unsigned i = 0; i < n; i++) {
				members[i] = (struct ring_member){ &ring, i };
				assert_int_equal(psb_watch_add_callback(b->watch, remove_neighbour,
									&members[i], 0,
									&ring.registration[i]),
						 0);
			}
			say(b, PSB_LOW);
			pthread_mutex_lock(&ring.lock);
			while (ring.deadlocks + ring.others < n && !late)
				late = pthread_cond_timedwait(&ring.changed, &ring.lock, &until) ==
				       ETIMEDOUT;
			pthread_mutex_unlock(&ring.lock);
			assert_false(late);
			assert_int_equal(ring.deadlocks, 1);
			assert_int_equal(ring.others, n - 1);
			listen_with(b, &b->fence, 0);
			say(b, PSB_HIGH);
			AWAIT(&b->fence, b->fence.calls == 1);
			assert_int_equal(ring.calls, n);
			bench_free(b);
			pthread_cond_destroy(&ring.changed);
			pthread_mutex_destroy(&ring.lock);
		}
	}
}

/* Of two bridges: removes the other one's registration, or gives up all of it, when both are inside. */
struct rival {
	struct ring *ring;
	struct bench *other;
	psb_registration **its_registration;
	bool all;
	int result;
};

static void do_away_with_the_other(const struct psb_notification *n, void *userdata)
{
	struct rival *rival = userdata;
	struct ring *ring = rival->ring;

	(void)n;
	pthread_mutex_lock(&ring->lock);
	ring->inside++;
	pthread_cond_broadcast(&ring->changed);
	while (ring->inside < 2)
		pthread_cond_wait(&ring->changed, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
	if (rival->all) {
		psb_watch_unref(steal(rival->other->watch));
		psb_bridge_unref(steal(rival->other->bridge));
	} else {
		rival->result = psb_registration_remove(*rival->its_registration);
	}
	note_done(&rival->other->rx, 0);
}

INLINE_TOO(callbacks_of_two_bridges_may_do_away_with_each_other)
{
	const struct variant *variant = *state;

	for (int round = 0; round < 20; round++) {
		struct bench *b[2] = { bench_new(state), bench_new(state) };
		struct ring ring = { .lock = PTHREAD_MUTEX_INITIALIZER,
				     .changed = PTHREAD_COND_INITIALIZER };
		struct rival rivals[2];

		for (unsigned i = 0; i < 2; i++) {
			rivals[i] = (struct rival){ .ring = &ring,
						    .other = b[!i],
						    .its_registration = &ring.registration[!i],
						    .all = round % 2 };
			assert_int_equal(psb_watch_add_callback(b[i]->watch, do_away_with_the_other,
								&rivals[i], variant->flags,
								&ring.registration[i]),
					 0);
		}
		for (unsigned i = 0; i < 2; i++)
			say(b[i], PSB_LOW);
		for (unsigned i = 0; i < 2; i++)
			AWAIT(&b[i]->rx, b[i]->rx.done == 1);
		if (round % 2 == 0)
			assert_int_equal(rivals[0].result + rivals[1].result, -EDEADLK);
		for (unsigned i = 0; i < 2; i++)
			bench_free(b[i]);
	}
}

static void *say_all_the_time(void *arg)
{
	struct bench *b = arg;

	while (!READ(&b->fence, done)) {
		say(b, PSB_LOW);
		say(b, PSB_HIGH);
		sched_yield();
	}
	return NULL;
}

BENCH_INLINE_TOO(a_thousand_registrations_come_and_go_in_a_stream_of_news)
{
	pthread_t thread;
	unsigned heard_something = 0;

	listen_with(b, &b->fence, 0);
	pthread_create(&thread, NULL, say_all_the_time, b);
	for (int i = 0; i < 1000; i++) {
		struct receiver *rx = calloc(1,
					     sizeof(*rx)); /* freed at once: latecomers are seen */
		unsigned flags = (i % 2 ? b->variant->flags : 0) | (i % 3 ? 0 : PSB_TELL_PRESENT);

		receiver_init(rx);
		listen_with(b, rx, flags);
		if (i % 10 == 0)
			AWAIT(rx, rx->calls > 0);
		assert_int_equal(psb_registration_remove(rx->registration), 0);
		heard_something += rx->calls > 0;
		assert_int_equal(rx->inside, 0);
		receiver_destroy(rx);
		free(rx);
	}
	note_done(&b->fence, 0);
	pthread_join(thread, NULL);
	assert_true(heard_something >= 100);
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void give_up_everything_when_told_to(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	wait_until_opened(rx);
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
}

/* Somebody waits for the callback to end, and the callback gives up the last references meanwhile. */
INLINE_TOO(whoever_waits_for_a_removal_outlives_the_last_reference)
{
	for (int i = 0; i < 5; i++) {
		struct bench *b = bench_new(state);

		b->rx.act = give_up_everything_when_told_to;
		enter_call(b);
		wait_for_call(b, remove_it);
		b->watch = NULL;
		b->bridge = NULL;
		bench_free(b);
	}
}
