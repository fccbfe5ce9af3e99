/* SPDX-License-Identifier: MIT */
/*
 * kmsg.h - the kernel's log, line by line as it is written
 */
#pragma once

#include "kernel/loop.h"

/* A line of the kernel's own, without a newline, and as it was before it was escaped; valid during
 * the call. */
typedef void kmsg_fn(const char *text, size_t size, void *userdata);

struct kmsg {
	struct loop *loop;
	struct loop_op op;
	int fd; /* -1: not open */
	kmsg_fn *fn;
	void *userdata;
};

/*
 * From now on. `fd` is /dev/kmsg, non-blocking, and taken over; -1: it is opened here. Errors: -EPERM
 * (kernel.dmesg_restrict, without CAP_SYSLOG), -EACCES, -ENOENT, and what loop_poll() says; then it
 * is closed.
 */
int kmsg_open(struct kmsg *kmsg, struct loop *loop, int fd, kmsg_fn *fn, void *userdata);
/* Not from within `fn`. The loop releases it in its next pass; `kmsg` has to stay until then. */
void kmsg_close(struct kmsg *kmsg);
