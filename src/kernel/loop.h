/* SPDX-License-Identifier: MIT */
/*
 * loop.h - event loop: polls, bytes that are dropped, timers and posted work
 *
 * Engines behind one contract: io_uring (loop-uring.c, the only file that includes liburing), epoll (loop-epoll.c),
 * and where neither works any more, timers and posted work alone (loop-timers.c). Everything but loop_wake() and
 * loop_post() belongs to the one thread that dispatches; before the first dispatch, to the thread that made the
 * loop. It is driven by a thread that sleeps in loop_dispatch(), or by the host's event loop, which polls
 * loop_fd() (loop-foreign.c).
 *
 * An engine that fails while it runs (a seccomp filter that is installed later, a descriptor that was closed by
 * mistake) is replaced by the next one, and each poll is told once what it listens for, since a change may have
 * gone unnoticed. loop_dispatch() does not fail for it.
 *
 * An operation is a `struct loop_op` inside an object of the caller's. From its start until `released` was called,
 * the kernel may hold a reference to it: the object and its descriptor must stay. loop_cancel() asks for it back:
 * from then on `done` is not called any more, and `released` comes later, from a dispatch, exactly once.
 * (Cancelling a poll whose descriptor is closed already makes the ring's thread destroy the PSI trigger, an RCU
 * grace period: so cancel, wait for `released`, and close elsewhere: closer.h.) An op that ended by itself is
 * idle before its `done` is called: its object may be freed and its descriptor closed, also within that `done`.
 *
 * Poll is "multishot" on io_uring and edge-triggered on epoll: the present state once, if it is among what was
 * asked for, then a callback per change; several changes may come as one, and one may be told whose bits are the
 * same as before. No spin on a descriptor that stays ready, such as memory.events or the file of a removed
 * cgroup. POLLERR and POLLHUP are always listened for, and handed on.
 *
 * No callback is called from within the call that starts an op, always from a dispatch. A callback may start,
 * cancel and free anything, except free an op that is not released, free the loop, or dispatch.
 */
#pragma once

#include "core/util.h"

#include <time.h>

enum loop_backend {
	LOOP_AUTO,
	LOOP_URING,
	LOOP_EPOLL,
	LOOP_TIMERS, /* what is left when the others failed; every operation ends with -ENOTSUP */
};

struct loop;
struct loop_op;

/* `result`: poll bits or a number of bytes (> 0), and it stays armed; or what ends it: a negative
 * errno, or 0 at the end of a stream. */
typedef void loop_done_fn(struct loop_op *op, int result);
typedef void loop_released_fn(struct loop_op *op);

/* All members are the loop's; callers ask loop_op_is_busy(). Zeroed, it is ready for use. */
struct loop_op {
	struct loop *loop;
	struct loop_op *prev, *next; /* the list of its state */
	unsigned char state;	     /* enum op_state */
	bool cancelling;
	bool drains;
	unsigned char ends; /* io_uring: how often in a row the poll ended by itself */
	int fd;
	unsigned events;
	loop_done_fn *done;
	loop_released_fn *released;
};

/*
 * A deadline. Zeroed with `expired` set, it is ready for use. The links are the loop's (an
 * intrusive heap: setting and moving a timer allocates nothing and makes no system call).
 */
struct loop_timer {
	uint64_t deadline_usec;
	void (*expired)(struct loop_timer *timer, uint64_t now_usec);
	bool queued;
	struct loop_timer *left, *right, *parent;
};

/* Behave as on a kernel that lacks something. For tests: nothing else can reach those paths. */
#define LOOP_WITHOUT_DEFER_TASKRUN 1u /* Linux 6.1 */
#define LOOP_WITHOUT_NO_IOWAIT 2u     /* Linux 6.15 */

struct loop_options {
	enum loop_backend backend;
	unsigned without; /* LOOP_WITHOUT_... */
};

/*
 * `ret_why`, if not NULL, gets the reason why it is not io_uring: "" if it is; valid as long as the
 * loop. Nothing is bound to a thread until the first dispatch. Each of io_uring's three system calls
 * is tried here. Errors: with LOOP_URING what the one that was refused said (-EINVAL also for a
 * kernel before 5.13); -EMFILE, -ENFILE, -ENOMEM.
 */
int loop_new(const struct loop_options *options, struct loop **ret, const char **ret_why);
/*
 * Ends whatever is armed without further callbacks: work that did not run and a `released` that is
 * due are dropped. The descriptors stay the caller's. Call it on the thread that dispatches, not
 * from a callback; or on another when that thread has ended. It takes at most a quarter of a
 * second. The kernel tears a ring down later, and that may interrupt one system call of the thread
 * (EINTR).
 */
struct loop *loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free);
/* In a forked child: give up memory and descriptors, touch nothing shared. */
struct loop *loop_free_in_child(struct loop *loop);

/* Which engine it is now, why it is not io_uring (as in loop_new()), and how many have failed. */
enum loop_backend loop_backend(const struct loop *loop);
const char *loop_why(const struct loop *loop);
unsigned loop_failures(const struct loop *loop);

/*
 * One at a time for each loop_op, and for each descriptor. `done` is called from a dispatch. Errors:
 * -EBUSY (op is in use); on epoll what epoll_ctl(2) says (-EEXIST: the descriptor is polled already), while
 * on io_uring errors of the descriptor arrive as a result.
 */
int loop_poll(struct loop *loop, struct loop_op *op, int fd, unsigned events, loop_done_fn *done);
/*
 * Takes what comes on a socket and drops it, where all that counts is that something came. There is
 * no buffer of the caller's, so that a kernel that still has the operation when its engine has failed
 * can do no harm. System calls for each time: on io_uring the one that waits, on epoll recv(2) too.
 */
int loop_drain(struct loop *loop, struct loop_op *op, int fd, loop_done_fn *done);
/*
 * Idle ops are released at once, from within the call. `released` may be NULL. Cancelling once more
 * only replaces `released`, if the new one is not NULL.
 */
void loop_cancel(struct loop_op *op, loop_released_fn *released);
static inline bool loop_op_is_busy(const struct loop_op *op)
{
	return op->state != 0; /* OP_IDLE */
}

/*
 * Timers: set or move; USEC_NEVER stops. An expired timer is stopped before `expired` is called.
 * One that is set anew from a timer's callback expires in the next dispatch at the earliest.
 */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_usec);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

/*
 * A piece of work for the loop's thread, embedded in an object that stays until it runs; it may be
 * freed or posted again from within `run`. In the order of posting. Any thread.
 */
struct loop_work {
	struct loop_work *next;
	void (*run)(struct loop_work *work);
};
void loop_post(struct loop *loop, struct loop_work *work);
/* Makes a waiting loop_dispatch() return, or the next one not wait. Any thread, async-signal-safe. */
void loop_wake(struct loop *loop);

/*
 * Wait until `until_usec` (0: do not wait; USEC_NEVER) or until something is due, and do it: first
 * posted work, then completions, then timers that expired. One system call where nothing is
 * pending (loop-uring.c and loop-epoll.c say when it takes more). With loop_fd() it never waits.
 * Returns: how many callbacks were called, 0 when the time came, a signal arrived or loop_wake()
 * was called; it may also return 0 without a reason. Errors: -EXDEV (another thread than the
 * first), -EBUSY (from within a callback).
 */
int loop_dispatch(struct loop *loop, uint64_t until_usec);

/*
 * From the first call on a thread of the loop's own waits, and this descriptor is readable when
 * loop_dispatch(loop, 0) has work, timers included; edge-triggered pollers see one edge for each
 * such time. Operations, timers and cancellations belong into a dispatch from then on (loop_post());
 * operations are refused outside of one with -EBUSY. Errors: -EBUSY (it was dispatched before), -EAGAIN
 * (no thread), -EMFILE, -ENFILE, -ENOMEM.
 */
int loop_fd(struct loop *loop);

/* CLOCK_MONOTONIC now. */
uint64_t now_usec(void);

/* ... as the calls that wait take it. */
static inline struct timespec usec_timespec(uint64_t usec)
{
	return (struct timespec){ .tv_sec = (time_t)(usec / USEC_PER_SEC),
				  .tv_nsec = (long)(usec % USEC_PER_SEC * NSEC_PER_USEC) };
}
