/* SPDX-License-Identifier: MIT */
/*
 * test-lost.c - what a watch listens to ends, and comes back: PSI of a cgroup,
 * the memory controller, the cgroup itself, and the one that this process is in
 */
#include "../unit/unit.h"
#include "fixture.h"

#include <stdlib.h>

static struct psb_source source_of(struct fixture *f)
{
	struct psb_source source = { .size = sizeof(source) };

	assert_int_equal(psb_watch_source(f->watch, &source), 0);
	return source;
}

static unsigned best_rung(void)
{
	return lab.privileged ? PSB_RUNG_PRIVILEGED : PSB_RUNG_TRIGGER;
}

static const struct told *heard_gone(struct fixture *f)
{
	return record_find(&f->record, 0, PSB_KIND_GONE, 0, NULL);
}

/* Low under pressure in `group`, and High without, told of the path of that
 * group. */
static void check_tells(struct fixture *f, const char *group)
{
	char path[160];
	unsigned n = record_count(&f->record);
	pid_t pid = lab_press(&lab, group);

	snprintf(path, sizeof(path), "%s", lab_path(&lab, group));
	WAIT_FOR(f, 12000u, record_find(&f->record, n, PSB_KIND_LEVEL, PSB_LOW, path));
	lab_kill(pid);
	n = record_count(&f->record) - 1;
	WAIT_FOR(f, 15000u, record_find(&f->record, n, PSB_KIND_LEVEL, PSB_HIGH, path));
}

static void psi_that_is_switched_off_is_no_removal_and_comes_back(void **state)
{
	static struct fixture f;
	unsigned n;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "off", LAB_LIMIT);
	if (access(lab_file(&lab, "off", "cgroup.pressure"), F_OK) < 0)
		SKIP("no cgroup.pressure before Linux 6.1");
	start(&f, "off");
	pid = lab_press(&lab, "off");
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_LOW));
	n = record_count(&f.record);
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	/* nothing measures it any more, and no Low stays */
	WAIT_FOR(&f, 15000u, record_find(&f.record, n - 1, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	lab_kill(pid);
	assert_null(heard_gone(&f));
	if (lab.v1) {
		struct psb_source source = source_of(&f);

		assert_int_equal(source.rung, 0);
		assert_string_equal(source.name, "none");
		assert_string_equal(source.trigger, "");
		assert_non_null(strstr(source.why, "memory.pressure"));
	}
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "1");
	WAIT_FOR(&f, 15000u, rung_of(&f) == best_rung());
	check_tells(&f, "off");
	assert_null(heard_gone(&f));

	/* the cgroup goes while nothing is listened to */
	lab_write(lab_file(&lab, "off", "cgroup.pressure"), "0");
	WAIT_FOR(&f, 15000u, rung_of(&f) != best_rung());
	lab_remove(&lab, "off");
	WAIT_FOR(&f, 15000u, heard_gone(&f));
	stop(&f);
}

static void a_memory_controller_that_is_taken_away_is_no_removal_and_comes_back(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("the memory controller is on v1: needs unified cgroups");
	lab_make(&lab, "above", LAB_LIMIT);
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "+memory");
	lab_make(&lab, "above/a", 0);
	start(&f, "above/a");
	assert_int_equal(source_of(&f).events, 1);
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "-memory");
	/* the stall is the parent's limit's, and PSI is still there */
	check_tells(&f, "above/a");
	assert_null(heard_gone(&f));
	assert_int_equal(source_of(&f).events, 0);
	assert_int_equal(rung_of(&f), best_rung());
	lab_write(lab_file(&lab, "above", "cgroup.subtree_control"), "+memory");
	WAIT_FOR(&f, 70000u, source_of(&f).events == 1);
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	assert_int_equal(load.limit_bytes, LAB_LIMIT);
	check_tells(&f, "above/a");
	assert_null(heard_gone(&f));
	stop(&f);
	lab_remove(&lab, "above/a");
	lab_remove(&lab, "above");
}

static void a_cgroup_that_is_made_anew_is_watched_again(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	uint64_t low;
	unsigned n;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "again", LAB_LIMIT);
	start(&f, "again");
	check_tells(&f, "again");
	low = stats_of(&f).low;
	for (unsigned i = 0; i < 2; i++) {
		n = record_count(&f.record);
		lab_remove(&lab, "again");
		WAIT_FOR(&f, 3000u, record_find(&f.record, n, PSB_KIND_GONE, 0, NULL));
		assert_int_equal(record_count(&f.record), n + 1);
		WAIT_FOR(&f, 3000u, rung_of(&f) == 0);
		assert_int_equal(psb_watch_simulate(f.watch, PSB_LOW, 0), -ENODEV);
		assert_int_equal(psb_watch_load(f.watch, &load), -ENODEV);
		assert_true(stats_of(&f).low >= low);
		lab_make(&lab, "again", LAB_LIMIT);
		WAIT_FOR(&f, 3000u, rung_of(&f) == best_rung());
		assert_int_equal(psb_watch_load(f.watch, &load), 0);
		if (!lab.v1) /* on a hybrid host its first process says which v1 cgroup it is */
			assert_int_equal(load.limit_bytes, LAB_LIMIT);
		check_tells(&f, "again");
		assert_true(stats_of(&f).low > low);
		low = stats_of(&f).low;
	}
	/* while it is Low: Neutral is told of the old one, and High of the next */
	n = record_count(&f.record);
	pid = lab_press(&lab, "again");
	WAIT_FOR(&f, 12000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	lab_kill(pid);
	lab_remove(&lab, "again");
	WAIT_FOR(&f, 3000u, record_find(&f.record, n, PSB_KIND_GONE, PSB_NEUTRAL, NULL));
	n = record_count(&f.record);
	lab_make(&lab, "again", LAB_LIMIT);
	WAIT_FOR(&f, 5000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	/* gone for good */
	lab_remove(&lab, "again");
	WAIT_FOR(&f, 3000u, rung_of(&f) == 0);
	stop(&f);
}

static void our_own_watch_follows_us_when_the_old_cgroup_goes(void **state)
{
	static struct fixture f;
	struct psb_source before;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "from", 0);
	lab_make(&lab, "to", LAB_LIMIT);
	lab_enter(&lab, "from");
	start_with(&f, &(struct psb_watch_options){ 0 }, NULL, PSB_INLINE | PSB_TELL_SOURCE);
	before = source_of(&f);
	assert_string_equal(before.cgroup, lab_path(&lab, "from"));
	lab_enter(&lab, "to");
	lab_remove(&lab, "from");
	WAIT_FOR(&f, 3000u, heard_gone(&f));
	WAIT_FOR(&f, 3000u,
		 record_find(&f.record, 0, PSB_KIND_SOURCE, 0, lab_path(&lab, "to")) != NULL);
	assert_string_equal(heard_gone(&f)->cgroup, lab_path(&lab, "from"));
	assert_string_equal(source_of(&f).cgroup, lab_path(&lab, "to"));
	assert_int_equal(source_of(&f).rung, best_rung());
	assert_string_equal(before.cgroup, lab_path(&lab, "from")); /* valid as long as the watch */
	check_tells(&f, "to");
	lab_enter(&lab, NULL);
	stop(&f);
	lab_remove(&lab, "to");
}

static int set_up(void **state)
{
	(void)state;
	no_lab = lab_open(&lab, "lost");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

TEST_GROUP(lost)
{
	const struct CMUnitTest tests[] = {
		TEST(psi_that_is_switched_off_is_no_removal_and_comes_back),
		TEST(a_memory_controller_that_is_taken_away_is_no_removal_and_comes_back),
		TEST(a_cgroup_that_is_made_anew_is_watched_again),
		TEST(our_own_watch_follows_us_when_the_old_cgroup_goes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
