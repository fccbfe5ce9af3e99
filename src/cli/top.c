/* SPDX-License-Identifier: MIT */
/*
 * top.c - psibridge top: which cgroups wait for memory, live
 *
 *     survey --> ask psibridged --> filter, sort --> draw --(key: filter, sort, draw)--
 *        ^                                                   (time: the next survey)   |
 *        +---------------------------------------------------------------------------+
 *
 * --batch prints a table, which needs two surveys, since a rate is what lies between two.
 */
#include "cli/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/wait.h"

static const char help[] =
	"psibridge top - the cgroups that wait for memory, live\n"
	"\n"
	"Usage: psibridge top [PATTERN] [OPTION...]\n"
	"\n"
	"PATTERN chooses cgroups, such as 'system.slice/**'; without one it is all of\n"
	"them.\n"
	"\n"
	"  --interval TIME      look so often; less often where looking takes long   [2s]\n"
	"  --sort COLUMN        some, full, memory or name                         [some]\n"
	"  --batch              print a table and end, for scripts\n" CONTROL_HELP "  --help\n"
	"\n"
	"SOME % is the share of the last interval in which at least one task waited for\n"
	"memory, FULL % that in which all did. KILLS are tasks the kernel killed for\n"
	"want of memory. LEVEL is psibridged's. LIMIT is memory.high or memory.max, of\n"
	"the cgroup itself.\n"
	"\n"
	"Keys: s f m n sort by some, full, memory, name; r reverse; p pause; / filter;\n"
	"arrows, pages, Home, End; q quit.\n"
	"\n"
	"Reading pressure files can swallow alarms of other programs that have no\n"
	"CAP_SYS_RESOURCE (psibridge makes up for it; others do not).\n"
	"\n"
	"Exit status: 0 ended as asked, 1 cgroups cannot be read, 2 the command line\n"
	"makes no sense.\n";

static void print_table(const struct top *top)
{
	struct table table = table_for(&top->output, 0);

	table_heading(&table, stdout);
	putchar('\n');
	for (size_t i = 0; i < top->shown_count; i++) {
		table_row(&table, stdout, top->shown[i]);
		putchar('\n');
	}
}

static int batch(struct top *top)
{
	struct pollfd reader = { .fd = STDOUT_FILENO };
	int r = top_look(top);

	signal(SIGPIPE, SIG_IGN);
	if (r < 0)
		return r;
	/* an interval is shorter than an hour, so it fits */
	if (poll(&reader, 1, (int)(top->pace_usec / USEC_PER_MSEC)) > 0)
		return -EPIPE;
	r = top_look(top);
	if (r == 0)
		print_table(top);
	return r;
}

static int failed(const struct top *top, int r)
{
	if (r == -ENOTTY) {
		complain("top", "this is no terminal; --batch is for scripts");
		return EXIT_USAGE;
	}
	if (r == -ENOTSUP)
		complain(
			"top",
			"a terminal of this kind (TERM) cannot be drawn on; --batch prints tables");
	else
		complain("top", "%s", top->trouble[0] ? top->trouble : strerror(-r));
	return EXIT_FAILED;
}

int verb_top(int argc, char **argv)
{
	struct top top = { .interval_usec = 2 * USEC_PER_SEC };
	bool is_batch = false;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&top.control),
		ARGS_FLAG("batch", &is_batch),
		ARGS_TIME("interval", "a time from 100ms to 1h, such as 2s,", 100 * USEC_PER_MSEC,
			  3600 * USEC_PER_SEC, &top.interval_usec),
		ARGS_CHOICE("sort", "some, full, memory or name", &top.sort),
		ARGS_A_WORD(&top.pattern),
		ARGS_NO_MORE,
	};
	int r, status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	output_init(&top.output);
	r = is_batch ? batch(&top) : top_screen(&top);
	free(top.shown);
	rows_done(&top.rows);
	return r == 0 || r == -EPIPE ? EXIT_OK : failed(&top, r);
}
