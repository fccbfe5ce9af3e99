/* SPDX-License-Identifier: MIT */
/*
 * load.c - a busy .NET program: what the bridge costs, what it gains, and what the settings of today do
 *
 * The program is tests/dotnet/Load: a web application without the web, that serves as fast as it
 * can from a live cache of 100 MiB, and makes a report of 100 MiB every 4 s, with the server
 * collector, as ASP.NET has it.
 *
 *  short     In one group with a reader of a file (1 block a millisecond at most, so that it does
 *            not take the program's CPU when it fares well). Both together need more than there is
 *            when a report was made. On cgroup2 the limit is memory.high, with memory.max a quarter
 *            above; on v1 it is the hard limit, v1 has no other. Beside the bridge the two settings
 *            people use: DOTNET_GCConserveMemory=9 (compact the oldest generation when it is
 *            fragmented), and DOTNET_GCHeapHardLimit of 75 % of the limit. .NET takes 75 % by
 *            itself where it sees a hard limit, so there this row shows what two runs
 *            of the same differ by; it does not look at memory.high.
 *  plentiful No limit, no neighbour, no reports. The program runs twice at the same time, with and
 *            without a hook, but only one of them is served at a time, 1 s each: A B, B A, A B, ...
 *            What disturbs one disturbs both. Both are started anew after each 10 pairs, for where
 *            a process lies in memory makes a difference too. A pair gives a ratio; the verdict is
 *            the median of them.
 *
 * A pause is what a request takes: collections, faults and throttling of the kernel are all in
 * there. p99 is over all requests.
 */
#include "runtime.h"

#include <string.h>

#define APP "Load/load"
#define LIVE_MIB "100"
#define REPORT_MIB "100"
#define LIMIT (512 * MIB)
#define FILE_BYTES (300 * MIB)
#define PACE_USEC 1000
#define SAMPLE_USEC (20 * USEC_PER_MSEC)
#define SERVE_USEC (90 * USEC_PER_SEC)
#define PAIRS_A_START 10
#define COST_TARGET 0.98

static char hard_limit[64];
static struct setting {
	const char *name, *way_name;
	const char *variable; /* "NAME=VALUE", or NULL */
	const struct way *way;
	struct command command;
	const char *missing; /* NULL: it can run */
	double oom_kills;
} settings[] = {
	{ .name = "without the bridge", .way_name = "none" },
	{ .name = "profiler", .way_name = "profiler" },
	{ .name = "start-up hook", .way_name = "start-up hook" },
	{ .name = "GCConserveMemory=9",
	  .way_name = "none",
	  .variable = "DOTNET_GCConserveMemory=9" },
	{ .name = "GCHeapHardLimit=75 %", .way_name = "none", .variable = hard_limit },
};

/* ---- short --------------------------------------------------------------------------------------------------- */

enum { NAME, REQUESTS, REQUESTS_X, P99, STALL, PEAK, OOM_KILLS };
static const struct column columns[] = {
	[NAME] = { "setting", 0 },	   [REQUESTS] = { "requests/s", 0 },
	[REQUESTS_X] = { "x without", 2 }, [P99] = { "p99 ms", 1 },
	[STALL] = { "stall ms", 0 },	   [PEAK] = { "peak RSS MiB", 0 },
	[OOM_KILLS] = { "OOM kills", 0 },
};

/* Gives the order, and waits for the line that says what came of it. */
static bool serve(struct program *program, const char *order, uint64_t *ret_peak,
		  const char **ret_line)
{
	uint64_t until = lab_now_usec() + SERVE_USEC;

	*ret_peak = 0;
	if (!program_say(program, order))
		return false;
	while (lab_now_usec() < until) {
		int r = program_line(program, lab_now_usec() + SAMPLE_USEC, ret_line);
		uint64_t rss = program_rss(program);

		*ret_peak = MAX(*ret_peak, rss);
		if (r < 0)
			return false;
		if (r > 0 && strncmp(*ret_line, "result ", 7) == 0)
			return true;
	}
	return false;
}

static void measure(unsigned row, struct stage *stage, struct program *program)
{
	uint64_t peak;
	const char *line;
	double seconds;

	if (!serve(program, "go 4", &peak, &line))
		return;
	stage_begin(stage);
	if (!serve(program, "go 20", &peak, &line))
		return;
	seconds = line_number(line, "seconds");
	put(row, REQUESTS, line_number(line, "requests") / seconds);
	put(row, P99, line_number(line, "p99_usec") / 1000, (double)stage_stall_usec(stage) / 1000,
	    (double)peak / (double)MIB);
}

static void run_short(unsigned row, int data)
{
	struct setting *s = &settings[row];
	struct lab_readers *neighbour;
	struct program *program;
	struct stage stage;

	lab_data_evict(data);
	stage_open(&stage, "load", lab.v1 ? LIMIT : LIMIT / 4 * 5, lab.v1 ? 0 : LIMIT);
	program = way_start(s->way, stage.run, &s->command, row);
	if (program) {
		neighbour = neighbour_start(stage.run, data, 1, PACE_USEC);
		measure(row, &stage, program);
		if (!lab_readers_alive(neighbour))
			row_fails(row, "the neighbour was killed");
		lab_readers_free(neighbour);
	}
	s->oom_kills += (double)lab_number(
		lab.v1 ? lab_v1_file(&lab, stage.run, "memory.oom_control")
		       : lab_file(&lab, stage.run, "memory.events"),
		"oom_kill ");
	way_end(program, row);
	lab_remove(&lab, stage.name);
}

static void run_all_short(void)
{
	unsigned rounds = bench_number(0, 1);
	int data = data_new(FILE_BYTES);

	table_begin(columns,
		    "Short: busy, %s MiB live, beside a reader of %u MiB, %s of %u MiB, 20 s",
		    LIVE_MIB, (unsigned)(FILE_BYTES / MIB),
		    lab.v1 ? "v1 hard limit" : "memory.high", (unsigned)(LIMIT / MIB));
	for (unsigned row = 0; row < ELEMENTSOF(settings); row++) {
		table_row("%s", settings[row].name);
		if (settings[row].missing)
			row_fails(row, "%s", settings[row].missing);
	}
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned row = 0; row < ELEMENTSOF(settings); row++)
			if (!row_failure(row))
				run_short(row, data);
	for (unsigned row = 0; row < ELEMENTSOF(settings); row++) {
		put(row, REQUESTS_X, median(row, REQUESTS) / median(0, REQUESTS));
		put(row, OOM_KILLS, settings[row].missing ? NAN : settings[row].oom_kills);
	}
	table_print("");
	for (unsigned row = 0; row < ELEMENTSOF(settings); row++) {
		if (settings[row].missing || !settings[row].way->bridge)
			continue;
		if (row_failure(row))
			bench_promise(false, "%s: %s", row_name(row), row_failure(row));
		else
			bench_target(settings[row].oom_kills <= settings[0].oom_kills,
				     "%s: %.0f OOM kills (without the bridge %.0f)", row_name(row),
				     settings[row].oom_kills, settings[0].oom_kills);
	}
}

/* ---- plentiful -------------------------------------------------------------------------------------------- */

enum { WITH = 1, WITHOUT, RATIO, P25, P75, PAIRS };
static const struct column plentiful[] = {
	{ "hook", 0 },
	[WITH] = { "requests/s", 0 },
	[WITHOUT] = { "without", 0 },
	[RATIO] = { "ratio", 3 },
	[P25] = { "p25", 3 },
	[P75] = { "p75", 3 },
	[PAIRS] = { "pairs", 0 },
};

/* Requests a second. */
static bool slice(struct program *program, double *ret_rate)
{
	uint64_t peak;
	const char *line;

	if (!serve(program, "go 1", &peak, &line))
		return false;
	*ret_rate = line_number(line, "requests") / line_number(line, "seconds");
	return *ret_rate > 0;
}

static void pair(unsigned row, struct program *with, struct program *without, bool swap)
{
	double rate[2];

	if (!slice(swap ? without : with, &rate[swap]) ||
	    !slice(swap ? with : without, &rate[!swap])) {
		row_fails(row, "a slice did not end: %.120s", program_fate(with));
		return;
	}
	put(row, WITH, rate[0], rate[1], rate[0] / rate[1]);
}

static void run_pairs(unsigned row, const struct setting *hook, unsigned pairs)
{
	static const char *const args[] = { LIVE_MIB, "0", NULL };
	struct program *with, *without;
	struct command command;
	struct stage stage;
	double rate;

	stage_open(&stage, "load", 0, 0);
	way_command(hook->way, APP, args, &command);
	with = way_start(hook->way, stage.run, &command, row);
	way_command(settings[0].way, APP, args, &command);
	without = way_start(settings[0].way, stage.run, &command, row);
	if (with && without && slice(with, &rate) && slice(without, &rate))
		for (unsigned i = 0; i < pairs && !row_failure(row); i++)
			pair(row, with, without, i % 2);
	way_end(with, row);
	way_end(without, row);
	lab_remove(&lab, stage.name);
}

static void run_all_plentiful(void)
{
	unsigned pairs = bench_number(1, 40), rows = 0;

	table_begin(plentiful,
		    "Plentiful: with and without a hook in turn, no limit and no neighbour");
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		unsigned row = rows;

		if (!s->way->bridge || s->missing)
			continue;
		rows = table_row("%s", s->name) + 1;
		for (unsigned done = 0; done < pairs && !row_failure(row); done += PAIRS_A_START)
			run_pairs(row, s, MIN(pairs - done, PAIRS_A_START));
		put(row, P25, percentile(row, RATIO, 25), percentile(row, RATIO, 75));
		put(row, PAIRS, value_count(row, RATIO));
	}
	table_print(
		"Ratios are the hook's over the one without: of a pair; the middle half of them lies from p25 to p75.");
	for (unsigned row = 0; row < rows; row++)
		if (row_failure(row))
			bench_promise(false, "%s: %s", row_name(row), row_failure(row));
		else
			bench_target(
				median(row, RATIO) >= COST_TARGET,
				"%s: %.1f %% of the throughput while memory is plentiful (at least 98)",
				row_name(row), 100 * median(row, RATIO));
}

static void work(void)
{
	static const char *const args[] = { LIVE_MIB, REPORT_MIB, NULL };

	if (wanted_runtime && strcmp(wanted_runtime, "coreclr") != 0)
		bench_die("--runtime=%s: only coreclr has a load program", wanted_runtime);
	/* .NET reads it as a hexadecimal number */
	snprintf(hard_limit, sizeof(hard_limit), "DOTNET_GCHeapHardLimit=%llX",
		 (unsigned long long)LIMIT / 4 * 3);
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		s->way = way_named("coreclr", s->way_name);
		s->missing = way_command(s->way, APP, args, &s->command);
		if (s->variable)
			s->command.env[0] = s->variable;
	}
	if (settings[0].missing)
		bench_die("%s", settings[0].missing);
	run_all_short();
	run_all_plentiful();
}

const struct bench bench_load = {
	"load",
	"[ROUNDS [PAIRS]]: runs of each setting while memory is short (1), 30 s each;\n"
	"           pairs with and without each hook while it is plentiful (40), 2.5 s each",
	true, work
};
