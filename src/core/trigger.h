/* SPDX-License-Identifier: MIT */
/*
 * trigger.h - a PSI threshold over a window, in two notations
 *
 *     some 200ms/2s            ours: durations as in duration.h, no blank around the slash
 *     some 200000 2000000      the kernel's: microseconds
 *
 * The rules are the kernel's (psi_trigger_create() in kernel/sched/psi.c): `some` or `full` in
 * lower case, threshold from 1 to window, window at most 10 s. Ours: window at least 100 ms,
 * because psibridge samples no faster than every 10 ms.
 */
#pragma once

#include "util.h"

enum psi_kind { PSI_SOME, PSI_FULL };

struct trigger {
	enum psi_kind kind;
	uint64_t threshold_usec;
	uint64_t window_usec;
};

#define TRIGGER_WINDOW_MIN_USEC (100 * USEC_PER_MSEC)
#define TRIGGER_WINDOW_MAX_USEC (10 * USEC_PER_SEC)
#define TRIGGER_TEXT_MAX 64

/*
 * One trailing newline or NUL is allowed, as clients write them. Errors: -EINVAL, then *ret_why (if
 * not NULL) is what is wrong, in words: a constant string.
 */
int trigger_parse(const char *text, size_t size, struct trigger *ret, const char **ret_why);

bool trigger_is_same(const struct trigger *a, const struct trigger *b);

/* Both write a C string into buf[TRIGGER_TEXT_MAX] and return its length without the NUL. */
size_t trigger_format(const struct trigger *trigger, char *buf);
size_t trigger_format_kernel(const struct trigger *trigger, char *buf);

/*
 * What to ask of the kernel so that `trigger` cannot be passed unnoticed, with a window of
 * `window_usec` > 0. The threshold T shrinks with the window but does not grow with it: k parts of
 * length w cover the window W, k = W/w rounded up, so a stall of T in W puts at least T/k into one
 * of them. It never goes below 1 us. `trigger` must be one that trigger_parse() would give.
 */
struct trigger trigger_rescale(const struct trigger *trigger, uint64_t window_usec);

/* Before Linux 6.5 none is shorter. */
#define TRIGGER_SHORT_WINDOW_USEC (500 * USEC_PER_MSEC)

/* The kernel's trigger for `early`: with a short window, a quarter of early's and at most that, so that the alarm takes tens of
 * milliseconds; or with one of 2 s, which needs no privilege. */
struct trigger trigger_to_arm(const struct trigger *early, bool privileged);

/*
 * All sampling starts with an alarm at the early threshold: is there a stall that reaches `other`
 * and not `early`? So early may be at most what trigger_rescale() makes of `other` for its window,
 * and a `full` one never fits a `some`, since some tasks may stall without all of them.
 * Errors: -EINVAL, and a sentence with both names (as the user knows them) in `why`.
 */
int trigger_check_early(const char *early_name, const struct trigger *early, const char *other_name,
			const struct trigger *other, char *why, size_t why_size);

/* The early threshold where only `low` was said: a tenth of it, or less where critical needs less. */
struct trigger trigger_early_of(const struct trigger *low, const struct trigger *critical);
