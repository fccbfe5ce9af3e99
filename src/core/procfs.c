/* SPDX-License-Identifier: MIT */
/*
 * procfs.c - /proc/PID/cgroup and /proc/PID/mountinfo
 *
 * /proc/PID/cgroup has a line `ID:CONTROLLERS:PATH` for each hierarchy (proc_cgroup_show() in
 * kernel/cgroup/cgroup.c). That of v2 has ID 0 and no controllers; on hybrid systems it comes last. PATH is not
 * escaped: it may have colons and blanks, but no newline, which cgroup_mkdir() refuses. Behind that of a removed
 * v2 cgroup the kernel writes " (deleted)"; on v1 these are just characters.
 *
 * /proc/PID/mountinfo (show_mountinfo() in fs/proc_namespace.c):
 *
 *     41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
 *     id parent dev root point options [tag...] - type source superblock-options
 *
 * One space is between fields, and the source may be empty. Space, tab, newline and backslash in paths come as
 * \ooo (seq_path() in fs/seq_file.c). The controllers of a v1 mount are among its superblock options. Lines of
 * other file systems may hold anything behind their type, and malformed ones are skipped.
 *
 * Both have paths relative to the reader's cgroup namespace, with one "/.." for each level up to the nearest
 * common ancestor where they lie outside of it (kernfs_path_from_node()). So "/../x" is /x under a mount of
 * "/.."; under one of "/../.." it has a name that is written nowhere.
 */
#include "procfs.h"

#include "scan.h"

/* Is `word` in a list with commas? */
static bool list_has(struct scan list, const char *word)
{
	struct scan item;

	while (scan_item(&list, ',', &item))
		if (scan_is(item, word))
			return true;
	return false;
}

/* Normalised in the sense of cgpath.h, which is only checked: from the kernel it comes so. */
static bool is_normalised(struct scan path)
{
	struct scan component;

	if (scan_has(path, '\0') || !scan_word(&path, "/"))
		return false;
	if (path.left > 0 && path.p[path.left - 1] == '/')
		return false;
	while (scan_item(&path, '/', &component))
		if (component.left == 0 || scan_is(component, ".") || scan_is(component, ".."))
			return false;
	return true;
}

/* What is behind the "/.." in front. */
static struct scan cut_ups(struct scan path)
{
	struct scan rest = path;

	while (scan_word(&rest, "/..") && (rest.left == 0 || *rest.p == '/'))
		path = rest;
	return path;
}

static int copy_path(struct scan path, char *buf)
{
	struct scan inside = cut_ups(path);
	bool is_outside = inside.left < path.left;

	if (is_outside ? scan_is(inside, "/") : inside.left == 0)
		return -EBADMSG;
	if (inside.left > 0 && !is_normalised(inside))
		return -EBADMSG;
	return scan_copy(path, buf, CGPATH_MAX) ? 0 : -ENAMETOOLONG;
}

/* The path in the line of v1's `controller`, or of v2 when that is NULL. */
static int find_path(const char *text, size_t size, const char *controller, struct scan *ret)
{
	struct scan s = { text, size }, line, controllers;
	uint64_t id;

	while (s.left > 0) {
		if (!scan_field(&s, '\n', &line) || scan_u64(&line, &id) < 0 ||
		    !scan_word(&line, ":") || !scan_field(&line, ':', &controllers))
			return -EBADMSG;
		if (controller ? list_has(controllers, controller)
			       : id == 0 && controllers.left == 0) {
			*ret = line;
			return 0;
		}
	}
	return -ENOENT;
}

int proc_cgroup_v2(const char *text, size_t size, char *buf)
{
	struct scan path;
	int r;

	r = find_path(text, size, NULL, &path);
	if (r < 0)
		return r;
	if (scan_ends_with(path, " (deleted)"))
		return -ENODEV;
	return copy_path(path, buf);
}

int proc_cgroup_v1(const char *text, size_t size, const char *controller, char *buf)
{
	struct scan path;
	int r;

	r = find_path(text, size, controller, &path);
	if (r < 0)
		return r;
	return copy_path(path, buf);
}

struct mount_line {
	uint64_t id;
	struct scan root, point, options, type, super_options;
};

/* False: not a line of mountinfo. */
static bool mount_line_split(struct scan line, struct mount_line *ret)
{
	struct mount_line m;
	struct scan field;

	if (scan_u64(&line, &m.id) < 0 || !scan_word(&line, " "))
		return false;
	/* parent, device */
	for (int i = 0; i < 2; i++)
		if (!scan_field(&line, ' ', &field))
			return false;
	if (!scan_field(&line, ' ', &m.root) || !scan_field(&line, ' ', &m.point) ||
	    !scan_field(&line, ' ', &m.options))
		return false;
	do {
		if (!scan_field(&line, ' ', &field))
			return false;
	} while (!scan_is(field, "-"));
	if (!scan_field(&line, ' ', &m.type) || !scan_field(&line, ' ', &field))
		return false;
	m.super_options = line;
	*ret = m;
	return true;
}

/* Undoes \ooo into buf[CGPATH_MAX]. */
static bool unescape(struct scan text, char *buf)
{
	size_t n = 0;

	if (text.left == 0 || *text.p != '/')
		return false;
	while (text.left > 0) {
		unsigned c = (unsigned char)*text.p, a, b;

		scan_skip(&text, 1);
		if (c == '\\') {
			if (!scan_digit(&text, &a) || !scan_digit(&text, &b) ||
			    !scan_digit(&text, &c))
				return false;
			if (a > 3 || b > 7 || c > 7)
				return false;
			c += a * 64 + b * 8;
		}
		if (c == 0 || n + 1 >= CGPATH_MAX)
			return false;
		buf[n++] = (char)c;
	}
	buf[n] = '\0';
	return true;
}

bool mountinfo_line(const char *line, size_t size, const char *controller, struct cgmount *ret)
{
	char root[CGPATH_MAX], point[CGPATH_MAX];
	struct mount_line m;

	if (!mount_line_split((struct scan){ line, size }, &m) ||
	    !scan_is(m.type, controller ? "cgroup" : "cgroup2") ||
	    (controller && !list_has(m.super_options, controller)) || !unescape(m.root, root) ||
	    !unescape(m.point, point))
		return false;
	ret->id = m.id;
	memcpy(ret->root, root, strlen(root) + 1);
	memcpy(ret->point, point, strlen(point) + 1);
	ret->read_only = list_has(m.options, "ro") || list_has(m.super_options, "ro");
	return true;
}

bool cgmount_covers(const struct cgmount *mount, const char *path, char *buf)
{
	struct scan rest = scan_string(path);

	if (strcmp(mount->root, "/") != 0 && !scan_word(&rest, mount->root))
		return false;
	if (rest.left == 0)
		rest = scan_string("/");
	/* "/a" is no part of "/ab", and of what begins with "/.." only more of those may be left */
	return is_normalised(rest) && scan_copy(rest, buf, CGPATH_MAX);
}
