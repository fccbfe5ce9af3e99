/* SPDX-License-Identifier: MIT */
/*
 * test-no-alloc.c - once armed, watching allocates nothing: the library must work best when memory
 * is worst
 *
 * malloc and its kin are counted (count-malloc.h), from when the loop has run and each callback was
 * called once until something ends. In between there are alarms, samples, notifications and
 * callbacks. (psb_watch_simulate() allocates, on the caller's thread.)
 */
#include "../unit.h"
#include "pattern-bench.h"
#include "../../pressure.h"
#include "../count-malloc.h"

#include "core/wire.h"

#include <signal.h>

static void skip_if_sanitized(void)
{
	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
}

/* A bridge that runs, with a callback on a thread of its own and one inline, each called once. */
static struct bench *run_with(void **state, struct psb_watch_options *options)
{
	struct bench *b = calloc(1, sizeof(*b));

	b->variant = *state;
	b->bridge = make_bridge(b->variant);
	ear_init(&b->ear);
	ear_init(&b->fence);
	assert_int_equal(psb_watch_new(b->bridge, options, &b->watch), 0);
	assert_int_equal(psb_bridge_start(b->bridge), 0);
	listen_with(b, &b->ear, PSB_TELL_PRESENT);
	listen_with(b, &b->fence, PSB_TELL_PRESENT | PSB_INLINE);
	AWAIT(&b->ear, b->ear.calls == 1);
	AWAIT(&b->fence, b->fence.calls == 1);
	return b;
}

PROMISE(a_fifo_is_heard_without_an_allocation)
{
	struct psb_watch_options options = { 0 };
	struct bench *b;
	int fd;

	skip_if_sanitized();
	options = (struct psb_watch_options){
		.size = sizeof(options),
		.source = in_directory("fifo"),
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL),
		.early = "some 20ms/100ms",
		.low = "some 50ms/100ms",
		.critical = "full 90ms/100ms",
		.rearm_usec = 1,
		.quiet_usec = 100 * USEC_PER_MSEC,
		.calm_usec = 200 * USEC_PER_MSEC,
	};
	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	b = run_with(state, &options);
	fd = open(options.source, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	count_malloc_start();
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(fd, "x", 1), 1);
	AWAIT(&b->ear, last_is(&b->ear, PSB_LOW));
	AWAIT(&b->ear, last_is(&b->ear, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
	close(fd);
	bench_free(b);
}

PROMISE(a_socket_is_heard_without_an_allocation)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct psb_watch_options options = {
		.size = sizeof(options),
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL),
		.early = "some 20ms/100ms",
		.low = "some 50ms/100ms",
		.critical = "full 90ms/100ms",
		.rearm_usec = 1,
		.quiet_usec = 100 * USEC_PER_MSEC,
		.calm_usec = 200 * USEC_PER_MSEC,
	};
	struct bench *b;
	int listener, peer;

	skip_if_sanitized();
	options.source = in_directory("socket");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", options.source);
	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	b = run_with(state, &options);
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0);
	count_malloc_start();
	for (int i = 0; i < 100; i++)
		assert_int_equal(send(peer, "x", 1, MSG_NOSIGNAL), 1);
	AWAIT(&b->ear, last_is(&b->ear, PSB_LOW));
	AWAIT(&b->ear, last_is(&b->ear, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
	close(peer);
	close(listener);
	bench_free(b);
}

PROMISE(psibridgeds_records_are_heard_without_an_allocation)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct psb_watch_options options = { .size = sizeof(options),
					     .rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL) };
	struct wire_record r = { .magic = WIRE_MAGIC, .size = WIRE_RECORD_SIZE };
	struct bench *b;
	int listener, peer;

	skip_if_sanitized();
	assert_true(mkdir(in_directory("psibridge"), 0700) == 0 || errno == EEXIST);
	options.source = in_directory("psibridge/notify");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", options.source);
	unlink(address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	b = run_with(state, &options);
	assert_string_equal(source_of(b->watch).name, "psibridged");
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(peer >= 0);
	count_malloc_start();
	for (int i = 0; i < 99; i++) {
		r.kind = i == 0 ? WIRE_WELCOME : WIRE_LEVEL;
		r.available = (uint8_t)(PSB_LOW + i % 3);
		r.reason = PSB_REASON_STALL;
		assert_int_equal(send(peer, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
	}
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH) && b->fence.calls == 1 + 99);
	AWAIT(&b->ear, last_is(&b->ear, PSB_HIGH));
	count_malloc_stop();
	close(peer);
	close(listener);
	bench_free(b);
	unlink(address.sun_path);
	rmdir(in_directory("psibridge"));
}

/* Also where its taker comes late, and entries are overtaken. */
PROMISE(a_mailbox_is_filled_and_emptied_without_an_allocation)
{
	struct psb_watch_options options = quick_options(in_directory("fifo"));
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *mailbox;
	struct bench *b;
	int fd;

	skip_if_sanitized();
	options.rearm_usec = 1;
	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	b = run_with(state, &options);
	assert_int_equal(psb_mailbox_new(b->watch, PSB_TELL_PRESENT, &mailbox), 0);
	assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
	fd = open(options.source, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	count_malloc_start();
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(fd, "x", 1), 1);
	do {
		assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
	} while (n.available != PSB_NEUTRAL);
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	assert_int_equal(write(fd, "x", 1), 1); /* overtakes the High */
	AWAIT(&b->fence, last_is(&b->fence, PSB_LOW));
	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), 1);
	assert_int_equal(n.available, PSB_LOW);
	AWAIT(&b->ear, last_is(&b->ear, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
	close(fd);
	psb_mailbox_free(mailbox);
	bench_free(b);
}

/* A member comes with its Low, and goes with its High: only what is allocated meanwhile counts. */
PROMISE(a_cgroup_of_a_pattern_is_told_on_without_an_allocation)
{
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *mailbox;
	struct bench *b;

	skip_if_sanitized();
	plant(2);
	b = hear_all(state, USEC_PER_SEC / 2);
	assert_int_equal(psb_mailbox_new(b->watch, 0, &mailbox), 0);
	for (unsigned i = 0; i < 2; i++) {
		simulate_at(b, numbered(i), PSB_LOW, 0);
		assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
		assert_int_equal(n.available, PSB_LOW);
	}
	AWAIT(&b->ear, b->ear.calls == 2 && b->ear.inside == 0);
	count_malloc_start();
	for (unsigned high = 0; high < 2; high += n.available == PSB_HIGH)
		assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
	AWAIT(&b->ear, b->ear.calls == 6);
	atomic_store(&count_malloc_on, false);
	assert_int_equal(atomic_load(&count_malloc_allocations), 0);
	assert_int_equal(stats_of(b).superseded, 0);
	psb_mailbox_free(mailbox);
	done_with(b, 2);
}

/* ---- real pressure
 * ---------------------------------------------------------------------------------- */

PROMISE(real_pressure_is_told_without_an_allocation)
{
	struct psb_watch_options options = {
		.size = sizeof(options),
		.early = "some 2ms/1s",
		.low = "some 5ms/1s",
		.quiet_usec = 200 * USEC_PER_MSEC,
		.calm_usec = 300 * USEC_PER_MSEC,
		.headroom_percent = PSB_HEADROOM_OFF,
	};
	struct psb_stats stats = { .size = sizeof(stats) };
	const char *no_lab;
	struct lab lab;
	struct bench *b;
	pid_t pid;
	bool low;

	skip_if_sanitized();
	no_lab = lab_open(&lab, "no-alloc");
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "a", LAB_LIMIT);
	options.cgroup = lab_path(&lab, "a");
	b = run_with(state, &options);
	pid = lab_press(&lab, "a");
	count_malloc_start();
	low = AWAIT_FOR(&b->ear, last_is(&b->ear, PSB_LOW), PATIENCE_SEC * USEC_PER_SEC);
	lab_kill(pid);
	if (low) {
		AWAIT(&b->ear, last_is(&b->ear, PSB_HIGH));
		AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	}
	count_malloc_stop();
	assert_int_equal(psb_watch_stats(b->watch, &stats), 0);
	bench_free(b);
	lab_close(&lab);
	if (!low)
		SKIP("this machine's disk and memory make no pressure");
	assert_true(stats.alarms > 0);
	assert_true(stats.samples > 3);
	assert_true(stats.low > 0);
	assert_true(stats.high > 0);
}
