/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the PSIBRIDGE_ variables
 *
 * A row of the table for each variable: its name behind the prefix, how its value is written, where
 * it goes. Triggers are parsed here, so that an error names the variable, and handed on as text.
 *
 * An empty value is no value, as in psibridged.conf(5). A variable that is not known is either
 * misspelt, or meant for a newer psibridge: it is reported only if it looks like a known name, unless
 * the reader is strict.
 */
#include "psibridge/tools.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/nearest.h"
#include "core/setting.h"
#include "core/utf8.h"
#include "library/bridge.h"
#include "library/sized.h"

#define PREFIX "PSIBRIDGE"
#define APART_USEC (10 * USEC_PER_SEC)
#define GROWN_BYTES (UINT64_C(50) << 20)

extern char **environ;

/* Variables that other code reads: bridges, psibridge(1), managed code. Known, so not misspelt. */
static const char *const others[] = { "BACKEND", "CONTROL", "HOOKS", "LIBRARY" };

static const char *const log_words[] = { "off", "error", "warning", "info", "debug", NULL };
static const int log_priorities[] = { -1, LOG_ERROR, LOG_WARN, LOG_NOTE, 7 };
static const char *const collect_words[] = { "low", "critical", "off", NULL };

/* What is read: two structures of the caller's, each of which may be shorter or longer than ours. */
struct values {
	struct psb_settings settings;
	struct psb_watch_options watch;
};

enum kind { KIND_TEXT, KIND_WORD, KIND_VALUE, KIND_SETTING };

static const struct row {
	const char *name; /* "": PSIBRIDGE itself; KIND_SETTING: that of core/setting.h */
	enum kind kind;
	unsigned form; /* KIND_VALUE: enum value_form; KIND_SETTING: enum setting */
	size_t offset;
	const char *const *words;
	const char *expected; /* NULL: that of the form */
} table[] = {
#define AT(member) offsetof(struct values, member)
	{ "", KIND_VALUE, FORM_BOOLEAN, AT(settings.enabled), NULL, "on or off" },
	{ "LOG", KIND_WORD, 0, AT(settings.log_priority), log_words,
	  "off, error, warning, info or debug" },
	{ "COLLECT", KIND_WORD, 0, AT(settings.collect), collect_words, "low, critical or off" },
	{ "APART", KIND_VALUE, FORM_TIME, AT(settings.apart_usec), NULL, NULL },
	{ "GROWN", KIND_VALUE, FORM_SIZE, AT(settings.grown_bytes), NULL, NULL },
	{ "CGROUP", KIND_TEXT, 0, AT(watch.cgroup), NULL, NULL },
	{ "SOURCE", KIND_TEXT, 0, AT(watch.source), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_EARLY, AT(watch.early), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_LOW, AT(watch.low), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_CRITICAL, AT(watch.critical), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_REARM, AT(watch.rearm_usec), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_QUIET, AT(watch.quiet_usec), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_CALM, AT(watch.calm_usec), NULL, NULL },
	{ NULL, KIND_SETTING, SETTING_HEADROOM, AT(watch.headroom_percent), NULL, NULL },
#undef AT
};

static const char *name_of(const struct row *row)
{
	return row->kind == KIND_SETTING ? setting_table[row->form].variable : row->name;
}

static enum value_form form_of(const struct row *row)
{
	return row->kind == KIND_SETTING ? setting_table[row->form].form
					 : (enum value_form)row->form;
}

static const char *expected_of(const struct row *row)
{
	if (row->expected)
		return row->expected;
	return row->kind == KIND_SETTING ? setting_expected((enum setting)row->form)
					 : value_expected(form_of(row));
}

struct reader {
	psb_log_fn *log;
	void *userdata;
	struct values *values;
	bool strict;
};

static _printf_(2, 3) void complain(struct reader *r, const char *format, ...)
{
	char line[400];
	va_list args;

	if (!r->log)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	utf8_hide_controls(line, strlen(line));
	r->log(r->userdata, LOG_WARN, line);
}

static void refuse(struct reader *r, const struct row *row, const char *text, const char *why)
{
	r->values->settings.refused++;
	complain(r, PREFIX "%s%s=%.100s: %s%s%s was expected%s", *name_of(row) ? "_" : "",
		 name_of(row), text, why, why[0] ? "; " : "", expected_of(row),
		 r->strict ? "" : "; the default counts");
}

static int find_word(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0)
			return i;
	return -ENOENT;
}

/* The member a row speaks of, whatever its type is. */
static void *member(const struct reader *r, const struct row *row)
{
	return (char *)r->values + row->offset;
}

static void read_one(struct reader *r, const struct row *row, const char *text)
{
	struct value value = { .number = 0 };
	const char *why = "";
	int word;

	if (row->kind == KIND_TEXT) {
		*(const char **)member(r, row) = text;
		return;
	}
	if (row->kind == KIND_WORD) {
		word = find_word(row->words, text);
		if (word < 0)
			refuse(r, row, text, "");
		else
			*(int *)member(r, row) = row->words == log_words ? log_priorities[word]
									 : word;
		return;
	}
	if (value_parse(form_of(row), text, strlen(text), &value, &why) < 0) {
		refuse(r, row, text, why);
		return;
	}
	switch (form_of(row)) {
	case FORM_TRIGGER: /* psb_watch_options has the text */
		*(const char **)member(r, row) = text;
		break;
	case FORM_PERCENT:
		*(unsigned *)member(r, row) = value.number ? (unsigned)value.number
							   : PSB_HEADROOM_OFF;
		break;
	case FORM_BOOLEAN:
		*(int *)member(r, row) = (int)value.number;
		break;
	default: /* "auto" is 0, psb_watch_options' default, too */
		*(uint64_t *)member(r, row) = value.number;
		break;
	}
}

static bool is_ours(const char *name, size_t size)
{
	return size > strlen(PREFIX "_") && strncmp(name, PREFIX "_", strlen(PREFIX "_")) == 0;
}

static bool is_named(const char *name, size_t size, const char *ours)
{
	return is_ours(name, size) && strlen(PREFIX "_") + strlen(ours) == size &&
	       memcmp(name + strlen(PREFIX "_"), ours, strlen(ours)) == 0;
}

static bool is_setting(const char *name, size_t size)
{
	if (size == strlen(PREFIX) && memcmp(name, PREFIX, size) == 0)
		return true;
	for (size_t i = 1; i < ELEMENTSOF(table); i++)
		if (is_named(name, size, name_of(&table[i])))
			return true;
	return false;
}

static bool is_for_others(const char *name, size_t size)
{
	for (size_t i = 0; i < ELEMENTSOF(others); i++)
		if (is_named(name, size, others[i]))
			return true;
	return false;
}

/* `name` is no setting. */
static void look_at_name(struct reader *r, const char *name, size_t size)
{
	const char *names[ELEMENTSOF(table)], *near = NULL;

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		names[i] = name_of(&table[i]);
	if (is_ours(name, size))
		near = nearest_word(name + strlen(PREFIX "_"), size - strlen(PREFIX "_"), names + 1,
				    ELEMENTSOF(names) - 1);
	else if (r->strict) /* "LOW" */
		near = nearest_word(name, size, names + 1, ELEMENTSOF(names) - 1);
	if (!near && !r->strict)
		return;
	r->values->settings.refused++;
	if (near)
		complain(r, "%.*s: there is no such variable; did you mean " PREFIX "_%s?",
			 (int)MIN(size, (size_t)100), name, near);
	else
		complain(r, "%.*s: there is no such setting", (int)MIN(size, (size_t)100), name);
}

static void look_for_slips(struct reader *r, const char *const *environment)
{
	for (const char *const *v = environment; *v; v++) {
		const char *equals = strchr(*v, '=');
		size_t size = equals ? (size_t)(equals - *v) : strlen(*v);

		if (!equals && r->strict) {
			r->values->settings.refused++;
			complain(r, "%.100s: NAME=VALUE was expected", *v);
		} else if (equals && !is_setting(*v, size) &&
			   (r->strict || !is_for_others(*v, size))) {
			look_at_name(r, *v, size);
		}
	}
}

/* As getenv(3). */
static const char *look_up(const char *const *environment, const char *name)
{
	size_t size = strlen(name);

	for (const char *const *v = environment; *v; v++)
		if (strncmp(*v, name, size) == 0 && (*v)[size] == '=')
			return *v + size + 1;
	return NULL;
}

int psb_settings_read_from(const char *const *environment, unsigned flags, psb_log_fn *log,
			   void *userdata, struct psb_settings *ret)
{
	struct values values = {
		.settings = {
			.enabled = 1,
			.log_priority = LOG_WARN,
			.apart_usec = APART_USEC,
			.grown_bytes = GROWN_BYTES,
		},
	};
	struct psb_settings asked = { 0 };
	struct reader reader = {
		.log = log,
		.userdata = userdata,
		.values = &values,
		.strict = flags & PSB_SETTINGS_STRICT,
	};
	size_t size;
	int r;

	if (!environment || (flags & ~PSB_SETTINGS_STRICT) || !ret)
		return -EINVAL;
	r = sized_check(ret, &size);
	if (r < 0)
		return r;
	memcpy(&asked, ret, MIN(size, sizeof(asked)));
	values.settings.watch = asked.watch;
	if (asked.watch)
		r = sized_check(asked.watch, &size);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char name[40];
		const char *text;

		snprintf(name, sizeof(name), PREFIX "%s%s", *name_of(&table[i]) ? "_" : "",
			 name_of(&table[i]));
		text = look_up(environment, name);
		if (text && *text)
			read_one(&reader, &table[i], text);
	}
	look_for_slips(&reader, environment);
	if (asked.watch)
		sized_fill(asked.watch, &values.watch, sizeof(values.watch));
	return sized_fill(ret, &values.settings, sizeof(values.settings));
}

int psb_settings_read(psb_log_fn *log, void *userdata, struct psb_settings *ret)
{
	static const char *const nothing[] = { NULL };

	/* clearenv(3) leaves no environment at all */
	return psb_settings_read_from(environ ? (const char *const *)environ : nothing, 0, log,
				      userdata, ret);
}
