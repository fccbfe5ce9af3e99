/* SPDX-License-Identifier: MIT */
/*
 * test-wire.c - what is said on psibridged's notify socket (src/core/wire.h)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "core/wire.h"

/* A text with its length, NULs inside included. */
#define BYTES(text) text, sizeof(text) - 1

/* The parser sees a copy of exactly that length, so that the sanitizer sees it reading on. */
static int parse(const char *text, size_t size, struct wire_hello *ret, const char **ret_why)
{
	char *copy = malloc(size > 0 ? size : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, size);
	r = wire_hello_parse(copy, size, ret, ret_why);
	if (r >= 0 && ret->cgroup) /* it points into the copy: let it point into the original */
		ret->cgroup = text + (ret->cgroup - copy);
	free(copy);
	return r;
}

static void assert_terms(const struct wire_hello *h, struct policy_options expected)
{
	assert_true(settings_are_equal(&h->terms, &expected));
	/* to which "off" and nothing are alike */
	assert_int_equal(h->terms.headroom_percent, expected.headroom_percent);
}

/* ---- hellos ------------------------------------------------------------------------------------ */

PROMISE(no_byte_at_all_is_systemds_protocol)
{
	struct wire_hello h;

	assert_int_equal(wire_hello_parse(NULL, 0, &h, NULL), 1);
	assert_int_equal(h.kind, WIRE_PLAIN);
	assert_terms(&h, (struct policy_options){ 0 });
	assert_null(h.cgroup);
}

PROMISE(a_trigger_is_complete_with_a_newline_a_nul_or_as_it_stands)
{
	static const struct {
		const char *text;
		size_t size;
		int result;
		struct trigger low;
	} table[] = {
		{ BYTES("some 200000 2000000"), 1, { PSI_SOME, 200000, 2000000 } },
		{ BYTES("some 200000 2000000\n"), 0, { PSI_SOME, 200000, 2000000 } },
		{ BYTES("some 200000 2000000\0"), 0, { PSI_SOME, 200000, 2000000 } },
		{ BYTES("some 200000 200000"), 1, { PSI_SOME, 200000, 200000 } },
		{ BYTES("full 100ms/2s\n"), 0, { PSI_FULL, 100000, 2000000 } },
		{ BYTES("full  100000\t2000000"), 1, { PSI_FULL, 100000, 2000000 } },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct wire_hello h;

		assert_int_equal(parse(table[i].text, table[i].size, &h, NULL), table[i].result);
		assert_int_equal(h.kind, WIRE_TRIGGER);
		assert_null(h.cgroup);
		assert_terms(&h, (struct policy_options){ .low = table[i].low });
	}
}

PROMISE(our_line_says_all_that_a_subscription_may)
{
	static const char all[] =
		"psibridge/1 critical=full:100000:2000000 early=some:20000:2000000 "
		"low=some:200000:1000000 calm=3 rearm=1 quiet=86400000000 "
		"headroom=99 cgroup=a b/c=d low=x\n";
	struct wire_hello h;

	assert_int_equal(parse(BYTES("psibridge/1\n"), &h, NULL), 0);
	assert_int_equal(h.kind, WIRE_SUBSCRIBE);
	assert_terms(&h, (struct policy_options){ 0 });
	assert_null(h.cgroup);

	assert_int_equal(parse(BYTES(all), &h, NULL), 0);
	assert_int_equal(h.kind, WIRE_SUBSCRIBE);
	assert_terms(&h, (struct policy_options){ .early = { PSI_SOME, 20000, 2000000 },
						  .low = { PSI_SOME, 200000, 1000000 },
						  .critical = { PSI_FULL, 100000, 2000000 },
						  .rearm_usec = 1,
						  .quiet_usec = 86400000000,
						  .calm_usec = 3,
						  .headroom_percent = 99 });
	assert_int_equal(h.cgroup_size, strlen("a b/c=d low=x"));
	assert_memory_equal(h.cgroup, "a b/c=d low=x", h.cgroup_size);

	assert_int_equal(parse(BYTES("psibridge/1 headroom=off cgroup=/\n"), &h, NULL), 0);
	assert_terms(&h, (struct policy_options){ .headroom_percent = HEADROOM_OFF });
	assert_int_equal(h.cgroup_size, 1);
}

PROMISE(every_prefix_of_a_good_line_asks_for_more)
{
	static const char *const lines[] = {
		"psibridge/1\n",
		"psibridge/1 early=some:20000:2000000 low=some:200000:2000000 "
		"critical=full:100000:2000000 rearm=8192000 quiet=4000000 calm=10000000 "
		"headroom=25 cgroup=/a/b c\n",
		"psibridge/1 headroom=off cgroup=sub\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
		size_t size = strlen(lines[i]);
		struct wire_hello h;

		for (size_t n = 1; n < size; n++)
			assert_int_equal(parse(lines[i], n, &h, NULL), -EAGAIN);
		assert_int_equal(parse(lines[i], size, &h, NULL), 0);
	}
}

PROMISE(a_trigger_that_comes_byte_by_byte_is_complete_when_it_makes_sense)
{
	static const char text[] = "some 20000 200000";
	/* from "some 20000 20000" on the window is long enough and no shorter than the threshold,
	 * but 20 ms is less than 100 ms */
	size_t first = strlen("some 20000 200000");
	struct wire_hello h;

	for (size_t n = 1; n < first; n++)
		assert_int_equal(parse(text, n, &h, NULL), -EAGAIN);
	assert_int_equal(parse(text, first, &h, NULL), 1);
	assert_int_equal(parse("some 20000 2000000", first + 1, &h, NULL), 1);
	assert_int_equal(h.terms.low.window_usec, 2000000);
	assert_int_equal(parse("some 20000 2000000\n", first + 2, &h, NULL), 0);
}

PROMISE(a_hello_that_never_ends_is_refused)
{
	static char text[WIRE_HELLO_MAX + 1];
	struct wire_hello h;
	const char *why;
	size_t n;

	/* our line: as long as one may be, with its newline */
	memset(text, 'x', sizeof(text));
	memcpy(text, "psibridge/1 cgroup=", 19);
	assert_int_equal(parse(text, WIRE_HELLO_MAX - 1, &h, NULL), -EAGAIN);
	assert_int_equal(parse(text, WIRE_HELLO_MAX, &h, &why), -EINVAL);
	assert_string_equal(why, "the line is too long");
	text[WIRE_HELLO_MAX] = '\n';
	assert_int_equal(parse(text, WIRE_HELLO_MAX + 1, &h, &why), -EINVAL);
	assert_string_equal(why, "the line is too long");

	/* a path as long as one may be, and one byte more */
	text[19 + CGPATH_MAX - 1] = '\n';
	assert_int_equal(parse(text, 19 + CGPATH_MAX, &h, NULL), 0);
	assert_int_equal(h.cgroup_size, CGPATH_MAX - 1);
	text[19 + CGPATH_MAX - 1] = 'x';
	text[19 + CGPATH_MAX] = '\n';
	assert_int_equal(parse(text, 19 + CGPATH_MAX + 1, &h, &why), -EINVAL);
	assert_string_equal(why, "the cgroup's path is too long");

	/* a trigger of nothing but blanks */
	memset(text, ' ', sizeof(text));
	memcpy(text, "some", 4);
	for (n = 4; n < sizeof(text) && parse(text, n, &h, &why) == -EAGAIN; n++)
		;
	assert_int_equal(n, 256);
	assert_string_equal(why, "the trigger is too long");
}

PROMISE(what_is_formatted_is_parsed_as_the_same)
{
	static const struct {
		struct policy_options terms;
		const char *line;
	} table[] = {
		{ { .rearm_usec = 0 }, "psibridge/1\n" },
		{ { .low = { PSI_SOME, 200000, 2000000 } },
		  "psibridge/1 low=some:200000:2000000\n" },
		{ { .early = { PSI_SOME, 1, 100000 },
		    .critical = { PSI_FULL, 10000000, 10000000 },
		    .rearm_usec = 1,
		    .quiet_usec = 2,
		    .calm_usec = 86400000000,
		    .headroom_percent = 7 },
		  "psibridge/1 early=some:1:100000 critical=full:10000000:10000000 rearm=1 "
		  "quiet=2 calm=86400000000 headroom=7\n" },
		{ { .headroom_percent = HEADROOM_OFF }, "psibridge/1 headroom=off\n" },
	};
	/* the biggest numbers that fit the structure: refused by whoever parses, but no overflow */
	static const struct trigger longest = { PSI_FULL, UINT64_MAX, UINT64_MAX };
	const struct policy_options most = { longest,	 longest,    longest,	      UINT64_MAX,
					     UINT64_MAX, UINT64_MAX, HEADROOM_OFF - 1 };
	char *buf = malloc(WIRE_LINE_MAX); /* the sanitizer watches its end */
	struct wire_hello h;
	size_t n;

	assert_non_null(buf);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		n = wire_hello_format(&table[i].terms, buf);
		assert_int_equal(n, strlen(table[i].line));
		assert_memory_equal(buf, table[i].line, n);
		assert_int_equal(parse(buf, n, &h, NULL), 0);
		assert_terms(&h, table[i].terms);
		assert_null(h.cgroup);
	}
	n = wire_hello_format(&most, buf);
	assert_in_range(n, 250, WIRE_LINE_MAX);
	assert_int_equal(buf[n - 1], '\n');
	free(buf);
}

/* ---- records ----------------------------------------------------------------------------------- */

static struct wire_record record(enum wire_record_kind kind, unsigned available, unsigned critical)
{
	return (struct wire_record){
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = (uint8_t)available,
		.critical = (uint8_t)critical,
		.reason = 1,
	};
}

PROMISE(a_record_is_what_it_was_when_this_was_written)
{
	assert_int_equal(sizeof(struct wire_record), 192);
	assert_int_equal(offsetof(struct wire_record, kind), 6);
	assert_int_equal(offsetof(struct wire_record, available), 8);
	assert_int_equal(offsetof(struct wire_record, error), 12);
	assert_int_equal(offsetof(struct wire_record, time_usec), 16);
	assert_int_equal(offsetof(struct wire_record, some_total_usec), 32);
	assert_int_equal(offsetof(struct wire_record, current_bytes), 56);
	assert_int_equal(offsetof(struct wire_record, some_avg10_centi), 72);
	assert_int_equal(offsetof(struct wire_record, text), 80);
}

PROMISE(a_record_is_checked_before_it_is_believed)
{
	static const struct {
		unsigned kind, available, critical;
		int result;
	} table[] = {
		{ WIRE_WELCOME, 3, 0, 0 },
		{ WIRE_WELCOME, 1, 1, 0 },
		{ WIRE_LEVEL, 1, 0, 0 },
		{ WIRE_LEVEL, 1, 1, 0 },
		{ WIRE_LEVEL, 2, 0, 0 },
		{ WIRE_LEVEL, 3, 0, 0 },
		{ WIRE_GONE, 2, 0, 0 },
		{ WIRE_GONE, 3, 0, 0 },
		{ WIRE_BYE, 0, 0, 0 },
		{ WIRE_REFUSED, 0, 0, 0 },
		{ WIRE_WELCOME, 0, 0, -EBADMSG },
		{ WIRE_LEVEL, 0, 0, -EBADMSG },
		{ WIRE_LEVEL, 4, 0, -EBADMSG },
		{ WIRE_LEVEL, 255, 0, -EBADMSG },
		{ WIRE_LEVEL, 1, 2, -EBADMSG },
		{ WIRE_LEVEL, 2, 1, -EBADMSG },
		{ WIRE_LEVEL, 3, 1, -EBADMSG },
		{ WIRE_GONE, 1, 0, -EBADMSG },
		{ WIRE_GONE, 0, 0, -EBADMSG },
		{ 0, 3, 0, -EBADMSG },
		{ WIRE_REFUSED + 1, 0, 0, -ENOTSUP },
		{ 65535, 255, 255, -ENOTSUP },
	};
	struct wire_record r;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		r = record(table[i].kind, table[i].available, table[i].critical);
		if (wire_record_check(&r) != table[i].result)
			fail_msg("kind %u, available %u, critical %u: %d instead of %d",
				 table[i].kind, table[i].available, table[i].critical,
				 wire_record_check(&r), table[i].result);
	}

	r = record(WIRE_LEVEL, 3, 0);
	r.magic++;
	assert_int_equal(wire_record_check(&r), -EBADMSG);
	r = record(WIRE_LEVEL, 3, 0);
	r.size = WIRE_RECORD_SIZE - 8;
	assert_int_equal(wire_record_check(&r), -EBADMSG);
	/* a kind that nobody knows, but of another size: not to be skipped */
	r = record(77, 3, 0);
	r.size = WIRE_RECORD_SIZE + 8;
	assert_int_equal(wire_record_check(&r), -EBADMSG);
	r = record(WIRE_REFUSED, 0, 0);
	memset(r.text, 'x', sizeof(r.text));
	assert_int_equal(wire_record_check(&r), -EBADMSG);
	r.text[WIRE_TEXT_MAX - 1] = '\0';
	assert_int_equal(wire_record_check(&r), 0);
	memset(&r, 0, sizeof(r));
	assert_int_equal(wire_record_check(&r), -EBADMSG);
}
