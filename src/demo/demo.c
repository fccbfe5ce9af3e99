/* SPDX-License-Identifier: MIT */
/*
 * demo.c - psibridge demo: what psibridge is for, in forty seconds, on real memory
 *
 * The story has two parts of the same length. A program (psibridge-luahost: Lua, with its default
 * collector) holds garbage that it does not collect because it idles. A neighbour in the same
 * cgroup needs more memory than is left for its file. First nobody tells the program; then
 * psibridge does, it collects and trims, and the neighbour has its file in memory.
 *
 * The demo judges itself: with psibridge the neighbour must get at least twice the passes, and the
 * program's memory must fall by half. If not, it says so and exits with 1.
 *
 * Where no cgroup can be made it says why, and tells the program through a FIFO instead: the same
 * callback and the same collection, but no neighbour and no stall, since nothing is limited. That
 * is marked as simulated everywhere.
 *
 * Progress goes to standard error, so that standard output is the result alone.
 */
#include "demo/demo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/words.h"

#ifndef PSIBRIDGE_LIBEXECDIR
#error "PSIBRIDGE_LIBEXECDIR: where psibridge-luahost is installed"
#endif

#define HOST_NAME "psibridge-luahost"
#define MIB ((uint64_t)1 << 20)
#define LIMIT_DEFAULT (400 * MIB)
#define LIMIT_MIN (96 * MIB)
#define LENGTH_DEFAULT_USEC (16 * USEC_PER_SEC)

enum {
	OPTION_JSON = ARGS_HELP + 1,
	OPTION_SIMULATE,
	OPTION_MEMORY,
	OPTION_LENGTH,
	OPTION_HOST,
	OPTION_IN_SCOPE
};

static const struct args_option options_table[] = {
	{ "json", NULL, OPTION_JSON },
	{ "simulate", NULL, OPTION_SIMULATE },
	{ "memory", "mebibytes, from 96 to 65536", OPTION_MEMORY },
	{ "length", "a time from 5s to 90s", OPTION_LENGTH },
	{ "host", "a path", OPTION_HOST },
	{ "in-scope", NULL, OPTION_IN_SCOPE },
	{ NULL, NULL, 0 },
};

static const char help[] =
	"psibridge demo - make memory short on purpose, and show what being told is worth\n"
	"\n"
	"Usage: psibridge demo [OPTION...]\n"
	"\n"
	"Puts a program that idles on garbage into a cgroup with a neighbour that needs the\n"
	"memory; first without, then with psibridge. Takes about 40 seconds, up to 650 MiB of\n"
	"memory and 250 MiB of disk, and leaves nothing behind.\n"
	"\n"
	"  --json           one JSON object, no table and no plot\n"
	"  --memory MIB     what both have together (default 400, or less on a small machine)\n"
	"  --length TIME    of each of the two parts (default 16s)\n"
	"  --simulate       make no cgroup; tell the program through a FIFO\n"
	"  --host PATH      the program to run instead of psibridge-luahost\n"
	"  --help\n"
	"\n"
	"Exit status: 0 it went as it should, 1 it did not or could not be shown, 2 the command\n"
	"line makes no sense.\n";

static void interrupt(int signal)
{
	demo_interrupted = signal;
}

/*
 * ---- progress
 * --------------------------------------------------------------------------------------
 */

struct progress {
	bool terminal;
	uint64_t shown_usec;
	const char *what; /* said last, where there is no terminal */
};

static void show_progress(void *userdata, const char *what, uint64_t done_usec,
			  uint64_t length_usec)
{
	struct progress *p = userdata;
	uint64_t now = demo_now_usec();
	char bar[25] = "........................";

	if (!p->terminal) {
		/* A new part, or nothing for ten seconds. */
		if (p->what && strcmp(p->what, what) == 0 &&
		    now - p->shown_usec < 10 * USEC_PER_SEC)
			return;
		fprintf(stderr, "psibridge demo: %s", what);
		if (done_usec > USEC_PER_SEC)
			fprintf(stderr, ", %u of %u s", (unsigned)(done_usec / USEC_PER_SEC),
				(unsigned)(length_usec / USEC_PER_SEC));
		fputs(" ...\n", stderr);
		p->what = what;
		p->shown_usec = now;
		return;
	}
	if (now - p->shown_usec < 100 * USEC_PER_MSEC)
		return;
	p->shown_usec = now;
	if (length_usec == 0) {
		fprintf(stderr, "\r\033[K  %s ...", what);
		return;
	}
	memset(bar, '#', MIN(done_usec * (sizeof(bar) - 1) / length_usec, sizeof(bar) - 1));
	fprintf(stderr, "\r\033[K  %-18s [%s] %2u of %u s", what, bar,
		(unsigned)(done_usec / USEC_PER_SEC), (unsigned)(length_usec / USEC_PER_SEC));
}

static void clear_progress(const struct progress *p)
{
	if (p->terminal)
		fputs("\r\033[K", stderr);
}

/*
 * ---- before
 * ----------------------------------------------------------------------------------------
 */

static int parse(int argc, char **argv, struct demo_options *ret)
{
	struct demo_options options = { .length_usec = LENGTH_DEFAULT_USEC };
	struct args args = ARGS_INIT(argc, argv, options_table, NULL);
	uint64_t mebibytes;
	int r;

	while ((r = args_next(&args)) != ARGS_END) {
		switch (r) {
		case ARGS_HELP:
			fputs(help, stdout);
			return 1;
		case OPTION_JSON:
			options.json = true;
			break;
		case OPTION_SIMULATE:
			options.simulate = true;
			break;
		case OPTION_IN_SCOPE:
			options.in_scope = true;
			break;
		case OPTION_HOST:
			options.host = args.value;
			break;
		case OPTION_MEMORY:
			r = args_number(&args, LIMIT_MIN / MIB, 65536, &mebibytes);
			if (r < 0)
				return r;
			options.limit_bytes = mebibytes * MIB;
			break;
		case OPTION_LENGTH:
			r = args_duration(&args, 5 * USEC_PER_SEC, 90 * USEC_PER_SEC,
					  &options.length_usec);
			if (r < 0)
				return r;
			break;
		default:
			return r;
		}
	}
	*ret = options;
	return 0;
}

/* What we may use without hurting anybody, by psibridge's own count. 0: unknown. */
static uint64_t memory_available(void)
{
	struct psb_watch_options options = { .size = sizeof(options),
					     .pid = getpid(),
					     .rungs = PSB_RUNG_MASK(PSB_RUNG_SAMPLING) |
						      PSB_RUNG_MASK(PSB_RUNG_MACHINE) };
	struct psb_load load = { .size = sizeof(load) };
	psb_bridge *bridge = NULL;
	psb_watch *watch = NULL;
	uint64_t available = 0;

	if (psb_bridge_new(NULL, &bridge) == 0 && psb_watch_new(bridge, &options, &watch) == 0 &&
	    psb_watch_load(watch, &load) == 0 && load.available_bytes != PSB_UNKNOWN)
		available = load.available_bytes;
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	return available;
}

static int choose_limit(struct demo_options *options, char *why)
{
	uint64_t available = memory_available();

	if (options->limit_bytes == 0)
		options->limit_bytes = available == 0 ? LIMIT_DEFAULT
						      : MIN(LIMIT_DEFAULT, available / 2);
	options->limit_bytes -= options->limit_bytes % (16 * MIB);
	if (options->limit_bytes < LIMIT_MIN)
		return demo_why(why, -ENOMEM,
				"only %" PRIu64 " MiB of memory are free; %" PRIu64 " are needed",
				available / MIB, 2 * LIMIT_MIN / MIB);
	return 0;
}

/* Beside us in a build tree, in libexec where it was installed. */
static int find_host(const struct demo_options *options, char *buf, char *why)
{
	ssize_t n = readlink("/proc/self/exe", buf, DEMO_PATH_MAX - sizeof(HOST_NAME) - 1);
	char *slash;

	if (options->host) {
		if (strlen(options->host) >= DEMO_PATH_MAX || access(options->host, X_OK) < 0)
			return demo_why(why, -ENOENT, "--host: %s: %s", options->host,
					strerror(errno));
		strcpy(buf, options->host);
		return 0;
	}
	buf[n > 0 ? n : 0] = '\0';
	slash = strrchr(buf, '/');
	if (slash) {
		strcpy(slash + 1, HOST_NAME);
		if (access(buf, X_OK) == 0)
			return 0;
	}
	snprintf(buf, DEMO_PATH_MAX, "%s/%s", PSIBRIDGE_LIBEXECDIR, HOST_NAME);
	if (access(buf, X_OK) == 0)
		return 0;
	return demo_why(why, -ENOENT, "%s: %s (psibridge was built without Lua?)", buf,
			strerror(errno));
}

/*
 * ---- after
 * -----------------------------------------------------------------------------------------
 */

struct verdict {
	bool passes_doubled, memory_halved;
};

static struct verdict judge(const struct demo_run *without, const struct demo_run *with)
{
	return (struct verdict){
		.passes_doubled = without->read_bytes > 0 &&
				  with->read_bytes >= 2 * without->read_bytes,
		.memory_halved = with->rss_after_bytes <= with->rss_before_bytes / 2 &&
				 with->rss_before_bytes > 0,
	};
}

static json_t *run_json(const struct demo_run *run, bool simulated)
{
	json_t *told = json_array();

	for (unsigned i = 0; told && i < run->news_count; i++)
		json_array_append_new(told, json_pack("{s:o, s:s}", "at_usec",
						      output_json_number(run->news[i].at_usec),
						      "available",
						      words_level_id(run->news[i].available)));
	return json_pack(
		"{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i, s:s, s:o}", "bridge",
		run->bridge, "length_usec", output_json_number(run->length_usec), "passes",
		simulated ? json_null() : output_json_number(demo_passes_tenths(run) / 10),
		"read_bytes", simulated ? json_null() : output_json_number(run->read_bytes),
		"stall_usec", simulated ? json_null() : output_json_number(run->stall_usec),
		"rss_before_bytes", output_json_number(run->rss_before_bytes), "rss_after_bytes",
		output_json_number(run->rss_after_bytes), "first_stall_usec",
		run->first_stall_usec == USEC_NEVER ? json_null()
						    : output_json_number(run->first_stall_usec),
		"first_low_usec",
		demo_low_usec(run) == USEC_NEVER ? json_null()
						 : output_json_number(demo_low_usec(run)),
		"collect_usec", output_json_number(run->collect_usec), "source", run->source,
		"rung", (int)run->rung, "backend", run->backend, "told", told);
}

static int print_json(const struct demo_stage *stage, const char *why,
		      const struct demo_run *without, const struct demo_run *with,
		      struct verdict verdict)
{
	bool simulated = !stage->group;
	json_t *checks = json_pack("{s:o, s:b}", "passes_doubled",
				   simulated ? json_null() : json_boolean(verdict.passes_doubled),
				   "memory_halved", verdict.memory_halved);

	return output_json(json_pack(
		"{s:b, s:o, s:o, s:o, s:o, s:o, s:[o,o], s:o}", "simulated", simulated,
		"why_simulated", simulated ? output_json_text(why) : json_null(), "cgroup",
		simulated ? json_null() : output_json_text(demo_group_where(stage->group)),
		"limit_bytes", simulated ? json_null() : output_json_number(stage->limit_bytes),
		"garbage_bytes", output_json_number(stage->garbage_bytes), "file_bytes",
		simulated ? json_null() : output_json_number(stage->file_bytes), "runs",
		run_json(without, simulated), run_json(with, simulated), "checks", checks));
}

static void print_story(const struct output *output, const struct demo_stage *stage,
			const char *why)
{
	char text[DEMO_PATH_MAX + 600];

	if (stage->group)
		snprintf(
			text, sizeof(text),
			"A program holds %" PRIu64
			" MiB of garbage that it has not collected, because it idles. Beside it a "
			"neighbour re-reads a file of %" PRIu64
			" MiB. Together they may use %" PRIu64
			" MiB, so the file does not fit, and the neighbour waits for the disk. First nobody "
			"tells the program that memory is short; then psibridge does. (In %s.)",
			stage->garbage_bytes / MIB, stage->file_bytes / MIB,
			stage->limit_bytes / MIB, demo_group_where(stage->group));
	else
		snprintf(
			text, sizeof(text),
			"SIMULATED: %s. So nothing here is short of memory. A program holds %" PRIu64
			" MiB of garbage that it has not collected, because it idles. First nobody tells it that memory "
			"is short; then psibridge does, because somebody wrote to a FIFO.",
			why, stage->garbage_bytes / MIB);
	output_paragraph(output, "", 0, text);
	putchar('\n');
	fflush(stdout);
}

static void print_end(const struct output *output, const struct demo_run *without,
		      const struct demo_run *with, struct verdict verdict, bool simulated)
{
	uint64_t ratio = without->read_bytes > 0 ? with->read_bytes * 10 / without->read_bytes : 0;
	char text[600], back[OUTPUT_WORD_MAX], times[80] = "";
	bool good = verdict.memory_halved && (simulated || verdict.passes_doubled);

	output_size(usec_sub(with->rss_before_bytes, with->rss_after_bytes), back);
	if (!simulated)
		snprintf(times, sizeof(times),
			 ", and its neighbour got round %" PRIu64 ".%" PRIu64 " times as often",
			 ratio / 10, ratio % 10);
	if (good)
		snprintf(text, sizeof(text),
			 "Told that memory was short, the program gave back %s%s%s.", back, times,
			 simulated ? " (simulated: without cgroup, neighbour and stalls)" : "");
	else
		snprintf(text, sizeof(text), "This did not go as it should: %s%s%s.%s",
			 verdict.memory_halved
				 ? ""
				 : "the program gave back less than half of its memory",
			 verdict.memory_halved || simulated || verdict.passes_doubled ? ""
										      : ", and ",
			 simulated || verdict.passes_doubled
				 ? ""
				 : "the neighbour did not get twice as many passes",
			 demo_low_usec(with) == USEC_NEVER ? " It was never told Low." : "");
	printf("\n%s", output_paint(output, good ? PAINT_GOOD : PAINT_BAD));
	output_paragraph(output, "", 0, text);
	fputs(output_paint(output, PAINT_PLAIN), stdout);
}

/*
 * ---- the verb
 * --------------------------------------------------------------------------------------
 */

static int show(const struct demo_options *options, struct demo_stage *stage,
		const char *why_simulated)
{
	static struct demo_run without, with;
	struct verdict verdict;
	struct output output;
	char why[DEMO_WHY_MAX];
	int r;

	output_init(&output);
	if (!options->json)
		print_story(&output, stage, why_simulated);
	r = demo_stage_prepare(stage, why);
	if (r == 0)
		r = demo_stage_run(stage, false, &without, why);
	if (r == 0)
		r = demo_stage_run(stage, true, &with, why);
	clear_progress(stage->userdata);
	demo_stage_end(stage);
	if (r < 0) {
		if (r != -EINTR)
			complain("demo", "%s", why);
		return r;
	}

	verdict = judge(&without, &with);
	if (options->json) {
		r = print_json(stage, why_simulated, &without, &with, verdict);
	} else {
		demo_table(&output, &without, &with, !stage->group);
		putchar('\n');
		demo_plot(&output, &without, &with, !stage->group);
		print_end(&output, &without, &with, verdict, !stage->group);
	}
	if (r < 0)
		return r;
	return verdict.memory_halved && (!stage->group || verdict.passes_doubled) ? 0 : -EPROTO;
}

int verb_demo(int argc, char **argv)
{
	static const int interrupting[] = { SIGINT, SIGTERM,
					    SIGHUP }; /* the last one may be ignored */
	struct sigaction action = { .sa_handler = interrupt }, before;
	struct progress progress = { .terminal = isatty(STDERR_FILENO) };
	_cleanup_(demo_group_freep) struct demo_group *group = NULL;
	char host[DEMO_PATH_MAX], why[DEMO_WHY_MAX],
		scope[DEMO_WHY_MAX / 2] = "", simulated[2 * DEMO_WHY_MAX] = "--simulate was given";
	struct demo_options options;
	struct demo_stage stage;
	int r;

	r = parse(argc, argv, &options);
	if (r != 0)
		return r > 0 ? EXIT_OK : EXIT_USAGE;
	r = find_host(&options, host, why);
	if (r == 0)
		r = choose_limit(&options, why);
	if (r < 0) {
		complain("demo", "%s", why);
		return EXIT_FAILED;
	}
	if (!options.simulate && !options.in_scope && demo_scope_wanted()) {
		demo_scope_enter(argv, why);
		snprintf(scope, sizeof(scope), "%.200s; ", why);
	}

	for (size_t i = 0; i < ELEMENTSOF(interrupting); i++)
		sigaction(interrupting[i], &action, &before);
	/* nohup */
	if (before.sa_handler == SIG_IGN)
		signal(SIGHUP, SIG_IGN);
	/* Whoever reads our output may go; the cgroups have to be removed even so. */
	signal(SIGPIPE, SIG_IGN);
	if (!options.simulate && demo_group_new(options.in_scope, &group, why) < 0)
		snprintf(simulated, sizeof(simulated), "no cgroup could be made (%s%s)", scope,
			 why);

	stage = (struct demo_stage){
		.group = group,
		.host = host,
		.limit_bytes = options.limit_bytes,
		.garbage_bytes = options.limit_bytes / 16 * 11,
		.file_bytes = options.limit_bytes / 16 * 10,
		.length_usec = options.length_usec,
		.file = -1,
		.progress = show_progress,
		.userdata = &progress,
	};
	r = show(&options, &stage, simulated);
	group = demo_group_free(group);
	if (demo_interrupted) {
		signal(demo_interrupted, SIG_DFL);
		raise(demo_interrupted);
	}
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}
