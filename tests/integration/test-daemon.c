/* SPDX-License-Identifier: MIT */
/*
 * What psibridged promises its clients, on real cgroups. Where a level need not come from real
 * stalls it is simulated through the control socket; test-daemon-library.c and test-crowd.c have the
 * real ones.
 */
#include "../unit/unit.h"
#include "daemon-stage.h"
#include "../threads.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <signal.h>

/* ---- who is told what ---------------------------------------------------------------------------- */

PROMISE(a_plain_client_gets_one_byte_a_low_of_its_own_cgroup)
{
	int a = client("a", NULL), b = client("b", NULL);

	bench_simulate(&bench, "a", "low");
	assert_int_equal(bench_bytes(a, 5000), 1);
	assert_true(bench_is_silent(b));
	bench_simulate(&bench, "b", "critical");
	assert_int_equal(bench_bytes(b, 5000), 1);
	assert_true(bench_is_silent(a));
}

PROMISE(a_subscriber_is_told_the_way_down_and_up)
{
	struct wire_record r;
	int a = subscriber("a"), b = subscriber("b");

	bench_simulate(&bench, "a", "critical");
	bench_expect(a, 5000, WIRE_LEVEL, PSB_LOW, &r);
	assert_int_equal(r.critical, 1);
	assert_int_equal(r.reason, PSB_REASON_SIMULATED);
	assert_true(r.time_usec <= lab_now_usec());
	bench_expect(a, 10000, WIRE_LEVEL, PSB_NEUTRAL, NULL);
	bench_expect(a, 10000, WIRE_LEVEL, PSB_HIGH, NULL);
	assert_true(bench_is_silent(b));
}

PROMISE(who_comes_late_is_told_the_present_state)
{
	int plain, records;

	bench_simulate(&bench, "a", "low");
	plain = client("a", NULL);
	records = client("a", SUBSCRIBE);
	assert_int_equal(bench_bytes(plain, 1000), 1);
	bench_expect(records, 5000, WIRE_WELCOME, PSB_LOW, NULL);
	bench_expect(records, 10000, WIRE_LEVEL, PSB_NEUTRAL, NULL);
}

PROMISE(a_cgroup_below_ones_own_may_be_asked_for)
{
	int fd = client("a", "psibridge/1 cgroup=below\n");

	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_simulate(&bench, "a", "low");
	lab_sleep_ms(300);
	assert_true(bench_is_silent(fd));
	bench_simulate(&bench, "a/below", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
}

/* What a client without rights is refused with; "welcome": it is not. */
static const char *refusal_of_nobody(const char *group, const char *hello)
{
	static struct wire_record record;
	int fd;

	lab_enter(&lab, group);
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
	const char *text;
	int fd;

	if (geteuid() != 0)
		SKIP("needs root to become somebody else");
	assert_int_equal(chmod(bench.dir, 0755), 0);
	snprintf(hello, sizeof(hello), "psibridge/1 cgroup=%s\n", lab_path(&lab, "b"));
	text = refusal_of_nobody("a", hello);
	assert_string_not_equal(text, "welcome");
	assert_non_null(strstr(text, "cgroup"));
	assert_string_not_equal(refusal_of_nobody("a", "psibridge/1 cgroup=../b\n"), "welcome");
	/* and root may */
	fd = client("a", hello);
	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_simulate(&bench, "b", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	leave(fd);
	snprintf(hello, sizeof(hello), "psibridge/1 cgroup=%s\n", lab_path(&lab, "a/below"));
	assert_string_equal(refusal_of_nobody("a", hello), "welcome");
}

/* Each end and start adds BYE and WELCOME to what is unread. With three levels more the one has its BYEs where the other
 * has its WELCOMEs: for one of them BYE is the first that finds no room. */
PROMISE(at_its_end_it_hangs_up_on_nobody)
{
	client("a", SUBSCRIBE);
	client("b", SUBSCRIBE);
	bench_simulate(&bench, "b", "low");
	assert_true(LAB_WAIT(20000, bench_is_high(&bench, "b")));
	for (int i = 0; i < 8; i++)
		bench_restart(&bench, SIGUSR1);
	assert_int_equal(bench_number(&bench, "clients", "connected"), 2);
}

/* ---- restarts ------------------------------------------------------------------------------------ */

static void check_restart(int how, bool bye)
{
	int silent = client("a", NULL), trigger = client("a", "some 150000 2000000"),
	    records = subscriber("a"), calm = subscriber("b");
	struct wire_record r;

	bench_simulate(&bench, "a", "low");
	assert_int_equal(bench_bytes(silent, 5000), 1);
	assert_int_equal(bench_bytes(trigger, 5000), 1);
	bench_expect(records, 5000, WIRE_LEVEL, PSB_LOW, NULL);

	bench_restart(&bench, how);
	if (bye) {
		bench_expect(records, 5000, WIRE_BYE, PSB_LOW, NULL);
		bench_expect(calm, 5000, WIRE_BYE, PSB_HIGH, NULL);
	}
	/* what it was told is still so, and then ends as it would have */
	bench_expect(records, 5000, WIRE_WELCOME, PSB_LOW, NULL);
	bench_expect(calm, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_expect(records, 10000, WIRE_LEVEL, PSB_NEUTRAL, &r);
	bench_expect(records, 10000, WIRE_LEVEL, PSB_HIGH, NULL);
	assert_true(bench_is_silent(silent)); /* neither told twice nor hung up on */
	assert_true(bench_is_silent(trigger));
	assert_int_equal(bench_number(&bench, "clients", "connected"), 4);

	bench_simulate(&bench, "a", "low");
	assert_int_equal(bench_bytes(silent, 5000), 1);
	assert_int_equal(bench_bytes(trigger, 5000), 1);
	bench_expect(records, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	assert_true(bench_is_silent(calm));
}

PROMISE(a_restart_loses_nobody_and_tells_no_lies)
{
	check_restart(SIGUSR1, true);
}

PROMISE(neither_does_kill_9)
{
	check_restart(SIGUSR2, false);
}

PROMISE(who_left_meanwhile_is_forgotten)
{
	int stays = client("a", SUBSCRIBE), goes = client("b", SUBSCRIBE);

	leave(goes);
	bench_restart(&bench, SIGUSR2);
	assert_true(LAB_WAIT(5000, bench_number(&bench, "clients", "connected") == 1));
	leave(stays);
	assert_true(LAB_WAIT(5000, bench_number(&bench, "clients", "connected") == 0));
}

/* ---- bad clients --------------------------------------------------------------------------------- */

static void somebody_elses_service_goes_on(int other)
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
	pid_t waits;
	json_t *answer = NULL;

	waits = deafen();
	/* an answer is kept for a while: on a slow machine it may be from before */
	LAB_WAIT(10000, (json_decref(answer), answer = bench_ask(&bench, "{\"verb\":\"status\"}\n"),
			 json_object_get(answer, "errno")));
	assert_int_equal(ptrace(PTRACE_DETACH, waits, NULL, NULL), 0); /* or it could not end */
	assert_non_null(json_object_get(answer, "errno"));
	assert_string_equal(json_string_value(json_object_get(answer, "errno")), "EIO");
	json_decref(answer);
	answer = bench_ask(&bench, "{\"verb\":\"status\"}\n");
	assert_null(json_object_get(answer, "errno"));
	json_decref(answer);
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
	somebody_elses_service_goes_on(other);
	/* it is a plain client all the same */
	bench_simulate(&bench, "a", "low");
	assert_int_equal(bench_bytes(flooder, 5000), 1);
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
	somebody_elses_service_goes_on(other);
	assert_true(bench_number(&bench, "clients", "replaced") > 0);
	while (bench_record(slow, 500, &r))
		if (++records > 0 && r.critical)
			break;
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
	int half = client("a", "psibridge/1 cgroup=bel");
	struct wire_record r;

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		int fd = client("a", rows[i].hello);

		bench_expect(fd, 5000, WIRE_REFUSED, PSB_HIGH, &r);
		if (!strstr(r.text, rows[i].error))
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].hello, r.text,
				 rows[i].error);
		assert_true(r.error != 0);
		assert_int_equal(bench_bytes(fd, 5000), -1);
		leave(fd);
	}
	assert_true(bench_is_silent(half));
	assert_int_equal(send(half, "ow\n", 3, 0), 3);
	bench_expect(half, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
}

PROMISE(half_closed_is_not_closed)
{
	int fd = client("a", NULL);

	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	lab_sleep_ms(200);
	bench_simulate(&bench, "a", "low");
	assert_int_equal(bench_bytes(fd, 5000), 1);
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
	somebody_elses_service_goes_on(other);
	assert_true(LAB_WAIT(20000, bench_number(&bench, "clients", "connected") == 1));
}
