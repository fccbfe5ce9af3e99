/* SPDX-License-Identifier: MIT */
/*
 * bench-load.c - a busy .NET program: what the bridge costs, what it gains, and what the settings
 * of today do
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
 *            itself where it sees a hard limit ("believes"), so there this row shows what two runs
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
#include "effect-ways.h"

#include <stdlib.h>
#include <string.h>

#define APP "Load/load"
#define LIVE_MIB "100"
#define REPORT_MIB "100"
#define LIMIT (512 * MIB)
#define FILE_BYTES (300 * MIB)
#define PACE_USEC 1000
#define WARM_UP "go 4"
#define MEASURED "go 20"
#define SAMPLE_USEC (20 * USEC_PER_MSEC)
#define SERVE_USEC (90 * USEC_PER_SEC)
#define END_USEC (10 * USEC_PER_SEC)
#define PAIRS_A_START 10
#define COST_TARGET 0.98

static const char *runtime = "coreclr";
static unsigned numbers[2] = { 1, 40 }; /* rounds, pairs */

static const char help[] = ALLOW_MISSING_HELP
	"  ROUNDS           runs of each setting while memory is short (1); about 30 s a run\n"
	"  PAIRS            pairs with and without each hook while it is plentiful (40); about 2.5 s a pair\n";

/* ---- the settings ---------------------------------------------------------------------------------------- */

struct setting {
	const char *name;
	const char *way_name;
	const char *variable; /* "NAME=VALUE", or NULL */
	const struct way *way;
	struct command command;
	const char *missing; /* NULL: it can run */
	char failed[WAY_WHY_MAX];
	unsigned oom_kills;
	struct series requests, p50_msec, p99_msec, max_msec, pause_msec, gen2, stall_msec,
		neighbour, peak, believes;
};

static char hard_limit[64];

static struct setting settings[] = {
	{ .name = "without the bridge", .way_name = "none" },
	{ .name = "profiler", .way_name = "profiler" },
	{ .name = "start-up hook", .way_name = "start-up hook" },
	{ .name = "GCConserveMemory=9",
	  .way_name = "none",
	  .variable = "DOTNET_GCConserveMemory=9" },
	{ .name = "GCHeapHardLimit=75 %", .way_name = "none", .variable = hard_limit },
};

static bool has_bridge(const struct setting *s)
{
	return s->way->bridge;
}

static void find_settings(void)
{
	static const char *const args[] = { LIVE_MIB, REPORT_MIB, NULL };

	/* .NET reads it as a hexadecimal number */
	snprintf(hard_limit, sizeof(hard_limit), "DOTNET_GCHeapHardLimit=%llX",
		 (unsigned long long)LIMIT / 4 * 3);
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		s->way = way_named("coreclr", s->way_name);
		s->missing = way_command(s->way, APP, args, &s->command);
		if (s->variable)
			s->command.env[0] = s->variable;
	}
}

/* ---- short --------------------------------------------------------------------------------------------------- */

static bool serve(struct program *program, const char *order, uint64_t *ret_peak,
		  const char **ret_line)
{
	uint64_t until = lab_now_usec() + SERVE_USEC, peak = 0;
	const char *line;
	int r;

	if (!program_say(program, order))
		return false;
	while (lab_now_usec() < until) {
		peak = MAX(peak, program_rss(program));
		r = program_line(program, lab_now_usec() + SAMPLE_USEC, &line);
		if (r < 0)
			return false;
		if (r == 0 || strncmp(line, "result ", 7) != 0)
			continue;
		*ret_peak = peak;
		*ret_line = line;
		return true;
	}
	return false;
}

static void measure(struct setting *s, struct stage *stage, struct program *program,
		    struct lab_readers *neighbour)
{
	uint64_t peak, read_before;
	const char *line;
	double seconds;

	if (!serve(program, WARM_UP, &peak, &line))
		return;
	stage_begin(stage);
	read_before = lab_readers_bytes(neighbour);
	if (!serve(program, MEASURED, &peak, &line))
		return;
	seconds = line_number(line, "seconds");
	series_add(&s->requests, line_number(line, "requests") / seconds);
	series_add(&s->p50_msec, line_number(line, "p50_usec") / 1000);
	series_add(&s->p99_msec, line_number(line, "p99_usec") / 1000);
	series_add(&s->max_msec, line_number(line, "max_usec") / 1000);
	series_add(&s->pause_msec, line_number(line, "pause_msec"));
	series_add(&s->gen2, line_number(line, "gen2"));
	series_add(&s->believes, line_number(line, "believes_mb"));
	series_add(&s->stall_msec, (double)stage_stall(stage).some_usec / 1000);
	series_add(&s->neighbour,
		   (double)(lab_readers_bytes(neighbour) - read_before) / (double)MIB / seconds);
	series_add(&s->peak, (double)peak / (double)MIB);
}

static void run_short(struct setting *s, int data)
{
	struct lab_readers *neighbour = NULL;
	struct program *program;
	struct stage stage;

	lab_data_evict(data);
	if (!lab.v1)
		stage_open(&stage, "load", LIMIT / 4 * 5, LIMIT);
	else
		stage_open(&stage, "load", LIMIT, 0);
	program = way_start(stage.run, &s->command);
	if (way_ready(s->way, program, s->failed)) {
		neighbour = neighbour_start(stage.run, data, 1, PACE_USEC);
		measure(s, &stage, program, neighbour);
		if (!lab_readers_alive(neighbour))
			snprintf(s->failed, sizeof(s->failed), "the neighbour was killed");
	}
	neighbour = lab_readers_free(neighbour);
	s->oom_kills += (unsigned)lab_number(
		lab.v1 ? lab_v1_file(&lab, stage.run, "memory.oom_control")
		       : lab_file(&lab, stage.run, "memory.events"),
		"oom_kill ");
	if (!program_end(program, END_USEC) && !s->failed[0])
		snprintf(s->failed, sizeof(s->failed), "%s", program_fate(program));
	program_free(program);
	stage_close(&stage);
}

static void print_short(void)
{
	static const struct column columns[] = {
		{ "setting", "setting", 0 },
		{ "requests_per_sec", "requests/s", 0 },
		{ "requests_ratio", "x without", 2 },
		{ "p50_msec", "p50 ms", 2 },
		{ "p99_msec", "p99 ms", 1 },
		{ "max_msec", "max ms", 0 },
		{ "gc_pause_msec", "GC pauses ms", 0 },
		{ "gen2", "gen2", 0 },
		{ "stall_msec", "stall ms", 0 },
		{ "neighbour_mib_per_sec", "neighbour MiB/s", 0 },
		{ "peak_rss_mib", "peak RSS MiB", 0 },
		{ "believes_mib", "believes MiB", 0 },
		{ "oom_kills", "OOM kills", 0 },
	};

	table_begin("short", columns,
		    "Short: busy, %s MiB live, beside a reader of %u MiB, %s of %u MiB, 20 s",
		    LIVE_MIB, (unsigned)(FILE_BYTES / MIB),
		    !lab.v1 ? "memory.high" : "v1 hard limit", (unsigned)(LIMIT / MIB));
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		table_row();
		table_text("%s", s->name);
		table_numbers(median(&s->requests),
			      median(&s->requests) / median(&settings[0].requests),
			      median(&s->p50_msec), median(&s->p99_msec), median(&s->max_msec),
			      median(&s->pause_msec), median(&s->gen2), median(&s->stall_msec),
			      median(&s->neighbour), median(&s->peak), median(&s->believes),
			      s->missing ? NAN : s->oom_kills);
		if (s->missing || s->failed[0])
			table_note("%s: %s", s->name, s->missing ? s->missing : s->failed);
	}
	table_print();
}

static void print_short_targets(void)
{
	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++) {
		if (s->missing || !has_bridge(s))
			continue;
		if (s->failed[0])
			bench_promise(false, "%s: %s", s->name, s->failed);
		else
			bench_target(s->oom_kills <= settings[0].oom_kills,
				     "%s: %u OOM kills (without the bridge %u)", s->name,
				     s->oom_kills, settings[0].oom_kills);
	}
}

/* ---- plentiful -------------------------------------------------------------------------------------------- */

struct contest {
	struct setting *hook;
	struct series ratio, cpu_ratio, with, without;
	char failed[WAY_WHY_MAX];
};

/* Requests a second, and CPU time a request. */
static bool slice(struct program *program, double *ret_rate, double *ret_cpu)
{
	uint64_t cpu = program_cpu_nsec(program), peak;
	const char *line;

	if (!serve(program, "go 1", &peak, &line))
		return false;
	*ret_rate = line_number(line, "requests") / line_number(line, "seconds");
	*ret_cpu = (double)(program_cpu_nsec(program) - cpu) / line_number(line, "requests");
	return *ret_rate > 0;
}

static void pair(struct contest *contest, struct program *with, struct program *without, bool swap)
{
	double rate[2], cpu[2];

	if (!slice(swap ? without : with, &rate[swap], &cpu[swap]) ||
	    !slice(swap ? with : without, &rate[!swap], &cpu[!swap])) {
		snprintf(contest->failed, sizeof(contest->failed), "a slice did not end: %.120s",
			 program_fate(with));
		return;
	}
	series_add(&contest->with, rate[0]);
	series_add(&contest->without, rate[1]);
	series_add(&contest->ratio, rate[0] / rate[1]);
	series_add(&contest->cpu_ratio, cpu[0] / cpu[1]);
}

static struct command plain(const struct setting *s)
{
	static const char *const args[] = { LIVE_MIB, "0", NULL };
	struct command command = { .argv = { NULL } };

	way_command(s->way, APP, args, &command);
	return command;
}

static void run_pairs(struct contest *contest, unsigned pairs)
{
	struct command commands[2] = { plain(contest->hook), plain(&settings[0]) };
	struct program *with, *without;
	struct stage stage;
	double rate, cpu;

	stage_open(&stage, "load", 0, 0);
	with = way_start(stage.run, &commands[0]);
	without = way_start(stage.run, &commands[1]);
	if (way_ready(contest->hook->way, with, contest->failed) &&
	    way_ready(settings[0].way, without, contest->failed) && slice(with, &rate, &cpu) &&
	    slice(without, &rate, &cpu))
		for (unsigned i = 0; i < pairs && !contest->failed[0]; i++)
			pair(contest, with, without, i % 2);
	if (!program_end(with, END_USEC) && !contest->failed[0])
		snprintf(contest->failed, sizeof(contest->failed), "no clean end; %.120s",
			 program_fate(with));
	program_end(without, END_USEC);
	program_free(with);
	program_free(without);
	stage_close(&stage);
}

static void run_plentiful(struct contest *contests, unsigned count)
{
	static const struct column columns[] = {
		{ "hook", "hook", 0 },
		{ "requests_per_sec", "requests/s", 0 },
		{ "without_requests_per_sec", "without", 0 },
		{ "ratio", "ratio", 3 },
		{ "ratio_p25", "p25", 3 },
		{ "ratio_p75", "p75", 3 },
		{ "cpu_ratio", "CPU a request", 3 },
		{ "pairs", "pairs", 0 },
	};

	table_begin("plentiful", columns,
		    "Plentiful: with and without a hook in turn, no limit and no neighbour");
	for (struct contest *c = contests; c < contests + count; c++) {
		for (unsigned done = 0; done < numbers[1] && !c->failed[0]; done += PAIRS_A_START)
			run_pairs(c, MIN(numbers[1] - done, PAIRS_A_START));
		table_row();
		table_text("%s", c->hook->name);
		table_numbers(median(&c->with), median(&c->without), median(&c->ratio),
			      series_percentile(&c->ratio, 25), series_percentile(&c->ratio, 75),
			      median(&c->cpu_ratio), (double)c->ratio.count);
		if (c->failed[0])
			table_note("%s: %s", c->hook->name, c->failed);
	}
	table_print();
	bench_say("Ratios are the hook's over the one without: of a pair; the middle half of them "
		  "lies from p25 to p75.");
	for (struct contest *c = contests; c < contests + count; c++) {
		if (c->failed[0])
			bench_promise(false, "%s: %s", c->hook->name, c->failed);
		bench_target(
			median(&c->ratio) >= COST_TARGET,
			"%s: %.1f %% of the throughput while memory is plentiful (at least 98)",
			c->hook->name, 100 * median(&c->ratio));
	}
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static void work(void)
{
	struct contest contests[ELEMENTSOF(settings)] = { { .hook = NULL } };
	unsigned contest_count = 0;
	int data;

	if (strcmp(runtime, "coreclr") != 0)
		bench_die("--runtime=%s: only coreclr has a load program", runtime);
	find_settings();
	if (way_is_missing(runtime, settings[0].missing))
		return;
	data = data_new(FILE_BYTES);
	for (unsigned round = 0; round < numbers[0]; round++)
		for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++)
			if (!s->missing && !s->failed[0])
				run_short(s, data);
	print_short();
	print_short_targets();

	for (struct setting *s = settings; s < settings + ELEMENTSOF(settings); s++)
		if (!way_is_missing(s->name, s->missing) && has_bridge(s))
			contests[contest_count++].hook = s;
	if (contest_count > 0)
		run_plentiful(contests, contest_count);
}

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.name = "load",
		.usage = "[--allow-missing] [ROUNDS [PAIRS]]",
		.help = help,
		.options = { { "runtime", &runtime }, ALLOW_MISSING },
		.numbers = numbers,
		.max_numbers = 2,
		.lab = LAB_NEEDED,
		.work = work,
	};

	return bench_main(&bench, argc, argv);
}
