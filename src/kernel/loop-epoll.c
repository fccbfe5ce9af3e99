/* SPDX-License-Identifier: MIT */
/*
 * loop-epoll.c - the loop without io_uring: readiness, then the call
 *
 * What an op is waiting for is one registration in the epoll set, with the op as its datum:
 *
 *     poll     EPOLLET, stays until it is cancelled
 *     accept   level, stays; accept4(2) until EAGAIN when it is ready
 *     recv     EPOLLONESHOT; recv(2) when it is ready
 *     send     is tried in the next dispatch, and registered (EPOLLONESHOT) only if that would
 *     block
 *
 * epoll's key is (descriptor, open file), one registration each. So a second op on a descriptor
 * that has one, such as a recv and a send that both wait, gets EEXIST and registers a duplicate of
 * the descriptor instead. No table has to be kept, and the events of a poll are not changed by the
 * others.
 *
 * A recv that ended is idle, its owner may close the descriptor in `done`, or start the op again.
 * Therefore the registration is kept during `done` (`kept`), disarmed by EPOLLONESHOT. Started
 * again, EPOLL_CTL_MOD arms it and checks the level; ENOENT and EBADF tell that the descriptor is
 * another one meanwhile. If it was not taken up, it is deleted. A registration whose file lives on
 * in another process after close(2) here (fork) cannot be deleted any more, but being disarmed
 * gives no event.
 *
 * States of an op (loop-engine.h): QUEUED is a send to be tried, ARMED registered. cancel() takes the
 * kernel's reference back at once; `released` still comes from a dispatch only, after the events that
 * epoll_wait() returned were gone through, because one of them may still point to the op.
 *
 * Sleeping costs one epoll_pwait2(2) (Linux 5.11, nanoseconds), or epoll_wait(2) with milliseconds
 * rounded up. A recv costs three system calls in all.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64

struct epoll_set {
	int fd;
	bool without_pwait2;
	struct epoll_event events[EVENTS_MAX];
	int n_events;
	struct {
		struct loop_op *op; /* NULL: nothing is kept; may dangle, compare only */
		int fd, watch_fd;
		unsigned events;
	} kept;
};

/* ---- registrations ------------------------------------------------------------------------ */

static void watch_end(struct epoll_set *e, int fd, int watch_fd)
{
	/* close(2) removed the registration with the descriptor. */
	(void)epoll_ctl(e->fd, EPOLL_CTL_DEL, watch_fd, NULL);
	if (watch_fd != fd)
		close(watch_fd);
}

static void kept_end(struct epoll_set *e)
{
	if (!e->kept.op)
		return;
	watch_end(e, e->kept.fd, e->kept.watch_fd);
	e->kept.op = NULL;
}

static int watch_begin(struct epoll_set *e, struct loop_op *op, unsigned events)
{
	struct epoll_event event = { .events = events, .data.ptr = op };
	int r;

	if (e->kept.op && e->kept.fd == op->fd) {
		/* A duplicate would still be the file that the descriptor was before it was closed. */
		if (e->kept.op == op && e->kept.events == events && e->kept.watch_fd == op->fd &&
		    epoll_ctl(e->fd, EPOLL_CTL_MOD, op->fd, &event) == 0) {
			e->kept.op = NULL;
			op->watch_fd = op->fd;
			op_move(op, OP_ARMED);
			return 0;
		}
		kept_end(e);
	}

	op->watch_fd = op->fd;
	r = epoll_ctl(e->fd, EPOLL_CTL_ADD, op->fd, &event);
	if (r < 0 && errno == EEXIST) {
		op->watch_fd = fcntl(op->fd, F_DUPFD_CLOEXEC, 3);
		if (op->watch_fd < 0)
			return -errno;
		r = epoll_ctl(e->fd, EPOLL_CTL_ADD, op->watch_fd, &event);
		if (r < 0) {
			r = -errno;
			close(op->watch_fd);
			return r;
		}
	}
	if (r < 0)
		return -errno;
	op_move(op, OP_ARMED);
	return 0;
}

/* A spurious event of EPOLLONESHOT. */
static void watch_again(struct epoll_set *e, struct loop_op *op, unsigned events)
{
	struct epoll_event event = { .events = events, .data.ptr = op };

	(void)epoll_ctl(e->fd, EPOLL_CTL_MOD, op->watch_fd, &event);
}

/* ---- operations --------------------------------------------------------------------------- */

static int epoll_start(struct loop *loop, struct loop_op *op)
{
	struct epoll_set *e = loop->state;

	switch (op->kind) {
	case LOOP_OP_POLL:
		return watch_begin(e, op, op->events | EPOLLET);
	case LOOP_OP_RECV:
		return watch_begin(e, op, EPOLLIN | EPOLLONESHOT);
	case LOOP_OP_ACCEPT:
		return watch_begin(e, op, EPOLLIN);
	case LOOP_OP_SEND:
		op_move(op, OP_QUEUED);
		return 0;
	case LOOP_OP_NONE:
		break;
	}
	return -EINVAL;
}

static void epoll_cancel(struct loop *loop, struct loop_op *op)
{
	struct epoll_set *e = loop->state;

	if (op->state == OP_ARMED)
		watch_end(e, op->fd, op->watch_fd);
	op_move(op, OP_RELEASING);
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

static void sends_try(struct loop *loop)
{
	struct loop_op *op;

	while ((op = loop->ops[OP_QUEUED].first)) {
		int r = op_transfer(op);

		if (r == -EAGAIN) {
			r = watch_begin(loop->state, op, EPOLLOUT | EPOLLONESHOT);
			if (r == 0)
				continue;
		}
		op->result = r;
		op_move(op, OP_FINISHED);
	}
}

static int op_rings(struct epoll_set *e, struct loop_op *op, unsigned bits)
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

static int epoll_sleep(struct epoll_set *e, uint64_t until_usec)
{
	struct timespec buf;
	const struct timespec *left = engine_timeout(until_usec, &buf);
	int timeout_msec = -1, r;

	if (!e->without_pwait2) {
		/* By number: the C library knows it from 2.35 on, and hooks go into older containers. */
		r = (int)syscall(SYS_epoll_pwait2, e->fd, e->events, EVENTS_MAX, left, NULL,
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
	r = epoll_wait(e->fd, e->events, EVENTS_MAX, timeout_msec);
	return r < 0 ? -errno : r;
}

static int epoll_wait_(struct loop *loop, uint64_t until_usec)
{
	struct epoll_set *e = loop->state;
	int r;

	e->n_events = 0;
	sends_try(loop);
	r = epoll_sleep(e, loop->ops[OP_FINISHED].first ? 0 : until_usec);
	if (r < 0)
		return r == -EINTR ? 0 : r;
	e->n_events = r;
	return 0;
}

static int epoll_complete(struct loop *loop)
{
	struct epoll_set *e = loop->state;
	int calls = 0;

	for (int i = 0; i < e->n_events; i++) {
		struct loop_op *op = e->events[i].data.ptr;

		if (op && !op->cancelling) /* without one it is loop->wake_fd */
			calls += op_rings(e, op, e->events[i].events);
	}
	e->n_events = 0;
	return calls;
}

static void epoll_free(struct loop *loop, void *state, int error)
{
	struct epoll_set *e = state;

	if (engine_fd_is_lost(error))
		e->fd = -1;
	for (struct loop_op *op = loop->ops[OP_ARMED].first; op; op = op->next)
		watch_end(e, op->fd, op->watch_fd);
	if (e->fd >= 0)
		close(e->fd);
	free(e);
}

/* The set is the parent's too: close(2) leaves it alone, EPOLL_CTL_DEL would not. */
static void epoll_free_in_child(struct loop *loop)
{
	struct epoll_set *e = loop->state;

	for (struct loop_op *op = loop->ops[OP_ARMED].first; op; op = op->next)
		if (op->watch_fd != op->fd)
			close(op->watch_fd);
	close(e->fd);
	free(e);
}

static const struct engine epoll_engine = {
	.backend = LOOP_EPOLL,
	.bind = epoll_bind,
	.start = epoll_start,
	.cancel = epoll_cancel,
	.wait = epoll_wait_,
	.complete = epoll_complete,
	.free = epoll_free,
	.free_in_child = epoll_free_in_child,
};

int epoll_new(struct loop *loop, const struct loop_options *options)
{
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET };
	struct epoll_set *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->without_pwait2 = options->without & LOOP_WITHOUT_PWAIT2;
	e->fd = epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		r = -errno;
		free(e);
		return r;
	}
	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, atomic_load(&loop->wake_fd), &wake) < 0) {
		r = -errno;
		close(e->fd);
		free(e);
		return r;
	}
	loop->engine = &epoll_engine;
	loop->state = e;
	return 0;
}
