/* SPDX-License-Identifier: MIT */
/*
 * memory-high.c - the kernel slows who grows before memory.max ends it
 *
 * Without a daemon: what is set goes with the cgroup, which is a scope or a service that ends with its program. So no other
 * process may be in it. That is asked of cgroup.procs, which does not list what is in cgroups below; a program that is about
 * to be started has none.
 */
#include "cli/memory-high.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/find-cgroup.h"
#include "core/keyed.h"
#include "core/procfs.h"

static int refuse(char *note, int error, const char *format, ...) _printf_(3, 4);
static int refuse(char *note, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(note, MEMORY_HIGH_NOTE_MAX, format, args);
	va_end(args);
	return error;
}

/* The directory of the cgroup at `path`, as /proc/self/cgroup has it. */
static int open_cgroup(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, below[CGPATH_MAX];
	struct cgmount mount;
	int root, fd = -ENOENT;
	size_t capacity = 0;
	ssize_t n;

	if (!f)
		return -errno;
	while (fd < 0 && (n = getline(&line, &capacity, f)) > 1) {
		if (!mountinfo_line(line, (size_t)n - 1, NULL, &mount) ||
		    !cgmount_covers(&mount, path, below))
			continue;
		root = open(mount.point, O_PATH | O_DIRECTORY | O_CLOEXEC);
		fd = root < 0 ? -errno
			      : openat(root, below[1] ? below + 1 : ".",
				       O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root >= 0 && fd < 0)
			fd = -errno;
		if (root >= 0)
			close(root);
	}
	free(line);
	fclose(f);
	return fd;
}

/* A file that is one number or two, and a NUL behind it. */
static int read_text(int dirfd, const char *name, char text[64], size_t *ret_size)
{
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC), r = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, 63);
	if (n < 0)
		r = -errno;
	close(fd);
	if (r < 0)
		return r;
	text[n] = '\0';
	*ret_size = (size_t)n;
	return 0;
}

static int read_limit(int dirfd, const char *name, uint64_t *ret)
{
	char text[64];
	size_t size;
	int r = read_text(dirfd, name, text, &size);

	return r < 0 ? r : limit_parse(text, size, ret);
}

static bool is_ours_alone(int dirfd)
{
	char text[64], own[32];
	size_t size;

	snprintf(own, sizeof(own), "%d\n", (int)getpid());
	return read_text(dirfd, "cgroup.procs", text, &size) == 0 && strcmp(text, own) == 0;
}

static int write_high(int dirfd, uint64_t bytes)
{
	int fd = openat(dirfd, "memory.high", O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%" PRIu64 "\n", bytes) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int set(int dirfd, const char *path, unsigned percent, bool dry_run, char *note)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), max, high, bytes;
	int r = read_limit(dirfd, "memory.max", &max);

	if (r == 0)
		r = read_limit(dirfd, "memory.high", &high);
	if (r == -ENOENT)
		return refuse(
			note, r,
			"%.300s has no memory.max: it is the root, or cgroup v2 has no memory "
			"controller there",
			path);
	if (r < 0)
		return refuse(note, r, "%.300s: %s", path, strerror(-r));
	bytes = max / page * percent / 100 * page;
	if (max == UINT64_MAX || bytes == 0)
		return refuse(note, -ENOENT,
			      "%.300s has no memory.max to speak of (systemd: MemoryMax=)", path);
	if (high != UINT64_MAX)
		return refuse(note, -EALREADY, "%.300s has one of %" PRIu64 " bytes", path, high);
	if (!is_ours_alone(dirfd))
		return refuse(
			note, -EBUSY,
			"other processes are in %.300s; \"systemd-run --scope -p MemoryMax=... "
			"psibridge run\" makes a cgroup for the program alone",
			path);
	r = dry_run ? 0 : write_high(dirfd, bytes);
	if (r < 0)
		return refuse(note, r, "%.300s: %s", path, strerror(-r));
	return refuse(note, 0, "%" PRIu64 " bytes, %u %% of memory.max of %.300s", bytes, percent,
		      path);
}

int memory_high_set(unsigned percent, bool dry_run, char note[MEMORY_HIGH_NOTE_MAX])
{
	char path[CGPATH_MAX];
	int dirfd, r = find_own_cgroup(path);

	if (r < 0)
		return refuse(note, r, "nothing is known of our own cgroup (v2): %s", strerror(-r));
	dirfd = open_cgroup(path);
	if (dirfd < 0)
		return refuse(note, dirfd, "%.300s cannot be seen here: %s", path,
			      strerror(-dirfd));
	r = set(dirfd, path, percent, dry_run, note);
	close(dirfd);
	return r;
}
