/* SPDX-License-Identifier: MIT */
/*
 * ring.c - what psibridged's trace costs while a hundred cgroups stall
 *
 * Daemons watch the same hundred cgroups at the same time, so that what disturbs one disturbs all; they differ in Trace= alone. What one
 * without spends is what watching takes, and by how much two of the same differ is what the figure is worth. The thresholds are low for what a slow reader stalls, so that all cgroups are over early and
 * many over low. Each has a file of its own: pages that another group was charged for make no pressure.
 */
#include "daemon.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECONDS 60
#define CROWD 100
#define LIMIT_BYTES (3 * MIB)
#define FILE_BYTES (4 * MIB)
#define PACE_USEC 500000
#define BOUND_PERCENT 0.1

enum { NAME, CPU, MORE, KIB, MOST };
static const struct column columns[] = {
	[NAME] = { "Trace=", 0 },      [CPU] = { "CPU % of a core", 3 }, [MORE] = { "more", 3 },
	[KIB] = { "KiB a second", 1 }, [MOST] = { "KiB at most", 0 },
};

static struct daemon {
	const char *trace;
	uint64_t bound;
	struct bench_daemon daemon;
	uint64_t begun_nsec, most, first, last; /* CPU time; bytes of the files */
} daemons[] = { { .trace = "no" },
		{ .trace = "64M", .bound = 64 * MIB },
		{ .trace = "no" },
		{ .trace = "64M", .bound = 64 * MIB },
		{ .trace = "1M", .bound = MIB } };
enum { ROW_NO, ROW_64M, ROW_NO_AGAIN, ROW_64M_AGAIN, ROW_1M };

static const char *one(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "crowd/c%u", i);
	return name;
}

static void start(struct daemon *d)
{
	bench_daemon_start(&d->daemon, words("[Daemon]\nTrace=%s\n[Watch %s/*]\nEarly=some 1ms/2s\n"
					     "Low=some 4ms/2s\nCritical=full 1s/2s\n",
					     d->trace, lab_path(&lab, "crowd") + 1));
}

/* Of all its threads; it ends none but at its own end. */
static uint64_t cpu_nsec(const struct daemon *d)
{
	const char *tasks = words("/proc/%d/task", (int)d->daemon.pid);
	DIR *dir = opendir(tasks);
	struct dirent *entry;
	uint64_t sum = 0;
	char path[128];

	if (!dir)
		bench_die("psibridged with Trace=%s ended", d->trace);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", (int)d->daemon.pid,
			 entry->d_name);
		if (entry->d_name[0] != '.')
			sum += lab_number(path, "");
	}
	closedir(dir);
	return sum;
}

/* Removes the files, too, where `end`. */
static uint64_t trace_bytes(const struct daemon *d, bool end)
{
	DIR *dir = opendir(words("%s/trace", d->daemon.dir));
	struct dirent *entry;
	uint64_t sum = 0;
	struct stat st;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0) {
			sum += (uint64_t)st.st_size;
			if (end)
				unlinkat(dirfd(dir), entry->d_name, 0);
		}
	if (dir)
		closedir(dir);
	return sum;
}

static void stop(struct daemon *d)
{
	trace_bytes(d, true);
	bench_daemon_stop(&d->daemon);
}

static unsigned stalled(const uint64_t *before)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CROWD; i++)
		count += lab_psi(&lab, one(i)).some_usec > before[i];
	return count;
}

static unsigned measure(unsigned seconds)
{
	uint64_t before[CROWD];

	for (unsigned i = 0; i < CROWD; i++)
		before[i] = lab_psi(&lab, one(i)).some_usec;
	for (struct daemon *d = daemons; d < daemons + ELEMENTSOF(daemons); d++) {
		d->begun_nsec = cpu_nsec(d);
		d->first = trace_bytes(d, false);
	}
	for (unsigned second = 0; second < seconds; second++) {
		sleep_usec(USEC_PER_SEC);
		for (struct daemon *d = daemons; d < daemons + ELEMENTSOF(daemons); d++) {
			d->last = trace_bytes(d, false);
			d->most = MAX(d->most, d->last);
		}
	}
	for (unsigned row = 0; row < ELEMENTSOF(daemons); row++) {
		const struct daemon *d = &daemons[row];

		put(row, CPU, (double)(cpu_nsec(d) - d->begun_nsec) / 1e7 / seconds);
		put(row, KIB, d->bound > MIB ? (double)(d->last - d->first) / 1024 / seconds : NAN);
		put(row, MOST, (double)d->most / 1024);
	}
	for (unsigned row = 0; row < ELEMENTSOF(daemons); row++)
		put(row, MORE,
		    median(row, CPU) - (median(ROW_NO, CPU) + median(ROW_NO_AGAIN, CPU)) / 2);
	return stalled(before);
}

static void work(void)
{
	unsigned seconds = bench_number(0, SECONDS), count;
	struct lab_readers *readers[CROWD];
	int files[CROWD];
	double more;

	lab_make(&lab, "crowd", 0);
	lab_delegate(&lab, "crowd");
	table_begin(columns, "Ring: psibridged over %u cgroups that stall, %u s", CROWD, seconds);
	for (unsigned i = 0; i < CROWD; i++) {
		lab_make(&lab, one(i), LIMIT_BYTES);
		files[i] = data_new(FILE_BYTES);
		lab_data_evict(files[i]);
		readers[i] = neighbour_start(one(i), files[i], 1, PACE_USEC);
	}
	for (struct daemon *d = daemons; d < daemons + ELEMENTSOF(daemons); d++) {
		table_row("%s", d->trace);
		start(d);
	}
	sleep_usec(10 * USEC_PER_SEC); /* alarms, and the first looks */
	count = measure(seconds);
	for (struct daemon *d = daemons; d < daemons + ELEMENTSOF(daemons); d++)
		stop(d);
	for (unsigned i = 0; i < CROWD; i++) {
		lab_readers_free(readers[i]);
		close(files[i]);
	}
	lab_remove(&lab, "crowd");
	table_print(
		words("%u of %u stalled. Good is: less than 0.1 %% of a core more.", count, CROWD));
	for (const struct daemon *d = daemons; d < daemons + ELEMENTSOF(daemons); d++)
		bench_promise(d->most <= d->bound && (d->most > 0) == (d->bound > 0),
			      "Trace=%s keeps at most that", d->trace);
	more = (median(ROW_64M, MORE) + median(ROW_64M_AGAIN, MORE)) / 2;
	bench_target(
		more < BOUND_PERCENT,
		"the trace costs %.3f %% of a core (under %.1f %%); two without differ by %.3f %%",
		more, BOUND_PERCENT, fabs(median(ROW_NO, CPU) - median(ROW_NO_AGAIN, CPU)));
}

const struct bench bench_ring = { "ring", "[SECONDS]", true, work };
