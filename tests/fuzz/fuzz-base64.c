/* SPDX-License-Identifier: MIT */
/*
 * fuzz-base64.c - any bytes as base64
 *
 * What is accepted, encoded again, is the input without its white space: one sequence of bytes has
 * one text. One byte less of room is refused, and what is refused writes nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/base64.h"

static size_t encode(const uint8_t *bytes, size_t size, char *text)
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t decoded = 99, n, k = 0;
	uint8_t *bytes;
	char *text;
	int r;

	/* no more room than an input of this size can need, so that one byte too many is seen */
	bytes = malloc(size / 4 * 3 + 1);
	text = malloc(size + 4);
	if (!bytes || !text)
		abort();
	memset(bytes, 0x5a, size / 4 * 3 + 1);

	r = base64_decode((const char *)data, size, bytes, size / 4 * 3, &decoded);
	if (r < 0) {
		CHECK(r == -EINVAL && decoded == 99);
		for (size_t i = 0; i < size / 4 * 3 + 1; i++)
			CHECK(bytes[i] == 0x5a);
	} else {
		CHECK(r == 0 && decoded <= size / 4 * 3);
		CHECK(bytes[size / 4 * 3] == 0x5a);
		n = encode(bytes, decoded, text);
		for (size_t i = 0; i < size; i++) {
			if (data[i] && strchr(" \t\n\r", data[i]))
				continue;
			CHECK(k < n && (uint8_t)text[k] == data[i]);
			k++;
		}
		CHECK(k == n);
		if (decoded > 0)
			CHECK(base64_decode(text, n, bytes, decoded - 1, &k) == -ENOSPC);
	}
	free(bytes);
	free(text);
	return 0;
}
