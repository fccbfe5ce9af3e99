/* SPDX-License-Identifier: MIT */
/*
 * test-lost.c - what a watch listens to ends, and comes back: PSI of a cgroup,
 * the memory controller, the cgroup itself, and the one that this process is in
 */
#include "fixture.h"

#include <stdlib.h>

static const struct told *heard_gone(void)
{
	return found(0, PSB_KIND_GONE, 0, NULL);
}

PROMISE(psi_that_is_switched_off_is_no_removal_and_comes_back)
{
	unsigned n;
	pid_t pid;

	lab_make(&lab, "off", LAB_LIMIT);
	if (access(lab_file(&lab, "off", "cgroup.pressure"), F_OK) < 0)
		SKIP("no cgroup.pressure before Linux 6.1");
	start("off");
	pid = lab_press(&lab, "off");
	WAIT_FOR(12000u, HEARD(PSB_LOW));
	n = told_count();
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	/* nothing measures it any more, and no Low stays */
	WAIT_FOR(15000u, found(n - 1, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	lab_kill(pid);
	assert_null(heard_gone());
	if (lab.v1) {
		struct psb_source source = source_now();

		assert_int_equal(source.rung, 0);
		assert_string_equal(source.name, "none");
		assert_string_equal(source.trigger, "");
		assert_non_null(strstr(source.why, "memory.pressure"));
	}
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "1");
	WAIT_FOR(15000u, source_now().rung == best_rung());
	press_and_release("off", 12000);
	assert_null(heard_gone());

	/* the cgroup goes while nothing is listened to */
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	WAIT_FOR(15000u, source_now().rung != best_rung());
	lab_remove(&lab, "off");
	WAIT_FOR(15000u, heard_gone());
}

PROMISE(a_memory_controller_that_is_taken_away_is_no_removal_and_comes_back)
{
	struct psb_load load = { .size = sizeof(load) };

	if (lab.v1)
		SKIP("the memory controller is on v1: needs unified cgroups");
	lab_make(&lab, "above", LAB_LIMIT);
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "+memory");
	lab_make(&lab, "above/a", 0);
	start("above/a");
	assert_int_equal(source_now().events, 1);
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "-memory");
	/* the stall is the parent's limit's, and PSI is still there */
	press_and_release("above/a", 12000);
	assert_null(heard_gone());
	assert_int_equal(source_now().events, 0);
	assert_int_equal(source_now().rung, best_rung());
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "+memory");
	WAIT_FOR(70000u, source_now().events == 1);
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	assert_int_equal(load.limit_bytes, LAB_LIMIT);
	press_and_release("above/a", 12000);
	assert_null(heard_gone());
}

PROMISE(a_cgroup_that_is_made_anew_is_watched_again)
{
	struct psb_load load = { .size = sizeof(load) };
	uint64_t low;
	unsigned n;
	pid_t pid;

	lab_make(&lab, "again", LAB_LIMIT);
	start("again");
	press_and_release("again", 12000);
	low = stats().low;
	for (unsigned i = 0; i < 2; i++) {
		n = told_count();
		lab_remove(&lab, "again");
		WAIT_FOR(3000u, found(n, PSB_KIND_GONE, 0, NULL));
		assert_int_equal(told_count(), n + 1);
		WAIT_FOR(3000u, source_now().rung == 0);
		assert_int_equal(psb_watch_simulate(f.watch, PSB_LOW, 0), -ENODEV);
		assert_int_equal(psb_watch_load(f.watch, &load), -ENODEV);
		assert_true(stats().low >= low);
		lab_make(&lab, "again", LAB_LIMIT);
		WAIT_FOR(3000u, source_now().rung == best_rung());
		assert_int_equal(psb_watch_load(f.watch, &load), 0);
		if (!lab.v1) /* on a hybrid host its first process says which v1 cgroup it is */
			assert_int_equal(load.limit_bytes, LAB_LIMIT);
		press_and_release("again", 12000);
		assert_true(stats().low > low);
		low = stats().low;
	}
	/* while it is Low: Neutral is told of the old one, and High of the next */
	n = told_count();
	pid = lab_press(&lab, "again");
	WAIT_FOR(12000u, found(n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	lab_kill(pid);
	lab_remove(&lab, "again");
	WAIT_FOR(3000u, found(n, PSB_KIND_GONE, PSB_NEUTRAL, NULL));
	n = told_count();
	lab_make(&lab, "again", LAB_LIMIT);
	WAIT_FOR(5000u, found(n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	/* gone for good */
	lab_remove(&lab, "again");
	WAIT_FOR(3000u, source_now().rung == 0);
}

PROMISE(our_own_watch_follows_us_when_the_old_cgroup_goes)
{
	struct psb_source before;

	lab_make(&lab, "from", 0);
	lab_make(&lab, "to", LAB_LIMIT);
	lab_enter(&lab, "from");
	start_with(&(struct psb_watch_options){ 0 }, NULL, PSB_INLINE | PSB_TELL_SOURCE);
	before = source_now();
	assert_string_equal(before.cgroup, lab_path(&lab, "from"));
	lab_enter(&lab, "to");
	lab_remove(&lab, "from");
	WAIT_FOR(3000u, heard_gone());
	WAIT_FOR(3000u, found(0, PSB_KIND_SOURCE, 0, lab_path(&lab, "to")) != NULL);
	assert_string_equal(heard_gone()->cgroup, lab_path(&lab, "from"));
	assert_string_equal(source_now().cgroup, lab_path(&lab, "to"));
	assert_int_equal(source_now().rung, best_rung());
	assert_string_equal(before.cgroup, lab_path(&lab, "from")); /* valid as long as the watch */
	press_and_release("to", 12000);
	lab_enter(&lab, NULL);
}
