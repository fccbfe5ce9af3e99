/* SPDX-License-Identifier: MIT */
/*
 * demo.c - psibridge demo: what psibridge is for, in forty seconds, on real memory
 *
 * The story has two parts of the same length. A program (psibridge-luahost: Lua, with its default collector) holds garbage that it
 * does not collect because it idles. A neighbour in the same cgroup needs more memory than is left for its file. First nothing tells
 * the program; then psibridge does, it collects and trims, and the neighbour has its file in memory.
 *
 * The demo judges itself: with psibridge the neighbour must get at least twice the passes, or wait a third as long (on a fast disk
 * that gains fewer passes), and the program's memory must fall by half.
 *
 * Where no cgroup can be made it says why, and tells the program through a FIFO instead: the same callback and the same collection,
 * but no neighbour and no stall, since nothing is limited. That is marked as simulated everywhere.
 *
 * Progress goes to standard error, so that standard output is the result alone.
 */
#include "demo/demo.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/hooks.h"
#include "cli/target-options.h"

#define HOST_NAME "psibridge-luahost"
#define MIB LAB_MB
#define LIMIT_DEFAULT (400 * MIB)
#define LIMIT_MIN (96 * MIB)
#define LENGTH_DEFAULT_USEC (16 * USEC_PER_SEC)

static const char help[] =
	"psibridge demo - make memory short on purpose, and show what being told is worth\n"
	"\n"
	"Usage: psibridge demo [OPTION...]\n"
	"\n"
	"Puts a program that idles on garbage into a cgroup with a neighbour that needs\n"
	"the memory; first without, then with psibridge. Takes about 40 seconds, up to\n"
	"650 MiB of memory and 250 MiB of disk, and leaves nothing behind.\n"
	"\n"
	"  --memory MIB     what both have together (default 400, or less on a small\n"
	"                   machine)\n"
	"  --length TIME    of each of the two parts (default 16s)\n"
	"  --simulate       make no cgroup; tell the program through a FIFO\n"
	"  --host PATH      the program to run instead of psibridge-luahost\n"
	"  --help\n"
	"\n"
	"Exit status: 0 it went as it should, 1 it did not or could not be shown, 2 the\n"
	"command line makes no sense.\n";

/* What we may use without hurting anybody, by psibridge's own count. 0: unknown. */
static uint64_t memory_available(void)
{
	struct psb_watch_options options = { .size = sizeof(options),
					     .pid = getpid(),
					     .rungs = PSB_RUNG_MASK(PSB_RUNG_SAMPLING) |
						      PSB_RUNG_MASK(PSB_RUNG_MACHINE) };
	struct probed probed;
	uint64_t available;

	if (target_probe(&options, &probed) < 0)
		return 0;
	available = probed.load.available_bytes;
	return available == PSB_UNKNOWN ? 0 : available;
}

static int choose_sizes(struct demo *demo)
{
	uint64_t available = memory_available();

	if (demo->limit_bytes == 0)
		demo->limit_bytes = available == 0 ? LIMIT_DEFAULT
						   : MIN(LIMIT_DEFAULT, available / 2);
	demo->limit_bytes -= demo->limit_bytes % (16 * MIB);
	/* either fits, both do not */
	demo->garbage_bytes = demo->limit_bytes / 16 * 11;
	demo->file_bytes = demo->limit_bytes / 16 * 10;
	if (demo->limit_bytes >= LIMIT_MIN)
		return 0;
	complain("demo", "only %" PRIu64 " MiB of memory are free; %" PRIu64 " are needed",
		 available / MIB, 2 * LIMIT_MIN / MIB);
	return -ENOMEM;
}

/* Without --host: beside us in a build tree, in libexec where it was installed. NULL: complained. */
static const char *find_host(const char *host)
{
	static char beside[PATH_MAX];
	const char *hint = host ? "" : " (psibridge was built without Lua?)";

	if (!host)
		host = beside_us(HOST_NAME, beside) == 0 ? beside
							 : PSIBRIDGE_LIBEXECDIR "/" HOST_NAME;
	if (access(host, X_OK) == 0)
		return host;
	complain("demo", "%s: %s%s", host, strerror(errno), hint);
	return NULL;
}

static void print_story(const struct output *output, const struct demo *demo)
{
	unsigned garbage = (unsigned)(demo->garbage_bytes / MIB),
		 file = (unsigned)(demo->file_bytes / MIB),
		 limit = (unsigned)(demo->limit_bytes / MIB);
	char text[LAB_PATH_MAX + 600];

	if (demo->lab)
		snprintf(
			text, sizeof(text),
			"A program holds %u MiB of garbage that it has not collected, because it idles. "
			"Beside it a neighbour re-reads a file of %u MiB. Together they may use %u MiB, "
			"so the file does not fit, and the neighbour waits for the disk. First nothing "
			"tells the program that memory is short; then psibridge does. (In %s.)",
			garbage, file, limit, lab_file(demo->lab, "", ""));
	else
		snprintf(
			text, sizeof(text),
			"SIMULATED: %s. So nothing here is short of memory. A program holds %u MiB of "
			"garbage that it has not collected, because it idles. First nothing tells it "
			"that memory is short; then psibridge does, because of a byte in a FIFO.",
			demo->why_simulated, garbage);
	output_paragraph(output, "", 0, text);
	putchar('\n');
	fflush(stdout);
}

static void print_end(const struct output *output, const struct demo *demo)
{
	const struct demo_run *without = &demo->without, *with = &demo->with;
	char text[600], back[OUTPUT_WORD_MAX],
		times[80] = " (simulated: without cgroup, neighbour and stalls)";

	if (demo->lab)
		snprintf(times, sizeof(times), ", and its neighbour got round %.1f times as often",
			 (double)with->read_bytes / (double)MAX(without->read_bytes, 1));
	if (demo->went_well)
		snprintf(text, sizeof(text),
			 "Told that memory was short, the program gave back %s%s.",
			 output_size(usec_sub(with->rss_before_bytes, with->rss_after_bytes), back),
			 times);
	else
		snprintf(
			text, sizeof(text), "This did not go as it should: %s%s%s.%s",
			demo->memory_halved ? ""
					    : "the program gave back less than half of its memory",
			demo->memory_halved || demo->relieved ? "" : ", and ",
			demo->relieved
				? ""
				: "the neighbour did not get twice as many passes, nor wait a third as long",
			with->first_low_usec == USEC_NEVER ? " It was never told Low." : "");
	printf("\n%s", output_paint(output, demo->went_well ? PAINT_GOOD : PAINT_BAD));
	output_paragraph(output, "", 0, text);
	fputs(output_paint(output, PAINT_PLAIN), stdout);
}

static void judge(struct demo *demo)
{
	const struct demo_run *without = &demo->without, *with = &demo->with;

	/* simulated: nothing waited */
	demo->relieved = (without->read_bytes > 0 && with->read_bytes >= 2 * without->read_bytes) ||
			 with->stall_usec <= without->stall_usec / 3;
	demo->memory_halved = with->rss_before_bytes > 0 &&
			      with->rss_after_bytes <= with->rss_before_bytes / 2;
	demo->went_well = demo->relieved && demo->memory_halved;
}

static void show(struct demo *demo)
{
	struct output output;

	output_init(&output);
	print_story(&output, demo);
	if (demo->lab) {
		demo_progress("writing a file", 0, 0);
		demo->file = lab_data(demo->file_bytes);
	}
	demo_play(demo, false);
	demo_play(demo, true);
	demo_progress(NULL, 0, 0);
	judge(demo);
	demo_table(&output, demo);
	if (demo->lab)
		demo_plot(&output, demo);
	print_end(&output, demo);
}

static struct lab lab;

static void close_lab(void)
{
	if (lab_close(&lab) < 0)
		complain("demo", "its cgroup could not be removed");
}

void lab_failed(const char *message)
{
	demo_progress(NULL, 0, 0);
	complain("demo", "%s", message);
	close_lab();
	exit(EXIT_FAILED);
}

void demo_failed(const char *format, ...)
{
	char message[LAB_WHY_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	lab_failed(message);
}

/* Nothing may end us between a cgroup and the process that guards it. */
static void open_lab(struct demo *demo, char **argv)
{
	char scope[LAB_WHY_MAX / 2] = "", why[LAB_WHY_MAX] = "";
	sigset_t all, before;

	if (!demo->in_scope && demo_scope_wanted() && demo_scope_enter(argv, why) < 0)
		snprintf(scope, sizeof(scope), "%.200s; ", why);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	if (demo_lab_open(&lab, demo->in_scope, why) == 0)
		demo->lab = &lab;
	sigprocmask(SIG_SETMASK, &before, NULL);
	snprintf(demo->why_simulated, sizeof(demo->why_simulated), "no cgroup could be made (%s%s)",
		 scope, why);
}

int verb_demo(int argc, char **argv)
{
	static struct demo demo = { .length_usec = LENGTH_DEFAULT_USEC,
				    .why_simulated = "--simulate was given" };
	uint64_t mebibytes = 0;
	const struct args_setting settings[] = {
		ARGS_FLAG("simulate", &demo.simulate),
		ARGS_FLAG("in-scope", &demo.in_scope),
		ARGS_TEXT("host", "a path", &demo.host),
		ARGS_NUMBER("memory", "mebibytes, from 96 to 65536", LIMIT_MIN / MIB, 65536,
			    &mebibytes),
		ARGS_TIME("length", "a time from 5s to 90s", 5 * USEC_PER_SEC, 90 * USEC_PER_SEC,
			  &demo.length_usec),
		ARGS_NO_MORE,
	};
	int status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	demo.limit_bytes = mebibytes * MIB;
	demo.host = find_host(demo.host);
	if (!demo.host || choose_sizes(&demo) < 0)
		return EXIT_FAILED;
	if (!demo.simulate)
		open_lab(&demo, argv);
	show(&demo);
	close_lab();
	return demo.went_well ? EXIT_OK : EXIT_FAILED;
}
