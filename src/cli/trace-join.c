/* SPDX-License-Identifier: MIT */
/*
 * trace-join.c - one counter of a cgroup after another --> sorted by cgroup and time, both counters together --> by time
 *
 * Prometheus keeps `some` and `full` as series of their own, and writes them one behind the other. A time at which there is only `full` is
 * left out, and where only `some` is `full` is what it was.
 */
#include "cli/trace-join.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "cli/grow.h"

#define POINTS_MAX 8000000 /* 380 MB; a day of 700 cgroups, every 15 s */

struct cgroup {
	struct scan name;
	struct average average;
	char text[];
};

struct trace_point {
	const struct cgroup *cgroup;
	uint64_t time_usec, some_usec, full_usec;
	bool has_some, has_full;
	unsigned line;
};

static int by_name(const void *a, const void *b)
{
	const struct scan *x = a, *y = b; /* the first member of each */
	int r = memcmp(x->p, y->p, MIN(x->left, y->left));

	return r ? r : x->left < y->left ? -1 : x->left > y->left;
}

static struct cgroup *find(struct trace_join *j, struct scan name)
{
	struct cgroup *c, **found = tfind(&name, &j->cgroups, by_name);

	if (found)
		return *found;
	c = calloc(1, sizeof(*c) + name.left + 1);
	if (!c)
		return NULL;
	memcpy(c->text, name.p, name.left);
	c->name = (struct scan){ c->text, name.left };
	if (tsearch(c, &j->cgroups, by_name))
		return c;
	free(c);
	return NULL;
}

static int keep(struct trace_join *j, const struct trace_point *point)
{
	void *points;

	if (j->count == POINTS_MAX)
		return -E2BIG;
	points = grow(j->points, j->count, sizeof(*point));
	if (!points)
		return -ENOMEM;
	j->points = points;
	j->points[j->count++] = *point;
	return 0;
}

int trace_join_add(struct trace_join *j, struct trace_sample *s, unsigned line)
{
	struct cgroup *cgroup;

	if (s->form == TRACE_TOTALS)
		return 1;
	cgroup = find(j, s->cgroup);
	if (!cgroup)
		return -ENOMEM;
	if (s->form == TRACE_AVG10)
		return average_add(&cgroup->average, &j->worth, s);
	return keep(j, &(struct trace_point){
			       .cgroup = cgroup,
			       .time_usec = s->time_usec,
			       .some_usec = s->some_usec,
			       .full_usec = s->full_usec,
			       .has_some = s->form == TRACE_SOME_ALONE,
			       .has_full = s->form == TRACE_FULL_ALONE,
			       .line = line,
		       });
}

static int by_time(const void *a, const void *b)
{
	const struct trace_point *x = a, *y = b;

	return x->time_usec < y->time_usec ? -1 : x->time_usec > y->time_usec;
}

static int by_cgroup(const void *a, const void *b)
{
	const struct trace_point *x = a, *y = b;

	return x->cgroup == y->cgroup ? by_time(a, b) : x->cgroup < y->cgroup ? -1 : 1;
}

/* Of points that are sorted by cgroup. Returns: how many there are then. */
static size_t join_pairs(struct trace_point *points, size_t count)
{
	struct trace_point *to = points;

	for (size_t i = 0; i < count; i++) {
		struct trace_point p = points[i], *before = to > points ? to - 1 : NULL;

		if (before && before->cgroup != p.cgroup)
			before = NULL;
		if (before && before->time_usec == p.time_usec) {
			if (p.has_some)
				before->some_usec = p.some_usec;
			if (p.has_full)
				before->full_usec = p.full_usec;
			before->has_some |= p.has_some;
			continue;
		}
		if (before && !before->has_some)
			to--; /* `full` by itself */
		if (!p.has_full)
			p.full_usec = before ? before->full_usec : 0;
		*to++ = p;
	}
	return (size_t)(to - points);
}

void trace_join_all(struct trace_join *j, void (*fn)(const struct trace_sample *, unsigned, void *),
		    void *userdata, uint64_t *ret_began_usec)
{
	if (j->count == 0)
		return;
	qsort(j->points, j->count, sizeof(*j->points), by_cgroup);
	j->count = join_pairs(j->points, j->count);
	qsort(j->points, j->count, sizeof(*j->points), by_time);
	*ret_began_usec = j->points[0].time_usec;
	for (size_t i = 0; i < j->count; i++) {
		const struct trace_point *p = &j->points[i];
		const struct trace_sample s = {
			.time_usec = p->time_usec - j->points[0].time_usec,
			.has_psi = true,
			.some_usec = p->some_usec,
			.full_usec = p->full_usec,
			.cgroup = p->cgroup->name,
		};

		if (p->has_some)
			fn(&s, p->line, userdata);
	}
}

void trace_join_free(struct trace_join *j)
{
	tdestroy(j->cgroups, free);
	free(j->points);
}
