/* SPDX-License-Identifier: MIT */
/*
 * test-policy.c - the level policy as scripts: which level, when (src/core/policy.h)
 */
#include "../unit.h"
#include "policy-script.h"

/* ---- the way up ------------------------------------------------------------------------------ */

PROMISE(at_rest_nothing_wakes_us)
{
	struct policy p;

	PLAY(&defaults, { "an early sample changes nothing", SEC(1), LISTEN },
	     { "nor does a safety sample", SEC(10), LISTEN },
	     { "nor one with growth under early", MS(1900), .stall = 19999, LISTEN },
	     { "nor hours", 5 * HOUR, STALL(300), LISTEN });
	policy_init(&p, &defaults);
	assert_int_equal(p.level, LEVEL_HIGH);
}

PROMISE(stall_over_low_is_low)
{
	PLAY(&defaults, TO_LOW);
	PLAY(&defaults, TO_NEUTRAL, { "199.999 ms", MS(500), .stall = 179999, AT(MS(20)) },
	     { "one more", MS(20), .stall = 1, TOLD(LOW, STALL), AT(MS(250)) });
	PLAY(&defaults, TO_NEUTRAL,
	     { "an alarm on the way", MS(300), ALARM, STALL(180), TOLD(LOW, STALL), AT(MS(250)) });
	PLAY(&defaults, { "memory.events rings, and it is Low", SEC(1), EVENTS, STALL(200),
			  TOLD(LOW, STALL), AT(MS(250)) });
}

PROMISE(the_turn_to_critical_is_told_at_once_and_once)
{
	PLAY(&defaults, TO_LOW,
	     { "99.999 ms of full", MS(100), STALL(100), .full = 99999, AT(MS(20)) },
	     { "one more: 120 ms after Low", MS(20), .full = 1, TOLD(CRITICAL, STALL),
	       AT(MS(250)) },
	     { "and more of it is no news", MS(250), STALL(250), FULL(250), AT(MS(250)) },
	     { "under critical, still low", .run = SEC(3), .stall = SEC(1) },
	     { "critical again within rearm is no news", MS(250), STALL(250), FULL(250), ANY });
}

PROMISE(low_comes_so_long_before_the_limit_is_reached)
{
	struct policy_options o = defaults;

	PLAY(&o, { "without the setting it is nothing", SEC(1), LEFT(1), LISTEN });
	o.forecast_usec = FORECAST_OFF;
	PLAY(&o, { "nor when it is off", SEC(1), LEFT(1), LISTEN });
	o.forecast_usec = SEC(2);
	PLAY(&o, { "not yet", SEC(1), .left = SEC(2) + 1, LISTEN },
	     { "now", MS(100), .left = SEC(2), TOLD(LOW, FORECAST), AT(MS(250)) },
	     { "once", MS(250), LEFT(100), AT(MS(250)) },
	     { "and while that goes on", .run = MS(7941), LEFT(100) },
	     { "again after rearm", MS(1), LEFT(100), TOLD(LOW, FORECAST), AT(MS(250)) },
	     { "it ends like any Low", .run = SEC(5), TOLD(NEUTRAL, CALM),
	       BETWEEN(SEC(4), MS(4250)) },
	     { "within rearm of it Low is not foretold", MS(1), LEFT(1), ANY },
	     { "but stalls are Low", MS(100), STALL(200), TOLD(LOW, STALL), ANY });
	PLAY(&o, TO_NEUTRAL, { "from Neutral", SEC(1), LEFT(900), TOLD(LOW, FORECAST), ANY },
	     { "and critical is told at once", MS(300), STALL(200), FULL(100),
	       TOLD(CRITICAL, STALL), ANY });
	PLAY(&o,
	     { "a stall goes before", SEC(1), ALARM, STALL(200), LEFT(1), TOLD(LOW, STALL), ANY });
	PLAY(&o,
	     { "Low goes before Neutral", SEC(1), ALARM, STALL(20), LEFT(1), TOLD(LOW, FORECAST),
	       ANY },
	     { "Neutral", .run = SEC(5), TOLD(NEUTRAL, CALM), BETWEEN(SEC(4), MS(4250)) },
	     { "High", .run = SEC(8), TOLD(HIGH, CALM), BETWEEN(SEC(5), SEC(7)) },
	     { "the limit is near again", SEC(1), LEFT(1), TOLD(LOW, FORECAST), ANY });
}

PROMISE(the_nearest_of_three_thresholds_sets_the_pace_of_a_probe)
{
	struct policy_options o = defaults;

	o.early = (struct trigger){ PSI_SOME, MS(500), SEC(10) };
	o.critical = (struct trigger){ PSI_FULL, MS(500), SEC(10) };
	o.low = (struct trigger){ PSI_SOME, MS(20), MS(100) };
	PLAY(&o, { "an alarm", SEC(1), ALARM, ASKED, AT(MS(20)) },
	     { "low: a quarter of its window", DUE, AT(MS(25)) }, { "and so on", DUE, AT(MS(25)) });
	o.low = o.early;
	o.critical = (struct trigger){ PSI_FULL, MS(20), MS(100) };
	PLAY(&o, { "an alarm", SEC(1), ALARM, ASKED, AT(MS(20)) },
	     { "critical: the same", DUE, AT(MS(25)) }, { "and so on", DUE, AT(MS(25)) });
}

PROMISE(a_stall_that_begins_is_seen_at_the_next_look)
{
	/* where a threshold is near the next look is soon, where it is far a quarter of the window away */
	PLAY(&defaults, { "nothing grew", SEC(1), ALARM, ASKED, AT(MS(20)) },
	     { "20", DUE, AT(MS(40)) }, { "40", DUE, AT(MS(80)) }, { "80", DUE, AT(MS(160)) },
	     { "160: then as long as 20 ms of stall take", DUE, AT(MS(320)) },
	     { "and no longer", DUE, AT(MS(320)) },
	     { "10 ms at a tenth: 10 ms more take 50", MS(100), STALL(10), WITHIN(MS(50), 51200) },
	     { "at a half: 10 ms are there before we can look", MS(19), .stall = 9500,
	       AT(MS(20)) });
	PLAY(&defaults, TO_NEUTRAL,
	     { "140 ms to go at a quarter: 280", MS(160), STALL(40), AT(MS(280)) },
	     { "100 ms to go at a half: 100", MS(80), STALL(40), AT(MS(100)) },
	     { "full: critical is nearer", MS(100), STALL(40), FULL(50), AT(MS(50)) });
	/* soon for a second after whatever was told, also where no alarm rang */
	PLAY(&defaults, { "Low at a safety sample", MS(500), STALL(200), TOLD(LOW, STALL), ANY },
	     { "critical is 1 ms away", MS(100), STALL(99), FULL(99), AT(MS(20)) });
	PLAY(&defaults, TO_LOW,
	     { "critical is 50 ms away at full stall", MS(50), STALL(50), FULL(50), AT(MS(50)) });
}

/* ---- whose it is ------------------------------------------------------------------------------ */

#define BELOW .cause = CAUSE_DESCENDANT

PROMISE(what_only_a_limit_below_caused_is_neutral_once)
{
	PLAY(&defaults,
	     { "over low", SEC(1), ALARM, STALL(200), BELOW, TOLD(NEUTRAL, STALL), AT(MS(500)) },
	     { "and over critical: no news", .run = SEC(60), .stall = SEC(40), .full = SEC(40),
	       BELOW },
	     { "it is ours, too", MS(500), STALL(300), TOLD(CRITICAL, STALL), AT(MS(250)) },
	     { "once Low it is not asked again", .run = MS(8192), .stall = SEC(6), BELOW,
	       TOLD(LOW, REPEAT), BETWEEN(MS(8192), MS(8192)) });
	PLAY(&defaults, TO_NEUTRAL, { "more of it", SEC(1), STALL(300), BELOW, AT(MS(500)) },
	     { "no stall", .run = SEC(20), BELOW, TOLD(HIGH, CALM), BETWEEN(SEC(11), MS(12500)) });
}

PROMISE(what_is_killed_below_its_own_limit_is_neutral_and_ours_is_critical)
{
	PLAY(&defaults,
	     { "a limit below", SEC(1), EVENTS, .oom = 1, BELOW, TOLD(NEUTRAL, OOM), AT(MS(500)) },
	     { "another there", MS(500), .oom = 1, BELOW, AT(MS(500)) },
	     { "one of ours", MS(500), .oom = 1, TOLD(CRITICAL, OOM), AT(MS(250)) });
}

PROMISE(a_limit_below_counts_where_it_is_asked_for)
{
	struct policy_options o = defaults;

	o.descendants = DESCENDANTS_COUNT;
	PLAY(&o, { "over low", SEC(1), ALARM, STALL(200), BELOW, TOLD(LOW, STALL), AT(MS(250)) });
	PLAY(&defaults, { "simulated", SEC(1), SIGNAL, .signal = LOW, .by = REASON_SIMULATED, BELOW,
			  TOLD(LOW, SIMULATED), AT(MS(250)) });
}

/* ---- Low, again and over --------------------------------------------------------------------- */

PROMISE(low_is_repeated_after_rearm_and_not_before)
{
	PLAY(&defaults, TO_LOW, { "half of the time, 8.191 s", .run = MS(8191), STALL(4096) },
	     { "8.192 s", DUE, .stall = 500, TOLD(LOW, REPEAT), AT(MS(250)) },
	     { "again", .run = MS(8192), STALL(4096), TOLD(LOW, REPEAT),
	       BETWEEN(MS(8192), MS(8192)) });
	PLAY(&defaults, TO_LOW,
	     { "an alarm is no reason to repeat", SEC(1), ALARM, STALL(300), AT(MS(250)) },
	     { "nor is memory.events", SEC(1), EVENTS, STALL(300), AT(MS(250)) },
	     { "critical starts rearm anew", SEC(1), STALL(300), FULL(200), TOLD(CRITICAL, STALL),
	       AT(MS(250)) },
	     { "8.191 s", .run = MS(8191), .stall = SEC(6), .full = SEC(6) },
	     { "8.192 s", DUE, .stall = 700, .full = 700, TOLD(CRITICAL, REPEAT), AT(MS(250)) },
	     { "a repeat without full", .run = MS(8192), .stall = SEC(6), TOLD(LOW, REPEAT),
	       BETWEEN(MS(8192), MS(8192)) },
	     { "after which critical is news again", MS(100), STALL(100), FULL(100),
	       TOLD(CRITICAL, STALL), AT(MS(250)) });
}

PROMISE(low_is_always_followed_by_neutral_or_high)
{
	/* 200 ms in one second: under 100 ms when half of that second is out of the window */
	PLAY(&defaults, TO_LOW,
	     { "no stall", .run = SEC(7), TOLD(NEUTRAL, CALM),
	       BETWEEN(SEC(5) + MS(250), SEC(5) + MS(750)) },
	     { "no stall", .run = SEC(20), TOLD(HIGH, CALM), BETWEEN(SEC(4), SEC(6)) },
	     { "and then nothing", MS(500), LISTEN });
	PLAY(&defaults, TO_LOW, { "3.9 s", .run = MS(4900) },
	     { "a burst", MS(100), STALL(101), ANY },
	     { "starts the quiet time anew: its window, then two", .run = SEC(7),
	       TOLD(NEUTRAL, CALM), BETWEEN(SEC(5) + MS(750), SEC(6) + MS(500)) });
	PLAY(&defaults,
	     { "critical", SEC(1), ALARM, STALL(150), FULL(150), TOLD(CRITICAL, STALL),
	       AT(MS(250)) },
	     { "ends as Low does", .run = SEC(7), TOLD(NEUTRAL, CALM), BETWEEN(MS(4500), SEC(6)) });
}

PROMISE(quiet_is_two_windows_of_low_unless_it_is_given)
{
	struct policy_options o = defaults;
	struct policy p;

	policy_init(&p, &o);
	assert_int_equal(p.options.quiet_usec, SEC(4));
	o.low.window_usec = SEC(10);
	policy_init(&p, &o);
	assert_int_equal(p.options.quiet_usec, SEC(20));
	o.quiet_usec = 1;
	policy_init(&p, &o);
	assert_int_equal(p.options.quiet_usec, 1);
}

/* ---- Low to who gives nothing back ------------------------------------------------------------ */

/* Half of the time it stalls. The next repeats come so many times Rearm after the Low before, and give nothing back, or
 * something. */
static void repeat(struct script *s, const unsigned *factors, size_t n, bool gave)
{
	for (size_t i = 0; i < n; i++) {
		const uint64_t due = s->policy.told_usec + MS(8192) * factors[i] - s->now;
		const uint64_t end = due + POLICY_PACE_STEADY_USEC;
		const struct row again = { "a repeat", .run = end, .stall = end / 2,
					   TOLD(LOW, REPEAT), BETWEEN(due, end) };

		policy_effect(&s->policy, gave);
		follow(s, &again);
	}
}

PROMISE(low_is_repeated_less_and_less_often_to_who_gives_nothing_back)
{
	static const unsigned seldom[] = { 1, 1, 2, 4, 8, 16, 16, 16 }, again[] = { 1, 1, 1 };
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_LOW);
	repeat(&s, seldom, ELEMENTSOF(seldom), false);
	/* anything given back ends it, and the count begins anew */
	repeat(&s, again, ELEMENTSOF(again), true);
	repeat(&s, seldom, 4, false);
	/* known in the middle of the longer Rearm: the repeat is due at once */
	policy_effect(&s.policy, false);
	PLAY_ON(&s, { "twice Rearm of eight times", .run = MS(16384), STALL(8192) });
	policy_effect(&s.policy, true);
	PLAY_ON(&s, { "it gave", DUE, STALL(250), TOLD(LOW, REPEAT), ANY });
}

PROMISE(news_and_what_is_critical_are_told_to_who_gives_nothing_back_as_ever)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_LOW);
	for (int i = 0; i < 9; i++)
		policy_effect(&s.policy, false);
	PLAY_ON(&s,
		{ "a turn to critical", SEC(1), STALL(200), FULL(200), TOLD(CRITICAL, STALL),
		  AT(MS(250)) },
		{ "repeated after Rearm", .run = MS(8192), .stall = SEC(6), .full = SEC(6),
		  TOLD(CRITICAL, REPEAT), BETWEEN(MS(8192), MS(8192)) },
		{ "no more critical", .run = SEC(120), .stall = SEC(60) },
		{ "critical is repeated at once", MS(100), STALL(100), FULL(100),
		  TOLD(CRITICAL, REPEAT), AT(MS(250)) },
		{ "no stall", .run = SEC(7), TOLD(NEUTRAL, CALM), BETWEEN(MS(4500), SEC(6)) },
		{ "Low after Neutral is news", MS(500), STALL(250), TOLD(LOW, STALL), AT(MS(250)) },
		{ "but is repeated late", .run = SEC(120), .stall = SEC(60) });
}

PROMISE(high_ends_what_gave_nothing_back)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_LOW);
	for (int i = 0; i < 9; i++)
		policy_effect(&s.policy, false);
	PLAY_ON(&s,
		{ "no stall", .run = SEC(7), TOLD(NEUTRAL, CALM),
		  BETWEEN(SEC(5) + MS(250), SEC(5) + MS(750)) },
		{ "no stall", .run = SEC(20), TOLD(HIGH, CALM), BETWEEN(SEC(4), SEC(6)) });
	assert_int_equal(s.policy.unanswered, 0);
	/* an effect that is known only now is one of the shortage before */
	policy_effect(&s.policy, false);
	assert_int_equal(s.policy.unanswered, 0);
}

/* ---- Neutral and its end --------------------------------------------------------------------- */

PROMISE(high_comes_back_after_calm_and_with_headroom)
{
	/* under 20 ms as soon as any of that second is out of the window: 1 s after it ended */
	PLAY(&defaults, TO_NEUTRAL,
	     { "no stall", .run = SEC(12), TOLD(HIGH, CALM), BETWEEN(MS(10500), SEC(12)) },
	     { "rest", SEC(1), LISTEN });
	PLAY(&defaults, TO_NEUTRAL,
	     { "0.9 % is under early", .run = SEC(14), STALL(126), TOLD(HIGH, CALM),
	       BETWEEN(SEC(10), SEC(13)) });
	PLAY(&defaults, TO_NEUTRAL, { "2 % is not", .run = SEC(60), STALL(1200) },
	     { "and its end is", .run = SEC(13), TOLD(HIGH, CALM), BETWEEN(SEC(10), SEC(13)) });
	PLAY(&defaults, TO_NEUTRAL, { "9.9 s", .run = MS(9900) },
	     { "a burst", MS(100), STALL(20), ANY },
	     { "starts calm anew", .run = SEC(13), TOLD(HIGH, CALM), BETWEEN(SEC(11), MS(12500)) });
}

PROMISE(without_headroom_neutral_stays_and_looks_less_and_less_often)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_NEUTRAL, { "calm, but short", .run = MS(10600), SHORT });
	for (uint64_t pace = SEC(1); pace <= SEC(64); pace *= 2) {
		const struct row look = { "backing off",	  DUE,	 SHORT, ASKED,
					  AT(MIN(pace, SEC(60))), LISTEN };

		one_step(&s, &look);
	}
	PLAY_ON(&s, { "a minute", DUE, SHORT, ASKED, AT(SEC(60)), LISTEN },
		{ "a look in between is no step of the back-off", SEC(1), ALARM, SHORT, ASKED,
		  AT(SEC(60)), LISTEN },
		{ "headroom is back", DUE, ASKED, TOLD(HIGH, CALM), LISTEN });
}

PROMISE(only_a_tick_is_a_step_of_the_back_off)
{
	PLAY(&defaults, TO_NEUTRAL, { "calm, but short", .run = MS(10600), SHORT },
	     { "1 s", DUE, SHORT, ASKED, AT(SEC(1)), LISTEN },
	     { "2 s", DUE, SHORT, ASKED, AT(SEC(2)), LISTEN },
	     { "an alarm", SEC(1), ALARM, SHORT, ASKED, AT(SEC(2)), LISTEN },
	     { "4 s", DUE, SHORT, ASKED, AT(SEC(4)), LISTEN });
}

PROMISE(the_back_off_begins_anew_after_low)
{
	struct policy_options o = defaults;

	o.calm_usec = SEC(1);
	PLAY(&o, { "short", SEC(1), ALARM, SHORT, ASKED, TOLD(NEUTRAL, HEADROOM), AT(MS(500)) },
	     { "backing off", .run = SEC(40), SHORT },
	     { "oom", MS(1), .oom = 1, TOLD(CRITICAL, OOM), AT(MS(250)) },
	     { "no stall, quiet", .run = MS(3999) },
	     { "and idle at once", MS(1), TOLD(NEUTRAL, CALM), AT(SEC(1)), LISTEN },
	     { "from the shortest step", DUE, SHORT, ASKED, AT(SEC(2)), LISTEN });
}

PROMISE(a_stall_wakes_idle_neutral)
{
	PLAY(&defaults, TO_NEUTRAL, { "idle", .run = SEC(40), SHORT },
	     { "a stall", SEC(1), ALARM, STALL(30), SHORT, AT(MS(180)) },
	     { "and calm", .run = MS(9900), SHORT },
	     { "it begins with a second again", DUE, SHORT, ASKED, AT(SEC(1)), LISTEN });
	PLAY(&defaults, TO_NEUTRAL, { "idle", .run = SEC(40), SHORT },
	     { "a stall under early is not idle", SEC(1), STALL(10), SHORT, ASKED, AT(MS(500)) },
	     { "Low from there", MS(500), STALL(300), TOLD(LOW, STALL), AT(MS(250)) });
}

PROMISE(an_idle_neutral_that_keeps_being_rung_listens_less_and_less)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_NEUTRAL, { "idle", .run = SEC(60), SHORT });
	for (uint64_t hold = MS(100); hold <= MS(12800); hold *= 2) {
		const struct row ring = { "memory.events", MS(1), EVENTS,
					  SHORT,	   ASKED, AT(MIN(hold, SEC(10))) };
		const struct row over = { "the end of the hold",    DUE,   SHORT, ASKED,
					  WITHIN(SEC(16), SEC(60)), LISTEN };

		one_step(&s, &ring);
		one_step(&s, &over);
	}
}

PROMISE(little_headroom_is_neutral_even_without_stalls)
{
	struct script s = { .now = START };

	s.sample = (struct policy_sample){ .some_usec = SEC(700) };
	policy_init(&s.policy, &defaults);
	PLAY_ON(&s, { "at the start", 0, SHORT, ASKED, TOLD(NEUTRAL, HEADROOM), AT(MS(500)) },
		{ "it is back at once: calm counts from there", .run = SEC(11), TOLD(HIGH, CALM),
		  BETWEEN(SEC(10), MS(10500)) });
	PLAY(&defaults, { "memory.events rings", HOUR, EVENTS, SHORT, ASKED,
			  TOLD(NEUTRAL, HEADROOM), AT(MS(500)) });
	PLAY(&defaults, { "the trigger rings", HOUR, ALARM, SHORT, ASKED, TOLD(NEUTRAL, HEADROOM),
			  AT(MS(500)) });
}
