/* SPDX-License-Identifier: MIT */
/*
 * fuzz-trigger.c - any bytes as a trigger, and as a duration
 *
 * What is accepted obeys the rules of trigger.h, and written in either notation it is accepted
 * again and means the same, rescaled to other windows too. What is refused says why and writes
 * nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/duration.h"

static void check_round_trip(const struct trigger *t)
{
	char ours[TRIGGER_TEXT_MAX], kernel[TRIGGER_TEXT_MAX];
	size_t n = trigger_format(t, ours), m = trigger_format_kernel(t, kernel);
	struct trigger a, b;

	CHECK(n == strlen(ours) && m == strlen(kernel));
	/* with the NUL, as it goes to the kernel */
	CHECK(trigger_parse(ours, n, &a, NULL) == 0);
	CHECK(trigger_parse(kernel, m + 1, &b, NULL) == 0);
	CHECK(a.kind == t->kind && b.kind == t->kind);
	CHECK(a.threshold_usec == t->threshold_usec && b.threshold_usec == t->threshold_usec);
	CHECK(a.window_usec == t->window_usec && b.window_usec == t->window_usec);
}

static void check_duration(const char *text, size_t size)
{
	uint64_t usec = 12345, again;
	char buf[DURATION_TEXT_MAX];
	const char *why = NULL;
	int r = duration_parse(text, size, &usec, &why);

	if (r < 0) {
		CHECK(r == -EINVAL || r == -ERANGE);
		CHECK(why && *why);
		CHECK(usec == 12345);
		return;
	}
	CHECK(r == 0 && !why && usec <= DURATION_MAX_USEC);
	CHECK(duration_format(usec, buf) == strlen(buf));
	CHECK(strlen(buf) <= 22);
	CHECK(duration_parse(buf, strlen(buf), &again, NULL) == 0);
	CHECK(again == usec);
}

FUZZ_TARGET(trigger)
{
	static const uint64_t windows[] = { 100000, 333333, 500000, 2000000, 10000000 };
	struct trigger t, before;
	const char *why = NULL;
	int r;

	check_duration((const char *)data, size);

	memset(&t, 0x5a, sizeof(t));
	before = t;
	r = trigger_parse((const char *)data, size, &t, &why);
	if (r < 0) {
		CHECK(r == -EINVAL);
		CHECK(why && *why);
		CHECK(memcmp(&t, &before, sizeof(t)) == 0);
		return 0;
	}
	CHECK(r == 0 && !why && is_trigger(&t));
	check_round_trip(&t);
	for (size_t i = 0; i < ELEMENTSOF(windows); i++) {
		struct trigger scaled = trigger_rescale(&t, windows[i]);

		CHECK(is_trigger(&scaled) && scaled.window_usec == windows[i]);
		CHECK(scaled.threshold_usec <= t.threshold_usec);
		check_round_trip(&scaled);
	}
	return 0;
}
