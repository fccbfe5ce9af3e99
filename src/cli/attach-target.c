/* SPDX-License-Identifier: MIT */
/*
 * attach-target.c - what process is that, and what stands against a hook in it?
 *
 * All of it from /proc/PID (proc(5)): status (whose, which state, its number in its own pid
 * namespace: the last of NSpid), stat (when it started), exe (the program, even if the file is gone
 * or lies in another mount namespace), maps (which runtime it has mapped), environ (as it was at
 * the start), root (the directory it calls "/", in its mount namespace). The kernel lets us see the
 * last four only if we might trace it (ptrace(2): same user and dumpable, or CAP_SYS_PTRACE).
 *
 * A path of the target is resolved with RESOLVE_IN_ROOT (openat2(2), Linux 5.6): a symbolic link in
 * a container that says /tmp means the container's. Where the call is missing or forbidden, a plain
 * path through /proc/PID/root has to do, for which an absolute link means ours.
 */
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

#include "cli/attach.h"
#include "cli/hooks.h"
#include "core/scan.h"

#define TEXT_MAX (UINT64_C(64) << 20) /* of a maps file */

static int read_at(int directory, const char *name, char **ret_text, size_t *ret_size)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC), r = 0;
	size_t size = 0, capacity = 16384;
	char *text = NULL;

	if (fd < 0)
		return -errno;
	while (r == 0) {
		char *more = realloc(text, capacity + 1);
		ssize_t n;

		if (!more) {
			r = -ENOMEM;
			break;
		}
		text = more;
		n = read(fd, text + size, capacity - size);
		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		size += (size_t)n;
		if (capacity - size < capacity / 4)
			capacity *= 2;
		if (capacity > TEXT_MAX)
			r = -EFBIG;
	}
	close(fd);
	if (r < 0) {
		free(text);
		return r;
	}
	text[size] = '\0';
	*ret_text = text;
	*ret_size = size;
	return 0;
}

/* ---- status, stat ----------------------------------------------------------------------------- */

static bool find_line(const char *text, size_t size, const char *key, struct scan *ret)
{
	struct scan rest = { text, size }, line;

	while (scan_item(&rest, '\n', &line))
		if (scan_word(&line, key)) {
			scan_blanks(&line);
			*ret = line;
			return true;
		}
	return false;
}

static int read_status(struct target *t, char *ret_state)
{
	struct scan line, field;
	uint64_t number;
	size_t size;
	char *text;
	int r = read_at(t->proc, "status", &text, &size);

	if (r < 0)
		return r;
	r = -EBADMSG;
	*ret_state = find_line(text, size, "State:", &line) && line.left > 0 ? *line.p : '?';
	if (find_line(text, size, "Uid:", &line) && scan_u64(&line, &number) == 0) {
		t->uid = (uid_t)number;
		if (find_line(text, size, "Gid:", &line) && scan_u64(&line, &number) == 0) {
			t->gid = (gid_t)number;
			r = 0;
		}
	}
	/* a number of a thread: /proc has it too, and it means the process */
	if (find_line(text, size, "Tgid:", &line) && scan_u64(&line, &number) == 0 && number > 0)
		t->pid = (pid_t)number;
	t->inner_pid = t->pid;
	if (find_line(text, size, "NSpid:", &line))
		while (scan_item(&line, '\t', &field))
			if (scan_u64(&field, &number) == 0)
				t->inner_pid = (pid_t)number;
	free(text);
	return r;
}

/* The 22nd field; the second is a name in parentheses, which may have blanks and parentheses. */
static int read_start(struct target *t)
{
	struct scan rest, field = { NULL, 0 };
	size_t size;
	char *text, *end;
	int r = read_at(t->proc, "stat", &text, &size);

	if (r < 0)
		return r;
	end = strrchr(text, ')');
	rest = scan_string(end ? end : "");
	for (unsigned i = 2; i <= 22 && scan_item(&rest, ' ', &field); i++)
		continue;
	r = scan_u64(&field, &t->start) < 0 ? -EBADMSG : 0;
	free(text);
	return r;
}

/* ---- maps, environ ---------------------------------------------------------------------------- */

static bool is_called(struct scan path, const char *name)
{
	size_t n = strlen(name);

	if (scan_ends_with(path, " (deleted)"))
		path.left -= strlen(" (deleted)");
	return scan_ends_with(path, name) && path.left > n && path.p[path.left - n - 1] == '/';
}

static int read_maps(struct target *t)
{
	struct scan rest, line;
	size_t size;
	char *text;
	int r = read_at(t->proc, "maps", &text, &size);

	if (r < 0)
		return r;
	t->has_hook = false;
	rest = (struct scan){ text, size };
	while (scan_item(&rest, '\n', &line)) {
		const char *slash = line.left > 0 ? memchr(line.p, '/', line.left) : NULL;
		struct scan path;

		if (!slash)
			continue;
		path = (struct scan){ slash, line.left - (size_t)(slash - line.p) };
		if (is_called(path, "libcoreclr.so"))
			snprintf(t->runtime, sizeof(t->runtime), "%.*s",
				 (int)MIN(path.left, sizeof(t->runtime) - 1), path.p);
		else if (is_called(path, HOOK_CORECLR) || is_called(path, HOOK_STARTUP))
			t->has_hook = true;
	}
	free(text);
	return 0;
}

int target_look_again(struct target *target)
{
	uint64_t start = target->start;
	int r = read_start(target);

	if (r < 0 || target->start != start)
		return -ESRCH;
	return read_maps(target);
}

const char *target_getenv(const struct target *target, const char *name)
{
	const char *p = target->environment, *end = p + target->environment_size;
	size_t n = strlen(name);

	/* there is a NUL behind all of it */
	for (; p && p < end; p += strlen(p) + 1)
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return p + n + 1;
	return NULL;
}

/* .NET reads its switches as hexadecimal numbers; DOTNET_ counts before COMPlus_. */
static bool is_off(const struct target *t, const char *name, const char *older)
{
	const char *value = target_getenv(t, name);
	char *end;

	if (!value || !*value)
		value = target_getenv(t, older);
	return value && strtoul(value, &end, 16) == 0 && end != value;
}

const char *target_forbids(const struct target *target)
{
	if (is_off(target, "DOTNET_EnableDiagnostics", "COMPlus_EnableDiagnostics"))
		return "DOTNET_EnableDiagnostics=0";
	if (is_off(target, "DOTNET_EnableDiagnostics_IPC", "COMPlus_EnableDiagnostics_IPC"))
		return "DOTNET_EnableDiagnostics_IPC=0";
	if (is_off(target, "DOTNET_EnableDiagnostics_Profiler",
		   "COMPlus_EnableDiagnostics_Profiler"))
		return "DOTNET_EnableDiagnostics_Profiler=0";
	return NULL;
}

const char *target_tmpdir(const struct target *target)
{
	const char *value = target_getenv(target, "TMPDIR");

	return value && *value ? value : "/tmp";
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

/* ---- all of it -------------------------------------------------------------------------------- */

static int refuse(char *why, int error, const char *format, ...) _printf_(3, 4);
static int refuse(char *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, ATTACH_WHY_MAX, format, args);
	va_end(args);
	return error;
}

static int refuse_foreign(const struct target *t, char *why)
{
	if (geteuid() == 0)
		return refuse(
			why, -EPERM,
			"it belongs to user %u, and may not be looked at without CAP_SYS_PTRACE",
			(unsigned)t->uid);
	if (geteuid() == t->uid)
		return refuse(why, -EPERM,
			      "it may not be looked at; root may, or who has CAP_SYS_PTRACE");
	return refuse(why, -EPERM, "it belongs to user %u; only that user and root may attach",
		      (unsigned)t->uid);
}

/* `name` below `directory`, mapped: a single-file app has 70 MB, of which a few pages are read. */
static int map_image(int directory, const char *name, struct executable *ret, void **ret_map,
		     size_t *ret_size)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC), r = 0;
	struct stat st;
	void *map;

	if (fd < 0)
		return -errno;
	map = fstat(fd, &st) < 0 ? MAP_FAILED
				 : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		r = -errno;
	close(fd);
	if (r < 0)
		return r;
	executable_parse(map, (size_t)st.st_size, ret);
	*ret_map = map;
	*ret_size = (size_t)st.st_size;
	return 0;
}

static int open_image(struct target *t)
{
	int r = map_image(t->proc, "exe", &t->image, &t->map, &t->map_size);
	ssize_t n = r == 0 ? readlinkat(t->proc, "exe", t->exe, sizeof(t->exe) - 1) : 0;

	if (n < 0)
		return -errno;
	t->exe[n] = '\0';
	return r;
}

static int check_kind(const struct target *t, char *why)
{
	enum executable_dotnet kind = executable_dotnet(&t->image);
	struct executable own = { 0 };
	void *map = NULL;
	size_t size = 0;
	int r = 0;

	if (kind == DOTNET_AOT)
		return refuse(
			why, -EOPNOTSUPP,
			"it was compiled ahead of time (NativeAOT) and has no interface for a hook; "
			"build it with the PsiBridge package");
	if (executable_defines(&t->image, "mono_main") ||
	    executable_needs(&t->image, "libmonosgen-2.0.so"))
		return refuse(
			why, -EOPNOTSUPP,
			"it is Mono, which takes no hook while it runs; start it with \"psibridge run\"");
	if (t->image.is_elf && map_image(AT_FDCWD, "/proc/self/exe", &own, &map, &size) == 0) {
		if (own.machine != t->image.machine || own.wide != t->image.wide)
			r = refuse(why, -EOPNOTSUPP, "it is made for %s, and the hook for %s",
				   executable_machine(&t->image), executable_machine(&own));
		else if (*executable_libc(&own) && *executable_libc(&t->image) &&
			 strcmp(executable_libc(&own), executable_libc(&t->image)) != 0)
			r = refuse(why, -EOPNOTSUPP, "it is linked with %s, and the hook with %s",
				   executable_libc(&t->image), executable_libc(&own));
	}
	if (map)
		munmap(map, size);
	if (r < 0)
		return r;
	if (kind == DOTNET_SINGLE || t->runtime[0])
		return 0;
	if (kind != DOTNET_NONE)
		return refuse(why, -EOPNOTSUPP,
			      "it is a .NET host that has no runtime loaded (yet?)");
	return refuse(why, -EOPNOTSUPP, "it is not .NET (%s)", t->exe);
}

static int look(struct target *t, char *why)
{
	char path[64], state;
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)t->pid);
	t->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->proc < 0 && (kill(t->pid, 0) == 0 || errno == EPERM))
		return refuse(
			why, -EACCES,
			"there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)");
	if (t->proc < 0)
		return refuse(why, -ESRCH, "there is no such process");
	r = read_status(t, &state);
	if (r == 0)
		r = read_start(t);
	if (r < 0)
		return refuse(why, -ESRCH, "there is no such process (%s)", strerror(-r));
	if (state == 'Z' || state == 'X')
		return refuse(why, -ESRCH, "it has ended, and only waits for its parent");
	r = open_image(t);
	if (r == -EACCES || r == -EPERM)
		return refuse_foreign(t, why);
	if (r == -ENOENT)
		return refuse(why, -EOPNOTSUPP, "it is a thread of the kernel");
	if (r == 0)
		r = read_maps(t);
	if (r == 0)
		r = read_at(t->proc, "environ", &t->environment, &t->environment_size);
	if (r == 0) {
		t->root = openat(t->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = t->root < 0 ? -errno : 0;
	}
	if (r == -EACCES || r == -EPERM)
		return refuse_foreign(t, why);
	if (r < 0)
		return refuse(why, r, "it cannot be looked at: %s", strerror(-r));
	r = check_kind(t, why);
	if (r < 0)
		return r;
	if (state == 'T' || state == 't')
		return refuse(why, -EBUSY,
			      "it is stopped (%s), and will not answer; continue it first",
			      state == 'T' ? "SIGSTOP" : "by a debugger");
	return 0;
}

int target_open(pid_t pid, struct target *ret, char *why)
{
	int r;

	*ret = (struct target){ .pid = pid, .proc = -1, .root = -1 };
	r = look(ret, why);
	if (r < 0)
		target_done(ret);
	return r;
}

void target_done(struct target *target)
{
	if (target->proc >= 0)
		close(target->proc);
	if (target->root >= 0)
		close(target->root);
	if (target->map)
		munmap(target->map, target->map_size);
	free(target->environment);
	*target = (struct target){ .proc = -1, .root = -1 };
}
