/* SPDX-License-Identifier: MIT */
/*
 * cgroup.c - discovery
 *
 * Paths in /proc/PID/cgroup are relative to the reader's cgroup namespace, mounts show the part
 * that was mounted (field "root" of mountinfo). Where the mount's root is not "/", it is cut off
 * the front of the process's path; where that does not fit, or the directory is not there, the
 * process sits behind what we can see, and the mount's root is the nearest thing to its cgroup.
 */
#include "kernel/cgroup.h"

#include "core/procfs.h"
#include "kernel/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define UNITS_SEARCHED_MAX 100000 /* directories */

int cgroups_discover(const char *proc, struct cgroups *ret)
{
	char path[64], *text = NULL;
	struct cgroups c = { 0 };
	size_t size;
	int r;

	snprintf(path, sizeof(path), "%.32s/self/mountinfo", proc);
	r = file_read_all(AT_FDCWD, path, &text, &size);
	if (r < 0)
		return r;
	r = mountinfo_cgroup2(text, size, &c.v2);
	c.has_v2 = r == 0;
	if (r == 0 || r == -ENOENT) {
		int v1 = mountinfo_cgroup1(text, size, "memory", &c.v1);

		c.has_v1 = v1 == 0;
		if (r < 0)
			r = v1;
	}
	free(text);
	if (r < 0)
		return r;
	*ret = c;
	return 0;
}

/* `path` as it is called under a mount of `root`. Returns whether it is there at all. */
static bool path_under_root(const char *path, const char *root, char *buf)
{
	size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return false;
	snprintf(buf, CGPATH_MAX, "%s", path[length] == '\0' ? "/" : path + length);
	return true;
}

static int open_below(const char *point, const char *path)
{
	char full[2 * CGPATH_MAX];
	int fd;

	snprintf(full, sizeof(full), "%s%s", point, path);
	fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Shared by both hierarchies: the line's path, as it is called under the mount. */
static int visible_path(int r, const char *path, const struct cgmount *mount, char *buf)
{
	char under[CGPATH_MAX];
	int fd;

	if (r == -EXDEV)
		goto hidden;
	if (r < 0)
		return r;
	if (!path_under_root(path, mount->root, under))
		goto hidden;
	fd = open_below(mount->point, under);
	if (fd < 0)
		goto hidden;
	close(fd);
	memcpy(buf, under, CGPATH_MAX);
	return 0;

hidden:
	memcpy(buf, "/", 2);
	return 1;
}

static int read_proc_cgroup(const char *proc, int64_t pid, char **ret, size_t *ret_size)
{
	char path[96];
	int r;

	if (pid == 0)
		snprintf(path, sizeof(path), "%.32s/self/cgroup", proc);
	else
		snprintf(path, sizeof(path), "%.32s/%lld/cgroup", proc, (long long)pid);
	r = file_read_all(AT_FDCWD, path, ret, ret_size);
	return r == -ENOENT && pid != 0 ? -ESRCH : r;
}

int cgroup_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf)
{
	char path[CGPATH_MAX], *text = NULL;
	size_t size;
	int r;

	if (!cgroups->has_v2)
		return -ENOENT;
	r = read_proc_cgroup(proc, pid, &text, &size);
	if (r < 0)
		return r;
	r = visible_path(proc_cgroup_v2(text, size, path), path, &cgroups->v2, buf);
	free(text);
	return r;
}

int cgroup_v1_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf)
{
	char path[CGPATH_MAX], *text = NULL;
	size_t size;
	int r;

	if (!cgroups->has_v1)
		return -ENOENT;
	r = read_proc_cgroup(proc, pid, &text, &size);
	if (r < 0)
		return r;
	r = visible_path(proc_cgroup_v1(text, size, "memory", path), path, &cgroups->v1, buf);
	free(text);
	return r;
}

int cgroup_open(const struct cgroups *cgroups, const char *path)
{
	return cgroups->has_v2 ? open_below(cgroups->v2.point, path) : -ENOENT;
}

int cgroup_v1_open(const struct cgroups *cgroups, const char *path)
{
	return cgroups->has_v1 ? open_below(cgroups->v1.point, path) : -ENOENT;
}

bool cgroup_is_v2(int dirfd)
{
	struct statfs s;

	return fstatfs(dirfd, &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC;
}

/* A queue of paths still to be searched. */
struct path_queue {
	struct path_node {
		struct path_node *next;
		char path[];
	} * first, **last;
	unsigned left;
};

static int path_queue_add(struct path_queue *queue, const char *parent, const char *name)
{
	const char *slash = strcmp(parent, "/") == 0 ? "" : parent;
	size_t size = strlen(slash) + strlen(name) + 2;
	struct path_node *node;

	if (queue->left == 0 || size > CGPATH_MAX)
		return 0;
	node = malloc(sizeof(*node) + size);
	if (!node)
		return -ENOMEM;
	node->next = NULL;
	snprintf(node->path, size, "%s/%s", slash, name);
	*queue->last = node;
	queue->last = &node->next;
	queue->left--;
	return 0;
}

/* 1: `unit` is a child of `path`. */
static int search_one(const struct cgroups *cgroups, const char *path, const char *unit,
		      struct path_queue *queue)
{
	char full[2 * CGPATH_MAX];
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	snprintf(full, sizeof(full), "%s%s", cgroups->v2.point, path);
	dir = opendir(full);
	if (!dir)
		return 0; /* gone, or none of our business */
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (strcmp(entry->d_name, unit) == 0)
			r = 1;
		else
			r = path_queue_add(queue, path, entry->d_name);
	}
	closedir(dir);
	return r;
}

int cgroup_of_unit(const struct cgroups *cgroups, const char *unit, char *buf)
{
	struct path_queue queue = { .last = &queue.first, .left = UNITS_SEARCHED_MAX };
	int r = 0;

	if (!cgroups->has_v2)
		return -ENOENT;
	if (!*unit || strchr(unit, '/') || unit[0] == '.' || !strchr(unit, '.'))
		return -EINVAL;

	r = path_queue_add(&queue, "/", "");
	if (r == 0)
		queue.first->path[1] = '\0';
	while (r == 0 && queue.first) {
		struct path_node *node = queue.first;

		r = search_one(cgroups, node->path, unit, &queue);
		if (r == 1 && snprintf(buf, CGPATH_MAX, "%s/%s", node->path[1] ? node->path : "",
				       unit) >= CGPATH_MAX)
			r = -ENAMETOOLONG;
		queue.first = node->next;
		if (!queue.first)
			queue.last = &queue.first;
		free(node);
	}
	while (queue.first) {
		struct path_node *node = queue.first;

		queue.first = node->next;
		free(node);
	}
	return r == 1 ? 0 : r < 0 ? r : -ENOENT;
}
