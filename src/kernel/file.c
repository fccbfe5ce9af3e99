/* SPDX-License-Identifier: MIT */
/*
 * file.c - kernel files are read whole, from offset 0, with pread: each such read is a fresh snapshot
 */
#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX (UINT64_C(1) << 20)

int file_open(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

int file_pread(int fd, char *buf, size_t capacity, size_t *ret_size)
{
	size_t size = 0;

	/* kernfs hands out at most a page a read, and a seq_file may stop at a record */
	while (size < capacity) {
		ssize_t n = pread(fd, buf + size, capacity - size, (off_t)size);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	*ret_size = size;
	return 0;
}

int file_read(int dirfd, const char *name, char *buf, size_t capacity, size_t *ret_size)
{
	int fd = file_open(dirfd, name), r;

	if (fd < 0)
		return fd;
	r = file_pread(fd, buf, capacity, ret_size);
	close(fd);
	return r;
}

int file_read_all(int dirfd, const char *name, char **ret, size_t *ret_size)
{
	int fd = file_open(dirfd, name), r = -EFBIG;
	char *buf = NULL;
	size_t size = 0;

	if (fd < 0)
		return fd;
	for (size_t capacity = 16384; r == -EFBIG && capacity <= FILE_MAX; capacity *= 2) {
		char *more = realloc(buf, capacity);

		if (more)
			buf = more;
		r = more ? file_pread(fd, buf, capacity, &size) : -ENOMEM;
		if (r == 0 && size == capacity)
			r = -EFBIG;
	}
	close(fd);
	if (r < 0) {
		free(buf);
		return r;
	}
	*ret = buf;
	*ret_size = size;
	return 0;
}
