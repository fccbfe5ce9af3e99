/* SPDX-License-Identifier: MIT */
/*
 * config-keys.c - every key of psibridged.conf: where it may stand, how its value is written
 *
 * A row of the table for each key, but for those of core/setting.h. Built-in defaults are kept as
 * text and go through the same parser as user input, so they obey the same rules (core/value.h);
 * tests/unit/daemon/test-config.c reads every row.
 */
#include "daemon/config-internal.h"

#define BIT(kind) (1u << (kind))
#define JUDGING (BIT(SECTION_DEFAULTS) | BIT(SECTION_WATCH))

static const struct row {
	const char *name, *built_in;
	enum value_form form;
	unsigned sections;
} table[KEY_COUNT] = {
	[KEY_SHADOW] = { "Shadow", "no", FORM_BOOLEAN, JUDGING },
	[KEY_ENABLED] = { "Enabled", "yes", FORM_BOOLEAN, BIT(SECTION_WATCH) },
	[KEY_CLIENTS_MAX] = { "ClientsMax", "16384", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_CLIENTS_PER_CGROUP] = { "ClientsPerCgroup", "256", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_CLIENTS_PER_UID] = { "ClientsPerUid", "2048", FORM_COUNT, BIT(SECTION_DAEMON) },
	[KEY_SERVE_OTHERS] = { "ServeOthers", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
	[KEY_LOW_MEMORY_MONITOR] = { "LowMemoryMonitor", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
};

static struct row row_of(enum config_key key)
{
	const struct setting_row *setting;

	if ((unsigned)key >= SETTING_COUNT)
		return table[key];
	setting = &setting_table[key];
	return (struct row){ setting->key, setting->built_in, setting->form, JUDGING };
}

const char *config_key_name(enum config_key key)
{
	return row_of(key).name;
}

enum value_form config_key_form(enum config_key key)
{
	return row_of(key).form;
}

const char *config_key_expected(enum config_key key)
{
	return (unsigned)key < SETTING_COUNT ? setting_expected((enum setting)key)
					     : value_expected(table[key].form);
}

bool config_key_belongs(enum config_key key, enum section_kind kind)
{
	return row_of(key).sections & BIT(kind);
}

void config_key_built_in(enum config_key key, struct value *ret)
{
	const char *text = row_of(key).built_in;

	*ret = (struct value){ .number = 0 };
	(void)value_parse(row_of(key).form, text, strlen(text), ret, NULL);
}
