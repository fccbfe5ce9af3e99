/* SPDX-License-Identifier: MIT */
/*
 * test-target.c - what is to be watched, and the exact words where that makes no sense
 * (src/kernel/target.h)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fake-root.h"
#include "kernel/target.h"

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

#define RESOLVE(...) resolve((struct target_request){ __VA_ARGS__ })

/* `words` may have one %s for the fake root. */
static void check_fails(int r, int expected, const char *words)
{
	char text[WHY_MAX];
	const char *percent = strstr(words, "%s");

	if (percent)
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(percent - words), words, fake_root,
			 percent + 2);
	else
		snprintf(text, sizeof(text), "%s", words);
	if (r != expected || strcmp(why, text) != 0)
		fail_msg("%d \"%s\" instead of %d \"%s\"", r, why, expected, text);
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

static void every_target_that_makes_no_sense_says_so_in_words(void **state)
{
	static char x[CGPATH_MAX + 2];

	(void)state;
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
	check_fails(RESOLVE(.pid = 99), -ESRCH, "pid 99: there is no such process");
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
		    "source=/dev/zero: neither a pressure file, a FIFO nor a socket");
	check_fails(RESOLVE(.source = fake_path("sys/a/cgroup.procs")), -EINVAL,
		    "source=%s/sys/a/cgroup.procs: neither a pressure file, a FIFO nor a socket");
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

static void every_variable_that_makes_no_sense_is_an_error_and_no_silent_fallback(void **state)
{
	static char base64[4 * TARGET_WRITE_MAX];
	const char *psi = fake_path("sys/a/memory.pressure");

	(void)state;
	environment("sys/a/memory.pressure", NULL);
	check_fails(RESOLVE(), -EINVAL,
		    "MEMORY_PRESSURE_WATCH=sys/a/memory.pressure: an absolute path was expected");
	environment("/dev/null", NULL);
	check_fails(
		RESOLVE(), -ENODATA,
		"MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service");
	environment(fake_path("gone"), NULL);
	check_fails(RESOLVE(), -ENOENT, "MEMORY_PRESSURE_WATCH=%s/gone: No such file or directory");
	environment(fake_path("sys"), NULL);
	check_fails(RESOLVE(), -EINVAL,
		    "MEMORY_PRESSURE_WATCH=%s/sys: neither a pressure file, a FIFO nor a socket");
	environment(psi, "!!!");
	check_fails(RESOLVE(), -EINVAL, "MEMORY_PRESSURE_WRITE=!!!: not base64");
	environment(psi, "aGVsbG8=");
	check_fails(
		RESOLVE(), -EINVAL,
		"MEMORY_PRESSURE_WRITE: not a PSI trigger: it begins with neither some nor full");
	memset(base64, 'A', sizeof(base64) - 4);
	environment(psi, base64);
	check_fails(RESOLVE(), -EINVAL, "MEMORY_PRESSURE_WRITE: more than 256 bytes");
	environment(NULL, NULL);
}

static void a_named_cgroup_is_that_one(void **state)
{
	static const char *const names[] = { "a/b", "/a/b", "/a//./b/", NULL };

	(void)state;
	for (const char *const *name = names;; name++) {
		/* also with the mount in front */
		assert_int_equal(RESOLVE(.cgroup = *name ? *name : fake_path("sys/a/b")), 0);
		assert_string_equal(t.cgroup, "/a/b");
		assert_true(t.has_cgroup);
		assert_false(t.own);
		assert_int_equal(t.stream, STREAM_NONE);
		assert_string_equal(why, "");
		if (!*name)
			break;
	}
}

static void a_process_and_a_unit_are_their_cgroups(void **state)
{
	(void)state;
	assert_int_equal(RESOLVE(.pid = 7), 0);
	assert_string_equal(t.cgroup, "/a/b");
	assert_true(t.has_cgroup && !t.own);
	assert_int_equal(RESOLVE(.unit = "u.service"), 0);
	assert_string_equal(t.cgroup, "/a/u.service");
}

static void without_a_name_it_is_our_own(void **state)
{
	(void)state;
	environment(NULL, NULL);
	assert_int_equal(RESOLVE(), 0);
	assert_string_equal(t.cgroup, "/a");
	assert_true(t.own && t.has_cgroup && !t.hidden && !t.from_environment);
	/* an empty variable is none */
	environment("", "nonsense");
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(t.stream, STREAM_NONE);
	environment(NULL, NULL);
	/* nothing to be found is no error here: the machine's pressure remains */
	assert_int_equal(RESOLVE(.proc = "proc-v1"), 0);
	assert_true(t.own && !t.has_cgroup);
	assert_string_equal(t.cgroup, "/");
	assert_string_equal(t.v1_cgroup, "/docker/1");
	assert_int_equal(RESOLVE(.proc = "proc-none"), 0);
	assert_true(t.own && !t.has_cgroup);
	assert_int_equal(RESOLVE(.proc = "proc-hidden"), 0);
	assert_true(t.own && t.has_cgroup && t.hidden);
	assert_string_equal(t.cgroup, "/");
}

/* What systemd sets for a service with MemoryPressureWatch=. */
static void the_variables_of_systemd_are_followed(void **state)
{
	(void)state;
	environment(fake_path("sys/a/memory.pressure"), WRITE_DEFAULT);
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(t.stream, STREAM_PSI_FILE);
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
	assert_int_equal(t.stream, STREAM_NONE);

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
static void variables_that_were_inherited_from_another_unit_are_ignored_and_said_so(void **state)
{
	char words[WHY_MAX];

	(void)state;
	environment(fake_path("sys/other/memory.pressure"), WRITE_DEFAULT);
	assert_int_equal(RESOLVE(), 0);
	assert_int_equal(t.stream, STREAM_NONE);
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
	assert_int_equal(t.stream, STREAM_PSI_FILE);
	assert_string_equal(t.cgroup, "/a");
	assert_false(t.own);
	environment(NULL, NULL);
}

static void a_source_is_what_its_file_type_says(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char deep[200];

	(void)state;
	assert_int_equal(
		RESOLVE(.source = fake_path("fifo"), .source_write = "x", .source_write_size = 1),
		0);
	assert_int_equal(t.stream, STREAM_FIFO);
	assert_int_equal(t.write_size, 1);
	assert_true(t.own && !t.from_environment);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake_path("socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(RESOLVE(.source = fake_path("socket")), 0);
	assert_int_equal(t.stream, STREAM_SOCKET);
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
	assert_int_equal(t.stream, STREAM_PSI_FILE);
	assert_string_equal(t.cgroup, "/a");
	assert_true(t.own);
}

/* On a hybrid host the limit of a v2 cgroup is that of its first process in v1. */
static void a_v1_cgroup_is_borrowed_from_the_first_process(void **state)
{
	(void)state;
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
	snprintf(v2, sizeof(v2), "30 20 0:26 / %s/sys rw - cgroup2 cgroup2 rw\n", fake_root);
	snprintf(v1, sizeof(v1), "31 20 0:27 / %s/mem rw - cgroup cgroup rw,memory\n", fake_root);
	snprintf(both, sizeof(both), "%s%s", v2, v1);
	fake_write("sys/a/b/", "");
	fake_write("sys/a/u.service/", "");
	fake_write("sys/a/memory.pressure", PSI);
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
	write_world("proc-below", v2, "0::/a/b\n");
	write_world("proc-hybrid", both, "4:memory:/docker/1\n0::/a\n");
	fake_write("proc-hybrid/7/cgroup", "4:memory:/docker/1\n0::/a\n");
	environment(NULL, NULL);
	return mkfifo("fifo", 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_target_that_makes_no_sense_says_so_in_words),
		cmocka_unit_test(
			every_variable_that_makes_no_sense_is_an_error_and_no_silent_fallback),
		cmocka_unit_test(a_named_cgroup_is_that_one),
		cmocka_unit_test(a_process_and_a_unit_are_their_cgroups),
		cmocka_unit_test(without_a_name_it_is_our_own),
		cmocka_unit_test(the_variables_of_systemd_are_followed),
		cmocka_unit_test(
			variables_that_were_inherited_from_another_unit_are_ignored_and_said_so),
		cmocka_unit_test(a_source_is_what_its_file_type_says),
		cmocka_unit_test(a_v1_cgroup_is_borrowed_from_the_first_process),
	};

	return cmocka_run_group_tests(tests, set_up, fake_tear_down);
}
