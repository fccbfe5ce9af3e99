/* SPDX-License-Identifier: MIT */
/*
 * bench-cost.c - CPU time of one watch, by what its cgroup does
 *
 * The pace of sampling follows the stall rate: fast where a little more would change the verdict, slow elsewhere.
 * So the worst a workload can do is to stall all the time just under a threshold. That is made here: the rate of a real load is
 * measured, and the thresholds are set around it.
 *
 *  idle            nothing happens
 *  far under       stalls at a fiftieth of early's rate, or what the load gives
 *  just under low  early is passed, low is 15 % away: Neutral, and nearly Low
 *  over low        Low all the time; critical is 15 % away
 *  over critical   Low, critical, all the time
 *  clean cache     a container full of page cache that nobody needs: its limit is hit all day (memory.events
 *                  rings `max`), and nobody suffers. Needs memory.events, that is, the memory controller on cgroup2
 *
 * CPU time is that of the watch's process but its main thread, which sleeps; the load is another process.
 */
#include "stalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_BYTES (8u << 20)
#define WINDOW_USEC (2 * USEC_PER_SEC)
#define BOUND_PERCENT 0.1

enum load { IDLE, FAR_UNDER, UNDER_LOW, OVER_LOW, OVER_CRITICAL, CLEAN_CACHE };
#define LOADS 6

static const char *const load_names[] = {
	[IDLE] = "idle",	 [FAR_UNDER] = "far under",	    [UNDER_LOW] = "just under low",
	[OVER_LOW] = "over low", [OVER_CRITICAL] = "over critical", [CLEAN_CACHE] = "clean cache",
};

struct result {
	enum load load;
	char name[16];	   /* of the group */
	double some, full; /* what it stalls, in parts of the time, before it is watched */
	double percent, samples, alarms, told; /* a second */
	double some_percent, rings;	       /* what the load did */
	int level, error;
	char why[160];
};

static unsigned seconds = 6;

static void told(_unused_ const struct psb_notification *n, _unused_ void *userdata)
{
}

/* "some N/2s", of a rate of stalling in parts of a window; at least 1 us, at most all of it. */
static void threshold(char *ret, size_t size, const char *kind, double rate)
{
	double usec = CLAMP(rate, 1e-6, 1.0) * (double)WINDOW_USEC;

	snprintf(ret, size, "%s %u %u", kind, (unsigned)CLAMP(usec, 1.0, (double)WINDOW_USEC),
		 (unsigned)WINDOW_USEC);
}

struct triggers {
	char early[48], low[48], critical[48];
};

static struct triggers triggers_for(enum load load, double some, double full)
{
	struct triggers t = { "some 20000 2000000", "some 200000 2000000", "full 100000 2000000" };
	double early = 0, low = 0, critical = 0;

	switch (load) {
	case IDLE:
	case CLEAN_CACHE:
		return t;
	case FAR_UNDER:
		early = 50 * some, low = 51 * some, critical = 51 * some;
		break;
	case UNDER_LOW:
		early = MIN(some / 2, full), low = 1.15 * some, critical = 1.15 * full;
		break;
	case OVER_LOW:
		early = MIN(some / 4, full), low = some / 2, critical = 1.15 * full;
		break;
	case OVER_CRITICAL:
		early = MIN(some / 4, full / 2), low = some / 2, critical = full / 2;
		break;
	}
	threshold(t.early, sizeof(t.early), "some", early);
	threshold(t.low, sizeof(t.low), "some", low);
	threshold(t.critical, sizeof(t.critical), "full", critical);
	return t;
}

/* How often the limit was hit or throttled; 0 where there is no memory.events. */
static uint64_t limit_hits(const char *name)
{
	const char *events = lab_file(&lab, name, "memory.events");

	return lab_number(events, "high ") + lab_number(events, "max ");
}

/* In a child. The load runs already. */
static void measure(void *userdata)
{
	struct result *r = userdata;
	struct triggers t = triggers_for(r->load, r->some, r->full);
	struct psb_stats before, after;
	char cgroup[LAB_PATH_MAX];
	struct watched watched;
	uint64_t start, stall, rings;
	double took;

	snprintf(cgroup, sizeof(cgroup), "/%s/%s", lab.name, r->name);
	r->error = watch_start(
		&watched, PSB_BACKEND_AUTO,
		(struct psb_watch_options){
			.cgroup = cgroup, .early = t.early, .low = t.low, .critical = t.critical },
		told, NULL, PSB_INLINE);
	memcpy(r->why, watched.why, sizeof(r->why));
	if (r->error < 0)
		return;
	/* an alarm takes up to 2 s to come */
	sleep_usec(r->load == IDLE ? USEC_PER_SEC : 3 * USEC_PER_SEC);
	before = watch_stats(&watched);
	rings = limit_hits(r->name);
	stall = lab_psi(&lab, r->name).some_usec;
	start = now_nsec();
	cpu_begin();
	sleep_usec(seconds * USEC_PER_SEC);
	r->percent = cpu_percent();
	took = (double)(now_nsec() - start) / 1e9;
	r->some_percent = (double)(lab_psi(&lab, r->name).some_usec - stall) / 1e4 / took;
	r->rings = (double)(limit_hits(r->name) - rings) / took;
	after = watch_stats(&watched);
	r->samples = (double)(after.samples - before.samples) / took;
	r->alarms = (double)(after.alarms - before.alarms) / took;
	r->told = (double)(after.low + after.neutral + after.high - before.low - before.neutral -
			   before.high) /
		  took;
	r->level = (int)psb_watch_available(watched.watch, NULL);
}

static void measure_stalls(struct result *r)
{
	struct lab_psi before, after;

	sleep_usec(500 * USEC_PER_MSEC); /* the limit is reached */
	before = lab_psi(&lab, r->name);
	sleep_usec(WINDOW_USEC);
	after = lab_psi(&lab, r->name);
	r->some = (double)(after.some_usec - before.some_usec) / (double)WINDOW_USEC;
	r->full = (double)(after.full_usec - before.full_usec) / (double)WINDOW_USEC;
	if (r->some == 0) {
		r->error = -ENODATA;
		snprintf(r->why, sizeof(r->why), "%s: the cgroup would not stall",
			 load_names[r->load]);
	}
}

static void run_load(struct result *r)
{
	struct pressure *pressure = NULL;

	snprintf(r->name, sizeof(r->name), "load%d", (int)r->load);
	if (r->load == IDLE) {
		lab_make(&lab, r->name, 0);
	} else {
		pressure = pressure_new(r->name,
					r->load == CLEAN_CACHE ? PRESSURE_CLEAN : PRESSURE_REFAULT,
					LIMIT_BYTES);
		/* far under: a little of it, now and then */
		pressure_set(pressure, r->load == FAR_UNDER	? 10000
				       : r->load == CLEAN_CACHE ? 30000
								: 60000);
		if (r->load != CLEAN_CACHE)
			measure_stalls(r);
	}
	if (r->error == 0)
		in_child(measure, r);
	if (pressure)
		pressure_free(pressure);
	lab_remove(&lab, r->name);
}

static void print(const struct result *results)
{
	static const char *const levels[] = {
		[PSB_LOW] = "Low", [PSB_NEUTRAL] = "Neutral", [PSB_HIGH] = "High"
	};
	static const struct column columns[] = {
		{ "load", "what the cgroup does", 0 },
		{ "some_percent", "it stalls %", 2 },
		{ "rings", "limit hit/s", 0 },
		{ "level", "level", 0 },
		{ "samples", "samples/s", 1 },
		{ "alarms", "alarms/s", 1 },
		{ "told", "told/s", 2 },
		{ "cpu_percent", "CPU % of a core", 4 },
	};
	double worst = -1;

	table_begin("cost", columns, "Cost: one watch");
	for (unsigned i = 0; i < LOADS; i++) {
		const struct result *r = &results[i];

		table_row();
		table_text("%s", load_names[i]);
		if (r->error < 0) {
			table_note("%s", r->why);
			continue;
		}
		table_numbers(r->some_percent, r->rings);
		table_text("%s", levels[r->level]);
		table_numbers(r->samples, r->alarms, r->told, r->percent);
		worst = MAX(worst, r->percent);
	}
	table_print();
	bench_say(
		"Good is: less than 0.1 %% of a core, whatever the cgroup does, and nothing while it is idle.");
	if (worst >= 0)
		bench_target(worst < BOUND_PERCENT,
			     "one watch: %.4f %% of a core in the worst case (under %.1f %%)",
			     worst, BOUND_PERCENT);
}

static void work(void)
{
	struct result *results = shared_new(LOADS * sizeof(*results));

	for (unsigned i = 0; i < LOADS; i++) {
		struct result *r = &results[i];

		r->load = (enum load)i;
		if (i == CLEAN_CACHE && lab.v1) {
			r->error = -EOPNOTSUPP;
			snprintf(
				r->why, sizeof(r->why),
				"clean cache: no memory.events here, the memory controller is on cgroup v1");
		} else {
			run_load(r);
		}
	}
	print(results);
}

int main(int argc, char **argv)
{
	static const struct bench bench = { .name = "cost",
					    .usage = "[SECONDS]",
					    .numbers = &seconds,
					    .max_numbers = 1,
					    .lab = LAB_NEEDED,
					    .work = work };

	return bench_main(&bench, argc, argv);
}
