/* SPDX-License-Identifier: MIT */
/*
 * test-history.c - counters that outlive their cgroups (daemon/history.h)
 */
#include "../unit.h"
#include "daemon/history.h"

#include <stdio.h>
#include <string.h>

#define SEC USEC_PER_SEC
#define HOUR (3600 * USEC_PER_SEC)

static void told(struct history *h, const char *cgroup, enum psb_available available, uint64_t at)
{
	struct psb_notification n = {
		.kind = PSB_KIND_LEVEL, .available = available, .cgroup = cgroup, .time_usec = at
	};

	history_level(h, &n);
}

static void removed(struct history *h, const char *cgroup, uint64_t at)
{
	struct psb_notification n = { .kind = PSB_KIND_GONE, .cgroup = cgroup, .time_usec = at };

	history_level(h, &n);
}

/* False: it has none. */
static bool find(struct history *h, const char *cgroup, uint64_t now, struct past *ret)
{
	for (size_t i = 0; history_get(h, i, now, ret); i++)
		if (strcmp(ret->cgroup, cgroup) == 0)
			return true;
	return false;
}

static struct history *make(void)
{
	struct history *h;

	assert_int_equal(history_new(&h), 0);
	return h;
}

PROMISE(lows_and_their_time_are_counted_until_the_end_of_the_cgroup_and_after_it)
{
	struct history *h = make();
	struct past p;

	told(h, "/a", PSB_NEUTRAL, 1 * SEC); /* never Low: no history */
	assert_false(find(h, "/a", 1 * SEC, &p));
	told(h, "/a", PSB_LOW, 10 * SEC);
	told(h, "/a", PSB_LOW, 12 * SEC); /* repeated */
	assert_true(find(h, "/a", 13 * SEC, &p));
	assert_int_equal(p.low, 1);
	assert_int_equal(p.low_usec, 3 * SEC); /* it goes on */
	told(h, "/a", PSB_NEUTRAL, 14 * SEC);
	told(h, "/a", PSB_HIGH, 20 * SEC);
	told(h, "/a", PSB_LOW, 30 * SEC);
	removed(h, "/a", 31 * SEC);
	assert_true(find(h, "/a", 31 * SEC + HOUR, &p));
	assert_int_equal(p.low, 2);
	assert_int_equal(p.low_usec, 5 * SEC);
	assert_int_equal(p.killed, 0);
	assert_false(find(h, "/a", 31 * SEC + HOUR + 1, &p));
	history_free(h);
}

PROMISE(what_is_low_is_not_forgotten)
{
	struct history *h = make();
	struct past p;

	told(h, "/a", PSB_LOW, SEC);
	assert_true(find(h, "/a", 5 * HOUR, &p));
	assert_int_equal(p.low_usec, 5 * HOUR - SEC);
	history_free(h);
}

PROMISE(kills_are_counted_and_the_last_one_is_kept)
{
	struct oom_kill kill = { .cgroup = "/a/b",
				 .limit = "/a",
				 .task = "one",
				 .pid = 1,
				 .usage_bytes = 10,
				 .limit_bytes = 11 };
	struct history *h = make();
	struct past p;

	history_kill(h, &kill, 5 * SEC);
	kill.pid = 2;
	strcpy(kill.task, "two");
	strcpy(kill.limit, "/a/b");
	history_kill(h, &kill, 6 * SEC);
	assert_true(find(h, "/a/b", 6 * SEC, &p));
	assert_int_equal(p.killed, 2);
	assert_string_equal(p.task, "two");
	assert_string_equal(p.limit, "/a/b");
	assert_int_equal(p.pid, 2);
	assert_int_equal(p.killed_usec, 6 * SEC);
	kill.limit[0] = '\0';
	history_kill(h, &kill, 7 * SEC);
	assert_true(find(h, "/a/b", 7 * SEC, &p));
	assert_string_equal(p.limit, "");
	history_free(h);
}

PROMISE(of_too_many_the_one_that_was_silent_for_longest_goes)
{
	struct history *h = make();
	struct past p;
	char name[32];

	for (unsigned i = 0; i < HISTORY_MAX; i++) {
		snprintf(name, sizeof(name), "/c%u", i);
		told(h, name, PSB_LOW, (i + 1) * SEC);
	}
	told(h, "/c0", PSB_HIGH, 2000 * SEC);
	told(h, "/new", PSB_LOW, 2001 * SEC);
	assert_true(find(h, "/c0", 2001 * SEC, &p));
	assert_false(find(h, "/c1", 2001 * SEC, &p));
	assert_true(find(h, "/c2", 2001 * SEC, &p));
	assert_true(find(h, "/new", 2001 * SEC, &p));
	history_free(h);
}
