/* SPDX-License-Identifier: MIT */
/*
 * base64.c - RFC 4648, strict, for $MEMORY_PRESSURE_WRITE
 *
 * The text is groups of four characters, each six bits, together three bytes. The last group may
 * end in "=" (two bytes, the two bits left over are zero) or "==" (one byte, four bits left over).
 * After padding nothing comes but white space.
 *
 * Two passes over the text: the first checks and counts, the second writes. So a text that is
 * refused leaves the buffer unchanged, and "not base64" is reported before "too long".
 *
 * State of the pass: `n` characters of the present group were seen, `bits` holds what they gave,
 * `padding` of them were "=".
 */
#include "base64.h"

#include <errno.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* False: none of the 64 characters. */
static bool sextet(char c, uint32_t *ret)
{
	if (c >= 'A' && c <= 'Z')
		*ret = (uint32_t)(c - 'A');
	else if (c >= 'a' && c <= 'z')
		*ret = (uint32_t)(c - 'a') + 26;
	else if (c >= '0' && c <= '9')
		*ret = (uint32_t)(c - '0') + 52;
	else if (c == '+')
		*ret = 62;
	else if (c == '/')
		*ret = 63;
	else
		return false;
	return true;
}

/* `out` may be NULL: only check and count. */
static int pass(const char *text, size_t size, uint8_t *out, size_t *ret_size)
{
	size_t written = 0;
	uint32_t bits = 0, six;
	size_t n = 0, padding = 0;

	for (size_t i = 0; i < size; i++) {
		if (is_space(text[i]))
			continue;
		if (text[i] == '=') {
			if (n < 2)
				return -EINVAL;
			padding++;
		} else {
			if (padding > 0 || !sextet(text[i], &six))
				return -EINVAL;
			bits = bits << 6 | six;
			n++;
		}
		if (n == 4) {
			if (out) {
				out[written] = (uint8_t)(bits >> 16);
				out[written + 1] = (uint8_t)(bits >> 8);
				out[written + 2] = (uint8_t)bits;
			}
			written += 3;
			n = 0;
			bits = 0;
		}
	}
	if (n == 0 && padding == 0) {
		*ret_size = written;
		return 0;
	}
	if (n + padding != 4)
		return -EINVAL;
	bits <<= 6 * padding;
	/* n - 1 bytes; what is behind them must be zero */
	if ((bits & (n == 2 ? 0xffff : 0xff)) != 0)
		return -EINVAL;
	if (out)
		out[written] = (uint8_t)(bits >> 16);
	if (out && n == 3)
		out[written + 1] = (uint8_t)(bits >> 8);
	*ret_size = written + n - 1;
	return 0;
}

int base64_decode(const char *text, size_t size, void *buf, size_t capacity, size_t *ret_size)
{
	size_t needed;
	int r;

	r = pass(text, size, NULL, &needed);
	if (r < 0)
		return r;
	if (needed > capacity)
		return -ENOSPC;
	return pass(text, size, buf, ret_size);
}
