/* SPDX-License-Identifier: MIT */
/*
 * test-cgroup.c - which cgroup is meant, in all the worlds there are (src/kernel/cgroup.h)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "fake-root.h"
#include "kernel/cgroup.h"

/* mountinfo(5): the mounted part, then where */
#define V2(root, point) "30 20 0:26 " root " %s/" point " rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define V1(root, point) \
	"31 20 0:27 " root " %s/" point " rw,nosuid shared:5 - cgroup cgroup rw,memory\n"
#define OTHER "29 1 0:25 / /tmp rw - tmpfs tmpfs rw\n"

/* A world: the texts of mountinfo (with %s for the fake root) and of a process's cgroup, and the
 * directories that are there. */
static struct cgroups world(const char *mountinfo, const char *self, const char *const *directories)
{
	static unsigned n;
	char text[2048], where[160];
	struct cgroups cgroups;

	snprintf(where, sizeof(where), "proc%u/self/mountinfo", n);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof(text), mountinfo, fake_root, fake_root);
#pragma GCC diagnostic pop
	fake_write(where, text);
	snprintf(where, sizeof(where), "proc%u/self/cgroup", n);
	fake_write(where, self);
	snprintf(where, sizeof(where), "proc%u/7/cgroup", n);
	fake_write(where, self);
	for (; directories && *directories; directories++) {
		snprintf(where, sizeof(where), "%s/", *directories);
		fake_write(where, "");
	}
	/* short enough for a path in the library's buffer: 32 characters of `proc` count */
	snprintf(where, sizeof(where), "proc%u", n++);
	unlink("proc");
	assert_int_equal(symlink(fake_path(where), "proc"), 0);
	assert_int_equal(cgroups_discover("proc", &cgroups), 0);
	return cgroups;
}

static const char *const unified_dirs[] = { "sys/system.slice/a.service", "sys/user.slice", NULL };

static void on_a_unified_host_the_path_is_the_line(void **state)
{
	struct cgroups c = world(OTHER V2("/", "sys"), "0::/system.slice/a.service\n",
				 unified_dirs);
	char path[CGPATH_MAX];

	(void)state;
	assert_true(c.has_v2);
	assert_false(c.has_v1);
	assert_string_equal(c.v2.point, fake_path("sys"));
	for (int pid = 0; pid <= 7; pid += 7) {
		assert_int_equal(cgroup_of_pid(&c, "proc", pid, path), 0);
		assert_string_equal(path, "/system.slice/a.service");
	}
	assert_int_equal(cgroup_v1_of_pid(&c, "proc", 0, path), -ENOENT);
	assert_int_equal(cgroup_of_pid(&c, "proc", 8, path), -ESRCH);
}

static void on_a_hybrid_host_each_hierarchy_has_its_own_path(void **state)
{
	static const char *const dirs[] = { "uni/user.slice/s.scope", "mem/docker/1", NULL };
	struct cgroups c = world(V2("/", "uni") V1("/", "mem"),
				 "4:memory:/docker/1\n1:name=systemd:/x\n0::/user.slice/s.scope\n",
				 dirs);
	char path[CGPATH_MAX];

	(void)state;
	assert_true(c.has_v2 && c.has_v1);
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), 0);
	assert_string_equal(path, "/user.slice/s.scope");
	assert_int_equal(cgroup_v1_of_pid(&c, "proc", 0, path), 0);
	assert_string_equal(path, "/docker/1");
}

static void without_cgroup2_there_is_no_v2_path(void **state)
{
	static const char *const dirs[] = { "onlyv1/docker/1", NULL };
	struct cgroups c = world(V1("/", "onlyv1") OTHER "%.0s", "4:memory:/docker/1\n", dirs);
	char path[CGPATH_MAX];

	(void)state;
	assert_false(c.has_v2);
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), -ENOENT);
	assert_int_equal(cgroup_open(&c, "/"), -ENOENT);
	assert_int_equal(cgroup_v1_of_pid(&c, "proc", 0, path), 0);
	assert_string_equal(path, "/docker/1");
}

/* The runtime mounted the container's own part, but no cgroup namespace hides the whole path. */
static void of_a_mounted_part_the_front_of_the_path_is_cut_off(void **state)
{
	static const char *const dirs[] = { "part/inner", NULL };
	struct cgroups c = world(V2("/pods/p1", "part"), "0::/pods/p1/inner\n", dirs);
	char path[CGPATH_MAX];

	(void)state;
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), 0);
	assert_string_equal(path, "/inner");
	c = world(V2("/pods/p1", "part"), "0::/pods/p1\n", dirs);
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), 0);
	assert_string_equal(path, "/");
}

static void a_path_that_cannot_be_seen_is_the_root_of_what_can(void **state)
{
	static const struct {
		const char *mountinfo, *self;
	} table[] = {
		/* another part is mounted */
		{ V2("/pods/p1", "hid"), "0::/pods/p2\n" },
		/* a name that only begins like it */
		{ V2("/pods/p1", "hid"), "0::/pods/p10\n" },
		/* all is said to be mounted, but the directory is not there: a bind mount, or a
		   chroot */
		{ V2("/", "hid"), "0::/system.slice/docker-1.scope\n" },
		/* moved out of our namespace */
		{ V2("/", "hid"), "0::/../other\n" },
	};
	static const char *const dirs[] = { "hid", "hid0", NULL };
	char path[CGPATH_MAX];

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct cgroups c = world(table[i].mountinfo, table[i].self, dirs);

		assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), 1);
		assert_string_equal(path, "/");
	}
}

static void what_was_removed_or_is_no_such_file_is_an_error_and_nothing_is_written(void **state)
{
	struct cgroups c = world(V2("/", "sys"), "0::/gone (deleted)\n", unified_dirs), before = c;
	char path[CGPATH_MAX] = "untouched";

	(void)state;
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), -ENODEV);
	assert_string_equal(path, "untouched");
	c = world(V2("/", "sys"), "4:memory:/a\n", unified_dirs);
	assert_int_equal(cgroup_of_pid(&c, "proc", 0, path), -ENOENT);
	assert_string_equal(path, "untouched");
	assert_int_equal(cgroups_discover("/nonexistent", &before), -ENOENT);
	fake_write("proc-none/self/mountinfo", OTHER);
	unlink("proc");
	assert_int_equal(symlink(fake_path("proc-none"), "proc"), 0);
	assert_int_equal(cgroups_discover("proc", &before), -ENOENT);
}

static void a_unit_is_found_breadth_first_wherever_its_slice_is(void **state)
{
	static const char *const dirs[] = {
		"units/system.slice/nginx.service",
		"units/system.slice/system-x.slice/x@1.service",
		"units/user.slice/user-1000.slice/user@1000.service/app.slice/app.service",
		"units/aaa.slice/deep.slice/deeper.slice/nginx.service", /* the nearer one wins */
		NULL,
	};
	static const struct {
		const char *unit, *path;
		int r;
	} table[] = {
		{ "nginx.service", "/system.slice/nginx.service", 0 },
		{ "x@1.service", "/system.slice/system-x.slice/x@1.service", 0 },
		{ "app.service",
		  "/user.slice/user-1000.slice/user@1000.service/app.slice/app.service", 0 },
		{ "system.slice", "/system.slice", 0 },
		{ "nginx", NULL, -EINVAL },
		{ "", NULL, -EINVAL },
		{ "..", NULL, -EINVAL },
		{ ".service", NULL, -EINVAL },
		{ "system.slice/nginx.service", NULL, -EINVAL },
		{ "apache.service", NULL, -ENOENT },
	};
	struct cgroups c = world(V2("/", "units"), "0::/\n", dirs);
	char path[CGPATH_MAX];

	(void)state;
	fake_write("units/file.service", "a file is no cgroup");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		strcpy(path, "untouched");
		assert_int_equal(cgroup_of_unit(&c, table[i].unit, path), table[i].r);
		assert_string_equal(path, table[i].path ? table[i].path : "untouched");
	}
	assert_int_equal(cgroup_of_unit(&c, "file.service", path), -ENOENT);
}

static void a_directory_is_opened_below_its_mount_and_nothing_else_is(void **state)
{
	struct cgroups c = world(V2("/", "units"), "0::/\n", NULL);
	int fd = cgroup_open(&c, "/system.slice");

	(void)state;
	assert_true(fd >= 0);
	assert_false(cgroup_is_v2(fd)); /* only the kernel's is */
	close(fd);
	assert_int_equal(cgroup_open(&c, "/nothing"), -ENOENT);
	assert_int_equal(cgroup_open(&c, "/file.service"), -ENOTDIR);
	assert_int_equal(cgroup_v1_open(&c, "/"), -ENOENT);
	fd = cgroup_open(&c, "/");
	assert_true(fd >= 0);
	close(fd);
}

static int set_up(void **state)
{
	return fake_set_up(state) == 0 ? chdir(fake_root) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_a_unified_host_the_path_is_the_line),
		cmocka_unit_test(on_a_hybrid_host_each_hierarchy_has_its_own_path),
		cmocka_unit_test(without_cgroup2_there_is_no_v2_path),
		cmocka_unit_test(of_a_mounted_part_the_front_of_the_path_is_cut_off),
		cmocka_unit_test(a_path_that_cannot_be_seen_is_the_root_of_what_can),
		cmocka_unit_test(
			what_was_removed_or_is_no_such_file_is_an_error_and_nothing_is_written),
		cmocka_unit_test(a_unit_is_found_breadth_first_wherever_its_slice_is),
		cmocka_unit_test(a_directory_is_opened_below_its_mount_and_nothing_else_is),
	};

	return cmocka_run_group_tests(tests, set_up, fake_tear_down);
}
