/* SPDX-License-Identifier: MIT */
/*
 * cost.c - CPU time of one watch, by what its cgroup does; and of a forecast where nothing grows
 *
 * The pace of sampling follows the stall rate: fast where a little more would change the verdict, slow elsewhere.
 * So the worst a workload can do is to stall all the time just under a threshold. That is made here: the rate of a real load is
 * measured, and the thresholds are set around it.
 *
 *  idle            nothing happens
 *  far under       stalls at a fiftieth of early's rate, or what the load gives
 *  just under low  early is passed, low is 30 % away: Neutral, and nearly Low
 *  over low        Low all the time; critical is 30 % away
 *  over critical   Low, critical, all the time
 *
 * A forecast is measured when what it does not know at first, which may be fast, is long known. The thousand cgroups hold pages of a
 * file without a name, which stay charged to them, in place of a thousand processes: one in memory, or one on a disk, whose pages are
 * page cache. Full of that, use says nothing.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 6
#define WINDOW_USEC (2 * USEC_PER_SEC)
#define MEASURED_USEC 5e6
#define BOUND_PERCENT 0.1
#define LIMIT_BYTES (8 * MIB)

enum { NAME, SOME, LEVEL, SAMPLES, CPU };
static const struct column columns[] = {
	[NAME] = { "what the cgroup does", 0 },
	[SOME] = { "it stalls %", 2 },
	[LEVEL] = { "level", 0 },
	[SAMPLES] = { "samples/s", 1 },
	[CPU] = { "CPU % of a core", 4 },
};

/* Thresholds in parts of what it stalls; early's is the lesser of two. 0: the default. */
static const struct load {
	const char *name;
	uint64_t pace_usec; /* of the reader */
	double early_some, early_full, low_some, critical_some, critical_full;
} loads[] = {
	{ .name = "idle" },
	{ "far under", 40000, .early_some = 50, .low_some = 51, .critical_some = 51 },
	{ "just under low", 5000, 0.5, 1, 1.3, 0, 1.3 },
	{ "over low", 5000, 0.25, 1, 0.5, 0, 1.3 },
	{ "over critical", 5000, 0.25, 0.5, 0.5, 0, 0.5 },
};

static double some, full; /* what it stalls, in parts of the time, before it is watched */

static void told(_unused_ const struct psb_notification *n, _unused_ void *userdata)
{
}

/* "some N WINDOW", of a rate of stalling in parts of a window; at least 1 us, at most all of it. */
static const char *threshold(char text[48], const char *kind, double rate)
{
	snprintf(text, 48, "%s %u %u", kind,
		 (unsigned)CLAMP(rate * (double)WINDOW_USEC, 1.0, (double)WINDOW_USEC),
		 (unsigned)WINDOW_USEC);
	return text;
}

static void measure(unsigned row)
{
	static const char *const levels[] = {
		[PSB_LOW] = "Low", [PSB_NEUTRAL] = "Neutral", [PSB_HIGH] = "High"
	};
	const struct load *load = &loads[row];
	unsigned seconds = bench_number(0, SECONDS);
	char early[48], low[48], critical[48];
	struct psb_watch_options options = { .cgroup = lab_path(&lab, "load") };
	struct watched watched;
	uint64_t stall, samples;
	int r;

	if (load->low_some > 0) {
		double least = load->early_full > 0 ? load->early_full * full : 1;

		options.early = threshold(early, "some", MIN(load->early_some * some, least));
		options.low = threshold(low, "some", load->low_some * some);
		options.critical = threshold(
			critical, "full", load->critical_some * some + load->critical_full * full);
	}
	r = watch_start(&watched, PSB_BACKEND_AUTO, options, told, NULL);
	if (r < 0)
		bench_die("%s: %s: %s", load->name, watched.why, strerror(-r));
	/* an alarm takes up to 2 s to come */
	sleep_usec(3 * USEC_PER_SEC);
	samples = watch_stats(&watched).samples;
	stall = lab_psi(&lab, "load").some_usec;
	cpu_begin();
	sleep_usec(seconds * USEC_PER_SEC);
	put(row, CPU, cpu_percent());
	put(row, SOME, (double)(lab_psi(&lab, "load").some_usec - stall) / 1e4 / seconds);
	put(row, SAMPLES, (double)(watch_stats(&watched).samples - samples) / seconds);
	put_text(row, LEVEL, "%s", levels[psb_watch_available(watched.watch, NULL)]);
}

static void measure_stalls(void)
{
	struct lab_psi before, after;

	sleep_usec(2 * USEC_PER_SEC); /* the limit is reached */
	before = lab_psi(&lab, "load");
	sleep_usec((uint64_t)MEASURED_USEC);
	after = lab_psi(&lab, "load");
	some = (double)(after.some_usec - before.some_usec) / MEASURED_USEC;
	full = (double)(after.full_usec - before.full_usec) / MEASURED_USEC;
}

/* ---- a forecast ----------------------------------------------------------------------------------- */

#define SETTLE_USEC (60 * USEC_PER_SEC)
#define FORECAST_SECONDS 30
#define CROWD 1000
#define HELD_BYTES (MIB / 2)

enum { WHAT, WAKEUPS, FORECAST_CPU, KIB };
static const struct column forecast_columns[] = {
	[WHAT] = { "Forecast=2s on", 0 },
	[WAKEUPS] = { "wake-ups/s", 2 },
	[FORECAST_CPU] = { "CPU % of a core", 4 },
	[KIB] = { "KiB", 0 },
};

static double wakeups(void)
{
	struct rusage all, own;

	getrusage(RUSAGE_SELF, &all);
	getrusage(RUSAGE_THREAD, &own);
	return (double)(all.ru_nvcsw - own.ru_nvcsw);
}

static void measure_forecast(unsigned row)
{
	struct psb_watch_options options = { .forecast_usec = 2 * USEC_PER_SEC };
	double before, kib = (double)lab_proc_number(getpid(), "status", "RssAnon:");
	struct watched watched;
	char pattern[128];
	int r;

	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "crowd"));
	if (row < 2)
		options.cgroup = lab_path(&lab, "one");
	else
		options.pattern = pattern;
	r = watch_start(&watched, PSB_BACKEND_AUTO, options, told, NULL);
	if (r < 0)
		bench_die("%s: %s: %s", row_name(row), watched.why, strerror(-r));
	sleep_usec(SETTLE_USEC);
	cpu_begin();
	before = wakeups();
	sleep_usec(FORECAST_SECONDS * USEC_PER_SEC);
	put(row, WAKEUPS, (wakeups() - before) / FORECAST_SECONDS);
	put(row, FORECAST_CPU, cpu_percent());
	put(row, KIB, (double)lab_proc_number(getpid(), "status", "RssAnon:") - kib);
	if (watch_stats(&watched).low > 0)
		row_fails(row, "it told Low");
}

static const char *one_of_crowd(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "crowd/c%u", i);
	return name;
}

/* Writing, pages of a file in memory; reading, page cache. */
static void hold(int file, unsigned i, bool reads)
{
	static char page[64 << 10];
	pid_t pid = lab_fork(&lab, one_of_crowd(i));
	off_t start = (off_t)(i * HELD_BYTES);

	if (pid < 0)
		bench_die("%s: %s", one_of_crowd(i), strerror(-pid));
	for (off_t at = 0; pid == 0 && at < (off_t)HELD_BYTES; at += (off_t)sizeof(page))
		(void)!(reads ? pread(file, page, sizeof(page), start + at)
			      : pwrite(file, page, sizeof(page), start + at));
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static void make_crowd(int file, bool reads)
{
	lab_make(&lab, "crowd", 0);
	lab_delegate(&lab, "crowd");
	for (unsigned i = 0; i < CROWD; i++) {
		lab_make(&lab, one_of_crowd(i), 0);
		hold(file, i, reads);
	}
}

/* Of holes, which nothing of the disk is read for. Read ahead, a folio of 2 MiB would be one cgroup's. */
static int large_file(void)
{
	int file = open(scratch("cache"), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (file < 0 || ftruncate(file, (off_t)(CROWD * HELD_BYTES)) < 0)
		bench_die("%s: %s", scratch("cache"), strerror(errno));
	unlink(scratch("cache"));
	posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
	return file;
}

/* So that `percent` of it is in use. */
static void limit_crowd(uint64_t percent)
{
	for (unsigned i = 0; i < CROWD; i++) {
		const char *name = one_of_crowd(i);
		uint64_t used = lab_number(lab.v1 ? lab_v1_file(&lab, name, "memory.usage_in_bytes")
						  : lab_file(&lab, name, "memory.current"),
					   "");

		lab_write(lab.v1 ? lab_v1_file(&lab, name, "memory.limit_in_bytes")
				 : lab_file(&lab, name, "memory.max"),
			  words("%llu", (unsigned long long)(used * 100 / percent)));
	}
}

static void measure_one(uint64_t percent, unsigned row)
{
	uint64_t bytes = 64 * MIB * percent / 100;
	pid_t pid;

	lab_make(&lab, "one", 64 * MIB);
	pid = lab_hog(&lab, "one", bytes);
	if (!LAB_WAIT(10000, lab_proc_number(pid, "status", "RssAnon:") >= bytes / 1024))
		bench_die("%llu bytes did not fit", (unsigned long long)bytes);
	in_child(measure_forecast, row);
	lab_kill(pid);
	lab_remove(&lab, "one");
}

static void work_forecast(void)
{
	int file = memfd_create("held", MFD_CLOEXEC), cache = large_file();
	double worst = 0;

	table_begin(forecast_columns, "Cost: a forecast, where nothing grows");
	measure_one(40, table_row("one cgroup, 40 %% of its limit in use"));
	measure_one(90, table_row("one cgroup, 90 %%"));
	make_crowd(file, false);
	limit_crowd(40);
	in_child(measure_forecast, table_row("a pattern over %u cgroups, 40 %%", CROWD));
	limit_crowd(90);
	in_child(measure_forecast, table_row("a pattern over %u cgroups, 90 %%", CROWD));
	lab_remove(&lab, "crowd");
	close(file);
	make_crowd(cache, true);
	limit_crowd(100);
	in_child(measure_forecast,
		 table_row("a pattern over %u cgroups, full of page cache", CROWD));
	lab_remove(&lab, "crowd");
	close(cache);
	for (unsigned row = 0; row < 5; row++)
		worst = fmax(worst, median(row, FORECAST_CPU));
	table_print("KiB: what the watch added. Good is: less than 0.1 % of a core.");
	bench_target(worst < BOUND_PERCENT,
		     "a forecast: %.4f %% of a core in the worst case (under %.1f %%)", worst,
		     BOUND_PERCENT);
}

static void work_stalls(void)
{
	int data = data_new(2 * LIMIT_BYTES);
	double worst = 0;

	table_begin(columns, "Cost: one watch");
	for (const struct load *load = loads; load < loads + ELEMENTSOF(loads); load++) {
		struct lab_readers *readers = NULL;
		unsigned row = table_row("%s", load->name);

		lab_data_evict(data);
		lab_make(&lab, "load", LIMIT_BYTES);
		if (row > 0) {
			readers = neighbour_start("load", data, 1, load->pace_usec);
			measure_stalls();
		}
		if (row > 0 && some == 0)
			row_fails(row, "the cgroup would not stall");
		else
			in_child(measure, row);
		lab_readers_free(readers);
		lab_remove(&lab, "load");
		worst = fmax(worst, median(row, CPU));
	}
	table_print(
		"Good is: less than 0.1 % of a core, whatever the cgroup does, and nothing while it is idle.");
	bench_target(worst < BOUND_PERCENT,
		     "one watch: %.4f %% of a core in the worst case (under %.1f %%)", worst,
		     BOUND_PERCENT);
}

static void work(void)
{
	work_stalls();
	work_forecast();
}

const struct bench bench_cost = { "cost", "[SECONDS]", true, work };
