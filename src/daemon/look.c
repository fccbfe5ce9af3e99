/* SPDX-License-Identifier: MIT */
/*
 * look.c - psibridged --check-config and --show-config
 */
#include "core/cgpattern.h"
#include "core/nearest.h"
#include "daemon/config.h"
#include "psibridge/tools.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- what a watch waits for, compared with what there is ------------------------------------------- */

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

/* Looks at all cgroups of this machine, which takes its time. */
static void warn_of_absent(const struct config *config, struct complaints *complaints)
{
	if (psb_survey("/", ignore, NULL) < 0) /* no cgroup2 here */
		return;
	for (size_t i = 0; i < config->watch_count; i++)
		if (config->watches[i].origin.file)
			warn_absent(&config->watches[i], complaints);
}

/* ---- the options --------------------------------------------------------------------------------- */

/* The service has no right to read other users' files: check as it does. */
static void drop_override(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return;
	data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
	(void)syscall(SYS_capset, &header, data);
}

static void print(_unused_ const struct complaints *c, const char *line, _unused_ bool mistake)
{
	fprintf(stderr, "%s\n", line);
}

int config_look(const char *root, bool show)
{
	struct complaints complaints = { .say = print };
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	drop_override();
	config = config_load(root, NULL, &complaints);
	if (!config)
		return CONFIG_IS_WRONG;
	if (show) {
		r = config_show(config, stdout);
	} else {
		warn_of_absent(config, &complaints);
		printf("%zu watch%s, no mistakes\n", config->watch_count,
		       config->watch_count == 1 ? "" : "es");
		r = fflush(stdout) == 0 ? 0 : -errno;
	}
	if (r < 0)
		fprintf(stderr, "psibridged: standard output: %s\n", strerror(-r));
	return r < 0;
}
