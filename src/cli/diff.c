/* SPDX-License-Identifier: MIT */
/*
 * diff.c - psibridge diff: does psibridged go by what its files say?
 *
 * It does not where something was set at run time, where files changed since they were read, and where they have mistakes.
 * psibridged compares; the form and the exit status are those of diff(1).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/output.h"

static const char help[] =
	"psibridge diff - what psibridged goes by, against what its files say\n"
	"\n"
	"Usage: psibridge diff [OPTION...]\n"
	"\n"
	"  --json               print an object\n" CONTROL_HELP "  --help\n"
	"\n"
	"Lines with \"-\" are configured, lines with \"+\" run: they were set with\n"
	"\"psibridge set\" and not saved, or the file was changed since it was read. Only\n"
	"root may ask.\n"
	"\n"
	"Exit status: 0 no difference, 1 some, or the files have mistakes, 2 it is not\n"
	"known.\n";

enum { DIFFERS = 1, TROUBLE = 2 };

static void print_side(const struct output *output, char sign, const char *key, const json_t *side,
		       const char *set_file)
{
	const char *file = answer_text(side, "file");
	char line[256];

	snprintf(line, sizeof(line), "%c%s=%s", sign, key, answer_text(side, "value"));
	output_painted(output, sign == '-' ? PAINT_BAD : PAINT_GOOD, "%-34s", line);
	if (!*file)
		fputs("  # built in", stdout);
	else if (strcmp(file, set_file) == 0)
		fputs("  # psibridge set", stdout);
	else
		output_text("  # %s:%u", file, (unsigned)answer_number(side, "line"));
	putchar('\n');
}

static int print(const json_t *answer)
{
	const char *section = "", *before;
	const json_t *item;
	struct output output;

	output_init(&output);
	errno = 0;
	if (json_array_size(json_object_get(answer, "mistakes")) > 0)
		puts("The files have mistakes: they would be refused, and what runs stays.");
	EACH_ANSWER(item, answer, "mistakes")
		output_paragraph(&output, "  ", 2,
				 json_is_string(item) ? json_string_value(item) : "?");
	EACH_ANSWER(item, answer, "differences") {
		const json_t *configured = json_object_get(item, "configured"),
			     *running = json_object_get(item, "running");
		const char *key = answer_text(item, "key");

		before = section;
		section = answer_text(item, "section");
		if (!*before)
			puts("--- configured\n+++ running");
		if (strcmp(section, before) != 0) {
			output_text("%c%s",
				    json_is_null(configured) ? '+'
				    : json_is_null(running)  ? '-'
							     : ' ',
				    section);
			putchar('\n');
		}
		if (!*key)
			continue;
		print_side(&output, '-', key, configured, answer_text(answer, "set_file"));
		print_side(&output, '+', key, running, answer_text(answer, "set_file"));
	}
	return output_end();
}

int verb_diff(int argc, char **argv)
{
	const char *control = NULL;
	bool json = false;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_FLAG("json", &json),
		ARGS_NO_MORE,
	};
	char why[CONTROL_WHY_MAX];
	json_t *answer;
	int status, r;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (control_ask(control, json_pack("{s:s}", "verb", "diff"), CONTROL_TIMEOUT_USEC, &answer,
			why) < 0) {
		complain("diff", "%s", why);
		return TROUBLE;
	}
	status = json_array_size(json_object_get(answer, "mistakes")) > 0 ||
				 json_array_size(json_object_get(answer, "differences")) > 0
			 ? DIFFERS
			 : EXIT_OK;
	if (json)
		r = output_json(json_incref(answer));
	else if (status == EXIT_OK)
		r = puts("psibridged goes by what its files say.") < 0 ? -errno : output_end();
	else
		r = print(answer);
	json_decref(answer);
	if (r == 0 || r == -EPIPE)
		return status;
	complain("diff", "%s", strerror(-r));
	return TROUBLE;
}
