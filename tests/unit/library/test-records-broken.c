/* SPDX-License-Identifier: MIT */
/*
 * test-records-broken.c - libpsibridge as psibridged's client: when it refuses, hangs, goes away or
 * talks nonsense (src/monitor/monitor-records.c), and what diagnosis says of it
 */
#include "records-daemon.h"

/* ---- when it breaks ------------------------------------------------------------------------------ */

PROMISE(what_makes_no_sense_ends_the_connection_and_it_is_tried_anew)
{
	struct wire_record future, sized, level, gone, early;
	struct bench *b;
	const struct {
		const void *bytes;
		size_t size;
		bool welcome; /* first */
		const char *why;
	} table[] = {
		{ &future, sizeof(future), true, "what psibridged sent makes no sense" },
		{ &sized, sizeof(sized), true, "what psibridged sent makes no sense" },
		{ &level, sizeof(level), true, "what psibridged sent makes no sense" },
		{ &early, sizeof(early), false, "what psibridged sent makes no sense" },
		{ &gone, sizeof(gone), true, "psibridged says that the cgroup was removed" },
	};

	future = sized = level = early = record(WIRE_LEVEL, PSB_LOW, false);
	future.magic = 0x32627370; /* "psb2" */
	sized.size = 256;
	level.available = 4;
	gone = record(WIRE_GONE, PSB_NEUTRAL, false);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		b = daemon_new(state);
		subscribe(b, NULL, PSB_TELL_SOURCE);
		b->peer = accept_client(b->listener);
		if (table[i].welcome)
			say_kind(b->peer, WIRE_WELCOME, PSB_HIGH, false);
		send_bytes(b->peer, table[i].bytes, table[i].size);
		await_end(b->peer);
		await_log(b, table[i].why);
		AWAIT(&b->rx, b->rx.calls >= 1);
		assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_SOURCE);
		assert_int_equal(received(&b->rx, 0).available, PSB_HIGH);
		hang_up(b);
		b->peer = accept_client(b->listener); /* a second later */
		say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
		AWAIT(&b->rx, last_is(&b->rx, PSB_LOW));
		assert_string_equal(source_of(b->watch).why, "");
		bench_free(b);
	}
}

PROMISE(a_refusal_is_shown_in_the_daemons_own_words)
{
	struct wire_record r = record(WIRE_REFUSED, PSB_HIGH, false);
	struct bench *b = daemon_new(state);

	subscribe(b, NULL, PSB_TELL_SOURCE);
	b->peer = accept_client(b->listener);
	r.error = EUSERS;
	strcpy(r.text, "too many clients of\nuser 1000");
	send_record(b->peer, &r);
	await_log(b, "psibridged refuses: too many clients of?user 1000");
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_SOURCE);
	assert_string_equal(source_of(b->watch).why,
			    "psibridged refuses: too many clients of?user 1000");
	hang_up(b);
	/* without a text the number must do */
	b->peer = accept_client(b->listener);
	r.text[0] = '\0';
	send_record(b->peer, &r);
	await_log(b, "psibridged refuses: Too many users");
}

PROMISE(each_refusal_is_followed_by_a_longer_wait)
{
	uint64_t at[3];
	struct bench *b = daemon_new(state);

	subscribe(b, NULL, 0);
	for (size_t i = 0; i < ELEMENTSOF(at); i++) {
		b->peer = accept_client(b->listener);
		at[i] = clock_usec(CLOCK_MONOTONIC);
		say_kind(b->peer, WIRE_REFUSED, PSB_HIGH, false);
		await_end(b->peer);
		hang_up(b);
	}
	assert_true(at[1] - at[0] >= 900 * USEC_PER_MSEC);
	assert_true(at[2] - at[1] >= 1900 * USEC_PER_MSEC);
}

/* Its own ladder is allowed, and deaf to real pressure. */
static struct bench *client_with_a_ladder(void **state)
{
	struct psb_watch_options options = options_for(0);
	struct bench *b;

	need_another_rung(state);
	be_deaf(&options);
	b = daemon_new(state);
	subscribe(b, &options, PSB_TELL_SOURCE);
	return b;
}

static void psibridged_is_back(struct bench *b)
{
	b->peer = accept_client(b->listener);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
	AWAIT(&b->rx, last_is(&b->rx, PSB_LOW));
	assert_string_equal(source_of(b->watch).name, "psibridged");
}

PROMISE(without_it_the_own_ladder_is_watched_and_says_why)
{
	struct wire_record r = record(WIRE_REFUSED, PSB_HIGH, false);
	struct bench *b = client_with_a_ladder(state);

	b->peer = accept_client(b->listener);
	strcpy(r.text, "not yours");
	send_record(b->peer, &r);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_SOURCE);
	assert_true(source_of(b->watch).rung > PSB_RUNG_PROTOCOL);
	assert_non_null(strstr(source_of(b->watch).why, "psibridged refuses: not yours"));
	hang_up(b);
	psibridged_is_back(b);
}

PROMISE(low_is_followed_even_if_psibridged_never_says_so)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	uint64_t ended;
	struct bench *b;

	options.quiet_usec = 100 * USEC_PER_MSEC;
	options.calm_usec = 200 * USEC_PER_MSEC;
	b = client_new(state, &options);
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, true);
	await_call(b, 1);
	/* longer than Quiet, and than the second after which the effect of a Low is measured: as
	 * long as it is there, it judges */
	usleep(1100 * 1000);
	assert_int_equal(READ(&b->rx, calls), 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	ended = clock_usec(CLOCK_MONOTONIC);
	hang_up(b);
	AWAIT(&b->rx, b->rx.calls == 3);
	assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
	assert_true(received(&b->rx, 1).time_usec - ended >= options.quiet_usec);
	assert_int_equal(received(&b->rx, 2).available, PSB_HIGH);
}

PROMISE(a_move_repeats_no_low_before_rearm)
{
	struct wire_record r = record(WIRE_LEVEL, PSB_LOW, false);
	struct bench *b = client_new(state, NULL);

	/* Rearm is longer than any test */
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, false);
	await_call(b, 1);
	hang_up(b);
	b->peer = accept_client(b->listener);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
	r.reason = PSB_REASON_REPEAT;
	send_record(b->peer, &r);
	send_record(b->peer, &r);
	/* what comes next is news; the repeats before it were not told */
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, true);
	assert_int_equal(await_call(b, 2).critical, 1);
	say_kind(b->peer, WIRE_LEVEL, PSB_NEUTRAL, false);
	assert_int_equal(await_call(b, 3).available, PSB_NEUTRAL);
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, false);
	assert_int_equal(await_call(b, 4).available, PSB_LOW);
	assert_int_equal(stats_of(b).low, 3); /* nor did anything on the way swallow them */
}

PROMISE(goodbye_holds_the_level_until_it_is_back)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	struct bench *b;

	options.quiet_usec = options.calm_usec = 1;
	b = client_new(state, &options);
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, false);
	await_call(b, 1);
	say_kind(b->peer, WIRE_BYE, PSB_LOW, false);
	usleep(GLANCE_USEC);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	say_kind(b->peer, WIRE_WELCOME, PSB_LOW, false);
	usleep(GLANCE_USEC);
	say_kind(b->peer, WIRE_LEVEL, PSB_HIGH, false);
	assert_int_equal(await_call(b, 2).available, PSB_HIGH);
	assert_string_equal(READ(&b->rx, calls) == 2 ? b->log : "", "");
}

PROMISE(goodbye_for_good_is_noticed_after_5_s)
{
	uint64_t said;
	struct bench *b = client_new(state, NULL);

	said = clock_usec(CLOCK_MONOTONIC);
	say_kind(b->peer, WIRE_BYE, PSB_HIGH, false);
	await_end(b->peer);
	assert_true(clock_usec(CLOCK_MONOTONIC) - said >= 5 * USEC_PER_SEC);
	await_log(b, "psibridged stopped, and did not come back");
}

PROMISE(a_daemon_that_hangs_keeps_nobody_waiting)
{
	uint64_t begun = clock_usec(CLOCK_MONOTONIC);
	struct bench *b = daemon_new(state);

	subscribe(b, NULL, 0);
	assert_true(clock_usec(CLOCK_MONOTONIC) - begun < 2 * USEC_PER_SEC);
	await_log(b, "psibridged does not answer");
	assert_true(clock_usec(CLOCK_MONOTONIC) - begun >= 5 * USEC_PER_SEC);
}

/* One that cannot start: its sockets take connections, and nobody answers. */
PROMISE(nor_is_a_working_source_left_for_it)
{
	struct bench *b = client_with_a_ladder(state);

	AWAIT(&b->rx, b->rx.calls == 1);
	assert_true(source_of(b->watch).rung > PSB_RUNG_PROTOCOL);
	for (int i = 0; i < 3; i++) { /* the first one, and two more tries */
		b->peer = accept_client(b->listener);
		await_end(b->peer);
		hang_up(b);
	}
	assert_int_equal(READ(&b->rx, calls), 1);
	psibridged_is_back(b);
}

PROMISE(a_full_queue_is_told_at_once)
{
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);
	char text[320] = "";
	psb_watch *watches[16];
	size_t n = 0;
	struct bench *b;
	int r = 0;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	b = daemon_new(state);
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

/* Answers everybody with the same record, until the listener is shut down; none: with nothing. */
struct answering {
	int listener;
	const struct wire_record *record;
};

static void *answer_all(void *userdata)
{
	const struct answering *a = userdata;
	int peers[8];
	size_t n = 0;

	while (n < ELEMENTSOF(peers) &&
	       (peers[n] = accept4(a->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (a->record)
			send(peers[n], a->record, sizeof(*a->record), MSG_NOSIGNAL);
		n++;
	}
	while (n > 0)
		close(peers[--n]);
	return NULL;
}

struct found {
	unsigned taken;
	int error;
	char what[512];
};

static void keep_protocol(const struct psb_finding *f, void *userdata)
{
	struct found *found = userdata;

	if (f->taken)
		found->taken = f->rung;
	if (f->rung == 1) {
		found->error = f->error;
		snprintf(found->what, sizeof(found->what), "%s", f->what);
	}
}

PROMISE(diagnosis_asks_and_says_what_psibridged_answers)
{
	struct wire_record welcome = record(WIRE_WELCOME, PSB_LOW, false);
	struct wire_record refused = record(WIRE_REFUSED, PSB_HIGH, false);
	const struct {
		const struct wire_record *record;
		unsigned taken;
		int error;
		const char *what;
	} table[] = {
		{ &welcome, 1, 0, "psibridged listens on the socket that was named, and answers" },
		{ &refused, 0, EUSERS, "refuses: too many" },
		{ NULL, 0, ETIMEDOUT, "does not answer" },
	};
	struct psb_watch_options options = options_for(ONLY_THE_SOCKET);

	refused.error = EUSERS;
	strcpy(refused.text, "too many");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct answering answering = { listen_at(socket_path()), table[i].record };
		struct found found = { 0 };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, answer_all, &answering), 0);
		assert_int_equal(psb_diagnose(&options, keep_protocol, &found), 0);
		shutdown(answering.listener, SHUT_RDWR);
		pthread_join(thread, NULL);
		close(answering.listener);
		remove_socket();
		assert_int_equal(found.taken, table[i].taken);
		assert_int_equal(found.error, table[i].error);
		if (!strstr(found.what, table[i].what))
			fail_msg("\"%s\" instead of \"%s\"", found.what, table[i].what);
	}
}
