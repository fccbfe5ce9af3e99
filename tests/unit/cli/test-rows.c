/* SPDX-License-Identifier: MIT */
/*
 * test-rows.c - cgroups over several surveys: rates, comings and goings, levels (src/cli/rows.h)
 *
 * psb_survey() is this test's: it tells a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "cli/rows.h"

#define SEC USEC_PER_SEC

static struct psb_survey_row world[64];
static size_t world_count;
static int world_error;
static char asked_for[256];

int psb_survey(const char *pattern, psb_survey_fn *fn, void *userdata)
{
	size_t used = strlen(asked_for);

	snprintf(asked_for + used, sizeof(asked_for) - used, "%s ", pattern);
	if (world_error < 0)
		return world_error;
	/* no pattern matches the root */
	for (size_t i = 0; i < world_count; i++)
		if ((strcmp(pattern, "/") == 0) == (strcmp(world[i].cgroup, "/") == 0))
			fn(&world[i], userdata);
	return 0;
}

const char *psb_version(void)
{
	return "0";
}

/* In place of the world before: cgroups with their `some` and `full` in milliseconds. */
static void make_world(const char *const *cgroups, const unsigned *some_msec, size_t count)
{
	memset(world, 0, sizeof(world));
	world_count = count;
	world_error = 0;
	asked_for[0] = '\0';
	for (size_t i = 0; i < count; i++)
		world[i] = (struct psb_survey_row){
			.size = sizeof(world[i]),
			.cgroup = cgroups[i],
			.has_pressure = 1,
			.some_total_usec = some_msec ? some_msec[i] * USEC_PER_MSEC : 0,
			.full_total_usec = some_msec ? some_msec[i] * USEC_PER_MSEC / 2 : 0,
		};
}

#define WORLD(some, ...)                                       \
	make_world((const char *const[]){ __VA_ARGS__ }, some, \
		   sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))
#define SOME(...) ((const unsigned[]){ __VA_ARGS__ })

static struct row *row_of(struct rows *rows, const char *cgroup)
{
	for (size_t i = 0; i < rows->count; i++)
		if (strcmp(rows->all[i].cgroup, cgroup) == 0)
			return &rows->all[i];
	return NULL;
}

static int set_up(void **state)
{
	static struct rows rows;

	*state = &rows;
	return 0;
}

static int tear_down(void **state)
{
	rows_done(*state);
	memset(*state, 0, sizeof(struct rows));
	return 0;
}

static void the_first_survey_knows_no_rates(void **state)
{
	struct rows *rows = *state;

	WORLD(SOME(9000, 5000), "/", "/a");
	assert_int_equal(rows_survey(rows, NULL, 10 * SEC), 0);
	assert_string_equal(asked_for, "/ ** ");
	assert_int_equal(rows->count, 2);
	assert_int_equal(rows->interval_usec, 0);
	assert_false(row_of(rows, "/a")->has_rate);
	assert_int_equal(row_of(rows, "/a")->now.some_total_usec, 5 * SEC);
	assert_int_equal(row_of(rows, "/a")->history_count, 0);
}

static void a_rate_is_growth_over_the_interval(void **state)
{
	struct rows *rows = *state;

	WORLD(SOME(1000, 1000, 1000), "/a", "/b", "/c");
	assert_int_equal(rows_survey(rows, "*", 10 * SEC), 0);
	assert_string_equal(asked_for, "* ");
	WORLD(SOME(1000, 1500, 9000), "/a", "/b", "/c");
	assert_int_equal(rows_survey(rows, "*", 12 * SEC), 0);
	assert_int_equal(rows->interval_usec, 2 * SEC);
	assert_true(row_of(rows, "/a")->has_rate);
	assert_int_equal(row_of(rows, "/a")->some_centi, 0);
	assert_int_equal(row_of(rows, "/b")->some_centi, 2500);
	assert_int_equal(row_of(rows, "/b")->full_centi, 1250);
	/* the kernel adds up a little late, so more than the interval may come at once */
	assert_int_equal(row_of(rows, "/c")->some_centi, 10000);
}

static void who_was_born_meanwhile_stalled_meanwhile(void **state)
{
	struct rows *rows = *state;

	WORLD(SOME(7000), "/again");
	assert_int_equal(rows_survey(rows, "*", 10 * SEC), 0);
	WORLD(SOME(100, 300), "/again", "/new"); /* "/again" is another one of that name */
	assert_int_equal(rows_survey(rows, "*", 11 * SEC), 0);
	assert_true(row_of(rows, "/new")->has_rate);
	assert_int_equal(row_of(rows, "/new")->some_centi, 3000);
	assert_int_equal(row_of(rows, "/again")->some_centi, 1000);
}

static void without_psi_there_is_no_rate_and_its_return_is_none(void **state)
{
	struct rows *rows = *state;

	WORLD(SOME(1000), "/a");
	assert_int_equal(rows_survey(rows, "*", 10 * SEC), 0);
	WORLD(SOME(0), "/a");
	world[0].has_pressure = 0;
	assert_int_equal(rows_survey(rows, "*", 11 * SEC), 0);
	assert_false(row_of(rows, "/a")->has_rate);
	WORLD(SOME(9000), "/a");
	assert_int_equal(rows_survey(rows, "*", 12 * SEC), 0);
	assert_false(row_of(rows, "/a")->has_rate);
	WORLD(SOME(9500), "/a");
	assert_int_equal(rows_survey(rows, "*", 13 * SEC), 0);
	assert_int_equal(row_of(rows, "/a")->some_centi, 5000);
}

static void who_is_gone_leaves_the_table(void **state)
{
	struct rows *rows = *state;

	WORLD(NULL, "/a", "/b", "/c");
	assert_int_equal(rows_survey(rows, "*", 10 * SEC), 0);
	WORLD(NULL, "/c");
	assert_int_equal(rows_survey(rows, "*", 11 * SEC), 0);
	assert_int_equal(rows->count, 1);
	assert_string_equal(rows->all[0].cgroup, "/c");
	world_error = -EMFILE;
	assert_int_equal(rows_survey(rows, "*", 12 * SEC), -EMFILE);
	assert_int_equal(rows->count, 0);
	WORLD(SOME(0, 100), "/a", "/c");
	assert_int_equal(rows_survey(rows, "*", 13 * SEC), 0);
	assert_int_equal(rows->count, 2);
	assert_false(row_of(rows, "/c")->has_rate); /* when it stalled is not known any more */
}

static void the_last_thirty_rates_are_kept(void **state)
{
	struct rows *rows = *state;

	for (unsigned i = 0; i <= 40; i++) {
		WORLD(SOME(i * (i + 1) / 2), "/a"); /* grows by i milliseconds in the i-th second */
		assert_int_equal(rows_survey(rows, "*", (10 + i) * SEC), 0);
	}
	assert_int_equal(rows->all[0].history_count, ROWS_HISTORY);
	for (unsigned i = 0; i < ROWS_HISTORY; i++)
		assert_int_equal(rows->all[0].history[i], (40 - ROWS_HISTORY + 1 + i) * 10);
}

/* ---- levels ---------------------------------------------------------------------------------- */

static json_t *status_of(const char *text)
{
	json_t *status = json_loads(text, 0, NULL);

	assert_non_null(status);
	return status;
}

static const char status_text[] =
	"{\"watches\":[{\"path\":\"s/**\",\"state\":\"watching\"},"
	"{\"path\":\"/one\",\"state\":\"watching\"},"
	"{\"path\":\"b/*\",\"state\":\"absent\"},"
	"{\"path\":\"a**\",\"state\":\"watching\"}]," /* none that this version understands */
	"\"cgroups\":[{\"cgroup\":\"/s/x/deep\",\"available\":\"low\",\"critical\":true},"
	"{\"cgroup\":\"/s/y\",\"available\":\"high\",\"critical\":false},"
	"{\"cgroup\":\"/s/y/deep\",\"available\":\"neutral\",\"critical\":false},"
	"{\"cgroup\":\"/two\",\"available\":\"neutral\",\"critical\":false},"
	"{\"cgroup\":\"/two\",\"available\":\"low\",\"critical\":false},"
	"{\"cgroup\":\"/gone\",\"available\":\"low\",\"critical\":false}]}";

static void levels_are_psibridged_s(void **state)
{
	static const struct {
		const char *cgroup;
		unsigned available;
		bool critical;
	} table[] = {
		{ "/", 0, false }, /* no watch covers it */
		{ "/s", 0, false },
		{ "/s/x", PSB_LOW, true }, /* something below it is */
		{ "/s/x/deep", PSB_LOW, true },
		{ "/s/y", PSB_HIGH, false }, /* it was judged itself */
		{ "/s/y/deep", PSB_NEUTRAL, false },
		{ "/s/z", PSB_HIGH, false }, /* covered, and not named: at rest */
		{ "/one", PSB_HIGH, false },
		{ "/one/below", 0, false },
		{ "/two", PSB_LOW, false }, /* the worst of what two watches say */
		{ "/b/x", 0, false },	    /* a watch that does not watch */
	};
	struct rows *rows = *state;
	json_t *status = status_of(status_text);

	WORLD(NULL, "/", "/s", "/s/x", "/s/x/deep", "/s/y", "/s/y/deep", "/s/z", "/one",
	      "/one/below", "/two", "/b/x");
	assert_int_equal(rows_survey(rows, NULL, 10 * SEC), 0);
	for (int twice = 0; twice < 2; twice++) {
		rows_judge(rows, status);
		for (size_t i = 0; i < ELEMENTSOF(table); i++) {
			const struct row *row = row_of(rows, table[i].cgroup);

			if (row->available != table[i].available ||
			    row->critical != table[i].critical)
				fail_msg("%s is %u%s", row->cgroup, row->available,
					 row->critical ? ", critical" : "");
		}
	}
	rows_judge(rows, NULL);
	for (size_t i = 0; i < rows->count; i++) {
		assert_int_equal(rows->all[i].available, 0);
		assert_false(rows->all[i].critical);
		assert_false(rows->all[i].judged);
	}
	json_decref(status);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_first_survey_knows_no_rates),
		CASE(a_rate_is_growth_over_the_interval),
		CASE(who_was_born_meanwhile_stalled_meanwhile),
		CASE(without_psi_there_is_no_rate_and_its_return_is_none),
		CASE(who_is_gone_leaves_the_table),
		CASE(the_last_thirty_rates_are_kept),
		CASE(levels_are_psibridged_s),
	};

	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
