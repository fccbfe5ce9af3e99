/* SPDX-License-Identifier: MIT */
/*
 * test-rungs.c - the rungs of the ladder (each one alone: test-driving.c; our own cgroup: test-lost.c), and what is said of memory on
 * the way
 */
#include "fixture.h"
#include "../threads.h"

PROMISE(the_file_that_systemd_names_is_listened_to)
{
	struct psb_source source;

	lab_make(&lab, "unit", LAB_LIMIT);
	lab_enter(&lab, "unit");
	setenv("MEMORY_PRESSURE_WATCH", lab_file(&lab, "unit", "memory.pressure"), 1);
	/* "some 200000 2000000" and its NUL */
	setenv("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
	start_with(&(struct psb_watch_options){ 0 }, NULL, PSB_INLINE);
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	source = source_now();
	assert_int_equal(source.rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source.name, "psi-file");
	assert_string_equal(source.cgroup, lab_path(&lab, "unit"));
	assert_string_equal(source.path, lab_file(&lab, "unit", "memory.pressure"));
	assert_string_equal(source.why, "");
	/* early is a tenth of what systemd wrote; with CAP_SYS_RESOURCE in a short window */
	assert_string_equal(source.trigger,
			    lab.privileged ? "some 5000 500000" : "some 20000 2000000");
	assert_int_equal(source.events, !lab.v1);
	press_and_release("unit");
	lab_enter(&lab, NULL);
}

PROMISE(the_machine_stands_in_for_our_own_cgroup_only)
{
	struct psb_watch_options o = { .rungs = PSB_RUNG_MASK(PSB_RUNG_MACHINE) };
	char error[320] = "";

	start_with(&o, NULL, 0);
	assert_int_equal(source_now().rung, PSB_RUNG_MACHINE);
	assert_string_equal(source_now().name, "machine");
	assert_string_equal(source_now().path, "/proc/pressure/memory");
	o.cgroup = lab_path(&lab, "");
	o.error_text = error;
	f.watch = psb_watch_unref(f.watch);
	assert_int_equal(psb_watch_new(f.bridge, &o, &f.watch), -ENODATA);
	assert_string_equal(
		error, "the machine's pressure says nothing of the one cgroup that was asked for");
}

/* ---- what is said of memory --------------------------------------------------------------------- */

static uint64_t use_of(const char *group)
{
	return lab_number(lab.v1 ? lab_v1_file(&lab, group, "memory.usage_in_bytes")
				 : lab_file(&lab, group, "memory.current"),
			  "");
}

/* The limit is the slice's, and so is what is in use: another service fills it. Longer than calm: without room there is no High, nor
 * where all that can be opened is open. */
PROMISE(little_room_is_neutral_though_nothing_stalls_and_out_of_descriptors_no_high)
{
	pid_t other;

	if (getenv("SANITIZERS"))
		SKIP("a sanitizer's shadow memory takes the room that is measured");
	lab_make(&lab, "slice", 64 * LAB_MB);
	lab_delegate(&lab, "slice");
	lab_make(&lab, "slice/one", 0);
	lab_make(&lab, "slice/other", 0);
	lab_hog(&lab, "slice/one", LAB_MB);
	other = lab_hog(&lab, "slice/other", 54 * LAB_MB);
	assert_true(LAB_WAIT(10000, use_of("slice") >= 54 * LAB_MB));
	start_with(&(struct psb_watch_options){ .headroom_percent = 25 }, "slice/one",
		   PSB_INLINE | PSB_TELL_PRESENT);
	WAIT_FOR(2000u, told_count() == 1);
	assert_int_equal(f.record.told[0].n.available, PSB_NEUTRAL);
	assert_int_equal(f.record.told[0].n.reason, PSB_REASON_PRESENT);
	assert_int_equal(f.record.told[0].n.limit_bytes, 64 * LAB_MB);
	assert_true(f.record.told[0].n.current_bytes >= 54 * LAB_MB);
	assert_true(load_now().percent >= 80);
	lab_sleep_ms(3500); /* longer than calm */
	descriptors_allow(0);
	lab_sleep_ms(3500); /* longer than calm */
	assert_int_equal(told_count(), 1);
	assert_int_equal(load_now().limit_bytes, 64 * LAB_MB);
	descriptors_allow(DESCRIPTORS_ALL);
	lab_kill(other);
	WAIT_FOR(20000u, HEARD(PSB_HIGH));
	assert_int_equal(told_count(), 2);
}

/* With one descriptor more each time: refused, or whole. */
PROMISE(what_is_short_of_descriptors_is_not_taken_for_missing)
{
	struct psb_watch_options o = { .size = sizeof(o),
				       .rungs = PSB_RUNG_MASK(PSB_RUNG_TRIGGER) };
	unsigned refused = 0;
	int r = -EMFILE;

	lab_make(&lab, "short", LAB_LIMIT);
	o.cgroup = lab_path(&lab, "short");
	for (; r == -EMFILE; refused++) {
		psb_bridge_unref(f.bridge);
		assert_int_equal(psb_bridge_new(NULL, &f.bridge), 0);
		descriptors_allow(refused);
		r = psb_watch_new(f.bridge, &o, &f.watch);
		descriptors_allow(DESCRIPTORS_ALL);
	}
	assert_int_equal(r, 0);
	assert_int_equal(source_now().events, !lab.v1);
	assert_in_range(refused, 4, 21);
}
