/* SPDX-License-Identifier: MIT */
/*
 * absent.c - what a watch waits for, compared with what there is
 */
#include "core/cgname.h"
#include "core/cgpattern.h"
#include "daemon/config.h"
#include "psibridge/tools.h"

static void ignore(_unused_ const struct psb_survey_row *row, _unused_ void *userdata)
{
}

static void look(const struct psb_survey_row *row, void *userdata)
{
	cgname_look(userdata, row->cgroup);
}

static void warn_absent(const struct config_watch *w, struct complaints *complaints)
{
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
	char hint[(CGNAME_FOUND_MAX + 1) * CGPATH_MAX];
	const char *path = w->path;
	struct cgname name;

	if (strchr(path, '*') && cgpattern_new(path, NULL, &pattern, NULL) < 0)
		return;
	if (pattern)
		path = cgpattern_fixed(pattern);
	if (psb_survey(path, ignore, NULL) != -ENOENT)
		return;
	cgname_init(&name, path);
	psb_survey("**", look, &name);
	cgname_hint(&name, hint, sizeof(hint));
	if (!*hint && !strchr(path + 1, '/') && scan_ends_with(scan_string(path), ".service"))
		snprintf(hint, sizeof(hint), "did you mean system.slice%s?", path);
	config_say(complaints, false, w->origin,
		   "[Watch %s]: it waits for %s, which does not exist on this machine now%s%s",
		   w->path + 1, path, *hint ? "; " : "", hint);
}

void config_warn_absent(const struct config *config, struct complaints *complaints)
{
	if (psb_survey("/", ignore, NULL) < 0) /* no cgroup2 here */
		return;
	for (size_t i = 0; i < config->watch_count; i++)
		if (config->watches[i].origin.file)
			warn_absent(&config->watches[i], complaints);
}
