/* SPDX-License-Identifier: MIT */
/*
 * cgpath.c - the rules of cgroup paths
 *
 * ".." is refused wherever it stands: a path is a name of a cgroup, and one that must be resolved first could
 * lead out of an allowed subtree. So is a newline, which no cgroup can have (cgroup_mkdir() in
 * kernel/cgroup/cgroup.c says EINVAL), and our own output is lines too. Every other byte is legal in a name,
 * the backslash of systemd's "\x2d" included.
 *
 * A cgroup that is really called "/sys/fs/cgroup/x" under the mount is written without the leading slash: only
 * a text that begins with one can have the mount in front.
 */
#include "cgpath.h"

#include "scan.h"

/* The next component that means something. False: none is left. */
static bool take_component(struct scan *s, struct scan *ret)
{
	while (scan_item(s, '/', ret))
		if (ret->left > 0 && !scan_is(*ret, "."))
			return true;
	return false;
}

/* What is behind `mount`, or all of `path` when it is not in front. */
static struct scan cut_mount(struct scan path, struct scan mount)
{
	struct scan rest = path, component, wanted;

	while (take_component(&mount, &wanted)) {
		if (!take_component(&rest, &component) || component.left != wanted.left ||
		    memcmp(component.p, wanted.p, wanted.left) != 0)
			return path;
	}
	return rest;
}

int cgpath_normalise(const char *text, const char *mount, char *buf, const char **ret_why)
{
	struct scan s = scan_string(text), component;
	size_t n = 0;

	if (s.left == 0)
		return scan_refuse(-EINVAL, "it is empty", ret_why);
	if (mount && *text == '/')
		s = cut_mount(s, scan_string(mount));
	while (take_component(&s, &component)) {
		if (scan_is(component, ".."))
			return scan_refuse(-EINVAL, "\"..\" is not allowed in it", ret_why);
		if (scan_has(component, '\n'))
			return scan_refuse(-EINVAL, "a newline is not allowed in it", ret_why);
		if (component.left + 2 > CGPATH_MAX - n)
			return scan_refuse(-ENAMETOOLONG, "it is longer than 4095 bytes", ret_why);
		buf[n++] = '/';
		memcpy(buf + n, component.p, component.left);
		n += component.left;
	}
	if (n == 0)
		buf[n++] = '/';
	buf[n] = '\0';
	return 0;
}

bool cgpath_is_at_or_below(const char *path, const char *top)
{
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

size_t cgpath_front(const char *path, unsigned up)
{
	size_t n = strlen(path);

	for (; up > 0 && n > 1; up--)
		while (n > 1 && path[--n] != '/')
			;
	return up > 0 ? 0 : MAX(n, (size_t)1);
}

unsigned cgpath_levels_above(const char *path, size_t front)
{
	unsigned levels = 0;

	while (cgpath_front(path, levels) > front)
		levels++;
	return levels;
}
