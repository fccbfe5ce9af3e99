/* SPDX-License-Identifier: MIT */
/*
 * test-keyed.c - small numbers out of small kernel files (src/core/keyed.h)
 */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "core/keyed.h"

#define EVENTS "low 1\nhigh 22\nmax 333\noom 4444\noom_kill 55555\noom_group_kill 6\n"
#define STAT "anon 100\nfile 2000\ninactive_file 30000\nslab 7\n"
#define MEMINFO                         \
	"MemTotal:       16316412 kB\n" \
	"MemFree:               1 kB\n" \
	"HugePages_Total:       4\n"    \
	"Hugepagesize:       2048 kB\n"

PROMISE(every_event_lands_in_its_place)
{
	struct memory_events e;

	assert_int_equal(memory_events_parse(EVENTS, strlen(EVENTS), &e), 0);
	assert_int_equal(e.low, 1);
	assert_int_equal(e.high, 22);
	assert_int_equal(e.max, 333);
	assert_int_equal(e.oom, 4444);
	assert_int_equal(e.oom_kill, 55555);
}

PROMISE(events_a_kernel_does_not_have_stay_0)
{
	static const char text[] = "oom_kill 18446744073709551615\nlow 0\nnew_thing many words\n";
	struct memory_events e;

	memset(&e, 0x5a, sizeof(e));
	assert_int_equal(memory_events_parse(text, strlen(text), &e), 0);
	assert_int_equal(e.low, 0);
	assert_int_equal(e.high, 0);
	assert_int_equal(e.max, 0);
	assert_int_equal(e.oom, 0);
	assert_true(e.oom_kill == UINT64_MAX);
}

/* A counter cut short looks like one that was reset, and the next read like a burst of events. */
PROMISE(events_cut_off_inside_a_line_are_refused)
{
	struct memory_events e;

	for (size_t n = 0; n <= strlen(EVENTS); n++) {
		int want = n > 0 && EVENTS[n - 1] == '\n' ? 0 : -EBADMSG;

		assert_int_equal(memory_events_parse(EVENTS, n, &e), want);
	}
}

PROMISE(one_key_is_found_by_its_whole_name)
{
	static const struct {
		const char *key;
		int r;
		uint64_t value;
	} table[] = {
		{ "anon", 0, 100 },	{ "file", 0, 2000 },	    { "inactive_file", 0, 30000 },
		{ "slab", 0, 7 },	{ "inactive", -ENOENT, 9 }, { "_file", -ENOENT, 9 },
		{ "File", -ENOENT, 9 }, { "", -ENOENT, 9 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t value = 9;

		assert_int_equal(keyed_get(STAT, strlen(STAT), table[i].key, &value), table[i].r);
		assert_int_equal(value, table[i].value);
	}
	assert_int_equal(keyed_get(NULL, 0, "anon", &(uint64_t){ 0 }), -ENOENT);
}

/* However small the buffer: the value is the right one or there is none. */
PROMISE(a_line_that_was_cut_off_is_as_if_absent)
{
	size_t whole = strlen("anon 100\nfile 2000\ninactive_file 30000\n");

	for (size_t n = 0; n <= strlen(STAT); n++) {
		uint64_t value = 9;
		int r = keyed_get(STAT, n, "inactive_file", &value);

		assert_int_equal(r, n < whole ? -ENOENT : 0);
		assert_int_equal(value, n < whole ? 9 : 30000);
	}
}

PROMISE(a_line_before_the_key_must_make_sense)
{
	static const struct {
		const char *text;
		int r;
	} table[] = {
		{ "\nkey 1\n", -EBADMSG },
		{ "word\nkey 1\n", -EBADMSG },
		{ " 1\nkey 1\n", -EBADMSG },
		{ "key\n", -EBADMSG },
		{ "key \n", -EBADMSG },
		{ "key x\n", -EBADMSG },
		{ "key 1 2\n", -EBADMSG },
		{ "key 18446744073709551616\n", -EBADMSG },
		{ "other x y z\nkey 1\nword\n", 0 },
		{ "key 1\nkey 2\n", 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t value = 9;

		assert_int_equal(keyed_get(table[i].text, strlen(table[i].text), "key", &value),
				 table[i].r);
		assert_int_equal(value, table[i].r < 0 ? 9 : 1);
	}
}

PROMISE(meminfo_counts_in_bytes)
{
	static const struct {
		const char *text, *key;
		int r;
		uint64_t bytes;
	} table[] = {
		{ MEMINFO, "MemTotal", 0, UINT64_C(16316412) * 1024 },
		{ MEMINFO, "MemFree", 0, 1024 },
		{ MEMINFO, "Hugepagesize", 0, 2048 * 1024 },
		{ MEMINFO, "HugePages_Total", -EBADMSG, 9 },
		{ MEMINFO, "Mem", -ENOENT, 9 },
		{ MEMINFO, "memtotal", -ENOENT, 9 },
		{ "MemTotal: 18014398509481983 kB\n", "MemTotal", 0, UINT64_MAX - 1023 },
		{ "MemTotal: 18014398509481984 kB\n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: 18446744073709551616 kB\n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: 1 MB\n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: 1 kB \n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: kB\n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: -1 kB\n", "MemTotal", -EBADMSG, 9 },
		{ "MemTotal: 1 kB", "MemTotal", -ENOENT, 9 },
		{ "MemTotal 1 kB\n", "MemTotal", -EBADMSG, 9 },
		{ "\nMemTotal: 1 kB\n", "MemTotal", -EBADMSG, 9 },
		{ ": 1 kB\n", "", -EBADMSG, 9 },
		{ "", "MemTotal", -ENOENT, 9 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t bytes = 9;
		int r = meminfo_get(table[i].text, strlen(table[i].text), table[i].key, &bytes);

		if (r != table[i].r || bytes != table[i].bytes)
			fail_msg("%s in \"%s\" gave %d", table[i].key, table[i].text, r);
	}
}

PROMISE(a_limit_is_a_number_or_max_and_a_newline)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} table[] = { { "max\n", UINT64_MAX },
		      { "0\n", 0 },
		      { "4194304\n", 4194304 },
		      { "9223372036854771712\n", UINT64_C(9223372036854771712) },
		      { "18446744073709551615\n", UINT64_MAX } };

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		uint64_t bytes = 9;

		assert_int_equal(limit_parse(table[i].text, strlen(table[i].text), &bytes), 0);
		assert_true(bytes == table[i].bytes);
	}
}
