/* SPDX-License-Identifier: MIT */
/*
 * fuzz-path.c - any bytes as cgroup paths, patterns, and the files of /proc that name them
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/cgpath.h"
#include "core/cgpattern.h"
#include "core/procfs.h"

/* ---- pattern ---------------------------------------------------------------------------------------- */

/*
 * Any bytes as cgroup paths and patterns. The input is three lines: a pattern, a path, a mount (each may be missing). What is
 * accepted is normalised and stays as it is when it is read again. What matches lies below the fixed part, and every cgroup
 * above it is worth descending into: a walk from the root finds it.
 */
static void check_normalised(const char *path)
{
	char again[CGPATH_MAX];
	size_t n = strlen(path);

	CHECK(path[0] == '/' && n < CGPATH_MAX);
	CHECK(n == 1 || path[n - 1] != '/');
	CHECK(!strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../"));
	CHECK(!strchr(path, '\n'));
	CHECK(cgpath_normalise(path, NULL, again, NULL) == 0);
	CHECK(strcmp(path, again) == 0);
}

static bool is_below(const char *path, const char *top)
{
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, n) == 0 && path[n] == '/' && path[n + 1] != '\0';
}

static void check_match(const struct cgpattern *p, char *path)
{
	char *slash;

	if (!cgpattern_match(p, path))
		return;
	CHECK(is_below(path, cgpattern_fixed(p)));
	CHECK(!cgpattern_is_deep(p) || cgpattern_descend(p, path));
	while ((slash = strrchr(path, '/')) != path) {
		*slash = '\0';
		CHECK(cgpattern_descend(p, path));
	}
	CHECK(cgpattern_descend(p, "/"));
}

static void check_pattern(const char *text, const char *mount, char *path)
{
	_cleanup_(cgpattern_freep) struct cgpattern *p = NULL, *again = NULL;
	char own[CGPATH_MAX];
	const char *why = NULL;
	int r = cgpattern_new(text, mount, &p, &why);

	if (r < 0) {
		CHECK(r == -EINVAL || r == -ENAMETOOLONG || r == -ENOMEM);
		CHECK(why && *why && !p);
		return;
	}
	CHECK(r == 0 && !why);
	check_normalised(cgpattern_text(p));
	check_normalised(cgpattern_fixed(p));
	CHECK(strchr(cgpattern_text(p), '*') && !strchr(cgpattern_fixed(p), '*'));
	CHECK(is_below(cgpattern_text(p), cgpattern_fixed(p)));
	CHECK(cgpattern_new(cgpattern_text(p), NULL, &again, NULL) == 0);
	CHECK(strcmp(cgpattern_text(p), cgpattern_text(again)) == 0);
	CHECK(strcmp(cgpattern_fixed(p), cgpattern_fixed(again)) == 0);
	CHECK(cgpattern_descend(p, cgpattern_fixed(p)));
	CHECK(!cgpattern_match(p, cgpattern_fixed(p)));
	if (path) {
		bool matches = cgpattern_match(p, path);

		CHECK(cgpattern_match(again, path) == matches);
		check_match(p, path);
	}
	/* read as a path, it is one of those it matches: a star is a legal name, two are as well */
	strcpy(own, cgpattern_text(p));
	CHECK(cgpattern_match(p, own));
	check_match(p, own);
}

FUZZ_TARGET(pattern)
{
	char *text = malloc(size + 1), *rest = text, *pattern, *path, *mount;
	char normal[CGPATH_MAX];
	const char *why = NULL;

	if (!text)
		abort();
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	pattern = strsep(&rest, "\n");
	path = strsep(&rest, "\n");
	mount = rest;

	if (path && cgpath_normalise(path, mount, normal, &why) == 0) {
		check_normalised(normal);
		path = normal;
	} else {
		CHECK(!path || (why && *why));
		path = NULL;
	}
	check_pattern(pattern, mount, path);
	free(text);
}

/* ---- procfs ----------------------------------------------------------------------------------------- */

/*
 * Any bytes as /proc/PID/cgroup and /proc/PID/mountinfo. What is found, written as the kernel writes it, is found again, and
 * without its newline it is refused. A path that comes out is normalised, behind what leads out of the namespace. What fails
 * writes nothing.
 */
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
}
