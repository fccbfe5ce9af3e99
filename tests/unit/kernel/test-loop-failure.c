/* SPDX-License-Identifier: MIT */
/*
 * test-loop-failure.c - an engine that fails while it runs is replaced, and nothing is lost
 *
 * Each case runs in a process of its own, because a seccomp filter is for good. Operations wait in
 * the engine when it breaks; what happens afterwards must be told.
 */
#include "../unit.h"
#include "../../deny.h"
#include "kernel/loop.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PATIENCE_USEC (20 * USEC_PER_SEC)

struct failure {
	const char *name;
	enum loop_backend before, after;
	const char *closes; /* the descriptor that the program closes by mistake */
	int denied[6];	    /* the system calls that are refused from then on */
	unsigned without;   /* as on an older kernel */
};

#define RING "anon_inode:[io_uring]"
#define SET "anon_inode:[eventpoll]"
#define NO_WAIT                                                   \
	{                                                         \
		SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2 \
	}

static const struct failure failures[] = {
	{ "io_uring_enter is refused", LOOP_URING, LOOP_EPOLL, NULL, { SYS_io_uring_enter }, 0 },
	{ "the ring is closed", LOOP_URING, LOOP_EPOLL, RING, { 0 }, 0 },
	{ "io_uring_enter is refused, asleep outside of it",
	  LOOP_URING,
	  LOOP_EPOLL,
	  NULL,
	  { SYS_io_uring_enter },
	  LOOP_WITHOUT_NO_IOWAIT },
	{ "the ring is closed, asleep outside of it",
	  LOOP_URING,
	  LOOP_EPOLL,
	  RING,
	  { 0 },
	  LOOP_WITHOUT_NO_IOWAIT },
	{ "io_uring_enter and epoll are refused",
	  LOOP_URING,
	  LOOP_TIMERS,
	  NULL,
	  { SYS_io_uring_enter, SYS_epoll_create1 },
	  0 },
	{ "the epoll set is closed", LOOP_EPOLL, LOOP_EPOLL, SET, { 0 }, 0 },
	{ "waiting with epoll is refused", LOOP_EPOLL, LOOP_TIMERS, NULL, NO_WAIT, 0 },
};

/* Where io_uring is denied on purpose there is nothing to break. */
static bool can_break(const void *variant, const struct promise *promise)
{
	(void)promise;
	return ((const struct failure *)variant)->before != LOOP_URING ||
	       !getenv("PSIBRIDGE_TEST_DENIED");
}

VARIANTS(failures, can_break)

struct scene {
	struct loop *loop;
	struct loop_op poll_op, alarm_op, drain_op;
	struct loop_timer timer;
	struct loop_work work;
	int polled[2], drained[2];
	int polls, poll_error, alarms, drains, fired, works;
};

static void polled(struct loop_op *op, int result)
{
	struct scene *s = CONTAINER_OF(op, struct scene, poll_op);

	if (result < 0)
		s->poll_error = result;
	else
		s->polls++;
}

static void rang(struct loop_op *op, int result)
{
	if (result == POLLPRI)
		CONTAINER_OF(op, struct scene, alarm_op)->alarms++;
}

static void drained(struct loop_op *op, int result)
{
	CONTAINER_OF(op, struct scene, drain_op)->drains += result > 0;
}

static void expired(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	CONTAINER_OF(timer, struct scene, timer)->fired++;
}

static void worked(struct loop_work *work)
{
	CONTAINER_OF(work, struct scene, work)->works++;
}

static bool close_one(const char *what)
{
	char path[64], target[64];

	for (int fd = 3; fd < 100; fd++) {
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, what) == 0)
			return close(fd) == 0;
	}
	return false;
}

/* One pass, of the host's loop if that is how it is driven. */
static bool turn(struct scene *s, bool foreign)
{
	struct pollfd pollfd = { .events = POLLIN };

	if (foreign) {
		pollfd.fd = loop_fd(s->loop);
		if (poll(&pollfd, 1, 10000) != 1)
			return false;
	}
	return loop_dispatch(s->loop, now_usec() + PATIENCE_USEC) >= 0;
}

#define FAIL(...)                                        \
	do {                                             \
		(void)fprintf(stderr, "# " __VA_ARGS__); \
		(void)fputc('\n', stderr);               \
		return 1;                                \
	} while (0)

#define RUN_UNTIL(condition)                                              \
	for (uint64_t until_ = now_usec() + PATIENCE_USEC; !(condition);) \
		if (!turn(&s, foreign) || now_usec() > until_)            \
	FAIL("never: " #condition)

/* In the process of its own. Returns: its status. */
static int play(const struct failure *f, bool foreign)
{
	struct loop_options options = { .backend = f->before, .without = f->without };
	struct scene s = { .timer.expired = expired, .work.run = worked };
	bool goes_on = f->after != LOOP_TIMERS;

	if (loop_new(&options, &s.loop, NULL) < 0 || pipe(s.polled) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, s.drained) < 0)
		FAIL("nothing to begin with");
	if (loop_poll(s.loop, &s.poll_op, s.polled[0], POLLIN, polled) < 0 ||
	    loop_poll(s.loop, &s.alarm_op, s.polled[1], POLLPRI, rang) < 0 ||
	    loop_drain(s.loop, &s.drain_op, s.drained[0], drained) < 0)
		FAIL("operations");
	loop_post(s.loop, &s.work);
	RUN_UNTIL(s.works == 1); /* all of it is in the kernel now, or will be with the next wait */
	loop_post(s.loop, &s.work);
	RUN_UNTIL(s.works == 2);

	if (f->closes ? !close_one(f->closes) : !deny(f->denied))
		FAIL("cannot break it");
	loop_post(s.loop, &s.work); /* a host has reasons to go round, and so it is found out */
	RUN_UNTIL(loop_failures(s.loop) >= 1 && s.works == 3);
	RUN_UNTIL(loop_backend(s.loop) == f->after);
	if (!strstr(loop_why(s.loop), "failed"))
		FAIL("it does not say why: %s", loop_why(s.loop));

	if (write(s.polled[1], "x", 1) != 1)
		FAIL("write");
	loop_post(s.loop, &s.work);
	RUN_UNTIL(goes_on ? s.polls == 1 && s.alarms == 1 && s.drains == 1
			  : s.poll_error == -ENOTSUP);
	if (goes_on && write(s.drained[1], "x", 1) == 1) {
		loop_post(s.loop, &s.work);
		RUN_UNTIL(s.drains == 2);
	}

	if (!foreign) {
		loop_timer_set(s.loop, &s.timer, now_usec() + USEC_PER_MSEC);
		RUN_UNTIL(s.fired == 1);
	}
	s.loop = loop_free(s.loop);
	return 0;
}

static void nothing_is_lost(const struct failure *f, bool foreign)
{
	pid_t child;
	int status;

	if (f->before == LOOP_URING) {
		struct loop_options options = { .backend = LOOP_URING };
		struct loop *loop = NULL;

		if (loop_new(&options, &loop, NULL) < 0)
			SKIP("io_uring cannot be had here");
		loop_free(loop);
	}
	child = fork();
	if (child == 0)
		_exit(play(f, foreign));
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0)
		print_error("%s%s: status 0x%x\n", f->name, foreign ? ", foreign" : "", status);
	assert_int_equal(status, 0);
}

PROMISE(a_failed_engine_is_replaced_and_nothing_is_lost)
{
	nothing_is_lost(*state, false);
}

PROMISE(the_same_in_a_foreign_loop)
{
	nothing_is_lost(*state, true);
}
