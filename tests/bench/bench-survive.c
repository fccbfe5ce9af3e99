/* SPDX-License-Identifier: MIT */
/*
 * bench-survive.c - who gets killed when memory runs out
 *
 *     the program   tests/dotnet/Survive: idles on an import of 400 MiB that it dropped; about 440 MiB in use, 60 of them needed
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
 * (facts), so at 80 MiB/s it comes too late. What is the verdict is said below the table, the other
 * rows are figures as they are.
 *
 *  one group     all are in one container (or service); its limit is the program's own
 *  pod           the program in a group without a limit, the others in another one; the limit is
 *                their parent's. The program does not stall: its own memory.pressure stays silent.
 *                So it is told to watch the parent (PSIBRIDGE_CGROUP)
 *  memory.high   (cgroup2) one group, with memory.high at seven eighths of memory.max, as the
 *                documentation advises
 *
 * Survived is: it answers when the sidecar has all it wanted. Without the bridge the same; the runs
 * alternate.
 */
#include "effect-ways.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define APP "Survive/survive"
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

static const char *runtime = "coreclr", *way_name;
static unsigned numbers[2] = { 10, 3 }; /* runs of what is judged, of the rest */
static const char *garbage_mib = "400";
static int data; /* the file */

static const char help[] =
	"  --runtime=R      coreclr (the default) or mono\n"
	"  --way=NAME       the way in (profiler; for mono: profile hook)\n" ALLOW_MISSING_HELP
	"  RUNS             of each kind that is judged (10); about 30 s for one with and one without\n"
	"  OTHERS           of each that is not (3)\n";

/* ---- the sidecar --------------------------------------------------------------------------------------- */

struct sidecar {
	pid_t pid;
	_Atomic unsigned *mib; /* shared: what it has */
};

static _Noreturn void grow(_Atomic unsigned *mib, unsigned mib_per_sec)
{
	uint64_t start = now_nsec();

	for (unsigned i = 0; i < SIDECAR_MIB; i++) {
		char *chunk = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

		if (chunk == MAP_FAILED)
			_exit(2);
		memset(chunk, 'x', MIB);
		atomic_store(mib, i + 1);
		if (i < SIDECAR_FIRST_MIB)
			start = now_nsec();
		else
			while ((now_nsec() - start) * mib_per_sec <
			       (i + 1 - SIDECAR_FIRST_MIB) * UINT64_C(1000000000))
				sleep_usec(1000);
	}
	for (;;)
		pause();
}

static struct sidecar sidecar_start(const char *group, unsigned mib_per_sec)
{
	struct sidecar sidecar = { .mib = shared_new(sizeof(*sidecar.mib)) };

	fflush(stdout);
	sidecar.pid = lab_fork(&lab, group);
	if (sidecar.pid < 0)
		bench_die("%s: %s", group, strerror(-sidecar.pid));
	if (sidecar.pid == 0) {
		close_range(STDERR_FILENO + 1, ~0u, 0); /* the program's pipe is not ours */
		grow(sidecar.mib, mib_per_sec);
	}
	return sidecar;
}

/* Returns: false: it was killed before that. */
static bool sidecar_end(struct sidecar *sidecar)
{
	bool alive = waitpid(sidecar->pid, NULL, WNOHANG) == 0;

	if (alive) {
		kill(sidecar->pid, SIGKILL);
		waitpid(sidecar->pid, NULL, 0);
	}
	munmap(sidecar->mib, sizeof(*sidecar->mib));
	return alive;
}

/* ---- the scenes ------------------------------------------------------------------------------------------ */

struct outcome {
	unsigned runs, survived, killed, others_killed;
	struct series rss_after, sidecar_at_kill, full_collections;
	char failed[WAY_WHY_MAX];
};

struct scene {
	const char *name;
	unsigned mib_per_sec;
	bool pod, high, judged;
	struct outcome with, without;
};

static struct scene scenes[] = {
	{ .name = "one group", .mib_per_sec = 20, .judged = true },
	{ .name = "one group", .mib_per_sec = 40 },
	{ .name = "one group", .mib_per_sec = 80 },
	{ .name = "pod", .mib_per_sec = 20 },
	{ .name = "memory.high", .mib_per_sec = 80, .high = true },
};

/* In the outer group is nobody, in "app" the program, in "others" the others; in one group all are in "app". */
static void open_groups(const struct scene *scene)
{
	char high[32];

	lab_make(&lab, "survive", scene->pod ? LIMIT : 0);
	lab_delegate(&lab, "survive");
	lab_make(&lab, "survive/app", scene->pod ? 0 : LIMIT);
	lab_make(&lab, "survive/others", 0);
	snprintf(high, sizeof(high), "%llu", (unsigned long long)(LIMIT / 8 * 7));
	if (scene->high)
		lab_write(lab_file(&lab, "survive/app", "memory.high"), high);
}

/* Lets the sidecar grow until it has all, or somebody is dead. */
static void let_it_grow(struct program *program, const struct sidecar *sidecar,
			const struct lab_readers *shipper)
{
	uint64_t until = lab_now_usec() + GROWN_USEC;
	const char *line;

	while (lab_now_usec() < until && atomic_load(sidecar->mib) < SIDECAR_MIB &&
	       lab_alive(sidecar->pid) && lab_readers_alive(shipper))
		if (program_line(program, lab_now_usec() + STEP_USEC, &line) < 0)
			return;
	/* the last page was written; who has to die for it may still be dying */
	until = lab_now_usec() + SETTLE_USEC;
	while (program_line(program, until, &line) > 0)
		;
}

/* Its full collections so far; -1: it does not answer. */
static long ask(struct program *program)
{
	const char *answer;

	if (!program_say(program, "ping") ||
	    program_await(program, "pong ", ANSWER_USEC, &answer) <= 0)
		return -1;
	return strtol(answer + 5, NULL, 10);
}

static void judge(struct outcome *o, struct program *program, const struct sidecar *sidecar,
		  long collections_before)
{
	long collections = program_ended(program) ? -1 : ask(program);

	if (collections >= 0) {
		o->survived++;
		series_add(&o->rss_after, (double)program_rss(program) / (double)MIB);
		series_add(&o->full_collections, (double)(collections - collections_before));
		/* memory.high slows down who wants more */
		if (atomic_load(sidecar->mib) < SIDECAR_MIB && lab_alive(sidecar->pid))
			snprintf(o->failed, sizeof(o->failed), "the sidecar got %u MiB in %u s",
				 atomic_load(sidecar->mib), (unsigned)(GROWN_USEC / USEC_PER_SEC));
	} else if (program_was_killed(program)) {
		o->killed++;
		series_add(&o->sidecar_at_kill, atomic_load(sidecar->mib));
	} else {
		snprintf(o->failed, sizeof(o->failed), "it does not answer; %.120s",
			 program_fate(program));
	}
}

static void run(const struct scene *scene, struct outcome *o, const struct way *way,
		const struct command *command)
{
	const char *others = scene->pod ? "survive/others" : "survive/app";
	struct lab_readers *shipper;
	struct program *program;
	struct sidecar sidecar;
	long collections;

	lab_data_evict(data);
	open_groups(scene);
	o->runs++;
	program = way_start("survive/app", command);
	if (!way_ready(way, program, o->failed)) {
		program_free(program);
		lab_remove(&lab, "survive");
		return;
	}
	collections = ask(program);
	shipper = neighbour_start(others, data, 1, PACE_USEC);
	/* one pass, so that its file is in use when it matters */
	while (lab_readers_bytes(shipper) < FILE_BYTES && lab_readers_alive(shipper))
		sleep_usec(10000);
	sidecar = sidecar_start(others, scene->mib_per_sec);

	let_it_grow(program, &sidecar, shipper);
	judge(o, program, &sidecar, collections);
	if (!lab_readers_alive(shipper))
		o->others_killed++;
	lab_readers_free(shipper);
	if (!sidecar_end(&sidecar))
		o->others_killed++;
	program_end(program, END_USEC);
	program_free(program);
	lab_remove(&lab, "survive");
}

/* ---- what came out ---------------------------------------------------------------------------------------- */

static void print_row(const struct scene *scene, const char *kind, struct outcome *o)
{
	table_row();
	table_text("%s", scene->name);
	table_numbers(scene->mib_per_sec);
	table_text("%s", kind);
	table_numbers(o->runs, o->survived, o->killed, o->others_killed, median(&o->rss_after),
		      median(&o->sidecar_at_kill), median(&o->full_collections));
	if (o->failed[0])
		table_note("%s, %u MiB/s, %s: %s", scene->name, scene->mib_per_sec, kind,
			   o->failed);
}

static void print_table(const char *how)
{
	static const struct column columns[] = {
		{ "scene", "scene", 0 },
		{ "mib_per_sec", "MiB/s", 0 },
		{ "bridge", "bridge", 0 },
		{ "runs", "runs", 0 },
		{ "survived", "survived", 0 },
		{ "killed", "killed", 0 },
		{ "others_killed", "others killed", 0 },
		{ "rss_after_mib", "RSS after MiB", 0 },
		{ "sidecar_mib", "sidecar at the kill MiB", 0 },
		{ "gen2", "full collections", 0 },
	};

	table_begin(
		"survive", columns,
		"Survival, %s: %s MiB of garbage, a sidecar that grows to %u MiB, a file of %u MiB, %u MiB together",
		runtime, garbage_mib, SIDECAR_MIB, (unsigned)(FILE_BYTES / MIB),
		(unsigned)(LIMIT / MIB));
	for (struct scene *s = scenes; s < scenes + ELEMENTSOF(scenes); s++)
		if (s->without.runs > 0) {
			print_row(s, "none", &s->without);
			print_row(s, how, &s->with);
		}
	table_print();
}

static void print_targets(void)
{
	for (struct scene *s = scenes; s < scenes + ELEMENTSOF(scenes); s++) {
		if (!s->judged)
			continue;
		bench_target(
			s->with.survived == s->with.runs && s->with.others_killed == 0,
			"%s, %u MiB/s: with the bridge %u of %u survive, nobody is killed in its place",
			s->name, s->mib_per_sec, s->with.survived, s->with.runs);
		bench_target(s->without.killed == s->without.runs,
			     "%s, %u MiB/s: without it %u of %u are killed", s->name,
			     s->mib_per_sec, s->without.killed, s->without.runs);
	}
}

static void work(void)
{
	const char *args[] = { garbage_mib, LIVE_MIB, NULL };
	bool mono = strcmp(runtime, "mono") == 0;
	const struct way *way, *bare = way_at(runtime, 0);
	struct command none, bridged;
	char parent[128];
	const char *why;

	if (!bare)
		bench_die("--runtime=%s: coreclr and mono are known", runtime);
	/* Mono's heap is a third larger than what is in it */
	if (mono)
		args[0] = garbage_mib = "300";
	way = way_named(runtime, way_name ? way_name : mono ? "profile hook" : "profiler");
	why = way_command(bare, APP, args, &none);
	if (!why)
		why = way_command(way, APP, args, &bridged);
	if (way_is_missing(way->name, why))
		return;
	if (way->attach || way->own_app)
		bench_die("--way=%s: only ways that are there from the start", way->name);
	snprintf(parent, sizeof(parent), "PSIBRIDGE_CGROUP=%s/survive", lab.name);

	data = data_new(FILE_BYTES);
	for (struct scene *s = scenes; s < scenes + ELEMENTSOF(scenes); s++) {
		struct command command = bridged;
		unsigned env = 0;

		if (s->high && lab.v1)
			continue;
		while (command.env[env])
			env++;
		if (s->pod)
			command.env[env] = parent;
		for (unsigned i = 0; i < numbers[s->judged ? 0 : 1]; i++) {
			run(s, &s->without, bare, &none);
			run(s, &s->with, way, &command);
		}
	}
	print_table(way->name);
	print_targets();
}

int main(int argc, char **argv)
{
	static const struct bench bench = {
		.name = "survive",
		.usage = "[--runtime=coreclr|mono] [--way=NAME] [--allow-missing] [RUNS [OTHERS]]",
		.help = help,
		.options = { { "runtime", &runtime }, { "way", &way_name }, ALLOW_MISSING },
		.numbers = numbers,
		.max_numbers = 2,
		.lab = LAB_NEEDED,
		.work = work,
	};

	return bench_main(&bench, argc, argv);
}
