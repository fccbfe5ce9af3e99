/* SPDX-License-Identifier: MIT */
/*
 * setting.h - the table of the policy's settings
 *
 *   psibridged.conf(5)      Early=some 20ms/2s              HighHeadroom=25%
 *   the environment         PSIBRIDGE_EARLY=some 20ms/2s    PSIBRIDGE_HIGH_HEADROOM=25%
 *   the command line        --early "some 20ms/2s"          --headroom 25%
 *   psibridged's socket     early=some:20000:2000000        headroom=25
 *
 * All of them are read into struct policy_options, by the row of the table. There a setting that was
 * not given is zero (no trigger has a window of 0): so the same structure is what a file, a variable
 * or a client asks for, and, laid over what holds otherwise, what a policy goes by.
 */
#pragma once

#include "policy.h"
#include "value.h"

enum setting {
	SETTING_EARLY,
	SETTING_LOW,
	SETTING_CRITICAL,
	SETTING_REARM,
	SETTING_QUIET,
	SETTING_CALM,
	SETTING_HEADROOM,
	SETTING_DESCENDANTS,
	SETTING_FORECAST,
	SETTING_COUNT,
};

struct setting_row {
	const char *key;      /* of psibridged.conf(5) */
	const char *word;     /* of an option, and of a line on psibridged's socket */
	const char *variable; /* behind PSIBRIDGE_ */
	enum value_form form;
	const char *built_in;
	size_t offset; /* of a struct trigger, a uint64_t or, FORM_PERCENT and FORM_BOOLEAN, an unsigned */
};

extern const struct setting_row setting_table[SETTING_COUNT];

/* To be followed by " was expected", as value_expected(). */
const char *setting_expected(enum setting setting);

/* "off" is HEADROOM_OFF or FORECAST_OFF there and 0 here; "no" is DESCENDANTS_APART there and 0 here; "auto" is 0 in
 * both, as what was not given. setting_get() returns whether it was. */
void setting_put(struct policy_options *options, enum setting setting, const struct value *value);
bool setting_get(const struct policy_options *options, enum setting setting, struct value *ret);
bool setting_is_set(const struct policy_options *options, enum setting setting);

/* What holds where nothing was given. */
void settings_built_in(struct policy_options *ret);

/* What `asked` has replaces what is in `options`. */
void settings_over(struct policy_options *options, const struct policy_options *asked);

bool settings_are_equal(const struct policy_options *a, const struct policy_options *b);
