/* SPDX-License-Identifier: MIT */
/*
 * test-bridge.c - backends, who drives the loop, fork, and every order in which things may end
 */
#include "library-bench.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- making one ---------------------------------------------------------------------------- */

PROMISE(the_backend_asked_for_is_the_one_that_is_had)
{
	const struct variant *variant = *state;
	psb_bridge *bridge = make_bridge(variant);
	const char *why = NULL;

	assert_int_equal(psb_bridge_backend(bridge, &why), variant->backend);
	assert_int_equal(*why == '\0', variant->backend == PSB_BACKEND_URING);
	assert_int_equal(psb_bridge_backend(bridge, NULL), variant->backend);
	psb_bridge_unref(bridge);
}

PROMISE(the_environment_chooses_where_the_host_does_not)
{
	static const struct {
		const char *text;
		enum psb_backend backend; /* 0: an error */
	} rows[] = {
		{ "epoll", PSB_BACKEND_EPOLL },
		{ "uring", PSB_BACKEND_URING },
		{ "nonsense", 0 },
		{ "EPOLL", 0 },
		{ "epoll ", 0 },
	};
	const struct variant *variant = *state;
	bool has_uring = variant->backend == PSB_BACKEND_URING;
	psb_bridge *bridge;

	psb_bridge_unref(make_bridge(variant)); /* or skip */
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		int r;

		setenv("PSIBRIDGE_BACKEND", rows[i].text, 1);
		r = psb_bridge_new(NULL, &bridge);
		if (rows[i].backend == PSB_BACKEND_URING && !has_uring) {
			if (r == 0)
				psb_bridge_unref(bridge);
			continue;
		}
		assert_int_equal(r, rows[i].backend ? 0 : -EINVAL);
		if (r == 0) {
			assert_int_equal(psb_bridge_backend(bridge, NULL), rows[i].backend);
			psb_bridge_unref(bridge);
		}
		/* the host's word counts more */
		bridge = make_bridge(variant);
		assert_int_equal(psb_bridge_backend(bridge, NULL), variant->backend);
		psb_bridge_unref(bridge);
	}
	for (size_t i = 0; i < 2; i++) {
		setenv("PSIBRIDGE_BACKEND", i ? "auto" : "", 1);
		assert_int_equal(psb_bridge_new(NULL, &bridge), 0);
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

PROMISE(options_that_make_no_sense_are_refused)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = (enum psb_backend)7 };
	psb_bridge *bridge = (psb_bridge *)1;

	assert_int_equal(psb_bridge_new(&options, &bridge), -EINVAL);
	assert_ptr_equal(bridge, (psb_bridge *)1);
	assert_int_equal(psb_bridge_new(&options, NULL), -EINVAL);
}

PROMISE(nothing_is_something_too)
{
	const char *why = NULL;

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
	const struct variant *variant = *state;
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = variant->backend };
	struct psb_watch_options w = { .size = sizeof(w), .source = in_directory("fifo") };
	struct rlimit before, few;
	bool through = false;

	psb_bridge_unref(make_bridge(variant)); /* or skip */
	assert_true(mkfifo(w.source, 0600) == 0 || errno == EEXIST);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (unsigned more = 0; more < 40 && !through; more++) {
		psb_bridge *bridge = NULL;
		psb_watch *watch = NULL;
		int r, fd = dup(0), n = count_descriptors();

		close(fd);
		few = before;
		few.rlim_cur = (rlim_t)fd + more;
		setrlimit(RLIMIT_NOFILE, &few);
		r = psb_bridge_new(&options, &bridge);
		if (r == 0)
			r = psb_bridge_fd(bridge);
		if (r >= 0)
			r = psb_watch_new(bridge, &w, &watch);
		through = r == 0;
		psb_watch_unref(watch);
		psb_bridge_unref(bridge);
		setrlimit(RLIMIT_NOFILE, &before);
		if (r < 0)
			assert_int_equal(r, -EMFILE);
		assert_int_equal(count_descriptors(), n - 1);
	}
	assert_true(through);
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

/* Inline callbacks come on the thread that dispatches, and only while it does. */
static void look_where(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	rx->result += psb_bridge_dispatch(rx->bridge) != -EBUSY;
}

static void *dispatch_from_here(void *arg)
{
	return (void *)(intptr_t)psb_bridge_dispatch(arg);
}

/* A FIFO whose Low ends at once; nobody drives it yet. */
static struct bench *bench_on_fifo(void **state)
{
	struct bench *b = bench_bare(state);

	b->bridge = make_bridge(b->variant);
	b->watch = watch_fifo(b->bridge, 100 * USEC_PER_MSEC);
	b->peer = open_fifo("fifo");
	return b;
}

PROMISE(bytes_timers_and_other_threads_make_the_descriptor_readable)
{
	struct bench *b = bench_on_fifo(state);
	struct pollfd pollfd = { .fd = psb_bridge_fd(b->bridge), .events = POLLIN };
	pthread_t thread;
	void *result;

	b->rx.act = look_where;
	listen_with(b, &b->rx, PSB_INLINE);
	for (int round = 0; round < 2; round++) {
		unsigned calls = b->rx.calls;

		/* at rest it is unreadable */
		for (int i = 0; poll(&pollfd, 1, GLANCE_USEC / USEC_PER_MSEC) == 1; i++) {
			assert_true(i < 20);
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
		}
		if (round == 0)
			assert_int_equal(write(b->peer, "x", 1), 1);
		else
			say(b, PSB_LOW);
		assert_int_equal(b->rx.calls, calls); /* nothing but a dispatch calls */
		while (b->rx.calls < calls + 3)
			turn(b->bridge, pollfd.fd);
		assert_int_equal(b->rx.received[calls].available, PSB_LOW);
		assert_int_equal(b->rx.received[calls + 1].available, PSB_NEUTRAL);
		assert_int_equal(b->rx.received[calls + 2].available, PSB_HIGH);
	}
	assert_int_equal(b->rx.result, 0);
	pthread_create(&thread, NULL, dispatch_from_here, b->bridge);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, -EXDEV);
}

PROMISE(the_descriptor_may_sit_in_an_epoll_set)
{
	struct bench *b = bench_on_fifo(state);
	int fd = psb_bridge_fd(b->bridge), set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
	listen_with(b, &b->rx, 0); /* on its own thread, here too */
	assert_int_equal(write(b->peer, "x", 1), 1);
	while (READ(&b->rx, calls) < 3) {
		/* what the callback's thread does rings nobody */
		int r = epoll_wait(set, &event, 1, 100);

		assert_true(r >= 0 || errno == EINTR);
		if (r == 1)
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
	}
	assert_true(last_is(&b->rx, PSB_HIGH));
	close(set);
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
	while (__atomic_load_n(&beats, __ATOMIC_SEQ_CST) < 3)
		usleep(1000);
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

static void give_up_everything(struct receiver *rx, const struct psb_notification *n)
{
	(void)n;
	psb_bridge_dispatch(rx->bridge); /* refused, and to no harm */
	psb_watch_unref(rx->watch);
	psb_bridge_unref(rx->bridge);
	note_done(rx, 0);
}

enum driver { NOBODY, THREAD, FOREIGN };

PROMISE(bridge_and_watches_may_end_in_any_order)
{
	for (enum driver driver = NOBODY; driver <= FOREIGN; driver++) {
		for (int order = 0; order < 4; order++) {
			psb_bridge *bridge = make_bridge(*state);
			psb_watch *watch[2] = { watch_fifo(bridge, LONG_USEC),
						watch_fifo(bridge, LONG_USEC) };
			psb_registration *registration;
			static struct receiver rx;

			receiver_init(&rx);
			for (int i = 0; i < 2; i++)
				assert_int_equal(psb_watch_add_callback(watch[i], receive, &rx,
									(i ? PSB_INLINE : 0) |
										PSB_TELL_PRESENT,
									NULL),
						 0);
			assert_int_equal(
				psb_watch_add_callback(watch[0], receive, &rx, 0, &registration),
				0);
			assert_int_equal(psb_watch_simulate(watch[1], PSB_LOW, 1), 0);
			if (driver == THREAD)
				assert_int_equal(psb_bridge_start(bridge), 0);
			else if (driver == FOREIGN)
				assert_true(psb_bridge_dispatch(bridge) >= 0);
			if (order % 2) {
				psb_bridge_unref(bridge);
				bridge = NULL;
			}
			if (order / 2)
				psb_registration_remove(registration);
			psb_watch_unref(watch[order / 2]);
			psb_watch_unref(watch[1 - order / 2]);
			psb_bridge_unref(bridge);
			receiver_destroy(&rx);
		}
	}
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

BENCH(references_count)
{
	assert_ptr_equal(psb_watch_ref(b->watch), b->watch);
	psb_watch_unref(b->watch);
	listen_with(b, &b->rx, 0);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.calls == 1);
}

/* ---- fork ---------------------------------------------------------------------------------- */

/* Returns the line of the first broken promise, or 0. */
static int child_finds_dead_handles(struct bench *b, psb_registration *registration, bool foreign)
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
	WANT(psb_registration_remove(registration) == -ECHILD);
	WANT(psb_watch_load(b->watch, &load) == -ECHILD);
	WANT(psb_watch_source(b->watch, &source) == -ECHILD);
	WANT(psb_watch_stats(b->watch, &stats) == -ECHILD);
	WANT(psb_watch_simulate(b->watch, PSB_LOW, 0) == -ECHILD);
	WANT(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, 0) == -ECHILD);
	WANT(psb_watch_list(b->watch, receive, NULL) == -ECHILD);
	if (foreign) {
		psb_bridge_unref(b->bridge);
		psb_watch_unref(b->watch);
	} else {
		psb_watch_unref(b->watch);
		psb_bridge_unref(b->bridge);
	}
	WANT(count_descriptors() == descriptors_before);
#undef WANT
	return 0;
}

PROMISE(in_a_forked_child_handles_are_dead_and_the_parent_goes_on)
{
	for (int foreign = 0; foreign < 2; foreign++) {
		struct bench *b = bench_at_rest(state);
		int fd, status;
		pid_t pid;

		fd = foreign ? psb_bridge_fd(b->bridge) : psb_bridge_start(b->bridge);
		assert_true(fd >= 0);
		listen_with(b, &b->rx, PSB_INLINE);
		listen_with(b, &b->fence, 0);
		say(b, PSB_LOW);
		while (foreign && b->rx.calls < 1)
			turn(b->bridge, fd);
		AWAIT(&b->rx, b->rx.calls == 1);
		AWAIT(&b->fence, b->fence.calls == 1);

		pid = fork();
		if (pid == 0)
			_exit(child_finds_dead_handles(b, b->rx.registration, foreign) & 0xff);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status))
			fail_msg("in the child, line %d (modulo 256)", WEXITSTATUS(status));

		say(b, PSB_HIGH);
		while (foreign && b->rx.calls < 2)
			turn(b->bridge, fd);
		AWAIT(&b->rx, b->rx.calls == 2);
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
			struct pollfd pollfd = { .fd = fd, .events = POLLIN };
			int r;

			poll(&pollfd, 1, PATIENCE_SEC * 1000);
			r = psb_bridge_dispatch(b->bridge);
			if (b->rx.calls && b->rx.result == 0)
				_exit(r == -ECHILD ? 0 : 1);
		}
		AWAIT(&b->rx, b->rx.calls == 1 && b->rx.inside == 0);
		assert_int_equal(waitpid(b->rx.result, &status, 0), b->rx.result);
		assert_true(WIFEXITED(status));
		if (way == 2)
			assert_int_equal(WEXITSTATUS(status), 0);
		b->rx.act = NULL;
		say(b, PSB_HIGH);
		while (way == 2 && b->rx.calls < 2)
			turn(b->bridge, fd);
		AWAIT(&b->rx, b->rx.calls == 2);
		bench_free(b);
	}
}

/* ---- manners ------------------------------------------------------------------------------- */

static void count_line(void *userdata, int priority, const char *message)
{
	(void)priority;
	(void)message;
	__atomic_fetch_add((unsigned *)userdata, 1, __ATOMIC_RELAXED);
}

/* Neither to a terminal nor, where the host wants to hear of it, past the host. */
PROMISE(nothing_is_printed)
{
	const struct variant *variant = *state;
	unsigned lines = 0;
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = variant->backend,
					      .log = count_line,
					      .log_userdata = &lines };
	int out = dup(1), err = dup(2);
	char *path = strdup(in_directory("printed"));
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct psb_watch_options bad = { .size = sizeof(bad), .cgroup = "../x" };
	struct psb_watch_options socket = { .size = sizeof(socket),
					    .source = in_directory("closes"),
					    .rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL) };
	int listener = listen_at(socket.source);
	psb_bridge *bridge = make_bridge(variant);
	psb_watch *watch, *broken;
	static struct receiver rx;
	struct stat st;

	psb_bridge_unref(bridge); /* or skip */
	assert_int_equal(psb_bridge_new(&options, &bridge), 0);
	receiver_init(&rx);
	fflush(NULL);
	dup2(file, 1);
	dup2(file, 2);
	psb_watch_new(bridge, &bad, &watch);
	setenv("MEMORY_PRESSURE_WATCH", "/etc/hostname", 1);
	watch = NULL;
	psb_watch_new(bridge, NULL, &watch); /* of our own cgroup */
	psb_watch_unref(watch);
	unsetenv("MEMORY_PRESSURE_WATCH");
	watch = watch_fifo(bridge, 100 * USEC_PER_MSEC);
	psb_watch_add_callback(watch, receive, &rx, PSB_INLINE,
			       NULL); /* or Neutral may overtake Low */
	psb_watch_new(bridge, &socket, &broken);
	close(listener);
	psb_bridge_start(bridge);
	psb_watch_simulate(watch, PSB_LOW, 1);
	AWAIT_FOR(&rx, rx.calls == 3, PATIENCE_SEC * USEC_PER_SEC);
	psb_watch_unref(watch);
	psb_watch_unref(broken);
	psb_bridge_unref(bridge);
	fflush(NULL);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	fstat(file, &st);
	close(file);
	free(path);
	assert_int_equal(rx.calls, 3);
	assert_int_equal(st.st_size, 0);
	assert_true(lines > 0);
	receiver_destroy(&rx);
}
