/* SPDX-License-Identifier: MIT */
/*
 * test-memory.c - use, limits and memory.events out of the kernel's files (src/kernel/memory.h)
 *
 * The files are made up, in the form of the kernel's; tests/integration/test-rungs.c compares with
 * real ones.
 */
#include <sched.h>
#include <sys/mount.h>

#include "../unit.h"
#include "../../threads.h"
#include "../fake-root.h"
#include "kernel/memory.h"

#define MB (UINT64_C(1) << 20)
#define HOUR_USEC (3600 * USEC_PER_SEC)

/* Files of one cgroup, in MB; max 0: none. */
static void level(const char *path, unsigned current, unsigned inactive, unsigned max)
{
	char text[64];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(current * MB));
	fake_file(path, "memory.current", text);
	snprintf(text, sizeof(text), "anon 0\ninactive_file %llu\n",
		 (unsigned long long)(inactive * MB));
	fake_file(path, "memory.stat", text);
	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(max * MB));
	fake_file(path, "memory.max", max ? text : "max\n");
}

static struct memory opened(const struct cgroups *c, const char *v2_path, const char *v1_path)
{
	struct memory m = { 0 };

	assert_int_equal(memory_open(&m, c, v2_path, v1_path), 0);
	return m;
}

static struct memory_load load_of(const struct memory *m)
{
	struct memory_load load = { 0 };

	assert_int_equal(memory_read(m, &load), 0);
	return load;
}

static struct memory_use use_of(const struct memory *m)
{
	struct memory_use use;

	memory_read_use(m, &use);
	return use;
}

/* 0: unknown. */
static uint64_t held_by(const struct memory *m)
{
	uint64_t bytes;

	return memory_read_held(m, &bytes) == 0 ? bytes : 0;
}

static uint64_t machine(void)
{
	struct memory m = opened(&(struct cgroups){ 0 }, NULL, NULL);

	memory_close(&m);
	return m.machine_bytes;
}

PROMISE(the_limit_is_the_least_of_all_ancestors)
{
	static const struct {
		const char *max[3], *high[3]; /* root, /a, /a/b; NULL: no such file */
		uint64_t limit, least_high;
	} table[] = {
		{ { NULL, "max\n", "max\n" }, { NULL, "max\n", "max\n" }, UINT64_MAX, UINT64_MAX },
		{ { NULL, "max\n", "1048576\n" }, { NULL, "max\n", "max\n" }, MB, UINT64_MAX },
		{ { NULL, "1048576\n", "2097152\n" }, { NULL, "max\n", "max\n" }, MB, UINT64_MAX },
		{ { NULL, "4194304\n", "8388608\n" }, { NULL, "max\n", "1048576\n" }, MB, MB },
		{ { NULL, "1048576\n", "max\n" }, { NULL, "2097152\n", "4194304\n" }, MB, 2 * MB },
		/* in a container the mount's root has limits too */
		{ { "1048576\n", "max\n", "max\n" }, { "2097152\n", "max\n", "max\n" }, MB, 2 * MB },
		/* rubbish is no limit */
		{ { NULL, "-1\n", "" }, { NULL, "x\n", "12" }, UINT64_MAX, UINT64_MAX },
		{ { NULL, NULL, "0\n" }, { NULL, NULL, NULL }, 0, UINT64_MAX },
	};
	static const char *const below[] = { "", "a/", "a/b/" };

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char root[16], name[64];
		struct memory m;

		snprintf(root, sizeof(root), "limit%zu", i);
		for (size_t j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), "%s/%s", root, below[j]);
			fake_write(name, "");
			snprintf(name, sizeof(name), "%s/%smemory.max", root, below[j]);
			if (table[i].max[j])
				fake_write(name, table[i].max[j]);
			snprintf(name, sizeof(name), "%s/%smemory.high", root, below[j]);
			if (table[i].high[j])
				fake_write(name, table[i].high[j]);
		}

		struct cgroups c = fake_v2(root);

		m = opened(&c, "/a/b", NULL);
		if (m.limit_bytes != table[i].limit || m.high_bytes != table[i].least_high)
			fail_msg("row %zu: limit %llu, high %llu", i,
				 (unsigned long long)m.limit_bytes,
				 (unsigned long long)m.high_bytes);
		memory_close(&m);
	}
}

PROMISE(what_is_in_use_counts_where_the_limit_is)
{
	static const struct {
		unsigned above[3], own[3]; /* use, inactive, max of /s and of /s/x, in MB */
		const char *whose;	   /* limit it is; NULL: the machine's */
		unsigned limit, current, available, use; /* MB; use with all page cache */
	} table[] = {
		/* full, of something else */
		{ { 80, 0, 80 }, { 5, 1, 0 }, "/s", 80, 80, 0, 80 },
		/* the one with the least left binds, and that may change from one moment to the next */
		{ { 80, 0, 80 }, { 5, 1, 60 }, "/s", 80, 80, 0, 80 },
		{ { 10, 0, 80 }, { 5, 1, 60 }, "/s/x", 60, 5, 56, 5 },
		/* page cache that nobody needs is room */
		{ { 79, 40, 80 }, { 5, 1, 60 }, "/s", 80, 79, 41, 79 },
		/* without a limit above, its own */
		{ { 80, 0, 0 }, { 5, 1, 0 }, NULL, 0, 5, 0, 5 },
	};
	struct cgroups c = fake_v2("slice");
	struct memory m;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const unsigned *above = table[i].above, *own = table[i].own;
		struct memory_load load;
		struct memory_use use;

		level("slice/s", above[0], above[1], above[2]);
		level("slice/s/x", own[0], own[1], own[2]);
		if (i == 0)
			m = opened(&c, "/s/x", NULL);
		else if (above[2] != table[i - 1].above[2] || own[2] != table[i - 1].own[2])
			assert_int_equal(memory_refresh(&m), 0);
		load = load_of(&m);
		use = use_of(&m);
		assert_int_equal(memory_has_limit(&m), table[i].whose != NULL);
		assert_int_equal(load.machine, !table[i].whose);
		assert_int_equal(load.current_bytes, table[i].current * MB);
		assert_int_equal(held_by(&m), (own[0] - own[1]) * MB);
		assert_int_equal(use.current_bytes, table[i].use * MB);
		assert_int_equal(use.limit_bytes, table[i].limit * MB);
		if (!table[i].whose)
			continue;
		assert_int_equal(load.level->length, strlen(table[i].whose));
		assert_int_equal(load.limit_bytes, table[i].limit * MB);
		assert_int_equal(load.available_bytes, table[i].available * MB);
	}
	memory_close(&m);

	/* where the controller was taken away there is no use of its own */
	fake_write("slice/t/x/", "");
	level("slice/t", 30, 0, 40);
	m = opened(&c, "/t/x", NULL);
	assert_int_equal(load_of(&m).available_bytes, 10 * MB);
	assert_int_equal(held_by(&m), 0);
	assert_int_equal(use_of(&m).current_bytes, 30 * MB);
	memory_close(&m);
}

PROMISE(held_is_what_is_neither_page_cache_nor_lost_to_swap)
{
	static const char stat[] = "anon 0\ninactive_file 2097152\nactive_file 4194304\n";
	struct cgroups c = fake_v2("held");
	struct memory m;
	uint64_t bytes;

	level("held/a", 100, 0, 0);
	fake_file("held/a", "memory.stat", stat);
	m = opened(&c, "/a", NULL);
	assert_int_equal(held_by(&m), 94 * MB); /* without swap */
	memory_close(&m);
	fake_file("held/a", "memory.swap.current", "8388608\n");
	m = opened(&c, "/a", NULL);
	assert_int_equal(held_by(&m), 102 * MB);
	memory_close(&m);
	m = opened(&c, "/none", NULL);
	assert_int_equal(memory_read_held(&m, &bytes), -ENOENT);
	memory_close(&m);
}

PROMISE(of_many_levels_the_least_limits_count)
{
	struct cgroups c = fake_v2("deep");
	char path[128] = "deep";
	struct memory m;

	for (unsigned i = 0; i < 20; i++) {
		strcat(path, "/d");
		level(path, 1, 0, i == 3 ? 2 : 100 + i);
	}
	m = opened(&c, path + strlen("deep"), NULL);
	assert_int_equal(load_of(&m).limit_bytes, 2 * MB);
	assert_int_equal(load_of(&m).level->length, strlen("/d/d/d/d"));
	assert_int_equal(held_by(&m), MB);
	memory_close(&m);
}

static void v1_level(const char *path, const char *use, const char *limit, const char *stat)
{
	fake_file(path, "memory.usage_in_bytes", use);
	fake_file(path, "memory.limit_in_bytes", limit);
	if (stat)
		fake_file(path, "memory.stat", stat);
}

#define V1_NONE "9223372036854771712\n" /* a little under 2^63 */

PROMISE(on_a_hybrid_host_the_numbers_come_from_v1)
{
	struct cgroups c = fake_v2("hybrid2");
	struct memory m;

	c.has_v1 = true;
	snprintf(c.v1.point, sizeof(c.v1.point), "%s", fake_path("hybrid1"));
	fake_write("hybrid2/a/", "");
	v1_level("hybrid1/x", "83886080\n", V1_NONE,
		 "inactive_file 1\nhierarchical_memory_limit 104857600\n"
		 "total_inactive_file 31457280\n");
	m = opened(&c, "/a", "/x");
	assert_true(m.v1);
	assert_int_equal(load_of(&m).working_set_bytes, 50 * MB);
	assert_int_equal(load_of(&m).limit_bytes, 100 * MB);
	assert_true(load_of(&m).high_bytes == UINT64_MAX);
	memory_close(&m);
	/* an ancestor's limit, which is full of something else */
	v1_level("hybrid1", "999999999\n", V1_NONE, NULL);
	v1_level("hybrid1/s", "104857600\n", "104857600\n",
		 "inactive_file 1\ntotal_inactive_file 1048576\n");
	v1_level("hybrid1/s/x", "1048576\n", V1_NONE,
		 "hierarchical_memory_limit 104857600\ntotal_inactive_file 0\n"
		 "total_active_file 524288\ntotal_swap 1572864\n");
	m = opened(&c, "/a", "/s/x");
	assert_int_equal(load_of(&m).limit_bytes, 100 * MB);
	assert_int_equal(load_of(&m).available_bytes, MB);
	assert_int_equal(held_by(&m), 2 * MB);
	memory_close(&m);
	/* none at all */
	fake_write("hybrid1/x/memory.stat",
		   "hierarchical_memory_limit " V1_NONE "total_inactive_file 0\n");
	m = opened(&c, "/a", "/x");
	assert_true(m.limit_bytes == UINT64_MAX);
	assert_false(memory_has_limit(&m));
	assert_true(load_of(&m).machine);
	memory_close(&m);
	/* where v2 has the controller, v1 is not asked */
	level("hybrid2/a", 1, 0, 0);
	m = opened(&c, "/a", "/x");
	assert_false(m.v1);
	assert_int_equal(held_by(&m), MB);
	memory_close(&m);
}

static void hits(const char *path, unsigned high, unsigned max)
{
	char text[128];

	snprintf(text, sizeof(text), "low 0\nhigh %u\nmax %u\noom 0\noom_kill 0\n", 7 + high,
		 7 + max);
	fake_file(path, "memory.events.local", text);
}

static void scans(unsigned kswapd, unsigned direct)
{
	char text[128];

	snprintf(text, sizeof(text), "inactive_file 0\npgscan_kswapd %u\npgscan_direct %u\n",
		 9 + kswapd, 9 + direct);
	fake_write("cause/s/x/memory.stat", text);
}

PROMISE(the_cause_is_the_limit_that_was_reached_most_often)
{
	static const struct {
		unsigned own[2], above[2]; /* growth of high and max */
		unsigned below;		   /* of all in the cgroup and below it */
		unsigned kswapd, direct;   /* scanned, of that */
		bool calm;		   /* the mark was made before the stall */
		enum cause cause;
		size_t length;
		bool is_high;
	} table[] = {
		{ { 3, 0 }, { 0, 0 }, 3, 0, 9, true, CAUSE_OWN, 4, true },
		{ { 0, 3 }, { 0, 0 }, 3, 0, 9, true, CAUSE_OWN, 4, false },
		/* full of page cache, which costs nothing: the other one is what is waited for */
		{ { 0, 3 }, { 9, 0 }, 3, 0, 9, true, CAUSE_ANCESTOR, 2, true },
		{ { 0, 0 }, { 0, 1 }, 5, 0, 9, true, CAUSE_ANCESTOR, 2, false },
		{ { 0, 0 }, { 0, 0 }, 5, 0, 9, true, CAUSE_DESCENDANT, 0, false },
		{ { 0, 0 }, { 0, 0 }, 5, 0, 9, false, CAUSE_DESCENDANT, 0, false },
		{ { 0, 0 }, { 0, 0 }, 5, 8, 9, true, CAUSE_DESCENDANT, 0, false },
		/* the machine is short, too: what is given back here helps */
		{ { 0, 0 }, { 0, 0 }, 5, 9, 9, true, CAUSE_MACHINE, 0, false },
		{ { 0, 0 }, { 0, 0 }, 0, 9, 0, true, CAUSE_MACHINE, 0, false },
		/* the mark came too late to see it grow: /s is full */
		{ { 0, 0 }, { 0, 0 }, 0, 0, 0, false, CAUSE_ANCESTOR, 2, false },
	};
	struct cgroups c = fake_v2("cause");
	struct memory_events events = { .high = 50 };
	struct memory_cause cause;
	struct memory m;

	level("cause/s", 80, 0, 80);
	level("cause/s/x", 5, 1, 60);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		hits("cause/s", 0, 0);
		hits("cause/s/x", 0, 0);
		scans(0, 0);
		m = opened(&c, "/s/x", NULL);
		events.max = 50;
		memory_mark(&m, &events, table[i].calm, USEC_PER_SEC);
		hits("cause/s", table[i].above[0], table[i].above[1]);
		hits("cause/s/x", table[i].own[0], table[i].own[1]);
		scans(table[i].kswapd, table[i].direct);
		events.max += table[i].below;
		memory_find_cause(&m, &events, USEC_PER_SEC, &cause);
		if (cause.cause != table[i].cause || cause.length != table[i].length ||
		    cause.is_high != table[i].is_high)
			fail_msg("row %zu: cause %d of length %zu, high %d", i, cause.cause,
				 cause.length, cause.is_high);
		if (cause.length == 2)
			assert_int_equal(cause.limit_bytes, 80 * MB);
		memory_close(&m);
	}

	/* nothing grew since a late mark, and nothing is full: unknown, and after a second the machine */
	fake_write("cause/s/memory.current", "0\n");
	m = opened(&c, "/s/x", NULL);
	memory_mark(&m, NULL, false, USEC_PER_SEC);
	memory_find_cause(&m, NULL, 2 * USEC_PER_SEC - 1, &cause);
	assert_int_equal(cause.cause, CAUSE_UNKNOWN);
	memory_find_cause(&m, NULL, 2 * USEC_PER_SEC, &cause);
	assert_int_equal(cause.cause, CAUSE_MACHINE);
	memory_close(&m);

	/* without memory.events.local it is never known not to be ours */
	fake_write("cause/y/", "");
	level("cause/y", 1, 0, 60);
	m = opened(&c, "/y", NULL);
	memory_mark(&m, NULL, true, USEC_PER_SEC);
	memory_find_cause(&m, NULL, HOUR_USEC, &cause);
	assert_int_equal(cause.cause, CAUSE_UNKNOWN);
	memory_close(&m);
}

PROMISE(on_v1_the_cause_is_whose_failcnt_grew)
{
	struct cgroups c = fake_v2("cause2");
	struct memory_cause cause;
	struct memory m;

	c.has_v1 = true;
	snprintf(c.v1.point, sizeof(c.v1.point), "%s", fake_path("cause1"));
	fake_write("cause2/a/", "");
	v1_level("cause1/s", "1048576\n", "104857600\n", "total_inactive_file 0\n");
	v1_level("cause1/s/x", "1048576\n", V1_NONE, "total_inactive_file 0\n");
	fake_write("cause1/s/memory.failcnt", "5\n");
	fake_write("cause1/s/x/memory.failcnt", "0\n");
	m = opened(&c, "/a", "/s/x");
	memory_mark(&m, NULL, true, USEC_PER_SEC);
	memory_find_cause(&m, NULL, HOUR_USEC, &cause);
	assert_int_equal(cause.cause, CAUSE_UNKNOWN);
	/* full, though nothing was counted */
	fake_write("cause1/s/memory.usage_in_bytes", "104857600\n");
	memory_find_cause(&m, NULL, HOUR_USEC, &cause);
	assert_int_equal(cause.cause, CAUSE_ANCESTOR);
	fake_write("cause1/s/memory.usage_in_bytes", "1048576\n");
	fake_write("cause1/s/memory.failcnt", "6\n");
	memory_find_cause(&m, NULL, HOUR_USEC, &cause);
	assert_int_equal(cause.cause, CAUSE_ANCESTOR);
	assert_int_equal(cause.limit_bytes, 100 * MB);
	assert_int_equal(cause.length, 0);
	assert_false(cause.is_high);
	fake_write("cause1/s/x/memory.failcnt", "9\n");
	memory_find_cause(&m, NULL, HOUR_USEC, &cause);
	assert_int_equal(cause.cause, CAUSE_OWN);
	memory_close(&m);
}

static bool share_level(const struct memory *a, const struct memory *b, unsigned i)
{
	return a->levels[i].hits_fd == b->levels[i].hits_fd &&
	       a->levels[i].current_fd == b->levels[i].current_fd;
}

PROMISE(siblings_share_what_is_open_of_their_ancestors)
{
	struct cgroups c = fake_v2("share");
	struct memory_shared *shared = NULL;
	struct memory x, y;
	int before = open("/", O_PATH | O_CLOEXEC), after;

	level("share/s", 30, 0, 0);
	hits("share/s", 0, 0);
	level("share/s/x", 5, 0, 60);
	level("share/s/y", 6, 0, 70);
	close(before);
	assert_int_equal(memory_open_shared(&x, &c, "/s/x", NULL, &shared), 0);
	assert_int_equal(memory_open_shared(&y, &c, "/s/y", NULL, &shared), 0);
	assert_true(share_level(&x, &y, 1));
	assert_false(share_level(&x, &y, 0));
	/* the one above gets a limit, and a file more is read of it */
	level("share/s", 30, 0, 40);
	assert_int_equal(memory_refresh(&x), 0);
	assert_false(share_level(&x, &y, 1));
	assert_int_equal(memory_refresh(&y), 0);
	assert_true(share_level(&x, &y, 1));
	memory_close(&x);
	assert_int_equal(load_of(&y).limit_bytes, 40 * MB);
	memory_close(&y);
	assert_null(shared);
	after = open("/", O_PATH | O_CLOEXEC);
	close(after);
	assert_int_equal(after, before);
}

PROMISE(without_a_limit_the_machine_is_what_there_is)
{
	struct cgroups c = fake_v2("free");
	struct memory_load load;
	struct memory m;
	char text[32];

	level("free/a", 80, 30, 0);
	m = opened(&c, "/a", NULL);
	load = load_of(&m);
	assert_true(load.machine);
	assert_int_equal(load.limit_bytes, machine());
	assert_int_equal(load.working_set_bytes, 50 * MB); /* still its own */
	assert_in_range(load.available_bytes, 1, machine());
	assert_int_equal(load.percent, (machine() - load.available_bytes) * 100 / machine());
	/* more than the machine has is no limit either, one byte less is */
	for (unsigned less = 0; less <= 1; less++) {
		snprintf(text, sizeof(text), "%llu\n", (unsigned long long)machine() - less);
		fake_write("free/a/memory.max", text);
		assert_int_equal(memory_refresh(&m), 0);
		assert_int_equal(memory_has_limit(&m), less);
	}
	memory_close(&m);

	/* nothing known of a cgroup at all */
	m = opened(&c, "/nothing", "/nothing");
	load = load_of(&m);
	assert_int_equal(held_by(&m), 0);
	assert_true(load.machine);
	assert_int_equal(load.current_bytes, load.limit_bytes - load.available_bytes);
	memory_close(&m);
}

PROMISE(odd_numbers_stay_within_0_and_100_percent)
{
	static const struct {
		const char *current, *inactive, *max;
		uint64_t working_set, available;
		unsigned percent;
	} table[] = {
		/* over its limit, counters that lag, nothing allowed, nearly full */
		{ "3145728\n", "inactive_file 0\n", "2097152\n", 3 * MB, 0, 100 },
		{ "1048576\n", "inactive_file 2097152\n", "2097152\n", 0, 2 * MB, 0 },
		{ "0\n", "inactive_file 0\n", "0\n", 0, 0, 0 },
		{ "2097151\n", "inactive_file 0\n", "2097152\n", 2 * MB - 1, 1, 99 },
	};
	struct cgroups c = fake_v2("odd");
	struct memory_load load;
	struct memory m;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		fake_write("odd/a/memory.current", table[i].current);
		fake_write("odd/a/memory.stat", table[i].inactive);
		fake_write("odd/a/memory.max", table[i].max);
		m = opened(&c, "/a", NULL);
		load = load_of(&m);
		assert_int_equal(load.working_set_bytes, table[i].working_set);
		assert_int_equal(load.available_bytes, table[i].available);
		assert_int_equal(load.percent, table[i].percent);
		memory_close(&m);
	}
	fake_write("odd/a/memory.stat", "anon 0\n");
	m = opened(&c, "/a", NULL);
	assert_int_equal(memory_read(&m, &load), -ENOENT);
	fake_write("odd/a/memory.current", "many\n");
	assert_int_equal(memory_read(&m, &load), -EBADMSG);
	assert_int_equal(held_by(&m), 0);
	memory_close(&m);
}

/* /proc/meminfo as it is in a service with ProcSubset=pid, and as lxcfs may make it up. */
PROMISE(what_meminfo_does_not_say_is_unknown)
{
	static const struct {
		const char *text;
		bool total, available;
	} table[] = {
		{ "", false, false },
		{ "MemTotal:       2048 kB\nMemFree:  1024 kB\n", true, false },
		{ "MemAvailable:   1024 kB\n", false, true },
		{ "MemTotal:            kB\nMemAvailable: 1024 kB\n", false, true },
		{ "MemTotal:         -1 kB\nMemAvailable: 1024 kB\n", false, true },
		{ "MemTotal:          0 kB\nMemAvailable: 0 kB\n", false, true },
		{ "MemTotal:       2048 kB\nMemAvailable: -1 kB\n", true, false },
		{ "MemTotal:       2048 kB\nMemAvailable: 1024 kB\n", true, true },
	};
	struct cgroups c = fake_v2("hidden");
	struct memory_load load;
	struct memory m;

	fake_write("hidden/meminfo", "");
	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount(fake_path("hidden/meminfo"), "/proc/meminfo", NULL, MS_BIND, NULL) < 0)
		SKIP("no mount namespace can be had here");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		bool known = table[i].total && table[i].available;

		fake_write("hidden/meminfo", table[i].text);
		fake_write("hidden/a/memory.current", "786432\n");
		fake_write("hidden/a/memory.stat", "inactive_file 0\n");
		fake_write("hidden/a/memory.max", "1048576\n");
		m = opened(&c, "/a", NULL);
		assert_true(memory_has_limit(&m));
		load = load_of(&m);
		assert_false(load.machine);
		assert_int_equal(load.limit_bytes, MB);
		assert_int_equal(load.percent, 75);
		fake_write("hidden/a/memory.max", "max\n");
		assert_int_equal(memory_refresh(&m), 0);
		assert_false(memory_has_limit(&m));
		load = load_of(&m);
		assert_true(load.machine);
		assert_int_equal(load.current_bytes, 786432);
		assert_int_equal(load.limit_bytes, table[i].total ? 2 * MB : MEMORY_UNKNOWN);
		assert_int_equal(load.available_bytes, known ? MB : MEMORY_UNKNOWN);
		assert_int_equal(load.percent, known ? 50 : 0);
		memory_close(&m);
		/* nor is anything made up for a cgroup of which nothing is known */
		m = opened(&c, "/nothing", NULL);
		load = load_of(&m);
		assert_int_equal(load.current_bytes, known ? MB : 0);
		memory_close(&m);
	}
	assert_int_equal(umount("/proc/meminfo"), 0);
}

PROMISE(out_of_descriptors_there_still_is_a_limit)
{
	struct cgroups c = fake_v2("full");
	unsigned refused = 0, allowed;
	struct memory_load load;
	struct memory m, n;
	int r = -EMFILE;

	level("full/a", 0, 0, 1);
	level("full/a/b", 0, 0, 0);
	m = opened(&c, "/a/b", NULL);
	for (allowed = 0; r != 0; allowed++) {
		descriptors_allow(allowed);
		r = memory_open(&n, &c, "/a/b", NULL);
		if (r == 0) {
			assert_int_equal(n.limit_bytes, MB);
			memory_close(&n);
		} else {
			refused++;
			assert_int_equal(r, -EMFILE);
			assert_int_equal(memory_refresh(&m), -EMFILE);
		}
		load = load_of(&m);
		assert_int_equal(load.limit_bytes, MB);
		assert_int_equal(load.machine, 0);
		descriptors_allow(DESCRIPTORS_ALL);
	}
	assert_in_range(refused, 2, 20);
	memory_close(&m);

	/* nor is the machine full when its meminfo cannot be opened */
	fake_write("full/a/memory.max", "max\n");
	m = opened(&c, "/a/b", NULL);
	descriptors_allow(0);
	r = memory_read(&m, &load);
	descriptors_allow(DESCRIPTORS_ALL);
	assert_int_equal(r, -EMFILE);
	memory_close(&m);
}

PROMISE(memory_events_is_opened_only_where_it_can_be_read)
{
	static const struct {
		const char *path;
		int r;
	} table[] = { { "events/a", 0 }, { "events/b", -EBADMSG }, { "events/c", -ENOENT } };
	struct memory_events events;

	fake_write("events/a/memory.events",
		   "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n");
	fake_write("events/b/memory.events", "rubbish");
	fake_write("events/c/", "");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		int dirfd = open(fake_path(table[i].path), O_PATH | O_DIRECTORY | O_CLOEXEC);
		int fd = -7;

		assert_int_equal(memory_events_open(dirfd, &fd), table[i].r);
		close(dirfd);
		if (table[i].r < 0) {
			assert_int_equal(fd, -7);
			continue;
		}
		for (int k = 0; k < 2; k++) { /* from its start each time */
			assert_int_equal(memory_events_read(fd, &events), 0);
			assert_int_equal(events.high, 2);
			assert_int_equal(events.oom_kill, 5);
		}
		close(fd);
	}
}

GROUP(fake_set_up, fake_tear_down)
