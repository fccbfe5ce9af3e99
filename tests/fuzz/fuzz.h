/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share
 *
 * A target is a FUZZ_TARGET(name) of `data` and `size`. It looks for more than crashes: CHECK() states a promise of the header under
 * test, and aborts when that is broken, also where NDEBUG is set.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/trigger.h"

#define CHECK(condition)                                                                        \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

/* What trigger.h promises of each. */
static inline bool is_trigger(const struct trigger *t)
{
	return (t->kind == PSI_SOME || t->kind == PSI_FULL) && t->threshold_usec >= 1 &&
	       t->threshold_usec <= t->window_usec && t->window_usec >= TRIGGER_WINDOW_MIN_USEC &&
	       t->window_usec <= TRIGGER_WINDOW_MAX_USEC;
}

struct fuzz_target {
	const char *name;
	void (*run)(const uint8_t *data, size_t size);
	struct fuzz_target *next;
};
extern struct fuzz_target *fuzz_targets;

#define FUZZ_TARGET(name_)                                                        \
	static void run_##name_(const uint8_t *data, size_t size);                \
	__attribute__((constructor)) static void add_##name_(void)                \
	{                                                                         \
		static struct fuzz_target target = { #name_, run_##name_, NULL }; \
                                                                                  \
		target.next = fuzz_targets;                                       \
		fuzz_targets = &target;                                           \
	}                                                                         \
	static void run_##name_(const uint8_t *data, size_t size)
