/* SPDX-License-Identifier: MIT */
/*
 * fuzz-procfs.c - any bytes as /proc/PID/cgroup and /proc/PID/mountinfo
 *
 * What is found, written as the kernel writes it, is found again, and without its newline it is
 * refused. A path that comes out is normalised. What fails writes nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/cgpath.h"
#include "core/procfs.h"

static const char *const controllers[] = { "memory", "name=systemd" };

static void check_path(const char *path, int r)
{
	static char line[CGPATH_MAX + 32];
	char again[CGPATH_MAX];
	int n;

	if (r < 0) {
		CHECK(r == -ENOENT || r == -EXDEV || r == -ENODEV || r == -EBADMSG ||
		      r == -ENAMETOOLONG);
		CHECK(path[0] == 0x5a);
		return;
	}
	CHECK(r == 0);
	/* no newline can be inside, so what cgpath_normalise() refuses or changes is a mistake */
	CHECK(cgpath_normalise(path, NULL, again, NULL) == 0);
	CHECK(strcmp(path, again) == 0);

	n = snprintf(line, sizeof(line), "3:cpu,memory:%s\n", path);
	CHECK(proc_cgroup_v1(line, (size_t)n, "memory", again) == 0);
	CHECK(strcmp(path, again) == 0);
	CHECK(proc_cgroup_v1(line, (size_t)n - 1, "memory", again) == -EBADMSG);
	CHECK(proc_cgroup_v2(line, (size_t)n, again) == -ENOENT);
}

static size_t escape(char *buf, const char *path)
{
	size_t n = 0;

	for (; *path; path++) {
		if (strchr(" \t\n\\", *path))
			n += (size_t)sprintf(buf + n, "\\%03o", (unsigned)(unsigned char)*path);
		else
			buf[n++] = *path;
	}
	return n;
}

static void check_mount(const struct cgmount *m, int r)
{
	static char line[8 * CGPATH_MAX + 128];
	static struct cgmount again;
	size_t n = 0;

	if (r < 0) {
		CHECK(r == -ENOENT || r == -EBADMSG || r == -ENAMETOOLONG);
		CHECK(m->point[0] == 0x5a && m->root[0] == 0x5a);
		return;
	}
	CHECK(r == 0 && m->point[0] == '/' && m->root[0] == '/');
	n += (size_t)sprintf(line, "1 2 0:3 ");
	n += escape(line + n, m->root);
	line[n++] = ' ';
	n += escape(line + n, m->point);
	n += (size_t)sprintf(line + n, " %s - cgroup2  rw\n", m->read_only ? "ro" : "rw");
	CHECK(mountinfo_cgroup2(line, n, &again) == 0);
	CHECK(strcmp(m->point, again.point) == 0 && strcmp(m->root, again.root) == 0);
	CHECK(m->read_only == again.read_only);
	CHECK(mountinfo_cgroup2(line, n - 1, &again) == -EBADMSG);
	CHECK(mountinfo_cgroup1(line, n, "rw", &again) == -ENOENT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cgmount m;
	const char *text = (const char *)data;
	char path[CGPATH_MAX];

	path[0] = 0x5a;
	check_path(path, proc_cgroup_v2(text, size, path));
	m.point[0] = m.root[0] = 0x5a;
	check_mount(&m, mountinfo_cgroup2(text, size, &m));
	for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
		path[0] = 0x5a;
		check_path(path, proc_cgroup_v1(text, size, controllers[i], path));
		m.point[0] = m.root[0] = 0x5a;
		check_mount(&m, mountinfo_cgroup1(text, size, controllers[i], &m));
	}
	return 0;
}
