/* SPDX-License-Identifier: MIT */
/*
 * kmsg.h - the kernel's log, line by line as it is written
 */
#pragma once

#include <stddef.h>

/* A line of the kernel's own, without a newline, and as it was before it was escaped; valid during
 * the call. */
typedef void kmsg_fn(const char *text, size_t size, void *userdata);

/*
 * From now on: a descriptor to poll for POLLIN, O_CLOEXEC | O_NONBLOCK. `fd` is /dev/kmsg, non-blocking, and taken over;
 * -1: it is opened here. Errors: -EPERM (kernel.dmesg_restrict, without CAP_SYSLOG), -EACCES, -ENOENT.
 */
int kmsg_open(int fd);
/* What was written since. Errors: -errno of read(2). */
int kmsg_read(int fd, kmsg_fn *fn, void *userdata);
