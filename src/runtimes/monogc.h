/* SPDX-License-Identifier: MIT */
/*
 * monogc.h - be a guest of Mono for as long as something is done there, and no longer
 *
 * For the hook (mono.c) and the host (monohost.c). Needs Mono's functions in the process, not its
 * headers. One runtime a process, as Mono has it.
 */
#pragma once

/*
 * To be called before the runtime is made: mono_jit_init(), or as one of its profilers. `up` is
 * called when managed code can run (NULL: is not called), `down` when it will soon be over, both on
 * a thread of Mono's.
 * Returns 0. Errors: -ENOSYS: Mono has no function `*ret_missing` (which is not written otherwise).
 */
int monogc_open(void (*up)(void), void (*down)(void), const char **ret_missing);

/*
 * Runs `fn` on a thread of its own, attached to the root domain, and waits until that thread is
 * gone. `fn` must not wait for anything but Mono. One visit at a time; not from a thread that is
 * attached, which would stall every collection meanwhile.
 * Errors: -EAGAIN (no thread), -ECANCELED (the runtime ends; `fn` was not called).
 */
int monogc_visit(void (*fn)(void *userdata), void *userdata);

/* All that can go back to the system: garbage, garbage with finalizers, what malloc keeps. Errors
 * as for monogc_visit(). */
int monogc_collect(void);

/* An address in the collector's code. */
const void *monogc_code(void *unused);
