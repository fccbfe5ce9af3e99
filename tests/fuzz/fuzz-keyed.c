/* SPDX-License-Identifier: MIT */
/*
 * fuzz-keyed.c - any bytes as memory.events, memory.stat, /proc/meminfo or a limit
 *
 * Two readers of one text agree: what memory_events_parse() says of a key, keyed_get() says too,
 * where the key is there once. Cutting a text off never changes a value, it only hides it.
 */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/keyed.h"

static void check_events(const char *text, size_t size)
{
	struct memory_events e, again;
	char buf[256];
	uint64_t value;
	int n;

	if (memory_events_parse(text, size, &e) < 0)
		return;
	n = snprintf(buf, sizeof(buf),
		     "low %" PRIu64 "\nhigh %" PRIu64 "\nmax %" PRIu64 "\noom %" PRIu64
		     "\noom_kill %" PRIu64 "\n",
		     e.low, e.high, e.max, e.oom, e.oom_kill);
	CHECK(memory_events_parse(buf, (size_t)n, &again) == 0);
	CHECK(memcmp(&e, &again, sizeof(e)) == 0);
	CHECK(keyed_get(buf, (size_t)n, "oom_kill", &value) == 0 && value == e.oom_kill);
	/* a text that passed as a whole has no bad line */
	CHECK(keyed_get(text, size, "no_such\nkey", &value) == -ENOENT);
}

static void check_cuts(const char *text, size_t size)
{
	static const char *const keys[] = { "inactive_file", "max", "MemTotal" };

	for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
		uint64_t whole = 1, part = 2;
		int r = keyed_get(text, size, keys[i], &whole);

		CHECK(r == 0 || r == -ENOENT || r == -EBADMSG);
		if (size > 0 && keyed_get(text, size - 1, keys[i], &part) == 0)
			CHECK(r == 0 && part == whole);
		r = meminfo_get(text, size, keys[i], &whole);
		CHECK(r == 0 || r == -ENOENT || r == -EBADMSG);
		if (size > 0 && meminfo_get(text, size - 1, keys[i], &part) == 0)
			CHECK(r == 0 && part == whole);
		if (r == 0)
			CHECK(whole % 1024 == 0);
	}
}

static void check_limit(const char *text, size_t size)
{
	uint64_t limit, again;
	char buf[32];
	int n;

	if (limit_parse(text, size, &limit) < 0)
		return;
	n = snprintf(buf, sizeof(buf), "%" PRIu64 "\n", limit);
	CHECK(limit_parse(buf, (size_t)n, &again) == 0 && again == limit);
	CHECK(limit_parse(buf, (size_t)n - 1, &again) == -EBADMSG);
}

FUZZ_TARGET(keyed)
{
	check_events((const char *)data, size);
	check_cuts((const char *)data, size);
	check_limit((const char *)data, size);
	return 0;
}
