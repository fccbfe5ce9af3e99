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

/* Take functions of the options, which take a struct target_options; `min` is the member's offset,
 * `max` the setting. */
int target_take(const struct args *args, const struct args_setting *option);
int target_take_unit(const struct args *args, const struct args_setting *option);
int target_take_pid(const struct args *args, const struct args_setting *option);
int target_take_rung(const struct args *args, const struct args_setting *option);
int target_take_setting(const struct args *args, const struct args_setting *option);

#define TARGET_OPTION(name, expected, take, o, member, setting)                              \
	ARGS_SETTING(name, expected, take, o, offsetof(struct target_options, watch.member), \
		     setting)
#define TARGET_TRIGGER(name, o, member, setting)                                                   \
	TARGET_OPTION(name, "a trigger such as \"some 200ms/2s\"", target_take_setting, o, member, \
		      setting)
#define TARGET_TIME(name, o, member, setting)                                               \
	TARGET_OPTION(name, "a time from 1ms to 24h, such as 10s,", target_take_setting, o, \
		      member, setting)

/* The options, among a verb's settings. */
#define TARGET_SETTINGS(o)                                                                         \
	TARGET_OPTION("cgroup", "a path below the cgroup2 mount", target_take, o, cgroup, 0),      \
		TARGET_OPTION("unit", "the name of a systemd unit", target_take_unit, o, unit, 0), \
		TARGET_OPTION("pid", "a process id", target_take_pid, o, pid, 0),                  \
		TARGET_OPTION("source", "the path of a pressure file, FIFO or socket",             \
			      target_take, o, source, 0),                                          \
		TARGET_OPTION("pattern", "a pattern such as \"system.slice/*.service\"",           \
			      target_take, o, pattern, 0),                                         \
		TARGET_OPTION("rung", "a rung from 1 to 6", target_take_rung, o, rungs, 0),        \
		TARGET_TRIGGER("early", o, early, SETTING_EARLY),                                  \
		TARGET_TRIGGER("low", o, low, SETTING_LOW),                                        \
		TARGET_TRIGGER("critical", o, critical, SETTING_CRITICAL),                         \
		TARGET_TIME("rearm", o, rearm_usec, SETTING_REARM),                                \
		TARGET_TIME("quiet", o, quiet_usec, SETTING_QUIET),                                \
		TARGET_TIME("calm", o, calm_usec, SETTING_CALM),                                   \
		TARGET_OPTION("headroom", "a percentage from 1 to 99, or \"off\",",                \
			      target_take_setting, o, headroom_percent, SETTING_HEADROOM),         \
		TARGET_OPTION("descendants", "yes or no", target_take_setting, o, descendants,     \
			      SETTING_DESCENDANTS),                                                \
		TARGET_OPTION("forecast", "a time from 1ms to 24h, such as 2s, or \"off\",",       \
			      target_take_setting, o, forecast_usec, SETTING_FORECAST)

#define THRESHOLD_HELP                                                                      \
	"When memory counts as short (stall/window; some: a task waits, full: all do):\n"   \
	"  --early TRIGGER      from here on look closely; Neutral  [some 20ms/2s]\n"       \
	"  --low TRIGGER        Low                                 [some 200ms/2s]\n"      \
	"  --critical TRIGGER   Low, critical                       [full 100ms/2s]\n"      \
	"  --rearm TIME         repeat Low at most so often         [8.192s]\n"             \
	"  --quiet TIME         Low ends after so long under half   [two windows of low]\n" \
	"  --calm TIME          High after so long under early      [10s]\n"                \
	"  --headroom PERCENT   High needs so much of the limit free, or \"off\"  [25]\n"   \
	"  --descendants yes    what only a limit below caused is Low, too     [no]\n"      \
	"  --forecast TIME      Low so long before the limit is reached, or \"off\"\n"      \
	"                       [2s for this process's own cgroup, else off]\n"

/* Lines for --help. */
#define TARGET_HELP                                                                         \
	"What to watch (one of these; none: this process's own cgroup, or what\n"           \
	"$MEMORY_PRESSURE_WATCH names):\n"                                                  \
	"  --cgroup PATH        a cgroup, such as system.slice/nginx.service\n"             \
	"  --unit NAME          the cgroup of a systemd unit; \"nginx\" is nginx.service\n" \
	"  --pid N              the cgroup of a process\n"                                  \
	"  --source PATH        a pressure file, FIFO or socket of systemd's protocol\n"    \
	"  --pattern PATTERN    many: 'system.slice/*.service' or 'kubepods.slice/**'\n"    \
	"  --rung N             only this rung of the ladder, 1 to 6; may be repeated\n"    \
	"\n" THRESHOLD_HELP

void target_options_init(struct target_options *options);

/* The same settings where what was recorded is judged: rows[SETTING_COUNT] of options that go to `options`, which has what is built
 * in then; and whether they fit each other: if not, that was told. */
void policy_settings(struct args_setting *rows, struct policy_options *options);
bool policy_settings_fit(const char *verb, const struct policy_options *options);
/* const char **: the path of a cgroup, normalised; of one option or word only. */
int policy_take_cgroup(const struct args *args, const struct args_setting *option);

/* What the library's error text says, with the option it is about as it was typed. */
const char *target_options_error(struct target_options *options, int error);

/* The exit status: EXIT_USAGE where the command line is to blame for `error`, else EXIT_FAILED. */
int target_options_status(const struct target_options *options, int error);

/* What a watch gets, which is made and given up. */
struct probed {
	struct psb_source source; /* without its cgroup, */
	char cgroup[512];	  /* of which this is as much as fits a sentence */
	struct psb_load load;
};

/* Errors: of psb_bridge_new() and psb_watch_new(), in words where `options` want them. */
int target_probe(const struct psb_watch_options *options, struct probed *ret);
