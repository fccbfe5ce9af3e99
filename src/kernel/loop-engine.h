/* SPDX-License-Identifier: MIT */
/*
 * loop-engine.h - what loop.c and its two engines share; nobody else includes this
 *
 * An engine embeds `struct loop` as its first member. It sees an op from `start` until it made it
 * idle again (engine_op_idle()), and keeps it in exactly one of its lists meanwhile, so that
 * starting, cancelling and ending an op never allocates.
 */
#pragma once

#include "kernel/loop.h"

#include <pthread.h>
#include <stdatomic.h>

struct loop;

struct engine {
	enum loop_backend backend;
	/* The first dispatch, on its thread. */
	int (*bind)(struct loop *loop);
	/* `op` is filled in and not in any list. */
	int (*start)(struct loop *loop, struct loop_op *op);
	/* `op` is busy, and not cancelling yet; must lead to engine_op_release() from a `complete`. */
	void (*cancel)(struct loop *loop, struct loop_op *op);
	/* Submit what was started, and sleep until `until_usec` or until something happened. */
	int (*wait)(struct loop *loop, uint64_t until_usec);
	/* Call the callbacks of what happened. Returns: how many. */
	int (*complete)(struct loop *loop);
	/* Foreign loops, at the end of a dispatch: submit, keep `until_usec`, and leave fd() readable if
	 * there is work still. */
	void (*settle)(struct loop *loop, uint64_t until_usec);
	int (*fd)(struct loop *loop);
	void (*free)(struct loop *loop);
	void (*free_in_child)(struct loop *loop);
};

struct loop {
	const struct engine *engine;
	bool foreign, bound, dispatching, expiring;
	pthread_t owner; /* valid if `bound` */
	int wake_fd;	 /* an eventfd that is written to wake the loop */
	atomic_bool woken;
	_Atomic(struct loop_work *) posted; /* a stack, the newest first */
	struct loop_timer *timers;
	struct loop_timer *fresh; /* set while timers expire */
};

struct op_list {
	struct loop_op *first, *last;
};

void op_list_add(struct op_list *list, struct loop_op *op);
void op_list_remove(struct op_list *list, struct loop_op *op);

/* Idle without a callback. */
void engine_op_idle(struct loop_op *op);
/* The same, then `done`: `op` may be gone afterwards. */
void engine_op_done(struct loop_op *op, int result);
/* Idle, then `released`: `op` may be gone afterwards. Returns: how many callbacks that were, 0 or 1. */
int engine_op_release(struct loop_op *op);

/*
 * accept4(2) until nothing is left, `op` is cancelled, or a round of them is done, calling `done`
 * for each. `op` must stay allocated when it is cancelled from there. Adds to *calls. Returns: 0,
 * or the negative errno that ends the op and that `done` was not called with.
 */
int engine_accept(struct loop_op *op, int *calls);

/* Has the owner, or the thread that makes the loop, a claim to `loop` now? */
bool engine_is_owner(const struct loop *loop);

/* From now until `until_usec`. Returns: NULL if that is never. */
struct timespec;
const struct timespec *engine_timeout(uint64_t until_usec, struct timespec *buf);

/* *ret_why as in loop_new(), also on failure. */
int uring_new(const struct loop_options *options, struct loop **ret, const char **ret_why);
int epoll_new(const struct loop_options *options, struct loop **ret);
