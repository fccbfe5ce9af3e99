/* SPDX-License-Identifier: MIT */
/*
 * record.c - psibridge record: a trace (psibridge-trace(5)) of one cgroup, or of all that match a pattern
 *
 *     every interval: survey --> for each cgroup: the same as in its last line? --> a line
 *
 * Which lines that are, trace_take() says.
 *
 * Each line is written at once, whole or not at all: what a full disk took half of is cut off again.
 *
 * What is read is memory.pressure, and a read may swallow the alarm of an unprivileged trigger on the same file (facts in
 * tests/integration/test-facts.c); psibridge notices that and samples itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/find-cgroup.h"
#include "cli/output.h"
#include "cli/wait.h"
#include "core/duration.h"
#include "core/trace.h"

static const char help[] =
	"psibridge record - write down what memory pressure there is, to replay it\n"
	"\n"
	"Usage: psibridge record [CGROUP | PATTERN] [OPTION...]\n"
	"\n"
	"CGROUP is a path such as system.slice/nginx.service, PATTERN one with stars\n"
	"such as 'system.slice/*.service'; without one it is the cgroup this command\n"
	"runs in, and \"/\" is the machine. A line is written when something changed.\n"
	"\n"
	"  -o, --output FILE    a new file; without it standard output\n"
	"  --duration TIME      end after that time; else at Ctrl-C\n"
	"  --interval TIME      look so often, 10ms to 1h                      [100ms]\n"
	"  --help\n"
	"\n"
	"Exit status: 0 ended as asked, 1 it could not be done (what was written stays),\n"
	"2 the command line makes no sense.\n"
	"\n"
	"Example: psibridge record 'system.slice/*.service' -o friday.trace --duration 8h\n";

struct session {
	const char *output; /* NULL: standard output */
	uint64_t duration_usec, interval_usec;
	char pattern[CGPATH_MAX];

	int fd;
	void *known; /* struct known, tsearch(3) */
	uint64_t started_usec, now_usec, sweep;
	uint64_t lines, bytes;
	unsigned cgroups; /* in the last sweep */
	int error;
	const char *what; /* `error` is about; NULL: memory */
};

/* A cgroup, and the last of it. */
struct known {
	const char *cgroup;
	uint64_t sweep;
	struct trace_last series;
	char name[];
};

/* ---- writing ------------------------------------------------------------------------------------- */

static void write_all(struct session *s, const char *text, size_t size)
{
	ssize_t n;

	if (s->error < 0)
		return;
	do
		n = write(s->fd, text, size);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)size) {
		s->bytes += size;
		return;
	}
	s->error = n < 0 ? -errno : -ENOSPC;
	s->what = s->output ? s->output : "standard output";
	if (n > 0 && s->output)
		(void)!ftruncate(s->fd, (off_t)s->bytes);
}

static void write_line(struct session *s, const struct known *k, const struct trace_sample *sample)
{
	char text[TRACE_LINE_MAX + CGPATH_MAX + 1];
	size_t size = trace_format(sample, text);

	size += (size_t)snprintf(text + size, sizeof(text) - size, "%s\n", k->name);
	write_all(s, text, size);
	s->lines++;
}

/* ---- a sweep ------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct known *x = a, *y = b;

	return strcmp(x->cgroup, y->cgroup);
}

static struct known *find(struct session *s, const char *cgroup)
{
	const struct known key = { .cgroup = cgroup };
	struct known **found = tfind(&key, &s->known, by_name), *k;

	if (found)
		return *found;
	k = calloc(1, sizeof(*k) + strlen(cgroup) + 1);
	if (k) {
		strcpy(k->name, cgroup);
		k->cgroup = k->name;
		found = tsearch(k, &s->known, by_name);
	}
	if (!found) {
		free(k);
		s->error = -ENOMEM;
		return NULL;
	}
	return k;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

static void seen(const struct psb_survey_row *row, void *userdata)
{
	struct session *s = userdata;
	struct known *k = s->error < 0 ? NULL : find(s, row->cgroup);
	const struct trace_sample sample = {
		.time_usec = s->now_usec - s->started_usec,
		.has_psi = row->has_pressure,
		.some_usec = row->some_total_usec,
		.full_usec = row->full_total_usec,
		.some_avg10_centi = row->some_avg10_centi,
		.full_avg10_centi = row->full_avg10_centi,
		.used_bytes = row->working_set_bytes,
		.limit_bytes = lower(row->limit_bytes, row->high_bytes),
		.has_oom = row->has_events,
		.oom = row->oom_events + row->oom_kill_events,
	};
	struct trace_sample lines[2];
	unsigned count;

	if (!k)
		return;
	s->cgroups++;
	if (k->sweep + 1 < s->sweep) /* it was away */
		k->series.begun = false;
	count = trace_take(&k->series, &sample, lines);
	for (unsigned i = 0; i < count; i++)
		write_line(s, k, &lines[i]);
	k->sweep = s->sweep;
}

static void sweep(struct session *s)
{
	int r;

	s->now_usec = now_usec();
	s->sweep++;
	s->cgroups = 0;
	r = psb_survey(s->pattern, seen, s);
	if (r < 0 && s->error == 0) {
		s->error = r;
		s->what = s->pattern;
	}
}

/* How it ended: the last that was seen of each. */
static void write_last(const void *node, VISIT visit, void *userdata)
{
	struct known *k = *(struct known *const *)node;

	if ((visit == postorder || visit == leaf) &&
	    k->series.seen.time_usec > k->series.written.time_usec)
		write_line(userdata, k, &k->series.seen);
}

/* ---- the session --------------------------------------------------------------------------------- */

static void show_progress(const struct session *s)
{
	char span[OUTPUT_WORD_MAX], size[OUTPUT_WORD_MAX];

	if (s->output && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s, %u cgroup%s, %" PRIu64 " lines, %s",
			output_span(s->now_usec - s->started_usec, span), s->cgroups,
			s->cgroups == 1 ? "" : "s", s->lines, output_size(s->bytes, size));
}

static void run(struct session *s, int signal_fd)
{
	const uint64_t end = usec_add(s->started_usec, s->duration_usec);
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = s->fd, .events = 0 }, /* a reader that went */
	};
	uint64_t next = s->started_usec, now;

	while (s->error == 0) {
		sweep(s);
		now = now_usec();
		show_progress(s);
		if (s->now_usec >= end)
			return;
		next = MAX(next + s->interval_usec, now + (now - s->now_usec));
		if (poll(fds, ELEMENTSOF(fds), msec_until(MIN(next, end))) > 0)
			return;
	}
}

static const char *why(const struct session *s)
{
	return s->error == -ENOENT ? "there is no such cgroup, or no cgroup2" : strerror(-s->error);
}

static int begin(struct session *s)
{
	char text[TRACE_LINE_MAX];

	s->fd = STDOUT_FILENO;
	if (s->output)
		s->fd = open(s->output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (s->fd < 0) {
		complain("record", "%s: %s", s->output,
			 errno == EEXIST ? "it is there already, and is not replaced"
					 : strerror(errno));
		return -errno;
	}
	s->started_usec = now_usec();
	write_all(s, text, trace_begin(output_realtime(s->started_usec), text));
	return 0;
}

static int record(struct session *s)
{
	int signal_fd = catch_signals(NULL), r;

	if (signal_fd < 0) {
		complain("record", "signalfd: %s", strerror(-signal_fd));
		return EXIT_FAILED;
	}
	r = begin(s);
	if (r == 0)
		run(s, signal_fd);
	close(signal_fd);
	twalk_r(s->known, write_last, s);
	tdestroy(s->known, free);
	if (r < 0)
		return EXIT_FAILED;
	if (s->output && isatty(STDERR_FILENO))
		fputc('\n', stderr);
	if (s->error < 0 && s->error != -EPIPE)
		complain("record", "%s: %s", s->what ? s->what : s->pattern, why(s));
	if (s->output)
		close(s->fd);
	return s->error == 0 || s->error == -EPIPE ? EXIT_OK : EXIT_FAILED;
}

int verb_record(int argc, char **argv)
{
	struct session s = { .duration_usec = USEC_NEVER, .interval_usec = 100 * USEC_PER_MSEC };
	const char *word = NULL, *wrong;
	const struct args_setting settings[] = {
		ARGS_TEXT("output", "a new file", &s.output),
		ARGS_TIME("duration", "a time such as 30s", 0, DURATION_MAX_USEC, &s.duration_usec),
		ARGS_TIME("interval", "a time from 10ms to 1h, such as 100ms,", 10 * USEC_PER_MSEC,
			  3600 * USEC_PER_SEC, &s.interval_usec),
		ARGS_A_WORD(&word),
		ARGS_NO_MORE,
	};
	struct choice choice = { .pattern = NULL };
	int status, r;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	r = word ? choice_make(word, NULL, &choice, &wrong) : find_own_cgroup(choice.path);
	if (r < 0) {
		if (word)
			complain("record", "\"%s\": %s", word, wrong);
		else
			complain("record", "the own cgroup is not known: %s", strerror(-r));
		return word ? EXIT_USAGE : EXIT_FAILED;
	}
	if (!choice.pattern && find_cgroup("record", choice.path, NULL) < 0)
		return EXIT_FAILED;
	snprintf(s.pattern, sizeof(s.pattern), "%s",
		 choice.pattern ? cgpattern_text(choice.pattern) : choice.path);
	choice_done(&choice);
	return record(&s);
}
