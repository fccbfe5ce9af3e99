/* SPDX-License-Identifier: MIT */
/*
 * test-loop-foreign.c - a loop in the loop of its host (loop_fd() in src/kernel/loop.h), on each
 * engine and with each way to poll a descriptor
 */
#include "loop-variants.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/wait.h>

enum { PINGS = 200, STEPS = 20 };
#define STEP_USEC (2 * USEC_PER_MSEC)

/* ---- hosts -------------------------------------------------------------------------------- */

enum way { BY_POLL, BY_EPOLL, BY_EDGE, BY_NESTED_EPOLL, BY_LOOP_URING, BY_LOOP_EPOLL, WAYS };

static const char *const way_names[] = { "poll",	 "epoll",	  "edge",
					 "nested epoll", "io_uring loop", "epoll loop" };

struct host {
	enum way way;
	struct loop *loop;
	int set, outer;	    /* epoll sets */
	struct loop *other; /* the host's own loop */
	struct loop_op op;
	int interrupted;
};

static void dispatch_from_loop(struct loop_op *op, int result)
{
	struct host *host = CONTAINER_OF(op, struct host, op);

	assert_true(result > 0);
	assert_true(loop_dispatch(host->loop, 0) >= 0);
}

/* Returns: false where this way cannot be had. */
static bool host_begin(struct host *host, enum way way, struct loop *loop)
{
	struct epoll_event event = { .events = EPOLLIN | (way == BY_EDGE ? EPOLLET : 0) };
	int fd = loop_fd(loop);

	assert_true(fd >= 0);
	assert_int_equal(loop_fd(loop), fd);
	*host = (struct host){ .way = way, .loop = loop, .set = -1, .outer = -1 };
	if (way == BY_LOOP_URING || way == BY_LOOP_EPOLL) {
		struct loop_options options = { .backend = way == BY_LOOP_URING ? LOOP_URING
										: LOOP_EPOLL };

		if (loop_new(&options, &host->other, NULL) < 0)
			return false;
		assert_int_equal(loop_poll(host->other, &host->op, fd, POLLIN, dispatch_from_loop),
				 0);
		return true;
	}
	host->set = epoll_create1(EPOLL_CLOEXEC);
	host->outer = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(host->set, EPOLL_CTL_ADD, fd, &event), 0);
	assert_int_equal(epoll_ctl(host->outer, EPOLL_CTL_ADD, host->set, &event), 0);
	return true;
}

static void host_end(struct host *host)
{
	loop_free(host->other);
	if (host->set >= 0)
		close(host->set);
	if (host->outer >= 0)
		close(host->outer);
}

/* One turn of the host's loop. Returns: was there something? */
static bool host_turn(struct host *host, int timeout_msec)
{
	struct pollfd pollfd = { .fd = loop_fd(host->loop), .events = POLLIN };
	struct epoll_event event;
	int n = 0;

	switch (host->way) {
	case BY_POLL:
		n = poll(&pollfd, 1, timeout_msec);
		break;
	case BY_EPOLL:
	case BY_EDGE:
		n = epoll_wait(host->set, &event, 1, timeout_msec);
		break;
	case BY_NESTED_EPOLL:
		n = epoll_wait(host->outer, &event, 1, timeout_msec);
		if (n > 0)
			n = epoll_wait(host->set, &event, 1, 0);
		break;
	case BY_LOOP_URING:
	case BY_LOOP_EPOLL:
		n = loop_dispatch(host->other, now_usec() + (uint64_t)timeout_msec * USEC_PER_MSEC);
		assert_true(n >= 0);
		return n > 0;
	case WAYS:
		break;
	}
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
	for (enum way way = 0; way < WAYS; way++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		struct pinger pinger = { .loop = loop };
		struct host host;
		pthread_t thread;

		SOCKETS(fds, SOCK_STREAM);
		pinger.fd = fds[0];
		answer_pings(&pinger);
		if (host_begin(&host, way, loop)) {
			assert_int_equal(pthread_create(&thread, NULL, ping_thread,
							&(struct pings){ fds[1], PINGS }),
					 0);
			host_until(&host, &pinger.calls, PINGS);
			assert_int_equal(pthread_join(thread, NULL), 0);
		}
		host_end(&host);
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
	for (enum way way = 0; way < WAYS; way++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		uint64_t began_usec = now_usec();
		struct clock later = { .timer.expired = stepped, .loop = loop };
		struct clock clock = { .timer.expired = stepped,
				       .loop = loop,
				       .stops = &later.timer };
		struct host host;

		loop_timer_set(loop, &clock.timer, began_usec + STEP_USEC);
		loop_timer_set(loop, &later.timer, began_usec + USEC_PER_SEC);
		if (host_begin(&host, way, loop)) {
			host_until(&host, &clock.fired, STEPS);
			assert_true(now_usec() >= began_usec + STEPS * STEP_USEC);
			while (host_turn(&host, 0))
				;
			if (way == BY_POLL) { /* a second that has to pass: once is enough */
				assert_false(host_turn(&host, 1100));
				assert_int_equal(later.fired, 0);
			}
		}
		host_end(&host);
	}
}

struct worker {
	struct loop_work work; /* first: callbacks cast */
	struct loop *loop;
	struct loop_op poll_op;
	int fds[2];
	int polled, released;
};

static void polled(struct loop_op *op, int result)
{
	struct worker *w = CONTAINER_OF(op, struct worker, poll_op);

	assert_int_equal(result, POLLIN);
	w->polled++;
}

static void released(struct loop_op *op)
{
	CONTAINER_OF(op, struct worker, poll_op)->released++;
}

static void work_starts(struct loop_work *work)
{
	struct worker *w = (struct worker *)work;

	assert_int_equal(loop_poll(w->loop, &w->poll_op, w->fds[0], POLLIN, polled), 0);
	put(w->fds[1], "x", 1);
}

static void work_cancels(struct loop_work *work)
{
	loop_cancel(&((struct worker *)work)->poll_op, released);
}

PROMISE(posted_work_starts_and_cancels)
{
	for (enum way way = 0; way < WAYS; way++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		struct worker w = { .loop = loop };
		struct host host;

		make_sockets(SOCK_STREAM, w.fds);
		if (host_begin(&host, way, loop)) {
			w.work.run = work_starts;
			loop_post(loop, &w.work);
			host_until(&host, &w.polled, 1);
			w.work.run = work_cancels;
			loop_post(loop, &w.work);
			host_until(&host, &w.released, 1);
		}
		host_end(&host);
		loop = loop_free(loop);
		close(w.fds[0]);
		close(w.fds[1]);
	}
}

/* ---- what it refuses ------------------------------------------------------------------------ */

PROMISE(operations_belong_into_a_dispatch)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct worker w = { .loop = loop };

	make_sockets(SOCK_STREAM, w.fds);
	assert_true(loop_fd(loop) >= 0);
	assert_int_equal(loop_poll(loop, &w.poll_op, w.fds[0], POLLIN, polled), -EBUSY);
	loop = loop_free(loop);
	close(w.fds[0]);
	close(w.fds[1]);
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
