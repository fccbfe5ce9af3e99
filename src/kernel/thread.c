/* SPDX-License-Identifier: MIT */
/*
 * thread.c - start a thread with a small stack
 *
 * glibc takes a thread's static TLS, of all libraries together, out of its stack, and says how much
 * that is only through __pthread_get_minstack() (glibc bug 11787; the JVM and Rust call it, too). It
 * is looked up with dlsym(3): linking against a private symbol would need one version of glibc.
 */
#include "kernel/thread.h"

#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>

static size_t overhead(const pthread_attr_t *attributes)
{
	static atomic_size_t known; /* dlsym(3) may wait for a dlopen(3): asked once */
	size_t bytes = atomic_load(&known);
	size_t (*minstack)(const pthread_attr_t *);

	if (bytes > 0)
		return bytes;
	*(void **)&minstack = dlsym(RTLD_DEFAULT, "__pthread_get_minstack");
	bytes = minstack ? minstack(attributes) : (size_t)PTHREAD_STACK_MIN;
	atomic_store(&known, bytes);
	return bytes;
}

int thread_start(pthread_t *ret, size_t stack_bytes, void *(*run)(void *), void *arg)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, overhead(&attributes) + stack_bytes);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, &attributes, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

void thread_cond_init(pthread_cond_t *ret)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(ret, &attributes);
	pthread_condattr_destroy(&attributes);
}
