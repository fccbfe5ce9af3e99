/* SPDX-License-Identifier: MIT */
/*
 * target.c - from names to a cgroup or a stream
 *
 * Order: what the caller named; else $MEMORY_PRESSURE_WATCH; else our own cgroup. A variable that
 * makes no sense is an error that is told, never a silent fallback: whoever set it expects it to
 * work.
 */
#include "kernel/target.h"

#include "core/base64.h"
#include "core/psi.h"
#include "kernel/file.h"
#include "kernel/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Write the words, hand the error on. */
_printf_(3, 4) static int fail(char *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, WHY_MAX, format, args);
	va_end(args);
	return error;
}

static int need_cgroup2(const struct target *t, char *why)
{
	if (t->cgroups.has_v2)
		return 0;
	return fail(why, -ENOENT,
		    "no cgroup2 hierarchy is mounted here (cgroup v1 only); "
		    "boot with systemd.unified_cgroup_hierarchy=1");
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
	if (r < 0)
		return fail(why, r, "pid %lld: its cgroup can't be read: %s", (long long)q->pid,
			    strerror(-r));
	if (r > 0)
		return fail(why, -ENOENT, "pid %lld: its cgroup is not visible from here",
			    (long long)q->pid);
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

/* Our own cgroup, or as near as we can see. Not to find one is no error: the machine's pressure
 * remains. */
static void resolve_own(struct target *t, const char *proc)
{
	int r = cgroup_of_pid(&t->cgroups, proc, 0, t->cgroup);

	t->own = true;
	t->hidden = r > 0;
	t->has_cgroup = r >= 0;
	if (r < 0)
		memcpy(t->cgroup, "/", 2);
	if (cgroup_v1_of_pid(&t->cgroups, proc, 0, t->v1_cgroup) < 0)
		t->v1_cgroup[0] = '\0';
}

/* Is `path` the cgroup `below`, or one above it? */
static bool is_at_or_above(const char *path, const char *below)
{
	size_t length = strcmp(path, "/") == 0 ? 0 : strlen(path);

	return strncmp(path, below, length) == 0 && (below[length] == '/' || below[length] == '\0');
}

/* A memory.pressure below the cgroup2 mount: then its cgroup is known, with all that is beside it. */
static void place_psi_file(struct target *t)
{
	char directory[CGPATH_MAX], path[CGPATH_MAX];
	const char *point = t->cgroups.v2.point, *name = strrchr(t->stream_path, '/');

	if (strcmp(name, "/memory.pressure") != 0 || !t->cgroups.has_v2 ||
	    strncmp(t->stream_path, point, strlen(point)) != 0 ||
	    t->stream_path[strlen(point)] != '/')
		return;
	snprintf(directory, sizeof(directory), "%.*s/", (int)(name - t->stream_path),
		 t->stream_path);
	if (cgpath_normalise(directory, point, path, NULL) < 0)
		return;
	if (t->has_cgroup && strcmp(path, t->cgroup) == 0)
		return;
	if (t->from_environment && t->has_cgroup && !t->hidden &&
	    !is_at_or_above(path, t->cgroup)) {
		t->foreign_unit = true;
		return;
	}
	memcpy(t->cgroup, path, sizeof(path));
	t->has_cgroup = true;
	t->own = false;
	t->v1_cgroup[0] = '\0';
}

/* A file that can be read and is none is refused here; one that can't be read is the ladder's
 * business. */
static bool is_pressure_text(const char *path)
{
	char text[PSI_TEXT_MAX];
	struct psi psi;
	size_t size;

	return file_read(AT_FDCWD, path, text, sizeof(text), &size) < 0 ||
	       psi_parse(text, size, &psi) == 0;
}

static int resolve_stream(struct target *t, const char *path, const char *name, char *why)
{
	struct stat st;
	int fd, r;

	if (path[0] != '/')
		return fail(why, -EINVAL, "%s=%.200s: an absolute path was expected", name, path);
	if (strcmp(path, "/dev/null") == 0)
		return fail(
			why, -ENODATA,
			"%s=/dev/null: memory pressure notification is switched off for this service",
			name);
	if (strlen(path) >= sizeof(t->stream_path))
		return fail(why, -ENAMETOOLONG, "%s: the path is too long", name);
	if (stat(path, &st) < 0)
		return fail(why, -errno, "%s=%.200s: %s", name, path, strerror(errno));
	snprintf(t->stream_path, sizeof(t->stream_path), "%s", path);

	if (S_ISFIFO(st.st_mode)) {
		t->stream = STREAM_FIFO;
	} else if (S_ISSOCK(st.st_mode)) {
		if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
			return fail(why, -ENAMETOOLONG,
				    "%s=%.200s: too long for a socket's address", name, path);
		t->stream = STREAM_SOCKET;
	} else if (S_ISREG(st.st_mode) && is_pressure_text(path)) {
		/* what else is wrong with it, the ladder says, and goes on; this is somebody's
		 * mistake */
		r = pressure_open(AT_FDCWD, path, &fd);
		if (r == -EBADMSG)
			return fail(why, -EINVAL,
				    "%s=%.200s: neither a pressure file, a FIFO nor a socket", name,
				    path);
		if (r == 0)
			close(fd);
		t->stream = STREAM_PSI_FILE;
		place_psi_file(t);
	} else {
		return fail(why, -EINVAL, "%s=%.200s: neither a pressure file, a FIFO nor a socket",
			    name, path);
	}
	return 0;
}

static int take_write(struct target *t, const void *data, size_t size, const char *name, char *why)
{
	const char *wrong;

	if (size > sizeof(t->write))
		return fail(why, -EINVAL, "%s: more than %zu bytes", name, sizeof(t->write));
	if (size > 0)
		memcpy(t->write, data, size);
	t->write_size = size;
	t->has_write_trigger = size > 0 &&
			       trigger_parse(data, size, &t->write_trigger, &wrong) == 0;
	if (t->stream == STREAM_PSI_FILE && size > 0 && !t->has_write_trigger)
		return fail(why, -EINVAL, "%s: not a PSI trigger: %s", name, wrong);
	return 0;
}

static int resolve_environment(struct target *t, char *why)
{
	const char *watch = getenv("MEMORY_PRESSURE_WATCH"),
		   *text = getenv("MEMORY_PRESSURE_WRITE");
	char data[TARGET_WRITE_MAX];
	size_t size = 0;
	int r;

	if (!watch || !*watch)
		return 0;
	t->from_environment = true;
	r = resolve_stream(t, watch, "MEMORY_PRESSURE_WATCH", why);
	if (r < 0)
		return r;
	if (t->foreign_unit) {
		t->stream = STREAM_NONE;
		return fail(
			why, 0,
			"MEMORY_PRESSURE_WATCH=%.200s belongs to another unit and was inherited; ignored",
			watch);
	}
	if (text) {
		r = base64_decode(text, strlen(text), data, sizeof(data), &size);
		if (r == -ENOSPC)
			return fail(why, -EINVAL, "MEMORY_PRESSURE_WRITE: more than %zu bytes",
				    sizeof(data));
		if (r < 0)
			return fail(why, -EINVAL, "MEMORY_PRESSURE_WRITE=%.100s: not base64", text);
	}
	return take_write(t, data, size, "MEMORY_PRESSURE_WRITE", why);
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
		resolve_own(t, q->proc);
		if (q->source) {
			r = resolve_stream(t, q->source, "source", why);
			if (r == 0)
				r = take_write(t, q->source_write, q->source_write_size,
					       "source_write", why);
		} else {
			r = resolve_environment(t, why);
		}
	}
	if (r == 0)
		*ret = *t;
out:
	free(t);
	return r;
}
