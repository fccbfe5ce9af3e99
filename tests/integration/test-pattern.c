/* SPDX-License-Identifier: MIT */
/*
 * test-pattern.c - one trigger for a tree of cgroups, through the public API
 *
 * That a trunk which is made anew is found, and that waiting for it costs nothing: tests/unit/library/test-members.c.
 */
#include <dirent.h>

#include "fixture.h"
#include "../threads.h"

static void plant(const char *trunk, unsigned many)
{
	char name[64];

	lab_make(&lab, trunk, 0);
	lab_delegate(&lab, trunk);
	for (unsigned i = 0; i < many; i++) {
		snprintf(name, sizeof(name), "%s/c%u", trunk, i);
		lab_make(&lab, name, LAB_LIMIT);
	}
}

/* Of no cgroup but these two anything was told. */
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
	unsigned before;
	pid_t one, other;

	plant("many", 50);
	before = descriptors_open();
	start_pattern("many");
	lab_sleep_ms(200);			       /* to rest: all is open that will be */
	assert_true(descriptors_open() - before < 18); /* however many there are */

	one = press_until_low("many/c17");
	check_only("many/c17", "many/c17");
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	assert_int_equal(stats().members, 1);
	/* a second one, while the first goes on: the trunk's counters can't show it */
	other = press_until_low("many/c42");
	release(one, "many/c17");
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	release(other, "many/c42");
	check_only("many/c17", "many/c42");
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_HIGH);
	WAIT_FOR(12000u, stats().members == 0);
	assert_true(stats().sweeps >= 2);
}

/* See test-facts.c: at the trunk there is little to be seen of a stall while other CPUs are busy. */
PROMISE(busy_neighbours_do_not_hide_who_stalls)
{
	char pattern[256], trigger[64];
	pid_t pid, neighbours;
	uint64_t alarms, stall;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP("one CPU only");
	plant("busy", 2);
	lab_make(&lab, "busy/neighbour", 0);
	neighbours = lab_burn(&lab, "busy/neighbour");
	pid = lab_press(&lab, "busy/c1");
	lab_sleep_ms(500); /* it stalls at its full rate */
	stall = lab_psi(&lab, "busy/c1").some_usec;
	lab_sleep_ms(4000); /* two windows of 2 s */
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
	press_and_release("busy/c1");
	lab_sleep_ms(4500); /* so is the trailing one, up to two windows later */
	alarms = stats().alarms;
	pid = press_until_low("busy/c1");
	/* the trunk's safety sample would find it too */
	assert_true(lab.privileged || stats().alarms > alarms);
	check_only("busy/c1", "busy/c1");
	lab_kill(pid);
	lab_kill(neighbours);
}

/* As when the daemon is started anew: another process told Low, and is gone. */
PROMISE(a_low_that_is_taken_over_goes_on_where_it_stalls_and_ends_where_it_does_not)
{
	const struct told *low;
	pid_t pid;

	plant("taken", 2);
	pid = lab_press(&lab, "taken/c0");
	/* reading what still finds room stalls nobody */
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "taken/c0").some_usec > 300000));
	start_pattern("taken");
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(psb_watch_simulate_at(f.watch,
						       lab_path(&lab, i ? "taken/c1" : "taken/c0"),
						       PSB_LOW, 0, PSB_UNTOLD),
				 0);
	/* nothing stalls here any more: that is told first, and Low never */
	WAIT_FOR(8000u, HEARD_OF("taken/c1", PSB_HIGH));
	assert_null(HEARD_OF("taken/c1", PSB_LOW));
	assert_non_null(HEARD_OF("taken/c1", PSB_NEUTRAL));
	/* and here it goes on: no end before the end, and a repeat after rearm at the earliest, but
	 * for a turn to critical */
	assert_null(HEARD_OF("taken/c0", PSB_NEUTRAL));
	WAIT_FOR(15000u, HEARD_OF("taken/c0", PSB_LOW));
	low = HEARD_OF("taken/c0", PSB_LOW);
	assert_true(low->n.critical || low->n.reason == PSB_REASON_REPEAT);
	release(pid, "taken/c0");
	assert_non_null(HEARD_OF("taken/c0", PSB_NEUTRAL));
	WAIT_FOR(12000u, stats().members == 0);
}
