/* SPDX-License-Identifier: MIT */
/*
 * cgpath.h - which cgroup is meant, without looking at one
 *
 * A path here is relative to the cgroup2 mount, absolute in form ("/system.slice/a.service"), "/"
 * for the root, with no empty, "." or ".." component and no trailing slash: normalised. All user
 * input goes through cgpath_normalise(), so nothing below this file ever sees "..". Patterns of
 * paths are in cgpattern.h, what the kernel says about paths in procfs.h.
 */
#pragma once

#include "util.h"

#define CGPATH_MAX 4096 /* with the NUL */

/*
 * Makes `text` a normalised path in buf[CGPATH_MAX]; a leading slash may be missing, empty and "."
 * components are dropped. `mount`, if not NULL, is a prefix that is cut off a `text` which begins
 * with a slash and has it in front as whole components ("/sys/fs/cgroup"). buf is undefined after an
 * error.
 * Errors: -EINVAL: empty, ".." or a newline inside; -ENAMETOOLONG. Then *ret_why, if not NULL, says
 * so in words: a constant string.
 */
int cgpath_normalise(const char *text, const char *mount, char *buf, const char **ret_why);

/* Whole components: "/a/bc" is not below "/a/b". Both are normalised. */
bool cgpath_is_at_or_below(const char *path, const char *top);

/* How much of a normalised path is the one `up` levels above it; 0: there is none. */
size_t cgpath_front(const char *path, unsigned up);
/* How many levels above it its front of that length is. */
unsigned cgpath_levels_above(const char *path, size_t front);
