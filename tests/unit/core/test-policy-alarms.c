/* SPDX-License-Identifier: MIT */
/*
 * test-policy-alarms.c - the level policy as scripts: alarms, oom, signals, sources (src/core/policy.h)
 */
#include "../unit.h"
#include "policy-script.h"

/* ---- alarms ---------------------------------------------------------------------------------- */

PROMISE(a_false_first_alarm_is_not_told)
{
	/* unprivileged triggers compare their first window with all stall since the cgroup was made */
	PLAY(&defaults, { "the kernel rings, nothing grew", SEC(2), ALARM, ASKED, AT(MS(20)) },
	     { "a window of samples", .run = MS(1999) }, { "the last of them", DUE, AT(MS(100)) },
	     { "listening again", DUE, LISTEN },
	     { "and a true one later", SEC(30), ALARM, STALL(21), TOLD(NEUTRAL, STALL),
	       AT(MS(180)) });
	PLAY(&defaults, { "nor after an hour", HOUR, ALARM, .avg10 = 300, ASKED, AT(MS(20)) });
	PLAY(&defaults, { "nor where a little grew", HOUR, ALARM, .stall = 19999, .avg10 = 300,
			  ASKED, AT(MS(20)) });
}

PROMISE(a_burst_long_after_a_rest_is_seen)
{
	PLAY(&defaults, { "the alarm vouches for early", HOUR, ALARM, STALL(90),
			  TOLD(NEUTRAL, STALL), AT(MS(180)) });
	PLAY(&defaults, { "avg10 for low: 10 % of 2 s", HOUR, ALARM, STALL(210), .avg10 = 182,
			  TOLD(LOW, STALL), AT(MS(250)) });
	PLAY(&defaults, { "a little less", HOUR, ALARM, STALL(210), .avg10 = 181,
			  TOLD(NEUTRAL, STALL), AT(MS(20)) });
	PLAY(&defaults, { "avg10 of full for critical", HOUR, ALARM, STALL(210), FULL(110),
			  .avg10 = 182, .full10 = 91, TOLD(CRITICAL, STALL), AT(MS(250)) });
	PLAY(&defaults, { "a little less", HOUR, ALARM, STALL(210), FULL(110), .avg10 = 182,
			  .full10 = 90, TOLD(LOW, STALL), WITHIN(MS(20), MS(30)) });
}

/* What grew since the last sample, an hour ago, may have grown just now, and go on at that pace. */
PROMISE(after_an_alarm_low_is_looked_for_when_it_could_be_reached)
{
	PLAY(&defaults,
	     { "over early", HOUR, ALARM, STALL(60), .avg10 = 60, TOLD(NEUTRAL, STALL),
	       AT(MS(140)) },
	     { "over low as soon as that may be", DUE, STALL(145), TOLD(LOW, STALL), ANY });
	PLAY(&defaults, { "not much room", HOUR, SHORT, LISTEN },
	     { "short", SEC(1), ALARM, SHORT, ASKED, TOLD(NEUTRAL, HEADROOM), ANY },
	     { "a minute", .run = SEC(60), SHORT },
	     { "a stall", SEC(1), ALARM, STALL(190), SHORT, .avg10 = 190, AT(MS(20)) });
	PLAY(&defaults, { "a second's rest is one, too", SEC(1), ALARM, STALL(60), .avg10 = 60,
			  TOLD(NEUTRAL, STALL), AT(MS(140)) });
}

/* What goes on for long is known, and an alarm in it is no news. */
PROMISE(an_alarm_while_it_is_sampled_makes_it_no_faster)
{
	PLAY(&defaults, TO_LOW, { "a tenth of the time", .run = SEC(3), STALL(300) },
	     { "critical is 51 ms away", MS(50), ALARM, STALL(50), FULL(49), AT(MS(100)) });
}

PROMISE(an_alarm_vouches_for_its_own_kind_of_stall_only)
{
	struct policy_options o = defaults;

	o.critical = (struct trigger){ PSI_FULL, MS(20), SEC(2) };
	PLAY(&o, { "some rang, full grew long ago", HOUR, ALARM, STALL(90), FULL(50),
		   TOLD(NEUTRAL, STALL), ANY });
	o.critical.kind = PSI_SOME;
	PLAY(&o, { "some rang, critical is some too", HOUR, ALARM, STALL(90), TOLD(CRITICAL, STALL),
		   ANY });
	o = defaults;
	o.early = (struct trigger){ PSI_FULL, MS(200), SEC(2) };
	PLAY(&o, { "full rang, low is some", HOUR, ALARM, STALL(900), FULL(210),
		   TOLD(CRITICAL, STALL), ANY });
	o.critical.threshold_usec = MS(300);
	PLAY(&o, { "full rang, low is some", HOUR, ALARM, STALL(900), FULL(210),
		   TOLD(NEUTRAL, STALL), ANY });
	o.low.kind = PSI_FULL;
	PLAY(&o, { "full rang, low is full", HOUR, ALARM, STALL(900), FULL(210), TOLD(LOW, STALL),
		   ANY });
}

PROMISE(old_slow_growth_is_not_taken_for_a_burst)
{
	PLAY(&defaults, { "half a minute of stall in an hour", HOUR, .stall = SEC(30), LISTEN },
	     { "and memory.events rings", HOUR, EVENTS, .stall = SEC(30), ASKED, AT(MS(10)) });
	PLAY(&defaults,
	     { "0.9 %, and it goes on: avg10 of an even stall proves no burst", SEC(10), STALL(90),
	       .avg10 = 90, LISTEN },
	     { "the next safety sample", SEC(10), STALL(90), .avg10 = 90, LISTEN },
	     { "nor when memory.events rings", SEC(10), EVENTS, STALL(90), .avg10 = 90, ASKED,
	       WITHIN(MS(10), MS(20)) });
	PLAY(&defaults, { "1 % is over early, however one asks", SEC(10), STALL(100), .avg10 = 100,
			  TOLD(NEUTRAL, STALL), AT(MS(500)) });
	PLAY(&defaults,
	     { "and 10 % over low", SEC(10), .stall = SEC(1), TOLD(LOW, STALL), AT(MS(250)) });
}

PROMISE(empty_alarms_of_memory_events_back_off)
{
	static const struct row rings = { "memory.events rings", HOUR, EVENTS, ASKED, AT(MS(10)) };
	static const struct row at_once = { "and again, as soon as it is listened to", MS(1),
					    EVENTS, ASKED, AT(MS(10)) };
	static const struct row again = { "20 ms after", DUE, AT(MS(20)) };
	static const struct row window = { "a window of samples", .run = MS(1980) };
	static const struct row over = { "the end of the hold", DUE, LISTEN };
	struct script s;

	begin(&s, &defaults);
	for (unsigned i = 0; i < 12; i++) {
		uint64_t hold = MIN(MS(100) << i, SEC(10));
		const struct row end = { "empty", DUE, AT(hold) };

		one_step(&s, i == 0 ? &rings : &at_once);
		s.steps = 0;
		one_step(&s, &again);
		follow(&s, &window);
		/* 10, 20, 40, 80, 160, then every 320 ms */
		assert_in_range(s.steps, 8, 12);
		one_step(&s, &end);
		one_step(&s, &over);
	}
	/* so does silence: an alarm in the morning and one in the evening are no storm */
	one_step(&s, &rings);
	follow(&s, &(struct row){ "a window of samples", .run = MS(1999) });
	one_step(&s, &(struct row){ "empty, for the first time", DUE, AT(MS(100)) });
	one_step(&s, &over);
	/* anything told makes the next one a first one */
	PLAY_ON(&s,
		{ "a true one", HOUR, EVENTS, .stall = SEC(9), .oom = 1, TOLD(CRITICAL, OOM),
		  AT(MS(250)) },
		{ "Neutral", .run = SEC(8), TOLD(NEUTRAL, CALM), BETWEEN(SEC(3), SEC(8)) },
		{ "High", .run = SEC(20), TOLD(HIGH, CALM), BETWEEN(SEC(1), SEC(12)) });
	one_step(&s, &rings);
	follow(&s, &(struct row){ "a window of samples", .run = MS(1999) });
	one_step(&s, &(struct row){ "empty, for the first time again", DUE, AT(MS(100)) });
}

PROMISE(memory_events_in_a_stalling_neutral_is_no_empty_alarm)
{
	PLAY(&defaults, TO_NEUTRAL, { "it was in the queue", MS(1), EVENTS, AT(MS(500)) },
	     { "no hold follows", MS(1), SIGNAL, .signal = HIGH, TOLD(HIGH, SIGNAL), LISTEN });
}

PROMISE(an_alarm_at_the_end_of_a_probe_begins_another)
{
	struct policy_options o = defaults;
	struct script s;

	begin(&s, &o);
	PLAY_ON(&s, { "an alarm", HOUR, ALARM, ASKED, AT(MS(20)) },
		{ "one in the middle does not prolong it", SEC(1), ALARM, ASKED, ANY },
		{ "the rest of the window", .run = MS(999) });
	assert_int_equal(s.verdict.deadline_usec, s.now + MS(1));
	PLAY_ON(&s, { "empty", DUE, AT(MS(100)) });
	PLAY(&o, { "an alarm", HOUR, ALARM, ASKED, AT(MS(20)) },
	     { "a second one in the middle does not prolong it", SEC(1), ALARM, ASKED, ANY },
	     { "a third at the end", SEC(1), ALARM, ASKED, AT(MS(20)) },
	     { "is probed", DUE, AT(MS(40)) });
	PLAY(&o, { "an alarm", HOUR, ALARM, ASKED, AT(MS(20)) },
	     { "another at the end finds headroom short", SEC(2), ALARM, SHORT, ASKED,
	       TOLD(NEUTRAL, HEADROOM), AT(MS(500)) },
	     { "so it was not empty: no hold", MS(1), SIGNAL, .signal = HIGH, TOLD(HIGH, SIGNAL),
	       LISTEN });
	o.headroom_percent = 0;
	PLAY(&o, { "an alarm", HOUR, ALARM, AT(MS(20)) },
	     { "a second one in the middle does not prolong it", SEC(1), ALARM, ANY },
	     { "a third at the end", SEC(1), ALARM, AT(MS(20)) }, { "is probed", DUE, AT(MS(40)) });
}

/* ---- oom, signals, levels of others ------------------------------------------------------------ */

PROMISE(an_oom_is_low_and_critical_without_any_stall)
{
	PLAY(&defaults, { "from High", HOUR, EVENTS, .oom = 1, TOLD(CRITICAL, OOM), AT(MS(250)) },
	     { "another is no news within rearm", SEC(1), .oom = 3, AT(MS(250)) },
	     { "nor is the same count", SEC(1), AT(MS(250)) },
	     { "after rearm it is", MS(6192), .oom = 1, TOLD(CRITICAL, OOM), AT(MS(250)) },
	     { "it ends like any Low", .run = SEC(5), TOLD(NEUTRAL, CALM),
	       BETWEEN(SEC(4), MS(4250)) });
}

PROMISE(a_source_without_psi_lives_on_signals)
{
	struct script s = { .now = START, .blind = true };

	policy_init(&s.policy, &defaults);
	PLAY_ON(&s, { "the start", 0, ASKED, LISTEN },
		{ "a byte in the FIFO", HOUR, SIGNAL, .signal = LOW, TOLD(LOW, SIGNAL),
		  AT(SEC(4)) },
		{ "another: no news, but it keeps Low", SEC(3), SIGNAL, .signal = LOW, AT(SEC(4)) },
		{ "quiet", DUE, TOLD(NEUTRAL, CALM), AT(SEC(6)) },
		{ "calm counts from the last signal", DUE, ASKED, TOLD(HIGH, CALM), LISTEN });
	/* memory.events alone: what it counts is sampled */
	s.sample.has_oom = true;
	PLAY_ON(&s,
		{ "the limit is hit", HOUR, SIGNAL, .signal = LOW, TOLD(LOW, SIGNAL), AT(SEC(1)) });
}

/* A process that was just started knows of no sample before. */
PROMISE(a_level_may_be_resumed_before_the_first_sample)
{
	static const enum level levels[] = { LEVEL_LOW, LEVEL_NEUTRAL };
	static const struct row first = { "the baseline", 0, WITHIN(MS(20), MS(500)) };

	for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
		struct script s = { .now = START };

		s.sample = (struct policy_sample){ .some_usec = SEC(700), .has_oom = true };
		policy_init(&s.policy, &defaults);
		policy_resume(&s.policy, levels[i], levels[i] == LEVEL_LOW, s.now);
		one_step(&s, &first);
		assert_int_equal(s.policy.level, levels[i]);
	}
}

/* ---- the rest -------------------------------------------------------------------------------- */

PROMISE(the_beginning_of_the_stall_is_told)
{
	uint64_t first;
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, { "a little, of which nobody takes notice", SEC(1), STALL(5), LISTEN },
		{ "another stall", MS(100), ALARM, STALL(30), TOLD(NEUTRAL, STALL), ANY });
	assert_int_equal(s.verdict.since_usec, s.now);

	begin(&s, &defaults);
	PLAY_ON(&s, { "a little", SEC(1), ALARM, STALL(5), ASKED, ANY });
	first = s.now;
	PLAY_ON(&s, { "more", MS(20), STALL(15), TOLD(NEUTRAL, STALL), ANY });
	assert_int_equal(s.verdict.since_usec, first);
	PLAY_ON(&s, { "low", MS(300), STALL(200), TOLD(LOW, STALL), ANY });
	assert_int_equal(s.verdict.since_usec, first);
	PLAY_ON(&s, { "Neutral", .run = SEC(7), TOLD(NEUTRAL, CALM), BETWEEN(0, SEC(7)) },
		{ "idle", .run = SEC(60), SHORT },
		{ "a new stall", MS(10), ALARM, STALL(20), SHORT, ANY });
	first = s.now;
	PLAY_ON(&s, { "Low", MS(300), ALARM, STALL(200), TOLD(LOW, STALL), ANY });
	assert_int_equal(s.verdict.since_usec, first);

	begin(&s, &defaults);
	PLAY_ON(&s, { "a little", SEC(1), ALARM, STALL(5), ASKED, ANY },
		{ "the alarm was empty", .run = SEC(3) });
	PLAY_ON(&s,
		{ "another stall, in one go", HOUR, ALARM, STALL(30), TOLD(NEUTRAL, STALL), ANY });
	assert_int_equal(s.verdict.since_usec, s.now);
	PLAY_ON(&s, { "High", .run = SEC(12), TOLD(HIGH, CALM), BETWEEN(0, SEC(12)) });
	assert_int_equal(s.policy.since_usec, 0);
	PLAY_ON(&s,
		{ "no stall at all", SEC(1), ALARM, SHORT, ASKED, TOLD(NEUTRAL, HEADROOM), ANY });
	assert_int_equal(s.verdict.since_usec, 0);
}
