/* SPDX-License-Identifier: MIT */
/*
 * target.c - from names to a cgroup or a stream
 *
 * Order: what the caller named; else $MEMORY_PRESSURE_WATCH; else our own cgroup. What the caller
 * named must be there. A variable that is invalid, or names what is not there (yet), is only a
 * reason for the next rung: programs inherit variables, and psibridged may start later.
 */
#include "monitor/target.h"

#include "core/base64.h"
#include "core/scan.h"
#include "kernel/file.h"
#include "kernel/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Write the text, return the error. */
_printf_(3, 4) static int fail(char *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, WHY_MAX, format, args);
	va_end(args);
	return error;
}

const char *target_no_cgroup(const struct target *t, const char **ret_advice)
{
	*ret_advice = "";
	if (!t->cgroups.has_v2) {
		if (t->cgroups.has_v1)
			*ret_advice = "Boot with systemd.unified_cgroup_hierarchy=1.";
		return cgroups_missing(&t->cgroups);
	}
	switch (-t->own_error) {
	case EXDEV:
		return "no mount of cgroup2 shows the cgroup of this process";
	case ENODEV:
		return "the cgroup of this process was removed";
	case ENOENT:
		return "/proc/self/cgroup names no cgroup2 group (there is no line 0::)";
	default:
		return "the cgroup of this process cannot be read from /proc/self/cgroup";
	}
}

/* On a hybrid host a v2 path says nothing of v1; the first process in it does. */
static void borrow_v1(struct target *t, const char *proc, int dirfd)
{
	char text[32];
	size_t size;
	long pid;

	if (file_read(dirfd, "cgroup.procs", text, sizeof(text) - 1, &size) < 0)
		return;
	text[size] = '\0';
	pid = strtol(text, NULL, 10);
	if (pid <= 0 || cgroup_v1_of_pid(&t->cgroups, proc, pid, t->v1_cgroup) < 0)
		t->v1_cgroup[0] = '\0';
}

static int check_exists(struct target *t, const char *proc, char *why)
{
	int fd = cgroup_open(&t->cgroups, t->cgroup);

	if (fd == -EXDEV)
		return fail(why, -ENOENT, "cgroup %.200s: something else is mounted over it",
			    t->cgroup);
	if (fd < 0)
		return fail(why, fd, "cgroup %.200s: %s", t->cgroup,
			    fd == -ENOENT ? "there is no such cgroup" : strerror(-fd));
	if (t->cgroups.has_v1 && t->v1_cgroup[0] == '\0')
		borrow_v1(t, proc, fd);
	close(fd);
	t->has_cgroup = true;
	return 0;
}

static int find_cgroup(struct target *t, const char *cgroup, char *why)
{
	const char *wrong;
	int r = cgpath_normalise(cgroup, t->cgroups.v2.point, t->cgroup, &wrong);

	return r < 0 ? fail(why, r, "cgroup \"%.200s\": %s", cgroup,
			    r == -ENAMETOOLONG ? "the path is too long" : wrong)
		     : 0;
}

static int find_unit(struct target *t, const char *unit, char *why)
{
	int r = cgroup_of_unit(&t->cgroups, unit, t->cgroup);

	if (r == -EINVAL)
		return fail(
			why, r,
			"unit \"%.100s\": a unit's name has a suffix and no slash, as in \"nginx.service\"",
			unit);
	return r < 0 ? fail(why, r, "unit %.100s: %s", unit,
			    r == -ENOENT ? "no cgroup of that name; is it running?" : strerror(-r))
		     : 0;
}

static int find_pid(struct target *t, const char *proc, long long pid, char *why)
{
	int r = pid < 0 ? -EINVAL : cgroup_of_pid(&t->cgroups, proc, pid, t->cgroup);

	if (r == 0 && cgroup_v1_of_pid(&t->cgroups, proc, pid, t->v1_cgroup) < 0)
		t->v1_cgroup[0] = '\0';
	switch (-r) {
	case 0:
		return 0;
	case EINVAL:
		return fail(why, r, "pid %lld: not a process id", pid);
	case ESRCH:
		return fail(why, r, "pid %lld: there is no such process", pid);
	case EACCES:
	case EPERM:
		return fail(
			why, -EACCES,
			"pid %lld: there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)",
			pid);
	case EXDEV:
		return fail(why, -ENOENT, "pid %lld: its cgroup is not visible from here", pid);
	default:
		return fail(why, r, "pid %lld: its cgroup can't be read: %s", pid, strerror(-r));
	}
}

static int resolve_named(struct target *t, const struct target_request *q, char *why)
{
	int r;

	if (!t->cgroups.has_v2)
		return fail(why, -ENOENT, "%s%s", cgroups_missing(&t->cgroups),
			    t->cgroups.has_v1 ? "; boot with systemd.unified_cgroup_hierarchy=1"
					      : "");
	if (q->cgroup)
		r = find_cgroup(t, q->cgroup, why);
	else if (q->unit)
		r = find_unit(t, q->unit, why);
	else
		r = find_pid(t, q->proc, q->pid, why);
	return r < 0 ? r : check_exists(t, q->proc, why);
}

/* Not to find it is no error: the machine's pressure remains. */
int target_find_own(struct target *t, const char *proc)
{
	int r = cgroup_of_pid(&t->cgroups, proc, 0, t->cgroup);

	t->own = true;
	t->own_error = r;
	t->has_cgroup = r == 0;
	if (r < 0)
		memcpy(t->cgroup, "/", 2);
	if (cgroup_v1_of_pid(&t->cgroups, proc, 0, t->v1_cgroup) < 0)
		t->v1_cgroup[0] = '\0';
	return MIN(r, 0);
}

/* By its path: the cgroup whose memory.pressure the stream is, if that is below the cgroup2 mount. */
static bool cgroup_of_stream(const struct target *t, char *ret)
{
	char directory[CGPATH_MAX];
	const char *point = t->cgroups.v2.point, *name = strrchr(t->stream_path, '/');

	if (strcmp(name, "/memory.pressure") != 0 || !t->cgroups.has_v2 ||
	    strncmp(t->stream_path, point, strlen(point)) != 0 ||
	    t->stream_path[strlen(point)] != '/')
		return false;
	snprintf(directory, sizeof(directory), "%.*s/", (int)(name - t->stream_path),
		 t->stream_path);
	return cgpath_normalise(directory, point, ret, NULL) == 0;
}

/* Of a process that a unit left behind, or that moved; the unit may be gone. One above ours is not
 * another's. */
static bool is_inherited(const struct target *t)
{
	char path[CGPATH_MAX];
	size_t length;

	if (!t->has_cgroup || !cgroup_of_stream(t, path))
		return false;
	length = strcmp(path, "/") == 0 ? 0 : strlen(path);
	return strncmp(path, t->cgroup, length) != 0 ||
	       (t->cgroup[length] != '/' && t->cgroup[length] != '\0');
}

/* It is there: then the other files of its cgroup are used, too. */
static void place_psi_file(struct target *t)
{
	char path[CGPATH_MAX];

	if (!cgroup_of_stream(t, path) || (t->has_cgroup && strcmp(path, t->cgroup) == 0))
		return;
	memcpy(t->cgroup, path, sizeof(path));
	t->has_cgroup = true;
	t->own = false;
	t->v1_cgroup[0] = '\0';
}

/*
 * By its name, since a read has side effects: one of /proc/kmsg or trace_pipe takes what other
 * readers wait for. The cgroup file may be bound to any path; then its file system says what it is.
 */
static bool is_named_as_pressure(const char *path)
{
	char real[PATH_MAX];
	const char *name;
	struct statfs fs;

	if (!realpath(path, real))
		return false;
	name = strrchr(real, '/') + 1;
	if (strcmp(name, "memory.pressure") == 0 ||
	    scan_ends_with(scan_string(real), "/pressure/memory"))
		return true;
	return statfs(real, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC &&
	       !scan_ends_with(scan_string(name), ".pressure"); /* of cpu, io, irq */
}

static const char *stream_name(const struct target *t)
{
	return t->from_environment ? "MEMORY_PRESSURE_WATCH" : "source";
}

int target_look_at_stream(const struct target *t, enum stream_kind *ret, char *why)
{
	const char *name = stream_name(t), *path = t->stream_path;
	struct stat st;
	int fd, r;

	if (!path[0])
		return fail(why, -EINVAL, "%s", t->stream_why);
	if (stat(path, &st) < 0)
		return fail(why, -errno, "%s=%.200s: %s", name, path, strerror(errno));
	if (S_ISFIFO(st.st_mode)) {
		*ret = STREAM_FIFO;
		return 0;
	}
	if (S_ISSOCK(st.st_mode)) {
		if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
			return fail(why, -ENAMETOOLONG,
				    "%s=%.200s: too long for a socket's address", name, path);
		*ret = STREAM_SOCKET;
		return 0;
	}
	r = S_ISREG(st.st_mode) && is_named_as_pressure(path) ? pressure_open(AT_FDCWD, path, &fd)
							      : -EBADMSG;
	if (r == 0)
		close(fd);
	if (r == -EBADMSG)
		return fail(why, -EINVAL,
			    "%s=%.200s: neither a memory pressure file, a FIFO nor a socket", name,
			    path);
	/* other errors come from arming it */
	*ret = STREAM_PSI_FILE;
	return 0;
}

static int name_stream(struct target *t, const char *path, char *why)
{
	const char *name = stream_name(t);

	if (path[0] != '/')
		return fail(why, -EINVAL, "%s=%.200s: an absolute path was expected", name, path);
	if (strcmp(path, "/dev/null") == 0)
		return fail(
			why, -ENODATA,
			"%s=/dev/null: memory pressure notification is switched off for this service",
			name);
	if (strlen(path) >= sizeof(t->stream_path))
		return fail(why, -ENAMETOOLONG, "%s: the path is too long", name);
	memcpy(t->stream_path, path, strlen(path) + 1);
	return 0;
}

/* What is to be written to it, into t->write. */
static int take_write(struct target *t, const struct target_request *q, enum stream_kind stream,
		      char *why)
{
	const char *name = t->from_environment ? "MEMORY_PRESSURE_WRITE" : "source_write";
	const char *text = t->from_environment ? getenv(name) : NULL, *wrong;
	size_t size = q->source_write_size;
	int r = size > sizeof(t->write) ? -ENOSPC : 0;

	if (text)
		r = base64_decode(text, strlen(text), t->write, sizeof(t->write), &size);
	else if (r == 0 && size > 0)
		memcpy(t->write, q->source_write, size);
	if (r == -ENOSPC)
		return fail(why, -EINVAL, "%s: more than %zu bytes", name, sizeof(t->write));
	if (r < 0)
		return fail(why, -EINVAL, "%s=%.100s: not base64", name, text);
	t->write_size = size;
	t->has_write_trigger = size > 0 &&
			       trigger_parse(t->write, size, &t->write_trigger, &wrong) == 0;
	if (stream == STREAM_PSI_FILE && size > 0 && !t->has_write_trigger)
		return fail(why, -EINVAL, "%s: not a PSI trigger: %s", name, wrong);
	return 0;
}

/* What a variable names need not be there yet. */
static int resolve_stream(struct target *t, const struct target_request *q, const char *path,
			  char *why)
{
	enum stream_kind stream = STREAM_NONE;
	int r = name_stream(t, path, why);

	t->has_stream = true;
	if (r < 0)
		return r;
	if (t->from_environment && is_inherited(t)) {
		t->foreign_unit = true;
		t->has_stream = false;
		return fail(
			why, 0,
			"MEMORY_PRESSURE_WATCH=%.200s belongs to another unit and was inherited; ignored",
			path);
	}
	r = target_look_at_stream(t, &stream, why);
	if (r < 0 && !t->from_environment)
		return r;
	if (stream == STREAM_PSI_FILE)
		place_psi_file(t);
	return take_write(t, q, stream, why);
}

static int resolve_own(struct target *t, const struct target_request *q, char *why)
{
	const char *watch = q->source ? q->source : getenv("MEMORY_PRESSURE_WATCH");
	int r;

	(void)target_find_own(t, q->proc);
	if (!watch || (!*watch && !q->source))
		return 0;
	t->from_environment = !q->source;
	r = resolve_stream(t, q, watch, why);
	if (r == 0 || r == -ENODATA || q->source)
		return r;
	t->stream_path[0] = '\0'; /* a later try fails, too */
	memcpy(t->stream_why, why, WHY_MAX);
	return 0;
}

int target_resolve(const struct target_request *q, struct target *ret, char *why)
{
	struct target *t = calloc(1, sizeof(*t));
	int cgroups = (q->cgroup != NULL) + (q->pid != 0) + (q->unit != NULL);
	int r;

	why[0] = '\0';
	if (!t)
		return fail(why, -ENOMEM, "out of memory");
	memcpy(t->cgroup, "/", 2);
	r = cgroups_discover(q->proc, &t->cgroups);
	if (cgroups + (q->source != NULL) > 1) {
		r = fail(why, -EINVAL, "cgroup, pid, unit and source exclude each other");
	} else if (r < 0 && r != -ENOENT) {
		fail(why, r, "%s/self/mountinfo: %s", q->proc, strerror(-r));
	} else if (cgroups > 0) {
		r = resolve_named(t, q, why);
	} else {
		r = resolve_own(t, q, why);
	}
	if (r == 0)
		*ret = *t;
	free(t);
	return r;
}
