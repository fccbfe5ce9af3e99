/* SPDX-License-Identifier: MIT */
/*
 * loop.c - what both engines share: choice, dispatch, posted work, wake-ups, timers
 *
 * A dispatch is one pass over: wait, posted work, completions, timers; the engine does the first
 * and the third. Everything that is due when the wait is over is done once, and what callbacks add
 * meanwhile is due in the next pass, so nobody can keep a pass from ending.
 *
 * Waking. `wake_fd` is an eventfd; each engine listens to it in a way that tells every write and
 * needs no read (a write wakes pollers each time; the counter is full after 2^64 - 2 of them).
 * `woken` says that a wake-up is under way, so that a thousand posts make one system call: a poster
 * pushes its work, then sets `woken`, and writes if it was clear. A pass does not sleep if `woken`
 * is set when it begins, and clears it after the wait, before it takes the work. So
 * whoever sets it while we sleep, or are about to, writes, and nobody but the wait after that look
 * can have used the write up; whoever finds it set will be seen by the next pass at the
 * latest. Without that look a wake-up would be lost that is written after `woken` was cleared and
 * heard in the completions of the same pass. A write that nobody needs any more costs one empty
 * pass.
 *
 * Posted work is a lock-free stack, taken whole and turned round.
 *
 * Timers are a pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986): `child` is the leftmost
 * child, `sibling` the next to the right, `back` the left sibling or, for the leftmost, the parent;
 * a root has none. Setting is O(1), removing O(log n) amortised. While timers expire, those that
 * are set go to a second heap, `fresh`, so that one that always asks for "now" cannot hold the
 * pass; the two are melded afterwards.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- timers ------------------------------------------------------------------------------- */

static struct loop_timer *timer_meld(struct loop_timer *a, struct loop_timer *b)
{
	struct loop_timer *parent, *child;

	if (!a || !b)
		return a ? a : b;

	parent = b->deadline_usec < a->deadline_usec ? b : a;
	child = parent == a ? b : a;

	child->sibling = parent->child;
	if (child->sibling)
		child->sibling->back = child;
	child->back = parent;
	parent->child = child;
	return parent;
}

/* The children of a removed root become one heap: in pairs from the left, then all of those. */
static struct loop_timer *timer_meld_children(struct loop_timer *child)
{
	struct loop_timer *pairs = NULL, *heap = NULL;

	while (child) {
		struct loop_timer *a = child, *b = child->sibling;

		child = b ? b->sibling : NULL;
		a->sibling = a->back = NULL;
		if (b)
			b->sibling = b->back = NULL;
		a = timer_meld(a, b);
		a->sibling = pairs;
		pairs = a;
	}
	while (pairs) {
		struct loop_timer *next = pairs->sibling;

		pairs->sibling = NULL;
		heap = timer_meld(heap, pairs);
		pairs = next;
	}
	return heap;
}

static void timer_remove(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *heap = timer_meld_children(timer->child);

	/* Below the parent its children keep the order in its place, whichever heap this is. */
	if (heap) {
		heap->back = timer->back;
		heap->sibling = timer->sibling;
		if (heap->sibling)
			heap->sibling->back = heap;
	} else if (timer->sibling) {
		timer->sibling->back = timer->back;
	}

	if (timer == loop->timers)
		loop->timers = heap;
	else if (timer == loop->fresh)
		loop->fresh = heap;
	else if (timer->back->child == timer)
		timer->back->child = heap ? heap : timer->sibling;
	else
		timer->back->sibling = heap ? heap : timer->sibling;

	timer->child = timer->sibling = timer->back = NULL;
	timer->queued = false;
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
	if (timer->queued)
		timer_remove(loop, timer);
}

/* The owner of a foreign loop does something outside of a dispatch that only a dispatch can submit. */
static void loop_touch(struct loop *loop)
{
	if (loop->foreign && !loop->dispatching)
		loop_wake(loop);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_usec)
{
	struct loop_timer **heap = loop->expiring ? &loop->fresh : &loop->timers;

	loop_timer_stop(loop, timer);
	timer->deadline_usec = deadline_usec;
	if (deadline_usec == USEC_NEVER)
		return;

	timer->queued = true;
	*heap = timer_meld(*heap, timer);
	loop_touch(loop);
}

static int timers_expire(struct loop *loop)
{
	uint64_t now;
	int calls = 0;

	if (!loop->timers)
		return 0;

	now = now_usec();
	loop->expiring = true;
	while (loop->timers && loop->timers->deadline_usec <= now) {
		struct loop_timer *timer = loop->timers;

		timer_remove(loop, timer);
		timer->expired(timer, now);
		calls++;
	}
	loop->expiring = false;

	loop->timers = timer_meld(loop->timers, loop->fresh);
	loop->fresh = NULL;
	return calls;
}

static uint64_t timers_earliest(const struct loop *loop)
{
	return loop->timers ? loop->timers->deadline_usec : USEC_NEVER;
}

/* ---- posted work -------------------------------------------------------------------------- */

void loop_post(struct loop *loop, struct loop_work *work)
{
	struct loop_work *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);

	do {
		work->next = head;
	} while (!atomic_compare_exchange_weak(&loop->posted, &head, work));
	loop_wake(loop);
}

static int work_run(struct loop *loop)
{
	struct loop_work *work, *forward = NULL;
	int calls = 0;

	if (atomic_load(&loop->woken))
		atomic_exchange(&loop->woken, false);
	if (!atomic_load(&loop->posted))
		return 0;

	work = atomic_exchange(&loop->posted, NULL);
	while (work) {
		struct loop_work *next = work->next;

		work->next = forward;
		forward = work;
		work = next;
	}
	while (forward) {
		work = forward;
		forward = work->next;
		work->run(work);
		calls++;
	}
	return calls;
}

/* ---- operations --------------------------------------------------------------------------- */

static int op_start(struct loop *loop, struct loop_op *op, struct loop_op fresh)
{
	int r;

	if (loop_op_is_busy(op))
		return -EBUSY;

	*op = fresh;
	op->loop = loop;
	r = loop->engine->start(loop, op);
	if (r < 0) {
		engine_op_idle(op);
		return r;
	}
	loop_touch(loop);
	return 0;
}

int loop_poll(struct loop *loop, struct loop_op *op, int fd, unsigned events, loop_done_fn *done)
{
	return op_start(
		loop, op,
		(struct loop_op){ .kind = LOOP_OP_POLL, .fd = fd, .events = events, .done = done });
}

int loop_recv(struct loop *loop, struct loop_op *op, int fd, void *buf, size_t size,
	      loop_done_fn *done)
{
	return op_start(
		loop, op,
		(struct loop_op){
			.kind = LOOP_OP_RECV, .fd = fd, .buf = buf, .size = size, .done = done });
}

int loop_send(struct loop *loop, struct loop_op *op, int fd, const void *buf, size_t size,
	      loop_done_fn *done)
{
	return op_start(loop, op,
			(struct loop_op){ .kind = LOOP_OP_SEND,
					  .fd = fd,
					  .buf = (void *)(uintptr_t)buf, /* only read from */
					  .size = MIN(size, INT32_MAX),	 /* results are int */
					  .done = done });
}

int loop_accept(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done)
{
	int listens = 0;
	socklen_t size = sizeof(listens);

	/* Readiness would never come, and EINVAL would look like an old kernel to loop-uring.c. */
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0)
		return -errno;
	if (!listens)
		return -EINVAL;
	return op_start(loop, op,
			(struct loop_op){ .kind = LOOP_OP_ACCEPT, .fd = fd, .done = done });
}

void loop_cancel(struct loop_op *op, loop_released_fn *released)
{
	if (!loop_op_is_busy(op)) {
		if (released)
			released(op);
		return;
	}

	if (released)
		op->released = released;
	if (op->cancelling)
		return;
	op->cancelling = true;
	op->loop->engine->cancel(op->loop, op);
	loop_touch(op->loop);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static int loop_choose(const struct loop_options *options, struct loop **ret, const char **ret_why)
{
	int r;

	switch (options->backend) {
	case LOOP_URING:
		return uring_new(options, ret, ret_why);
	case LOOP_EPOLL:
		*ret_why = "epoll was asked for";
		return epoll_new(options, ret);
	case LOOP_AUTO:
		r = uring_new(options, ret, ret_why);
		/* Without descriptors epoll gets no further. */
		if (r < 0 && r != -EMFILE && r != -ENFILE)
			r = epoll_new(options, ret);
		return r;
	}
	return -EINVAL;
}

int loop_new(const struct loop_options *options, struct loop **ret, const char **ret_why)
{
	static const struct loop_options defaults = { .backend = LOOP_AUTO };
	const char *why = "";
	int r;

	r = loop_choose(options ? options : &defaults, ret, &why);
	if (r < 0)
		return r;
	if (ret_why)
		*ret_why = why;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (loop)
		loop->engine->free(loop);
	return NULL;
}

struct loop *loop_free_in_child(struct loop *loop)
{
	if (loop)
		loop->engine->free_in_child(loop);
	return NULL;
}

enum loop_backend loop_backend(const struct loop *loop)
{
	return loop->engine->backend;
}

int loop_fd(struct loop *loop)
{
	return loop->foreign ? loop->engine->fd(loop) : -EINVAL;
}

int loop_dispatch(struct loop *loop, uint64_t until_usec)
{
	int r, calls;

	if (!engine_is_owner(loop))
		return -EXDEV;
	if (loop->dispatching)
		return -EBUSY;
	if (!loop->bound) {
		r = loop->engine->bind(loop);
		if (r < 0)
			return r;
		loop->owner = pthread_self();
		loop->bound = true;
	}

	until_usec = MIN(until_usec, timers_earliest(loop));
	if (atomic_load(&loop->woken) || atomic_load(&loop->posted))
		until_usec = 0;

	loop->dispatching = true;
	r = loop->engine->wait(loop, until_usec);
	if (r == 0) {
		calls = work_run(loop);
		calls += loop->engine->complete(loop);
		calls += timers_expire(loop);
		if (loop->foreign)
			loop->engine->settle(loop, timers_earliest(loop));
		r = calls;
	}
	loop->dispatching = false;
	return r;
}
