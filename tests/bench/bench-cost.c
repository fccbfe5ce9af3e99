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

#include <psibridge/psibridge.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

static int watch_it(const char *name, const struct triggers *t, psb_watch **ret, char *why,
		    size_t size)
{
	char cgroup[LAB_PATH_MAX];
	struct psb_watch_options options = {
		.size = sizeof(options),
		.cgroup = cgroup,
		.early = t->early,
		.low = t->low,
		.critical = t->critical,
		.error_text = why,
		.error_text_size = size,
	};
	psb_bridge *bridge;
	int r;

	snprintf(cgroup, sizeof(cgroup), "/%s/%s", lab.name, name);
	r = psb_bridge_new(NULL, &bridge);
	if (r == 0)
		r = psb_watch_new(bridge, &options, ret);
	if (r == 0)
		r = psb_watch_add_callback(*ret, told, NULL, PSB_INLINE, NULL);
	if (r == 0)
		r = psb_bridge_start(bridge);
	return r;
}

/* How often the limit was hit or throttled; 0 where there is no memory.events. */
static uint64_t limit_hits(const char *name)
{
	const char *events = lab_file(&lab, name, "memory.events");

	return lab_number(events, "high ") + lab_number(events, "max ");
}

/* In a child. The load runs already. */
static void measure(enum load load, const char *name, double some, double full, struct result *r)
{
	struct triggers t = triggers_for(load, some, full);
	struct psb_stats before = { .size = sizeof(before) }, after = before;
	uint64_t cpu, start, stall, rings;
	psb_watch *watch;
	double took;

	r->error = watch_it(name, &t, &watch, r->why, sizeof(r->why));
	if (r->error < 0)
		return;
	/* an alarm takes up to 2 s to come */
	sleep_usec(load == IDLE ? USEC_PER_SEC : 3 * USEC_PER_SEC);
	psb_watch_stats(watch, &before);
	rings = limit_hits(name);
	stall = lab_psi(&lab, name).some_usec;
	cpu = cpu_of_others_nsec();
	start = now_nsec();
	sleep_usec(seconds * USEC_PER_SEC);
	took = (double)(now_nsec() - start) / 1e9;
	r->percent = (double)usec_sub(cpu_of_others_nsec(), cpu) / 1e7 / took;
	r->some_percent = (double)(lab_psi(&lab, name).some_usec - stall) / 1e4 / took;
	r->rings = (double)(limit_hits(name) - rings) / took;
	psb_watch_stats(watch, &after);
	r->samples = (double)(after.samples - before.samples) / took;
	r->alarms = (double)(after.alarms - before.alarms) / took;
	r->told = (double)(after.low + after.neutral + after.high - before.low - before.neutral -
			   before.high) /
		  took;
	r->level = (int)psb_watch_available(watch, NULL);
}

static void run_load(enum load load, struct result *r)
{
	enum pressure_kind kind = load == CLEAN_CACHE ? PRESSURE_CLEAN : PRESSURE_REFAULT;
	struct pressure *pressure = NULL;
	double some = 0, full = 0;
	char name[16];
	int status;
	pid_t pid;

	snprintf(name, sizeof(name), "load%d", (int)load);
	if (load == IDLE) {
		lab_make(&lab, name, 0);
	} else {
		pressure = pressure_new(name, kind, LIMIT_BYTES);
		/* far under: a little of it, now and then */
		pressure_set(pressure, load == FAR_UNDER     ? 10000
				       : load == CLEAN_CACHE ? 30000
							     : 60000);
	}
	if (pressure && kind == PRESSURE_REFAULT) {
		struct lab_psi before, after;

		sleep_usec(500 * USEC_PER_MSEC); /* the limit is reached */
		before = lab_psi(&lab, name);
		sleep_usec(WINDOW_USEC);
		after = lab_psi(&lab, name);
		some = (double)(after.some_usec - before.some_usec) / (double)WINDOW_USEC;
		full = (double)(after.full_usec - before.full_usec) / (double)WINDOW_USEC;
	}
	if (pressure && kind == PRESSURE_REFAULT && some == 0) {
		r->error = -ENODATA;
		snprintf(r->why, sizeof(r->why), "%s: the cgroup would not stall",
			 load_names[load]);
	} else {
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			measure(load, name, some, full, r);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) < 0 || status != 0)
			bench_die("the measuring process died (status %d)", status);
	}
	if (pressure)
		pressure_free(pressure);
	lab_remove(&lab, name);
}

static const char *level_name(int level)
{
	switch ((enum psb_available)level) {
	case PSB_LOW:
		return "Low";
	case PSB_NEUTRAL:
		return "Neutral";
	case PSB_HIGH:
		return "High";
	}
	return "?";
}

static void print(const struct result *results)
{
	static const struct column columns[] = {
		{ "load", "what the cgroup does" },
		{ "some_percent", "it stalls %" },
		{ "rings", "limit hit/s" },
		{ "level", "level" },
		{ "samples", "samples/s" },
		{ "alarms", "alarms/s" },
		{ "told", "told/s" },
		{ "cpu_percent", "CPU % of a core" },
	};
	static struct table t;
	double worst = 0;
	unsigned measured = 0;

	table_begin(&t, "cost", "Cost: one watch", columns, ELEMENTSOF(columns));
	for (unsigned i = 0; i < LOADS; i++) {
		const struct result *r = &results[i];

		table_row(&t);
		cell_text(&t, "%s", load_names[i]);
		if (r->error < 0) {
			while (t.cells < t.width)
				cell_none(&t);
			table_note(&t, "%s", r->why);
			continue;
		}
		cell_number(&t, r->some_percent, 2);
		cell_number(&t, r->rings, 0);
		cell_text(&t, "%s", level_name(r->level));
		cell_number(&t, r->samples, 1);
		cell_number(&t, r->alarms, 1);
		cell_number(&t, r->told, 2);
		cell_number(&t, r->percent, 4);
		worst = MAX(worst, r->percent);
		measured++;
	}
	table_print(&t);
	bench_say(
		"Good is: less than 0.1 %% of a core, whatever the cgroup does, and nothing while it is idle.");
	if (measured > 0)
		bench_target(worst < BOUND_PERCENT,
			     "one watch: %.4f %% of a core in the worst case (under %.1f %%)",
			     worst, BOUND_PERCENT);
}

static int work(void)
{
	struct result *results = shared_new(LOADS * sizeof(*results));

	if (no_lab) {
		bench_say("\nCost: — %s", no_lab);
		bench_say("SKIP  no cgroups can be made here");
		return bench_end();
	}
	for (unsigned i = 0; i < LOADS; i++) {
		struct result *r = &results[i];

		if (i == CLEAN_CACHE && lab.v1) {
			r->error = -EOPNOTSUPP;
			snprintf(
				r->why, sizeof(r->why),
				"clean cache: no memory.events here, the memory controller is on cgroup v1");
		} else {
			run_load((enum load)i, r);
		}
	}
	print(results);
	return bench_end();
}

int main(int argc, char **argv)
{
	bench_start("cost", "[SECONDS]", argc, argv, &seconds, 1);
	return run_in_lab(work);
}
