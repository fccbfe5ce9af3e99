/* SPDX-License-Identifier: MIT */
/*
 * test-bad-input.c - a named error at the place where it is wrong, and nothing lost
 *
 * Each row is asked of psb_watch_new() and psb_diagnose(), which must agree on the errno and on the words. One of each kind: what
 * else a target, a trigger or thresholds can have wrong is asserted in tests/unit/monitor/test-target.c and tests/unit/core/test-refusals.c.
 */
#include "library-bench.h"

#define TEXT_MAX 400

#define OPTIONS(...)                                                  \
	{                                                             \
		.size = sizeof(struct psb_watch_options), __VA_ARGS__ \
	}
#define ROW(e, words, ...)                                                 \
	{                                                                  \
		.error = e, .text = words, .options = OPTIONS(__VA_ARGS__) \
	}
/* A variable that leads nowhere is a reason for the next rung, and an error only where there is none. */
#define NOWHERE(e, words, path)                                               \
	{                                                                     \
		.error = e, .text = words, .watch = path,                     \
		.options = OPTIONS(.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL)) \
	}

static const struct row {
	int error;
	const char *text; /* it begins so where a trigger's own words follow */
	struct psb_watch_options options;
	const char *watch; /* MEMORY_PRESSURE_WATCH */
} rows[] = {
	ROW(-EINVAL, "cgroup, pid, unit and source exclude each other", .cgroup = "a", .pid = 1),
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*", .pid = 1),
	ROW(-EINVAL, "cgroup \"a?b\": a newline is not allowed in it", .cgroup = "a\nb"),
	ROW(-ENOENT, "cgroup /no/such/group: there is no such cgroup",
	    .cgroup = "no//such/./group/"),
	ROW(-ESRCH, "pid 99999999999: there is no such process", .pid = 99999999999),
	ROW(-ENOENT, "unit no-such.service: no cgroup of that name; is it running?",
	    .unit = "no-such.service"),
	ROW(-EINVAL, "source=/etc: neither a memory pressure file, a FIFO nor a socket",
	    .source = "/etc"),
	ROW(-EINVAL, "source_write is NULL, source_write_size is 5",
	    .source = "/proc/pressure/memory", .source_write_size = 5),
	ROW(-EINVAL, "source_write without source", .source_write = "x", .source_write_size = 1),
	ROW(-EINVAL, "pattern \"a/../*\": \"..\" is not allowed in it", .pattern = "a/../*"),
	ROW(-ENOENT, "cgroup /no/such: there is no such cgroup", .pattern = "no/such/**"),
	ROW(-EINVAL, "early \"\": ", .early = ""),
	ROW(-EINVAL, "low \"some 3s/2s\": ", .low = "some 3s/2s"),
	ROW(-EINVAL, "critical \"FULL 200ms/2s\": ", .critical = "FULL 200ms/2s"),
	ROW(-EINVAL,
	    "early \"some 20ms/2s\" is over low \"some 10ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"some 10ms/2s\" was expected",
	    .low = "some 10ms/2s"),
	ROW(-EINVAL, "headroom_percent 100: 1 to 99 was expected", .headroom_percent = 100),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .rearm_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .quiet_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .calm_usec = UINT64_MAX),
	ROW(-EINVAL, "rungs 0x1: none of them is PSB_RUNG_MASK() of a rung", .rungs = 1),
	{ .error = -ENODATA,
	  .text = "MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service",
	  .options = OPTIONS(),
	  .watch = "/dev/null" },
	NOWHERE(-EBADMSG, "MEMORY_PRESSURE_WATCH=pressure: an absolute path was expected",
		"pressure"),
	NOWHERE(-ENOENT, "MEMORY_PRESSURE_WATCH=/no/such/file: No such file or directory",
		"/no/such/file"),
};

struct found {
	unsigned n;
	char *text; /* of the first rung */
};

static void finding(const struct psb_finding *f, void *userdata)
{
	struct found *found = userdata;

	found->n++;
	if (f->rung == PSB_RUNG_PROTOCOL)
		snprintf(found->text, TEXT_MAX, "%s", f->what);
}

static void check_row(psb_bridge *bridge, const struct row *row)
{
	struct psb_watch_options options = row->options;
	char text[TEXT_MAX] = "untouched", again[TEXT_MAX] = "untouched";
	struct found found = { .text = again };
	size_t n = strlen(row->text);
	psb_watch *watch = NULL;
	int r, d;

	if (row->watch)
		setenv("MEMORY_PRESSURE_WATCH", row->watch, 1);
	options.error_text = text;
	options.error_text_size = sizeof(text);
	r = psb_watch_new(bridge, &options, &watch);
	options.error_text = again;
	d = psb_diagnose(&options, finding, &found);
	unsetenv("MEMORY_PRESSURE_WATCH");
	/* the ladder tells it, so a diagnosis succeeds and finds it */
	if (d == 0 && found.n > 0 && options.rungs == PSB_RUNG_MASK(PSB_RUNG_PROTOCOL))
		d = r;
	if (row->text[n - 1] == ' ' && strncmp(text, row->text, n) == 0)
		n = strlen(text);
	if (r != row->error || d != r || watch || strlen(text) != n ||
	    strncmp(text, row->text, MIN(n, strlen(row->text))) != 0 || strcmp(text, again) != 0)
		fail_msg("%d (wanted %d), \"%s\" (wanted \"%s\"), diagnosis %d \"%s\"", r,
			 row->error, text, row->text, d, again);
}

/* And after any of them the bridge is as good as new. */
BENCH(every_mistake_is_named_where_it_was_made)
{
	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		if (*cgroup2_mount() || (!rows[i].options.cgroup && !rows[i].options.pid &&
					 !rows[i].options.unit && !rows[i].options.pattern))
			check_row(b->bridge, &rows[i]);
	listen_with(b, &b->rx, 0);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.calls == 1);
}

PROMISE(the_words_fit_where_they_are_put)
{
	struct psb_watch_options options = OPTIONS(.headroom_percent = 100);
	struct bench *b = bench_bare(state);
	char text[12];

	memset(text, '#', sizeof(text));
	options.error_text = text;
	options.error_text_size = 9;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
	assert_string_equal(text, "headroom");
	assert_int_equal(text[9], '#');
	options.error_text_size = 0;
	text[0] = '#';
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
	assert_int_equal(text[0], '#');
	options.error_text = NULL;
	options.error_text_size = 100;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
}

/* Nobody listens, and nothing else is allowed: the arming error is returned, in words too. */
PROMISE(a_source_that_refuses_is_an_error_where_no_other_is_allowed)
{
	struct psb_watch_options options = quick_options(in_directory("refuses"));
	struct bench *b = bench_bare(state);
	char text[TEXT_MAX];

	close(listen_at(options.source));
	options.error_text = text;
	options.error_text_size = sizeof(text);
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -ECONNREFUSED);
	assert_non_null(strstr(text, "/refuses: no process listens there"));
	/* and without any source that rung has nothing to offer */
	options.source = NULL;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -ENODATA);
}
