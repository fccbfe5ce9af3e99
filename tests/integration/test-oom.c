/* SPDX-License-Identifier: MIT */
/*
 * test-oom.c - what only a unified hierarchy shows: memory.events. memory.high is in vm/guest-cause.sh.
 */
#include <stdatomic.h>

#include "fixture.h"

static char events_path[256];
static atomic_bool stop;
static _Atomic uint64_t kill_usec; /* when it was first seen; 0: not */

/* Another descriptor's read takes nothing from the library's. */
static void *watch_killing(void *unused)
{
	while (!stop && kill_usec == 0) {
		if (lab_number(events_path, "oom_kill ") > 0)
			kill_usec = lab_now_usec();
		lab_sleep_ms(1);
	}
	return unused;
}

static const struct told *critical_of(const char *group)
{
	const struct told *told = HEARD_OF(group, PSB_LOW);

	while (told && !told->n.critical)
		told = found((unsigned)record_index(&f.record, told) + 1, PSB_KIND_LEVEL, PSB_LOW,
			     lab_path(&lab, group));
	return told;
}

static void need_memory_events(void)
{
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
}

PROMISE(a_fast_out_of_memory_is_low_and_critical_with_the_kill_or_before_it)
{
	const struct told *told;
	pthread_t thread;
	pid_t pid;

	need_memory_events();
	lab_make(&lab, "oom", 32 * LAB_MB);
	start("oom");
	snprintf(events_path, sizeof(events_path), "%s", lab_file(&lab, "oom", "memory.events"));
	assert_int_equal(pthread_create(&thread, NULL, watch_killing, NULL), 0);
	lab_sleep_ms(300); /* to rest */
	pid = lab_hog(&lab, "oom", 512 * LAB_MB);
	WAIT_FOR(10000u, critical_of("oom"));
	(void)LAB_WAIT(2000, kill_usec > 0);
	stop = true;
	pthread_join(thread, NULL);
	told = critical_of("oom");
	assert_true(kill_usec > 0);
	/* the thread sees the kill within a few milliseconds; told 59 ms after it on a busy emulated machine */
	assert_true(told->called_usec < kill_usec + 500000);
	assert_true(told->n.reason == PSB_REASON_OOM || told->n.reason == PSB_REASON_STALL);
	release(pid, "oom");
}

/* Of all of them together nothing new can be told then. */
PROMISE(a_kill_beside_one_that_is_critical_is_told)
{
	pid_t pid;

	need_memory_events();
	lab_make(&lab, "two", 0);
	lab_delegate(&lab, "two");
	lab_make(&lab, "two/a", LAB_LIMIT);
	lab_make(&lab, "two/b", 32 * LAB_MB);
	start_pattern("two");
	pid = lab_press(&lab, "two/a");
	WAIT_FOR(20000u, critical_of("two/a"));
	lab_hog(&lab, "two/b", 512 * LAB_MB);
	WAIT_FOR(10000u, critical_of("two/b"));
	lab_kill(pid);
}
