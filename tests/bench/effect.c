/* SPDX-License-Identifier: MIT */
/*
 * effect.c - an idle program full of garbage, and the neighbour that needs its memory
 *
 *     one group, 800 MiB:  the program   540 MiB, all but 20 of it garbage; it idles, so its collector does not run
 *                          2 readers     a file of 560 MiB, block by block, round and round
 *
 * What the program does not need is just what the readers lack: without the bridge about half of their file fits in, and they wait
 * for the disk. A run lasts 10 s from the start of the readers. What counts is what the neighbour gets done (passes) and how long
 * tasks waited (`some` of memory.pressure), not only what the program gave back. Until psibridge's trigger fires time goes by
 * (without CAP_SYS_RESOURCE 2 to 4 s, facts), which is in the numbers.
 *
 * One row for each way in, all in turn, ROUNDS times; a cell is the median of its rounds. "Collected" is the first sample (20 ms) at
 * which half of the program was gone.
 *
 * With all ways into CoreCLR there is a second table: OnMemoryNotification() returns at once, also while the runtime collects.
 *
 *     we: a byte each 5 ms -> FIFO -> psibridge: Low -> OnMemoryNotification() -> one slot -> managed thread
 *
 * "Calls to OnMemoryNotification never block. They always return immediately" (the reference of the CLR hosting API). The host times
 * each call itself and says so (PSIBRIDGE_LOG=debug): from outside it cannot be seen. The program is tests/dotnet/Load with 300 MiB
 * alive, on all processors: its runtime collects a good part of the time by itself, and then the managed thread that takes over
 * stands still, with everything else managed.
 */
#include "runtime.h"

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

#define RSS_TARGET 0.2
#define PASSES_TARGET 3.0
#define STALL_TARGET 0.5

#define NOTIFICATIONS 1000
#define GAP_USEC 5000
#define P99_TARGET_USEC 100.0

enum { NAME, BEFORE, AFTER, PASSES, PASSES_X, STALL, STALL_X, COLLECTED };
static const struct column columns[] = {
	[NAME] = { "way in", 0 },     [BEFORE] = { "RSS before MiB", 0 },
	[AFTER] = { "after", 0 },     [PASSES] = { "neighbour's passes", 1 },
	[PASSES_X] = { "x none", 2 }, [STALL] = { "stall ms", 0 },
	[STALL_X] = { "x none", 2 },  [COLLECTED] = { "s from stall to collection", 2 },
};

static struct lane {
	const struct way *way;
	struct command command;
	bool missing;
} lanes[10];

static void watch_it(unsigned row, struct stage *stage, struct program *program,
		     const struct lab_readers *neighbour)
{
	uint64_t before = program_rss(program), first_stall = 0, collected = 0, next;
	const char *line;

	for (next = stage->start_usec; next <= stage->start_usec + LENGTH_USEC;
	     next += SAMPLE_USEC) {
		while (program_line(program, next, &line) > 0)
			;
		/* one that ended does not wait for the time to pass */
		if (program_ended(program)) {
			row_fails(row, "it ended during the run; %.150s", program_fate(program));
			return;
		}
		if (first_stall == 0 && stage_stall_usec(stage) > 0)
			first_stall = lab_now_usec();
		if (collected == 0 && program_rss(program) < before / 2)
			collected = lab_now_usec();
	}
	if (!lab_readers_alive(neighbour)) {
		row_fails(row, "the neighbour was killed");
		return;
	}
	put(row, BEFORE, (double)before / (double)MIB, (double)program_rss(program) / (double)MIB,
	    (double)lab_readers_bytes(neighbour) / (double)FILE_BYTES);
	put(row, STALL, (double)stage_stall_usec(stage) / 1000);
	if (collected > 0 && first_stall > 0)
		put(row, COLLECTED, ((double)collected - (double)first_stall) / 1e6);
}

static void run_lane(unsigned row, int data)
{
	struct lab_readers *neighbour;
	struct program *program;
	struct stage stage;

	lab_data_evict(data);
	stage_open(&stage, "effect", LIMIT, 0);
	program = way_start(lanes[row].way, stage.run, &lanes[row].command, row);
	if (program) {
		stage_begin(&stage);
		neighbour = neighbour_start(stage.run, data, READERS, 0);
		watch_it(row, &stage, program, neighbour);
		lab_readers_free(neighbour);
	}
	way_end(program, row);
	lab_remove(&lab, stage.name);
}

static void judge(unsigned row)
{
	double left = median(row, AFTER) / median(row, BEFORE), passes = median(row, PASSES_X),
	       stall = median(row, STALL_X);

	if (!lanes[row].missing && row_failure(row))
		bench_promise(false, "%s: %s", row_name(row), row_failure(row));
	else if (lanes[row].way->bridge && !isnan(passes))
		bench_target(
			left <= RSS_TARGET && passes >= PASSES_TARGET && stall <= STALL_TARGET,
			"%s: RSS falls by %.0f %% (at least 80), passes x %.1f (3), stall x %.2f (at most 0.5)",
			row_name(row), 100 * (1 - left), passes, stall);
}

static unsigned find_lanes(const char *runtime)
{
	static const char *const args[] = { GARBAGE_MIB, LIVE_MIB, NULL };
	const struct way *way;
	unsigned count = 0;

	for (unsigned i = 0; (way = way_at(runtime, i)) && count < ELEMENTSOF(lanes); i++) {
		struct lane *lane = &lanes[count];
		const char *why;

		if (wanted_way && i > 0 && strcmp(way->name, wanted_way) != 0)
			continue;
		lane->way = way;
		why = way_command(way, "Garbage/garbage", args, &lane->command);
		lane->missing = why;
		table_row("%s", way->name);
		if (why)
			row_fails(count, "%s", why);
		count++;
	}
	if (count == 0)
		bench_die("--runtime=%s: coreclr and mono are known", runtime);
	if (lanes[0].missing)
		bench_die("%s: %s", runtime, row_failure(0));
	return count;
}

/* ---- how long the callback takes ----------------------------------------------------------------------- */

enum { BUSY, IDLE }; /* rows */
enum { CALLS = 1, P50, P99, WORST };
static const struct column handover[] = {
	{ "managed code is", 0 },  { "calls", 0 }, [P50] = { "p50 us", 2 }, [P99] = { "p99 us", 2 },
	[WORST] = { "max us", 2 },
};

static void tell(struct program *program, int fd)
{
	const char *line, *at;

	for (int i = 0; i < NOTIFICATIONS && !program_ended(program); i++) {
		uint64_t next = lab_now_usec() + GAP_USEC;

		/* full: it has more than it can take */
		if (write(fd, "!", 1) < 0 && errno != EAGAIN)
			bench_die("the FIFO: %s", strerror(errno));
		/* "psibridge[clrhost]: notified Low (memory is short): handed over in 0.34 us, managed code is busy" */
		while (program_line(program, next, &line) > 0)
			if ((at = strstr(line, "handed over in ")))
				put(strstr(at, "busy") ? BUSY : IDLE, P50, strtod(at + 15, NULL));
	}
}

static void measure_handover(void)
{
	static const char *const args[] = { "300", "0", NULL };
	const struct way *way = way_named("coreclr", "embedded");
	const char *fifo = scratch("fifo");
	char source[128];
	struct command command;
	struct program *program;
	int fd;

	if (way_command(way, "Load/load", args, &command))
		return; /* the first table says so */
	/* for both: it can be opened before there is a reader */
	if (mkfifo(fifo, 0600) < 0 || (fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0)
		bench_die("%s: %s", fifo, strerror(errno));
	snprintf(source, sizeof(source), "PSIBRIDGE_SOURCE=%s", fifo);
	/* behind where the library is */
	command.env[0] = "PSIBRIDGE_LOG=debug";
	memcpy(command.env + 2,
	       ((const char *[]){ source, "PSIBRIDGE_REARM=1ms", "PSIBRIDGE_QUIET=2ms",
				  "PSIBRIDGE_APART=1ms", "PSIBRIDGE_GROWN=0" }),
	       5 * sizeof(char *));
	table_begin(handover, "Hand-over: how long OnMemoryNotification() takes (embedded)");
	table_row("busy with the last one");
	table_row("idle");
	program = way_start(way, NULL, &command, BUSY);
	if (program && program_say(program, "go 6"))
		tell(program, fd);
	way_end(program, BUSY);
	unlink(fifo);
	close(fd);
	for (unsigned row = BUSY; row <= IDLE; row++) {
		put(row, CALLS, value_count(row, P50));
		put(row, P99, percentile(row, P50, 99), percentile(row, P50, 100));
	}
	table_print("");
	if (value_count(BUSY, P50) == 0)
		bench_promise(false, "hand-over: no call while managed code was busy");
	else
		bench_target(
			median(BUSY, P99) <= P99_TARGET_USEC,
			"hand-over: 99 of 100 calls return within %.1f us while managed code is busy (at most %.0f)",
			median(BUSY, P99), P99_TARGET_USEC);
}

/* ---- all of it ---------------------------------------------------------------------------------------- */

static void work(void)
{
	const char *runtime = wanted_runtime ? wanted_runtime : "coreclr";
	unsigned count, rounds = bench_number(0, 1);
	int data;

	table_begin(
		columns,
		"Effect: idle with %s MiB of garbage beside a reader of %u MiB, %u MiB together, 10 s",
		GARBAGE_MIB, (unsigned)(FILE_BYTES / MIB), (unsigned)(LIMIT / MIB));
	count = find_lanes(runtime);
	data = data_new(FILE_BYTES);
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned row = 0; row < count; row++)
			if (!row_failure(row))
				run_lane(row, data);
	for (unsigned row = 0; row < count; row++)
		put(row, PASSES_X, median(row, PASSES) / median(0, PASSES));
	for (unsigned row = 0; row < count; row++)
		put(row, STALL_X, median(row, STALL) / median(0, STALL));
	table_print(words("%s; stall is `some` of the group.", runtime));
	for (unsigned row = 0; row < count; row++)
		judge(row);
	if (strcmp(runtime, "coreclr") == 0 && !wanted_way)
		measure_handover();
}

const struct bench bench_effect = { "effect", "[ROUNDS]: runs of each way in (1); about 15 s a run",
				    true, work };
