/* SPDX-License-Identifier: MIT */
/*
 * test-members.c - who of a pattern is under observation (psb_watch_list()), and what becomes of a
 * pattern whose fixed part goes and comes again
 */
#include "pattern-bench.h"
#include "../../threads.h"

/* ---- who is under observation -------------------------------------------------------------------- */

#define LISTED_MAX 64

struct list {
	struct bench *bench;
	unsigned count;
	struct psb_notification present[LISTED_MAX];
	char cgroup[LISTED_MAX][64];
	void (*act)(struct list *list, const struct psb_notification *present);
};

static void note_member(const struct psb_notification *present, void *userdata)
{
	struct list *list = userdata;

	assert_true(list->count < LISTED_MAX);
	assert_int_equal(present->size, sizeof(*present));
	assert_int_equal(present->kind, PSB_KIND_LEVEL);
	assert_int_equal(present->reason, PSB_REASON_PRESENT);
	list->present[list->count] = *present;
	snprintf(list->cgroup[list->count++], sizeof(list->cgroup[0]), "%s", present->cgroup);
	if (list->act)
		list->act(list, present);
	/* still valid, whatever was done */
	assert_string_equal(list->cgroup[list->count - 1], present->cgroup);
}

static const struct psb_notification *find(const struct list *list, const char *path)
{
	const struct psb_notification *n = NULL;

	for (unsigned i = 0; i < list->count; i++)
		if (strcmp(list->cgroup[i], path) == 0) {
			assert_null(n); /* each once */
			n = &list->present[i];
		}
	return n;
}

static void list_all(struct bench *b, struct list *list)
{
	list->bench = b;
	list->count = 0;
	assert_int_equal(psb_watch_list(b->watch, note_member, list), 0);
}

/* Dispatch a foreign bridge until `condition`. */
#define DISPATCH_UNTIL(b, condition)                                \
	AWAIT_SEEN(({                                               \
		assert_true(psb_bridge_dispatch((b)->bridge) >= 0); \
		condition;                                          \
	}))

PROMISE(the_list_names_each_cgroup_that_is_not_at_rest_once)
{
	struct list list = { 0 };
	struct bench *b;
	uint64_t samples;

	b = watch_all(state, MANY, LONG_USEC);
	assert_true(psb_bridge_fd(b->bridge) >= 0);
	list_all(b, &list); /* nobody has dispatched yet */
	assert_int_equal(list.count, 0);
	for (unsigned i = 0; i < MANY; i += 2)
		simulate_at(b, numbered(i), i % 4 ? PSB_LOW : PSB_NEUTRAL, i % 3 ? PSB_UNTOLD : 0);
	DISPATCH_UNTIL(b, stats_of(b).members == MANY / 2);
	samples = stats_of(b).samples;
	list_all(b, &list);
	assert_int_equal(list.count, MANY / 2);
	for (unsigned i = 0; i < MANY; i++) {
		const struct psb_notification *n = find(&list, numbered(i));

		if (i % 2) {
			assert_null(n);
			continue;
		}
		assert_non_null(n);
		assert_int_equal(n->available, i % 4 ? PSB_LOW : PSB_NEUTRAL);
		assert_int_equal(n->critical, 0);
		assert_true(n->time_usec > 0);
	}
	assert_int_equal(stats_of(b).samples, samples); /* nothing was read for it */
}

static void *list_elsewhere(void *arg)
{
	struct bench *b = arg;
	struct list list = { .bench = b };

	note_done(&b->fence, psb_watch_list(b->watch, note_member, &list));
	return NULL;
}

static int list_on_a_thread(struct bench *b)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, list_elsewhere, b), 0);
	pthread_join(thread, NULL);
	return READ(&b->fence, result);
}

static void list_others(struct receiver *rx, const struct psb_notification *n)
{
	struct list list = { 0 };
	int r = psb_watch_list(rx->watch, note_member, &list);

	note_done(rx, r < 0 ? r : list.count == 1 && strcmp(list.cgroup[0], n->cgroup) != 0);
}

static void list_inside(struct receiver *rx, const struct psb_notification *n)
{
	struct list list = { 0 };
	int r = psb_watch_list(rx->watch, note_member, &list);

	if (r == 0)
		r = list.count == 1 && strcmp(list.cgroup[0], n->cgroup) == 0 &&
		    list.present[0].available == n->available &&
		    list.present[0].some_total_usec == n->some_total_usec &&
		    list.present[0].current_bytes == n->current_bytes;
	note_done(rx, r);
}

/* It leaves, but is not freed yet. */
PROMISE(who_leaves_is_listed_no_more)
{
	struct bench *b;

	b = hear_all(state, 2, 2 * USEC_PER_SEC); /* a sample is taken meanwhile */
	simulate_at(b, numbered(0), PSB_NEUTRAL, PSB_UNTOLD);
	simulate_at(b, numbered(1), PSB_LOW, PSB_UNTOLD);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_LOW);
	b->fence.act = list_others;
	listen_with(b, &b->fence, PSB_INLINE);
	assert_int_equal(rmdir(in_mount(numbered(0))), 0);
	AWAIT(&b->fence, b->fence.done == 1);
	assert_int_equal(received(&b->fence, 0).kind, PSB_KIND_GONE);
	assert_int_equal(READ(&b->fence, result), 1);
}

PROMISE(the_list_is_for_the_thread_that_dispatches)
{
	struct list list = { 0 };
	struct bench *b = watch_all(state, 1, LONG_USEC);

	assert_int_equal(psb_watch_list(NULL, note_member, NULL), -EINVAL);
	assert_int_equal(psb_watch_list(b->watch, NULL, NULL), -EINVAL);
	assert_int_equal(list_on_a_thread(b), 0); /* nobody dispatches yet */
	assert_int_equal(psb_bridge_start(b->bridge), 0);
	assert_int_equal(psb_watch_list(b->watch, note_member, &list), -EXDEV);
	b->rx.act = list_inside;
	listen_with(b, &b->rx, PSB_INLINE);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT(&b->rx, b->rx.done == 1);
	assert_int_equal(READ(&b->rx, result), 1);
	bench_free(b);
	fell();

	b = watch_all(state, 1, LONG_USEC);
	assert_true(psb_bridge_dispatch(b->bridge) >= 0);
	assert_int_equal(list_on_a_thread(b), -EXDEV);
	assert_int_equal(psb_watch_list(b->watch, note_member, &list), 0);
}

/* Ends this one and, if it is the first, all those that the list comes to later but one. */
static void end_while_listing(struct list *list, const struct psb_notification *present)
{
	struct bench *b = list->bench;

	if (list->count > 1)
		return;
	for (unsigned i = 0; i < 5; i++)
		if (i != 2)
			simulate_at(b, numbered(i), PSB_HIGH, PSB_UNTOLD);
	(void)present;
	DISPATCH_UNTIL(b, stats_of(b).members == 1);
}

PROMISE(who_is_told_the_list_may_dispatch)
{
	struct list list = { .act = end_while_listing };
	struct bench *b = watch_all(state, 5, LONG_USEC);

	for (unsigned i = 0; i < 5; i++)
		simulate_at(b, numbered(i), PSB_LOW, PSB_UNTOLD);
	DISPATCH_UNTIL(b, stats_of(b).members == 5);
	list_all(b, &list);
	assert_int_equal(list.count, 2);
	assert_non_null(find(&list, numbered(2)));
}

PROMISE(a_single_cgroup_is_a_list_of_one)
{
	struct list list = { 0 };
	psb_bridge *bridge = make_bridge(*state);
	struct bench b = { .bridge = bridge, .watch = watch_fifo(bridge, LONG_USEC) };

	list_all(&b, &list);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.present[0].available, PSB_HIGH);
	say(&b, PSB_LOW);
	DISPATCH_UNTIL(&b, psb_watch_available(b.watch, NULL) == PSB_LOW);
	list_all(&b, &list);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.present[0].available, PSB_LOW);
	assert_string_equal(list.cgroup[0], source_of(b.watch).cgroup);
	psb_watch_unref(b.watch);
	psb_bridge_unref(bridge);
}

/* ---- the trunk ------------------------------------------------------------------------------------ */

PROMISE(a_fixed_part_that_returns_is_found_at_once_and_waiting_costs_nothing)
{
	uint64_t samples = 0, born;
	pid_t loop = 0;
	bool quiet = false;
	struct bench *b = hear_all(state, 1, LONG_USEC);

	AWAIT_SEEN(stats_of(b).samples > 0);
	fell();
	AWAIT(&log_rx, waits_for_one > 0);
	loop = thread_named(0, "psb-loop", 0);
	/* some of these may see the end of the old trunk, a lock that was waited for, or a neighbour's cgroup that ends */
	for (unsigned i = 0; i < 20 && !quiet; i++) {
		uint64_t switches = thread_switches(loop);

		samples = stats_of(b).samples;
		usleep(500000);
		quiet = thread_switches(loop) == switches;
	}
	assert_true(quiet);
	assert_int_equal(stats_of(b).samples, samples);
	assert_int_equal(mkdir(in_mount(trunk), 0755), 0);
	assert_int_equal(mkdir(in_mount(numbered(0)), 0755), 0);
	born = clock_usec(CLOCK_MONOTONIC);
	AWAIT_SEEN(stats_of(b).samples > samples); /* planted: its first look is a sample */
	assert_true(clock_usec(CLOCK_MONOTONIC) - born < 500 * USEC_PER_MSEC);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
}

PROMISE(a_watch_may_end_while_it_waits_for_its_fixed_part)
{
	for (unsigned bridge_first = 0; bridge_first < 2; bridge_first++) {
		struct bench *b;

		b = hear_all(state, 1, LONG_USEC);
		fell();
		AWAIT(&log_rx, waits_for_one > 0);
		/* it may be found while it ends, too */
		if (bridge_first)
			assert_int_equal(mkdir(in_mount(trunk), 0755), 0);
		bench_free(b);
		fell();
	}
}
