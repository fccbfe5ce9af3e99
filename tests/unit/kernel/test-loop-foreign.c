/* SPDX-License-Identifier: MIT */
/*
 * test-loop-foreign.c - a loop in the loop of its host (loop_fd() in src/kernel/loop.h), on each
 * engine; polled for its level, and for its edges. tests/integration/test-driving.c has more ways.
 */
#include "loop-variants.h"

#include <sys/epoll.h>
#include <sys/wait.h>

enum { PINGS = 200, STEPS = 20, WAYS = 2 };
#define STEP_USEC (2 * USEC_PER_MSEC)

/* ---- hosts -------------------------------------------------------------------------------- */

static const char *const way_names[WAYS] = { "poll", "edge" };

struct host {
	unsigned way;
	struct loop *loop;
	int set; /* epoll */
	int interrupted;
};

static void host_begin(struct host *host, unsigned way, struct loop *loop)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int fd = loop_fd(loop);

	assert_true(fd >= 0);
	assert_int_equal(loop_fd(loop), fd);
	*host = (struct host){ .way = way, .loop = loop, .set = epoll_create1(EPOLL_CLOEXEC) };
	assert_int_equal(epoll_ctl(host->set, EPOLL_CTL_ADD, fd, &event), 0);
}

/* One turn of the host's loop. Returns: was there something? */
static bool host_turn(struct host *host, int timeout_msec)
{
	struct pollfd pollfd = { .fd = loop_fd(host->loop), .events = POLLIN };
	struct epoll_event event;
	int n = host->way == 0 ? poll(&pollfd, 1, timeout_msec)
			       : epoll_wait(host->set, &event, 1, timeout_msec);

	/* Each ring of before interrupts this thread once, which made it, when the kernel tears it down
	 * at last; what is told now does not. */
	if (n < 0) {
		assert_int_equal(errno, EINTR);
		assert_true(++host->interrupted < PINGS / 4);
	}
	if (n > 0)
		assert_true(loop_dispatch(host->loop, 0) >= 0);
	return n > 0;
}

static void host_until(struct host *host, const int *counter, int want)
{
	uint64_t until_usec = now_usec() + PATIENCE_USEC;

	while (*counter < want && now_usec() < until_usec)
		(void)host_turn(host, 10000);
	if (*counter < want)
		print_error("%s: deaf after %d of %d\n", way_names[host->way], *counter, want);
	assert_true(*counter >= want);
}

/* ---- what it tells ------------------------------------------------------------------------- */

PROMISE(each_way_to_poll_it_misses_nothing)
{
	for (unsigned way = 0; way < WAYS; way++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		struct pinger pinger = { .loop = loop };
		struct host host;
		pthread_t thread;

		SOCKETS(fds, SOCK_STREAM);
		pinger.fd = fds[0];
		answer_pings(&pinger);
		host_begin(&host, way, loop);
		assert_int_equal(pthread_create(&thread, NULL, ping_thread,
						&(struct pings){ fds[1], PINGS }),
				 0);
		host_until(&host, &pinger.calls, PINGS);
		assert_int_equal(pthread_join(thread, NULL), 0);
		close(host.set);
		loop = loop_free(loop);
	}
}

struct clock {
	struct loop_timer timer; /* first: callbacks cast */
	struct loop *loop;
	struct loop_timer *stops; /* when it expires */
	int fired;
};

static void stepped(struct loop_timer *timer, uint64_t now)
{
	struct clock *clock = (struct clock *)timer;

	if (++clock->fired < STEPS)
		loop_timer_set(clock->loop, timer, now + STEP_USEC);
	else if (clock->stops)
		loop_timer_stop(clock->loop, clock->stops);
}

PROMISE(timers_ring_when_they_are_due_and_not_when_stopped)
{
	for (unsigned way = 0; way < WAYS; way++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		uint64_t began_usec = now_usec();
		struct clock later = { .timer.expired = stepped, .loop = loop };
		struct clock clock = { .timer.expired = stepped,
				       .loop = loop,
				       .stops = &later.timer };
		struct host host;

		loop_timer_set(loop, &clock.timer, began_usec + STEP_USEC);
		loop_timer_set(loop, &later.timer, began_usec + USEC_PER_SEC);
		host_begin(&host, way, loop);
		host_until(&host, &clock.fired, STEPS);
		assert_true(now_usec() >= began_usec + STEPS * STEP_USEC);
		while (host_turn(&host, 0))
			;
		if (way == 0) { /* a second that has to pass: once is enough */
			assert_false(host_turn(&host, 1100));
			assert_int_equal(later.fired, 0);
		}
		close(host.set);
	}
}

/* ---- what it refuses ------------------------------------------------------------------------ */

PROMISE(operations_belong_into_a_dispatch)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct loop_op op = { 0 };

	SOCKETS(fds, SOCK_STREAM);
	assert_true(loop_fd(loop) >= 0);
	assert_int_equal(loop_poll(loop, &op, fds[0], POLLIN, ignore), -EBUSY);
}

PROMISE(a_loop_that_was_dispatched_has_no_descriptor)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);

	assert_true(loop_dispatch(loop, 0) >= 0);
	assert_int_equal(loop_fd(loop), -EBUSY);
}

PROMISE(a_forked_child_frees_it)
{
	int before = count_descriptors(), status;
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	pid_t child;

	assert_true(loop_fd(loop) >= 0);
	child = fork();
	if (child == 0) {
		loop_free_in_child(loop);
		_exit(count_descriptors() != before);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}
