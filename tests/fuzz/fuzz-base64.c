/* SPDX-License-Identifier: MIT */
/*
 * fuzz-base64.c - any bytes as base64
 *
 * What is accepted, encoded again, is the input without its white space: one sequence of bytes has
 * one text. One byte less of room is refused.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "../base64.h"
#include "core/base64.h"

FUZZ_TARGET(base64)
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
	} else {
		CHECK(r == 0 && decoded <= size / 4 * 3);
		CHECK(bytes[size / 4 * 3] == 0x5a);
		n = base64_encode(bytes, decoded, text);
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
