/* SPDX-License-Identifier: MIT */
/*
 * base64.h - the way back, for those that test base64_decode()
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* `text` has room for it, and is not terminated. Returns its length. */
static inline size_t base64_encode(const uint8_t *bytes, size_t size, char *text)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0;

	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)bytes[i] << 16;

		bits |= i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0;
		bits |= i + 2 < size ? (uint32_t)bytes[i + 2] : 0;
		text[n++] = alphabet[bits >> 18];
		text[n++] = alphabet[bits >> 12 & 63];
		text[n++] = i + 1 < size ? alphabet[bits >> 6 & 63] : '=';
		text[n++] = i + 2 < size ? alphabet[bits & 63] : '=';
	}
	return n;
}
