/* SPDX-License-Identifier: MIT */
/*
 * survive.c - who gets killed when memory runs out
 *
 *     the program   tests/dotnet/Garbage: idles on a cache of 400 MiB that it dropped; about 440 MiB in use, 60 of them needed
 *     a shipper     reads a file of 128 MiB, round and round: page cache that is in use
 *     a sidecar     native memory, 60 MiB at first, that grows to 300 MiB
 *
 * Together they need 490 MiB and may have 640. But nobody tells the program, and its collector does
 * not run by itself: it looks at the limit when it collects, and an idle program does not collect.
 * That it knows its limit (.NET allows its heap 75 % of it) does not help, for it keeps that. So
 * the kernel takes the page cache first, which makes the shipper wait; then, when the sidecar has
 * about 200 MiB, it kills the largest: the program.
 *
 * From the first wait to the kill there is as much time as the sidecar needs to eat the page cache:
 * 128 MiB by its speed. That is the time in which a warning is worth something. So there is a row
 * for each speed: at 20 MiB/s it is 6 s; the alarm of an unprivileged trigger takes 2 to 4 s
 * (facts), so from 80 MiB/s on only the forecast comes in time (PSIBRIDGE_FORECAST=off shows it). What is
 * the verdict is said below the table, the other rows are figures as they are.
 *
 * "Low" is when the program was told, after the start of the sidecar, "killed at" when it was killed
 * without the bridge, and "lead" what lies between: that much time there was to collect.
 *
 *  one group     all are in one container (or service); its limit is the program's own
 *  evenly        the same, and the sidecar has nothing at first
 *  pod           the program in a group without a limit, the others in another one; the limit is
 *                their parent's. The program does not stall: its own memory.pressure stays silent.
 *                So it is told to watch the parent (PSIBRIDGE_CGROUP)
 *
 * Survived is: it answers when the sidecar has all it wanted. Without the bridge the same; the runs
 * alternate.
 */
#include "runtime.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define APP "Garbage/garbage"
#define LIVE_MIB "20"
#define LIMIT (640 * MIB)
#define FILE_BYTES (128 * MIB)
#define PACE_USEC 1500
#define SIDECAR_FIRST_MIB 60
#define SIDECAR_MIB 300
#define SETTLE_USEC (500 * USEC_PER_MSEC)
#define ANSWER_USEC (10 * USEC_PER_SEC)
#define GROWN_USEC (60 * USEC_PER_SEC)
#define END_USEC (10 * USEC_PER_SEC)
#define STEP_USEC (10 * USEC_PER_MSEC)

static const char *garbage_mib = "400";
static int data; /* the file */

/* ---- the sidecar --------------------------------------------------------------------------------------- */

static _Noreturn void grow(unsigned mib_per_sec, unsigned first_mib)
{
	char *memory = mmap(NULL, SIDECAR_MIB * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t start = now_nsec();

	for (unsigned i = 0; memory != MAP_FAILED && i < SIDECAR_MIB; i++) {
		memset(memory + i * MIB, 'x', MIB);
		if (i < first_mib)
			start = now_nsec();
		else
			while ((now_nsec() - start) * mib_per_sec <
			       (i + 1 - first_mib) * UINT64_C(1000000000))
				sleep_usec(1000);
	}
	for (;;)
		pause();
}

static pid_t sidecar_start(const char *group, unsigned mib_per_sec, unsigned first_mib)
{
	pid_t pid;

	fflush(stdout);
	pid = lab_fork(&lab, group);
	if (pid < 0)
		bench_die("%s: %s", group, strerror(-pid));
	if (pid == 0) {
		close_range(STDERR_FILENO + 1, ~0u, 0); /* the program's pipe is not ours */
		grow(mib_per_sec, first_mib);
	}
	return pid;
}

/* What it has. */
static unsigned sidecar_mib(pid_t sidecar)
{
	return (unsigned)(lab_proc_number(sidecar, "status", "RssAnon:") / 1024);
}

/* ---- the scenes ------------------------------------------------------------------------------------------ */

enum {
	NAME,
	SPEED,
	BRIDGE,
	SURVIVED,
	KILLED,
	OTHERS,
	RSS,
	SIDECAR,
	KILLED_AT,
	LOW,
	LEAD10,
	LEAD50
};
static const struct column columns[] = {
	[NAME] = { "scene", 0 },
	[SPEED] = { "MiB/s", 0 },
	[BRIDGE] = { "bridge", 0 },
	[SURVIVED] = { "survived", 0 },
	[KILLED] = { "killed", 0 },
	[OTHERS] = { "others killed", 0 },
	[RSS] = { "RSS after MiB", 0 },
	[SIDECAR] = { "sidecar at the kill MiB", 0 },
	[KILLED_AT] = { "killed at s", 2 },
	[LOW] = { "Low s", 2 },
	[LEAD10] = { "lead p10 s", 2 },
	[LEAD50] = { "p50", 2 },
};

static const struct scene {
	const char *name;
	unsigned mib_per_sec;
	bool pod, judged;
	bool evenly; /* from its first byte on: nothing announces it */
} scenes[] = {
	{ .name = "one group", .mib_per_sec = 20, .judged = true },
	{ .name = "one group", .mib_per_sec = 40, .judged = true },
	{ .name = "one group", .mib_per_sec = 80, .judged = true },
	{ .name = "one group", .mib_per_sec = 160, .judged = true },
	{ .name = "one group", .mib_per_sec = 320, .judged = true },
	{ .name = "one group", .mib_per_sec = 640 },
	{ .name = "evenly", .mib_per_sec = 80, .evenly = true },
	{ .name = "evenly", .mib_per_sec = 160, .evenly = true },
	{ .name = "evenly", .mib_per_sec = 320, .evenly = true },
	{ .name = "pod", .mib_per_sec = 20, .pod = true },
};

/* Of a row of the table. */
struct outcome {
	unsigned runs, survived, killed, others_killed;
};
static struct outcome judged[2]; /* all of them: without the bridge, with it */
static uint64_t low_usec;	 /* when the program was first told; 0: not yet */

/* In the outer group is nobody, in "app" the program, in "others" the others; in one group all are in "app". */
static void open_groups(const struct scene *scene)
{
	lab_make(&lab, "survive", scene->pod ? LIMIT : 0);
	lab_delegate(&lab, "survive");
	lab_make(&lab, "survive/app", scene->pod ? 0 : LIMIT);
	lab_make(&lab, "survive/others", 0);
}

/* Listens to what the program says until then. Returns: false: it ended. */
static bool listen_to(struct program *program, uint64_t until_usec)
{
	const char *line;
	int r;

	while ((r = program_line(program, until_usec, &line)) > 0)
		if (low_usec == 0 && strstr(line, "told Low"))
			low_usec = lab_now_usec();
	return r == 0;
}

/* Lets the sidecar grow until it has all, or somebody is dead. */
static void let_it_grow(struct program *program, pid_t sidecar, const struct lab_readers *shipper)
{
	uint64_t until = lab_now_usec() + GROWN_USEC;
	while (lab_now_usec() < until && sidecar_mib(sidecar) < SIDECAR_MIB && lab_alive(sidecar) &&
	       lab_readers_alive(shipper))
		if (!listen_to(program, lab_now_usec() + STEP_USEC))
			return;
	/* the last page was written; who has to die for it may still be dying */
	listen_to(program, lab_now_usec() + SETTLE_USEC);
}

static bool answers(struct program *program)
{
	return !program_ended(program) && program_say(program, "alive") &&
	       program_await(program, "alive ", ANSWER_USEC, NULL) > 0;
}

static void judge(unsigned row, struct outcome *o, struct program *program, pid_t sidecar)
{
	if (answers(program)) {
		o->survived++;
		put(row, RSS, (double)program_rss(program) / (double)MIB);
	} else if (program_was_killed(program)) {
		o->killed++;
		put(row, SIDECAR, sidecar_mib(sidecar));
	} else {
		row_fails(row, "it does not answer; %.120s", program_fate(program));
	}
}

static void run(const struct scene *scene, unsigned row, struct outcome *o, const struct way *way,
		const struct command *command)
{
	const char *others = scene->pod ? "survive/others" : "survive/app";
	struct lab_readers *shipper;
	struct program *program;
	uint64_t start;
	pid_t sidecar;

	lab_data_evict(data);
	open_groups(scene);
	o->runs++;
	low_usec = 0;
	program = way_start(way, "survive/app", command, row);
	if (program) {
		shipper = neighbour_start(others, data, 1, PACE_USEC);
		/* one pass, so that its file is in use when it matters */
		while (lab_readers_bytes(shipper) < FILE_BYTES && lab_readers_alive(shipper))
			listen_to(program, lab_now_usec() + STEP_USEC);
		start = lab_now_usec();
		sidecar = sidecar_start(others, scene->mib_per_sec,
					scene->evenly ? 0 : SIDECAR_FIRST_MIB);
		let_it_grow(program, sidecar, shipper);
		if (program_ended(program))
			put(row, KILLED_AT, (double)(lab_now_usec() - start) / 1e6);
		if (low_usec > 0)
			put(row, LOW, ((double)low_usec - (double)start) / 1e6);
		judge(row, o, program, sidecar);
		o->others_killed += !lab_readers_alive(shipper) + !lab_alive(sidecar);
		lab_readers_free(shipper);
		lab_kill(sidecar);
		program_end(program, END_USEC);
		program_free(program);
	}
	lab_remove(&lab, "survive");
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static void run_scene(const struct scene *scene, const struct way *ways[2],
		      const struct command commands[2])
{
	unsigned runs = scene->judged ? bench_number(0, 10) : bench_number(1, 3), rows[2];
	double killed_at;
	struct outcome outcomes[2] = { { 0 }, { 0 } };
	struct command command[2] = { commands[0], commands[1] };
	char parent[128];
	unsigned env = 0;

	snprintf(parent, sizeof(parent), "PSIBRIDGE_CGROUP=%s/survive", lab.name);
	while (command[1].env[env])
		env++;
	if (scene->pod)
		command[1].env[env] = parent;
	for (unsigned i = 0; i < 2; i++) {
		rows[i] = table_row("%s", scene->name);
		put(rows[i], SPEED, scene->mib_per_sec);
		put_text(rows[i], BRIDGE, "%s", ways[i]->name);
	}
	/* the runs alternate */
	for (unsigned i = 0; i < 2 * runs; i++)
		run(scene, rows[i % 2], &outcomes[i % 2], ways[i % 2], &command[i % 2]);
	killed_at = median(rows[0], KILLED_AT);
	put(rows[1], LEAD10, killed_at - percentile(rows[1], LOW, 90));
	put(rows[1], LEAD50, killed_at - median(rows[1], LOW));
	for (unsigned i = 0; i < 2; i++) {
		if (scene->judged) {
			judged[i].runs += outcomes[i].runs;
			judged[i].survived += outcomes[i].survived;
			judged[i].killed += outcomes[i].killed;
			judged[i].others_killed += outcomes[i].others_killed;
		}
		put_text(rows[i], SURVIVED, "%u of %u", outcomes[i].survived, outcomes[i].runs);
		put(rows[i], KILLED, outcomes[i].killed, outcomes[i].others_killed);
	}
}

static void work(void)
{
	const char *runtime = wanted_runtime ? wanted_runtime : "coreclr", *why;
	const char *args[] = { garbage_mib, LIVE_MIB, NULL };
	bool mono = strcmp(runtime, "mono") == 0;
	const struct way *ways[2] = { way_at(runtime, 0) };
	struct command commands[2];

	if (!ways[0])
		bench_die("--runtime=%s: coreclr and mono are known", runtime);
	/* Mono's heap is a third larger than what is in it */
	if (mono)
		args[0] = garbage_mib = "300";
	ways[1] = way_named(runtime, wanted_way ? wanted_way : mono ? "profile hook" : "profiler");
	if (ways[1]->attach || ways[1]->own_app)
		bench_die("--way=%s: only ways that are there from the start", ways[1]->name);
	for (unsigned i = 0; i < 2; i++) {
		why = way_command(ways[i], APP, args, &commands[i]);
		if (why)
			bench_die("%s: %s", ways[i]->name, why);
	}
	data = data_new(FILE_BYTES);
	table_begin(
		columns,
		"Survival, %s: %s MiB of garbage, a sidecar that grows to %u MiB, a file of %u MiB, %u MiB together",
		runtime, garbage_mib, SIDECAR_MIB, (unsigned)(FILE_BYTES / MIB),
		(unsigned)(LIMIT / MIB));
	for (const struct scene *s = scenes; s < scenes + ELEMENTSOF(scenes); s++)
		run_scene(s, ways, commands);
	table_print("");
	bench_target(
		judged[1].survived == judged[1].runs && judged[1].others_killed == 0,
		"at 20 to 320 MiB/s with the bridge %u of %u survive, nobody is killed in its place",
		judged[1].survived, judged[1].runs);
	bench_target(judged[0].killed == judged[0].runs, "and without it %u of %u are killed",
		     judged[0].killed, judged[0].runs);
}

const struct bench bench_survive = {
	"survive",
	"[RUNS [OTHERS]]: of what is judged (10), about 2 min for one with and one without; of the rest (3)",
	true, work
};
