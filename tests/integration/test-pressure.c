/* SPDX-License-Identifier: MIT */
/*
 * test-pressure.c - one cgroup under real pressure, seen through the public API
 */
#include <stdatomic.h>
#include <sys/resource.h>

#include "fixture.h"
#include "../threads.h"

/* The default of critical, "full 100ms/2s": of a single process `some` is `full`, so it comes
 * before low's 200 ms. */
#define LOW_USEC 100000

/* (Neutral) Low... Neutral High, and nothing else. */
static void check_levels(void)
{
	const struct told *t = f.record.told;
	unsigned n = told_count();

	assert_in_range(n, 3, 5);
	if (t->n.available == PSB_NEUTRAL)
		assert_int_equal((t++)->n.reason, PSB_REASON_STALL);
	while (t->n.available == PSB_LOW)
		t++;
	for (int level = PSB_NEUTRAL; level <= PSB_HIGH; level++, t++) {
		assert_int_equal(t->n.available, level);
		assert_int_equal(t->n.reason, PSB_REASON_CALM);
	}
	assert_int_equal(record_index(&f.record, t), n);
}

PROMISE(stalls_are_told_as_low_and_their_end_as_neutral_then_high)
{
	uint64_t first_stall, due = 0, before, stall = 0;
	const struct told *low;
	pid_t pid;

	lab_make(&lab, "levels", LAB_LIMIT);
	start("levels");
	/* The lab's own file, not the group's: reading that one could swallow its alarm. And no
	 * faster: what stalls within less than a jiffy (10 ms at most) is lost to whoever reads
	 * that often, see test-facts.c. */
	before = lab_psi(&lab, "").some_usec;
	pid = lab_press(&lab, "levels");
	while (lab_psi(&lab, "").some_usec == before)
		lab_sleep_ms(20);
	first_stall = lab_now_usec();
	for (; !HEARD(PSB_LOW) && lab_now_usec() < first_stall + 12000000; lab_sleep_ms(20))
		if (due == 0 && lab_psi(&lab, "").some_usec >= before + LOW_USEC)
			due = lab_now_usec();
	WAIT_FOR(0u, HEARD(PSB_LOW));
	low = HEARD(PSB_LOW);
	if (due == 0) /* it was told before we looked again */
		due = low->called_usec;
	assert_true((int64_t)(low->called_usec - due) <
		    (lab.privileged ? LOW_WITHIN_PRIVILEGED_USEC : LOW_WITHIN_USEC));
	assert_true(low->n.since_usec > 0 && low->n.since_usec <= low->n.time_usec);
	assert_true(low->n.since_usec + 2500000 > first_stall);
	/* growth is told once: what Neutral had is not in Low again */
	for (const struct told *t = f.record.told; t <= low; t++)
		stall += t->n.stall_usec;
	assert_in_range(stall, LOW_USEC * 9 / 10, lab_psi(&lab, "levels").some_usec);
	assert_true(low->n.some_total_usec > 0);
	assert_int_equal(low->n.reason, PSB_REASON_STALL);
	assert_string_equal(low->cgroup, lab_path(&lab, "levels"));
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_LOW);
	lab_sleep_ms(500); /* Low goes on */
	release(pid, "levels");
	check_levels();
	assert_int_equal(psb_watch_available(f.watch, NULL), PSB_HIGH);
}

/* The window of an unprivileged trigger is seeded from the wrong counter, so the first stall rings
 * however short it is. */
PROMISE(what_stalled_before_the_watch_was_made_is_told_to_nobody)
{
	uint64_t before, after;
	pid_t pid;

	lab_make(&lab, "past", LAB_LIMIT);
	pid = lab_press(&lab, "past");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "past").some_usec > 500000));
	lab_kill(pid);
	lab_sleep_ms(2500); /* a window: it has forgotten that stall */
	before = lab_psi(&lab, "past").some_usec;
	start_with(&(struct psb_watch_options){ .early = "some 500ms/2s",
						.low = "some 1s/2s",
						.critical = "full 1s/2s" },
		   "past", PSB_INLINE);
	/* a little stall: the kernel rings, or does not; see test-facts.c */
	pid = lab_press(&lab, "past");
	(void)LAB_WAIT(3000, lab_psi(&lab, "").some_usec > 0 &&
				     lab_psi(&lab, "past").some_usec > before + 5000);
	lab_kill(pid);
	after = lab_psi(&lab, "past").some_usec;
	lab_sleep_ms(4500); /* an alarm comes within two windows */
	assert_true(told_count() == 0 || after - before >= 400000);
}

static atomic_bool stealing;

static void *steal_alarms(void *path)
{
	char text[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	/* this thread: behind the presser it would come too late */
	setpriority(PRIO_PROCESS, 0, -20);
	while (stealing && pread(fd, text, sizeof(text), 0) > 0)
		lab_sleep_ms(5); /* a 10 Hz reader misses one now and then */
	close(fd);
	return NULL;
}

PROMISE(alarms_that_another_reader_swallows_are_found_out_and_replaced_by_sampling)
{
	struct psb_source source;
	char path[256];
	pthread_t thief;
	uint64_t from;

	if (lab.privileged)
		SKIP("with CAP_SYS_RESOURCE no alarm can be swallowed; there must be none");
	lab_make(&lab, "stolen", LAB_LIMIT);
	start_with(&(struct psb_watch_options){ 0 }, "stolen", PSB_INLINE | PSB_TELL_SOURCE);
	assert_int_equal(source_now().rung, PSB_RUNG_TRIGGER);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, "stolen", "memory.pressure"));
	stealing = true;
	assert_int_equal(pthread_create(&thief, NULL, steal_alarms, path), 0);
	lab_sleep_ms(200); /* the thief is at work */
	/* a stall that may be younger than its alarm is no proof; three of them are, unless an alarm
	 * that the thief has missed comes between them */
	for (int i = 0; i < 8 && stats().lost_alarms == 0; i++)
		press_and_release("stolen");
	assert_true(stats().lost_alarms >= 1);
	WAIT_FOR(1000u, found(0, PSB_KIND_SOURCE, 0, NULL));
	source = source_now();
	assert_int_equal(source.rung, PSB_RUNG_SAMPLING);
	assert_string_equal(source.name, "sampling");
	assert_non_null(strstr(source.why, "another program reads"));
	/* and from then on it does not take ten seconds any more */
	lab_sleep_ms(2500); /* a window: the next stall is isolated */
	from = lab_now_usec();
	lab_kill(press_until_low("stolen"));
	assert_true(lab_now_usec() - from < LOW_WITHIN_USEC);
	stealing = false;
	pthread_join(thief, NULL);
}

PROMISE(while_memory_is_plentiful_nothing_wakes_up)
{
	uint64_t switches;
	pid_t loop;

	lab_make(&lab, "calm", LAB_LIMIT);
	start("calm");
	WAIT_FOR(1000u, (loop = thread_named(0, "psb-loop", 0)) != 0);
	lab_sleep_ms(500); /* the rest of starting */
	switches = thread_switches(loop);
	lab_sleep_ms(12000); /* longer than the 10 s of a safety sample */
	switches = thread_switches(loop) - switches;
	assert_in_range(switches, 0, lab.privileged ? 0 : 2); /* the safety sample */
	assert_int_equal(told_count(), 0);
}
