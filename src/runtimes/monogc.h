/* SPDX-License-Identifier: MIT */
/*
 * monogc.h - collect in a Mono that others run
 *
 * For the hook (mono.c). Needs Mono's functions in the process, not its headers. One runtime a
 * process, as Mono has it.
 */
#pragma once

/*
 * To be called before the runtime is made, as one of its profilers. `up` is called when managed code
 * can run, `down` when it will soon be over, both on a thread of Mono's.
 * Returns 0. Errors: -ENOSYS: Mono has no function `*ret_missing` (which is not written otherwise).
 */
int monogc_open(void (*up)(void), void (*down)(void), const char **ret_missing);

/*
 * All that can go back to the system: garbage, garbage with finalizers, what malloc keeps. Returns
 * when it is done. One call at a time; not from a thread that is attached to Mono, which would stall
 * every collection meanwhile.
 * Errors: -EAGAIN (no thread), -ECANCELED (the runtime ends).
 */
int monogc_collect(void);

/* An address in the collector's code. */
const void *monogc_code(void *unused);
