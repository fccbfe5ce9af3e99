/* SPDX-License-Identifier: MIT */
/*
 * cgname.c - names are compared, not paths: slices are often left out, or misspelt
 */
#include "cgname.h"

#include <stdio.h>
#include <string.h>

#include "nearest.h"

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
