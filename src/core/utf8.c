/* SPDX-License-Identifier: MIT */
/*
 * utf8.c - well-formed or not: the Unicode standard, chapter 3, table 3-7
 */
#include "utf8.h"

#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd"

size_t utf8_character(const char *text, size_t size)
{
	/* of a character of that many bytes: a smaller one has a shorter form */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = size > 0 ? (unsigned char)*text : 0xff;
	size_t length = first < 0x80   ? 1
			: first < 0xc0 ? 0
			: first < 0xe0 ? 2
			: first < 0xf0 ? 3
			: first < 0xf8 ? 4
				       : 0;
	uint32_t code = length == 1 ? first : first & 0x7fu >> length;

	if (length == 0 || length > size)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
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
		       : taken == 0 ? last >= 0x80 && last <= 0x9f
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
