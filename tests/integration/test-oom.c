/* SPDX-License-Identifier: MIT */
/*
 * test-oom.c - what only a unified hierarchy shows: memory.events, memory.high, and a unit as a target
 */
#include "fixture.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

struct killing {
	char path[256];
	atomic_bool stop;
	uint64_t max_usec, oom_usec, kill_usec; /* when first seen; 0: not */
};

static uint64_t counter(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Another descriptor's read takes nothing from the library's. */
static void *watch_killing(void *data)
{
	struct killing *k = data;
	int fd = open(k->path, O_RDONLY | O_CLOEXEC);
	char text[512];

	while (!k->stop && fd >= 0) {
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
		uint64_t now = lab_now_usec();

		text[n > 0 ? n : 0] = '\0';
		if (k->max_usec == 0 && counter(text, "\nmax ") > 0)
			k->max_usec = now;
		if (k->oom_usec == 0 && counter(text, "\noom ") > 0)
			k->oom_usec = now;
		if (k->kill_usec == 0 && counter(text, "\noom_kill ") > 0)
			k->kill_usec = now;
		lab_sleep_ms(1);
	}
	close(fd);
	return NULL;
}

/* `path` NULL: of any. */
static const struct told *critical_of(const char *path)
{
	const struct told *told = HEARD(PSB_LOW);

	while (told && (!told->n.critical || (path && strcmp(told->cgroup, path) != 0)))
		told = found((unsigned)record_index(&f.record, told) + 1, PSB_KIND_LEVEL, PSB_LOW,
			     path);
	return told;
}

static void need_memory_events(void)
{
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
}

PROMISE(a_fast_out_of_memory_is_low_and_critical_with_the_kill_or_before_it)
{
	static struct killing k;
	const struct told *told;
	pthread_t thread;
	pid_t pid;

	need_memory_events();
	lab_make(&lab, "oom", 32 * LAB_MB);
	start("oom");
	snprintf(k.path, sizeof(k.path), "%s", lab_file(&lab, "oom", "memory.events"));
	assert_int_equal(pthread_create(&thread, NULL, watch_killing, &k), 0);
	lab_sleep_ms(300);
	pid = lab_hog(&lab, "oom", 512 * LAB_MB);
	WAIT_FOR(10000u, critical_of(NULL));
	(void)LAB_WAIT(2000, k.kill_usec > 0);
	k.stop = true;
	pthread_join(thread, NULL);
	told = critical_of(NULL);
	assert_true(k.kill_usec > 0);
	print_message(
		"# first max %lld ms, oom %lld ms before the kill was seen; told critical %lld ms after it, reason %d\n",
		(long long)(k.kill_usec - k.max_usec) / 1000,
		(long long)(k.kill_usec - k.oom_usec) / 1000,
		(long long)(told->called_usec - k.kill_usec) / 1000, told->n.reason);
	/* the sampler above sees the kill within a few milliseconds; told 59 ms after it on a busy emulated machine */
	assert_true(told->called_usec < k.kill_usec + 500000);
	assert_true(told->n.reason == PSB_REASON_OOM || told->n.reason == PSB_REASON_STALL);
	lab_kill(pid);
	WAIT_FOR(12000u, HEARD(PSB_HIGH));
}

/* Of all of them together nothing new can be told then. */
PROMISE(a_kill_beside_one_that_is_critical_is_told)
{
	static char pattern[256], b[256];
	pid_t pid;

	need_memory_events();
	lab_make(&lab, "two", 0);
	lab_write(lab_file(&lab, "two", "cgroup.subtree_control"), "+memory");
	lab_make(&lab, "two/a", LAB_LIMIT);
	lab_make(&lab, "two/b", 32 * LAB_MB);
	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "two"));
	snprintf(b, sizeof(b), "%s", lab_path(&lab, "two/b"));
	start_with(&(struct psb_watch_options){ .pattern = pattern }, NULL, PSB_INLINE);
	pid = lab_press(&lab, "two/a");
	WAIT_FOR(20000u, critical_of(lab_path(&lab, "two/a")));
	lab_hog(&lab, "two/b", 512 * LAB_MB);
	WAIT_FOR(10000u, critical_of(b));
	lab_kill(pid);
}

PROMISE(throttling_over_memory_high_is_low)
{
	uint64_t from;
	pid_t pid;

	need_memory_events();
	lab_make(&lab, "high", 0);
	lab_write(lab_file(&lab, "high", "memory.high"), "16777216");
	start("high");
	lab_sleep_ms(200);
	from = lab_now_usec();
	pid = lab_hog(&lab, "high", 64 * LAB_MB);
	WAIT_FOR(10000u, HEARD(PSB_LOW));
	print_message("# %llu ms to Low\n",
		      (unsigned long long)(HEARD(PSB_LOW)->called_usec - from) / 1000);
	assert_int_equal(HEARD(PSB_LOW)->n.limit_bytes, 16 * LAB_MB);
	lab_kill(pid);
	WAIT_FOR(15000u, HEARD(PSB_HIGH));
}

PROMISE(a_unit_names_its_cgroup)
{
	char command[256];

	if (access("/run/systemd/system", F_OK) < 0)
		SKIP("systemd does not run here");
	snprintf(command, sizeof(command), "systemd-run -q --unit=%s sleep 1000", lab.name);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "%s.service", lab.name);
	start_with(&(struct psb_watch_options){ .unit = command }, NULL, PSB_INLINE);
	snprintf(command, sizeof(command), "/system.slice/%s.service", lab.name);
	assert_string_equal(source_now().cgroup, command);
	snprintf(command, sizeof(command), "systemctl stop %s", lab.name);
	assert_int_equal(system(command), 0);
	WAIT_FOR(5000u, found(0, PSB_KIND_GONE, 0, NULL));
}
