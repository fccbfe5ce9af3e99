/* SPDX-License-Identifier: MIT */
/*
 * test-bad-input.c - a named error at the place where it is wrong, and nothing lost
 *
 * Each row is asked of psb_watch_new() and psb_diagnose(), which must agree on the errno and on the
 * words.
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

/* What each kind of target says, and the variables, is asserted in tests/unit/monitor/test-target.c: here is one of each. */
static const struct row {
	int error;
	const char *text; /* it begins so where a trigger's own words follow */
	struct psb_watch_options options;
	const char *watch; /* MEMORY_PRESSURE_WATCH */
} rows[] = {
	ROW(-EINVAL, "cgroup, pid, unit and source exclude each other", .cgroup = "a", .pid = 1),
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*",
	    .cgroup = "a"),
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*", .pid = 1),
	ROW(-EINVAL, "cgroup \"system.slice/../x\": \"..\" is not allowed in it",
	    .cgroup = "system.slice/../x"),
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
	/* patterns */
	ROW(-EINVAL, "pattern \"system.slice\": there is no star in it", .pattern = "system.slice"),
	ROW(-EINVAL, "pattern \"a/../*\": \"..\" is not allowed in it", .pattern = "a/../*"),
	ROW(-ENOENT, "cgroup /no/such: there is no such cgroup", .pattern = "no/such/**"),
	/* triggers */
	ROW(-EINVAL, "early \"\": ", .early = ""),
	ROW(-EINVAL, "low \"some 3s/2s\": ", .low = "some 3s/2s"),
	ROW(-EINVAL, "critical \"FULL 200ms/2s\": ", .critical = "FULL 200ms/2s"),
	/* thresholds that contradict each other: the words are the daemon's (test-config-errors) */
	ROW(-EINVAL,
	    "early \"some 300ms/2s\" is over low \"some 200ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"some 200ms/2s\" was expected",
	    .early = "some 300ms/2s", .critical = "full 1s/2s"),
	ROW(-EINVAL,
	    "early \"some 20ms/2s\" is over low \"some 10ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"some 10ms/2s\" was expected",
	    .low = "some 10ms/2s"),
	ROW(-EINVAL,
	    "early \"full 20ms/2s\" is over low \"some 200ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"some 200ms/2s\" was expected",
	    .early = "full 20ms/2s"),
	ROW(-EINVAL,
	    "early \"some 150ms/2s\" is over critical \"full 100ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"full 100ms/2s\" was expected",
	    .early = "some 150ms/2s"),
	/* numbers */
	ROW(-EINVAL, "headroom_percent 100: 1 to 99 was expected", .headroom_percent = 100),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .rearm_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .quiet_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .calm_usec = UINT64_MAX),
	ROW(-EINVAL, "rungs 0x1: none of them is PSB_RUNG_MASK() of a rung", .rungs = 1),
	/* systemd's variables */
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

static bool is_said(const char *text, const char *words)
{
	size_t n = strlen(words);

	/* a trigger's words are trigger.c's business, and its test's */
	return words[n - 1] == ' ' ? strncmp(text, words, n) == 0 && text[n] != '\0'
				   : strcmp(text, words) == 0;
}

PROMISE(every_mistake_is_named_where_it_was_made)
{
	psb_bridge *bridge = make_bridge(*state);

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_watch_options options = rows[i].options;
		char text[TEXT_MAX] = "untouched", again[TEXT_MAX] = "untouched";
		psb_watch *watch = NULL;
		struct found found = { .text = again };
		int r, d;

		if ((options.cgroup || options.pid || options.unit || options.pattern) &&
		    !*cgroup2_mount())
			continue;
		unsetenv("MEMORY_PRESSURE_WATCH");
		if (rows[i].watch)
			setenv("MEMORY_PRESSURE_WATCH", rows[i].watch, 1);
		options.error_text = text;
		options.error_text_size = sizeof(text);
		r = psb_watch_new(bridge, &options, &watch);
		options.error_text = again;
		d = psb_diagnose(&options, finding, &found);
		/* the ladder tells it, so a diagnosis succeeds and finds it */
		if (d == 0 && found.n > 0 && options.rungs == PSB_RUNG_MASK(PSB_RUNG_PROTOCOL))
			d = r;
		if (r != rows[i].error || d != r || watch || !is_said(text, rows[i].text) ||
		    strcmp(text, again) != 0 || strpbrk(text, "\n\r\t\x1b"))
			fail_msg(
				"row %zu: %d (wanted %d), \"%s\" (wanted \"%s\"), diagnosis %d \"%s\"",
				i, r, rows[i].error, text, rows[i].text, d, again);
	}
	psb_bridge_unref(bridge);
}

PROMISE(a_path_too_long_for_a_socket_is_named)
{
	psb_bridge *bridge = make_bridge(*state);
	struct psb_watch_options options = OPTIONS();
	char text[TEXT_MAX], *path;
	char long_name[200];
	psb_watch *watch;
	int fd;

	/* a socket may have a long path if it was bound by a shorter one */
	memset(long_name, 'n', 120);
	long_name[120] = '\0';
	path = strdup(in_directory(long_name));
	{
		struct sockaddr_un address = { .sun_family = AF_UNIX };
		int cwd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_int_equal(chdir(bench_directory), 0);
		snprintf(address.sun_path, sizeof(address.sun_path), "short");
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		unlink("short");
		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		assert_int_equal(rename("short", long_name), 0);
		assert_int_equal(fchdir(cwd), 0);
		close(cwd);
	}
	options.source = path;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -ENAMETOOLONG);
	assert_non_null(strstr(text, "too long for a socket's address"));
	unlink(path);
	free(path);
	close(fd);
	psb_bridge_unref(bridge);
}

PROMISE(the_words_fit_where_they_are_put)
{
	psb_bridge *bridge = make_bridge(*state);
	struct psb_watch_options options = OPTIONS(.headroom_percent = 100);
	char text[12];
	psb_watch *watch;

	memset(text, '#', sizeof(text));
	options.error_text = text;
	options.error_text_size = 9;
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -EINVAL);
	assert_string_equal(text, "headroom");
	assert_int_equal(text[9], '#');
	options.error_text_size = 0;
	text[0] = '#';
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -EINVAL);
	assert_int_equal(text[0], '#');
	options.error_text = NULL;
	options.error_text_size = 100;
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -EINVAL);
	psb_bridge_unref(bridge);
}

BENCH(after_any_mistake_the_bridge_is_as_good_as_new)
{
	struct psb_watch_options options = OPTIONS(.source = "/etc");
	psb_watch *watch = NULL;

	listen_with(b, &b->rx, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(psb_watch_new(b->bridge, &options, &watch), -EINVAL);
	assert_null(watch);
	say(b, PSB_LOW);
	AWAIT(&b->rx, b->rx.calls == 1);
}

/* Nobody listens, and nothing else is allowed: the arming error is returned, in words too. */
PROMISE(a_source_that_refuses_is_an_error_where_no_other_is_allowed)
{
	psb_bridge *bridge = make_bridge(*state);
	struct psb_watch_options options = OPTIONS(.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL));
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char text[TEXT_MAX];
	psb_watch *watch;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	options.source = in_directory("refuses");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", options.source);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	options.error_text = text;
	options.error_text_size = sizeof(text);
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -ECONNREFUSED);
	assert_non_null(strstr(text, "/refuses: no process listens there"));
	unlink(options.source);

	/* and without any source that rung has nothing to offer */
	options.source = NULL;
	assert_int_equal(psb_watch_new(bridge, &options, &watch), -ENODATA);
	psb_bridge_unref(bridge);
}
