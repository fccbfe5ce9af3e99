/* SPDX-License-Identifier: MIT */
/*
 * test-pressure.c - one cgroup under real pressure, seen through the public API
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "../unit/unit.h"
#include "fixture.h"
#include "threads.h"

/* The default of critical, "full 100ms/2s": of a single process `some` is `full`, so it comes
 * before low's 200 ms. */
#define LOW_USEC 100000

static void stalls_are_told_as_low_and_their_end_as_neutral_then_high(void **state)
{
	static struct fixture f;
	const struct told *low, *t;
	uint64_t first_stall, due = 0, before, limit, stall;
	unsigned n;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "levels", LAB_LIMIT);
	start(&f, "levels");
	limit = rung_of(&f) == PSB_RUNG_PRIVILEGED ? LOW_WITHIN_PRIVILEGED_USEC : LOW_WITHIN_USEC;

	/* The lab's own file, not the group's: reading that one could swallow its alarm. And no
	 * faster: what stalls within less than a jiffy (10 ms at most) is lost to whoever reads
	 * that often, see test-facts.c. */
	before = lab_psi(&lab, "").some_usec;
	pid = lab_press(&lab, "levels");
	while (lab_psi(&lab, "").some_usec == before)
		lab_sleep_ms(20);
	first_stall = lab_now_usec();
	while (!HEARD(&f, PSB_LOW) && lab_now_usec() < first_stall + 12000000) {
		if (due == 0 && lab_psi(&lab, "").some_usec >= before + LOW_USEC)
			due = lab_now_usec();
		lab_sleep_ms(20);
	}
	WAIT_FOR(&f, 0u, HEARD(&f, PSB_LOW));
	low = HEARD(&f, PSB_LOW);
	if (due == 0) /* it was told before we looked again */
		due = low->called_usec;
	print_message(
		"# rung %u: Low %lld ms after the first stall, %lld ms after the threshold; since_usec says %lld ms\n",
		rung_of(&f), (long long)(low->called_usec - first_stall) / 1000,
		(long long)(low->called_usec - due) / 1000,
		(long long)(low->n.time_usec - low->n.since_usec) / 1000);
	assert_true((int64_t)(low->called_usec - due) < (int64_t)limit);
	assert_true(low->n.since_usec > 0 && low->n.since_usec <= low->n.time_usec);
	assert_true(low->n.since_usec + 2500000 > first_stall);
	/* growth is told once: what Neutral had is not in Low again */
	for (t = f.record.told, stall = 0; t <= low; t++)
		stall += t->n.stall_usec;
	assert_in_range(stall, LOW_USEC * 9 / 10, lab_psi(&lab, "levels").some_usec);
	assert_true(low->n.some_total_usec > 0);
	assert_int_equal(low->n.reason, PSB_REASON_STALL);
	assert_string_equal(low->cgroup, lab_path(&lab, "levels"));
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);

	lab_sleep_ms(500);
	lab_kill(pid);
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_HIGH));

	/* (Neutral) Low... Neutral High, and nothing else */
	n = record_count(&f.record);
	assert_true(n >= 3 && n <= 5);
	t = f.record.told;
	if (t->n.available == PSB_NEUTRAL) {
		assert_int_equal(t->n.reason, PSB_REASON_STALL);
		t++;
	}
	for (; t->n.available == PSB_LOW; t++)
		;
	assert_int_equal(t->n.available, PSB_NEUTRAL);
	assert_int_equal(t->n.reason, PSB_REASON_CALM);
	t++;
	assert_int_equal(t->n.available, PSB_HIGH);
	assert_int_equal(t->n.reason, PSB_REASON_CALM);
	assert_int_equal(record_index(&f.record, t), n - 1);
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_HIGH);
	stop(&f);
	lab_remove(&lab, "levels");
}

static void a_stall_under_the_low_threshold_is_neutral_only(void **state)
{
	static struct fixture f;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "slight", LAB_LIMIT);
	/* whatever stalls there are stay under 10 s in 10 s */
	start_with(&f,
		   &(struct psb_watch_options){ .early = "some 20ms/2s",
						.low = "some 10s/10s",
						.critical = "full 10s/10s" },
		   "slight", PSB_INLINE);
	pid = lab_press(&lab, "slight");
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_NEUTRAL));
	lab_sleep_ms(3000);
	assert_int_equal(record_count(&f.record), 1);
	lab_kill(pid);
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_HIGH));
	assert_null(HEARD(&f, PSB_LOW));
	stop(&f);
	lab_remove(&lab, "slight");
}

/* The window of an unprivileged trigger is seeded from the wrong counter, so the first stall rings
 * however short it is. */
static void what_stalled_before_the_watch_was_made_is_told_to_nobody(void **state)
{
	static struct fixture f;
	struct lab_psi before, after;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "past", LAB_LIMIT);
	pid = lab_press(&lab, "past");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "past").some_usec > 500000));
	lab_kill(pid);
	lab_sleep_ms(2500);
	before = lab_psi(&lab, "past");
	start_with(&f,
		   &(struct psb_watch_options){ .early = "some 500ms/2s",
						.low = "some 1s/2s",
						.critical = "full 1s/2s" },
		   "past", PSB_INLINE);
	/* a little stall: the kernel rings, or does not; see test-facts.c */
	pid = lab_press(&lab, "past");
	(void)LAB_WAIT(3000, lab_psi(&lab, "").some_usec > 0 &&
				     lab_psi(&lab, "past").some_usec > before.some_usec + 5000);
	lab_kill(pid);
	after = lab_psi(&lab, "past");
	lab_sleep_ms(4500);
	print_message("# %llu ms of stall, %llu alarms, %llu of them false\n",
		      (unsigned long long)(after.some_usec - before.some_usec) / 1000,
		      (unsigned long long)stats_of(&f).alarms,
		      (unsigned long long)stats_of(&f).false_alarms);
	if (after.some_usec - before.some_usec < 400000 && record_count(&f.record) != 0) {
		record_print(&f.record);
		fail_msg("told %u", record_count(&f.record));
	}
	stop(&f);
	lab_remove(&lab, "past");
}

static atomic_bool stealing;

static void *steal_alarms(void *path)
{
	char text[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	setpriority(PRIO_PROCESS, 0,
		    -20); /* this thread: behind the presser it would come too late */
	while (stealing) {
		assert_true(pread(fd, text, sizeof(text), 0) > 0);
		lab_sleep_ms(5); /* a 10 Hz reader misses one now and then */
	}
	close(fd);
	return NULL;
}

static void alarms_that_another_reader_swallows_are_found_out_and_replaced_by_sampling(void **state)
{
	static struct fixture f;
	struct psb_source source = { .size = sizeof(source) };
	char path[256];
	pthread_t thief;
	uint64_t from;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.privileged)
		SKIP("with CAP_SYS_RESOURCE no alarm can be swallowed; there must be none");
	lab_make(&lab, "stolen", LAB_LIMIT);
	start_with(&f, &(struct psb_watch_options){ 0 }, "stolen", PSB_INLINE | PSB_TELL_SOURCE);
	assert_int_equal(rung_of(&f), PSB_RUNG_TRIGGER);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, "stolen", "memory.pressure"));
	stealing = true;
	assert_int_equal(pthread_create(&thief, NULL, steal_alarms, path), 0);
	lab_sleep_ms(200);

	from = lab_now_usec();
	pid = lab_press(&lab, "stolen");
	WAIT_FOR(&f, 16000u, HEARD(&f, PSB_LOW));
	print_message("# %llu ms to Low, %llu alarms, %llu lost\n",
		      (unsigned long long)(lab_now_usec() - from) / 1000,
		      (unsigned long long)stats_of(&f).alarms,
		      (unsigned long long)stats_of(&f).lost_alarms);
	/* a stall that may be younger than its alarm is no proof; three of them are, unless an alarm
	 * that the thief has missed comes between them */
	for (int i = 0; i < 7 && stats_of(&f).lost_alarms == 0; i++) {
		unsigned n;

		lab_kill(pid);
		n = record_count(&f.record);
		WAIT_FOR(&f, 12000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
		pid = lab_press(&lab, "stolen");
		n = record_count(&f.record);
		WAIT_FOR(&f, 16000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	}
	assert_true(stats_of(&f).lost_alarms >= 1);
	WAIT_FOR(&f, 1000u, record_find(&f.record, 0, PSB_KIND_SOURCE, 0, NULL));
	assert_int_equal(psb_watch_source(f.watch, &source), 0);
	assert_int_equal(source.rung, PSB_RUNG_SAMPLING);
	assert_string_equal(source.name, "sampling");
	assert_non_null(strstr(source.why, "another program reads"));

	/* and from then on it does not take ten seconds any more */
	lab_kill(pid);
	unsigned n = record_count(&f.record);
	WAIT_FOR(&f, 12000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	lab_sleep_ms(2500);
	from = lab_now_usec();
	n = record_count(&f.record);
	pid = lab_press(&lab, "stolen");
	WAIT_FOR(&f, 16000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	print_message("# sampling: %llu ms to Low\n",
		      (unsigned long long)(lab_now_usec() - from) / 1000);
	assert_true(lab_now_usec() - from < LOW_WITHIN_USEC);

	lab_kill(pid);
	stealing = false;
	pthread_join(thief, NULL);
	stop(&f);
	lab_remove(&lab, "stolen");
}

static void a_removed_cgroup_is_told_once_and_costs_nothing_afterwards(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	uint64_t cpu;
	unsigned n;
	pid_t loop, pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "removed", LAB_LIMIT);
	start(&f, "removed");
	WAIT_FOR(&f, 1000u, (loop = thread_named(0, "psb-loop")) != 0);
	pid = lab_press(&lab, "removed");
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_LOW));
	lab_kill(pid);
	n = record_count(&f.record);
	lab_remove(&lab, "removed");
	/* sampling finds out, or the poll on a trigger */
	WAIT_FOR(&f, 3000u, record_find(&f.record, n, PSB_KIND_GONE, 0, NULL));

	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(1500);
	cpu = thread_cpu_usec(loop) - cpu;
	print_message("# %llu us of CPU time in 1.5 s\n", (unsigned long long)cpu);
	assert_true(cpu < 150000);

	n = record_count(&f.record);
	const struct told *last = &f.record.told[n - 1];

	assert_int_equal(last->n.kind, PSB_KIND_GONE);
	assert_int_equal(last->n.reason, PSB_REASON_GONE);
	assert_int_not_equal(last->n.available,
			     PSB_LOW); /* a CLR stays in low-memory mode until told otherwise */
	assert_int_equal(last->n.critical, 0);
	assert_string_equal(last->cgroup, lab_path(&lab, "removed"));
	assert_ptr_equal(record_find(&f.record, 0, PSB_KIND_GONE, 0, NULL), last);
	assert_int_not_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	assert_int_equal(psb_watch_simulate(f.watch, PSB_LOW, 0), -ENODEV);
	(void)psb_watch_load(f.watch, &load);
	stop(&f);
}

/* At rest nobody samples, so here only the kernel's own word can bring the news. */
static void the_removal_of_an_idle_cgroup_is_told_too(void **state)
{
	static struct fixture f;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "idle", 0);
	start(&f, "idle");
	lab_sleep_ms(300);
	lab_remove(&lab, "idle");
	WAIT_FOR(&f, 2000u, record_find(&f.record, 0, PSB_KIND_GONE, 0, NULL));
	assert_int_equal(record_count(&f.record), 1);
	stop(&f);
}

static void while_memory_is_plentiful_nothing_wakes_up(void **state)
{
	static struct fixture f;
	uint64_t switches, cpu;
	pid_t loop;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "calm", LAB_LIMIT);
	start(&f, "calm");
	WAIT_FOR(&f, 1000u, (loop = thread_named(0, "psb-loop")) != 0);
	lab_sleep_ms(500);
	switches = thread_switches(loop);
	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(12000);
	switches = thread_switches(loop) - switches;
	cpu = thread_cpu_usec(loop) - cpu;
	print_message("# rung %u: woke up %llu times in 12 s, %llu us\n", rung_of(&f),
		      (unsigned long long)switches, (unsigned long long)cpu);
	if (rung_of(&f) == PSB_RUNG_PRIVILEGED)
		assert_int_equal(switches, 0);
	else
		assert_true(switches <= 2); /* the safety sample */
	assert_int_equal(record_count(&f.record), 0);
	stop(&f);
	lab_remove(&lab, "calm");
}

static int set_up(void **state)
{
	(void)state;
	no_lab = lab_open(&lab, "pressure");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

TEST_GROUP(pressure)
{
	const struct CMUnitTest tests[] = {
		TEST(stalls_are_told_as_low_and_their_end_as_neutral_then_high),
		TEST(a_stall_under_the_low_threshold_is_neutral_only),
		TEST(what_stalled_before_the_watch_was_made_is_told_to_nobody),
		TEST(alarms_that_another_reader_swallows_are_found_out_and_replaced_by_sampling),
		TEST(a_removed_cgroup_is_told_once_and_costs_nothing_afterwards),
		TEST(the_removal_of_an_idle_cgroup_is_told_too),
		TEST(while_memory_is_plentiful_nothing_wakes_up),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
