/* SPDX-License-Identifier: MIT */
/*
 * config-keys.c - every key of psibridged.conf: where it may stand, how its value is written
 *
 * One row of the table a key. What is built in is kept as text and goes through the same parser as
 * what people write, so it obeys the same rules; tests/unit/test-config.c reads every row.
 *
 * A time has the limits of the command line's: from 1 ms, because nothing is sampled faster than
 * every 10 ms, to a day, because a watch that stays Low for longer is forgotten.
 */
#include "daemon/config-internal.h"

#include <inttypes.h>

#include "core/duration.h"

#define TIME_MIN_USEC USEC_PER_MSEC
#define TIME_MAX_USEC (86400 * USEC_PER_SEC)
#define CLIENTS_MAX 1048576

enum form { FORM_TRIGGER, FORM_TIME, FORM_TIME_OR_AUTO, FORM_PERCENT, FORM_BOOLEAN, FORM_COUNT };

#define BIT(kind) (1u << (kind))
#define JUDGING (BIT(SECTION_DEFAULTS) | BIT(SECTION_WATCH))

static const struct row {
	const char *name, *built_in;
	enum form form;
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
	[KEY_BUS] = { "Bus", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
	[KEY_LOW_MEMORY_MONITOR] = { "LowMemoryMonitor", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON) },
};

const char *config_key_name(enum config_key key)
{
	return table[key].name;
}

const char *config_key_expected(enum config_key key)
{
	switch (table[key].form) {
	case FORM_TRIGGER:
		return key == KEY_CRITICAL ? "a trigger such as full 100ms/2s"
					   : "a trigger such as some 200ms/2s";
	case FORM_TIME:
		return "a time from 1ms to 24h, such as 10s,";
	case FORM_TIME_OR_AUTO:
		return "a time from 1ms to 24h, such as 4s, or auto";
	case FORM_PERCENT:
		return "a percentage from 1% to 99%, or off,";
	case FORM_BOOLEAN:
		return "yes or no";
	case FORM_COUNT:
		return "a number from 1 to 1048576";
	}
	return "";
}

bool config_key_belongs(enum config_key key, enum section_kind kind)
{
	return table[key].sections & BIT(kind);
}

static int parse_time(struct scan s, uint64_t *ret_usec, const char **ret_why)
{
	uint64_t usec;
	int r = duration_parse(s.p, s.left, &usec, ret_why);

	if (r < 0)
		return -EINVAL;
	if (usec < TIME_MIN_USEC || usec > TIME_MAX_USEC)
		return scan_refuse(-EINVAL, "", ret_why);
	*ret_usec = usec;
	return 0;
}

static int parse_count(struct scan s, uint64_t min, uint64_t max, uint64_t *ret,
		       const char **ret_why)
{
	uint64_t number;

	if (scan_u64(&s, &number) < 0 || s.left > 0 || number < min || number > max)
		return scan_refuse(-EINVAL, "", ret_why);
	*ret = number;
	return 0;
}

static int parse_percent(struct scan s, uint64_t *ret, const char **ret_why)
{
	if (scan_is(s, "off")) {
		*ret = 0;
		return 0;
	}
	if (scan_ends_with(s, "%"))
		s.left--;
	return parse_count(s, 1, 99, ret, ret_why);
}

/* The words of systemd.syntax(7), in any case. */
static int parse_boolean(struct scan s, uint64_t *ret, const char **ret_why)
{
	static const char *const words[][6] = {
		{ "0", "no", "n", "false", "f", "off" },
		{ "1", "yes", "y", "true", "t", "on" },
	};
	char lower[8];

	for (size_t i = 0; i < s.left && i < sizeof(lower); i++)
		lower[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
	if (s.left <= sizeof(lower))
		s.p = lower;
	for (unsigned value = 0; value <= 1; value++)
		for (size_t i = 0; i < ELEMENTSOF(words[value]); i++)
			if (scan_is(s, words[value][i])) {
				*ret = value;
				return 0;
			}
	return scan_refuse(-EINVAL, "", ret_why);
}

int config_value_parse(enum config_key key, const char *text, size_t size, struct config_value *ret,
		       const char **ret_why)
{
	struct scan s = { text, size };
	struct config_value value = { .number = 0 };
	int r = -EINVAL;

	switch (table[key].form) {
	case FORM_TRIGGER:
		r = trigger_parse(text, size, &value.trigger, ret_why);
		break;
	case FORM_TIME_OR_AUTO:
		if (scan_is(s, "auto"))
			r = 0;
		else
			r = parse_time(s, &value.number, ret_why);
		break;
	case FORM_TIME:
		r = parse_time(s, &value.number, ret_why);
		break;
	case FORM_PERCENT:
		r = parse_percent(s, &value.number, ret_why);
		break;
	case FORM_BOOLEAN:
		r = parse_boolean(s, &value.number, ret_why);
		break;
	case FORM_COUNT:
		r = parse_count(s, 1, CLIENTS_MAX, &value.number, ret_why);
		break;
	}
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}

void config_value_format(enum config_key key, const struct config_value *value, char *buf)
{
	uint64_t number = value->number;

	switch (table[key].form) {
	case FORM_TRIGGER:
		trigger_format(&value->trigger, buf);
		return;
	case FORM_TIME_OR_AUTO:
		if (number == 0)
			snprintf(buf, CONFIG_VALUE_TEXT_MAX, "auto");
		else
			duration_format(number, buf);
		return;
	case FORM_TIME:
		duration_format(number, buf);
		return;
	case FORM_PERCENT:
		if (number == 0)
			snprintf(buf, CONFIG_VALUE_TEXT_MAX, "off");
		else
			snprintf(buf, CONFIG_VALUE_TEXT_MAX, "%" PRIu64 "%%", number);
		return;
	case FORM_BOOLEAN:
		snprintf(buf, CONFIG_VALUE_TEXT_MAX, "%s", number ? "yes" : "no");
		return;
	case FORM_COUNT:
		snprintf(buf, CONFIG_VALUE_TEXT_MAX, "%" PRIu64, number);
		return;
	}
}

void config_key_built_in(enum config_key key, struct config_value *ret)
{
	const char *text = table[key].built_in;

	*ret = (struct config_value){ .number = 0 };
	(void)config_value_parse(key, text, strlen(text), ret, NULL);
}
