/* SPDX-License-Identifier: MIT */
/*
 * test-value.c - what people write behind a key or in a variable (src/core/value.h)
 *
 * Triggers and times have parsers and tests of their own; here it is looked at that each form uses
 * its own, and at what the forms add.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "core/value.h"

#define DAY_USEC (86400 * USEC_PER_SEC)

static const enum value_form forms[] = { FORM_TRIGGER, FORM_TIME,  FORM_TIME_OR_AUTO, FORM_PERCENT,
					 FORM_BOOLEAN, FORM_COUNT, FORM_SIZE };

/* Behind the text there may be anything, or nothing: address sanitizer sees who looks. */
static int parse(enum value_form form, const char *text, struct value *ret, const char **ret_why)
{
	size_t size = strlen(text);
	char *alone = malloc(size), followed[64];
	struct value again;
	int r;

	assert_non_null(alone);
	memcpy(alone, text, size);
	snprintf(followed, sizeof(followed), "%s0%%", text);
	r = value_parse(form, alone, size, ret, ret_why);
	assert_int_equal(value_parse(form, followed, size, &again, NULL), r);
	free(alone);
	return r;
}

PROMISE(each_form_understands_what_is_written_in_it)
{
	static const struct {
		enum value_form form;
		const char *text;
		uint64_t number;
		const char *formatted; /* NULL: as it was written */
	} table[] = {
		{ FORM_TIME, "1ms", 1000, NULL },
		{ FORM_TIME, "8.192s", 8192000, NULL },
		{ FORM_TIME, "24h", DAY_USEC, NULL },
		{ FORM_TIME, "86400s", DAY_USEC, "24h" },
		{ FORM_TIME_OR_AUTO, "auto", 0, NULL },
		{ FORM_TIME_OR_AUTO, "4s", 4000000, NULL },
		{ FORM_PERCENT, "off", 0, NULL },
		{ FORM_PERCENT, "1%", 1, NULL },
		{ FORM_PERCENT, "25", 25, "25%" },
		{ FORM_PERCENT, "99%", 99, NULL },
		{ FORM_COUNT, "1", 1, NULL },
		{ FORM_COUNT, "1048576", 1048576, NULL },
		{ FORM_COUNT, "007", 7, "7" },
		{ FORM_SIZE, "0", 0, NULL },
		{ FORM_SIZE, "1", 1, NULL },
		{ FORM_SIZE, "1023", 1023, NULL },
		{ FORM_SIZE, "1024", 1024, "1K" },
		{ FORM_SIZE, "1K", 1024, NULL },
		{ FORM_SIZE, "1025", 1025, NULL },
		{ FORM_SIZE, "50M", UINT64_C(50) << 20, NULL },
		{ FORM_SIZE, "1536M", UINT64_C(1536) << 20, NULL },
		{ FORM_SIZE, "2048M", UINT64_C(2) << 30, "2G" },
		{ FORM_SIZE, "3G", UINT64_C(3) << 30, NULL },
		{ FORM_SIZE, "4T", UINT64_C(4) << 40, NULL },
		{ FORM_SIZE, "4096T", UINT64_C(4096) << 40, NULL }, /* T is the largest word */
		{ FORM_SIZE, "0T", 0, "0" },
		{ FORM_SIZE, "9223372036854775807", INT64_MAX, NULL },
		{ FORM_SIZE, "8388607T", UINT64_C(8388607) << 40, NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *expected = table[i].formatted ?: table[i].text;
		struct value value = { .number = 12345 }, again = { .number = 54321 };
		char text[VALUE_TEXT_MAX];

		if (parse(table[i].form, table[i].text, &value, NULL) < 0)
			fail_msg("\"%s\" is refused", table[i].text);
		if (value.number != table[i].number)
			fail_msg("\"%s\" is taken for %llu", table[i].text,
				 (unsigned long long)value.number);
		value_format(table[i].form, &value, text);
		assert_string_equal(text, expected);
		assert_int_equal(parse(table[i].form, text, &again, NULL), 0);
		assert_int_equal(again.number, value.number);
	}
}

PROMISE(a_trigger_is_read_and_written_as_everywhere)
{
	struct value value;
	char text[VALUE_TEXT_MAX];
	const char *why = NULL;

	assert_int_equal(parse(FORM_TRIGGER, "full 100000 2000000", &value, NULL), 0);
	assert_int_equal(value.trigger.kind, PSI_FULL);
	assert_int_equal(value.trigger.threshold_usec, 100000);
	assert_int_equal(value.trigger.window_usec, 2000000);
	value_format(FORM_TRIGGER, &value, text);
	assert_string_equal(text, "full 100ms/2s");
	assert_int_equal(parse(FORM_TRIGGER, "full 3s/2s", &value, &why), -EINVAL);
	assert_true(strlen(why) > 0); /* its own words */
}

PROMISE(the_words_of_a_boolean_count_in_any_case)
{
	static const char *const words[] = { "0", "no",	 "n", "false", "f", "off",
					     "1", "yes", "y", "true",  "t", "on" };
	char text[VALUE_TEXT_MAX], upper[8];
	struct value value;

	for (size_t i = 0; i < ELEMENTSOF(words); i++) {
		snprintf(upper, sizeof(upper), "%s", words[i]);
		if (upper[0] >= 'a')
			upper[0] &= ~0x20;
		assert_int_equal(parse(FORM_BOOLEAN, words[i], &value, NULL), 0);
		assert_int_equal(value.number, i >= 6);
		assert_int_equal(parse(FORM_BOOLEAN, upper, &value, NULL), 0);
		assert_int_equal(value.number, i >= 6);
		value_format(FORM_BOOLEAN, &value, text);
		assert_string_equal(text, i >= 6 ? "yes" : "no");
	}
}

PROMISE(what_was_expected_can_be_said_of_each_form)
{
	for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
		const char *expected = value_expected(forms[i]);

		assert_true(strlen(expected) > 5);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(expected, value_expected(forms[k]));
	}
}
