/* SPDX-License-Identifier: MIT */
/*
 * test-trigger.c - triggers at other windows (src/core/trigger.h); how they are read and written is in test-parsers.c
 */
#include "../unit.h"
#include "random.h"
#include "core/trigger.h"

static struct trigger random_trigger(void)
{
	static const uint64_t grain[] = { 1, 100, 1000, 100000 };
	uint64_t g = grain[random_u64() % ELEMENTSOF(grain)];
	struct trigger t = { .kind = random_u64() % 2 ? PSI_FULL : PSI_SOME };

	t.window_usec = g *
			random_between(TRIGGER_WINDOW_MIN_USEC / g, TRIGGER_WINDOW_MAX_USEC / g);
	t.threshold_usec = g * random_between(1, t.window_usec / g);
	return t;
}

PROMISE(a_shorter_window_gets_a_smaller_threshold)
{
	static const struct {
		struct trigger from;
		uint64_t window_usec, threshold_usec;
	} table[] = {
		{ { PSI_SOME, 20000, 2000000 }, 500000, 5000 },
		{ { PSI_SOME, 200000, 2000000 }, 1000000, 100000 },
		{ { PSI_FULL, 100000, 2000000 }, 2000000, 100000 },
		/* not whole parts: three of them are needed, and one has at least a third */
		{ { PSI_SOME, 300000, 2000000 }, 900000, 100000 },
		{ { PSI_SOME, 300000, 1000000 }, 900000, 150000 },
		/* a bigger window keeps it */
		{ { PSI_SOME, 20000, 500000 }, 2000000, 20000 },
		{ { PSI_SOME, 20000, 500000 }, UINT64_MAX, 20000 },
		/* never below 1 us */
		{ { PSI_SOME, 1, 10000000 }, 100000, 1 },
		{ { PSI_SOME, 99, 10000000 }, 100000, 1 },
		{ { PSI_SOME, 10000000, 10000000 }, 1, 1 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct trigger t = trigger_rescale(&table[i].from, table[i].window_usec);

		assert_int_equal(t.kind, table[i].from.kind);
		assert_true(t.window_usec == table[i].window_usec);
		assert_int_equal(t.threshold_usec, table[i].threshold_usec);
	}
}

PROMISE(a_rescaled_trigger_is_one_the_kernel_takes)
{
	for (int i = 0; i < 100000; i++) {
		struct trigger from = random_trigger();
		uint64_t w = random_between(TRIGGER_WINDOW_MIN_USEC, TRIGGER_WINDOW_MAX_USEC);
		struct trigger t = trigger_rescale(&from, w), again;
		char buf[TRIGGER_TEXT_MAX];

		assert_int_equal(trigger_parse(buf, trigger_format_kernel(&t, buf), &again, NULL),
				 0);
		assert_true(trigger_is_same(&t, &again));
	}
}

/*
 * The promise of trigger_rescale(), tried on a time line of single units: whatever the pattern of
 * stalls, when the trigger's own window holds its threshold, some part of the new length holds the
 * new one. All 2^12 patterns in a window of 12 units, all lengths of part.
 */
PROMISE(no_stall_passes_a_rescaled_trigger_unnoticed)
{
	enum { WINDOW = 12 };

	for (unsigned stalls = 1; stalls < 1u << WINDOW; stalls++) {
		struct trigger from = { PSI_SOME, 0, WINDOW };

		from.threshold_usec = (uint64_t)__builtin_popcount(stalls);
		for (unsigned w = 1; w <= WINDOW; w++) {
			struct trigger t = trigger_rescale(&from, w);
			unsigned most = 0;

			for (unsigned at = 0; at + w <= WINDOW; at++) {
				unsigned part = stalls >> at & ((1u << w) - 1);

				most = MAX(most, (unsigned)__builtin_popcount(part));
			}
			if (most < t.threshold_usec)
				fail_msg("stalls %#x, parts of %u: %u of %u", stalls, w, most,
					 (unsigned)t.threshold_usec);
		}
	}
}

PROMISE(where_only_low_was_said_early_fits_it_and_critical)
{
	char why[300];

	for (int i = 0; i < 100000; i++) {
		struct trigger low = random_trigger(), critical = random_trigger();
		struct trigger early = trigger_early_of(&low, &critical);

		assert_int_equal(trigger_check_early("e", &early, "l", &low, why, sizeof(why)), 0);
		assert_int_equal(trigger_check_early("e", &early, "c", &critical, why, sizeof(why)),
				 0);
	}
}

/* Never a valid one, but it must not burst the buffer. */
PROMISE(the_biggest_numbers_can_be_written)
{
	static const struct trigger biggest = { PSI_FULL, UINT64_MAX, UINT64_MAX };
	char buf[TRIGGER_TEXT_MAX];

	trigger_format(&biggest, buf);
	assert_string_equal(buf, "full 18446744073709.551615s/18446744073709.551615s");
	trigger_format_kernel(&biggest, buf);
	assert_string_equal(buf, "full 18446744073709551615 18446744073709551615");
}

PROMISE(what_is_armed_is_short_or_needs_no_privilege)
{
	static const struct {
		uint64_t threshold, window;		/* of early */
		uint64_t short_threshold, short_window; /* privileged */
		uint64_t threshold_2s;
	} table[] = {
		{ 20000, 2000000, 5000, 500000, 20000 },
		{ 20000, 1000000, 5000, 250000, 20000 },
		{ 20000, 10000000, 1000, 500000, 4000 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const struct trigger early = { PSI_SOME, table[i].threshold, table[i].window };
		struct trigger t = trigger_to_arm(&early, true);

		assert_int_equal(t.threshold_usec, table[i].short_threshold);
		assert_int_equal(t.window_usec, table[i].short_window);
		t = trigger_to_arm(&early, false);
		assert_int_equal(t.threshold_usec, table[i].threshold_2s);
		assert_int_equal(t.window_usec, 2000000);
	}
}
