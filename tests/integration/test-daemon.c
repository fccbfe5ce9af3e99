/* SPDX-License-Identifier: MIT */
/*
 * What psibridged promises its clients, on real cgroups: who is told what, across restarts, reloads and bad clients. Each test
 * has a daemon of its own, and the cgroups a, a/below and b. Levels are simulated through the control socket; test-crowd.c has real
 * ones. libpsibridge as its client: unit/library/test-records.c, vm/guest-clients.sh. What needs systemd is in vm/guest-daemon.sh.
 */
#include "../threads.h"
#include "daemon-bench.h"

#include <sys/ptrace.h>

#define CONFIGURATION           \
	"[Daemon]\n"            \
	"ClientsPerCgroup=20\n" \
	"[Defaults]\n"          \
	"HighHeadroom=off\n"    \
	"Quiet=1s\n"            \
	"Calm=2s\n"             \
	"[Watch %s/**]\n"
#define SUBSCRIBE "psibridge/1\n"

static struct bench bench;
static int clients[64];
static size_t client_count;

static int set_up(_unused_ void **state)
{
	static const char *const groups[] = { "a", "b", "a/below" };

	no_lab = lab_open(&lab, "psb-daemon");
	for (size_t i = 0; !no_lab && i < ELEMENTSOF(groups); i++)
		lab_make(&lab, groups[i], 0);
	return 0;
}

static void start(_unused_ void **state)
{
	bench_need_lab();
	bench_start(&bench, CONFIGURATION);
}

static int stop(_unused_ void **state)
{
	while (client_count > 0)
		close(clients[--client_count]);
	if (!no_lab)
		lab_enter(&lab, NULL);
	bench_stop(&bench);
	return 0;
}

/* It leaves at the end, or before. */
static int client(const char *group, const char *hello)
{
	assert_true(client_count < ELEMENTSOF(clients));
	return clients[client_count++] = bench_client(&bench, group, hello);
}

static void leave(int fd)
{
	size_t i = 0;

	while (clients[i] != fd)
		i++;
	clients[i] = clients[--client_count];
	close(fd);
}

static void expect_welcome(int fd)
{
	bench_expect(fd, PATIENCE_MS, WIRE_WELCOME, PSB_HIGH, NULL);
}

static void expect_level(int fd, enum psb_available available)
{
	bench_expect(fd, PATIENCE_MS, WIRE_LEVEL, available, NULL);
}

static void expect_byte(int fd)
{
	assert_int_equal(bench_bytes(fd, PATIENCE_MS), 1);
}

static int subscriber(const char *group)
{
	int fd = client(group, SUBSCRIBE);

	expect_welcome(fd);
	return fd;
}

/* And it is over: all that are concerned were told. */
static void simulate_low(const char *group)
{
	bench_simulate(&bench, group, "low");
	assert_true(LAB_WAIT(PATIENCE_MS, strcmp(bench_level(&bench, group), "low") == 0));
}

static void await_high(const char *group)
{
	const char *level;

	assert_true(LAB_WAIT(PATIENCE_MS, (level = bench_level(&bench, group),
					   !*level || strcmp(level, "high") == 0)));
}

static long long connected(void)
{
	return bench_number(&bench, "clients", "connected");
}

/* The error in the answer; "": there is none. */
static const char *error_of(const char *verb, const char *key)
{
	static char text[512];
	json_t *object;
	const char *value;

	snprintf(text, sizeof(text), "{\"verb\":\"%s\"}\n", verb);
	object = bench_ask(&bench, text);
	value = json_string_value(json_object_get(object, key));
	snprintf(text, sizeof(text), "%s", value ? value : "");
	json_decref(object);
	return text;
}

static void reconfigure(const char *configuration)
{
	bench_configure(&bench, configuration);
	assert_string_equal(error_of("reload", "error"), "");
}

static void expect_words(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("\"%s\" does not say \"%s\"", text, words);
}

/* ---- who is told what ---------------------------------------------------------------------------- */

PROMISE(each_client_is_told_of_its_own_cgroup)
{
	int plain_a = client("a", NULL), plain_b = client("b", NULL);
	int a = subscriber("a"), b = subscriber("b");
	struct wire_record r;

	bench_simulate(&bench, "a", "critical");
	bench_expect(a, PATIENCE_MS, WIRE_LEVEL, PSB_LOW, &r);
	assert_int_equal(r.critical, 1);
	assert_int_equal(r.reason, PSB_REASON_SIMULATED);
	assert_true(r.time_usec <= lab_now_usec());
	expect_byte(plain_a);
	expect_level(a, PSB_NEUTRAL);
	expect_level(a, PSB_HIGH);
	assert_true(bench_is_silent(plain_a));
	assert_true(bench_is_silent(plain_b));
	assert_true(bench_is_silent(b));
	simulate_low("b");
	/* who comes late is told the present state, which on a busy machine is Neutral by then */
	expect_byte(client("b", NULL));
	assert_true(bench_record(client("b", SUBSCRIBE), PATIENCE_MS, &r));
	assert_true(r.kind == WIRE_WELCOME && r.available != PSB_HIGH);
	expect_byte(plain_b);
	assert_true(bench_is_silent(plain_a));
}

static void report(int fd, uint64_t bytes)
{
	const struct wire_record record = { .magic = WIRE_MAGIC,
					    .size = WIRE_RECORD_SIZE,
					    .kind = WIRE_REPORT,
					    .report.bytes = bytes };

	assert_int_equal(send(fd, &record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
}

/* What programs in it say that they freed after its last Low; -1: that Low has had no effect yet. */
static long long reported_in(const char *group)
{
	json_t *answer = bench_ask(&bench, "{\"verb\":\"status\"}\n"), *past;
	long long bytes = -1;
	size_t i;

	json_array_foreach(json_object_get(answer, "history"), i, past)
	{
		const char *cgroup = json_string_value(json_object_get(past, "cgroup"));
		const json_t *n = json_object_get(json_object_get(past, "effect"),
						  "reported_bytes");

		if (n && strcmp(cgroup, lab_path(&lab, group)) == 0)
			bytes = json_integer_value(n);
	}
	json_decref(answer);
	return bytes;
}

/* And whatever a client writes, it is heard no more often than it was told Low, and for its own cgroup. */
PROMISE(a_report_belongs_to_the_low_before_it)
{
	int a = subscriber("a"), b = subscriber("b"), rude = subscriber("b"),
	    plain = client("b", NULL);
	uint64_t before;

	report(b, 1); /* it lies there, and is its one report */
	simulate_low("a");
	simulate_low("b");
	expect_level(a, PSB_LOW);
	expect_level(b, PSB_LOW);
	report(a, 10);
	before = thread_cpu_usec(bench.service);
	for (int i = 0; i < 20; i++)
		report(b, UINT64_MAX);
	assert_int_equal(send(rude, "rubbish", 7, MSG_NOSIGNAL), 7);
	report(plain, 100);
	while (send(rude, clients, sizeof(clients), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		;
	assert_true(LAB_WAIT(PATIENCE_MS, reported_in("a") >= 0 && reported_in("b") >= 0));
	assert_int_equal(reported_in("a"), 10);
	assert_int_equal(reported_in("b"), 1);
	assert_true(thread_cpu_usec(bench.service) - before < 1000000);
	/* nobody is told less for it */
	await_high("b");
	bench_bytes(rude, 0);
	simulate_low("b");
	assert_true(bench_bytes(rude, PATIENCE_MS) > 0);
}

/* ---- restarts ------------------------------------------------------------------------------------ */

/* Each end and start adds BYE and WELCOME to what is unread. With three levels more the one has its BYEs where the other
 * has its WELCOMEs: for one of them BYE is the first that finds no room. */
PROMISE(at_its_end_it_hangs_up_on_nobody)
{
	client("a", SUBSCRIBE);
	client("b", SUBSCRIBE);
	simulate_low("b");
	await_high("b");
	for (int i = 0; i < 8; i++)
		bench_restart(&bench, SIGTERM);
	assert_int_equal(connected(), 2);
}

static void check_restart(int how)
{
	int silent = client("a", NULL), trigger = client("a", "some 150000 2000000"),
	    records = subscriber("a"), calm = subscriber("b"), gone = client("b", SUBSCRIBE);

	bench_simulate(&bench, "a", "low");
	expect_byte(silent);
	expect_byte(trigger);
	expect_level(records, PSB_LOW);

	leave(gone);
	bench_restart(&bench, how);
	if (how == SIGTERM) {
		bench_expect(records, PATIENCE_MS, WIRE_BYE, PSB_LOW, NULL);
		bench_expect(calm, PATIENCE_MS, WIRE_BYE, PSB_HIGH, NULL);
	}
	/* what it was told is still so, and then ends as it would have */
	bench_expect(records, PATIENCE_MS, WIRE_WELCOME, PSB_LOW, NULL);
	expect_welcome(calm);
	expect_level(records, PSB_NEUTRAL);
	expect_level(records, PSB_HIGH);
	assert_true(bench_is_silent(silent)); /* neither told twice nor hung up on */
	assert_true(bench_is_silent(trigger));
	assert_true(LAB_WAIT(PATIENCE_MS, connected() == 4));

	bench_simulate(&bench, "a", "low");
	expect_byte(silent);
	expect_byte(trigger);
	expect_level(records, PSB_LOW);
	assert_true(bench_is_silent(calm));
}

PROMISE(a_restart_loses_nobody_and_tells_no_lies)
{
	check_restart(SIGTERM);
}

PROMISE(neither_does_kill_9)
{
	check_restart(SIGKILL);
}

/* Each process lives for a fraction of Rearm. */
PROMISE(a_repeat_is_due_however_often_it_is_killed)
{
	struct wire_record r = { 0 };
	uint64_t end;
	int fd;

	lab_make(&lab, "pressed", LAB_LIMIT);
	fd = subscriber("pressed");
	lab_press(&lab, "pressed");
	/* beside other work a stall is not Low all the time */
	for (end = lab_now_usec() + 60000000; r.reason != PSB_REASON_REPEAT;) {
		assert_true(lab_now_usec() < end);
		if (!bench_record(fd, 1500, &r))
			bench_restart(&bench, SIGKILL);
	}
	lab_kill_all();
}

/* ---- bad clients, and a bridge that hears nothing ---------------------------------------------------- */

static void others_are_told(int other)
{
	struct wire_record r;

	bench_simulate(&bench, "b", "low");
	bench_expect(other, PATIENCE_MS, WIRE_LEVEL, PSB_LOW, &r);
	assert_true(r.time_usec + 20000000 > lab_now_usec());
}

/* Was the watchdog not fed for so long? */
static bool is_hungry_for(unsigned *fed, uint64_t *fed_usec, uint64_t usec)
{
	if (*fed != bench.watchdogs)
		*fed_usec = lab_now_usec();
	*fed = bench.watchdogs;
	return lab_now_usec() >= *fed_usec + usec;
}

/* The thread that waits for the kernel stands still; all others go on: feeding the watchdog from one of them would, too. */
PROMISE(one_that_hears_nothing_starves_its_watchdog_and_does_not_say_that_all_is_well)
{
	uint64_t fed_usec = 0;
	unsigned fed;
	pid_t waits;
	int status;

	assert_true(LAB_WAIT(PATIENCE_MS, bench.watchdogs >= 2)); /* every 3 s */
	assert_true(
		LAB_WAIT(PATIENCE_MS, (waits = thread_named(bench.service, "psb-wait", 0)) > 0));
	if (ptrace(PTRACE_SEIZE, waits, NULL, NULL) < 0)
		SKIP("threads cannot be stopped here");
	assert_int_equal(ptrace(PTRACE_INTERRUPT, waits, NULL, NULL), 0);
	assert_int_equal(waitpid(waits, &status, __WALL), waits);
	/* one may be on its way; after 6 s without the manager would end it */
	fed = bench.watchdogs - 1;
	assert_true(LAB_WAIT(PATIENCE_MS, is_hungry_for(&fed, &fed_usec, 6000000)));
	assert_true(LAB_WAIT(PATIENCE_MS, strcmp(error_of("status", "errno"), "EIO") == 0));
	assert_int_equal(ptrace(PTRACE_DETACH, waits, NULL, NULL), 0); /* or it could not end */
	assert_string_equal(error_of("status", "errno"), "");
	assert_true(LAB_WAIT(PATIENCE_MS, bench.watchdogs > fed));
}

PROMISE(a_flood_fills_the_flooders_own_socket)
{
	int flooder = client("a", NULL), other = subscriber("b");
	char junk[4096];
	size_t sent = 0;
	ssize_t n;

	memset(junk, 'x', sizeof(junk));
	while ((n = send(flooder, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 &&
	       sent < 64 << 20)
		sent += (size_t)n;
	assert_true(sent < 4 << 20);
	others_are_told(other);
	/* it is a plain client all the same */
	bench_simulate(&bench, "a", "low");
	expect_byte(flooder);
}

PROMISE(who_never_reads_misses_repeats_but_not_the_end)
{
	int slow = client("a", SUBSCRIBE), other = subscriber("b");
	struct wire_record r = { 0 };
	unsigned records = 0;

	for (int i = 0; i < 200; i++) {
		bench_simulate(&bench, "a", i & 1 ? "high" : "low");
		bench_simulate(&bench, "a", "neutral");
	}
	bench_simulate(&bench, "a", "critical");
	others_are_told(other);
	assert_true(bench_number(&bench, "clients", "replaced") > 0);
	while (!r.critical && bench_record(slow, 500, &r))
		records++;
	assert_true(records < 300);
	assert_int_equal(r.available, PSB_LOW);
	assert_int_equal(r.critical, 1);
}

PROMISE(half_a_line_waits_and_rubbish_is_answered)
{
	static const struct {
		const char *hello, *error;
	} rows[] = {
		{ "psibridge/2\n", "version" },
		{ "psibridge/1 low=some:1\n", "trigger" },
		{ "psibridge/1 colour=red\n", "key" },
		{ "psibridge/1 cgroup=nowhere\n", "no such cgroup" },
	};
	int half = client("a", "psibridge/1 cgroup=bel"), half_closed = client("a", NULL);
	struct wire_record r;

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		int fd = client("a", rows[i].hello);

		bench_expect(fd, PATIENCE_MS, WIRE_REFUSED, PSB_HIGH, &r);
		expect_words(r.text, rows[i].error);
		assert_true(r.error != 0);
		assert_int_equal(bench_bytes(fd, PATIENCE_MS), -1);
	}
	assert_true(bench_is_silent(half));
	assert_int_equal(send(half, "ow\n", 3, 0), 3);
	expect_welcome(half);
	/* half closed is not closed */
	assert_int_equal(shutdown(half_closed, SHUT_WR), 0);
	simulate_low("a");
	expect_byte(half_closed);
	/* a cgroup below one's own may be asked for */
	assert_true(bench_is_silent(half));
	bench_simulate(&bench, "a/below", "low");
	expect_level(half, PSB_LOW);
}

PROMISE(too_many_of_one_cgroup_are_refused_and_others_are_not)
{
	int fds[20], more;

	for (unsigned i = 0; i < ELEMENTSOF(fds); i++)
		fds[i] = client("a", NULL);
	more = client("a", NULL);
	assert_int_equal(bench_bytes(more, PATIENCE_MS), -1);
	leave(more);
	subscriber("b");
	assert_int_equal(bench_number(&bench, "clients", "refused"), 1);
	for (unsigned i = 0; i < ELEMENTSOF(fds); i++)
		leave(fds[i]);
	subscriber("a");
}

PROMISE(ten_thousand_connections_harm_nobody)
{
	int other = subscriber("b");

	lab_enter(&lab, "a");
	for (int i = 0; i < 10000; i++)
		close(bench_connect(bench.notify));
	lab_enter(&lab, HOME);
	others_are_told(other);
	assert_true(LAB_WAIT(PATIENCE_MS, connected() == 1));
}

/* ---- configuration ------------------------------------------------------------------------------- */

/* Whatever the operator takes away: a CLR stays in low-memory mode until it is told otherwise. */
PROMISE(a_low_ends_also_when_the_watch_is_taken_away_or_put_into_shadow)
{
	static const char *const rows[] = {
		"[Daemon]\nServeOthers=no\n",
		"[Defaults]\nShadow=yes\n[Watch %s/**]\n",
	};
	int fd = subscriber("a"), plain = client("a", NULL);

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		bench_simulate(&bench, "a", "low");
		expect_level(fd, PSB_LOW);
		expect_byte(plain);
		reconfigure(rows[i]);
		expect_level(fd, PSB_NEUTRAL);
		if (i ==
		    1) { /* in the shadow nothing is delivered, and who subscribes is told High */
			bench_bytes(fd, 0);
			simulate_low("a");
			leave(subscriber("a"));
			assert_true(bench_is_silent(fd));
			assert_true(bench_is_silent(plain));
		}
		/* and when it is watched again they hear again, first what was kept back */
		reconfigure(CONFIGURATION);
		while (bench_bytes(fd, 1500) > 0)
			;
		bench_bytes(plain, 0);
	}
	bench_simulate(&bench, "a", "low");
	expect_level(fd, PSB_LOW);
	expect_byte(plain);
}

static const char *watch_state(const char *group)
{
	return bench_text(&bench, "watches", "path", group, "state");
}

/* As with psi=0, of which this is the part that a running kernel has. */
PROMISE(what_cannot_be_watched_has_failed_and_its_clients_are_sent_to_their_own_ladder)
{
	struct wire_record r;
	uint64_t before;
	int fd;

	lab_make(&lab, "blind", 0);
	lab_write(lab_file(&lab, "blind", "cgroup.pressure"), "0");
	lab_make(&lab, "blind/child", 0);
	reconfigure(CONFIGURATION "[Watch %s/blind]\n[Watch %s/blind/**]\n");
	assert_string_equal(watch_state("blind/**"), "failed");
	if (lab.v1) /* else there is memory.events to watch */
		assert_string_equal(watch_state("blind"), "failed");
	fd = client("blind/child", SUBSCRIBE);
	bench_expect(fd, PATIENCE_MS, WIRE_REFUSED, PSB_HIGH, &r);
	expect_words(r.text, "memory.pressure");
	/* and it is not tried over and over */
	before = thread_cpu_usec(bench.service);
	lab_sleep_ms(1500); /* the time in which it would be tried */
	assert_true(thread_cpu_usec(bench.service) - before < 500000);
	leave(fd);
	lab_remove(&lab, "blind/child");
	lab_remove(&lab, "blind");
}

PROMISE(a_watch_whose_cgroup_vanishes_waits_and_hears_the_next_one)
{
	int fd;

	reconfigure(CONFIGURATION "[Watch %s/later]\n");
	for (int i = 0; i < 3; i++) {
		assert_true(LAB_WAIT(PATIENCE_MS, strcmp(watch_state("later"), "absent") == 0));
		lab_make(&lab, "later", 0);
		fd = subscriber("later");
		bench_simulate(&bench, "later", "low");
		expect_level(fd, PSB_LOW);
		leave(fd);
		lab_remove(&lab, "later");
	}
}

GROUP(set_up, bench_close_lab)
FIXTURE(start, stop)
