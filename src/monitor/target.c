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

static int need_cgroup2(const struct target *t, char *why)
{
	if (t->cgroups.has_v2)
		return 0;
	return fail(why, -ENOENT, "%s%s", cgroups_missing(&t->cgroups),
		    t->cgroups.has_v1 ? "; boot with systemd.unified_cgroup_hierarchy=1" : "");
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

static int resolve_cgroup(struct target *t, const struct target_request *q, char *why)
{
	const char *wrong;
	int r = need_cgroup2(t, why);

	if (r < 0)
		return r;
	r = cgpath_normalise(q->cgroup, t->cgroups.v2.point, t->cgroup, &wrong);
	if (r < 0)
		return fail(why, r, "cgroup \"%.200s\": %s", q->cgroup,
			    r == -ENAMETOOLONG ? "the path is too long" : wrong);
	return check_exists(t, q->proc, why);
}

static int resolve_pid(struct target *t, const struct target_request *q, char *why)
{
	int r = need_cgroup2(t, why);

	if (r < 0)
		return r;
	if (q->pid < 0)
		return fail(why, -EINVAL, "pid %lld: not a process id", (long long)q->pid);
	r = cgroup_of_pid(&t->cgroups, q->proc, q->pid, t->cgroup);
	if (r == -ESRCH)
		return fail(why, r, "pid %lld: there is no such process", (long long)q->pid);
	if (r == -EACCES || r == -EPERM)
		return fail(
			why, -EACCES,
			"pid %lld: there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)",
			(long long)q->pid);
	if (r == -EXDEV)
		return fail(why, -ENOENT, "pid %lld: its cgroup is not visible from here",
			    (long long)q->pid);
	if (r < 0)
		return fail(why, r, "pid %lld: its cgroup can't be read: %s", (long long)q->pid,
			    strerror(-r));
	if (cgroup_v1_of_pid(&t->cgroups, q->proc, q->pid, t->v1_cgroup) < 0)
		t->v1_cgroup[0] = '\0';
	return check_exists(t, q->proc, why);
}

static int resolve_unit(struct target *t, const struct target_request *q, char *why)
{
	const char *unit = q->unit;
	int r = need_cgroup2(t, why);

	if (r < 0)
		return r;
	r = cgroup_of_unit(&t->cgroups, unit, t->cgroup);
	if (r == -EINVAL)
		return fail(
			why, r,
			"unit \"%.100s\": a unit's name has a suffix and no slash, as in \"nginx.service\"",
			unit);
	if (r == -ENOENT)
		return fail(why, r, "unit %.100s: no cgroup of that name; is it running?", unit);
	if (r < 0)
		return fail(why, r, "unit %.100s: %s", unit, strerror(-r));
	return check_exists(t, q->proc, why);
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

/* Is `path` the cgroup `below`, or one above it? */
static bool is_at_or_above(const char *path, const char *below)
{
	size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);

	return strncmp(path, below, length) == 0 && (below[length] == '/' || below[length] == '\0');
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

/* Of a process that a unit left behind, or that moved; the unit may be gone. */
static bool is_inherited(const struct target *t)
{
	char path[CGPATH_MAX];

	return t->has_cgroup && cgroup_of_stream(t, path) && !is_at_or_above(path, t->cgroup);
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

int target_look_at_stream(const struct target *t, enum stream_kind *ret, char *why)
{
	const char *name = t->from_environment ? "MEMORY_PRESSURE_WATCH" : "source",
		   *path = t->stream_path;
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

static int name_stream(struct target *t, const char *path, const char *name, char *why)
{
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

static int take_write(struct target *t, enum stream_kind stream, const void *data, size_t size,
		      const char *name, char *why)
{
	const char *wrong;

	if (size > sizeof(t->write))
		return fail(why, -EINVAL, "%s: more than %zu bytes", name, sizeof(t->write));
	if (size > 0)
		memcpy(t->write, data, size);
	t->write_size = size;
	t->has_write_trigger = size > 0 &&
			       trigger_parse(data, size, &t->write_trigger, &wrong) == 0;
	if (stream == STREAM_PSI_FILE && size > 0 && !t->has_write_trigger)
		return fail(why, -EINVAL, "%s: not a PSI trigger: %s", name, wrong);
	return 0;
}

static int resolve_source(struct target *t, const struct target_request *q, char *why)
{
	enum stream_kind stream;
	int r;

	t->has_stream = true;
	r = name_stream(t, q->source, "source", why);
	if (r == 0)
		r = target_look_at_stream(t, &stream, why);
	if (r == 0 && stream == STREAM_PSI_FILE)
		place_psi_file(t);
	if (r == 0)
		r = take_write(t, stream, q->source_write, q->source_write_size, "source_write",
			       why);
	return r;
}

static int take_write_variable(struct target *t, enum stream_kind stream, char *why)
{
	const char *text = getenv("MEMORY_PRESSURE_WRITE");
	char data[TARGET_WRITE_MAX];
	size_t size = 0;
	int r = text ? base64_decode(text, strlen(text), data, sizeof(data), &size) : 0;

	if (r == -ENOSPC)
		return fail(why, -EINVAL, "MEMORY_PRESSURE_WRITE: more than %zu bytes",
			    sizeof(data));
	if (r < 0)
		return fail(why, -EINVAL, "MEMORY_PRESSURE_WRITE=%.100s: not base64", text);
	return take_write(t, stream, data, size, "MEMORY_PRESSURE_WRITE", why);
}

static int resolve_environment(struct target *t, char *why)
{
	const char *watch = getenv("MEMORY_PRESSURE_WATCH");
	enum stream_kind stream = STREAM_NONE;
	int r;

	if (!watch || !*watch)
		return 0;
	t->has_stream = t->from_environment = true;
	r = name_stream(t, watch, "MEMORY_PRESSURE_WATCH", why);
	if (r == -ENODATA)
		return r;
	if (r == 0 && is_inherited(t)) {
		t->foreign_unit = true;
		t->has_stream = false;
		return fail(
			why, 0,
			"MEMORY_PRESSURE_WATCH=%.200s belongs to another unit and was inherited; ignored",
			watch);
	}
	if (r == 0 && target_look_at_stream(t, &stream, why) == 0 && stream == STREAM_PSI_FILE)
		place_psi_file(t);
	if (r == 0)
		r = take_write_variable(t, stream, why);
	if (r < 0) { /* a later try fails, too */
		t->stream_path[0] = '\0';
		memcpy(t->stream_why, why, WHY_MAX);
	}
	return 0;
}

int target_resolve(const struct target_request *q, struct target *ret, char *why)
{
	struct target *t = calloc(1, sizeof(*t));
	int named = (q->cgroup != NULL) + (q->pid != 0) + (q->unit != NULL) + (q->source != NULL),
	    r;

	why[0] = '\0';
	if (!t)
		return fail(why, -ENOMEM, "out of memory");
	memcpy(t->cgroup, "/", 2);
	if (named > 1) {
		r = fail(why, -EINVAL, "cgroup, pid, unit and source exclude each other");
		goto out;
	}
	r = cgroups_discover(q->proc, &t->cgroups);
	if (r < 0 && r != -ENOENT) {
		fail(why, r, "%s/self/mountinfo: %s", q->proc, strerror(-r));
		goto out;
	}

	if (q->cgroup) {
		r = resolve_cgroup(t, q, why);
	} else if (q->pid != 0) {
		r = resolve_pid(t, q, why);
	} else if (q->unit) {
		r = resolve_unit(t, q, why);
	} else {
		(void)target_find_own(t, q->proc);
		r = q->source ? resolve_source(t, q, why) : resolve_environment(t, why);
	}
	if (r == 0)
		*ret = *t;
out:
	free(t);
	return r;
}
