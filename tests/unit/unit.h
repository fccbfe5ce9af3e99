/* SPDX-License-Identifier: MIT */
/*
 * unit.h - one program of many test files
 *
 * A folder's tests are linked once. Each file has a group of its own, which stands where main() would:
 *
 *     TEST_GROUP(loop_life)
 *     {
 *             return cmocka_run_group_tests(...);
 *     }
 *
 * The program runs the group that it is called by: a link test-loop-life to it runs this one, and so does `tests loop-life`.
 */
#pragma once

struct test_group {
	const char *name;
	int (*run)(void);
	struct test_group *next;
};

#ifdef __cplusplus
extern "C"
#else
extern
#endif
	struct test_group *test_groups;

#define TEST_GROUP(name_)                                                      \
	static int name_##_group(void);                                        \
	__attribute__((constructor)) static void add_##name_(void)             \
	{                                                                      \
		static struct test_group group = { #name_, name_##_group, 0 }; \
                                                                               \
		group.next = test_groups;                                      \
		test_groups = &group;                                          \
	}                                                                      \
	static int name_##_group(void)
