/* SPDX-License-Identifier: MIT */
/*
 * target-options.c - what to watch and how to judge it, as options of a verb
 *
 * The words of a wrong trigger are trigger_parse()'s, which are also the library's. What only a
 * look at the machine can tell (no such cgroup) the library says in its error text, beginning with
 * the name of the member it is about; where the person typed an option of that name, it gets its
 * dashes.
 *
 * A unit without a suffix is a service, as with systemctl(1).
 */
#include "cli/target-options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/scan.h"
#include "core/setting.h"

#define A_TRIGGER "a trigger such as \"some 200ms/2s\""
#define A_TIME "a time from 1ms to 24h, such as 10s,"

const struct args_option target_options_table[] = {
	{ "cgroup", "a path below the cgroup2 mount", OPTION_CGROUP },
	{ "unit", "the name of a systemd unit", OPTION_UNIT },
	{ "pid", "a process id", OPTION_PID },
	{ "source", "the path of a pressure file, FIFO or socket", OPTION_SOURCE },
	{ "pattern", "a pattern such as \"system.slice/*.service\"", OPTION_PATTERN },
	{ "rung", "a rung from 1 to 6", OPTION_RUNG },
	{ "early", A_TRIGGER, OPTION_SETTINGS + SETTING_EARLY },
	{ "low", A_TRIGGER, OPTION_SETTINGS + SETTING_LOW },
	{ "critical", A_TRIGGER, OPTION_SETTINGS + SETTING_CRITICAL },
	{ "rearm", A_TIME, OPTION_SETTINGS + SETTING_REARM },
	{ "quiet", A_TIME, OPTION_SETTINGS + SETTING_QUIET },
	{ "calm", A_TIME, OPTION_SETTINGS + SETTING_CALM },
	{ "headroom", "a percentage from 1 to 99, or \"off\",",
	  OPTION_SETTINGS + SETTING_HEADROOM },
	{ NULL, NULL, 0 },
};

const char target_options_help[] =
	"What to watch (one of these; none: this process's own cgroup, or what\n"
	"$MEMORY_PRESSURE_WATCH names):\n"
	"  --cgroup PATH        a cgroup, such as system.slice/nginx.service\n"
	"  --unit NAME          the cgroup of a systemd unit; \"nginx\" is nginx.service\n"
	"  --pid N              the cgroup of a process\n"
	"  --source PATH        a pressure file, FIFO or socket of systemd's protocol\n"
	"  --pattern PATTERN    many cgroups: \"system.slice/*.service\", \"kubepods.slice/**\"\n"
	"  --rung N             only this rung of the ladder, 1 to 6; may be repeated\n"
	"\n"
	"When memory counts as short (stall/window; some: a task waits, full: all do):\n"
	"  --early TRIGGER      from here on look closely; Neutral  [some 20ms/2s]\n"
	"  --low TRIGGER        Low                                 [some 200ms/2s]\n"
	"  --critical TRIGGER   Low, critical                       [full 100ms/2s]\n"
	"  --rearm TIME         repeat Low at most so often         [8.192s]\n"
	"  --quiet TIME         Low ends after so long under half   [two windows of low]\n"
	"  --calm TIME          High after so long under early      [10s]\n"
	"  --headroom PERCENT   High needs so much of the limit free, or \"off\"  [25]\n";

void target_options_init(struct target_options *options)
{
	*options = (struct target_options){
		.watch = {
			.size = sizeof(options->watch),
			.error_text = options->error,
			.error_text_size = sizeof(options->error),
		},
		.low_window_usec = 2 * USEC_PER_SEC,
	};
}

/* One target; a second one of the same name would silently replace the first. */
static int take_target(struct target_options *o, const struct args *args, const char **ret)
{
	if (o->target) {
		complain(
			args->verb,
			"--%s \"%s\": --%s %s was named already; --pattern watches several cgroups",
			args->option->name, args->value, o->target, o->target_value);
		return -EINVAL;
	}
	if (!*args->value) {
		complain(args->verb, "--%s \"\": %s was expected", args->option->name,
			 args->option->expected);
		return -EINVAL;
	}
	o->target = args->option->name;
	o->target_value = args->value;
	*ret = args->value;
	return 0;
}

static int take_unit(struct target_options *o, const struct args *args)
{
	static const char *const suffixes[] = {
		".service", ".slice",  ".scope", ".socket",    ".mount", ".swap",
		".target",  ".device", ".timer", ".automount", ".path",
	};
	const char *name;
	bool has_suffix = false;
	int r = take_target(o, args, &name);

	if (r < 0)
		return r;
	if (strlen(name) + sizeof(".service") > sizeof(o->unit))
		return args_refuse(args, "the name is too long");
	for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
		has_suffix |= scan_ends_with(scan_string(name), suffixes[i]);
	snprintf(o->unit, sizeof(o->unit), "%s%s", name, has_suffix ? "" : ".service");
	o->watch.unit = o->unit;
	return 0;
}

static int take_pid(struct target_options *o, const struct args *args)
{
	const char *text;
	uint64_t pid;
	int r = take_target(o, args, &text);

	if (r == 0)
		r = args_number(args, 1, INT32_MAX, &pid);
	if (r == 0)
		o->watch.pid = (int64_t)pid;
	return r;
}

static int take_rung(struct target_options *o, const struct args *args)
{
	uint64_t rung;
	int r = args_number(args, PSB_RUNG_PROTOCOL, PSB_RUNG_MACHINE, &rung);

	if (r == 0)
		o->watch.rungs |= PSB_RUNG_MASK(rung);
	return r;
}

/* As psb_watch_options has them: triggers as text. */
static int take_setting(struct target_options *o, const struct args *args, enum setting setting)
{
	static const size_t offsets[SETTING_COUNT] = {
		[SETTING_EARLY] = offsetof(struct psb_watch_options, early),
		[SETTING_LOW] = offsetof(struct psb_watch_options, low),
		[SETTING_CRITICAL] = offsetof(struct psb_watch_options, critical),
		[SETTING_REARM] = offsetof(struct psb_watch_options, rearm_usec),
		[SETTING_QUIET] = offsetof(struct psb_watch_options, quiet_usec),
		[SETTING_CALM] = offsetof(struct psb_watch_options, calm_usec),
		[SETTING_HEADROOM] = offsetof(struct psb_watch_options, headroom_percent),
	};
	void *to = (char *)&o->watch + offsets[setting];
	struct value value;
	const char *why = "";

	if (value_parse(setting_table[setting].form, args->value, strlen(args->value), &value,
			&why) < 0)
		return setting_table[setting].form == FORM_TRIGGER ? args_refuse(args, why)
								   : args_unexpected(args, why);
	if (setting == SETTING_LOW)
		o->low_window_usec = value.trigger.window_usec;
	if (setting_table[setting].form == FORM_TRIGGER)
		*(const char **)to = args->value;
	else if (setting_table[setting].form == FORM_PERCENT)
		*(unsigned *)to = value.number ? (unsigned)value.number : PSB_HEADROOM_OFF;
	else
		*(uint64_t *)to = value.number;
	return 0;
}

int target_options_take(struct target_options *o, const struct args *args)
{
	switch (args->option->id) {
	case OPTION_CGROUP:
		return take_target(o, args, &o->watch.cgroup);
	case OPTION_UNIT:
		return take_unit(o, args);
	case OPTION_PID:
		return take_pid(o, args);
	case OPTION_SOURCE:
		return take_target(o, args, &o->watch.source);
	case OPTION_PATTERN:
		return take_target(o, args, &o->watch.pattern);
	case OPTION_RUNG:
		return take_rung(o, args);
	default:
		return take_setting(o, args, (enum setting)(args->option->id - OPTION_SETTINGS));
	}
}

/* Do the library's words begin with this member? Then it is the option of that name. */
static bool blames(const struct target_options *o, const char *name)
{
	const char *text = o->error + (o->error[0] == '-' ? 2 : 0);
	size_t length = name ? strlen(name) : 0;

	return length > 0 && strncmp(text, name, length) == 0 &&
	       (text[length] == ' ' || text[length] == '=');
}

const char *target_options_error(struct target_options *o, int error)
{
	if (!o->error[0])
		snprintf(o->error, sizeof(o->error), "%s", strerror(-error));
	if (o->error[0] != '-' && (blames(o, o->target) || blames(o, "early")) &&
	    strlen(o->error) + 2 < sizeof(o->error)) {
		memmove(o->error + 2, o->error, strlen(o->error) + 1);
		memcpy(o->error, "--", 2);
	}
	return o->error;
}

int target_options_status(const struct target_options *o, int error)
{
	return error == -EINVAL && (o->target || blames(o, "early")) ? EXIT_USAGE : EXIT_FAILED;
}
