/* SPDX-License-Identifier: MIT */
/*
 * bench-effect.c - an idle program full of garbage, and the neighbour that needs its memory
 *
 *     one group, 800 MiB:  the program   540 MiB, all but 20 of it garbage; it idles, so its collector does not run
 *                          2 readers     a file of 560 MiB, block by block, round and round
 *
 * What the program does not need is just what the readers lack: without the bridge about half of
 * their file fits in, and they wait for the disk. A run lasts 10 s from the start of the readers.
 * What counts is what the neighbour gets done (passes) and how long tasks waited (`some` of
 * memory.pressure), not only what the program gave back. Until psibridge's trigger fires time goes
 * by (without CAP_SYS_RESOURCE 2 to 4 s, facts), which is in the numbers.
 *
 * One row for each way in, all in turn, ROUNDS times; a cell is the median of its rounds.
 * "Collected" is the first sample (20 ms) at which half of the program was gone.
 *
 * With all ways into CoreCLR there is a second table: how long the callback takes while the runtime
 * collects (effect-handover.c).
 */
#include "effect-handover.h"
#include "effect-ways.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT (800 * MIB)
#define GARBAGE_MIB "500"
#define LIVE_MIB "20"
#define FILE_BYTES (560 * MIB)
#define READERS 2
#define LENGTH_NSEC UINT64_C(10000000000)
#define SAMPLE_NSEC UINT64_C(20000000)
#define READY_USEC (90 * USEC_PER_SEC)
#define HOOK_USEC (10 * USEC_PER_SEC)
#define END_USEC (10 * USEC_PER_SEC)
#define WAYS_MAX 10

#define RSS_TARGET 0.2
#define PASSES_TARGET 3.0
#define STALL_TARGET 0.5

struct lane {
	const struct way *way;
	struct command command;
	const char *missing; /* NULL: it can run */
	char failed[200];    /* ""; or what went wrong in a run */
	char remark[200];
	struct series before, after, passes, stall_msec, collected_sec;
};

static const char *runtime = "coreclr", *allow_missing, *only;
static unsigned rounds = 1;
static struct lane lanes[WAYS_MAX];
static unsigned lane_count;
static int data; /* the file */

static const char help[] =
	"  --runtime=R      coreclr (the default) or mono\n"
	"  --way=NAME       this way in alone, beside \"none\"\n"
	"  --allow-missing  a way in that this build does not have is no failure\n"
	"  ROUNDS           runs of each way in (1); about 15 s a run\n"
	"Exit status: 0 all targets met, 1 one was missed, 2 something could not run.\n";

/* ---- a run -------------------------------------------------------------------------------------------- */

struct run {
	struct stage stage;
	struct program *program;
	struct lab_readers *neighbour;
};

static bool get_ready(struct lane *lane, struct run *run)
{
	uint64_t until;
	const char *line, *why;

	run->program = program_start(run->stage.run, &lane->command);
	if (program_await(run->program, "ready", READY_USEC, NULL) <= 0) {
		snprintf(lane->failed, sizeof(lane->failed), "never got ready; %.150s",
			 program_fate(run->program));
		return false;
	}
	if (!lane->way->bridge)
		return true;
	why = lane->way->attach ? way_attach(program_pid(run->program)) : NULL;
	if (why) {
		snprintf(lane->failed, sizeof(lane->failed), "%.190s", why);
		return false;
	}
	until = now_nsec() + HOOK_USEC * NSEC_PER_USEC;
	while (!program_told(run->program, "ready: "))
		if (program_line(run->program, until, &line) <= 0) {
			snprintf(lane->remark, sizeof(lane->remark), "never said that it watches");
			break;
		}
	return true;
}

static void watch_it(struct lane *lane, struct run *run)
{
	uint64_t before = program_rss(run->program), first_stall = 0, collected = 0, end, next;
	const char *line;

	stage_begin(&run->stage);
	run->neighbour = neighbour_start(run->stage.run, data, READERS, 0);
	end = run->stage.start_nsec + LENGTH_NSEC;
	for (next = run->stage.start_nsec + SAMPLE_NSEC; next <= end; next += SAMPLE_NSEC) {
		while (program_line(run->program, next, &line) > 0)
			;
		/* one that ended does not wait for the time to pass */
		if (program_ended(run->program))
			break;
		if (first_stall == 0 && stage_stall(&run->stage).some_usec > 0)
			first_stall = now_nsec();
		if (collected == 0 && program_rss(run->program) < before / 2)
			collected = now_nsec();
	}
	if (program_ended(run->program)) {
		snprintf(lane->failed, sizeof(lane->failed), "it ended during the run; %.150s",
			 program_fate(run->program));
		return;
	}
	if (!lab_readers_alive(run->neighbour)) {
		snprintf(lane->failed, sizeof(lane->failed), "the neighbour was killed");
		return;
	}
	series_add(&lane->before, (double)before / (double)MIB);
	series_add(&lane->after, (double)program_rss(run->program) / (double)MIB);
	series_add(&lane->passes, (double)lab_readers_bytes(run->neighbour) / (double)FILE_BYTES);
	series_add(&lane->stall_msec, (double)stage_stall(&run->stage).some_usec / 1000);
	if (collected > 0 && first_stall > 0)
		series_add(&lane->collected_sec, ((double)collected - (double)first_stall) / 1e9);
}

static void run_lane(struct lane *lane)
{
	struct run run = { .program = NULL };

	lab_data_evict(data);
	stage_open(&run.stage, "effect", LIMIT, 0);
	if (get_ready(lane, &run))
		watch_it(lane, &run);
	run.neighbour = lab_readers_free(run.neighbour);
	if (!lane->failed[0] && !program_end(run.program, END_USEC))
		snprintf(lane->failed, sizeof(lane->failed), "no clean end; %.150s",
			 program_fate(run.program));
	if (lane->failed[0] && program_told(run.program, ""))
		snprintf(lane->remark, sizeof(lane->remark), "it said: %s",
			 program_told(run.program, ""));
	run.program = program_free(run.program);
	stage_close(&run.stage);
}

/* ---- what came out ------------------------------------------------------------------------------------- */

static double median(struct series *series)
{
	return series_percentile(series, 50);
}

static void ratio_cell(struct table *t, double value, double base)
{
	if (base > 0)
		cell_number(t, value / base, 2);
	else
		cell_none(t);
}

static void print_table(void)
{
	static const struct column columns[] = {
		{ "way", "way in" },	      { "rss_before_mib", "RSS before MiB" },
		{ "rss_after_mib", "after" }, { "passes", "neighbour's passes" },
		{ "passes_ratio", "x none" }, { "stall_msec", "stall ms" },
		{ "stall_ratio", "x none" },  { "collected_sec", "s from stall to collection" },
	};
	static struct table t;
	char title[160];

	snprintf(
		title, sizeof(title),
		"Effect, %s: idle with %s MiB of garbage beside a reader of %u MiB, %u MiB together, 10 s",
		runtime, GARBAGE_MIB, (unsigned)(FILE_BYTES / MIB), (unsigned)(LIMIT / MIB));
	table_begin(&t, "effect", title, columns, ELEMENTSOF(columns));
	for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) {
		table_row(&t);
		cell_text(&t, "%s", lane->way->name);
		if (lane->passes.count == 0) {
			for (int i = 0; i < 7; i++)
				cell_none(&t);
		} else {
			cell_number(&t, median(&lane->before), 0);
			cell_number(&t, median(&lane->after), 0);
			cell_number(&t, median(&lane->passes), 1);
			ratio_cell(&t, median(&lane->passes), median(&lanes[0].passes));
			cell_number(&t, median(&lane->stall_msec), 0);
			ratio_cell(&t, median(&lane->stall_msec), median(&lanes[0].stall_msec));
			if (lane->collected_sec.count > 0)
				cell_number(&t, median(&lane->collected_sec), 2);
			else
				cell_none(&t);
		}
		if (lane->missing || lane->failed[0])
			table_note(&t, "%s: %.120s", lane->way->name,
				   lane->missing ? lane->missing : lane->failed);
		if (lane->remark[0])
			table_note(&t, "%s: %.120s", lane->way->name, lane->remark);
	}
	table_print(&t);
	bench_say("Stall is `some` of the group.");
}

static void print_targets(void)
{
	struct lane *none = &lanes[0];

	for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) {
		double left, passes, stall;

		if (lane->missing && !allow_missing)
			bench_missing("%s: %s", lane->way->name, lane->missing);
		if (lane->missing)
			continue;
		if (lane->failed[0]) {
			bench_target(false, "%s: %s", lane->way->name, lane->failed);
			continue;
		}
		if (!lane->way->bridge || none->passes.count == 0)
			continue;
		left = median(&lane->after) / median(&lane->before);
		passes = median(&lane->passes) / median(&none->passes);
		stall = median(&lane->stall_msec) / median(&none->stall_msec);
		bench_target(
			left <= RSS_TARGET && passes >= PASSES_TARGET && stall <= STALL_TARGET,
			"%s: RSS falls by %.0f %% (at least 80), passes x %.1f (3), stall x %.2f (at most 0.5)",
			lane->way->name, 100 * (1 - left), passes, stall);
	}
}

static int work(void)
{
	static const char *const args[] = { GARBAGE_MIB, LIVE_MIB, NULL };
	const struct way *way;

	if (no_lab)
		bench_die("no real pressure can be made here: %s", no_lab);
	for (unsigned i = 0; (way = way_at(runtime, i)) && lane_count < WAYS_MAX; i++) {
		struct lane *lane = &lanes[lane_count];

		if (only && i > 0 && strcmp(way->name, only) != 0)
			continue;
		lane_count++;
		lane->way = way;
		lane->missing = way_command(way, "Garbage/garbage", args, &lane->command);
		if (lane->missing)
			lane->missing = strdup(lane->missing);
	}
	if (lane_count == 0)
		bench_die("--runtime=%s: coreclr and mono are known", runtime);
	if (lanes[0].missing && !allow_missing)
		bench_die("%s", lanes[0].missing);
	if (lanes[0].missing) {
		bench_say("SKIP  %s: %s", runtime, lanes[0].missing);
		return 0;
	}

	data = data_new(FILE_BYTES);
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < lane_count; i++)
			if (!lanes[i].missing && !lanes[i].failed[0])
				run_lane(&lanes[i]);
	print_table();
	print_targets();
	if (strcmp(runtime, "coreclr") == 0 && !only)
		handover_measure(allow_missing);
	return bench_end();
}

int main(int argc, char **argv)
{
	bench_option("runtime", &runtime);
	bench_option("allow-missing", &allow_missing);
	bench_option("way", &only);
	bench_help(help);
	bench_start("effect", "[--runtime=coreclr|mono] [--way=NAME] [--allow-missing] [ROUNDS]",
		    argc, argv, &rounds, 1);
	return run_in_lab(work);
}
