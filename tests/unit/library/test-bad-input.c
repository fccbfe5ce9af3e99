/* SPDX-License-Identifier: MIT */
/*
 * test-bad-input.c - a named error at the place where it is wrong, and nothing lost
 *
 * Each row is asked of psb_watch_new() and psb_diagnose(), which must agree on the errno and on the
 * words.
 */
#include "../unit.h"
#include "library-bench.h"

#define TEXT_MAX 400

static char long_path[5000], long_name[200];

struct row {
	int error;
	const char *text; /* %s: the directory of this test */
	struct psb_watch_options options;
	const char *watch, *write; /* the protocol's variables */
	bool by_rung;		   /* told by the ladder, so a diagnosis succeeds and finds it */
};

#define OPTIONS(...)                                                  \
	{                                                             \
		.size = sizeof(struct psb_watch_options), __VA_ARGS__ \
	}

#define ROW(e, words, ...)                                                 \
	{                                                                  \
		.error = e, .text = words, .options = OPTIONS(__VA_ARGS__) \
	}
#define VARIABLES(e, words, w1, w2)                                                       \
	{                                                                                 \
		.error = e, .text = words, .options = OPTIONS(), .watch = w1, .write = w2 \
	}
#define NOWHERE(e, words, w1, w2)                                                              \
	{                                                                                      \
		.error = e, .text = words, .watch = w1, .write = w2,                           \
		.options = OPTIONS(.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL)), .by_rung = true \
	}

static const struct row rows[] = {
	/* which target */
	ROW(-EINVAL, "cgroup, pid, unit and source exclude each other", .cgroup = "a", .pid = 1),
	ROW(-EINVAL, "cgroup, pid, unit and source exclude each other", .unit = "a.service",
	    .source = "/x"),
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*",
	    .cgroup = "a"),
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*", .pid = 1),
	/* cgroup paths */
	ROW(-EINVAL, "cgroup \"system.slice/../x\": \"..\" is not allowed in it",
	    .cgroup = "system.slice/../x"),
	ROW(-EINVAL, "cgroup \"..\": \"..\" is not allowed in it", .cgroup = ".."),
	ROW(-EINVAL, "cgroup \"\": it is empty", .cgroup = ""),
	ROW(-EINVAL, "cgroup \"a?b\": a newline is not allowed in it", .cgroup = "a\nb"),
	ROW(-ENAMETOOLONG, NULL, .cgroup = long_path),
	ROW(-ENOENT, "cgroup /no/such/group: there is no such cgroup",
	    .cgroup = "no//such/./group/"),
	ROW(-ENOENT, "cgroup /etc: there is no such cgroup", .cgroup = "/etc"),
	/* processes and units */
	ROW(-EINVAL, "pid -1: not a process id", .pid = -1),
	ROW(-ESRCH, "pid 99999999999: there is no such process", .pid = 99999999999),
	ROW(-EINVAL,
	    "unit \"nginx\": a unit's name has a suffix and no slash, as in \"nginx.service\"",
	    .unit = "nginx"),
	ROW(-EINVAL,
	    "unit \"a/b.service\": a unit's name has a suffix and no slash, as in \"nginx.service\"",
	    .unit = "a/b.service"),
	ROW(-EINVAL, "unit \"\": a unit's name has a suffix and no slash, as in \"nginx.service\"",
	    .unit = ""),
	ROW(-ENOENT, "unit no-such.service: no cgroup of that name; is it running?",
	    .unit = "no-such.service"),
	/* sources */
	ROW(-EINVAL, "source=pressure: an absolute path was expected", .source = "pressure"),
	ROW(-EINVAL, "source=: an absolute path was expected", .source = ""),
	ROW(-ENODATA,
	    "source=/dev/null: memory pressure notification is switched off for this service",
	    .source = "/dev/null"),
	ROW(-ENOENT, "source=/no/such/file: No such file or directory", .source = "/no/such/file"),
	ROW(-EINVAL, "source=/etc: neither a memory pressure file, a FIFO nor a socket",
	    .source = "/etc"),
	ROW(-EINVAL, "source=/dev/zero: neither a memory pressure file, a FIFO nor a socket",
	    .source = "/dev/zero"),
	ROW(-EINVAL,
	    "source=/proc/self/status: neither a memory pressure file, a FIFO nor a socket",
	    .source = "/proc/self/status"),
	ROW(-ENAMETOOLONG, "source: the path is too long", .source = long_path),
	ROW(-EINVAL, "source_write: more than 256 bytes", .source = "/proc/pressure/memory",
	    .source_write = long_path, .source_write_size = 257),
	ROW(-EINVAL, "source_write: not a PSI trigger: it begins with neither some nor full",
	    .source = "/proc/pressure/memory", .source_write = "rubbish", .source_write_size = 7),
	ROW(-EINVAL, "source_write is NULL, source_write_size is 5",
	    .source = "/proc/pressure/memory", .source_write_size = 5),
	ROW(-EINVAL, "source_write without source", .source_write = "x", .source_write_size = 1),
	/* patterns */
	ROW(-EINVAL, "pattern \"system.slice\": there is no star in it", .pattern = "system.slice"),
	ROW(-EINVAL, "pattern \"a/../*\": \"..\" is not allowed in it", .pattern = "a/../*"),
	ROW(-ENOENT, "cgroup /no/such: there is no such cgroup", .pattern = "no/such/**"),
	/* triggers */
	ROW(-EINVAL, "early \"some 1s\": ", .early = "some 1s"),
	ROW(-EINVAL, "early \"\": ", .early = ""),
	ROW(-EINVAL, "low \"some 3s/2s\": ", .low = "some 3s/2s"),
	ROW(-EINVAL, "low \"some 10ms/50ms\": ", .low = "some 10ms/50ms"),
	ROW(-EINVAL, "critical \"full 200ms/11s\": ", .critical = "full 200ms/11s"),
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
	VARIABLES(
		-ENODATA,
		"MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service",
		"/dev/null", NULL),
	/* these are a reason for the next rung, and an error only where there is none */
	NOWHERE(-EBADMSG, "MEMORY_PRESSURE_WATCH=pressure: an absolute path was expected",
		"pressure", NULL),
	NOWHERE(-ENOENT, "MEMORY_PRESSURE_WATCH=/no/such/file: No such file or directory",
		"/no/such/file", NULL),
	NOWHERE(-EBADMSG,
		"MEMORY_PRESSURE_WATCH=%s/regular: neither a memory pressure file, a FIFO nor a socket",
		"regular", NULL),
	NOWHERE(-EBADMSG, "MEMORY_PRESSURE_WRITE=!!!: not base64", "fifo", "!!!"),
	NOWHERE(-EBADMSG, "MEMORY_PRESSURE_WRITE=c29tZQ: not base64", "fifo", "c29tZQ"),
	NOWHERE(-EBADMSG,
		"MEMORY_PRESSURE_WRITE: not a PSI trigger: it begins with neither some nor full",
		"/proc/pressure/memory", "cnViYmlzaA=="),
	NOWHERE(-EBADMSG, "MEMORY_PRESSURE_WRITE: more than 256 bytes", "fifo", long_path),
};

static bool has_cgroup2(void)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[1024];
	bool has = false;

	while (f && fgets(line, sizeof(line), f))
		has = has || strstr(line, " cgroup2 ");
	if (f)
		fclose(f);
	return has;
}

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

static void set_variables(const struct row *row)
{
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	if (row->watch)
		setenv("MEMORY_PRESSURE_WATCH",
		       row->watch[0] == '/' || strcmp(row->watch, "pressure") == 0
			       ? row->watch
			       : in_directory(row->watch),
		       1);
	if (row->write)
		setenv("MEMORY_PRESSURE_WRITE", row->write, 1);
}

PROMISE(every_mistake_is_named_where_it_was_made)
{
	psb_bridge *bridge = make_bridge(*state);
	bool cgroup2 = has_cgroup2();
	unsigned wrong = 0;
	int fd = open(in_directory("regular"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "no pressure\n", 12), 12);
	close(fd);
	assert_true(mkfifo(in_directory("fifo"), 0600) == 0 || errno == EEXIST);
	memset(long_path, 'A', sizeof(long_path) - 1);
	long_path[0] = '/';
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_watch_options options = rows[i].options;
		char text[TEXT_MAX] = "untouched", again[TEXT_MAX] = "untouched",
		     want[TEXT_MAX] = "";
		const char *slot = rows[i].text ? strstr(rows[i].text, "%s") : NULL;
		psb_watch *watch = NULL;
		struct found found = { .text = again };
		int r, d;

		if ((options.cgroup || options.pid || options.unit || options.pattern) && !cgroup2)
			continue;
		if (slot)
			snprintf(want, sizeof(want), "%.*s%s%s", (int)(slot - rows[i].text),
				 rows[i].text, bench_directory, slot + 2);
		else if (rows[i].text)
			snprintf(want, sizeof(want), "%s", rows[i].text);
		set_variables(&rows[i]);
		if (rows[i].write == long_path) { /* all of it base64 */
			memset(long_path, 'A', 400);
			long_path[400] = '\0';
			setenv("MEMORY_PRESSURE_WRITE", long_path, 1);
			memset(long_path, 'A', sizeof(long_path) - 1);
			long_path[0] = '/';
		}
		options.error_text = text;
		options.error_text_size = sizeof(text);
		r = psb_watch_new(bridge, &options, &watch);
		options.error_text = again;
		d = psb_diagnose(&options, finding, &found);
		if (rows[i].by_rung && d == 0 && found.n > 0) {
			found.n = 0;
			d = r;
		}
		/* a trigger's words are trigger.c's business, and its test's */
		if (r != rows[i].error || d != r || found.n > 0 || watch ||
		    strncmp(text, want, strlen(want)) != 0 || strcmp(text, again) != 0 ||
		    (rows[i].text && want[strlen(want) - 1] != ' ' &&
		     strlen(text) != strlen(want)) ||
		    strpbrk(text, "\n\r\t\x1b") ||
		    strlen(text) <= strlen(want) - (rows[i].text != NULL)) {
			print_message(
				"row %zu: %d (wanted %d), \"%s\" (wanted \"%s\"), diagnosis %d \"%s\"\n",
				i, r, rows[i].error, text, want, d, again);
			wrong++;
		}
		psb_watch_unref(watch);
	}
	psb_bridge_unref(bridge);
	assert_int_equal(wrong, 0);
}

PROMISE(a_path_too_long_for_a_socket_is_named)
{
	psb_bridge *bridge = make_bridge(*state);
	struct psb_watch_options options = OPTIONS();
	char text[TEXT_MAX], *path;
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

	listen_with(b, &b->ear, 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(psb_watch_new(b->bridge, &options, &watch), -EINVAL);
	assert_null(watch);
	say(b, PSB_LOW);
	AWAIT(&b->ear, b->ear.calls == 1);
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
