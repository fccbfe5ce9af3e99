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
	n->near[0] = '\0';
}

void cgname_look(struct cgname *n, const char *path)
{
	const char *wanted = last_of(n->written), *name = last_of(path);
	const char *names[] = { n->near[0] ? last_of(n->near) : name, name };

	if (strcmp(name, wanted) == 0) {
		/* sorted: directories are read in any order */
		size_t at = MIN(n->count, (size_t)CGNAME_FOUND_MAX - 1);

		if (n->count >= CGNAME_FOUND_MAX && strcmp(path, n->found[at]) > 0)
			at = CGNAME_FOUND_MAX;
		for (; at > 0 && at < CGNAME_FOUND_MAX && strcmp(n->found[at - 1], path) > 0; at--)
			memcpy(n->found[at], n->found[at - 1], CGPATH_MAX);
		if (at < CGNAME_FOUND_MAX)
			snprintf(n->found[at], CGPATH_MAX, "%s", path);
		n->count++;
	} else if (nearest_word(wanted, strlen(wanted), names, 2) == name) {
		snprintf(n->near, sizeof(n->near), "%s", path);
	}
}

void cgname_hint(const struct cgname *n, char *buf, size_t size)
{
	size_t shown = MIN(n->count, (size_t)CGNAME_FOUND_MAX), used;

	buf[0] = '\0';
	if (n->count == 0 && n->near[0])
		snprintf(buf, size, "did you mean %s?", n->near);
	for (size_t i = 0; i < shown; i++) {
		used = strlen(buf);
		snprintf(buf + used, size - used, "%s%s",
			 i == 0		     ? "did you mean "
			 : i + 1 == n->count ? " or "
					     : ", ",
			 n->found[i]);
	}
	used = strlen(buf);
	if (n->count > shown)
		snprintf(buf + used, size - used, " or one of %zu more?", n->count - shown);
	else if (shown > 0)
		snprintf(buf + used, size - used, "?");
}
