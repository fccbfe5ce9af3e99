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
 *
 * The three calls have the same numbers on every architecture but alpha (and the offsets of mips),
 * and a container's filter too looks at one ABI only as a rule; here calls of a foreign ABI are let
 * through.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAILED 125

static const struct {
	const char *name;
	unsigned number;
} calls[] = {
	{ "setup", __NR_io_uring_setup },
	{ "enter", __NR_io_uring_enter },
	{ "register", __NR_io_uring_register },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* `only`: the name of one, or NULL. Returns: how many calls are denied, or a negative errno. */
static int filter_install(unsigned error, const char *only)
{
	struct sock_filter filter[2 + 2 * CALLS] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							      offsetof(struct seccomp_data, nr)) };
	struct sock_fprog program = { .len = 1, .filter = filter };
	int denied = 0;

	for (size_t i = 0; i < CALLS; i++) {
		if (only && strcmp(only, calls[i].name) != 0)
			continue;
		filter[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								     calls[i].number, 0, 1);
		filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
								     SECCOMP_RET_ERRNO | error);
		denied++;
	}
	filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return -errno;
	return denied;
}

int main(int argc, char **argv)
{
	unsigned error = 0;
	char *only = argc >= 3 ? strchr(argv[1], ':') : NULL;
	int r;

	if (only)
		*only++ = '\0';
	if (argc >= 3 && strcmp(argv[1], "ENOSYS") == 0)
		error = ENOSYS;
	else if (argc >= 3 && strcmp(argv[1], "EPERM") == 0)
		error = EPERM;
	if (!error) {
		fprintf(stderr,
			"usage: %s ENOSYS|EPERM[:setup|:enter|:register] COMMAND [ARGUMENTS...]\n",
			argv[0]);
		return FAILED;
	}

	r = filter_install(error, only);
	if (r <= 0) {
		fprintf(stderr, "%s: no seccomp filter: %s\n", argv[0],
			r < 0 ? strerror(-r) : "no such call");
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
