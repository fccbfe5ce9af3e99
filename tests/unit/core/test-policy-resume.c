/* SPDX-License-Identifier: MIT */
/*
 * test-policy-resume.c - the level policy goes on from a level that somebody else told
 * (policy_resume() of src/core/policy.h)
 */
#include "../unit.h"
#include "policy-script.h"

/* At rest for a second, then this. */
static void begin_with(struct script *s, enum level level, bool critical)
{
	begin(s, &defaults);
	s->now += SEC(1);
	policy_resume(&s->policy, level, critical, s->now);
	assert_int_equal(s->policy.level, level);
}

PROMISE(a_resumed_low_is_followed_by_neutral_and_high)
{
	struct script s;

	begin_with(&s, LEVEL_LOW, false);
	PLAY_ON(&s, { "the first step tells nothing", 0, AT(MS(250)) },
		{ "two windows of low later", .run = MS(4500), TOLD(NEUTRAL, CALM),
		  BETWEEN(SEC(4), MS(4250)) },
		{ "ten seconds after it was resumed", .run = SEC(7), TOLD(HIGH, CALM),
		  BETWEEN(MS(5500), MS(6000)) },
		{ "rest", SEC(1), LISTEN });
}

/* A tenth of the time is over half of low, however little of the window was seen. */
PROMISE(a_resumed_low_that_goes_on_does_not_end)
{
	struct policy_options o = defaults;
	struct script s;

	o.quiet_usec = MS(500);
	begin(&s, &o);
	s.now += HOUR;
	policy_resume(&s.policy, LEVEL_LOW, false, s.now);
	policy_forget(&s.policy); /* as in a process that was just started */
	PLAY_ON(&s, { "the baseline", 0, AT(MS(250)) },
		{ "a sixteenth of the time", .run = SEC(4), STALL(250) },
		{ "a fiftieth of it", .run = SEC(4), STALL(80), TOLD(NEUTRAL, CALM),
		  BETWEEN(MS(500), SEC(2)) });
}

/* A process that was just started knows of no sample before. */
PROMISE(a_level_may_be_resumed_before_the_first_sample)
{
	static const enum level levels[] = { LEVEL_LOW, LEVEL_NEUTRAL };
	static const struct row first = { "the baseline", 0, WITHIN(MS(20), MS(500)) };

	for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
		struct script s = { .now = START };

		s.sample = (struct policy_sample){
			.some_usec = SEC(700), .full_usec = SEC(300), .has_oom = true, .oom = 41
		};
		policy_init(&s.policy, &defaults);
		policy_resume(&s.policy, levels[i], levels[i] == LEVEL_LOW, s.now);
		one_step(&s, &first);
		assert_int_equal(s.policy.level, levels[i]);
	}
}

PROMISE(rearm_runs_from_where_it_was_resumed)
{
	struct script s;

	begin_with(&s, LEVEL_LOW, false);
	PLAY_ON(&s, { "the first step", 0, AT(MS(250)) },
		{ "a fifth of the time", .run = (8192 * USEC_PER_MSEC) - 1, STALL(1640) },
		{ "rearm", DUE, .stall = 1, TOLD(LOW, REPEAT), AT(MS(250)) });
}

PROMISE(only_a_turn_to_critical_is_told_at_once)
{
	struct script s;

	begin_with(&s, LEVEL_LOW, false);
	PLAY_ON(&s, { "the first step", 0, AT(MS(250)) },
		{ "whole tasks stall", MS(200), STALL(100), FULL(100), TOLD(CRITICAL, STALL),
		  WITHIN(MS(20), MS(250)) });

	begin_with(&s, LEVEL_LOW, true);
	PLAY_ON(&s, { "the first step", 0, AT(MS(250)) },
		{ "critical, as was told", MS(200), STALL(100), FULL(100), AT(MS(250)) });
}

PROMISE(a_resumed_neutral_becomes_low_or_high)
{
	struct script s;

	begin_with(&s, LEVEL_NEUTRAL, false);
	PLAY_ON(&s, { "the first step", 0, AT(MS(500)) },
		{ "over low", MS(500), STALL(200), TOLD(LOW, STALL), AT(MS(250)) });

	begin_with(&s, LEVEL_NEUTRAL, false);
	PLAY_ON(&s, { "the first step", 0, AT(MS(500)) },
		{ "ten seconds", .run = SEC(11), TOLD(HIGH, CALM), BETWEEN(SEC(10), MS(10500)) });
}

PROMISE(a_resumed_high_rests_whatever_was_before)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, TO_LOW);
	policy_resume(&s.policy, LEVEL_HIGH, false, s.now);
	PLAY_ON(&s, { "what is in the windows is forgotten", 0, LISTEN },
		{ "nor is it found later", MS(500), STALL(19), LISTEN },
		{ "what comes is not", MS(500), STALL(1), TOLD(NEUTRAL, STALL), AT(MS(500)) });
}

/* ... by which it may become Low itself soon. */
PROMISE(a_worse_level_keeps_what_was_measured)
{
	struct script s;

	begin(&s, &defaults);
	PLAY_ON(&s, { "180 ms", SEC(1), ALARM, STALL(180), TOLD(NEUTRAL, STALL),
		      WITHIN(MS(20), MS(100)) });
	policy_resume(&s.policy, LEVEL_NEUTRAL, false, s.now);
	PLAY_ON(&s, { "and 20 ms", MS(20), STALL(20), TOLD(LOW, STALL), AT(MS(250)) });
}
