/* SPDX-License-Identifier: MIT */
/*
 * test-records.c - libpsibridge as psibridged's client: who it is, what it says
 * (src/monitor/monitor-records.c, src/monitor/psibridged.c)
 */
#include "records-daemon.h"

#include <poll.h>
#include <sys/wait.h>

/* ---- who is it? --------------------------------------------------------------------------------- */

PROMISE(psibridged_is_known_by_the_address_its_listener_was_bound_to)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	const char *elsewhere = in_directory("elsewhere");
	struct bench *b;

	/* as in a container: the path is another one, the listener is the same */
	b = daemon_new(state);
	assert_int_equal(rename(socket_path(), elsewhere), 0);
	options.source = elsewhere;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	b->peer = accept_client(b->listener);
	assert_string_equal(source_of(b->watch).name, "psibridged");
	assert_string_equal(source_of(b->watch).path, elsewhere);
	assert_string_equal(source_of(b->watch).why, "");
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	unlink(elsewhere);
}

PROMISE(a_socket_that_only_lies_where_psibridgeds_would_is_none_of_it)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	static const char trigger[] = "some 100000 2000000";
	struct bench *b = daemon_new(state);
	char buf[64];

	close(b->listener);
	b->listener = listen_at(in_directory("socket"));
	assert_int_equal(rename(in_directory("socket"), socket_path()), 0);
	options.source_write = trigger;
	options.source_write_size = sizeof(trigger);
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	b->peer = accept_soon(b->listener);
	assert_int_equal(recv(b->peer, buf, sizeof(buf), 0), sizeof(trigger));
	assert_memory_equal(buf, trigger, sizeof(trigger));
	assert_string_equal(source_of(b->watch).name, "socket");
}

PROMISE(the_subscription_asks_for_what_the_caller_said_and_nothing_else)
{
	static const struct {
		struct psb_watch_options o;
		const char *write, *line;
	} table[] = {
		{ { 0 }, NULL, "psibridge/1" },
		{ { .early = "some 20ms/2s", .low = "some 200ms/2s", .critical = "full 100ms/1s" },
		  NULL,
		  "psibridge/1 early=some:20000:2000000 low=some:200000:2000000 "
		  "critical=full:100000:1000000" },
		{ { .rearm_usec = 1, .quiet_usec = 2, .calm_usec = 3, .headroom_percent = 10 },
		  NULL,
		  "psibridge/1 rearm=1 quiet=2 calm=3 headroom=10" },
		{ { .headroom_percent = PSB_HEADROOM_OFF }, NULL, "psibridge/1 headroom=off" },
		/* what systemd writes for everybody is nobody's wish */
		{ { 0 }, "some 200000 2000000", "psibridge/1" },
		{ { 0 }, "some 200ms/2s", "psibridge/1" },
		{ { 0 }, "some 150000 2000000", "psibridge/1 low=some:150000:2000000" },
		{ { 0 }, "full 200000 2000000", "psibridge/1 low=full:200000:2000000" },
		{ { 0 }, "some 200000 1000000", "psibridge/1 low=some:200000:1000000" },
		{ { .early = "some 1ms/1s", .low = "some 1ms/1s" },
		  "some 150000 2000000",
		  "psibridge/1 early=some:1000:1000000 low=some:1000:1000000" },
		{ { 0 }, "no trigger", "psibridge/1" },
	};
	struct bench *b = daemon_new(state);

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct psb_watch_options options = table[i].o;

		options.size = sizeof(options);
		options.source = socket_path();
		options.source_write = table[i].write;
		options.source_write_size = table[i].write ? strlen(table[i].write) + 1 : 0;
		assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
		b->peer = accept_soon(b->listener);
		assert_string_equal(read_hello(b->peer), table[i].line);
		psb_watch_unref(b->watch);
		hang_up(b);
	}
	/* and through the variables */
	setenv("MEMORY_PRESSURE_WATCH", socket_path(), 1);
	setenv("MEMORY_PRESSURE_WRITE", "c29tZSAxNTAwMDAgMjAwMDAwMAA=", 1);
	assert_int_equal(psb_watch_new(b->bridge, NULL, &b->watch), 0);
	b->peer = accept_soon(b->listener);
	assert_string_equal(read_hello(b->peer), "psibridge/1 low=some:150000:2000000");
	assert_string_equal(source_of(b->watch).name, "psibridged");
}

/* ---- what it says ------------------------------------------------------------------------------- */

INLINE_TOO(a_level_is_told_at_once_and_as_it_is)
{
	struct wire_record r = record(WIRE_LEVEL, PSB_LOW, false);
	struct psb_notification n;
	struct bench *b = client_new(state, NULL);
	unsigned repeats = 0;
	int critical = 7;

	r.since_usec = r.time_usec - 123456;
	r.some_total_usec = 11;
	r.full_total_usec = 22;
	r.stall_usec = 33;
	r.some_avg10_centi = 44;
	r.current_bytes = 55;
	r.limit_bytes = 66;
	send_record(b->peer, &r);
	n = await_call(b, 1);
	assert_int_equal(n.kind, PSB_KIND_LEVEL);
	assert_int_equal(n.available, PSB_LOW);
	assert_int_equal(n.critical, 0);
	assert_int_equal(n.reason, PSB_REASON_STALL);
	assert_int_equal(n.time_usec, r.time_usec);
	assert_int_equal(n.since_usec, r.since_usec);
	assert_int_equal(n.some_total_usec, 11);
	assert_int_equal(n.full_total_usec, 22);
	assert_int_equal(n.stall_usec, 33);
	assert_int_equal(n.some_avg10_centi, 44);
	assert_int_equal(n.current_bytes, 55);
	assert_int_equal(n.limit_bytes, 66);
	assert_int_equal(psb_watch_available(b->watch, &critical), PSB_LOW);
	assert_int_equal(critical, 0);

	/* a turn to critical */
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, true);
	n = await_call(b, 2);
	assert_int_equal(n.available, PSB_LOW);
	assert_int_equal(n.critical, 1);
	assert_int_equal(psb_watch_available(b->watch, &critical), PSB_LOW);
	assert_int_equal(critical, 1);

	/* a repeat, sooner than our own Rearm: the daemon judges */
	r = record(WIRE_LEVEL, PSB_LOW, true);
	r.reason = PSB_REASON_REPEAT;
	/* a call that took long may swallow one that comes within 20 times that */
	do {
		r.time_usec = clock_usec(CLOCK_MONOTONIC);
		send_record(b->peer, &r);
		repeats++;
	} while (!AWAIT_FOR(&b->rx, b->rx.calls >= 3, GLANCE_USEC));
	n = await_call(b, 3);
	assert_int_equal(n.reason, PSB_REASON_REPEAT);

	/* relief */
	r = record(WIRE_LEVEL, PSB_NEUTRAL, false);
	r.reason = PSB_REASON_CALM;
	send_record(b->peer, &r);
	n = await_call(b, 4);
	assert_int_equal(n.available, PSB_NEUTRAL);
	assert_int_equal(n.reason, PSB_REASON_CALM);
	say_kind(b->peer, WIRE_LEVEL, PSB_HIGH, false);
	n = await_call(b, 5);
	assert_int_equal(n.available, PSB_HIGH);
	assert_int_equal(n.since_usec, 0);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);

	assert_int_equal(stats_of(b).low, 2 + repeats);
	assert_int_equal(stats_of(b).critical, 1 + repeats);
	assert_int_equal(stats_of(b).neutral, 1);
	assert_int_equal(stats_of(b).high, 1);
	assert_int_equal(stats_of(b).alarms, 4 + repeats);
	assert_int_equal(stats_of(b).samples, 0);
}

PROMISE(what_a_record_does_not_know_is_read_here)
{
	struct wire_record r = record(WIRE_LEVEL, PSB_LOW, false);
	uint64_t before = clock_usec(CLOCK_MONOTONIC);
	struct psb_load load = { .size = sizeof(load) };
	struct psb_notification n;
	struct bench *b = client_new(state, NULL);

	assert_int_equal(psb_watch_load(b->watch, &load), 0);
	/* from a time namespace whose clock is ahead, and a reason that was invented later */
	r.time_usec += LONG_USEC;
	r.since_usec = r.time_usec;
	r.reason = 200;
	send_record(b->peer, &r);
	n = await_call(b, 1);
	assert_in_range(n.time_usec, before, clock_usec(CLOCK_MONOTONIC));
	assert_in_range(n.since_usec, before, clock_usec(CLOCK_MONOTONIC));
	assert_int_equal(n.reason, PSB_REASON_SIGNAL);
	assert_int_equal(n.limit_bytes, load.machine ? 0 : load.limit_bytes);
}

INLINE_TOO(a_welcome_is_told_only_if_it_says_something_new)
{
	struct psb_notification n;
	struct bench *b = client_new(state, NULL);

	/* High, as we were */
	say_kind(b->peer, WIRE_WELCOME, PSB_HIGH, false);
	say_kind(b->peer, WIRE_WELCOME, PSB_NEUTRAL, false);
	n = await_call(b, 1);
	assert_int_equal(n.available, PSB_NEUTRAL);
	assert_int_equal(n.reason, PSB_REASON_PRESENT);
	say_kind(b->peer, WIRE_WELCOME, PSB_NEUTRAL, false);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
	assert_int_equal(await_call(b, 2).available, PSB_LOW);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, true);
	assert_int_equal(await_call(b, 3).critical, 1);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, true);
	say_kind(b->peer, WIRE_WELCOME, PSB_HIGH, false);
	assert_int_equal(await_call(b, 4).available, PSB_HIGH);
}

PROMISE(a_late_joiner_is_told_the_present_state)
{
	struct bench *b = daemon_new(state);

	subscribe(b, NULL, 0);
	b->peer = accept_client(b->listener);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, true);
	assert_int_equal(await_call(b, 1).available, PSB_LOW);
	assert_int_equal(received(&b->rx, 0).critical, 1);
}

INLINE_TOO(a_stream_may_be_cut_anywhere_and_begin_with_single_bytes)
{
	struct wire_record r[4];
	struct bench *b = daemon_new(state);
	char bytes[2 + sizeof(r)];

	subscribe(b, NULL, 0);
	b->peer = accept_client(b->listener);
	memset(bytes, WIRE_LOW, 2);
	r[0] = record(WIRE_WELCOME, PSB_NEUTRAL, false);
	r[1] = record(WIRE_LEVEL, PSB_LOW, false);
	r[2] = record(WIRE_LEVEL, PSB_LOW, true);
	r[3] = record(WIRE_LEVEL, PSB_HIGH, false);
	memcpy(bytes + 2, r, sizeof(r));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		send_bytes(b->peer, bytes + i, 1);
		if (i % 7 == 0) /* let it read less than all */
			sched_yield();
	}
	/* each was judged; how many of them a callback hears is the mailbox's business */
	await_alarms(b, 3);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	send_bytes(b->peer, r, sizeof(r)); /* and many in one piece */
	await_alarms(b, 6);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source_of(b->watch).why, "");
}

PROMISE(kinds_that_nobody_knows_yet_are_skipped)
{
	struct wire_record r = record(WIRE_REFUSED + 1, PSB_LOW, false);
	struct bench *b = client_new(state, NULL);

	memset(r.text, 'x', sizeof(r.text));
	r.available = 99;
	send_record(b->peer, &r);
	r.kind = 65535;
	send_record(b->peer, &r);
	say_kind(b->peer, WIRE_LEVEL, PSB_NEUTRAL, false);
	assert_int_equal(await_call(b, 1).available, PSB_NEUTRAL);
}

/* ---- beside it ------------------------------------------------------------------------------------ */

PROMISE(while_it_is_connected_nothing_of_ours_wakes_up)
{
	struct psb_watch_options options = options_for(0);
	static const struct {
		enum psb_available available;
		unsigned calls;
	} table[] = { { PSB_HIGH, 0 }, { PSB_NEUTRAL, 1 }, { PSB_HIGH, 2 } };
	struct bench *b = daemon_new(state);
	struct pollfd p;

	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	assert_int_equal(psb_watch_add_callback(b->watch, receive, &b->rx, PSB_INLINE, NULL), 0);
	p = (struct pollfd){ .fd = psb_bridge_fd(b->bridge), .events = POLLIN };
	assert_true(p.fd >= 0);
	b->peer = accept_client(b->listener);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		say_kind(b->peer, WIRE_WELCOME, table[i].available, false);
		do { /* until all is quiet */
			while (psb_bridge_dispatch(b->bridge) > 0)
				;
		} while (READ(&b->rx, calls) < table[i].calls || poll(&p, 1, 50) > 0);
		assert_int_equal(READ(&b->rx, calls), table[i].calls);
		assert_int_equal(poll(&p, 1, 200), 0);
	}
	/* nor when its answer would have been overdue */
	assert_int_equal(poll(&p, 1, 5100), 0);
	assert_int_equal(stats_of(b).samples, 0);
}

PROMISE(a_simulation_ends_as_usual_and_then_psibridged_judges_again)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b;

	/* longer than any thread is late, or Neutral takes the place of a Low that was not taken yet */
	options.quiet_usec = 500 * USEC_PER_MSEC;
	options.calm_usec = 1 * USEC_PER_SEC;
	b = client_new(state, &options);
	/* as psibridged says High: Low, Neutral, High */
	say_kind(b->peer, WIRE_LEVEL, PSB_HIGH, false);
	await_call(b, 1);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	AWAIT(&b->rx, b->rx.calls == 4);
	assert_int_equal(received(&b->rx, 1).reason, PSB_REASON_SIMULATED);
	assert_int_equal(received(&b->rx, 1).critical, 1);
	assert_int_equal(received(&b->rx, 2).available, PSB_NEUTRAL);
	assert_int_equal(received(&b->rx, 3).available, PSB_HIGH);
	/* as it says Neutral: no further than that */
	say_kind(b->peer, WIRE_LEVEL, PSB_NEUTRAL, false);
	await_call(b, 5);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 0), 0);
	AWAIT(&b->rx, b->rx.calls == 7);
	assert_int_equal(received(&b->rx, 6).available, PSB_NEUTRAL);
	usleep(1300 * 1000); /* longer than Calm */
	assert_int_equal(READ(&b->rx, calls), 7);
	say_kind(b->peer, WIRE_LEVEL, PSB_HIGH, false);
	assert_int_equal(await_call(b, 8).available, PSB_HIGH);
	/* what somebody else told and left behind ends in the same way */
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, PSB_UNTOLD), 0);
	AWAIT(&b->rx, b->rx.calls == 10);
	assert_int_equal(received(&b->rx, 8).available, PSB_NEUTRAL);
	assert_int_equal(received(&b->rx, 9).available, PSB_HIGH);
}

PROMISE(a_forked_child_leaves_the_connection_alone)
{
	struct bench *b = client_new(state, NULL);
	int status = -1;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		struct psb_source source = { .size = sizeof(source) };

		if (psb_watch_source(b->watch, &source) != -ECHILD)
			_exit(1);
		psb_watch_unref(b->watch);
		psb_bridge_unref(b->bridge);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, false);
	assert_int_equal(await_call(b, 1).available, PSB_LOW);
}
