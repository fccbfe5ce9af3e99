/* SPDX-License-Identifier: MIT */
/*
 * util.h - macros and helpers that all code uses
 *
 * Errors: 0, a negative errno, or a positive documented condition. Outputs are `ret_x`, last, and
 * written only on success. `foo_free()` takes NULL and half-built objects and returns NULL, so
 * that `_cleanup_(foo_freep) struct foo *f = NULL;` is the whole error path. steal() hands the
 * pointer on and leaves NULL behind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CLAMP(x, low, high) MAX(low, MIN(x, high))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define steal(ptr)                        \
	({                                \
		typeof(ptr) *_p = &(ptr); \
		typeof(ptr) _v = *_p;     \
		*_p = NULL;               \
		_v;                       \
	})

/* Defines the function that _cleanup_ wants from the one that frees. */
#define DEFINE_CLEANUP(type, func)          \
	static inline void func##p(type *p) \
	{                                   \
		if (*p)                     \
			*p = func(*p);      \
	}                                   \
	struct _cleanup_needs_a_semicolon

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_NEVER UINT64_MAX

/* a + b that stays at USEC_NEVER instead of wrapping */
static inline uint64_t usec_add(uint64_t a, uint64_t b)
{
	return a > USEC_NEVER - b ? USEC_NEVER : a + b;
}

/* a - b that stays at 0 */
static inline uint64_t usec_sub(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}
