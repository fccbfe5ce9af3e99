/* SPDX-License-Identifier: MIT */
/*
 * status.c - psibridge status: what psibridged knows, for a person who was just woken up
 *
 *     ask --> choose (a cgroup or a pattern) --> print --(--watch: a second later)--> ask
 *
 * With --watch on a terminal the screen is drawn again each second. Elsewhere a line is printed for
 * each cgroup whose level is another than a second ago, and the loop goes on while psibridged is
 * away. It ends with SIGINT, SIGTERM, or when its output has no reader any more.
 *
 * The levels of the last answer are kept by watch and cgroup (two watches may judge one cgroup). A
 * cgroup that is not in an answer is at rest: High. psibridged coming back after it was away counts
 * as a first answer: what it was in between is not known.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/find-cgroup.h"
#include "cli/status.h"
#include "cli/wait.h"
#include "cli/words.h"

static const char help[] =
	"psibridge status - is memory short now, where, and is psibridged well?\n"
	"\n"
	"Usage: psibridge status [CGROUP | UNIT | PATTERN] [OPTION...]\n"
	"\n"
	"  --watch              again each second; into a file or pipe: a line for each change\n"
	"  --json               print an object; with --watch one for each change\n" CONTROL_HELP
	"  --help\n"
	"\n"
	"With a CGROUP or PATTERN only that, what lies below it, and the watches that cover it. A\n"
	"UNIT, such as nginx.service, stands for its cgroup.\n"
	"\n"
	"Exit status: 0 memory is nowhere short, 1 psibridged cannot be asked, none of its\n"
	"watches works, or there is no such cgroup, 2 the command line makes no sense, 4 memory\n"
	"is short somewhere (Low; what a candidate in the shadow makes of it does not count).\n"
	"\n"
	"Example: psibridge status 'system.slice/*.service'\n";

#define PERIOD_MSEC 1000
#define MOUNT "/sys/fs/cgroup" /* people paste paths with it in front */

struct session {
	struct output output;
	bool all;	      /* or: */
	struct choice choice; /* and what is below it */
	const char *control;
	bool json, watch;
	bool found, missing; /* what was chosen was looked for; and there is no such cgroup */
	json_t *levels; /* "WATCH CGROUP" -> "low", "critical", "neutral"; NULL: no answer yet */
	bool away;	/* it was said that psibridged cannot be asked */
};

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
static int leave_out(const struct choice *choice, json_t *status)
{
	static const char *const lists[] = { "cgroups", "history" };
	json_t *kept, *item;
	size_t i;

	kept = json_array();
	EACH_ANSWER(item, status, "watches")
		if (takes_watch(choice, status, item))
			json_array_append(kept, item);
	for (size_t j = 0; j < ELEMENTSOF(lists); j++) {
		json_t *list = json_object_get(status, lists[j]);

		for (i = json_array_size(list); i-- > 0;)
			if (!takes(choice, json_array_get(list, i)))
				json_array_remove(list, i);
	}
	return json_object_set_new(status, "watches", kept) < 0 ? -ENOMEM : 0;
}

static int ask(struct session *s, json_t **ret, char *why)
{
	int r = control_ask_status(s->control, CONTROL_TIMEOUT_USEC, ret, why);

	if (r < 0 || s->all)
		return r;
	if (!s->found) {
		s->missing = choice_find(&s->choice, *ret) < 0;
		s->found = true;
	}
	return leave_out(&s->choice, *ret);
}

/* ---- what changed ---------------------------------------------------------------------------- */

/* What is not at rest; what was not the last time, and is now, is "high". NULL: out of memory. */
static json_t *levels_of(const struct session *s, const json_t *status)
{
	json_t *levels = json_object(), *level;
	const json_t *cgroup;
	const char *before;

	EACH_ANSWER(cgroup, status, "cgroups") {
		const char *id = answer_flag(cgroup, "critical")
					 ? "critical"
					 : words_level_id(answer_level(cgroup));
		char key[CGPATH_MAX + 32];

		if (strcmp(id, "high") == 0 || answer_flag(cgroup, "candidate"))
			continue;
		snprintf(key, sizeof(key), "%u %.4095s", (unsigned)answer_number(cgroup, "watch"),
			 answer_text(cgroup, "cgroup"));
		json_object_set_new(levels, key, json_string(id));
	}
	json_object_foreach(s->levels, before,
			    level) if (!json_object_get(levels, before) &&
				       strcmp(json_string_value(level), "high") != 0)
		json_object_set_new(levels, before, json_string("high"));
	return levels;
}

static int print_first(const json_t *status, const json_t *levels)
{
	errno = 0;
	printf("psibridged %.32s is watching; ", answer_text(status, "version"));
	if (control_is_blind(status))
		fputs("but no watch works.", stdout);
	else if (json_object_size(levels) == 0)
		fputs("memory is nowhere short.", stdout);
	else
		printf("cgroups that are not at rest: %zu.", json_object_size(levels));
	return output_end_line();
}

static int print_change(const struct output *output, const json_t *status, const char *key,
			const json_t *id)
{
	const struct words_level *level = words_level_named(json_string_value(id));
	char at[OUTPUT_WORD_MAX];

	output_time(answer_number(status, "time_usec"), at);
	errno = 0;
	printf("%.8s  ", at);
	output_painted(output, output_level_paint(level->available), "%-30s", level->sentence);
	fputs("  ", stdout);
	output_text(strchr(key, ' ') + 1);
	return output_end_line();
}

/* Errors: of writing, -ENOMEM. */
static int take_changes(struct session *s, json_t *status)
{
	json_t *levels = levels_of(s, status), *level;
	bool changed = !s->levels;
	const char *key;
	int r = levels ? 0 : -ENOMEM;

	if (r == 0 && !s->levels && !s->json)
		r = print_first(status, levels);
	json_object_foreach(levels, key, level)
	{
		if (r < 0 || json_equal(level, json_object_get(s->levels, key)))
			continue;
		changed = true;
		if (!s->json)
			r = print_change(&s->output, status, key, level);
	}
	if (r == 0 && s->json && changed)
		r = output_json(json_incref(status));
	json_decref(s->levels);
	s->levels = levels;
	s->away = false;
	return r;
}

/* Said once. */
static int say_away(struct session *s, const char *why)
{
	if (s->away)
		return 0;
	s->away = true;
	json_decref(s->levels);
	s->levels = NULL;
	if (s->json)
		return output_json(json_pack("{s:o}", "error", output_json_text(why)));
	errno = 0;
	output_text(why);
	return output_end_line();
}

/* ---- once, and again and again --------------------------------------------------------------- */

/* Is memory short somewhere? */
static bool is_low(const json_t *status)
{
	const json_t *cgroup;

	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_level(cgroup) == PSB_LOW && !answer_flag(cgroup, "candidate"))
			return true;
	return false;
}

static int once(struct session *s)
{
	char why[CONTROL_WHY_MAX] = "out of memory";
	json_t *status = NULL;
	int r = ask(s, &status, why), exit_status = EXIT_FAILED;

	if (r < 0) {
		complain("status", "%s", why);
	} else if (!s->missing) {
		exit_status = is_low(status)		 ? EXIT_LOW
			      : control_is_blind(status) ? EXIT_FAILED
							 : EXIT_OK;
		r = s->json ? output_json(json_incref(status))
			    : status_print(&s->output, s->all, status);
		if (r < 0 && r != -EPIPE) {
			complain("status", "standard output: %s", strerror(-r));
			exit_status = EXIT_FAILED;
		}
	}
	json_decref(status);
	return exit_status;
}

/* Errors: of writing. */
static int print_again(struct session *s, bool screen)
{
	char why[CONTROL_WHY_MAX] = "out of memory";
	json_t *status = NULL;
	int r = ask(s, &status, why);

	if (screen) {
		output_init(&s->output); /* the window may have another size now */
		fputs("\033[H\033[J", stdout);
		s->away = false; /* it is said each time */
	}
	if (r < 0)
		r = say_away(s, why);
	else if (!s->missing)
		r = screen ? status_print(&s->output, s->all, status) : take_changes(s, status);
	json_decref(status);
	return r;
}

static int again(struct session *s)
{
	struct pollfd fds[2] = { { .fd = catch_signals(NULL), .events = POLLIN },
				 { .fd = STDOUT_FILENO } };
	bool screen = isatty(STDOUT_FILENO) && !s->json;
	int r = MIN(fds[0].fd, 0);

	while (r == 0 && !s->missing) {
		r = print_again(s, screen);
		if (r == 0 && !s->missing && poll(fds, ELEMENTSOF(fds), PERIOD_MSEC) > 0)
			break; /* a signal, or no reader */
	}
	if (fds[0].fd >= 0)
		close(fds[0].fd);
	json_decref(s->levels);
	if (r < 0 && r != -EPIPE) {
		complain("status", "%s", strerror(-r));
		return EXIT_FAILED;
	}
	return s->missing ? EXIT_FAILED : EXIT_OK;
}

int verb_status(int argc, char **argv)
{
	struct session s = { 0 };
	const char *word = NULL, *why;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&s.control),
		ARGS_FLAG("json", &s.json),
		ARGS_FLAG("watch", &s.watch),
		ARGS_A_WORD(&word),
		ARGS_NO_MORE,
	};
	int status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	s.all = !word;
	if (word && choice_make(word, MOUNT, &s.choice, &why) < 0) {
		complain("status", "\"%s\": %s", word, why);
		return EXIT_USAGE;
	}
	output_init(&s.output);
	status = s.watch ? again(&s) : once(&s);
	choice_done(&s.choice);
	return status;
}
