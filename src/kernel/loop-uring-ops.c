/* SPDX-License-Identifier: MIT */
/*
 * loop-uring-ops.c - the loop on io_uring: the states of its operations
 *
 * States (loop-engine.h): QUEUED and CANCEL_QUEUED have no request yet, ARMED and CANCELLING have one
 * in the kernel, PARKED is a poll that the kernel ended and that can get no event any more.
 *
 * Starting and cancelling only change the state; requests are made when the loop waits. So
 * there is no full submission queue to report to a caller, a loop can be filled before it has a
 * thread, and all that callbacks start goes in with the next wait. A request carries its op, whose
 * address leaves the lowest bits free for a TAG. An op leaves the kernel with its last completion
 * (`more` is false), never with that of its cancel.
 *
 * A multishot poll ends by itself for three reasons. Its completion did not fit into the queue: then
 * it is armed again, and the present state is told once more. Or the wake-up came from a ring, by its
 * eventfd (EPOLL_URING_WAKE in io_poll_wake()): it is armed again too. Or the file registered no
 * wait queue, such as a PSI file without a trigger (io_poll_add() in io_uring/poll.c completes it
 * at once): it can get no event, and arming it again would spin. That one is PARKED until it
 * is cancelled, without events as in an edge-triggered epoll. can_ring() detects the last case.
 *
 * Kernel facts relied on: a multishot poll tells the present state, then changes; each write to an
 * eventfd is one. Closing a ring cancels what is in flight, but later, in a kernel thread; so
 * loop_free() cancels and reaps first, where it may: on the thread that owns the ring.
 */
#include "kernel/loop-engine.h"
#include "kernel/loop-uring.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <stdlib.h>
#include <unistd.h>

#define FREE_USEC (200 * USEC_PER_MSEC)

#define TAG_MASK UINT64_C(3)
#define TAG_OP UINT64_C(0)
#define TAG_WAKE UINT64_C(1) /* the poll on wake_fd */
#define TAG_NONE UINT64_C(2) /* the result of a cancel */

struct uring {
	struct ring *ring;
	bool wake_armed;
};

static uint64_t data_of(const struct loop_op *op)
{
	return (uint64_t)(uintptr_t)op | TAG_OP;
}

/* ---- starting and cancelling -------------------------------------------------------------- */

static bool is_anything_queued(const struct loop *loop)
{
	return loop->ops[OP_QUEUED].first || loop->ops[OP_CANCEL_QUEUED].first;
}

/* Makes requests of all that is queued. What the kernel does not take now stays so. */
static void queued_submit(struct loop *loop)
{
	struct uring *u = loop->state;
	struct loop_op *op;

	if (!u->wake_armed)
		u->wake_armed = ring_poll(u->ring, atomic_load(&loop->wake_fd), POLLIN, TAG_WAKE);

	while ((op = loop->ops[OP_CANCEL_QUEUED].first)) {
		if (!ring_cancel(u->ring, data_of(op), TAG_NONE))
			return;
		op_move(op, OP_CANCELLING);
	}
	while ((op = loop->ops[OP_QUEUED].first)) {
		if (!ring_poll(u->ring, op->fd, op->events, data_of(op)))
			return;
		op_move(op, OP_ARMED);
	}
}

static int uring_start(_unused_ struct loop *loop, struct loop_op *op)
{
	op_move(op, OP_QUEUED);
	return 0;
}

static void uring_cancel(_unused_ struct loop *loop, struct loop_op *op)
{
	bool outside = op->state == OP_QUEUED || op->state == OP_PARKED;

	op_move(op, outside ? OP_RELEASING : OP_CANCEL_QUEUED);
}

static int uring_wait(struct loop *loop, uint64_t until_usec)
{
	struct uring *u = loop->state;

	queued_submit(loop);
	/* Requests that the kernel did not take need another pass soon. */
	if (is_anything_queued(loop) || !u->wake_armed)
		until_usec = 0;
	return ring_wait(u->ring, until_usec);
}

/* ---- completions -------------------------------------------------------------------------- */

/* A PSI file without a trigger says POLLERR; files that cannot be polled at all are refused by
 * epoll_ctl(2), which is asked once. */
static bool can_ring(struct loop_op *op, int result)
{
	struct epoll_event event = { 0 };
	int fd;

	if (result & POLLERR)
		return false;
	if (op->can_ring)
		return true;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0) /* not known: a poll too many is harmless, a missing one is not */
		return true;
	op->can_ring = epoll_ctl(fd, EPOLL_CTL_ADD, op->fd, &event) == 0 || errno != EPERM;
	close(fd);
	return op->can_ring;
}

static int op_completed(struct uring *u, struct loop_op *op, int result, bool more)
{
	if (op->cancelling)
		return more ? 0 : engine_op_release(op);
	if (!more && result < 0) {
		engine_op_done(op, result);
		return 1;
	}
	if (!more)
		op_move(op,
			!ring_overflowed(u->ring) && !can_ring(op, result) ? OP_PARKED : OP_QUEUED);
	if (result <= 0)
		return 0;
	op->done(op, result);
	return 1;
}

static int completed(struct uring *u, const struct ring_completion *c)
{
	switch (c->data & TAG_MASK) {
	case TAG_OP:
		return op_completed(u, (struct loop_op *)(uintptr_t)c->data, c->result, c->more);
	case TAG_WAKE:
		u->wake_armed = c->more;
		return 0;
	}
	return 0;
}

static int uring_complete(struct loop *loop)
{
	struct uring *u = loop->state;
	struct ring_completion completion;
	int calls = 0;

	for (unsigned n = ring_ready(u->ring); n > 0 && ring_next(u->ring, &completion); n--)
		calls += completed(u, &completion);
	ring_pass(u->ring);
	return calls;
}

/* ---- making and freeing ------------------------------------------------------------------- */

static int uring_bind(struct loop *loop)
{
	return ring_enable(((struct uring *)loop->state)->ring);
}

/* Completions that are not delivered any more. */
static void drop_completions(struct uring *u)
{
	struct ring_completion completion;

	while (ring_next(u->ring, &completion)) {
		struct loop_op *op = (struct loop_op *)(uintptr_t)completion.data;

		if ((completion.data & TAG_MASK) == TAG_OP && !completion.more)
			engine_op_idle(op);
	}
}

/* Gets everything back that the kernel holds. */
static void cancel_all(struct loop *loop)
{
	struct uring *u = loop->state;
	uint64_t until_usec = now_usec() + FREE_USEC;
	struct loop_op *op;

	while ((op = loop->ops[OP_QUEUED].first))
		engine_op_idle(op);
	while ((op = loop->ops[OP_ARMED].first))
		op_move(op, OP_CANCEL_QUEUED);

	while ((loop->ops[OP_CANCEL_QUEUED].first || loop->ops[OP_CANCELLING].first) &&
	       now_usec() < until_usec) {
		queued_submit(loop);
		if (ring_drain(u->ring, until_usec) < 0)
			break;
		drop_completions(u);
	}
}

/*
 * After an error the operations are another engine's: what the kernel still has of them ends with
 * the ring, soon and in a thread of the kernel's, and no completion of it is seen.
 */
static void uring_free(struct loop *loop, void *state, int error)
{
	struct uring *u = state;

	if (error == 0) {
		if (loop->bound && pthread_equal(loop->waiter, pthread_self()))
			cancel_all(loop);
		drop_completions(u);
	}
	ring_free(u->ring, engine_fd_is_lost(error));
	free(u);
}

static void uring_free_in_child(struct loop *loop)
{
	struct uring *u = loop->state;

	ring_free_in_child(u->ring);
	free(u);
}

static const struct engine uring_engine = {
	.backend = LOOP_URING,
	.bind = uring_bind,
	.start = uring_start,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.complete = uring_complete,
	.free = uring_free,
	.free_in_child = uring_free_in_child,
};

int uring_new(struct loop *loop, const struct loop_options *options)
{
	struct uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	r = ring_new(options, &u->ring, &loop->why);
	if (r < 0) {
		free(u);
		return r;
	}
	loop->engine = &uring_engine;
	loop->state = u;
	return 0;
}
