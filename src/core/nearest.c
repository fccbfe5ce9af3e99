/* SPDX-License-Identifier: MIT */
/*
 * nearest.c - which of some words a misspelt one stands for
 *
 * Where both begin alike nothing is gained by an edit; else each kind of it is tried, two at most. Letters are
 * ASCII; other bytes are compared as they are.
 */
#include "nearest.h"

#include <stdio.h>
#include <string.h>

#define SLIPS_MAX 2

static char lower(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool same(char a, char b)
{
	return lower(a) == lower(b);
}

/* How many edits make `a` of length `n` into `b` of length `m`; more than `most` is not exact. */
static size_t slips(const char *a, size_t n, const char *b, size_t m, size_t most)
{
	size_t best;

	for (; n > 0 && m > 0 && same(*a, *b); a++, b++, n--, m--)
		;
	if (n == 0 || m == 0 || most == 0)
		return MAX(n, m);
	best = MIN(slips(a + 1, n - 1, b, m, most - 1), slips(a, n, b + 1, m - 1, most - 1));
	best = MIN(best, slips(a + 1, n - 1, b + 1, m - 1, most - 1));
	if (n > 1 && m > 1 && same(a[0], b[1]) && same(a[1], b[0]))
		best = MIN(best, slips(a + 2, n - 2, b + 2, m - 2, most - 1));
	return best + 1;
}

const char *nearest_word(const char *word, size_t size, const char *const *names, size_t count)
{
	size_t fewest = SLIPS_MAX + 1;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i]);
		size_t n;

		if (MAX(size, length) > NEAREST_WORD_MAX)
			continue;
		n = slips(word, size, names[i], length, SLIPS_MAX);
		if (n < fewest && 2 * n < length) {
			fewest = n;
			found = names[i];
		}
	}
	return found;
}

/* ---- cgroups: names are compared, not paths, for slices are often left out or misspelt -------------- */

static const char *last_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

void cgname_init(struct cgname *n, const char *written)
{
	n->written = written;
	n->count = 0;
	n->near[0] = n->found[0][0] = n->found[1][0] = '\0';
}

void cgname_look(struct cgname *n, const char *path)
{
	const char *wanted = last_of(n->written), *name = last_of(path);
	const char *names[] = { n->near[0] ? last_of(n->near) : name, name };

	if (strcmp(name, wanted) == 0) {
		/* the first two by name: directories are read in any order */
		bool first = n->count == 0 || strcmp(path, n->found[0]) < 0;

		if (first)
			memcpy(n->found[1], n->found[0], CGPATH_MAX);
		if (first || n->count == 1 || strcmp(path, n->found[1]) < 0)
			snprintf(n->found[first ? 0 : 1], CGPATH_MAX, "%s", path);
		n->count++;
	} else if (nearest_word(wanted, strlen(wanted), names, 2) == name) {
		snprintf(n->near, sizeof(n->near), "%s", path);
	}
}

void cgname_hint(const struct cgname *n, char *buf, size_t size)
{
	const char *one = n->count > 0 ? n->found[0] : n->near;

	buf[0] = '\0';
	if (n->count > 2)
		snprintf(buf, size, "did you mean %s, %s or one of %zu more?", one, n->found[1],
			 n->count - 2);
	else if (n->count == 2)
		snprintf(buf, size, "did you mean %s or %s?", one, n->found[1]);
	else if (one[0])
		snprintf(buf, size, "did you mean %s?", one);
}
