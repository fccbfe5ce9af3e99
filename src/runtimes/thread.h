/* SPDX-License-Identifier: MIT */
/*
 * thread.h - threads that collect: no signals, which are for the program's own threads, and a stack
 * that is enough for a runtime; a program that locked its memory gets all of it at once, 8 MiB by
 * default
 */
#pragma once

#include <pthread.h>
#include <signal.h>

#define RUNTIME_STACK_BYTES ((size_t)1 << 20)

/* Returns: 0 or a negative errno. */
static inline int runtime_thread_start(pthread_t *ret, void *(*run)(void *), void *userdata)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, RUNTIME_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(ret, &attributes, run, userdata);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return r;
}
