/* SPDX-License-Identifier: MIT */
/*
 * test-tune.c - which setting is recommended (src/cli/tune-choose.c)
 *
 * A row is a purpose and two settings, of which the first is better for it; each is what is good for that purpose, but for what the
 * row says: "after=3 flaps=1".
 */
#include "../unit.h"
#include "cli/tune.h"
#include "core/setting.h"

static struct tune_point points[2];
static struct tune_result result;

/* In all: Lows told; that began in a light, heavy or lost episode, which are then spoken of; in vain; flaps; seconds in Low. Seconds after an
 * episode's begin, and before the limit; 0: it had no Low. `full`: its kind. */
enum { LOWS, LIGHT, HEAVY, LOST, VAIN, FLAPS, IN_LOW, AFTER, LEAD, FULL, PERMILLE, PACE, FIELDS };
static const char *const names[FIELDS] = { "lows",  "light", "heavy", "lost", "vain",	  "flaps",
					   "inlow", "after", "lead",  "full", "permille", "pace" };
static const char *const good[] = {
	[TUNE_TRIM] = "lows=6 light=2 heavy=2 lost=2 inlow=60 after=1 lead=9 permille=100",
	[TUNE_SHED] = "lows=4 heavy=2 lost=2 inlow=60 after=1 lead=9 permille=100",
	[TUNE_RESTART] = "lows=1 lost=1 inlow=60 after=1 lead=9 permille=100",
};

static void read_fields(const char *text, double *fields)
{
	char name[16];
	double value;
	int n;

	for (; sscanf(text, " %15[a-z]=%lf%n", name, &value, &n) == 2; text += n)
		for (unsigned i = 0; i < FIELDS; i++)
			if (strcmp(name, names[i]) == 0)
				fields[i] = value;
	assert_string_equal(text, "");
}

static void set(struct tune_point *p, enum tune_purpose purpose, const char *text)
{
	double f[FIELDS] = { 0 };

	read_fields(good[purpose], f);
	read_fields(text, f);
	*p = (struct tune_point){ .score = SCORE_INIT, .in_grid = true };
	settings_built_in(&p->candidate.options);
	p->candidate.options.low.kind = f[FULL] > 0 ? PSI_FULL : PSI_SOME;
	p->permille = (unsigned)f[PERMILLE];
	p->pace = (unsigned)f[PACE];
	p->score.lows = (unsigned)f[LOWS];
	for (unsigned i = 0; i < 3; i++) {
		p->score.began[i + SEVERITY_LIGHT] = (unsigned)f[LIGHT + i];
		p->score.spoken[i + SEVERITY_LIGHT] = MIN((unsigned)f[LIGHT + i],
							  result.episodes[i + SEVERITY_LIGHT]);
		p->score.delay_usec[i + SEVERITY_LIGHT] = (uint64_t)(f[AFTER] * USEC_PER_SEC) *
							  p->score.spoken[i + SEVERITY_LIGHT];
	}
	p->score.needless = (unsigned)f[VAIN];
	p->score.flaps = (unsigned)f[FLAPS];
	p->score.low_usec = (uint64_t)(f[IN_LOW] * USEC_PER_SEC);
	p->score.unseen = f[LEAD] == 0;
	if (f[LEAD] > 0)
		p->score.lead_usec = (uint64_t)(f[LEAD] * USEC_PER_SEC);
}

/* Of an hour with a limit that was reached, of which five seconds before are asked for. Returns: which; -1: none. */
static int choose(enum tune_purpose purpose, const char *a, const char *b, unsigned light,
		  unsigned heavy, unsigned lost)
{
	const struct tune_options options = { .purpose = purpose,
					      .at_most = tune_at_most[purpose],
					      .before_limit_usec = 5 * USEC_PER_SEC };

	result = (struct tune_result){ .points = points,
				       .count = 2,
				       .series = 1,
				       .episodes = { 0, light, heavy, lost },
				       .limits = 1,
				       .usec = 3600 * USEC_PER_SEC };
	set(&points[0], purpose, a);
	set(&points[1], purpose, b);
	tune_choose(&result, &options);
	return result.best ? (int)(result.best - points) : -1;
}

PROMISE(each_criterion_decides_where_those_before_it_do_not)
{
	static const struct {
		const char *what;
		enum tune_purpose purpose;
		const char *better, *worse;
	} table[] = {
		{ "not too often", TUNE_TRIM, "after=3", "lows=61" },
		{ "early before a limit", TUNE_TRIM, "after=3", "lead=4" },
		{ "a limit had a Low", TUNE_TRIM, "after=3", "lead=0" },
		{ "none is missed", TUNE_TRIM, "after=3", "light=1" },
		{ "it is early", TUNE_TRIM, "after=0.4 vain=1", "" },
		{ "half a second is no difference", TUNE_TRIM, "after=1.4", "vain=1" },
		{ "not in vain", TUNE_TRIM, "pace=1", "vain=1" },
		{ "to trim is often", TUNE_TRIM, "", "lows=4 pace=1" },
		{ "the built-in pace", TUNE_TRIM, "permille=200", "pace=1" },
		{ "near to the built-in", TUNE_TRIM, "", "permille=200" },
		{ "none in vain", TUNE_SHED, "inlow=900", "light=1" },
		{ "a missed one is as bad", TUNE_SHED, "inlow=900", "heavy=1" },
		{ "not Low for long", TUNE_SHED, "after=9", "inlow=900" },
		{ "5 % of it is no difference", TUNE_SHED, "inlow=120", "after=9" },
		{ "no flaps", TUNE_SHED, "after=9", "flaps=1" },
		{ "then early", TUNE_SHED, "pace=1", "after=9" },
		{ "a restart is never in vain", TUNE_RESTART, "after=20", "lost=2 heavy=1" },
		{ "then none is missed", TUNE_RESTART, "after=20", "lost=0" },
		{ "not late", TUNE_RESTART, "permille=50", "after=20" },
		{ "ten seconds are no difference", TUNE_RESTART, "after=10 permille=700", "" },
		{ "full rather than some", TUNE_RESTART, "full=1", "" },
		{ "much of it", TUNE_RESTART, "permille=700", "" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (choose(table[i].purpose, table[i].better, table[i].worse, 2, 2, 1) != 0 ||
		    choose(table[i].purpose, table[i].worse, table[i].better, 2, 2, 1) != 1)
			fail_msg("%s", table[i].what);
}

PROMISE(what_the_traces_do_not_bear_is_said)
{
	assert_int_equal(choose(TUNE_RESTART, "", "", 2, 2, 0), -1);
	assert_non_null(strstr(result.why_not, "was lost"));
	assert_int_equal(choose(TUNE_SHED, "", "", 2, 0, 0), -1);
	assert_non_null(strstr(result.why_not, "was heavy"));
	assert_int_equal(choose(TUNE_TRIM, "", "", 0, 0, 0), -1);
	/* both tell a lighter one, too */
	assert_int_equal(choose(TUNE_RESTART, "light=1", "heavy=1", 1, 1, 1), -1);
	assert_non_null(strstr(result.why_not, "from the others"));
	/* a recommendation, and what is to be said against it */
	assert_int_equal(choose(TUNE_TRIM, "lows=99", "lows=99 pace=1", 2, 2, 2), 0);
	assert_non_null(strstr(result.why_not, "so seldom"));
}
