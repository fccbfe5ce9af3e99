/* SPDX-License-Identifier: MIT */
/*
 * fuzz-pattern.c - any bytes as cgroup paths and patterns
 *
 * The input is three lines: a pattern, a path, a mount (each may be missing). What is accepted is
 * normalised and stays as it is when it is read again. What matches lies below the fixed part,
 * and every cgroup above it is worth descending into: a walk from the root finds it.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/cgpattern.h"
#include "core/cgpath.h"

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
	return 0;
}
