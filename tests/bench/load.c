/* SPDX-License-Identifier: MIT */
/*
 * load.c - a busy .NET program: what the bridge costs, what it gains, and what the settings of today do
 *
 * The program is tests/dotnet/Load: a web application without the web, that serves as fast as it can from a live cache of 100 MiB,
 * and makes a report of 100 MiB every 4 s, with the server collector, as ASP.NET has it.
 *
 *  short     In one group with a reader of a file (1 block a millisecond at most, so that it does not take the program's CPU when it
 *            fares well). Both together need more than there is when a report was made. On cgroup2 the limit is memory.high, with
 *            memory.max a quarter above; on v1 it is the hard limit, v1 has no other. Beside the bridge the two settings people use:
 *            DOTNET_GCConserveMemory=9 (compact the oldest generation when it is fragmented), and DOTNET_GCHeapHardLimit of 75 % of
 *            the limit. .NET takes 75 % by itself where it sees a hard limit, so there this row shows what two runs of the same
 *            differ by; it does not look at memory.high.
 *  plentiful No limit, no neighbour, no reports. The program runs twice at the same time, with and without a hook, but only one of
 *            them is served at a time, 1 s each: A B, B A, A B, ... What disturbs one disturbs both. Both are started anew after each
 *            10 pairs, for where a process lies in memory makes a difference too. The verdict is the median of the pairs' ratios.
 *
 * A pause is what a request takes: collections, faults and throttling of the kernel are all in there. p99 is over all requests.
 */
#include "runtime.h"

#include <string.h>

#define APP "Load/load"
#define LIVE_MIB "100"
#define REPORT_MIB "100"
#define LIMIT (512 * MIB)
#define FILE_BYTES (300 * MIB)
#define PACE_USEC 1000
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
	{ "without the bridge", .way_name = "none" },
	{ "profiler", .way_name = "profiler" },
	{ "start-up hook", .way_name = "start-up hook" },
	{ "GCConserveMemory=9", .way_name = "none", .variable = "DOTNET_GCConserveMemory=9" },
	{ "GCHeapHardLimit=75 %", .way_name = "none", .variable = hard_limit },
};

/* Gives the order, and waits for the line that says what came of it. */
static bool serve(struct program *program, const char *order, const char **ret_line)
{
	return program_say(program, order) &&
	       program_await(program, "result ", SERVE_USEC, ret_line) > 0;
}

/* A promise where this run was broken; its target else. */
static void judge(unsigned row, bool met, const char *what)
{
	if (row_failure(row))
		bench_promise(false, "%s: %s", row_name(row), row_failure(row));
	else
		bench_target_of(met, what);
}

/* ---- short --------------------------------------------------------------------------------------------------- */

enum { NAME, REQUESTS, REQUESTS_X, P99, STALL, OOM_KILLS };
static const struct column columns[] = {
	[NAME] = { "setting", 0 },	   [REQUESTS] = { "requests/s", 0 },
	[REQUESTS_X] = { "x without", 2 }, [P99] = { "p99 ms", 1 },
	[STALL] = { "stall ms", 0 },	   [OOM_KILLS] = { "OOM kills", 0 },
};

static void run_short(unsigned row, int data)
{
	struct setting *s = &settings[row];
	struct lab_readers *neighbour;
	struct program *program;
	struct stage stage;
	const char *line;

	lab_data_evict(data);
	stage_open(&stage, "load", lab.v1 ? LIMIT : LIMIT / 4 * 5, lab.v1 ? 0 : LIMIT);
	program = way_start(s->way, stage.run, &s->command, row);
	if (program) {
		neighbour = neighbour_start(stage.run, data, 1, PACE_USEC);
		if (serve(program, "go 4", &line)) {
			stage_begin(&stage);
			if (serve(program, "go 20", &line))
				put(row, REQUESTS,
				    line_number(line, "requests") / line_number(line, "seconds"),
				    NAN, line_number(line, "p99_usec") / 1000,
				    (double)stage_stall_usec(&stage) / 1000);
		}
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
	for (unsigned row = 0; row < ELEMENTSOF(settings); row++)
		if (!settings[row].missing && settings[row].way->bridge)
			judge(row, settings[row].oom_kills <= settings[0].oom_kills,
			      words("%s: %.0f OOM kills (without the bridge %.0f)", row_name(row),
				    settings[row].oom_kills, settings[0].oom_kills));
}

/* ---- plentiful -------------------------------------------------------------------------------------------- */

enum { WITH = 1, WITHOUT, RATIO };
static const struct column plentiful[] = {
	{ "hook", 0 },
	[WITH] = { "requests/s", 0 },
	[WITHOUT] = { "without", 0 },
	[RATIO] = { "ratio", 3 },
};

/* Requests in a second. */
static double slice(struct program *program)
{
	const char *line;

	if (!program || !serve(program, "go 1", &line))
		return NAN;
	return line_number(line, "requests") / line_number(line, "seconds");
}

static void run_pairs(unsigned row, const struct setting *hook, unsigned pairs)
{
	static const char *const args[] = { LIVE_MIB, "0", NULL };
	const struct way *ways[2] = { hook->way, settings[0].way };
	struct program *programs[2];
	struct command command;
	struct stage stage;

	stage_open(&stage, "load", 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		way_command(ways[i], APP, args, &command);
		programs[i] = way_start(ways[i], stage.run, &command, row);
		slice(programs[i]);
	}
	for (unsigned i = 0; i < pairs && !row_failure(row); i++) {
		double rate[2];

		for (unsigned k = 0; k < 2; k++)
			rate[(i + k) % 2] = slice(programs[(i + k) % 2]);
		if (isnan(rate[0] / rate[1]))
			row_fails(row, "a slice did not end");
		put(row, WITH, rate[0], rate[1], rate[0] / rate[1]);
	}
	for (unsigned i = 0; i < 2; i++)
		way_end(programs[i], row);
	lab_remove(&lab, stage.name);
}

static void run_all_plentiful(void)
{
	unsigned pairs = bench_number(1, 40), rows = 0;

	table_begin(plentiful,
		    "Plentiful: with and without a hook in turn, no limit and no neighbour");
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		if (!s->way->bridge || s->missing)
			continue;
		rows = table_row("%s", s->name) + 1;
		for (unsigned done = 0; done < pairs && !row_failure(rows - 1);
		     done += PAIRS_A_START)
			run_pairs(rows - 1, s, MIN(pairs - done, PAIRS_A_START));
	}
	table_print("The ratio is that of a pair: the hook's over the one without.");
	for (unsigned row = 0; row < rows; row++)
		judge(row, median(row, RATIO) >= COST_TARGET,
		      words("%s: %.1f %% of the throughput while memory is plentiful (at least 98)",
			    row_name(row), 100 * median(row, RATIO)));
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
