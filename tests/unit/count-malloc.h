/* SPDX-License-Identifier: MIT */
/*
 * count-malloc.h - malloc and its kin are ours in a program that links count-malloc.c
 *
 * They hand on to glibc, and count between count_malloc_start() and count_malloc_stop(), which fails
 * the test unless all counts are 0.
 *
 * Under a sanitizer the allocator is the sanitizer's: COUNT_MALLOC_SANITIZED is 1, to be skipped for.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

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

extern atomic_bool count_malloc_on;
extern atomic_uint count_malloc_allocations, count_malloc_frees;

void count_malloc_start(void);
void count_malloc_stop(void);
