/* SPDX-License-Identifier: MIT */
/*
 * test-config.c - psibridged.conf(5): what files mean, and what is said when something is wrong
 *
 * Files stand in a directory of the test's own that stands for "/". Complaints are compared to the letter: they are all that
 * one has who edits a file. Values and triggers by themselves are in core/test-parsers.c and core/test-trigger.c. That what is shown is
 * read as the same is in fuzz/fuzz-config.c, over its corpus.
 */
#include <sys/stat.h>

#include "../unit.h"
#include "config-bench.h"
#include "core/nearest.h"

#define DROP_IN MAIN ".d/50.conf"

static const struct settings built_in = {
	.policy = { .early = { PSI_SOME, 20000, 2000000 },
		    .low = { PSI_SOME, 200000, 2000000 },
		    .critical = { PSI_FULL, 100000, 2000000 },
		    .rearm_usec = 8192000,
		    .calm_usec = 10000000,
		    .headroom_percent = 25 },
};

static struct config *load_text(const char *text)
{
	fake_write(MAIN, text);
	return load_well();
}

/* Whatever is warned of. */
static struct config *load_text_anyhow(const char *text)
{
	struct complaints complaints = { .say = NULL };

	fake_write(MAIN, text);
	return config_load(fake_root, NULL, &complaints);
}

static char *show(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(config_show(config, out), 0);
	fclose(out);
	hide_root(text);
	return text;
}

/* Everything that is in force, in a few words. */
static const char *summary(const struct config *c)
{
	static char texts[2][1024];
	static unsigned next;
	char *text = texts[next++ % 2];
	FILE *out = fmemopen(text, sizeof(texts[0]), "w");
	unsigned built_ins = 0;

	for (size_t i = 0; i < c->watch_count; i++) {
		const struct config_watch *w = &c->watches[i];
		const struct policy_options *p = &w->settings.policy;

		if (strstr(w->path, ".slice/**") && settings_equal(&w->settings, &built_in))
			built_ins++;
		else
			fprintf(out, "%s%s %us %ums, ", w->path, w->settings.shadow ? "!" : "",
				(unsigned)(p->calm_usec / USEC_PER_SEC),
				(unsigned)(p->low.threshold_usec / USEC_PER_MSEC));
	}
	fprintf(out, "%u built in; %us %u,%u,%u %d%d", built_ins,
		(unsigned)(c->defaults.policy.calm_usec / USEC_PER_SEC), c->clients_max,
		c->clients_per_cgroup, c->clients_per_uid, c->serve_others, c->low_memory_monitor);
	fclose(out);
	return text;
}

/* ---- what is meant ------------------------------------------------------------------------------- */

/* In a [Watch a] or in [Daemon]; `shown` is its line in what config_show() writes. */
PROMISE(every_value_is_understood)
{
	static const struct {
		const char *text, *shown;
	} table[] = {
		{ "[Watch a]\nEarly=some 10000 1000000\n", "Early=some 10ms/1s" },
		{ "[Watch a]\nLow=full 1s/10s\nCritical=full 5s/5s\n", "Low=full 1s/10s" },
		{ "[Watch a]\nCritical=some 900ms/2s\n", "Critical=some 900ms/2s" },
		{ "[Watch a]\nRearm=1.5min\n", "Rearm=90s" },
		{ "[Watch a]\nQuiet=7s\n", "Quiet=7s" },
		{ "[Watch a]\nHighHeadroom=off\n", "HighHeadroom=off" },
		{ "[Watch a]\nForecast=2000ms\n", "Forecast=2s" },
		{ "[Watch a]\nMemoryHighAt=90\n", "MemoryHighAt=90%" },
		{ "[Watch a]\nShadow=on\n", "Shadow=yes" },
		{ "[Daemon]\nClientsMax=11\n", "ClientsMax=11" },
		{ "[Daemon]\nClientsPerCgroup=3\n", "ClientsPerCgroup=3" },
		{ "[Daemon]\nClientsPerUid=4\n", "ClientsPerUid=4" },
		{ "[Daemon]\nServeOthers=no\n", "ServeOthers=no" },
		{ "[Daemon]\nLowMemoryMonitor=0\n", "LowMemoryMonitor=no" },
		{ "[Daemon]\nTrace=1024K\n", "Trace=1M" },
		{ "[Daemon]\nTrace=0\n", "Trace=no" },
		/* the way it is written */
		{ "  [Defaults]\t\r\n\n  Calm  =\t 5s \t\r\n", "Calm=5s" },
		{ "# a comment\n;another\n[Defaults]\n    Calm=5s\n  ; Calm=6s\n  #Calm=7s",
		  "Calm=5s" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = load_text(table[i].text);
		char wanted[64], *shown = show(c);
		const char *line;

		snprintf(wanted, sizeof(wanted), "\n%s\n", table[i].shown);
		line = strstr(shown, wanted);
		if (!line)
			fail_msg("%s is shown without %s:\n%s", table[i].text, wanted, shown);
		while (line > shown && line[-1] != '\n')
			line--;
		assert_memory_equal(line, "# from ROOT/" MAIN ":", strlen("# from ROOT/" MAIN ":"));
		free(shown);
	}
}

PROMISE(it_ends_up_where_the_daemon_looks)
{
	static const struct settings expected = {
		{ { PSI_SOME, 1000, 1000000 },
		  { PSI_SOME, 2000, 1000000 },
		  { PSI_FULL, 3000, 1000000 },
		  4000000,
		  5000000,
		  6000000,
		  7,
		  DESCENDANTS_APART,
		  8000000 },
		true,
	};
	_cleanup_(config_freep) struct config *c = load_text(
		"[Watch a]\nEarly=some 1ms/1s\nLow=some 2ms/1s\nCritical=full 3ms/1s\n"
		"Rearm=4s\nQuiet=5s\nCalm=6s\nHighHeadroom=7\nForecast=8s\nShadow=yes\n");

	assert_string_equal(c->watches[4].path, "/a");
	assert_true(settings_equal(&c->watches[4].settings, &expected));
	assert_false(settings_equal(&c->watches[3].settings, &expected));
}

PROMISE(memory_high_is_touched_by_live_watches_alone)
{
	_cleanup_(config_freep) struct config *c = load_text(
		"[Watch a]\n[Watch b]\nMemoryHighAt=off\n[Watch c]\nShadow=yes\n"
		"[Watch d]\nMemoryHighAt=1%\n[Defaults]\nMemoryHighAt=99\n");
	static const unsigned expected[] = { 99, 99, 99, 99, 99, 0, 0, 1 };

	assert_int_equal(c->watch_count, ELEMENTSOF(expected));
	for (size_t i = 0; i < ELEMENTSOF(expected); i++)
		assert_int_equal(c->watches[i].memory_high_at, expected[i]);
}

#define AS_BUILT_IN "10s 16384,256,2048 11"

PROMISE(later_lines_and_files_change_what_is_built_in)
{
	static const struct {
		const char *main, *drop_in, *summary;
	} table[] = {
		{ "", "", "4 built in; " AS_BUILT_IN },
		/* [Defaults] hold wherever they stand */
		{ "[Watch a]\nCalm=5s\n[Watch b]\nCalm=6s\nCalm=\n[Watch c]\n",
		  "[Defaults]\nCalm=7s\n[Watch system.slice/**]\nEnabled=no\n",
		  "/user.slice/** 7s 200ms, /machine.slice/** 7s 200ms, /kubepods.slice/** 7s 200ms, "
		  "/a 5s 200ms, /b 7s 200ms, /c 7s 200ms, 0 built in; 7s 16384,256,2048 11" },
		{ "[Daemon]\nClientsMax=1\nClientsPerCgroup=2\nClientsPerUid=3\nServeOthers=no\n"
		  "LowMemoryMonitor=no\n",
		  "", "4 built in; 10s 1,2,3 00" },
		/* an empty value takes back */
		{ "[Defaults]\nCalm=7s\n[Daemon]\nClientsMax=5\n[Watch user.slice/**]\nEnabled=no\n",
		  "[Defaults]\nCalm=\n[Daemon]\nClientsMax= \n[Watch user.slice/**]\nEnabled=\n",
		  "4 built in; " AS_BUILT_IN },
		{ "[Watch a/*]\nCalm=5s\nLow=some 90ms/2s\n[Watch b]\n",
		  "[Watch /a//*]\nCalm=6s\n[Watch b]\nEnabled=no\n",
		  "/a/* 6s 90ms, 4 built in; " AS_BUILT_IN },
		/* a candidate stands beside the live one, and says only what is different */
		{ "[Watch a]\nCalm=5s\nLow=some 300ms/2s\n[Watch user.slice/**]\nEnabled=no\n",
		  "[Watch a]\nLow=some 600ms/2s\nShadow=yes\n[Watch user.slice/**]\nShadow=yes\n"
		  "[Watch b]\nShadow=yes\nEnabled=no\n",
		  "/a 5s 300ms, /a! 5s 600ms, /user.slice/**! 10s 200ms, 3 built in; " AS_BUILT_IN },
		{ "[Watch a]\nShadow=yes\n", "[Watch a]\nCalm=5s\n",
		  "/a! 5s 200ms, /a 5s 200ms, 4 built in; " AS_BUILT_IN },
		/* where all are in the shadow there is one of each */
		{ "[Defaults]\nShadow=yes\n[Watch a]\nCalm=5s\n[Watch machine.slice/**]\nShadow=no\n"
		  "[Watch b]\n",
		  "[Watch a]\nShadow=yes\nLow=some 90ms/2s\n[Watch b]\nShadow=1\nEnabled=no\n",
		  "/system.slice/**! 10s 200ms, /user.slice/**! 10s 200ms, /kubepods.slice/**! 10s "
		  "200ms, /b! 10s 200ms, /a! 5s 90ms, 1 built in; " AS_BUILT_IN },
		{ "[Watch system.slice/**]\nEnabled=no\n[Watch user.slice/**]\nEnabled=no\n",
		  "[Watch machine.slice/**]\nEnabled=no\n[Watch kubepods.slice/**]\nEnabled=no\n",
		  "0 built in; " AS_BUILT_IN },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = NULL;

		fake_write(DROP_IN, table[i].drop_in);
		c = load_text(table[i].main);
		assert_string_equal(summary(c), table[i].summary);
	}
}

PROMISE(paths_are_normalised_and_never_cut)
{
	static char longest[CGPATH_MAX] = "/";
	static const struct {
		const char *written, *path;
	} table[] = {
		{ "/", "/" },
		{ "/a//./b/", "/a/b" },
		{ "a]b[c]", "/a]b[c]" },
		{ "a ;b #c=d:e", "/a ;b #c=d:e" },
		{ "dev-disk\\x2dby.swap", "/dev-disk\\x2dby.swap" },
		{ "a/**/*.service", "/a/**/*.service" },
		{ longest, longest },
	};
	char text[CGPATH_MAX + 64];

	memset(longest + 1, 'x', sizeof(longest) - 2);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = NULL;

		snprintf(text, sizeof(text), "[Watch \t%s ]\n", table[i].written);
		c = load_text(text);
		assert_string_equal(c->watches[4].path, table[i].path);
	}
}

/* ---- files --------------------------------------------------------------------------------------- */

#define CALM(seconds) "[Defaults]\nCalm=" #seconds "s\n"
#define DIRECTORY(d) d "/psibridge/psibridged.conf"

PROMISE(files_count_by_name_and_directory)
{
	static const struct {
		const char *path, *text;
		unsigned calm; /* with this one, and those above it */
	} files[] = {
		{ DIRECTORY("usr/lib"), CALM(1) "Rearm=1s\n", 1 },
		{ DIRECTORY("usr/local/lib"), CALM(2) "Rearm=1s\n", 2 },
		{ DIRECTORY("run"), CALM(3) "Rearm=1s\n", 3 },
		{ DIRECTORY("etc"), CALM(4), 4 },
		{ DIRECTORY("usr/lib") ".d/30.conf", CALM(5), 5 },
		{ DIRECTORY("etc") ".d/20.conf", CALM(6), 5 },
		{ DIRECTORY("usr/local/lib") ".d/40.conf", CALM(7), 7 },
		{ DIRECTORY("run") ".d/40.conf", CALM(8), 8 },
		{ DIRECTORY("etc") ".d/.50.conf", "left by an editor", 8 },
		{ DIRECTORY("etc") ".d/50.conf~", "left by an editor", 8 },
		{ DIRECTORY("etc") ".d/50.conf.dpkg-new", "left by a package manager", 8 },
		{ DIRECTORY("etc") ".d/40.conf", "", 5 }, /* masks */
	};
	static const char *const order[] = { DIRECTORY("etc"), DIRECTORY("etc") ".d/20.conf",
					     DIRECTORY("usr/lib") ".d/30.conf",
					     DIRECTORY("etc") ".d/40.conf" };
	_cleanup_(config_freep) struct config *c = NULL;

	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		c = config_free(c);
		fake_write(files[i].path, files[i].text);
		c = load_well();
		assert_int_equal(c->defaults.policy.calm_usec, files[i].calm * USEC_PER_SEC);
	}
	assert_int_equal(c->defaults.policy.rearm_usec, built_in.policy.rearm_usec);
	for (size_t i = 0; i < ELEMENTSOF(order); i++)
		assert_string_equal(c->files[i], fake_path(order[i]));
	assert_null(c->files[ELEMENTSOF(order)]);
	/* as does a link to /dev/null */
	assert_int_equal(symlink("/dev/null", fake_path(DIRECTORY("etc") ".d/30.conf")), 0);
	c = config_free(c);
	c = load_well();
	assert_int_equal(c->defaults.policy.calm_usec, 6 * USEC_PER_SEC);
}

static FILE *open_source(const char *name)
{
	const char *srcdir = getenv("srcdir");
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
	f = fopen(path, "re");
	assert_non_null(f);
	return f;
}

/* "#Key=value" and "#[Section]" are what is built in, "# words" are words. */
PROMISE(the_sample_shows_what_is_built_in)
{
	_cleanup_(config_freep) struct config *nothing = load_well(), *sample = NULL;
	FILE *f = open_source("units/psibridged.conf"), *out;
	char line[256], *text = NULL;
	unsigned values = 0;
	size_t size;

	out = open_memstream(&text, &size);
	while (fgets(line, sizeof(line), f)) {
		assert_true(line[0] == '#' || line[0] == '\n');
		if (line[0] != '#' || line[1] == ' ' || line[1] == '\n')
			continue;
		fputs(line + 1, out);
		values += line[1] != '[';
	}
	fclose(f);
	fclose(out);
	/* every key: 6 of [Daemon], 11 of [Defaults], Enabled of four watches */
	assert_int_equal(values, 21);
	sample = load_text(text);
	free(text);
	assert_string_equal(summary(nothing), summary(sample));
	assert_true(settings_equal(&nothing->defaults, &built_in));
	assert_true(settings_equal(&sample->defaults, &built_in));
}

/* Each literal block of the manual that begins with a section is a configuration. */
PROMISE(the_examples_of_the_manual_are_right)
{
	FILE *f = open_source("src/daemon/psibridged.conf.5");
	char line[256], text[2048] = "";
	unsigned examples = 0;
	bool inside = false;

	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, ".Bd ", 4) == 0) {
			inside = true;
			text[0] = '\0';
		} else if (inside && strcmp(line, ".Ed\n") == 0) {
			inside = false;
			if (text[0] != '[')
				continue;
			config_free(load_text(text));
			examples++;
		} else if (inside) {
			assert_true(strlen(text) + strlen(line) < sizeof(text));
			strcat(text, line);
		}
	}
	fclose(f);
	assert_int_equal(examples, 5);
}

PROMISE(every_value_shown_says_where_it_came_from)
{
	static const char *const expected[] = {
		"# What psibridged goes by.\n# read: ROOT/" MAIN "\n# read: ROOT/" DROP_IN
		"\n\n[Daemon]\n",
		"# from ROOT/" MAIN ":6\nClientsMax=7\n",
		"\n[Defaults]\n# built in\nEarly=some 20ms/2s\n",
		"\n# built in\n[Watch system.slice/**]\n# built in\nEarly=",
		"# from ROOT/" DROP_IN ":2\nCalm=6s\n",
		"# from ROOT/" DROP_IN ":4\nEnabled=no\n",
		"\n# from ROOT/" MAIN ":3\n[Watch a]\n# built in\nEarly=",
	};
	_cleanup_(config_freep) struct config *c = NULL;
	FILE *full = fopen("/dev/full", "we");
	char *shown;

	fake_write(DROP_IN, "[Defaults]\nCalm=6s\n[Watch user.slice/**]\nEnabled=no\n");
	c = load_text("[Defaults]\nCalm=8s\n[Watch a]\nCalm=5s\n[Daemon]\nClientsMax=7\n");
	shown = show(c);
	for (size_t i = 0; i < ELEMENTSOF(expected); i++)
		if (!strstr(shown, expected[i]))
			fail_msg("not shown: %s\nin:\n%s", expected[i], shown);
	free(shown);
	assert_int_equal(config_show(c, full), -ENOSPC);
	fclose(full);
}

/* ---- what is wrong ------------------------------------------------------------------------------- */

#define AT(line) "ROOT/" MAIN ":" #line ": "
#define TRIGGER_WANTED "; a trigger such as some 200ms/2s was expected\n"
#define TIME_WANTED "a time from 1ms to 24h, such as 10s, was expected\n"
#define LINE_WANTED ": [SECTION], KEY=VALUE or a comment was expected\n"
#define SECTION_WANTED ": [Daemon], [Defaults] or [Watch PATTERN] was expected\n"
#define PATH_WANTED "; [Watch system.slice/*.service], for example, was expected\n"
#define NO_KEY(key, section) key ": there is no such key in [" section "]; "
#define LISTED "psibridged.conf(5) lists them\n"
#define NOT_SHORT "it is empty, longer than 4095 bytes, or has a NUL"

static void expect(const char *complaints)
{
	char *text;
	struct config *config = load(&text);

	assert_string_equal(text, complaints);
	assert_int_equal(config == NULL, strstr(complaints, ": warning:") != NULL ? 0 : 1);
	config_free(config);
	free(text);
}

PROMISE(what_is_wrong_is_said_with_what_was_expected)
{
#define EIGHTY "some 20ms/2s and what is so long that nobody wants to read it a second time in h"
	static const struct {
		const char *text, *complaints;
	} table[] = {
		/* values */
		{ "[Defaults]\n\nLow=Some 1ms/1s\n",
		  AT(3) "Low: \"Some 1ms/1s\": some and full are written in lower case" TRIGGER_WANTED },
		{ "[Defaults]\nRearm=999us\nCalm=8\n",
		  AT(2) "Rearm: \"999us\": " TIME_WANTED AT(
			  3) "Calm: \"8\": the unit is missing (us, ms, s, min or h); " TIME_WANTED },
		{ "[Daemon]\nClientsMax=0\n",
		  AT(2) "ClientsMax: \"0\": a number from 1 to 1048576 was expected\n" },
		{ "[Defaults]\nLow=" EIGHTY "is life\n",
		  AT(2) "Low: \"" EIGHTY
			"\": the unit is none of us, ms, s, min and h" TRIGGER_WANTED },
		{ "[Watch a]\nMemoryHighAt=100%\n",
		  AT(2) "MemoryHighAt: \"100%\": a percentage from 1% to 99%, or off, was expected\n" },
		{ "[Daemon]\nServeOthers=no # \x01 others\n",
		  AT(2) "ServeOthers: \"no # ? others\": yes or no was expected\n" },
		{ "[Defaults]\nCalm=\\\n  5s\n",
		  AT(2) "Calm: \"\\\": it does not begin with a digit; " TIME_WANTED AT(
			  3) "5s" LINE_WANTED },
		/* keys */
		{ "[Defaults]\nErly=x\nEnabled=no\n",
		  AT(2) NO_KEY("Erly", "Defaults") "did you mean Early?\n" AT(3)
			  NO_KEY("Enabled", "Defaults") LISTED },
		{ "[Watch a]\nlow=x\nClientsMax=5\n=5\n",
		  AT(2) NO_KEY("low", "Watch") "did you mean Low?\n" AT(3)
			  NO_KEY("ClientsMax", "Watch") LISTED AT(4) NO_KEY("", "Watch") LISTED },
		{ "[Daemon]\nLow=x\nClientPerUID=5\n",
		  AT(2) NO_KEY("Low", "Daemon") LISTED AT(3)
			  NO_KEY("ClientPerUID", "Daemon") "did you mean ClientsPerUid?\n" },
		/* lines and sections; below one that is unknown nothing is looked at */
		{ "Low=some 1ms/1s\n",
		  AT(1) "Low=some 1ms/1s: a section was expected in front of it\n" },
		{ "[Defaults]\nLow: some 1ms/1s\n", AT(2) "Low: some 1ms/1s" LINE_WANTED },
		{ "[watch a]\nLow=x\n[Defaults x]\n[]\n[Watch a\n[Daemon] # all\n",
		  AT(1) "[watch a]" SECTION_WANTED AT(3) "[Defaults x]" SECTION_WANTED
			  AT(4) "[]" SECTION_WANTED AT(5) "[Watch a" SECTION_WANTED AT(
				  6) "[Daemon] # all" SECTION_WANTED },
		/* paths; and the keys below are looked at all the same */
		{ "[Watch ]\n[Watch a/../b]\nLow=x\nServeOthers=no\n",
		  AT(1) "[Watch ]: " NOT_SHORT PATH_WANTED AT(
			  2) "[Watch a/../b]: \"..\" is not allowed in it" PATH_WANTED
			  AT(3) "Low: \"x\": it begins with neither some nor full" TRIGGER_WANTED AT(
				  4) NO_KEY("ServeOthers", "Watch") LISTED },
		{ "[Watch a**]\n[Watch /sys/fs/cgroup/a]\n",
		  AT(1) "[Watch a**]: two stars must be a component of their own" PATH_WANTED AT(
			  2) "[Watch /sys/fs/cgroup/a]: paths begin below the cgroup2 mount: leave it away" PATH_WANTED },
		{ "[Watch  /a]\n[Watch /a/ b]\n[Watch / a]\n",
		  AT(3) "[Watch / a]: a blank begins or ends it" PATH_WANTED },
		/* said twice in one file: no mistake, and the last counts */
		{ "[Watch a]\nCalm=5s\nCalm=6s\nRearm=5s\nRearm=\nRearm=6s\n",
		  AT(3) "warning: Calm: line 2 of this file says it for the same section; this one counts\n" },
		{ "[Watch a]\nCalm=5s\n[Defaults]\n[Watch /a/]\nCalm=6s\n[Defaults]\n[Watch a]\nShadow=yes\n",
		  AT(4) "warning: line 1 of this file begins the same section; both count\n" AT(5) "warning: Calm: line 2 of this file says it for the same section; this one counts\n" AT(
			  6) "warning: line 3 of this file begins the same section; both count\n" },
	};
	char text[2 * CGPATH_MAX], complaint[512];
	FILE *f;

	fake_write(DROP_IN, "[Watch a]\nRearm=6s\n");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		fake_write(MAIN, table[i].text);
		expect(table[i].complaints);
	}
	snprintf(text, sizeof(text), "[Watch %0*u]\n", CGPATH_MAX, 0u);
	snprintf(complaint, sizeof(complaint), AT(1) "[Watch %073u: " NOT_SHORT PATH_WANTED, 0u);
	fake_write(MAIN, text);
	expect(complaint);
	/* a NUL ends a line for many a reader */
	f = fopen(fake_path(MAIN), "we");
	assert_non_null(f);
	fwrite("[Defaults]\nCalm=5s\0 or more\n[Watch a\0b]", 1, 39, f);
	fclose(f);
	expect(AT(2) "Calm: \"5s\": the unit is none of us, ms, s, min and h; " TIME_WANTED AT(
		3) "[Watch a: " NOT_SHORT PATH_WANTED);
}

PROMISE(thresholds_that_contradict_each_other_are_refused)
{
#define OVER(early, name, other, most)                   \
	"Early \"" early "\" is over " name " \"" other  \
	"\", which stalls could reach unnoticed; Early " \
	"of at most \"" most "\" was expected\n"
#define UNDER_LOW "Critical is under Low: every Low would be critical\n"
	static const struct {
		const char *text, *complaints;
	} table[] = {
		/* the more specific one is named first */
		{ "[Defaults]\nLow=some 10ms/2s\n",
		  AT(2) "Low: " OVER("some 20ms/2s", "Low", "some 10ms/2s", "some 10ms/2s") },
		{ "[Defaults]\nLow=some 10ms/2s\nEarly=some 30ms/2s\n",
		  AT(3) "Early: " OVER("some 30ms/2s", "Low", "some 10ms/2s", "some 10ms/2s") },
		{ "[Watch a]\nCritical=full 10ms/2s\n",
		  AT(2) "Critical: " OVER("some 20ms/2s", "Critical", "full 10ms/2s",
					  "full 10ms/2s") },
		{ "[Defaults]\nEarly=some 100ms/2s\n[Watch a]\nLow=some 50ms/2s\n",
		  AT(4) "Low: " OVER("some 100ms/2s", "Low", "some 50ms/2s", "some 50ms/2s") },
		{ "[Defaults]\nCritical=some 199ms/2s\n", AT(2) "Critical: " UNDER_LOW },
		{ "[Defaults]\nLow=some 2s/10s\nCritical=some 399ms/2s\n",
		  AT(3) "Critical: " UNDER_LOW },
		{ "[Defaults]\nLow=full 1s/2s\n", AT(2) "Low: " UNDER_LOW },
		/* said once, not once for each watch */
		{ "[Watch a]\n[Watch b]\nCalm=5s\n[Defaults]\nEarly=some 1s/2s\nCritical=full 1s/2s\n",
		  AT(5) "Early: " OVER("some 1s/2s", "Low", "some 200ms/2s", "some 200ms/2s") },
		/* also where only a candidate has it */
		{ "[Watch a]\nEnabled=no\nLow=some 10ms/2s\n[Watch a]\nShadow=yes\n",
		  AT(3) "Low: " OVER("some 20ms/2s", "Low", "some 10ms/2s", "some 10ms/2s") },
		/* a value that is wrong is not compared as well */
		{ "[Defaults]\nEarly=some 300ms/2s\nLow=x\nCritical=x\n",
		  AT(3) "Low: \"x\": it begins with neither some nor full" TRIGGER_WANTED AT(
			  4) "Critical: \"x\": it begins with neither some nor full; a trigger such as "
			     "full 100ms/2s was expected\n" },
	};
	static const char *const good[] = {
		"[Defaults]\nEarly=some 100ms/2s\nCritical=some 200ms/2s\n",
		"[Defaults]\nLow=some 1s/2s\nCritical=full 100ms/2s\n",
		"[Watch a]\nEarly=some 2s/2s\nEnabled=no\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		fake_write(MAIN, table[i].text);
		expect(table[i].complaints);
	}
	for (size_t i = 0; i < ELEMENTSOF(good); i++)
		config_free(load_text(good[i]));
}

#define TOO_MANY "256 watches were expected at most; a pattern watches many cgroups\n"

PROMISE(all_mistakes_of_all_files_are_said)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	for (unsigned i = 0; i < CONFIG_WATCHES_MAX - 4; i++)
		fprintf(f, "[Watch %u]\nCalm=5s\n", i);
	fflush(f);
	config_free(load_text(text));
	fprintf(f, "[Watch more]\nCalm=5s\n[Watch and/more]\nCalm=x\n");
	fclose(f);
	fake_write(MAIN, text);
	free(text);
	fake_write(DROP_IN, "Calm=z");
	expect(AT(505) TOO_MANY AT(
		508) "Calm: \"x\": it does not begin with a digit; " TIME_WANTED AT(507) TOO_MANY
	       "ROOT/" DROP_IN ":1: Calm=z: a section was expected in front of it\n");
}

PROMISE(a_file_that_is_there_and_cannot_be_read_is_a_mistake)
{
	static const struct {
		const char *path, *link, *complaint; /* no link: a directory */
	} table[] = {
		{ DROP_IN, "nowhere", "ROOT/" DROP_IN ": No such file or directory\n" },
		{ DROP_IN, "50.conf", "ROOT/" DROP_IN ": Too many levels of symbolic links\n" },
		{ DROP_IN, "/dev/zero", "ROOT/" DROP_IN ": it is bigger than 1 MiB\n" },
		{ DROP_IN, NULL, "ROOT/" DROP_IN ": Is a directory\n" },
		{ MAIN, "nowhere", "ROOT/" MAIN ": No such file or directory\n" },
	};

	/* hidden */
	fake_write(DIRECTORY("usr/lib"), CALM(5));
	fake_write(DIRECTORY("usr/lib") ".d/50.conf", CALM(5));
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *path = fake_path(table[i].path);

		fake_write(MAIN ".d/", "");
		assert_int_equal(table[i].link ? symlink(table[i].link, path) : mkdir(path, 0700),
				 0);
		expect(table[i].complaint);
		assert_int_equal(remove(path), 0);
	}
	assert_int_equal(rmdir(fake_path(MAIN ".d")), 0);
	assert_int_equal(symlink("psibridged.conf.d", fake_path(MAIN ".d")), 0);
	expect("ROOT/" MAIN ".d: Too many levels of symbolic links\n");
}

/* ---- what is set at run time ----------------------------------------------------------------------- */

static struct config *load_set(const char *kept, const char *more)
{
	struct complaints complaints = { .say = NULL };
	struct config *config = config_load(fake_root, &(struct config_set){ kept, more },
					    &complaints);

	if (!config)
		fail_msg("%s", complaints.first);
	return config;
}

static void assert_calm(const struct config *config, unsigned seconds)
{
	assert_int_equal(config->defaults.policy.calm_usec, seconds * USEC_PER_SEC);
}

PROMISE(what_was_set_is_read_last)
{
	_cleanup_(config_freep) struct config *config = NULL, *without = NULL, *other = NULL;

	fake_write(MAIN ".d/zzz.conf", "[Defaults]\nCalm=8s\n");
	fake_write(&CONFIG_SET_FILE[1], "[Defaults]\nCalm=9s\n");
	config = load_well();
	assert_calm(config, 9);
	assert_string_equal(config->files[1], fake_path(&CONFIG_SET_FILE[1]));
	without = load_set("", "");
	assert_calm(without, 8);
	assert_null(without->files[1]);
	other = load_set("[Defaults]\nCalm=7s\n", "");
	assert_calm(other, 7);
}

/* clang-format off */
#define RULES                                                   \
	"[Watch a/**]\nCalm=30s\n[Watch a/*.x]\nCalm=20s\n"     \
	"[Watch a/*b.x]\nEnabled=no\nCalm=1s\n[Watch a/c]\nCalm=2s\n"
/* clang-format on */

/* What covers it is the most specific, as it is for those who are told. */
PROMISE(what_is_set_of_a_watch_leaves_the_rest_as_it_was)
{
	static const struct {
		const char *kept, *more, *path;
		bool shadow;
		unsigned calm_s;
	} table[] = {
		{ "", "[Watch a/b.x]\nLow=some 300ms/2s", "/a/b.x", false, 20 },
		{ "", "[Watch a/b/c]\nLow=some 300ms/2s", "/a/b/c", false, 30 },
		{ "", "[Watch a/*/y]\nLow=some 300ms/2s", "/a/*/y", false, 30 },
		{ "", "[Watch x]\nLow=some 300ms/2s", "/x", false, 10 },
		{ "", "[Watch a/b.x]\nCalm=3s", "/a/b.x", false, 3 },
		{ "", "[Watch a/b.x]\nLow=some 300ms/2s\nShadow=yes", "/a/b.x", true, 20 },
		{ "", "[Watch a/c]\nLow=some 300ms/2s\nShadow=yes", "/a/c", true, 2 },
		{ "[Watch a/b.x]\nLow=some 300ms/2s", "[Watch a/b.x]\nRearm=1s", "/a/b.x", false,
		  10 },
	};

	fake_write(MAIN, RULES);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = load_set(table[i].kept, table[i].more);
		size_t at = 0;

		while (at < c->watch_count && (strcmp(c->watches[at].path, table[i].path) != 0 ||
					       c->watches[at].settings.shadow != table[i].shadow))
			at++;
		assert_in_range(at, 0, c->watch_count - 1);
		if (c->watches[at].settings.policy.calm_usec != table[i].calm_s * USEC_PER_SEC)
			fail_msg("%s: %s", table[i].more, show(c));
	}
}

static void put_difference(const struct config_difference *d, void *userdata)
{
	if (d->key)
		fprintf(userdata, "%s %s->%s:%u; ", d->key, d->sides[0].text, d->sides[1].text,
			d->sides[1].origin.line);
	else
		fprintf(userdata, "%s%s ", d->sides[1].is_there ? "+" : "-", d->section);
}

/* Each where it is said, and nothing where it is inherited. */
PROMISE(what_differs_between_two_configurations)
{
	static const struct {
		const char *a, *b, *differences;
	} table[] = {
		{ RULES, RULES, "" },
		{ "[Defaults]\nCalm=10s\n", "", "" },
		{ "[Defaults]\nCalm=11s\n[Watch b]\n", "[Watch b]\n", "Calm 11s->10s:0; " },
		{ "[Daemon]\nClientsMax=5\n", "[Daemon]\n\nClientsMax=6\n", "ClientsMax 5->6:3; " },
		{ RULES, RULES "[Watch a/x]\nCalm=30s\n", "+[Watch a/x] " },
		{ RULES, RULES "[Watch a/x]\nCalm=5s\n", "+[Watch a/x] Calm 30s->5s:11; " },
		{ RULES "[Watch a/x]\n", RULES, "-[Watch a/x] Calm 10s->30s:2; " },
		{ "[Watch b]\nCalm=5s\n", "[Watch b]\nCalm=5s\n[Watch b]\nCalm=6s\nShadow=yes\n",
		  "+[Watch b] Shadow=yes Calm 5s->6s:4; Shadow no->yes:5; " },
		{ "[Watch b]\n", "[Watch b]\nEnabled=no\n", "Enabled yes->no:2; " },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *a = load_text_anyhow(table[i].a),
						      *b = load_text_anyhow(table[i].b);
		char text[512] = "";
		FILE *out = fmemopen(text, sizeof(text), "w");

		config_diff(a, b, put_difference, out);
		fclose(out);
		assert_string_equal(text, table[i].differences);
	}
}

/* In core/nearest.h. */
PROMISE(the_nearest_word_is_at_most_two_slips_away)
{
	static const char *const names[] = { "Early", "Low", "Critical", "Rearm" };
	static const struct {
		const char *word, *nearest;
	} table[] = {
		{ "EARLY", "Early" },
		{ "Eearly", "Early" },
		{ "Erl", "Early" },
		{ "Er", "none" },
		{ "Lwo", "Low" },
		{ "Slow", "Low" },
		{ "Flows", "none" },
		{ "Critcial", "Critical" },
		{ "kritikal", "Critical" },
		{ "kritikel", "none" },
		{ "", "none" },
		{ "Ream", "Rearm" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *found = nearest_word(table[i].word, strlen(table[i].word), names,
						 ELEMENTSOF(names));

		assert_string_equal(found ? found : "none", table[i].nearest);
	}
}

EACH(fake_set_up, fake_tear_down)
