/* SPDX-License-Identifier: MIT */
/*
 * program.h - a program in a group of the laboratory, that is listened to: for benchmarks and `psibridge demo`
 *
 * Times are microseconds of lab_now_usec().
 */
#pragma once

#include "pressure.h"

#define COMMAND_ENV_MAX 8
#define COMMAND_ARGS_MAX 16

struct command {
	const char *argv[COMMAND_ARGS_MAX]; /* ends with NULL */
	const char
		*env[COMMAND_ENV_MAX]; /* "NAME=VALUE", beside what we were given; ends with NULL */
};

struct program;

/* Starts it in `group` (NULL: outside of all groups of ours) with pipes at its standard input, and output and error in one. What
 * other hooks, or psibridge's variables for our own unit, stand in our environment it does not inherit. */
struct program *program_start(const struct lab *lab, const char *group,
			      const struct command *command);
pid_t program_pid(const struct program *program);
/* The next line of it that comes before `until_usec`. Returns: 1; 0: none came; -EPIPE: it ended. */
int program_line(struct program *program, uint64_t until_usec, const char **ret);
/* Reads lines until one begins with `begin`, which is left in *ret (may be NULL). Returns: as program_line(). */
int program_await(struct program *program, const char *begin, uint64_t timeout_usec,
		  const char **ret);
/* A line to its standard input. Returns: false: it does not listen any more. */
bool program_say(struct program *program, const char *line);
/* The number after "KEY=" in a line of words; 0: there is none. */
double line_number(const char *line, const char *key);
uint64_t program_rss(const struct program *program);
bool program_ended(struct program *program);
/* How it ended, in words ("was killed by signal 9", "ended with status 3: LAST LINE"); "" while it runs. */
const char *program_fate(struct program *program);
bool program_was_killed(struct program *program);
/* Closes its input, waits for it; kills it when it takes longer than that. Returns: false: it had to be killed, or ended badly. */
bool program_end(struct program *program, uint64_t patience_usec);
struct program *program_free(struct program *program);
