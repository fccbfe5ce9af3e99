/* SPDX-License-Identifier: MIT */
/*
 * managed.h - a policy in managed code that takes the place of ours
 *
 * What is done at Low is better done by the runtime's own code: it can compact, and call the program. So the hook waits and wakes,
 * and a managed policy (PsiBridge.StartupHook, Hook.cs), once it is loaded, joins and takes:
 *
 *     the hook's thread                         a managed thread, inside of a call to take()
 *     managed_put()  -> one piece of news  ->   take()
 *                                               collects
 *                       the library        <-   report()
 *
 * It finds us without a name, a file or a symbol: by a table of functions in a mapping that /proc/self/maps shows as
 * "/memfd:psibridge-hook (deleted)". So it makes no difference how our file is called, or whether it is still there.
 *
 * There is one, and its memory is never freed: a managed thread may be inside of take() when the runtime ends.
 */
#pragma once

#include <psibridge/tools.h>

#define MANAGED_MAPPING "psibridge-hook"

/* Hook.cs has the same. May be called by any thread, at any time. */
struct managed_table {
	size_t size;
	/* From now on news goes to the caller, who goes by *ret. Errors: -EALREADY (there is one), -ECANCELED (the hook has ended). */
	int (*join)(struct psb_settings *ret);
	/* Waits. Returns 1, or 0: there will be no more. */
	int (*take)(int *ret_available, int *ret_critical, int *ret_reason, int *ret_cause);
	void (*report)(uint64_t bytes, uint64_t usec); /* of a collection */
	int (*load)(struct psb_load *ret);	       /* psb_watch_load() */
	int (*stats)(struct psb_stats *ret);	       /* psb_watch_stats() */
	int (*keep)(const void *address);	       /* psb_code_keep() */
	/* It takes no more. `silent`: and nothing is to be collected any more, by anyone of us. */
	void (*leave)(int silent);
};

/* ---- for the hook's thread ---------------------------------------------------------------------- */

/* Publishes the table. `silence` ends the hook; it is called by leave(), and must not wait. `code` may be NULL. Returns 0, or a
 * negative errno: no managed policy will find us. */
int managed_open(const struct psb_settings *settings, psb_code *code, void (*silence)(void));
/* What is watched now. NULL: nothing any more; when it returns, nobody uses what was watched or kept before. */
void managed_watch(psb_watch *watch, psb_registration *registration);
int managed_joined(void);
/* Returns 1: it was handed over; 0: there is no managed policy. */
int managed_put(const struct psb_notification *n);
/* To be held around psb_code_lock() and psb_code_unlock(): keep() uses the same. */
void managed_code_begin(void);
void managed_code_end(void);
