/* SPDX-License-Identifier: MIT */
/*
 * test-utf8.c - what is a character and what is not (src/core/utf8.h)
 */
#include "../unit.h"
#include "core/utf8.h"

PROMISE(characters_have_their_length)
{
	static const struct {
		const char *text;
		size_t size, expected;
	} table[] = {
		{ "a", 1, 1 },
		{ "\x7f", 1, 1 },
		{ "\0", 1, 1 },
		{ "", 0, 0 },
		{ "\xc2\x80", 2, 2 },
		{ "\xdf\xbf", 2, 2 },
		{ "\xe0\xa0\x80", 3, 3 },
		{ "\xed\x9f\xbf", 3, 3 },
		{ "\xee\x80\x80", 3, 3 },
		{ "\xef\xbf\xbf", 3, 3 },
		{ "\xf0\x90\x80\x80", 4, 4 },
		{ "\xf4\x8f\xbf\xbf", 4, 4 },
		{ "\xc3\xa4"
		  "b",
		  3, 2 }, /* what follows is not looked at */
		/* the middle of one, and bytes that no character has */
		{ "\x80", 1, 0 },
		{ "\xbf", 1, 0 },
		{ "\xc0\x80", 2, 0 },
		{ "\xc1\xbf", 2, 0 },
		{ "\xf5\x80\x80\x80", 4, 0 },
		{ "\xff", 1, 0 },
		/* overlong, surrogates, too far */
		{ "\xe0\x9f\xbf", 3, 0 },
		{ "\xf0\x8f\xbf\xbf", 4, 0 },
		{ "\xed\xa0\x80", 3, 0 },
		{ "\xf4\x90\x80\x80", 4, 0 },
		/* cut off, or interrupted */
		{ "\xc2", 1, 0 },
		{ "\xe2\x82", 2, 0 },
		{ "\xf0\x9f\x98", 3, 0 },
		{ "\xc2\x41", 2, 0 },
		{ "\xe2\x82\x41", 3, 0 },
		{ "\xe2\x41\xac", 3, 0 },
		{ "\xf0\x9f\x98\xc0", 4, 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		/* of its very size, so that a sanitizer sees a look behind its end */
		char *text = malloc(table[i].size);

		memcpy(text, table[i].text, table[i].size);
		if (utf8_character(text, table[i].size) != table[i].expected)
			fail_msg("row %zu is not %zu", i, table[i].expected);
		free(text);
	}
}

PROMISE(what_is_none_is_replaced_byte_by_byte)
{
	static const struct {
		const char *text, *expected;
	} table[] = {
		{ "", "" },
		{ "system.slice", "system.slice" },
		{ "k\xc3\xa4se", "k\xc3\xa4se" },
		{ "\xff", "\xef\xbf\xbd" },
		{ "a\xe2\x82z", "a\xef\xbf\xbd\xef\xbf\xbdz" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
	};
	char buf[64];

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_int_equal(utf8_replace(table[i].text, buf, sizeof(buf)),
				 strlen(table[i].expected));
		assert_string_equal(buf, table[i].expected);
		assert_int_equal(utf8_is_valid(table[i].text),
				 strcmp(table[i].text, table[i].expected) == 0);
		assert_true(utf8_is_valid(buf));
	}
}

PROMISE(no_control_character_is_left)
{
	static const struct {
		const char *text, *expected;
	} table[] = {
		{ "", "" },
		{ "k\xc3\xa4se", "k\xc3\xa4se" },
		{ "a\033[31m\n\x7f", "a?[31m??" },
		{ "\xc2\x9bm\xc2\xa0", "??m\xc2\xa0" }, /* U+009B; U+00A0 is a blank */
		{ "\x9bm", "?m" },
		{ "\xe2\x82\x9b", "\xe2\x82\x9b" }, /* the byte is part of a letter */
		{ "\xff\xc2", "\xff\xc2" },
	};
	char buf[64];

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		strcpy(buf, table[i].text);
		utf8_hide_controls(buf, strlen(buf));
		assert_string_equal(buf, table[i].expected);
		assert_int_equal(utf8_is_printable(table[i].text),
				 utf8_is_valid(buf) && strcmp(buf, table[i].text) == 0);
	}
}

PROMISE(what_does_not_fit_is_cut_between_characters)
{
	char buf[8] = "xxxxxxx";

	assert_int_equal(utf8_replace("ab\xc3\xa4", buf, 5), 4);
	assert_string_equal(buf, "ab\xc3\xa4");
	assert_int_equal(utf8_replace("ab\xc3\xa4", buf, 4), 2);
	assert_string_equal(buf, "ab");
	assert_int_equal(utf8_replace("a\xff", buf, 4), 1);
	assert_int_equal(utf8_replace("a", buf, 1), 0);
	assert_string_equal(buf, "");
}
