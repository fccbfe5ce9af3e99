/* SPDX-License-Identifier: MIT */
/*
 * test-ahead.c - which limits of many will be reached (src/monitor/ahead.h)
 *
 * The cgroups are directories of plain files in the kernel's form, with a limit of 640 MiB. That a real one is told: tests/integration/test-forecast.c;
 * what is foretold of growth: tests/unit/core/test-forecast.c.
 */
#include <sys/resource.h>

#include "../unit.h"
#include "../fake-root.h"
#include "monitor/ahead.h"

#define MIB (UINT64_C(1) << 20)
#define LIMIT "671088640\n" /* 640 MiB */
#define SEC USEC_PER_SEC

static struct cgroups cgroups;
static struct cgpattern *pattern;
static struct tree *tree;
static struct ahead *ahead;
static uint64_t now, next;
static char told[512];
static size_t told_length;

static void set_file(const char *path, const char *file, uint64_t number)
{
	char directory[300], text[32];

	snprintf(directory, sizeof(directory), "cg/%s", path);
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)number);
	fake_file(directory, file, text);
}

static void limits(const char *path, const char *max)
{
	char directory[300];

	snprintf(directory, sizeof(directory), "cg/%s", path);
	fake_file(directory, "memory.max", max);
	fake_file(directory, "cgroup.procs", "");
}

/* In MiB, of which so much is page cache. */
static void uses(const char *path, uint64_t all, uint64_t cache)
{
	char directory[300], text[64];

	set_file(path, "memory.current", all * MIB);
	snprintf(directory, sizeof(directory), "cg/%s", path);
	snprintf(text, sizeof(text), "inactive_file %llu\n", (unsigned long long)(cache * MIB));
	fake_file(directory, "memory.stat", text);
}

static void note(void *userdata, const char *path, size_t length, uint64_t left_usec)
{
	assert_ptr_equal(userdata, told);
	assert_in_range(left_usec, 1, 2 * SEC);
	strcat(told, path);
	strcat(told, " ");
	told_length = length;
}

/* Who was told, when all was due that is due within `usec`. */
static const char *after(uint64_t usec)
{
	uint64_t end = now + usec;

	told[0] = '\0';
	for (; next <= end; next = ahead_sweep(ahead, now, note, told)) {
		now = MAX(now, next);
		assert_in_range(next, 0, now);
	}
	now = end;
	return told;
}

static void begin_with(const char *text)
{
	cgroups = fake_v2("cg");
	fake_file("cg/a", "cgroup.procs", "");
	now = 3600 * SEC;
	next = 0;
	assert_int_equal(cgpattern_new(text, "", &pattern, NULL), 0);
	assert_int_equal(tree_new(&cgroups, pattern,
				  &(struct trigger){ PSI_SOME, SEC / 50, 2 * SEC }, &tree),
			 0);
	assert_int_equal(ahead_new(&cgroups, pattern, tree, 2 * SEC, &ahead), 0);
}

static int end(void **state)
{
	ahead = ahead_free(ahead);
	tree = tree_free(tree);
	pattern = cgpattern_free(pattern);
	return fake_tear_down(state);
}

static void begin(void **state)
{
	assert_int_equal(fake_set_up(state), 0);
}

FIXTURE(begin, end)

static uint64_t reached;

/* To `to` MiB, by 20 a second: what idled is looked at every 10 s. */
static const char *grows(const char *path, uint64_t from, uint64_t to, bool cache)
{
	for (; from < to; from += 5) {
		uses(path, from, cache ? from - 50 : 0);
		if (*after(SEC / 4))
			break;
	}
	reached = from;
	return told;
}

PROMISE(only_what_grows_towards_its_limit_is_told)
{
	for (unsigned i = 0; i < 20; i++) {
		char path[16];

		snprintf(path, sizeof(path), "a/c%u", i);
		limits(path, i == 5 ? "max\n" : LIMIT);
		uses(path, i == 6 ? 576 : 100, 0);
	}
	begin_with("/a/*");
	assert_string_equal(after(60 * SEC), "");
	assert_string_equal(grows("a/c5", 100, 630, false), "");
	assert_string_equal(grows("a/c8", 100, 630, true), "");
	assert_string_equal(grows("a/c7", 100, 630, false), "/a/c7 ");
	assert_int_equal(told_length, strlen("/a/c7"));
}

/* It stays at its limit, and by 20 MiB a second what it holds takes the place of page cache. */
static const char *displaces(const char *path, bool reaches_it)
{
	char directory[300], text[64];

	snprintf(directory, sizeof(directory), "cg/%s", path);
	for (unsigned held = 100; held < 640; held += 5) {
		uses(path, 640, 640 - held);
		snprintf(text, sizeof(text), "high 0\nmax %u\noom 0\noom_kill 0\n",
			 reaches_it ? held : 7);
		fake_file(directory, "memory.events.local", text);
		if (*after(SEC / 4))
			break;
	}
	return told;
}

PROMISE(what_is_full_of_page_cache_is_told_apart_when_its_limit_was_reached)
{
	limits("a/c", LIMIT);
	limits("a/d", LIMIT);
	uses("a/d", 640, 540);
	begin_with("/a/*");
	assert_string_equal(displaces("a/c", true), "/a/c ");
	/* it cannot be, and so nobody looks */
	assert_string_equal(displaces("a/d", false), "");
}

PROMISE(what_does_not_grow_is_looked_at_together_and_rarely)
{
	unsigned wakeups = 0;
	uint64_t end;

	for (unsigned i = 0; i < 20; i++) {
		char path[16];

		snprintf(path, sizeof(path), "a/c%u", i);
		limits(path, LIMIT);
		uses(path, 60 * i % 600, 0);
	}
	begin_with("/a/*");
	after(120 * SEC);
	for (end = now + 100 * SEC; next <= end; wakeups++) {
		now = next;
		next = ahead_sweep(ahead, now, note, told);
	}
	assert_in_range(wakeups, 11,
			25); /* looks every 8.4 s, walks every 10 s where that is cheap */
}

PROMISE(a_limit_above_is_told_to_those_who_use_much_of_it)
{
	limits("a", "max\n");
	limits("a/pod", LIMIT);
	limits("a/pod/big", "max\n");
	limits("a/pod/big/child", "max\n");
	limits("a/pod/small", "max\n");
	uses("a/pod/big", 200, 0);
	uses("a/pod/big/child", 20, 0);
	uses("a/pod/small", 79, 0);
	begin_with("/a/**");
	uses("a/pod", 300, 0);
	after(60 * SEC);
	assert_string_equal(grows("a/pod", 100, 630, false), "/a/pod/big ");
	assert_int_equal(told_length, strlen("/a/pod"));
	/* the deepest */
	uses("a/pod/big/child", 180, 0);
	ahead_told(ahead, "/a/pod/big/child", false); /* it stalled there: nothing is known of it */
	assert_string_equal(grows("a/pod", 100, 630, false), "/a/pod/big/child ");
}

PROMISE(what_was_told_is_told_again_only_when_it_goes_on)
{
	uint64_t low;

	limits("a/c", LIMIT);
	uses("a/c", 400, 0);
	begin_with("/a/*");
	after(60 * SEC);
	assert_string_equal(grows("a/c", 100, 630, false), "/a/c ");
	low = reached;
	ahead_told(ahead, "/a/c", true);
	ahead_told(ahead, "/a/cc", false); /* another one */
	uses("a/c", 400, 0);
	after(20 * SEC);
	assert_string_equal(grows("a/c", 100, low + 1, false), "");
	ahead_told(ahead, "/a/c", false); /* it stalled: so much is too much */
	assert_string_equal(grows("a/c", 100, low + 6, false), "/a/c ");
}

PROMISE(limits_come_change_and_go)
{
	limits("a/c", "max\n");
	uses("a/c", 560, 0);
	begin_with("/a/*");
	after(60 * SEC);
	limits("a/c", LIMIT);
	assert_string_equal(after(60 * SEC), "");
	assert_string_equal(grows("a/c", 570, 630, false), "/a/c ");
	/* what was raised meanwhile is not told */
	ahead_told(ahead, "/a/c", false);
	assert_string_equal(grows("a/c", 100, 560, false), "");
	limits("a/c", "6710886400\n");
	assert_string_equal(grows("a/c", 560, 630, false), "");
	/* gone, and there again */
	assert_int_equal(unlink(fake_path("cg/a/c/memory.current")), 0);
	limits("a/c", LIMIT);
	assert_string_equal(after(60 * SEC), "");
	uses("a/c", 100, 0);
	after(60 * SEC);
	assert_string_equal(grows("a/c", 100, 630, false), "/a/c ");
}

PROMISE(without_descriptors_to_keep_it_opens_them_each_time)
{
	struct rlimit old, few;

	for (const char *const *path =
		     (const char *const[]){ "a/c", "a/d", "a/e", "a/f", "a/g", "a/h", NULL };
	     *path; path++) {
		limits(*path, LIMIT);
		uses(*path, 100, 0);
	}
	begin_with("/a/*");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){ 8, old.rlim_max }; /* 0 to 2, and a walk takes two */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	after(60 * SEC);
	grows("a/c", 100, 630, false);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_string_equal(told, "/a/c ");
}
