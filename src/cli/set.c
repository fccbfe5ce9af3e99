/* SPDX-License-Identifier: MIT */
/*
 * set.c - psibridge set CGROUP --low TRIGGER ...: other settings for one cgroup or pattern, now
 *
 *     set:    options --> lines of [Watch CGROUP] --> psibridged, which checks the whole configuration, goes by it and keeps it
 *     --save: ... --> what it answers as a file of /etc, which only we may write --> psibridged forgets what it kept
 *
 * So what is saved is never gone in between, and is in force as any other file is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/find-cgroup.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "core/utf8.h"

static const char help[] =
	"psibridge set - change what psibridged judges a cgroup by, now\n"
	"\n"
	"Usage: psibridge set CGROUP | UNIT | PATTERN OPTION...\n"
	"\n"
	"What is set lasts until the machine restarts; what is not set stays as it was.\n"
	"\n"
	"  --save               keep it for good: write a drop-in below /etc/psibridge\n"
	"  --reset              take back what was set and not saved\n"
	"  --shadow yes|no      yes: a candidate, judged beside what is live and told to\n"
	"                       nobody; \"psibridge status\" says what it would have told\n" CONTROL_HELP
	"  --help\n"
	"\n" THRESHOLD_HELP "\n"
	"Only root may do this. \"psibridge diff\" lists what was set.\n"
	"\n"
	"Exit status: 0 done, 1 it could not be done, which is said, 2 the command line\n"
	"makes no sense.\n"
	"\n"
	"Example: psibridge set nginx.service --low \"some 400ms/2s\"\n";

#define MOUNT "/sys/fs/cgroup" /* people paste paths with it in front */
#define MARK "# Written by psibridge set --save, which keeps what it says but no other comments.\n"

struct wanted {
	const char *texts[SETTING_COUNT], *shadow; /* as they were typed; NULL: not */
	bool save, reset;
	const char *control;
	char cgroup[CGPATH_MAX];
};

/* ---- psibridged's answers ------------------------------------------------------------------------ */

/* "Low: it is ..." of a key is "--low: it is ..." here. */
static void refuse(const char *why)
{
	for (enum setting i = 0; i < SETTING_COUNT; i++) {
		size_t size = strlen(setting_table[i].key);

		if (strncmp(why, setting_table[i].key, size) == 0 && why[size] == ':') {
			complain("set", "--%s%s", setting_table[i].word, why + size);
			return;
		}
	}
	complain("set", "%s", why);
}

/* NULL: it was refused, which was said. */
static json_t *ask(const struct wanted *w, json_t *request)
{
	char why[CONTROL_WHY_MAX];
	json_t *answer;

	if (control_ask(w->control, request, CONTROL_TIMEOUT_USEC, &answer, why) == 0)
		return answer;
	refuse(why);
	return NULL;
}

static json_t *ask_set(const struct wanted *w)
{
	char lines[1024] = "";
	size_t size = 0;

	for (enum setting i = 0; i < SETTING_COUNT; i++)
		if (w->texts[i] && size < sizeof(lines))
			size += (size_t)snprintf(lines + size, sizeof(lines) - size, "%s=%s\n",
						 setting_table[i].key, w->texts[i]);
	if (w->shadow && size < sizeof(lines))
		size += (size_t)snprintf(lines + size, sizeof(lines) - size, "Shadow=%s\n",
					 w->shadow);
	return ask(w, json_pack("{s:s, s:s, s:s}", "verb", "set", "cgroup", w->cgroup, "lines",
				lines));
}

static json_t *ask_reset(const struct wanted *w)
{
	return ask(w, json_pack("{s:s, s:s}", "verb", "reset", "cgroup", w->cgroup));
}

static void print_changes(const struct output *output, const json_t *answer)
{
	const char *section = "", *before;
	const json_t *change;

	EACH_ANSWER(change, answer, "changes") {
		const json_t *old = json_object_get(change, "old"),
			     *new = json_object_get(change, "new");

		before = section;
		section = answer_text(change, "section");
		if (strcmp(section, before) != 0) {
			output_painted(output, PAINT_BOLD, "%s", section);
			puts(json_is_null(old) ? " (new)" : json_is_null(new) ? " (gone)" : "");
		}
		if (*answer_text(change, "key"))
			printf("  %-13s %s -> %s\n", answer_text(change, "key"),
			       answer_text(old, "value"), answer_text(new, "value"));
	}
	if (!*section)
		puts("Nothing changes: it was so already.");
}

static bool is_of(const json_t *watch, const struct wanted *w)
{
	return answer_flag(watch, "configured") &&
	       strcmp(answer_text(watch, "path"), w->cgroup) == 0;
}

/* A watch of one cgroup may hear of pressure later than others can, the pattern's among them that judged it before; and another file may
 * take it away. Returns the exit status. */
static int print_armed(const struct output *output, const struct wanted *w)
{
	char why[CONTROL_WHY_MAX], first[64];
	uint64_t best = UINT64_MAX;
	bool is_there = false;
	json_t *status;
	const json_t *watch;

	if (control_ask_status(w->control, CONTROL_TIMEOUT_USEC, &status, why) < 0)
		return EXIT_OK;
	EACH_ANSWER(watch, status, "watches") {
		uint64_t rung = answer_number(json_object_get(watch, "source"), "rung");

		best = rung > 0 ? MIN(best, rung) : best;
	}
	EACH_ANSWER(watch, status, "watches") {
		const json_t *source = json_object_get(watch, "source");

		if (!is_of(watch, w))
			continue;
		is_there = true;
		if (answer_number(source, "rung") == best)
			continue;
		snprintf(first, sizeof(first), "It is armed on rung %u and no better: ",
			 (unsigned)answer_number(source, "rung"));
		if (*answer_text(source, "why"))
			output_paragraph(output, first, (unsigned)strlen(first),
					 answer_text(source, "why"));
		else if (*answer_text(watch, "why"))
			output_paragraph(output, "It is not armed: ", 17,
					 answer_text(watch, "why"));
	}
	json_decref(status);
	if (is_there)
		return EXIT_OK;
	complain("set", "%s is judged by none of it: a file says Enabled=no of it", w->cgroup);
	return EXIT_FAILED;
}

/* ---- for good ------------------------------------------------------------------------------------ */

/* Is it a file that we wrote, or none? */
static bool is_ours(const char *path)
{
	char line[sizeof(MARK)] = "";
	struct stat st;
	FILE *f;

	if (lstat(path, &st) < 0)
		return errno == ENOENT;
	f = S_ISREG(st.st_mode) ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	(void)!fgets(line, sizeof(line), f);
	fclose(f);
	return strcmp(line, MARK) == 0;
}

static int write_saved(const char *path, const char *text)
{
	char directory[CGPATH_MAX], *whole;
	int r;

	snprintf(directory, sizeof(directory), "%s", path);
	for (char *slash = directory; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		(void)mkdir(directory, 0755);
		*slash = '/';
	}
	if (asprintf(&whole, MARK "%s", text) < 0)
		return -ENOMEM;
	r = output_file(path, whole, strlen(whole));
	free(whole);
	return r;
}

/* What psibridged answered to set. */
static int save(const struct wanted *w, const json_t *answer)
{
	const json_t *saved = json_object_get(answer, "saved"), *change;
	const char *path = answer_text(saved, "file"), *text = answer_text(saved, "text");
	json_t *after;
	int r;

	if (*text && !is_ours(path)) {
		complain("set", "%s: it was not written by psibridge set, and is as it was; %s",
			 path, "what was set lasts until the machine restarts");
		return EXIT_FAILED;
	}
	r = *text ? write_saved(path, text) : 0;
	if (r < 0) {
		complain("set", "%s: %s; what was set lasts until the machine restarts", path,
			 strerror(-r));
		return EXIT_FAILED;
	}
	after = ask_reset(w);
	if (!after)
		return EXIT_FAILED;
	printf("Saved in %s:\n", path);
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		output_text("  %.*s", (int)strcspn(line, "\n"), line);
		putchar('\n');
	}
	r = EXIT_OK;
	EACH_ANSWER(change, after, "changes") {
		const json_t *new = json_object_get(change, "new");

		complain("set", "%s %s=%s counts: %s%s", answer_text(change, "section"),
			 answer_text(change, "key"), answer_text(new, "value"),
			 *answer_text(new, "file") ? answer_text(new, "file") : "it is built in",
			 *answer_text(new, "file") ? " says so, and is read later" : "");
		r = EXIT_FAILED;
	}
	json_decref(after);
	return r;
}

/* ---------------------------------------------------------------------------------------------- */

static int set(const struct wanted *w, bool anything)
{
	char why[CONTROL_WHY_MAX];
	int status = EXIT_OK, r;
	struct output output;
	json_t *answer;

	/* what is set while another saves would be forgotten with what that saved */
	r = control_lock(w->control, CONTROL_TIMEOUT_USEC, why);
	if (r < 0) {
		complain("set", "%s", r == -EBUSY ? why : strerror(-r));
		return EXIT_FAILED;
	}
	answer = w->reset ? ask_reset(w) : ask_set(w);
	if (!answer)
		return EXIT_FAILED;
	output_init(&output);
	errno = 0;
	if (anything)
		print_changes(&output, answer);
	if (w->save)
		status = save(w, answer);
	else if (!w->reset)
		printf("It lasts until the machine restarts (%s); --save keeps it.\n",
		       answer_text(answer, "file"));
	if (anything && !w->reset && print_armed(&output, w) != EXIT_OK)
		status = EXIT_FAILED;
	json_decref(answer);
	r = output_end();
	if (r == 0 || r == -EPIPE)
		return status;
	complain("set", "%s", strerror(-r));
	return EXIT_FAILED;
}

/* What waits for its cgroup can be changed, and what is gone be taken back. */
static bool is_known(const struct wanted *w, const json_t *status)
{
	const json_t *watch;

	EACH_ANSWER(watch, status, "watches")
		if (is_of(watch, w))
			return true;
	return false;
}

static int find(struct wanted *w, const char *word)
{
	struct choice choice;
	char why[CONTROL_WHY_MAX];
	const char *wrong;
	json_t *status;
	int r = choice_make(word, MOUNT, &choice, &wrong);

	if (r == 0 && !utf8_is_valid(word)) {
		wrong = "it is not UTF-8, and JSON is";
		r = -EINVAL;
	}
	if (r < 0) {
		complain("set", "\"%s\": %s", word, wrong);
		return EXIT_USAGE;
	}
	snprintf(w->cgroup, sizeof(w->cgroup), "%s",
		 choice.pattern ? cgpattern_text(choice.pattern) : choice.path);
	if (choice.pattern) {
		choice_done(&choice);
		return EXIT_OK;
	}
	r = control_ask_status(w->control, CONTROL_TIMEOUT_USEC, &status, why);
	if (r < 0) {
		complain("set", "%s", why);
		return EXIT_FAILED;
	}
	r = is_known(w, status) ? 0 : find_cgroup("set", w->cgroup, status);
	json_decref(status);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int take_setting(const struct args *args, const struct args_setting *option)
{
	enum value_form form = setting_table[option->max].form;
	struct value value;
	const char *why = "";

	if (value_parse(form, args->value, strlen(args->value), &value, &why) < 0)
		return args_refuse_form(args, form, why);
	*(const char **)option->to = args->value;
	return 0;
}

static int take_shadow(const struct args *args, const struct args_setting *option)
{
	struct value value;

	if (value_parse(FORM_BOOLEAN, args->value, strlen(args->value), &value, NULL) < 0)
		return args_unexpected(args, "");
	*(const char **)option->to = args->value;
	return 0;
}

int verb_set(int argc, char **argv)
{
	struct wanted w = { .control = NULL };
	const char *word = NULL;
	const struct args_setting others[] = {
		ARGS_FLAG("save", &w.save),
		ARGS_FLAG("reset", &w.reset),
		ARGS_SETTING("shadow", "yes or no", take_shadow, &w.shadow, 0, 0),
		CONTROL_SETTING(&w.control),
		ARGS_A_WORD(&word),
		ARGS_NO_MORE,
	};
	struct args_setting settings[SETTING_COUNT + ELEMENTSOF(others)];
	bool anything = false;
	int status;

	for (enum setting i = 0; i < SETTING_COUNT; i++)
		settings[i] = (struct args_setting){
			setting_table[i].word, setting_expected(i), take_setting, &w.texts[i], 0, i
		};
	memcpy(settings + SETTING_COUNT, others, sizeof(others));
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		anything = anything || w.texts[i];
	anything = anything || w.shadow;
	if (!word)
		complain("set", "a CGROUP, UNIT or PATTERN is missing");
	else if (w.reset && (anything || w.save))
		complain("set", "--reset takes back what was set: it goes with no other option");
	else if (!anything && !w.reset && !w.save)
		complain("set", "there is nothing to set: an option such as --low was expected");
	else if ((status = find(&w, word)) != EXIT_OK)
		return status;
	else
		return set(&w, anything || w.reset);
	return EXIT_USAGE;
}
