/* SPDX-License-Identifier: MIT */
/*
 * survey.c - psb_survey(): the numbers of every cgroup of a pattern, once
 *
 *     fixed part --> a child --> its files --> told --> its children --> the next child
 *
 * A walk in preorder, so parents come before their children. What is open at any moment is one
 * directory and one file, however deep it goes: a directory is read to its end, and what it names is
 * kept in a list.
 *
 * All files of a cgroup are opened below its directory, which is opened once: a cgroup that is
 * removed and made again meanwhile gives the numbers of one of the two, never a mixture. A removed
 * cgroup's open directory still opens, and its files answer ENOENT or
 * ENODEV; a cgroup without PSI (cgroup.pressure is 0) has no readable memory.pressure either. What
 * tells them apart is cgroup.procs, which every living cgroup has, also a threaded one (there only
 * reading it is refused).
 *
 * Only v2 files are read: where the memory controller is on v1 memory is unknown, pressure is not.
 * memory.stat is the expensive one, the kernel sums it up over all CPUs on each read; and the root
 * cgroup has none of memory.current, .max, .high and .events.
 */
#include "library/survey.h"

#include "core/cgpattern.h"
#include "core/keyed.h"
#include "kernel/file.h"
#include "kernel/pressure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* inactive_file is among the first lines of memory.stat */
#define STAT_TEXT_MAX 2048
#define EVENTS_TEXT_MAX 512

/* A cgroup that is still to be visited. */
struct node {
	struct node *next;
	size_t parent_length; /* of its parent's path, which is what the path begins with by then */
	char name[];
};

struct survey {
	psb_survey_fn *fn;
	void *userdata;
	const struct cgroups *cgroups;
	struct node *todo;
	const struct cgpattern *pattern; /* NULL: a path was asked for, it alone */
	char path[CGPATH_MAX];
};

/* ---- one cgroup ------------------------------------------------------------------------------ */

/* Those that are not there stay 0. Errors: -EMFILE, -ENFILE, -ENOMEM. */
static int read_number(int dirfd, const char *name, uint64_t *value)
{
	char text[32];
	uint64_t number;
	size_t size;
	int r = file_read(dirfd, name, text, sizeof(text), &size);

	if (r < 0)
		return is_shortage(r) ? r : 0;
	if (limit_parse(text, size, &number) == 0)
		*value = number == UINT64_MAX ? 0 : number; /* no limit */
	return 0;
}

static int read_use(int dirfd, struct psb_survey_row *row)
{
	char text[STAT_TEXT_MAX];
	uint64_t inactive;
	size_t size;
	int r = read_number(dirfd, "memory.current", &row->current_bytes);

	if (r < 0 || row->current_bytes == 0)
		return r;
	r = file_read(dirfd, "memory.stat", text, sizeof(text), &size);
	if (r < 0)
		return is_shortage(r) ? r : 0;
	if (keyed_get(text, size, "inactive_file", &inactive) == 0)
		row->working_set_bytes = usec_sub(row->current_bytes, inactive);
	return 0;
}

static int read_events(int dirfd, struct psb_survey_row *row)
{
	struct memory_events events;
	char text[EVENTS_TEXT_MAX];
	size_t size;
	int r = file_read(dirfd, "memory.events", text, sizeof(text), &size);

	if (r < 0)
		return is_shortage(r) ? r : 0;
	if (memory_events_parse(text, size, &events) < 0)
		return 0;
	row->has_events = 1;
	row->max_events = events.max;
	row->high_events = events.high;
	row->oom_events = events.oom;
	row->oom_kill_events = events.oom_kill;
	return 0;
}

static int read_pressure(int dirfd, struct psb_survey_row *row)
{
	struct psi psi;
	int fd = file_open(dirfd, "memory.pressure"), r;

	if (fd < 0)
		return is_shortage(fd) ? fd : 0;
	r = pressure_read(fd, &psi);
	close(fd);
	if (r < 0)
		return 0;
	row->has_pressure = 1;
	row->some_total_usec = psi.some.total_usec;
	row->full_total_usec = psi.full.total_usec;
	row->some_avg10_centi = psi.some.avg10_centi;
	row->full_avg10_centi = psi.full.avg10_centi;
	row->some_avg60_centi = psi.some.avg60_centi;
	return 0;
}

/* Is it still there? Asked last, so that what was read before is of a living cgroup. */
static bool is_alive(int dirfd)
{
	return faccessat(dirfd, "cgroup.procs", F_OK, 0) == 0;
}

static int tell(struct survey *s, int dirfd)
{
	struct psb_survey_row row = { .size = sizeof(row), .cgroup = s->path };
	int r = read_pressure(dirfd, &row);

	if (r == 0)
		r = read_use(dirfd, &row);
	if (r == 0)
		r = read_number(dirfd, "memory.max", &row.limit_bytes);
	if (r == 0)
		r = read_number(dirfd, "memory.high", &row.high_bytes);
	if (r == 0)
		r = read_events(dirfd, &row);
	if (r < 0)
		return r;
	if (is_alive(dirfd))
		s->fn(&row, s->userdata);
	return 0;
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* The directory of the path that is set. */
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

/* Append a name to the path of the parent. */
static bool set_path(struct survey *s, size_t length, const char *name)
{
	size_t add = strlen(name), slash = length > 1;

	if (length + slash + add >= sizeof(s->path))
		return false;
	if (slash)
		s->path[length] = '/';
	memcpy(s->path + length + slash, name, add + 1);
	return true;
}

/* Takes dirfd over. */
static int list_children(struct survey *s, int dirfd)
{
	size_t length = strlen(s->path);
	DIR *dir = fdopendir(dirfd);
	struct dirent *entry;
	struct node *node;
	int r = 0;

	if (!dir) {
		r = -errno;
		close(dirfd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 || !set_path(s, length, entry->d_name) ||
		    (!cgpattern_match(s->pattern, s->path) &&
		     !cgpattern_descend(s->pattern, s->path)))
			continue;
		node = malloc(sizeof(*node) + strlen(entry->d_name) + 1);
		if (!node) {
			r = -ENOMEM;
			break;
		}
		node->next = s->todo;
		node->parent_length = length;
		strcpy(node->name, entry->d_name);
		s->todo = node;
	}
	s->path[length] = '\0';
	closedir(dir);
	return r;
}

/* The cgroup of the path that is set. */
static int visit(struct survey *s)
{
	int dirfd = open_directory(s), r = 0;

	if (dirfd < 0) /* gone, or not readable */
		return is_shortage(dirfd) ? dirfd : 0;
	if (cgpattern_match(s->pattern, s->path))
		r = tell(s, dirfd);
	if (r == 0 && cgpattern_descend(s->pattern, s->path))
		return list_children(s, dirfd);
	close(dirfd);
	return r;
}

static int walk(struct survey *s, int dirfd)
{
	int r = list_children(s, dirfd);
	struct node *node;

	while ((node = s->todo) != NULL) {
		s->todo = node->next;
		if (r == 0 && set_path(s, node->parent_length, node->name))
			r = visit(s);
		free(node);
	}
	return r;
}

static int begin(struct survey *s, const char *path)
{
	int dirfd, r = 0;

	memcpy(s->path, path, strlen(path) + 1);
	dirfd = open_directory(s);
	if (dirfd < 0)
		return dirfd == -ENOTDIR || dirfd == -EXDEV ? -ENOENT : dirfd;
	/* the fixed part itself matches where two stars in the middle are no level */
	if (!s->pattern || cgpattern_match(s->pattern, s->path))
		r = tell(s, dirfd);
	if (r == 0 && s->pattern)
		return walk(s, dirfd);
	close(dirfd);
	return r;
}

int survey_cgroups(const struct cgroups *cgroups, const char *pattern, psb_survey_fn *fn,
		   void *userdata)
{
	_cleanup_(cgpattern_freep) struct cgpattern *stars = NULL;
	char path[CGPATH_MAX];
	struct survey *s;
	int r;

	if (strchr(pattern, '*'))
		r = cgpattern_new(pattern, cgroups->v2.point, &stars, NULL);
	else
		r = cgpath_normalise(pattern, cgroups->v2.point, path, NULL);
	if (r < 0)
		return r == -ENAMETOOLONG ? -EINVAL : r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->userdata = userdata;
	s->cgroups = cgroups;
	s->pattern = stars;
	r = begin(s, stars ? cgpattern_fixed(stars) : path);
	free(s);
	return r;
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
