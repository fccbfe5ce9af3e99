/* SPDX-License-Identifier: MIT */
/*
 * count.c - system calls of a child, counted with ptrace(2)
 *
 * The child stops at each entry to and exit from a system call (PTRACE_O_TRACESYSGOOD marks these stops);
 * PTRACE_GET_SYSCALL_INFO (5.3) says which of the two it is and the number, on any architecture. PTRACE_O_TRACECLONE
 * brings its threads along. Phases are announced in band: close(2) of a descriptor that cannot exist, which fails
 * and does nothing else.
 */
#include "count.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK 0x70736200 /* "psb\0" */

static const struct {
	long number;
	const char *name;
} names[] = {
	{ SYS_io_uring_enter, "io_uring_enter" },
	{ SYS_epoll_pwait2, "epoll_pwait2" },
	{ SYS_epoll_pwait, "epoll_pwait" },
#ifdef SYS_epoll_wait
	{ SYS_epoll_wait, "epoll_wait" },
#endif
	{ SYS_epoll_ctl, "epoll_ctl" },
	{ SYS_ppoll, "ppoll" },
	{ SYS_pread64, "pread" },
	{ SYS_read, "read" },
	{ SYS_recvfrom, "recv" },
	{ SYS_recvmsg, "recvmsg" },
	{ SYS_futex, "futex" },
	{ SYS_timerfd_settime, "timerfd_settime" },
	{ SYS_write, "write" },
	{ SYS_close, "close" },
};

void count_phase(unsigned phase)
{
	syscall(SYS_close, MARK + (long)phase);
}

static void count_entry(const struct __ptrace_syscall_info *info, bool conductor, unsigned *phase,
			struct counts *counts)
{
	uint64_t number = info->entry.nr;

	if (conductor) {
		uint64_t marked = info->entry.args[0] - MARK;

		if (number == SYS_close && marked < COUNT_PHASES)
			*phase = (unsigned)marked;
		return;
	}
	counts->calls[*phase]++;
	if (number < COUNT_NUMBERS)
		counts->by_number[*phase][number]++;
}

/* Until the child ends. Returns: its exit status, -errno. */
static int trace(pid_t child, struct counts *counts)
{
	unsigned phase = 0;

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
			if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
			    info.op == PTRACE_SYSCALL_INFO_ENTRY)
				count_entry(&info, tid == child, &phase, counts);
		} else if (status >> 16 == 0 && WSTOPSIG(status) != SIGSTOP) {
			/* a SIGSTOP is how a new thread begins */
			deliver = WSTOPSIG(status);
		}
		ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(intptr_t)deliver);
	}
}

int count_syscalls(count_fn *fn, void *userdata, struct counts *ret)
{
	static struct counts counts;
	pid_t child;
	int status, r;

	memset(&counts, 0, sizeof(counts));
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
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		return r;
	}
	r = trace(child, &counts);
	if (r == 0)
		*ret = counts;
	return r > 0 ? -r : r;
}

void count_format(const struct counts *counts, unsigned phase, double events, char *ret,
		  size_t size)
{
	size_t used = 0;

	ret[0] = '\0';
	for (unsigned i = 0; i < ELEMENTSOF(names) && used < size; i++) {
		double each = counts->by_number[phase][names[i].number] / events;

		if (each < 0.05)
			continue;
		used += (size_t)snprintf(ret + used, size - used, "%s%.2f %s", used ? " + " : "",
					 each, names[i].name);
	}
}
