/* SPDX-License-Identifier: MIT */
/*
 * count-malloc.h - for the one test file that includes it: malloc and its kin are ours
 * They hand on to glibc, and count between count_malloc_start() and count_malloc_stop(), which fails
 * the test unless all counts are 0.
 *
 * Under a sanitizer the allocator is the sanitizer's: COUNT_MALLOC_SANITIZED is 1, to be skipped for.
 * Include it after cmocka.h.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define COUNT_MALLOC_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNT_MALLOC_SANITIZED 1
#endif
#ifndef COUNT_MALLOC_SANITIZED
#define COUNT_MALLOC_SANITIZED 0
#endif

static atomic_bool count_malloc_on;
static atomic_uint count_malloc_calls;

#if !COUNT_MALLOC_SANITIZED
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);
void *memalign(size_t alignment, size_t size);

static void count_malloc_one(void)
{
	if (atomic_load(&count_malloc_on))
		atomic_fetch_add(&count_malloc_calls, 1);
}

void *malloc(size_t size)
{
	count_malloc_one();
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count_malloc_one();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count_malloc_one();
	return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
	count_malloc_one();
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	*ret = memalign(alignment, size);
	return *ret ? 0 : ENOMEM;
}

void free(void *p)
{
	if (p)
		count_malloc_one();
	__libc_free(p);
}
#endif

static void count_malloc_start(void)
{
	void *volatile p;

	atomic_store(&count_malloc_calls, 0);
	atomic_store(&count_malloc_on, true);
	/* does it count at all? */
	p = malloc(1);
	free(p);
	assert_int_equal(atomic_exchange(&count_malloc_calls, 0), 2);
}

static void count_malloc_stop(void)
{
	atomic_store(&count_malloc_on, false);
	assert_int_equal(atomic_load(&count_malloc_calls), 0);
}
