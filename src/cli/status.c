/* SPDX-License-Identifier: MIT */
/*
 * status.c - psibridge status: what psibridged knows, for somebody who was just woken up
 *
 * The order is that of the questions: is something short now, what, since when; is everything
 * watched that should be, and how well; who is told; what was configured, and was it accepted.
 *
 *     ask --> choose (a cgroup or a pattern) --> print --(--watch: a second later)--> ask
 *
 * With --watch on a terminal the screen is drawn again each second. Elsewhere a line is printed for
 * each cgroup that changed (status-changes.c), and the loop goes on while psibridged is away. It
 * ends with SIGINT, SIGTERM, or when nobody reads any more.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/status.h"
#include "cli/wait.h"

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

/* ---- the choice ------------------------------------------------------------------------------ */

/* A status with what was not chosen left out, for --json. */
static int leave_out(const struct choice *choice, json_t *status)
{
	json_t *cgroups = json_object_get(status, "cgroups");
	json_t *watches = json_object_get(status, "watches");
	json_t *kept = json_array();

	for (size_t i = 0; i < json_array_size(watches); i++)
		if (choice_takes_watch(choice, status, json_array_get(watches, i)))
			json_array_append(kept, json_array_get(watches, i));
	for (size_t i = json_array_size(cgroups); i-- > 0;)
		if (!choice_takes(choice, answer_text(json_array_get(cgroups, i), "cgroup")))
			json_array_remove(cgroups, i);
	return json_object_set_new(status, "watches", kept) < 0 ? -ENOMEM : 0;
}

/* ---- once ------------------------------------------------------------------------------------ */

struct session {
	struct output output;
	struct choice choice;
	const char *control;
	bool json, watch;
	bool found, missing; /* what was chosen was looked for; and there is no such cgroup */
};

static int ask(struct session *s, json_t **ret, char *why)
{
	int r = control_ask_status(s->control, CONTROL_TIMEOUT_USEC, ret, why);

	if (r == 0 && !s->found) {
		s->missing = choice_find(&s->choice, *ret) < 0;
		s->found = true;
	}
	return r;
}

static int print_json(const struct session *s, json_t *status)
{
	int r = leave_out(&s->choice, status);

	return r < 0 ? r : output_json(json_incref(status));
}

static int once(struct session *s)
{
	char why[CONTROL_WHY_MAX];
	json_t *status;
	int r = ask(s, &status, why), exit_status;

	if (r < 0) {
		complain("status", "%s", why);
		return EXIT_FAILED;
	}
	if (s->missing) {
		json_decref(status);
		return EXIT_FAILED;
	}
	exit_status = status_is_low(&s->choice, status) ? EXIT_LOW
		      : control_is_blind(status)	? EXIT_FAILED
							: EXIT_OK;
	r = s->json ? print_json(s, status) : status_print(&s->output, &s->choice, status);
	json_decref(status);
	if (r < 0 && r != -EPIPE) {
		complain("status", "standard output: %s", strerror(-r));
		return EXIT_FAILED;
	}
	return exit_status;
}

/* ---- again and again ------------------------------------------------------------------------- */

/* Errors: of writing. */
static int redraw(struct session *s)
{
	char why[CONTROL_WHY_MAX];
	json_t *status;
	int r;

	output_init(&s->output); /* the window may have another size now */
	r = ask(s, &status, why);
	errno = 0;
	fputs("\033[H\033[J", stdout);
	if (r < 0) {
		output_text(why);
		return output_end_line();
	}
	r = s->missing ? 0 : status_print(&s->output, &s->choice, status);
	json_decref(status);
	return r;
}

static int print_changes(struct session *s, struct changes *changes)
{
	char why[CONTROL_WHY_MAX];
	json_t *status = NULL;
	bool changed;
	int r = ask(s, &status, why);

	if (s->missing) {
		r = 0;
	} else if (r < 0) {
		r = changes_away(changes, s->json, why);
	} else if (s->json) {
		r = leave_out(&s->choice, status);
		if (r == 0)
			r = changes_take(changes, &s->choice, status, NULL, &changed);
		if (r == 0 && changed)
			r = output_json(json_incref(status));
	} else {
		r = changes_take(changes, &s->choice, status, &s->output, &changed);
	}
	json_decref(status);
	return r;
}

static int again(struct session *s)
{
	struct changes *changes = changes_new();
	struct pollfd fds[2] = { { .fd = catch_signals(NULL), .events = POLLIN },
				 { .fd = STDOUT_FILENO } };
	bool screen = isatty(STDOUT_FILENO) && !s->json;
	int r = changes ? 0 : -ENOMEM;

	if (r == 0 && fds[0].fd < 0)
		r = fds[0].fd;
	while (r == 0) {
		r = screen ? redraw(s) : print_changes(s, changes);
		if (s->missing)
			break;
		if (r == 0 && poll(fds, ELEMENTSOF(fds), PERIOD_MSEC) > 0)
			break; /* a signal, or nobody reads */
	}
	if (fds[0].fd >= 0)
		close(fds[0].fd);
	changes_free(changes);
	if (r < 0 && r != -EPIPE) {
		complain("status", "%s", strerror(-r));
		return EXIT_FAILED;
	}
	return s->missing ? EXIT_FAILED : EXIT_OK;
}

int verb_status(int argc, char **argv)
{
	struct session s = { .choice = { .all = true } };
	const char *word = NULL;
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
	if (word && choice_make(&s.choice, word) < 0)
		return EXIT_USAGE;
	output_init(&s.output);
	status = s.watch ? again(&s) : once(&s);
	cgpattern_free(s.choice.pattern);
	return status;
}
