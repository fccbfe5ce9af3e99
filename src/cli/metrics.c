/* SPDX-License-Identifier: MIT */
/*
 * metrics.c - psibridge metrics: pressure and levels of all cgroups as OpenMetrics text
 *
 *     one survey, one question to psibridged --> one object --> the whole text in memory --> stdout
 *                                                                                           or a file
 *
 * The object is psibridged's answer with the cgroups of the survey beside it. A table says which
 * families there are, and where in the object each has its samples. A family is its two lines
 * (TYPE, HELP) and then all of its samples: OpenMetrics wants them in one piece and no series twice.
 *
 * What cadvisor has is named as there (its docs/storage/prometheus.md), so that its dashboards work:
 * "waiting" is PSI's some, "stalled" its full, the working set is use minus inactive_file, and no
 * limit is a limit of 0. The label is `id`, the cgroup's path. What only psibridged knows begins
 * with psibridge_.
 *
 * A label must be UTF-8, and whatever replaces other bytes could make two names one: a cgroup whose
 * name is not UTF-8 (it has U+FFFD in the object), or has control characters (ESC), is left out and
 * counted. Each path stands once in the answer, and once more in the shadow, so `watch` and
 * `shadow` name a series.
 *
 * A file is replaced in one step (temporary file, fsync, rename), so a reader sees the old one or
 * the new one, and a full disk leaves the old one. The temporary name does not end in ".prom".
 * What is there and no file (a device, a FIFO, a symbolic link) is refused: neither replaced nor
 * followed, for the directory may be another user's and we may be root.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/output.h"
#include "cli/rows.h"
#include "cli/wait.h"
#include "core/utf8.h"

static const char help[] =
	"psibridge metrics - print pressure and levels of all cgroups\n"
	"\n"
	"Usage: psibridge metrics [PATTERN] [OPTION...]\n"
	"\n"
	"PATTERN chooses cgroups, such as 'system.slice/*.service'; without one it is\n"
	"all of them and the root.\n"
	"\n"
	"  -o, --output FILE    replace this file in one step, in place of standard\n"
	"                       output\n"
	"  --format FORMAT      openmetrics, or prometheus: what node_exporter's textfile\n"
	"                       collector reads                             [openmetrics]\n" CONTROL_HELP
	"  --help\n"
	"\n"
	"Without psibridged there are pressure and memory, and psibridge_up is 0.\n"
	"\n"
	"Exit status: 0 done, 1 it could not be done (a FILE is as it was), 2 the\n"
	"command line makes no sense.\n"
	"\n"
	"Example: psibridge metrics --format prometheus \\\n"
	"           --output /var/lib/prometheus/node-exporter/psibridge.prom\n";

enum format { OPENMETRICS, PROMETHEUS };

struct exposition {
	FILE *out;	 /* memory: errors are looked for at the end */
	unsigned format; /* enum format */
	unsigned labels; /* of the sample at hand */
	json_t *all;
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

/* Can it be the label of a series? */
static bool is_plain(const char *path)
{
	return !strstr(path, "\xef\xbf\xbd") && utf8_is_printable(path);
}

/* ---- the families ---------------------------------------------------------------------------- */

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

/* Both scraped and summed up, each cgroup counts twice. */
#define AS_CADVISOR ". The same as cadvisor's, if that runs here: choose one by its job label."

#define ROW(name, type, needs, key) name, type, "rows", "cgroup", NULL, key, needs, NULL, NULL
#define WATCH(name, type, in, key) \
	"psibridge_watch_" name, type, "watches", "path", in, key, NULL, NULL, NULL
#define STAT(name, key) WATCH(name, COUNTER, "stats", key)
#define CGROUP(name, key) \
	"psibridge_cgroup_" name, COUNTER, "history", "cgroup", NULL, key, NULL, NULL, NULL
#define ONE(name, type, in, key) "psibridge_" name, type, NULL, NULL, in, key, NULL, NULL, NULL

/* Of the last Low whose effect is known. */
#define LAST(name, key) \
	"psibridge_cgroup_" name, GAUGE, "history", "cgroup", "effect", key, NULL, NULL, NULL

static const struct family {
	const char *name;
	enum type type;
	const char *list,
		*path; /* a sample for each object of this array, by this member; NULL: one */
	const char *in, *key;	  /* `key` of this object, or of the one itself (NULL) */
	const char *needs;	  /* none where this member is null, false or missing */
	const char *label;	  /* NULL: one sample an object */
	const struct kind *kinds; /* else one each */
	const char *text;
} families[] = {
	{ ROW("container_pressure_memory_waiting_seconds", COUNTER, "some_total_usec",
	      "some_total_usec"),
	  "Total time duration tasks in the container have waited due to memory congestion" AS_CADVISOR },
	{ ROW("container_pressure_memory_stalled_seconds", COUNTER, "full_total_usec",
	      "full_total_usec"),
	  "Total time duration no tasks in the container could make progress due to memory "
	  "congestion" AS_CADVISOR },
	{ ROW("container_memory_usage_bytes", GAUGE, "current_bytes", "current_bytes"),
	  "Memory in use, page cache included" AS_CADVISOR },
	{ ROW("container_memory_working_set_bytes", GAUGE, "current_bytes", "working_set_bytes"),
	  "Memory in use, without inactive page cache" AS_CADVISOR },
	{ ROW("container_spec_memory_limit_bytes", GAUGE, "current_bytes", "limit_bytes"),
	  "The cgroup's own memory.max; 0: it has none" AS_CADVISOR },
	{ ROW("container_oom_events", COUNTER, "oom_kills", "oom_kills"),
	  "Processes that the kernel killed for want of memory, in the cgroup and below it" AS_CADVISOR },
	{ ONE("cgroups", GAUGE, "survey", "cgroups"), "Cgroups that were looked at." },
	{ ONE("cgroups_left_out", GAUGE, "survey", "left_out"),
	  "Cgroups that are not listed because their names are not UTF-8, or hold control "
	  "characters." },
	{ ONE("up", GAUGE, "survey", "up"), "1: psibridged runs, and its event loop answered." },
	/* from here on only if it does */
	{ ROW("psibridge_memory_available", GAUGE, "available", "available"),
	  "What psibridged makes of the cgroup: 1 Low (memory is short), 2 Neutral, 3 High." },
	{ ROW("psibridge_memory_critical", GAUGE, "available", "critical"),
	  "1: Low, and whole tasks stall or the kernel killed one." },
	{ ONE("uptime_seconds", GAUGE, NULL, "uptime_usec"),
	  "How long psibridged has been running." },
	{ ONE("configuration_refused", GAUGE, "configuration", "error"),
	  "1: the last reload was refused, an older configuration is in use." },
	{ "psibridge_clients", GAUGE, NULL, NULL, "clients", NULL, NULL, "kind", protocols,
	  "Connected clients: of systemd's protocol, and of libpsibridge." },
	{ ONE("clients_accepted", COUNTER, "clients", "accepted"), "Clients that were let in." },
	{ ONE("clients_refused", COUNTER, "clients", "refused"), "Clients that were turned away." },
	{ ONE("told", COUNTER, "clients", "told"), "Times that a client was told something." },
	{ ONE("replaced", COUNTER, "clients", "replaced"),
	  "Repeats that a slow client lost to newer ones." },
	/* where those that were tried out differ from what is in force */
	{ "psibridge_candidate_available", GAUGE, "cgroups", "cgroup", NULL, "available",
	  "candidate", NULL, NULL,
	  "What a watch in the shadow makes of a cgroup that a live one judges, too: 1 Low, 2 "
	  "Neutral, 3 High." },
	{ "psibridge_watch_state", GAUGE, "watches", "path", NULL, "state", NULL, "state", states,
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
	  "Memory that was given back after a Low: held before, less the least held within 5 s." },
	{ STAT("effects", "effects"), "Lows whose effect was measured." },
	{ "psibridge_watch_notifications", COUNTER, "watches", "path", "stats", NULL, NULL,
	  "available", levels, "Levels that it judged anew." },
	/* a counter that stands still does not say whether there was nothing, or no look */
	{ WATCH("last_alarm_timestamp_seconds", GAUGE, "stats", "alarm_usec"),
	  "When the kernel rang last." },
	{ WATCH("last_sample_timestamp_seconds", GAUGE, "stats", "sample_usec"),
	  "When memory.pressure was read last." },
	/* also of cgroups that are gone: for an hour */
	{ CGROUP("low", "low"), "Times that the cgroup became Low." },
	{ CGROUP("low_seconds", "low_usec"), "How long it was Low." },
	{ CGROUP("effects", "effects"),
	  "Lows that its clients were told, and whose effect was measured." },
	{ CGROUP("given_back_bytes", "bytes_back"), "Memory that was given back after those." },
	{ LAST("first_back_seconds", "first_back_usec"),
	  "From the beginning of the last stall that led to Low to the first memory given back." },
	{ LAST("stall_before_seconds", "stall_before_usec"), "Stall in the 5 s before that Low." },
	{ LAST("stall_after_seconds", "stall_after_usec"), "Stall in the 5 s after it." },
	{ "psibridge_cgroup_unanswered", GAUGE, "history", "cgroup", NULL, "unanswered", NULL, NULL,
	  NULL,
	  "Lows in a row after which nothing was given back; from 3 on it is told less often." },
	{ CGROUP("oom_kills", "killed"),
	  "Times that the kernel killed a process in it for want of memory." },
};
#define FAMILIES_OF_THE_SURVEY 9

/* Of CLOCK_MONOTONIC, as the daemon gives it, the time that Prometheus wants. */
static uint64_t wall_seconds(struct exposition *e, uint64_t usec)
{
	uint64_t ago = usec_sub(answer_number(e->all, "time_usec"), usec);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC - ago) /
	       USEC_PER_SEC;
}

/* `kind` NULL: the family has no second label. */
static void put_sample(struct exposition *e, const struct family *f, const json_t *item,
		       const struct kind *kind)
{
	const json_t *in = f->in ? json_object_get(item, f->in) : item;
	const char *key = f->key ? f->key : kind->key, *text = answer_text(in, key);
	bool is_moment = strstr(f->name, "_timestamp_");
	bool is_watch = f->list && strcmp(f->list, "watches") == 0;
	uint64_t number = answer_flag(in, key) ? 1 : answer_number(in, key);

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

/* A watch that does not work has no source, and counts nothing; null is not known. */
static bool has_sample(const struct family *f, const json_t *item)
{
	const json_t *needed = f->needs ? json_object_get(item, f->needs) : json_true();
	const json_t *in = f->in ? json_object_get(item, f->in) : item;

	return needed && !json_is_null(needed) && !json_is_false(needed) &&
	       is_plain(answer_text(item, f->path)) && in &&
	       !(f->key && json_is_null(json_object_get(in, f->key)));
}

static void put_family(struct exposition *e, const struct family *f)
{
	static const struct kind none[] = { { NULL, NULL } };
	const json_t *list = f->list ? json_object_get(e->all, f->list) : NULL;

	family(e, f->name, f->type, f->text);
	for (size_t i = 0; i < (f->list ? json_array_size(list) : 1); i++) {
		const json_t *item = f->list ? json_array_get(list, i) : e->all;
		const struct kind *kind = f->kinds ? f->kinds : none;

		if (f->list && !has_sample(f, item))
			continue;
		do
			put_sample(e, f, item, kind->value ? kind : NULL);
		while (kind->value && (++kind)->value);
	}
}

static void put_all(struct exposition *e, bool up)
{
	for (size_t i = 0; i < (up ? ELEMENTSOF(families) : FAMILIES_OF_THE_SURVEY); i++)
		put_family(e, &families[i]);
	if (up) {
		family(e, "psibridge_build_info", GAUGE,
		       "1; which psibridged answered is in the label.");
		begin(e, "psibridge_build_info", GAUGE);
		label(e, "version", answer_text(e->all, "version"));
		end(e, 1);
	}
	fputs("# EOF\n", e->out);
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
	struct stat st;
	int r = 0;

	if (!path)
		fwrite(text, 1, size, stdout);
	if (path && lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		complain("metrics", "%s: it is no regular file; it is as it was", path);
		return EXIT_FAILED;
	}
	if (path)
		r = output_file(path, text, size);
	if (r < 0)
		complain("metrics", "%s: %s; it is as it was", path, strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static json_t *known(bool is_known, uint64_t number)
{
	return is_known ? output_json_number(number) : json_null();
}

/* What is not known is null. */
static json_t *row_json(const struct row *row)
{
	const struct psb_survey_row *now = &row->now;
	bool psi = now->has_pressure, memory = now->current_bytes > 0;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "cgroup",
			 output_json_text(row->cgroup), "some_total_usec",
			 known(psi, now->some_total_usec), "full_total_usec",
			 known(psi, now->full_total_usec), "current_bytes",
			 known(memory, now->current_bytes), "working_set_bytes",
			 known(memory, now->working_set_bytes), "limit_bytes",
			 known(memory, now->limit_bytes), "oom_kills",
			 known(now->has_events, now->oom_kill_events), "available",
			 known(row->available > 0, row->available), "critical", row->critical);
}

/* To what psibridged answered, if it did. */
static void add_rows(json_t *all, const struct rows *rows, bool up)
{
	json_t *list = json_array();
	size_t left_out = 0;

	for (size_t i = 0; i < rows->count; i++) {
		json_array_append_new(list, row_json(&rows->all[i]));
		left_out += !is_plain(answer_text(json_array_get(list, i), "cgroup"));
	}
	json_object_set_new(all, "rows", list);
	json_object_set_new(all, "survey",
			    json_pack("{s:I, s:I, s:b}", "cgroups", (json_int_t)rows->count,
				      "left_out", (json_int_t)left_out, "up", up));
}

static int metrics(struct exposition *e, const char *pattern, const char *control, const char *path)
{
	char why[CONTROL_WHY_MAX], *text = NULL;
	struct rows rows = { 0 };
	size_t size;
	int r = rows_survey(&rows, pattern, now_usec()), exit_status = EXIT_FAILED;

	if (r < 0)
		return survey_failed(pattern, r);
	r = control_ask_status(control, CONTROL_TIMEOUT_USEC, &e->all, why);
	if (r < 0 && !control_is_absent(r))
		complain("metrics", "%s", why); /* and psibridge_up is 0 */
	rows_judge(&rows, e->all);
	if (r < 0)
		e->all = json_object();
	add_rows(e->all, &rows, r == 0);
	e->out = open_memstream(&text, &size);
	if (e->out)
		put_all(e, r == 0);
	if (!e->out || fclose(e->out) == EOF)
		complain("metrics", "%s", strerror(ENOMEM));
	else
		exit_status = put_out(path, text, size);
	free(text);
	json_decref(e->all);
	rows_done(&rows);
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
	return metrics(&e, pattern, control, path);
}
