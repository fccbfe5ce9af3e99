/* SPDX-License-Identifier: MIT */
/*
 * deny-io-uring.c - run a command as on a kernel without io_uring, or where it is forbidden
 *
 *     deny-io-uring ENOSYS|EPERM[:setup|:enter|:register] COMMAND [ARGUMENTS...]
 *
 * Installs a seccomp filter that answers io_uring_setup, io_uring_enter and io_uring_register, or
 * only the one that is named, with that errno, sets PSIBRIDGE_TEST_DENIED to its name, and executes
 * COMMAND, which inherits the filter, as does everything it starts. A whole test suite can be run so. The exit status is that
 * of COMMAND, or 125 when it could not be started.
 */
#include "deny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILED 125

/* They have the same numbers on every architecture but alpha (and the offsets of mips). */
static const struct {
	const char *name;
	int number;
} calls[] = {
	{ "setup", SYS_io_uring_setup },
	{ "enter", SYS_io_uring_enter },
	{ "register", SYS_io_uring_register },
};

int main(int argc, char **argv)
{
	char *only = argc >= 3 ? strchr(argv[1], ':') : NULL;
	int denied[4] = { 0 }, n = 0;
	unsigned error = 0;

	if (only)
		*only++ = '\0';
	if (argc >= 3)
		error = strcmp(argv[1], "ENOSYS") == 0	? ENOSYS
			: strcmp(argv[1], "EPERM") == 0 ? EPERM
							: 0;
	for (int i = 0; i < 3; i++)
		if (!only || strcmp(only, calls[i].name) == 0)
			denied[n++] = calls[i].number;
	if (!error || n == 0) {
		fprintf(stderr,
			"usage: %s ENOSYS|EPERM[:setup|:enter|:register] COMMAND [ARGUMENTS...]\n",
			argv[0]);
		return FAILED;
	}
	if (!deny_with(error, denied)) {
		fprintf(stderr, "%s: no seccomp filter: %s\n", argv[0], strerror(errno));
		return FAILED;
	}
	if (setenv("PSIBRIDGE_TEST_DENIED", argv[1], 1) < 0) {
		perror("setenv");
		return FAILED;
	}
	execvp(argv[2], argv + 2);
	fprintf(stderr, "%s: %s: %s\n", argv[0], argv[2], strerror(errno));
	return FAILED;
}
