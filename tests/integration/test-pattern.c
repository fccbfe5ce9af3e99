/* SPDX-License-Identifier: MIT */
/*
 * test-pattern.c - one trigger for a tree of cgroups, through the public API
 */
#include "fixture.h"

#include <dirent.h>

#define MANY 50

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static const char *child(const char *trunk, unsigned i)
{
	static char name[4][64];
	static unsigned next;
	char *p = name[next++ % 4];

	snprintf(p, sizeof(name[0]), "%s/c%u", trunk, i);
	return p;
}

static void plant(const char *trunk, unsigned many)
{
	lab_make(&lab, trunk, 0);
	lab_delegate(&lab, trunk);
	for (unsigned i = 0; i < many; i++)
		lab_make(&lab, child(trunk, i), LAB_LIMIT);
}

static void watch_pattern(const char *trunk)
{
	static char pattern[256];

	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, trunk));
	start_with(&(struct psb_watch_options){ .pattern = pattern }, NULL, PSB_INLINE);
}

static const struct told *heard(unsigned from, int level, const char *group)
{
	return found(from, PSB_KIND_LEVEL, level, lab_path(&lab, group));
}

/* Nobody but these two was spoken of. */
static void check_only(const char *one, const char *other)
{
	char a[160], b[160];

	snprintf(a, sizeof(a), "%s", lab_path(&lab, one));
	snprintf(b, sizeof(b), "%s", lab_path(&lab, other));
	for (unsigned i = 0; i < told_count(); i++)
		if (strcmp(f.record.told[i].cgroup, a) != 0 &&
		    strcmp(f.record.told[i].cgroup, b) != 0) {
			record_print(&f.record);
			fail_msg("%s was told", f.record.told[i].cgroup);
		}
}

PROMISE(of_fifty_cgroups_only_those_that_stall_are_told)
{
	unsigned before, n;
	uint64_t from;
	pid_t one, other;

	plant("many", MANY);
	before = open_descriptors();
	watch_pattern("many");
	lab_sleep_ms(200);
	assert_true(open_descriptors() - before < 12); /* however many there are */

	from = lab_now_usec();
	one = lab_press(&lab, child("many", 17));
	WAIT_FOR(8000u, heard(0, PSB_LOW, "many/c17"));
	print_message("# rung %u: %llu ms to Low, %llu sweeps\n", source_now().rung,
		      (unsigned long long)(lab_now_usec() - from) / 1000,
		      (unsigned long long)stats().sweeps);
	check_only("many/c17", "many/c17");
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	assert_int_equal(stats().members, 1);

	/* a second one, while the first goes on: the trunk's counters can't show it */
	from = lab_now_usec();
	other = lab_press(&lab, child("many", 42));
	WAIT_FOR(8000u, heard(0, PSB_LOW, "many/c42"));
	print_message("# the second: %llu ms to Low\n",
		      (unsigned long long)(lab_now_usec() - from) / 1000);
	check_only("many/c17", "many/c42");

	/* one ends, the other goes on */
	lab_kill(one);
	n = told_count();
	WAIT_FOR(12000u, heard(n > 2 ? n - 2 : 0, PSB_HIGH, "many/c17"));
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	lab_kill(other);
	WAIT_FOR(12000u, heard(0, PSB_HIGH, "many/c42"));
	check_only("many/c17", "many/c42");
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_HIGH);
	WAIT_FOR(12000u, stats().members == 0);
	assert_true(stats().sweeps >= 2);
}

/* See test-facts.c: at the trunk there is little to be seen of a stall while other CPUs are busy. */
PROMISE(busy_neighbours_do_not_hide_who_stalls)
{
	static char pattern[256];
	char trigger[64];
	pid_t pid, neighbours;
	uint64_t from, stall;
	unsigned n;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP("one CPU only");
	plant("busy", 2);
	lab_make(&lab, "busy/neighbour", 0);
	neighbours = lab_burn(&lab, "busy/neighbour");
	pid = lab_press(&lab, child("busy", 1));
	lab_sleep_ms(500);
	stall = lab_psi(&lab, "busy/c1").some_usec;
	lab_sleep_ms(4000);
	stall = (lab_psi(&lab, "busy/c1").some_usec - stall) / 2;
	lab_kill(pid);
	lab_sleep_ms(4500); /* an average over 2 s still knows of it */

	/* a threshold that the child passes, and what is left of it at the trunk does not: that is
	 * half or less */
	snprintf(trigger, sizeof(trigger), "some %llu 2000000", (unsigned long long)stall * 6 / 10);
	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "busy"));
	start_with(&(struct psb_watch_options){ .pattern = pattern,
						.early = trigger,
						.low = trigger,
						.critical = "full 2s/2s" },
		   NULL, PSB_INLINE);
	/* the kernel's first alarm is a false one, and would do. So once to be rid of it: */
	pid = lab_press(&lab, child("busy", 1));
	WAIT_FOR(20000u, heard(0, PSB_LOW, "busy/c1"));
	lab_kill(pid);
	WAIT_FOR(20000u, heard(0, PSB_HIGH, "busy/c1"));
	lab_sleep_ms(4500);
	n = told_count();
	pid = lab_press(&lab, child("busy", 1));
	from = lab_now_usec();
	WAIT_FOR(20000u, heard(n, PSB_LOW, "busy/c1"));
	/* without CAP_SYS_RESOURCE the trunk's safety sample would find it too, some 5.5 s from
	 * here */
	assert_true(lab.privileged || lab_now_usec() - from < 4500000);
	print_message("# %s: %llu ms to Low\n", trigger,
		      (unsigned long long)(lab_now_usec() - from) / 1000);
	check_only("busy/c1", "busy/c1");
	lab_kill(pid);
	lab_kill(neighbours);
}

/* That waiting for it costs nothing is seen in tests/unit/library/test-members.c. */
PROMISE(when_the_trunk_is_made_anew_the_pattern_goes_on)
{
	uint64_t samples;
	pid_t pid;

	plant("trunk", 2);
	watch_pattern("trunk");
	lab_sleep_ms(200);
	lab_remove(&lab, "trunk");
	lab_sleep_ms(1500); /* it sees the end of the old one */
	samples = stats().samples;
	plant("trunk", 2);
	WAIT_FOR(1000u, stats().samples > samples); /* a new trunk was looked at */
	assert_int_equal(told_count(), 0);
	pid = lab_press(&lab, child("trunk", 1));
	WAIT_FOR(10000u, heard(0, PSB_LOW, "trunk/c1"));
	lab_kill(pid);
	WAIT_FOR(12000u, heard(0, PSB_HIGH, "trunk/c1"));
}

/* As when the daemon is started anew: another process told Low, and is gone. */
PROMISE(who_takes_over_a_low_tells_how_it_goes_on)
{
	pid_t pid;

	plant("taken", 2);
	pid = lab_press(&lab, child("taken", 0));
	/* reading what still finds room stalls nobody */
	assert_true(LAB_WAIT(20000, lab_psi(&lab, child("taken", 0)).some_usec > 300000));
	watch_pattern("taken");
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(psb_watch_simulate_at(f.watch, lab_path(&lab, child("taken", i)),
						       PSB_LOW, 0, PSB_UNTOLD),
				 0);
	/* nothing stalls here any more: that is told first, and Low never */
	WAIT_FOR(8000u, heard(0, PSB_HIGH, "taken/c1"));
	assert_null(heard(0, PSB_LOW, "taken/c1"));
	assert_non_null(heard(0, PSB_NEUTRAL, "taken/c1"));
	/* and here it goes on: no end before the end, and a repeat after rearm at the earliest, but
	 * for a turn to critical */
	for (unsigned i = 0; i < told_count(); i++)
		if (strcmp(f.record.told[i].cgroup, lab_path(&lab, "taken/c0")) == 0)
			assert_int_equal(f.record.told[i].n.available, PSB_LOW);
	WAIT_FOR(15000u, heard(0, PSB_LOW, "taken/c0"));
	assert_true(heard(0, PSB_LOW, "taken/c0")->n.critical ||
		    heard(0, PSB_LOW, "taken/c0")->n.reason == PSB_REASON_REPEAT);
	lab_kill(pid);
	WAIT_FOR(12000u, heard(0, PSB_HIGH, "taken/c0"));
	assert_non_null(heard(0, PSB_NEUTRAL, "taken/c0"));
	WAIT_FOR(12000u, stats().members == 0);
}
