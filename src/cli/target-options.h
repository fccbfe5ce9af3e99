/* SPDX-License-Identifier: MIT */
/*
 * target-options.h - what to watch and how to judge it, as options of a verb
 *
 * `watch` and `doctor` take the same ones. Each is checked as soon as it is read, with the parsers
 * the library uses, so a wrong value is answered before anything is touched.
 */
#pragma once

#include "cli/args.h"
#include "core/setting.h"
#include "psibridge/psibridge.h"

#define UNIT_NAME_MAX 300

struct target_options {
	struct psb_watch_options watch; /* what the library wants; points into argv and below */
	const char *target; /* the option that named the target ("cgroup"); NULL: none did */
	const char *target_value;
	uint64_t low_window_usec;
	char unit[UNIT_NAME_MAX];
	char error[512]; /* error_text of `watch` */
};

/* Ids of these options begin here; a verb's own begin at TARGET_OPTIONS_END. */
enum {
	TARGET_OPTIONS_BEGIN = ARGS_HELP + 1,
	OPTION_CGROUP = TARGET_OPTIONS_BEGIN,
	OPTION_UNIT,
	OPTION_PID,
	OPTION_SOURCE,
	OPTION_PATTERN,
	OPTION_RUNG,
	OPTION_SETTINGS, /* and on, by enum setting */
	TARGET_OPTIONS_END = OPTION_SETTINGS + SETTING_COUNT,
};

extern const struct args_option target_options_table[];
extern const char target_options_help[]; /* lines for --help */

void target_options_init(struct target_options *options);

/* The option at hand of `args` has an id of ours. Errors: -EINVAL: the complaint was printed. */
int target_options_take(struct target_options *options, const struct args *args);

/* What the library's error text says, with the option it is about as it was typed. */
const char *target_options_error(struct target_options *options, int error);

/* The exit status: EXIT_USAGE where the command line is to blame for `error`, else EXIT_FAILED. */
int target_options_status(const struct target_options *options, int error);
