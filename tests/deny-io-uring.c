/* SPDX-License-Identifier: MIT */
/*
 * deny-io-uring.c - run a command as on a kernel without io_uring, or where it is forbidden
 *
 *     deny-io-uring ENOSYS|EPERM[:setup|:enter|:register] COMMAND [ARGUMENTS...]
 *
 * Installs a seccomp filter that answers io_uring_setup, io_uring_enter and io_uring_register, or only the one that is named, with
 * that errno, sets PSIBRIDGE_TEST_DENIED to its name, and executes COMMAND, which inherits the filter, as does everything it starts.
 * The exit status is that of COMMAND, or 125 when it could not be started.
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

static int fail(const char *what)
{
	fprintf(stderr, "deny-io-uring: %s: %s\n", what, strerror(errno));
	return FAILED;
}

int main(int argc, char **argv)
{
	char *only = argc >= 3 ? strchr(argv[1], ':') : NULL;
	int denied[4] = { 0 }, n = 0;

	for (int i = 0; i < 3 && argc >= 3; i++)
		if (!only || strcmp(only + 1, calls[i].name) == 0)
			denied[n++] = calls[i].number;
	errno = EINVAL;
	if (n == 0 || (strncmp(argv[1], "ENOSYS", 6) != 0 && strncmp(argv[1], "EPERM", 5) != 0))
		return fail("ENOSYS|EPERM[:setup|:enter|:register] COMMAND");
	if (!deny_with(argv[1][1] == 'N' ? ENOSYS : EPERM, denied))
		return fail("no seccomp filter");
	argv[1][strcspn(argv[1], ":")] = '\0'; /* the errno alone */
	setenv("PSIBRIDGE_TEST_DENIED", argv[1], 1);
	execvp(argv[2], argv + 2);
	return fail(argv[2]);
}
