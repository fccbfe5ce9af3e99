/* SPDX-License-Identifier: MIT */
/*
 * test-lost.c - what a watch listens to ends, and comes back: PSI of a cgroup,
 * the memory controller, the cgroup itself, and the one that this process is in
 */
#include "fixture.h"
#include "../threads.h"

PROMISE(psi_that_is_switched_off_is_no_removal_and_comes_back)
{
	unsigned n;
	pid_t pid;

	lab_make(&lab, "off", LAB_LIMIT);
	if (access(lab_file(&lab, "off", "cgroup.pressure"), F_OK) < 0)
		SKIP("no cgroup.pressure before Linux 6.1");
	start("off");
	pid = press_until_low("off");
	n = told_count();
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	/* nothing measures it any more, and no Low stays */
	WAIT_FOR(15000u, HEARD_SINCE(n - 1, PSB_HIGH));
	lab_kill(pid);
	if (lab.v1) {
		struct psb_source source = source_now();

		assert_int_equal(source.rung, 0);
		assert_string_equal(source.name, "none");
		assert_string_equal(source.trigger, "");
		assert_non_null(strstr(source.why, "memory.pressure"));
	}
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "1");
	WAIT_FOR(15000u, source_now().rung == best_rung());
	press_and_release("off");
	assert_null(GONE_SINCE(0));

	/* the cgroup goes while nothing is listened to */
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	WAIT_FOR(15000u, source_now().rung != best_rung());
	lab_remove(&lab, "off");
	WAIT_FOR(15000u, GONE_SINCE(0));
}

PROMISE(a_memory_controller_that_is_taken_away_is_no_removal_and_comes_back)
{
	if (lab.v1)
		SKIP("the memory controller is on v1: needs unified cgroups");
	lab_make(&lab, "above", LAB_LIMIT);
	lab_delegate(&lab, "above");
	lab_make(&lab, "above/a", 0);
	start("above/a");
	assert_int_equal(source_now().events, 1);
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "-memory");
	/* the stall is the parent's limit's, and PSI is still there */
	press_and_release("above/a");
	assert_int_equal(source_now().events, 0);
	assert_int_equal(source_now().rung, best_rung());
	lab_delegate(&lab, "above");
	WAIT_FOR(70000u, source_now().events == 1);
	assert_int_equal(load_now().limit_bytes, LAB_LIMIT);
	press_and_release("above/a");
	assert_null(GONE_SINCE(0));
}

PROMISE(a_removed_cgroup_is_told_once_costs_nothing_and_is_watched_again_when_it_is_made_anew)
{
	struct psb_load load = { .size = sizeof(load) };
	const struct told *gone;
	uint64_t low, cpu;
	pid_t pid, loop;
	unsigned n;

	lab_make(&lab, "again", LAB_LIMIT);
	start("again");
	WAIT_FOR(1000u, (loop = thread_named(0, "psb-loop", 0)) != 0);
	for (unsigned i = 0; i < 3; i++) {
		low = stats().low;
		if (i ==
		    0) /* at rest only the kernel's own word can bring the news; while it is Low, a sample */
			lab_sleep_ms(300); /* to rest */
		else
			pid = press_until_low("again");
		assert_true(stats().low > low || i == 0);
		n = told_count();
		if (i > 0)
			lab_kill(pid);
		lab_remove(&lab, "again");
		WAIT_FOR(3000u, GONE_SINCE(n));
		gone = GONE_SINCE(n);
		/* Neutral is told of the old one, and High of the next: a CLR stays in low-memory mode until told otherwise */
		assert_int_equal(gone->n.available, i == 0 ? PSB_HIGH : PSB_NEUTRAL);
		assert_int_equal(gone->n.critical, 0);
		assert_int_equal(gone->n.reason, PSB_REASON_GONE);
		assert_string_equal(gone->cgroup, lab_path(&lab, "again"));
		WAIT_FOR(3000u, source_now().rung == 0);
		assert_int_equal(psb_watch_simulate(f.watch, PSB_LOW, 0), -ENODEV);
		assert_int_equal(psb_watch_load(f.watch, &load), -ENODEV);
		cpu = thread_cpu_usec(loop);
		lab_sleep_ms(i == 0 ? 1500 : 0); /* as long as something may be spent in vain */
		assert_true(thread_cpu_usec(loop) - cpu < 150000);
		assert_int_equal(record_index(&f.record, gone), told_count() - 1);
		lab_make(&lab, "again", LAB_LIMIT);
		WAIT_FOR(3000u, source_now().rung == best_rung());
		if (i > 0)
			WAIT_FOR(5000u, HEARD_SINCE(n, PSB_HIGH));
		if (!lab.v1) /* on a hybrid host its first process says which v1 cgroup it is */
			assert_int_equal(load_now().limit_bytes, LAB_LIMIT);
	}
}

PROMISE(our_own_watch_follows_us_when_the_old_cgroup_goes)
{
	struct psb_source before;

	lab_make(&lab, "from", 0);
	lab_make(&lab, "to", LAB_LIMIT);
	lab_enter(&lab, "from");
	start_with(&(struct psb_watch_options){ 0 }, NULL, PSB_INLINE | PSB_TELL_SOURCE);
	before = source_now();
	assert_int_equal(before.rung, best_rung());
	assert_string_equal(before.cgroup, lab_path(&lab, "from"));
	assert_string_equal(before.path, lab_file(&lab, "from", "memory.pressure"));
	if (lab.privileged)
		assert_string_equal(before.why, "");
	else
		assert_non_null(strstr(before.why, "CAP_SYS_RESOURCE"));
	lab_enter(&lab, "to");
	lab_remove(&lab, "from");
	WAIT_FOR(3000u, found(0, PSB_KIND_SOURCE, 0, lab_path(&lab, "to")));
	assert_string_equal(GONE_SINCE(0)->cgroup, lab_path(&lab, "from"));
	assert_string_equal(source_now().cgroup, lab_path(&lab, "to"));
	assert_int_equal(source_now().rung, best_rung());
	assert_string_equal(before.cgroup, lab_path(&lab, "from")); /* valid as long as the watch */
	press_and_release("to");
	lab_enter(&lab, NULL);
}
