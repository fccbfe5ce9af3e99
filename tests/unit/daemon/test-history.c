/* SPDX-License-Identifier: MIT */
/*
 * test-history.c - counters that outlive their cgroups (daemon/history.h)
 */
#include "../unit.h"
#include "daemon/history.h"

#define SEC USEC_PER_SEC
#define HOUR (3600 * USEC_PER_SEC)

static struct history *h;

static int begin(_unused_ void **state)
{
	return history_new(NULL, &h);
}

static int end(_unused_ void **state)
{
	h = history_free(h);
	return 0;
}

/* `available` 0: it was removed. */
static void told(const char *cgroup, enum psb_available available, uint64_t at)
{
	history_level(
		h, &(struct psb_notification){ .kind = available ? PSB_KIND_LEVEL : PSB_KIND_GONE,
					       .available = available,
					       .cgroup = cgroup,
					       .time_usec = at });
}

/* False: it has none. */
static bool find(const char *cgroup, uint64_t now, struct past *ret)
{
	for (size_t i = 0; history_get(h, i, now, ret); i++)
		if (strcmp(ret->cgroup, cgroup) == 0)
			return true;
	return false;
}

PROMISE(lows_and_their_time_are_counted_until_the_end_of_the_cgroup_and_for_an_hour)
{
	struct past p;

	told("/a", PSB_NEUTRAL, 1 * SEC); /* never Low: no history */
	assert_false(find("/a", 1 * SEC, &p));
	told("/b", PSB_LOW, 1 * SEC);
	told("/a", PSB_LOW, 10 * SEC);
	told("/a", PSB_LOW, 12 * SEC); /* repeated */
	assert_true(find("/a", 13 * SEC, &p));
	assert_int_equal(p.low, 1);
	assert_int_equal(p.low_usec, 3 * SEC); /* it goes on */
	told("/a", PSB_NEUTRAL, 14 * SEC);
	told("/a", PSB_HIGH, 20 * SEC);
	told("/a", PSB_LOW, 30 * SEC);
	told("/a", 0, 31 * SEC);
	assert_true(find("/a", 31 * SEC + HOUR, &p));
	assert_int_equal(p.low, 2);
	assert_int_equal(p.low_usec, 5 * SEC);
	assert_int_equal(p.killed, 0);
	assert_false(find("/a", 31 * SEC + HOUR + 1, &p));
	/* what is Low is not forgotten */
	assert_true(find("/b", 5 * HOUR, &p));
	assert_int_equal(p.low_usec, 5 * HOUR - SEC);
}

PROMISE(effects_are_counted_and_high_or_the_end_forgets_what_was_unanswered)
{
	struct psb_stats stats = { .effect_usec = 5 * SEC,
				   .effect_bytes = 40,
				   .effect_reported_bytes = 50,
				   .first_back_usec = 1,
				   .stall_before_usec = 2,
				   .stall_after_usec = PSB_UNKNOWN };
	struct past p;

	assert_int_equal(history_effect(h, "/a", &stats), 0); /* never Low: no history */
	assert_false(find("/a", 5 * SEC, &p));
	told("/a", PSB_LOW, 5 * SEC);
	assert_int_equal(history_effect(h, "/a", &stats), 0);
	assert_true(find("/a", 5 * SEC, &p) && p.effect_reported_bytes == 50);
	stats = (struct psb_stats){ .effect_usec = 15 * SEC, .unanswered = 3, .effect_bytes = 2 };
	assert_int_equal(history_effect(h, "/a", &stats), 0);
	assert_int_equal(history_effect(h, "/a", &stats), 3);
	assert_true(find("/a", 20 * SEC, &p));
	assert_true(p.effects == 3 && p.bytes_back == 44 && p.unanswered == 3);
	assert_true(p.effect_usec == 15 * SEC && p.effect_bytes == 2 && p.first_back_usec == 0 &&
		    p.stall_before_usec == 0 && p.stall_after_usec == 0);
	told("/a", PSB_NEUTRAL, 21 * SEC);
	assert_true(find("/a", 21 * SEC, &p) && p.unanswered == 3);
	told("/a", PSB_HIGH, 22 * SEC);
	assert_true(find("/a", 22 * SEC, &p) && p.unanswered == 0);
	(void)history_effect(h, "/a", &stats);
	told("/a", 0, 23 * SEC);
	assert_true(find("/a", 23 * SEC, &p) && p.unanswered == 0 && p.effects == 4);
}

PROMISE(kills_are_counted_and_the_last_one_is_kept)
{
	struct oom_kill kill = { .cgroup = "/a/b", .limit = "/a", .task = "one", .pid = 1 };
	struct past p;

	history_kill(h, &kill, 5 * SEC);
	kill = (struct oom_kill){
		.cgroup = "/a/b", .task = "two", .pid = 2, .usage_bytes = 10, .limit_bytes = 11
	};
	history_kill(h, &kill, 6 * SEC);
	assert_true(find("/a/b", 6 * SEC, &p));
	assert_int_equal(p.killed, 2);
	assert_string_equal(p.task, "two");
	assert_string_equal(p.limit, "");
	assert_true(p.pid == 2 && p.usage_bytes == 10 && p.limit_bytes == 11);
	assert_int_equal(p.killed_usec, 6 * SEC);
}

PROMISE(of_too_many_the_one_that_was_silent_for_longest_goes)
{
	struct past p;
	char name[32];

	for (unsigned i = 0; i < HISTORY_MAX; i++) {
		snprintf(name, sizeof(name), "/c%u", i);
		told(name, PSB_LOW, (i + 1) * SEC);
	}
	told("/c0", PSB_HIGH, 2000 * SEC);
	told("/new", PSB_LOW, 2001 * SEC);
	assert_true(find("/c0", 2001 * SEC, &p) && find("/c2", 2001 * SEC, &p));
	assert_true(find("/new", 2001 * SEC, &p) && !find("/c1", 2001 * SEC, &p));
}

EACH(begin, end)
