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
 * With all ways into CoreCLR there is a second table: OnMemoryNotification() returns at once, also
 * while the runtime collects.
 *
 *     we: a byte each 5 ms -> FIFO -> psibridge: Low -> OnMemoryNotification() -> one slot -> managed thread
 *
 * "Calls to OnMemoryNotification never block. They always return immediately" (the reference of the
 * CLR hosting API). The host times each call itself and says so (PSIBRIDGE_LOG=debug):
 * from outside it cannot be seen. No cgroup is needed, so no memory is short either: the source is
 * the FIFO. The program is tests/dotnet/Load with 300 MiB alive, on all processors: its runtime
 * collects a good part of the time by itself, and then the managed thread that takes over stands
 * still, with everything else managed.
 */
#include "effect-ways.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIMIT (800 * MIB)
#define GARBAGE_MIB "500"
#define LIVE_MIB "20"
#define FILE_BYTES (560 * MIB)
#define READERS 2
#define LENGTH_USEC (10 * USEC_PER_SEC)
#define SAMPLE_USEC (20 * USEC_PER_MSEC)
#define END_USEC (20 * USEC_PER_SEC)
#define WAYS_MAX 10

#define RSS_TARGET 0.2
#define PASSES_TARGET 3.0
#define STALL_TARGET 0.5

#define NOTIFICATIONS 1000
#define GAP_USEC 5000
#define P99_TARGET_USEC 100.0

struct lane {
	const struct way *way;
	struct command command;
	const char *missing;	  /* NULL: it can run */
	char failed[WAY_WHY_MAX]; /* ""; or what went wrong in a run */
	char remark[200];
	struct series before, after, passes, stall_msec, collected_sec;
};

static const char *runtime = "coreclr", *only;
static unsigned rounds = 1;
static struct lane lanes[WAYS_MAX];
static unsigned lane_count;
static int data; /* the file */

static const char help[] =
	"  --runtime=R      coreclr (the default) or mono\n"
	"  --way=NAME       this way in alone, beside \"none\"\n" ALLOW_MISSING_HELP
	"  ROUNDS           runs of each way in (1); about 15 s a run\n";

/* ---- a run -------------------------------------------------------------------------------------------- */

struct run {
	struct stage stage;
	struct program *program;
	struct lab_readers *neighbour;
};

static void watch_it(struct lane *lane, struct run *run)
{
	uint64_t before = program_rss(run->program), first_stall = 0, collected = 0, end, next;
	const char *line;

	stage_begin(&run->stage);
	run->neighbour = neighbour_start(run->stage.run, data, READERS, 0);
	end = run->stage.start_usec + LENGTH_USEC;
	for (next = run->stage.start_usec + SAMPLE_USEC; next <= end; next += SAMPLE_USEC) {
		while (program_line(run->program, next, &line) > 0)
			;
		/* one that ended does not wait for the time to pass */
		if (program_ended(run->program))
			break;
		if (first_stall == 0 && stage_stall(&run->stage).some_usec > 0)
			first_stall = lab_now_usec();
		if (collected == 0 && program_rss(run->program) < before / 2)
			collected = lab_now_usec();
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
		series_add(&lane->collected_sec, ((double)collected - (double)first_stall) / 1e6);
}

static void run_lane(struct lane *lane)
{
	struct run run = { .program = NULL };

	lab_data_evict(data);
	stage_open(&run.stage, "effect", LIMIT, 0);
	run.program = way_start(run.stage.run, &lane->command);
	if (way_ready(lane->way, run.program, lane->failed))
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

static void print_table(void)
{
	static const struct column columns[] = {
		{ "way", "way in", 0 },
		{ "rss_before_mib", "RSS before MiB", 0 },
		{ "rss_after_mib", "after", 0 },
		{ "passes", "neighbour's passes", 1 },
		{ "passes_ratio", "x none", 2 },
		{ "stall_msec", "stall ms", 0 },
		{ "stall_ratio", "x none", 2 },
		{ "collected_sec", "s from stall to collection", 2 },
	};

	table_begin(
		"effect", columns,
		"Effect, %s: idle with %s MiB of garbage beside a reader of %u MiB, %u MiB together, 10 s",
		runtime, GARBAGE_MIB, (unsigned)(FILE_BYTES / MIB), (unsigned)(LIMIT / MIB));
	for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) {
		double passes = median(&lane->passes), stall = median(&lane->stall_msec);

		table_row();
		table_text("%s", lane->way->name);
		table_numbers(median(&lane->before), median(&lane->after), passes,
			      passes / median(&lanes[0].passes), stall,
			      stall / median(&lanes[0].stall_msec), median(&lane->collected_sec));
		if (lane->missing || lane->failed[0])
			table_note("%s: %.120s", lane->way->name,
				   lane->missing ? lane->missing : lane->failed);
		if (lane->remark[0])
			table_note("%s: %.120s", lane->way->name, lane->remark);
	}
	table_print();
	bench_say("Stall is `some` of the group.");
}

static void print_targets(void)
{
	struct lane *none = &lanes[0];

	for (struct lane *lane = lanes; lane < lanes + lane_count; lane++) {
		double left, passes, stall;

		if (way_is_missing(lane->way->name, lane->missing))
			continue;
		if (lane->failed[0]) {
			bench_promise(false, "%s: %s", lane->way->name, lane->failed);
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

/* ---- how long the callback takes ----------------------------------------------------------------------- */

/* "psibridge[clrhost]: notified Low (memory is short): handed over in 0.34 us, managed code is busy" */
static void take_line(const char *line, struct series *busy, struct series *idle)
{
	const char *at = strstr(line, "handed over in ");

	if (at)
		series_add(strstr(at, "busy") ? busy : idle, strtod(at + 15, NULL));
}

static void tell(struct program *program, int fd, struct series *busy, struct series *idle)
{
	const char *line;

	for (int i = 0; i < NOTIFICATIONS && !program_ended(program); i++) {
		uint64_t next = lab_now_usec() + GAP_USEC;

		/* full: it has more than it can take */
		if (write(fd, "!", 1) < 0 && errno != EAGAIN)
			bench_die("the FIFO: %s", strerror(errno));
		while (program_line(program, next, &line) > 0)
			take_line(line, busy, idle);
	}
}

static void handover_row(const char *kind, struct series *series)
{
	table_row();
	table_text("%s", kind);
	table_numbers((double)series->count, series_percentile(series, 50),
		      series_percentile(series, 99), series_percentile(series, 100));
}

static void print_handover(struct program *program, struct series *busy, struct series *idle)
{
	static const struct column columns[] = {
		{ "managed_code", "managed code is", 0 },
		{ "calls", "calls", 0 },
		{ "p50_usec", "p50 us", 2 },
		{ "p99_usec", "p99 us", 2 },
		{ "max_usec", "max us", 2 },
	};
	double p99 = series_percentile(busy, 99);

	if (busy->count == 0) {
		bench_promise(false, "hand-over: no call while managed code was busy; %s",
			      program_fate(program));
		return;
	}
	table_begin("handover", columns,
		    "Hand-over: how long OnMemoryNotification() takes (embedded)");
	handover_row("busy with the last one", busy);
	if (idle->count > 0)
		handover_row("idle", idle);
	table_print();
	bench_target(
		p99 <= P99_TARGET_USEC,
		"hand-over: 99 of 100 calls return within %.1f us while managed code is busy (at most %.0f)",
		p99, P99_TARGET_USEC);
}

static void measure_handover(void)
{
	static const char *const args[] = { "300", "0", NULL };
	const struct way *way = way_named("coreclr", "embedded");
	const char *fifo = scratch("fifo");
	char source[128], why[WAY_WHY_MAX];
	struct series busy = { 0 }, idle = { 0 };
	struct command command;
	struct program *program;
	int fd;

	if (way_is_missing("hand-over", way_command(way, "Load/load", args, &command)))
		return;
	/* for both: it can be opened before there is a reader */
	if (mkfifo(fifo, 0600) < 0 || (fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
		bench_die("%s: %s", fifo, strerror(errno));
	snprintf(source, sizeof(source), "PSIBRIDGE_SOURCE=%s", fifo);
	memcpy(command.env,
	       ((const char *[COMMAND_ENV_MAX]){ "PSIBRIDGE_LOG=debug", source,
						 "PSIBRIDGE_REARM=1ms", "PSIBRIDGE_QUIET=2ms",
						 "PSIBRIDGE_APART=1ms", "PSIBRIDGE_GROWN=0" }),
	       sizeof(command.env));
	program = way_start(NULL, &command);
	if (way_ready(way, program, why) && program_say(program, "go 6"))
		tell(program, fd, &busy, &idle);
	program_end(program, END_USEC);
	print_handover(program, &busy, &idle);
	program_free(program);
	close(fd);
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static void work(void)
{
	static const char *const args[] = { GARBAGE_MIB, LIVE_MIB, NULL };
	const struct way *way;

	for (unsigned i = 0; (way = way_at(runtime, i)) && lane_count < WAYS_MAX; i++) {
		struct lane *lane = &lanes[lane_count];

		if (only && i > 0 && strcmp(way->name, only) != 0)
			continue;
		lane_count++;
		lane->way = way;
		lane->missing = way_command(way, "Garbage/garbage", args, &lane->command);
	}
	if (lane_count == 0)
		bench_die("--runtime=%s: coreclr and mono are known", runtime);
	if (way_is_missing(runtime, lanes[0].missing))
		return;

	data = data_new(FILE_BYTES);
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < lane_count; i++)
			if (!lanes[i].missing && !lanes[i].failed[0])
				run_lane(&lanes[i]);
	print_table();
	print_targets();
	if (strcmp(runtime, "coreclr") == 0 && !only)
		measure_handover();
}

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.name = "effect",
		.usage = "[--runtime=coreclr|mono] [--way=NAME] [--allow-missing] [ROUNDS]",
		.help = help,
		.options = { { "runtime", &runtime }, { "way", &only }, ALLOW_MISSING },
		.numbers = &rounds,
		.max_numbers = 1,
		.lab = LAB_NEEDED,
		.work = work,
	};

	return bench_main(&bench, argc, argv);
}
