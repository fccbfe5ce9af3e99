/* SPDX-License-Identifier: MIT */
/*
 * value.c - one function for each form
 *
 * A percentage is 1 to 99: 0 and 100 would be "always" and "never", which have words of their own
 * or no meaning. A size has no fraction: "1536M".
 */
#include "value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "duration.h"
#include "scan.h"

#define TIME_MIN_USEC USEC_PER_MSEC
#define TIME_MAX_USEC (86400 * USEC_PER_SEC)
#define COUNT_MAX 1048576
#define BOUND_MIN (1u << 20)

static const char units[] = "BKMGT"; /* the first is never written */

static const struct {
	const char *expected;
	const char *zero; /* what 0 is written as; NULL: a number, or it cannot be */
} forms[] = {
	[FORM_TRIGGER] = { "a trigger such as some 200ms/2s", NULL },
	[FORM_TIME] = { "a time from 1ms to 24h, such as 10s,", NULL },
	[FORM_TIME_OR_AUTO] = { "a time from 1ms to 24h, such as 4s, or auto", "auto" },
	[FORM_TIME_OR_OFF] = { "a time from 1ms to 24h, such as 2s, or off", "off" },
	[FORM_PERCENT] = { "a percentage from 1% to 99%, or off,", "off" },
	[FORM_BOOLEAN] = { "yes or no", "no" },
	[FORM_COUNT] = { "a number from 1 to 1048576", NULL },
	[FORM_SIZE] = { "a size such as 50M", NULL },
	[FORM_BOUND] = { "a size of at least 1M, such as 64M, or no", "no" },
};

const char *value_expected(enum value_form form)
{
	return forms[form].expected;
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
	return scan_is_number(s, min, max, ret) ? 0 : scan_refuse(-EINVAL, "", ret_why);
}

static int parse_percent(struct scan s, uint64_t *ret, const char **ret_why)
{
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

static int parse_size(struct scan s, uint64_t *ret, const char **ret_why)
{
	const char *unit;
	uint64_t number;
	unsigned shift = 0;

	if (scan_u64(&s, &number) < 0 || s.left > 1)
		return scan_refuse(-EINVAL, "", ret_why);
	if (s.left == 1) {
		unit = memchr(units + 1, *s.p, strlen(units) - 1);
		if (!unit)
			return scan_refuse(-EINVAL, "", ret_why);
		shift = 10 * (unsigned)(unit - units);
	}
	if (number > (UINT64_MAX >> 1) >> shift)
		return scan_refuse(-EINVAL, "that is more than there is", ret_why);
	*ret = number << shift;
	return 0;
}

int value_parse(enum value_form form, const char *text, size_t size, struct value *ret,
		const char **ret_why)
{
	struct scan s = { text, size };
	struct value value = { .number = 0 };
	int r = 0;

	if (forms[form].zero && scan_is(s, forms[form].zero)) {
		*ret = value;
		return 0;
	}
	switch (form) {
	case FORM_TRIGGER:
		r = trigger_parse(text, size, &value.trigger, ret_why);
		break;
	case FORM_TIME:
	case FORM_TIME_OR_AUTO:
	case FORM_TIME_OR_OFF:
		r = parse_time(s, &value.number, ret_why);
		break;
	case FORM_PERCENT:
		r = parse_percent(s, &value.number, ret_why);
		break;
	case FORM_BOOLEAN:
		r = parse_boolean(s, &value.number, ret_why);
		break;
	case FORM_COUNT:
		r = parse_count(s, 1, COUNT_MAX, &value.number, ret_why);
		break;
	case FORM_SIZE:
		r = parse_size(s, &value.number, ret_why);
		break;
	case FORM_BOUND:
		r = parse_size(s, &value.number, ret_why);
		if (r == 0 && value.number > 0 && value.number < BOUND_MIN)
			r = scan_refuse(-EINVAL, "", ret_why);
		break;
	}
	if (r < 0)
		return r;
	*ret = value;
	return 0;
}

void value_format(enum value_form form, const struct value *value, char *buf)
{
	uint64_t number = value->number;
	size_t unit = 0;

	if (forms[form].zero && number == 0) {
		snprintf(buf, VALUE_TEXT_MAX, "%s", forms[form].zero);
		return;
	}
	switch (form) {
	case FORM_TRIGGER:
		trigger_format(&value->trigger, buf);
		return;
	case FORM_TIME:
	case FORM_TIME_OR_AUTO:
	case FORM_TIME_OR_OFF:
		duration_format(number, buf);
		return;
	case FORM_PERCENT:
		snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64 "%%", number);
		return;
	case FORM_BOOLEAN:
		snprintf(buf, VALUE_TEXT_MAX, "yes");
		return;
	case FORM_COUNT:
		snprintf(buf, VALUE_TEXT_MAX, "%" PRIu64, number);
		return;
	case FORM_SIZE:
	case FORM_BOUND:
		while (number > 0 && number % 1024 == 0 && unit + 1 < strlen(units)) {
			number /= 1024;
			unit++;
		}
		snprintf(buf, VALUE_TEXT_MAX, unit ? "%" PRIu64 "%c" : "%" PRIu64, number,
			 units[unit]);
		return;
	}
}
