/* SPDX-License-Identifier: MIT */
/*
 * settings.c - the PSIBRIDGE_ variables
 *
 * A row for each variable: its name behind the prefix, how its value is written, where it goes; the eight
 * of core/setting.h have theirs there. Triggers are parsed here, so that an error names the variable, and handed
 * on as text.
 *
 * An empty value is no value, as in psibridged.conf(5). A variable that is not known is misspelt, or meant for other code
 * (BACKEND, CONTROL, HOOKS, LIBRARY), or for a newer psibridge: it is reported only if it looks like a known name, unless the
 * reader is strict.
 */
#include "psibridge/tools.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/nearest.h"
#include "core/setting.h"
#include "core/utf8.h"
#include "library/bridge.h"
#include "library/sized.h"

#define PREFIX "PSIBRIDGE"

extern char **environ;

struct word {
	const char *text;
	int value;
};
static const struct word log_words[] = {
	{ "off", -1 }, { "error", 3 }, { "warning", 4 }, { "info", 6 }, { "debug", 7 }, { NULL, 0 },
};
static const struct word collect_words[] = {
	{ "low", PSB_COLLECT_LOW },
	{ "critical", PSB_COLLECT_CRITICAL },
	{ "off", PSB_COLLECT_OFF },
	{ NULL, 0 },
};

/* What is read: two structures of the caller's, each of which may be shorter or longer than ours. */
struct values {
	struct psb_settings settings;
	struct psb_watch_options watch;
};

#define AT(member) offsetof(struct values, member)
#define TEXT_VALUE (-1) /* instead of an enum value_form: handed on as it is */

struct row {
	const char *name; /* behind PSIBRIDGE_; "": PSIBRIDGE itself */
	int form;
	size_t offset;
	const char *expected;
	const struct word *words; /* instead of a form */
};

static const struct row own_rows[] = {
	{ "", FORM_BOOLEAN, AT(settings.enabled), "on or off", NULL },
	{ "LOG", 0, AT(settings.log_priority), "off, error, warning, info or debug", log_words },
	{ "COLLECT", 0, AT(settings.collect), "low, critical or off", collect_words },
	{ "APART", FORM_TIME, AT(settings.apart_usec), NULL, NULL },
	{ "GROWN", FORM_SIZE, AT(settings.grown_bytes), NULL, NULL },
	{ "CGROUP", TEXT_VALUE, AT(watch.cgroup), NULL, NULL },
	{ "SOURCE", TEXT_VALUE, AT(watch.source), NULL, NULL },
};

static const size_t setting_offsets[SETTING_COUNT] = {
	[SETTING_EARLY] = AT(watch.early),
	[SETTING_LOW] = AT(watch.low),
	[SETTING_CRITICAL] = AT(watch.critical),
	[SETTING_REARM] = AT(watch.rearm_usec),
	[SETTING_QUIET] = AT(watch.quiet_usec),
	[SETTING_CALM] = AT(watch.calm_usec),
	[SETTING_HEADROOM] = AT(watch.headroom_percent),
	[SETTING_DESCENDANTS] = AT(watch.descendants),
	[SETTING_FORECAST] = AT(watch.forecast_usec),
};

#define ROWS (ELEMENTSOF(own_rows) + SETTING_COUNT)
_Static_assert(ROWS < 32, "a bit for each in reader.seen");

static struct row row_at(size_t i)
{
	enum setting setting = (enum setting)(i - ELEMENTSOF(own_rows));
	struct row row;

	if (i >= ELEMENTSOF(own_rows))
		return (struct row){ setting_table[setting].variable,
				     (int)setting_table[setting].form, setting_offsets[setting],
				     setting_expected(setting), NULL };
	row = own_rows[i];
	if (!row.expected && row.form != TEXT_VALUE)
		row.expected = value_expected((enum value_form)row.form);
	return row;
}

struct reader {
	psb_log_fn *log;
	void *userdata;
	struct values values;
	bool strict;
	uint32_t seen; /* rows whose variable was there: of two the first counts, as for getenv(3) */
};

static _printf_(2, 3) void refuse(struct reader *r, const char *format, ...)
{
	char line[400];
	va_list args;

	r->values.settings.refused++;
	if (!r->log)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	utf8_hide_controls(line, strlen(line));
	r->log(r->userdata, LOG_WARN, line);
}

static void store(struct reader *r, const struct row *row, const struct value *value,
		  const char *text)
{
	void *member = (char *)&r->values + row->offset;

	if (row->form == TEXT_VALUE ||
	    row->form == FORM_TRIGGER) /* psb_watch_options has the text */
		*(const char **)member = text;
	else if (row->form == FORM_BOOLEAN)
		*(int *)member = (int)value->number;
	else if (row->form == FORM_PERCENT)
		*(unsigned *)member = value->number ? (unsigned)value->number : PSB_HEADROOM_OFF;
	else if (row->form == FORM_TIME_OR_OFF)
		*(uint64_t *)member = value->number ? value->number : PSB_FORECAST_OFF;
	else /* "auto" is 0, psb_watch_options' default, too */
		*(uint64_t *)member = value->number;
}

static void read_value(struct reader *r, const struct row *row, const char *text)
{
	struct value value = { .number = 0 };
	const char *why = "";

	for (const struct word *w = row->words; w && w->text; w++) {
		if (strcmp(w->text, text) != 0)
			continue;
		*(int *)((char *)&r->values + row->offset) = w->value;
		return;
	}
	if (!row->words &&
	    (row->form == TEXT_VALUE ||
	     value_parse((enum value_form)row->form, text, strlen(text), &value, &why) == 0))
		store(r, row, &value, text);
	else
		refuse(r, PREFIX "%s%s=%.100s: %s%s%s was expected%s", *row->name ? "_" : "",
		       row->name, text, why, why[0] ? "; " : "", row->expected,
		       r->strict ? "" : "; the default counts");
}

/* There is no such variable. */
static void look_at_name(struct reader *r, const char *name, size_t size)
{
	static const char ours[] = PREFIX "_";
	bool is_ours = size >= sizeof(ours) && memcmp(name, ours, sizeof(ours) - 1) == 0;
	size_t prefix = is_ours ? sizeof(ours) - 1 : 0;
	const char *names[ROWS - 1], *near = NULL;

	for (size_t i = 1; i < ROWS; i++)
		names[i - 1] = row_at(i).name;
	if (is_ours || r->strict) /* "LOW" */
		near = nearest_word(name + prefix, size - prefix, names, ELEMENTSOF(names));
	if (near)
		refuse(r, "%.*s: there is no such variable; did you mean " PREFIX "_%s?",
		       (int)MIN(size, (size_t)100), name, near);
	else if (r->strict)
		refuse(r, "%.*s: there is no such setting", (int)MIN(size, (size_t)100), name);
}

static bool is_named(const struct row *row, const char *name, size_t size)
{
	char full[64];
	int n = snprintf(full, sizeof(full), PREFIX "%s%s", *row->name ? "_" : "", row->name);

	return (size_t)n == size && memcmp(full, name, size) == 0;
}

static void read_variable(struct reader *r, const char *variable)
{
	const char *equals = strchr(variable, '=');

	if (!equals) {
		if (r->strict)
			refuse(r, "%.100s: NAME=VALUE was expected", variable);
		return;
	}
	for (size_t i = 0; i < ROWS; i++) {
		struct row row = row_at(i);

		if (!is_named(&row, variable, (size_t)(equals - variable)))
			continue;
		if (!(r->seen & 1u << i) && equals[1])
			read_value(r, &row, equals + 1);
		r->seen |= 1u << i;
		return;
	}
	look_at_name(r, variable, (size_t)(equals - variable));
}

/* What `asked` says over what is built in: does sampling begin before `low`, and before `critical`? */
static int check_early(const struct policy_options *asked, char *why, size_t why_size)
{
	struct policy_options options;
	int r;

	settings_built_in(&options);
	settings_over(&options, asked);
	r = trigger_check_early(PREFIX "_EARLY", &options.early, PREFIX "_LOW", &options.low, why,
				why_size);
	return r < 0 ? r
		     : trigger_check_early(PREFIX "_EARLY", &options.early, PREFIX "_CRITICAL",
					   &options.critical, why, why_size);
}

/* Each makes sense, and all together would be refused by psb_watch_new(): then nothing would be watched at all. Not for a strict
 * reader, which may be given one after the other. */
static void check_triggers(struct reader *r)
{
	const char **texts[] = { &r->values.watch.early, &r->values.watch.low,
				 &r->values.watch.critical };
	static const enum setting settings[] = { SETTING_EARLY, SETTING_LOW, SETTING_CRITICAL };
	struct policy_options asked = { 0 };
	char why[300];

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		struct value value = { .number = 0 };

		if (*texts[i] &&
		    value_parse(FORM_TRIGGER, *texts[i], strlen(*texts[i]), &value, NULL) == 0)
			setting_put(&asked, settings[i], &value);
	}
	if (check_early(&asked, why, sizeof(why)) == 0)
		return;
	refuse(r, "%s; the defaults of all three count", why);
	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		*texts[i] = NULL;
}

int psb_settings_read_from(const char *const *environment, unsigned flags, psb_log_fn *log,
			   void *userdata, struct psb_settings *ret)
{
	struct reader reader = {
		.log = log,
		.userdata = userdata,
		.values.settings = { .enabled = 1,
				     .log_priority = LOG_WARN,
				     .apart_usec = 5 * USEC_PER_SEC,
				     .grown_bytes = PSB_GROWN_SHARE },
		.strict = flags & PSB_SETTINGS_STRICT,
	};
	struct psb_settings asked = { 0 };
	size_t size;
	int r;

	if (!environment || (flags & ~PSB_SETTINGS_STRICT) || !ret)
		return -EINVAL;
	r = sized_check(ret, &size);
	if (r < 0)
		return r;
	memcpy(&asked, ret, MIN(size, sizeof(asked)));
	if (asked.watch)
		r = sized_check(asked.watch, &size);
	if (r < 0)
		return r;
	reader.values.settings.watch = asked.watch;
	for (const char *const *variable = environment; *variable; variable++)
		read_variable(&reader, *variable);
	if (!reader.strict)
		check_triggers(&reader);
	if (asked.watch)
		sized_fill(asked.watch, &reader.values.watch, sizeof(reader.values.watch));
	return sized_fill(ret, &reader.values.settings, sizeof(reader.values.settings));
}

int psb_settings_read(psb_log_fn *log, void *userdata, struct psb_settings *ret)
{
	static const char *const nothing[] = { NULL };

	/* clearenv(3) leaves no environment at all */
	return psb_settings_read_from(environ ? (const char *const *)environ : nothing, 0, log,
				      userdata, ret);
}
