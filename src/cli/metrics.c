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
#include <libgen.h>
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
	unsigned labels; /* of the sample at hand */
	struct rows rows;
	const json_t *status; /* NULL: psibridged is not there */
};

enum type { GAUGE, COUNTER };

/* ---- notation -------------------------------------------------------------------------------- */

/* `name` is without the "_total" that every sample of a counter has; in the older text format, which
 * node_exporter's textfile collector reads, the family has it, too. */
static void family(struct exposition *e, const char *name, enum type type, const char *text)
{
	const char *suffix = e->format == PROMETHEUS && type == COUNTER ? "_total" : "";

	fprintf(e->out, "# TYPE %s%s %s\n# HELP %s%s %s\n", name, suffix,
		type == COUNTER ? "counter" : "gauge", name, suffix, text);
}

/* A sample: begin(), label() for each, end(). */
static void begin(struct exposition *e, const char *name, enum type type)
{
	fprintf(e->out, "%s%s", name, type == COUNTER ? "_total" : "");
	e->labels = 0;
}

static void label(struct exposition *e, const char *name, const char *value)
{
	fprintf(e->out, "%c%s=\"", e->labels++ > 0 ? ',' : '{', name);
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

static void end(struct exposition *e, uint64_t value)
{
	fprintf(e->out, "%s %" PRIu64 "\n", e->labels > 0 ? "}" : "", value);
}

static void end_seconds(struct exposition *e, uint64_t usec)
{
	fprintf(e->out, "%s %" PRIu64 ".%06" PRIu64 "\n", e->labels > 0 ? "}" : "",
		usec / USEC_PER_SEC, usec % USEC_PER_SEC);
}

/* A gauge of one sample. */
static void put_one(struct exposition *e, const char *name, const char *text, uint64_t value)
{
	family(e, name, GAUGE, text);
	begin(e, name, GAUGE);
	end(e, value);
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

#define EACH_ROW(e, row)                                                        \
	for (row = (e)->rows.all; row < (e)->rows.all + (e)->rows.count; row++) \
		if (utf8_is_printable(row->cgroup))

static void put_cgroups(struct exposition *e)
{
	for (size_t i = 0; i < ELEMENTSOF(row_families); i++) {
		const struct row_family *f = &row_families[i];
		const struct row *row;

		family(e, f->name, f->type, f->text);
		EACH_ROW(e, row)
			if (has(row, f->needs)) {
				const void *value = (const char *)&row->now + f->offset;

				begin(e, f->name, f->type);
				label(e, "id", row->cgroup);
				(f->needs == PRESSURE ? end_seconds
						      : end)(e, *(const uint64_t *)value);
			}
	}
}

static void put_levels(struct exposition *e)
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
				begin(e, name, GAUGE);
				label(e, "id", row->cgroup);
				end(e, critical ? row->critical : row->available);
			}
	}
}

static void put_own(struct exposition *e)
{
	size_t left_out = e->rows.count;
	const struct row *row;

	EACH_ROW(e, row)
		left_out--;
	put_one(e, "psibridge_cgroups", "Cgroups that were looked at.", e->rows.count);
	put_one(e, "psibridge_cgroups_left_out",
		"Cgroups that are not listed because their names are not UTF-8, or hold control "
		"characters.",
		left_out);
	put_one(e, "psibridge_up", "1: psibridged runs, and its event loop answered.",
		e->status != NULL);
}

/* ---- psibridged ------------------------------------------------------------------------------ */

struct kind {
	const char *value, *key; /* its sample is this member */
};

static const struct kind states[] = {
	{ "watching", NULL }, { "absent", NULL }, { "failed", NULL }, { NULL, NULL }
};
static const struct kind levels[] = {
	{ "low", "low" }, { "neutral", "neutral" }, { "high", "high" }, { NULL, NULL }
};
static const struct kind protocols[] = { { "systemd", "plain" },
					 { "libpsibridge", "records" },
					 { NULL, NULL } };

#define WATCH(name, type, in, key) \
	"psibridge_watch_" name, type, "watches", "path", in, key, NULL, NULL
#define STAT(name, key) WATCH(name, COUNTER, "stats", key)
#define CGROUP(name, key) \
	"psibridge_cgroup_" name, COUNTER, "history", "cgroup", NULL, key, NULL, NULL
#define ONE(name, type, in, key) "psibridge_" name, type, NULL, NULL, in, key, NULL, NULL

/* Families of its answer. */
static const struct json_family {
	const char *name;
	enum type type;
	const char *list,
		*path; /* a sample for each object of this array, by this member; NULL: one */
	const char *in, *key;	  /* `key` of this object, or of the one itself (NULL) */
	const char *label;	  /* NULL: one sample an object */
	const struct kind *kinds; /* else one each */
	const char *text;
} json_families[] = {
	{ ONE("uptime_seconds", GAUGE, NULL, "uptime_usec"),
	  "How long psibridged has been running." },
	{ ONE("configuration_refused", GAUGE, "configuration", "error"),
	  "1: the last reload was refused, an older configuration is in use." },
	{ "psibridge_clients", GAUGE, NULL, NULL, "clients", NULL, "kind", protocols,
	  "Connected clients: of systemd's protocol, and of libpsibridge." },
	{ ONE("clients_accepted", COUNTER, "clients", "accepted"), "Clients that were let in." },
	{ ONE("clients_refused", COUNTER, "clients", "refused"), "Clients that were turned away." },
	{ ONE("told", COUNTER, "clients", "told"), "Times that a client was told something." },
	{ ONE("replaced", COUNTER, "clients", "replaced"),
	  "Repeats that a slow client lost to newer ones." },
	/* where those that were tried out differ from what is in force */
	{ "psibridge_candidate_available", GAUGE, "cgroups", "cgroup", NULL, "available", NULL,
	  NULL,
	  "What a watch in the shadow makes of a cgroup that a live one judges, too: 1 Low, 2 "
	  "Neutral, 3 High." },
	{ "psibridge_watch_state", GAUGE, "watches", "path", NULL, "state", "state", states,
	  "1 for the state the watch is in: watching; absent, there is no such cgroup yet; failed." },
	{ WATCH("clients", GAUGE, NULL, "clients"), "Clients that hear from it." },
	{ WATCH("rung", GAUGE, "source", "rung"),
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
	{ "psibridge_watch_notifications", COUNTER, "watches", "path", "stats", NULL, "available",
	  levels, "Levels that it judged anew." },
	/* a counter that stands still does not say whether there was nothing, or no look */
	{ WATCH("last_alarm_timestamp_seconds", GAUGE, "stats", "alarm_usec"),
	  "When the kernel rang last." },
	{ WATCH("last_sample_timestamp_seconds", GAUGE, "stats", "sample_usec"),
	  "When memory.pressure was read last." },
	/* also of cgroups that are gone: for an hour */
	{ CGROUP("low", "low"), "Times that the cgroup became Low." },
	{ CGROUP("low_seconds", "low_usec"), "How long it was Low." },
	{ CGROUP("oom_kills", "killed"),
	  "Times that the kernel killed a process in it for want of memory." },
};

/* Of CLOCK_MONOTONIC, as the daemon gives it, the time that Prometheus wants. */
static uint64_t wall_seconds(struct exposition *e, uint64_t usec)
{
	uint64_t ago = usec_sub(answer_number(e->status, "time_usec"), usec);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC - ago) /
	       USEC_PER_SEC;
}

/* `kind` NULL: the family has no second label. */
static void put_sample(struct exposition *e, const struct json_family *f, const json_t *item,
		       const struct kind *kind)
{
	const json_t *in = f->in ? json_object_get(item, f->in) : item;
	const char *key = f->key ? f->key : kind->key, *text = answer_text(in, key);
	bool is_moment = strstr(f->name, "_timestamp_");
	bool is_watch = f->list && strcmp(f->list, "watches") == 0;
	uint64_t number = answer_number(in, key);

	if (f->kinds == states)
		number = strcmp(text, kind->value) == 0;
	else if (*text)
		number = strcmp(key, "available") == 0 ? answer_level(in) : 1;
	if (is_moment && number == 0)
		return; /* there was none yet */
	begin(e, f->name, f->type);
	if (f->list)
		label(e, is_watch ? "watch" : "id", answer_text(item, f->path));
	if (is_watch && answer_flag(item, "shadow"))
		label(e, "shadow", "yes");
	if (kind)
		label(e, f->label, kind->value);
	if (is_moment)
		end(e, wall_seconds(e, number));
	else
		(strstr(key, "_usec") ? end_seconds : end)(e, number);
}

static void put_family(struct exposition *e, const struct json_family *f)
{
	static const struct kind none[] = { { NULL, NULL } };
	const json_t *list = f->list ? json_object_get(e->status, f->list) : NULL;

	family(e, f->name, f->type, f->text);
	for (size_t i = 0; i < (f->list ? json_array_size(list) : 1); i++) {
		const json_t *item = f->list ? json_array_get(list, i) : e->status;
		const struct kind *kind = f->kinds ? f->kinds : none;

		/* a watch that does not work has no source, and counts nothing */
		if (f->list && (!is_plain(answer_text(item, f->path)) ||
				(f->in && strcmp(answer_text(item, "state"), "watching") != 0)))
			continue;
		if (strcmp(f->name, "psibridge_candidate_available") == 0 &&
		    !answer_flag(item, "candidate"))
			continue;
		do
			put_sample(e, f, item, kind->value ? kind : NULL);
		while (kind->value && (++kind)->value);
	}
}

static void put_daemon(struct exposition *e)
{
	family(e, "psibridge_build_info", GAUGE, "1; which psibridged answered is in the label.");
	begin(e, "psibridge_build_info", GAUGE);
	label(e, "version", answer_text(e->status, "version"));
	end(e, 1);
	for (size_t i = 0; i < ELEMENTSOF(json_families); i++)
		put_family(e, &json_families[i]);
}

static void put_all(struct exposition *e)
{
	put_cgroups(e);
	put_own(e);
	if (e->status) {
		put_levels(e);
		put_daemon(e);
	}
	fputs("# EOF\n", e->out);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* All of it, and closes `fd`. What replaces a file is on the disk then, for all to read. */
static int write_all(int fd, const char *text, size_t size, bool replaces)
{
	FILE *f = fdopen(fd, "w");
	int r = 0;

	if (!f) {
		r = -errno;
		close(fd);
		return r;
	}
	if (fwrite(text, 1, size, f) < size || fflush(f) == EOF ||
	    (replaces && (fchmod(fd, 0644) < 0 || fsync(fd) < 0)))
		r = -errno;
	if (fclose(f) == EOF && r == 0)
		r = -errno;
	return r;
}

/* The rename lasts only when the directory is on the disk too. Some file systems cannot say. */
static void sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		(void)!fsync(fd);
		close(fd);
	}
	free(copy);
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
	r = write_all(fd, text, size, true);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(temporary);
	else
		sync_directory(path);
	free(temporary);
	return r;
}

/* Errors: -errno, or words in *ret_why. */
static int write_to(const char *path, const char *text, size_t size, const char **ret_why)
{
	struct stat st;
	int fd;

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
	if (fd < 0 || fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	return write_all(fd, text, size, false);
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
	int r = rows_survey(&e->rows, pattern, now_usec()), exit_status = EXIT_FAILED;

	if (r < 0)
		return survey_failed(pattern, r);
	r = control_ask_status(control, CONTROL_TIMEOUT_USEC, &status, why);
	if (r < 0 && !control_is_absent(r))
		complain("metrics", "%s", why); /* and psibridge_up is 0 */
	e->status = status;
	rows_judge(&e->rows, status);
	e->out = open_memstream(&text, &size);
	if (e->out)
		put_all(e);
	if (!e->out || fclose(e->out) == EOF)
		complain("metrics", "%s", strerror(ENOMEM));
	else
		exit_status = put_out(path, text, size);
	free(text);
	json_decref(status);
	return exit_status;
}

int verb_metrics(int argc, char **argv)
{
	struct exposition e = { 0 };
	const char *control = NULL, *path = NULL, *pattern = NULL;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_TEXT("output", "the path of a file", &path),
		ARGS_CHOICE("format", "openmetrics or prometheus", &e.format),
		ARGS_A_WORD(&pattern),
		ARGS_NO_MORE,
	};
	int status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	status = metrics(&e, pattern, control, path);
	rows_done(&e.rows);
	return status;
}
