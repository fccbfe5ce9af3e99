/* SPDX-License-Identifier: MIT */
/*
 * test-bridge.c - backends, who drives the loop, fork, and every order in which things may end
 *
 * Each way to wait for a bridge's descriptor is tried in tests/integration/test-driving.c.
 */
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "library-bench.h"

/* ---- making one ---------------------------------------------------------------------------- */

PROMISE(the_backend_is_the_hosts_choice_or_else_the_environments)
{
	static const struct {
		const char *text;
		bool good;
		enum psb_backend backend;
	} rows[] = {
		{ "epoll", true, PSB_BACKEND_EPOLL },
		{ "uring", true, PSB_BACKEND_URING },
		{ "auto", true, 0 },
		{ "", true, 0 },
		{ "nonsense", false, 0 },
		{ "EPOLL", false, 0 },
		{ "epoll ", false, 0 },
	};
	enum psb_backend wanted = ((const struct variant *)*state)->backend;
	psb_bridge *bridge;
	const char *why;

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		setenv("PSIBRIDGE_BACKEND", rows[i].text, 1);
		bridge = make_bridge(*state); /* or skip */
		assert_int_equal(psb_bridge_backend(bridge, &why), wanted);
		assert_int_equal(psb_bridge_backend(bridge, NULL), wanted);
		assert_int_equal(*why == '\0', wanted == PSB_BACKEND_URING);
		psb_bridge_unref(bridge);
		if (rows[i].backend == PSB_BACKEND_URING && wanted != PSB_BACKEND_URING)
			continue; /* may be denied */
		bridge = NULL;
		assert_int_equal(psb_bridge_new(NULL, &bridge), rows[i].good ? 0 : -EINVAL);
		if (rows[i].backend)
			assert_int_equal(psb_bridge_backend(bridge, NULL), rows[i].backend);
		psb_bridge_unref(bridge);
	}
}

PROMISE(a_forbidden_io_uring_is_told_and_auto_does_without)
{
	const char *denied = getenv("PSIBRIDGE_TEST_DENIED"), *why;
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = PSB_BACKEND_URING };
	psb_bridge *bridge;

	if (!denied)
		SKIP("io_uring is not forbidden here (tests/deny-io-uring does)");
	assert_int_equal(psb_bridge_new(&options, &bridge),
			 strcmp(denied, "EPERM") == 0 ? -EPERM : -ENOSYS);
	assert_int_equal(psb_bridge_new(NULL, &bridge), 0);
	assert_int_equal(psb_bridge_backend(bridge, &why), PSB_BACKEND_EPOLL);
	assert_string_not_equal(why, "");
	psb_bridge_unref(bridge);
}

PROMISE(what_makes_no_sense_is_refused_and_nothing_is_something_too)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = (enum psb_backend)7 };
	psb_bridge *bridge = (psb_bridge *)1;
	const char *why = NULL;

	assert_int_equal(psb_bridge_new(&options, &bridge), -EINVAL);
	assert_ptr_equal(bridge, (psb_bridge *)1);
	assert_int_equal(psb_bridge_new(&options, NULL), -EINVAL);
	assert_null(psb_bridge_unref(NULL));
	assert_null(psb_watch_unref(NULL));
	assert_null(psb_watch_ref(NULL));
	assert_int_equal(psb_bridge_start(NULL), -EINVAL);
	assert_int_equal(psb_bridge_fd(NULL), -EINVAL);
	assert_int_equal(psb_bridge_dispatch(NULL), -EINVAL);
	assert_int_equal(psb_bridge_backend(NULL, &why), PSB_BACKEND_AUTO);
	assert_string_equal(why, "");
	assert_int_equal(psb_watch_new(NULL, NULL, NULL), -EINVAL);
	assert_string_equal(psb_version(), "0.2.0");
}

/* Whatever is the first thing that cannot be had: an error, and nothing is left behind. */
PROMISE(too_few_descriptors_are_an_error_and_nothing_leaks)
{
	struct psb_bridge_options options = { .size = sizeof(options) };
	struct psb_watch_options w = { .size = sizeof(w), .source = make_fifo("fifo") };
	struct rlimit before, few;
	int r = -1;

	options.backend = ((const struct variant *)*state)->backend;
	psb_bridge_unref(make_bridge(*state)); /* or skip */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned more = 0; r < 0; more++) {
		psb_bridge *bridge = NULL;
		psb_watch *watch = NULL;
		int fd = dup(0), n = count_descriptors();

		close(fd);
		few = before;
		few.rlim_cur = (rlim_t)fd + more;
		setrlimit(RLIMIT_NOFILE, &few);
		r = psb_bridge_new(&options, &bridge);
		if (r == 0)
			r = psb_bridge_fd(bridge);
		if (r >= 0)
			r = psb_watch_new(bridge, &w, &watch);
		psb_watch_unref(watch);
		psb_bridge_unref(bridge);
		setrlimit(RLIMIT_NOFILE, &before);
		assert_true(more < 40 && (r == -EMFILE || r == 0));
		assert_int_equal(count_descriptors(), n - 1);
	}
}

/* ---- who drives ---------------------------------------------------------------------------- */

PROMISE(a_bridge_is_driven_by_one_or_the_other)
{
	psb_bridge *bridge = make_bridge(*state);

	assert_int_equal(psb_bridge_start(bridge), 0);
	assert_int_equal(psb_bridge_start(bridge), -EALREADY);
	assert_int_equal(psb_bridge_fd(bridge), -EBUSY);
	assert_int_equal(psb_bridge_dispatch(bridge), -EBUSY);
	psb_bridge_unref(bridge);

	bridge = make_bridge(*state);
	assert_true(psb_bridge_fd(bridge) >= 0);
	assert_int_equal(psb_bridge_fd(bridge), psb_bridge_fd(bridge));
	assert_int_equal(psb_bridge_start(bridge), -EBUSY);
	assert_true(psb_bridge_dispatch(bridge) >= 0);
	psb_bridge_unref(bridge);

	bridge = make_bridge(*state);
	assert_true(psb_bridge_dispatch(bridge) >= 0); /* that decides it, too */
	assert_int_equal(psb_bridge_start(bridge), -EBUSY);
	psb_bridge_unref(bridge);
}

/* Sleeps on `fd` until something is due, at most PATIENCE_SEC, and does it. */
static void turn(psb_bridge *bridge, int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	int r;

	do {
		r = poll(&pollfd, 1, PATIENCE_SEC * 1000);
	} while (r < 0 && errno == EINTR);
	assert_int_equal(r, 1);
	assert_int_equal(pollfd.revents, POLLIN);
	assert_true(psb_bridge_dispatch(bridge) >= 0);
}

static void look_where(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	rx->result += psb_bridge_dispatch(rx->bridge) != -EBUSY;
}

PROMISE(bytes_timers_and_other_threads_make_the_descriptor_readable)
{
	struct bench *b = bench_bare(state);
	struct pollfd pollfd = { .events = POLLIN };

	b->watch = watch_fifo(b->bridge, 100 * USEC_PER_MSEC);
	b->peer = open_fifo("fifo");
	b->rx.act = look_where;
	listen_with(b, &b->rx,
		    PSB_INLINE); /* on the thread that dispatches, and only while it does */
	pollfd.fd = psb_bridge_fd(b->bridge);
	for (unsigned calls = 0; calls < 6; calls += 3) {
		/* at rest it is unreadable */
		for (int i = 0; poll(&pollfd, 1, GLANCE_USEC / USEC_PER_MSEC) == 1; i++) {
			assert_true(i < 20);
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
		}
		if (calls == 0)
			assert_int_equal(write(b->peer, "x", 1), 1);
		else
			say(b, PSB_LOW);
		assert_int_equal(b->rx.calls, calls);
		while (b->rx.calls < calls + 3)
			turn(b->bridge, pollfd.fd);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(b->rx.received[calls + i].available, PSB_LOW + i);
	}
	assert_int_equal(b->rx.result, 0);
}

static void count_beat(void *userdata)
{
	__atomic_add_fetch((unsigned *)userdata, 1, __ATOMIC_SEQ_CST);
}

PROMISE(a_beat_comes_from_the_loop_and_only_from_there)
{
	psb_bridge *bridge = make_bridge(*state);
	uint64_t begun = clock_usec(CLOCK_MONOTONIC);
	unsigned beats = 0;
	int fd;

	assert_int_equal(psb_bridge_beat(bridge, 50 * USEC_PER_MSEC, count_beat, &beats), 0);
	fd = psb_bridge_fd(bridge);
	while (beats == 0)
		turn(bridge, fd);
	assert_true(clock_usec(CLOCK_MONOTONIC) - begun >= 50 * USEC_PER_MSEC);
	assert_int_equal(psb_bridge_beat(bridge, 0, count_beat, &beats), 0);
	usleep(GLANCE_USEC);
	assert_int_equal(beats, 1); /* nobody drives it */
	while (beats == 1)
		turn(bridge, fd);
	psb_bridge_unref(bridge);

	bridge = make_bridge(*state);
	assert_int_equal(psb_bridge_start(bridge), 0);
	assert_int_equal(psb_bridge_beat(bridge, 0, count_beat, &beats), 0);
	AWAIT_SEEN(__atomic_load_n(&beats, __ATOMIC_SEQ_CST) >= 3);
	psb_bridge_unref(bridge);
}

/* Two threads at once: one is told -EXDEV, and the bridge is none the worse. */
static void *dispatch_a_lot(void *arg)
{
	intptr_t wrong = 0;

	for (int i = 0; i < 2000; i++)
		wrong += psb_bridge_dispatch(arg) != -EXDEV;
	return (void *)wrong;
}

PROMISE(a_second_thread_is_sent_away_also_during_a_dispatch)
{
	psb_bridge *bridge = make_bridge(*state);
	pthread_t thread;
	void *wrong;

	assert_true(psb_bridge_dispatch(bridge) >= 0);
	pthread_create(&thread, NULL, dispatch_a_lot, bridge);
	for (int i = 0; i < 2000; i++)
		assert_true(psb_bridge_dispatch(bridge) >= 0);
	pthread_join(thread, &wrong);
	assert_int_equal((intptr_t)wrong, 0);
	psb_bridge_unref(bridge);
}

/* ---- ends ---------------------------------------------------------------------------------- */

enum driver { NOBODY, THREAD, FOREIGN };

static void end_in_order(const struct variant *variant, enum driver driver, bool bridge_first,
			 bool registration_first)
{
	psb_bridge *bridge = make_bridge(variant);
	psb_watch *watch[2] = { watch_fifo(bridge, LONG_USEC), watch_fifo(bridge, LONG_USEC) };
	psb_registration *registration;
	static struct receiver rx;

	receiver_init(&rx);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(psb_watch_add_callback(watch[i], receive, &rx,
							(i ? PSB_INLINE : 0) | PSB_TELL_PRESENT,
							NULL),
				 0);
	assert_int_equal(psb_watch_add_callback(watch[0], receive, &rx, 0, &registration), 0);
	assert_int_equal(psb_watch_simulate(watch[1], PSB_LOW, 1), 0);
	if (driver == THREAD)
		assert_int_equal(psb_bridge_start(bridge), 0);
	else if (driver == FOREIGN)
		assert_true(psb_bridge_dispatch(bridge) >= 0);
	if (bridge_first)
		psb_bridge_unref(bridge);
	if (registration_first)
		psb_registration_remove(registration);
	psb_watch_unref(watch[registration_first]);
	psb_watch_unref(watch[!registration_first]);
	if (!bridge_first)
		psb_bridge_unref(bridge);
	receiver_destroy(&rx);
}

PROMISE(bridge_and_watches_may_end_in_any_order)
{
	for (enum driver driver = NOBODY; driver <= FOREIGN; driver++)
		for (int order = 0; order < 4; order++)
			end_in_order(*state, driver, order % 2, order / 2);
}

static void give_up_everything(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	psb_bridge_dispatch(rx->bridge); /* refused, and to no harm */
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
	note_done(rx, 0);
}

INLINE_TOO(the_last_reference_may_go_inside_a_dispatch)
{
	const struct variant *variant = *state;
	psb_bridge *bridge = make_bridge(variant);
	psb_watch *keeper = NULL;
	static struct receiver rx;

	receiver_init(&rx);
	rx.bridge = bridge;
	rx.watch = watch_fifo(bridge, LONG_USEC);
	rx.act = give_up_everything;
	assert_ptr_equal(psb_watch_ref(rx.watch), rx.watch); /* references count */
	psb_watch_unref(rx.watch);
	/* a thread's callback may end the bridge between two dispatches: another watch keeps it */
	if (!variant->flags)
		keeper = watch_fifo(bridge, LONG_USEC);
	assert_int_equal(psb_watch_add_callback(rx.watch, receive, &rx,
						variant->flags | PSB_TELL_PRESENT, NULL),
			 0);
	while (READ(&rx, done) == 0)
		assert_true(psb_bridge_dispatch(bridge) >= 0);
	AWAIT(&rx, rx.inside == 0);
	psb_watch_unref(keeper);
}

/* ---- fork ---------------------------------------------------------------------------------- */

/* Returns the line of the first broken promise, or 0. */
static int child_finds_dead_handles(struct bench *b, bool foreign)
{
	static struct psb_source source = { .size = sizeof(source) };
	struct psb_load load = { .size = sizeof(load) };
	struct psb_stats stats = { .size = sizeof(stats) };
	psb_registration *another;
	psb_watch *watch;

#define WANT(expression)   \
	if (!(expression)) \
		return __LINE__;
	WANT(psb_bridge_start(b->bridge) == -ECHILD);
	WANT(psb_bridge_fd(b->bridge) == -ECHILD);
	WANT(psb_bridge_dispatch(b->bridge) == -ECHILD);
	WANT(psb_watch_new(b->bridge, NULL, &watch) == -ECHILD);
	WANT(psb_watch_add_callback(b->watch, receive, NULL, 0, &another) == -ECHILD);
	WANT(psb_registration_remove(b->rx.registration) == -ECHILD);
	WANT(psb_watch_load(b->watch, &load) == -ECHILD);
	WANT(psb_watch_source(b->watch, &source) == -ECHILD);
	WANT(psb_watch_stats(b->watch, &stats) == -ECHILD);
	WANT(psb_watch_simulate(b->watch, PSB_LOW, 0) == -ECHILD);
	WANT(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, 0) == -ECHILD);
	WANT(psb_watch_list(b->watch, receive, NULL) == -ECHILD);
	if (foreign)
		psb_bridge_unref(b->bridge);
	psb_watch_unref(b->watch);
	if (!foreign)
		psb_bridge_unref(b->bridge);
	WANT(count_descriptors() == descriptors_before);
#undef WANT
	return 0;
}

/* `fd` -1: it has its own thread. */
static void await_calls(struct bench *b, int fd, unsigned calls)
{
	while (fd >= 0 && b->rx.calls < calls)
		turn(b->bridge, fd);
	AWAIT(&b->rx, b->rx.calls == calls && b->rx.inside == 0);
}

PROMISE(in_a_forked_child_handles_are_dead_and_the_parent_goes_on)
{
	for (int foreign = 0; foreign < 2; foreign++) {
		struct bench *b = bench_at_rest(state);
		int fd = -1, status;
		pid_t pid;

		if (foreign)
			fd = psb_bridge_fd(b->bridge);
		else
			assert_int_equal(psb_bridge_start(b->bridge), 0);
		listen_with(b, &b->rx, PSB_INLINE);
		listen_with(b, &b->fence, 0);
		say(b, PSB_LOW);
		await_calls(b, fd, 1);
		AWAIT(&b->fence, b->fence.calls == 1);
		pid = fork();
		if (pid == 0)
			_exit(child_finds_dead_handles(b, foreign) & 0xff);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status))
			fail_msg("in the child, line %d (modulo 256)", WEXITSTATUS(status));
		say(b, PSB_HIGH);
		await_calls(b, fd, 2);
		AWAIT(&b->fence, b->fence.calls == 2);
		bench_free(b);
	}
}

static void fork_and_come_back(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	rx->result = fork();
	if (rx->result > 0)
		rx->done++;
	else if (rx->result == 0)
		receiver_init_lock(rx); /* the test's thread may have held it */
}

/* How often this machine's sanitizers let a thread end quietly is not the matter: no signal, no hang. */
PROMISE(a_child_that_comes_back_from_a_callback_ends_or_is_told)
{
	for (int way = 0; way < 3; way++) { /* own thread, own thread and inline, foreign */
		struct bench *b = bench_at_rest(state);
		int fd = -1, status;

		b->rx.act = fork_and_come_back;
		listen_with(b, &b->rx, way > 0 ? PSB_INLINE : 0);
		if (way == 2)
			fd = psb_bridge_fd(b->bridge);
		else
			assert_int_equal(psb_bridge_start(b->bridge), 0);
		say(b, PSB_LOW);
		while (way == 2 && b->rx.calls == 0) {
			int r = psb_bridge_dispatch(b->bridge);

			if (b->rx.calls && b->rx.result == 0)
				_exit(r == -ECHILD ? 0 : 1);
		}
		await_calls(b, fd, 1);
		assert_int_equal(waitpid(b->rx.result, &status, 0), b->rx.result);
		assert_true(WIFEXITED(status));
		if (way == 2)
			assert_int_equal(WEXITSTATUS(status), 0);
		b->rx.act = NULL;
		say(b, PSB_HIGH);
		await_calls(b, fd, 2);
		bench_free(b);
	}
}

/* ---- manners ------------------------------------------------------------------------------- */

/* Neither to a terminal nor, where the host wants to hear of it, past the host. */
PROMISE(nothing_is_printed)
{
	struct psb_watch_options bad = { .size = sizeof(bad), .cgroup = "../x" };
	struct psb_watch_options socket = quick_options(in_directory("closes"));
	struct bench *b = bench_that_logs(state);
	int saved[] = { dup(1), dup(2) };
	int file = memfd_create("printed", MFD_CLOEXEC);
	psb_watch *watch, *broken = NULL;
	struct stat st;

	b->listener = listen_at(socket.source);
	fflush(NULL);
	for (int i = 0; i < 2; i++)
		dup2(file, i + 1);
	psb_watch_new(b->bridge, &bad, &watch);
	setenv("MEMORY_PRESSURE_WATCH", "/etc/hostname", 1);
	watch = NULL;
	psb_watch_new(b->bridge, NULL, &watch); /* of our own cgroup */
	psb_watch_unref(watch);
	b->watch = watch_fifo(b->bridge, 100 * USEC_PER_MSEC);
	psb_watch_add_callback(b->watch, receive, &b->rx, PSB_INLINE, NULL);
	psb_watch_new(b->bridge, &socket, &broken);
	close(b->listener);
	b->listener = -1;
	psb_bridge_start(b->bridge);
	psb_watch_simulate(b->watch, PSB_LOW, 1);
	AWAIT_FOR(&b->rx, b->rx.calls == 3 && b->log[0], PATIENCE_SEC * USEC_PER_SEC);
	psb_watch_unref(broken);
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		dup2(saved[i], i + 1);
		close(saved[i]);
	}
	fstat(file, &st);
	close(file);
	assert_int_equal(READ(&b->rx, calls), 3);
	assert_int_equal(st.st_size, 0);
	assert_string_not_equal(b->log, "");
}
