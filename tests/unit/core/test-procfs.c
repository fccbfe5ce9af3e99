/* SPDX-License-Identifier: MIT */
/*
 * test-procfs.c - /proc/PID/cgroup and /proc/PID/mountinfo (src/core/procfs.h)
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "core/procfs.h"

#define HYBRID                                         \
	"12:pids:/user.slice\n"                        \
	"11:memory:/docker/0a1b2c\n"                   \
	"4:cpu,cpuacct:/both\n"                        \
	"1:name=systemd:/user.slice/session-2.scope\n" \
	"0::/user.slice/user-1000.slice/session-2.scope\n"

PROMISE(the_path_is_found_wherever_its_line_stands)
{
	static const struct {
		const char *text, *controller, *path;
	} table[] = {
		{ "0::/\n", NULL, "/" },
		{ "0::/system.slice/nginx.service\n", NULL, "/system.slice/nginx.service" },
		{ HYBRID, NULL, "/user.slice/user-1000.slice/session-2.scope" },
		{ "0::/first\n1:name=systemd:/second\n", NULL, "/first" },
		{ "2:cpu:/a\n0::/middle\n1:memory:/b\n", NULL, "/middle" },
		{ HYBRID, "memory", "/docker/0a1b2c" },
		{ HYBRID, "cpu", "/both" },
		{ HYBRID, "cpuacct", "/both" },
		{ HYBRID, "name=systemd", "/user.slice/session-2.scope" },
		/* names may hold anything but slash and newline */
		{ "0::/a:b c\\x2d\xc3\xb6\n", NULL, "/a:b c\\x2d\xc3\xb6" },
		{ "0::/..a/b../...\n", NULL, "/..a/b../..." },
		{ "0::/a (deleted)/b\n", NULL, "/a (deleted)/b" },
		{ "0::/a(deleted)\n", NULL, "/a(deleted)" },
		/* v1 has no such mark, so this is a name */
		{ "4:memory:/a (deleted)\n", "memory", "/a (deleted)" },
		/* outside of our cgroup namespace */
		{ "0::/..\n", NULL, "/.." },
		{ "0::/../../a/b\n", NULL, "/../../a/b" },
		{ "4:memory:/../a\n", "memory", "/../a" },
		/* a hierarchy without controllers and with a name, or a number: not v2 */
		{ "7::/no\n0:name=x:/no\n0::/yes\n", NULL, "/yes" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *text = table[i].text, *controller = table[i].controller;
		char buf[CGPATH_MAX] = "";
		int r = controller ? proc_cgroup_v1(text, strlen(text), controller, buf)
				   : proc_cgroup_v2(text, strlen(text), buf);

		if (r != 0 || strcmp(buf, table[i].path) != 0)
			fail_msg("%s gave %d %s", text, r, buf);
	}
}

PROMISE(a_path_fills_the_buffer_and_no_more)
{
	static char text[CGPATH_MAX + 16];
	char buf[CGPATH_MAX + 1];
	size_t n;

	buf[CGPATH_MAX] = 0x5a;
	memset(text, 'a', sizeof(text));
	memcpy(text, "0::/", 4);
	n = 3 + CGPATH_MAX - 1;
	text[n] = '\n';
	assert_int_equal(proc_cgroup_v2(text, n + 1, buf), 0);
	assert_int_equal(strlen(buf), CGPATH_MAX - 1);
	text[n] = 'a';
	text[n + 1] = '\n';
	assert_int_equal(proc_cgroup_v2(text, n + 2, buf), -ENAMETOOLONG);
	assert_int_equal(buf[CGPATH_MAX], 0x5a);
}

/* ---- mountinfo ----------------------------------------------------------------------------- */

#define SYS "22 28 0:20 / /sys rw,nosuid,nodev shared:7 - sysfs sysfs rw\n"
#define ROOT "28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
#define UNIFIED "31 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1                                                                                     \
	"31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"                    \
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:12 - cgroup cgroup rw,memory\n" \
	"36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"          \
	"40 31 0:37 / /sys/fs/cgroup/systemd ro - cgroup cgroup rw,xattr,name=systemd\n"
#define ON_HYBRID "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define AT(root, point) "1 2 0:3 " root " " point " rw - cgroup2 none rw\n"

/* How many lines of the text are such mounts; *ret is the last. */
static unsigned find(const char *text, const char *controller, struct cgmount *ret)
{
	unsigned n = 0;

	for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
		n += mountinfo_line(text, (size_t)(end - text), controller, ret);
	return n;
}

PROMISE(the_mount_is_found_and_unescaped)
{
	static const struct {
		const char *text, *controller, *root, *point;
		bool read_only;
	} table[] = {
		{ SYS ROOT UNIFIED, NULL, "/", "/sys/fs/cgroup", false },
		{ UNIFIED ROOT SYS, NULL, "/", "/sys/fs/cgroup", false },
		{ SYS ROOT V1 ON_HYBRID, NULL, "/", "/sys/fs/cgroup/unified", false },
		{ SYS V1, "memory", "/", "/sys/fs/cgroup/memory", false },
		{ SYS V1, "cpu", "/", "/sys/fs/cgroup/cpu,cpuacct", false },
		{ SYS V1, "cpuacct", "/", "/sys/fs/cgroup/cpu,cpuacct", false },
		{ SYS V1 ON_HYBRID, "name=systemd", "/", "/sys/fs/cgroup/systemd", true },
		{ AT("/../../x", "/cg"), NULL, "/../../x", "/cg", false },
		/* read-only: the mount, or its superblock */
		{ "1 2 0:3 / /cg ro,nosuid - cgroup2 none rw\n", NULL, "/", "/cg", true },
		{ "1 2 0:3 / /cg rw,nosuid - cgroup2 none ro\n", NULL, "/", "/cg", true },
		{ "1 2 0:3 / /cg rw,norox - cgroup2 ro rw,xro\n", NULL, "/", "/cg", false },
		/* any number of tags, an empty source, no superblock options */
		{ "1 2 0:3 / /cg rw a:1 b:2 c d:4 - cgroup2 none rw\n", NULL, "/", "/cg", false },
		{ "1 2 0:3 / /cg rw - cgroup2  ro\n", NULL, "/", "/cg", true },
		{ "1 2 0:3 / /cg rw - cgroup2 none \n", NULL, "/", "/cg", false },
		{ AT("/a\\040b", "/c\\011d\\012e\\134f\\043"), NULL, "/a b", "/c\td\ne\\f#",
		  false },
		{ AT("/", "/\\377"), NULL, "/", "/\377", false },
		{ AT("/", "/\\134040"), NULL, "/", "/\\040", false },
		/* lines of other file systems may be as odd as they like */
		{ "nonsense\n\n - \n" UNIFIED, NULL, "/", "/sys/fs/cgroup", false },
		{ "1 2 0:3 / /c\\x rw - 9p C:\\ rw,path=C: - cgroup2 x\n" UNIFIED, NULL, "/",
		  "/sys/fs/cgroup", false },
		{ "1 2 0:3 / /cgroup2 rw - tmpfs cgroup2 rw,cgroup2\n" UNIFIED, NULL, "/",
		  "/sys/fs/cgroup", false },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		static struct cgmount m;

		if (find(table[i].text, table[i].controller, &m) != 1)
			fail_msg("not found: %s", table[i].text);
		assert_string_equal(m.root, table[i].root);
		assert_string_equal(m.point, table[i].point);
		assert_int_equal(m.read_only, table[i].read_only);
	}
}

PROMISE(a_path_is_called_differently_under_each_mount)
{
	static const struct {
		const char *root, *path, *below; /* NULL: not shown, or not by name */
	} table[] = {
		{ "/", "/", "/" },
		{ "/", "/a/b", "/a/b" },
		{ "/a", "/a/b", "/b" },
		{ "/a/b", "/a/b", "/" },
		{ "/a/b", "/a", NULL },
		{ "/a", "/ab", NULL },
		{ "/a", "/b", NULL },
		{ "/a", "/", NULL },
		/* a file that is bound somewhere */
		{ "/a/memory.pressure", "/a", NULL },
		/* a host's tree beside a private cgroup namespace: ours has a name in it that we
		   cannot know */
		{ "/..", "/", NULL },
		{ "/../..", "/a", NULL },
		{ "/../..", "/../a", NULL },
		/* we are beside our namespace */
		{ "/", "/..", NULL },
		{ "/", "/../x", NULL },
		{ "/a", "/../a", NULL },
		{ "/..", "/../x", "/x" },
		{ "/..", "/..", "/" },
		{ "/..", "/../../x", NULL },
		{ "/../x", "/../x/y", "/y" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		static struct cgmount m;
		char buf[CGPATH_MAX] = "before";
		bool covers;

		strcpy(m.root, table[i].root);
		covers = cgmount_covers(&m, table[i].path, buf);
		if (covers != (table[i].below != NULL) ||
		    strcmp(buf, table[i].below ? table[i].below : "before") != 0)
			fail_msg("%s under %s is %s", table[i].path, table[i].root, buf);
	}
}

PROMISE(a_mount_point_fills_the_buffer_and_no_more)
{
	static char text[2 * CGPATH_MAX], name[CGPATH_MAX + 1];
	static struct cgmount m;
	int n;

	memset(name, 'a', sizeof(name) - 1);
	name[0] = '/';
	name[CGPATH_MAX - 1] = '\0';
	n = snprintf(text, sizeof(text), AT("/", "%s"), name);
	assert_true(mountinfo_line(text, (size_t)n - 1, NULL, &m));
	assert_string_equal(m.point, name);
	name[CGPATH_MAX - 1] = 'a';
	n = snprintf(text, sizeof(text), AT("/", "%s"), name);
	assert_false(mountinfo_line(text, (size_t)n - 1, NULL, &m));
	n = snprintf(text, sizeof(text), AT("%s", "/"), name);
	assert_false(mountinfo_line(text, (size_t)n - 1, NULL, &m));
}
