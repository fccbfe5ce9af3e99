/* SPDX-License-Identifier: MIT */
/*
 * unit.h - one program of many test files
 *
 * A folder's tests are linked once. A test is a promise, and the promises of a file are kept in their order:
 *
 *     PROMISE(low_is_always_followed_by_neutral_or_high)
 *     {
 *             ...
 *     }
 *
 * The headers that most tests need come with this one. The program runs the file that it is called by: a link test-loop-life to it
 * runs test-loop-life.c, and so does `tests loop-life`.
 *
 * FIXTURE(begin, end) puts two functions around each promise: begin() belongs to the test, so it may assert and skip, and
 * end() is called however the test ended. GROUP(begin, end) are cmocka's, around all of them. After VARIANTS(table, suits) each
 * promise is kept once with each row of a table, whose rows begin with their name: *state is the row. Rows that do not
 * suit a promise are left out.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../skip.h"

struct promise {
	const char *name;
	CMUnitTestFunction keep;
	unsigned flags; /* the folder's own */
	int line;
	struct promise *next; /* in the order of lines */
};

struct test_file {
	const char *path;
	struct promise *promises;
	void (*begin)(void **state);
	int (*end)(void **state);
	CMFixtureFunction begin_all, end_all;
	const void *variants;
	size_t variant_count, variant_size;
	bool (*suits)(const void *variant, const struct promise *promise);
	struct test_file *next;
};

void test_file_add(struct test_file *file, const char *path, struct promise *promise);
#ifdef __cplusplus
}
#endif

static struct test_file this_file __attribute__((unused));

#define PROMISE_FLAGS(name_, flags_)                                                       \
	static void name_(void **state);                                                   \
	__attribute__((constructor)) static void add_##name_(void)                         \
	{                                                                                  \
		static struct promise promise = { #name_, name_, flags_, __LINE__, NULL }; \
                                                                                           \
		test_file_add(&this_file, __BASE_FILE__, &promise);                        \
	}                                                                                  \
	static void name_(void **state __attribute__((unused)))
#define PROMISE(name_) PROMISE_FLAGS(name_, 0)

#define FIXTURE(begin_, end_)                                      \
	__attribute__((constructor)) static void add_fixture(void) \
	{                                                          \
		this_file.begin = begin_;                          \
		this_file.end = end_;                              \
	}
/* The same of functions as cmocka has them. */
#define EACH(begin_, end_)                          \
	static void begin_each(void **state)        \
	{                                           \
		assert_int_equal(begin_(state), 0); \
	}                                           \
	FIXTURE(begin_each, end_)
#define GROUP(begin_, end_)                                      \
	__attribute__((constructor)) static void add_group(void) \
	{                                                        \
		this_file.begin_all = begin_;                    \
		this_file.end_all = end_;                        \
	}
#define VARIANTS(table_, suits_)                                                \
	__attribute__((constructor)) static void add_variants(void)             \
	{                                                                       \
		this_file.variants = table_;                                    \
		this_file.variant_size = sizeof((table_)[0]);                   \
		this_file.variant_count = sizeof(table_) / sizeof((table_)[0]); \
		this_file.suits = suits_;                                       \
	}
