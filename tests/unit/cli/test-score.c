/* SPDX-License-Identifier: MIT */
/*
 * test-score.c - what happened in a trace, and how well a setting would have told it (src/cli/score.h)
 *
 * Traces are drawn: a letter a second, each of which says how much of it `some` and `full` stalled.
 *
 *     .  nothing    , some 1 %    t  some 20 %    s  some 30 %    f  some and full 80 %    o  out of memory    u  98 % of the limit in use
 */
#include "../unit.h"
#include "cli/score.h"
#include "core/setting.h"

#define SAMPLES_MAX 512

static struct trace_sample samples[SAMPLES_MAX];
static size_t count;

static void draw(const char *picture)
{
	struct trace_sample at = { .has_psi = true, .has_oom = true, .limit_bytes = 1000 };

	count = 0;
	at.used_bytes = 500;
	samples[count++] = at;
	for (; *picture; picture++) {
		unsigned some = *picture == ','	  ? 1
				: *picture == 't' ? 20
				: *picture == 's' ? 30
				: *picture == 'f' ? 80
						  : 0;

		at.time_usec += USEC_PER_SEC;
		at.some_usec += some * USEC_PER_SEC / 100;
		at.full_usec += *picture == 'f' ? some * USEC_PER_SEC / 100 : 0;
		at.oom += *picture == 'o';
		at.used_bytes = *picture == 'u' ? 980 : 500;
		samples[count++] = at;
	}
}

static unsigned seconds(uint64_t usec)
{
	return (unsigned)((usec + USEC_PER_SEC / 2) / USEC_PER_SEC);
}

/* "2+5l 30+0x" : episodes from second 2 for 5 s, light; ... and "!9" for each limit */
static const char *facts_text(const struct facts *f)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	for (size_t i = 0; i < f->count; i++) {
		const struct episode *e = &f->episodes[i];

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u+%u%c", n ? " " : "",
				      seconds(e->begin_usec), seconds(e->end_usec - e->begin_usec),
				      "-lhx"[e->severity]);
	}
	for (size_t i = 0; i < f->limit_count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s!%u", n ? " " : "",
				      seconds(f->limits[i].at_usec));
	return text;
}

PROMISE(episodes_and_limits_are_found)
{
	static const struct {
		const char *picture, *facts;
	} table[] = {
		{ "", "" },
		{ "....................", "" },
		{ ",,,,.....", "" },		     /* 4 % of a second are under 1 % of ten */
		{ ".....,,,,,,,,,,,,,,,", "5+15l" }, /* from the first of it */
		{ "...s....", "3+1l" },
		{ "...ssss....", "3+4h" },
		{ "...ffffffff....", "3+8x" },
		{ "...ffff....", "3+4h" },	  /* full is a third of ten seconds: not lost */
		{ "s..........s", "0+1l 11+1l" }, /* ten seconds of nothing end it */
		{ "s........s", "0+10l" },
		{ "s...................ffffffff", "0+1l 20+8x" },
		{ "....o....", "5+0x !5" }, /* a fast one does not stall */
		{ "s..o....", "0+4x !4" },
		{ "..............os", "15+1x !15" },
		{ ".o..............s", "2+0x 16+1l !2" },
		{ "...uuu....", "!4" },
		{ "...uuu....u", "!4 !11" },
		{ "...uo", "4+0x !4" }, /* one and the same */
	};
	struct facts facts;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		draw(table[i].picture);
		assert_int_equal(facts_find(samples, count, &facts), 0);
		if (strcmp(facts_text(&facts), table[i].facts) != 0)
			fail_msg("\"%s\": %s instead of %s", table[i].picture, facts_text(&facts),
				 table[i].facts);
		facts_done(&facts);
	}
}

static struct score score(const char *picture, const char *low, unsigned percent, unsigned sec)
{
	struct candidate c = { .avg10_percent = percent,
			       .for_usec = sec * USEC_PER_SEC,
			       .kind = PSI_FULL };
	struct score s = SCORE_INIT;
	struct facts facts;

	settings_built_in(&c.options);
	if (low)
		assert_int_equal(trigger_parse(low, strlen(low), &c.options.low, NULL), 0);
	c.options.critical = (struct trigger){ PSI_FULL, 10 * USEC_PER_SEC, 10 * USEC_PER_SEC };
	draw(picture);
	for (size_t i = 0; i < count;
	     i++) /* whoever looked then: the candidate looks when it would */
		samples[i].event = i ? EVENT_TICK : EVENT_BEGIN;
	assert_int_equal(facts_find(samples, count, &facts), 0);
	score_add(samples, count, &facts, &(struct scored){ &c, &s }, 1, true);
	facts_done(&facts);
	return s;
}

/* Numbers that a person can see in the picture. some 200ms/2s is passed by 0.67 s of 30 %. */
PROMISE(a_setting_is_held_against_them)
{
	struct score s = score("..........ssss....................", "some 200ms/2s", 0, 0);

	assert_int_equal(s.lows, 1);
	assert_int_equal(s.spoken[SEVERITY_HEAVY], 1);
	assert_int_equal(s.began[SEVERITY_HEAVY], 1);
	assert_in_range(s.delay_usec[SEVERITY_HEAVY], 600000, 900000);
	assert_int_equal(s.needless, 0);
	assert_in_range(s.low_some_usec, 900000, 1100000); /* of 1.2 s */
	assert_in_range(s.low_usec, 8000000, 10000000);	   /* Quiet is 4 s */
	assert_true(s.worst_lead_usec < 0);		   /* its worst ten seconds began with it */
	assert_int_equal(s.limits, 0);

	/* never that much: it is missed */
	s = score("..........ssss....................", "some 1s/2s", 0, 0);
	assert_int_equal(s.lows + s.spoken[SEVERITY_HEAVY] + s.began[SEVERITY_HEAVY], 0);
	assert_true(s.worst_lead_usec == INT64_MIN);

	/* it stalls when Low comes, and not at all after: in vain, and a second one within a minute */
	s = score("..........t...........................t..............................",
		  "some 185ms/1s", 0, 0);
	assert_int_equal(s.lows, 2);
	assert_int_equal(s.needless, 2);
	assert_int_equal(s.flaps, 1);

	/* unless a limit is reached soon */
	s = score("..........t....u......................t..............................",
		  "some 185ms/1s", 0, 0);
	assert_int_equal(s.needless, 1);
	assert_int_equal(s.limits, 1);
	assert_int_equal(s.unseen, 0);
	assert_in_range(s.lead_usec, 4900000, 5100000);

	/* Low twice in one episode: both began in it */
	s = score("ssss......ssss..............................", "some 200ms/2s", 0, 0);
	assert_int_equal(s.began[SEVERITY_HEAVY], 2);
	assert_int_equal(s.spoken[SEVERITY_HEAVY], 1);

	/* a limit long after a Low, and an out-of-memory that is told as what it is, when it is there */
	s = score("ssss............................u...........................o", "some 200ms/2s",
		  0, 0);
	assert_int_equal(s.limits, 2);
	assert_int_equal(s.unseen, 2);
	assert_int_equal(s.spoken[SEVERITY_LOST], 1);
	assert_int_equal(s.criticals, 1);
	assert_int_equal(s.spoken[SEVERITY_HEAVY], 1);
}

/* avg10 of 80 % comes near 80 % after tens of seconds: 1 - exp(-t/10) of it. */
PROMISE(others_rules_on_avg10_are_judged_too)
{
	static const char picture[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
				      "............................................................";
	struct score s = score(picture, NULL, 60, 0);

	assert_int_equal(s.lows, 1);
	assert_in_range(s.delay_usec[SEVERITY_LOST], 13000000, 17000000); /* 60 of 80 %: 13.9 s */
	assert_in_range(s.low_usec, 46000000,
			51000000); /* from there until it is under 60 % again */

	s = score(picture, NULL, 60, 30);
	assert_in_range(s.delay_usec[SEVERITY_LOST], 43000000, 47000000);
	s = score(picture, NULL, 80, 0);
	assert_int_equal(s.lows, 0);
}

/* A damaged line may be of 34,000 years later: it is gone through in no time, and what stalls evenly is one Low. */
PROMISE(a_rule_on_avg10_gets_over_damaged_times)
{
	const struct trace_sample ends[] = {
		{ .has_psi = true },
		{ .has_psi = true,
		  .time_usec = TRACE_LATEST_USEC,
		  .some_usec = TRACE_LATEST_USEC / 5 * 4,
		  .full_usec = TRACE_LATEST_USEC / 5 * 4 },
	};
	const struct candidate c = { .avg10_percent = 60, .kind = PSI_FULL };
	struct score s = SCORE_INIT;
	struct facts facts;

	assert_int_equal(facts_find(ends, 2, &facts), 0);
	score_add(ends, 2, &facts, &(struct scored){ &c, &s }, 1, true);
	facts_done(&facts);
	assert_int_equal(s.lows, 1);
	assert_true(s.low_usec > TRACE_LATEST_USEC - 20 * USEC_PER_SEC);
}

/* Several traces: the worst of all stands for the lead. */
PROMISE(scores_of_traces_are_added)
{
	struct candidate c = { .avg10_percent = 0 };
	struct score s = SCORE_INIT;
	struct facts facts;
	static const char *const pictures[] = { "....................ssss............",
						",,,,ssssssssffffffffffff", "....ss..." };

	settings_built_in(&c.options);
	for (size_t i = 0; i < ELEMENTSOF(pictures); i++) {
		draw(pictures[i]);
		assert_int_equal(facts_find(samples, count, &facts), 0);
		score_add(samples, count, &facts, &(struct scored){ &c, &s }, 1, true);
		facts_done(&facts);
	}
	assert_int_equal(s.spoken[SEVERITY_LIGHT], 1);
	assert_int_equal(s.spoken[SEVERITY_HEAVY], 1);
	assert_int_equal(s.spoken[SEVERITY_LOST], 1);
	assert_int_equal(seconds(s.worst_some_usec), 8);
	assert_in_range(s.worst_lead_usec, 7000000, 8000000); /* 4.7 s to 12 s */
}
