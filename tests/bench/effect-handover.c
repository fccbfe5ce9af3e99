/* SPDX-License-Identifier: MIT */
/*
 * effect-handover.c - OnMemoryNotification() returns at once, also while the runtime collects
 *
 *     we: a byte each 5 ms -> FIFO -> psibridge: Low -> OnMemoryNotification() -> one slot -> managed thread
 *
 * "Calls to OnMemoryNotification never block. They always return immediately" (the reference of the
 * CLR hosting API). The host times each call itself and says so (PSIBRIDGE_LOG=debug):
 * from outside it cannot be seen. No cgroup is needed, so no memory is short either: the source is
 * the FIFO. The program is tests/dotnet/Load with 300 MiB alive, on all processors: its runtime
 * collects a good part of the time by itself, and then the managed thread that takes over stands
 * still, with everything else managed.
 */
#include "effect-handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTIFICATIONS 1000
#define GAP_USEC 5000
#define READY_USEC (60 * USEC_PER_SEC)
#define END_USEC (20 * USEC_PER_SEC)
#define P99_TARGET_USEC 100.0

static char directory[64], fifo[80];

static void fifo_gone(void)
{
	if (fifo[0])
		unlink(fifo);
	if (directory[0])
		rmdir(directory);
	fifo[0] = directory[0] = '\0';
}

static int fifo_new(void)
{
	int fd = -1;

	snprintf(directory, sizeof(directory), "/tmp/psibridge-bench.XXXXXX");
	if (!mkdtemp(directory))
		bench_die("%s: %s", directory, strerror(errno));
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	if (mkfifo(fifo, 0600) == 0)
		/* for both: it can be opened before there is a reader */
		fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		bench_die("%s: %s", fifo, strerror(errno));
	return fd;
}

/* "psibridge[clrhost]: notified Low (memory is short): handed over in 0.34 us, managed code is busy" */
static void take_line(const char *line, struct series *busy, struct series *idle)
{
	const char *at = strstr(line, "handed over in ");

	if (at)
		series_add(strstr(at, "busy") ? busy : idle, strtod(at + 15, NULL));
}

static void tell(struct program *program, int fd, struct series *busy, struct series *idle)
{
	const char *line;

	for (int i = 0; i < NOTIFICATIONS && !program_ended(program); i++) {
		uint64_t next = now_nsec() + GAP_USEC * NSEC_PER_USEC;

		/* full: it has more than it can take */
		if (write(fd, "!", 1) < 0 && errno != EAGAIN)
			bench_die("%s: %s", fifo, strerror(errno));
		while (program_line(program, next, &line) > 0)
			take_line(line, busy, idle);
	}
}

static void print_row(struct table *t, const char *kind, struct series *series)
{
	table_row(t);
	cell_text(t, "%s", kind);
	cell_number(t, (double)series->count, 0);
	cell_number(t, series_percentile(series, 50), 2);
	cell_number(t, series_percentile(series, 99), 2);
	cell_number(t, series_percentile(series, 100), 2);
}

static void report(struct program *program, struct series *busy, struct series *idle)
{
	static const struct column columns[] = {
		{ "managed_code", "managed code is" },
		{ "calls", "calls" },
		{ "p50_usec", "p50 us" },
		{ "p99_usec", "p99 us" },
		{ "max_usec", "max us" },
	};
	static struct table t;
	double p99 = series_percentile(busy, 99);

	if (busy->count == 0) {
		bench_target(false, "hand-over: no call while managed code was busy; %s",
			     program_fate(program));
		return;
	}
	table_begin(&t, "handover", "Hand-over: how long OnMemoryNotification() takes (embedded)",
		    columns, ELEMENTSOF(columns));
	print_row(&t, "busy with the last one", busy);
	if (idle->count > 0)
		print_row(&t, "idle", idle);
	table_print(&t);
	bench_target(
		p99 <= P99_TARGET_USEC,
		"hand-over: 99 of 100 calls return within %.1f us while managed code is busy (at most %.0f)",
		p99, P99_TARGET_USEC);
}

void handover_measure(const char *allow_missing)
{
	static const char *const args[] = { "300", "0", NULL };
	struct series busy = { 0 }, idle = { 0 };
	struct command command;
	struct program *program;
	char source[128];
	const char *why;
	int fd;

	why = way_command(way_named("coreclr", "embedded"), "Load/load", args, &command);
	if (why && allow_missing)
		bench_say("SKIP  hand-over: %s", why);
	else if (why)
		bench_missing("hand-over: %s", why);
	if (why)
		return;
	atexit(fifo_gone);
	fd = fifo_new();
	snprintf(source, sizeof(source), "PSIBRIDGE_SOURCE=%s", fifo);
	memcpy(command.env,
	       ((const char *[STAGE_ENV_MAX]){ "PSIBRIDGE_LOG=debug", source, "PSIBRIDGE_REARM=1ms",
					       "PSIBRIDGE_QUIET=2ms", "PSIBRIDGE_APART=1ms",
					       "PSIBRIDGE_GROWN=0" }),
	       sizeof(command.env));
	program = program_start(NULL, &command);
	if (program_await(program, "ready", READY_USEC, NULL) > 0 && program_say(program, "go 6"))
		tell(program, fd, &busy, &idle);
	program_end(program, END_USEC);
	report(program, &busy, &idle);
	series_clear(&busy);
	series_clear(&idle);
	program_free(program);
	close(fd);
	fifo_gone();
}
