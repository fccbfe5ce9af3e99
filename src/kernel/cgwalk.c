/* SPDX-License-Identifier: MIT */
/*
 * cgwalk.c - a walk with a list of cgroups that have others below them
 *
 * While a directory is read each child is visited, and what has children of its own is put in front of the list. A cgroup's
 * directory is opened once: one that is removed and made again meanwhile is one of the two for whoever reads below it.
 */
#include "kernel/cgwalk.h"

#include "core/cgpattern.h"
#include "kernel/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A cgroup whose children are still to be visited. */
struct node {
	struct node *next;
	char path[];
};

struct walk {
	cgwalk_fn *visit;
	void *userdata;
	const struct cgroups *cgroups;
	const struct cgpattern *pattern; /* NULL: a path was asked for, it alone */
	struct node *todo;
	int error; /* it ends */
};

static void push(struct walk *w, const char *path)
{
	struct node *node = malloc(sizeof(*node) + strlen(path) + 1);

	if (!node) {
		w->error = -ENOMEM;
		return;
	}
	strcpy(node->path, path);
	node->next = w->todo;
	w->todo = node;
}

/* `fd`, or the error, which may end it all. */
static int noted(struct walk *w, int fd)
{
	if (is_shortage(fd))
		w->error = fd;
	return fd;
}

/* Visits it; if there may be more below (a directory of cgroupfs has a link for each child), that is noted.
 * Errors: there is no such directory. */
static int look(struct walk *w, const char *path)
{
	int fd = noted(w, cgroup_open(w->cgroups, path));
	struct stat st;

	if (fd < 0)
		return fd;
	/* the fixed part itself matches where two stars in the middle are no level */
	if (!w->pattern || cgpattern_match(w->pattern, path))
		w->error = w->visit(fd, path, w->userdata);
	if (w->error == 0 && w->pattern && cgpattern_descend(w->pattern, path) &&
	    fstat(fd, &st) == 0 && st.st_nlink != 2)
		push(w, path);
	close(fd);
	return 0;
}

/* NULL: errno says why. */
static DIR *open_directory(struct walk *w, const char *path)
{
	int fd = noted(w, cgroup_open(w->cgroups, path)), dirfd = -1;
	DIR *dir = NULL;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	dirfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0)
		dir = fdopendir(dirfd);
	if (!dir) {
		(void)noted(w, -errno);
		fd_close(&dirfd);
	}
	fd_close(&fd);
	return dir;
}

static int visit_children(struct walk *w, const char *parent)
{
	const char *front = parent[1] ? parent : ""; /* not "/" */
	DIR *dir = open_directory(w, parent);
	const struct dirent *entry;
	char path[CGPATH_MAX];

	if (!dir)
		return -errno;
	while (w->error == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 ||
		    snprintf(path, sizeof(path), "%s/%s", front, entry->d_name) >=
			    (int)sizeof(path))
			continue;
		if (cgpattern_match(w->pattern, path) || cgpattern_descend(w->pattern, path))
			(void)look(w, path); /* what vanished meanwhile is left out */
	}
	closedir(dir);
	return 0;
}

int cgwalk(const struct cgroups *cgroups, const char *pattern, cgwalk_fn *visit, void *userdata)
{
	_cleanup_(cgpattern_freep) struct cgpattern *stars = NULL;
	struct walk w = { .visit = visit, .userdata = userdata, .cgroups = cgroups };
	char path[CGPATH_MAX];
	struct node *node;
	int r;

	if (strchr(pattern, '*'))
		r = cgpattern_new(pattern, cgroups->v2.point, &stars, NULL);
	else
		r = cgpath_normalise(pattern, cgroups->v2.point, path, NULL);
	if (r < 0)
		return r == -ENAMETOOLONG ? -EINVAL : r;
	w.pattern = stars;
	r = look(&w, stars ? cgpattern_fixed(stars) : path);
	for (bool first = true; (node = w.todo) != NULL; first = false) {
		w.todo = node->next;
		if (first)
			r = visit_children(&w, node->path);
		else if (w.error == 0)
			(void)visit_children(&w, node->path);
		free(node);
	}
	if (r == 0)
		r = w.error;
	return r == -ENOTDIR || r == -EXDEV ? -ENOENT : r;
}
