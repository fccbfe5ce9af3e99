/* SPDX-License-Identifier: MIT */
/*
 * test-rungs.c - the rungs of the ladder one by one, and what is said of memory on the way
 */
#include "../unit/unit.h"
#include "fixture.h"
#include "threads.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* "some 200000 2000000" and its NUL, as systemd puts it into $MEMORY_PRESSURE_WRITE */
#define WRITE_BASE64 "c29tZSAyMDAwMDAgMjAwMDAwMAA="

static struct psb_source source_of(struct fixture *f)
{
	struct psb_source source = { .size = sizeof(source) };

	assert_int_equal(psb_watch_source(f->watch, &source), 0);
	return source;
}

/* Low under pressure, High without. */
static void check_works(struct fixture *f, const char *group, unsigned low_ms)
{
	unsigned n = record_count(&f->record);
	uint64_t from = lab_now_usec();
	pid_t pid = lab_press(&lab, group);
	struct psb_source source = source_of(f);

	WAIT_FOR(f, low_ms, record_find(&f->record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	print_message("# rung %u (%s): %llu ms to Low\n", source.rung, source.name,
		      (unsigned long long)(lab_now_usec() - from) / 1000);
	lab_kill(pid);
	n = record_count(&f->record);
	WAIT_FOR(f, 15000u, record_find(&f->record, n - 1, PSB_KIND_LEVEL, PSB_HIGH, NULL));
}

static void the_file_that_systemd_names_is_listened_to(void **state)
{
	static struct fixture f;
	struct psb_source source;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "unit", LAB_LIMIT);
	lab_enter(&lab, "unit");
	setenv("MEMORY_PRESSURE_WATCH", lab_file(&lab, "unit", "memory.pressure"), 1);
	setenv("MEMORY_PRESSURE_WRITE", WRITE_BASE64, 1);
	start_with(&f, &(struct psb_watch_options){ 0 }, NULL, PSB_INLINE);
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	source = source_of(&f);
	assert_int_equal(source.rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source.name, "psi-file");
	assert_string_equal(source.cgroup, lab_path(&lab, "unit"));
	assert_string_equal(source.path, lab_file(&lab, "unit", "memory.pressure"));
	assert_string_equal(source.why, "");
	/* early is a tenth of what systemd wrote; with CAP_SYS_RESOURCE in a short window */
	assert_string_equal(source.trigger,
			    lab.privileged ? "some 5000 500000" : "some 20000 2000000");
	assert_int_equal(source.events, !lab.v1);
	check_works(&f, "unit", 8000);
	stop(&f);
	lab_enter(&lab, NULL);
	lab_remove(&lab, "unit");
}

static void without_a_name_it_is_our_own_cgroup(void **state)
{
	static struct fixture f;
	struct psb_source source;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "own", 0);
	lab_enter(&lab, "own");
	start_with(&f, &(struct psb_watch_options){ 0 }, NULL, PSB_INLINE);
	source = source_of(&f);
	lab_enter(&lab, NULL);
	assert_int_equal(source.rung, lab.privileged ? PSB_RUNG_PRIVILEGED : PSB_RUNG_TRIGGER);
	assert_string_equal(source.cgroup, lab_path(&lab, "own"));
	assert_string_equal(source.path, lab_file(&lab, "own", "memory.pressure"));
	if (lab.privileged)
		assert_string_equal(source.why, "");
	else
		assert_non_null(strstr(source.why, "CAP_SYS_RESOURCE"));
	stop(&f);
	lab_remove(&lab, "own");
}

static void memory_events_alone_is_enough(void **state)
{
	static struct fixture f;
	struct psb_source source;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	lab_make(&lab, "events", LAB_LIMIT);
	start_with(&f, &(struct psb_watch_options){ .rungs = PSB_RUNG_MASK(PSB_RUNG_EVENTS) },
		   "events", PSB_INLINE);
	source = source_of(&f);
	assert_int_equal(source.rung, PSB_RUNG_EVENTS);
	assert_string_equal(source.name, "events");
	assert_string_equal(source.trigger, "");
	assert_int_equal(source.events, 1);
	check_works(&f, "events", 4000);
	assert_true(stats_of(&f).alarms >= 1);
	stop(&f);
	lab_remove(&lab, "events");
}

static void sampling_on_the_clock_is_enough(void **state)
{
	static struct fixture f;
	struct psb_source source;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "clock", LAB_LIMIT);
	start_with(&f, &(struct psb_watch_options){ .rungs = PSB_RUNG_MASK(PSB_RUNG_SAMPLING) },
		   "clock", PSB_INLINE);
	source = source_of(&f);
	assert_int_equal(source.rung, PSB_RUNG_SAMPLING);
	assert_string_equal(source.name, "sampling");
	assert_string_equal(source.trigger, "");
	check_works(&f, "clock", 6000);
	stop(&f);
	lab_remove(&lab, "clock");
}

static void the_machine_stands_in_for_our_own_cgroup_only(void **state)
{
	char error[320] = "";
	struct psb_watch_options o = { .size = sizeof(o),
				       .rungs = PSB_RUNG_MASK(PSB_RUNG_MACHINE),
				       .error_text = error,
				       .error_text_size = sizeof(error) };
	struct psb_source source = { .size = sizeof(source) };
	psb_bridge *bridge;
	psb_watch *watch;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "machine", 0);
	assert_int_equal(psb_bridge_new(NULL, &bridge), 0);
	o.cgroup = lab_path(&lab, "machine");
	assert_int_equal(psb_watch_new(bridge, &o, &watch), -ENODATA);
	assert_string_equal(
		error, "the machine's pressure says nothing of the one cgroup that was asked for");

	o.cgroup = NULL;
	assert_int_equal(psb_watch_new(bridge, &o, &watch), 0);
	assert_int_equal(psb_watch_source(watch, &source), 0);
	assert_int_equal(source.rung, PSB_RUNG_MACHINE);
	assert_string_equal(source.name, "machine");
	assert_string_equal(source.path, "/proc/pressure/memory");
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	lab_remove(&lab, "machine");
}

static void a_fifo_says_low_and_outlives_its_writers(void **state)
{
	static struct fixture f;
	char path[] = "/tmp/psb-fifo-XXXXXX";
	struct psb_source source;
	uint64_t cpu;
	unsigned n;
	pid_t loop;
	int fd;

	(void)state;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	start_with(&f, &(struct psb_watch_options){ .source = path }, NULL, PSB_INLINE);
	source = source_of(&f);
	assert_string_equal(source.name, "fifo");
	assert_string_equal(source.path, path);
	for (int i = 0; i < 2; i++) { /* each by a writer of its own, that leaves */
		n = record_count(&f.record);
		fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "\1", 1), 1);
		close(fd);
		WAIT_FOR(&f, 2000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
		assert_int_equal(record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL)->n.reason,
				 PSB_REASON_SIGNAL);
		WAIT_FOR(&f, 8000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_HIGH, NULL));
	}
	loop = thread_named(0, "psb-loop");
	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(500);
	assert_true(thread_cpu_usec(loop) - cpu < 50000); /* sd-event spins here */
	stop(&f);
	unlink(path);
}

static void
when_the_peer_of_a_socket_leaves_the_next_rung_is_taken_and_the_socket_once_more_when_it_is_back(
	void **state)
{
	static struct fixture f;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char greeting[64] = "";
	int listener, peer;
	uint64_t cpu;
	pid_t loop;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "peer", 0);
	lab_enter(&lab, "peer");
	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/psb-socket-%d", (int)getpid());
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	start_with(&f,
		   &(struct psb_watch_options){ .source = address.sun_path,
						.source_write = "hello",
						.source_write_size = 5 },
		   NULL, PSB_INLINE | PSB_TELL_SOURCE);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(read(peer, greeting, sizeof(greeting)), 5);
	assert_string_equal(greeting, "hello");
	assert_int_equal(rung_of(&f), PSB_RUNG_PROTOCOL);
	assert_int_equal(send(peer, "\1", 1, MSG_NOSIGNAL), 1);
	WAIT_FOR(&f, 2000u, HEARD(&f, PSB_LOW));

	close(peer);
	close(listener);
	WAIT_FOR(&f, 2000u,
		 rung_of(&f) == (lab.privileged ? PSB_RUNG_PRIVILEGED : PSB_RUNG_TRIGGER));
	WAIT_FOR(&f, 1000u, record_find(&f.record, 0, PSB_KIND_SOURCE, 0, NULL));
	assert_non_null(strstr(source_of(&f).path, "/peer/memory.pressure"));
	/* who was Low when it broke is not left so */
	WAIT_FOR(&f, 12000u, HEARD(&f, PSB_HIGH));
	loop = thread_named(0, "psb-loop");
	cpu = thread_cpu_usec(loop);
	lab_sleep_ms(500);
	assert_true(thread_cpu_usec(loop) - cpu < 150000);

	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	WAIT_FOR(&f, 40000u, rung_of(&f) == PSB_RUNG_PROTOCOL);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	unsigned n = record_count(&f.record);
	assert_int_equal(send(peer, "\1", 1, MSG_NOSIGNAL), 1);
	WAIT_FOR(&f, 2000u, record_find(&f.record, n, PSB_KIND_LEVEL, PSB_LOW, NULL));
	stop(&f);
	close(peer);
	close(listener);
	unlink(address.sun_path);
	lab_enter(&lab, NULL);
	lab_remove(&lab, "peer");
}

/* ---- what is said of memory ---------------------------------------------------------------------
 */

static void the_load_is_what_the_files_of_the_kernel_say(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	uint64_t use, inactive;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	/* the limit is the parent's: the effective one */
	lab_make(&lab, "above", 64 * LAB_MB);
	lab_delegate(&lab, "above");
	lab_make(&lab, "above/load", 0);
	pid = lab_hog(&lab, "above/load", 20 * LAB_MB);
	assert_true(LAB_WAIT(
		5000, lab_number(lab.v1 ? lab_v1_file(&lab, "above/load", "memory.usage_in_bytes")
					: lab_file(&lab, "above/load", "memory.current"),
				 "") >= 20 * LAB_MB));
	lab_sleep_ms(200);
	start(&f, "above/load");
	use = lab_number(lab.v1 ? lab_v1_file(&lab, "above/load", "memory.usage_in_bytes")
				: lab_file(&lab, "above/load", "memory.current"),
			 "");
	inactive = lab.v1 ? lab_number(lab_v1_file(&lab, "above/load", "memory.stat"),
				       "total_inactive_file ")
			  : lab_number(lab_file(&lab, "above/load", "memory.stat"),
				       "inactive_file ");
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	/* nobody is busy in there, but counters are per CPU and settle late */
	assert_in_range(load.current_bytes, use - LAB_MB, use + LAB_MB);
	assert_in_range(load.working_set_bytes, use - inactive - LAB_MB, use - inactive + LAB_MB);
	assert_true(load.working_set_bytes >= 20 * LAB_MB - LAB_MB);
	assert_int_equal(load.limit_bytes, 64 * LAB_MB);
	assert_int_equal(load.available_bytes, load.limit_bytes - load.working_set_bytes);
	assert_int_equal(load.percent, load.working_set_bytes * 100 / load.limit_bytes);
	assert_int_equal(load.high_bytes, 0);
	assert_int_equal(load.machine, 0);

	if (!lab.v1) {
		lab_write(lab_file(&lab, "above", "memory.high"), "50331648");
		assert_int_equal(psb_watch_load(f.watch, &load), 0);
		assert_int_equal(load.high_bytes, 48 * LAB_MB);
		assert_int_equal(load.limit_bytes, 48 * LAB_MB);
	}
	stop(&f);
	lab_kill(pid);
	lab_remove(&lab, "above/load");
	lab_remove(&lab, "above");
}

static void without_a_limit_the_load_is_the_machines(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	uint64_t total = lab_number("/proc/meminfo", "MemTotal:") * 1024;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "free", 0);
	start(&f, "free");
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	assert_int_equal(load.machine, 1);
	assert_int_equal(load.limit_bytes, total);
	assert_in_range(load.available_bytes, 1, total);
	assert_int_equal(load.percent, (total - load.available_bytes) * 100 / total);
	stop(&f);
	lab_remove(&lab, "free");
}

static void little_room_is_neutral_though_nothing_stalls(void **state)
{
	static struct fixture f;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (getenv("SANITIZERS"))
		SKIP("a sanitizer's shadow memory takes the room that is measured");
	lab_make(&lab, "room", 64 * LAB_MB);
	pid = lab_hog(&lab, "room", 54 * LAB_MB);
	assert_true(LAB_WAIT(10000,
			     lab_number(lab.v1 ? lab_v1_file(&lab, "room", "memory.usage_in_bytes")
					       : lab_file(&lab, "room", "memory.current"),
					"") >= 54 * LAB_MB));
	start_with(&f, &(struct psb_watch_options){ .headroom_percent = 25 }, "room",
		   PSB_INLINE | PSB_TELL_PRESENT);
	WAIT_FOR(&f, 2000u, record_count(&f.record) == 1);
	assert_int_equal(f.record.told[0].n.available, PSB_NEUTRAL);
	assert_int_equal(f.record.told[0].n.reason, PSB_REASON_PRESENT);
	assert_int_equal(f.record.told[0].n.limit_bytes, 64 * LAB_MB);
	lab_sleep_ms(3500); /* longer than calm: without room there is no High */
	assert_int_equal(record_count(&f.record), 1);
	lab_kill(pid);
	WAIT_FOR(&f, 20000u, HEARD(&f, PSB_HIGH));
	assert_int_equal(record_count(&f.record), 2);
	stop(&f);
	lab_remove(&lab, "room");
}

/* The limit is the slice's, and so is what is in use. */
static void a_slice_that_another_service_fills_leaves_little_room(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	pid_t pid, other;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (getenv("SANITIZERS"))
		SKIP("a sanitizer's shadow memory takes the room that is measured");
	lab_make(&lab, "slice", 64 * LAB_MB);
	lab_delegate(&lab, "slice");
	lab_make(&lab, "slice/one", 0);
	lab_make(&lab, "slice/other", 0);
	pid = lab_hog(&lab, "slice/one", LAB_MB);
	other = lab_hog(&lab, "slice/other", 54 * LAB_MB);
	assert_true(LAB_WAIT(10000,
			     lab_number(lab.v1 ? lab_v1_file(&lab, "slice", "memory.usage_in_bytes")
					       : lab_file(&lab, "slice", "memory.current"),
					"") >= 55 * LAB_MB));
	start_with(&f, &(struct psb_watch_options){ .headroom_percent = 25 }, "slice/one",
		   PSB_INLINE | PSB_TELL_PRESENT);
	WAIT_FOR(&f, 2000u, record_count(&f.record) == 1);
	assert_int_equal(f.record.told[0].n.available, PSB_NEUTRAL);
	assert_int_equal(f.record.told[0].n.limit_bytes, 64 * LAB_MB);
	assert_true(f.record.told[0].n.current_bytes >= 55 * LAB_MB);
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	assert_int_equal(load.limit_bytes, 64 * LAB_MB);
	assert_true(load.percent >= 80);
	lab_kill(other);
	WAIT_FOR(&f, 20000u, HEARD(&f, PSB_HIGH));
	lab_kill(pid);
	stop(&f);
	lab_remove(&lab, "slice/one");
	lab_remove(&lab, "slice/other");
	lab_remove(&lab, "slice");
}

/* All that can be opened is open. */
static void out_of_descriptors_little_room_is_no_high(void **state)
{
	static struct fixture f;
	struct psb_load load = { .size = sizeof(load) };
	int fds[1024], n = 0;
	struct rlimit limit;
	pid_t pid;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	if (getenv("SANITIZERS"))
		SKIP("a sanitizer's shadow memory takes the room that is measured");
	lab_make(&lab, "full", 64 * LAB_MB);
	pid = lab_hog(&lab, "full", 54 * LAB_MB);
	assert_true(LAB_WAIT(10000,
			     lab_number(lab.v1 ? lab_v1_file(&lab, "full", "memory.usage_in_bytes")
					       : lab_file(&lab, "full", "memory.current"),
					"") >= 54 * LAB_MB));
	start_with(&f, &(struct psb_watch_options){ .headroom_percent = 25 }, "full",
		   PSB_INLINE | PSB_TELL_PRESENT);
	WAIT_FOR(&f, 2000u, record_count(&f.record) == 1);
	assert_int_equal(f.record.told[0].n.available, PSB_NEUTRAL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = sizeof(fds) / sizeof(*fds);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (n < (int)(sizeof(fds) / sizeof(*fds)) && (fds[n] = dup(0)) >= 0)
		n++;
	assert_int_equal(errno, EMFILE);
	lab_sleep_ms(3500); /* longer than calm */
	assert_int_equal(record_count(&f.record), 1);
	assert_int_equal(psb_watch_load(f.watch, &load), 0);
	assert_int_equal(load.limit_bytes, 64 * LAB_MB);
	while (n > 0)
		close(fds[--n]);
	lab_kill(pid);
	WAIT_FOR(&f, 20000u, HEARD(&f, PSB_HIGH));
	stop(&f);
	lab_remove(&lab, "full");
}

/* With one descriptor more each time: refused, or whole. */
static void what_is_short_of_descriptors_is_not_taken_for_missing(void **state)
{
	struct psb_watch_options o = { .size = sizeof(o),
				       .rungs = PSB_RUNG_MASK(PSB_RUNG_TRIGGER) };
	unsigned refused = 0;
	struct rlimit limit;
	int r = -1;

	(void)state;
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "short", LAB_LIMIT);
	o.cgroup = lab_path(&lab, "short");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned more = 0; r != 0; more++) {
		struct psb_source source = { .size = sizeof(source) };
		struct rlimit less = limit;
		psb_watch *watch = NULL;
		psb_bridge *bridge;
		int next;

		assert_int_equal(psb_bridge_new(NULL, &bridge), 0);
		next = dup(0);
		assert_true(next >= 0);
		close(next);
		less.rlim_cur = (rlim_t)next + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
		r = psb_watch_new(bridge, &o, &watch);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		if (r == 0) {
			assert_int_equal(psb_watch_source(watch, &source), 0);
			assert_int_equal(source.events, !lab.v1);
		} else {
			assert_int_equal(r, -EMFILE);
			refused++;
		}
		psb_watch_unref(watch);
		psb_bridge_unref(bridge);
	}
	assert_in_range(refused, 3, 20);
	lab_remove(&lab, "short");
}

static int set_up(void **state)
{
	(void)state;
	no_lab = lab_open(&lab, "rungs");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

TEST_GROUP(rungs)
{
	const struct CMUnitTest tests[] = {
		TEST(the_file_that_systemd_names_is_listened_to),
		TEST(without_a_name_it_is_our_own_cgroup),
		TEST(memory_events_alone_is_enough),
		TEST(sampling_on_the_clock_is_enough),
		TEST(the_machine_stands_in_for_our_own_cgroup_only),
		TEST(a_fifo_says_low_and_outlives_its_writers),
		TEST(when_the_peer_of_a_socket_leaves_the_next_rung_is_taken_and_the_socket_once_more_when_it_is_back),
		TEST(the_load_is_what_the_files_of_the_kernel_say),
		TEST(without_a_limit_the_load_is_the_machines),
		TEST(little_room_is_neutral_though_nothing_stalls),
		TEST(a_slice_that_another_service_fills_leaves_little_room),
		TEST(out_of_descriptors_little_room_is_no_high),
		TEST(what_is_short_of_descriptors_is_not_taken_for_missing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
