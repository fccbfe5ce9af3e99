/* SPDX-License-Identifier: MIT */
/*
 * test-forecast.c - Low before a real limit is reached (src/core/forecast.h)
 */
#include <sys/mman.h>

#include "fixture.h"

#define LIMIT_MIB 160u
#define FIRST_MIB 80u
#define LAST_MIB 148u /* it never gets there */
#define MIB_PER_SEC 40u

/* By memory of its own, or by what it reads of a file. */
static pid_t grow_by(const char *group, int file)
{
	pid_t pid = lab_fork(&lab, group);
	char *p;

	if (pid != 0)
		return pid;
	p = mmap(NULL, LAST_MIB * LAB_MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0);
	for (unsigned i = 0; p != MAP_FAILED && i < LAST_MIB; i++) {
		if (file < 0)
			memset(p + i * LAB_MB, 1, LAB_MB);
		else if (pread(file, p, LAB_MB, (off_t)(i * LAB_MB)) < 0)
			break;
		if (i == FIRST_MIB) /* to be armed by then */
			lab_sleep_ms(1500);
		else if (i > FIRST_MIB)
			lab_sleep_ms(1000 / MIB_PER_SEC);
	}
	for (;;)
		pause();
}

static pid_t grow(const char *group)
{
	return grow_by(group, -1);
}

static const struct told *foretold(void)
{
	for (unsigned i = 0; i < told_count(); i++)
		if (f.record.told[i].n.reason == PSB_REASON_FORECAST)
			return &f.record.told[i];
	return NULL;
}

/* The group is that of the process: on a hybrid host only that says where its limit is. */
static void start_on(pid_t pid, uint64_t forecast_usec)
{
	start_with(&(struct psb_watch_options){ .pid = pid, .forecast_usec = forecast_usec }, NULL,
		   PSB_INLINE);
}

PROMISE(low_comes_before_the_limit_and_is_followed_by_neutral_and_high)
{
	const struct told *told;
	pid_t pid;

	lab_make(&lab, "grows", LIMIT_MIB * LAB_MB);
	pid = grow("grows");
	start_on(pid, 2 * USEC_PER_SEC);
	WAIT_FOR(20000u, foretold());
	told = foretold();
	assert_int_equal(told->n.available, PSB_LOW);
	assert_false(told->n.critical);
	assert_int_equal(told->n.limit_bytes, LIMIT_MIB * LAB_MB);
	assert_int_equal(told->n.cause, PSB_CAUSE_OWN);
	assert_true(told->n.current_bytes >= LIMIT_MIB * LAB_MB / 4 * 3);
	release(pid, "grows");
	assert_non_null(HEARD(PSB_NEUTRAL));
}

PROMISE(without_the_setting_growth_is_not_looked_at)
{
	pid_t pid;

	lab_make(&lab, "alone", LIMIT_MIB * LAB_MB);
	pid = grow("alone");
	start_on(pid, 0); /* a target was named */
	while (lab_proc_number(pid, "status", "RssAnon:") < (LAST_MIB - 1) * 1024)
		lab_sleep_ms(50);
	assert_int_equal(told_count(), 0);
	lab_kill(pid);
}

PROMISE(page_cache_is_no_growth)
{
	pid_t pid;

	lab_make(&lab, "cache", LAB_LIMIT);
	pid = lab_press(&lab, "cache"); /* fills it with the file, and over */
	start_on(pid, 10 * USEC_PER_SEC);
	WAIT_FOR(20000u, HEARD(PSB_LOW));
	assert_null(foretold());
	lab_kill(pid);
}

/* The least limit is another one, which is far away. */
PROMISE(a_limit_that_was_raised_is_not_foretold)
{
	pid_t other, pid;

	lab_make(&lab, "outer", (LIMIT_MIB + 100) * LAB_MB);
	lab_delegate(&lab, "outer");
	lab_make(&lab, "outer/other", 0);
	lab_make(&lab, "outer/inner", (LIMIT_MIB + 80) * LAB_MB);
	other = lab_hog(&lab, "outer/other", 100 * LAB_MB);
	pid = grow("outer/inner");
	start_on(pid, 2 * USEC_PER_SEC);
	if (lab.v1) /* it may be there, and must not be less */
		(void)lab_try_write(lab_v1_file(&lab, "outer", "memory.memsw.limit_in_bytes"),
				    "1000000000");
	lab_write(lab.v1 ? lab_v1_file(&lab, "outer", "memory.limit_in_bytes")
			 : lab_file(&lab, "outer", "memory.max"),
		  "1000000000");
	while (lab_proc_number(pid, "status", "RssAnon:") < (LAST_MIB - 1) * 1024)
		lab_sleep_ms(50);
	assert_null(foretold());
	lab_kill(pid);
	lab_kill(other);
}

#define CROWD 20

static void plant(void)
{
	lab_make(&lab, "crowd", 0);
	lab_delegate(&lab, "crowd");
	for (unsigned i = 0; i < CROWD; i++) {
		char name[32];

		snprintf(name, sizeof(name), "crowd/c%u", i);
		lab_make(&lab, name, LIMIT_MIB * LAB_MB);
	}
}

static void start_on_crowd(uint64_t forecast_usec)
{
	char pattern[256];

	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "crowd"));
	start_with(
		&(struct psb_watch_options){ .pattern = pattern, .forecast_usec = forecast_usec },
		NULL, PSB_INLINE);
}

PROMISE(of_a_pattern_only_the_cgroup_that_grows_is_told_before_its_limit)
{
	int file = lab_data(LAST_MIB * LAB_MB);
	const struct told *told;
	pid_t grows, reads;

	plant();
	lab_data_evict(file);
	reads = grow_by("crowd/c3", file);
	grows = grow("crowd/c7");
	start_on_crowd(2 * USEC_PER_SEC);
	WAIT_FOR(20000u, foretold());
	told = foretold();
	print_message("# Low at %llu of %u MiB\n",
		      (unsigned long long)(told->n.current_bytes / LAB_MB), LIMIT_MIB);
	assert_string_equal(told->cgroup, lab_path(&lab, "crowd/c7"));
	assert_int_equal(told->n.limit_bytes, LIMIT_MIB * LAB_MB);
	assert_int_equal(told->n.cause, PSB_CAUSE_OWN);
	assert_int_equal(stats().members, 1);
	release(grows, "crowd/c7");
	for (unsigned i = 0; i < told_count(); i++)
		assert_string_equal(f.record.told[i].cgroup, told->cgroup);
	WAIT_FOR(12000u, stats().members == 0);
	lab_kill(reads);
	close(file);
}

PROMISE(a_pattern_without_the_setting_has_no_forecast)
{
	pid_t pid;

	plant();
	pid = grow("crowd/c7");
	start_on_crowd(0);
	while (lab_proc_number(pid, "status", "RssAnon:") < (LAST_MIB - 1) * 1024)
		lab_sleep_ms(50);
	assert_int_equal(told_count(), 0);
	lab_kill(pid);
}
