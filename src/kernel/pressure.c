/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - open, pread, write: nothing more
 *
 * The trigger is written with its trailing NUL: /proc/pressure/memory overwrites the last byte it
 * is given (psi_write() in kernel/sched/psi.c), cgroup files do not.
 */
#include "kernel/pressure.h"

#include "kernel/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int pressure_read(int fd, struct psi *ret)
{
	char text[PSI_TEXT_MAX];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (n < 0)
		return -errno;
	return psi_parse(text, (size_t)n, ret);
}

/* The inode of `name` itself, whatever is mounted over it; 0: not found. */
static ino_t inode_below(int dirfd, const char *name)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	ino_t inode = 0;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (inode == 0 && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, name) == 0)
			inode = entry->d_ino;
	closedir(dir);
	return inode;
}

/*
 * Is another file mounted over `name`? The two are rarely on different mounts, and then it may still
 * be the same file: systemd binds memory.pressure over itself, to make it writable where the rest is
 * not.
 */
static bool is_covered(int dirfd, const char *name, int fd)
{
	struct statx file, directory;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &file) < 0 ||
	    statx(dirfd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &directory) < 0)
		return false;
	if (file.stx_dev_major != directory.stx_dev_major ||
	    file.stx_dev_minor != directory.stx_dev_minor)
		return true;
	return file.stx_mnt_id != directory.stx_mnt_id && file.stx_ino != inode_below(dirfd, name);
}

int pressure_open(int dirfd, const char *name, int *ret_fd)
{
	int fd = file_open(dirfd, name), r;
	struct psi psi;

	if (fd < 0)
		return fd;
	r = dirfd != AT_FDCWD && is_covered(dirfd, name, fd) ? -EXDEV : pressure_read(fd, &psi);
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
