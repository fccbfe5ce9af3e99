/* SPDX-License-Identifier: MIT */
/*
 * test-base64.c - RFC 4648, strict (src/core/base64.h)
 */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "../../base64.h"
#include "core/base64.h"
#include "core/util.h"

PROMISE(known_texts_are_decoded)
{
	static const struct {
		const char *text, *bytes;
		size_t size;
	} table[] = {
		/* RFC 4648, section 10 */
		{ "", "", 0 },
		{ "Zg==", "f", 1 },
		{ "Zm8=", "fo", 2 },
		{ "Zm9v", "foo", 3 },
		{ "Zm9vYg==", "foob", 4 },
		{ "Zm9vYmE=", "fooba", 5 },
		{ "Zm9vYmFy", "foobar", 6 },
		/* what systemd puts into $MEMORY_PRESSURE_WRITE */
		{ "c29tZSAyMDAwMDAgMjAwMDAwMAA=", "some 200000 2000000", 20 },
		{ "AAAA", "\0\0\0", 3 },
		{ "////", "\xff\xff\xff", 3 },
		{ "++++", "\xfb\xef\xbe", 3 },
		/* white space is nothing, wherever it stands */
		{ " Z\tm\n9\rv Y g = = \n", "foob", 4 },
		{ " \t\r\n", "", 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char buf[32];
		size_t size = 99;

		if (base64_decode(table[i].text, strlen(table[i].text), buf, sizeof(buf), &size) !=
		    0)
			fail_msg("refused: %s", table[i].text);
		assert_int_equal(size, table[i].size);
		assert_memory_equal(buf, table[i].bytes, size);
	}
}

PROMISE(what_does_not_fit_is_refused_whole)
{
	char buf[8];
	size_t size = 99;

	for (size_t capacity = 0; capacity < 4; capacity++) {
		memset(buf, 0x5a, sizeof(buf));
		assert_int_equal(base64_decode("Zm9vYg==", 8, buf, capacity, &size), -ENOSPC);
		assert_int_equal(size, 99);
		for (size_t i = 0; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x5a);
	}
	assert_int_equal(base64_decode("Zm9vYg==", 8, buf, 4, &size), 0);
	assert_int_equal(size, 4);
	assert_int_equal(buf[4], 0x5a);
	/* that it is not base64 is the more useful answer */
	assert_int_equal(base64_decode("Zm9vYg=", 7, buf, 0, &size), -EINVAL);
	assert_int_equal(base64_decode(NULL, 0, NULL, 0, &size), 0);
	assert_int_equal(size, 0);
}

/* Of all texts of four characters exactly those are accepted that an encoder would write. */
PROMISE(one_sequence_of_bytes_has_one_text)
{
	static const char characters[] = "AQgwBZaz059+/=-_";
	size_t k = sizeof(characters) - 1;

	for (size_t i = 0; i < k * k * k * k; i++) {
		char text[4] = { characters[i % k], characters[i / k % k],
				 characters[i / k / k % k], characters[i / k / k / k] };
		uint8_t bytes[3];
		char again[4];
		size_t size;

		if (base64_decode(text, 4, bytes, sizeof(bytes), &size) == 0) {
			assert_int_equal(base64_encode(bytes, size, again), 4);
			assert_memory_equal(text, again, 4);
		}
	}
}
