/* SPDX-License-Identifier: MIT */
/*
 * peer.c - identify a client by its credentials
 *
 * The kernel notes the credentials of a process when it connects: SO_PEERCRED has its pid and user. Everything else (cgroup,
 * capabilities) is read from /proc/PID, and that must be the same process. A pidfd is the proof: it is readable once its
 * process has ended, and as long as it is not, no other process has the number. So it is opened first, and asked last.
 *
 *   SO_PEERPIDFD   (Linux 6.5) is one of that very process: it comes from the same struct pid as the number
 *                  (sk_peer_pid in net/core/sock.c)
 *   pidfd_open(2)  is one of the process that has the number now. So /proc must also say that it started before we accepted,
 *                  and that one of its user ids is that of the credentials. What is left: a pid reused by the same user
 *                  between connect and accept
 *
 * A process that is gone gets nothing, though its socket may live on in a child: the credentials
 * are those of the process that connected.
 *
 * Privileged is user 0 with CAP_SYS_ADMIN, in *our* user namespace: root of a container without that capability can
 * unshare(CLONE_NEWUSER) where seccomp lets it, stays user 0 for us, and has every capability there. /proc/PID/ns/user tells
 * the two apart, but may be read only of processes with no more capabilities than our own, or with CAP_SYS_PTRACE ("Ptrace
 * access mode checking" in ptrace(2)). Where it may not, a process counts that is in no pid namespace below ours, that is, in
 * no container as they are commonly made.
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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* include/uapi/asm-generic/socket.h; the libc of Debian 12 is older */
#endif

#define STAT_MAX 1024
#define STATUS_MAX 16384 /* a line "Groups:" may be long; cutting it off gives no privilege */

/* ---- what /proc says ------------------------------------------------------------------------- */

/* A C string, with a newline in front, so that each line begins behind one. */
static int read_proc(const char *proc, pid_t pid, const char *name, char *text, size_t size)
{
	char path[96];
	size_t taken = 0;
	int r;

	snprintf(path, sizeof(path), "%.32s/%d/%s", proc, (int)pid, name);
	r = file_read(AT_FDCWD, path, text + 1, size - 2, &taken);
	text[0] = '\n';
	text[taken + 1] = '\0';
	return r == -ENOENT ? -ESRCH : r;
}

static uint64_t clock_usec(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/* Did it start at that time, or before? Errors: -ESRCH: no; others. */
static int check_start(const char *proc, pid_t pid, uint64_t usec)
{
	/* start times are told on CLOCK_BOOTTIME, which also runs while the machine sleeps */
	uint64_t slept = usec_sub(clock_usec(CLOCK_BOOTTIME), clock_usec(CLOCK_MONOTONIC));
	uint64_t a_tick = USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK), ticks;
	char text[STAT_MAX];
	const char *behind;
	int r = read_proc(proc, pid, "stat", text, sizeof(text));

	if (r < 0)
		return r;
	/* the second field is a name in parentheses, with anything in it; no other has one. Then the 22nd */
	behind = strrchr(text, ')');
	if (!behind ||
	    sscanf(behind, ")%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%*s%" SCNu64,
		   &ticks) != 1)
		return -EBADMSG;
	return ticks <= usec_add(usec, slept) / a_tick ? 0 : -ESRCH;
}

struct status {
	bool uid_matches;	 /* one of real, effective, saved, file system */
	bool sys_admin;		 /* effective, in whatever user namespace */
	unsigned pid_namespaces; /* that it is in, from that of /proc on down; 0: not said */
};

static int read_status(const char *proc, pid_t pid, uid_t uid, struct status *ret)
{
	char text[STATUS_MAX];
	const char *line;
	uint64_t capabilities;
	char end;
	unsigned uids[4];
	int n, r = read_proc(proc, pid, "status", text, sizeof(text));

	if (r < 0)
		return r;
	*ret = (struct status){ 0 };
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

static bool in_our_user_namespace(const char *proc, pid_t pid, const struct status *status)
{
	struct stat own, its;
	char path[96];

	snprintf(path, sizeof(path), "%.32s/%d/ns/user", proc, (int)pid);
	if (stat("/proc/self/ns/user", &own) < 0 || stat(path, &its) < 0)
		return status->pid_namespaces == 1;
	return own.st_dev == its.st_dev && own.st_ino == its.st_ino;
}

/* ---- the peer -------------------------------------------------------------------------------- */

/* *ret_proven: it is of the process that connected, not just of the one that has its number. Errors: -ESRCH, -errno. */
static int open_pidfd(int fd, pid_t pid, int *ret_pidfd, bool *ret_proven)
{
	socklen_t size = sizeof(*ret_pidfd);

	*ret_proven = getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, ret_pidfd, &size) == 0;
	if (*ret_proven)
		return 0;
	/* EINVAL is what kernels before 6.16 have to say of a process that was reaped */
	if (errno != ENOPROTOOPT)
		return errno == EINVAL ? -ESRCH : -errno;
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return *ret_pidfd < 0 ? -errno : 0;
}

int peer_identify(int fd, const struct cgroups *cgroups, const char *proc, uint64_t accepted_usec,
		  struct peer *ret)
{
	struct pollfd pidfd = { .fd = -1, .events = POLLIN };
	struct status status = { 0 };
	struct peer peer = { 0 };
	struct ucred cred;
	socklen_t size = sizeof(cred);
	bool proven;
	int r;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	/* 0: it is in a pid namespace that ours does not see; or it is no AF_UNIX socket */
	if (cred.pid <= 0)
		return -ESRCH;
	r = open_pidfd(fd, cred.pid, &pidfd.fd, &proven);
	if (r < 0)
		return r;
	r = cgroup_of_pid(cgroups, proc, cred.pid, peer.cgroup);
	if (r == -EXDEV)
		r = -ENOENT;
	if (r == 0)
		r = read_status(proc, cred.pid, cred.uid, &status);
	if (r == 0 && !proven)
		r = status.uid_matches ? check_start(proc, cred.pid, accepted_usec) : -ESRCH;
	peer.pid = cred.pid;
	peer.uid = cred.uid;
	peer.privileged = r == 0 && cred.uid == 0 && status.sys_admin &&
			  in_our_user_namespace(proc, cred.pid, &status);
	if (r == 0 && poll(&pidfd, 1, 0) != 0) /* behind all that was read */
		r = -ESRCH;
	fd_close(&pidfd.fd);
	if (r == 0)
		*ret = peer;
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
	char text[2 * CGPATH_MAX], path[CGPATH_MAX];
	size_t own = wanted && wanted_size > 0 && wanted[0] == '/' ? 0 : strlen(peer->cgroup);
	int r;

	if (!wanted) {
		memcpy(ret, peer->cgroup, strlen(peer->cgroup) + 1);
		return 0;
	}
	if (wanted_size == 0)
		return scan_refuse(-EINVAL, "it is empty", ret_why);
	if (wanted_size >= CGPATH_MAX)
		return scan_refuse(-ENAMETOOLONG, "it is longer than 4095 bytes", ret_why);
	if (memchr(wanted, '\0', wanted_size))
		return scan_refuse(-EINVAL, "a NUL is not allowed in it", ret_why);
	snprintf(text, sizeof(text), "%.*s/%.*s", (int)own, peer->cgroup, (int)wanted_size, wanted);
	r = cgpath_normalise(text, NULL, path, ret_why);
	if (r < 0)
		return r;
	if (!peer->privileged && !is_at_or_below(path, peer->cgroup))
		return scan_refuse(-EACCES, "it is not its own cgroup or one below it", ret_why);
	memcpy(ret, path, strlen(path) + 1);
	return 0;
}
