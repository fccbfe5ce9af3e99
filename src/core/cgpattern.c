/* SPDX-License-Identifier: MIT */
/*
 * cgpattern.c - many cgroups in one line
 *
 * A pattern is kept as its normalised text and pointers to its components. At most one component
 * is two stars; it splits the pattern into a head, matched against the first components of a path,
 * and a tail, matched against its last ones. What is between them is what the two stars stand for.
 * So matching needs no search over levels, and its time is bounded by the lengths of pattern and
 * path (one name against one component with several stars costs at most their product). That
 * matters: patterns come from configuration, but names from any program that may make a cgroup.
 *
 *     /a/b*c/ ** /d         head "a", "b*c"; tail "d"; a path needs 2 + 1 components or more
 *     /a/ **                head "a"; tail empty; at the end the two stars stand for at least
 *                           one level, so a path needs 1 + 1
 *     /a/b*c                no two stars: all of it is head, and a path needs exactly 2
 *
 * (The blanks around the two stars are for the C compiler only.)
 *
 * One allocation holds everything; a pattern never changes after it was made.
 */
#include "cgpattern.h"

#include <stdlib.h>

#include "scan.h"

struct cgpattern {
	struct scan component[CGPATTERN_COMPONENTS_MAX]; /* without the two stars */
	size_t head, tail;				 /* how many of them; the tail comes last */
	bool any_depth;					 /* there are two stars between them */
	char *fixed;					 /* points behind the text */
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

/*
 * On a mismatch behind a star, that star takes one character more and all behind it is tried
 * again. Only the last star seen needs this: what an earlier one could take differently, the later
 * one can take too.
 */
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

static const char *add_component(struct cgpattern *p, struct scan component)
{
	size_t count = p->head + p->tail;

	if (count + p->any_depth == CGPATTERN_COMPONENTS_MAX)
		return "it has more than 32 components";
	if (scan_is(component, "**")) {
		if (p->any_depth)
			return "two stars may stand in it only once";
		p->any_depth = true;
		return NULL;
	}
	for (size_t i = 1; i < component.left; i++)
		if (component.p[i - 1] == '*' && component.p[i] == '*')
			return "two stars must be a component of their own";
	p->component[count] = component;
	if (p->any_depth)
		p->tail++;
	else
		p->head++;
	return NULL;
}

int cgpattern_new(const char *text, const char *mount, struct cgpattern **ret, const char **ret_why)
{
	_cleanup_(cgpattern_freep) struct cgpattern *p = NULL;
	struct scan s, component;
	char path[CGPATH_MAX];
	const char *why;
	size_t size, fixed;
	int r;

	r = cgpath_normalise(text, mount, path, ret_why);
	if (r < 0)
		return r;
	s = scan_string(path);
	if (!scan_has(s, '*'))
		return scan_refuse(-EINVAL, "there is no star in it", ret_why);
	/* the end of the last component before the one with the first star */
	fixed = (size_t)(strchr(path, '*') - path);
	while (path[--fixed] != '/')
		;

	size = s.left + 1;
	p = calloc(1, sizeof(*p) + size + fixed + 2);
	if (!p)
		return scan_refuse(-ENOMEM, "there is no memory for it", ret_why);
	memcpy(p->text, path, size);
	p->fixed = p->text + size;
	memcpy(p->fixed, fixed > 0 ? path : "/", MAX(fixed, (size_t)1));

	s = components_of(p->text);
	while (scan_item(&s, '/', &component)) {
		why = add_component(p, component);
		if (why)
			return scan_refuse(-EINVAL, why, ret_why);
	}
	*ret = steal(p);
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
	struct scan s = components_of(path), name;
	size_t count = count_components(s), tail_from = count - pattern->tail;
	size_t needed = pattern->head + pattern->tail + cgpattern_is_deep(pattern);

	if (pattern->any_depth ? count < needed : count != needed)
		return false;
	for (size_t i = 0; scan_item(&s, '/', &name); i++) {
		if (i < pattern->head && !name_match(pattern->component[i], name))
			return false;
		if (i >= tail_from &&
		    !name_match(pattern->component[pattern->head + i - tail_from], name))
			return false;
	}
	return true;
}

bool cgpattern_descend(const struct cgpattern *pattern, const char *path)
{
	struct scan s = components_of(path), name;
	size_t i;

	for (i = 0; i < pattern->head && scan_item(&s, '/', &name); i++)
		if (!name_match(pattern->component[i], name))
			return false;
	/* below the head the two stars take whatever comes, and the tail may still follow */
	return pattern->any_depth || i < pattern->head;
}

bool cgpattern_is_deep(const struct cgpattern *pattern)
{
	return pattern->any_depth && pattern->tail == 0;
}
