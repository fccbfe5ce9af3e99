/* SPDX-License-Identifier: MIT */
/*
 * test-hook.c - what every hook does (src/runtimes/hook.h): when it collects, and what it says
 *
 * How it begins and ends is in test-hook-life.c.
 */
#include "../unit.h"
#include "hook-stage.h"
#include "runtimes/effect.h"

#include <limits.h>

static struct fake fake;

/* "collected: A -> B MiB, T ms", A and B in tenths. */
struct report {
	unsigned before, after, msec;
};

static struct report await_effect(void)
{
	const char *line = await_line("collected: ");
	unsigned numbers[5] = { 0 }, n = 0;

	for (const char *p = line; *p && n < ELEMENTSOF(numbers);) {
		char *end;

		if (*p < '0' || *p > '9') {
			p++;
			continue;
		}
		numbers[n++] = (unsigned)strtoul(p, &end, 10);
		p = end;
	}
	assert_int_equal(n, 5);
	return (struct report){ 10 * numbers[0] + numbers[1], 10 * numbers[2] + numbers[3],
				numbers[4] };
}

/* ---- worth it? ------------------------------------------------------------------------------------ */

static const char *answer_of(const char *why)
{
	if (!why)
		return "yes";
	return strcmp(why, "the last collection is not long ago") == 0 ? "soon" : "little";
}

/* PolicyTests.cs reads the same table. */
PROMISE(a_collection_is_worth_it_as_the_table_says)
{
	const uint64_t now = 7200 * USEC_PER_SEC, mib = MIB(1);
	char path[PATH_MAX], line[200], since[20], answer[20];
	unsigned cases = 0, before, after, rss, apart, grown;
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/unit/runtimes/worth.cases", getenv("srcdir"));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct effect effect = { 0 };

		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%19s %u %u %u %u %u %19s", since, &before, &after,
					&rss, &apart, &grown, answer),
				 7);
		if (since[0] != '-')
			effect.collected_usec = now - strtoul(since, NULL, 10) * USEC_PER_SEC;
		effect.before_bytes = before * mib;
		effect.after_bytes = after * mib;
		if (strcmp(answer_of(effect_why_not(&effect, now, rss * mib, apart * USEC_PER_SEC,
						    grown * mib)),
			   answer) != 0)
			fail_msg("%s", line);
		cases++;
	}
	fclose(file);
	assert_true(cases > 20);
}

/* ---- collecting ----------------------------------------------------------------------------------- */

PROMISE(a_low_makes_the_runtime_collect_and_what_went_back_is_told)
{
	struct report effect;
	uint64_t at;

	start_and_await_ready(&fake);
	fake_grow(&fake, MIB(64));
	SET(&fake, work_usec, 30 * USEC_PER_MSEC);
	tell(&fake, PSB_LOW);
	assert_string_equal(await_line("told "), "told Low (memory is short)");
	effect = await_effect();
	at = clock_usec(CLOCK_MONOTONIC);
	/* the kernel counts RSS in batches, and others allocate, too */
	assert_in_range(effect.before - effect.after, 600, 680);
	assert_in_range(effect.msec, 30, 5000);
	/* memory may go back a while after the collection: that is waited for */
	assert_true(at - fake.returned_usec >= 650 * USEC_PER_MSEC);
	assert_int_equal(collected(&fake), 1);
	stop(&fake);
}

PROMISE(a_collection_never_runs_on_the_bridges_thread)
{
	start_and_await_ready(&fake);
	hold_receiver(&fake.rx, true);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.rx.inside == 1);
	assert_string_equal(fake.thread_name, "psb-hook");
	assert_int_equal(sigismember(&fake.blocked, SIGTERM), 1);
	assert_int_equal(sigismember(&fake.blocked, SIGCHLD), 1);
	assert_int_equal(count_threads(), 2); /* and the loop's */
	/* the bridge goes on: what comes meanwhile is there when it is over, the newest of it */
	tell(&fake, PSB_NEUTRAL);
	tell(&fake, PSB_HIGH);
	await_read(&fake);
	assert_int_equal(count_lines("told "), 1);
	hold_receiver(&fake.rx, false);
	await_line("told ");
	stop(&fake);
}

PROMISE(the_first_low_is_worth_a_collection_and_later_ones_if_enough_has_grown)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	start_and_await_ready(&fake); /* PSIBRIDGE_GROWN is 50 MiB */
	press_once(&fake);
	await_effect();
	assert_int_equal(collected(&fake), 1);

	tell(&fake, PSB_LOW);
	assert_non_null(
		strstr(await_line("kept: "), ", little has grown since the last collection"));
	tell(&fake, PSB_HIGH);
	await_line("told High");
	fake_grow(&fake, MIB(40));
	press_once(&fake);
	assert_int_equal(count_lines("kept: "), 2);
	assert_int_equal(collected(&fake), 1);
	fake_grow(&fake, MIB(20));
	press_once(&fake);
	assert_int_equal(collected(&fake), 2);
	assert_in_range(await_effect().before, 600, 100000);
	stop(&fake);
}

PROMISE(two_collections_are_apart_however_much_has_grown)
{
	setenv("PSIBRIDGE_APART", "1h", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start_and_await_ready(&fake);
	press_once(&fake);
	fake_grow(&fake, MIB(100));
	tell(&fake, PSB_LOW);
	assert_non_null(strstr(await_line("kept: "), ", the last collection is not long ago"));
	tell(&fake, PSB_HIGH);
	await_line("told High");
	assert_int_equal(collected(&fake), 1);
	stop(&fake);
}

/* The effect of the one before is looked at first: afterwards nobody could tell them apart. */
PROMISE(grown_0_makes_every_low_count)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start_and_await_ready(&fake);
	fake_grow(&fake, MIB(64)); /* a fifth of which does not come back */
	for (unsigned i = 1; i <= 3; i++) {
		AWAIT_FOR(&fake.rx, false, 2 * USEC_PER_MSEC); /* PSIBRIDGE_APART */
		press_once(&fake);
		assert_int_equal(collected(&fake), i);
	}
	assert_int_equal(count_lines("kept: "), 0);
	stop(&fake);
	assert_int_equal(count_lines("collected: "), 3);
}

PROMISE(what_the_runtime_refuses_is_told_once_and_asked_for_again)
{
	start_and_await_ready(&fake);
	SET(&fake, result, -EPERM);
	press_once(&fake);
	press_once(&fake);
	assert_int_equal(collected(&fake), 2);
	assert_int_equal(count_lines("the runtime did not collect: Operation not permitted"), 1);
	assert_int_equal(count_lines("collected: "), 0);

	SET(&fake, result, 0); /* that was no collection, so the next one is not too soon */
	press_once(&fake);
	assert_int_equal(collected(&fake), 3);
	await_effect();
	stop(&fake);
}

PROMISE(a_runtime_that_is_still_starting_is_asked_again)
{
	start_and_await_ready(&fake);
	SET(&fake, result, -EAGAIN);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.rx.calls >= 3);
	SET(&fake, result, 0);
	await_effect();
	assert_int_equal(count_lines("the runtime did not collect: "), 0);
	stop(&fake);
}

PROMISE(a_runtime_that_never_starts_is_told_of)
{
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);

	start_and_await_ready(&fake);
	SET(&fake, result, -EAGAIN);
	tell(&fake, PSB_LOW);
	await_line("the runtime did not collect: it is still starting");
	assert_true(clock_usec(CLOCK_MONOTONIC) - begin >= 2 * USEC_PER_SEC);
	stop(&fake);
}

/* ---- settling ------------------------------------------------------------------------------------- */

static const struct hook_runtime settling = {
	.name = "fake",
	.collect = fake_collect,
	.settle = fake_settle,
};

static unsigned settled(struct fake *f)
{
	unsigned n;

	pthread_mutex_lock(&f->rx.lock);
	n = f->settled;
	pthread_mutex_unlock(&f->rx.lock);
	return n;
}

PROMISE(what_goes_back_later_is_waited_for_and_told_once)
{
	struct report effect;

	start_told(&settling, &fake);
	SET(&fake, steps, 5);
	SET(&fake, step_usec, 20 * USEC_PER_MSEC);
	tell(&fake, PSB_LOW);
	effect = await_effect();
	assert_int_equal(settled(&fake), 5);
	assert_int_equal(collected(&fake), 1);
	assert_int_equal(count_lines("collected: "), 1);
	stop(&fake);
	assert_int_equal(fake.settled, 5);
	assert_in_range(fake.settled_bytes, effect.after * MIB(1) / 10 - MIB(2),
			effect.after * MIB(1) / 10 + MIB(2));
}

PROMISE(while_it_settles_it_is_told_and_may_be_stopped)
{
	unsigned before;

	start_told(&settling, &fake);
	SET(&fake, steps, UINT_MAX);
	SET(&fake, step_usec, 10 * USEC_PER_MSEC);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.settled >= 2);
	tell(&fake, PSB_HIGH);
	await_line("told High");
	before = settled(&fake);
	AWAIT(&fake.rx, fake.settled > before); /* it goes on: what was freed is still here */
	assert_int_equal(count_lines("collected: "), 0);
	stop(&fake);
	assert_int_equal(count_lines("collected: "), 1);
}

/* 20 times its length would keep the next Low away for 10 s. */
PROMISE(the_time_it_settles_keeps_no_low_away)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start_told(&settling, &fake);
	SET(&fake, steps, 6);
	SET(&fake, step_usec, 100 * USEC_PER_MSEC);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.settled == 6);
	tell(&fake, PSB_LOW);
	AWAIT_FOR(&fake.rx, fake.rx.calls == 2, 5 * USEC_PER_SEC);
	assert_int_equal(collected(&fake), 2);
	stop(&fake);
}

/* ---- what it is told to do ------------------------------------------------------------------------- */

PROMISE(collect_says_at_which_level)
{
	static const struct {
		const char *collect;
		unsigned at_low, at_critical;
	} table[] = { { "low", 1, 1 }, { "critical", 0, 1 }, { "off", 0, 0 } };

	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		setenv("PSIBRIDGE_COLLECT", table[i].collect, 1);
		start_and_await_ready(&fake);
		tell(&fake, PSB_LOW);
		await_line("told Low (memory is short)");
		tell(&fake, PSB_NEUTRAL);
		await_line("told Neutral");
		AWAIT_FOR(&fake.rx, false, 2 * USEC_PER_MSEC); /* PSIBRIDGE_APART */
		tell_record(&fake, WIRE_LEVEL, PSB_LOW, true);
		await_line("told Low, critical (memory is very short)");
		tell(&fake, PSB_HIGH);
		await_line("told High (memory is plentiful)");
		assert_int_equal(collected(&fake), table[i].at_low + table[i].at_critical);
		stop(&fake);
	}
}

/* Of the settings, of what became of it, and of what the level of a line is. */
PROMISE(it_says_as_much_as_it_is_told_to)
{
	static const struct {
		const char *log;
		unsigned ready, told, refused, nonsense, ended;
	} table[] = {
		{ "off", 0, 0, 0, 0, 0 },  { "error", 0, 0, 1, 0, 0 },
		{ "", 0, 0, 1, 1, 0 },	   { "warning", 0, 0, 1, 1, 0 },
		{ "info", 1, 2, 1, 1, 0 }, { "debug", 1, 2, 1, 1, 1 },
	};

	setenv("PSIBRIDGE_GROWN", "a lot", 1);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		said_count = read_count = 0;
		setenv("PSIBRIDGE_LOG", table[i].log, 1);
		start(&fake);
		SET(&fake, result, -EPERM);
		tell(&fake, PSB_LOW);
		AWAIT(&fake.rx, fake.rx.calls == 1);
		tell(&fake, PSB_HIGH);
		if (table[i].told > 0)
			await_line("told High");
		stop(&fake);
		assert_int_equal(count_lines("ready: "), table[i].ready);
		assert_int_equal(count_lines("told "), table[i].told);
		assert_int_equal(count_lines("the runtime did not collect: "), table[i].refused);
		assert_int_equal(count_lines("PSIBRIDGE_GROWN=a lot: "), table[i].nonsense);
		assert_int_equal(count_lines("ended"), table[i].ended);
	}
}
