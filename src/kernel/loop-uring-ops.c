/* SPDX-License-Identifier: MIT */
/*
 * loop-uring-ops.c - the loop on io_uring: the states of its operations
 *
 * An op is in one list, by its state:
 *
 *     QUEUED         todo       has no request yet
 *     ARMED          flight     in the kernel
 *     CANCEL_QUEUED  todo       in the kernel; its cancel has no request yet
 *     CANCELLING     flight     in the kernel, and so is its cancel
 *     PARKED         parked     a poll that the kernel ended, and that nothing can ring any more
 *     RELEASING      releasing  out of the kernel, `released` to be told
 *
 * Starting and cancelling only move an op to `todo`; requests are made when the loop waits. So
 * there is no full submission queue to report to a caller, a loop can be filled before it has a
 * thread, and all that callbacks start goes in with the next wait. A request carries its op, whose
 * address leaves the lowest bits free for a TAG. An op leaves the kernel with its last completion
 * (`more` is false), never with that of its cancel.
 *
 * A multishot poll ends by itself for three reasons. Its completion did not fit into the queue: then
 * it is armed again, and the present state is told once more. Or what rang it was another ring,
 * by its eventfd (EPOLL_URING_WAKE in io_poll_wake(), which so keeps rings from ringing each other
 * for ever): that is a bridge in the loop of its host, and it is armed again too. Or the file registered no wait queue,
 * such as a PSI file without a trigger (io_poll_add() in io_uring/poll.c completes it at once):
 * nothing can ring it, and to arm it again would be to spin. That one is PARKED until it is
 * cancelled, as silent as an edge-triggered epoll would be. can_ring() tells the last one apart.
 *
 * Kernel facts relied on: recv and send on a socket wait in the ring, O_NONBLOCK or not. A
 * multishot poll tells the present state, then changes; an eventfd rings it with every write.
 * Closing a ring cancels what is in flight, but later, in a kernel thread; so loop_free() cancels
 * and reaps first, where it may: on the thread that owns the ring. Where that thread has ended,
 * nothing can run any more that would write to a buffer, because completions are made on it and on
 * no other.
 *
 * A foreign loop's deadline is one timeout request: replaced when the earliest timer moves forward,
 * removed when there is none, left alone (a ring too early, once) when it moves back.
 */
#include "kernel/loop-engine.h"
#include "kernel/loop-uring.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FREE_USEC (200 * USEC_PER_MSEC)

enum uring_state {
	OP_IDLE,
	OP_QUEUED,
	OP_ARMED,
	OP_CANCEL_QUEUED,
	OP_CANCELLING,
	OP_PARKED,
	OP_RELEASING,
};

#define TAG_MASK UINT64_C(3)
#define TAG_OP UINT64_C(0)
#define TAG_WAKE UINT64_C(1)  /* the poll on wake_fd */
#define TAG_TIMER UINT64_C(2) /* foreign: the timeout; its generation is in the bits above */
#define TAG_NONE UINT64_C(3)  /* nobody wants to know */

struct uring_loop {
	struct loop loop;
	struct ring *ring;
	bool wake_armed;
	struct op_list todo, flight, parked, releasing;
	uint64_t armed_usec; /* foreign: what the timeout is set to */
	uint64_t generation;
};

static struct uring_loop *uring_of(struct loop *loop)
{
	return CONTAINER_OF(loop, struct uring_loop, loop);
}

static struct op_list *list_of(struct uring_loop *u, enum uring_state state)
{
	switch (state) {
	case OP_QUEUED:
	case OP_CANCEL_QUEUED:
		return &u->todo;
	case OP_ARMED:
	case OP_CANCELLING:
		return &u->flight;
	case OP_PARKED:
		return &u->parked;
	case OP_RELEASING:
		return &u->releasing;
	case OP_IDLE:
		break;
	}
	return NULL;
}

static void op_move(struct uring_loop *u, struct loop_op *op, enum uring_state state)
{
	struct op_list *from = list_of(u, op->state), *to = list_of(u, state);

	if (from)
		op_list_remove(from, op);
	op->state = (unsigned char)state;
	if (to)
		op_list_add(to, op);
}

static uint64_t data_of(const struct loop_op *op)
{
	return (uint64_t)(uintptr_t)op | TAG_OP;
}

/* ---- starting and cancelling -------------------------------------------------------------- */

/* Makes requests of all that is to be done. What the kernel does not take now stays in `todo`. */
static void todo_submit(struct uring_loop *u)
{
	struct loop_op *op;

	if (!u->wake_armed && !u->loop.foreign)
		u->wake_armed = ring_poll(u->ring, u->loop.wake_fd, POLLIN, TAG_WAKE);

	while ((op = u->todo.first)) {
		bool cancel = op->state == OP_CANCEL_QUEUED;

		if (cancel ? !ring_cancel(u->ring, data_of(op), TAG_NONE)
			   : !ring_start(u->ring, op, data_of(op)))
			return;
		op_move(u, op, cancel ? OP_CANCELLING : OP_ARMED);
	}
}

static int uring_start(struct loop *loop, struct loop_op *op)
{
	op_move(uring_of(loop), op, OP_QUEUED);
	return 0;
}

static void uring_cancel(struct loop *loop, struct loop_op *op)
{
	bool outside = op->state == OP_QUEUED || op->state == OP_PARKED;

	op_move(uring_of(loop), op, outside ? OP_RELEASING : OP_CANCEL_QUEUED);
}

static int uring_wait(struct loop *loop, uint64_t until_usec)
{
	struct uring_loop *u = uring_of(loop);

	todo_submit(u);
	/* What the kernel would not take needs another pass soon. */
	if (u->releasing.first || u->todo.first || (!u->wake_armed && !loop->foreign))
		until_usec = 0;
	return ring_wait(u->ring, until_usec);
}

/* ---- completions -------------------------------------------------------------------------- */

static int accept_by_poll(struct uring_loop *u, struct loop_op *op)
{
	int r, calls = 0;

	/* Queued first: if it is cancelled from `done`, it goes to `releasing` and stays valid. */
	op_move(u, op, OP_QUEUED);
	r = engine_accept(op, &calls);
	if (r < 0) {
		op_move(u, op, OP_IDLE);
		engine_op_done(op, r);
		calls++;
	}
	return calls;
}

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
	if (fd < 0) /* rather once more than never again */
		return true;
	op->can_ring = epoll_ctl(fd, EPOLL_CTL_ADD, op->fd, &event) == 0;
	close(fd);
	return op->can_ring;
}

static int op_completed(struct uring_loop *u, struct loop_op *op, int result, bool more)
{
	bool again = false;

	if (op->cancelling) {
		if (op->kind == LOOP_OP_ACCEPT && !op->by_poll && result >= 0)
			close(result);
		if (more)
			return 0;
		op_move(u, op, OP_IDLE);
		return engine_op_release(op);
	}

	switch (op->kind) {
	case LOOP_OP_POLL:
		again = result >= 0;
		break;
	case LOOP_OP_RECV:
	case LOOP_OP_SEND:
		again = result == -EINTR;
		break;
	case LOOP_OP_ACCEPT:
		if (op->by_poll && result >= 0)
			return accept_by_poll(u, op);
		/* EINVAL: no multishot accept (5.19). EAGAIN: O_NONBLOCK of the listener was taken
		 * for "do not wait". If it is the descriptor's fault, accept(2) will say so again.
		 * */
		if (!op->by_poll && (result == -EINVAL || result == -EAGAIN))
			again = op->by_poll = true;
		else
			again = result >= 0 || result == -ECONNABORTED || result == -EINTR;
		break;
	case LOOP_OP_NONE:
		break;
	}

	if (!more && !again) {
		op_move(u, op, OP_IDLE);
		engine_op_done(op, result);
		return 1;
	}
	if (!more) {
		bool park = op->kind == LOOP_OP_POLL && !ring_overflowed(u->ring) &&
			    !can_ring(op, result);

		op_move(u, op, park ? OP_PARKED : OP_QUEUED);
	}
	if (result < 0 || (result == 0 && op->kind != LOOP_OP_ACCEPT))
		return 0;
	op->done(op, result);
	return 1;
}

static int completed(struct uring_loop *u, const struct ring_completion *c)
{
	switch (c->data & TAG_MASK) {
	case TAG_OP:
		return op_completed(u, (struct loop_op *)(uintptr_t)c->data, c->result, c->more);
	case TAG_WAKE:
		u->wake_armed = c->more;
		return 0;
	case TAG_TIMER:
		/* A removed one may have fired just before. */
		if (c->data >> 2 == u->generation && c->result == -ETIME)
			u->armed_usec = USEC_NEVER;
		return 0;
	}
	return 0;
}

static int uring_complete(struct loop *loop)
{
	struct uring_loop *u = uring_of(loop);
	struct loop_op *op, *last = u->releasing.last;
	struct ring_completion completion;
	int calls = 0;

	for (unsigned n = ring_ready(u->ring); n > 0 && ring_next(u->ring, &completion); n--)
		calls += completed(u, &completion);
	ring_pass(u->ring);

	/* No completion can point to one of these: they are out of the kernel. */
	while (last && (op = u->releasing.first)) {
		bool end = op == last;

		op_move(u, op, OP_IDLE);
		calls += engine_op_release(op);
		if (end)
			break;
	}
	return calls;
}

/* ---- foreign ------------------------------------------------------------------------------ */

static void deadline_submit(struct uring_loop *u, uint64_t until_usec)
{
	if (until_usec == u->armed_usec || (until_usec > u->armed_usec && until_usec != USEC_NEVER))
		return;

	if (u->armed_usec != USEC_NEVER) {
		if (!ring_timeout_cancel(u->ring, u->generation << 2 | TAG_TIMER, TAG_NONE))
			return;
		u->armed_usec = USEC_NEVER;
		u->generation++;
	}
	if (until_usec != USEC_NEVER &&
	    ring_timeout(u->ring, until_usec, u->generation << 2 | TAG_TIMER))
		u->armed_usec = until_usec;
}

static void uring_settle(struct loop *loop, uint64_t until_usec)
{
	struct uring_loop *u = uring_of(loop);

	deadline_submit(u, until_usec);
	todo_submit(u);
	if (ring_listen(u->ring) || u->releasing.first || u->todo.first ||
	    u->armed_usec > until_usec)
		loop_wake(loop);
}

static int uring_fd(struct loop *loop)
{
	return loop->wake_fd;
}

/* ---- making and freeing ------------------------------------------------------------------- */

static int uring_bind(struct loop *loop)
{
	return ring_enable(uring_of(loop)->ring);
}

/* Completions that nobody will be told of may hold descriptors. */
static void drop_completions(struct uring_loop *u)
{
	struct ring_completion completion;

	while (ring_next(u->ring, &completion)) {
		struct loop_op *op = (struct loop_op *)(uintptr_t)completion.data;

		if ((completion.data & TAG_MASK) != TAG_OP)
			continue;
		if (op->kind == LOOP_OP_ACCEPT && !op->by_poll && completion.result >= 0)
			close(completion.result);
		if (!completion.more) {
			op_move(u, op, OP_IDLE);
			engine_op_idle(op);
		}
	}
}

static void drop_list(struct uring_loop *u, struct op_list *list)
{
	struct loop_op *op;

	while ((op = list->first)) {
		op_move(u, op, OP_IDLE);
		engine_op_idle(op);
	}
}

/* Gets everything back that the kernel holds, so that no buffer is written to any more. */
static void cancel_all(struct uring_loop *u)
{
	uint64_t until_usec = now_usec() + FREE_USEC;
	struct loop_op *op, *next;

	for (op = u->todo.first; op; op = next) {
		next = op->next;
		if (op->state == OP_QUEUED) {
			op_move(u, op, OP_IDLE);
			engine_op_idle(op);
		}
	}
	for (op = u->flight.first; op; op = next) {
		next = op->next;
		if (op->state == OP_ARMED)
			op_move(u, op, OP_CANCEL_QUEUED);
	}

	while ((u->todo.first || u->flight.first) && now_usec() < until_usec) {
		todo_submit(u);
		if (ring_drain(u->ring, until_usec) < 0)
			break;
		drop_completions(u);
	}
}

static void uring_free(struct loop *loop)
{
	struct uring_loop *u = uring_of(loop);

	if (loop->bound && engine_is_owner(loop))
		cancel_all(u);
	drop_completions(u);
	drop_list(u, &u->todo);
	drop_list(u, &u->flight);
	drop_list(u, &u->parked);
	drop_list(u, &u->releasing);
	ring_free(u->ring);
	close(loop->wake_fd);
	free(u);
}

static void uring_free_in_child(struct loop *loop)
{
	struct uring_loop *u = uring_of(loop);

	ring_free_in_child(u->ring);
	close(loop->wake_fd);
	free(u);
}

static const struct engine uring_engine = {
	.backend = LOOP_URING,
	.bind = uring_bind,
	.start = uring_start,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.complete = uring_complete,
	.settle = uring_settle,
	.fd = uring_fd,
	.free = uring_free,
	.free_in_child = uring_free_in_child,
};

int uring_new(const struct loop_options *options, struct loop **ret, const char **ret_why)
{
	struct uring_loop *u;
	int r;

	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->loop.engine = &uring_engine;
	u->loop.foreign = options->foreign;
	u->armed_usec = USEC_NEVER;

	u->loop.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->loop.wake_fd < 0) {
		r = -errno;
		free(u);
		return r;
	}
	r = ring_new(options, u->loop.wake_fd, &u->ring, ret_why);
	if (r < 0) {
		close(u->loop.wake_fd);
		free(u);
		return r;
	}
	*ret = &u->loop;
	return 0;
}
