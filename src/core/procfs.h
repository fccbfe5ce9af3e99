/* SPDX-License-Identifier: MIT */
/*
 * procfs.h - /proc/PID/cgroup and /proc/PID/mountinfo
 *
 * Which cgroup a process is in, and where the hierarchies are mounted. Source of the formats:
 * cgroups(7), proc(5). The texts must be whole files: a last line without its newline may have been
 * cut off in the middle of a path, and is never believed.
 */
#pragma once

#include "cgpath.h"

/*
 * The path of the process into buf[CGPATH_MAX], normalised: from the `0::` line, wherever it
 * stands, or from the line of a v1 `controller` ("memory", or "name=systemd" for a named
 * hierarchy). buf is written only on success. Errors: -ENOENT: no such line; -EXDEV: the path
 * begins with "/..", that is, the process lives outside of the reader's cgroup namespace; -ENODEV:
 * the v2 cgroup was removed, " (deleted)" is behind it; -EBADMSG: not such a text; -ENAMETOOLONG.
 */
int proc_cgroup_v2(const char *text, size_t size, char *buf);
int proc_cgroup_v1(const char *text, size_t size, const char *controller, char *buf);

/* Where a hierarchy is mounted. Both paths are unescaped, begin with a slash, and are otherwise as
 * the kernel has them: a root that begins with "/.." lies outside of the cgroup namespace. */
struct cgmount {
	char point[CGPATH_MAX]; /* where */
	char root[CGPATH_MAX];	/* which part of the hierarchy is mounted there; "/" is all of it */
	bool read_only;		/* the mount or its superblock */
};

/*
 * The cgroup2 mount, and the v1 mount that has `controller`. Where there are several, the one with
 * the shortest mount point; of several at one mount point the last, which covers the others; else
 * the first.
 * Errors: -ENOENT: none; -EBADMSG: a bad escape in the line of such a mount, or the text is cut
 * off; -ENAMETOOLONG. A line of another shape is skipped like one of another file system.
 */
int mountinfo_cgroup2(const char *text, size_t size, struct cgmount *ret);
int mountinfo_cgroup1(const char *text, size_t size, const char *controller, struct cgmount *ret);
