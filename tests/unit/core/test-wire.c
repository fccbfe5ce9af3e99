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

/* The parser sees a copy of exactly that length, so that the sanitizer sees it reading on. */
static int parse(const char *text, size_t size, struct wire_hello *ret, const char **ret_why)
{
	char *copy = malloc(size > 0 ? size : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, size);
	r = wire_hello_parse(copy, size, ret, ret_why);
	free(copy);
	return r;
}

/* ---- hellos: what they mean is in test-parsers.c -------------------------------------------------- */

PROMISE(every_prefix_of_a_good_line_asks_for_more)
{
	static const char *const lines[] = {
		"psibridge/1\n",
		"psibridge/1 early=some:20000:2000000 low=some:200000:2000000 "
		"critical=full:100000:2000000 rearm=8192000 quiet=4000000 calm=10000000 "
		"headroom=25 cgroup=/a/b c\n",
		"psibridge/1 headroom=off forecast=off cgroup=sub\n",
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
	assert_int_equal(offsetof(struct wire_record, takes_reports), 79);
	assert_int_equal(offsetof(struct wire_record, text), 80);
	assert_int_equal(offsetof(struct wire_record, report.usec), 88);
	assert_int_equal(offsetof(struct wire_record, effect.unanswered), 112);
}

/* Of each kind what is good of "0 1 2 3 4", first without critical, then with it. */
PROMISE(a_record_is_checked_before_it_is_believed)
{
	static const char *const good[][2] = {
		[0] = { "-----", "-----" },	      [WIRE_WELCOME] = { "-LNH-", "-L---" },
		[WIRE_LEVEL] = { "-LNH-", "-L---" },  [WIRE_GONE] = { "--NH-", "-----" },
		[WIRE_BYE] = { "01234", "01234" },    [WIRE_REFUSED] = { "01234", "01234" },
		[WIRE_EFFECT] = { "01234", "01234" }, [WIRE_REPORT] = { "01234", "01234" },
	};
	struct wire_record r;

	for (unsigned kind = 0; kind < ELEMENTSOF(good); kind++)
		for (unsigned i = 0; i < 10; i++) {
			r = record(kind, i % 5, i / 5);
			if (wire_record_check(&r) !=
			    (good[kind][i / 5][i % 5] == '-' ? -EBADMSG : 0))
				fail_msg("kind %u, available %u, critical %u", kind, i % 5, i / 5);
		}
	r = record(WIRE_LEVEL, 1, 2);
	assert_int_equal(wire_record_check(&r), -EBADMSG);
	r = record(WIRE_REPORT + 1, 0, 0);
	assert_int_equal(wire_record_check(&r), -ENOTSUP);
	r = record(65535, 255, 255);
	assert_int_equal(wire_record_check(&r), -ENOTSUP);
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
