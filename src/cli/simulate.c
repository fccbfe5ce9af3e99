/* SPDX-License-Identifier: MIT */
/*
 * simulate.c - psibridge simulate LEVEL [CGROUP]: does what hangs on psibridged do what it should?
 *
 * psibridged behaves as if it had judged the cgroup so, and tells its clients. The level ends as a
 * real one does: a simulated Low is followed by Neutral or High when the quiet time is over.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/find-cgroup.h"
#include "cli/output.h"
#include "cli/words.h"
#include "core/names.h"
#include "core/utf8.h"

static const char help[] =
	"psibridge simulate - make psibridged tell its clients a level\n"
	"\n"
	"Usage: psibridge simulate low|neutral|high|critical [CGROUP] [OPTION...]\n"
	"\n"
	"CGROUP is a path such as system.slice/nginx.service; without one it is the\n"
	"cgroup this command runs in. Clients in it and above it are told as if memory\n"
	"had become so; the level ends as a real one does. Only root may do this.\n"
	"\n" CONTROL_HELP "  --help\n"
	"\n"
	"Exit status: 0 done, 1 it could not be done, 2 the command line makes no sense.\n"
	"\n"
	"Example: psibridge simulate low system.slice/nginx.service\n";

static int simulate(const struct words_level *level, const char *cgroup, const char *control)
{
	char why[CONTROL_WHY_MAX];
	json_t *answer;
	int r = control_ask(control,
			    json_pack("{s:s, s:o, s:s, s:b}", "verb", "simulate", "cgroup",
				      json_string(cgroup), "available",
				      name_of_available(level->available), "critical",
				      level->critical),
			    CONTROL_TIMEOUT_USEC, &answer, why);

	if (r < 0) {
		complain("simulate", "%s", why);
		return EXIT_FAILED;
	}
	json_decref(answer);
	output_line("%s counts as %s until its quiet or calm time is over.", cgroup,
		    level->sentence);
	return EXIT_OK;
}

int verb_simulate(int argc, char **argv)
{
	static const enum psb_available levels[] = { PSB_LOW, PSB_NEUTRAL, PSB_HIGH, PSB_LOW };
	const char *control = NULL, *named = NULL, *why;
	unsigned level = ELEMENTSOF(levels);
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_CHOICE(NULL, "low, neutral, high or critical", &level),
		ARGS_A_WORD(&named),
		ARGS_NO_MORE,
	};
	char cgroup[CGPATH_MAX];
	int status, r;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (level == ELEMENTSOF(levels)) {
		complain("simulate", "a level is missing: low, neutral, high or critical");
		return EXIT_USAGE;
	}
	if (named) {
		/* the mount in front, if it is there, is for psibridged to cut off */
		r = cgpath_normalise(named, NULL, cgroup, &why);
		if (r == 0 && !utf8_is_valid(cgroup)) {
			why = "it is not UTF-8, and JSON is";
			r = -EINVAL;
		}
		if (r < 0) {
			complain("simulate", "\"%s\": %s", named, why);
			return EXIT_USAGE;
		}
		/* a unit's name; any other path is for psibridged to refuse */
		if (!strchr(named, '/') && find_cgroup("simulate", cgroup, NULL) < 0)
			return EXIT_FAILED;
	} else {
		r = find_own_cgroup(cgroup);
		if (r < 0) {
			complain("simulate", "the own cgroup is not known: %s", strerror(-r));
			return EXIT_FAILED;
		}
	}
	return simulate(words_level(levels[level], level == 3), cgroup, control);
}
