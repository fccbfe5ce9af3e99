/* SPDX-License-Identifier: MIT */
/*
 * survey.c - psb_survey(): the numbers of every cgroup of a pattern, once
 *
 * A walk with a stack of names: each cgroup is read and told, then its children's names come on top. What is open at any
 * moment is one directory and one file, however deep it goes.
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
#include <unistd.h>

/* inactive_file is among the first lines of memory.stat */
#define TEXT_MAX 2048

struct survey {
	psb_survey_fn *fn;
	void *userdata;
	const struct cgroups *cgroups;
	const struct cgpattern *pattern; /* NULL: a path was asked for, it alone */
	int error;			 /* -EMFILE, -ENFILE, -ENOMEM: it ends */
	char path[CGPATH_MAX];		 /* of the cgroup that is visited */
	/* the stack: C strings, of which "" says that the directory above is to be left */
	char *names;
	size_t used, room;
	/* the file that was read last */
	char text[TEXT_MAX];
	size_t size;
};

/* ---- where it is ------------------------------------------------------------------------------ */

/* False: no path is so long. */
static bool enter(struct survey *s, const char *name)
{
	size_t n = s->path[1] ? strlen(s->path) : 0; /* "/" */

	if (n + 1 + strlen(name) >= sizeof(s->path))
		return false;
	sprintf(s->path + n, "/%s", name);
	return true;
}

static void leave(struct survey *s)
{
	char *slash = strrchr(s->path, '/');

	slash[slash == s->path] = '\0';
}

static void push(struct survey *s, const char *name)
{
	size_t size = strlen(name) + 1;

	if (s->used + size > s->room) {
		size_t room = 2 * s->room + 4096; /* a name has 255 bytes at most */
		char *more = realloc(s->names, room);

		if (!more) {
			s->error = -ENOMEM;
			return;
		}
		s->names = more;
		s->room = room;
	}
	memcpy(s->names + s->used, name, size);
	s->used += size;
}

/* Valid until the next push(). */
static const char *pop(struct survey *s)
{
	s->used--;
	while (s->used > 0 && s->names[s->used - 1] != '\0')
		s->used--;
	return s->names + s->used;
}

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

static void tell(struct survey *s, int dirfd)
{
	struct psb_survey_row row = { .size = sizeof(row), .cgroup = s->path };
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

static int open_directory(const struct survey *s)
{
	int path_fd = cgroup_open(s->cgroups, s->path), dirfd;

	if (path_fd < 0)
		return path_fd;
	dirfd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		dirfd = -errno;
	close(path_fd);
	return dirfd;
}

static void push_children(struct survey *s, DIR *dir)
{
	const struct dirent *entry;

	while (s->error == 0 && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;

		if (entry->d_type != DT_DIR || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		    !enter(s, name))
			continue;
		if (cgpattern_match(s->pattern, s->path) || cgpattern_descend(s->pattern, s->path))
			push(s, name);
		leave(s);
	}
}

/* Errors: that there is no such directory, or it cannot be read. */
static int visit(struct survey *s)
{
	int dirfd = open_directory(s);
	DIR *dir = dirfd < 0 ? NULL : fdopendir(dirfd);
	int r = dirfd < 0 ? dirfd : -errno;

	if (!dir) {
		fd_close(&dirfd);
		if (is_shortage(r))
			s->error = r;
		return r;
	}
	/* the fixed part itself matches where two stars in the middle are no level */
	if (!s->pattern || cgpattern_match(s->pattern, s->path))
		tell(s, dirfd);
	if (s->pattern && cgpattern_descend(s->pattern, s->path))
		push_children(s, dir);
	closedir(dir);
	return 0;
}

/* From s->path on. */
static int walk(struct survey *s)
{
	int r = visit(s);

	while (s->error == 0 && s->used > 0) {
		const char *name = pop(s);

		if (!*name) {
			leave(s);
			continue;
		}
		enter(s, name);
		push(s, "");
		(void)visit(s); /* what vanished meanwhile is left out */
	}
	free(s->names);
	return r < 0 ? r : s->error;
}

int survey_cgroups(const struct cgroups *cgroups, const char *pattern, psb_survey_fn *fn,
		   void *userdata)
{
	_cleanup_(cgpattern_freep) struct cgpattern *stars = NULL;
	struct survey s = { .fn = fn, .userdata = userdata, .cgroups = cgroups };
	int r;

	if (strchr(pattern, '*'))
		r = cgpattern_new(pattern, cgroups->v2.point, &stars, NULL);
	else
		r = cgpath_normalise(pattern, cgroups->v2.point, s.path, NULL);
	if (r < 0)
		return r == -ENAMETOOLONG ? -EINVAL : r;
	s.pattern = stars;
	if (stars)
		strcpy(s.path, cgpattern_fixed(stars));
	r = walk(&s);
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
