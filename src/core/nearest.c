/* SPDX-License-Identifier: MIT */
/*
 * nearest.c - which of some words a misspelt one stands for
 *
 * The distance is Damerau's, in its restricted form (no letter takes part in two edits): row i of
 * the usual table holds the edits between the first i letters of the word and each prefix of the
 * name. A swap looks two rows back, so three rows are kept. Letters are ASCII; other bytes are
 * compared as they are.
 */
#include "nearest.h"

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

static size_t slips(const char *a, size_t n, const char *b, size_t m)
{
	size_t rows[3][NEAREST_WORD_MAX + 1];

	if (n > NEAREST_WORD_MAX || m > NEAREST_WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *row = rows[i % 3];
		const size_t *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = MIN(above[j], row[j - 1]) + 1;

			best = MIN(best, above[j - 1] + !same(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
				best = MIN(best, two_above[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[n % 3][m];
}

const char *nearest_word(const char *word, size_t size, const char *const *names, size_t count)
{
	size_t fewest = SLIPS_MAX + 1;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i]), n = slips(word, size, names[i], length);

		if (n < fewest && 2 * n < length) {
			fewest = n;
			found = names[i];
		}
	}
	return found;
}
