/* SPDX-License-Identifier: MIT */
/*
 * status-choice.c - which cgroups somebody wants to see
 */
#include "cli/status.h"

#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/find-cgroup.h"

#define MOUNT "/sys/fs/cgroup" /* people paste paths with it in front */

int choice_make(struct choice *choice, const char *word)
{
	const char *why;
	int r;

	if (strchr(word, '*'))
		r = cgpattern_new(word, MOUNT, &choice->pattern, &why);
	else
		r = cgpath_normalise(word, MOUNT, choice->path, &why);
	if (r < 0) {
		complain("status", "\"%s\": %s", word, why);
		return r;
	}
	choice->all = false;
	return 0;
}

int choice_find(struct choice *choice, const json_t *status)
{
	const json_t *watches = json_object_get(status, "watches");
	char fixed[CGPATH_MAX];

	if (choice->all)
		return 0;
	if (!choice->pattern)
		return find_cgroup("status", choice->path, status);
	/* a watch waits for that to come, and says so */
	for (size_t i = 0; i < json_array_size(watches); i++)
		if (strcmp(answer_text(json_array_get(watches, i), "path"),
			   cgpattern_text(choice->pattern) + 1) == 0)
			return 0;
	snprintf(fixed, sizeof(fixed), "%s", cgpattern_fixed(choice->pattern));
	return find_cgroup("status", fixed, status);
}

static bool is_at_or_below(const char *path, const char *top)
{
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

bool choice_takes(const struct choice *choice, const char *path)
{
	if (choice->all)
		return true;
	if (choice->pattern)
		return cgpattern_match(choice->pattern, path);
	return is_at_or_below(path, choice->path);
}

bool watch_covers(const char *watch, const char *path)
{
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
	char own[CGPATH_MAX];

	if (strchr(watch, '*'))
		return cgpattern_new(watch, NULL, &pattern, NULL) == 0 &&
		       cgpattern_match(pattern, path);
	return cgpath_normalise(watch, NULL, own, NULL) == 0 && strcmp(own, path) == 0;
}

bool choice_takes_watch(const struct choice *choice, const json_t *status, const json_t *watch)
{
	const json_t *cgroups = json_object_get(status, "cgroups");

	if (choice->all)
		return true;
	if (!choice->pattern && watch_covers(answer_text(watch, "path"), choice->path))
		return true;
	if (choice->pattern &&
	    strcmp(answer_text(watch, "path"), cgpattern_text(choice->pattern) + 1) == 0)
		return true;
	for (size_t i = 0; i < json_array_size(cgroups); i++) {
		const json_t *cgroup = json_array_get(cgroups, i);

		if (answer_number(cgroup, "watch") == answer_number(watch, "id") &&
		    choice_takes(choice, answer_text(cgroup, "cgroup")))
			return true;
	}
	return false;
}

bool status_is_low(const struct choice *choice, const json_t *status)
{
	const json_t *cgroups = json_object_get(status, "cgroups");

	for (size_t i = 0; i < json_array_size(cgroups); i++) {
		const json_t *cgroup = json_array_get(cgroups, i);

		if (strcmp(answer_text(cgroup, "available"), "low") == 0 &&
		    !answer_flag(cgroup, "candidate") &&
		    choice_takes(choice, answer_text(cgroup, "cgroup")))
			return true;
	}
	return false;
}
