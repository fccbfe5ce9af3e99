/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the process at the other end of a socket, as the kernel saw it when it connected
 */
#pragma once

#include "core/cgpath.h"
#include "kernel/cgroup.h"

#include <sys/types.h>

struct peer {
	pid_t pid;		 /* as seen from here */
	uid_t uid;		 /* in our user namespace: root of a user namespace is not 0 */
	bool privileged;	 /* uid 0 with CAP_SYS_ADMIN in our user namespace: not root of a
				    container */
	char cgroup[CGPATH_MAX]; /* v2 path, normalised */
};

/*
 * `proc` is "/proc" or a stand-in. Errors: -ESRCH (it is gone, its pid was reused, or it is in a pid namespace that ours
 * does not see), -ENOENT (no v2 cgroup, or none that is visible from here), -ENODEV (its cgroup was removed), -EACCES,
 * -ENODATA (not connected, or no AF_UNIX socket), -ENOTSOCK, -EMFILE, -ENOMEM. Reads a few files of /proc; reading the cgroup
 * allocates for a moment.
 */
int peer_identify(int fd, const struct cgroups *cgroups, const char *proc, struct peer *ret);

/*
 * May `peer` be told about `wanted` (as it wrote it: below its own cgroup "sub/x", or from the root
 * "/a/b")? NULL: its own. ret[CGPATH_MAX] gets the normalised path. Errors: -EACCES (not its own or
 * below, and it is not privileged), -EINVAL, -ENAMETOOLONG; *ret_why, a constant string, says why.
 */
int peer_resolve(const struct peer *peer, const char *wanted, size_t wanted_size, char *ret,
		 const char **ret_why);
