/* SPDX-License-Identifier: MIT */
/*
 * skip.h - skip a cmocka case and say why
 *
 *     if (!have_cgroup)
 *             SKIP("no cgroup2 hierarchy to write to");
 *
 * The reason reaches the test driver, which lists it, and which in CI accepts only those that
 * tests/skips-allowed knows. A skip without a reason is a failure everywhere.
 */
#pragma once

#define SKIP(reason)                                 \
	do {                                         \
		print_message("SKIP: %s\n", reason); \
		skip();                              \
	} while (0)
