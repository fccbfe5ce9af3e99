/* SPDX-License-Identifier: MIT */
/*
 * survey.c - psb_survey(): the numbers of every cgroup of a pattern, once
 *
 * A removed cgroup's open directory still opens, and its files answer ENOENT or ENODEV; a cgroup without PSI
 * (cgroup.pressure is 0) has no readable memory.pressure either. What tells them apart is cgroup.procs, which every living
 * cgroup has (of a threaded one only reading it is refused).
 *
 * Only v2 files are read: where the memory controller is on v1 memory is unknown, pressure is not. memory.stat is the
 * expensive one, the kernel sums it up over all CPUs on each read; the root has none of memory.current, .max, .high, .events.
 */
#include "library/survey.h"

#include "core/keyed.h"
#include "core/psi.h"
#include "kernel/cgwalk.h"
#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* inactive_file is among the first lines of memory.stat */
#define TEXT_MAX 2048

struct survey {
	psb_survey_fn *fn;
	void *userdata;
	int error; /* of the cgroup at hand: -EMFILE, -ENFILE, -ENOMEM: the walk ends */
	/* the file that was read last */
	char text[TEXT_MAX];
	size_t size;
};

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

static int tell(int dirfd, const char *path, void *userdata)
{
	struct survey *s = userdata;
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
	return s->error;
}

int survey_cgroups(const struct cgroups *cgroups, const char *pattern, psb_survey_fn *fn,
		   void *userdata)
{
	struct survey s = { .fn = fn, .userdata = userdata };

	return cgwalk(cgroups, pattern, tell, &s);
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
