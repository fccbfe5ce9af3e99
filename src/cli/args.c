/* SPDX-License-Identifier: MIT */
/*
 * args.c - reading a verb's command line
 *
 * Not getopt_long(3): it takes abbreviations, prints words of its own, and does not say what value
 * was expected.
 */
#include "cli/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/duration.h"
#include "core/nearest.h"
#include "core/scan.h"
#include "core/utf8.h"

#define WORD_MAX NEAREST_WORD_MAX
#define NAMES_MAX 64

void complain(const char *verb, const char *format, ...)
{
	char line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	utf8_hide_controls(line, strlen(line));
	fprintf(stderr, "psibridge%s%s: %s\n", verb ? " " : "", verb ? verb : "", line);
}

static const struct args_setting *find_option(const struct args *args, struct scan name)
{
	for (const struct args_setting *o = args->settings; o->name; o++)
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
	for (const struct args_setting *o = args->settings; o->name && n < NAMES_MAX; o++)
		names[n++] = o->name;
	near = nearest_word(word, strlen(word), names, n);
	if (near)
		complain(args->verb, "--%s: there is no such option; did you mean --%s?", word,
			 near);
	else
		complain(args->verb,
			 "--%s: there is no such option; \"psibridge help %s\" lists them", word,
			 args->verb);
	return -EINVAL;
}

/* `word` is none, and no option. */
static int unexpected_word(const struct args *args, const char *word)
{
	if (word[0] == '-' && word[1] && word[1] != '-')
		complain(args->verb, "%s: options are long here; \"psibridge help %s\" lists them",
			 word, args->verb);
	else if (args->words > 1)
		complain(args->verb, "\"%s\": at most %u words are taken here", word, args->words);
	else
		complain(args->verb, "\"%s\": an option was expected here%s",
			 strcmp(word, "--") == 0 ? args->argv[args->at] : word,
			 find_option(args, scan_string("json")) ? ", such as --json" : "");
	return -EINVAL;
}

static int take_option(struct args *args, const char *word)
{
	struct scan s = scan_string(word + 2), name;
	bool joined = scan_field(&s, '=', &name);

	if (!joined)
		name = s;
	args->option = find_option(args, name);
	if (!args->option)
		return unknown_option(args, name);
	if (!args->option->expected) {
		if (joined)
			complain(args->verb, "%s: --%s takes no value", word, args->option->name);
		return joined ? -EINVAL : 0;
	}
	if (joined) {
		args->value = s.p;
	} else if (args->option->take == args_take_percent) {
		args->value = NULL;
	} else if (args->at < args->argc) {
		args->value = args->argv[args->at++];
	} else {
		complain(args->verb, "--%s: its value is missing, %s was expected",
			 args->option->name, args->option->expected);
		return -EINVAL;
	}
	return 0;
}

/* The next option or word is at hand. Returns 0; END, HELP. Errors: -EINVAL. */
enum { END = 1, HELP };

static int take_next(struct args *args)
{
	bool words = args->word->take;
	const char *word;

	args->option = NULL;
	args->value = NULL;
	if (args->at >= args->argc)
		return END;
	word = args->argv[args->at++];
	if (words && !args->literal && strcmp(word, "--") == 0) {
		args->literal = true;
		return take_next(args);
	}
	if (words && (args->literal || word[0] != '-' || !word[1])) {
		args->option = args->word++;
		args->words++;
		args->value = word;
		return 0;
	}
	if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0)
		return HELP;
	if (strcmp(word, "--") == 0 && args->at >= args->argc)
		return END;
	if (strcmp(word, "-o") == 0 && find_option(args, scan_string("output")))
		word = "--output";
	if (strncmp(word, "--", 2) != 0 || !word[2])
		return unexpected_word(args, word);
	return take_option(args, word);
}

int args_refuse(const struct args *args, const char *why)
{
	const char *name = args->option->name;

	complain(args->verb, "%s%s%s\"%s\": %s", name ? "--" : "", name ? name : "",
		 name ? " " : "", args->value, why);
	return -EINVAL;
}

int args_unexpected(const struct args *args, const char *why)
{
	char text[512];

	snprintf(text, sizeof(text), "%s%s%s was expected", why, *why ? "; " : "",
		 args->option->expected);
	return args_refuse(args, text);
}

int args_refuse_form(const struct args *args, enum value_form form, const char *why)
{
	const char *value = args->value;

	if (form != FORM_TRIGGER)
		return args_unexpected(args, why);
	/* the shell made two words of it */
	if ((strcmp(value, "some") == 0 || strcmp(value, "full") == 0) && args->at < args->argc) {
		complain(args->verb, "--%s %s: it needs quotes: --%s \"%s %s\"", args->option->name,
			 value, args->option->name, value, args->argv[args->at]);
		return -EINVAL;
	}
	return args_refuse(args, why);
}

int args_take_flag(_unused_ const struct args *args, const struct args_setting *setting)
{
	*(bool *)setting->to = true;
	return 0;
}

int args_take_text(const struct args *args, const struct args_setting *setting)
{
	*(const char **)setting->to = args->value;
	return 0;
}

int args_take_number(const struct args *args, const struct args_setting *setting)
{
	struct scan s = scan_string(args->value);
	uint64_t value;

	if (scan_u64(&s, &value) < 0 || s.left > 0 || value < setting->min || value > setting->max)
		return args_unexpected(args, "");
	*(uint64_t *)setting->to = value;
	return 0;
}

int args_take_time(const struct args *args, const struct args_setting *setting)
{
	const char *why;
	uint64_t usec;

	if (duration_parse(args->value, strlen(args->value), &usec, &why) < 0)
		return args_unexpected(args, why);
	if (usec < setting->min || usec > setting->max)
		return args_unexpected(args, "");
	*(uint64_t *)setting->to = usec;
	return 0;
}

int args_take_percent(const struct args *args, const struct args_setting *setting)
{
	struct value value = { .number = setting->min };

	if (args->value &&
	    value_parse(FORM_PERCENT, args->value, strlen(args->value), &value, NULL) < 0)
		return args_unexpected(args, "");
	*(unsigned *)setting->to = (unsigned)value.number;
	return 0;
}

int args_take_choice(const struct args *args, const struct args_setting *setting)
{
	const char *word = setting->expected;

	for (unsigned i = 0; *word; i++) {
		size_t size = strcspn(word, ", ");

		if (strlen(args->value) == size && memcmp(args->value, word, size) == 0) {
			*(unsigned *)setting->to = i;
			return 0;
		}
		word += size;
		word += strspn(word, ", ");
		word += strncmp(word, "or ", 3) == 0 ? 3 : 0;
	}
	return args_unexpected(args, "");
}

int args_take_command(const struct args *args, const struct args_setting *setting)
{
	*(char ***)setting->to = args->argv + args->at - 1;
	return 0;
}

bool args_read(int argc, char **argv, const struct args_setting *settings, const char *help,
	       int *ret_status)
{
	struct args args = {
		.verb = argv[0], .argv = argv, .argc = argc, .at = 1, .settings = settings
	};
	int r;

	for (args.word = settings; args.word->name;)
		args.word++;
	while ((r = take_next(&args)) != END) {
		if (r == HELP) {
			fputs(help, stdout);
			*ret_status = EXIT_OK;
			return false;
		}
		if (r < 0 || args.option->take(&args, args.option) < 0) {
			*ret_status = EXIT_USAGE;
			return false;
		}
		if (args.option->take == args_take_command)
			break;
	}
	return true;
}
