/* SPDX-License-Identifier: MIT */
/*
 * thread.h - the library's threads in the host's process: all signals blocked, a small stack
 *
 * A process that locked its memory (mlockall(2) with MCL_FUTURE) gets all of a stack at once: 8 MiB
 * by default.
 */
#pragma once

#include "core/util.h"

#include <pthread.h>

/* What is left of the stack for `run`. */
#define THREAD_STACK_SMALL ((size_t)64 << 10)	  /* calls no foreign code */
#define THREAD_STACK_CALLBACK ((size_t)256 << 10) /* runs callbacks of the host, see psibridge.h */

/* pthread_cancel(3) waits until the end of the scope: for what holds a lock, or waits for others. */
static inline int thread_cancel_off(void)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	return old;
}

static inline void thread_cancel_again(const int *old)
{
	pthread_setcancelstate(*old, NULL);
}

#define NO_CANCEL \
	_unused_ _cleanup_(thread_cancel_again) const int cancel_state_ = thread_cancel_off()

/* Errors: -EAGAIN. */
int thread_start(pthread_t *ret, size_t stack_bytes, void *(*run)(void *), void *arg);

/* For pthread_cond_timedwait(3) at times of CLOCK_MONOTONIC. pthread_cond_clockwait(3) came with glibc 2.30, and is not in musl. */
void thread_cond_init(pthread_cond_t *ret);
