/* SPDX-License-Identifier: MIT */
/*
 * trace-series.c - files to series
 */
#include "cli/trace-series.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "cli/grow.h"
#include "cli/trace-file.h"
#include "core/nearest.h"

#define SAMPLES_MAX ((size_t)8 << 20) /* 0.7 GB; a week of one line every 100 ms has 6 millions */

/* What a series is known by. */
struct key {
	unsigned clock;
	struct scan cgroup;
	struct trace_series *series;
};

static int compare(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	size_t common = MIN(x->cgroup.left, y->cgroup.left);
	int order = memcmp(x->cgroup.p, y->cgroup.p, common);

	if (x->clock != y->clock)
		return x->clock < y->clock ? -1 : 1;
	if (order != 0 || x->cgroup.left == y->cgroup.left)
		return order;
	return x->cgroup.left < y->cgroup.left ? -1 : 1;
}

static struct trace_series *make(struct trace_set *set, struct scan cgroup)
{
	struct trace_series *s = calloc(1, sizeof(*s) + cgroup.left + 1);
	struct key *key = malloc(sizeof(*key));

	if (!s || !key)
		goto fail;
	memcpy(s->cgroup, cgroup.p, cgroup.left);
	s->file = set->file;
	s->clock = set->clock;
	s->began_usec = set->began_usec;
	s->format = set->reader.format;
	*key = (struct key){ set->clock, { s->cgroup, cgroup.left }, s };
	if (!tsearch(key, &set->known, compare))
		goto fail;
	*set->end = s;
	set->end = &s->next;
	set->count++;
	return s;
fail:
	free(key);
	free(s);
	return NULL;
}

static struct trace_series *find(struct trace_set *set, struct scan cgroup)
{
	const struct key key = { set->clock, cgroup, NULL };
	struct key **found = tfind(&key, &set->known, compare);

	return found ? (*found)->series : make(set, cgroup);
}

static bool append(struct trace_set *set, struct trace_series *s, const struct trace_sample *sample)
{
	void *samples = grow(s->samples, s->count, sizeof(*s->samples));

	if (!samples)
		return false;
	s->samples = samples;
	s->samples[s->count++] = *sample;
	set->samples++;
	return true;
}

/* On which clock is the file whose first sample this is? */
static void begin_file(struct trace_set *set, uint64_t time_usec)
{
	uint64_t began = set->reader.began_usec;

	if (set->began_usec > 0 && began >= set->began_usec + set->last_usec) {
		set->offset_usec = began - set->began_usec;
		return;
	}
	set->usec += set->last_usec - set->first_usec;
	set->clock++;
	set->began_usec = began;
	set->offset_usec = 0;
	set->first_usec = set->last_usec = time_usec;
}

static const char *take(const struct trace_sample *sample, void *userdata)
{
	struct trace_set *set = userdata;
	struct trace_sample at = *sample;
	struct trace_series *s;

	if (set->only && !scan_is(sample->cgroup, set->only))
		return NULL;
	if (set->offset_usec == UINT64_MAX)
		begin_file(set, sample->time_usec);
	at.time_usec += set->offset_usec;
	at.cgroup = (struct scan){ NULL, 0 };
	s = set->failed ? NULL : find(set, sample->cgroup);
	if (s && s->count > 0 && at.time_usec < s->samples[s->count - 1].time_usec)
		return "its time is before that of the cgroup's line before; left out";
	if (!s || set->samples == SAMPLES_MAX || !append(set, s, &at)) {
		set->failed = true;
		return set->samples == SAMPLES_MAX
			       ? "too long: this line and all behind it are left out"
			       : "no memory; all that follows is left out";
	}
	set->last_usec = MAX(set->last_usec, at.time_usec);
	return NULL;
}

static int read_file(struct trace_set *set, const char *verb, const char *path)
{
	set->offset_usec = UINT64_MAX;
	return trace_file_read(verb, path, take, set, &set->reader);
}

static int is_trace(const struct dirent *entry)
{
	return scan_ends_with(scan_string(entry->d_name), ".trace");
}

/* psibridged has just begun it. */
static bool is_empty(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_size == 0;
}

/* All of a directory; else the file. */
static int read_path(struct trace_set *set, const char *verb, const char *path)
{
	struct dirent **names = NULL;
	char file[PATH_MAX];
	int count = strcmp(path, "-") == 0 ? -1 : scandir(path, &names, is_trace, alphasort);
	int result = 0, read = 0, r;

	set->file = path;
	if (count < 0)
		return read_file(set, verb, path);
	for (int i = 0; i < count; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		free(names[i]);
		if (is_empty(file))
			continue;
		read++;
		r = read_file(set, verb, file);
		result = result ? result : r;
	}
	free(names);
	if (read > 0)
		return result;
	complain(verb, "%s: there is no *.trace in it with anything in it", path);
	return -ENOENT;
}

/* What had no more lines did not change until its clock's end. */
static void end_series(struct trace_set *set)
{
	unsigned clock = 0;
	uint64_t last = 0;

	for (struct trace_series *s = set->first; s; s = s->next) {
		struct trace_sample sample = s->samples[s->count - 1];

		if (s->clock != clock) {
			clock = s->clock;
			last = 0;
			for (struct trace_series *t = s; t; t = t->next)
				if (t->clock == clock)
					last = MAX(last, t->samples[t->count - 1].time_usec);
		}
		sample.time_usec = last;
		sample.told = 0;
		sample.event = EVENT_NONE;
		if (!append(set, s, &sample))
			set->failed = true;
	}
}

/* What was meant, where people know a service by its name alone: the set has been read for nothing, and is read again. */
static void complain_of_none(const char *verb, const char *const *paths, const char *only)
{
	char hint[(CGNAME_FOUND_MAX + 1) * CGPATH_MAX];
	struct trace_set all = { .count = 0 };
	struct cgname name;
	bool again = true;

	cgname_init(&name, only);
	for (const char *const *path = paths; *path; path++)
		again = again && strcmp(*path, "-") != 0; /* which has been read */
	if (again)
		(void)trace_set_read(verb, paths, NULL, &all);
	for (const struct trace_series *s = all.first; s; s = s->next)
		cgname_look(&name, s->cgroup);
	trace_set_free(&all);
	cgname_hint(&name, hint, sizeof(hint));
	complain(verb, "there is no line about %s%s%s", only, *hint ? "; " : "", hint);
}

int trace_set_read(const char *verb, const char *const *paths, const char *only,
		   struct trace_set *ret)
{
	const char *const *path;
	int result = 0, r;

	*ret = (struct trace_set){ .only = only };
	ret->end = &ret->first;
	for (path = paths; *path; path++) {
		r = read_path(ret, verb, *path);
		result = result ? result : r;
	}
	ret->usec += ret->last_usec - ret->first_usec;
	if (result == 0 && !ret->first) {
		if (only)
			complain_of_none(verb, paths, only);
		else
			complain(verb, "there is no line");
		result = -ENOENT;
	}
	end_series(ret);
	return result == 0 && ret->failed ? -ENOMEM : result;
}

void trace_set_free(struct trace_set *set)
{
	for (struct trace_series *s = set->first, *next; s; s = next) {
		next = s->next;
		free(s->samples);
		free(s);
	}
	tdestroy(set->known, free);
	*set = (struct trace_set){ .count = 0 };
}
