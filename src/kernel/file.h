/* SPDX-License-Identifier: MIT */
/*
 * file.h - read a small kernel file in one go
 */
#pragma once

#include "core/util.h"

#include <errno.h>

/* Read from the start of an open file. *ret_size <= capacity; more is cut off. Errors: -errno. */
int file_pread(int fd, char *buf, size_t capacity, size_t *ret_size);

/* Open, read, close. */
int file_read(int dirfd, const char *name, char *buf, size_t capacity, size_t *ret_size);

/* As file_read() for files of any length up to 1 MiB (mountinfo); the caller frees *ret. Errors:
 * -EFBIG, -ENOMEM, -errno. */
int file_read_all(int dirfd, const char *name, char **ret, size_t *ret_size);

/* A descriptor for reading: O_RDONLY | O_CLOEXEC | O_NONBLOCK, or -errno. */
int file_open(int dirfd, const char *name);

/* Does the error mean a lack of resources just now, and say nothing of the file? */
static inline bool is_shortage(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

/* Close, if it is open, and leave -1 behind. errno stays. */
void fd_close(int *fd);

/* Returns the descriptor, and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
	int value = *fd;

	*fd = -1;
	return value;
}
