/* SPDX-License-Identifier: MIT */
/*
 * cgroup.h - where cgroups are on this machine, and which one is meant
 *
 * The cgroup2 mount is found in /proc/self/mountinfo: the one that shows our own cgroup, and most of
 * what is around it; where none does, the one that shows most. A process's cgroup is found in the
 * `0::` line of /proc/PID/cgroup, wherever that line stands. On a hybrid host the memory controller
 * sits on v1, and limits come from there.
 */
#pragma once

#include "core/cgpath.h"
#include "core/procfs.h"

struct cgroups {
	bool has_v2, has_v1; /* has_v1: a memory controller on v1 */
	struct cgmount v2, v1;
};

/* `proc` is "/proc", or a directory that looks like it (tests). Errors: -ENOENT: neither v2 nor v1
 * memory is mounted where it can be opened; -EBADMSG: mountinfo is cut off; what reading it says. */
int cgroups_discover(const char *proc, struct cgroups *ret);

/* In words, why there is no v2: a constant. */
const char *cgroups_missing(const struct cgroups *cgroups);

/*
 * The v2 path of a process (0: our own), into buf[CGPATH_MAX]. Errors: -EXDEV (the mount does not
 * show it), -ENOENT (no `0::` line: cgroup v1 only), -ESRCH, -EACCES (there is such a process, but
 * /proc hides it), -ENODEV (the cgroup was removed).
 */
int cgroup_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf);

/* The same for the v1 memory controller. */
int cgroup_v1_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf);

/* The v2 path of a systemd unit: the first directory of that name, breadth first; user units too.
 * Errors: -ENOENT, -EINVAL (not a unit's name). */
int cgroup_of_unit(const struct cgroups *cgroups, const char *unit, char *buf);

/* An O_PATH descriptor of its directory. Errors: -ENOENT (no cgroup2, or no such cgroup), -EXDEV
 * (something else is mounted over it), -ENOTDIR, -EACCES. */
int cgroup_open(const struct cgroups *cgroups, const char *path);
int cgroup_v1_open(const struct cgroups *cgroups, const char *path);

/* The inode of its directory: the next cgroup of that path has another one. Errors: as cgroup_open();
 * -ENOENT too where it is being removed. */
int cgroup_inode(const struct cgroups *cgroups, const char *path, uint64_t *ret);
