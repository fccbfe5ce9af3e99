/* SPDX-License-Identifier: MIT */
/*
 * loop-uring.h - between the operations (loop-uring-ops.c) and the ring they go through
 * (loop-uring.c)
 *
 * The ring knows nothing of the state of an op; it makes requests, sleeps and hands completions
 * out. No name of liburing here, so that loop-uring.c stays the only file that sees it.
 */
#pragma once

#include "kernel/loop.h"

struct ring;

struct ring_completion {
	uint64_t data; /* what the request was given */
	int result;
	bool more; /* further ones will come for the same request */
};

/*
 * Not bound to a thread until ring_enable(). Errors and *ret_why (a constant string): as loop_new().
 */
int ring_new(const struct loop_options *options, struct ring **ret, const char **ret_why);
/* `lost`: its descriptor is not its own any more, and is not closed. */
struct ring *ring_free(struct ring *ring, bool lost);
struct ring *ring_free_in_child(struct ring *ring);
int ring_enable(struct ring *ring);

/*
 * Requests. They are submitted by the next wait, or earlier to make room. Returns: false if the
 * kernel takes none now (no memory, completions to be reaped first): try again in the next pass.
 */
bool ring_poll(struct ring *ring, int fd, unsigned events, uint64_t data);
/* Cancel the request with `target`. The result is mostly not reported (`data`). */
bool ring_cancel(struct ring *ring, uint64_t target, uint64_t data);

/* Submit, and sleep until `until_usec` or until there are completions. Errors: the ring cannot go on. */
int ring_wait(struct ring *ring, uint64_t until_usec);
/* The same for the end of a ring: in io_uring_enter(2), whatever its way to sleep. */
int ring_drain(struct ring *ring, uint64_t until_usec);

/* How many completions are there; and take one. */
unsigned ring_ready(const struct ring *ring);
bool ring_next(struct ring *ring, struct ring_completion *ret);

/*
 * May a completion that is taken now be from the time of an overflow of the completion queue, which
 * ends multishot requests? ring_pass() ends a pass: what overflowed two passes ago does not count.
 */
bool ring_overflowed(struct ring *ring);
void ring_pass(struct ring *ring);
