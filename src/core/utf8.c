/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - well-formed or not, by the table of the Unicode standard (chapter 3, table 3-7)
 *
 * The first byte gives the length, and the range of the second: that is where overlong forms (E0
 * 80-9F, F0 80-8F), surrogates (ED A0-BF) and what lies beyond U+10FFFF (F4 90-BF) are rejected.
 */
#include "utf8.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

static bool is_between(unsigned char c, unsigned char low, unsigned char high)
{
	return c >= low && c <= high;
}

static size_t length_of(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (is_between(first, 0xc2, 0xdf))
		return 2;
	if (is_between(first, 0xe0, 0xef))
		return 3;
	return is_between(first, 0xf0, 0xf4) ? 4 : 0;
}

size_t utf8_character(const char *text, size_t size)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t length = size > 0 ? length_of(p[0]) : 0;

	if (length == 0 || length > size)
		return 0;
	if (length > 1 && !is_between(p[1],
				      p[0] == 0xe0   ? 0xa0
				      : p[0] == 0xf0 ? 0x90
						     : 0x80,
				      p[0] == 0xed   ? 0x9f
				      : p[0] == 0xf4 ? 0x8f
						     : 0xbf))
		return 0;
	for (size_t i = 2; i < length; i++)
		if (!is_between(p[i], 0x80, 0xbf))
			return 0;
	return length;
}

bool utf8_is_valid(const char *text)
{
	size_t left = strlen(text), taken;

	for (; left > 0; text += taken, left -= taken) {
		taken = utf8_character(text, left);
		if (taken == 0)
			return false;
	}
	return true;
}

size_t utf8_next(const char *text, size_t size, bool *ret_control)
{
	size_t taken = utf8_character(text, size);
	unsigned char last = size > 0 ? (unsigned char)text[taken > 0 ? taken - 1 : 0] : 0;

	/* of two bytes: those that begin with 0xc2, the others are letters */
	*ret_control = taken == 1   ? last < 0x20 || last == 0x7f
		       : taken == 0 ? is_between((char)last, 0x80, 0x9f)
				    : taken == 2 && (unsigned char)text[0] == 0xc2 && last < 0xa0;
	return MIN(MAX(taken, (size_t)1), size);
}

bool utf8_is_printable(const char *text)
{
	size_t left = strlen(text), taken;
	bool control;

	for (; left > 0; text += taken, left -= taken) {
		taken = utf8_next(text, left, &control);
		if (control || utf8_character(text, left) == 0)
			return false;
	}
	return true;
}

void utf8_hide_controls(char *text, size_t size)
{
	size_t taken;
	bool control;

	for (; size > 0; text += taken, size -= taken) {
		taken = utf8_next(text, size, &control);
		if (control)
			memset(text, '?', taken);
	}
}

size_t utf8_replace(const char *text, char *buf, size_t capacity)
{
	size_t left = strlen(text), used = 0;

	while (left > 0) {
		size_t taken = utf8_character(text, left), given = taken;
		const char *from = text;

		if (taken == 0) {
			taken = 1;
			given = strlen(REPLACEMENT);
			from = REPLACEMENT;
		}
		if (used + given >= capacity)
			break;
		memcpy(buf + used, from, given);
		used += given;
		text += taken;
		left -= taken;
	}
	buf[used] = '\0';
	return used;
}
