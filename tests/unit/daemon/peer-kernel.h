/* SPDX-License-Identifier: MIT */
/*
 * peer-kernel.h - what holds of peers is tried on both ways to know them: as this kernel is, and then, for good, as one
 * before 6.5, for which a seccomp filter answers SO_PEERPIDFD
 */
#pragma once

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../unit.h"
#include "../../skip.h"
#include "core/util.h"
#include "kernel/file.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static bool old_kernel; /* the filter is installed */

static inline uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/* What getsockopt(SOL_SOCKET, SO_PEERPIDFD) answers from now on; kernels before 6.5: ENOPROTOOPT. */
static inline bool answer_peerpidfd(unsigned error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_PEERPIDFD, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static inline bool kernel_is_new(void)
{
	int ends[2], pidfd = -1;
	socklen_t size = sizeof(pidfd);
	bool is_new;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	is_new = getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0;
	close(ends[0]);
	close(ends[1]);
	fd_close(&pidfd);
	return is_new;
}

static const struct peer_kernel {
	const char *name;
	bool is_old;
} peer_kernels[] = { { "by pidfd", false }, { "by pid", true } };

static inline bool peer_kernel_is_there(const void *kernel, _unused_ const struct promise *promise)
{
	return ((const struct peer_kernel *)kernel)->is_old || kernel_is_new();
}

/* At the begin of a promise, with its row. */
static inline void need_peer_kernel(void **state)
{
	const struct peer_kernel *kernel = *state;

	if (kernel->is_old && !old_kernel)
		old_kernel = answer_peerpidfd(ENOPROTOOPT) || !kernel_is_new();
	if (kernel->is_old != old_kernel)
		SKIP("no seccomp filter can be had here");
}
