/* SPDX-License-Identifier: MIT */
/*
 * loop-timers.c - the loop where neither io_uring nor epoll can be had any more: timers and posted
 * work alone
 *
 * It sleeps in ppoll(2) on the descriptor that loop_wake() writes to. Operations end with an error,
 * so that their owner can do on a timer what it did on an event. In growing intervals the wait fails
 * on purpose: then the loop tries epoll again.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MIN_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define LOOK_USEC (100 * USEC_PER_MSEC)

static int timers_start(_unused_ struct loop *loop, _unused_ struct loop_op *op)
{
	return -ENOTSUP;
}

static void timers_cancel(_unused_ struct loop *loop, struct loop_op *op)
{
	op_move(op, OP_RELEASING);
}

static int timers_wait(struct loop *loop, uint64_t until_usec)
{
	uint64_t retry_usec = loop->retry_usec, count;
	struct pollfd pollfd = { .fd = atomic_load(&loop->wake_fd), .events = POLLIN };
	struct timespec buf;

	if (now_usec() >= retry_usec)
		return -EAGAIN;
	until_usec = MIN(until_usec, retry_usec);
	/* EINVAL: RLIMIT_NOFILE is 0. Without a descriptor a wake-up is seen at the next look. */
	if (ppoll(&pollfd, 1, engine_timeout(until_usec, &buf), NULL) < 0 && errno == EINVAL)
		(void)ppoll(NULL, 0, engine_timeout(MIN(until_usec, now_usec() + LOOK_USEC), &buf),
			    NULL);
	(void)!read(pollfd.fd, &count, sizeof(count));
	return 0;
}

static int timers_complete(_unused_ struct loop *loop)
{
	return 0;
}

static const struct engine timers_engine = {
	.backend = LOOP_TIMERS,
	.start = timers_start,
	.cancel = timers_cancel,
	.wait = timers_wait,
	.complete = timers_complete,
};

void timers_new(struct loop *loop)
{
	uint64_t pace_usec = RETRY_MIN_USEC << MIN(loop->failures, 6u);

	loop->engine = &timers_engine;
	loop->state = NULL;
	loop->retry_usec = now_usec() + MIN(pace_usec, RETRY_MAX_USEC);
}
