/* SPDX-License-Identifier: MIT */
/*
 * base64.c - RFC 4648, strict, for $MEMORY_PRESSURE_WRITE
 *
 * Groups of four characters of six bits are three bytes. The last group may end in "=" (two bytes, two bits left
 * over) or "==" (one byte, four bits left over).
 */
#include "base64.h"

#include <errno.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_decode(const char *text, size_t size, void *buf, size_t capacity, size_t *ret_size)
{
	uint8_t *out = buf;
	size_t written = 0, n = 0, padding = 0;
	uint32_t bits = 0;

	for (size_t i = 0; i < size; i++) {
		const char *at = memchr(alphabet, text[i], sizeof(alphabet) - 1);

		if (text[i] == '=') {
			padding++;
		} else if (at && padding == 0) {
			bits = bits << 6 | (uint32_t)(at - alphabet);
			/* each but the first of a group completes a byte, and leaves 4, 2, 0 bits */
			if (n > 0 && written < capacity)
				out[written] = (uint8_t)(bits >> (6 - 2 * n));
			written += n > 0;
			n = (n + 1) % 4;
		} else if (!memchr(" \t\n\r", text[i], 4)) {
			return -EINVAL;
		}
	}
	if (n == 1 || padding != (4 - n) % 4 || (n > 0 && (bits & (n == 2 ? 0xf : 0x3)) != 0))
		return -EINVAL;
	if (written > capacity)
		return -ENOSPC;
	*ret_size = written;
	return 0;
}
