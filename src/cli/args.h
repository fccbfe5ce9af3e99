/* SPDX-License-Identifier: MIT */
/*
 * args.h - reading a verb's command line
 *
 * Long options only: "--name VALUE", "--name=VALUE", "--flag"; -h is --help, "--" ends them. Names
 * are never abbreviated: what a script says today means the same when an option is added. Whatever
 * makes no sense is answered with one line on stderr that names the option, the value and what was
 * expected, and with the nearest name that exists.
 */
#pragma once

#include <limits.h>

#include "core/util.h"

struct args_option {
	const char *name;     /* without dashes */
	const char *expected; /* what its value is, "a path"; NULL: it takes none */
	int id;		      /* > ARGS_HELP */
};

enum {
	ARGS_END = 0,
	ARGS_HELP = 1,
	ARGS_WORD = INT_MAX, /* a word that is no option: `value` */
};

#define ARGS_TABLES_MAX 2

struct args {
	const char *verb;
	char **argv;
	int argc, at;
	/* ended by a row without a name each; more may be NULL */
	const struct args_option *tables[ARGS_TABLES_MAX];
	const struct args_option *option; /* what args_next() found */
	const char *value;		  /* NULL: it takes none */
	unsigned words; /* how many words without dashes may still come; 0: only options do */
	bool literal;	/* a "--" stood before */
};

#define ARGS_INIT(argc_, argv_, own, more)                                                 \
	{                                                                                  \
		.verb = (argv_)[0], .argv = (argv_), .argc = (argc_), .at = 1, .tables = { \
			(own),                                                             \
			(more)                                                             \
		}                                                                          \
	}

/*
 * Returns the id of the next option, ARGS_HELP, ARGS_WORD (also for all that follows a "--"), or
 * ARGS_END. Errors: -EINVAL: the complaint was
 * printed, here and below.
 */
int args_next(struct args *args);

/* "psibridge VERB: --NAME "VALUE": WHY" about the option at hand. Returns -EINVAL. */
int args_refuse(const struct args *args, const char *why);
/* The same with what was expected behind `why`, which may be "". */
int args_unexpected(const struct args *args, const char *why);

/* The value at hand as a number from `min` to `max`. Errors: -EINVAL. */
int args_number(const struct args *args, uint64_t min, uint64_t max, uint64_t *ret);
/* The same for a length of time, from `min_usec` to `max_usec`. */
int args_duration(const struct args *args, uint64_t min_usec, uint64_t max_usec,
		  uint64_t *ret_usec);

/* One line on stderr, "psibridge VERB: ..."; `verb` may be NULL. Control characters become '?'. */
void complain(const char *verb, const char *format, ...) _printf_(2, 3);
