/* SPDX-License-Identifier: MIT */
/*
 * procfs.h - /proc/PID/cgroup and /proc/PID/mountinfo
 *
 * Which cgroup a process is in, and where the hierarchies are mounted. Source of the formats:
 * cgroups(7), proc(5). The text of /proc/PID/cgroup must be the whole file: a last line without its
 * newline may have been cut off in the middle of a path, and is never used.
 */
#pragma once

#include "cgpath.h"

/*
 * The path of the process into buf[CGPATH_MAX]: from the `0::` line, wherever it stands, or from
 * the line of a v1 `controller` ("memory", or "name=systemd" for a named hierarchy). It is
 * normalised, but begins with "/.." where the process lives outside of the reader's cgroup
 * namespace ("/../x"). buf is written only on success. Errors: -ENOENT: no such line; -ENODEV: the
 * v2 cgroup was removed, " (deleted)" is behind it; -EBADMSG: not such a text; -ENAMETOOLONG.
 */
int proc_cgroup_v2(const char *text, size_t size, char *buf);
int proc_cgroup_v1(const char *text, size_t size, const char *controller, char *buf);

/* A mount of a hierarchy. Both paths are unescaped, begin with a slash, and are otherwise as the
 * kernel has them: a root that begins with "/.." lies outside of the cgroup namespace. */
struct cgmount {
	uint64_t id;		/* what statx(2) calls stx_mnt_id */
	char point[CGPATH_MAX]; /* where */
	char root[CGPATH_MAX];	/* which part of the hierarchy is mounted there; "/" is all of it */
	bool read_only;		/* the mount or its superblock */
};

/* One line of mountinfo, without its newline. True: it is a mount of cgroup2 (`controller` NULL), or
 * of the v1 hierarchy that has `controller`. *ret is written only then. */
bool mountinfo_line(const char *line, size_t size, const char *controller, struct cgmount *ret);

/* `path`, as proc_cgroup_v2() has it, as it is called under that mount, into buf[CGPATH_MAX]. False:
 * the mount shows another part of the hierarchy, or one whose name cannot be known. */
bool cgmount_covers(const struct cgmount *mount, const char *path, char *buf);
