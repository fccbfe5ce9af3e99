/* SPDX-License-Identifier: MIT */
/*
 * nearest.h - which of some words a misspelt one stands for, and which cgroup
 */
#pragma once

#include "cgpath.h"

#define NEAREST_WORD_MAX 32

/*
 * The name that `word` differs from by the fewest edits (a letter wrong, missing, extra, or swapped
 * with its neighbour), two at most and fewer than half of the name. Upper and lower case are alike,
 * so a name in the wrong case has no edit at all. Of equally near ones the first. NULL: none is
 * near. Nothing longer than NEAREST_WORD_MAX is near anything.
 */
const char *nearest_word(const char *word, size_t size, const char *const *names, size_t count);

/*
 * Suggestions for the path of a cgroup that does not exist. cgname_look() is called for each existing one. Those whose
 * name is the last component of `written` are kept: `nginx.service` is a unit, and its cgroup is
 * /system.slice/nginx.service. So is one whose name differs by one or two typing errors.
 */
#define CGNAME_FOUND_MAX 2

struct cgname {
	const char *written;			  /* the path */
	char found[CGNAME_FOUND_MAX][CGPATH_MAX]; /* cgroups of that name: the first of ... */
	size_t count;				  /* ... so many */
	char near[CGPATH_MAX];			  /* of a similar name; "": none */
};

/* `written` is normalised, and stays the caller's. */
void cgname_init(struct cgname *name, const char *written);
void cgname_look(struct cgname *name, const char *path);

/* "did you mean /a/b?", or with several "did you mean /a/b, /c/b or one of 3 more?"; "": none is like it. */
void cgname_hint(const struct cgname *name, char *buf, size_t size);
