/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - well-formed or not, by the table of the Unicode standard (chapter 3, table 3-7)
 */
#include "utf8.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

/* The first byte gives the length, and the range of the second: that is where overlong forms,
 * surrogates and what lies beyond U+10FFFF are rejected. All further bytes are 80 to BF. */
static const struct {
	unsigned char first, last; /* of first bytes */
	unsigned char length, low, high;
} forms[] = {
	{ 0x00, 0x7f, 1, 0, 0 },       { 0xc2, 0xdf, 2, 0x80, 0xbf }, { 0xe0, 0xe0, 3, 0xa0, 0xbf },
	{ 0xe1, 0xec, 3, 0x80, 0xbf }, { 0xed, 0xed, 3, 0x80, 0x9f }, { 0xee, 0xef, 3, 0x80, 0xbf },
	{ 0xf0, 0xf0, 4, 0x90, 0xbf }, { 0xf1, 0xf3, 4, 0x80, 0xbf }, { 0xf4, 0xf4, 4, 0x80, 0x8f },
};

static bool is_between(unsigned char c, unsigned char low, unsigned char high)
{
	return c >= low && c <= high;
}

size_t utf8_character(const char *text, size_t size)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t form = 0, length;

	while (size > 0 && form < ELEMENTSOF(forms) &&
	       !is_between(p[0], forms[form].first, forms[form].last))
		form++;
	if (size == 0 || form == ELEMENTSOF(forms) || forms[form].length > size)
		return 0;
	length = forms[form].length;
	if (length > 1 && !is_between(p[1], forms[form].low, forms[form].high))
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
