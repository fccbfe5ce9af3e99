/* SPDX-License-Identifier: MIT */
/*
 * test-oom.c - what only a unified hierarchy shows: memory.events, memory.high, and targets by
 * other names than a path
 */
#include "../unit/unit.h"
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

static const struct told *first_critical(struct fixture *f)
{
	for (unsigned i = 0; i < record_count(&f->record); i++)
		if (f->record.told[i].n.available == PSB_LOW && f->record.told[i].n.critical)
			return &f->record.told[i];
	return NULL;
}

static void a_fast_out_of_memory_is_low_and_critical_with_the_kill_or_before_it(void **state)
{
	static struct fixture f;
	static struct killing k;
	const struct told *told;
	pthread_t thread;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	lab_make(&lab, "oom", 32 * LAB_MB);
	start(&f, "oom");
	snprintf(k.path, sizeof(k.path), "%s", lab_file(&lab, "oom", "memory.events"));
	assert_int_equal(pthread_create(&thread, NULL, watch_killing, &k), 0);
	lab_sleep_ms(300);
	pid = lab_hog(&lab, "oom", 512 * LAB_MB);
	WAIT_FOR(&f, 10000u, first_critical(&f));
	(void)LAB_WAIT(2000, k.kill_usec > 0);
	k.stop = true;
	pthread_join(thread, NULL);
	told = first_critical(&f);
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
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_HIGH));
	stop(&f);
	lab_remove(&lab, "oom");
}

static void in_a_tree_too(void **state)
{
	static struct fixture f;
	static char pattern[256];
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	lab_make(&lab, "tree", 0);
	lab_write(lab_file(&lab, "tree", "cgroup.subtree_control"), "+memory");
	lab_make(&lab, "tree/a", 32 * LAB_MB);
	lab_make(&lab, "tree/b", 32 * LAB_MB);
	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "tree"));
	start_with(&f, &(struct psb_watch_options){ .pattern = pattern }, NULL, PSB_INLINE);
	lab_sleep_ms(300);
	pid = lab_hog(&lab, "tree/b", 512 * LAB_MB);
	WAIT_FOR(&f, 10000u, first_critical(&f));
	assert_string_equal(first_critical(&f)->cgroup, lab_path(&lab, "tree/b"));
	lab_kill(pid);
	stop(&f);
	lab_remove(&lab, "tree/a");
	lab_remove(&lab, "tree/b");
	lab_remove(&lab, "tree");
}

static const struct told *critical_of(struct fixture *f, const char *path)
{
	for (unsigned i = 0; i < record_count(&f->record); i++) {
		const struct told *told = &f->record.told[i];

		if (told->n.available == PSB_LOW && told->n.critical &&
		    strcmp(told->cgroup, path) == 0)
			return told;
	}
	return NULL;
}

/* Of all of them together nothing new can be told then. */
static void a_kill_beside_one_that_is_critical_is_told(void **state)
{
	static struct fixture f;
	static char pattern[256], b[256];
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	lab_make(&lab, "two", 0);
	lab_write(lab_file(&lab, "two", "cgroup.subtree_control"), "+memory");
	lab_make(&lab, "two/a", LAB_LIMIT);
	lab_make(&lab, "two/b", 32 * LAB_MB);
	snprintf(pattern, sizeof(pattern), "%s/*", lab_path(&lab, "two"));
	snprintf(b, sizeof(b), "%s", lab_path(&lab, "two/b"));
	start_with(&f, &(struct psb_watch_options){ .pattern = pattern }, NULL, PSB_INLINE);
	pid = lab_press(&lab, "two/a");
	WAIT_FOR(&f, 20000u, critical_of(&f, lab_path(&lab, "two/a")));
	lab_hog(&lab, "two/b", 512 * LAB_MB);
	WAIT_FOR(&f, 10000u, critical_of(&f, b));
	lab_kill(pid);
	stop(&f);
	lab_kill_all();
	lab_remove(&lab, "two/a");
	lab_remove(&lab, "two/b");
	lab_remove(&lab, "two");
}

static void throttling_over_memory_high_is_low(void **state)
{
	static struct fixture f;
	uint64_t from;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("no memory.high: needs unified cgroups");
	lab_make(&lab, "high", 0);
	lab_write(lab_file(&lab, "high", "memory.high"), "16777216");
	start(&f, "high");
	lab_sleep_ms(200);
	from = lab_now_usec();
	pid = lab_hog(&lab, "high", 64 * LAB_MB);
	WAIT_FOR(&f, 10000u, HEARD(&f, PSB_LOW));
	print_message("# %llu ms to Low\n",
		      (unsigned long long)(HEARD(&f, PSB_LOW)->called_usec - from) / 1000);
	assert_int_equal(HEARD(&f, PSB_LOW)->n.limit_bytes, 16 * LAB_MB);
	lab_kill(pid);
	WAIT_FOR(&f, 15000u, HEARD(&f, PSB_HIGH));
	stop(&f);
	lab_remove(&lab, "high");
}

static void a_process_names_its_cgroup(void **state)
{
	static struct fixture f;
	struct psb_source source = { .size = sizeof(source) };
	char error[320] = "";
	struct psb_watch_options o = { .size = sizeof(o),
				       .error_text = error,
				       .error_text_size = sizeof(error) };
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "pid", LAB_LIMIT);
	pid = lab_hog(&lab, "pid", LAB_MB);
	start_with(&f, &(struct psb_watch_options){ .pid = pid }, NULL, PSB_INLINE);
	assert_int_equal(psb_watch_source(f.watch, &source), 0);
	assert_string_equal(source.cgroup, lab_path(&lab, "pid"));
	assert_int_equal(stats_of(&f).samples > 0, 1);
	lab_kill(pid);
	psb_watch *none;

	o.pid = pid;
	assert_int_equal(psb_watch_new(f.bridge, &o, &none), -ESRCH);
	assert_non_null(strstr(error, "there is no such process"));
	stop(&f);
	lab_remove(&lab, "pid");
}

static void a_unit_names_its_cgroup(void **state)
{
	static struct fixture f;
	struct psb_source source = { .size = sizeof(source) };
	char command[256];

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (access("/run/systemd/system", F_OK) < 0)
		SKIP("systemd does not run here");
	snprintf(command, sizeof(command), "systemd-run -q --unit=%s sleep 1000", lab.name);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "%s.service", lab.name);
	start_with(&f, &(struct psb_watch_options){ .unit = command }, NULL, PSB_INLINE);
	assert_int_equal(psb_watch_source(f.watch, &source), 0);
	snprintf(command, sizeof(command), "/system.slice/%s.service", lab.name);
	assert_string_equal(source.cgroup, command);
	snprintf(command, sizeof(command), "systemctl stop %s", lab.name);
	assert_int_equal(system(command), 0);
	WAIT_FOR(&f, 5000u, record_find(&f.record, 0, PSB_KIND_GONE, 0, NULL));
	stop(&f);
}

static int set_up(void **state)
{
	(void)state;
	no_lab = lab_open(&lab, "oom");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

TEST_GROUP(oom)
{
	const struct CMUnitTest tests[] = {
		TEST(a_fast_out_of_memory_is_low_and_critical_with_the_kill_or_before_it),
		TEST(in_a_tree_too),
		TEST(a_kill_beside_one_that_is_critical_is_told),
		TEST(throttling_over_memory_high_is_low),
		TEST(a_process_names_its_cgroup),
		TEST(a_unit_names_its_cgroup),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
