/* SPDX-License-Identifier: MIT */
/*
 * survey.c - psb_survey(): the numbers of every cgroup of a pattern, once
 *
 * A walk with a list of cgroups that have others below them: while a directory is read each child is read and told, and what
 * has children of its own is put in front of the list. What is open at any moment is one directory, one cgroup in it and
 * one file of that, however deep it goes.
 *
 * All files of a cgroup are opened below its directory, which is opened once: a cgroup that is removed and made again
 * meanwhile gives the numbers of one of the two. A removed cgroup's open directory still opens, and its files answer ENOENT
 * or ENODEV; a cgroup without PSI (cgroup.pressure is 0) has no readable memory.pressure either. What tells them apart is
 * cgroup.procs, which every living cgroup has (of a threaded one only reading it is refused).
 *
 * Only v2 files are read: where the memory controller is on v1 memory is unknown, pressure is not. memory.stat is the
 * expensive one, the kernel sums it up over all CPUs on each read; the root has none of memory.current, .max, .high, .events.
 */
#include "library/survey.h"

#include "core/cgpattern.h"
#include "core/keyed.h"
#include "core/psi.h"
#include "kernel/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* inactive_file is among the first lines of memory.stat */
#define TEXT_MAX 2048

/* A cgroup whose children are still to be visited. */
struct node {
	struct node *next;
	char path[];
};

struct survey {
	psb_survey_fn *fn;
	void *userdata;
	const struct cgroups *cgroups;
	const struct cgpattern *pattern; /* NULL: a path was asked for, it alone */
	struct node *todo;
	int error; /* -EMFILE, -ENFILE, -ENOMEM: it ends */
	/* the file that was read last */
	char text[TEXT_MAX];
	size_t size;
};

/* ---- one cgroup ------------------------------------------------------------------------------ */

/* False: it is not there. */
static bool read_text(struct survey *s, int dirfd, const char *name)
{
	int r = file_read(dirfd, name, s->text, sizeof(s->text), &s->size);

	if (is_shortage(r))
		s->error = r;
	return r == 0;
}

/* 0: it is not there, or no limit. */
static uint64_t read_number(struct survey *s, int dirfd, const char *name)
{
	uint64_t number;

	if (!read_text(s, dirfd, name) || limit_parse(s->text, s->size, &number) < 0 ||
	    number == UINT64_MAX)
		return 0;
	return number;
}

static void tell(struct survey *s, int dirfd, const char *path)
{
	struct psb_survey_row row = { .size = sizeof(row), .cgroup = path };
	struct memory_events events;
	uint64_t inactive;
	struct psi psi;

	if (read_text(s, dirfd, "memory.pressure") && psi_parse(s->text, s->size, &psi) == 0) {
		row.has_pressure = 1;
		row.some_total_usec = psi.some.total_usec;
		row.full_total_usec = psi.full.total_usec;
		row.some_avg10_centi = psi.some.avg10_centi;
		row.full_avg10_centi = psi.full.avg10_centi;
		row.some_avg60_centi = psi.some.avg60_centi;
	}
	row.current_bytes = read_number(s, dirfd, "memory.current");
	if (row.current_bytes > 0 && read_text(s, dirfd, "memory.stat") &&
	    keyed_get(s->text, s->size, "inactive_file", &inactive) == 0)
		row.working_set_bytes = usec_sub(row.current_bytes, inactive);
	row.limit_bytes = read_number(s, dirfd, "memory.max");
	row.high_bytes = read_number(s, dirfd, "memory.high");
	if (read_text(s, dirfd, "memory.events") &&
	    memory_events_parse(s->text, s->size, &events) == 0) {
		row.has_events = 1;
		row.max_events = events.max;
		row.high_events = events.high;
		row.oom_events = events.oom;
		row.oom_kill_events = events.oom_kill;
	}
	/* asked last, so that what was read before is of a living cgroup */
	if (s->error == 0 && faccessat(dirfd, "cgroup.procs", F_OK, 0) == 0)
		s->fn(&row, s->userdata);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void push(struct survey *s, const char *path)
{
	struct node *node = malloc(sizeof(*node) + strlen(path) + 1);

	if (!node) {
		s->error = -ENOMEM;
		return;
	}
	strcpy(node->path, path);
	node->next = s->todo;
	s->todo = node;
}

/* `fd`, or the error, which may end it all. */
static int noted(struct survey *s, int fd)
{
	if (is_shortage(fd))
		s->error = fd;
	return fd;
}

/* Reads and tells it; if there may be more below (a directory of cgroupfs has a link for each child), that is noted.
 * Errors: there is no such directory. */
static int visit(struct survey *s, const char *path)
{
	int fd = noted(s, cgroup_open(s->cgroups, path));
	struct stat st;

	if (fd < 0)
		return fd;
	/* the fixed part itself matches where two stars in the middle are no level */
	if (!s->pattern || cgpattern_match(s->pattern, path))
		tell(s, fd, path);
	if (s->pattern && cgpattern_descend(s->pattern, path) && fstat(fd, &st) == 0 &&
	    st.st_nlink != 2)
		push(s, path);
	close(fd);
	return 0;
}

/* NULL: errno says why. */
static DIR *open_directory(struct survey *s, const char *path)
{
	int fd = noted(s, cgroup_open(s->cgroups, path)), dirfd = -1;
	DIR *dir = NULL;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	dirfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd >= 0)
		dir = fdopendir(dirfd);
	if (!dir) {
		(void)noted(s, -errno);
		fd_close(&dirfd);
	}
	fd_close(&fd);
	return dir;
}

static int visit_children(struct survey *s, const char *parent)
{
	const char *front = parent[1] ? parent : ""; /* not "/" */
	DIR *dir = open_directory(s, parent);
	const struct dirent *entry;
	char path[CGPATH_MAX];

	if (!dir)
		return -errno;
	while (s->error == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 ||
		    snprintf(path, sizeof(path), "%s/%s", front, entry->d_name) >=
			    (int)sizeof(path))
			continue;
		if (cgpattern_match(s->pattern, path) || cgpattern_descend(s->pattern, path))
			(void)visit(s, path); /* what vanished meanwhile is left out */
	}
	closedir(dir);
	return 0;
}

int survey_cgroups(const struct cgroups *cgroups, const char *pattern, psb_survey_fn *fn,
		   void *userdata)
{
	_cleanup_(cgpattern_freep) struct cgpattern *stars = NULL;
	struct survey s = { .fn = fn, .userdata = userdata, .cgroups = cgroups };
	char path[CGPATH_MAX];
	struct node *node;
	int r;

	if (strchr(pattern, '*'))
		r = cgpattern_new(pattern, cgroups->v2.point, &stars, NULL);
	else
		r = cgpath_normalise(pattern, cgroups->v2.point, path, NULL);
	if (r < 0)
		return r == -ENAMETOOLONG ? -EINVAL : r;
	s.pattern = stars;
	r = visit(&s, stars ? cgpattern_fixed(stars) : path);
	for (bool first = true; (node = s.todo) != NULL; first = false) {
		s.todo = node->next;
		if (first)
			r = visit_children(&s, node->path);
		else if (s.error == 0)
			(void)visit_children(&s, node->path);
		free(node);
	}
	if (r == 0)
		r = s.error;
	return r == -ENOTDIR || r == -EXDEV ? -ENOENT : r;
}

int psb_survey(const char *pattern, psb_survey_fn *fn, void *userdata)
{
	struct cgroups *cgroups;
	int r;

	if (!pattern || !fn)
		return -EINVAL;
	cgroups = malloc(sizeof(*cgroups));
	if (!cgroups)
		return -ENOMEM;
	r = cgroups_discover("/proc", cgroups);
	if (r == 0)
		r = cgroups->has_v2 ? survey_cgroups(cgroups, pattern, fn, userdata) : -ENOENT;
	free(cgroups);
	return r;
}
