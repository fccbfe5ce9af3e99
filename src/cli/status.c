/* SPDX-License-Identifier: MIT */
/*
 * status.c - psibridge status: what psibridged knows, for a person who was just woken up
 *
 *     ask --> choose (a cgroup or a pattern) --> print
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/find-cgroup.h"
#include "cli/status.h"

static const char help[] =
	"psibridge status - is memory short now, where, and is psibridged well?\n"
	"\n"
	"Usage: psibridge status [CGROUP | UNIT | PATTERN] [OPTION...]\n"
	"\n"
	"  --json               print an object\n" CONTROL_HELP "  --help\n"
	"\n"
	"With a CGROUP or PATTERN only that, what lies below it, and the watches that cover it. A\n"
	"UNIT, such as nginx.service, stands for its cgroup.\n"
	"\n"
	"Exit status: 0 memory is nowhere short, 1 psibridged cannot be asked, none of its\n"
	"watches works, or there is no such cgroup, 2 the command line makes no sense, 4 memory\n"
	"is short somewhere (Low; what a candidate in the shadow makes of it does not count).\n"
	"\n"
	"Example: psibridge status 'system.slice/*.service'\n";

#define MOUNT "/sys/fs/cgroup" /* people paste paths with it in front */

/* ---- the choice ------------------------------------------------------------------------------ */

static bool is_text_of(const struct choice *choice, const json_t *watch)
{
	return choice->pattern &&
	       strcmp(answer_text(watch, "path"), cgpattern_text(choice->pattern) + 1) == 0;
}

/* What was chosen must exist; a unit's name becomes the path of its cgroup. Errors: -ENOENT; it was
 * told. */
static int choice_find(struct choice *choice, const json_t *status)
{
	const json_t *watch;
	char fixed[CGPATH_MAX];

	if (!choice->pattern)
		return find_cgroup("status", choice->path, status);
	/* a watch waits for that to come, and says so */
	EACH_ANSWER(watch, status, "watches")
		if (is_text_of(choice, watch))
			return 0;
	snprintf(fixed, sizeof(fixed), "%s", cgpattern_fixed(choice->pattern));
	return find_cgroup("status", fixed, status);
}

static bool takes(const struct choice *choice, const json_t *cgroup)
{
	size_t n = strcmp(choice->path, "/") == 0 ? 0 : strlen(choice->path);
	const char *path = answer_text(cgroup, "cgroup");

	if (choice->pattern)
		return choice_has(choice, path);
	return strncmp(path, choice->path, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Does a watch of this path or pattern hear of that cgroup? */
static bool covers(const char *watch, const char *path)
{
	struct choice covered;
	bool has = choice_make(watch, NULL, &covered, NULL) == 0 && choice_has(&covered, path);

	choice_done(&covered);
	return has;
}

/* A watch that covers what was chosen, or has news of it. */
static bool takes_watch(const struct choice *choice, const json_t *status, const json_t *watch)
{
	const json_t *cgroup;

	if (is_text_of(choice, watch) ||
	    (!choice->pattern && covers(answer_text(watch, "path"), choice->path)))
		return true;
	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_number(cgroup, "watch") == answer_number(watch, "id") &&
		    takes(choice, cgroup))
			return true;
	return false;
}

/* From here on a status has only what was chosen. */
static void leave_out(const struct choice *choice, json_t *status)
{
	static const char *const lists[] = { "watches", "cgroups", "history" };

	for (size_t j = 0; j < ELEMENTSOF(lists); j++) {
		json_t *list = json_object_get(status, lists[j]);

		for (size_t i = json_array_size(list); i-- > 0;) {
			const json_t *item = json_array_get(list, i);

			if (!(j == 0 ? takes_watch(choice, status, item) : takes(choice, item)))
				json_array_remove(list, i);
		}
	}
}

/* ---------------------------------------------------------------------------------------------- */

/* Is memory short somewhere? */
static bool is_low(const json_t *status)
{
	const json_t *cgroup;

	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_level(cgroup) == PSB_LOW && !answer_flag(cgroup, "candidate"))
			return true;
	return false;
}

/* `choice` NULL: all. */
static int status(const char *control, struct choice *choice, bool json)
{
	char why[CONTROL_WHY_MAX];
	json_t *answer = NULL;
	struct output output;
	int r = control_ask_status(control, CONTROL_TIMEOUT_USEC, &answer, why);
	int exit_status = EXIT_FAILED;

	if (r < 0)
		complain("status", "%s", why);
	else if (!choice || choice_find(choice, answer) == 0) {
		if (choice)
			leave_out(choice, answer);
		exit_status = is_low(answer)		 ? EXIT_LOW
			      : control_is_blind(answer) ? EXIT_FAILED
							 : EXIT_OK;
		output_init(&output);
		r = json ? output_json(json_incref(answer))
			 : status_print(&output, !choice, answer);
	}
	if (r < 0 && answer && r != -EPIPE) {
		complain("status", "standard output: %s", strerror(-r));
		exit_status = EXIT_FAILED;
	}
	json_decref(answer);
	return exit_status;
}

int verb_status(int argc, char **argv)
{
	const char *control = NULL, *word = NULL, *why;
	bool json = false;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_FLAG("json", &json),
		ARGS_A_WORD(&word),
		ARGS_NO_MORE,
	};
	struct choice choice = { 0 };
	int exit_status;

	if (!args_read(argc, argv, settings, help, &exit_status))
		return exit_status;
	if (word && choice_make(word, MOUNT, &choice, &why) < 0) {
		complain("status", "\"%s\": %s", word, why);
		return EXIT_USAGE;
	}
	exit_status = status(control, word ? &choice : NULL, json);
	choice_done(&choice);
	return exit_status;
}
