/* SPDX-License-Identifier: MIT */
/*
 * test-members.c - the cgroups of a pattern: which are under observation (psb_watch_list()), levels that are simulated, or were told
 * by another process (psb_watch_simulate_at()), and a fixed part that goes and comes again
 */
#include <sys/resource.h>

#include "pattern-bench.h"
#include "../count-malloc.h"
#include "../../threads.h"

/* ---- which are under observation ------------------------------------------------------------------ */

struct list {
	struct bench *bench;
	unsigned count;
	struct psb_notification present[8];
	char cgroup[8][64];
	void (*act)(struct list *list);
};

static void note_member(const struct psb_notification *present, void *userdata)
{
	struct list *list = userdata;

	assert_true(list->count < ELEMENTSOF(list->present));
	assert_int_equal(present->size, sizeof(*present));
	assert_int_equal(present->kind, PSB_KIND_LEVEL);
	assert_int_equal(present->reason, PSB_REASON_PRESENT);
	list->present[list->count] = *present;
	snprintf(list->cgroup[list->count++], sizeof(list->cgroup[0]), "%s", present->cgroup);
	if (list->act)
		list->act(list);
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
	static const enum psb_available levels[] = { PSB_LOW, PSB_HIGH, PSB_NEUTRAL, PSB_LOW };
	struct bench *b = watch_all(state, 5, LONG_USEC);
	struct list list = { 0 };
	uint64_t samples;

	assert_true(psb_bridge_fd(b->bridge) >= 0);
	list_all(b, &list); /* nobody has dispatched yet */
	assert_int_equal(list.count, 0);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++)
		simulate_at(b, numbered(i), levels[i], i == 3 ? 0 : PSB_UNTOLD);
	DISPATCH_UNTIL(b, stats_of(b).members == 3);
	samples = stats_of(b).samples;
	list_all(b, &list);
	assert_int_equal(list.count, 3);
	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		const struct psb_notification *n = find(&list, numbered(i));

		assert_int_equal(n ? n->available : PSB_HIGH, levels[i]);
		assert_true(!n || (n->time_usec > 0 && n->critical == 0));
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

/* Ends the first that is listed, and all those that come later but one. */
static void end_while_listing(struct list *list)
{
	if (list->count > 1)
		return;
	for (unsigned i = 0; i < 5; i++)
		if (i != 2)
			simulate_at(list->bench, numbered(i), PSB_HIGH, PSB_UNTOLD);
	DISPATCH_UNTIL(list->bench, stats_of(list->bench).members == 1);
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
	static const enum psb_available levels[] = { PSB_HIGH, PSB_LOW };
	struct bench *b = bench_at_rest(state);
	struct list list = { 0 };

	for (unsigned i = 0; i < ELEMENTSOF(levels); i++) {
		say(b, levels[i]);
		DISPATCH_UNTIL(b, psb_watch_available(b->watch, NULL) == levels[i]);
		list_all(b, &list);
		assert_int_equal(list.count, 1);
		assert_int_equal(list.present[0].available, levels[i]);
		assert_string_equal(list.cgroup[0], source_of(b->watch).cgroup);
	}
}

/* ---- levels of single cgroups of a pattern --------------------------------------------------------- */

INLINE_TOO(a_simulated_level_is_told_of_its_cgroup_and_ends_as_usual)
{
	struct bench *b = hear_all(state, 2, QUIET_USEC);

	assert_int_equal(psb_watch_simulate_at(b->watch, numbered(1), PSB_LOW, 1, 0), 0);
	await_told(&b->rx, 0, "CNH");
	assert_received(b, 0, PSB_LOW, PSB_REASON_SIMULATED);
	assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
	assert_string_equal(b->rx.cgroup, numbered(1));
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);
}

PROMISE(simulations_of_one_cgroup_make_one_member)
{
	struct bench *b = hear_all(state, 2, LONG_USEC);

	simulate_at(b, numbered(0), PSB_NEUTRAL, 0);
	await_told(&b->rx, 0, "N");
	simulate_at(b, in_mount(numbered(0)), PSB_LOW, 0); /* the mount may stand in front */
	await_told(&b->rx, 0, "NL");
	assert_int_equal(stats_of(b).members, 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0);
	await_told(&b->rx, 0, "NLN");
	assert_int_equal(stats_of(b).members, 2);
	simulate_at(b, numbered(0), PSB_HIGH, 0);
	await_told(&b->rx, 0, "NLNH");
	AWAIT_SEEN(stats_of(b).members == 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_NEUTRAL);
}

/* What is said last is told, and so shows that nothing before it was. */
PROMISE(high_is_no_news_of_a_cgroup_at_rest_nor_untold_of_one_that_is_low)
{
	struct bench *b = hear_all(state, 2, LONG_USEC);

	simulate_at(b, numbered(0), PSB_HIGH, 0);
	simulate_at(b, numbered(0), PSB_HIGH, PSB_UNTOLD);
	simulate_at(b, numbered(1), PSB_LOW, 0);
	await_told(&b->rx, 0, "L");
	assert_int_equal(stats_of(b).members, 1);
	simulate_at(b, numbered(1), PSB_HIGH, PSB_UNTOLD);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_HIGH);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	await_told(&b->rx, 0, "LL");
}

INLINE_TOO(an_untold_low_is_not_told_but_its_end_is)
{
	struct bench *b = hear_all(state, 1, QUIET_USEC);
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);
	int critical;

	assert_int_equal(psb_watch_simulate_at(b->watch, numbered(0), PSB_LOW, 1, PSB_UNTOLD), 0);
	AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
	assert_int_equal(critical, 1);
	await_told(&b->rx, 0, "NH");
	assert_received(b, 0, PSB_NEUTRAL, PSB_REASON_CALM);
	assert_true(received(&b->rx, 0).time_usec >= begin + QUIET_USEC); /* it runs from there */
	assert_int_equal(stats_of(b).low, 0);
	AWAIT_SEEN(stats_of(b).members == 0);
}

/* Its clients were told Low, and wait for an end that nothing else would bring. */
INLINE_TOO(an_untold_low_that_cannot_be_taken_over_ends_at_once)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);
	struct rlimit before, none;
	unsigned calls;

	simulate_at(b, numbered(0), PSB_LOW, 0); /* it runs */
	simulate_at(b, numbered(0), PSB_HIGH, 0);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	AWAIT_SEEN(stats_of(b).members == 0);
	calls = READ(&b->rx, calls);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	simulate_at(b, numbered(0), PSB_LOW, PSB_UNTOLD);
	AWAIT_FOR(&b->rx, b->rx.calls > calls, PATIENCE_SEC * USEC_PER_SEC);
	setrlimit(RLIMIT_NOFILE, &before);
	await_told(&b->rx, calls, "H");
	assert_string_equal(b->rx.cgroup, numbered(0));
	await_log(b, "no level can be set");
}

PROMISE(of_a_cgroup_that_is_gone_nothing_is_told_but_a_line_is_logged)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate_at(b, cgroup("vanished"), PSB_LOW, 0);
	simulate_at(b, cgroup("vanished"), PSB_LOW, PSB_UNTOLD);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	await_told(&b->rx, 0, "L");
	assert_string_equal(b->rx.cgroup, numbered(0));
	await_log(b, "no level can be set");
	assert_int_equal(stats_of(b).members, 1);
}

static void list_others(struct receiver *rx, const struct psb_notification *n)
{
	struct list list = { 0 };
	int r = psb_watch_list(rx->watch, note_member, &list);

	note_done(rx, r < 0 ? r : list.count == 1 && strcmp(list.cgroup[0], n->cgroup) != 0);
}

/* It leaves, but is not freed yet. A sample, which finds out, is taken before Quiet ends. */
PROMISE(the_end_of_one_that_was_taken_over_is_told_and_it_is_listed_no_more)
{
	struct bench *b = hear_all(state, 2, 2 * USEC_PER_SEC);

	simulate_at(b, numbered(0), PSB_NEUTRAL, PSB_UNTOLD);
	simulate_at(b, numbered(1), PSB_LOW, PSB_UNTOLD);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_LOW);
	b->fence.act = list_others;
	listen_with(b, &b->fence, PSB_INLINE);
	assert_int_equal(rmdir(in_mount(numbered(1))), 0);
	AWAIT(&b->fence, b->fence.done == 1);
	assert_int_equal(received(&b->fence, 0).kind, PSB_KIND_GONE);
	assert_int_equal(received(&b->fence, 0).available, PSB_NEUTRAL);
	assert_int_equal(READ(&b->fence, result), 1);
}

/* The old one was not sampled since. */
PROMISE(a_cgroup_that_was_made_anew_is_another_one)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate_at(b, numbered(0), PSB_NEUTRAL, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(rmdir(in_mount(numbered(0))), 0);
	assert_int_equal(mkdir(in_mount(numbered(0)), 0755), 0);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT_SEEN(stats_of(b).members == 1 && psb_watch_available(b->watch, NULL) == PSB_LOW);
	AWAIT(&b->rx, last_is(&b->rx, PSB_LOW)); /* the old one's end came before, or not at all */
}

PROMISE(what_makes_no_sense_is_refused)
{
	struct bench *b = hear_all(state, 1, LONG_USEC), *one;
	const struct {
		const char *cgroup;
		int available, critical;
	} bad[] = {
		{ NULL, PSB_LOW, 0 },
		{ trunk, PSB_LOW, 0 },
		{ cgroup("c0/below"), PSB_LOW, 0 },
		{ cgroup("../x"), PSB_LOW, 0 },
		{ "/", PSB_LOW, 0 },
		{ "", PSB_LOW, 0 },
		{ numbered(0), 0, 0 },
		{ numbered(0), 4, 0 },
		{ numbered(0), PSB_NEUTRAL, 1 },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(psb_watch_simulate_at(b->watch, bad[i].cgroup,
						       (enum psb_available)bad[i].available,
						       bad[i].critical, 0),
				 -EINVAL);
	assert_int_equal(psb_watch_simulate_at(NULL, numbered(0), PSB_LOW, 0, 0), -EINVAL);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 0), -EOPNOTSUPP);
	assert_int_equal(psb_watch_simulate(b->watch, 0, 0), -EINVAL);
	one = bench_new(state);
	assert_int_equal(psb_watch_simulate_at(one->watch, "/somebody/else", PSB_LOW, 0, 0),
			 -EINVAL);
	assert_int_equal(READ(&b->rx, calls), 0);
}

/* A member comes with its Low, and goes with its High: only what is allocated meanwhile counts. */
PROMISE(it_is_told_on_without_an_allocation)
{
	struct psb_notification n = { .size = sizeof(n) };
	psb_mailbox *mailbox;
	struct bench *b;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
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
	psb_mailbox_free(mailbox);
}

/* ---- levels of a single cgroup --------------------------------------------------------------------- */

/* Quiet is short, Calm takes for ever. */
static struct bench *hear_quickly(void **state)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));

	options.calm_usec = LONG_USEC;
	return bench_with(state, &options, 0);
}

/* Also of a call that runs just then: else the end of the Low would seem to be known already. */
INLINE_TOO(the_end_of_an_untold_low_is_heard_by_those_that_were_told_the_same_before)
{
	for (int runs = 0; runs < (((struct variant *)*state)->flags ? 1 : 2); runs++) {
		struct bench *b = hear_quickly(state);
		int critical;

		hold_receiver(&b->rx, runs);
		say(b, PSB_NEUTRAL);
		AWAIT(&b->rx, b->rx.calls == 1 && (int)b->rx.inside == runs);
		assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 1, PSB_UNTOLD), 0);
		AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
		assert_int_equal(critical, 1);
		hold_receiver(&b->rx, false);
		await_told(&b->rx, 0, "NN");
		assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
		bench_free(b);
	}
}

BENCH(a_single_cgroup_may_be_named_or_not)
{
	char path[512];

	listen_with(b, &b->rx, b->variant->flags);
	snprintf(path, sizeof(path), "%s", source_of(b->watch).cgroup);
	assert_int_equal(psb_watch_simulate_at(b->watch, path, PSB_LOW, 0, 0), 0);
	await_told(&b->rx, 0, "L");
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_NEUTRAL, 0, 0), 0);
	await_told(&b->rx, 0, "LN");
}

/* ---- the trunk ------------------------------------------------------------------------------------ */

PROMISE(a_fixed_part_that_returns_is_found_at_once_and_waiting_costs_nothing)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);
	uint64_t samples = 0, born;
	bool quiet = false;
	pid_t loop;

	AWAIT_SEEN(stats_of(b).samples > 0);
	fell();
	await_log(b, "waiting for the next");
	loop = thread_named(0, "psb-loop", 0);
	/* some of these may see the end of the old trunk, or a lock that was waited for */
	for (unsigned i = 0; i < 20 && !quiet; i++) {
		uint64_t switches = thread_switches(loop);

		samples = stats_of(b).samples;
		usleep(500000);
		quiet = thread_switches(loop) == switches;
	}
	assert_true(quiet);
	assert_int_equal(stats_of(b).samples, samples);
	plant(1);
	born = clock_usec(CLOCK_MONOTONIC);
	AWAIT_SEEN(stats_of(b).samples > samples); /* its first look is a sample */
	assert_true(clock_usec(CLOCK_MONOTONIC) - born < 500 * USEC_PER_MSEC);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
}

PROMISE(a_watch_may_end_while_it_waits_for_its_fixed_part)
{
	for (unsigned found = 0; found < 2; found++) {
		struct bench *b = hear_all(state, 1, LONG_USEC);

		fell();
		await_log(b, "waiting for the next");
		if (found) /* while it ends */
			plant(0);
		bench_free(b);
		fell();
	}
}
