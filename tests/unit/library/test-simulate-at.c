/* SPDX-License-Identifier: MIT */
/*
 * test-simulate-at.c - psb_watch_simulate_at(): levels for single cgroups of a pattern, and levels
 * that somebody else told
 */
#include "pattern-bench.h"

#include <sys/resource.h>

/* ---- cgroups of a pattern ------------------------------------------------------------------------- */

INLINE_TOO(a_simulated_level_is_told_of_its_cgroup_and_ends_as_usual)
{
	struct bench *b = hear_all(state, 2, QUIET_USEC);

	assert_int_equal(psb_watch_simulate_at(b->watch, numbered(1), PSB_LOW, 1, 0), 0);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	assert_int_equal(READ(&b->rx, calls), 3);
	assert_int_equal(received(&b->rx, 0).available, PSB_LOW);
	assert_int_equal(received(&b->rx, 0).critical, 1);
	assert_int_equal(received(&b->rx, 0).reason, PSB_REASON_SIMULATED);
	assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
	AWAIT(&b->rx, b->rx.inside == 0);
	assert_string_equal(b->rx.cgroup, numbered(1));
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);
}

PROMISE(simulations_of_one_cgroup_make_one_member)
{
	struct bench *b = hear_all(state, 2, LONG_USEC);

	simulate_at(b, numbered(0), PSB_NEUTRAL, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	simulate_at(b, in_mount(numbered(0)), PSB_LOW, 0); /* the mount may stand in front */
	AWAIT(&b->rx, b->rx.calls == 2);
	assert_int_equal(stats_of(b).members, 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0);
	AWAIT(&b->rx, b->rx.calls == 3);
	assert_int_equal(stats_of(b).members, 2);
	simulate_at(b, numbered(0), PSB_HIGH, 0);
	AWAIT(&b->rx, b->rx.calls == 4);
	AWAIT_SEEN(stats_of(b).members == 1);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_NEUTRAL);
}

/* Nobody was told otherwise. */
PROMISE(high_is_no_news_of_a_cgroup_at_rest)
{
	struct bench *b = hear_all(state, 2, LONG_USEC);

	simulate_at(b, numbered(0), PSB_HIGH, 0);
	simulate_at(b, numbered(0), PSB_HIGH, PSB_UNTOLD);
	simulate_at(b, numbered(1), PSB_LOW, 0); /* later, and told */
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).available, PSB_LOW);
	assert_int_equal(stats_of(b).members, 1);
}

INLINE_TOO(an_untold_low_is_not_told_but_its_end_is)
{
	uint64_t begin;
	struct bench *b;
	int critical;

	b = hear_all(state, 1, QUIET_USEC);
	begin = clock_usec(CLOCK_MONOTONIC);
	assert_int_equal(psb_watch_simulate_at(b->watch, numbered(0), PSB_LOW, 1, PSB_UNTOLD), 0);
	AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
	assert_int_equal(critical, 1);
	AWAIT(&b->rx, last_is(&b->rx, PSB_HIGH));
	assert_int_equal(READ(&b->rx, calls), 2);
	assert_received(b, 0, PSB_NEUTRAL, PSB_REASON_CALM);
	assert_true(received(&b->rx, 0).time_usec >= begin + QUIET_USEC); /* it runs from there */
	assert_true(received(&b->rx, 1).time_usec >= begin + 2 * QUIET_USEC);
	assert_int_equal(stats_of(b).low, 0);
	AWAIT_SEEN(stats_of(b).members == 0);
}

/* Whoever was told Low must not wait for an end that nobody looks out for. */
INLINE_TOO(an_untold_low_that_cannot_be_taken_over_ends_at_once)
{
	struct rlimit before, none;
	struct bench *b;
	unsigned calls;

	b = hear_all(state, 1, LONG_USEC);
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
	assert_int_equal(READ(&b->rx, calls), calls + 1);
	assert_int_equal(received(&b->rx, calls).available, PSB_HIGH);
	AWAIT(&b->rx, b->rx.inside == 0);
	assert_string_equal(b->rx.cgroup, numbered(0));
	assert_int_equal(READ(&log_rx, done), 1);
}

PROMISE(an_untold_high_ends_a_low_in_silence)
{
	struct bench *b = hear_all(state, 2, LONG_USEC);

	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	simulate_at(b, numbered(0), PSB_HIGH, PSB_UNTOLD);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_HIGH);
	simulate_at(b, numbered(1), PSB_LOW, 0); /* later, and told */
	AWAIT(&b->rx, b->rx.calls == 2);
	assert_int_equal(received(&b->rx, 1).available, PSB_LOW);
}

PROMISE(of_a_cgroup_that_is_gone_nothing_is_told_but_a_line_is_logged)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate_at(b, cgroup("vanished"), PSB_LOW, 0);
	simulate_at(b, cgroup("vanished"), PSB_LOW, PSB_UNTOLD);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	AWAIT(&b->rx, b->rx.inside == 0);
	assert_string_equal(b->rx.cgroup, numbered(0));
	assert_int_equal(READ(&log_rx, done), 2);
	assert_int_equal(stats_of(b).members, 1);
}

/* Somebody told it that memory is short, so it must hear of the end. */
PROMISE(who_was_taken_over_hears_that_its_cgroup_was_removed)
{
	struct bench *b;

	b = hear_all(state, 1, 2 * USEC_PER_SEC); /* a sample is taken meanwhile */
	simulate_at(b, numbered(0), PSB_LOW, PSB_UNTOLD);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_LOW);
	assert_int_equal(rmdir(in_mount(numbered(0))), 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(received(&b->rx, 0).kind, PSB_KIND_GONE);
	assert_int_equal(received(&b->rx, 0).available, PSB_NEUTRAL);
	AWAIT_SEEN(stats_of(b).members == 0);
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
	AWAIT(&b->rx, b->rx.calls >= 2 && last_is(&b->rx, PSB_LOW));
	AWAIT_SEEN(stats_of(b).members == 1);
	AWAIT(&b->rx, last_is(&b->rx, PSB_LOW)); /* the old one's end came before, or not at all */
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_LOW);
}

PROMISE(what_makes_no_sense_is_refused)
{
	struct bench *b, *one;

	b = hear_all(state, 1, LONG_USEC);

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
	bench_free(one);
	assert_int_equal(READ(&b->rx, calls), 0);
}

/* ---- single cgroups ------------------------------------------------------------------------------ */

/* Quiet is short, Calm takes for ever. */
static struct bench *hear_quickly(void **state)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));

	options.calm_usec = LONG_USEC;
	return bench_with(state, &options, 0);
}

/* Also by those that were told the same before: since then it was Low, as they know. */
INLINE_TOO(the_end_of_an_untold_low_is_heard_by_everybody)
{
	struct bench *b = hear_quickly(state);
	int critical;

	say(b, PSB_NEUTRAL);
	AWAIT(&b->rx, b->rx.calls == 1 && b->rx.inside == 0);
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 1, PSB_UNTOLD), 0);
	AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
	assert_int_equal(critical, 1);
	AWAIT(&b->rx, b->rx.calls == 2);
	assert_received(b, 1, PSB_NEUTRAL, PSB_REASON_CALM);
}

/* Else the end of the Low would seem to be known already. */
PROMISE(a_call_that_runs_meanwhile_counts_as_told_before)
{
	struct bench *b = hear_quickly(state);

	hold_receiver(&b->rx, true);
	say(b, PSB_NEUTRAL);
	AWAIT(&b->rx, b->rx.inside == 1);
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_LOW, 0, PSB_UNTOLD), 0);
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_LOW);
	hold_receiver(&b->rx, false);
	AWAIT(&b->rx, b->rx.calls == 2);
	assert_int_equal(received(&b->rx, 1).available, PSB_NEUTRAL);
}

BENCH(a_single_cgroup_may_be_named_or_not)
{
	char path[512];

	listen_with(b, &b->rx, b->variant->flags);
	snprintf(path, sizeof(path), "%s", source_of(b->watch).cgroup);
	assert_int_equal(psb_watch_simulate_at(b->watch, path, PSB_LOW, 0, 0), 0);
	AWAIT(&b->rx, b->rx.calls == 1);
	assert_int_equal(psb_watch_simulate_at(b->watch, NULL, PSB_NEUTRAL, 0, 0), 0);
	AWAIT(&b->rx, b->rx.calls == 2);
}
