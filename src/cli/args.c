/* SPDX-License-Identifier: MIT */
/*
 * args.c - reading a verb's command line
 *
 * Not getopt_long(3): it takes abbreviations, prints words of its own, and does not say what value
 * was expected.
 *
 * Nearness is the number of single-letter mistakes between two words (wrong, missing, extra, or
 * two neighbours swapped: Damerau's four), by the usual table of which three rows are kept.
 */
#include "cli/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/duration.h"
#include "core/scan.h"

#define WORD_MAX 32
#define NAMES_MAX 64
#define MISTAKES_MAX 2

void complain(const char *verb, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "psibridge%s%s: %s\n", verb ? " " : "", verb ? verb : "", line);
}

static unsigned mistakes(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= m; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		const unsigned *above = rows[(i - 1) % 3], *two_above = rows[(i + 1) % 3];
		unsigned *row = rows[i % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			row[j] = MIN(above[j - 1] + (a[i - 1] != b[j - 1]),
				     MIN(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = MIN(row[j], two_above[j - 2] + 1);
		}
	}
	return rows[n % 3][m];
}

const char *nearest(const char *word, const char *const *names, size_t n)
{
	unsigned best = MISTAKES_MAX + 1;
	const char *found = NULL;

	for (size_t i = 0; i < n; i++) {
		unsigned distance = mistakes(word, names[i]);

		if (distance < best && 2 * distance < strlen(names[i])) {
			best = distance;
			found = names[i];
		}
	}
	return found;
}

static const struct args_option *find_option(const struct args *args, struct scan name)
{
	for (size_t t = 0; t < ARGS_TABLES_MAX; t++)
		for (const struct args_option *o = args->tables[t]; o && o->name; o++)
			if (scan_is(name, o->name))
				return o;
	return NULL;
}

static int unknown_option(const struct args *args, struct scan name)
{
	const char *names[NAMES_MAX] = { "help" }, *near;
	char word[WORD_MAX + 1];
	size_t n = 1;

	snprintf(word, sizeof(word), "%.*s", (int)MIN(name.left, (size_t)WORD_MAX), name.p);
	for (size_t t = 0; t < ARGS_TABLES_MAX; t++)
		for (const struct args_option *o = args->tables[t]; o && o->name; o++)
			if (n < NAMES_MAX)
				names[n++] = o->name;
	near = nearest(word, names, n);
	if (near)
		complain(args->verb, "--%s: there is no such option; did you mean --%s?", word,
			 near);
	else
		complain(args->verb,
			 "--%s: there is no such option; \"psibridge help %s\" lists them", word,
			 args->verb);
	return -EINVAL;
}

int args_next(struct args *args)
{
	const char *word;
	struct scan s, name;
	bool joined;

	args->option = NULL;
	args->value = NULL;
	if (args->at >= args->argc)
		return ARGS_END;
	word = args->argv[args->at++];
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		return ARGS_HELP;
	if (strcmp(word, "--") == 0 && args->at >= args->argc)
		return ARGS_END;
	if (strncmp(word, "--", 2) != 0 || !word[2]) {
		if (word[0] == '-' && word[1] && word[1] != '-')
			complain(args->verb,
				 "%s: options are long here; \"psibridge help %s\" lists them",
				 word, args->verb);
		else
			complain(args->verb, "\"%s\": an option was expected here, such as --json",
				 strcmp(word, "--") == 0 ? args->argv[args->at] : word);
		return -EINVAL;
	}
	s = scan_string(word + 2);
	joined = scan_field(&s, '=', &name);
	if (!joined)
		name = s;
	args->option = find_option(args, name);
	if (!args->option)
		return unknown_option(args, name);
	if (!args->option->expected) {
		if (joined) {
			complain(args->verb, "%s: --%s takes no value", word, args->option->name);
			return -EINVAL;
		}
		return args->option->id;
	}
	if (joined) {
		args->value = s.p;
	} else if (args->at < args->argc) {
		args->value = args->argv[args->at++];
	} else {
		complain(args->verb, "--%s: its value is missing, %s was expected",
			 args->option->name, args->option->expected);
		return -EINVAL;
	}
	return args->option->id;
}

int args_refuse(const struct args *args, const char *why)
{
	complain(args->verb, "--%s \"%s\": %s", args->option->name, args->value, why);
	return -EINVAL;
}

static int refuse_value(const struct args *args)
{
	complain(args->verb, "--%s \"%s\": %s was expected", args->option->name, args->value,
		 args->option->expected);
	return -EINVAL;
}

int args_number(const struct args *args, uint64_t min, uint64_t max, uint64_t *ret)
{
	struct scan s = scan_string(args->value);
	uint64_t value;

	if (scan_u64(&s, &value) < 0 || s.left > 0 || value < min || value > max)
		return refuse_value(args);
	*ret = value;
	return 0;
}

int args_duration(const struct args *args, uint64_t min_usec, uint64_t max_usec, uint64_t *ret_usec)
{
	const char *why;
	uint64_t usec;

	if (duration_parse(args->value, strlen(args->value), &usec, &why) < 0) {
		complain(args->verb, "--%s \"%s\": %s; %s was expected", args->option->name,
			 args->value, why, args->option->expected);
		return -EINVAL;
	}
	if (usec < min_usec || usec > max_usec)
		return refuse_value(args);
	*ret_usec = usec;
	return 0;
}
