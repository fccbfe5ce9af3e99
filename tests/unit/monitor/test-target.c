/* SPDX-License-Identifier: MIT */
/*
 * test-target.c - what is to be watched, and the exact words where that makes no sense
 * (src/monitor/target.h)
 */
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../unit.h"
#include "../fake-root.h"
#include "monitor/target.h"

/* "some 200000 2000000" and its NUL; the same without; "full 1 3000000" */
#define WRITE_DEFAULT "c29tZSAyMDAwMDAgMjAwMDAwMAA="

#define PSI                                                \
	"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" \
	"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"

static struct target t;
static char why[WHY_MAX];

static int resolve(struct target_request request)
{
	memset(&t, 0x55, sizeof(t));
	strcpy(why, "untouched");
	if (!request.proc)
		request.proc = "proc";
	return target_resolve(&request, &t, why);
}

/* What is there now. */
static enum stream_kind stream(void)
{
	enum stream_kind kind = STREAM_NONE;

	assert_true(t.has_stream);
	assert_int_equal(target_look_at_stream(&t, &kind, why), 0);
	return kind;
}

#define RESOLVE(...) resolve((struct target_request){ __VA_ARGS__ })

/* `words` may have one %s for the fake root. */
static void check_words(const char *text, const char *words)
{
	char expected[WHY_MAX];
	const char *percent = strstr(words, "%s");

	if (percent)
		snprintf(expected, sizeof(expected), "%.*s%s%s", (int)(percent - words), words,
			 fake_root, percent + 2);
	else
		snprintf(expected, sizeof(expected), "%s", words);
	assert_string_equal(text, expected);
}

static void check_fails(int r, int expected, const char *words)
{
	if (r != expected)
		fail_msg("%d \"%s\" instead of %d \"%s\"", r, why, expected, words);
	check_words(why, words);
	assert_int_equal(*(unsigned char *)&t, 0x55); /* nothing was written */
}

static void environment(const char *watch, const char *write)
{
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	if (watch)
		setenv("MEMORY_PRESSURE_WATCH", watch, 1);
	if (write)
		setenv("MEMORY_PRESSURE_WRITE", write, 1);
}

PROMISE(every_target_that_makes_no_sense_says_so_in_words)
{
	static char x[CGPATH_MAX + 2];
	char words[WHY_MAX];

	memset(x, 'x', sizeof(x) - 1);
	check_fails(RESOLVE(.cgroup = "/a", .pid = 1), -EINVAL,
		    "cgroup, pid, unit and source exclude each other");
	check_fails(RESOLVE(.unit = "a.service", .source = "/f"), -EINVAL,
		    "cgroup, pid, unit and source exclude each other");
	check_fails(RESOLVE(.cgroup = "/none"), -ENOENT, "cgroup /none: there is no such cgroup");
	check_fails(RESOLVE(.cgroup = "none/../a"), -EINVAL,
		    "cgroup \"none/../a\": \"..\" is not allowed in it");
	check_fails(RESOLVE(.cgroup = ""), -EINVAL, "cgroup \"\": it is empty");
	check_fails(RESOLVE(.pid = -1), -EINVAL, "pid -1: not a process id");
	check_fails(RESOLVE(.pid = INT_MAX), -ESRCH, "pid 2147483647: there is no such process");
	snprintf(
		words, sizeof(words),
		"pid %d: there is such a process, but /proc hides it from this user (hidepid=; systemd: ProtectProc=)",
		(int)getpid());
	check_fails(RESOLVE(.pid = getpid()), -EACCES, words);
	check_fails(RESOLVE(.pid = 8), -ENODEV, "pid 8: its cgroup can't be read: No such device");
	check_fails(RESOLVE(.pid = 9), -ENOENT, "pid 9: its cgroup is not visible from here");
	check_fails(
		RESOLVE(.unit = "nginx"), -EINVAL,
		"unit \"nginx\": a unit's name has a suffix and no slash, as in \"nginx.service\"");
	check_fails(RESOLVE(.unit = "nginx.service"), -ENOENT,
		    "unit nginx.service: no cgroup of that name; is it running?");
	check_fails(RESOLVE(.source = "relative"), -EINVAL,
		    "source=relative: an absolute path was expected");
	check_fails(
		RESOLVE(.source = "/dev/null"), -ENODATA,
		"source=/dev/null: memory pressure notification is switched off for this service");
	check_fails(RESOLVE(.source = "/dev/zero"), -EINVAL,
		    "source=/dev/zero: neither a memory pressure file, a FIFO nor a socket");
	check_fails(
		RESOLVE(.source = fake_path("sys/a/cgroup.procs")), -EINVAL,
		"source=%s/sys/a/cgroup.procs: neither a memory pressure file, a FIFO nor a socket");
	check_fails(RESOLVE(.source = fake_path("nothing")), -ENOENT,
		    "source=%s/nothing: No such file or directory");
	check_fails(RESOLVE(.source = fake_path("sys/a/memory.pressure"),
			    .source_write = "nonsense", .source_write_size = 8),
		    -EINVAL,
		    "source_write: not a PSI trigger: it begins with neither some nor full");
	check_fails(RESOLVE(.source = fake_path("fifo"), .source_write = x,
			    .source_write_size = TARGET_WRITE_MAX + 1),
		    -EINVAL, "source_write: more than 256 bytes");
	x[0] = '/';
	check_fails(RESOLVE(.source = x), -ENAMETOOLONG, "source: the path is too long");
	check_fails(
		RESOLVE(.cgroup = "/a", .proc = "proc-v1"), -ENOENT,
		"no cgroup2 hierarchy is mounted here (cgroup v1 only); boot with systemd.unified_cgroup_hierarchy=1");
	check_fails(
		RESOLVE(.pid = 7, .proc = "proc-v1"), -ENOENT,
		"no cgroup2 hierarchy is mounted here (cgroup v1 only); boot with systemd.unified_cgroup_hierarchy=1");
}

PROMISE(what_is_missing_is_said_after_a_look)
{
	static const struct {
		const char *proc, *words;
	} table[] = {
		{ "proc-none", "no cgroup file system is mounted where it can be opened" },
		{ "proc-v1", "no cgroup2 hierarchy is mounted here (cgroup v1 only)" },
		{ "proc-hidden", "no mount of cgroup2 shows the cgroup of this process" },
		{ "proc-removed", "the cgroup of this process was removed" },
		{ "proc-no-line",
		  "/proc/self/cgroup names no cgroup2 group (there is no line 0::)" },
	};
	const char *advice;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_int_equal(RESOLVE(.proc = table[i].proc), 0);
		assert_true(t.own && !t.has_cgroup);
		assert_string_equal(target_no_cgroup(&t, &advice), table[i].words);
		assert_int_equal(strcmp(table[i].proc, "proc-v1") == 0, advice[0] != '\0');
	}
	check_fails(RESOLVE(.cgroup = "/a", .proc = "proc-none"), -ENOENT,
		    "no cgroup file system is mounted where it can be opened");
}

/* Programs inherit variables: our own cgroup is still there to be watched. */
PROMISE(a_variable_that_leads_nowhere_is_a_reason_and_no_error)
{
	static char long_base64[4 * TARGET_WRITE_MAX];
	const char *psi = fake_path("sys/a/memory.pressure");
	const struct {
		const char *watch, *write, *words;
		int error;
	} rows[] = {
		{ "sys/a/memory.pressure", NULL,
		  "MEMORY_PRESSURE_WATCH=sys/a/memory.pressure: an absolute path was expected",
		  -EINVAL },
		{ fake_path("gone"), NULL,
		  "MEMORY_PRESSURE_WATCH=%s/gone: No such file or directory", -ENOENT },
		{ fake_path("sys"), NULL,
		  "MEMORY_PRESSURE_WATCH=%s/sys: neither a memory pressure file, a FIFO nor a socket",
		  -EINVAL },
		{ psi, "!!!", "MEMORY_PRESSURE_WRITE=!!!: not base64", -EINVAL },
		{ psi, "aGVsbG8=",
		  "MEMORY_PRESSURE_WRITE: not a PSI trigger: it begins with neither some nor full",
		  -EINVAL },
		{ psi, long_base64, "MEMORY_PRESSURE_WRITE: more than 256 bytes", -EINVAL },
	};

	memset(long_base64, 'A', sizeof(long_base64) - 4);
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		enum stream_kind kind;
		char again[WHY_MAX];

		environment(rows[i].watch, rows[i].write);
		assert_int_equal(RESOLVE(), 0);
		assert_true(t.has_stream && t.own && t.has_cgroup);
		assert_string_equal(t.cgroup, "/a");
		check_words(why, rows[i].words);
		assert_int_equal(target_look_at_stream(&t, &kind, again), rows[i].error);
		assert_string_equal(again, why);
	}
	environment("/dev/null", NULL); /* this one means something */
	check_fails(
		RESOLVE(), -ENODATA,
		"MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service");
	/* looked at anew each time */
	environment(fake_path("later"), NULL);
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(mkfifo(fake_path("later"), 0600), 0);
	assert_int_equal(stream(), STREAM_FIFO);
	environment(NULL, NULL);
}

/* A read of some would take what others wait for: so the name decides. */
PROMISE(what_is_not_memory_pressure_is_refused_unread)
{
	static const char *const others[] = {
		"/proc/pressure/cpu", "/proc/pressure/io", "/proc/self/mem",	"/proc/kmsg",
		"/proc/self/environ", "/proc/meminfo",	   "/proc/self/status", NULL,
	};
	char words[WHY_MAX];

	for (const char *const *path = others; *path; path++) {
		if (access(*path, F_OK) < 0)
			continue;
		snprintf(words, sizeof(words),
			 "source=%s: neither a memory pressure file, a FIFO nor a socket", *path);
		check_fails(RESOLVE(.source = *path), -EINVAL, words);
	}
	/* the same by another name; and pressure text under a name that is none */
	assert_int_equal(symlink("/proc/self/status", fake_path("memory.pressure")), 0);
	check_fails(
		RESOLVE(.source = fake_path("memory.pressure")), -EINVAL,
		"source=%s/memory.pressure: neither a memory pressure file, a FIFO nor a socket");
	check_fails(
		RESOLVE(.source = fake_path("sys/a/io.pressure")), -EINVAL,
		"source=%s/sys/a/io.pressure: neither a memory pressure file, a FIFO nor a socket");
}

PROMISE(a_named_cgroup_is_that_one)
{
	static const char *const names[] = { "a/b", "/a/b", "/a//./b/", NULL };

	for (const char *const *name = names;; name++) {
		/* also with the mount in front */
		assert_int_equal(RESOLVE(.cgroup = *name ? *name : fake_path("sys/a/b")), 0);
		assert_string_equal(t.cgroup, "/a/b");
		assert_true(t.has_cgroup);
		assert_false(t.own);
		assert_false(t.has_stream);
		assert_string_equal(why, "");
		if (!*name)
			break;
	}
}

PROMISE(a_process_and_a_unit_are_their_cgroups)
{
	assert_int_equal(RESOLVE(.pid = 7), 0);
	assert_string_equal(t.cgroup, "/a/b");
	assert_true(t.has_cgroup && !t.own);
	assert_int_equal(RESOLVE(.unit = "u.service"), 0);
	assert_string_equal(t.cgroup, "/a/u.service");
}

PROMISE(without_a_name_it_is_our_own)
{
	environment(NULL, NULL);
	assert_int_equal(RESOLVE(), 0);
	assert_string_equal(t.cgroup, "/a");
	assert_true(t.own && t.has_cgroup && !t.from_environment);
	/* an empty variable is none */
	environment("", "nonsense");
	assert_int_equal(RESOLVE(), 0);
	assert_false(t.has_stream);
	environment(NULL, NULL);
	/* nothing to be found is no error here: the machine's pressure remains */
	assert_int_equal(RESOLVE(.proc = "proc-v1"), 0);
	assert_true(t.own && !t.has_cgroup);
	assert_string_equal(t.cgroup, "/");
	assert_string_equal(t.v1_cgroup, "/docker/1");
	assert_int_equal(RESOLVE(.proc = "proc-none"), 0);
	assert_true(t.own && !t.has_cgroup);
	assert_int_equal(RESOLVE(.proc = "proc-hidden"), 0);
	assert_true(t.own && !t.has_cgroup);
}

/* What systemd sets for a service with MemoryPressureWatch=. */
PROMISE(the_variables_of_systemd_are_followed)
{
	environment(fake_path("sys/a/memory.pressure"), WRITE_DEFAULT);
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(stream(), STREAM_PSI_FILE);
	assert_true(t.from_environment && t.has_cgroup && t.own);
	assert_string_equal(t.cgroup, "/a");
	assert_string_equal(t.stream_path, fake_path("sys/a/memory.pressure"));
	assert_int_equal(t.write_size, 20);
	assert_memory_equal(t.write, "some 200000 2000000", 20);
	assert_true(t.has_write_trigger);
	assert_int_equal(t.write_trigger.threshold_usec, 200000);
	assert_int_equal(t.write_trigger.window_usec, 2000000);
	assert_string_equal(why, "");

	/* a named target comes first */
	assert_int_equal(RESOLVE(.cgroup = "/a/b"), 0);
	assert_false(t.has_stream);

	/* white space and no WRITE at all are fine */
	environment(fake_path("sys/a/memory.pressure"), " c29tZSAyMDAwMDAg\nMjAwMDAwMAA= ");
	assert_int_equal(RESOLVE(), 0);
	assert_true(t.has_write_trigger);
	environment(fake_path("sys/a/memory.pressure"), NULL);
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(t.write_size, 0);
	assert_false(t.has_write_trigger);
	environment(NULL, NULL);
}

/* A process that a service left behind, or that moved: the file is another unit's now. */
PROMISE(variables_that_were_inherited_from_another_unit_are_ignored_and_said_so)
{
	char words[WHY_MAX];

	environment(fake_path("sys/other/memory.pressure"), WRITE_DEFAULT);
	assert_int_equal(RESOLVE(), 0);
	assert_false(t.has_stream);
	assert_true(t.foreign_unit);
	assert_string_equal(t.cgroup, "/a");
	snprintf(words, sizeof(words),
		 "MEMORY_PRESSURE_WATCH=%s belongs to another unit and was inherited; ignored",
		 fake_path("sys/other/memory.pressure"));
	assert_string_equal(why, words);
	/* one above ours is not another's: a service may have made cgroups of its own and sit in
	 * one */
	environment(fake_path("sys/a/memory.pressure"), NULL);
	assert_int_equal(RESOLVE(.proc = "proc-below"), 0);
	assert_int_equal(stream(), STREAM_PSI_FILE);
	assert_string_equal(t.cgroup, "/a");
	assert_false(t.own);
	environment(NULL, NULL);
}

PROMISE(a_source_is_what_its_file_type_says)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char deep[200];

	assert_int_equal(
		RESOLVE(.source = fake_path("fifo"), .source_write = "x", .source_write_size = 1),
		0);
	assert_int_equal(stream(), STREAM_FIFO);
	assert_int_equal(t.write_size, 1);
	assert_true(t.own && !t.from_environment);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake_path("socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(RESOLVE(.source = fake_path("socket")), 0);
	assert_int_equal(stream(), STREAM_SOCKET);
	/* a name that fits no socket address: reached by another way to the same socket */
	snprintf(deep, sizeof(deep), "%s/%0100d", fake_root, 0);
	assert_int_equal(link(fake_path("socket"), deep), 0);
	{
		char words[WHY_MAX];

		snprintf(words, sizeof(words), "source=%s: too long for a socket's address", deep);
		check_fails(RESOLVE(.source = deep), -ENAMETOOLONG, words);
	}
	close(fd);

	/* a pressure file below the mount belongs to its cgroup, one beside it to none */
	assert_int_equal(RESOLVE(.source = fake_path("sys/other/memory.pressure")), 0);
	assert_string_equal(t.cgroup, "/other");
	assert_false(t.own);
	assert_int_equal(RESOLVE(.source = fake_path("sysx/other/memory.pressure")), 0);
	assert_int_equal(stream(), STREAM_PSI_FILE);
	assert_string_equal(t.cgroup, "/a");
	assert_true(t.own);
}

/* On a hybrid host the limit of a v2 cgroup is that of its first process in v1. */
PROMISE(a_v1_cgroup_is_borrowed_from_the_first_process)
{
	assert_int_equal(RESOLVE(.cgroup = "/a", .proc = "proc-hybrid"), 0);
	assert_string_equal(t.v1_cgroup, "/docker/1");
	assert_int_equal(RESOLVE(.cgroup = "/a/b", .proc = "proc-hybrid"), 0); /* nobody in it */
	assert_string_equal(t.v1_cgroup, "");
}

static void write_world(const char *proc, const char *mountinfo, const char *self)
{
	char where[64];

	snprintf(where, sizeof(where), "%s/self/mountinfo", proc);
	fake_write(where, mountinfo);
	snprintf(where, sizeof(where), "%s/self/cgroup", proc);
	fake_write(where, self);
}

static int set_up(void **state)
{
	char v2[256], v1[256], both[512];

	if (fake_set_up(state) != 0 || chdir(fake_root) != 0)
		return -1;
	snprintf(v2, sizeof(v2), "%u 20 0:26 / %s/sys rw - cgroup2 cgroup2 rw\n", fake_mount_id(),
		 fake_root);
	snprintf(v1, sizeof(v1), "%u 20 0:27 / %s/mem rw - cgroup cgroup rw,memory\n",
		 fake_mount_id(), fake_root);
	snprintf(both, sizeof(both), "%s%s", v2, v1);
	fake_write("sys/a/b/", "");
	fake_write("sys/cgroup.procs", "");
	fake_write("mem/cgroup.procs", "");
	fake_write("sys/a/u.service/", "");
	fake_write("sys/a/memory.pressure", PSI);
	fake_write("sys/a/io.pressure", PSI);
	fake_write("sys/a/cgroup.procs", "7\n70\n");
	fake_write("sys/a/b/cgroup.procs", "");
	fake_write("sys/other/memory.pressure", PSI);
	fake_write("sysx/other/memory.pressure", PSI);
	fake_write("mem/docker/1/", "");
	write_world("proc", v2, "0::/a\n");
	fake_write("proc/7/cgroup", "0::/a/b\n");
	fake_write("proc/8/cgroup", "0::/a/c (deleted)\n");
	fake_write("proc/9/cgroup", "0::/../x\n");
	write_world("proc-v1", v1, "4:memory:/docker/1\n");
	write_world("proc-none", "29 1 0:25 / /tmp rw - tmpfs tmpfs rw\n", "0::/a\n");
	write_world("proc-hidden", v2, "0::/docker/1\n");
	write_world("proc-removed", v2, "0::/a (deleted)\n");
	write_world("proc-no-line", v2, "4:cpu:/a\n");
	write_world("proc-below", v2, "0::/a/b\n");
	write_world("proc-hybrid", both, "4:memory:/docker/1\n0::/a\n");
	fake_write("proc-hybrid/7/cgroup", "4:memory:/docker/1\n0::/a\n");
	environment(NULL, NULL);
	return mkfifo("fifo", 0600);
}

GROUP(set_up, fake_tear_down)
