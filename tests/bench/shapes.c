/* SPDX-License-Identifier: MIT */
/*
 * shapes.c - seven .NET programs and one Low: what each way in gives back, beside the best that the program could do itself
 *
 *     psibridge simulate low GROUP -> psibridged -> the hook of the program in it -> its policy
 *
 * Low is psibridged's, so nothing else is short: what is resident afterwards is what the runtime did not give back, and not what the
 * kernel took. The best ("by hand") is the program's own GC.Collect(2, Aggressive, blocking, compacting), to which its heap does
 * the same each time. That the seven heaps differ is the point: idle garbage in one piece goes back by any collection, what lies
 * between live objects only by one that compacts, and what pools and caches hold by none.
 *
 * A run: the program fills its heap and idles until the policy has been loaded, is told once, and is looked at SETTLE_USEC later.
 * Collections and pauses are the runtime's own count, from before Low till then.
 */
#include "daemon.h"
#include "runtime.h"

#include <string.h>

#define LIMIT (800 * MIB)
#define IDLE_USEC (3 * USEC_PER_SEC)
#define SETTLE_USEC (4 * USEC_PER_SEC) /* longer than the fallback of the profiler settles */
#define ANSWER_USEC (20 * USEC_PER_SEC)
#define GROUP "shapes"

#define RSS_TARGET 1.1
#define OWN_MIB 8 /* code, stacks and what was compiled of hook and policy */
#define FULL_TARGET 2
#define PAUSE_TARGET 2.0

enum { NAME, BEFORE, AFTER, AFTER_X, FULL, PAUSE, PAUSE_X };
static const struct column columns[] = {
	[NAME] = { "program, way in", 0 },  [BEFORE] = { "RSS before MiB", 0 },
	[AFTER] = { "after", 0 },	    [AFTER_X] = { "x by hand", 2 },
	[FULL] = { "full collections", 0 }, [PAUSE] = { "pauses ms", 1 },
	[PAUSE_X] = { "x by hand", 2 },
};

static const struct shape {
	const char *name, *args[3];
} shapes[] = {
	{ "500 MB of garbage", { "500", "0" } },
	{ "LOH, every fifth array kept", { "large" } },
	{ "300 MB live, 200 of garbage", { "mixed" } },
	{ "1 M small live, 200 of garbage", { "small" } },
	{ "500 MB, 1 in 500 pinned", { "pinned" } },
	{ "ArrayPool, 500 MB", { "pool" } },
	{ "MemoryCache, 300 MB", { "cache" } },
};

enum { NONE, BY_HAND, DEFAULT };
static const struct tried {
	const char *name, *way;
} tried[] = {
	[NONE] = { "none", "none" },
	[BY_HAND] = { "by hand", "none" },
	[DEFAULT] = { "psibridge run", "notification profiler" },
	{ "start-up hook", "start-up hook" },
	{ "package", "managed library" },
	{ "attach", "attach" },
};

/* ---- a run ------------------------------------------------------------------------------------------------ */

static struct bench_daemon daemon_;

static void simulate_low(const struct stage *stage, unsigned row)
{
	char control[96];
	struct command command = { .argv = { in_tree("psibridge"), "simulate", "low",
					     lab_path(&lab, stage->run), "--control", control } };
	struct program *simulate;

	snprintf(control, sizeof(control), "%s/control", daemon_.dir);
	simulate = program_start(&lab, NULL, &command);
	if (!program_end(simulate, ANSWER_USEC))
		row_fails(row, "psibridge simulate: %.120s", program_fate(simulate));
	program_free(simulate);
}

struct counted {
	double full, pause_usec;
};

static bool count(struct program *program, unsigned row, struct counted *ret)
{
	const char *line;

	if (!program_say(program, "count") ||
	    program_await(program, "counted ", ANSWER_USEC, &line) <= 0) {
		row_fails(row, "it does not count; %.150s", program_fate(program));
		return false;
	}
	*ret = (struct counted){ line_number(line, "full"), line_number(line, "pause_usec") };
	return true;
}

/* Returns whether it said meanwhile that it was told. */
static bool listen_to(struct program *program, uint64_t usec)
{
	uint64_t until = lab_now_usec() + usec;
	bool told = false;
	const char *line;

	while (program_line(program, until, &line) > 0)
		told |= strstr(line, "told Low") != NULL;
	return told;
}

static void tell_and_look(unsigned row, unsigned way, const struct stage *stage,
			  struct program *program)
{
	struct counted before, after;
	uint64_t rss;

	listen_to(program, IDLE_USEC);
	if (!count(program, row, &before))
		return;
	rss = program_rss(program);
	if (way == BY_HAND)
		program_say(program, "collect");
	else
		simulate_low(stage, row);
	if (!listen_to(program, SETTLE_USEC) && way >= DEFAULT)
		row_fails(row, "it was not told");
	put(row, BEFORE, (double)rss / (double)MIB, (double)program_rss(program) / (double)MIB);
	if (count(program, row, &after)) {
		put(row, FULL, after.full - before.full);
		put(row, PAUSE, (after.pause_usec - before.pause_usec) / 1000);
	}
}

static void run_one(unsigned row, const struct shape *shape, unsigned way)
{
	char source[96];
	struct command command;
	struct program *program;
	struct stage stage;
	const char *why = way_command(way_named("coreclr", tried[way].way), "Garbage/garbage",
				      shape->args, &command);

	if (why) {
		row_fails(row, "%s", why);
		return;
	}
	snprintf(source, sizeof(source), "PSIBRIDGE_SOURCE=%s/notify", daemon_.dir);
	command.env[2] = source;
	stage_open(&stage, GROUP, LIMIT, 0);
	program = way_start(way_named("coreclr", tried[way].way), stage.run, &command, row);
	if (program)
		tell_and_look(row, way, &stage, program);
	way_end(program, row);
	lab_remove(&lab, stage.name);
}

/* ---- all of it -------------------------------------------------------------------------------------------- */

static unsigned row_of(unsigned shape, unsigned way)
{
	return shape * ELEMENTSOF(tried) + way;
}

static void judge(unsigned row, unsigned way)
{
	double rss = median(row, AFTER_X), full = median(row, FULL), pause = median(row, PAUSE_X);

	if (row_failure(row))
		bench_promise(false, "%s: %s", row_name(row), row_failure(row));
	else if (way >= DEFAULT)
		bench_target(
			rss <= RSS_TARGET && full <= FULL_TARGET && pause < PAUSE_TARGET,
			"%s: RSS x %.2f (at most 1.1), full collections %.0f (2), pauses x %.1f (under 2)",
			row_name(row), rss, full, pause);
	if (!row_failure(row) && way == DEFAULT)
		bench_promise(
			median(row, AFTER) <= RSS_TARGET * median(row - DEFAULT + BY_HAND, AFTER) +
						      OWN_MIB &&
				full <= FULL_TARGET,
			"%s: within 10 %% of by hand and %d MiB of its own, in two collections",
			row_name(row), OWN_MIB);
}

static void work(void)
{
	unsigned rounds = bench_number(0, 1), count = ELEMENTSOF(shapes) * ELEMENTSOF(tried);

	if (wanted_runtime && strcmp(wanted_runtime, "coreclr") != 0) {
		printf("SKIP  shapes: its programs are for coreclr\n");
		return;
	}
	table_begin(
		columns,
		"Shapes: one Low; what is resident, .NET's own count of collections and pauses; %u MiB at most",
		(unsigned)(LIMIT / MIB));
	for (unsigned shape = 0; shape < ELEMENTSOF(shapes); shape++)
		for (unsigned way = 0; way < ELEMENTSOF(tried); way++)
			table_row("%s: %s", shapes[shape].name, tried[way].name);
	/* only what is simulated is Low */
	bench_daemon_start(
		&daemon_,
		words("[Daemon]\nTrace=no\n[Defaults]\nEarly=some 10s/10s\nLow=some 10s/10s\n"
		      "Critical=full 10s/10s\n[Watch %s/**]\n",
		      lab_path(&lab, "") + 1));
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned shape = 0; shape < ELEMENTSOF(shapes); shape++)
			for (unsigned way = 0; way < ELEMENTSOF(tried); way++)
				if (!wanted_way || way < DEFAULT ||
				    strcmp(wanted_way, tried[way].name) == 0)
					run_one(row_of(shape, way), &shapes[shape], way);
	bench_daemon_stop(&daemon_);
	for (unsigned row = 0; row < count; row++) {
		unsigned hand = row - row % ELEMENTSOF(tried) + BY_HAND;

		put(row, AFTER_X, median(row, AFTER) / median(hand, AFTER));
		if (row % ELEMENTSOF(tried) >= BY_HAND)
			put(row, PAUSE_X, median(row, PAUSE) / median(hand, PAUSE));
	}
	table_print("By hand: GC.Collect(2, Aggressive, true, true).");
	for (unsigned row = 0; row < count; row++)
		if (value_count(row, AFTER) > 0 || row_failure(row))
			judge(row, row % ELEMENTSOF(tried));
}

const struct bench bench_shapes = {
	"shapes", "[ROUNDS]: runs of each program in each way in (1); about 10 s a run", true, work
};
