/* SPDX-License-Identifier: MIT */
/*
 * args.h - reading a verb's command line
 *
 * Long options only: "--name VALUE", "--name=VALUE", "--flag"; -h is --help, -o --output, "--" ends them, "-" is a word. Names
 * are never abbreviated: what a script says today means the same when an option is added. Whatever
 * makes no sense is answered with one line on stderr that names the option, the value and what was
 * expected, and with the nearest name that exists.
 */
#pragma once

#include "core/util.h"
#include "core/value.h"

struct args;

/* An option, or a word that is none, and where its value goes. */
struct args_setting {
	const char *name; /* NULL: a word; these stand behind the options, in their order */
	const char *expected;
	/* The value at hand of `args`. Errors: -EINVAL: the complaint was printed. */
	int (*take)(const struct args *args, const struct args_setting *setting);
	void *to;	   /* of the type that `take` says */
	uint64_t min, max; /* of a number or a time */
};

/* What the `take` of an option gets. */
struct args {
	const char *verb;
	char **argv;
	int argc, at;
	const struct args_setting *settings;
	const struct args_setting *option; /* the one at hand, or the word */
	const char *value;		   /* its; NULL: it takes none */
	const struct args_setting *word;   /* the next; without `take`: no more are expected */
	unsigned words;			   /* that were taken */
	bool literal;			   /* a "--" stood before */
};

/* "psibridge VERB: --NAME "VALUE": WHY" about the option at hand. Returns -EINVAL; the complaint is
 * printed, here and below. */
int args_refuse(const struct args *args, const char *why);
/* The same with what was expected behind `why`, which may be "". */
int args_unexpected(const struct args *args, const char *why);
/* Of what value_parse() refused as a value of that form. */
int args_refuse_form(const struct args *args, enum value_form form, const char *why);

/* One line on stderr, "psibridge VERB: ..."; `verb` may be NULL. Control characters become '?'. */
void complain(const char *verb, const char *format, ...) _printf_(2, 3);

int args_take_flag(const struct args *args, const struct args_setting *setting); /* bool */
int args_take_text(const struct args *args, const struct args_setting *setting); /* const char * */
/* uint64_t, from `min` to `max`; the same in microseconds */
int args_take_number(const struct args *args, const struct args_setting *setting);
int args_take_time(const struct args *args, const struct args_setting *setting);
/* unsigned; 0: off. "--name" by itself means `min`, so a value is joined to it by "=" only */
int args_take_percent(const struct args *args, const struct args_setting *setting);
/* One of the words in `expected`, such as "this, that or other": unsigned, counted from 0. */
int args_take_choice(const struct args *args, const struct args_setting *setting);
/* char **: the word and all that follows, options or not. */
int args_take_command(const struct args *args, const struct args_setting *setting);

#define ARGS_SETTING(...)   \
	{                   \
		__VA_ARGS__ \
	}
#define ARGS_FLAG(name, to) ARGS_SETTING(name, NULL, args_take_flag, to, 0, 0)
#define ARGS_TEXT(name, expected, to) ARGS_SETTING(name, expected, args_take_text, to, 0, 0)
#define ARGS_NUMBER(name, expected, min, max, to) \
	ARGS_SETTING(name, expected, args_take_number, to, min, max)
#define ARGS_TIME(name, expected, min, max, to) \
	ARGS_SETTING(name, expected, args_take_time, to, min, max)
#define ARGS_CHOICE(name, expected, to) ARGS_SETTING(name, expected, args_take_choice, to, 0, 0)
#define ARGS_PERCENT_OR(name, alone, to) \
	ARGS_SETTING(name, "a percentage from 1% to 99%, or off,", args_take_percent, to, alone, 0)
#define ARGS_A_WORD(to) ARGS_SETTING(NULL, NULL, args_take_text, to, 0, 0)
#define ARGS_COMMAND(to) ARGS_SETTING(NULL, NULL, args_take_command, to, 0, 0)
#define ARGS_NO_MORE ARGS_SETTING(NULL, NULL, NULL, NULL, 0, 0)

/*
 * All of argv[] by `settings`, which end with ARGS_NO_MORE. False: there is nothing more to do than
 * to end with *ret_status: `help` was printed, or a complaint.
 */
bool args_read(int argc, char **argv, const struct args_setting *settings, const char *help,
	       int *ret_status);
