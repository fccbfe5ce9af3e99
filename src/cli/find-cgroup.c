/* SPDX-License-Identifier: MIT */
/*
 * find-cgroup.c - the cgroups that a word means
 *
 * A path is believed only when there is such a cgroup. Without a cgroup2 hierarchy to look at (in a container without one) nothing can be said, and any
 * path is taken as it is.
 */
#include "cli/find-cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "core/nearest.h"
#include "core/procfs.h"
#include "psibridge/tools.h"

int choice_make(const char *word, const char *mount, struct choice *ret, const char **ret_why)
{
	ret->pattern = NULL;
	return strchr(word, '*') ? cgpattern_new(word, mount, &ret->pattern, ret_why)
				 : cgpath_normalise(word, mount, ret->path, ret_why);
}

void choice_done(struct choice *choice)
{
	cgpattern_free(choice->pattern);
	choice->pattern = NULL;
}

bool choice_has(const struct choice *choice, const char *cgroup)
{
	return choice->pattern ? cgpattern_match(choice->pattern, cgroup)
			       : strcmp(choice->path, cgroup) == 0;
}

bool choice_covers(const char *watch, const char *cgroup)
{
	struct choice covered;
	bool has = choice_make(watch, NULL, &covered, NULL) == 0 && choice_has(&covered, cgroup);

	choice_done(&covered);
	return has;
}

static void ignore(_unused_ const struct psb_survey_row *row, _unused_ void *userdata)
{
}

static void look(const struct psb_survey_row *row, void *userdata)
{
	cgname_look(userdata, row->cgroup);
}

int find_cgroup(const char *verb, char *path, const json_t *status)
{
	const json_t *listed = json_object_get(status, "cgroups");
	char hint[(CGNAME_FOUND_MAX + 1) * CGPATH_MAX];
	struct cgname name;
	size_t size = strlen(path);

	for (size_t i = 0; i < json_array_size(listed); i++) {
		const char *cgroup = answer_text(json_array_get(listed, i), "cgroup");

		if (strncmp(cgroup, path, size) == 0 && (cgroup[size] == '/' || !cgroup[size]))
			return 0;
	}
	if (psb_survey(path, ignore, NULL) != -ENOENT || psb_survey("/", ignore, NULL) < 0)
		return 0;
	cgname_init(&name, path);
	psb_survey("**", look, &name);
	if (name.count == 1 && !strchr(path + 1, '/')) {
		strcpy(path, name.found[0]);
		return 0;
	}
	cgname_hint(&name, hint, sizeof(hint));
	complain(verb, "%s: there is no such cgroup%s%s", path, *hint ? "; " : "", hint);
	return -ENOENT;
}

int find_own_cgroup(char *buf)
{
	static char text[64 * 1024];
	FILE *f = fopen("/proc/self/cgroup", "re");
	size_t size;

	if (!f)
		return -errno;
	size = fread(text, 1, sizeof(text), f);
	fclose(f);
	return proc_cgroup_v2(text, size, buf);
}
