/* SPDX-License-Identifier: MIT */
/*
 * count.c - system calls of a child, counted with ptrace(2)
 *
 * The child stops at each entry to and exit from a system call (PTRACE_O_TRACESYSGOOD marks these stops);
 * PTRACE_GET_SYSCALL_INFO (5.3) says which of the two it is and the number, on any architecture. PTRACE_O_TRACECLONE
 * brings its threads along. When to count is said in band: close(2) of a descriptor that cannot exist, which fails and does
 * nothing else.
 */
#include "bench.h"
#include "count.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK 0x70736200 /* "psb\0" */

void count_now(bool on)
{
	syscall(SYS_close, MARK + (long)on);
}

/* Until the child ends. Returns: its exit status, -errno. */
static int trace(pid_t child, int *count)
{
	bool on = false;

	for (;;) {
		struct __ptrace_syscall_info info;
		int status, deliver = 0;
		pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 && errno == EINTR)
			continue;
		if (tid < 0)
			return -errno;
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (tid == child)
				return WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			bool entry = ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) >
					     0 &&
				     info.op == PTRACE_SYSCALL_INFO_ENTRY;

			if (entry && tid != child)
				*count += on;
			else if (entry && info.entry.nr == SYS_close &&
				 info.entry.args[0] - MARK <= 1)
				on = info.entry.args[0] - MARK;
		} else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP) {
			/* a SIGSTOP is how a new thread begins */
			deliver = WSTOPSIG(status);
		}
		ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(intptr_t)deliver);
	}
}

int count_syscalls(count_fn *fn, void *userdata)
{
	int status, count = 0, r;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(errno);
		raise(SIGSTOP);
		_exit(-fn(userdata));
	}
	if (waitpid(child, &status, 0) < 0)
		return -errno;
	if (!WIFSTOPPED(status))
		return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
	if (ptrace(PTRACE_SETOPTIONS, child, NULL,
		   (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)) < 0 ||
	    ptrace(PTRACE_SYSCALL, child, NULL, NULL) < 0) {
		r = -errno;
		lab_kill(child);
		return r;
	}
	r = trace(child, &count);
	return r == 0 ? count : r > 0 ? -r : r;
}
