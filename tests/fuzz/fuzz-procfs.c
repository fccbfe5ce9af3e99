/* SPDX-License-Identifier: MIT */
/*
 * fuzz-procfs.c - any bytes as /proc/PID/cgroup and /proc/PID/mountinfo
 *
 * What is found, written as the kernel writes it, is found again, and without its newline it is
 * refused. A path that comes out is normalised, behind what leads out of the namespace. What fails
 * writes nothing.
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
	const char *inside;
	int n;

	if (r < 0) {
		CHECK(r == -ENOENT || r == -ENODEV || r == -EBADMSG || r == -ENAMETOOLONG);
		CHECK(path[0] == 0x5a);
		return;
	}
	CHECK(r == 0);
	/* no newline can be inside, so what cgpath_normalise() refuses or changes is a mistake */
	for (inside = path; strncmp(inside, "/..", 3) == 0 && (inside[3] == '/' || !inside[3]);)
		inside += 3;
	CHECK(*inside || inside != path);
	if (*inside) {
		CHECK(cgpath_normalise(inside, NULL, again, NULL) == 0);
		CHECK(strcmp(inside, again) == 0);
	}

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

static void check_mount(const struct cgmount *m, const char *path)
{
	static char line[8 * CGPATH_MAX + 128];
	static struct cgmount again;
	char below[CGPATH_MAX];
	size_t n = 0;

	CHECK(m->point[0] == '/' && m->root[0] == '/');
	n += (size_t)sprintf(line, "%llu 2 0:3 ", (unsigned long long)m->id);
	n += escape(line + n, m->root);
	line[n++] = ' ';
	n += escape(line + n, m->point);
	n += (size_t)sprintf(line + n, " %s - cgroup2  rw", m->read_only ? "ro" : "rw");
	CHECK(mountinfo_line(line, n, NULL, &again));
	CHECK(strcmp(m->point, again.point) == 0 && strcmp(m->root, again.root) == 0);
	CHECK(m->read_only == again.read_only && m->id == again.id);
	CHECK(!mountinfo_line(line, n, "rw", &again));
	if (cgmount_covers(m, path, below)) {
		CHECK(cgpath_normalise(below, NULL, line, NULL) == 0);
		CHECK(strcmp(below, line) == 0 && strlen(below) <= strlen(path));
	}
}

static void check_mounts(const char *text, size_t size, const char *controller, const char *path)
{
	static struct cgmount m;

	while (size > 0) {
		const char *end = memchr(text, '\n', size);
		size_t n = end ? (size_t)(end - text) : size;

		m.point[0] = m.root[0] = 0x5a;
		if (mountinfo_line(text, n, controller, &m))
			check_mount(&m, path);
		else
			CHECK(m.point[0] == 0x5a && m.root[0] == 0x5a);
		n += end != NULL;
		text += n;
		size -= n;
	}
}

FUZZ_TARGET(procfs)
{
	const char *text = (const char *)data;
	char path[CGPATH_MAX];
	int r;

	path[0] = 0x5a;
	r = proc_cgroup_v2(text, size, path);
	check_path(path, r);
	check_mounts(text, size, NULL, r == 0 ? path : "/a/b");
	for (size_t i = 0; i < ELEMENTSOF(controllers); i++) {
		path[0] = 0x5a;
		r = proc_cgroup_v1(text, size, controllers[i], path);
		check_path(path, r);
		check_mounts(text, size, controllers[i], r == 0 ? path : "/a/b");
	}
	return 0;
}
