/* SPDX-License-Identifier: MIT */
/*
 * cost.c - CPU time of one watch, by what its cgroup does
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
 */
#include "bench.h"

#include <string.h>

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

static void work(void)
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

const struct bench bench_cost = { "cost", "[SECONDS]", true, work };
