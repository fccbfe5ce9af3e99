/* SPDX-License-Identifier: MIT */
/*
 * records-daemon.h - a psibridged that does what a test says, and a client of it
 *
 * The daemon is the test itself: a listener bound where psibridged's would be, below the bench's
 * directory, and records written by hand.
 */
#pragma once

#include "library-bench.h"

#include "core/wire.h"

#define ONLY_THE_SOCKET PSB_RUNG_MASK(PSB_RUNG_PROTOCOL)

/* ---- psibridged ------------------------------------------------------------------------------ */

static inline const char *socket_path(void)
{
	static char path[96];

	snprintf(path, sizeof(path), "%s/psibridge", bench_directory);
	assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
	strcat(path, "/notify");
	return path;
}

static inline void remove_socket(void)
{
	char path[96];

	unlink(socket_path());
	snprintf(path, sizeof(path), "%s/psibridge", bench_directory);
	rmdir(path);
}

/* The first line, without its newline. */
static inline const char *read_hello(int peer)
{
	static char line[WIRE_HELLO_MAX + 1];
	struct timeval patience = { .tv_sec = PATIENCE_SEC };
	size_t n = 0;

	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (n < WIRE_HELLO_MAX) {
		ssize_t got = recv(peer, line + n, 1, 0);

		if (got < 0 && errno == EINTR)
			continue;
		assert_int_equal(got, 1);
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	return line;
}

static inline int accept_client(int listener)
{
	int peer = accept_soon(listener);

	assert_memory_equal(read_hello(peer), "psibridge/1", 11);
	return peer;
}

static inline struct wire_record record(enum wire_record_kind kind, enum psb_available available,
					bool critical)
{
	return (struct wire_record){
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = (uint8_t)available,
		.critical = critical,
		.reason = kind == WIRE_WELCOME ? PSB_REASON_PRESENT : PSB_REASON_STALL,
		.time_usec = clock_usec(CLOCK_MONOTONIC),
	};
}

static inline void send_bytes(int peer, const void *bytes, size_t size)
{
	ssize_t n;

	do {
		n = send(peer, bytes, size, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	assert_int_equal(n, size);
}

static inline void send_record(int peer, const struct wire_record *r)
{
	send_bytes(peer, r, sizeof(*r));
}

static inline void say_kind(int peer, enum wire_record_kind kind, enum psb_available available,
			    bool critical)
{
	struct wire_record r = record(kind, available, critical);

	send_record(peer, &r);
}

/* Waits until the client hung up. */
static inline void await_end(int peer)
{
	struct timeval patience = { .tv_sec = PATIENCE_SEC };
	char byte;
	ssize_t n;

	setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	do {
		n = recv(peer, &byte, 1, 0);
	} while (n < 0 && errno == EINTR);
	/* or it hung up with something of ours unread */
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* ---- a client of it -------------------------------------------------------------------------- */

static inline void keep_line(void *userdata, int priority, const char *message)
{
	struct bench *b = userdata;
	size_t n;

	(void)priority;
	pthread_mutex_lock(&b->rx.lock);
	n = strlen(b->log);
	snprintf(b->log + n, sizeof(b->log) - n, "%s\n", message);
	pthread_cond_broadcast(&b->rx.changed);
	pthread_mutex_unlock(&b->rx.lock);
}

static inline struct psb_watch_options options_for(unsigned rungs)
{
	struct psb_watch_options options = quick_options(socket_path());

	options.rungs = rungs;
	/* of its own accord nothing ends, unless a test says so */
	options.quiet_usec = options.calm_usec = LONG_USEC;
	return options;
}

/* Psibridged listens, and the bridge has no watch yet. */
static inline struct bench *daemon_new(void **state)
{
	struct bench *b = bench_bare(state);
	struct psb_bridge_options o = { .size = sizeof(o),
					.backend = b->variant->backend,
					.log = keep_line,
					.log_userdata = b };

	if (psb_bridge_new(&o, &b->bridge) < 0) {
		assert_int_equal(b->variant->backend, PSB_BACKEND_URING);
		SKIP("io_uring cannot be had here");
	}
	b->listener = listen_at(socket_path());
	end_more = remove_socket;
	return b;
}

/* `options` NULL: those for nothing but the socket. */
static inline void subscribe(struct bench *b, const struct psb_watch_options *options,
			     unsigned flags)
{
	struct psb_watch_options usual = options_for(ONLY_THE_SOCKET);

	assert_int_equal(psb_watch_new(b->bridge, options ? options : &usual, &b->watch), 0);
	listen_with(b, &b->rx, b->variant->flags | flags);
	assert_int_equal(psb_bridge_start(b->bridge), 0);
}

/* Connected, and welcomed with High. */
static inline struct bench *client_new(void **state, const struct psb_watch_options *options)
{
	struct bench *b = daemon_new(state);

	subscribe(b, options, 0);
	b->peer = accept_client(b->listener);
	say_kind(b->peer, WIRE_WELCOME, PSB_HIGH, false);
	return b;
}

static inline void hang_up(struct bench *b)
{
	close(b->peer);
	b->peer = -1;
}

static inline void await_log(struct bench *b, const char *words)
{
	if (!AWAIT_FOR(&b->rx, strstr(b->log, words) != NULL, PATIENCE_SEC * USEC_PER_SEC))
		fail_msg("\"%s\" was not logged, but: %s", words, b->log);
}

/* The level of the newest call, after `calls` of them. */
static inline struct psb_notification await_call(struct bench *b, unsigned calls)
{
	AWAIT(&b->rx, b->rx.calls >= calls);
	assert_int_equal(READ(&b->rx, calls), calls);
	return received(&b->rx, calls - 1);
}

static inline void await_alarms(struct bench *b, uint64_t alarms)
{
	AWAIT_SEEN(stats_of(b).alarms >= alarms);
	assert_int_equal(stats_of(b).alarms, alarms);
}
