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
 *   pidfd_open(2)  is one of the process that has the number now. So one of its user ids must also be that of the
 *                  credentials. What is left: a pid reused by the same user between connect and now
 *
 * A process that is gone gets nothing, though its socket may live on in a child: the credentials are those of the process
 * that connected.
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
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* include/uapi/asm-generic/socket.h; the libc of Debian 12 is older */
#endif

#define STATUS_MAX 16384 /* a line "Groups:" may be long; cutting it off gives no privilege */

/* ---- what /proc says ------------------------------------------------------------------------- */

struct status {
	bool uid_matches;	 /* one of real, effective, saved, file system */
	bool sys_admin;		 /* effective, in whatever user namespace */
	unsigned pid_namespaces; /* that it is in, from that of /proc on down; 0: not said */
};

static int read_status(const char *proc, pid_t pid, uid_t uid, struct status *ret)
{
	char path[96], text[STATUS_MAX] = "\n"; /* so that each line begins behind one */
	const char *line;
	uint64_t capabilities;
	size_t size;
	char end;
	unsigned uids[4];
	int n, r;

	snprintf(path, sizeof(path), "%.32s/%d/status", proc, (int)pid);
	r = file_read(AT_FDCWD, path, text + 1, sizeof(text) - 2, &size);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	text[1 + size] = '\0';
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

int peer_identify(int fd, const struct cgroups *cgroups, const char *proc, struct peer *ret)
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
	if (r == 0 && !proven && !status.uid_matches)
		r = -ESRCH;
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
	if (!peer->privileged && !cgpath_is_at_or_below(path, peer->cgroup))
		return scan_refuse(-EACCES, "it is not its own cgroup or one below it", ret_why);
	memcpy(ret, path, strlen(path) + 1);
	return 0;
}
