/* SPDX-License-Identifier: MIT */
/*
 * hook.h - what every hook does: be told, and make a runtime collect
 *
 * A hook is a shared object inside a program that knows nothing of it; a process has one of a kind. It must cost nothing while
 * memory is plentiful, never keep the program from starting, running or ending, and say what is wrong instead of failing. A
 * runtime brings two functions; the rest is here:
 *
 *     psibridge's thread             the hook's own thread ("psb-hook")
 *     mailbox: newest level wins ->  psb_mailbox_take()
 *                                    a managed policy has joined? it does the rest (managed.h)
 *                                    Low: worth it?  -> collect(), settle() as often as it wants,
 *                                                       and 0.7 s later: what went back
 *
 * Worth it: effect.h says when, with PSIBRIDGE_APART and PSIBRIDGE_GROWN. Settings and messages are those of
 * psibridge-runtimes(7); tests and people read the messages.
 */
#pragma once

#include "runtimes/log.h"

#include <psibridge/tools.h>

#include <pthread.h>

struct hook_runtime {
	const char *name; /* "coreclr" */
	/* A full collection, on the hook's thread, which is no thread of the runtime. Returns 0, -ECANCELED or -EAGAIN (the runtime
	 * ends, or is still starting and has nothing to collect: nothing is said, and the next Low is tried), or another negative
	 * errno: told as an error, the first time, with *ret_why, or else the words of errno. */
	int (*collect)(const char **ret_why);
	/* After collect(): has what was freed gone back? `rss_bytes` is what the process has, 0: unknown. Called at once, and as long
	 * as it returns 1 again *ret_next_usec later; 0: that was all. Between two calls the thread waits for notifications, so
	 * waiting here would be wrong: a mailbox counts the time between two visits as the visitor's, and repeats Low to a slow one
	 * less often. May be NULL. */
	int (*settle)(uint64_t rss_bytes, uint64_t *ret_next_usec);
	/* Have a managed policy loaded, which then joins. `last`: it is not called again. Returns 0, -EAGAIN (too early: it is called
	 * again, each time twice as long after the start), or another negative errno: it cannot be had, and why; collect() does it
	 * all. May be NULL. */
	int (*load)(int last, const char **ret_why);
	uint64_t load_after_usec; /* how long after the start, which it is not to delay, unless memory is short before */
	/* An address in the library with the collector, whose code is kept in memory: psb_code_keep(). */
	const void *(*code)(void);
};

/* Starts the hook's thread and returns at once; all that takes time or can fail happens there. `own` are settings that count before
 * those of the environment: "NAME=VALUE", NULL at the end, the strings as long-lived as the process; NULL: there are none. Not while
 * one runs. Returns 1 (running), 0 (PSIBRIDGE=off). Error: -ENOMEM, which was told. */
int hook_start(const struct hook_runtime *runtime, const char *const *own);

/* No collect() begins after this; any thread, any number of times. Waits for one that is running, two seconds at most: a runtime
 * that ends may not let it end. From inside of collect(), where the program may be ended, it does not wait. In a forked child it
 * does nothing. */
void hook_stop(void);

/* A thread that collects: no signals, which are for the program's own threads, and a stack that is enough for a runtime; a
 * program that locked its memory gets all of it at once, 8 MiB by default. Error: -ENOMEM. */
int hook_thread_start(pthread_t *ret, void *(*run)(void *));
