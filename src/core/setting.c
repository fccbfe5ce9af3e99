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
	enum value_form form = setting_table[setting].form;
	uint64_t number = value->number;

	if (form == FORM_TRIGGER)
		*(struct trigger *)to = value->trigger;
	else if (form == FORM_PERCENT)
		*(unsigned *)to = number ? (unsigned)number : HEADROOM_OFF;
	else if (form == FORM_BOOLEAN)
		*(unsigned *)to = number ? DESCENDANTS_COUNT : DESCENDANTS_APART;
	else
		*(uint64_t *)to = number || form != FORM_TIME_OR_OFF ? number : FORECAST_OFF;
}

bool setting_get(const struct policy_options *options, enum setting setting, struct value *ret)
{
	const void *from = (const char *)options + setting_table[setting].offset;
	enum value_form form = setting_table[setting].form;
	struct value value = { .number = 0 };
	bool given;

	if (form == FORM_TRIGGER) {
		value.trigger = *(const struct trigger *)from;
		given = value.trigger.window_usec > 0;
	} else if (form == FORM_PERCENT || form == FORM_BOOLEAN) {
		unsigned number = *(const unsigned *)from;
		unsigned off = form == FORM_PERCENT ? HEADROOM_OFF : DESCENDANTS_APART;

		value.number = number == off ? 0 : number;
		given = number > 0;
	} else {
		value.number = *(const uint64_t *)from;
		given = value.number > 0;
		if (value.number == FORECAST_OFF)
			value.number = 0;
	}
	*ret = value;
	return given;
}

bool setting_is_set(const struct policy_options *options, enum setting setting)
{
	struct value value;

	return setting_get(options, setting, &value);
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

		if (setting_get(asked, s, &value))
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
