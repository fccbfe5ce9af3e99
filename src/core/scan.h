/* SPDX-License-Identifier: MIT */
/*
 * scan.h - reading a text of known length from left to right
 *
 * A scan is what is left of a text. It never looks behind the end, needs no NUL, and may be NULL
 * when nothing is left. Each step takes something off the front and answers true, or leaves the
 * scan as it was and answers false.
 *
 * All of it is in the header, so that the test of a parser links that parser and nothing else.
 */
#pragma once

#include <errno.h>
#include <string.h>

#include "util.h"

struct scan {
	const char *p;
	size_t left;
};

static inline struct scan scan_string(const char *text)
{
	return (struct scan){ text, strlen(text) };
}

/* FNV-1a */
static inline uint64_t scan_hash(struct scan s)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < s.left; i++)
		hash = (hash ^ (unsigned char)s.p[i]) * UINT64_C(1099511628211);
	return hash;
}

static inline void scan_skip(struct scan *s, size_t n)
{
	if (n > 0) {
		s->p += n;
		s->left -= n;
	}
}

static inline bool scan_is(struct scan s, const char *word)
{
	return s.left == strlen(word) && (s.left == 0 || memcmp(s.p, word, s.left) == 0);
}

static inline bool scan_has(struct scan s, char c)
{
	return s.left > 0 && memchr(s.p, c, s.left);
}

static inline bool scan_ends_with(struct scan s, const char *word)
{
	size_t n = strlen(word);

	return s.left >= n && memcmp(s.p + (s.left - n), word, n) == 0;
}

static inline bool scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if (s->left < n || (n > 0 && memcmp(s->p, word, n) != 0))
		return false;
	scan_skip(s, n);
	return true;
}

/* Any number of spaces and tabs, at least one. */
static inline bool scan_blanks(struct scan *s)
{
	size_t n = 0;

	while (n < s->left && (s->p[n] == ' ' || s->p[n] == '\t'))
		n++;
	scan_skip(s, n);
	return n > 0;
}

/* Everything before the first `stop`, which is taken off too. False: there is no `stop`. */
static inline bool scan_field(struct scan *s, char stop, struct scan *ret)
{
	const char *found = s->left > 0 ? memchr(s->p, stop, s->left) : NULL;

	if (!found)
		return false;
	*ret = (struct scan){ s->p, (size_t)(found - s->p) };
	scan_skip(s, ret->left + 1);
	return true;
}

/* The same, where the last field has no `stop` behind it. False: nothing is left. */
static inline bool scan_item(struct scan *s, char stop, struct scan *ret)
{
	if (s->left == 0)
		return false;
	if (!scan_field(s, stop, ret)) {
		*ret = *s;
		scan_skip(s, s->left);
	}
	return true;
}

static inline bool scan_digit(struct scan *s, unsigned *ret)
{
	if (s->left == 0 || *s->p < '0' || *s->p > '9')
		return false;
	*ret = (unsigned)(*s->p - '0');
	scan_skip(s, 1);
	return true;
}

/* All digits that follow. Errors: -EINVAL: there is none; -ERANGE: more than 64 bits. */
static inline int scan_u64(struct scan *s, uint64_t *ret)
{
	bool fits = true;
	uint64_t value = 0;
	unsigned digit;
	size_t n = 0;

	for (; n < s->left && (digit = (unsigned char)s->p[n] - (unsigned)'0') < 10; n++) {
		fits = fits &&
		       (value <= (UINT64_MAX - 9) / 10 || value <= (UINT64_MAX - digit) / 10);
		value = value * 10 + digit;
	}
	if (n == 0)
		return -EINVAL;
	scan_skip(s, n);
	if (!fits)
		return -ERANGE;
	*ret = value;
	return 0;
}

/* All of it is a number from `min` to `max`. */
static inline bool scan_is_number(struct scan s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t value;

	if (scan_u64(&s, &value) < 0 || s.left > 0 || value < min || value > max)
		return false;
	*ret = value;
	return true;
}

/* A C string into buf[size]. False: nothing is there, it does not fit, or there is a NUL in it. */
static inline bool scan_copy(struct scan s, char *buf, size_t size)
{
	if (s.left == 0 || s.left >= size || scan_has(s, '\0'))
		return false;
	memcpy(buf, s.p, s.left);
	buf[s.left] = '\0';
	return true;
}

/* For parsers that say in words what is wrong: `why` is constant, `ret_why` may be NULL. */
static inline int scan_refuse(int error, const char *why, const char **ret_why)
{
	if (ret_why)
		*ret_why = why;
	return error;
}
