/* SPDX-License-Identifier: MIT */
/*
 * loop-epoll.c - the loop where there is no io_uring: readiness, then the call
 *
 * What an op is waiting for is one registration in the epoll set, with the op as its datum:
 *
 *     poll     EPOLLET, stays until it is cancelled
 *     accept   level, stays; accept4(2) until EAGAIN when it rings
 *     recv     EPOLLONESHOT; when it rings, recv(2)
 *     send     is tried in the next dispatch, and registered (EPOLLONESHOT) only if that would
 *     block
 *
 * epoll's key is (descriptor, open file), one registration each. So a second op on a descriptor
 * that has one, such as a recv and a send that both wait, gets EEXIST and registers a duplicate of
 * the descriptor instead. No table has to be kept, and what a poll hears is not changed by the
 * others.
 *
 * A recv that ended is idle, its owner may close the descriptor in `done`, or start the op again.
 * Therefore the registration is kept during `done` (`kept`), disarmed by EPOLLONESHOT. Started
 * again, EPOLL_CTL_MOD arms it and checks the level; ENOENT and EBADF tell that the descriptor is
 * another one meanwhile. If it was not taken up, it is deleted. A registration whose file lives on
 * in another process after close(2) here (fork) cannot be deleted any more, but being disarmed
 * never rings.
 *
 * States of an op, each with its list: TODO (a send to be tried), ARMED (registered), FINISHED
 * (a result to be told), RELEASING (cancelled, `released` to be told). cancel() takes the kernel's
 * reference back at once; `released` still comes from a dispatch only, after the events that
 * epoll_wait() returned were gone through, because one of them may still point to the op.
 *
 * Sleeping costs one epoll_pwait2(2) (Linux 5.11, nanoseconds), or epoll_wait(2) with milliseconds
 * rounded up. A recv costs three system calls in all. A foreign loop's deadline is a timerfd in the
 * set, edge-triggered and never read: epoll_wait(2) of the owner must return for it.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64

enum epoll_state { OP_IDLE, OP_TODO, OP_ARMED, OP_FINISHED, OP_RELEASING };

struct epoll_loop {
	struct loop loop;
	int epoll_fd;
	int timer_fd;	     /* foreign only */
	uint64_t armed_usec; /* what timer_fd is set to */
	bool without_pwait2;
	struct op_list lists[OP_RELEASING + 1];
	struct epoll_event events[EVENTS_MAX];
	int n_events;
	struct {
		struct loop_op *op; /* NULL: nothing is kept; may dangle, compare only */
		int fd, watch_fd;
		unsigned events;
	} kept;
};

static struct epoll_loop *epoll_of(struct loop *loop)
{
	return CONTAINER_OF(loop, struct epoll_loop, loop);
}

static void op_move(struct epoll_loop *e, struct loop_op *op, enum epoll_state state)
{
	if (op->state != OP_IDLE)
		op_list_remove(&e->lists[op->state], op);
	op->state = (unsigned char)state;
	if (state != OP_IDLE)
		op_list_add(&e->lists[state], op);
}

/* ---- registrations ------------------------------------------------------------------------ */

static void watch_end(struct epoll_loop *e, int fd, int watch_fd)
{
	/* A descriptor that is closed took its registration along. */
	(void)epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, watch_fd, NULL);
	if (watch_fd != fd)
		close(watch_fd);
}

static void kept_end(struct epoll_loop *e)
{
	if (!e->kept.op)
		return;
	watch_end(e, e->kept.fd, e->kept.watch_fd);
	e->kept.op = NULL;
}

static int watch_begin(struct epoll_loop *e, struct loop_op *op, unsigned events)
{
	struct epoll_event event = { .events = events, .data.ptr = op };
	int r;

	if (e->kept.op && e->kept.fd == op->fd) {
		/* A duplicate would still be what the descriptor was before somebody closed it. */
		if (e->kept.op == op && e->kept.events == events && e->kept.watch_fd == op->fd &&
		    epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, op->fd, &event) == 0) {
			e->kept.op = NULL;
			op->watch_fd = op->fd;
			op_move(e, op, OP_ARMED);
			return 0;
		}
		kept_end(e);
	}

	op->watch_fd = op->fd;
	r = epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, op->fd, &event);
	if (r < 0 && errno == EEXIST) {
		op->watch_fd = fcntl(op->fd, F_DUPFD_CLOEXEC, 3);
		if (op->watch_fd < 0)
			return -errno;
		r = epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, op->watch_fd, &event);
		if (r < 0) {
			r = -errno;
			close(op->watch_fd);
			return r;
		}
	}
	if (r < 0)
		return -errno;
	op_move(e, op, OP_ARMED);
	return 0;
}

/* A spurious ring of EPOLLONESHOT. */
static void watch_again(struct epoll_loop *e, struct loop_op *op, unsigned events)
{
	struct epoll_event event = { .events = events, .data.ptr = op };

	(void)epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, op->watch_fd, &event);
}

/* ---- operations --------------------------------------------------------------------------- */

static int epoll_start(struct loop *loop, struct loop_op *op)
{
	struct epoll_loop *e = epoll_of(loop);

	switch (op->kind) {
	case LOOP_OP_POLL:
		return watch_begin(e, op, op->events | EPOLLET);
	case LOOP_OP_RECV:
		return watch_begin(e, op, EPOLLIN | EPOLLONESHOT);
	case LOOP_OP_ACCEPT:
		return watch_begin(e, op, EPOLLIN);
	case LOOP_OP_SEND:
		op_move(e, op, OP_TODO);
		return 0;
	case LOOP_OP_NONE:
		break;
	}
	return -EINVAL;
}

static void epoll_cancel(struct loop *loop, struct loop_op *op)
{
	struct epoll_loop *e = epoll_of(loop);

	if (op->state == OP_ARMED)
		watch_end(e, op->fd, op->watch_fd);
	op_move(e, op, OP_RELEASING);
}

/* Returns: the result of a recv or send, or -EAGAIN: it would block. */
static int op_transfer(struct loop_op *op)
{
	ssize_t n;

	do {
		if (op->kind == LOOP_OP_RECV)
			n = recv(op->fd, op->buf, op->size, MSG_DONTWAIT);
		else
			n = send(op->fd, op->buf, op->size, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static void sends_try(struct epoll_loop *e)
{
	struct loop_op *op;

	while ((op = e->lists[OP_TODO].first)) {
		int r = op_transfer(op);

		if (r == -EAGAIN) {
			r = watch_begin(e, op, EPOLLOUT | EPOLLONESHOT);
			if (r == 0)
				continue;
		}
		op->result = r;
		op_move(e, op, OP_FINISHED);
	}
}

static int op_rings(struct epoll_loop *e, struct loop_op *op, unsigned bits)
{
	unsigned oneshot;
	int r, calls = 0;

	switch (op->kind) {
	case LOOP_OP_POLL:
		op->done(op, (int)bits);
		return 1;

	case LOOP_OP_ACCEPT:
		r = engine_accept(op, &calls);
		if (r < 0) {
			watch_end(e, op->fd, op->watch_fd);
			op_move(e, op, OP_IDLE);
			engine_op_done(op, r);
			calls++;
		}
		return calls;

	case LOOP_OP_RECV:
	case LOOP_OP_SEND:
		oneshot = EPOLLONESHOT | (op->kind == LOOP_OP_RECV ? EPOLLIN : EPOLLOUT);
		r = op_transfer(op);
		if (r == -EAGAIN) {
			watch_again(e, op, oneshot);
			return 0;
		}
		e->kept.op = op;
		e->kept.fd = op->fd;
		e->kept.watch_fd = op->watch_fd;
		e->kept.events = oneshot;
		op_move(e, op, OP_IDLE);
		engine_op_done(op, r);
		kept_end(e);
		return 1;

	case LOOP_OP_NONE:
		break;
	}
	return 0;
}

/* ---- the engine --------------------------------------------------------------------------- */

static int epoll_bind(_unused_ struct loop *loop)
{
	return 0;
}

static int epoll_sleep(struct epoll_loop *e, uint64_t until_usec)
{
	struct timespec buf;
	const struct timespec *left = engine_timeout(until_usec, &buf);
	int timeout_msec = -1, r;

	if (!e->without_pwait2) {
		/* By number: the C library knows it from 2.35 on, and hooks go into older containers. */
		r = (int)syscall(SYS_epoll_pwait2, e->epoll_fd, e->events, EVENTS_MAX, left, NULL,
				 (size_t)0);
		/* Old seccomp filters answer EPERM to what they do not know. */
		if (r >= 0 || (errno != ENOSYS && errno != EPERM))
			return r < 0 ? -errno : r;
		e->without_pwait2 = true;
	}

	if (left) {
		uint64_t msec = (uint64_t)left->tv_sec * 1000 +
				((uint64_t)left->tv_nsec + 999999) / 1000000;

		timeout_msec = (int)MIN(msec, (uint64_t)INT32_MAX);
	}
	r = epoll_wait(e->epoll_fd, e->events, EVENTS_MAX, timeout_msec);
	return r < 0 ? -errno : r;
}

static bool epoll_has_results(const struct epoll_loop *e)
{
	return e->lists[OP_FINISHED].first || e->lists[OP_RELEASING].first;
}

static int epoll_wait_(struct loop *loop, uint64_t until_usec)
{
	struct epoll_loop *e = epoll_of(loop);
	int r;

	sends_try(e);
	if (epoll_has_results(e))
		until_usec = 0;

	e->n_events = 0;
	r = epoll_sleep(e, until_usec);
	if (r < 0)
		return r == -EINTR ? 0 : r;
	e->n_events = r;
	return 0;
}

static int epoll_complete(struct loop *loop)
{
	struct epoll_loop *e = epoll_of(loop);
	struct loop_op *op, *last;
	int calls = 0;

	for (int i = 0; i < e->n_events; i++) {
		op = e->events[i].data.ptr;
		if (e->events[i].data.ptr == &loop->wake_fd)
			continue;
		if (e->events[i].data.ptr == &e->timer_fd) {
			e->armed_usec = USEC_NEVER;
			continue;
		}
		if (!op->cancelling)
			calls += op_rings(e, op, e->events[i].events);
	}

	/* Up to the ones that are last now: others come in the next pass. */
	last = e->lists[OP_FINISHED].last;
	while ((op = e->lists[OP_FINISHED].first)) {
		bool end = op == last;

		op_move(e, op, OP_IDLE);
		engine_op_done(op, op->result);
		calls++;
		if (end)
			break;
	}

	last = e->lists[OP_RELEASING].last;
	while ((op = e->lists[OP_RELEASING].first)) {
		bool end = op == last;

		op_move(e, op, OP_IDLE);
		calls += engine_op_release(op);
		if (end)
			break;
	}
	return calls;
}

static void epoll_settle(struct loop *loop, uint64_t until_usec)
{
	struct epoll_loop *e = epoll_of(loop);

	sends_try(e);

	/* Too early a ring is cheap, so it is set only to move it forward, or to have none at all. */
	if (until_usec < e->armed_usec ||
	    (until_usec == USEC_NEVER && e->armed_usec != USEC_NEVER)) {
		struct itimerspec spec = { 0 };

		if (until_usec != USEC_NEVER) {
			spec.it_value.tv_sec = (time_t)(until_usec / USEC_PER_SEC);
			/* Zero would disarm it; nobody's clock is within a nanosecond of its start. */
			spec.it_value.tv_nsec = (long)(until_usec % USEC_PER_SEC * NSEC_PER_USEC) +
						1;
		}
		if (timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0)
			e->armed_usec = until_usec;
	}

	if (epoll_has_results(e))
		loop_wake(loop);
}

static int epoll_fd(struct loop *loop)
{
	return epoll_of(loop)->epoll_fd;
}

static void epoll_close(struct epoll_loop *e)
{
	if (e->timer_fd >= 0)
		close(e->timer_fd);
	if (e->loop.wake_fd >= 0)
		close(e->loop.wake_fd);
	if (e->epoll_fd >= 0)
		close(e->epoll_fd);
}

static void epoll_free(struct loop *loop)
{
	struct epoll_loop *e = epoll_of(loop);
	struct loop_op *op;

	for (unsigned i = OP_TODO; i <= OP_RELEASING; i++)
		while ((op = e->lists[i].first)) {
			if (i == OP_ARMED)
				watch_end(e, op->fd, op->watch_fd);
			op_move(e, op, OP_IDLE);
			engine_op_idle(op);
		}
	epoll_close(e);
	free(e);
}

/* The set is the parent's too: close(2) leaves it alone, EPOLL_CTL_DEL would not. */
static void epoll_free_in_child(struct loop *loop)
{
	struct epoll_loop *e = epoll_of(loop);

	for (struct loop_op *op = e->lists[OP_ARMED].first; op; op = op->next)
		if (op->watch_fd != op->fd)
			close(op->watch_fd);
	epoll_close(e);
	free(e);
}

static const struct engine epoll_engine = {
	.backend = LOOP_EPOLL,
	.bind = epoll_bind,
	.start = epoll_start,
	.cancel = epoll_cancel,
	.wait = epoll_wait_,
	.complete = epoll_complete,
	.settle = epoll_settle,
	.fd = epoll_fd,
	.free = epoll_free,
	.free_in_child = epoll_free_in_child,
};

/* Registers one of the loop's own descriptors, whose address is the datum. */
static int epoll_watch_own(struct epoll_loop *e, int *fd)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = fd };

	if (*fd < 0 || epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, *fd, &event) < 0)
		return -errno;
	return 0;
}

int epoll_new(const struct loop_options *options, struct loop **ret)
{
	struct epoll_loop *e;
	int r;

	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->loop.engine = &epoll_engine;
	e->loop.foreign = options->foreign;
	e->without_pwait2 = options->without & LOOP_WITHOUT_PWAIT2;
	e->armed_usec = USEC_NEVER;
	e->loop.wake_fd = e->timer_fd = -1;

	e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->epoll_fd < 0) {
		r = -errno;
		goto fail;
	}
	e->loop.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = epoll_watch_own(e, &e->loop.wake_fd);
	if (r < 0)
		goto fail;
	if (options->foreign) {
		e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		r = epoll_watch_own(e, &e->timer_fd);
		if (r < 0)
			goto fail;
	}
	*ret = &e->loop;
	return 0;

fail:
	epoll_close(e);
	free(e);
	return r;
}
