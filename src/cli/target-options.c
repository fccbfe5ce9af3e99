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
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/cgpath.h"
#include "core/scan.h"
#include "core/setting.h"

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

/* The member that a setting is about. */
static void *member(const struct args_setting *setting)
{
	return (char *)setting->to + setting->min;
}

/* One target; a second one of the same name would silently replace the first. */
int target_take(const struct args *args, const struct args_setting *setting)
{
	struct target_options *o = setting->to;

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
	if (setting->take == target_take)
		*(const char **)member(setting) = args->value;
	return 0;
}

int target_take_unit(const struct args *args, const struct args_setting *setting)
{
	static const char *const suffixes[] = {
		".service", ".slice",  ".scope", ".socket",    ".mount", ".swap",
		".target",  ".device", ".timer", ".automount", ".path",
	};
	struct target_options *o = setting->to;
	bool has_suffix = false;

	if (target_take(args, setting) < 0)
		return -EINVAL;
	if (strlen(args->value) + sizeof(".service") > sizeof(o->unit))
		return args_refuse(args, "the name is too long");
	for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
		has_suffix |= scan_ends_with(scan_string(args->value), suffixes[i]);
	snprintf(o->unit, sizeof(o->unit), "%s%s", args->value, has_suffix ? "" : ".service");
	o->watch.unit = o->unit;
	return 0;
}

int target_take_pid(const struct args *args, const struct args_setting *setting)
{
	struct target_options *o = setting->to;
	uint64_t pid;
	const struct args_setting number = { .to = &pid, .min = 1, .max = INT32_MAX };

	if (target_take(args, setting) < 0 || args_take_number(args, &number) < 0)
		return -EINVAL;
	o->watch.pid = (int64_t)pid;
	return 0;
}

int target_take_rung(const struct args *args, const struct args_setting *setting)
{
	struct target_options *o = setting->to;
	uint64_t rung;
	const struct args_setting number = { .to = &rung,
					     .min = PSB_RUNG_PROTOCOL,
					     .max = PSB_RUNG_MACHINE };
	int r = args_take_number(args, &number);

	if (r == 0)
		o->watch.rungs |= PSB_RUNG_MASK(rung);
	return r;
}

/* As psb_watch_options has them: triggers as text. */
int target_take_setting(const struct args *args, const struct args_setting *option)
{
	enum value_form form = setting_table[option->max].form;
	struct target_options *o = option->to;
	void *to = member(option);
	struct value value;
	const char *why = "";

	if (value_parse(form, args->value, strlen(args->value), &value, &why) < 0)
		return args_refuse_form(args, form, why);
	if (option->max == SETTING_LOW)
		o->low_window_usec = value.trigger.window_usec;
	if (form == FORM_TRIGGER)
		*(const char **)to = args->value;
	else if (form == FORM_PERCENT)
		*(unsigned *)to = value.number ? (unsigned)value.number : PSB_HEADROOM_OFF;
	else if (form == FORM_BOOLEAN)
		*(int *)to = (int)value.number;
	else if (form == FORM_TIME_OR_OFF)
		*(uint64_t *)to = value.number ? value.number : PSB_FORECAST_OFF;
	else
		*(uint64_t *)to = value.number;
	return 0;
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

int target_probe(const struct psb_watch_options *options, struct probed *ret)
{
	psb_bridge *bridge = NULL;
	psb_watch *watch = NULL;
	int r = psb_bridge_new(NULL, &bridge);

	*ret = (struct probed){ .source.size = sizeof(ret->source),
				.load = { .size = sizeof(ret->load) } };
	if (r < 0)
		snprintf(options->error_text, options->error_text_size,
			 "no event loop can be made: %s", strerror(-r));
	if (r == 0)
		r = psb_watch_new(bridge, options, &watch);
	if (r == 0)
		r = psb_watch_source(watch, &ret->source);
	if (r == 0) {
		snprintf(ret->cgroup, sizeof(ret->cgroup), "%s", ret->source.cgroup);
		if (psb_watch_load(watch, &ret->load) < 0)
			ret->load.available_bytes = PSB_UNKNOWN;
	}
	ret->source.cgroup = NULL; /* it goes with the watch */
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	return r;
}

/* ---- of what was recorded ----------------------------------------------------------------------------- */

static int take_policy_setting(const struct args *args, const struct args_setting *option)
{
	enum setting setting = (enum setting)option->max;
	enum value_form form = setting_table[setting].form;
	struct value value;
	const char *why = "";

	if (value_parse(form, args->value, strlen(args->value), &value, &why) < 0)
		return args_refuse_form(args, form, why);
	setting_put(option->to, setting, &value);
	return 0;
}

void policy_settings(struct args_setting *rows, struct policy_options *options)
{
	settings_built_in(options);
	for (enum setting i = 0; i < SETTING_COUNT; i++)
		rows[i] = (struct args_setting){ setting_table[i].word,
						 setting_expected(i),
						 take_policy_setting,
						 options,
						 0,
						 i };
}

bool policy_settings_fit(const char *verb, const struct policy_options *o)
{
	char why[256];

	if (trigger_check_early("--early", &o->early, "--low", &o->low, why, sizeof(why)) == 0 &&
	    trigger_check_early("--early", &o->early, "--critical", &o->critical, why,
				sizeof(why)) == 0)
		return true;
	complain(verb, "%s", why);
	return false;
}

int policy_take_cgroup(const struct args *args, const struct args_setting *option)
{
	static char path[CGPATH_MAX];
	const char *why;

	if (cgpath_normalise(args->value, NULL, path, &why) < 0)
		return args_refuse(args, why);
	*(const char **)option->to = path;
	return 0;
}
