/* SPDX-License-Identifier: MIT */
/*
 * test-bridge.c - backends, who drives the loop, and fork
 *
 * Each way to wait for a bridge's descriptor is tried in tests/integration/test-driving.c. That the library neither prints nor
 * exits is seen in tests/structure/symbols.sh: it could not. Bridge and watch end in either order, see bench_free().
 */
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "library-bench.h"

/* ---- making one ---------------------------------------------------------------------------- */

PROMISE(the_backend_is_the_hosts_choice_or_else_the_environments)
{
	static const struct {
		const char *text;
		int result;
		enum psb_backend backend;
	} rows[] = {
		{ "epoll", 0, PSB_BACKEND_EPOLL }, { "uring", 0, PSB_BACKEND_URING },
		{ "auto", 0, PSB_BACKEND_AUTO },   { "", 0, PSB_BACKEND_AUTO },
		{ "nonsense", -EINVAL, 0 },	   { "EPOLL", -EINVAL, 0 },
		{ "epoll ", -EINVAL, 0 },
	};
	enum psb_backend wanted = ((const struct variant *)*state)->backend;

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		psb_bridge *bridge = NULL;
		struct bench *b;
		const char *why;

		setenv("PSIBRIDGE_BACKEND", rows[i].text, 1);
		b = bench_bare(state); /* or skip */
		assert_int_equal(psb_bridge_backend(b->bridge, &why), wanted);
		assert_int_equal(psb_bridge_backend(b->bridge, NULL), wanted);
		assert_int_equal(*why == '\0', wanted == PSB_BACKEND_URING);
		bench_free(b);
		if (rows[i].backend == PSB_BACKEND_URING && wanted != PSB_BACKEND_URING)
			continue; /* may be denied */
		assert_int_equal(psb_bridge_new(NULL, &bridge), rows[i].result);
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

/* Whatever is the first thing that cannot be had: an error, and nothing is left behind. */
PROMISE(too_few_descriptors_are_an_error_and_nothing_leaks)
{
	struct psb_bridge_options options = { .size = sizeof(options) };
	struct psb_watch_options w = { .size = sizeof(w), .source = make_fifo("fifo") };
	int r = -1;

	options.backend = ((const struct variant *)*state)->backend;
	bench_free(bench_bare(state)); /* or skip */
	for (unsigned more = 0; r < 0; more++) {
		psb_bridge *bridge = NULL;
		psb_watch *watch = NULL;
		int n = (int)descriptors_open();

		descriptors_allow(more);
		r = psb_bridge_new(&options, &bridge);
		if (r == 0)
			r = psb_bridge_fd(bridge);
		if (r >= 0)
			r = psb_watch_new(bridge, &w, &watch);
		psb_watch_unref(watch);
		psb_bridge_unref(bridge);
		descriptors_allow(DESCRIPTORS_ALL);
		assert_true(more < 40 && (r == -EMFILE || r == 0));
		assert_int_equal((int)descriptors_open(), n);
	}
}

/* ---- who drives ---------------------------------------------------------------------------- */

PROMISE(a_bridge_is_driven_by_one_or_the_other)
{
	struct bench *b = bench_bare(state);

	run(b);
	assert_int_equal(psb_bridge_start(b->bridge), -EALREADY);
	assert_int_equal(psb_bridge_fd(b->bridge), -EBUSY);
	assert_int_equal(psb_bridge_dispatch(b->bridge), -EBUSY);

	b = bench_bare(state);
	assert_true(psb_bridge_fd(b->bridge) >= 0);
	assert_int_equal(psb_bridge_fd(b->bridge), psb_bridge_fd(b->bridge));
	assert_int_equal(psb_bridge_start(b->bridge), -EBUSY);
	assert_true(psb_bridge_dispatch(b->bridge) >= 0);

	b = bench_bare(state);
	assert_true(psb_bridge_dispatch(b->bridge) >= 0); /* that decides it, too */
	assert_int_equal(psb_bridge_start(b->bridge), -EBUSY);
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

static void look_where(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	rx->result += psb_bridge_dispatch(rx->bridge) != -EBUSY;
}

PROMISE(bytes_timers_and_other_threads_make_the_descriptor_readable)
{
	struct bench *b = bench_bare(state);
	struct pollfd pollfd = { .events = POLLIN };

	b->watch = watch_fifo(b->bridge, 100 * USEC_PER_MSEC);
	b->peer = open_fifo("fifo");
	b->rx.act = look_where;
	/* on the thread that dispatches, and only while it does */
	listen_with(b, &b->rx, PSB_INLINE);
	pollfd.fd = psb_bridge_fd(b->bridge);
	for (int by_byte = 1; by_byte >= 0; by_byte--) {
		/* at rest it is unreadable */
		for (int i = 0; poll(&pollfd, 1, GLANCE_USEC / USEC_PER_MSEC) == 1; i++) {
			assert_true(i < 20);
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
		}
		if (by_byte)
			assert_int_equal(write(b->peer, "x", 1), 1);
		else
			say(b, "L");
		hear(&b->rx, "");
		while (b->rx.calls < b->rx.heard + 3)
			turn(b->bridge, pollfd.fd);
		hear(&b->rx, "LNH");
	}
	assert_int_equal(b->rx.result, 0);
}

static void count_beat(void *userdata)
{
	__atomic_add_fetch((unsigned *)userdata, 1, __ATOMIC_SEQ_CST);
}

PROMISE(a_beat_comes_from_the_loop_and_only_from_there)
{
	struct bench *b = bench_bare(state);
	uint64_t begun = now_usec();
	unsigned beats = 0;
	int fd;

	assert_int_equal(psb_bridge_beat(b->bridge, 50 * USEC_PER_MSEC, count_beat, &beats), 0);
	fd = psb_bridge_fd(b->bridge);
	while (beats == 0)
		turn(b->bridge, fd);
	assert_true(now_usec() - begun >= 50 * USEC_PER_MSEC);
	assert_int_equal(psb_bridge_beat(b->bridge, 0, count_beat, &beats), 0);
	usleep(GLANCE_USEC);
	assert_int_equal(beats, 1); /* nobody drives it */
	while (beats == 1)
		turn(b->bridge, fd);
	bench_free(b);

	b = bench_bare(state);
	run(b);
	assert_int_equal(psb_bridge_beat(b->bridge, 0, count_beat, &beats), 0);
	AWAIT_SEEN(__atomic_load_n(&beats, __ATOMIC_SEQ_CST) >= 3);
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
	struct bench *b = bench_bare(state);
	pthread_t thread;
	void *wrong;

	assert_true(psb_bridge_dispatch(b->bridge) >= 0);
	pthread_create(&thread, NULL, dispatch_a_lot, b->bridge);
	for (int i = 0; i < 2000; i++)
		assert_true(psb_bridge_dispatch(b->bridge) >= 0);
	pthread_join(thread, &wrong);
	assert_int_equal((intptr_t)wrong, 0);
}

/* ---- fork ---------------------------------------------------------------------------------- */

/* Returns the line of the first broken promise, or 0. */
static int child_finds_dead_handles(struct bench *b, bool foreign)
{
	static struct psb_source source = { .size = sizeof(source) };
	struct psb_notification n = { .size = sizeof(n) };
	struct psb_load load = { .size = sizeof(load) };
	struct psb_stats stats = { .size = sizeof(stats) };
	psb_registration *another;
	psb_mailbox *mailbox;
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
	WANT(psb_registration_report(b->rx.registration, 1, 1) == -ECHILD);
	WANT(psb_watch_load(b->watch, &load) == -ECHILD);
	WANT(psb_watch_source(b->watch, &source) == -ECHILD);
	WANT(psb_watch_stats(b->watch, &stats) == -ECHILD);
	WANT(psb_watch_simulate(b->watch, PSB_LOW, 0) == -ECHILD);
	WANT(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, 0) == -ECHILD);
	WANT(psb_watch_report_at(b->watch, NULL, 1, 1) == -ECHILD);
	WANT(psb_watch_list(b->watch, receive, NULL) == -ECHILD);
	WANT(psb_mailbox_new(b->watch, 0, &mailbox) == -ECHILD);
	WANT(psb_mailbox_take(b->mailbox, PSB_FOREVER, &n) == -ECHILD);
	WANT(psb_mailbox_close(b->mailbox) == -ECHILD);
	if (foreign)
		psb_bridge_unref(b->bridge);
	psb_watch_unref(b->watch);
	if (!foreign)
		psb_bridge_unref(b->bridge);
	WANT((int)descriptors_open() != descriptors_before); /* the mailbox keeps it all */
	WANT(psb_mailbox_free(b->mailbox) == NULL);
	WANT((int)descriptors_open() == descriptors_before);
#undef WANT
	return 0;
}

static void *take_forever(void *arg)
{
	struct bench *b = arg;
	struct psb_notification n = { .size = sizeof(n) };

	while (psb_mailbox_take(b->mailbox, PSB_FOREVER, &n) == 1)
		note_done(&b->fence, (int)n.available);
	return NULL;
}

/* `fd` -1: it has its own thread. */
static void await_calls(struct bench *b, int fd, unsigned calls)
{
	while (fd >= 0 && b->rx.calls < calls)
		turn(b->bridge, fd);
	AWAIT(&b->rx, b->rx.calls == calls && b->rx.inside == 0);
}

static int drive(struct bench *b, bool foreign)
{
	if (foreign)
		return psb_bridge_fd(b->bridge);
	run(b);
	return -1;
}

PROMISE(in_a_forked_child_handles_are_dead_and_the_parent_goes_on)
{
	for (int foreign = 0; foreign < 2; foreign++) {
		struct bench *b = bench_at_rest(state);
		int fd = drive(b, foreign), status;
		pthread_t thread;
		pid_t pid;

		listen_with(b, &b->rx, PSB_INLINE);
		listen_with(b, &b->fence, 0);
		assert_int_equal(psb_mailbox_new(b->watch, 0, &b->mailbox), 0);
		pthread_create(&thread, NULL, take_forever, b);
		say(b, "L");
		await_calls(b, fd, 1);
		hear(&b->fence, "L");
		AWAIT(&b->fence, b->fence.done == 1); /* so there is a label in the child's hands */
		pid = fork();
		if (pid == 0)
			_exit(child_finds_dead_handles(b, foreign) & 0xff);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status))
			fail_msg("in the child, line %d (modulo 256)", WEXITSTATUS(status));
		say(b, "H");
		await_calls(b, fd, 2);
		hear(&b->fence, "H");
		AWAIT(&b->fence, b->fence.done == 2 && b->fence.result == PSB_HIGH);
		psb_mailbox_close(b->mailbox);
		pthread_join(thread, NULL);
		bench_free(b);
	}
}

static void fork_and_come_back(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	rx->result = fork();
	if (rx->result > 0)
		rx->done++;
	else if (rx->result == 0) /* the test's thread may have held it */
		rx->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

/* How often this machine's sanitizers let a thread end quietly is not the matter: no signal, no hang. */
PROMISE(a_child_that_comes_back_from_a_callback_ends_or_is_told)
{
	for (int way = 0; way < 3; way++) { /* own thread, own thread and inline, foreign */
		struct bench *b = bench_at_rest(state);
		int fd, status;

		b->rx.act = fork_and_come_back;
		listen_with(b, &b->rx, way > 0 ? PSB_INLINE : 0);
		fd = drive(b, way == 2);
		say(b, "L");
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
		say(b, "H");
		await_calls(b, fd, 2);
		bench_free(b);
	}
}
