/* SPDX-License-Identifier: MIT */
/*
 * cgpattern.h - many cgroups in one line
 *
 * A pattern is a path (cgpath.h) in which stars stand for something:
 *
 *     *    inside a component: any part of one name, also none of it ("a*.service"); as a whole
 *          component: any one name
 *     **   as a whole component: any number of levels, also none; but at the end of a pattern at
 *          least one, so that `kubepods.slice/` with two stars behind it means everything below
 *          kubepods.slice and not kubepods.slice itself
 *
 * It begins with a fixed part: the components before the first with a star. That is where the one
 * trigger of a tree goes.
 */
#pragma once

#include "cgpath.h"

#define CGPATTERN_COMPONENTS_MAX 32

struct cgpattern;

/*
 * Errors: those of cgpath_normalise(), with its words in *ret_why; -EINVAL: no star at all, more
 * than CGPATTERN_COMPONENTS_MAX components, two stars glued to a name, or two stars twice; -ENOMEM.
 * *ret_why (if not NULL) is a constant string, for -ENOMEM too.
 */
int cgpattern_new(const char *text, const char *mount, struct cgpattern **ret,
		  const char **ret_why);
struct cgpattern *cgpattern_free(struct cgpattern *pattern);
DEFINE_CLEANUP(struct cgpattern *, cgpattern_free);

/* The fixed part, a normalised path. Valid as long as the pattern, like cgpattern_text(). */
const char *cgpattern_fixed(const struct cgpattern *pattern);
/* The whole of it, normalised. */
const char *cgpattern_text(const struct cgpattern *pattern);

/* Does `path` (normalised) match? */
bool cgpattern_match(const struct cgpattern *pattern, const char *path);
/* The same of a text, a pattern or a path, which is only itself. */
bool cgpattern_covers(const char *text, const char *path);
/* Of two texts that cover a cgroup: the longer fixed part counts (one cgroup has the longest), then more text; and then
 * whichever, but always the same. */
bool cgpattern_is_more_specific(const char *a, const char *b);
/* Can something below `path` match, is it worth descending there? `path` itself does not count. */
bool cgpattern_descend(const struct cgpattern *pattern, const char *path);
/* Does it end in two stars? Then only the deepest of the stalling cgroups is meant. */
bool cgpattern_is_deep(const struct cgpattern *pattern);
