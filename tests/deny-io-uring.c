/* SPDX-License-Identifier: MIT */
/*
 * deny-io-uring.c - run a command as on a kernel without io_uring, or where it is forbidden
 *
 *     deny-io-uring ENOSYS|EPERM COMMAND [ARGUMENTS...]
 *
 * Installs a seccomp filter that answers io_uring_setup, io_uring_enter and io_uring_register with
 * that errno, sets PSIBRIDGE_TEST_DENIED to its name, and executes COMMAND, which inherits the
 * filter, as does everything it starts. A whole test suite can be run so. The exit status is that
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

static int filter_install(unsigned error)
{
	/* Jumps are counted from the next instruction. */
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
	};
	struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	unsigned error = 0;
	int r;

	if (argc >= 3 && strcmp(argv[1], "ENOSYS") == 0)
		error = ENOSYS;
	else if (argc >= 3 && strcmp(argv[1], "EPERM") == 0)
		error = EPERM;
	if (!error) {
		fprintf(stderr, "usage: %s ENOSYS|EPERM COMMAND [ARGUMENTS...]\n", argv[0]);
		return FAILED;
	}

	r = filter_install(error);
	if (r < 0) {
		fprintf(stderr, "%s: no seccomp filter: %s\n", argv[0], strerror(-r));
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
