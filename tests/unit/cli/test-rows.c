/* SPDX-License-Identifier: MIT */
/*
 * test-rows.c - cgroups over several surveys: rates, comings and goings, levels (src/cli/rows.h)
 *
 * psb_survey() is this test's: it tells what is in a text.
 */
#include "../unit.h"
#include "cli/rows.h"

#define SEC USEC_PER_SEC

static const char *world; /* NULL: too many open files */
static char asked_for[256];

/* Each cgroup's `some` in milliseconds, of which a half is full; "-": it has no PSI. */
int psb_survey(const char *pattern, psb_survey_fn *fn, void *userdata)
{
	size_t used = strlen(asked_for);
	char cgroup[32], some[16];
	int n;

	snprintf(asked_for + used, sizeof(asked_for) - used, "%s ", pattern);
	if (!world)
		return -EMFILE;
	for (const char *p = world; sscanf(p, "%31s %15s %n", cgroup, some, &n) == 2; p += n) {
		uint64_t usec = strtoull(some, NULL, 10) * USEC_PER_MSEC;
		struct psb_survey_row row = {
			.size = sizeof(row),
			.cgroup = cgroup,
			.has_pressure = some[0] != '-',
			.some_total_usec = usec,
			.full_total_usec = usec / 2,
		};

		/* no pattern matches the root */
		if ((strcmp(pattern, "/") == 0) == (strcmp(cgroup, "/") == 0))
			fn(&row, userdata);
	}
	return 0;
}

const char *psb_version(void)
{
	return "0";
}

/* `some` and `full` of each in percent, or "-". */
static const char *rates(const struct rows *rows)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	for (const struct row *row = rows->all; row < rows->all + rows->count; row++)
		n += (size_t)(row->has_rate
				      ? snprintf(text + n, sizeof(text) - n, "%s %.4g/%.4g ",
						 row->cgroup, row->some_centi / 100.0,
						 row->full_centi / 100.0)
				      : snprintf(text + n, sizeof(text) - n, "%s - ", row->cgroup));
	return text;
}

PROMISE(a_rate_is_growth_over_the_interval)
{
	static const struct {
		unsigned at; /* seconds */
		const char *world, *rates;
	} surveys[] = {
		/* the first one knows none */
		{ 10, "/ 9000 /a 1000 /b 1000 /c 1000", "/ - /a - /b - /c - " },
		/* the kernel adds up a little late, so more than the interval may come at once */
		{ 12, "/ 9000 /a 1000 /b 1500 /c 9000", "/ 0/0 /a 0/0 /b 25/12.5 /c 100/100 " },
		/* what is new stalled since it was made, also where it has the name of another */
		{ 13, "/a 1000 /b 100 /d 300", "/a 0/0 /b 10/5 /d 30/15 " },
		/* without PSI there is no rate, nor when it comes back */
		{ 14, "/a - /b 100 /d 300", "/a - /b 0/0 /d 0/0 " },
		{ 15, "/a 9000", "/a - " },
		{ 16, "/a 9500", "/a 50/25 " },
		/* after a survey that failed it is not known when anything stalled */
		{ 17, NULL, "" },
		{ 18, "/a 9600 /b 100", "/a - /b - " },
		{ 19, "/a 9600 /b 200", "/a 0/0 /b 10/5 " },
	};
	struct rows rows = { 0 };

	for (size_t i = 0; i < ELEMENTSOF(surveys); i++) {
		world = surveys[i].world;
		asked_for[0] = '\0';
		assert_int_equal(rows_survey(&rows, NULL, surveys[i].at * SEC),
				 world ? 0 : -EMFILE);
		assert_string_equal(rates(&rows), surveys[i].rates);
	}
	assert_string_equal(asked_for, "/ ** ");
	assert_int_equal(rows.interval_usec, SEC);
	assert_int_equal(rows.all[0].now.some_total_usec, 9600 * USEC_PER_MSEC);
	assert_int_equal(rows_survey(&rows, "*", 20 * SEC), 0);
	assert_string_equal(asked_for, "/ ** * ");
	rows_done(&rows);
}

PROMISE(the_last_thirty_rates_are_kept)
{
	struct rows rows = { 0 };
	char text[32];

	world = text;
	for (unsigned i = 0; i <= 40; i++) {
		/* grows by i milliseconds in the i-th second */
		snprintf(text, sizeof(text), "/a %u", i * (i + 1) / 2);
		assert_int_equal(rows_survey(&rows, "*", (10 + i) * SEC), 0);
		assert_int_equal(rows.all[0].history_count, MIN(i, (unsigned)ROWS_HISTORY));
	}
	for (unsigned i = 0; i < ROWS_HISTORY; i++)
		assert_int_equal(rows.all[0].history[i], (40 - ROWS_HISTORY + 1 + i) * 10);
	rows_done(&rows);
}

/* ---- levels ---------------------------------------------------------------------------------- */

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

PROMISE(levels_are_psibridged_s)
{
	static const struct {
		const char *cgroup;
		unsigned available;
		bool critical;
	} table[] = {
		{ "/", 0, false },    /* no watch covers it */
		{ "/b/x", 0, false }, /* a watch that does not watch */
		{ "/one", PSB_HIGH, false },
		{ "/one/below", 0, false },
		{ "/s", 0, false },
		{ "/s/x", PSB_LOW, true }, /* something below it is */
		{ "/s/x/deep", PSB_LOW, true },
		{ "/s/y", PSB_HIGH, false }, /* it was judged itself */
		{ "/s/y/deep", PSB_NEUTRAL, false },
		{ "/s/z", PSB_HIGH, false }, /* covered, and not named: at rest */
		{ "/two", PSB_LOW, false },  /* the worst of what two watches say */
	};
	struct rows rows = { 0 };
	json_t *status = json_loads(status_text, 0, NULL);

	assert_non_null(status);
	world = "/ 0 /s 0 /s/x 0 /s/x/deep 0 /s/y 0 /s/y/deep 0 /s/z 0 /one 0 /one/below 0 /two 0 "
		"/b/x 0";
	assert_int_equal(rows_survey(&rows, NULL, 10 * SEC), 0);
	assert_int_equal(rows.count, ELEMENTSOF(table));
	for (int twice = 0; twice < 2; twice++) {
		rows_judge(&rows, status);
		for (size_t i = 0; i < ELEMENTSOF(table); i++) {
			const struct row *row = &rows.all[i];

			assert_string_equal(row->cgroup, table[i].cgroup);
			if (row->available != table[i].available ||
			    row->critical != table[i].critical)
				fail_msg("%s is %u%s", row->cgroup, row->available,
					 row->critical ? ", critical" : "");
		}
	}
	rows_judge(&rows, NULL);
	for (size_t i = 0; i < rows.count; i++)
		assert_false(rows.all[i].available || rows.all[i].critical || rows.all[i].judged);
	json_decref(status);
	rows_done(&rows);
}
