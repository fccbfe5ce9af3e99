/* SPDX-License-Identifier: MIT */
/*
 * loop.c - what the engines share: choice and replacement, dispatch, posted work, wake-ups, timers
 *
 * A dispatch is one pass over: wait, posted work, completions, timers; the engine does the first
 * and the third. Everything that is due when the wait is over is done once, and what callbacks add
 * meanwhile is due in the next pass, so that a pass always ends. With loop_fd() another thread does
 * the waiting (loop-foreign.c), and a dispatch begins where that wait ended.
 *
 * Waking. `wake_fd` is an eventfd; each engine listens to it in a way that tells every write and needs no read (a
 * write wakes pollers each time; the counter is full after 2^64 - 2 of them). `woken` says that a wake-up is under
 * way, so that a thousand posts make one system call: a poster pushes its work, then sets `woken`, and writes if
 * it was clear. A pass does not sleep if `woken` is set when it begins, and clears it after the wait, before it
 * takes the work. So a poster that sets it while the loop sleeps, or is about to, writes, and only the wait after
 * that check can have consumed the write; the work of one that finds it set is taken by the next pass at the
 * latest. A superfluous write costs one empty pass.
 *
 * Posted work is a lock-free stack, taken whole and turned round.
 *
 * Timers are a skew heap (Sleator and Tarjan, 1986): a tree in which no child is due before its parent.
 * Where two are melded, the children of each timer on the way change sides. Setting and removing are
 * O(log n) amortised. One that is set while timers expire is due in the next pass at the earliest, so that
 * one that always asks for "now" cannot hold the pass.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- timers ------------------------------------------------------------------------------- */

static struct loop_timer *timer_meld(struct loop_timer *a, struct loop_timer *b)
{
	struct loop_timer *root = NULL, **place = &root, *parent = NULL;

	while (a && b) {
		struct loop_timer *first = b->deadline_usec < a->deadline_usec ? b : a;

		b = first == a ? b : a;
		a = first->right;
		first->right = first->left;
		first->parent = parent;
		*place = parent = first;
		place = &first->left;
	}
	*place = a ? a : b;
	if (*place)
		(*place)->parent = parent;
	return root;
}

/* Its children take its place. */
static void timer_remove(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *heap = timer_meld(timer->left, timer->right), *parent = timer->parent;

	if (heap)
		heap->parent = parent;
	if (parent)
		*(parent->left == timer ? &parent->left : &parent->right) = heap;
	else
		loop->timers = heap;
	timer->left = timer->right = timer->parent = NULL;
	timer->queued = false;
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
	if (timer->queued)
		timer_remove(loop, timer);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_usec)
{
	loop_timer_stop(loop, timer);
	timer->deadline_usec = MAX(deadline_usec, loop->not_before_usec);
	if (deadline_usec == USEC_NEVER)
		return;
	timer->queued = true;
	loop->timers = timer_meld(loop->timers, timer);
}

static int timers_expire(struct loop *loop)
{
	uint64_t now;
	int calls = 0;

	if (!loop->timers)
		return 0;

	now = now_usec();
	loop->not_before_usec = now + 1;
	while (loop->timers && loop->timers->deadline_usec <= now) {
		struct loop_timer *timer = loop->timers;

		timer_remove(loop, timer);
		timer->expired(timer, now);
		calls++;
	}
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

static int op_start(struct loop_op *op, struct loop_op as)
{
	int r;

	if (loop_op_is_busy(op) || (as.loop->foreign && !as.loop->dispatching))
		return -EBUSY;

	*op = as;
	r = op->loop->engine->start(op->loop, op);
	if (r < 0)
		engine_op_idle(op);
	return r;
}

int loop_poll(struct loop *loop, struct loop_op *op, int fd, unsigned events, loop_done_fn *done)
{
	return op_start(op,
			(struct loop_op){ .loop = loop, .fd = fd, .events = events, .done = done });
}

int loop_drain(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done)
{
	return op_start(op, (struct loop_op){ .loop = loop,
					      .fd = fd,
					      .events = POLLIN | POLLRDHUP,
					      .drains = true,
					      .done = done });
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
}

/* Up to the one that is last now: others come in the next pass. */
static int releases_tell(struct loop *loop)
{
	struct op_list *releasing = &loop->ops[OP_RELEASING];
	struct loop_op *op, *last = releasing->last;
	int calls = 0;

	for (bool end = !last; !end && (op = releasing->first);) {
		end = op == last;
		calls += engine_op_release(op);
	}
	return calls;
}

/* ---- the engine --------------------------------------------------------------------------- */

static int engine_choose(struct loop *loop, const struct loop_options *options)
{
	int r;

	switch (options->backend) {
	case LOOP_URING:
		return uring_new(loop, options);
	case LOOP_EPOLL:
		loop->why = "epoll was asked for";
		return epoll_new(loop);
	case LOOP_AUTO:
		r = uring_new(loop, options);
		/* Without descriptors epoll gets no further. */
		if (r < 0 && r != -EMFILE && r != -ENFILE)
			r = epoll_new(loop);
		return r;
	case LOOP_TIMERS:
		break;
	}
	return -EINVAL;
}

/*
 * Move all operations to the next engine. It checks the present state of each. That may not show what
 * the old engine took and did not tell: a PSI alarm, or bytes. So these are told one.
 */
static int op_hand_over(struct loop *loop, struct loop_op *op)
{
	int r;

	if (op->cancelling) {
		op_move(op, OP_RELEASING);
		return 0;
	}
	op_move(op, OP_IDLE);
	r = loop->engine->start(loop, op);
	if (r == 0 && !op->drains && !(op->events & POLLPRI))
		return 0;
	op->done(op, r < 0 ? r : op->drains ? 1 : POLLPRI);
	return 1;
}

/* Does that error of a wait mean that the program closed the engine's descriptor? Its number may be
 * that of another file by now. */
static bool fd_is_lost(int error)
{
	return error == -EBADF || error == -EINVAL || error == -EOPNOTSUPP;
}

static void engine_end(struct loop *loop, const struct engine *engine, void *state,
		       enum engine_end end)
{
	if (state)
		engine->free(loop, state, end);
}

/*
 * The engine failed with `error`, and its next wait is likely to fail too: replace it, and move all
 * operations. Events from before are still told by the old one.
 */
static int engine_replace(struct loop *loop, int error)
{
	const struct engine *engine = loop->engine;
	void *state = loop->state;
	struct loop_op *op;
	int calls = engine->complete(loop), fd;

	loop->failures++;
	if (fcntl(atomic_load(&loop->wake_fd), F_GETFD) < 0) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd >= 0)
			atomic_store(&loop->wake_fd, fd);
	}
	/* A lack of memory passes. An error that the first wait of another epoll set has, too, does not. */
	if ((loop->failed_waits > 1 && !fd_is_lost(error)) || epoll_new(loop) < 0)
		timers_new(loop);
	engine_end(loop, engine, state, fd_is_lost(error) ? ENGINE_FD_LOST : ENGINE_FAILED);

	if (loop->why != loop->failure) { /* the first reason counts */
		snprintf(loop->failure, sizeof(loop->failure), "%s failed: %s",
			 engine->backend == LOOP_URING ? "io_uring" : "epoll", strerror(-error));
		loop->why = loop->failure;
	}
	/* No engine parks what it starts. */
	for (unsigned i = OP_QUEUED; i < OP_PARKED; i++)
		while ((op = loop->ops[i].first))
			op_move(op, OP_PARKED);
	while ((op = loop->ops[OP_PARKED].first))
		calls += op_hand_over(loop, op);
	return calls;
}

/* ---- the loop ----------------------------------------------------------------------------- */

int loop_new(const struct loop_options *options, struct loop **ret, const char **ret_why)
{
	static const struct loop_options defaults = { .backend = LOOP_AUTO };
	struct loop *loop = calloc(1, sizeof(*loop));
	int fd, r;

	if (!loop)
		return -ENOMEM;
	loop->why = "";
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&loop->wake_fd, fd);
	r = fd < 0 ? -errno : engine_choose(loop, options ? options : &defaults);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		free(loop);
		return r;
	}
	if (ret_why)
		*ret_why = loop->why;
	*ret = loop;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	struct loop_op *op;

	if (!loop)
		return NULL;
	loop->foreign = foreign_free(loop->foreign);
	engine_end(loop, loop->engine, loop->state, ENGINE_ENDS);
	for (unsigned i = OP_QUEUED; i < OP_STATES; i++)
		while ((op = loop->ops[i].first))
			engine_op_idle(op);
	close(atomic_load(&loop->wake_fd));
	free(loop);
	return NULL;
}

struct loop *loop_free_in_child(struct loop *loop)
{
	if (!loop)
		return NULL;
	loop->foreign = foreign_free_in_child(loop->foreign);
	engine_end(loop, loop->engine, loop->state, ENGINE_IN_CHILD);
	close(atomic_load(&loop->wake_fd));
	free(loop);
	return NULL;
}

enum loop_backend loop_backend(const struct loop *loop)
{
	return loop->engine->backend;
}

const char *loop_why(const struct loop *loop)
{
	return loop->why;
}

unsigned loop_failures(const struct loop *loop)
{
	return loop->failures;
}

/* One sleep, on the thread that waits. */
static int loop_wait(struct loop *loop, uint64_t until_usec)
{
	loop->waiter = pthread_self();
	loop->bound = true;
	if (atomic_load(&loop->woken) || atomic_load(&loop->posted) ||
	    loop->ops[OP_RELEASING].first)
		until_usec = 0;
	return loop->engine->wait(loop, until_usec);
}

int loop_fd(struct loop *loop)
{
	int r;

	if (!loop->foreign) {
		if (loop->owned)
			return -EBUSY;
		r = foreign_new(loop, loop_wait, &loop->foreign);
		if (r < 0)
			return r;
		foreign_go_on(loop->foreign, timers_earliest(loop));
	}
	return foreign_fd(loop->foreign);
}

int loop_dispatch(struct loop *loop, uint64_t until_usec)
{
	int r, calls = 0;

	if (loop->owned && !pthread_equal(loop->owner, pthread_self()))
		return -EXDEV;
	if (loop->dispatching)
		return -EBUSY;
	loop->owner = pthread_self();
	loop->owned = true;

	if (!loop->foreign)
		r = loop_wait(loop, MIN(until_usec, timers_earliest(loop)));
	else if (!foreign_take(loop->foreign, &r))
		return 0;

	loop->dispatching = true;
	loop->failed_waits = r < 0 ? loop->failed_waits + 1 : 0;
	if (r < 0)
		calls += engine_replace(loop, r);
	calls += work_run(loop);
	calls += loop->engine->complete(loop);
	calls += releases_tell(loop);
	calls += timers_expire(loop);
	loop->dispatching = false;
	if (loop->foreign)
		foreign_go_on(loop->foreign, timers_earliest(loop));
	return calls;
}
