/* SPDX-License-Identifier: MIT */
/*
 * fuzz-wire.c - any bytes as a hello, and as a record
 *
 * What is accepted obeys the rules of wire.h, and written again it is accepted again and means the
 * same. What is refused says why and writes nothing. The same bytes mean the same however they came:
 * no prefix of what is accepted was refused, and what was refused stays refused.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "core/wire.h"

#define DAY_USEC (UINT64_C(86400) * USEC_PER_SEC)

static void check_round_trip(const struct wire_hello *h)
{
	const struct policy_options *t = &h->terms, *u;
	char line[WIRE_LINE_MAX];
	struct wire_hello again;
	size_t n = wire_hello_format(t, line);

	if (h->cgroup)
		CHECK(h->cgroup_size > 0 && h->cgroup_size < CGPATH_MAX &&
		      !memchr(h->cgroup, '\0', h->cgroup_size));
	CHECK(n <= WIRE_LINE_MAX && line[n - 1] == '\n');
	CHECK(wire_hello_parse(line, n, &again, NULL) == 0);
	u = &again.terms;
	CHECK(again.kind == WIRE_SUBSCRIBE);
	CHECK(settings_are_equal(t, u));
	CHECK(!again.cgroup);
}

static void check_accepted(const struct wire_hello *h, int result)
{
	const struct policy_options *t = &h->terms;

	CHECK(t->early.window_usec == 0 || is_trigger(&t->early));
	CHECK(t->low.window_usec == 0 || is_trigger(&t->low));
	CHECK(t->critical.window_usec == 0 || is_trigger(&t->critical));
	CHECK(t->rearm_usec <= DAY_USEC && t->quiet_usec <= DAY_USEC && t->calm_usec <= DAY_USEC);
	CHECK(t->headroom_percent <= 99 || t->headroom_percent == HEADROOM_OFF);
	switch (h->kind) {
	case WIRE_PLAIN:
		CHECK(result == 1);
		break;
	case WIRE_TRIGGER:
		CHECK(t->low.window_usec > 0 && t->early.window_usec == 0 &&
		      t->critical.window_usec == 0 && !h->cgroup);
		break;
	case WIRE_SUBSCRIBE:
		CHECK(result == 0);
		break;
	}
	check_round_trip(h);
}

static void check_hello(const char *data, size_t size)
{
	/* as a server would: all that came so far, more each time; the cuts are not everywhere, for
	 * a long input would take its square */
	size_t step = 1 + size / 64;
	bool refused = false;

	for (size_t n = 0;; n = MIN(n + step, size)) {
		struct wire_hello h, before;
		const char *why = NULL;
		int r;

		memset(&h, 0x5a, sizeof(h));
		before = h;
		r = wire_hello_parse(data, n, &h, &why);
		if (refused)
			CHECK(r == -EINVAL || r == -EPROTONOSUPPORT);
		if (r < 0) {
			CHECK(r == -EAGAIN || r == -EINVAL || r == -EPROTONOSUPPORT);
			CHECK((r == -EAGAIN) == !why && (!why || *why));
			CHECK(memcmp(&h, &before, sizeof(h)) == 0);
			CHECK(r != -EAGAIN || n < WIRE_HELLO_MAX); /* somewhere it ends */
			refused = r != -EAGAIN;
		} else {
			CHECK(r <= 1 && !why);
			check_accepted(&h, r);
		}
		if (n == size)
			return;
	}
}

static void check_record(const void *data)
{
	struct wire_record r;
	int error;

	memcpy(&r, data, sizeof(r));
	error = wire_record_check(&r);
	CHECK(error == 0 || error == -EBADMSG || error == -ENOTSUP);
	if (error == -EBADMSG)
		return;
	CHECK(r.magic == WIRE_MAGIC && r.size == WIRE_RECORD_SIZE && r.kind > 0);
	CHECK((error == -ENOTSUP) == (r.kind > WIRE_EFFECT));
	if (error < 0 || r.kind == WIRE_EFFECT)
		return;
	CHECK(strnlen(r.text, WIRE_TEXT_MAX) < WIRE_TEXT_MAX);
	if (r.kind == WIRE_BYE || r.kind == WIRE_REFUSED)
		return;
	CHECK(r.available >= 1 && r.available <= 3 && r.critical <= (r.available == 1));
	CHECK(r.kind != WIRE_GONE || r.available != 1);
}

FUZZ_TARGET(wire)
{
	check_hello((const char *)data, size);
	if (size >= WIRE_RECORD_SIZE)
		check_record(data);
}
