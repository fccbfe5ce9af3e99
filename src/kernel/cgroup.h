/* SPDX-License-Identifier: MIT */
/*
 * cgroup.h - where cgroups are on this machine, and which one is meant
 *
 * The cgroup2 mount is found in /proc/self/mountinfo (a hybrid hierarchy mounts it elsewhere than
 * /sys/fs/cgroup), a process's cgroup in the `0::` line of /proc/PID/cgroup, wherever that line
 * stands. A container whose path is not visible under its mount (no cgroup namespace, or a mount of
 * a part) is answered with the mount's root: that is the container's own cgroup there. On a hybrid
 * host the memory controller sits on v1, and limits come from there.
 */
#pragma once

#include "core/cgpath.h"
#include "core/procfs.h"

struct cgroups {
	bool has_v2, has_v1; /* has_v1: a memory controller on v1 */
	struct cgmount v2, v1;
};

/* `proc` is "/proc", or a directory that looks like it (tests). Errors: -ENOENT: neither v2 nor v1
 * memory is mounted; what reading mountinfo says. */
int cgroups_discover(const char *proc, struct cgroups *ret);

/*
 * The v2 path of a process (0: our own), into buf[CGPATH_MAX]. Positive 1: its path is not visible
 * under the mount, "/" is answered. Errors: -ENOENT (no `0::` line: cgroup v1 only), -ESRCH,
 * -ENODEV (the cgroup was removed).
 */
int cgroup_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf);

/* The same for the v1 memory controller. */
int cgroup_v1_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf);

/* The v2 path of a systemd unit: the first directory of that name, breadth first; user units too.
 * Errors: -ENOENT, -EINVAL (not a unit's name), -ENOMEM. */
int cgroup_of_unit(const struct cgroups *cgroups, const char *unit, char *buf);

/* An O_PATH descriptor of its directory. Errors: -ENOENT (no cgroup2, or no such cgroup), -ENOTDIR,
 * -EACCES. */
int cgroup_open(const struct cgroups *cgroups, const char *path);
int cgroup_v1_open(const struct cgroups *cgroups, const char *path);

/* Is that directory on a cgroup2 file system? */
bool cgroup_is_v2(int dirfd);
