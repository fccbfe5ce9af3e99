/* SPDX-License-Identifier: MIT */
/*
 * config-keys.c - every key of psibridged.conf: where it may stand, how its value is written
 *
 * One row of the table a key. What is built in is kept as text and goes through the same parser as
 * what people write, so it obeys the same rules (core/value.h); tests/unit/daemon/test-config.c reads
 * every row.
 */
#include "daemon/config-internal.h"

#define BIT(kind) (1u << (kind))
#define JUDGING (BIT(SECTION_DEFAULTS) | BIT(SECTION_WATCH))

static const struct row {
	const char *name, *built_in;
	enum value_form form;
	unsigned sections;
} table[KEY_COUNT] = {
	[KEY_EARLY] = { "Early", "some 20ms/2s", FORM_TRIGGER, JUDGING },
	[KEY_LOW] = { "Low", "some 200ms/2s", FORM_TRIGGER, JUDGING },
	[KEY_CRITICAL] = { "Critical", "full 100ms/2s", FORM_TRIGGER, JUDGING },
	[KEY_REARM] = { "Rearm", "8.192s", FORM_TIME, JUDGING },
	[KEY_QUIET] = { "Quiet", "auto", FORM_TIME_OR_AUTO, JUDGING },
	[KEY_CALM] = { "Calm", "10s", FORM_TIME, JUDGING },
	[KEY_HIGH_HEADROOM] = { "HighHeadroom", "25%", FORM_PERCENT, JUDGING },
	[KEY_SHADOW] = { "Shadow", "no", FORM_BOOLEAN, JUDGING },
	[KEY_ENABLED] = { "Enabled", "yes", FORM_BOOLEAN, BIT(SECTION_WATCH) },
	[KEY_CLIENTS_MAX] = { "ClientsMax", "16384", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_CLIENTS_PER_CGROUP] = { "ClientsPerCgroup", "256", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_CLIENTS_PER_UID] = { "ClientsPerUid", "2048", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_SERVE_OTHERS] = { "ServeOthers", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
	[KEY_LOW_MEMORY_MONITOR] = { "LowMemoryMonitor", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
};

const char *config_key_name(enum config_key key)
{
	return table[key].name;
}

enum value_form config_key_form(enum config_key key)
{
	return table[key].form;
}

const char *config_key_expected(enum config_key key)
{
	return key == KEY_CRITICAL ? "a trigger such as full 100ms/2s"
				   : value_expected(table[key].form);
}

bool config_key_belongs(enum config_key key, enum section_kind kind)
{
	return table[key].sections & BIT(kind);
}

void config_key_built_in(enum config_key key, struct value *ret)
{
	const char *text = table[key].built_in;

	*ret = (struct value){ .number = 0 };
	(void)value_parse(table[key].form, text, strlen(text), ret, NULL);
}
