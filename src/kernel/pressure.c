/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - open, pread, write: nothing more
 *
 * The trigger is written with its trailing NUL: /proc/pressure/memory overwrites the last byte it
 * is given (psi_write() in kernel/sched/psi.c), cgroup files do not.
 */
#include "kernel/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int pressure_read(int fd, struct psi *ret)
{
	char text[PSI_TEXT_MAX];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (n < 0)
		return -errno;
	return psi_parse(text, (size_t)n, ret);
}

int pressure_open(int dirfd, const char *name, int *ret_fd)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct psi psi;
	int r;

	if (fd < 0)
		return -errno;
	r = pressure_read(fd, &psi);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int pressure_arm(int dirfd, const char *name, const struct trigger *trigger, int *ret_fd)
{
	int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char text[TRIGGER_TEXT_MAX];
	size_t length;

	if (fd < 0)
		return -errno;
	length = trigger_format_kernel(trigger, text) + 1;
	if (write(fd, text, length) < 0) {
		int r = -errno;

		close(fd); /* no trigger was made, so this is fast */
		return r;
	}
	*ret_fd = fd;
	return 0;
}
