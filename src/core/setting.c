/* SPDX-License-Identifier: MIT */
/*
 * setting.c - a row for each setting; all functions loop over the rows
 *
 * Built-in defaults are kept as text and go through the parser of user input, so they obey the same
 * rules. 8.192 s between two Lows: the CLR itself ignored faster ones.
 */
#include "setting.h"

#include <stddef.h>
#include <string.h>

const struct setting_row setting_table[SETTING_COUNT] = {
#define AT(member) offsetof(struct policy_options, member)
	[SETTING_EARLY] = { "Early", "early", "EARLY", FORM_TRIGGER, "some 20ms/2s", AT(early) },
	[SETTING_LOW] = { "Low", "low", "LOW", FORM_TRIGGER, "some 200ms/2s", AT(low) },
	[SETTING_CRITICAL] = { "Critical", "critical", "CRITICAL", FORM_TRIGGER, "full 100ms/2s",
			       AT(critical) },
	[SETTING_REARM] = { "Rearm", "rearm", "REARM", FORM_TIME, "8.192s", AT(rearm_usec) },
	[SETTING_QUIET] = { "Quiet", "quiet", "QUIET", FORM_TIME_OR_AUTO, "auto", AT(quiet_usec) },
	[SETTING_CALM] = { "Calm", "calm", "CALM", FORM_TIME, "10s", AT(calm_usec) },
	[SETTING_HEADROOM] = { "HighHeadroom", "headroom", "HIGH_HEADROOM", FORM_PERCENT, "25%",
			       AT(headroom_percent) },
	[SETTING_DESCENDANTS] = { "Descendants", "descendants", "DESCENDANTS", FORM_BOOLEAN, "no",
				  AT(descendants) },
	[SETTING_FORECAST] = { "Forecast", "forecast", "FORECAST", FORM_TIME_OR_OFF, "off",
			       AT(forecast_usec) },
#undef AT
};

const char *setting_expected(enum setting setting)
{
	return setting == SETTING_CRITICAL ? "a trigger such as full 100ms/2s"
					   : value_expected(setting_table[setting].form);
}

void setting_put(struct policy_options *options, enum setting setting, const struct value *value)
{
	void *to = (char *)options + setting_table[setting].offset;

	if (setting_table[setting].form == FORM_TRIGGER)
		*(struct trigger *)to = value->trigger;
	else if (setting_table[setting].form == FORM_PERCENT)
		*(unsigned *)to = value->number ? (unsigned)value->number : HEADROOM_OFF;
	else if (setting_table[setting].form == FORM_BOOLEAN)
		*(unsigned *)to = value->number ? DESCENDANTS_COUNT : DESCENDANTS_APART;
	else if (setting_table[setting].form == FORM_TIME_OR_OFF)
		*(uint64_t *)to = value->number ? value->number : FORECAST_OFF;
	else
		*(uint64_t *)to = value->number;
}

void setting_get(const struct policy_options *options, enum setting setting, struct value *ret)
{
	const void *from = (const char *)options + setting_table[setting].offset;
	struct value value = { .number = 0 };

	if (setting_table[setting].form == FORM_TRIGGER)
		value.trigger = *(const struct trigger *)from;
	else if (setting_table[setting].form == FORM_PERCENT)
		value.number = *(const unsigned *)from == HEADROOM_OFF ? 0
								       : *(const unsigned *)from;
	else if (setting_table[setting].form == FORM_BOOLEAN)
		value.number = *(const unsigned *)from == DESCENDANTS_COUNT;
	else if (setting_table[setting].form == FORM_TIME_OR_OFF)
		value.number = *(const uint64_t *)from == FORECAST_OFF ? 0
								       : *(const uint64_t *)from;
	else
		value.number = *(const uint64_t *)from;
	*ret = value;
}

bool setting_is_set(const struct policy_options *options, enum setting setting)
{
	struct value value;

	setting_get(options, setting, &value);
	return value.trigger.window_usec > 0 || value.number > 0 ||
	       (setting == SETTING_HEADROOM && options->headroom_percent == HEADROOM_OFF) ||
	       (setting == SETTING_DESCENDANTS && options->descendants == DESCENDANTS_APART) ||
	       (setting == SETTING_FORECAST && options->forecast_usec == FORECAST_OFF);
}

void settings_built_in(struct policy_options *ret)
{
	*ret = (struct policy_options){ .quiet_usec = 0 };
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		const char *text = setting_table[s].built_in;
		struct value value = { .number = 0 };

		(void)value_parse(setting_table[s].form, text, strlen(text), &value, NULL);
		setting_put(ret, s, &value);
	}
}

void settings_over(struct policy_options *options, const struct policy_options *asked)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		struct value value;

		setting_get(asked, s, &value);
		if (setting_is_set(asked, s))
			setting_put(options, s, &value);
	}
}

bool settings_are_equal(const struct policy_options *a, const struct policy_options *b)
{
	for (enum setting s = 0; s < SETTING_COUNT; s++) {
		struct value x, y;

		setting_get(a, s, &x);
		setting_get(b, s, &y);
		if (!trigger_is_same(&x.trigger, &y.trigger) || x.number != y.number)
			return false;
	}
	return true;
}
