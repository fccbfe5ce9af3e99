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
 * A program without libcoreclr.so has a runtime inside, or is none of .NET's. Which one, names in
 * its file tell (dotnet/runtime exports them for debuggers). They choose the words of a refusal: it
 * is the socket, and what answers there, that decides.
 *
 * A path of the target is resolved with RESOLVE_IN_ROOT (openat2(2), Linux 5.6): a symbolic link in
 * a container that says /tmp means the container's. Where the call is missing or forbidden, a plain
 * path through /proc/PID/root has to do, for which an absolute link means ours.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
	t->has_host |= strcmp(name, "libhostfxr.so") == 0;
	t->has_mono |= strncmp(name, "libmonosgen-2.0.so", 18) == 0;
	t->has_hook |= strcmp(name, HOOK_CORECLR) == 0 || strcmp(name, HOOK_STARTUP) == 0;
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

/* ---- its program ------------------------------------------------------------------------------ */

/*
 * Is `first` and `rest` a name in a table of it? There it stands between two NULs. It is given in two
 * pieces, for else psibridge's own file would have it.
 */
static bool mentions(const void *image, size_t size, char first, const char *rest)
{
	char name[64] = { '\0', first };
	size_t n = strlen(rest) + 1;

	memcpy(name + 2, rest, n);
	return memmem(image, size, name, n + 2);
}

static const char *machine(const Elf32_Ehdr *header)
{
	switch (header->e_machine) {
	case EM_X86_64:
		return "x86-64";
	case EM_AARCH64:
		return "arm64";
	case EM_386:
		return "x86 (32-bit)";
	case EM_ARM:
		return "arm (32-bit)";
	}
	return "another machine";
}

/* The header of our own file, as the linker has it. Up to e_machine that of both sizes is the same. */
extern const Elf32_Ehdr __ehdr_start __attribute__((visibility("hidden")));

static int check_kind(struct target *t, const void *image, size_t size)
{
	const Elf32_Ehdr *its = image;

	if (size >= sizeof(*its) && memcmp(its->e_ident, ELFMAG, SELFMAG) == 0 &&
	    (its->e_machine != __ehdr_start.e_machine ||
	     its->e_ident[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS]))
		return target_refuse(t, "it is made for %s, and the hook for %s", machine(its),
				     machine(&__ehdr_start));
	if (t->libc && strcmp(t->libc, OWN_LIBC) != 0)
		return target_refuse(t, "it is linked with %s, and the hook with " OWN_LIBC,
				     t->libc);
	if (t->has_coreclr || mentions(image, size, 'D', "otNetRuntimeInfo"))
		return 0;
	if (mentions(image, size, 'D', "otNetRuntimeDebugHeader"))
		return target_refuse(
			t,
			"it was compiled ahead of time (NativeAOT) and has no interface for a hook; "
			"build it with the PsiBridge package");
	if (t->has_mono || mentions(image, size, 'm', "ono_main"))
		return target_refuse(
			t,
			"it is Mono, which takes no hook while it runs; start it with \"psibridge run\"");
	if (t->has_host)
		return target_refuse(t, "it is a .NET host that has no runtime loaded (yet?)");
	return target_refuse(t, "it is not .NET (%s)", t->exe);
}

/* Its file is mapped: one of 70 MB has its runtime inside, and few pages are read. */
static int check_image(struct target *t)
{
	int fd = openat(t->proc, "exe", O_RDONLY | O_CLOEXEC), r;
	struct stat st;
	void *image = fd < 0 || fstat(fd, &st) < 0
			      ? MAP_FAILED
			      : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

	r = image == MAP_FAILED ? refuse_look(t, -errno) : check_kind(t, image, (size_t)st.st_size);
	if (image != MAP_FAILED)
		munmap(image, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return r;
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
	r = check_image(ret);
	if (r < 0)
		return r;
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

	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		return fd < 0 ? -errno : (int)fd;
	while (*path == '/')
		path++;
	fd = openat(target->root, *path ? path : ".", flags | O_CLOEXEC);
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
