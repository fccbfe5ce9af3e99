/* SPDX-License-Identifier: MIT */
/*
 * top.c - psibridge top: which cgroups wait for memory, live
 *
 *     survey --> ask psibridged --> filter, sort --> draw --(key: filter, sort, draw)--
 *        ^                                                   (time: the next survey)   |
 *        +---------------------------------------------------------------------------+
 *
 * --batch prints tables, --json objects; both need two surveys before the first one, since a rate
 * is what lies between two.
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
#include "cli/words.h"

static const char help[] =
	"psibridge top - the cgroups that wait for memory, live\n"
	"\n"
	"Usage: psibridge top [PATTERN] [OPTION...]\n"
	"\n"
	"PATTERN chooses cgroups, such as 'system.slice/**'; without one it is all of them.\n"
	"\n"
	"  --interval TIME      look so often; less often where looking takes long   [2s]\n"
	"  --sort COLUMN        some, full, memory or name                           [some]\n"
	"  --batch              print a table and end, for scripts\n"
	"  --json               print an object in place of a table\n"
	"  --count N            print N of them, an interval apart                   [1]\n" CONTROL_HELP
	"  --help\n"
	"\n"
	"SOME % is the share of the last interval in which at least one task waited for memory,\n"
	"FULL % that in which all did. KILLS are tasks the kernel killed for want of memory. LEVEL\n"
	"is psibridged's. LIMIT is memory.high or memory.max, of the cgroup itself.\n"
	"\n"
	"Keys: s f m n sort by some, full, memory, name; r reverse; p pause; / filter; arrows,\n"
	"pages, Home, End; q quit.\n"
	"\n"
	"Reading pressure files can swallow alarms of other programs that have no\n"
	"CAP_SYS_RESOURCE (psibridge makes up for it; others do not).\n"
	"\n"
	"Exit status: 0 ended as asked, 1 cgroups cannot be read, 2 the command line makes no\n"
	"sense.\n";

/* ---- --batch and --json ---------------------------------------------------------------------- */

static json_t *known(bool is_known, uint64_t number)
{
	return is_known ? output_json_number(number) : json_null();
}

static json_t *row_json(const struct row *row)
{
	json_t *level = row->available > 0 ? json_string(words_level_id(row->available))
					   : json_null();

	bool psi = row->now.has_pressure, memory = row->now.current_bytes > 0;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
			 "cgroup", output_json_text(row->cgroup), "some_centi",
			 known(row->has_rate, row->some_centi), "full_centi",
			 known(row->has_rate, row->full_centi), "some_total_usec",
			 known(psi, row->now.some_total_usec), "full_total_usec",
			 known(psi, row->now.full_total_usec), "some_avg10_centi",
			 known(psi, row->now.some_avg10_centi), "current_bytes",
			 known(memory, row->now.current_bytes), "working_set_bytes",
			 known(memory, row->now.working_set_bytes), "limit_bytes",
			 output_json_number(row->now.limit_bytes), "high_bytes",
			 output_json_number(row->now.high_bytes), "oom_kills",
			 known(row->now.has_events, row->now.oom_kill_events), "available", level,
			 "critical", row->critical);
}

static int print_json(const struct top *top)
{
	json_t *cgroups = json_array();
	uint64_t now = now_usec();

	for (size_t i = 0; i < top->shown_count; i++)
		if (json_array_append_new(cgroups, row_json(top->shown[i])) < 0) {
			json_decref(cgroups);
			return -ENOMEM;
		}
	return output_json(json_pack("{s:s, s:o, s:o, s:o, s:b, s:o}", "event", "table",
				     "time_usec", output_json_number(now), "realtime_usec",
				     output_json_number(output_realtime(now)), "interval_usec",
				     output_json_number(top->rows.interval_usec), "psibridged",
				     top->has_daemon, "cgroups", cgroups));
}

static int print_table(const struct top *top, bool first)
{
	struct table table = table_for(&top->output, 0);

	errno = 0;
	if (!first)
		putchar('\n');
	table_heading(&table, stdout);
	putchar('\n');
	for (size_t i = 0; i < top->shown_count; i++) {
		table_row(&table, stdout, top->shown[i]);
		putchar('\n');
	}
	return output_end();
}

static int batch(struct top *top, bool json, uint64_t count)
{
	struct pollfd reader = { .fd = STDOUT_FILENO };
	int r = top_look(top);

	signal(SIGPIPE, SIG_IGN);
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		/* an interval is shorter than an hour, so it fits */
		if (poll(&reader, 1, (int)(top->pace_usec / USEC_PER_MSEC)) > 0)
			return -EPIPE;
		r = top_look(top);
		if (r == 0)
			r = json ? print_json(top) : print_table(top, i == 0);
	}
	return r;
}

static int interactive(struct top *top)
{
	/* before the screen: what is wrong from the start is said on stderr */
	int r = top_look(top);

	return r < 0 ? r : top_screen(top);
}

static int failed(const struct top *top, int r)
{
	if (r == -ENOTTY) {
		complain("top", "this is no terminal; --batch and --json are for scripts");
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

/* ---------------------------------------------------------------------------------------------- */

int verb_top(int argc, char **argv)
{
	struct top top = { .interval_usec = 2 * USEC_PER_SEC };
	bool is_batch = false, json = false;
	uint64_t count = 0;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&top.control),
		ARGS_FLAG("batch", &is_batch),
		ARGS_FLAG("json", &json),
		ARGS_NUMBER("count", "a number from 1 on", 1, INT64_MAX, &count),
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
	if (is_batch || json || count > 0)
		r = batch(&top, json, MAX(count, UINT64_C(1)));
	else
		r = interactive(&top);
	free(top.shown);
	rows_done(&top.rows);
	return r == 0 || r == -EPIPE ? EXIT_OK : failed(&top, r);
}
