/* SPDX-License-Identifier: MIT */
/*
 * peer.c - identify a client by its credentials
 *
 * The kernel notes the credentials of a process when it connects: SO_PEERCRED has its pid and user.
 * Everything else (cgroup, capabilities) is read from /proc/PID, and that must be the same process.
 * The order is: number, /proc, and only then the proof that the number was still its own while we
 * read:
 *
 *   SO_PEERPIDFD   (Linux 6.5) a pidfd of that very process. A pidfd is readable once its process
 *                  has ended; as long as it is not, no other process has the number. Both options
 *                  use the same struct pid (sk_peer_pid in net/core/sock.c), so the number
 *                  needs no detour over fdinfo.
 *   SO_PEERCRED    alone: /proc/PID/stat must say that the process started before we accepted, the
 *                  same before and after; and one of its user ids must be that of the credentials.
 *                  What is left: a pid reused by the same user between connect and accept.
 *
 * A process that is gone gets nothing, though its socket may live on in a child: the credentials
 * are those of the process that connected.
 *
 * Privileged is user 0 with CAP_SYS_ADMIN, in *our* user namespace. The last part matters: root of
 * a container without that capability can unshare(CLONE_NEWUSER) where seccomp lets it, stays user
 * 0 for us, and has every capability there. /proc/PID/ns/user tells the two apart, but may be read
 * only of processes with no more capabilities than our own, or with CAP_SYS_PTRACE ("Ptrace access
 * mode checking" in ptrace(2)). Where it may not, a process counts that is in no pid namespace below
 * ours, that is, in no container as they are commonly made.
 */
#include "daemon/peer.h"

#include "core/scan.h"
#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* include/uapi/asm-generic/socket.h; the libc of Debian 12 is older */
#endif

#define STAT_MAX 1024
#define STATUS_MAX 16384 /* a line "Groups:" may be long; cutting it off gives no privilege */

/* ---- what /proc says ------------------------------------------------------------------------- */

/* With a newline in front, so that each line begins behind one, and a NUL at the end. */
static int read_proc(const char *proc, pid_t pid, const char *name, char *text, size_t size)
{
	char path[96];
	size_t taken;
	int r;

	snprintf(path, sizeof(path), "%.32s/%d/%s", proc, (int)pid, name);
	r = file_read(AT_FDCWD, path, text + 1, size - 2, &taken);
	text[0] = '\n';
	text[r < 0 ? 1 : taken + 1] = '\0';
	return r == -ENOENT ? -ESRCH : r;
}

struct stat_fields {
	bool dead;
	uint64_t start_ticks; /* since boot */
};

static int read_stat(const char *proc, pid_t pid, struct stat_fields *ret)
{
	char text[STAT_MAX], state;
	unsigned long threads;
	const char *behind;
	int r = read_proc(proc, pid, "stat", text, sizeof(text));

	if (r < 0)
		return r;
	/* the second field is a name in parentheses, with anything in it; no other has one. Then 3, 20 and 22 */
	behind = strrchr(text, ')');
	if (!behind ||
	    sscanf(behind, ") %c%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%lu%*s%" SCNu64,
		   &state, &threads, &ret->start_ticks) != 3)
		return -EBADMSG;
	/* its first thread may have ended before the others */
	ret->dead = (state == 'Z' || state == 'X') && threads <= 1;
	return 0;
}

struct status_fields {
	bool uid_matches;	 /* one of real, effective, saved, file system */
	bool sys_admin;		 /* effective, in whatever user namespace */
	unsigned pid_namespaces; /* that it is in, from that of /proc on down; 0: not said */
};

static int read_status(const char *proc, pid_t pid, uid_t uid, struct status_fields *ret)
{
	char text[STATUS_MAX];
	const char *line;
	uint64_t capabilities;
	char end;
	unsigned uids[4];
	int n, r = read_proc(proc, pid, "status", text, sizeof(text));

	if (r < 0)
		return r;
	*ret = (struct status_fields){ 0 };
	line = strstr(text, "\nUid:");
	n = line ? sscanf(line, "\nUid: %u %u %u %u", &uids[0], &uids[1], &uids[2], &uids[3]) : 0;
	for (int i = 0; i < n; i++)
		ret->uid_matches = ret->uid_matches || uids[i] == uid;
	line = strstr(text, "\nNSpid:");
	for (line = line ? line + 1 : ""; *line && *line != '\n'; line++)
		ret->pid_namespaces += *line == '\t';
	line = strstr(text, "\nCapEff:");
	if (line && sscanf(line, "\nCapEff: %" SCNx64 "%c", &capabilities, &end) == 2)
		ret->sys_admin = capabilities >> CAP_SYS_ADMIN & 1; /* and it was not cut off */
	return 0;
}

/* 1: yes; 0: no; -EACCES and others: it may not be known. */
static int in_our_user_namespace(const char *proc, pid_t pid)
{
	struct stat own, its;
	char path[96];

	snprintf(path, sizeof(path), "%.32s/self/ns/user", proc);
	if (stat(path, &own) < 0)
		return -errno;
	snprintf(path, sizeof(path), "%.32s/%d/ns/user", proc, (int)pid);
	if (stat(path, &its) < 0)
		return -errno;
	return own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

static bool is_privileged(const char *proc, const struct ucred *cred,
			  const struct status_fields *status)
{
	int ours;

	if (cred->uid != 0 || !status->sys_admin)
		return false;
	ours = in_our_user_namespace(proc, cred->pid);
	return ours < 0 ? status->pid_namespaces == 1 : ours;
}

/* ---- proofs ---------------------------------------------------------------------------------- */

static uint64_t clock_usec(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/* Start times are told on CLOCK_BOOTTIME, which also runs while the machine sleeps. */
static bool started_by(uint64_t start_ticks, uint64_t usec)
{
	uint64_t slept = usec_sub(clock_usec(CLOCK_BOOTTIME), clock_usec(CLOCK_MONOTONIC));
	uint64_t a_tick = USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);

	return start_ticks <= usec_add(usec, slept) / a_tick;
}

/* A descriptor, or -1: this kernel has none. Errors: -ESRCH, -errno. */
static int open_pidfd(int fd, int *ret_pidfd)
{
	socklen_t size = sizeof(int);
	int pidfd = -1;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0) {
		*ret_pidfd = pidfd; /* O_CLOEXEC from the start */
		return 0;
	}
	/* EINVAL is what kernels before 6.16 have to say of a process that was reaped */
	if (errno == EINVAL)
		return -ESRCH;
	if (errno != ENOPROTOOPT)
		return -errno;
	*ret_pidfd = -1;
	return 0;
}

static bool pidfd_is_alive(int pidfd)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 0;
}

/* ---- the peer -------------------------------------------------------------------------------- */

/* `pidfd` -1: there is none. */
static int identify(int fd, int pidfd, const struct cgroups *cgroups, const char *proc,
		    uint64_t accepted_usec, struct peer *ret)
{
	struct stat_fields before = { 0 }, after = { 0 };
	struct status_fields status;
	socklen_t size = sizeof(struct ucred);
	struct peer peer = { .by_pidfd = pidfd >= 0 };
	struct ucred cred;
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	/* 0: it is in a pid namespace that ours does not see */
	if (cred.pid <= 0)
		return -ESRCH;
	if (pidfd < 0) {
		r = read_stat(proc, cred.pid, &before);
		if (r < 0)
			return r;
		if (!started_by(before.start_ticks, accepted_usec))
			return -ESRCH;
	}
	r = cgroup_of_pid(cgroups, proc, cred.pid, peer.cgroup);
	if (r < 0)
		return r == -EXDEV ? -ENOENT : r;
	r = read_status(proc, cred.pid, cred.uid, &status);
	if (r < 0)
		return r;
	peer.pid = cred.pid;
	peer.uid = cred.uid;
	peer.privileged = is_privileged(proc, &cred, &status);

	if (pidfd >= 0) {
		if (!pidfd_is_alive(pidfd))
			return -ESRCH;
	} else {
		r = read_stat(proc, cred.pid, &after);
		if (r < 0)
			return r;
		if (after.dead || after.start_ticks != before.start_ticks || !status.uid_matches)
			return -ESRCH;
	}
	*ret = peer;
	return 0;
}

int peer_identify(int fd, const struct cgroups *cgroups, const char *proc, uint64_t accepted_usec,
		  struct peer *ret)
{
	int pidfd, r;

	r = open_pidfd(fd, &pidfd);
	if (r < 0)
		return r;
	r = identify(fd, pidfd, cgroups, proc, accepted_usec, ret);
	fd_close(&pidfd);
	return r;
}

/* ---- whose pressure -------------------------------------------------------------------------- */

/* Both normalised: whole components, so "/a/bc" is not below "/a/b". */
static bool is_at_or_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	if (strcmp(top, "/") == 0)
		return true;
	return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

int peer_resolve(const struct peer *peer, const char *wanted, size_t wanted_size, char *ret,
		 const char **ret_why)
{
	char text[CGPATH_MAX], path[CGPATH_MAX];
	bool own_is_root = strcmp(peer->cgroup, "/") == 0;
	int r;

	if (!wanted) {
		memcpy(ret, peer->cgroup, strlen(peer->cgroup) + 1);
		return 0;
	}
	if (wanted_size >= sizeof(text))
		return scan_refuse(-ENAMETOOLONG, "it is longer than 4095 bytes", ret_why);
	if (wanted_size > 0 && memchr(wanted, '\0', wanted_size))
		return scan_refuse(-EINVAL, "a NUL is not allowed in it", ret_why);
	if (wanted_size > 0)
		memcpy(text, wanted, wanted_size);
	text[wanted_size] = '\0';
	r = cgpath_normalise(text, NULL, path, ret_why);
	if (r < 0)
		return r;

	if (text[0] != '/' && !own_is_root) {
		size_t own = strlen(peer->cgroup), n = strcmp(path, "/") == 0 ? 0 : strlen(path);

		if (own + n >= CGPATH_MAX)
			return scan_refuse(-ENAMETOOLONG,
					   "below its own cgroup it is longer than 4095 bytes",
					   ret_why);
		memmove(path + own, path, n);
		path[own + n] = '\0';
		memcpy(path, peer->cgroup, own);
	}
	if (!peer->privileged && !is_at_or_below(path, peer->cgroup))
		return scan_refuse(-EACCES, "it is not its own cgroup or one below it", ret_why);
	memcpy(ret, path, strlen(path) + 1);
	return 0;
}
