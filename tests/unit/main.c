/* SPDX-License-Identifier: MIT */
/*
 * main.c - the main() of a program of many test files, see unit.h
 */
#include "unit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../pressure.h"

struct test_group *test_groups;

/* liburing maps and unmaps its rings by system calls of its own, which the thread sanitizer does
 * not see: a ring at the address of an older one looks like a race between their threads. And
 * loop-epoll.c takes a descriptor number out of its own set that its owner may have closed and
 * others may have got: no harm, they are not in that set. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:io_uring_*\n"
	       "race:kept_end\n";
}

/* pressure.c's errors: they fail the test. */
void lab_failed(const char *message)
{
	fail_msg("%s", message);
	abort();
}

/* "loop-life" is what C calls loop_life. */
static bool is_called(const char *said, const char *name)
{
	for (; *said && *name; said++, name++)
		if (*said != *name && (*said != '-' || *name != '_'))
			return false;
	return *said == *name;
}

int main(int argc, char **argv)
{
	const char *said = program_invocation_short_name;

	if (strncmp(said, "test-", 5) == 0)
		said += 5;
	else if (argc == 2)
		said = argv[1];
	for (const struct test_group *u = test_groups; u; u = u->next)
		if (is_called(said, u->name))
			return u->run();
	fprintf(stderr, "%s: there is no test \"%s\"; there are:", program_invocation_short_name,
		said);
	for (const struct test_group *u = test_groups; u; u = u->next)
		fprintf(stderr, " %s", u->name);
	fputc('\n', stderr);
	return 2;
}
