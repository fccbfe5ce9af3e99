/* SPDX-License-Identifier: MIT */
/*
 * loop-engine.h - between the loop (loop.c), its engines and loop-foreign.c; no other file includes
 * this
 *
 * An op is in exactly one state, and in the list of that state, so that starting, cancelling and
 * ending an op never allocates. QUEUED to PARKED are the engine's; RELEASING (out of the kernel,
 * `released` to be told) is told by loop.c, after the engine's completions: one of those may still
 * point to the op.
 */
#pragma once

#include "kernel/loop.h"

#include <pthread.h>
#include <stdatomic.h>

enum op_state {
	OP_IDLE,
	OP_QUEUED,	  /* to be done by the next wait */
	OP_ARMED,	  /* the kernel has it */
	OP_CANCEL_QUEUED, /* the kernel has it; to be taken back by the next wait */
	OP_CANCELLING,	  /* the kernel has it, and was asked to give it back */
	OP_PARKED,	  /* a poll of a file that gives no events */
	OP_RELEASING,
	OP_STATES,
};

enum engine_end {
	ENGINE_ENDS,	 /* with its loop */
	ENGINE_FAILED,	 /* its operations are another's now */
	ENGINE_FD_LOST,	 /* the same, and its descriptor is not its own any more */
	ENGINE_IN_CHILD, /* a forked one: what is shared with the parent stays */
};

struct engine {
	enum loop_backend backend;
	/* `op` is filled in and idle; leaves it QUEUED or ARMED. */
	int (*start)(struct loop *loop, struct loop_op *op);
	/* `op` is QUEUED, ARMED or PARKED, and not cancelling yet; must lead to RELEASING or to
	 * engine_op_release(). */
	void (*cancel)(struct loop *loop, struct loop_op *op);
	/* Submit what was started, and sleep until `until_usec` or until something happened. An
	 * error means that this engine cannot go on. */
	int (*wait)(struct loop *loop, uint64_t until_usec);
	/* Call the callbacks of what happened. Returns: how many. */
	int (*complete)(struct loop *loop);
	/* Give `state` up, which is not NULL; no op is told. */
	void (*free)(struct loop *loop, void *state, enum engine_end end);
};

/* Bytes that a drain takes at once: all of a usual flood. */
#define DRAIN_MAX (16 << 10)

struct op_list {
	struct loop_op *first, *last;
};

struct foreign;

struct loop {
	const struct engine *engine;
	void *state; /* the engine's */
	bool owned, dispatching;
	pthread_t owner; /* valid if `owned`: the thread that dispatches */
	bool bound;
	pthread_t waiter;	 /* valid if `bound`: the thread that waits, and is the engine's */
	struct foreign *foreign; /* that thread; NULL: `owner` waits */
	_Atomic(int) wake_fd;	 /* an eventfd that is written to wake the loop */
	atomic_bool woken;
	_Atomic(struct loop_work *) posted; /* a stack, the newest first */
	struct loop_timer *timers;
	uint64_t not_before_usec;      /* for timers that are set: the next pass */
	struct op_list ops[OP_STATES]; /* by state; those of OP_IDLE are in none */
	unsigned failures;	       /* engines that failed */
	unsigned failed_waits;	       /* of them: one after the other, without a wait between */
	uint64_t retry_usec;	       /* loop-timers.c: when to try another engine */
	const char *why;	       /* it is not io_uring */
	char failure[160];	       /* ... where that is not a constant */
};

/* Wakes the thread that polls the eventfd. Tried again when it fails (seen with fault injection only),
 * or the thread would sleep on. Async-signal-safe; errno is lost. Returns: whether it was written. */
bool eventfd_ring(int fd);

/* From its present list to that of `state`. */
void op_move(struct loop_op *op, enum op_state state);

/* Idle without a callback. */
void engine_op_idle(struct loop_op *op);
/* The same, then `done`: `op` may be gone afterwards. */
void engine_op_done(struct loop_op *op, int result);
/* Idle, then `released`: `op` may be gone afterwards. Returns: how many callbacks that were, 0 or 1. */
int engine_op_release(struct loop_op *op);

/* From now until `until_usec`. Returns: NULL if that is never. */
struct timespec;
const struct timespec *engine_timeout(uint64_t until_usec, struct timespec *buf);

/* Set loop->engine and loop->state on success; loop->wake_fd is there, and stays the loop's. io_uring
 * sets loop->why, too, also on failure. */
int uring_new(struct loop *loop, const struct loop_options *options);
int epoll_new(struct loop *loop);
void timers_new(struct loop *loop);

/* ---- loop-foreign.c ---- */

/* `wait` is one sleep of the loop, on the thread that waits. */
int foreign_new(struct loop *loop, int (*wait)(struct loop *loop, uint64_t until_usec),
		struct foreign **ret);
/* Stops and joins the thread. */
struct foreign *foreign_free(struct foreign *foreign);
struct foreign *foreign_free_in_child(struct foreign *foreign);
int foreign_fd(const struct foreign *foreign);
/* Has the thread stopped waiting? Then *ret_result is what `wait` said, and the loop is the
 * caller's until foreign_go_on(). */
bool foreign_take(struct foreign *foreign, int *ret_result);
/* Wait again, until `until_usec`. */
void foreign_go_on(struct foreign *foreign, uint64_t until_usec);
