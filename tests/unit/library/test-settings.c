/* SPDX-License-Identifier: MIT */
/*
 * test-settings.c - psb_settings_read(): what the PSIBRIDGE_ variables say, and what is said of those that make no sense
 *
 * What came of a reading is a text: each member that is not at its default, in the order of the structures.
 */
#include <inttypes.h>

#include "../unit.h"
#include "core/util.h"
#include "psibridge/tools.h"

static char lines[8][512];
static unsigned line_count;

static void note_line(void *userdata, int priority, const char *message)
{
	assert_ptr_equal(userdata, lines);
	assert_int_equal(priority, 4);
	assert_true(line_count < ELEMENTSOF(lines));
	snprintf(lines[line_count++], sizeof(lines[0]), "%s", message);
}

static const char *printed(const struct psb_settings *s)
{
	const struct psb_watch_options *o = s->watch, rest = { .size = sizeof(rest) };
	const struct {
		const char *name;
		uint64_t value, normal;
	} numbers[] = {
		{ "enabled", (uint64_t)s->enabled, 1 },
		{ "log", (uint64_t)s->log_priority, 4 },
		{ "collect", (uint64_t)s->collect, PSB_COLLECT_LOW },
		{ "apart", s->apart_usec, 5 * USEC_PER_SEC },
		{ "grown", s->grown_bytes, PSB_GROWN_SHARE },
		{ "rearm", o->rearm_usec, 0 },
		{ "quiet", o->quiet_usec, 0 },
		{ "calm", o->calm_usec, 0 },
		{ "headroom", o->headroom_percent, 0 },
		{ "descendants", o->descendants, 0 },
		{ "forecast", o->forecast_usec, 0 },
	};
	const char *const texts[] = { o->cgroup, o->source, o->early, o->low, o->critical };
	struct psb_watch_options known = *o;
	static char text[600];
	char *at = text;

	*at = '\0';
	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		if (numbers[i].value != numbers[i].normal)
			at += sprintf(at, "%s %" PRId64 ",", numbers[i].name,
				      (int64_t)numbers[i].value);
	for (size_t i = 0; i < ELEMENTSOF(texts); i++)
		if (texts[i])
			at += sprintf(at, "%s,", texts[i]);
	/* and nothing else */
	known.cgroup = known.source = known.early = known.low = known.critical = NULL;
	known.rearm_usec = known.quiet_usec = known.calm_usec = known.headroom_percent = 0;
	known.forecast_usec = 0;
	known.descendants = 0;
	assert_memory_equal(&known, &rest, sizeof(rest));
	return text;
}

/* `environment` NULL: the process's own. */
static const char *read_from(const char *const *environment, unsigned flags)
{
	struct psb_watch_options options;
	struct psb_settings settings;
	int r;

	memset(&settings, 0xa5, sizeof(settings));
	memset(&options, 0xa5, sizeof(options));
	settings.size = sizeof(settings);
	settings.watch = &options;
	options.size = sizeof(options);
	line_count = 0;
	if (environment)
		r = psb_settings_read_from(environment, flags, note_line, lines, &settings);
	else
		r = psb_settings_read(note_line, lines, &settings);
	assert_int_equal(r, 0);
	assert_int_equal(settings.size, sizeof(settings));
	assert_int_equal(settings.refused, line_count);
	return printed(&settings);
}

PROMISE(the_environment_counts_and_without_it_the_defaults)
{
	char **theirs = environ;

	environ = NULL; /* as clearenv(3) leaves it */
	assert_string_equal(read_from(NULL, 0), "");
	environ = theirs;
	setenv("PSIBRIDGE_GROWN", "1M", 1);
	assert_string_equal(read_from(NULL, 0), "grown 1048576,");
	unsetenv("PSIBRIDGE_GROWN");
}

/* Of two the first counts; strings are the environment's, no copies. */
PROMISE(each_variable_ends_up_where_it_belongs)
{
	static const char *const all[] = {
		"PSIBRIDGE=off",
		"PSIBRIDGE_LOG=debug",
		"PSIBRIDGE_COLLECT=critical",
		"PSIBRIDGE_APART=1min",
		"PSIBRIDGE_GROWN=1G",
		"PSIBRIDGE_CGROUP=/a.slice/b.service",
		"PSIBRIDGE_SOURCE=/run/fifo",
		"PSIBRIDGE_EARLY=some 1ms/1s",
		"PSIBRIDGE_LOW=some 2000 1000000",
		"PSIBRIDGE_CRITICAL=full 3ms/1s",
		"PSIBRIDGE_REARM=4s",
		"PSIBRIDGE_QUIET=5s",
		"PSIBRIDGE_CALM=6s",
		"PSIBRIDGE_HIGH_HEADROOM=7%",
		"PSIBRIDGE_FORECAST=8s",
		"PSIBRIDGE_DESCENDANTS=yes",
		"PSIBRIDGE_LOW=",
		"PSIBRIDGE_APART=nonsense",
		NULL,
	};
	struct psb_watch_options o = { .size = sizeof(o) };
	struct psb_settings s = { .size = sizeof(s), .watch = &o };

	assert_string_equal(
		read_from(all, 0),
		"enabled 0,log 7,collect 1,apart 60000000,grown 1073741824,rearm 4000000,quiet 5000000,"
		"calm 6000000,headroom 7,descendants 1,forecast 8000000,/a.slice/b.service,/run/fifo,some 1ms/1s,some 2000 1000000,"
		"full 3ms/1s,");
	assert_int_equal(line_count, 0);
	assert_int_equal(psb_settings_read_from(all, 0, NULL, NULL, &s), 0);
	assert_ptr_equal(o.cgroup, strchr(all[5], '=') + 1);
	assert_ptr_equal(o.low, strchr(all[8], '=') + 1);
}

/* What is told of it goes on so, or, behind a blank, in the words of core's parsers (tests/unit/core/test-parsers.c). */
#define INSTEAD "; the default counts"
#define ON_OR_OFF ": on or off was expected"
#define PRIORITIES ": off, error, warning, info or debug was expected"
#define TIME ": a time from 1ms to 24h, such as 10s, was expected"
#define LIKE(name) ": there is no such variable; did you mean PSIBRIDGE_" name "?"
#define NONE ": there is no such setting"

static const struct {
	const char *variable; /* NAME=VALUE */
	const char *result;
	const char *told; /* behind the variable; NULL: nothing is */
	unsigned flags;
} rows[] = {
	{ "PSIBRIDGE=", "", NULL, 0 },
	{ "PSIBRIDGE_LOG=", "", NULL, 0 },
	{ "PSIBRIDGE_LOW=", "", NULL, 0 },
	{ "PSIBRIDGE_CGROUP=", "", NULL, 0 },
	{ "PSIBRIDGE_GROWN=", "", NULL, 0 },
	{ "PSIBRIDGE=on", "", NULL, 0 },
	{ "PSIBRIDGE=YES", "", NULL, 0 },
	{ "PSIBRIDGE=0", "enabled 0,", NULL, 0 },
	{ "PSIBRIDGE=Off", "enabled 0,", NULL, 0 },
	{ "PSIBRIDGE=maybe", "", ON_OR_OFF INSTEAD, 0 },
	{ "PSIBRIDGE_LOG=off", "log -1,", NULL, 0 },
	{ "PSIBRIDGE_LOG=error", "log 3,", NULL, 0 },
	{ "PSIBRIDGE_LOG=warning", "", NULL, 0 },
	{ "PSIBRIDGE_LOG=info", "log 6,", NULL, 0 },
	{ "PSIBRIDGE_LOG=Info", "", PRIORITIES INSTEAD, 0 },
	{ "PSIBRIDGE_COLLECT=low", "", NULL, 0 },
	{ "PSIBRIDGE_COLLECT=off", "collect 2,", NULL, 0 },
	{ "PSIBRIDGE_COLLECT=always", "", ": low, critical or off was expected" INSTEAD, 0 },
	{ "PSIBRIDGE_APART=1ms", "apart 1000,", NULL, 0 },
	{ "PSIBRIDGE_APART=0", "", TIME INSTEAD, 0 },
	{ "PSIBRIDGE_GROWN=0", "grown 0,", NULL, 0 },
	{ "PSIBRIDGE_GROWN=4096", "grown 4096,", NULL, 0 },
	{ "PSIBRIDGE_GROWN=50MB", "", ": a size such as 50M was expected" INSTEAD, 0 },
	{ "PSIBRIDGE_GROWN=99999999T", "",
	  ": that is more than there is; a size such as 50M was expected" INSTEAD, 0 },
	{ "PSIBRIDGE_REARM=25h", "", TIME INSTEAD, 0 },
	{ "PSIBRIDGE_CALM=\x1b[2J", "", " ", 0 },
	{ "PSIBRIDGE_QUIET=7s\nforged", "", " ", 0 },
	{ "PSIBRIDGE_QUIET=auto", "", NULL, 0 },
	{ "PSIBRIDGE_EARLY=some", "", " ", 0 },
	{ "PSIBRIDGE_LOW=some 3s/2s", "",
	  ": the threshold is longer than the window; a trigger such as some 200ms/2s was expected" INSTEAD,
	  0 },
	{ "PSIBRIDGE_CRITICAL=10%", "", " ", 0 },
	{ "PSIBRIDGE_HIGH_HEADROOM=25", "headroom 25,", NULL, 0 },
	{ "PSIBRIDGE_HIGH_HEADROOM=off", "headroom 4294967295,", NULL, 0 },
	{ "PSIBRIDGE_HIGH_HEADROOM=100%", "",
	  ": a percentage from 1% to 99%, or off, was expected" INSTEAD, 0 },
	/* a slip of the pen is told, what others read, or a newer version, is not */
	{ "PSIBRIDGE_LWO", "", LIKE("LOW"), 0 },
	{ "PSIBRIDGE_COLECT", "", LIKE("COLLECT"), 0 },
	{ "PSIBRIDGE_HIGHHEADROOM", "", LIKE("HIGH_HEADROOM"), 0 },
	{ "PSIBRIDGE_log", "", LIKE("LOG"), 0 },
	{ "PSIBRIDGE_BACKEND=x", "", NULL, 0 },
	{ "PSIBRIDGE_CONTROL=x", "", NULL, 0 },
	{ "PSIBRIDGE_HOOKS=x", "", NULL, 0 },
	{ "PSIBRIDGE_LIBRARY=x", "", NULL, 0 },
	{ "PSIBRIDGE_TEST_TIMEOUT=x", "", NULL, 0 },
	{ "PSIBRIDGE_=x", "", NULL, 0 },
	{ "PSIBRIDGE_FROM_A_NEWER=x", "", NULL, 0 },
	{ "PSIBRIDGELOW=x", "", NULL, 0 },
	{ "MYPSIBRIDGE_LWO=x", "", NULL, 0 },
	{ "PATH=/bin", "", NULL, 0 },
	/* a strict reader takes settings and nothing else */
	{ "PSIBRIDGE=on", "", NULL, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_LOG=info", "log 6,", NULL, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_LOG=", "", NULL, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_LOG=loud", "", PRIORITIES, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_", "", NONE, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGES", "", NONE, PSB_SETTINGS_STRICT },
	{ "psibridge_log", "", NONE, PSB_SETTINGS_STRICT },
	{ "", "", NONE, PSB_SETTINGS_STRICT },
	{ "LOW", "", LIKE("LOW"), PSB_SETTINGS_STRICT },
	{ "DOTNET_gcServer", "", NONE, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_BACKEND", "", NONE, PSB_SETTINGS_STRICT },
	{ "PSIBRIDGE_APRAT", "", LIKE("APART"), PSB_SETTINGS_STRICT },
};

PROMISE(every_word_means_what_the_manual_says_and_nonsense_is_told_by_name)
{
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		char variable[64], told[256];
		const char *one[] = { variable, NULL }, *result;

		snprintf(variable, sizeof(variable), "%s%s", rows[i].variable,
			 strchr(rows[i].variable, '=') ? "" : "=x");
		result = read_from(one, rows[i].flags);
		if (strcmp(result, rows[i].result) != 0)
			fail_msg("%s is taken for %s", variable, result);
		assert_int_equal(line_count, rows[i].told != NULL);
		if (!rows[i].told)
			continue;
		snprintf(told, sizeof(told), "%s%s", rows[i].variable, rows[i].told);
		if (rows[i].told[0] != ' ')
			assert_string_equal(lines[0], told);
		else
			assert_non_null(strstr(lines[0], " was expected; the default counts"));
		assert_null(strpbrk(lines[0], "\n\x1b"));
	}
}

/* psb_watch_new() would refuse them, and nothing would be watched. */
PROMISE(an_early_trigger_over_the_others_is_told_and_the_defaults_count)
{
	static const struct {
		const char *variables[3];
		const char *result, *told;
	} table[] = {
		{ { "PSIBRIDGE_EARLY=some 300ms/2s", "PSIBRIDGE_CALM=6s", NULL },
		  "calm 6000000,",
		  "PSIBRIDGE_EARLY \"some 300ms/2s\" is over PSIBRIDGE_LOW \"some 200ms/2s\"" },
		{ { "PSIBRIDGE_LOW=some 10ms/2s", NULL, NULL },
		  "",
		  "PSIBRIDGE_EARLY \"some 20ms/2s\" is over" },
		{ { "PSIBRIDGE_CRITICAL=full 10ms/2s", NULL, NULL },
		  "",
		  "is over PSIBRIDGE_CRITICAL" },
		{ { "PSIBRIDGE_LOW=some 10ms/2s", "PSIBRIDGE_EARLY=some 1ms/2s", NULL },
		  "some 1ms/2s,some 10ms/2s,",
		  NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_string_equal(read_from(table[i].variables, 0), table[i].result);
		assert_int_equal(line_count, table[i].told != NULL);
		if (!table[i].told)
			continue;
		assert_non_null(strstr(lines[0], table[i].told));
		assert_non_null(strstr(lines[0], "; the defaults of all three count"));
		/* one after the other: what belongs together is not known */
		read_from(table[i].variables, PSB_SETTINGS_STRICT);
		assert_int_equal(line_count, 0);
	}
}

PROMISE(what_is_no_assignment_is_told_by_a_strict_reader_only)
{
	static const char *const neither[] = { "PSIBRIDGE_LOG", "", NULL };

	assert_string_equal(read_from(neither, 0), "");
	assert_int_equal(line_count, 0);
	assert_string_equal(read_from(neither, PSB_SETTINGS_STRICT), "");
	assert_string_equal(lines[0], "PSIBRIDGE_LOG: NAME=VALUE was expected");
	assert_string_equal(lines[1], ": NAME=VALUE was expected");
}

/* One wrong word does not cost the others, and however long it is, its line says what it is about. */
PROMISE(each_variable_stands_for_itself)
{
	char low[4096] = "PSIBRIDGE_LOW=", apart[4096] = "PSIBRIDGE_APART=";
	const char *const some[] = { low, apart, "PSIBRIDGE_CRITICAL=full 50ms/1s",
				     "PSIBRIDGE_GROWN=1M", NULL };

	memset(low + strlen(low), 'x', sizeof(low) - strlen(low) - 1);
	memset(apart + strlen(apart), 'x', sizeof(apart) - strlen(apart) - 1);
	assert_string_equal(read_from(some, 0), "grown 1048576,full 50ms/1s,");
	assert_int_equal(line_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_memory_equal(lines[i], some[i], 30);
		assert_non_null(strstr(lines[i], " was expected; the default counts"));
	}
}

/* Of both structures, each has its own size; and nothing of them is touched. */
PROMISE(what_makes_no_sense_is_refused_and_without_a_log_it_is_counted_all_the_same)
{
	static const char *const nonsense[] = { "PSIBRIDGE_LOW=nonsense", "PSIBRIDGE_LWO=x", NULL };
	struct psb_watch_options o = { .size = sizeof(o) };
	struct psb_settings s = { .size = sizeof(s), .watch = &o, .refused = 77 };

	assert_int_equal(psb_settings_read(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(psb_settings_read_from(NULL, 0, NULL, NULL, &s), -EINVAL);
	assert_int_equal(psb_settings_read_from(nonsense, 2, NULL, NULL, &s), -EINVAL);
	o.size = 0;
	assert_int_equal(psb_settings_read(NULL, NULL, &s), -EINVAL);
	assert_int_equal(s.refused, 77);
	o.size = sizeof(o);
	assert_int_equal(psb_settings_read_from(nonsense, 0, NULL, NULL, &s), 0);
	assert_int_equal(s.refused, 2);
	assert_null(o.low);
}
