/* SPDX-License-Identifier: MIT */
/*
 * test-cgroup.c - which cgroup is meant, in all the worlds there are (src/kernel/cgroup.h)
 */
#include <limits.h>

#include "../unit.h"
#include "../fake-root.h"
#include "kernel/cgroup.h"

/* mountinfo(5): the mounted part, then where. @ is the id of the mount that all this lies on, so
 * that 1 is one with another over it; % is the fake root. */
#define MOUNT(id, root, point, rw, type) \
	id " 20 0:26 " root " %/" point " " rw ",nosuid - " type "\n"
#define V2(root, point) MOUNT("@", root, point, "rw", "cgroup2 cgroup2 rw")
#define V1(root, point) MOUNT("@", root, point, "rw", "cgroup cgroup rw,memory")
#define OTHER "29 1 0:25 / /tmp rw - tmpfs tmpfs rw\n"

static void write_mountinfo(const char *path, const char *template)
{
	char text[2048] = "";

	for (size_t n = 0; *template; template ++, n = strlen(text)) {
		if (*template == '@')
			snprintf(text + n, sizeof(text) - n, "%u", fake_mount_id());
		else
			snprintf(text + n, sizeof(text) - n, "%.*s",
				 *template == '%' ? (int)strlen(fake_root) : 1,
				 *template == '%' ? fake_root : template);
	}
	fake_write(path, text);
}

/* Short enough for a path in the library's buffer: 32 characters of `proc` count. */
static void be_proc(const char *path)
{
	unlink("proc");
	assert_int_equal(symlink(fake_path(path), "proc"), 0);
}

/* A world: the texts of mountinfo and of a process's cgroup, and the directories that are there.
 * The first part of each is a mount, except where that is "dead": what is left of a removed cgroup. */
static struct cgroups world(const char *mountinfo, const char *self, const char *const *directories)
{
	static unsigned n;
	char where[160];
	struct cgroups cgroups;

	snprintf(where, sizeof(where), "proc%u/self/mountinfo", n);
	write_mountinfo(where, mountinfo);
	snprintf(where, sizeof(where), "proc%u/self/cgroup", n);
	fake_write(where, self);
	snprintf(where, sizeof(where), "proc%u/7/cgroup", n);
	fake_write(where, self);
	for (; directories && *directories; directories++) {
		snprintf(where, sizeof(where), "%s/", *directories);
		fake_write(where, "");
		snprintf(where, sizeof(where), "%.*s/cgroup.procs", (int)strcspn(*directories, "/"),
			 *directories);
		if (strncmp(where, "dead", 4) != 0)
			fake_write(where, "");
	}
	snprintf(where, sizeof(where), "proc%u", n++);
	be_proc(where);
	assert_int_equal(cgroups_discover("proc", &cgroups), 0);
	return cgroups;
}

/* Every promise's directories. */
static const char *const all_dirs[] = { "sys/system.slice/a.service",
					"uni/user.slice/s.scope",
					"mem/docker/1",
					"part/inner",
					"hid",
					"mnt/a",
					"longer/x",
					"longer/a",
					"b",
					"dead/a/x",
					"short",
					NULL };

PROMISE(the_mount_that_counts_shows_our_cgroup_and_the_most_around_it)
{
	static const struct {
		const char *mountinfo, *self;
		const char *point, *path; /* of v2; NULL: nothing, and why: */
		int r;
		const char *v1; /* path there; NULL: -ENOENT */
	} table[] = {
		/* unified, hybrid, v1 alone */
		{ OTHER V2("/", "sys"), "0::/system.slice/a.service\n", "sys",
		  "/system.slice/a.service", 0, NULL },
		{ V2("/", "uni") V1("/", "mem"),
		  "4:memory:/docker/1\n1:name=systemd:/x\n0::/user.slice/s.scope\n", "uni",
		  "/user.slice/s.scope", 0, "/docker/1" },
		{ V1("/docker/2", "short") V1("/", "mem") OTHER, "4:memory:/docker/1\n", NULL, NULL,
		  -ENOENT, "/docker/1" },
		/* no line of v2, removed */
		{ V2("/", "sys"), "4:memory:/a\n", "sys", NULL, -ENOENT, NULL },
		{ V2("/", "sys"), "0::/gone (deleted)\n", "sys", NULL, -ENODEV, NULL },
		/* a container's own part is mounted, but no cgroup namespace hides the whole path */
		{ V2("/pods/p1", "part"), "0::/pods/p1/inner\n", "part", "/inner", 0, NULL },
		{ V2("/pods/p1", "part"), "0::/pods/p1\n", "part", "/", 0, NULL },
		/* cannot be seen, and the root of what can is another cgroup: another part; a name
		 * that begins like it; the directory is not there; moved out of our namespace; in the
		 * host's tree a namespace's root has another name */
		{ V2("/pods/p1", "hid"), "0::/pods/p2\n", "hid", NULL, -EXDEV, NULL },
		{ V2("/pods/p1", "hid"), "0::/pods/p10\n", "hid", NULL, -EXDEV, NULL },
		{ V2("/", "hid"), "0::/system.slice/docker-1.scope\n", "hid", NULL, -EXDEV, NULL },
		{ V2("/", "hid"), "0::/../other\n", "hid", NULL, -EXDEV, NULL },
		{ V2("/../..", "hid"), "0::/\n", "hid", NULL, -EXDEV, NULL },
		/* of several: wherever it stands, and however long its name is */
		{ V2("/b", "b") V2("/", "mnt"), "0::/a\n", "mnt", "/a", 0, NULL },
		{ V2("/", "mnt") V2("/b", "b"), "0::/a\n", "mnt", "/a", 0, NULL },
		{ V2("/b", "b") V2("/a", "longer"), "0::/a/x\n", "longer", "/x", 0, NULL },
		/* the most of the hierarchy */
		{ V2("/a", "longer") V2("/", "mnt"), "0::/a\n", "mnt", "/a", 0, NULL },
		{ V2("/a/x", "b") V2("/a", "longer"), "0::/a/x\n", "longer", "/x", 0, NULL },
		/* and of it what can be written to, then what is shortest */
		{ MOUNT("@", "/", "mnt", "ro", "cgroup2 - rw") V2("/", "longer"), "0::/a\n",
		  "longer", "/a", 0, NULL },
		{ V2("/", "longer") V2("/", "mnt"), "0::/a\n", "mnt", "/a", 0, NULL },
		/* something lies over it */
		{ MOUNT("1", "/", "mnt", "rw", "cgroup2 - rw") V2("/a", "longer"), "0::/a/x\n",
		  "longer", "/x", 0, NULL },
		/* where none shows it, the most of the hierarchy */
		{ V2("/x", "b") V2("/", "hid"), "0::/a\n", "hid", NULL, -EXDEV, NULL },
		{ V2("/", "hid") V2("/x", "b"), "0::/a\n", "hid", NULL, -EXDEV, NULL },
		/* what is left of a removed cgroup of the same name */
		{ V2("/", "dead") V2("/a", "longer"), "0::/a/x\n", "longer", "/x", 0, NULL },
		/* a host's tree beside our namespace's */
		{ V2("/../..", "mnt") V2("/", "longer"), "0::/\n", "longer", "/", 0, NULL },
		{ V2("/", "longer") V2("/../..", "mnt"), "0::/\n", "longer", "/", 0, NULL },
		/* a file that is bound over itself, as systemd does it */
		{ V2("/", "mnt") V2("/a/memory.pressure", "mnt/a/memory.pressure"), "0::/a\n",
		  "mnt", "/a", 0, NULL },
		/* a line that makes no sense is none */
		{ V2("/\\x", "mnt") V2("/", "longer"), "0::/a\n", "longer", "/a", 0, NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct cgroups c = world(table[i].mountinfo, table[i].self, all_dirs);
		char path[CGPATH_MAX];

		for (int pid = 0; pid <= 7; pid += 7) {
			int r;

			strcpy(path, "untouched");
			r = cgroup_of_pid(&c, "proc", pid, path);
			if (r != table[i].r || strcmp(path, table[i].path ?: "untouched") != 0)
				fail_msg("%s gave %d %s", table[i].mountinfo, r, path);
			strcpy(path, "untouched");
			assert_int_equal(cgroup_v1_of_pid(&c, "proc", pid, path),
					 table[i].v1 ? 0 : -ENOENT);
			assert_string_equal(path, table[i].v1 ?: "untouched");
		}
		assert_int_equal(c.has_v2, table[i].point != NULL);
		if (c.has_v2)
			assert_string_equal(c.v2.point, fake_path(table[i].point));
		else
			assert_int_equal(cgroup_open(&c, "/"), -ENOENT);
	}
}

PROMISE(what_is_not_there_is_an_error_and_what_lies_over_a_cgroup_is_not_taken_for_it)
{
	struct cgroups c = world(V2("/", "mnt"), "0::/a\n", all_dirs);
	char path[CGPATH_MAX];
	int fd;

	assert_int_equal(cgroup_of_pid(&c, "proc", INT_MAX, path), -ESRCH);
	assert_int_equal(cgroup_of_pid(&c, "proc", getpid(), path), -EACCES);
	for (int i = 0; i < 2; i++) {
		fd = cgroup_open(&c, i ? "/" : "/a");
		assert_true(fd >= 0);
		close(fd);
	}
	fake_write("mnt/file.service", "a file is no cgroup");
	assert_int_equal(cgroup_open(&c, "/nothing"), -ENOENT);
	assert_int_equal(cgroup_open(&c, "/file.service"), -ENOTDIR);
	assert_int_equal(cgroup_v1_open(&c, "/"), -ENOENT);
	c.v2.id++;
	assert_int_equal(cgroup_open(&c, "/a"), -EXDEV);
}

PROMISE(nothing_that_opens_is_no_hierarchy)
{
	struct cgroups c;

	write_mountinfo("proc-over/self/mountinfo",
			OTHER MOUNT("1", "/", "mnt", "rw", "cgroup2 - rw") V2("/", "dead")
				V2("/", "nowhere"));
	be_proc("proc-over");
	assert_int_equal(cgroups_discover("proc", &c), -ENOENT);
	assert_int_equal(cgroups_discover("/nonexistent", &c), -ENOENT);
}

/* 4,400 bind mounts are more than 1 MiB. */
PROMISE(mountinfo_may_be_long_but_not_cut_off)
{
	FILE *f;
	struct cgroups c;

	world(OTHER V2("/", "mnt"), "0::/a\n", NULL);
	f = fopen("proc/self/mountinfo", "we");
	assert_non_null(f);
	for (unsigned i = 0; i < 40000; i++)
		fprintf(f, "%u 1 0:25 / /tmp/%0100u rw,relatime - tmpfs tmpfs rw\n", 1000 + i, i);
	fprintf(f, "%u 20 0:26 / %s/mnt rw - cgroup2 cgroup2 rw\n", fake_mount_id(), fake_root);
	fflush(f);
	assert_int_equal(cgroups_discover("proc", &c), 0);
	assert_string_equal(c.v2.point, fake_path("mnt"));
	fprintf(f, "%u 20 0:26 / %s/mnt", fake_mount_id(), fake_root);
	fclose(f);
	assert_int_equal(cgroups_discover("proc", &c), -EBADMSG);
}

PROMISE(a_unit_is_found_breadth_first_wherever_its_slice_is)
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

	fake_write("units/file.service", "a file is no cgroup");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		strcpy(path, "untouched");
		assert_int_equal(cgroup_of_unit(&c, table[i].unit, path), table[i].r);
		assert_string_equal(path, table[i].path ? table[i].path : "untouched");
	}
	assert_int_equal(cgroup_of_unit(&c, "file.service", path), -ENOENT);
}

static int set_up(void **state)
{
	return fake_set_up(state) == 0 ? chdir(fake_root) : -1;
}

GROUP(set_up, fake_tear_down)
