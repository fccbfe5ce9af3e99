/* SPDX-License-Identifier: MIT */
/*
 * test-cgpattern.c - many cgroups in one line, and the levels of one cgroup's path (src/core/cgpattern.h, cgpath.h)
 *
 * The heart of it is a comparison: a second matcher, which shares no thought with the first (it
 * works on whole strings, tries every way to give characters to stars, and is as slow as that),
 * must say the same for every small pattern and every small path.
 */
#include "../unit.h"
#include "random.h"
#include "core/cgpattern.h"

/* Small texts of two letters, stars and slashes are all tried below. */
PROMISE(nothing_but_stars_is_special)
{
	static const struct {
		const char *pattern, *path;
		bool match, descend;
	} table[] = {
		{ "system.slice/*.service", "/system.slice/a.service", true, false },
		{ "system.slice/*.service", "/system.slice/a.scope", false, false },
		{ "system.slice/*.service", "/system.slice", false, true },
		{ "kubepods.slice/**", "/kubepods.slice", false, true },
		{ "kubepods.slice/**", "/kubepods.slice/a/b/c/d", true, true },
		/* nothing else is special, in a path nothing at all */
		{ "a?[b]/*", "/a?[b]/c", true, false },
		{ "a?[b]/*", "/axb/c", false, false },
		{ "a\\x2db/*", "/a\\x2db/c", true, false },
		{ "a/*b", "/a/*b", true, false },
		{ "a/b*", "/a/*", false, false },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(cgpattern_freep) struct cgpattern *p = NULL;

		assert_int_equal(cgpattern_new(table[i].pattern, NULL, &p, NULL), 0);
		if (cgpattern_match(p, table[i].path) != table[i].match)
			fail_msg("match %s %s", table[i].pattern, table[i].path);
		if (cgpattern_descend(p, table[i].path) != table[i].descend)
			fail_msg("descend %s %s", table[i].pattern, table[i].path);
	}
}

/* Names come from whoever may make a cgroup: no name may cost more than pattern times name. */
PROMISE(many_stars_and_a_long_name_are_no_trap)
{
	static char path[257] = "/";
	_cleanup_(cgpattern_freep) struct cgpattern *p = NULL;

	assert_int_equal(
		cgpattern_new("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", NULL,
			      &p, NULL),
		0);
	memset(path + 1, 'a', 255);
	/* trying all ways to share the name out among the stars would take until the sun is cold */
	for (int i = 0; i < 1000; i++)
		assert_false(cgpattern_match(p, path));
	path[255] = 'b';
	path[256] = '\0';
	assert_true(cgpattern_match(p, path));
}

/* ---- the second matcher -------------------------------------------------------------------- */

/*
 * Both texts end in a slash here, so that "**" and its slash together stand for nothing or for any
 * text that ends in one. A star is any text without a slash, but a name is never empty.
 */
static bool naive(const char *p, const char *s)
{
	if (*p == '\0')
		return *s == '\0';
	if (strncmp(p, "**/", 3) == 0) {
		if (naive(p + 3, s))
			return true;
		for (; *s; s++)
			if (*s == '/' && naive(p + 3, s + 1))
				return true;
		return false;
	}
	if (*p == '*') {
		for (;; s++) {
			if (naive(p + 1, s))
				return true;
			if (*s == '/' || *s == '\0')
				return false;
		}
	}
	return *p == *s && naive(p + 1, s + 1);
}

/* Pattern and path both normalised. */
static bool naive_match(const char *pattern, const char *path)
{
	char p[64], s[64];
	size_t n = strlen(pattern);

	if (strcmp(path, "/") == 0)
		return false; /* no pattern means the root: at the end two stars are a level */
	/* at the end two stars are one star and then two */
	if (n >= 3 && strcmp(pattern + n - 3, "/**") == 0)
		snprintf(p, sizeof(p), "%.*s*/**/", (int)(n - 3), pattern + 1);
	else
		snprintf(p, sizeof(p), "%s/", pattern + 1);
	snprintf(s, sizeof(s), "%s/", path + 1);
	return naive(p, s);
}

/*
 * Paths are long enough to have a match below every short path that can have one: "/aa", found good
 * by a star followed by "/aaaa", needs five characters more.
 */
enum { PATH_LENGTH_MAX = 8, WALK_LENGTH_MAX = 3, PATTERN_LENGTH_MAX = 6 };

typedef char path_text[PATH_LENGTH_MAX + 2];

/* All normalised paths over two letters and the slash, the short ones first. */
static size_t make_paths(path_text *paths)
{
	size_t count = 0, n;

	for (unsigned i = 0; (n = small_text(i, "ab/", paths[count] + 1)) < PATH_LENGTH_MAX; i++) {
		char *text = paths[count];

		text[0] = '/';
		count += n == 0 || (!strstr(text, "//") && text[n] != '/');
	}
	return count;
}

/* Is it a pattern? Told from the text alone. */
static bool naive_is_valid(const char *text)
{
	char slashed[PATTERN_LENGTH_MAX + 3];
	char *two;

	snprintf(slashed, sizeof(slashed), "/%s/", text);
	if (!strchr(slashed, '*'))
		return false;
	two = strstr(slashed, "/**/");
	if (two)
		two[1] = two[2] = 'x';
	return !strstr(slashed, "**");
}

static void check_pattern(const struct cgpattern *p, path_text *paths, size_t count)
{
	const char *text = cgpattern_text(p);
	bool below[16] = { false };

	assert_true(strlen(paths[ELEMENTSOF(below)]) > WALK_LENGTH_MAX);
	for (size_t i = 0; i < count; i++) {
		bool match = naive_match(text, paths[i]);

		if (cgpattern_match(p, paths[i]) != match)
			fail_msg("match %s %s is not %d", text, paths[i], match);
		/* remember all cgroups above a match; short paths come first in the list */
		for (size_t k = 0; match && strlen(paths[k]) <= WALK_LENGTH_MAX; k++) {
			size_t n = k == 0 ? 0 : strlen(paths[k]);

			if (strncmp(paths[k], paths[i], n) == 0 && paths[i][n] == '/')
				below[k] = true;
		}
	}
	for (size_t k = 0; strlen(paths[k]) <= WALK_LENGTH_MAX; k++)
		if (cgpattern_descend(p, paths[k]) != below[k])
			fail_msg("descend %s %s is not %d", text, paths[k], below[k]);
}

PROMISE(a_slow_and_simple_matcher_agrees_on_every_small_case)
{
	static path_text paths[3282]; /* one more than 1 + 3 + ... + 3^7 */
	size_t count = make_paths(paths), n;
	char text[PATTERN_LENGTH_MAX + 2];
	unsigned patterns = 0;

	for (unsigned i = 1; (n = small_text(i, "ab*/", text)) <= PATTERN_LENGTH_MAX; i++) {
		_cleanup_(cgpattern_freep) struct cgpattern *p = NULL;
		int r;

		if (strstr(text, "//") || text[0] == '/' || text[n - 1] == '/')
			continue;
		r = cgpattern_new(text, NULL, &p, NULL);
		if ((r == 0) != naive_is_valid(text))
			fail_msg("%s gave %d", text, r);
		if (r < 0)
			continue;
		patterns++;
		check_pattern(p, paths, count);
	}
	assert_true(patterns > 1000);
	assert_true(count > 1000);
}

PROMISE(the_front_of_a_path_is_so_many_levels_above_it)
{
	static const struct {
		const char *path;
		unsigned up;
		size_t front; /* 0: there is none */
	} rows[] = {
		{ "/", 0, 1 },
		{ "/", 1, 0 },
		{ "/a", 0, 2 },
		{ "/a", 1, 1 },
		{ "/a", 2, 0 },
		{ "/ab/cde/f", 0, 9 },
		{ "/ab/cde/f", 1, 7 },
		{ "/ab/cde/f", 2, 3 },
		{ "/ab/cde/f", 3, 1 },
		{ "/ab/cde/f", 4, 0 },
		{ "/ab/cde/f", 65535, 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		assert_int_equal(cgpath_front(rows[i].path, rows[i].up), rows[i].front);
		if (rows[i].front > 0)
			assert_int_equal(cgpath_levels_above(rows[i].path, rows[i].front),
					 rows[i].up);
	}
}
