/* SPDX-License-Identifier: MIT */
/*
 * ladder.c - one function for each rung, and the texts of its errors
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
 *  - memory.pressure is not there: psi=0 (then there is no /proc/pressure either),
 *    cgroup_disable=pressure, cgroup.pressure is 0, the cgroup is gone.
 *  - EPERM: the open is refused by 6.5.0-6.5.12 and 6.6.0-2; the write by cgroup_file_write() for the
 *    root of a cgroup namespace, where the hierarchy is mounted with nsdelegate.
 */
#include "monitor/ladder.h"

#include "core/scan.h"
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
#include <sys/utsname.h>
#include <unistd.h>

#define SHORT_WINDOW_USEC (500 * USEC_PER_MSEC)
#define EVERYBODYS_WINDOW_USEC (2 * USEC_PER_SEC)
#define MACHINE_FILE "/proc/pressure/memory"
#define INITIAL_CGROUP_NAMESPACE 0xEFFFFFFBu /* PROC_CGROUP_INIT_INO in include/linux/proc_ns.h */
#define CMDLINE_MAX 4096

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
	switch (kind) {
	case SOURCE_NONE:
		return "none";
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

/* ---- causes ----------------------------------------------------------------------------------- */

/* Is `value` in the list that the kernel was booted with under that name? */
static bool boot_option(const char *name, const char *value)
{
	char text[CMDLINE_MAX];
	struct scan s = { .p = text }, option, item;

	if (file_read(AT_FDCWD, "/proc/cmdline", text, sizeof(text), &s.left) < 0)
		return false;
	while (scan_item(&s, ' ', &option)) {
		if (option.left > 0 && option.p[option.left - 1] == '\n')
			option.left--;
		if (!scan_word(&option, name) || !scan_word(&option, "="))
			continue;
		while (scan_item(&option, ',', &item))
			if (scan_is(item, value))
				return true;
	}
	return false;
}

/* A /proc of processes alone (subset=pid) has neither of these. */
static bool proc_is_partial(void)
{
	return access("/proc/meminfo", F_OK) < 0 && access("/proc/cmdline", F_OK) < 0;
}

static int cgroup_file(const struct target *t, const char *name, char *path, size_t size)
{
	const char *below = strcmp(t->cgroup, "/") == 0 ? "" : t->cgroup;
	int n = snprintf(path, size, "%s%s/%s", t->cgroups.v2.point, below, name);

	return n < (int)size ? 0 : -ENAMETOOLONG;
}

/* The kernel counts nothing, for all that can be seen. */
static int explain_off(struct attempt *a, const char *path, int error)
{
	if (boot_option("psi", "0")) {
		a->advice = "Boot without psi=0 on the kernel's command line.";
		return fail(a, error, "%.180s: PSI was switched off at boot (psi=0)", path);
	}
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

	if (!a->target->has_cgroup ||
	    cgroup_file(a->target, "memory.pressure", path, sizeof(path)) < 0 ||
	    access(path, F_OK) < 0)
		return explain_off(a, MACHINE_FILE, error);
	return fail(a, error,
		    MACHINE_FILE " is not there, though the cgroup's memory.pressure is%s",
		    proc_is_partial() ? ": this /proc has only processes in it (systemd: "
					"ProcSubset=pid)"
				      : "");
}

/* memory.pressure of a cgroup. */
static int explain_missing(struct attempt *a, const char *path, int error)
{
	const char *name = strrchr(path, '/');
	char directory[CGPATH_MAX], text[8];
	size_t size;
	int fd, r;

	if (strcmp(path, MACHINE_FILE) == 0)
		return explain_missing_machine(a, error);
	snprintf(directory, sizeof(directory), "%.*s", (int)(name - path), path);
	fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(a, error, "%.180s: its directory: %s", path, strerror(errno));
	r = file_read(fd, "cgroup.pressure", text, sizeof(text), &size);
	if (r == 0 && size > 0 && text[0] == '0') {
		close(fd);
		a->advice = "Write 1 into its cgroup.pressure.";
		return fail(a, error,
			    "%.180s: PSI is switched off for this cgroup: its cgroup.pressure is 0",
			    path);
	}
	r = faccessat(fd, "cgroup.procs", F_OK, 0);
	close(fd);
	if (r < 0)
		return fail(a, error, "%.180s: the cgroup was removed", path);
	if (boot_option("cgroup_disable", "pressure")) {
		a->advice = "Boot without cgroup_disable=pressure on the kernel's command line.";
		return fail(
			a, error,
			"%.180s: PSI of cgroups was switched off at boot (cgroup_disable=pressure)",
			path);
	}
	if (access(MACHINE_FILE, F_OK) < 0)
		return explain_off(a, path, error);
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

static bool is_65_or_660(void)
{
	struct utsname u;

	return uname(&u) == 0 && (strncmp(u.release, "6.5.", 4) == 0 ||
				  (strncmp(u.release, "6.6.", 4) == 0 && u.release[4] < '3' &&
				   (u.release[5] < '0' || u.release[5] > '9')));
}

static int explain_eperm(struct attempt *a, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0) {
		close(fd);
		if (is_namespace_root(a->target)) {
			a->advice =
				"Let psibridged on the host watch it, or leave the service in the host's cgroup namespace (systemd: ProtectControlGroups=yes in place of private).";
			return fail(
				a, -EPERM,
				"%.180s: this is the root of a cgroup namespace, where the kernel allows no trigger from inside",
				path);
		}
		return fail(a, -EPERM, "%.180s: it opens, but setting a trigger is not permitted",
			    path);
	}
	if (errno == EPERM && is_65_or_660()) {
		a->advice = "Give the program CAP_SYS_RESOURCE, or update the kernel.";
		return fail(
			a, -EPERM,
			"%.180s: kernels 6.5.0-6.5.12 and 6.6.0-2, such as this one, let only CAP_SYS_RESOURCE set triggers",
			path);
	}
	return fail(a, -EPERM, "%.180s: opening it for writing is not permitted", path);
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

/* memory.events of the directory: optional here. But a lack of resources for a moment is an error, or
 * the source would be without it for ever. */
static int add_events(struct attempt *a, int dirfd)
{
	int r = memory_events_open(dirfd, &a->source.events_fd);

	return is_shortage(r) ? explain(a, "memory.events", r) : 0;
}

/* ---- the rungs -------------------------------------------------------------------------------- */

/* Arm on `name` below `dirfd`, and open it a second time for sampling. `path` is the whole name. */
static int arm(struct attempt *a, int dirfd, const char *name, const char *path, bool privileged)
{
	struct trigger trigger = ladder_trigger(a->early, privileged);
	int r;

	if (a->source.sample_fd < 0) {
		r = pressure_open(dirfd, name, &a->source.sample_fd);
		if (r < 0)
			return explain(a, path, r);
	}
	r = pressure_arm(dirfd, name, &trigger, &a->source.trigger_fd);
	if (r == -EINVAL && privileged && trigger.window_usec < SHORT_WINDOW_USEC) {
		/* before 6.5 a window shorter than 500 ms is refused to all users */
		trigger = trigger_rescale(a->early, SHORT_WINDOW_USEC);
		r = pressure_arm(dirfd, name, &trigger, &a->source.trigger_fd);
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
			    path);
	if (r < 0)
		return explain(a, path, r);
	a->source.armed = trigger;
	a->source.privileged = privileged;
	snprintf(a->source.path, sizeof(a->source.path), "%s", path);
	return 0;
}

/* The cgroup's directory, and `name` in it as a path. */
static int open_cgroup(struct attempt *a, const char *name, char *path, int *ret_fd)
{
	const struct target *t = a->target;
	int fd;

	if (!t->has_cgroup)
		return fail(a, -ENOENT, "%s", target_no_cgroup(t, &a->advice));
	if (cgroup_file(t, name, path, CGPATH_MAX) < 0)
		return fail(a, -ENAMETOOLONG, "the path is too long");
	fd = cgroup_open(&t->cgroups, t->cgroup);
	if (fd == -ENOENT)
		return fail(a, fd, "cgroup %.180s was removed", t->cgroup);
	if (fd == -EXDEV)
		return fail(a, -ENOENT, "cgroup %.180s: something else is mounted over it",
			    t->cgroup);
	if (fd < 0)
		return fail(a, fd, "cgroup %.180s: %s", t->cgroup, strerror(-fd));
	*ret_fd = fd;
	return 0;
}

static int try_trigger(struct attempt *a, bool privileged)
{
	char path[CGPATH_MAX];
	int dirfd, r = open_cgroup(a, "memory.pressure", path, &dirfd);

	if (r < 0)
		return r;
	r = arm(a, dirfd, "memory.pressure", path, privileged);
	if (r == 0)
		r = add_events(a, dirfd);
	close(dirfd);
	a->source.kind = privileged ? SOURCE_PRIVILEGED : SOURCE_TRIGGER;
	return r;
}

static int try_fifo(struct attempt *a)
{
	const char *path = a->target->stream_path;

	a->source.stream_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (a->source.stream_fd < 0)
		return fail(a, -errno, "%.180s: %s", path, strerror(errno));
	/* not allowed to write: then each last writer that closes gives POLLHUP, which is ignored */
	a->source.keep_fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	a->source.kind = SOURCE_FIFO;
	return 0;
}

static int try_socket(struct attempt *a)
{
	const struct target *t = a->target;
	struct policy_options terms;
	int r = psibridged_connect(t->stream_path, &a->source.stream_fd), fd = a->source.stream_fd;

	if (r < 0)
		return fail(a, r, "%.180s: %s", t->stream_path,
			    r == -ECONNREFUSED ? "no process listens there"
			    : r == -EAGAIN     ? "its queue of connections is full"
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

/* Rung 1 with a pressure file: the same trigger as elsewhere, on the file that the manager named. */
static int try_psi_file(struct attempt *a)
{
	const char *path = a->target->stream_path;
	int r = arm(a, AT_FDCWD, path, path, true), dirfd;

	if (r == -EINVAL)
		r = arm(a, AT_FDCWD, path, path, false);
	if (r < 0)
		return r;
	a->source.kind = SOURCE_PSI_FILE;
	if (!a->target->has_cgroup)
		return 0;
	dirfd = cgroup_open(&a->target->cgroups, a->target->cgroup);
	if (dirfd < 0)
		return is_shortage(dirfd) ? explain(a, path, dirfd) : 0;
	r = add_events(a, dirfd);
	close(dirfd);
	return r;
}

/* What the variables name is none of the three. The error of a refused trigger is -EINVAL. */
static int no_stream(struct attempt *a, int error)
{
	if (error == -EINVAL) {
		a->advice =
			"Set MEMORY_PRESSURE_WATCH to a memory.pressure file, a FIFO or a socket, or unset it.";
		return -EBADMSG;
	}
	a->advice =
		"Start what is to listen there, or unset MEMORY_PRESSURE_WATCH: it is tried again now and then.";
	return error;
}

static int try_protocol(struct attempt *a)
{
	enum stream_kind stream = STREAM_NONE;
	int r;

	if (!a->target->has_stream)
		return fail(
			a, -ENODATA,
			"not asked for: MEMORY_PRESSURE_WATCH is not set, or something else was named to be watched");
	r = target_look_at_stream(a->target, &stream, a->why);
	if (r < 0)
		return no_stream(a, r);
	switch (stream) {
	case STREAM_NONE:
		break;
	case STREAM_PSI_FILE:
		return try_psi_file(a);
	case STREAM_FIFO:
		r = try_fifo(a);
		break;
	case STREAM_SOCKET:
		r = try_socket(a);
		if (r == -ECONNREFUSED || r == -ENOENT)
			return no_stream(a, r);
		break;
	}
	if (r == 0)
		snprintf(a->source.path, sizeof(a->source.path), "%s", a->target->stream_path);
	return r;
}

static int explain_no_events(struct attempt *a, bool is_root)
{
	const char *cgroup = a->target->cgroup;

	if (is_root)
		return fail(a, -ENOENT, "cgroup %.180s is a root, which has no memory.events",
			    cgroup);
	if (a->target->cgroups.has_v1)
		return fail(
			a, -ENOENT,
			"cgroup %.180s has no memory.events: the memory controller is on cgroup v1",
			cgroup);
	a->advice = "Delegate the memory controller to this cgroup (systemd: MemoryAccounting=yes).";
	return fail(
		a, -ENOENT,
		"cgroup %.180s has no memory.events: the memory controller is not enabled for it",
		cgroup);
}

static int try_events(struct attempt *a)
{
	bool is_root;
	int dirfd, r = open_cgroup(a, "memory.events", a->source.path, &dirfd);

	if (r < 0)
		return r;
	r = memory_events_open(dirfd, &a->source.events_fd);
	if (r == 0)
		pressure_open(dirfd, "memory.pressure", &a->source.sample_fd);
	is_root = faccessat(dirfd, "cgroup.type", F_OK, 0) < 0; /* every other cgroup has it */
	close(dirfd);
	if (r == -ENOENT)
		return explain_no_events(a, is_root);
	if (r < 0)
		return fail(a, r, "cgroup %.180s: memory.events: %s", a->target->cgroup,
			    strerror(-r));
	a->source.kind = SOURCE_EVENTS;
	return 0;
}

static int try_sampling(struct attempt *a)
{
	const char *path = a->source.path;
	int dirfd, r = open_cgroup(a, "memory.pressure", a->source.path, &dirfd);

	if (r < 0)
		return r;
	r = pressure_open(dirfd, "memory.pressure", &a->source.sample_fd);
	r = r < 0 ? explain(a, path, r) : add_events(a, dirfd);
	close(dirfd);
	a->source.kind = SOURCE_SAMPLING;
	return r;
}

static int try_machine(struct attempt *a)
{
	int r;

	if (!a->target->own)
		return fail(
			a, -ENODATA,
			"the machine's pressure says nothing of the one cgroup that was asked for");
	r = arm(a, AT_FDCWD, MACHINE_FILE, MACHINE_FILE, true);
	if (r == -EINVAL)
		r = arm(a, AT_FDCWD, MACHINE_FILE, MACHINE_FILE, false);
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
		struct attempt a = {
			.target = target, .early = early, .source = SOURCE_INIT, .advice = ""
		};
		/* not asked for is no failure: the ladder then begins at rung 2 */
		bool applies = rung > 1 || target->has_stream;
		int r;

		if (!(mask & (1u << rung)))
			continue;
		r = try_rung(&a, rung);
		if (report)
			report(userdata, rung, -r, a.why, r < 0 ? a.advice : "");
		if (r < 0) {
			if (applies && first_error == 0) {
				first_error = r;
				snprintf(why, WHY_MAX, "%s", a.why);
			}
			if (applies && skipped[0] == '\0') /* the best that applies */
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
