/* SPDX-License-Identifier: MIT */
/*
 * metrics.c - psibridge metrics: pressure and levels of all cgroups as OpenMetrics text
 *
 *     one survey, one question to psibridged --> the whole text in memory --> stdout or a file
 *
 * What cadvisor has is named as there (its docs/storage/prometheus.md), so that its dashboards work:
 * "waiting" is PSI's some, "stalled" its full, the working set is use minus inactive_file, and no
 * limit is a limit of 0. The label is `id`, the cgroup's path. What only psibridged knows begins
 * with psibridge_.
 *
 * OpenMetrics wants all samples of a family in one piece and no series twice. A label must be
 * UTF-8, and whatever replaces other bytes could make two names one: a cgroup whose name is not
 * UTF-8, or speaks to terminals (ESC), is left out and counted. In the older text format of Prometheus, which is what
 * node_exporter's textfile collector reads, the family of a counter has its "_total" too.
 *
 * A file is replaced in one step (temporary file, fsync, rename), so a reader sees the old one or
 * the new one, and a full disk leaves the old one. The temporary name does not end in ".prom".
 * Only a file, though: a device or a FIFO is written to. A symbolic link is refused, neither
 * replaced nor followed, for the directory may be another user's and we may be root.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/metrics.h"
#include "cli/wait.h"
#include "core/utf8.h"

static const char help[] =
	"psibridge metrics - print pressure and levels of all cgroups\n"
	"\n"
	"Usage: psibridge metrics [PATTERN] [OPTION...]\n"
	"\n"
	"PATTERN chooses cgroups, such as 'system.slice/*.service'; without one it is all of them\n"
	"and the root.\n"
	"\n"
	"  --output FILE        replace this file in one step, in place of standard output;\n"
	"                       a FIFO or a device is written to\n"
	"  --format FORMAT      openmetrics, or prometheus: what node_exporter's textfile\n"
	"                       collector reads                                [openmetrics]\n" CONTROL_HELP
	"  --help\n"
	"\n"
	"Without psibridged there are pressure and memory, and psibridge_up is 0.\n"
	"\n"
	"Exit status: 0 done, 1 it could not be done (a FILE is as it was), 2 the command line\n"
	"makes no sense.\n"
	"\n"
	"Example: psibridge metrics --format prometheus \\\n"
	"           --output /var/lib/prometheus/node-exporter/psibridge.prom\n";

/* ---- families -------------------------------------------------------------------------------- */

static void sample(const struct exposition *e, const char *name, const struct row *row)
{
	fprintf(e->out, "%s{id=\"", name);
	label(e, row->cgroup);
	fputs("\"} ", e->out);
}

static void seconds(const struct exposition *e, uint64_t usec)
{
	fprintf(e->out, "%" PRIu64 ".%06" PRIu64 "\n", usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

static bool has_memory(const struct row *row)
{
	return row->now.current_bytes > 0;
}

#define EACH_ROW(e, row)                                      \
	for (size_t _i = 0; _i < rows_count((e)->rows); _i++) \
		if ((row = rows_at((e)->rows, _i)) && utf8_is_printable(row->cgroup))

/* Both scraped and summed up, each cgroup counts twice. */
#define AS_CADVISOR ". The same as cadvisor's, if that runs here: choose one by its job label."

static void put_pressure(const struct exposition *e)
{
	const struct row *row;

	family(e, "container_pressure_memory_waiting_seconds", COUNTER,
	       "Total time duration tasks in the container have waited due to memory congestion" AS_CADVISOR);
	EACH_ROW(e, row)
	if (row->now.has_pressure) {
		sample(e, "container_pressure_memory_waiting_seconds_total", row);
		seconds(e, row->now.some_total_usec);
	}
	family(e, "container_pressure_memory_stalled_seconds", COUNTER,
	       "Total time duration no tasks in the container could make progress due to memory "
	       "congestion" AS_CADVISOR);
	EACH_ROW(e, row)
	if (row->now.has_pressure) {
		sample(e, "container_pressure_memory_stalled_seconds_total", row);
		seconds(e, row->now.full_total_usec);
	}
}

static void put_memory(const struct exposition *e)
{
	const struct row *row;

	family(e, "container_memory_usage_bytes", GAUGE,
	       "Memory in use, page cache included" AS_CADVISOR);
	EACH_ROW(e, row)
	if (has_memory(row)) {
		sample(e, "container_memory_usage_bytes", row);
		fprintf(e->out, "%" PRIu64 "\n", row->now.current_bytes);
	}
	family(e, "container_memory_working_set_bytes", GAUGE,
	       "Memory in use, without inactive page cache" AS_CADVISOR);
	EACH_ROW(e, row)
	if (has_memory(row)) {
		sample(e, "container_memory_working_set_bytes", row);
		fprintf(e->out, "%" PRIu64 "\n", row->now.working_set_bytes);
	}
	family(e, "container_spec_memory_limit_bytes", GAUGE,
	       "The cgroup's own memory.max; 0: it has none" AS_CADVISOR);
	EACH_ROW(e, row)
	if (has_memory(row)) {
		sample(e, "container_spec_memory_limit_bytes", row);
		fprintf(e->out, "%" PRIu64 "\n", row->now.limit_bytes);
	}
	family(e, "container_oom_events", COUNTER,
	       "Processes that the kernel killed for want of memory, in the cgroup and below it" AS_CADVISOR);
	EACH_ROW(e, row)
	if (row->now.has_events) {
		sample(e, "container_oom_events_total", row);
		fprintf(e->out, "%" PRIu64 "\n", row->now.oom_kill_events);
	}
}

static void put_levels(const struct exposition *e)
{
	const struct row *row;

	family(e, "psibridge_memory_available", GAUGE,
	       "What psibridged makes of the cgroup: 1 Low (memory is short), 2 Neutral, 3 High.");
	EACH_ROW(e, row)
	if (row->available > 0) {
		sample(e, "psibridge_memory_available", row);
		fprintf(e->out, "%u\n", row->available);
	}
	family(e, "psibridge_memory_critical", GAUGE,
	       "1: Low, and whole tasks stall or the kernel killed one.");
	EACH_ROW(e, row)
	if (row->available > 0) {
		sample(e, "psibridge_memory_critical", row);
		fprintf(e->out, "%d\n", row->critical);
	}
}

/* Where those that were tried out differ from what is in force. */
static void put_candidates(const struct exposition *e)
{
	const json_t *cgroups = json_object_get(e->status, "cgroups");

	family(e, "psibridge_candidate_available", GAUGE,
	       "What a watch in the shadow makes of a cgroup that a live one judges, too: 1 Low, 2 "
	       "Neutral, 3 High.");
	for (size_t i = 0; i < json_array_size(cgroups); i++) {
		const json_t *cgroup = json_array_get(cgroups, i);
		const char *path = answer_text(cgroup, "cgroup");

		if (!answer_flag(cgroup, "candidate") || strstr(path, "\xef\xbf\xbd"))
			continue;
		fputs("psibridge_candidate_available{id=\"", e->out);
		label(e, path);
		fprintf(e->out, "\"} %u\n", answer_level(cgroup));
	}
}

static void put_own(const struct exposition *e)
{
	size_t left_out = 0;

	for (size_t i = 0; i < rows_count(e->rows); i++)
		left_out += !utf8_is_printable(rows_at(e->rows, i)->cgroup);
	family(e, "psibridge_cgroups", GAUGE, "Cgroups that were looked at.");
	fprintf(e->out, "psibridge_cgroups %zu\n", rows_count(e->rows));
	family(e, "psibridge_cgroups_left_out", GAUGE,
	       "Cgroups that are not listed because their names are not UTF-8, or hold control "
	       "characters.");
	fprintf(e->out, "psibridge_cgroups_left_out %zu\n", left_out);
	family(e, "psibridge_up", GAUGE, "1: psibridged runs, and its event loop answered.");
	fprintf(e->out, "psibridge_up %d\n", e->status != NULL);
}

static void put_all(const struct exposition *e)
{
	put_pressure(e);
	put_memory(e);
	put_own(e);
	if (e->status) {
		put_levels(e);
		put_candidates(e);
		metrics_put_daemon(e);
	}
	fputs("# EOF\n", e->out);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			size -= (size_t)n;
		}
	}
	return 0;
}

/* The rename lasts only when the directory is on the disk too. Some file systems cannot say. */
static void sync_directory(const char *path)
{
	char *directory = strdup(path);
	int fd = -1;

	if (directory) {
		char *slash = strrchr(directory, '/');

		if (slash)
			slash[slash == directory] = '\0';
		fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd >= 0) {
		(void)!fsync(fd);
		close(fd);
	}
	free(directory);
}

static int replace_file(const char *path, const char *text, size_t size)
{
	const char *slash = strrchr(path, '/');
	char *temporary;
	int fd, r;

	if (asprintf(&temporary, "%.*s.%s.XXXXXX", slash ? (int)(slash - path) + 1 : 0, path,
		     slash ? slash + 1 : path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		r = -errno;
		free(temporary);
		return r;
	}
	r = write_all(fd, text, size);
	if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0))
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	else
		sync_directory(path);
	free(temporary);
	return r;
}

/* Returns as replace_file(); *ret_why: words where errno has none, else NULL. */
static int write_to(const char *path, const char *text, size_t size, const char **ret_why)
{
	struct stat st;
	int fd, r;

	*ret_why = NULL;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? replace_file(path, text, size) : -errno;
	if (S_ISREG(st.st_mode))
		return replace_file(path, text, size);
	if (S_ISLNK(st.st_mode))
		*ret_why = "a symbolic link is not followed; name the file itself";
	else if (!S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode))
		*ret_why = "neither a file, a FIFO nor a character device";
	if (*ret_why)
		return -EINVAL;
	/* a FIFO that nobody reads is an error and no wait; one that is read slowly is waited for */
	fd = open(path, O_WRONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = fcntl(fd, F_SETFL, 0) < 0 ? -errno : write_all(fd, text, size);
	close(fd);
	return r;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int survey_failed(const char *pattern, int r)
{
	if (r == -EINVAL)
		complain("metrics", "\"%s\" is no path and no pattern", pattern);
	else if (r == -ENOENT && pattern)
		complain("metrics", "\"%s\": there is no such cgroup", pattern);
	else if (r == -ENOENT)
		complain("metrics", "there is no cgroup2 hierarchy");
	else
		complain("metrics", "cgroups cannot be read: %s", strerror(-r));
	return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

static int put_out(const char *path, const char *text, size_t size)
{
	const char *why;
	int r;

	if (path) {
		r = write_to(path, text, size, &why);
		if (r < 0)
			complain("metrics", "%s: %s; it is as it was", path,
				 why ? why : strerror(-r));
	} else {
		errno = 0;
		r = fwrite(text, 1, size, stdout) < size || fflush(stdout) == EOF ? -errno : 0;
		if (r < 0 && r != -EPIPE)
			complain("metrics", "standard output: %s", strerror(-r));
	}
	return r < 0 && r != -EPIPE ? EXIT_FAILED : EXIT_OK;
}

static int metrics(struct exposition *e, const char *pattern, const char *control, const char *path)
{
	char why[CONTROL_WHY_MAX], *text = NULL;
	json_t *status = NULL;
	size_t size;
	int r = rows_survey(e->rows, pattern, now_usec()), exit_status;

	if (r < 0)
		return survey_failed(pattern, r);
	r = control_ask_status(control, CONTROL_TIMEOUT_USEC, &status, why);
	if (r < 0 && !control_is_absent(r))
		complain("metrics", "%s", why); /* and psibridge_up is 0 */
	e->status = status;
	rows_judge(e->rows, status);
	e->out = open_memstream(&text, &size);
	if (e->out) {
		put_all(e);
		r = ferror(e->out) ? -ENOMEM : 0;
		if (fclose(e->out) == EOF)
			r = -ENOMEM;
	} else {
		r = -errno;
	}
	if (r < 0) {
		complain("metrics", "%s", strerror(-r));
		exit_status = EXIT_FAILED;
	} else {
		exit_status = put_out(path, text, size);
	}
	free(text);
	json_decref(status);
	return exit_status;
}

int verb_metrics(int argc, char **argv)
{
	_cleanup_(rows_freep) struct rows *rows = NULL;
	struct exposition e = { 0 };
	const char *control = NULL, *path = NULL, *pattern = NULL;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_TEXT("output", "the path of a file", &path),
		ARGS_CHOICE("format", "openmetrics or prometheus", &e.format),
		ARGS_A_WORD(&pattern),
		ARGS_NO_MORE,
	};
	int r, status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	r = rows_new(&rows);
	if (r < 0) {
		complain("metrics", "%s", strerror(-r));
		return EXIT_FAILED;
	}
	e.rows = rows;
	return metrics(&e, pattern, control, path);
}
