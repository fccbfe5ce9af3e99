/* SPDX-License-Identifier: MIT */
/*
 * ladder.c - the rungs, and words for why one does not work
 *
 * Facts it relies on (kernel/sched/psi.c, psi_trigger_create()):
 *  - Without CAP_SYS_RESOURCE the window must be n x 2 s, else EINVAL. So the short window is
 *    simply tried; the kernel checks the credentials the file was opened with.
 *  - Before 6.5 the shortest window is 500 ms. Ours is a quarter of early's and at most that: 500
 *    ms by default.
 *  - A refused write makes no trigger, so closing that descriptor is cheap.
 *  - A FIFO whose last writer leaves reports POLLHUP for ever; a writer of our own prevents that.
 *
 * Of an error that has several causes, the one for which there is other evidence is named:
 *  - memory.pressure is not there: PSI is off (then there is no /proc/pressure either),
 *    cgroup.pressure is 0, the cgroup is gone.
 *  - EPERM: the open is refused by 6.5.0-6.5.12 and 6.6.0-2; the write by cgroup_file_write() for the
 *    root of a cgroup namespace, where the hierarchy is mounted with nsdelegate.
 */
#include "monitor/ladder.h"

#include "kernel/closer.h"
#include "kernel/file.h"
#include "kernel/memory.h"
#include "kernel/pressure.h"
#include "monitor/psibridged.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MACHINE_FILE "/proc/pressure/memory"
#define INITIAL_CGROUP_NAMESPACE 0xEFFFFFFBu /* PROC_CGROUP_INIT_INO in include/linux/proc_ns.h */

struct attempt {
	const struct target *target;
	const struct trigger *early;
	struct source source;
	char why[WHY_MAX];
	const char *advice;
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
	static const char *const names[] = {
		[SOURCE_NONE] = "none",		[SOURCE_FIFO] = "fifo",
		[SOURCE_SOCKET] = "socket",	[SOURCE_RECORDS] = "psibridged",
		[SOURCE_PSI_FILE] = "psi-file", [SOURCE_PRIVILEGED] = "psi-privileged",
		[SOURCE_TRIGGER] = "psi",	[SOURCE_EVENTS] = "events",
		[SOURCE_SAMPLING] = "sampling", [SOURCE_MACHINE] = "machine",
	};

	return names[kind];
}

/* ---- causes ----------------------------------------------------------------------------------- */

/* A /proc of processes alone (subset=pid) does not have it. */
static bool proc_is_partial(void)
{
	return access("/proc/meminfo", F_OK) < 0;
}

static int cgroup_file(const struct target *t, const char *name, char *path)
{
	const char *below = strcmp(t->cgroup, "/") == 0 ? "" : t->cgroup;
	int n = snprintf(path, CGPATH_MAX, "%s%s/%s", t->cgroups.v2.point, below, name);

	return n < CGPATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The kernel counts nothing, for all that can be seen. */
static int explain_off(struct attempt *a, const char *path, int error)
{
	if (proc_is_partial())
		return fail(
			a, error,
			"%.180s is not there; this /proc has only processes in it (subset=pid), so the reason cannot be seen",
			path);
	a->advice =
		"Boot with psi=1 on the kernel's command line; a kernel without CONFIG_PSI has none.";
	return fail(
		a, error,
		"%.180s: this kernel counts no pressure: PSI is not built in, or not switched on",
		path);
}

static int explain_missing_machine(struct attempt *a, int error)
{
	char path[CGPATH_MAX];

	if (!a->target->has_cgroup || cgroup_file(a->target, "memory.pressure", path) < 0 ||
	    access(path, F_OK) < 0)
		return explain_off(a, MACHINE_FILE, error);
	return fail(a, error,
		    MACHINE_FILE " is not there, though the cgroup's memory.pressure is%s",
		    proc_is_partial() ? ": this /proc has only processes in it (systemd: "
					"ProcSubset=pid)"
				      : "");
}

/* memory.pressure of a cgroup, or of the machine. */
static int explain_missing(struct attempt *a, const char *path, int error)
{
	char directory[CGPATH_MAX], text[8];
	size_t size = 0;
	int fd;
	bool exists;

	if (strcmp(path, MACHINE_FILE) == 0)
		return explain_missing_machine(a, error);
	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(path, '/') - path), path);
	fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(a, error, "%.180s: its directory: %s", path, strerror(errno));
	if (file_read(fd, "cgroup.pressure", text, sizeof(text), &size) < 0)
		size = 0;
	exists = faccessat(fd, "cgroup.procs", F_OK, 0) == 0;
	close(fd);
	if (size > 0 && text[0] == '0') {
		a->advice = "Write 1 into its cgroup.pressure.";
		return fail(a, error,
			    "%.180s: PSI is switched off for this cgroup: its cgroup.pressure is 0",
			    path);
	}
	if (!exists)
		return fail(a, error, "%.180s: the cgroup was removed", path);
	if (access(MACHINE_FILE, F_OK) < 0)
		return explain_off(a, path, error);
	a->advice = "The kernel's command line may have cgroup_disable=pressure on it.";
	return fail(a, error, "%.180s: %s, though the cgroup and " MACHINE_FILE " are there", path,
		    strerror(-error));
}

static bool is_namespace_root(const struct target *t)
{
	struct stat st;

	return t->has_cgroup && strcmp(t->cgroup, "/") == 0 &&
	       strcmp(t->cgroups.v2.root, "/") == 0 && stat("/proc/self/ns/cgroup", &st) == 0 &&
	       st.st_ino != INITIAL_CGROUP_NAMESPACE;
}

static int explain_eperm(struct attempt *a, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		a->advice =
			"Give the program CAP_SYS_RESOURCE: kernels 6.5.0-6.5.12 and 6.6.0-2 let nobody else set triggers.";
		return fail(a, -EPERM, "%.180s: opening it for writing is not permitted", path);
	}
	close(fd);
	if (!is_namespace_root(a->target))
		return fail(a, -EPERM, "%.180s: it opens, but setting a trigger is not permitted",
			    path);
	a->advice =
		"Let psibridged on the host watch it, or leave the service in the host's cgroup namespace (systemd: ProtectControlGroups=yes in place of private).";
	return fail(
		a, -EPERM,
		"%.180s: this is the root of a cgroup namespace, where the kernel allows no trigger from inside",
		path);
}

static int explain_eacces(struct attempt *a, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0 || st.st_uid == geteuid())
		return fail(a, -EACCES, "%.180s: no permission", path);
	a->advice =
		"Delegate the cgroup to this user (systemd: Delegate=yes, or a scope of the user's own).";
	return fail(a, -EACCES, "%.180s: no permission; it belongs to user %u", path,
		    (unsigned)st.st_uid);
}

/* What opening, reading or arming a pressure file says, in words. */
static int explain(struct attempt *a, const char *path, int error)
{
	switch (-error) {
	case ENOENT:
	case ENODEV:
		return explain_missing(a, path, error);
	case EOPNOTSUPP:
		return explain_off(a, path, error);
	case EACCES:
		return explain_eacces(a, path);
	case EPERM:
		return explain_eperm(a, path);
	case EROFS:
		a->advice =
			"Let psibridged on the host watch it: bind its socket's directory, /run/psibridge, into the container, and set MEMORY_PRESSURE_WATCH=/run/psibridge/notify.";
		return fail(
			a, error,
			"%.180s: its file system is mounted read-only here, as cgroups are in most containers",
			path);
	case EXDEV:
		return fail(a, -ENOENT, "%.180s: another file is mounted over it", path);
	case EBADMSG:
		return fail(a, error, "%.180s: not a pressure file", path);
	case EMFILE:
	case ENFILE:
		return fail(a, error, "%.180s: too many open files (RLIMIT_NOFILE)", path);
	default:
		return fail(a, error, "%.180s: %s", path, strerror(-error));
	}
}

static int explain_no_events(struct attempt *a, int dirfd)
{
	const char *reason = "the memory controller is not enabled for it";

	if (faccessat(dirfd, "cgroup.type", F_OK, 0) < 0) /* every other cgroup has it */
		reason = "it is a root";
	else if (a->target->cgroups.has_v1)
		reason = "the memory controller is on cgroup v1";
	else
		a->advice =
			"Delegate the memory controller to this cgroup (systemd: MemoryAccounting=yes).";
	return fail(a, -ENOENT, "cgroup %.180s has no memory.events: %s", a->target->cgroup,
		    reason);
}

/* ---- pressure files --------------------------------------------------------------------------- */

/* Arm on `name` below `dirfd`, and open it a second time for sampling; its whole name is source.path. */
static int arm(struct attempt *a, int dirfd, const char *name, bool privileged)
{
	struct source *s = &a->source;
	int r = s->sample_fd < 0 ? pressure_open(dirfd, name, &s->sample_fd) : 0;

	if (r < 0)
		return explain(a, s->path, r);
	s->privileged = privileged;
	s->armed = trigger_to_arm(a->early, privileged);
	r = pressure_arm(dirfd, name, &s->armed, &s->trigger_fd);
	if (r == -EINVAL && privileged && s->armed.window_usec < TRIGGER_SHORT_WINDOW_USEC) {
		/* before 6.5 a window shorter than 500 ms is refused to all users */
		s->armed = trigger_rescale(a->early, TRIGGER_SHORT_WINDOW_USEC);
		r = pressure_arm(dirfd, name, &s->armed, &s->trigger_fd);
	}
	if (r == -EINVAL && privileged) {
		a->advice =
			"Give the program CAP_SYS_RESOURCE (systemd: AmbientCapabilities=CAP_SYS_RESOURCE).";
		return fail(
			a, r,
			"no CAP_SYS_RESOURCE: the kernel then accepts only windows of 2 s, 4 s and so on (the 2 s rule), so an alarm takes up to 2 s");
	}
	if (r == -EINVAL)
		return fail(a, r, "%.180s: the kernel refused a trigger with a window of 2 s",
			    s->path);
	return r < 0 ? explain(a, s->path, r) : 0;
}

/* A pressure file by its path, with the best trigger that there is. */
static int arm_file(struct attempt *a, const char *path)
{
	int r;

	snprintf(a->source.path, sizeof(a->source.path), "%s", path);
	r = arm(a, AT_FDCWD, path, true);
	return r == -EINVAL ? arm(a, AT_FDCWD, path, false) : r;
}

/* memory.events of the directory: optional here. But a lack of resources for a moment is an error, or
 * the source would be without it for ever. */
static int add_events(struct attempt *a, int dirfd)
{
	int r = dirfd < 0 ? dirfd : memory_events_open(dirfd, &a->source.events_fd);

	return is_shortage(r) ? explain(a, "memory.events", r) : 0;
}

static int open_cgroup(struct attempt *a)
{
	const struct target *t = a->target;
	int fd;

	if (!t->has_cgroup)
		return fail(a, -ENOENT, "%s", target_no_cgroup(t, &a->advice));
	fd = cgroup_open(&t->cgroups, t->cgroup);
	if (fd == -ENOENT)
		return fail(a, fd, "cgroup %.180s was removed", t->cgroup);
	if (fd == -EXDEV)
		return fail(a, -ENOENT, "cgroup %.180s: something else is mounted over it",
			    t->cgroup);
	return fd < 0 ? fail(a, fd, "cgroup %.180s: %s", t->cgroup, strerror(-fd)) : fd;
}

/* memory.events is what rings; memory.pressure is sampled if it is there. */
static int open_events(struct attempt *a, int dirfd)
{
	int r = memory_events_open(dirfd, &a->source.events_fd);

	if (r == -ENOENT)
		return explain_no_events(a, dirfd);
	if (r < 0)
		return fail(a, r, "cgroup %.180s: memory.events: %s", a->target->cgroup,
			    strerror(-r));
	(void)pressure_open(dirfd, "memory.pressure", &a->source.sample_fd);
	return 0;
}

static int open_pressure(struct attempt *a, int dirfd)
{
	int r = pressure_open(dirfd, "memory.pressure", &a->source.sample_fd);

	return r < 0 ? explain(a, a->source.path, r) : 0;
}

/* Rungs 2 to 5. */
static int try_cgroup(struct attempt *a)
{
	enum source_kind kind = a->source.kind;
	const char *name = kind == SOURCE_EVENTS ? "memory.events" : "memory.pressure";
	int dirfd = open_cgroup(a), r;

	if (dirfd < 0)
		return dirfd;
	if (cgroup_file(a->target, name, a->source.path) < 0)
		r = fail(a, -ENAMETOOLONG, "the path is too long");
	else if (kind == SOURCE_EVENTS)
		r = open_events(a, dirfd);
	else if (kind == SOURCE_SAMPLING)
		r = open_pressure(a, dirfd);
	else
		r = arm(a, dirfd, name, kind == SOURCE_PRIVILEGED);
	if (r == 0 && a->source.events_fd < 0)
		r = add_events(a, dirfd);
	close(dirfd);
	return r;
}

static int try_machine(struct attempt *a)
{
	int r;

	if (!a->target->own)
		return fail(
			a, -ENODATA,
			"the machine's pressure says nothing of the one cgroup that was asked for");
	r = arm_file(a, MACHINE_FILE);
	return a->source.sample_fd < 0 ? r : 0; /* without a trigger it is sampled */
}

/* ---- systemd's protocol ----------------------------------------------------------------------- */

static int try_fifo(struct attempt *a, const char *path)
{
	a->source.kind = SOURCE_FIFO;
	a->source.stream_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (a->source.stream_fd < 0)
		return fail(a, -errno, "%.180s: %s", path, strerror(errno));
	/* not allowed to write: then each last writer that closes gives POLLHUP, which is ignored */
	a->source.keep_fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return 0;
}

static int try_socket(struct attempt *a, const char *path)
{
	const struct target *t = a->target;
	struct policy_options terms;
	int r = psibridged_connect(path, &a->source.stream_fd), fd = a->source.stream_fd;

	if (r < 0)
		return fail(a, r, "%.180s: %s", path,
			    r == -ECONNREFUSED ? "no process listens there"
			    : r == -EAGAIN     ? "its queue of connections is full"
					       : strerror(-r));
	a->source.kind = SOURCE_SOCKET;
	if (psibridged_listens(fd)) {
		a->source.kind = SOURCE_RECORDS;
		psibridged_terms(t, &terms);
		r = psibridged_subscribe(fd, &terms);
	} else if (t->write_size > 0 &&
		   send(fd, t->write, t->write_size, MSG_NOSIGNAL) != (ssize_t)t->write_size) {
		r = -EPIPE;
	}
	return r < 0 ? fail(a, r, "%.180s: what was to be written could not be", path) : 0;
}

/* The same trigger as elsewhere, on the file that the manager named. */
static int try_psi_file(struct attempt *a, const char *path)
{
	const struct target *t = a->target;
	int r = arm_file(a, path), dirfd;

	a->source.kind = SOURCE_PSI_FILE;
	if (r < 0 || !t->has_cgroup)
		return r;
	dirfd = cgroup_open(&t->cgroups, t->cgroup);
	r = add_events(a, dirfd);
	fd_close(&dirfd);
	return r;
}

static int try_protocol(struct attempt *a)
{
	const char *path = a->target->stream_path;
	enum stream_kind stream = STREAM_NONE;
	int r;

	if (!a->target->has_stream)
		return fail(
			a, -ENODATA,
			"not asked for: MEMORY_PRESSURE_WATCH is not set, or something else was named to be watched");
	r = target_look_at_stream(a->target, &stream, a->why);
	if (r == -EINVAL) { /* what a refused trigger says, too */
		a->advice =
			"Set MEMORY_PRESSURE_WATCH to a memory.pressure file, a FIFO or a socket, or unset it.";
		return -EBADMSG;
	}
	snprintf(a->source.path, sizeof(a->source.path), "%s", path);
	if (stream == STREAM_PSI_FILE)
		return try_psi_file(a, path);
	if (stream == STREAM_FIFO)
		r = try_fifo(a, path);
	else if (stream == STREAM_SOCKET)
		r = try_socket(a, path);
	if (stream == STREAM_NONE || r == -ECONNREFUSED || r == -ENOENT)
		a->advice =
			"Start what is to listen there, or unset MEMORY_PRESSURE_WATCH: it is tried again now and then.";
	return r;
}

/* ---- the ladder ------------------------------------------------------------------------------- */

static const struct {
	enum source_kind kind;
	int (*try)(struct attempt *a);
} rungs[RUNG_MAX + 1] = {
	[1] = { SOURCE_NONE, try_protocol }, /* whatever kind it is */
	[2] = { SOURCE_PRIVILEGED, try_cgroup }, [3] = { SOURCE_TRIGGER, try_cgroup },
	[4] = { SOURCE_EVENTS, try_cgroup },	 [5] = { SOURCE_SAMPLING, try_cgroup },
	[6] = { SOURCE_MACHINE, try_machine },
};

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
	int error = 0;
	bool found = false;

	why[0] = '\0';
	for (unsigned rung = 1; rung <= RUNG_MAX && (all || !found); rung++) {
		struct attempt a = { target, early, SOURCE_INIT, "", "" };
		int r;

		if (!(mask & (1u << rung)))
			continue;
		a.source.kind = rungs[rung].kind;
		r = rungs[rung].try(&a);
		if (report)
			report(userdata, rung, -r, a.why, r < 0 ? a.advice : "");
		/* the best that applies; not asked for is no failure: the ladder then begins at rung 2 */
		if (r < 0 && error == 0 && (rung > 1 || target->has_stream)) {
			error = r;
			memcpy(why, a.why, WHY_MAX);
		}
		if (r < 0 || all) {
			source_close(&a.source, NULL);
		} else {
			a.source.rung = rung;
			memcpy(a.source.why, why, WHY_MAX);
			*ret = a.source;
		}
		found = found || r == 0;
	}
	if (found) {
		why[0] = '\0';
		return 0;
	}
	if (error == 0) {
		snprintf(why, WHY_MAX, "no rung of the ladder was allowed");
		error = -ENODATA;
	}
	return error;
}
