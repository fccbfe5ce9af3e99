/* SPDX-License-Identifier: MIT */
/*
 * status.h - what the files of `psibridge status` share
 *
 *     status.c          options, asking once and again
 *     status-choice.c   which cgroups are wanted
 *     status-print.c    the screen
 *     status-changes.c  what changed since the last answer, as lines
 */
#pragma once

#include "cli/control-client.h"
#include "cli/output.h"
#include "core/cgpattern.h"

/* Which cgroups are of interest: all, one and what is below it, or those of a pattern. */
struct choice {
	bool all;
	struct cgpattern *pattern; /* NULL: */
	char path[CGPATH_MAX];
};

/* A path or a pattern, as people write it. Errors: -EINVAL, -ENOMEM ...; it was told. */
int choice_make(struct choice *choice, const char *word);
/* What was chosen must exist; a unit's name becomes the path of its cgroup. Errors: -ENOENT; it was
 * told. */
int choice_find(struct choice *choice, const json_t *status);
bool choice_takes(const struct choice *choice, const char *path);
/* A watch that covers what was chosen, or has news of it. */
bool choice_takes_watch(const struct choice *choice, const json_t *status, const json_t *watch);
/* Is memory short in one of them? */
bool status_is_low(const struct choice *choice, const json_t *status);
/* Does a watch of this path or pattern hear of that cgroup? */
bool watch_covers(const char *watch, const char *path);

/* Errors: of writing. */
int status_print(const struct output *output, const struct choice *choice, const json_t *status);

/* What each cgroup was, the last time it was looked at. */
struct changes;
struct changes *changes_new(void);
struct changes *changes_free(struct changes *changes);
/* A line for each cgroup whose level changed; `output` NULL: none is printed, *ret_changed says
 * whether there would be one. The first answer always is a change. Errors: of writing, -ENOMEM. */
int changes_take(struct changes *changes, const struct choice *choice, const json_t *status,
		 const struct output *output, bool *ret_changed);
/* psibridged cannot be asked: said once. */
int changes_away(struct changes *changes, bool json, const char *why);
