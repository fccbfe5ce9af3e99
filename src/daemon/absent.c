/* SPDX-License-Identifier: MIT */
/*
 * absent.c - what a watch waits for, compared with what there is
 */
#include "core/cgname.h"
#include "core/cgpattern.h"
#include "daemon/config-internal.h"
#include "psibridge/tools.h"

#include <errno.h>
#include <string.h>

static void ignore(_unused_ const struct psb_survey_row *row, _unused_ void *userdata)
{
}

static void look(const struct psb_survey_row *row, void *userdata)
{
	cgname_look(userdata, row->cgroup);
}

static void warn(const struct section *s, struct complaints *complaints)
{
	char path[CGPATH_MAX], hint[(CGNAME_FOUND_MAX + 1) * CGPATH_MAX];
	struct cgpattern *pattern = NULL;
	struct cgname name;

	if (strchr(s->path, '*') && cgpattern_new(s->path, NULL, &pattern, NULL) < 0)
		return;
	snprintf(path, sizeof(path), "%s", pattern ? cgpattern_fixed(pattern) : s->path);
	cgpattern_free(pattern);
	if (psb_survey(path, ignore, NULL) != -ENOENT)
		return;
	cgname_init(&name, path);
	psb_survey("**", look, &name);
	cgname_hint(&name, hint, sizeof(hint));
	if (!*hint && !strchr(path + 1, '/') && scan_ends_with(scan_string(path), ".service"))
		snprintf(hint, sizeof(hint), "did you mean system.slice%s?", path);
	config_say(complaints, false, &s->origin,
		   "[Watch %s]: it waits for %s, which does not exist on this machine now%s%s",
		   s->path + 1, path, *hint ? "; " : "", hint);
}

void config_warn_absent(const struct config *config, struct complaints *complaints)
{
	const struct origins *o = config->origins;

	if (psb_survey("/", ignore, NULL) < 0) /* no cgroup2 here */
		return;
	for (size_t i = 0; i < o->watch_count; i++)
		if (o->watches[i]->origin.file &&
		    config_effective(o, o->watches[i], KEY_ENABLED)->value.number)
			warn(o->watches[i], complaints);
}
