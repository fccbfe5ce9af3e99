/* SPDX-License-Identifier: MIT */
/*
 * listen.h - sockets of our own, for a daemon that runs without a .socket unit
 */
#pragma once

/*
 * A listening stream socket at `path`, mode 0666; its directory is made (0755). What is left of a
 * process that is gone is replaced. Errors: -EADDRINUSE (a process listens there), -ENAMETOOLONG,
 * -ENOSPC (a full file system), -errno.
 */
int listen_at(const char *path, int *ret_fd);

/* The last component of the path that a listening socket is bound to, in buf: "notify"; "" if it
 * has none. */
void listen_name(int fd, char *buf, unsigned long size);
