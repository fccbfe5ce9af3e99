/* SPDX-License-Identifier: MIT */
/*
 * pressure.h - one memory.pressure file: sampling it, and arming an alarm on it
 *
 * Two descriptors, because a read on the one that has the trigger consumes its pending event
 * (kernel 6.12 and later, IORING_OP_READ as well as read(2)).
 */
#pragma once

#include "core/psi.h"
#include "core/trigger.h"

/*
 * A descriptor to sample `name` below `dirfd` (AT_FDCWD and a path are fine). Reads once, so that
 * success means that it works. Errors: -ENOENT (no such file: PSI off from 6.1 on, or the root
 * cgroup of an old kernel), -EOPNOTSUPP (PSI off before 6.1), -EACCES, -EPERM, -ENODEV (cgroup
 * removed), -EBADMSG (not a pressure file), -EXDEV (below a directory: another file is mounted over
 * it).
 */
int pressure_open(int dirfd, const char *name, int *ret_fd);

/* One sample: a single pread(2), about 2.4 us, that allocates nothing. Errors: -ENODEV: the cgroup
 * was removed. */
int pressure_read(int fd, struct psi *ret);

/*
 * Arm a trigger. The descriptor then gives POLLPRI for an alarm, POLLERR|POLLPRI when the cgroup
 * is removed; close it with a closer. Errors as pressure_open(), and: -EROFS (read-only cgroupfs),
 * -EPERM (kernels 6.5.0-6.5.12, 6.6.0-2 without CAP_SYS_RESOURCE), -EINVAL (the window: without
 * CAP_SYS_RESOURCE only n x 2 s), -EBUSY, -ENOMEM.
 */
int pressure_arm(int dirfd, const char *name, const struct trigger *trigger, int *ret_fd);
