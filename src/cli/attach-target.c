/* SPDX-License-Identifier: MIT */
/*
 * attach-target.c - what process is that, and what stands against a hook in it?
 *
 * All of it from /proc/PID (proc(5)): status (whose, which state, its number in its own pid
 * namespace: the last of NStgid), exe (the program, even if the file is gone or lies in another
 * mount namespace), maps (which runtime and libc it has mapped), environ (as it was at the start),
 * root (the directory it calls "/", in its mount namespace). The kernel lets us see the last four
 * only if we might trace it (ptrace(2): same user and dumpable, or CAP_SYS_PTRACE). Below a
 * descriptor of /proc/PID nothing can be opened any more when the process is gone, whoever has its
 * number then.
 *
 * What is no .NET has no socket, which is found out later; the runtime itself says what it cannot
 * load. Only what is seen in the mappings without asking is said here.
 *
 * A path of the target is resolved with RESOLVE_IN_ROOT (openat2(2), Linux 5.6): a symbolic link in
 * a container that says /tmp means the container's.
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
#include <unistd.h>

#include "cli/args.h"
#include "cli/attach.h"
#include "cli/hooks.h"

#ifdef __GLIBC__
#define OWN_LIBC "glibc"
#else
#define OWN_LIBC "musl"
#endif

int target_refuse(const struct target *target, const char *format, ...)
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

char *target_read(const struct target *target, const char *file)
{
	int fd = openat(target->proc, file, O_RDONLY | O_CLOEXEC), error;
	char *text = NULL, *bigger;
	size_t size = 0;
	ssize_t n;

	if (fd < 0)
		return NULL;
	do {
		bigger = realloc(text, size + 4096 + 2);
		if (!bigger)
			break;
		text = bigger;
		n = read(fd, text + size, 4096);
		size += n > 0 ? (size_t)n : 0;
		text[size] = text[size + 1] = '\0';
	} while (n > 0);
	error = errno;
	close(fd);
	if (!bigger || n < 0) {
		free(text);
		errno = error;
		return NULL;
	}
	return text;
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

	sscanf(field(status, "\nState:"), " %c", &t->state);
	sscanf(field(status, "\nUid:"), "%u", &t->uid);
	sscanf(field(status, "\nGid:"), "%u", &t->gid);
	/* a number of a thread: /proc has it too, and it means the process */
	sscanf(field(status, "\nTgid:"), "%d", &t->pid);
	t->inner_pid = t->pid;
	if (last)
		sscanf(last, "%d", &t->inner_pid);
}

static void take_map(struct target *t, char *line)
{
	const char *path = strchr(line, '/'), *name = path ? strrchr(path, '/') + 1 : "";
	char *deleted = strstr(line, " (deleted)");

	if (deleted)
		*deleted = '\0';
	t->has_coreclr |= strcmp(name, "libcoreclr.so") == 0;
	t->has_mono |= strncmp(name, "libmonosgen-2.0.so", 18) == 0 ||
		       strcmp(name, "mono-sgen") == 0;
	t->has_hook |= strstr(name, HOOK_CORECLR) || strcmp(name, HOOK_STARTUP) == 0;
	if (strncmp(name, "ld-musl-", 8) == 0)
		t->libc = "musl";
	else if (strcmp(name, "libc.so.6") == 0)
		t->libc = "glibc";
}

int target_look_at_maps(struct target *t)
{
	char *maps = target_read(t, "maps"), *rest = maps, *line;

	if (!maps)
		return -errno;
	t->has_hook = false;
	while ((line = strsep(&rest, "\n")))
		take_map(t, line);
	free(maps);
	return 0;
}

/* `r` is an error of looking at it. */
static int refuse_look(const struct target *t, int r)
{
	if (r != -EACCES && r != -EPERM)
		return target_refuse(t, "it cannot be looked at: %s", strerror(-r));
	if (geteuid() == 0)
		return target_refuse(
			t, "it belongs to user %u, and may not be looked at without CAP_SYS_PTRACE",
			(unsigned)t->uid);
	if (geteuid() == t->uid)
		return target_refuse(
			t, "it may not be looked at; root may, or who has CAP_SYS_PTRACE");
	return target_refuse(t, "it belongs to user %u; only that user and root may attach",
			     (unsigned)t->uid);
}

/* ---- all of it -------------------------------------------------------------------------------- */

static int look_at_process(struct target *t)
{
	char path[64], *status;

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	t->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->proc < 0 && (kill(t->pid, 0) == 0 || errno == EPERM))
		return target_refuse(
			t,
			"there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)");
	status = t->proc < 0 ? NULL : target_read(t, "status");
	if (!status)
		return target_refuse(t, "there is no such process");
	take_status(t, status);
	free(status);
	if (t->state == 'Z' || t->state == 'X')
		return target_refuse(t, "it has ended, and only waits for its parent");
	return 0;
}

int target_open(pid_t pid, struct target *ret)
{
	int r;

	*ret = (struct target){ .pid = pid, .proc = -1, .root = -1, .socket = -1 };
	r = look_at_process(ret);
	if (r < 0)
		return r;
	if (readlinkat(ret->proc, "exe", ret->exe, sizeof(ret->exe) - 1) < 0)
		return errno == ENOENT ? target_refuse(ret, "it is a thread of the kernel")
				       : refuse_look(ret, -errno);
	r = target_look_at_maps(ret);
	if (r == 0 && !(ret->environment = target_read(ret, "environ")))
		r = -errno;
	if (r == 0 && (ret->root = openat(ret->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		r = -errno;
	if (r < 0)
		return refuse_look(ret, r);
	ret->tmpdir = hooks_variable(ret->environment, "TMPDIR");
	if (!ret->tmpdir)
		ret->tmpdir = "/tmp";
	if (ret->libc && strcmp(ret->libc, OWN_LIBC) != 0)
		return target_refuse(ret, "it is linked with %s, and the hook with " OWN_LIBC,
				     ret->libc);
	if (ret->has_mono)
		return target_refuse(
			ret,
			"it is Mono, which takes no hook while it runs; start it with \"psibridge run\"");
	if (ret->state == 'T' || ret->state == 't')
		return target_refuse(ret,
				     "it is stopped (%s), and will not answer; continue it first",
				     ret->state == 'T' ? "SIGSTOP" : "by a debugger");
	return 0;
}

int target_open_path(const struct target *target, const char *path, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, target->root, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

void target_done(struct target *t)
{
	const int fds[] = { t->proc, t->root, t->socket };

	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(t->environment);
}
