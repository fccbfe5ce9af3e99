/* SPDX-License-Identifier: MIT */
/*
 * test-watch.c - sources that the test speaks through, their ends, and the questions one may ask a
 * watch
 */
#include "../unit.h"
#include "library-bench.h"

#include <sys/resource.h>

/* ---- helpers --------------------------------------------------------------------------------- */

static int open_fifo(void)
{
	int fd = open(in_directory("fifo"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* A bridge that runs, a watch that ends Low and Neutral after 100 ms, an ear. */
struct setup {
	psb_bridge *bridge;
	psb_watch *watch;
	struct ear ear;
	int listener, peer;
};

/* On our own cgroup: so that real pressure, of whatever runs beside us, stays under every
 * threshold. */
static void be_deaf(struct psb_watch_options *options)
{
	options->rungs = 0;
	options->early = options->low = "some 10s/10s";
	options->critical = "full 10s/10s";
}

static void set_up(struct setup *s, void **state, const struct psb_watch_options *options,
		   unsigned flags)
{
	s->bridge = make_bridge(*state);
	ear_init(&s->ear);
	assert_int_equal(psb_watch_new(s->bridge, options, &s->watch), 0);
	assert_int_equal(psb_watch_add_callback(s->watch, hear, &s->ear, flags, NULL), 0);
	assert_int_equal(psb_bridge_start(s->bridge), 0);
}

static void set_up_socket(struct setup *s, void **state, unsigned rungs)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));

	options.rungs = rungs;
	if (rungs == 0)
		be_deaf(&options);
	s->listener = listen_at(options.source);
	set_up(s, state, &options, PSB_TELL_SOURCE);
	s->peer = accept_soon(s->listener);
}

static void tear_down(struct setup *s)
{
	psb_watch_unref(s->watch);
	psb_bridge_unref(s->bridge);
	ear_destroy(&s->ear);
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

/* ---- FIFO
 * ------------------------------------------------------------------------------------------ */

PROMISE(low_is_always_followed_by_neutral_and_high)
{
	struct psb_watch_options options = quick_options(in_directory("fifo"));
	static struct setup s;
	int fd;

	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	set_up(&s, state, &options, 0);
	fd = open_fifo();
	assert_int_equal(write(fd, "x", 1), 1);
	AWAIT(&s.ear, s.ear.calls == 3);
	assert_int_equal(heard(&s.ear, 0).available, PSB_LOW);
	assert_int_equal(heard(&s.ear, 0).reason, PSB_REASON_SIGNAL);
	assert_int_equal(heard(&s.ear, 1).available, PSB_NEUTRAL);
	assert_int_equal(heard(&s.ear, 1).reason, PSB_REASON_CALM);
	assert_int_equal(heard(&s.ear, 2).available, PSB_HIGH);
	assert_int_equal(heard(&s.ear, 2).reason, PSB_REASON_CALM);
	assert_true(heard(&s.ear, 1).time_usec - heard(&s.ear, 0).time_usec >= options.quiet_usec);
	assert_true(heard(&s.ear, 2).time_usec - heard(&s.ear, 0).time_usec >= options.calm_usec);

	assert_int_equal(psb_watch_simulate(s.watch, PSB_LOW, 1), 0);
	AWAIT(&s.ear, s.ear.calls == 6);
	assert_int_equal(heard(&s.ear, 3).reason, PSB_REASON_SIMULATED);
	assert_int_equal(heard(&s.ear, 3).critical, 1);
	assert_int_equal(heard(&s.ear, 5).available, PSB_HIGH);
	close(fd);
	tear_down(&s);
}

PROMISE(a_burst_of_100000_bytes_is_one_low)
{
	struct psb_watch_options options = quick_options(in_directory("fifo"));
	struct psb_stats stats = { .size = sizeof(stats) };
	static char burst[100000];
	static struct setup s;
	int fd;

	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	set_up(&s, state, &options, 0);
	fd = open_fifo();
	assert_int_equal(fcntl(fd, F_SETFL, 0),
			 0); /* it is longer than a pipe: our reader must empty it */
	/* in pieces perhaps: the end of an io_uring interrupts system calls of the thread that made
	 * it */
	for (size_t done = 0; done < sizeof(burst);) {
		ssize_t n = write(fd, burst + done, sizeof(burst) - done);

		assert_true(n > 0 || errno == EINTR);
		done += n > 0 ? (size_t)n : 0;
	}
	AWAIT(&s.ear, last_is(&s.ear, PSB_HIGH));
	assert_int_equal(s.ear.calls, 3);
	assert_int_equal(psb_watch_stats(s.watch, &stats), 0);
	assert_int_equal(stats.low, 1);
	assert_int_equal(stats.neutral, 1);
	assert_int_equal(stats.high, 1);
	assert_int_equal(stats.callbacks, 3);
	assert_true(stats.alarms >= 1);
	close(fd);
	tear_down(&s);
}

PROMISE(when_a_fifos_writer_goes_nothing_spins_and_the_next_one_is_heard)
{
	struct psb_watch_options options = quick_options(in_directory("fifo"));
	static struct setup s;

	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	set_up(&s, state, &options, 0);
	for (unsigned i = 0; i < 2; i++) {
		int fd = open_fifo();

		assert_int_equal(write(fd, "x", 1), 1);
		AWAIT(&s.ear, s.ear.calls >= 3 * i + 1);
		close(fd);
		AWAIT(&s.ear, s.ear.calls == 3 * i + 3);
		assert_int_equal(heard(&s.ear, 3 * i).available, PSB_LOW);
	}
	assert_true(busy_percent() < IDLE_PERCENT);
	tear_down(&s);
}

/* ---- sockets
 * ----------------------------------------------------------------------------------------- */

PROMISE(each_byte_of_a_socket_is_heard_and_what_was_to_be_written_arrives)
{
	static const char trigger[] = "some 200000 2000000";
	struct psb_watch_options options = quick_options(in_directory("socket"));
	static struct setup s;
	char buf[64];

	options.source_write = trigger;
	options.source_write_size = sizeof(trigger);
	options.quiet_usec = options.calm_usec = LONG_USEC;
	options.rearm_usec = 1;
	s.listener = listen_at(options.source);
	set_up(&s, state, &options, PSB_INLINE);
	s.peer = accept_soon(s.listener);
	assert_int_equal(recv(s.peer, buf, sizeof(buf), 0), sizeof(trigger));
	assert_memory_equal(buf, trigger, sizeof(trigger));
	for (unsigned i = 1; i <= 3; i++) {
		struct psb_stats stats = { .size = sizeof(stats) };

		assert_int_equal(send(s.peer, "x", 1, 0), 1);
		/* an inline call that takes microseconds may swallow a repeat that comes within 20
		 * times that */
		do {
			assert_int_equal(psb_watch_stats(s.watch, &stats), 0);
		} while (stats.low < i);
	}
	assert_int_equal(heard(&s.ear, 0).reason, PSB_REASON_SIGNAL);
	assert_string_equal(source_of(s.watch).name, "socket");
	assert_int_equal(source_of(s.watch).rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source_of(s.watch).path, options.source);
	tear_down(&s);
	assert_int_equal(recv(s.peer, buf, sizeof(buf), 0), 0); /* and the end is an end */
	close(s.peer);
	close(s.listener);
}

PROMISE(when_the_peer_closes_nothing_spins_and_it_is_heard_again_when_it_is_back)
{
	static struct setup s;
	static struct ear other; /* did not ask to be told of sources */

	set_up_socket(&s, state, PSB_RUNG_MASK(PSB_RUNG_PROTOCOL));
	ear_init(&other);
	assert_int_equal(psb_watch_add_callback(s.watch, hear, &other, PSB_INLINE, NULL), 0);
	close(s.listener);
	close(s.peer);
	assert_true(busy_percent() < IDLE_PERCENT);
	assert_int_equal(READ(&s.ear, calls), 0); /* the end of a file is no pressure */

	s.listener = listen_at(in_directory("socket"));
	s.peer = accept_soon(s.listener);
	AWAIT(&s.ear, s.ear.calls == 1);
	assert_int_equal(heard(&s.ear, 0).kind, PSB_KIND_SOURCE);
	assert_int_equal(send(s.peer, "x", 1, 0), 1);
	AWAIT(&s.ear, s.ear.calls == 4);
	assert_int_equal(heard(&s.ear, 1).available, PSB_LOW);
	assert_int_equal(heard(&s.ear, 3).available, PSB_HIGH);
	AWAIT(&other, other.calls == 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(heard(&other, i).kind, PSB_KIND_LEVEL);
	tear_down(&s);
	ear_destroy(&other);
	close(s.peer);
	close(s.listener);
}

PROMISE(while_the_peer_is_away_the_own_ladder_is_watched_if_that_is_allowed)
{
	static struct setup s;

	s.bridge = make_bridge(*state);
	if (!can_watch_own_cgroup(s.bridge, ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL))) {
		psb_bridge_unref(s.bridge);
		SKIP("no memory.pressure of our cgroup or the machine can be read");
	}
	psb_bridge_unref(s.bridge);
	set_up_socket(&s, state, 0);
	close(s.listener);
	close(s.peer);
	AWAIT(&s.ear, s.ear.calls == 1);
	assert_int_equal(heard(&s.ear, 0).kind, PSB_KIND_SOURCE);
	assert_int_not_equal(heard(&s.ear, 0).available, PSB_LOW);
	assert_int_not_equal(source_of(s.watch).rung, PSB_RUNG_PROTOCOL);

	s.listener = listen_at(in_directory("socket"));
	s.peer = accept_soon(s.listener);
	AWAIT(&s.ear, s.ear.calls == 2);
	assert_int_equal(heard(&s.ear, 1).kind, PSB_KIND_SOURCE);
	assert_int_equal(source_of(s.watch).rung, PSB_RUNG_PROTOCOL);
	tear_down(&s);
	close(s.peer);
	close(s.listener);
}

/* The program was started before the daemon. */
PROMISE(a_listener_that_comes_later_is_found)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));
	static struct setup s;

	s.bridge = make_bridge(*state);
	if (!can_watch_own_cgroup(s.bridge, ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL))) {
		psb_bridge_unref(s.bridge);
		SKIP("no memory.pressure of our cgroup or the machine can be read");
	}
	psb_bridge_unref(s.bridge);
	close(listen_at(options.source)); /* its file stays */
	be_deaf(&options);
	set_up(&s, state, &options, PSB_TELL_SOURCE);
	assert_int_not_equal(source_of(s.watch).rung, PSB_RUNG_PROTOCOL);
	s.listener = listen_at(options.source);
	s.peer = accept_soon(s.listener);
	AWAIT(&s.ear, s.ear.calls == 1);
	assert_int_equal(heard(&s.ear, 0).kind, PSB_KIND_SOURCE);
	assert_string_equal(source_of(s.watch).name, "socket");
	tear_down(&s);
	close(s.peer);
	close(s.listener);
}

/* ---- a watch that ends together with its source
 * --------------------------------------------------- */

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

/* ---- a cgroup that goes
 * ------------------------------------------------------------------------------- */

PROMISE(a_removed_cgroup_ends_its_watch_with_one_notice)
{
	struct psb_watch_options options = quick_options(NULL);
	struct psb_load load = { .size = sizeof(load) };
	char path[300];
	static struct setup s;

	snprintf(path, sizeof(path), "%.200s/psb-test-watch-gone-%d", cgroup2_mount(),
		 (int)getpid());
	if (!cgroup2_mount()[0] || mkdir(path, 0755) < 0)
		SKIP("no cgroup can be made here");
	options.rungs = 0;
	options.cgroup = path;
	set_up(&s, state, &options, 0);
	assert_int_equal(psb_watch_simulate(s.watch, PSB_LOW, 0), 0);
	AWAIT(&s.ear, s.ear.calls == 1);
	assert_int_equal(rmdir(path), 0);
	AWAIT(&s.ear, s.ear.heard[(s.ear.calls - 1) % HEARD_MAX].kind == PSB_KIND_GONE);
	assert_int_equal(heard(&s.ear, s.ear.calls - 1).reason, PSB_REASON_GONE);
	assert_int_not_equal(heard(&s.ear, s.ear.calls - 1).available, PSB_LOW);
	assert_int_not_equal(psb_watch_available(s.watch, NULL), PSB_LOW);
	assert_int_equal(psb_watch_simulate(s.watch, PSB_LOW, 0), -ENODEV);
	tear_down(&s);
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
