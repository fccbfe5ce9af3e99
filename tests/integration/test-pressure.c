/* SPDX-License-Identifier: MIT */
/*
 * test-pressure.c - one cgroup under real pressure, seen through the public API
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "fixture.h"
#include "../threads.h"

/* The default of critical, "full 100ms/2s": of a single process `some` is `full`, so it comes
 * before low's 200 ms. */
#define LOW_USEC 100000

PROMISE(stalls_are_told_as_low_and_their_end_as_neutral_then_high)
{
	const struct told *low, *t;
	uint64_t first_stall, due = 0, before, limit, stall;
	unsigned n;
	pid_t pid;

	lab_make(&lab, "levels", LAB_LIMIT);
	start("levels");
	limit = source_now().rung == PSB_RUNG_PRIVILEGED ? LOW_WITHIN_PRIVILEGED_USEC
							 : LOW_WITHIN_USEC;

	/* The lab's own file, not the group's: reading that one could swallow its alarm. And no
	 * faster: what stalls within less than a jiffy (10 ms at most) is lost to whoever reads
	 * that often, see test-facts.c. */
	before = lab_psi(&lab, "").some_usec;
	pid = lab_press(&lab, "levels");
	while (lab_psi(&lab, "").some_usec == before)
		lab_sleep_ms(20);
	first_stall = lab_now_usec();
	while (!HEARD(PSB_LOW) && lab_now_usec() < first_stall + 12000000) {
		if (due == 0 && lab_psi(&lab, "").some_usec >= before + LOW_USEC)
			due = lab_now_usec();
		lab_sleep_ms(20);
	}
	WAIT_FOR(0u, HEARD(PSB_LOW));
	low = HEARD(PSB_LOW);
	if (due == 0) /* it was told before we looked again */
		due = low->called_usec;
	print_message(
		"# rung %u: Low %lld ms after the first stall, %lld ms after the threshold; since_usec says %lld ms\n",
		source_now().rung, (long long)(low->called_usec - first_stall) / 1000,
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
	WAIT_FOR(12000u, HEARD(PSB_HIGH));

	/* (Neutral) Low... Neutral High, and nothing else */
	n = told_count();
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
}

/* The window of an unprivileged trigger is seeded from the wrong counter, so the first stall rings
 * however short it is. */
PROMISE(what_stalled_before_the_watch_was_made_is_told_to_nobody)
{
	struct lab_psi before, after;
	pid_t pid;

	lab_make(&lab, "past", LAB_LIMIT);
	pid = lab_press(&lab, "past");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "past").some_usec > 500000));
	lab_kill(pid);
	lab_sleep_ms(2500);
	before = lab_psi(&lab, "past");
	start_with(&(struct psb_watch_options){ .early = "some 500ms/2s",
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
		      (unsigned long long)stats().alarms, (unsigned long long)stats().false_alarms);
	if (after.some_usec - before.some_usec < 400000 && told_count() != 0) {
		record_print(&f.record);
		fail_msg("told %u", told_count());
	}
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

PROMISE(alarms_that_another_reader_swallows_are_found_out_and_replaced_by_sampling)
{
	struct psb_source source = { .size = sizeof(source) };
	char path[256];
	pthread_t thief;
	uint64_t from;
	pid_t pid;

	if (lab.privileged)
		SKIP("with CAP_SYS_RESOURCE no alarm can be swallowed; there must be none");
	lab_make(&lab, "stolen", LAB_LIMIT);
	start_with(&(struct psb_watch_options){ 0 }, "stolen", PSB_INLINE | PSB_TELL_SOURCE);
	assert_int_equal(source_now().rung, PSB_RUNG_TRIGGER);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, "stolen", "memory.pressure"));
	stealing = true;
	assert_int_equal(pthread_create(&thief, NULL, steal_alarms, path), 0);
	lab_sleep_ms(200);

	from = lab_now_usec();
	pid = lab_press(&lab, "stolen");
	WAIT_FOR(16000u, HEARD(PSB_LOW));
	print_message("# %llu ms to Low, %llu alarms, %llu lost\n",
		      (unsigned long long)(lab_now_usec() - from) / 1000,
		      (unsigned long long)stats().alarms, (unsigned long long)stats().lost_alarms);
	/* a stall that may be younger than its alarm is no proof; three of them are, unless an alarm
	 * that the thief has missed comes between them */
	for (int i = 0; i < 7 && stats().lost_alarms == 0; i++) {
		unsigned n;

		lab_kill(pid);
		n = told_count();
		WAIT_FOR(12000u, found(n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
		pid = lab_press(&lab, "stolen");
		n = told_count();
		WAIT_FOR(16000u, found(n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	}
	assert_true(stats().lost_alarms >= 1);
	WAIT_FOR(1000u, found(0, PSB_KIND_SOURCE, 0, NULL));
	assert_int_equal(psb_watch_source(f.watch, &source), 0);
	assert_int_equal(source.rung, PSB_RUNG_SAMPLING);
	assert_string_equal(source.name, "sampling");
	assert_non_null(strstr(source.why, "another program reads"));

	/* and from then on it does not take ten seconds any more */
	lab_kill(pid);
	unsigned n = told_count();
	WAIT_FOR(12000u, found(n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	lab_sleep_ms(2500);
	from = lab_now_usec();
	n = told_count();
	pid = lab_press(&lab, "stolen");
	WAIT_FOR(16000u, found(n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	print_message("# sampling: %llu ms to Low\n",
		      (unsigned long long)(lab_now_usec() - from) / 1000);
	assert_true(lab_now_usec() - from < LOW_WITHIN_USEC);

	lab_kill(pid);
	stealing = false;
	pthread_join(thief, NULL);
}

PROMISE(a_removed_cgroup_is_told_once_and_costs_nothing_afterwards)
{
	struct psb_load load = { .size = sizeof(load) };
	uint64_t cpu;
	unsigned n;
	pid_t loop, pid;

	lab_make(&lab, "removed", LAB_LIMIT);
	start("removed");
	WAIT_FOR(1000u, (loop = thread_named(0, "psb-loop", 0)) != 0);
	pid = lab_press(&lab, "removed");
	WAIT_FOR(12000u, HEARD(PSB_LOW));
	lab_kill(pid);
	n = told_count();
	lab_remove(&lab, "removed");
	/* sampling finds out, or the poll on a trigger */
	WAIT_FOR(3000u, found(n, PSB_KIND_GONE, 0, NULL));

	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(1500);
	cpu = thread_cpu_usec(loop) - cpu;
	print_message("# %llu us of CPU time in 1.5 s\n", (unsigned long long)cpu);
	assert_true(cpu < 150000);

	n = told_count();
	const struct told *last = &f.record.told[n - 1];

	assert_int_equal(last->n.kind, PSB_KIND_GONE);
	assert_int_equal(last->n.reason, PSB_REASON_GONE);
	assert_int_not_equal(last->n.available,
			     PSB_LOW); /* a CLR stays in low-memory mode until told otherwise */
	assert_int_equal(last->n.critical, 0);
	assert_string_equal(last->cgroup, lab_path(&lab, "removed"));
	assert_ptr_equal(found(0, PSB_KIND_GONE, 0, NULL), last);
	assert_int_not_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	assert_int_equal(psb_watch_simulate(f.watch, PSB_LOW, 0), -ENODEV);
	(void)psb_watch_load(f.watch, &load);
}

/* At rest nobody samples, so here only the kernel's own word can bring the news. */
PROMISE(the_removal_of_an_idle_cgroup_is_told_too)
{

	lab_make(&lab, "idle", 0);
	start("idle");
	lab_sleep_ms(300);
	lab_remove(&lab, "idle");
	WAIT_FOR(2000u, found(0, PSB_KIND_GONE, 0, NULL));
	assert_int_equal(told_count(), 1);
}

PROMISE(while_memory_is_plentiful_nothing_wakes_up)
{
	uint64_t switches, cpu;
	pid_t loop;

	lab_make(&lab, "calm", LAB_LIMIT);
	start("calm");
	WAIT_FOR(1000u, (loop = thread_named(0, "psb-loop", 0)) != 0);
	lab_sleep_ms(500);
	switches = thread_switches(loop);
	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(12000);
	switches = thread_switches(loop) - switches;
	cpu = thread_cpu_usec(loop) - cpu;
	print_message("# rung %u: woke up %llu times in 12 s, %llu us\n", source_now().rung,
		      (unsigned long long)switches, (unsigned long long)cpu);
	if (source_now().rung == PSB_RUNG_PRIVILEGED)
		assert_int_equal(switches, 0);
	else
		assert_true(switches <= 2); /* the safety sample */
	assert_int_equal(told_count(), 0);
}
