/* SPDX-License-Identifier: MIT */
/*
 * test-no-alloc.c - once armed, watching allocates nothing: the library must work best when memory
 * is worst
 *
 * malloc and its kin are counted (count-malloc.h), from when the loop has run and each callback was
 * called once until something ends. In between there are alarms, samples, notifications and
 * callbacks. (psb_watch_simulate() allocates, on the caller's thread.)
 */
#include "pattern-bench.h"
#include "records-daemon.h"
#include "../../pressure.h"
#include "../count-malloc.h"

#include <signal.h>

static void skip_if_sanitized(void)
{
	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
}

/* A bridge that runs, with a callback on a thread of its own and one inline, each called once. */
static struct bench *run_with(void **state, const struct psb_watch_options *options)
{
	struct bench *b = bench_with(state, options, PSB_TELL_PRESENT);

	listen_with(b, &b->fence, PSB_TELL_PRESENT | PSB_INLINE);
	AWAIT(&b->rx, b->rx.calls == 1);
	AWAIT(&b->fence, b->fence.calls == 1);
	return b;
}

/* A hundred Lows through a descriptor, and their end. */
static void speak_through(struct bench *b, int fd)
{
	count_malloc_start();
	for (int i = 0; i < 100; i++)
		assert_int_equal(write(fd, "x", 1), 1);
	AWAIT(&b->rx, last_is(&b->rx, PSB_LOW));
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
}

PROMISE(a_fifo_is_heard_without_an_allocation)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct bench *b;

	skip_if_sanitized();
	options.rearm_usec = 1;
	b = run_with(state, &options);
	b->peer = open_fifo("fifo");
	speak_through(b, b->peer);
}

PROMISE(a_socket_is_heard_without_an_allocation)
{
	struct psb_watch_options options = quick_options(in_directory("socket"));
	struct bench *b;
	int listener;

	skip_if_sanitized();
	options.rearm_usec = 1;
	listener = listen_at(options.source);
	b = run_with(state, &options);
	b->listener = listener;
	b->peer = accept_soon(listener);
	speak_through(b, b->peer);
}

PROMISE(psibridgeds_records_are_heard_without_an_allocation)
{
	struct bench *b;

	skip_if_sanitized();
	b = client_new(state, NULL);
	listen_with(b, &b->fence, PSB_INLINE | PSB_TELL_PRESENT);
	AWAIT(&b->fence, b->fence.calls == 1);
	say_kind(b->peer, WIRE_LEVEL, PSB_LOW, false); /* the first call of each */
	AWAIT(&b->rx, b->rx.calls == 1 && b->rx.inside == 0);
	AWAIT(&b->fence, b->fence.calls == 2);
	count_malloc_start();
	for (int i = 0; i < 99; i++)
		say_kind(b->peer, WIRE_LEVEL, (enum psb_available)(PSB_LOW + i % 3), false);
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH) && b->fence.calls >= 2 + 98);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	count_malloc_stop();
}

/* Also where its taker comes late, and entries are overtaken. */
PROMISE(a_mailbox_is_filled_and_emptied_without_an_allocation)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *mailbox;
	struct bench *b;
	int fd;

	skip_if_sanitized();
	options.rearm_usec = 1;
	b = run_with(state, &options);
	assert_int_equal(psb_mailbox_new(b->watch, PSB_TELL_PRESENT, &mailbox), 0);
	assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
	fd = open_fifo("fifo");
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
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
	close(fd);
	psb_mailbox_free(mailbox);
}

/* A member comes with its Low, and goes with its High: only what is allocated meanwhile counts. */
PROMISE(a_cgroup_of_a_pattern_is_told_on_without_an_allocation)
{
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *mailbox;
	struct bench *b;

	skip_if_sanitized();
	b = hear_all(state, 2, USEC_PER_SEC / 2);
	assert_int_equal(psb_mailbox_new(b->watch, 0, &mailbox), 0);
	for (unsigned i = 0; i < 2; i++) {
		simulate_at(b, numbered(i), PSB_LOW, 0);
		assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
		assert_int_equal(n.available, PSB_LOW);
	}
	AWAIT(&b->rx, b->rx.calls == 2 && b->rx.inside == 0);
	count_malloc_start();
	for (unsigned high = 0; high < 2; high += n.available == PSB_HIGH)
		assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_SEC * USEC_PER_SEC, &n), 1);
	AWAIT(&b->rx, b->rx.calls == 6);
	atomic_store(&count_malloc_on, false);
	assert_int_equal(atomic_load(&count_malloc_allocations), 0);
	assert_int_equal(stats_of(b).superseded, 0);
	psb_mailbox_free(mailbox);
}

/* ---- real pressure ------------------------------------------------------------------------- */

static struct lab lab;

static void end_lab(void)
{
	lab_kill_all();
	lab_close(&lab);
}

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
	const char *no_lab;
	struct bench *b;
	pid_t pid;

	skip_if_sanitized();
	no_lab = lab_open(&lab, "no-alloc");
	if (no_lab)
		SKIP(no_lab);
	end_more = end_lab;
	lab_make(&lab, "a", LAB_LIMIT);
	options.cgroup = lab_path(&lab, "a");
	b = run_with(state, &options);
	pid = lab_press(&lab, "a");
	count_malloc_start();
	if (!AWAIT_FOR(&b->rx, last_is(&b->rx, PSB_LOW), PATIENCE_SEC * USEC_PER_SEC))
		SKIP("this machine's disk and memory make no pressure");
	lab_kill(pid);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	AWAIT(&b->fence, last_is(&b->fence, PSB_HIGH));
	count_malloc_stop();
	assert_true(stats_of(b).alarms > 0);
	assert_true(stats_of(b).samples > 3);
	assert_true(stats_of(b).low > 0);
	assert_true(stats_of(b).high > 0);
}
