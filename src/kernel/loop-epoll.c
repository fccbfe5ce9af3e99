/* SPDX-License-Identifier: MIT */
/*
 * loop-epoll.c - the loop without io_uring
 *
 * A poll is one edge-triggered registration in the epoll set, with the op as its datum. Cancelling
 * takes the kernel's reference back at once; `released` still comes from a dispatch only, after the
 * events that epoll_wait() returned were gone through, because one of them may still point to the op.
 *
 * Sleeping costs one epoll_pwait2(2) (Linux 5.11, nanoseconds), or epoll_wait(2) with milliseconds
 * rounded up.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64

struct epoll_set {
	int fd;
	bool without_pwait2;
	struct epoll_event events[EVENTS_MAX];
	int n_events;
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
	r = epoll_sleep(e, until_usec);
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

		if (!op || op->cancelling) /* without one it is loop->wake_fd */
			continue;
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
