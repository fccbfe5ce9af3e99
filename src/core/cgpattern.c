/* SPDX-License-Identifier: MIT */
/*
 * cgpattern.c - many cgroups in one line
 *
 * Pattern and path are walked component by component. What follows the two stars is matched against the last
 * components of the path, and what is left between is what they stand for: no search over levels. One name
 * against one component with several stars costs at most the product of their lengths. That matters: patterns
 * come from configuration, but names from any program that may make a cgroup.
 */
#include "cgpattern.h"

#include <stdlib.h>

#include "scan.h"

struct cgpattern {
	char *fixed; /* points behind the text */
	char text[];
};

/* A normalised path without its first slash: items between slashes. */
static struct scan components_of(const char *path)
{
	return scan_string(path + 1);
}

static size_t count_components(struct scan path)
{
	struct scan component;
	size_t n = 0;

	while (scan_item(&path, '/', &component))
		n++;
	return n;
}

/* On a mismatch behind a star, that star takes one character more and all behind it is tried again. Only the last star
 * needs this: what an earlier one could take differently, the later one can take too. */
static bool name_match(struct scan glob, struct scan name)
{
	size_t g = 0, n = 0, after_star = 0, star_end = 0;
	bool star = false;

	while (n < name.left) {
		if (g < glob.left && glob.p[g] == '*') {
			star = true;
			after_star = ++g;
			star_end = n;
		} else if (g < glob.left && glob.p[g] == name.p[n]) {
			g++;
			n++;
		} else if (star) {
			g = after_star;
			n = ++star_end;
		} else {
			return false;
		}
	}
	while (g < glob.left && glob.p[g] == '*')
		g++;
	return g == glob.left;
}

/* What is wrong with it, or NULL. */
static const char *judge(struct scan pattern)
{
	struct scan component;
	size_t count = 0;
	bool any_depth = false;

	while (scan_item(&pattern, '/', &component)) {
		bool two_stars = scan_is(component, "**");

		if (++count > CGPATTERN_COMPONENTS_MAX)
			return "it has more than 32 components";
		if (two_stars && any_depth)
			return "two stars may stand in it only once";
		any_depth = any_depth || two_stars;
		for (size_t i = 1; !two_stars && i < component.left; i++)
			if (component.p[i - 1] == '*' && component.p[i] == '*')
				return "two stars must be a component of their own";
	}
	return NULL;
}

/* Up to the last component before the one with the first star, if there is one. */
static size_t fixed_length(const char *text)
{
	size_t fixed = 0;

	while (text[fixed] != '\0' && text[fixed] != '*')
		fixed++;
	while (text[fixed] != '\0' && text[fixed] != '/')
		fixed--;
	return MAX(fixed, (size_t)1);
}

int cgpattern_new(const char *text, const char *mount, struct cgpattern **ret, const char **ret_why)
{
	struct cgpattern *p;
	char path[CGPATH_MAX];
	const char *why;
	size_t size, fixed;
	int r;

	r = cgpath_normalise(text, mount, path, ret_why);
	if (r < 0)
		return r;
	if (!strchr(path, '*'))
		return scan_refuse(-EINVAL, "there is no star in it", ret_why);
	why = judge(components_of(path));
	if (why)
		return scan_refuse(-EINVAL, why, ret_why);
	fixed = fixed_length(path);
	size = strlen(path) + 1;
	p = calloc(1, sizeof(*p) + size + fixed + 1);
	if (!p)
		return scan_refuse(-ENOMEM, "there is no memory for it", ret_why);
	memcpy(p->text, path, size);
	p->fixed = p->text + size;
	memcpy(p->fixed, path, fixed);

	*ret = p;
	return 0;
}

struct cgpattern *cgpattern_free(struct cgpattern *pattern)
{
	free(pattern);
	return NULL;
}

const char *cgpattern_fixed(const struct cgpattern *pattern)
{
	return pattern->fixed;
}

const char *cgpattern_text(const struct cgpattern *pattern)
{
	return pattern->text;
}

bool cgpattern_match(const struct cgpattern *pattern, const char *path)
{
	struct scan globs = components_of(pattern->text), names = components_of(path), glob, name;

	while (scan_item(&globs, '/', &glob)) {
		size_t left, tail;

		if (!scan_is(glob, "**")) {
			if (!scan_item(&names, '/', &name) || !name_match(glob, name))
				return false;
			continue;
		}
		left = count_components(names);
		tail = count_components(globs);
		if (left == 0 && tail == 0)
			return false;
		for (; left > tail; left--)
			scan_item(&names, '/', &name);
	}
	return names.left == 0;
}

bool cgpattern_covers(const char *text, const char *path)
{
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;

	if (!strchr(text, '*'))
		return strcmp(text, path) == 0;
	return cgpattern_new(text, NULL, &pattern, NULL) == 0 && cgpattern_match(pattern, path);
}

bool cgpattern_is_more_specific(const char *a, const char *b)
{
	size_t fixed_a = fixed_length(a), fixed_b = fixed_length(b);

	if (fixed_a != fixed_b)
		return fixed_a > fixed_b;
	if (strlen(a) != strlen(b))
		return strlen(a) > strlen(b);
	return strcmp(a, b) > 0;
}

bool cgpattern_descend(const struct cgpattern *pattern, const char *path)
{
	struct scan globs = components_of(pattern->text), names = components_of(path), glob, name;

	while (scan_item(&names, '/', &name)) {
		if (!scan_item(&globs, '/', &glob))
			return false;
		if (scan_is(glob, "**")) /* whatever comes, and the rest may still follow */
			return true;
		if (!name_match(glob, name))
			return false;
	}
	return globs.left > 0;
}

bool cgpattern_is_deep(const struct cgpattern *pattern)
{
	return scan_ends_with(scan_string(pattern->text), "/**");
}
