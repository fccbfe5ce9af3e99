/* SPDX-License-Identifier: MIT */
/*
 * ahead.c - see ahead.h
 *
 * The list is in the order in which a walk meets the cgroups: what it has met stands before `cursor`, so the next one is nearly
 * always the first behind it, and what is still behind it at the end is gone, or has no limit any more.
 */
#include "monitor/ahead.h"

#include "core/forecast.h"
#include "kernel/file.h"
#include "kernel/loop.h"
#include "kernel/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WALK_FACTOR 4000
#define WALK_MIN_USEC (10 * USEC_PER_SEC)
#define WALK_MAX_USEC (600 * USEC_PER_SEC)
#define SHARE 8 /* that much of a limit, and its cgroup can give back */

struct limit {
	struct limit *next;
	uint64_t inode, bytes;
	uint64_t due_usec;     /* USEC_NEVER: it could not be read; after the next walk */
	int fds[MEMORY_FILES]; /* -1: it is opened for each look */
	struct forecast forecast;
	char path[];
};

struct ahead {
	const struct cgroups *cgroups;
	const struct cgpattern *pattern;
	struct tree *tree;
	uint64_t forecast_usec, machine_bytes, walk_usec;
	struct limit *limits, **cursor;
	bool cut_off; /* something was lacking in this walk */
	/* while one is told */
	const struct limit *near;
	uint64_t left_usec;
	unsigned told;
	ahead_fn *fn;
	void *userdata;
};

int ahead_new(const struct cgroups *cgroups, const struct cgpattern *pattern, struct tree *tree,
	      uint64_t forecast_usec, struct ahead **ret)
{
	struct ahead *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->cgroups = cgroups;
	a->pattern = pattern;
	a->tree = tree;
	a->forecast_usec = forecast_usec;
	a->machine_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	*ret = a;
	return 0;
}

static void free_from(struct limit **first)
{
	struct limit *l;

	while ((l = *first) != NULL) {
		*first = l->next;
		for (unsigned i = 0; i < MEMORY_FILES; i++)
			fd_close(&l->fds[i]);
		free(l);
	}
}

struct ahead *ahead_free(struct ahead *a)
{
	if (a)
		free_from(&a->limits);
	free(a);
	return NULL;
}

/* ---- finding them ----------------------------------------------------------------------------- */

static struct limit *limit_new(struct ahead *a, const char *path, uint64_t inode)
{
	size_t size = strlen(path) + 1;
	struct limit *l = calloc(1, sizeof(*l) + size);

	if (!l) {
		a->cut_off = true;
		return NULL;
	}
	l->inode = inode;
	memset(l->fds, -1, sizeof(l->fds));
	memcpy(l->path, path, size);
	return l;
}

static bool note_limit(void *userdata, const char *path, uint64_t inode)
{
	struct ahead *a = userdata;
	struct limit **p = a->cursor, *l;
	uint64_t bytes = 0;

	if (memory_limit_of(a->cgroups, path, &bytes) < 0)
		a->cut_off = true;
	if (bytes == 0 || bytes >= a->machine_bytes)
		return false;
	while ((l = *p) != NULL && l->inode != inode)
		p = &l->next;
	if (l)
		*p = l->next;
	else
		l = limit_new(a, path, inode);
	if (!l)
		return false;
	l->bytes = bytes;
	if (l->due_usec == USEC_NEVER)
		l->due_usec = 0;
	l->next = *a->cursor;
	*a->cursor = l;
	a->cursor = &l->next;
	return false;
}

/* Keeps what it knows where it could not look. */
static void find_limits(struct ahead *a, uint64_t now)
{
	const char *fixed = cgpattern_fixed(a->pattern);
	uint64_t inode, started = now_usec();
	int r = cgroup_inode(a->cgroups, fixed, &inode);

	a->cursor = &a->limits;
	a->cut_off = false;
	if (r == 0) {
		note_limit(a, fixed, inode);
		r = tree_list(a->tree, fixed, note_limit, NULL, a);
	}
	if (!is_shortage(r) && !a->cut_off)
		free_from(a->cursor);
	a->walk_usec = now +
		       CLAMP(WALK_FACTOR * (now_usec() - started), WALK_MIN_USEC, WALK_MAX_USEC);
}

/* ---- looking at one --------------------------------------------------------------------------- */

/* Half of the descriptors are for others. */
static bool are_plenty(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd < limit.rlim_cur / 2;
}

static int read_file(struct ahead *a, struct limit *l, enum memory_file file, uint64_t *ret)
{
	int *kept = &l->fds[file], r;
	int fd = *kept >= 0 ? *kept : memory_file_open(a->cgroups, l->path, file);

	if (fd < 0)
		return fd;
	r = file == MEMORY_USE ? memory_use_read(fd, ret) : memory_hits_read(a->cgroups, fd, ret);
	*kept = r == 0 && (*kept >= 0 || are_plenty(fd)) ? fd : -1;
	if (*kept < 0)
		close(fd);
	return r;
}

/* Where a v1 limit of memory and swap together is reached, that alone counts it. */
static uint64_t hits_of(struct ahead *a, struct limit *l)
{
	uint64_t hits, with_swap = 0;
	int r;

	if (read_file(a, l, MEMORY_HITS, &hits) < 0)
		return FORECAST_HITS_UNKNOWN;
	r = a->cgroups->has_v1 ? read_file(a, l, MEMORY_V1_SWAP_HITS, &with_swap) : 0;
	return r < 0 && r != -ENOENT ? FORECAST_HITS_UNKNOWN : hits + with_swap;
}

/* The next look, not later than it is due: on a grid as wide as the greatest power of two that is not more than the time until then. */
static uint64_t together(uint64_t due, uint64_t now)
{
	return due - due % (UINT64_C(1) << (63 - __builtin_clzll(MAX(usec_sub(due, now), 1u))));
}

/* Returns: the time until it is reached, or USEC_NEVER. */
static uint64_t look(struct ahead *a, struct limit *l, uint64_t now)
{
	uint64_t used, left, hits = FORECAST_HITS_UNKNOWN, bytes = l->bytes;
	int r = read_file(a, l, MEMORY_USE, &used);

	if (r == 0 && forecast_is_near(used, bytes))
		hits = hits_of(a, l);
	if (r == 0 && !forecast_is_enough(&l->forecast, &used, bytes, hits))
		r = memory_kept_of(a->cgroups, l->path, &used);
	l->due_usec = USEC_NEVER;
	if (r < 0)
		return USEC_NEVER;
	left = forecast_look(&l->forecast, used, bytes, now);
	if (left <= a->forecast_usec)
		(void)memory_limit_of(a->cgroups, l->path, &l->bytes);
	if (l->bytes == UINT64_MAX) { /* it has none any more, or is gone */
		l->bytes = bytes;
		return USEC_NEVER;
	}
	l->due_usec = together(forecast_next(&l->forecast), now);
	return l->bytes == bytes ? left : USEC_NEVER;
}

/* ---- telling ---------------------------------------------------------------------------------- */

static bool uses_much(void *userdata, const char *path, _unused_ uint64_t inode)
{
	const struct ahead *a = userdata;
	int fd = memory_file_open(a->cgroups, path, MEMORY_USE);
	uint64_t used;
	bool much;

	if (fd < 0)
		return false;
	much = memory_use_read(fd, &used) == 0 && used >= a->near->bytes / SHARE;
	close(fd);
	return much;
}

static void tell(void *userdata, const struct tree_finding *finding)
{
	struct ahead *a = userdata;

	a->told++;
	a->fn(a->userdata, finding->path, strlen(a->near->path), a->left_usec);
}

static void tell_of(struct ahead *a, const struct limit *l)
{
	const struct tree_finding itself = { .path = l->path };

	a->near = l;
	a->told = 0;
	(void)tree_list(a->tree, l->path, uses_much, tell, a);
	if (a->told == 0 && cgpattern_match(a->pattern, l->path))
		tell(a, &itself);
}

uint64_t ahead_sweep(struct ahead *a, uint64_t now, ahead_fn *fn, void *userdata)
{
	uint64_t next;

	a->fn = fn;
	a->userdata = userdata;
	if (now >= a->walk_usec)
		find_limits(a, now);
	next = a->walk_usec;
	for (struct limit *l = a->limits; l; l = l->next) {
		if (now >= l->due_usec) {
			a->left_usec = look(a, l, now);
			if (a->left_usec <= a->forecast_usec)
				tell_of(a, l);
		}
		next = MIN(next, l->due_usec);
	}
	return next;
}

void ahead_told(struct ahead *a, const char *path, bool foretold)
{
	for (struct limit *l = a->limits; l; l = l->next) {
		size_t length = strlen(l->path);

		if (strncmp(path, l->path, length) != 0 || (path[length] && path[length] != '/'))
			continue;
		if (foretold)
			forecast_told(&l->forecast);
		else
			forecast_stalled(&l->forecast);
	}
}
