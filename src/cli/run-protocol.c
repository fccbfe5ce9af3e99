/* SPDX-License-Identifier: MIT */
/*
 * run-protocol.c - psibridged's socket, or the own cgroup's memory.pressure
 *
 * A program that speaks the protocol opens what it is told and gives up if that fails: there is no
 * ladder. So both are tried here first, and what would fail is not passed on.
 *
 * Paths in /proc/PID/cgroup are those of the cgroup namespace; a mount may show a part of the tree
 * only, then the part's path is cut off.
 */
#include "cli/run-protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/procfs.h"

#define DAEMON_SOCKET "/run/psibridge/notify"
#define TEXT_MAX (1u << 20) /* of mountinfo */

static bool daemon_listens(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DAEMON_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool listens = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	if (fd >= 0)
		close(fd);
	return listens;
}

/* The file whole, or an error: a text that is cut off may end in the middle of a path. */
static int read_text(const char *path, char *buf, size_t capacity, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	size_t size = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, buf + size, capacity - size);

		if (n < 0)
			r = -errno;
		if (n <= 0)
			break;
		size += (size_t)n;
		if (size == capacity) {
			r = -EFBIG;
			break;
		}
	}
	close(fd);
	if (r == 0)
		*ret_size = size;
	return r;
}

static int own_pressure(char *buf)
{
	char *text = malloc(TEXT_MAX), *cgroup = malloc(CGPATH_MAX);
	struct cgmount *mount = malloc(sizeof(*mount));
	size_t size, root;
	int r = text && cgroup && mount ? 0 : -ENOMEM;

	if (r == 0)
		r = read_text("/proc/self/cgroup", text, TEXT_MAX, &size);
	if (r == 0)
		r = proc_cgroup_v2(text, size, cgroup);
	if (r == 0)
		r = read_text("/proc/self/mountinfo", text, TEXT_MAX, &size);
	if (r == 0)
		r = mountinfo_cgroup2(text, size, mount);
	if (r == 0) {
		root = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
		if (strncmp(cgroup, mount->root, root) != 0 ||
		    (cgroup[root] != '/' && cgroup[root] != '\0'))
			r = -ENOENT;
		else if (snprintf(buf, PATH_MAX, "%s%s/memory.pressure", mount->point,
				  strcmp(cgroup + root, "/") == 0 ? "" : cgroup + root) >= PATH_MAX)
			r = -ENAMETOOLONG;
	}
	if (r == 0 && access(buf, R_OK | W_OK) < 0)
		r = -errno;
	free(text);
	free(cgroup);
	free(mount);
	return r;
}

int protocol_source(char *buf, char *why)
{
	int r;

	if (daemon_listens()) {
		strcpy(buf, DAEMON_SOCKET);
		return 0;
	}
	r = own_pressure(buf);
	if (r < 0)
		snprintf(
			why, PROTOCOL_WHY_MAX,
			"psibridged does not run here, and memory.pressure of the own cgroup cannot be used (%s)",
			strerror(-r));
	return r;
}
