/* SPDX-License-Identifier: MIT */
/*
 * attach-target.c - what process is that, and what stands against a hook in it?
 *
 * All of it from /proc/PID (proc(5)): status (whose, which state, its number in its own pid
 * namespace: the last of NStgid), stat (when it started), exe (the program, even if the file is gone
 * or lies in another mount namespace), maps (which runtime and libc it has mapped), environ (as it
 * was at the start), root (the directory it calls "/", in its mount namespace). The kernel lets us
 * see the last four only if we might trace it (ptrace(2): same user and dumpable, or
 * CAP_SYS_PTRACE).
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
#include <inttypes.h>
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

#include "cli/attach.h"
#include "cli/hooks.h"

#ifdef __GLIBC__
#define OWN_LIBC "glibc"
#else
#define OWN_LIBC "musl"
#endif

int target_refuse(struct target *target, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(target->why, sizeof(target->why), format, args);
	va_end(args);
	return error;
}

/* ---- the files of /proc/PID ------------------------------------------------------------------- */

int target_each(const struct target *target, const char *file, int end,
		void (*take)(char *piece, void *userdata), void *userdata)
{
	int fd = openat(target->proc, file, O_RDONLY | O_CLOEXEC), r = 0;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char *piece = NULL;
	size_t size = 0;
	ssize_t n;

	if (!f)
		return -errno;
	while ((n = getdelim(&piece, &size, end, f)) > 0) {
		if (piece[n - 1] == end)
			piece[n - 1] = '\0';
		take(piece, userdata);
	}
	if (ferror(f))
		r = -errno;
	free(piece);
	fclose(f);
	return r;
}

static void take_status(char *line, void *userdata)
{
	struct target *t = userdata;

	sscanf(line, "State: %c", &t->state);
	sscanf(line, "Uid: %u", &t->uid);
	sscanf(line, "Gid: %u", &t->gid);
	/* a number of a thread: /proc has it too, and it means the process */
	sscanf(line, "Tgid: %d", &t->pid);
	if (strncmp(line, "NStgid:", 7) == 0)
		sscanf(strrchr(line, '\t'), "%d", &t->inner_pid);
}

/* The 22nd field; the second is a name in parentheses, which may have blanks and parentheses. */
static void take_stat(char *line, void *userdata)
{
	struct target *t = userdata;
	char *field = strrchr(line, ')');

	for (unsigned i = 2; i < 22 && field; i++) {
		field = strchr(field, ' ');
		field += field != NULL;
	}
	if (field)
		t->start = strtoull(field, NULL, 10);
}

static void take_map(char *line, void *userdata)
{
	struct target *t = userdata;
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

/* ---- its environment -------------------------------------------------------------------------- */

enum { UNSET, ON, OFF };

static const char *const prefixes[] = { "DOTNET_", "COMPlus_" }; /* the first one counts before */
static const char *const switches[] = { "EnableDiagnostics", "EnableDiagnostics_IPC",
					"EnableDiagnostics_Profiler" };

static void take_variable(char *text, void *userdata)
{
	struct target *t = userdata;
	char *value = strchr(text, '='), *end;

	if (!value || !value[1])
		return;
	*value++ = '\0';
	if (strcmp(text, "TMPDIR") == 0 && !*t->tmpdir) /* of two the first counts */
		snprintf(t->tmpdir, sizeof(t->tmpdir), "%s", value);
	for (size_t p = 0; p < ELEMENTSOF(prefixes); p++) {
		size_t n = strlen(prefixes[p]);

		for (size_t i = 0; i < ELEMENTSOF(switches); i++)
			if (strncmp(text, prefixes[p], n) == 0 &&
			    strcmp(text + n, switches[i]) == 0)
				/* .NET reads them as hexadecimal numbers */
				t->switches[p][i] = strtoul(value, &end, 16) == 0 && end != value
							    ? OFF
							    : ON;
	}
}

const char *target_forbids(const struct target *target)
{
	for (size_t i = 0; i < ELEMENTSOF(switches); i++) {
		char newer = target->switches[0][i];

		if ((newer == UNSET ? target->switches[1][i] : newer) == OFF)
			return switches[i];
	}
	return NULL;
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
		return target_refuse(t, -EOPNOTSUPP, "it is made for %s, and the hook for %s",
				     machine(its), machine(&__ehdr_start));
	if (t->libc && strcmp(t->libc, OWN_LIBC) != 0)
		return target_refuse(t, -EOPNOTSUPP,
				     "it is linked with %s, and the hook with " OWN_LIBC, t->libc);
	if (t->has_coreclr || mentions(image, size, 'D', "otNetRuntimeInfo"))
		return 0;
	if (mentions(image, size, 'D', "otNetRuntimeDebugHeader"))
		return target_refuse(
			t, -EOPNOTSUPP,
			"it was compiled ahead of time (NativeAOT) and has no interface for a hook; "
			"build it with the PsiBridge package");
	if (t->has_mono || mentions(image, size, 'm', "ono_main"))
		return target_refuse(
			t, -EOPNOTSUPP,
			"it is Mono, which takes no hook while it runs; start it with \"psibridge run\"");
	if (t->has_host)
		return target_refuse(t, -EOPNOTSUPP,
				     "it is a .NET host that has no runtime loaded (yet?)");
	return target_refuse(t, -EOPNOTSUPP, "it is not .NET (%.400s)", t->exe);
}

/* Its file is mapped: one of 70 MB has its runtime inside, and few pages are read. */
static int check_image(struct target *t)
{
	int fd = openat(t->proc, "exe", O_RDONLY | O_CLOEXEC), r;
	struct stat st;
	void *image = fd < 0 || fstat(fd, &st) < 0
			      ? MAP_FAILED
			      : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

	r = image == MAP_FAILED ? -errno : check_kind(t, image, (size_t)st.st_size);
	if (image != MAP_FAILED)
		munmap(image, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return r;
}

/* ---- all of it -------------------------------------------------------------------------------- */

/* `r` is an error of looking at it. */
static int refuse_look(struct target *t, int r)
{
	if (r != -EACCES && r != -EPERM)
		return target_refuse(t, r, "it cannot be looked at: %s", strerror(-r));
	if (geteuid() == 0)
		return target_refuse(
			t, -EPERM,
			"it belongs to user %u, and may not be looked at without CAP_SYS_PTRACE",
			(unsigned)t->uid);
	if (geteuid() == t->uid)
		return target_refuse(
			t, -EPERM, "it may not be looked at; root may, or who has CAP_SYS_PTRACE");
	return target_refuse(t, -EPERM, "it belongs to user %u; only that user and root may attach",
			     (unsigned)t->uid);
}

static int look_at_process(struct target *t)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	t->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->proc < 0 && (kill(t->pid, 0) == 0 || errno == EPERM))
		return target_refuse(
			t, -EACCES,
			"there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)");
	if (t->proc < 0)
		return target_refuse(t, -ESRCH, "there is no such process");
	r = target_each(t, "status", '\n', take_status, t);
	if (r == 0)
		r = target_each(t, "stat", '\n', take_stat, t);
	if (r < 0)
		return target_refuse(t, -ESRCH, "there is no such process (%s)", strerror(-r));
	if (t->state == 'Z' || t->state == 'X')
		return target_refuse(t, -ESRCH, "it has ended, and only waits for its parent");
	return 0;
}

int target_open(pid_t pid, struct target *ret)
{
	int r;

	*ret = (struct target){ .pid = pid, .inner_pid = pid, .proc = -1, .root = -1 };
	r = look_at_process(ret);
	if (r < 0)
		return r;
	if (readlinkat(ret->proc, "exe", ret->exe, sizeof(ret->exe) - 1) < 0)
		return errno == ENOENT
			       ? target_refuse(ret, -EOPNOTSUPP, "it is a thread of the kernel")
			       : refuse_look(ret, -errno);
	r = target_each(ret, "maps", '\n', take_map, ret);
	if (r == 0)
		r = target_each(ret, "environ", '\0', take_variable, ret);
	if (!*ret->tmpdir)
		strcpy(ret->tmpdir, "/tmp");
	if (r == 0 && (ret->root = openat(ret->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		r = -errno;
	if (r == 0)
		r = check_image(ret);
	if (r < 0)
		return ret->why[0] ? r : refuse_look(ret, r);
	if (ret->state == 'T' || ret->state == 't')
		return target_refuse(ret, -EBUSY,
				     "it is stopped (%s), and will not answer; continue it first",
				     ret->state == 'T' ? "SIGSTOP" : "by a debugger");
	return 0;
}

int target_look_again(struct target *target)
{
	uint64_t start = target->start;

	target->has_hook = false;
	if (target_each(target, "stat", '\n', take_stat, target) < 0 || target->start != start)
		return -ESRCH;
	return target_each(target, "maps", '\n', take_map, target);
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

void target_done(struct target *target)
{
	if (target->proc >= 0)
		close(target->proc);
	if (target->root >= 0)
		close(target->root);
	target->proc = target->root = -1;
}
