/* SPDX-License-Identifier: MIT */
/*
 * test-policy.c - the level policy as scripts: which level, when (src/core/policy.h)
 *
 * Links policy.o and window.o. What a script is, policy-script.h explains.
 */
#include "../unit.h"
#include "policy-script.h"

/* ---- the way up ------------------------------------------------------------------------------ */

PROMISE(at_rest_nothing_wakes_us)
{
	struct policy p;

	PLAY(&defaults, { "an early sample changes nothing", SEC(1), .listen = true },
	     { "nor does a safety sample", SEC(10), .listen = true },
	     { "nor one with growth under early", MS(1900), .stall = 19999, .listen = true },
	     { "nor hours", 5 * HOUR, .stall = MS(300), .listen = true });
	policy_init(&p, &defaults);
	assert_int_equal(p.level, LEVEL_HIGH);
}

PROMISE(stall_over_early_is_neutral)
{
	PLAY(&defaults, TO_NEUTRAL);
	PLAY(&defaults,
	     { "a microsecond under early", SEC(1), POLICY_ALARM, .stall = 19999, .asked = true,
	       AT(MS(20)) },
	     { "and there it is", DUE, .stall = 1, .told = NEUTRAL, .reason = REASON_STALL,
	       AT(MS(500)) });
	PLAY(&defaults, { "a safety sample sees it too", SEC(1), .stall = MS(20), .told = NEUTRAL,
			  .reason = REASON_STALL, AT(MS(500)) });
	PLAY(&defaults, { "199.999 ms are not Low", SEC(1), POLICY_ALARM, .stall = 199999,
			  .told = NEUTRAL, .reason = REASON_STALL, AT(MS(20)) });
}

PROMISE(stall_over_low_is_low)
{
	PLAY(&defaults, TO_LOW);
	PLAY(&defaults, TO_NEUTRAL, { "199.999 ms", MS(500), .stall = 179999, AT(MS(20)) },
	     { "one more", MS(20), .stall = 1, .told = LOW, .reason = REASON_STALL, AT(MS(250)) });
	PLAY(&defaults, TO_NEUTRAL,
	     { "an alarm on the way", MS(300), POLICY_ALARM, .stall = MS(180), .told = LOW,
	       .reason = REASON_STALL, AT(MS(250)) });
	PLAY(&defaults, { "memory.events rings, and it is Low", SEC(1), POLICY_EVENTS,
			  .stall = MS(200), .told = LOW, .reason = REASON_STALL, AT(MS(250)) });
}

PROMISE(stall_over_critical_is_low_and_critical)
{
	PLAY(&defaults, { "straight from High", SEC(1), POLICY_ALARM, .stall = MS(250),
			  .full = MS(100), .told = CRITICAL, .reason = REASON_STALL, AT(MS(250)) });
	PLAY(&defaults, { "critical implies Low", SEC(1), POLICY_ALARM, .stall = MS(100),
			  .full = MS(100), .told = CRITICAL, .reason = REASON_STALL, AT(MS(250)) });
	PLAY(&defaults, TO_NEUTRAL,
	     { "from Neutral", MS(400), .stall = MS(300), .full = MS(100), .told = CRITICAL,
	       .reason = REASON_STALL, AT(MS(250)) });
	PLAY(&defaults, { "a microsecond under critical", SEC(1), POLICY_ALARM, .stall = MS(200),
			  .full = 99999, .told = LOW, .reason = REASON_STALL, AT(MS(20)) });
}

PROMISE(the_turn_to_critical_is_told_at_once_and_once)
{
	PLAY(&defaults, TO_LOW,
	     { "99.999 ms of full", MS(100), .stall = MS(100), .full = 99999, AT(MS(20)) },
	     { "one more: 120 ms after Low", MS(20), .full = 1, .told = CRITICAL,
	       .reason = REASON_STALL, AT(MS(250)) },
	     { "and more of it is no news", MS(250), .stall = MS(250), .full = MS(250),
	       AT(MS(250)) },
	     { "under critical, still low", .run = SEC(3), .stall = SEC(1) },
	     { "critical again within rearm is no news", MS(250), .stall = MS(250), .full = MS(250),
	       ANY });
}

PROMISE(the_nearest_of_three_thresholds_sets_the_pace_of_a_probe)
{
	struct policy_options o = defaults;

	o.early = (struct trigger){ PSI_SOME, MS(500), SEC(10) };
	o.critical = (struct trigger){ PSI_FULL, MS(500), SEC(10) };
	o.low = (struct trigger){ PSI_SOME, MS(20), MS(100) };
	PLAY(&o, { "an alarm", SEC(1), POLICY_ALARM, .asked = true, AT(MS(20)) },
	     { "low: a quarter of its window", DUE, AT(MS(25)) }, { "and so on", DUE, AT(MS(25)) });
	o.low = o.early;
	o.critical = (struct trigger){ PSI_FULL, MS(20), MS(100) };
	PLAY(&o, { "an alarm", SEC(1), POLICY_ALARM, .asked = true, AT(MS(20)) },
	     { "critical: the same", DUE, AT(MS(25)) }, { "and so on", DUE, AT(MS(25)) });
}

PROMISE(a_stall_that_begins_is_seen_at_the_next_look)
{
	/* where a threshold is near the next look is soon, where it is far a quarter of the window away */
	PLAY(&defaults, { "nothing grew", SEC(1), POLICY_ALARM, .asked = true, AT(MS(20)) },
	     { "20", DUE, AT(MS(40)) }, { "40", DUE, AT(MS(80)) }, { "80", DUE, AT(MS(160)) },
	     { "160: then as long as 20 ms of stall take", DUE, AT(MS(320)) },
	     { "and no longer", DUE, AT(MS(320)) },
	     { "10 ms at a tenth: 10 ms more take 50", MS(100), .stall = MS(10),
	       WITHIN(MS(50), 51200) },
	     { "at a half: 10 ms are there before we can look", MS(19), .stall = 9500,
	       AT(MS(20)) });
	PLAY(&defaults, TO_NEUTRAL,
	     { "140 ms to go at a quarter: 280", MS(160), .stall = MS(40), AT(MS(280)) },
	     { "100 ms to go at a half: 100", MS(80), .stall = MS(40), AT(MS(100)) },
	     { "full: critical is nearer", MS(100), .stall = MS(40), .full = MS(50), AT(MS(50)) });
	PLAY(&defaults, TO_LOW,
	     { "critical is 50 ms away at full stall", MS(50), .stall = MS(50), .full = MS(50),
	       AT(MS(50)) });
}

/* ---- Low, again and over --------------------------------------------------------------------- */

PROMISE(low_is_repeated_after_rearm_and_not_before)
{
	PLAY(&defaults, TO_LOW, { "half of the time, 8.191 s", .run = MS(8191), .stall = MS(4096) },
	     { "8.192 s", DUE, .stall = 500, .told = LOW, .reason = REASON_REPEAT, AT(MS(250)) },
	     { "again", .run = MS(8192), .stall = MS(4096), .told = LOW, .reason = REASON_REPEAT,
	       .from = MS(8192), .to = MS(8192) });
	PLAY(&defaults, TO_LOW,
	     { "an alarm is no reason to repeat", SEC(1), POLICY_ALARM, .stall = MS(300),
	       AT(MS(250)) },
	     { "nor is memory.events", SEC(1), POLICY_EVENTS, .stall = MS(300), AT(MS(250)) },
	     { "critical starts rearm anew", SEC(1), .stall = MS(300), .full = MS(200),
	       .told = CRITICAL, .reason = REASON_STALL, AT(MS(250)) },
	     { "8.191 s", .run = MS(8191), .stall = SEC(6), .full = SEC(6) },
	     { "8.192 s", DUE, .stall = 700, .full = 700, .told = CRITICAL, .reason = REASON_REPEAT,
	       AT(MS(250)) },
	     { "a repeat without full", .run = MS(8192), .stall = SEC(6), .told = LOW,
	       .reason = REASON_REPEAT, .from = MS(8192), .to = MS(8192) },
	     { "after which critical is news again", MS(100), .stall = MS(100), .full = MS(100),
	       .told = CRITICAL, .reason = REASON_STALL, AT(MS(250)) });
}

PROMISE(between_half_of_low_and_low_nothing_is_told)
{
	PLAY(&defaults, TO_LOW, { "7 % for a minute", .run = SEC(60), .stall = MS(4200) },
	     { "low again: the repeat is overdue", SEC(1), .stall = MS(200), .told = LOW,
	       .reason = REASON_REPEAT, AT(MS(250)) });
	PLAY(&defaults, TO_LOW,
	     { "4 % is quiet", .run = SEC(8), .stall = MS(320), .told = NEUTRAL,
	       .reason = REASON_CALM, .from = SEC(4), .to = MS(6300) });
}

PROMISE(low_is_always_followed_by_neutral_or_high)
{
	/* 200 ms in one second: under 100 ms when half of that second is out of the window */
	PLAY(&defaults, TO_LOW,
	     { "no stall", .run = SEC(7), .told = NEUTRAL, .reason = REASON_CALM,
	       .from = SEC(5) + MS(250), .to = SEC(5) + MS(750) },
	     { "no stall", .run = SEC(20), .told = HIGH, .reason = REASON_CALM, .from = SEC(4),
	       .to = SEC(6) },
	     { "and then nothing", MS(500), .listen = true });
	PLAY(&defaults, TO_LOW, { "3.9 s", .run = MS(4900) },
	     { "a burst", MS(100), .stall = MS(101), ANY },
	     { "starts the quiet time anew: its window, then two", .run = SEC(7), .told = NEUTRAL,
	       .reason = REASON_CALM, .from = SEC(5) + MS(750), .to = SEC(6) + MS(500) });
	PLAY(&defaults,
	     { "critical", SEC(1), POLICY_ALARM, .stall = MS(150), .full = MS(150),
	       .told = CRITICAL, .reason = REASON_STALL, AT(MS(250)) },
	     { "ends as Low does", .run = SEC(7), .told = NEUTRAL, .reason = REASON_CALM,
	       .from = MS(4500), .to = SEC(6) });
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

/* ---- Neutral and its end --------------------------------------------------------------------- */

PROMISE(high_comes_back_after_calm_and_with_headroom)
{
	/* under 20 ms as soon as any of that second is out of the window: 1 s after it ended */
	PLAY(&defaults, TO_NEUTRAL,
	     { "no stall", .run = SEC(12), .told = HIGH, .reason = REASON_CALM, .from = MS(10500),
	       .to = SEC(12) },
	     { "rest", SEC(1), .listen = true });
	PLAY(&defaults, TO_NEUTRAL,
	     { "0.9 % is under early", .run = SEC(14), .stall = MS(126), .told = HIGH,
	       .reason = REASON_CALM, .from = SEC(10), .to = SEC(13) });
	PLAY(&defaults, TO_NEUTRAL, { "2 % is not", .run = SEC(60), .stall = MS(1200) },
	     { "and its end is", .run = SEC(13), .told = HIGH, .reason = REASON_CALM,
	       .from = SEC(10), .to = SEC(13) });
	PLAY(&defaults, TO_NEUTRAL, { "9.9 s", .run = MS(9900) },
	     { "a burst", MS(100), .stall = MS(20), ANY },
	     { "starts calm anew", .run = SEC(13), .told = HIGH, .reason = REASON_CALM,
	       .from = SEC(11), .to = MS(12500) });
}

PROMISE(without_headroom_neutral_stays_and_looks_less_and_less_often)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_NEUTRAL, { "calm, but short", .run = MS(10600), .is_short = true });
	for (uint64_t pace = SEC(1); pace <= SEC(64); pace *= 2) {
		const struct row look = { "backing off",	  DUE,
					  .is_short = true,	  .asked = true,
					  AT(MIN(pace, SEC(60))), .listen = true };

		one_step(&s, &look);
	}
	PLAY_ON(&s,
		{ "a minute", DUE, .is_short = true, .asked = true, AT(SEC(60)), .listen = true },
		{ "a look in between is no step of the back-off", SEC(1), POLICY_ALARM,
		  .is_short = true, .asked = true, AT(SEC(60)), .listen = true },
		{ "headroom is back", DUE, .asked = true, .told = HIGH, .reason = REASON_CALM,
		  .listen = true });
}

PROMISE(only_a_tick_is_a_step_of_the_back_off)
{
	PLAY(&defaults, TO_NEUTRAL, { "calm, but short", .run = MS(10600), .is_short = true },
	     { "1 s", DUE, .is_short = true, .asked = true, AT(SEC(1)), .listen = true },
	     { "2 s", DUE, .is_short = true, .asked = true, AT(SEC(2)), .listen = true },
	     { "an alarm", SEC(1), POLICY_ALARM, .is_short = true, .asked = true, AT(SEC(2)),
	       .listen = true },
	     { "4 s", DUE, .is_short = true, .asked = true, AT(SEC(4)), .listen = true });
}

PROMISE(the_back_off_begins_anew_after_low)
{
	struct policy_options o = defaults;

	o.calm_usec = SEC(1);
	PLAY(&o,
	     { "short", SEC(1), POLICY_ALARM, .is_short = true, .asked = true, .told = NEUTRAL,
	       .reason = REASON_HEADROOM, AT(MS(500)) },
	     { "backing off", .run = SEC(40), .is_short = true },
	     { "oom", MS(1), .oom = 1, .told = CRITICAL, .reason = REASON_OOM, AT(MS(250)) },
	     { "no stall, quiet", .run = MS(3999) },
	     { "and idle at once", MS(1), .told = NEUTRAL, .reason = REASON_CALM, AT(SEC(1)),
	       .listen = true },
	     { "from the shortest step", DUE, .is_short = true, .asked = true, AT(SEC(2)),
	       .listen = true });
}

PROMISE(a_stall_wakes_idle_neutral)
{
	PLAY(&defaults, TO_NEUTRAL, { "idle", .run = SEC(40), .is_short = true },
	     { "a stall", SEC(1), POLICY_ALARM, .stall = MS(30), .is_short = true, AT(MS(180)) },
	     { "and calm", .run = MS(9900), .is_short = true },
	     { "it begins with a second again", DUE, .is_short = true, .asked = true, AT(SEC(1)),
	       .listen = true });
	PLAY(&defaults, TO_NEUTRAL, { "idle", .run = SEC(40), .is_short = true },
	     { "a stall under early is not idle", SEC(1), .stall = MS(10), .is_short = true,
	       .asked = true, AT(MS(500)) },
	     { "Low from there", MS(500), .stall = MS(300), .told = LOW, .reason = REASON_STALL,
	       AT(MS(250)) });
}

PROMISE(an_idle_neutral_that_keeps_being_rung_listens_less_and_less)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_NEUTRAL, { "idle", .run = SEC(60), .is_short = true });
	for (uint64_t hold = MS(100); hold <= MS(12800); hold *= 2) {
		const struct row ring = { "memory.events",  MS(1),	   POLICY_EVENTS,
					  .is_short = true, .asked = true, AT(MIN(hold, SEC(10))) };
		const struct row over = { "the end of the hold",    DUE,
					  .is_short = true,	    .asked = true,
					  WITHIN(SEC(16), SEC(60)), .listen = true };

		one_step(&s, &ring);
		one_step(&s, &over);
	}
}

PROMISE(little_headroom_is_neutral_even_without_stalls)
{
	struct script s = { .now = START };

	s.sample = (struct policy_sample){ .some_usec = SEC(700) };
	policy_init(&s.policy, &defaults);
	PLAY_ON(&s,
		{ "at the start", 0, .is_short = true, .asked = true, .told = NEUTRAL,
		  .reason = REASON_HEADROOM, AT(MS(500)) },
		{ "it is back at once: calm counts from there", .run = SEC(11), .told = HIGH,
		  .reason = REASON_CALM, .from = SEC(10), .to = MS(10500) });
	PLAY(&defaults, { "memory.events rings", HOUR, POLICY_EVENTS, .is_short = true,
			  .asked = true, .told = NEUTRAL, .reason = REASON_HEADROOM, AT(MS(500)) });
	PLAY(&defaults, { "the trigger rings", HOUR, POLICY_ALARM, .is_short = true, .asked = true,
			  .told = NEUTRAL, .reason = REASON_HEADROOM, AT(MS(500)) });
}

PROMISE(headroom_is_never_asked_for_when_it_is_off)
{
	struct policy_options o = defaults;

	o.headroom_percent = 0;
	PLAY(&o, { "an alarm", SEC(1), POLICY_ALARM, AT(MS(20)) },
	     { "Neutral", SEC(1), .stall = MS(20), .told = NEUTRAL, .reason = REASON_STALL,
	       AT(MS(500)) },
	     { "High", .run = MS(12500), .is_short = true, .told = HIGH, .reason = REASON_CALM,
	       .from = SEC(10), .to = MS(12500) });
}

/* ---- other windows --------------------------------------------------------------------------- */

PROMISE(long_windows_work)
{
	static const struct policy_options o = {
		.early = { PSI_SOME, MS(100), SEC(10) },
		.low = { PSI_SOME, SEC(1), SEC(10) },
		.critical = { PSI_FULL, MS(500), SEC(10) },
		.rearm_usec = SEC(30),
		.calm_usec = SEC(10),
	};

	PLAY(&o,
	     { "999.999 ms in 5 s", SEC(5), POLICY_ALARM, .stall = 999999, .told = NEUTRAL,
	       .reason = REASON_STALL, AT(MS(20)) },
	     { "one more", DUE, .stall = 1, .told = LOW, .reason = REASON_STALL,
	       AT(SEC(1) + MS(250)) },
	     { "40 %: nothing before rearm", .run = MS(29999), .stall = SEC(12) },
	     { "rearm", DUE, .stall = 400, .told = LOW, .reason = REASON_REPEAT,
	       AT(SEC(1) + MS(250)) },
	     { "half of low is reached 8.75 s later; then 20 s", .run = MS(28750), .told = NEUTRAL,
	       .reason = REASON_CALM, .from = MS(27500), .to = MS(28750) },
	     { "calm was over before", .run = SEC(4), .told = HIGH, .reason = REASON_CALM,
	       .from = 0, .to = SEC(1) });
}

PROMISE(short_windows_work)
{
	static const struct policy_options o = {
		.early = { PSI_SOME, MS(5), MS(100) },
		.low = { PSI_SOME, MS(20), MS(100) },
		.critical = { PSI_FULL, MS(20), MS(100) },
		.rearm_usec = SEC(1),
		.calm_usec = MS(500),
	};

	PLAY(&o,
	     { "5 ms", MS(50), POLICY_ALARM, .stall = MS(5), .told = NEUTRAL,
	       .reason = REASON_STALL, AT(MS(25)) },
	     { "20 ms", MS(25), .stall = MS(15), .told = LOW, .reason = REASON_STALL, AT(MS(20)) },
	     { "a second of it", .run = MS(999), .stall = MS(500) },
	     { "repeat", DUE, .stall = 500, .told = LOW, .reason = REASON_REPEAT, AT(MS(20)) },
	     { "quiet", .run = MS(400), .told = NEUTRAL, .reason = REASON_CALM, .from = MS(200),
	       .to = MS(340) },
	     { "calm", .run = MS(600), .told = HIGH, .reason = REASON_CALM, .from = MS(100),
	       .to = MS(500) },
	     { "rest", MS(100), .listen = true });
}
