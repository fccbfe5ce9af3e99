/* SPDX-License-Identifier: MIT */
/*
 * loop-epoll.c - the loop without io_uring
 *
 * A poll is one edge-triggered registration in the epoll set, with the op as its datum. Cancelling
 * takes the kernel's reference back at once; `released` still comes from a dispatch only, after the
 * events that epoll_wait() returned were gone through, because one of them may still point to the op.
 *
 * A drain is such a registration too, and one recv(2) each time it rings. What that did not take (more
 * bytes, or the end behind them) would give no edge: armed again, it rings in the next pass.
 *
 * It sleeps in epoll_wait(2), with milliseconds rounded up: nothing here is sampled faster than every
 * 10 ms. (epoll_pwait2(2) has nanoseconds, and is in no kernel before 5.11 and in no older seccomp filter.)
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 64

struct epoll_set {
	int fd;
	struct epoll_event events[EVENTS_MAX];
	int n_events;
	char dropped[DRAIN_MAX];
};

static int epoll_start(struct loop *loop, struct loop_op *op)
{
	struct epoll_set *e = loop->state;
	struct epoll_event event = { .events = op->events | EPOLLET, .data.ptr = op };

	if (epoll_ctl(e->fd, EPOLL_CTL_ADD, op->fd, &event) < 0)
		return -errno;
	op_move(op, OP_ARMED);
	return 0;
}

/* close(2) may have removed it with the descriptor. */
static void epoll_cancel(struct loop *loop, struct loop_op *op)
{
	struct epoll_set *e = loop->state;

	if (op->state == OP_ARMED)
		(void)epoll_ctl(e->fd, EPOLL_CTL_DEL, op->fd, NULL);
	op_move(op, OP_RELEASING);
}

/* ---- the engine --------------------------------------------------------------------------- */

static int epoll_wait_(struct loop *loop, uint64_t until_usec)
{
	struct epoll_set *e = loop->state;
	int timeout_msec = -1;

	if (until_usec != USEC_NEVER) {
		uint64_t left_usec = until_usec ? usec_sub(until_usec, now_usec()) : 0;

		timeout_msec = (int)MIN((left_usec + USEC_PER_MSEC - 1) / USEC_PER_MSEC,
					(uint64_t)INT32_MAX);
	}
	e->n_events = epoll_wait(e->fd, e->events, EVENTS_MAX, timeout_msec);
	if (e->n_events >= 0)
		return 0;
	e->n_events = 0;
	return errno == EINTR ? 0 : -errno;
}

/* Returns: how many callbacks that were. */
static int epoll_drain(struct epoll_set *e, struct loop_op *op, unsigned bits)
{
	struct epoll_event event = { .events = op->events | EPOLLET, .data.ptr = op };
	ssize_t n = recv(op->fd, e->dropped, sizeof(e->dropped), MSG_DONTWAIT);
	int result = n < 0 ? -errno : (int)n;

	if (result == -EAGAIN)
		return 0;
	if (result <= 0) {
		(void)epoll_ctl(e->fd, EPOLL_CTL_DEL, op->fd, NULL);
		engine_op_done(op, result);
		return 1;
	}
	if (n == (ssize_t)sizeof(e->dropped) || (bits & ~(unsigned)EPOLLIN))
		(void)epoll_ctl(e->fd, EPOLL_CTL_MOD, op->fd, &event);
	op->done(op, result);
	return 1;
}

static int epoll_complete(struct loop *loop)
{
	struct epoll_set *e = loop->state;
	int calls = 0;

	for (int i = 0; i < e->n_events; i++) {
		struct loop_op *op = e->events[i].data.ptr;

		if (!op || op->cancelling) /* without one it is loop->wake_fd */
			continue;
		if (op->drains) {
			calls += epoll_drain(e, op, e->events[i].events);
			continue;
		}
		op->done(op, (int)e->events[i].events);
		calls++;
	}
	e->n_events = 0;
	return calls;
}

/* In a child the set is the parent's too: close(2) leaves it alone, EPOLL_CTL_DEL would not. */
static void epoll_free(_unused_ struct loop *loop, void *state, enum engine_end end)
{
	struct epoll_set *e = state;

	if (end != ENGINE_FD_LOST)
		close(e->fd);
	free(e);
}

static const struct engine epoll_engine = {
	.backend = LOOP_EPOLL,
	.start = epoll_start,
	.cancel = epoll_cancel,
	.wait = epoll_wait_,
	.complete = epoll_complete,
	.free = epoll_free,
};

int epoll_new(struct loop *loop)
{
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET };
	struct epoll_set *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
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
