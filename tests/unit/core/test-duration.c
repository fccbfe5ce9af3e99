/* SPDX-License-Identifier: MIT */
/*
 * test-duration.c - lengths of time as people write them (src/core/duration.h)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "random.h"
#include "core/duration.h"

static int parse(const char *text, uint64_t *ret, const char **ret_why)
{
	return duration_parse(text, strlen(text), ret, ret_why);
}

PROMISE(what_people_write_is_understood)
{
	static const struct {
		const char *text;
		uint64_t usec;
	} table[] = {
		{ "0", 0 },
		{ "0.0", 0 },
		{ "000", 0 },
		{ "0us", 0 },
		{ "0h", 0 },
		{ "1us", 1 },
		{ "500us", 500 },
		{ "0.5ms", 500 },
		{ "0.50000000000000000000000000000000000000ms", 500 },
		{ "200ms", 200000 },
		{ "2s", 2000000 },
		{ "02s", 2000000 },
		{ "8.192s", 8192000 },
		{ "0.000001s", 1 },
		{ "1min", 60000000 },
		{ "1.5min", 90000000 },
		{ "1h", UINT64_C(3600000000) },
		{ "0.25h", UINT64_C(900000000) },
		/* the finest fractions that still come out even */
		{ "0.0000000025h", 9 },
		{ "0.00000005min", 3 },
		{ "9223372036854775807us", INT64_MAX },
		{ "9223372036854.775807s", INT64_MAX },
		{ "2562047788.0152155h", UINT64_C(9223372036854775800) },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t usec = 12345;

		if (parse(table[i].text, &usec, NULL) != 0 || usec != table[i].usec)
			fail_msg("%s gave %" PRIu64, table[i].text, usec);
	}
}

PROMISE(a_duration_is_written_short_and_without_a_leading_zero)
{
	static const struct {
		uint64_t usec;
		const char *text;
	} table[] = {
		{ 0, "0" },
		{ 1, "1us" },
		{ 500, "500us" },
		{ 1000, "1ms" },
		{ 1500, "1.5ms" },
		{ 1234, "1234us" },
		{ 1230, "1.23ms" },
		{ 20000, "20ms" },
		{ 200000, "200ms" },
		{ 2000000, "2s" },
		{ 2004000, "2.004s" },
		{ 8192000, "8.192s" },
		{ 59999999, "59.999999s" },
		{ 60000000, "60s" },
		{ 90000000, "90s" },
		{ 600000000, "600s" },
		{ 7200000000, "2h" },
		{ 6000000000, "6000s" },
		{ 120000000, "2min" },
		{ 1200000000, "20min" },
		{ UINT64_C(3600000000), "1h" },
		{ UINT64_C(5400000000), "1.5h" },
		{ UINT64_C(36000000009), "36000.000009s" },
		{ UINT64_MAX, "18446744073709.551615s" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char buf[DURATION_TEXT_MAX];
		size_t n = duration_format(table[i].usec, buf);

		assert_string_equal(buf, table[i].text);
		assert_int_equal(n, strlen(buf));
	}
}

/* Round numbers of every unit as well as crooked ones, of every length. */
static uint64_t random_usec(void)
{
	static const uint64_t grain[] = { 1, 10, 1000, 100000, 1000000, 60000000, 3600000000 };
	uint64_t usec = random_u64() >> (1 + random_u64() % 63);

	return usec - usec % grain[random_u64() % ELEMENTSOF(grain)];
}

PROMISE(what_is_written_is_read_back)
{
	for (int i = 0; i < 200000; i++) {
		uint64_t in = i < 70000 ? (uint64_t)i : random_usec(), out;
		char buf[DURATION_TEXT_MAX];
		size_t n = duration_format(in, buf);

		assert_in_range(n, 1, 22);
		assert_int_equal(duration_parse(buf, n, &out, NULL), 0);
		assert_true(in == out);
	}
}
