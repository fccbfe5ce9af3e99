/* SPDX-License-Identifier: MIT */
/*
 * status-changes.c - what is another than it was a second ago
 *
 * The levels of the last answer are kept by cgroup and watch (two watches may judge one cgroup).
 * A cgroup that is not in an answer is at rest: High. psibridged coming back after it was away
 * counts as a first answer: what it was in between nobody knows.
 */
#include "cli/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/args.h"
#include "cli/words.h"

struct changes {
	json_t *levels; /* "WATCH CGROUP" -> "low", "critical", "neutral"; NULL: no answer yet */
	bool away;
};

struct changes *changes_new(void)
{
	return calloc(1, sizeof(struct changes));
}

struct changes *changes_free(struct changes *changes)
{
	if (changes)
		json_decref(changes->levels);
	free(changes);
	return NULL;
}

static json_t *levels_of(const struct choice *choice, const json_t *status)
{
	const json_t *cgroups = json_object_get(status, "cgroups");
	json_t *levels = json_object();

	for (size_t i = 0; levels && i < json_array_size(cgroups); i++) {
		const json_t *cgroup = json_array_get(cgroups, i);
		const char *level = answer_flag(cgroup, "critical")
					    ? "critical"
					    : words_level_id(answer_level(cgroup));
		char key[CGPATH_MAX + 32];

		if (strcmp(level, "high") == 0 || answer_flag(cgroup, "candidate") ||
		    !choice_takes(choice, answer_text(cgroup, "cgroup")))
			continue;
		snprintf(key, sizeof(key), "%u %.4095s", (unsigned)answer_number(cgroup, "watch"),
			 answer_text(cgroup, "cgroup"));
		json_object_set_new(levels, key, json_string(level));
	}
	return levels;
}

static int print_change(const struct output *output, const json_t *status, const char *key,
			const char *level)
{
	const struct words_level *words = words_level_named(level);
	char at[OUTPUT_WORD_MAX];

	output_time(answer_number(status, "time_usec"), at);
	errno = 0;
	printf("%.8s  %s%-30s%s  ", at, output_paint(output, output_level_paint(words->available)),
	       words->sentence, output_paint(output, PAINT_PLAIN));
	output_text(strchr(key, ' ') + 1);
	return output_end_line();
}

/* Levels of `a` that are not the same in `b`, as changes to what they are in `a`, or to High. */
static int compare(json_t *a, json_t *b, bool to_high, const struct output *output,
		   const json_t *status, bool *changed)
{
	const char *key;
	json_t *level;
	int r = 0;

	json_object_foreach(a, key, level)
	{
		json_t *other = json_object_get(b, key);

		if (to_high ? other != NULL : other && json_equal(level, other))
			continue;
		*changed = true;
		if (output && r == 0)
			r = print_change(output, status, key,
					 to_high ? "high" : json_string_value(level));
	}
	return r;
}

int changes_take(struct changes *changes, const struct choice *choice, const json_t *status,
		 const struct output *output, bool *ret_changed)
{
	json_t *levels = levels_of(choice, status);
	bool changed = !changes->levels;
	int r = 0;

	if (!levels)
		return -ENOMEM;
	if (output && !changes->levels) {
		errno = 0;
		printf("psibridged %.32s is watching; ", answer_text(status, "version"));
		if (control_is_blind(status))
			fputs("but no watch works.", stdout);
		else if (json_object_size(levels) == 0)
			fputs("memory is nowhere short.", stdout);
		else
			printf("cgroups that are not at rest: %zu.", json_object_size(levels));
		r = output_end_line();
	}
	if (r == 0)
		r = compare(levels, changes->levels, false, output, status, &changed);
	if (r == 0)
		r = compare(changes->levels, levels, true, output, status, &changed);
	json_decref(changes->levels);
	changes->levels = levels;
	changes->away = false;
	if (r == 0)
		*ret_changed = changed;
	return r;
}

int changes_away(struct changes *changes, bool json, const char *why)
{
	int r = 0;

	if (changes->away)
		return 0;
	changes->away = true;
	json_decref(changes->levels);
	changes->levels = NULL;
	if (json)
		return output_json(json_pack("{s:o}", "error", output_json_text(why)));
	errno = 0;
	output_text(why);
	r = output_end_line();
	return r;
}
