/* SPDX-License-Identifier: MIT */
/*
 * test-watch.c - sources that the test speaks through, their ends, and the questions one may ask a
 * watch
 */
#include "library-bench.h"

#include <sys/resource.h>

/* ---- helpers --------------------------------------------------------------------------------- */

/* Its peer is there. */
static struct bench *bench_with_socket(void **state, unsigned rungs)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));
	int listener = listen_at(options.source);
	struct bench *b;

	options.rungs = rungs;
	if (rungs == 0)
		be_deaf(&options);
	b = bench_with(state, &options, PSB_TELL_SOURCE);
	b->listener = listener;
	b->peer = accept_soon(listener);
	return b;
}

static void lose_peer(struct bench *b)
{
	close(b->listener);
	close(b->peer);
	b->listener = b->peer = -1;
}

static void peer_comes_back(struct bench *b)
{
	b->listener = listen_at(in_directory("socket"));
	b->peer = accept_soon(b->listener);
}

/* What the process computed during a glance, in percent of one processor. */
static unsigned busy_percent(void)
{
	uint64_t cpu = clock_usec(CLOCK_PROCESS_CPUTIME_ID), wall = clock_usec(CLOCK_MONOTONIC);

	usleep(150 * 1000);
	cpu = clock_usec(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = clock_usec(CLOCK_MONOTONIC) - wall;
	return (unsigned)(cpu * 100 / wall);
}

#define IDLE_PERCENT 20 /* sanitizers included; a spin is 50 and more */

/* ---- FIFO ---------------------------------------------------------------------------------- */

PROMISE(low_is_always_followed_by_neutral_and_high)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct bench *b = bench_with(state, &options, 0);
	int fd = open_fifo("fifo");

	assert_int_equal(write(fd, "x", 1), 1);
	AWAIT(&b->rx, b->rx.calls == 3);
	assert_received(b, 0, PSB_LOW, PSB_REASON_SIGNAL);
	assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
	assert_received(b, 2, PSB_HIGH, PSB_REASON_CALM);
	assert_true(received(&b->rx, 1).time_usec - received(&b->rx, 0).time_usec >=
		    options.quiet_usec);
	assert_true(received(&b->rx, 2).time_usec - received(&b->rx, 0).time_usec >=
		    options.calm_usec);

	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	AWAIT(&b->rx, b->rx.calls == 6);
	assert_received(b, 3, PSB_LOW, PSB_REASON_SIMULATED);
	assert_int_equal(received(&b->rx, 3).critical, 1);
	assert_received(b, 5, PSB_HIGH, PSB_REASON_CALM);
	close(fd);
}

PROMISE(a_burst_of_100000_bytes_is_one_low)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct bench *b = bench_with(state, &options, 0);
	static char burst[100000];
	int fd = open_fifo("fifo");

	assert_int_equal(fcntl(fd, F_SETFL, 0),
			 0); /* longer than a pipe: our reader must empty it */
	/* in pieces perhaps: the end of an io_uring interrupts system calls of the thread that made it */
	for (size_t done = 0; done < sizeof(burst);) {
		ssize_t n = write(fd, burst + done, sizeof(burst) - done);

		assert_true(n > 0 || errno == EINTR);
		done += n > 0 ? (size_t)n : 0;
	}
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	assert_int_equal(b->rx.calls, 3);
	assert_int_equal(stats_of(b).low, 1);
	assert_int_equal(stats_of(b).neutral, 1);
	assert_int_equal(stats_of(b).high, 1);
	assert_int_equal(stats_of(b).callbacks, 3);
	assert_true(stats_of(b).alarms >= 1);
	close(fd);
}

PROMISE(when_a_fifos_writer_goes_nothing_spins_and_the_next_one_is_heard)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct bench *b = bench_with(state, &options, 0);

	for (unsigned i = 0; i < 2; i++) {
		int fd = open_fifo("fifo");

		assert_int_equal(write(fd, "x", 1), 1);
		AWAIT(&b->rx, b->rx.calls >= 3 * i + 1);
		close(fd);
		AWAIT(&b->rx, b->rx.calls == 3 * i + 3);
		assert_int_equal(received(&b->rx, 3 * i).available, PSB_LOW);
	}
	assert_true(busy_percent() < IDLE_PERCENT);
}

/* ---- sockets ------------------------------------------------------------------------------- */

PROMISE(each_byte_of_a_socket_is_heard_and_what_was_to_be_written_arrives)
{
	static const char trigger[] = "some 200000 2000000";
	struct psb_watch_options options = quick_options(in_directory("socket"));
	int listener = listen_at(options.source), peer;
	struct bench *b;
	char buf[64];

	options.source_write = trigger;
	options.source_write_size = sizeof(trigger);
	options.quiet_usec = options.calm_usec = LONG_USEC;
	options.rearm_usec = 1;
	b = bench_with(state, &options, PSB_INLINE);
	peer = accept_soon(listener);
	assert_int_equal(recv(peer, buf, sizeof(buf), 0), sizeof(trigger));
	assert_memory_equal(buf, trigger, sizeof(trigger));
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(send(peer, "x", 1, 0), 1);
		/* an inline call that takes microseconds may swallow a repeat that comes within 20 times that */
		AWAIT_SEEN(stats_of(b).low >= i);
	}
	assert_received(b, 0, PSB_LOW, PSB_REASON_SIGNAL);
	assert_string_equal(source_of(b->watch).name, "socket");
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source_of(b->watch).path, options.source);
	bench_free(b);
	assert_int_equal(recv(peer, buf, sizeof(buf), 0), 0); /* and the end is an end */
	close(peer);
	close(listener);
}

PROMISE(when_the_peer_closes_nothing_spins_and_it_is_heard_again_when_it_is_back)
{
	struct bench *b = bench_with_socket(state, PSB_RUNG_MASK(PSB_RUNG_PROTOCOL));

	listen_with(b, &b->fence, PSB_INLINE); /* does not ask to be told of sources */
	lose_peer(b);
	assert_true(busy_percent() < IDLE_PERCENT);
	assert_int_equal(READ(&b->rx, calls), 0); /* the end of a file is no pressure */

	peer_comes_back(b);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_SOURCE);
	assert_int_equal(send(b->peer, "x", 1, 0), 1);
	AWAIT(&b->rx, b->rx.calls == 4);
	assert_int_equal(received(&b->rx, 1).available, PSB_LOW);
	assert_int_equal(received(&b->rx, 3).available, PSB_HIGH);
	AWAIT(&b->fence, b->fence.calls == 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(received(&b->fence, i).kind, PSB_KIND_LEVEL);
}

PROMISE(while_the_peer_is_away_the_own_ladder_is_watched_if_that_is_allowed)
{
	struct bench *b;

	need_another_rung(state);
	b = bench_with_socket(state, 0);
	assert_int_equal(send(b->peer, "x", 1, 0), 1);
	AWAIT(&b->rx, b->rx.calls > 0);
	lose_peer(b);
	AWAIT(&b->rx, of_kind(&b->rx, PSB_KIND_SOURCE) == 1);
	assert_int_not_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	/* who was Low when it broke is not left so */
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));

	peer_comes_back(b);
	AWAIT(&b->rx, of_kind(&b->rx, PSB_KIND_SOURCE) == 2);
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
}

/* The program was started before the daemon. */
PROMISE(a_listener_that_comes_later_is_found)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));
	struct bench *b;

	need_another_rung(state);
	close(listen_at(options.source)); /* its file stays */
	be_deaf(&options);
	b = bench_with(state, &options, PSB_TELL_SOURCE);
	assert_int_not_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	peer_comes_back(b);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_SOURCE);
	assert_string_equal(source_of(b->watch).name, "socket");
}

/* ---- a watch that ends together with its source -------------------------------------------- */

/* Driven by us, so that the loop finds both at once. */
PROMISE(a_watch_may_be_given_up_while_its_peer_closes)
{
	for (int i = 0; i < 10; i++) {
		struct psb_watch_options options = quick_options(in_directory("socket"));
		psb_bridge *bridge = make_bridge(*state);
		int listener = listen_at(options.source), peer;
		psb_watch *watch;

		if (i % 2)
			be_deaf(&options);
		assert_int_equal(psb_watch_new(bridge, &options, &watch), 0);
		peer = accept_soon(listener);
		while (psb_bridge_dispatch(bridge) > 0)
			;
		psb_watch_unref(watch);
		close(peer);
		close(listener);
		for (int k = 0; k < 10; k++)
			assert_true(psb_bridge_dispatch(bridge) >= 0);
		psb_bridge_unref(bridge);
	}
}

PROMISE(questions_are_answered_or_refused)
{
	struct psb_stats stats = { .size = sizeof(stats) };
	struct psb_load load = { .size = sizeof(load) };
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch = watch_fifo(bridge, LONG_USEC);

	assert_int_equal(psb_watch_load(watch, &load), 0);
	assert_true(load.limit_bytes > 0);
	assert_true(load.percent <= 100);
	assert_true(load.available_bytes <= load.limit_bytes);
	assert_int_equal(psb_watch_stats(NULL, &stats), -EINVAL);
	assert_int_equal(psb_watch_stats(watch, NULL), -EINVAL);
	assert_int_equal(psb_watch_source(watch, NULL), -EINVAL);
	assert_int_equal(psb_watch_load(NULL, &load), -EINVAL);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
}

/* ---- many ------------------------------------------------------------------------------------ */

#define TRIGGERS (PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) | PSB_RUNG_MASK(PSB_RUNG_TRIGGER))

/* Closing a PSI trigger takes 9 to 20 ms, so descriptors last only if making watches waits for it. */
static void make_and_give_up(psb_bridge *bridge, unsigned count)
{
	struct psb_watch_options options = { .size = sizeof(options) };
	struct rlimit before, few;

	be_deaf(&options);
	options.rungs = TRIGGERS;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 100;
	setrlimit(RLIMIT_NOFILE, &few);
	for (unsigned i = 0; i < count; i++) {
		psb_watch *watch = NULL;
		int r = psb_watch_new(bridge, &options, &watch);

		psb_watch_unref(watch);
		if (r < 0) {
			setrlimit(RLIMIT_NOFILE, &before);
			fail_msg("watch %u: %s", i, strerror(-r));
		}
	}
	setrlimit(RLIMIT_NOFILE, &before);
}

PROMISE(watches_made_and_given_up_without_end_leave_descriptors)
{
	psb_bridge *bridge = make_bridge(*state);

	if (!can_watch_own_cgroup(bridge, TRIGGERS)) {
		psb_bridge_unref(bridge);
		SKIP("no trigger can be set in this process's cgroup");
	}
	make_and_give_up(bridge, 80); /* it has no driver yet */
	assert_int_equal(psb_bridge_start(bridge), 0);
	make_and_give_up(bridge, 80);
	psb_bridge_unref(bridge);

	bridge = make_bridge(*state);
	assert_true(psb_bridge_fd(bridge) >= 0); /* a driver that is busy with this */
	make_and_give_up(bridge, 80);
	psb_bridge_unref(bridge);
}
