/* SPDX-License-Identifier: MIT */
/*
 * ladder.c - one function a rung, and the words for what went wrong
 *
 * Facts it relies on (kernel/sched/psi.c, psi_trigger_create()):
 *  - Without CAP_SYS_RESOURCE the window must be n x 2 s, else EINVAL. So the short window is
 *    simply tried; the kernel looks at the credentials the file was opened with, we need not.
 *  - Before 6.5 the shortest window is 500 ms. Ours is a quarter of early's and at most that: 500
 *    ms by default.
 *  - A refused write makes no trigger, so closing that descriptor is cheap.
 *  - A FIFO whose last writer leaves reports POLLHUP for ever; a writer of our own prevents that.
 */
#include "kernel/ladder.h"

#include "kernel/closer.h"
#include "kernel/file.h"
#include "kernel/memory.h"
#include "kernel/pressure.h"
#include "kernel/psibridged.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHORT_WINDOW_USEC (500 * USEC_PER_MSEC)
#define EVERYBODYS_WINDOW_USEC (2 * USEC_PER_SEC)
#define MACHINE_FILE "/proc/pressure/memory"

struct attempt {
	const struct target *target;
	const struct trigger *early;
	struct source source;
	char why[WHY_MAX];
};

_printf_(3, 4) static int fail(struct attempt *a, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(a->why, WHY_MAX, format, args);
	va_end(args);
	return error;
}

const char *source_kind_name(enum source_kind kind)
{
	switch (kind) {
	case SOURCE_FIFO:
		return "fifo";
	case SOURCE_SOCKET:
		return "socket";
	case SOURCE_RECORDS:
		return "psibridged";
	case SOURCE_PSI_FILE:
		return "psi-file";
	case SOURCE_PRIVILEGED:
		return "psi-privileged";
	case SOURCE_TRIGGER:
		return "psi";
	case SOURCE_EVENTS:
		return "events";
	case SOURCE_SAMPLING:
		return "sampling";
	case SOURCE_MACHINE:
		return "machine";
	}
	return "?";
}

struct trigger ladder_trigger(const struct trigger *early, bool privileged)
{
	return trigger_rescale(early, privileged ? MIN(early->window_usec / 4, SHORT_WINDOW_USEC)
						 : EVERYBODYS_WINDOW_USEC);
}

/* What opening or reading a pressure file says, in words. */
static int explain_open(struct attempt *a, const char *path, int error)
{
	switch (-error) {
	case ENOENT:
		if (access(MACHINE_FILE, F_OK) == 0)
			return fail(
				a, error,
				"%.180s is not there: the cgroup is gone, or its cgroup.pressure is 0",
				path);
		__attribute__((fallthrough));
	case EOPNOTSUPP:
		return fail(a, error,
			    "%.180s: PSI is switched off in this kernel; boot it with psi=1", path);
	case EACCES:
		return fail(a, error, "%.180s: no permission; it belongs to somebody else", path);
	case EROFS:
		return fail(
			a, error,
			"%.180s: the cgroup file system is mounted read-only here, as in most containers",
			path);
	case EPERM:
		return fail(
			a, error,
			"%.180s: this kernel lets only CAP_SYS_RESOURCE set triggers (6.5.0-6.5.12 and 6.6.0-2 do)",
			path);
	case ENODEV:
		return fail(a, error, "%.180s: the cgroup was removed", path);
	case EBADMSG:
		return fail(a, error, "%.180s: not a pressure file", path);
	case EMFILE:
	case ENFILE:
		return fail(a, error, "%.180s: too many open files (RLIMIT_NOFILE)", path);
	default:
		return fail(a, error, "%.180s: %s", path, strerror(-error));
	}
}

/* Arm on `path`, and open it a second time for sampling. */
static int arm(struct attempt *a, const char *path, bool privileged)
{
	struct trigger trigger = ladder_trigger(a->early, privileged);
	int r;

	if (a->source.sample_fd < 0) {
		r = pressure_open(AT_FDCWD, path, &a->source.sample_fd);
		if (r < 0)
			return explain_open(a, path, r);
	}
	r = pressure_arm(AT_FDCWD, path, &trigger, &a->source.trigger_fd);
	if (r == -EINVAL && privileged && trigger.window_usec < SHORT_WINDOW_USEC) {
		/* before 6.5 a window shorter than 500 ms is refused to everybody */
		trigger = trigger_rescale(a->early, SHORT_WINDOW_USEC);
		r = pressure_arm(AT_FDCWD, path, &trigger, &a->source.trigger_fd);
	}
	if (r == -EINVAL)
		return privileged
			       ? fail(a, r,
				      "no CAP_SYS_RESOURCE: the kernel then accepts only windows of 2 s, 4 s and so on (the 2 s rule), so an alarm takes up to 2 s")
			       : fail(a, r,
				      "%.180s: the kernel refused a trigger with a window of 2 s",
				      path);
	if (r < 0)
		return explain_open(a, path, r);
	a->source.armed = trigger;
	a->source.privileged = privileged;
	snprintf(a->source.path, sizeof(a->source.path), "%s", path);
	return 0;
}

static int cgroup_file(const struct target *t, const char *name, char *path, size_t size)
{
	const char *below = strcmp(t->cgroup, "/") == 0 ? "" : t->cgroup;
	int n = snprintf(path, size, "%s%s/%s", t->cgroups.v2.point, below, name);

	return n < (int)size ? 0 : -ENAMETOOLONG;
}

/* memory.events beside the pressure file: welcome, never required here. */
static void add_events(struct attempt *a)
{
	int dirfd = cgroup_open(&a->target->cgroups, a->target->cgroup);

	if (dirfd < 0)
		return;
	memory_events_open(dirfd, &a->source.events_fd);
	close(dirfd);
}

static int no_cgroup(struct attempt *a)
{
	if (a->target->cgroups.has_v2)
		return fail(a, -ENOENT, "the cgroup of this process is not visible here");
	return fail(a, -ENOENT,
		    a->target->cgroups.has_v1 ? "no cgroup2 hierarchy is mounted (cgroup v1 only)"
					      : "no cgroup file system is mounted here");
}

static int try_trigger(struct attempt *a, bool privileged)
{
	char path[CGPATH_MAX];
	int r;

	if (!a->target->has_cgroup)
		return no_cgroup(a);
	if (cgroup_file(a->target, "memory.pressure", path, sizeof(path)) < 0)
		return fail(a, -ENAMETOOLONG, "the path is too long");
	r = arm(a, path, privileged);
	if (r < 0)
		return r;
	add_events(a);
	a->source.kind = privileged ? SOURCE_PRIVILEGED : SOURCE_TRIGGER;
	return 0;
}

static int try_fifo(struct attempt *a)
{
	const char *path = a->target->stream_path;

	a->source.stream_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (a->source.stream_fd < 0)
		return fail(a, -errno, "%.180s: %s", path, strerror(errno));
	/* not allowed to write: then the writers' coming and going is heard as POLLHUP, and ignored */
	a->source.keep_fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	a->source.kind = SOURCE_FIFO;
	return 0;
}

static int try_socket(struct attempt *a)
{
	const struct target *t = a->target;
	struct wire_terms terms;
	int r = psibridged_connect(t->stream_path, &a->source.stream_fd), fd = a->source.stream_fd;

	if (r < 0)
		return fail(a, r, "%.180s: %s", t->stream_path,
			    r == -ECONNREFUSED ? "nobody listens there"
			    : r == -EAGAIN     ? "nobody takes connections there; its queue is full"
					       : strerror(-r));
	if (psibridged_listens(fd)) {
		psibridged_terms(t, &terms);
		r = psibridged_subscribe(fd, &terms);
		a->source.kind = SOURCE_RECORDS;
	} else {
		if (t->write_size > 0 &&
		    send(fd, t->write, t->write_size, MSG_NOSIGNAL) != (ssize_t)t->write_size)
			r = -EPIPE;
		a->source.kind = SOURCE_SOCKET;
	}
	if (r < 0)
		return fail(a, r, "%.180s: what was to be written could not be", t->stream_path);
	return 0;
}

/* Rung 1 with a pressure file: the same trigger as anywhere, where the manager said to listen. */
static int try_psi_file(struct attempt *a)
{
	int r = arm(a, a->target->stream_path, true);

	if (r == -EINVAL)
		r = arm(a, a->target->stream_path, false);
	if (r < 0)
		return r;
	if (a->target->has_cgroup)
		add_events(a);
	a->source.kind = SOURCE_PSI_FILE;
	return 0;
}

static int try_protocol(struct attempt *a)
{
	int r = -ENODATA;

	switch (a->target->stream) {
	case STREAM_NONE:
		return fail(
			a, -ENODATA,
			"not asked for: MEMORY_PRESSURE_WATCH is not set, or something else was named to be watched");
	case STREAM_PSI_FILE:
		return try_psi_file(a);
	case STREAM_FIFO:
		r = try_fifo(a);
		break;
	case STREAM_SOCKET:
		r = try_socket(a);
		break;
	}
	if (r == 0)
		snprintf(a->source.path, sizeof(a->source.path), "%s", a->target->stream_path);
	return r;
}

static int try_events(struct attempt *a)
{
	int dirfd, r;

	if (!a->target->has_cgroup)
		return no_cgroup(a);
	if (cgroup_file(a->target, "memory.events", a->source.path, sizeof(a->source.path)) < 0)
		return fail(a, -ENAMETOOLONG, "the path is too long");
	dirfd = cgroup_open(&a->target->cgroups, a->target->cgroup);
	if (dirfd < 0)
		return fail(a, dirfd, "cgroup %.180s: %s", a->target->cgroup, strerror(-dirfd));
	r = memory_events_open(dirfd, &a->source.events_fd);
	if (r == 0)
		pressure_open(dirfd, "memory.pressure", &a->source.sample_fd);
	close(dirfd);
	if (r == -ENOENT)
		return fail(
			a, r,
			"cgroup %.180s has no memory.events: it is the root, or the memory controller is not enabled for it",
			a->target->cgroup);
	if (r < 0)
		return fail(a, r, "cgroup %.180s: memory.events: %s", a->target->cgroup,
			    strerror(-r));
	a->source.kind = SOURCE_EVENTS;
	return 0;
}

static int try_sampling(struct attempt *a)
{
	const char *path = a->source.path;
	int r;

	if (!a->target->has_cgroup)
		return no_cgroup(a);
	if (cgroup_file(a->target, "memory.pressure", a->source.path, sizeof(a->source.path)) < 0)
		return fail(a, -ENAMETOOLONG, "the path is too long");
	r = pressure_open(AT_FDCWD, path, &a->source.sample_fd);
	if (r < 0)
		return explain_open(a, path, r);
	add_events(a);
	a->source.kind = SOURCE_SAMPLING;
	return 0;
}

static int try_machine(struct attempt *a)
{
	int r;

	if (!a->target->own)
		return fail(
			a, -ENODATA,
			"the machine's pressure says nothing of the one cgroup that was asked for");
	r = arm(a, MACHINE_FILE, true);
	if (r == -EINVAL)
		r = arm(a, MACHINE_FILE, false);
	if (r < 0 && a->source.sample_fd < 0)
		return r;
	snprintf(a->source.path, sizeof(a->source.path), "%s", MACHINE_FILE);
	a->source.kind = SOURCE_MACHINE;
	return 0;
}

static int try_rung(struct attempt *a, unsigned rung)
{
	switch (rung) {
	case 1:
		return try_protocol(a);
	case 2:
		return try_trigger(a, true);
	case 3:
		return try_trigger(a, false);
	case 4:
		return try_events(a);
	case 5:
		return try_sampling(a);
	default:
		return try_machine(a);
	}
}

void source_close(struct source *source, struct closer *closer)
{
	if (source->trigger_fd >= 0 && closer)
		closer_close(closer, steal_fd(&source->trigger_fd));
	fd_close(&source->trigger_fd);
	fd_close(&source->sample_fd);
	fd_close(&source->events_fd);
	fd_close(&source->stream_fd);
	fd_close(&source->keep_fd);
}

int ladder_climb(const struct target *target, const struct trigger *early, unsigned mask, bool all,
		 ladder_report_fn *report, void *userdata, struct source *ret, char *why)
{
	int first_error = 0;
	bool found = false;
	char skipped[WHY_MAX] = "";

	why[0] = '\0';
	for (unsigned rung = 1; rung <= RUNG_MAX && (all || !found); rung++) {
		struct attempt a = { .target = target, .early = early, .source = SOURCE_INIT };
		/* not asked for is no failure: the ladder then begins at rung 2 */
		bool applies = rung > 1 || target->stream != STREAM_NONE;
		int r;

		if (!(mask & (1u << rung)))
			continue;
		r = try_rung(&a, rung);
		if (report)
			report(userdata, rung, -r, a.why);
		if (r < 0) {
			if (applies && first_error == 0) {
				first_error = r;
				snprintf(why, WHY_MAX, "%s", a.why);
			}
			if (applies && skipped[0] == '\0') /* the best one that was hoped for */
				snprintf(skipped, sizeof(skipped), "%s", a.why);
		}
		if (r < 0 || all) {
			source_close(&a.source, NULL);
		} else {
			a.source.rung = rung;
			snprintf(a.source.why, sizeof(a.source.why), "%s", skipped);
			*ret = a.source;
		}
		found = found || r == 0;
	}
	if (found) {
		why[0] = '\0';
		return 0;
	}
	if (first_error == 0)
		return snprintf(why, WHY_MAX, "no rung of the ladder was allowed"), -ENODATA;
	return first_error;
}
