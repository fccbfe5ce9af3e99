/* SPDX-License-Identifier: MIT */
/*
 * test-records.c - libpsibridge as psibridged's client: who it is, what it says, and what is done when it refuses, hangs, goes away
 * or talks nonsense (src/monitor/monitor-records.c, src/monitor/psibridged.c)
 *
 * The daemon is the test itself: a listener bound where psibridged's would be, below the bench's
 * directory, and records written by hand.
 */
#include <poll.h>

#include "library-bench.h"
#include "../count-malloc.h"
#include "core/wire.h"

#define ONLY_THE_SOCKET PSB_RUNG_MASK(PSB_RUNG_PROTOCOL)

/* ---- psibridged ------------------------------------------------------------------------------ */

static const char *socket_path(void)
{
	fake_write("psibridge/", "");
	return fake_path("psibridge/notify");
}

/* The first line, without its newline. */
static const char *read_hello(int peer)
{
	static char line[WIRE_HELLO_MAX + 1];
	size_t n = 0;

	do
		assert_int_equal(recv_soon(peer, line + n, 1), 1);
	while (line[n++] != '\n' && n < WIRE_HELLO_MAX);
	line[n - 1] = '\0';
	return line;
}

static void accept_client(struct bench *b)
{
	if (b->peer >= 0)
		close(b->peer);
	b->peer = accept_soon(b->listener);
	assert_memory_equal(read_hello(b->peer), "psibridge/1", 11);
}

static struct wire_record record(enum wire_record_kind kind, char level)
{
	return (struct wire_record){
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = level == 'H'   ? PSB_HIGH
			     : level == 'N' ? PSB_NEUTRAL
					    : PSB_LOW,
		.critical = level == 'C',
		.reason = kind == WIRE_WELCOME ? PSB_REASON_PRESENT : PSB_REASON_STALL,
		.time_usec = now_usec(),
		.takes_reports = kind == WIRE_WELCOME,
	};
}

static void send_bytes(struct bench *b, const void *bytes, size_t size)
{
	assert_int_equal(send(b->peer, bytes, size, MSG_NOSIGNAL), size);
}

static void send_record(struct bench *b, struct wire_record r)
{
	send_bytes(b, &r, sizeof(r));
}

static void tell(struct bench *b, char level)
{
	send_record(b, record(WIRE_LEVEL, level));
}

static void welcome(struct bench *b, char level)
{
	send_record(b, record(WIRE_WELCOME, level));
}

/* Waits until the client hung up, perhaps with something of ours unread. */
static void await_end(struct bench *b)
{
	char byte;
	ssize_t n = recv_soon(b->peer, &byte, 1);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* ---- a client of it -------------------------------------------------------------------------- */

static struct psb_watch_options options_for(unsigned rungs)
{
	struct psb_watch_options options = quick_options(socket_path());

	if (rungs == 0)
		be_deaf(&options);
	/* of its own accord nothing ends, unless a test says so */
	options.quiet_usec = options.calm_usec = LONG_USEC;
	return options;
}

/* Psibridged listens, and the bridge has no watch yet. */
static struct bench *daemon_new(void **state)
{
	struct bench *b = bench_bare(state);

	b->listener = listen_at(socket_path());
	return b;
}

/* `options` NULL: those for nothing but the socket. */
static struct bench *connect_with(void **state, const struct psb_watch_options *options,
				  unsigned flags)
{
	struct psb_watch_options usual = options_for(ONLY_THE_SOCKET);
	struct bench *b = daemon_new(state);

	assert_int_equal(psb_watch_new(b->bridge, options ? options : &usual, &b->watch), 0);
	listen_with(b, &b->rx, b->variant->flags | flags);
	run(b);
	return b;
}

/* Connected, and welcomed with High. */
static struct bench *client_new(void **state, const struct psb_watch_options *options)
{
	struct bench *b = connect_with(state, options, 0);

	accept_client(b);
	welcome(b, 'H');
	return b;
}

static void hang_up(struct bench *b)
{
	close(b->peer);
	b->peer = -1;
}

/* ---- who is it? --------------------------------------------------------------------------------- */

PROMISE(psibridged_is_known_by_the_address_its_listener_was_bound_to)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	static const char trigger[] = "some 100000 2000000";
	struct bench *b = daemon_new(state);
	char buf[64];

	/* as in a container: the path is another one, the listener is the same */
	options.source = fake_path("elsewhere");
	assert_int_equal(rename(socket_path(), options.source), 0);
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	accept_client(b);
	assert_string_equal(source_of(b->watch).name, "psibridged");
	assert_string_equal(source_of(b->watch).path, options.source);
	assert_string_equal(source_of(b->watch).why, "");
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	unlink(options.source);
	bench_free(b);

	/* one that only lies where psibridged's would is none of it */
	b = daemon_new(state);
	close(b->listener);
	b->listener = listen_at(fake_path("socket"));
	assert_int_equal(rename(fake_path("socket"), socket_path()), 0);
	options = options_for(ONLY_THE_SOCKET);
	options.source_write = trigger;
	options.source_write_size = sizeof(trigger);
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	b->peer = accept_soon(b->listener);
	assert_int_equal(recv_soon(b->peer, buf, sizeof(buf)), sizeof(trigger));
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
		{ { .forecast_usec = 2000000 }, NULL, "psibridge/1 forecast=2000000" },
		{ { .forecast_usec = PSB_FORECAST_OFF }, NULL, "psibridge/1 forecast=off" },
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
	struct wire_record r = record(WIRE_LEVEL, 'C');
	struct bench *b = client_new(state, NULL);
	struct psb_notification n;
	unsigned repeats = 0;
	int critical = 7;

	r.since_usec = r.time_usec - 123456;
	r.some_total_usec = 11;
	r.full_total_usec = 22;
	r.stall_usec = 33;
	r.some_avg10_centi = 44;
	r.current_bytes = 55;
	r.limit_bytes = 66;
	r.cause = PSB_CAUSE_ANCESTOR;
	r.cause_up = 1;
	r.cause_is_high = 1;
	send_record(b, r);
	hear(&b->rx, "C");
	n = received(&b->rx, 0);
	assert_int_equal(n.reason, PSB_REASON_STALL);
	assert_int_equal(n.time_usec, r.time_usec);
	assert_int_equal(n.since_usec, r.since_usec);
	assert_int_equal(n.some_total_usec, 11);
	assert_int_equal(n.full_total_usec, 22);
	assert_int_equal(n.stall_usec, 33);
	assert_int_equal(n.some_avg10_centi, 44);
	assert_int_equal(n.current_bytes, 55);
	assert_int_equal(n.limit_bytes, 66);
	assert_int_equal(n.cause, PSB_CAUSE_ANCESTOR);
	assert_int_equal(n.cause_is_high, 1);
	assert_int_equal(n.cause_length, cgpath_front(received(&b->rx, 0).cgroup, 1));
	assert_int_equal(psb_watch_available(b->watch, &critical), PSB_LOW);
	assert_int_equal(critical, 1);

	/* a repeat, sooner than our own Rearm: the daemon judges. A call that took long may swallow one that comes within 20
	 * times that */
	r = record(WIRE_LEVEL, 'C');
	r.reason = PSB_REASON_REPEAT;
	do {
		r.time_usec = now_usec();
		send_record(b, r);
		repeats++;
	} while (!AWAIT_FOR(&b->rx, b->rx.calls >= 2, GLANCE_USEC));
	r = record(WIRE_LEVEL, 'N');
	r.reason = PSB_REASON_CALM;
	send_record(b, r);
	hear(&b->rx, "CN");
	assert_received(b, 1, PSB_REASON_REPEAT);
	assert_received(b, 2, PSB_REASON_CALM);
	tell(b, 'H');
	hear(&b->rx, "H");
	assert_int_equal(received(&b->rx, 3).since_usec, 0);
	assert_int_equal(stats_of(b).critical, 1 + repeats);
	assert_int_equal(stats_of(b).alarms, 3 + repeats);
	assert_int_equal(stats_of(b).samples, 0);
}

PROMISE(what_a_record_does_not_know_is_read_here)
{
	struct wire_record r = record(WIRE_LEVEL, 'L');
	uint64_t before = now_usec();
	struct psb_load load = { .size = sizeof(load) };
	struct bench *b = client_new(state, NULL);
	struct psb_notification n;

	assert_int_equal(psb_watch_load(b->watch, &load), 0);
	/* from a time namespace whose clock is ahead, and a reason that was invented later */
	r.time_usec += LONG_USEC;
	r.since_usec = r.time_usec;
	r.reason = 200;
	r.cause = 200;
	send_record(b, r);
	hear(&b->rx, "L");
	n = received(&b->rx, 0);
	assert_in_range(n.time_usec, before, now_usec());
	assert_in_range(n.since_usec, before, now_usec());
	assert_int_equal(n.reason, PSB_REASON_SIGNAL);
	assert_int_equal(n.cause, PSB_CAUSE_UNKNOWN);
	assert_int_equal(n.limit_bytes, load.machine ? 0 : load.limit_bytes);
}

static atomic_uint effects;

static void count_effect(const struct psb_notification *n, _unused_ void *userdata)
{
	effects += n->kind == PSB_KIND_EFFECT && n->available == PSB_LOW;
}

PROMISE(what_a_low_achieved_is_in_the_counters_and_told)
{
	struct wire_record r = record(WIRE_EFFECT, 'L');
	struct bench *b = client_new(state, NULL);
	struct psb_stats s;
	unsigned before = effects;

	assert_int_equal(psb_watch_add_callback(b->watch, count_effect, NULL,
						PSB_INLINE | PSB_TELL_EFFECT, NULL),
			 0);
	tell(b, 'L');
	hear(&b->rx, "L");
	r.effect = (struct wire_effect){ 100, 2, PSB_UNKNOWN, 4, 3 };
	send_record(b, r);
	send_record(b, r);
	assert_true(AWAIT_FOR(&b->rx, effects == before + 2, LONG_USEC));
	s = stats_of(b);
	assert_int_equal(s.effects, 2);
	assert_int_equal(s.bytes_back, 200);
	assert_int_equal(s.unanswered, 3);
	assert_memory_equal(&s.effect_usec, ((uint64_t[]){ r.time_usec, 100, 2, PSB_UNKNOWN, 4 }),
			    40);
	assert_int_equal(b->rx.calls, 1);
}

static void expect_report(struct bench *b, uint64_t bytes, uint64_t usec)
{
	struct wire_record r;

	assert_int_equal(recv_soon(b->peer, &r, sizeof(r)), sizeof(r));
	assert_int_equal(wire_record_check(&r), 0);
	assert_int_equal(r.kind, WIRE_REPORT);
	assert_int_equal(r.report.bytes, bytes);
	assert_int_equal(r.report.usec, usec);
}

static void report(struct bench *b, uint64_t bytes, uint64_t usec)
{
	assert_int_equal(psb_registration_report(b->rx.registration, bytes, usec), 0);
}

PROMISE(it_is_told_what_was_freed_once_for_each_low_if_it_takes_that)
{
	struct wire_record old = record(WIRE_WELCOME, 'N');
	struct bench *b = client_new(state, NULL);

	report(b, 1, 2); /* before any Low; it goes with what is owed */
	tell(b, 'L');
	hear(&b->rx, "L");
	report(b, 0, 4);
	report(b, 8, 16);
	expect_report(b, 9, 18);
	report(b, 32, 64);
	tell(b, 'N');
	hear(&b->rx, "N");
	assert_int_equal(recv(b->peer, (char[1]){ 0 }, 1, MSG_DONTWAIT), -1);
	welcome(b, 'C'); /* another process of it */
	hear(&b->rx, "C");
	report(b, 128, 256);
	expect_report(b, 160, 320);
	/* one before 0.2 reads nothing */
	old.takes_reports = 0;
	send_record(b, old);
	hear(&b->rx, "N");
	tell(b, 'L');
	hear(&b->rx, "L");
	report(b, 512, 1024);
	tell(b, 'H');
	hear(&b->rx, "H");
	assert_int_equal(recv(b->peer, (char[1]){ 0 }, 1, MSG_DONTWAIT), -1);
	assert_int_equal(stats_of(b).reported_bytes, 1 + 8 + 32 + 128 + 512);
}

INLINE_TOO(a_welcome_is_told_only_if_it_says_something_new)
{
	/* the first is as we were; the next news shows that what stays is not told */
	static const char welcomes[] = "HNNLLCCH", news[] = " N L C H";
	struct bench *b = client_new(state, NULL);

	for (size_t i = 0; welcomes[i]; i++) {
		welcome(b, welcomes[i]);
		if (news[i] != ' ')
			hear(&b->rx, (const char[]){ news[i], '\0' });
	}
	assert_received(b, 2, PSB_REASON_PRESENT);
}

INLINE_TOO(a_stream_may_be_cut_anywhere_and_begin_with_single_bytes)
{
	struct bench *b = connect_with(state, NULL, 0);
	struct wire_record r[] = { record(WIRE_WELCOME, 'C'), record(WIRE_LEVEL, 'N'),
				   record(WIRE_REPORT + 1, 'L'), /* of a later version */
				   record(WIRE_LEVEL, 'C'), record(WIRE_LEVEL, 'H') };
	char bytes[2 + sizeof(r)];

	accept_client(b);
	r[2].available = 99;
	memset(bytes, WIRE_LOW, 2);
	memcpy(bytes + 2, r, sizeof(r));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		send_bytes(b, bytes + i, 1);
		if (i % 7 == 0) /* let it read less than all */
			sched_yield();
	}
	/* each was judged; how many of them a callback hears is the mailbox's business */
	AWAIT_SEEN(stats_of(b).alarms == 3);
	AWAIT(&b->rx, last_is(&b->rx, 'H'));
	send_bytes(b, r, sizeof(r)); /* and many in one piece */
	AWAIT_SEEN(stats_of(b).alarms == 6);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source_of(b->watch).why, "");
}

PROMISE(records_are_heard_without_an_allocation)
{
	struct bench *b;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	b = client_new(state, NULL);
	listen_with(b, &b->fence, PSB_INLINE);
	tell(b, 'L'); /* the first call of each */
	hear(&b->rx, "L");
	hear(&b->fence, "L");
	count_malloc_start();
	for (int i = 0; i < 99; i++)
		tell(b, "LNH"[i % 3]);
	AWAIT(&b->fence, last_is(&b->fence, 'H') && b->fence.calls >= 1 + 98);
	AWAIT(&b->rx, last_is(&b->rx, 'H'));
	count_malloc_stop();
}

/* ---- beside it ------------------------------------------------------------------------------------ */

PROMISE(while_it_is_connected_nothing_of_ours_wakes_up)
{
	struct psb_watch_options options = options_for(0);
	struct bench *b = daemon_new(state);
	struct pollfd p;

	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	listen_with(b, &b->rx, PSB_INLINE);
	p = (struct pollfd){ .fd = psb_bridge_fd(b->bridge), .events = POLLIN };
	assert_true(p.fd >= 0);
	accept_client(b);
	welcome(b, 'N');
	do { /* until all is quiet */
		while (psb_bridge_dispatch(b->bridge) > 0)
			;
	} while (READ(&b->rx, calls) < 1 || poll(&p, 1, 50) > 0);
	/* longer than Neutral would last, and until its answer would have been overdue */
	assert_int_equal(poll(&p, 1, 5100), 0);
	assert_int_equal(stats_of(b).samples, 0);
}

PROMISE(a_simulation_ends_as_usual_and_then_psibridged_judges_again)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b;

	options.quiet_usec = 100 * USEC_PER_MSEC;
	options.calm_usec = 200 * USEC_PER_MSEC;
	b = connect_with(state, &options, PSB_INLINE); /* or Neutral may overtake a Low */
	accept_client(b);
	welcome(b, 'H');
	/* as psibridged says High: Low, Neutral, High */
	tell(b, 'H');
	hear(&b->rx, "H");
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 1), 0);
	hear(&b->rx, "CNH");
	assert_received(b, 1, PSB_REASON_SIMULATED);
	/* as it says Neutral: no further than that, however long */
	tell(b, 'N');
	hear(&b->rx, "N");
	say(b, "L");
	hear(&b->rx, "LN");
	usleep(2 * options.calm_usec);
	tell(b, 'H');
	hear(&b->rx, "H");
	assert_int_equal(received(&b->rx, 7).reason, PSB_REASON_STALL); /* of the record */
	/* what another process told and left behind ends in the same way */
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, PSB_UNTOLD), 0);
	hear(&b->rx, "NH");
}

/* ---- when it breaks ------------------------------------------------------------------------------ */

PROMISE(what_makes_no_sense_ends_the_connection_and_it_is_tried_anew)
{
	static const char nonsense[] = "what psibridged sent makes no sense";
	struct {
		bool welcome; /* first */
		const char *why;
		struct wire_record record;
	} table[] = {
		{ true, nonsense, record(WIRE_LEVEL, 'L') }, /* of "psb2" */
		{ false, nonsense, record(WIRE_LEVEL, 'L') },
		{ true, "psibridged says that the cgroup was removed", record(WIRE_GONE, 'N') },
	};

	table[0].record.magic = 0x32627370;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct bench *b = connect_with(state, NULL, PSB_TELL_SOURCE);

		accept_client(b);
		if (table[i].welcome)
			welcome(b, 'H');
		send_record(b, table[i].record);
		await_end(b);
		await_log(b, table[i].why);
		hear(&b->rx, "S");
		assert_int_equal(received(&b->rx, 0).available, PSB_HIGH);
		accept_client(b); /* a second later */
		welcome(b, 'L');
		AWAIT(&b->rx, last_is(&b->rx, 'L'));
		assert_string_equal(source_of(b->watch).why, "");
		bench_free(b);
	}
}

PROMISE(a_refusal_is_shown_in_the_daemons_own_words_and_each_waits_longer)
{
	static const char *const texts[] = { "too many clients of\nuser 1000", "", "" };
	struct wire_record r = record(WIRE_REFUSED, 'H');
	struct bench *b = connect_with(state, NULL, PSB_TELL_SOURCE);
	uint64_t at[ELEMENTSOF(texts)];

	r.error = EUSERS;
	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		accept_client(b);
		at[i] = now_usec();
		strcpy(r.text, texts[i]);
		send_record(b, r);
		await_end(b);
		await_log(b, i == 0 ? "psibridged refuses: too many clients of?user 1000"
				    : "psibridged refuses: Too many users");
		if (i > 0)
			continue;
		hear(&b->rx, "S");
		assert_string_equal(source_of(b->watch).why,
				    "psibridged refuses: too many clients of?user 1000");
	}
	assert_true(at[1] - at[0] >= 900 * USEC_PER_MSEC);
	assert_true(at[2] - at[1] >= 1900 * USEC_PER_MSEC);
}

/* Where it may, it is not left deaf: and a working source is not left for a daemon that cannot start either, whose sockets take
 * connections that nobody answers. */
PROMISE(without_it_the_own_ladder_is_watched_and_says_why)
{
	struct psb_watch_options options = options_for(0);
	struct wire_record r = record(WIRE_REFUSED, 'H');
	struct bench *b;

	need_another_rung(state);
	b = connect_with(state, &options, PSB_TELL_SOURCE);
	accept_client(b);
	strcpy(r.text, "not yours");
	send_record(b, r);
	hear(&b->rx, "S");
	assert_true(source_of(b->watch).rung > PSB_RUNG_PROTOCOL);
	assert_non_null(strstr(source_of(b->watch).why, "psibridged refuses: not yours"));
	accept_client(b);
	await_end(b);
	accept_client(b);
	welcome(b, 'L');
	hear(&b->rx, "SL");
	assert_string_equal(source_of(b->watch).name, "psibridged");
}

PROMISE(low_is_followed_even_if_psibridged_never_says_so)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b;
	uint64_t ended;

	options.quiet_usec = 100 * USEC_PER_MSEC;
	options.calm_usec = 200 * USEC_PER_MSEC;
	b = client_new(state, &options);
	tell(b, 'C');
	hear(&b->rx, "C");
	/* longer than Quiet, and than the second after which the effect of a Low is measured: as
	 * long as it is there, it judges */
	usleep(1100 * 1000);
	assert_int_equal(READ(&b->rx, calls), 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	ended = now_usec();
	hang_up(b);
	AWAIT(&b->rx, last_is(&b->rx, 'H'));
	assert_true(stats_of(b).neutral == 1);
	assert_true(received(&b->rx, 1).time_usec - ended >= options.quiet_usec);
}

PROMISE(a_move_repeats_no_low_before_rearm)
{
	struct wire_record r = record(WIRE_LEVEL, 'L');
	struct bench *b = client_new(state, NULL);

	/* Rearm is longer than any test */
	tell(b, 'L');
	hear(&b->rx, "L");
	hang_up(b);
	accept_client(b);
	welcome(b, 'L');
	r.reason = PSB_REASON_REPEAT;
	send_record(b, r);
	send_record(b, r);
	/* what comes next is news; the repeats before it were not told */
	tell(b, 'C');
	hear(&b->rx, "C");
	tell(b, 'N');
	hear(&b->rx, "N");
	tell(b, 'L');
	hear(&b->rx, "L");
	assert_int_equal(stats_of(b).low, 3); /* nor did anything on the way swallow them */
}

PROMISE(goodbye_holds_the_level_until_it_is_back_and_5_s_if_it_is_not)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b;
	uint64_t said;

	options.quiet_usec = options.calm_usec = 1;
	b = client_new(state, &options);
	tell(b, 'L');
	hear(&b->rx, "L");
	send_record(b, record(WIRE_BYE, 'L'));
	usleep(GLANCE_USEC);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	welcome(b, 'L');
	tell(b, 'H');
	hear(&b->rx, "H");
	assert_string_equal(b->log, "");
	said = now_usec();
	send_record(b, record(WIRE_BYE, 'H'));
	await_end(b);
	assert_true(now_usec() - said >= 5 * USEC_PER_SEC);
	await_log(b, "psibridged stopped, and did not come back");
}

PROMISE(a_daemon_that_hangs_keeps_nobody_waiting)
{
	uint64_t begun = now_usec();
	struct bench *b = connect_with(state, NULL, 0);

	assert_true(now_usec() - begun < 2 * USEC_PER_SEC);
	await_log(b, "psibridged does not answer");
	assert_true(now_usec() - begun >= 5 * USEC_PER_SEC);
}

PROMISE(a_full_queue_is_told_at_once)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b = daemon_new(state);
	char text[320] = "";
	psb_watch *watches[16];
	size_t n = 0;
	int r = 0;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	assert_int_equal(listen(b->listener, 1), 0);
	while (n < ELEMENTSOF(watches) &&
	       (r = psb_watch_new(b->bridge, &options, &watches[n])) == 0)
		n++;
	assert_int_equal(r, -EAGAIN);
	assert_non_null(strstr(text, "its queue of connections is full"));
	while (n > 0)
		psb_watch_unref(watches[--n]);
}

/* ---- diagnosis ------------------------------------------------------------------------------------- */

/* Answers all with the same record, until the listener is shut down; magic 0: with nothing. */
struct answering {
	int listener;
	struct wire_record record;
};

static void *answer_all(void *userdata)
{
	const struct answering *a = userdata;
	int peers[8];
	size_t n = 0;

	while (n < ELEMENTSOF(peers) &&
	       (peers[n] = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (a->record.magic)
			send(peers[n], &a->record, sizeof(a->record), MSG_NOSIGNAL);
		n++;
	}
	while (n > 0)
		close(peers[--n]);
	return NULL;
}

/* "TAKEN ERROR WHAT" of the first rung */
static void keep_protocol(const struct psb_finding *f, void *userdata)
{
	if (f->rung == PSB_RUNG_PROTOCOL)
		snprintf(userdata, 400, "%d %d %s", f->taken, f->error, f->what);
}

PROMISE(diagnosis_asks_and_says_what_psibridged_answers)
{
	const char *const said[] = {
		"1 0 psibridged listens on the socket that was named, and answers",
		"0 87 psibridged at ", "0 110 psibridged at "
	};
	const char *const more[] = { "watches this cgroup", " refuses: too many",
				     " does not answer" };
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);

	for (size_t i = 0; i < ELEMENTSOF(said); i++) {
		struct answering answering = { listen_at(socket_path()), { .magic = 0 } };
		char found[400] = "";
		pthread_t thread;

		if (i < 2)
			answering.record = record(i == 0 ? WIRE_WELCOME : WIRE_REFUSED, 'L');
		if (i == 1) {
			answering.record.error = EUSERS;
			strcpy(answering.record.text, "too many");
		}
		assert_int_equal(pthread_create(&thread, NULL, answer_all, &answering), 0);
		assert_int_equal(psb_diagnose(&options, keep_protocol, found), 0);
		shutdown(answering.listener, SHUT_RDWR);
		pthread_join(thread, NULL);
		close(answering.listener);
		if (strncmp(found, said[i], strlen(said[i])) != 0 || !strstr(found, more[i]))
			fail_msg("\"%s\" instead of \"%s\"", found, said[i]);
	}
}
