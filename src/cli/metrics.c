/* SPDX-License-Identifier: MIT */
/*
 * metrics.c - psibridge metrics: pressure and levels of all cgroups as OpenMetrics text
 *
 *     one survey, one question to psibridged --> the whole text in memory --> stdout or a file
 *
 * A family is its two lines (TYPE, HELP) and then all of its samples: OpenMetrics wants them in one
 * piece and no series twice. Tables say which families there are, a function for each kind of
 * table goes through what has samples: cgroups of the survey, psibridged itself, its watches, and
 * cgroups that it remembers.
 *
 * What cadvisor has is named as there (its docs/storage/prometheus.md), so that its dashboards work:
 * "waiting" is PSI's some, "stalled" its full, the working set is use minus inactive_file, and no
 * limit is a limit of 0. The label is `id`, the cgroup's path. What only psibridged knows begins
 * with psibridge_.
 *
 * A label must be UTF-8, and whatever replaces other bytes could make two names one: a cgroup whose
 * name is not UTF-8, or has control characters (ESC), is left out and counted. psibridged's answer
 * has U+FFFD in such a name, and is treated the same. Each path stands once in it, and once more in
 * the shadow, so `watch` and `shadow` name a series.
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
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/rows.h"
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

enum format { OPENMETRICS, PROMETHEUS };

struct exposition {
	FILE *out;	 /* memory: errors are looked for at the end */
	unsigned format; /* enum format */
	struct rows *rows;
	const json_t *status; /* NULL: psibridged is not there */
};

enum type { GAUGE, COUNTER };

/* ---- notation -------------------------------------------------------------------------------- */

/* `name` is without the "_total" that every sample of a counter has; in the older text format, which
 * node_exporter's textfile collector reads, the family has it, too. */
static void family(const struct exposition *e, const char *name, enum type type, const char *text)
{
	const char *suffix = e->format == PROMETHEUS && type == COUNTER ? "_total" : "";

	fprintf(e->out, "# TYPE %s%s %s\n# HELP %s%s %s\n", name, suffix,
		type == COUNTER ? "counter" : "gauge", name, suffix, text);
}

/* A sample up to its first label's value, which is left open for more of them. */
static void begin(const struct exposition *e, const char *name, enum type type, const char *label,
		  const char *value)
{
	fprintf(e->out, "%s%s{%s=\"", name, type == COUNTER ? "_total" : "", label);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			putc('\\', e->out);
		if (*value == '\n')
			fputs("\\n", e->out);
		else
			putc(*value, e->out);
	}
	putc('"', e->out);
}

static void end(const struct exposition *e, uint64_t value)
{
	fprintf(e->out, "} %" PRIu64 "\n", value);
}

static void end_seconds(const struct exposition *e, uint64_t usec)
{
	fprintf(e->out, "} %" PRIu64 ".%06" PRIu64 "\n", usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

/* A family of one sample. */
static void put_one(const struct exposition *e, const char *name, enum type type, const char *text,
		    uint64_t value)
{
	family(e, name, type, text);
	fprintf(e->out, "%s%s %" PRIu64 "\n", name, type == COUNTER ? "_total" : "", value);
}

/* A path of psibridged's answer that can be the label of a series. */
static bool is_plain(const char *path)
{
	return !strstr(path, "\xef\xbf\xbd") && utf8_is_printable(path);
}

/* ---- cgroups --------------------------------------------------------------------------------- */

/* Both scraped and summed up, each cgroup counts twice. */
#define AS_CADVISOR ". The same as cadvisor's, if that runs here: choose one by its job label."

enum needs { PRESSURE, MEMORY, EVENTS };

static const struct row_family {
	const char *name;
	enum type type;
	enum needs needs;
	size_t offset; /* in struct psb_survey_row: uint64_t */
	const char *text;
} row_families[] = {
	{ "container_pressure_memory_waiting_seconds", COUNTER, PRESSURE,
	  offsetof(struct psb_survey_row, some_total_usec),
	  "Total time duration tasks in the container have waited due to memory congestion" AS_CADVISOR },
	{ "container_pressure_memory_stalled_seconds", COUNTER, PRESSURE,
	  offsetof(struct psb_survey_row, full_total_usec),
	  "Total time duration no tasks in the container could make progress due to memory "
	  "congestion" AS_CADVISOR },
	{ "container_memory_usage_bytes", GAUGE, MEMORY,
	  offsetof(struct psb_survey_row, current_bytes),
	  "Memory in use, page cache included" AS_CADVISOR },
	{ "container_memory_working_set_bytes", GAUGE, MEMORY,
	  offsetof(struct psb_survey_row, working_set_bytes),
	  "Memory in use, without inactive page cache" AS_CADVISOR },
	{ "container_spec_memory_limit_bytes", GAUGE, MEMORY,
	  offsetof(struct psb_survey_row, limit_bytes),
	  "The cgroup's own memory.max; 0: it has none" AS_CADVISOR },
	{ "container_oom_events", COUNTER, EVENTS, offsetof(struct psb_survey_row, oom_kill_events),
	  "Processes that the kernel killed for want of memory, in the cgroup and below it" AS_CADVISOR },
};

static bool has(const struct row *row, enum needs needs)
{
	return needs == PRESSURE ? row->now.has_pressure
	       : needs == MEMORY ? row->now.current_bytes > 0
				 : row->now.has_events;
}

#define EACH_ROW(e, row)                                      \
	for (size_t _i = 0; _i < rows_count((e)->rows); _i++) \
		if ((row = rows_at((e)->rows, _i)) && utf8_is_printable(row->cgroup))

static void put_cgroups(const struct exposition *e)
{
	for (size_t i = 0; i < ELEMENTSOF(row_families); i++) {
		const struct row_family *f = &row_families[i];
		const struct row *row;

		family(e, f->name, f->type, f->text);
		EACH_ROW(e, row)
		if (has(row, f->needs)) {
			const void *value = (const char *)&row->now + f->offset;

			begin(e, f->name, f->type, "id", row->cgroup);
			(f->needs == PRESSURE ? end_seconds : end)(e, *(const uint64_t *)value);
		}
	}
}

static void put_levels(const struct exposition *e)
{
	const struct row *row;

	for (int critical = 0; critical <= 1; critical++) {
		const char *name = critical ? "psibridge_memory_critical"
					    : "psibridge_memory_available";

		family(e, name, GAUGE,
		       critical ? "1: Low, and whole tasks stall or the kernel killed one."
				: "What psibridged makes of the cgroup: 1 Low (memory is short), "
				  "2 Neutral, 3 High.");
		EACH_ROW(e, row)
		if (row->available > 0) {
			begin(e, name, GAUGE, "id", row->cgroup);
			end(e, critical ? row->critical : row->available);
		}
	}
}

static void put_own(const struct exposition *e)
{
	size_t left_out = rows_count(e->rows);
	const struct row *row;

	EACH_ROW(e, row)
	left_out--;
	put_one(e, "psibridge_cgroups", GAUGE, "Cgroups that were looked at.", rows_count(e->rows));
	put_one(e, "psibridge_cgroups_left_out", GAUGE,
		"Cgroups that are not listed because their names are not UTF-8, or hold control "
		"characters.",
		left_out);
	put_one(e, "psibridge_up", GAUGE, "1: psibridged runs, and its event loop answered.",
		e->status != NULL);
}

/* ---- psibridged ------------------------------------------------------------------------------ */

static void put_daemon(const struct exposition *e)
{
	static const struct {
		const char *name, *key, *text;
	} counters[] = {
		{ "psibridge_clients_accepted", "accepted", "Clients that were let in." },
		{ "psibridge_clients_refused", "refused", "Clients that were turned away." },
		{ "psibridge_told", "told", "Times that a client was told something." },
		{ "psibridge_replaced", "replaced",
		  "Repeats that a slow client lost to newer ones." },
	};
	const json_t *clients = json_object_get(e->status, "clients");
	const json_t *configuration = json_object_get(e->status, "configuration");
	uint64_t uptime = answer_number(e->status, "uptime_usec");

	family(e, "psibridge_build_info", GAUGE, "1; which psibridged answered is in the label.");
	begin(e, "psibridge_build_info", GAUGE, "version", answer_text(e->status, "version"));
	end(e, 1);
	family(e, "psibridge_uptime_seconds", GAUGE, "How long psibridged has been running.");
	fprintf(e->out, "psibridge_uptime_seconds %" PRIu64 ".%06" PRIu64 "\n",
		uptime / USEC_PER_SEC, uptime % USEC_PER_SEC);
	put_one(e, "psibridge_configuration_refused", GAUGE,
		"1: the last reload was refused, an older configuration is in use.",
		*answer_text(configuration, "error") != '\0');
	family(e, "psibridge_clients", GAUGE,
	       "Connected clients: of systemd's protocol, and of libpsibridge.");
	begin(e, "psibridge_clients", GAUGE, "kind", "systemd");
	end(e, answer_number(clients, "plain"));
	begin(e, "psibridge_clients", GAUGE, "kind", "libpsibridge");
	end(e, answer_number(clients, "records"));
	for (size_t i = 0; i < ELEMENTSOF(counters); i++)
		put_one(e, counters[i].name, COUNTER, counters[i].text,
			answer_number(clients, counters[i].key));
}

/* Where those that were tried out differ from what is in force. */
static void put_candidates(const struct exposition *e)
{
	const json_t *cgroup;
	size_t i;

	family(e, "psibridge_candidate_available", GAUGE,
	       "What a watch in the shadow makes of a cgroup that a live one judges, too: 1 Low, 2 "
	       "Neutral, 3 High.");
	json_array_foreach(json_object_get(e->status, "cgroups"), i, cgroup)
	{
		const char *path = answer_text(cgroup, "cgroup");

		if (!answer_flag(cgroup, "candidate") || !is_plain(path))
			continue;
		begin(e, "psibridge_candidate_available", GAUGE, "id", path);
		end(e, answer_level(cgroup));
	}
}

/* Of CLOCK_MONOTONIC, as the daemon gives it, the time that Prometheus wants. */
static uint64_t wall_seconds(const struct exposition *e, uint64_t usec)
{
	uint64_t ago = usec_sub(answer_number(e->status, "time_usec"), usec);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC - ago) /
	       USEC_PER_SEC;
}

/* ---- its watches ----------------------------------------------------------------------------- */

static const char *const states[] = { "watching", "absent", "failed", NULL };
static const char *const levels[] = { "low", "neutral", "high", NULL };

#define STAT(name, key) "psibridge_watch_" name, COUNTER, "stats", key, NULL, NULL

static const struct watch_family {
	const char *name;
	enum type type;
	const char *in, *key;	   /* `key` of this object, or of the watch itself (NULL) */
	const char *label;	   /* NULL: one sample a watch */
	const char *const *values; /* of the label, one sample each */
	const char *text;
} watch_families[] = {
	{ "psibridge_watch_state", GAUGE, NULL, "state", "state", states,
	  "1 for the state the watch is in: watching; absent, there is no such cgroup yet; failed." },
	{ "psibridge_watch_clients", GAUGE, NULL, "clients", NULL, NULL,
	  "Clients that hear from it." },
	{ "psibridge_watch_rung", GAUGE, "source", "rung", NULL, NULL,
	  "Which source it listens to, by its rung on the ladder; 1 is the best, 0 none." },
	{ STAT("alarms", "alarms"), "Times that the kernel rang." },
	{ STAT("false_alarms", "false_alarms"),
	  "Times that the kernel rang, and nothing had grown." },
	{ STAT("lost_alarms", "lost_alarms"),
	  "Stalls that the kernel should have announced and did not." },
	{ STAT("samples", "samples"), "Reads of memory.pressure." },
	{ STAT("sweeps", "sweeps"), "Walks down the tree." },
	{ STAT("critical", "critical"), "Times that it was judged critical." },
	{ STAT("given_back_bytes", "bytes_back"),
	  "Memory that was in use less a second after a Low." },
	{ "psibridge_watch_notifications", COUNTER, "stats", NULL, "available", levels,
	  "Levels that it judged anew." },
	/* a counter that stands still does not say whether there was nothing, or no look */
	{ "psibridge_watch_last_alarm_timestamp_seconds", GAUGE, "stats", "alarm_usec", NULL, NULL,
	  "When the kernel rang last." },
	{ "psibridge_watch_last_sample_timestamp_seconds", GAUGE, "stats", "sample_usec", NULL,
	  NULL, "When memory.pressure was read last." },
};

static void put_watch(const struct exposition *e, const struct watch_family *f, const json_t *watch,
		      const char *value)
{
	const json_t *in = f->in ? json_object_get(watch, f->in) : watch;
	uint64_t number = answer_number(in, f->key ? f->key : value);

	if (f->values == states)
		number = strcmp(answer_text(watch, "state"), value) == 0;
	if (strstr(f->name, "_timestamp_")) {
		if (number == 0)
			return; /* there was none yet */
		number = wall_seconds(e, number);
	}
	begin(e, f->name, f->type, "watch", answer_text(watch, "path"));
	if (answer_flag(watch, "shadow"))
		fputs(",shadow=\"yes\"", e->out);
	if (value)
		fprintf(e->out, ",%s=\"%s\"", f->label, value);
	end(e, number);
}

static void put_watches(const struct exposition *e)
{
	static const char *const unlabelled[] = { NULL };

	for (size_t i = 0; i < ELEMENTSOF(watch_families); i++) {
		const struct watch_family *f = &watch_families[i];
		const json_t *watch;
		size_t j;

		family(e, f->name, f->type, f->text);
		json_array_foreach(json_object_get(e->status, "watches"), j, watch)
		{
			const char *const *value = f->values ? f->values : unlabelled;

			/* one that does not work has no source, and counts nothing */
			if (!is_plain(answer_text(watch, "path")) ||
			    (f->in && strcmp(answer_text(watch, "state"), "watching") != 0))
				continue;
			do
				put_watch(e, f, watch, *value);
			while (*value && *++value);
		}
	}
}

/* Also of cgroups that are gone: for an hour. */
static void put_history(const struct exposition *e)
{
	static const struct {
		const char *name, *key, *text;
	} counters[] = {
		{ "psibridge_cgroup_low", "low", "Times that the cgroup became Low." },
		{ "psibridge_cgroup_low_seconds", "low_usec", "How long it was Low." },
		{ "psibridge_cgroup_oom_kills", "killed",
		  "Times that the kernel killed a process in it for want of memory." },
	};

	for (size_t c = 0; c < ELEMENTSOF(counters); c++) {
		bool seconds = strstr(counters[c].key, "_usec") != NULL;
		const json_t *past;
		size_t i;

		family(e, counters[c].name, COUNTER, counters[c].text);
		json_array_foreach(json_object_get(e->status, "history"), i, past)
		{
			if (!is_plain(answer_text(past, "cgroup")))
				continue;
			begin(e, counters[c].name, COUNTER, "id", answer_text(past, "cgroup"));
			(seconds ? end_seconds : end)(e, answer_number(past, counters[c].key));
		}
	}
}

static void put_all(const struct exposition *e)
{
	put_cgroups(e);
	put_own(e);
	if (e->status) {
		put_levels(e);
		put_candidates(e);
		put_daemon(e);
		put_watches(e);
		put_history(e);
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
	/* a FIFO without a reader is an error and no wait; one that is read slowly is waited for */
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
