/* SPDX-License-Identifier: MIT */
/*
 * loop-engine.c - what an engine needs of the loop: states of operations, how one ends, the clock
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* ---- time --------------------------------------------------------------------------------- */

uint64_t now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

const struct timespec *engine_timeout(uint64_t until_usec, struct timespec *buf)
{
	if (until_usec == USEC_NEVER)
		return NULL;
	/* The clock is read rounded down, so the time that is left is never too short. */
	*buf = usec_timespec(until_usec ? usec_sub(until_usec, now_usec()) : 0);
	return buf;
}

/* ---- waking: see loop.c ------------------------------------------------------------------- */

#define RINGS_MAX 3

bool eventfd_ring(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so a wake-up is pending already */
	for (int i = 0; i < RINGS_MAX; i++)
		if (write(fd, &one, sizeof(one)) > 0 || errno == EAGAIN)
			return true;
	return false;
}

void loop_wake(struct loop *loop)
{
	int saved = errno; /* a signal handler may have interrupted code that looks at it */

	/* After an error the next wake tries again. */
	if (!atomic_exchange(&loop->woken, true) && !eventfd_ring(atomic_load(&loop->wake_fd)))
		atomic_store(&loop->woken, false);
	errno = saved;
}

/* ---- operations --------------------------------------------------------------------------- */

void op_move(struct loop_op *op, enum op_state state)
{
	struct op_list *from = &op->loop->ops[op->state], *to = &op->loop->ops[state];

	if (op->state != OP_IDLE) {
		*(op->prev ? &op->prev->next : &from->first) = op->next;
		*(op->next ? &op->next->prev : &from->last) = op->prev;
	}
	op->prev = op->next = NULL;
	op->state = (unsigned char)state;
	if (state != OP_IDLE) {
		op->prev = to->last;
		*(op->prev ? &op->prev->next : &to->first) = op;
		to->last = op;
	}
}

void engine_op_idle(struct loop_op *op)
{
	op_move(op, OP_IDLE);
	op->cancelling = false;
}

void engine_op_done(struct loop_op *op, int result)
{
	engine_op_idle(op);
	op->done(op, result);
}

int engine_op_release(struct loop_op *op)
{
	loop_released_fn *released = op->released;

	engine_op_idle(op);
	if (!released)
		return 0;
	released(op);
	return 1;
}
