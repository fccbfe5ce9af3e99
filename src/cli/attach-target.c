/* SPDX-License-Identifier: MIT */
/*
 * attach-target.c - what process is that, and what stands against a hook in it?
 *
 * All of it from /proc/PID (proc(5)). The kernel lets us see exe, maps, environ and root (the directory it calls "/", in its mount
 * namespace) only if we might trace it (ptrace(2): same user and dumpable, or CAP_SYS_PTRACE). Below a descriptor of /proc/PID
 * nothing can be opened any more when the process is gone, whoever has its number then.
 *
 * What is no .NET has no socket, which is found out later; the runtime itself says what it cannot load.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/attach.h"
#include "cli/hooks.h"
#include "cli/wait.h"

/* 65,530 mappings (vm.max_map_count) have room; an environment is a quarter of the stack at most. */
#define FILE_MAX (UINT64_C(16) << 20)

/* How long it may take a busy machine to start a program: from fork(2) to what loads the runtime, and to the runtime's socket. */
#define UNKNOWN_USEC USEC_PER_SEC
#define STARTING_USEC (10 * USEC_PER_SEC)

int refuse(const struct target *target, const char *format, ...)
{
	char why[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	complain("attach", "%d: %s", (int)target->pid, why);
	return -ECANCELED;
}

/* ---- the files of /proc/PID ------------------------------------------------------------------- */

int target_read(const struct target *target, const char *file, char **ret)
{
	int fd = openat(target->proc, file, O_RDONLY | O_CLOEXEC), error;
	/* pages of it that nobody writes to cost nothing */
	char *text = fd < 0 ? NULL : calloc(1, FILE_MAX + 2);
	size_t size = 0;
	ssize_t n = text ? 0 : -1;

	while (text && (n = read(fd, text + size, FILE_MAX - size)) > 0)
		size += (size_t)n;
	error = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		free(text);
		return -error;
	}
	*ret = text;
	return 0;
}

/* What stands behind a name of /proc/PID/status. */
static const char *field(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? line + strlen(name) : "";
}

static void take_status(struct target *t, const char *status)
{
	const char *numbers = field(status, "\nNStgid:");
	const char *last = memrchr(numbers, '\t', strcspn(numbers, "\n"));

	/* of NStgid the last is what it is in its own pid namespace */
	sscanf(field(status, "\nState:"), " %c", &t->state);
	sscanf(field(status, "\nUid:"), "%u", &t->uid);
	sscanf(field(status, "\nGid:"), "%u", &t->gid);
	/* a number of a thread: /proc has it too, and it means the process */
	sscanf(field(status, "\nTgid:"), "%d", &t->pid);
	t->inner_pid = t->pid;
	if (last)
		sscanf(last, "%d", &t->inner_pid);
}

int target_look_at_maps(struct target *t)
{
	char *maps;
	int r = target_read(t, "maps", &maps);

	if (r < 0)
		return r;
	t->has_managed = strstr(maps, HOOK_STARTUP);
	t->has_hook = t->has_managed || strstr(maps, HOOK_CORECLR);
	t->has_coreclr = strstr(maps, "/libcoreclr.so");
	t->has_host = t->has_coreclr || strstr(maps, "/libhostfxr.so");
	t->has_mono = strstr(maps, "/libmonosgen-2.0.so") || strstr(maps, "/mono-sgen");
	free(maps);
	return 0;
}

/* Since it was forked: proc(5), the 22nd field of stat. The second one may contain anything. */
static uint64_t age_usec(const struct target *target)
{
	unsigned long long ticks = 0;
	struct timespec now;
	char *stat, *at;

	if (target_read(target, "stat", &stat) < 0)
		return UINT64_MAX;
	at = strrchr(stat, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		sscanf(at, "%llu", &ticks);
	free(stat);
	clock_gettime(CLOCK_BOOTTIME, &now);
	return usec_sub((uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000,
			ticks * USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

bool target_has_just_begun(const struct target *target)
{
	return now_usec() < target->end_usec &&
	       age_usec(target) < (target->has_host ? STARTING_USEC : UNKNOWN_USEC);
}

/* ---- all of it -------------------------------------------------------------------------------- */

static int look_at_process(struct target *t)
{
	char path[64], *status;

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	t->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->proc < 0 && (kill(t->pid, 0) == 0 || errno == EPERM))
		return refuse(t, "there is such a process, but /proc hides it from this user "
				 "(hidepid=; systemd: ProtectProc=)");
	if (t->proc < 0 || target_read(t, "status", &status) < 0)
		return refuse(t, "there is no such process");
	take_status(t, status);
	free(status);
	if (t->state == 'Z' || t->state == 'X')
		return refuse(t, "it has ended, and only waits for its parent");
	return 0;
}

static void target_forget(struct target *t)
{
	if (t->root >= 0)
		close(t->root);
	if (t->socket >= 0)
		close(t->socket);
	free(t->environment);
	t->root = t->socket = -1;
	t->environment = NULL;
}

/* What the kernel shows to those who might trace it. Errors: -errno. */
static int look_inside(struct target *t)
{
	ssize_t n = readlinkat(t->proc, "exe", t->exe, sizeof(t->exe) - 1);
	int r;

	if (n < 0)
		return -errno;
	t->exe[n] = '\0';
	r = target_look_at_maps(t);
	if (r == 0)
		r = target_read(t, "environ", &t->environment);
	if (r < 0)
		return r;
	t->root = openat(t->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->root < 0)
		return -errno;
	t->tmpdir = hooks_variable(t->environment, "TMPDIR");
	if (!t->tmpdir)
		t->tmpdir = "/tmp";
	return 0;
}

static int refuse_look(const struct target *t, int error)
{
	if (error == -ENOENT && !*t->exe)
		return refuse(t, "it is a thread of the kernel");
	if (error != -EACCES && error != -EPERM)
		return refuse(t, "it cannot be looked at: %s", strerror(-error));
	if (geteuid() == 0 || geteuid() == t->uid)
		return refuse(t, "it may not be looked at without CAP_SYS_PTRACE");
	return refuse(t, "it belongs to user %u; only that user and root may attach",
		      (unsigned)t->uid);
}

int target_open(pid_t pid, uint64_t end_usec, struct target *ret)
{
	*ret = (struct target){
		.end_usec = end_usec, .pid = pid, .proc = -1, .root = -1, .socket = -1
	};
	return look_at_process(ret);
}

int target_look(struct target *t)
{
	int r;

	target_forget(t);
	r = look_inside(t);
	if (r < 0)
		return refuse_look(t, r);
	if (t->has_mono)
		return refuse(t, "it is Mono, which takes no hook while it runs; "
				 "start it with \"psibridge run\"");
	if (t->state == 'T' || t->state == 't')
		return refuse(t, "it is stopped (%s), and will not answer; continue it first",
			      t->state == 'T' ? "SIGSTOP" : "by a debugger");
	return 0;
}

int target_open_path(const struct target *target, const char *path, int flags)
{
	/* a symbolic link in a container that says /tmp means the container's (Linux 5.6) */
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, target->root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

void target_done(struct target *t)
{
	target_forget(t);
	if (t->proc >= 0)
		close(t->proc);
}
