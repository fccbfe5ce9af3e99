/* SPDX-License-Identifier: MIT */
/*
 * What psibridged promises its clients, on real cgroups: who is told what, across restarts, reloads and bad clients. Each test
 * has a daemon of its own, and the cgroups a, a/below and b. Levels are simulated through the control socket;
 * test-daemon-library.c and test-crowd.c have real ones. What needs systemd is in vm/guest-daemon.sh.
 */
#include "../unit/unit.h"
#include "../threads.h"
#include "daemon-bench.h"

#include <sys/ptrace.h>
#include <time.h>

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
	static const char *const groups[] = { "a", "b", "a/below", NULL };

	return bench_open_lab("psb-daemon", groups);
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
	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
}

static void expect_level(int fd, enum psb_available available)
{
	bench_expect(fd, 10000, WIRE_LEVEL, available, NULL);
}

static void expect_byte(int fd)
{
	assert_int_equal(bench_bytes(fd, 5000), 1);
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
	assert_true(LAB_WAIT(5000, strcmp(bench_level(&bench, group), "low") == 0));
}

static void await_high(const char *group)
{
	const char *level;

	assert_true(LAB_WAIT(20000, (level = bench_level(&bench, group),
				     !*level || strcmp(level, "high") == 0)));
}

static long long connected(void)
{
	return bench_number(&bench, "clients", "connected");
}

/* What the answer has under `key`; "": nothing. */
static const char *answer(const char *request, const char *key)
{
	static char text[512];
	json_t *object = bench_ask(&bench, request);
	const char *value = json_string_value(json_object_get(object, key));

	snprintf(text, sizeof(text), "%s", value ? value : "");
	json_decref(object);
	return text;
}

#define RELOAD "{\"verb\":\"reload\"}\n"
#define STATUS "{\"verb\":\"status\"}\n"

static void reconfigure(const char *configuration)
{
	bench_configure(&bench, configuration);
	assert_string_equal(answer(RELOAD, "error"), "");
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
	bench_expect(a, 5000, WIRE_LEVEL, PSB_LOW, &r);
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
	expect_byte(plain_b);
	assert_true(bench_is_silent(plain_a));
}

PROMISE(who_comes_late_is_told_the_present_state)
{
	int plain, records;

	simulate_low("a");
	plain = client("a", NULL);
	records = client("a", SUBSCRIBE);
	expect_byte(plain);
	bench_expect(records, 5000, WIRE_WELCOME, PSB_LOW, NULL);
	expect_level(records, PSB_NEUTRAL);
}

PROMISE(a_cgroup_below_ones_own_may_be_asked_for)
{
	int fd = client("a", "psibridge/1 cgroup=below\n");

	expect_welcome(fd);
	simulate_low("a");
	assert_true(bench_is_silent(fd));
	bench_simulate(&bench, "a/below", "low");
	expect_level(fd, PSB_LOW);
}

/* What a client without rights is refused with; "welcome": it is not. */
static const char *refusal_of_nobody(const char *hello)
{
	static struct wire_record record;
	int fd;

	lab_enter(&lab, "a");
	assert_int_equal(seteuid(65534), 0);
	fd = bench_connect(bench.notify);
	assert_int_equal(send(fd, hello, strlen(hello), 0), strlen(hello));
	assert_true(bench_record(fd, 10000, &record));
	assert_int_equal(seteuid(0), 0);
	lab_enter(&lab, HOME);
	/* after a refusal the connection ends */
	assert_true(record.kind != WIRE_REFUSED || bench_bytes(fd, 10000) == -1);
	close(fd);
	return record.kind == WIRE_REFUSED ? record.text : "welcome";
}

PROMISE(somebody_elses_cgroup_is_refused_in_words)
{
	char hello[256];
	int fd;

	if (geteuid() != 0)
		SKIP("needs root to become somebody else");
	assert_int_equal(chmod(bench.dir, 0755), 0);
	snprintf(hello, sizeof(hello), "psibridge/1 cgroup=%s\n", lab_path(&lab, "b"));
	expect_words(refusal_of_nobody(hello), "cgroup");
	assert_string_not_equal(refusal_of_nobody("psibridge/1 cgroup=../b\n"), "welcome");
	/* and root may */
	fd = client("a", hello);
	expect_welcome(fd);
	bench_simulate(&bench, "b", "low");
	expect_level(fd, PSB_LOW);
	snprintf(hello, sizeof(hello), "psibridge/1 cgroup=%s\n", lab_path(&lab, "a/below"));
	assert_string_equal(refusal_of_nobody(hello), "welcome");
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
		bench_restart(&bench, SIGUSR1);
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
	if (how == SIGUSR1) {
		bench_expect(records, 5000, WIRE_BYE, PSB_LOW, NULL);
		bench_expect(calm, 5000, WIRE_BYE, PSB_HIGH, NULL);
	}
	/* what it was told is still so, and then ends as it would have */
	bench_expect(records, 5000, WIRE_WELCOME, PSB_LOW, NULL);
	expect_welcome(calm);
	expect_level(records, PSB_NEUTRAL);
	expect_level(records, PSB_HIGH);
	assert_true(bench_is_silent(silent)); /* neither told twice nor hung up on */
	assert_true(bench_is_silent(trigger));
	assert_true(LAB_WAIT(5000, connected() == 4));

	bench_simulate(&bench, "a", "low");
	expect_byte(silent);
	expect_byte(trigger);
	expect_level(records, PSB_LOW);
	assert_true(bench_is_silent(calm));
}

PROMISE(a_restart_loses_nobody_and_tells_no_lies)
{
	check_restart(SIGUSR1);
}

PROMISE(neither_does_kill_9)
{
	check_restart(SIGUSR2);
}

/* ---- bad clients, and a bridge that hears nothing ---------------------------------------------------- */

static void others_are_told(int other)
{
	struct wire_record r;

	bench_simulate(&bench, "b", "low");
	bench_expect(other, 5000, WIRE_LEVEL, PSB_LOW, &r);
	assert_true(r.time_usec + 2000000 > lab_now_usec());
}

/* The thread that waits for the kernel stands still; all others go on. */
static pid_t deafen(void)
{
	pid_t waits;
	int status;

	assert_true(LAB_WAIT(10000, (waits = thread_named(bench.service, "psb-wait", 0)) > 0));
	if (ptrace(PTRACE_SEIZE, waits, NULL, NULL) < 0)
		SKIP("threads cannot be stopped here");
	assert_int_equal(ptrace(PTRACE_INTERRUPT, waits, NULL, NULL), 0);
	assert_int_equal(waitpid(waits, &status, __WALL), waits);
	return waits;
}

/* Feeding it from any other loop would go on. */
PROMISE(the_watchdog_bites_one_that_hears_nothing)
{
	pid_t waits;
	int status;

	bench_stop(&bench);
	bench_start_with(&bench, CONFIGURATION, "6000000");
	for (int i = 0; i < 2; i++) /* every 3 s */
		bench_await(&bench, "WATCHDOG", 20000);
	waits = deafen();
	bench_await(&bench, "WATCHDOG timeout", 20000);
	assert_int_equal(waitpid(waits, &status, __WALL), waits);
	bench_await(&bench, "SIGNAL 6", 20000);
	bench_await_start(&bench);
}

PROMISE(one_that_hears_nothing_does_not_say_that_all_is_well)
{
	pid_t waits = deafen();
	bool told;

	/* an answer is kept for a while: on a slow machine it may be from before */
	told = LAB_WAIT(10000, strcmp(answer(STATUS, "errno"), "EIO") == 0);
	assert_int_equal(ptrace(PTRACE_DETACH, waits, NULL, NULL), 0); /* or it could not end */
	assert_true(told);
	assert_string_equal(answer(STATUS, "errno"), "");
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

		bench_expect(fd, 5000, WIRE_REFUSED, PSB_HIGH, &r);
		expect_words(r.text, rows[i].error);
		assert_true(r.error != 0);
		assert_int_equal(bench_bytes(fd, 5000), -1);
	}
	assert_true(bench_is_silent(half));
	assert_int_equal(send(half, "ow\n", 3, 0), 3);
	expect_welcome(half);
	/* half closed is not closed */
	assert_int_equal(shutdown(half_closed, SHUT_WR), 0);
	simulate_low("b");
	simulate_low("a");
	expect_byte(half_closed);
}

PROMISE(too_many_of_one_cgroup_are_refused_and_others_are_not)
{
	int fds[20], more;

	for (unsigned i = 0; i < ELEMENTSOF(fds); i++)
		fds[i] = client("a", NULL);
	more = client("a", NULL);
	assert_int_equal(bench_bytes(more, 5000), -1);
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
	assert_true(LAB_WAIT(20000, connected() == 1));
}

/* ---- configuration ------------------------------------------------------------------------------- */

/* What psibridged says with that option, all of it in one text. */
static const char *run_with(const char *option, int expected_status)
{
	const char *builddir = getenv("builddir");
	static char text[4096];
	char command[512];
	size_t size;
	FILE *f;

	snprintf(command, sizeof(command), "%s/psibridged %s --root %s/root 2>&1",
		 builddir ? builddir : ".", option, bench.dir);
	f = popen(command, "re");
	assert_non_null(f);
	size = fread(text, 1, sizeof(text) - 1, f);
	text[size] = '\0';
	assert_int_equal(WEXITSTATUS(pclose(f)), expected_status);
	return text;
}

PROMISE(a_bad_configuration_changes_nothing_and_is_named)
{
	int fd = subscriber("a");
	const char *text;

	bench_configure(&bench, "[Defaults]\nLow=some 200ms\n[Watch %s/**]\n");
	expect_words(answer(RELOAD, "error"), "psibridged.conf:2: Low: ");
	simulate_low("a");
	expect_level(fd, PSB_LOW);
	/* and a start is one line: it may be repeated as long as a client waits */
	bench_configure(&bench, "[Watch ../x]\nLow=soon\n[Bad]\n");
	text = run_with("", 78);
	expect_words(text, "psibridged.conf:1: ");
	expect_words(text, "(and 2 more: psibridged --check-config lists them)\n");
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	reconfigure(CONFIGURATION);
}

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

static uint64_t cpu_msec(void)
{
	struct timespec used;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(bench.service, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
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
	bench_expect(fd, 5000, WIRE_REFUSED, PSB_HIGH, &r);
	expect_words(r.text, "memory.pressure");
	/* and it is not tried over and over */
	before = cpu_msec();
	lab_sleep_ms(1500);
	assert_true(cpu_msec() - before < 500);
	leave(fd);
	lab_remove(&lab, "blind/child");
	lab_remove(&lab, "blind");
}

PROMISE(a_watch_whose_cgroup_vanishes_waits_and_hears_the_next_one)
{
	int fd;

	reconfigure(CONFIGURATION "[Watch %s/later]\n");
	for (int i = 0; i < 3; i++) {
		assert_true(LAB_WAIT(10000, strcmp(watch_state("later"), "absent") == 0));
		lab_make(&lab, "later", 0);
		fd = subscriber("later");
		bench_simulate(&bench, "later", "low");
		expect_level(fd, PSB_LOW);
		leave(fd);
		lab_remove(&lab, "later");
	}
}

PROMISE(a_watch_of_what_is_not_there_is_warned_of)
{
	char hint[512], unit[96];
	const char *text;

	snprintf(unit, sizeof(unit), "underneath/%s.service", lab.name);
	lab_make(&lab, "underneath", 0);
	lab_make(&lab, unit, 0);
	bench_configure(&bench,
			"[Watch %s.service]\n[Watch %s/undreneath/**]\n[Watch %s/underneath/**]\n"
			"[Watch kubepods.slice/**]\nEnabled=no\n[Watch psb-no.service]\n");
	text = run_with("--check-config", 0);
	snprintf(hint, sizeof(hint),
		 "conf:1: warning: [Watch %s.service]: it waits for /%s.service, which does not "
		 "exist on this machine now; did you mean /%s/%s?\n",
		 lab.name, lab.name, lab.name, unit);
	expect_words(text, hint);
	snprintf(hint, sizeof(hint), "did you mean /%s/underneath?\n", lab.name);
	expect_words(text, hint);
	expect_words(text, "; did you mean system.slice/psb-no.service?\n");
	assert_null(strstr(text, "conf:3:"));
	assert_null(strstr(text, "conf:4:"));
	lab_remove(&lab, unit);
	lab_remove(&lab, "underneath");
}

/* As root without CAP_DAC_OVERRIDE, which is how the service runs. */
PROMISE(what_the_service_cannot_read_is_no_good_configuration)
{
	char path[512];

	if (geteuid() != 0)
		SKIP("only root can give files away");
	snprintf(path, sizeof(path), "%s/root/etc/psibridge/psibridged.conf", bench.dir);
	assert_int_equal(chown(path, 65534, 65534) | chmod(path, 0600), 0);
	expect_words(run_with("--check-config", 78), "psibridged.conf: Permission denied\n");
	assert_int_equal(chmod(path, 0644), 0);
	expect_words(run_with("--check-config", 0), "5 watches, no mistakes\n");
	expect_words(run_with("--show-config", 0), "conf:2\nClientsPerCgroup=20\n");
}

GROUP(set_up, bench_close_lab)
FIXTURE(start, stop)
