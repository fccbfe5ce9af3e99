/* SPDX-License-Identifier: MIT */
/*
 * test-loop-time.c - deadlines, threads and idleness of the loop (src/kernel/loop.h), on each
 * engine
 *
 * Operations are in test-loop.c, foreign loops, choice and end in test-loop-life.c.
 */
#include "loop-variants.h"
#include "../../threads.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

/* ---- timers ------------------------------------------------------------------------------- */

struct clock {
	struct loop_timer timer; /* first: callbacks cast */
	struct loop *loop;
	int calls;
};

static void expired(struct loop_timer *timer, uint64_t now)
{
	struct clock *clock = (struct clock *)timer;

	assert_false(timer->queued);
	assert_true(now >= timer->deadline_usec);
	clock->calls++;
}

static uint64_t latest_usec;

static void expired_in_order(struct loop_timer *timer, uint64_t now)
{
	assert_true(timer->deadline_usec >= latest_usec);
	assert_true(timer->deadline_usec <= now);
	latest_usec = timer->deadline_usec;
	((struct clock *)timer)->calls++;
}

PROMISE(ten_thousand_timers_expire_in_order_and_none_early)
{
	enum { MANY = 10000 };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct clock *clocks = calloc(MANY, sizeof(*clocks));
	uint64_t last_usec = 0;
	unsigned seed = 1;
	int n = 0;

	assert_non_null(clocks);
	latest_usec = 0;
	/* The past is as good as the future, and does not have to be waited for: 0 is 1970. */
	for (int i = 0; i < 3 * MANY; i++) {
		struct clock *clock = &clocks[i < MANY ? i : rand_r(&seed) % MANY];

		clock->timer.expired = expired_in_order;
		if (i >= MANY && rand_r(&seed) % 3 == 0) /* stopped, perhaps for the second time */
			loop_timer_stop(loop, &clock->timer);
		else if (i >= MANY && rand_r(&seed) % 5 == 0)
			loop_timer_set(loop, &clock->timer, USEC_NEVER);
		else
			loop_timer_set(loop, &clock->timer, (uint64_t)rand_r(&seed) % 50000);
	}
	for (int i = 0; i < MANY; i++) {
		if (clocks[i].timer.queued)
			last_usec = MAX(last_usec, clocks[i].timer.deadline_usec);
		n += clocks[i].timer.queued;
	}
	assert_int_equal(loop_dispatch(loop, USEC_NEVER), n);
	assert_int_equal(latest_usec, last_usec);
	for (int i = 0; i < MANY; i++)
		assert_true(clocks[i].calls <= 1 && !clocks[i].timer.queued);

	clocks[0].calls = 0;
	loop_timer_set(loop, &clocks[0].timer, now_usec() + 20 * USEC_PER_MSEC);
	run_until(loop, &clocks[0].calls, 1);
	free(clocks);
}

static void expired_again(struct loop_timer *timer, uint64_t now)
{
	struct clock *clock = (struct clock *)timer;

	expired(timer, now);
	loop_timer_set(clock->loop, timer, 0);
}

PROMISE(a_timer_that_always_wants_now_cannot_hold_the_loop)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct clock greedy = { .timer.expired = expired_again, .loop = loop };
	struct clock other = { .timer.expired = expired };

	loop_timer_set(loop, &greedy.timer, 0);
	loop_timer_set(loop, &other.timer, 1);
	for (int i = 1; i <= 5; i++) {
		assert_true(loop_dispatch(loop, USEC_NEVER) >= 1);
		assert_int_equal(greedy.calls, i);
		assert_int_equal(other.calls, 1);
	}
	/* Stopped when it was set anew, it is not there any more. */
	loop_timer_stop(loop, &greedy.timer);
	assert_int_equal(run_for(loop, 1), 0);
}

PROMISE(dispatch_waits_until_the_time_that_was_asked_for)
{
	static const unsigned usec[] = { 1, 300, 1000, 1500, 20000 };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);

	for (size_t i = 0; i < ELEMENTSOF(usec); i++) {
		uint64_t until_usec = now_usec() + usec[i];
		int passes = 0;

		for (; now_usec() < until_usec; passes++)
			assert_int_equal(loop_dispatch(loop, until_usec), 0);
		assert_true(passes <= 2);
	}
	assert_int_equal(loop_dispatch(loop, 0), 0);
}

/* ---- threads ------------------------------------------------------------------------------ */

static struct loop *wake_loop;
static int work_result;

static void on_signal(int number)
{
	(void)number;
	loop_wake(wake_loop);
}

static void work_wakes(struct loop_work *work)
{
	(void)work;
	loop_wake(wake_loop);
	work_result++;
}

PROMISE(a_wake_from_a_signal_handler_or_a_callback_is_not_lost)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct loop_work work = { .run = work_wakes };
	uint64_t until_usec = now_usec() + PATIENCE_USEC;

	wake_loop = loop;
	work_result = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
	for (int i = 1; i <= 5; i++) {
		/* Before the wait, where EINTR cannot help. */
		assert_int_equal(raise(SIGUSR1), 0);
		assert_int_equal(loop_dispatch(loop, USEC_NEVER), 0);
		/* Without DEFER_TASKRUN the loop hears of it in the same pass, and still has to come back. */
		loop_post(loop, &work);
		while (work_result < i)
			assert_true(loop_dispatch(loop, until_usec) >= 0);
		assert_true(loop_dispatch(loop, until_usec) >= 0);
		assert_true(now_usec() < until_usec);
	}
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

struct waker {
	struct loop *loop;
	atomic_int go, seen;
};

static void *waker_thread(void *userdata)
{
	struct waker *waker = userdata;

	for (int i = 1; i <= 2000; i++) {
		atomic_store(&waker->go, i);
		loop_wake(waker->loop);
		while (atomic_load(&waker->seen) < i)
			sched_yield();
	}
	return NULL;
}

PROMISE(every_wake_ends_a_wait)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct waker waker = { .loop = loop };
	pthread_t thread;

	/* The waker does not go on before we saw it: a lost wake would be a wait for ever. */
	assert_int_equal(pthread_create(&thread, NULL, waker_thread, &waker), 0);
	while (atomic_load(&waker.seen) < 2000) {
		assert_int_equal(loop_dispatch(loop, USEC_NEVER), 0);
		atomic_store(&waker.seen, atomic_load(&waker.go));
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
}

enum { POSTERS = 4, POSTS = 2000 };

struct post {
	struct loop_work work; /* first: callbacks cast */
	int poster, number;
};

static struct post posts[POSTERS][POSTS];
static int posts_run[POSTERS], all_posts_run; /* by the loop's thread only */

static void post_run(struct loop_work *work)
{
	struct post *post = (struct post *)work;

	assert_int_equal(post->number, posts_run[post->poster]++);
	all_posts_run++;
}

static void *poster_thread(void *of)
{
	for (int i = 0; i < POSTS; i++)
		loop_post(wake_loop, &((struct post *)of)[i].work);
	return NULL;
}

PROMISE(work_from_four_threads_runs_once_and_in_order)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	pthread_t threads[POSTERS];

	wake_loop = loop;
	memset(posts_run, 0, sizeof(posts_run));
	all_posts_run = 0;
	for (int i = 0; i < POSTERS; i++) {
		for (int n = 0; n < POSTS; n++)
			posts[i][n] = (struct post){ { .run = post_run }, i, n };
		assert_int_equal(pthread_create(&threads[i], NULL, poster_thread, posts[i]), 0);
	}
	run_until(loop, &all_posts_run, POSTERS * POSTS);
	for (int i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(run_for(loop, USEC_PER_MSEC), 0);
}

static void work_dispatches(struct loop_work *work)
{
	(void)work;
	work_result = loop_dispatch(wake_loop, 0);
}

PROMISE(only_the_first_thread_and_no_callback_may_dispatch)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct loop_work work = { .run = work_dispatches };

	wake_loop = loop;
	loop_post(loop, &work);
	assert_int_equal(loop_dispatch(loop, 0), 1);
	assert_int_equal(work_result, -EBUSY);
	assert_int_equal(dispatch_elsewhere(loop), -EXDEV);
}

/* ---- idle --------------------------------------------------------------------------------- */

struct idler {
	struct loop *loop;
	atomic_int tid, done;
};

static void *idle_thread(void *userdata)
{
	struct idler *idler = userdata;
	struct clock clock = { .timer.expired = expired };

	/* A deadline that came and went must not leave anything behind. */
	loop_timer_set(idler->loop, &clock.timer, now_usec() + 10 * USEC_PER_MSEC);
	assert_true(loop_dispatch(idler->loop, 0) >= 0);
	loop_timer_stop(idler->loop, &clock.timer);
	atomic_store(&idler->tid, (int)syscall(SYS_gettid));
	while (!atomic_load(&idler->done))
		assert_true(loop_dispatch(idler->loop, USEC_NEVER) >= 0);
	return NULL;
}

static long switches_of(pid_t tid)
{
	return (long)(thread_switches(tid) +
		      thread_number(tid, "status", "nonvoluntary_ctxt_switches:", 10));
}

/* The least of many looks, so that what the rest of the machine does matters little. */
static long least_blocked(void)
{
	long least = INT32_MAX;

	for (int i = 0; i < 60; i++) {
		least = MIN(least, (long)proc_number("/proc/stat", "procs_blocked ", 10));
		poll(NULL, 0, 5); /* 0.3 s in all: as long as nothing may wake up */
	}
	return least;
}

PROMISE(an_idle_loop_makes_no_system_call_and_waits_for_no_disk)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct idler idler = { .loop = loop };
	struct loop_op polls = { 0 }, reads = { 0 };
	long switches, now_blocked, blocked = least_blocked();
	pthread_t thread;

	SOCKETS(fds, SOCK_STREAM);
	assert_int_equal(loop_poll(loop, &polls, fds[0], POLLPRI, ignore), 0);
	assert_int_equal(loop_poll(loop, &reads, fds[1], POLLIN, ignore), 0);
	assert_int_equal(pthread_create(&thread, NULL, idle_thread, &idler), 0);
	while (!atomic_load(&idler.tid))
		sched_yield();
	/* Until it has gone to sleep, and neighbours wait for the disk no more than before. A thread that sleeps again and again is
	 * switched away from in each round; one that waits as if for a disk is in each look. */
	for (int rounds = 0;; rounds++) {
		assert_true(rounds < 100);
		switches = switches_of(atomic_load(&idler.tid));
		now_blocked = least_blocked();
		if (now_blocked <= blocked && switches_of(atomic_load(&idler.tid)) == switches)
			break;
	}
	atomic_store(&idler.done, 1);
	loop_wake(loop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	loop = loop_free(loop);
}
