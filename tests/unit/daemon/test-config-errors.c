/* SPDX-License-Identifier: MIT */
/*
 * test-config-errors.c - psibridged.conf (src/daemon/config.h): what is said when something is wrong
 *
 * Complaints are compared to the letter: they are all that somebody has who edits a file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../unit.h"
#include "config-bench.h"
#include "core/nearest.h"

#define AT(line) "ROOT/" MAIN ":" #line ": "
#define TRIGGER_WANTED "; a trigger such as some 200ms/2s was expected\n"
#define TIME_WANTED "a time from 1ms to 24h, such as 10s, was expected\n"
#define LINE_WANTED ": [SECTION], KEY=VALUE or a comment was expected\n"
#define COUNT_WANTED ": a number from 1 to 1048576 was expected\n"
#define PERCENT_WANTED ": a percentage from 1% to 99%, or off, was expected\n"
#define PATH_WANTED \
	"; the path of a cgroup or a pattern was expected, such as system.slice/*.service\n"

static void expect(int error, const char *complaints)
{
	struct config *config = (struct config *)&error; /* must stay as it is */
	char *text;
	int r = load(&config, &text);

	if (r != error || strcmp(text, complaints) != 0)
		fail_msg("%d:\n%s, but expected was %d:\n%s", r, text, error, complaints);
	assert_ptr_equal(config, &error);
	free(text);
}

struct wrong {
	const char *text, *complaint;
};

static void expect_each(const struct wrong *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fake_write(MAIN, table[i].text);
		expect(-EINVAL, table[i].complaint);
	}
}

PROMISE(a_wrong_value_is_said_with_what_was_expected)
{
#define NO_QUOTES ": values are written without quotes; "
#define NO_SHARE ": a share of the time is written as a stall within a window: 10% is some 200ms/2s"
#define SHORT_VALUE \
	"some 20ms/2s and what is so long that nobody wants to read it a second time in "
	static const struct wrong table[] = {
		{ "[Defaults]\nEarly=some 20ms\n",
		  AT(2) "Early: \"some 20ms\": it is neither THRESHOLD/WINDOW with units, such as "
			"200ms/2s, nor two numbers in microseconds" TRIGGER_WANTED },
		{ "[Defaults]\n\nLow=Some 1ms/1s\n",
		  AT(3) "Low: \"Some 1ms/1s\": some and full are written in lower case" TRIGGER_WANTED },
		{ "[Watch a]\nCritical=full 1s/11s\n",
		  AT(2) "Critical: \"full 1s/11s\": the window is longer than 10 s; a trigger such as "
			"full 100ms/2s was expected\n" },
		{ "[Defaults]\nRearm=8\n",
		  AT(2) "Rearm: \"8\": the unit is missing (us, ms, s, min "
			"or h); " TIME_WANTED },
		{ "[Defaults]\nRearm=999us\n", AT(2) "Rearm: \"999us\": " TIME_WANTED },
		{ "[Defaults]\nCalm=24.1h\n", AT(2) "Calm: \"24.1h\": " TIME_WANTED },
		{ "[Defaults]\nCalm=0\n", AT(2) "Calm: \"0\": " TIME_WANTED },
		{ "[Defaults]\nQuiet=0\n",
		  AT(2) "Quiet: \"0\": a time from 1ms to 24h, such as 4s, or auto was expected\n" },
		{ "[Defaults]\nQuiet=Auto\n",
		  AT(2) "Quiet: \"Auto\": it does not begin with a digit; a time from 1ms to 24h, "
			"such as 4s, or auto was expected\n" },
		{ "[Defaults]\nHighHeadroom=0\n", AT(2) "HighHeadroom: \"0\"" PERCENT_WANTED },
		{ "[Defaults]\nHighHeadroom=100%\n",
		  AT(2) "HighHeadroom: \"100%\"" PERCENT_WANTED },
		{ "[Defaults]\nHighHeadroom=2.5%\n",
		  AT(2) "HighHeadroom: \"2.5%\"" PERCENT_WANTED },
		{ "[Defaults]\nHighHeadroom=%\n", AT(2) "HighHeadroom: \"%\"" PERCENT_WANTED },
		{ "[Defaults]\nShadow=maybe\n",
		  AT(2) "Shadow: \"maybe\": yes or no was expected\n" },
		{ "[Watch a]\nEnabled=2\n", AT(2) "Enabled: \"2\": yes or no was expected\n" },
		{ "[Watch a]\nEnabled=noooooooooo\n",
		  AT(2) "Enabled: \"noooooooooo\": yes or no was expected\n" },
		{ "[Daemon]\nClientsMax=0\n", AT(2) "ClientsMax: \"0\"" COUNT_WANTED },
		{ "[Daemon]\nClientsMax=1048577\n", AT(2) "ClientsMax: \"1048577\"" COUNT_WANTED },
		{ "[Daemon]\nClientsPerUid=-1\n", AT(2) "ClientsPerUid: \"-1\"" COUNT_WANTED },
		{ "[Daemon]\nClientsPerCgroup=0x10\n",
		  AT(2) "ClientsPerCgroup: \"0x10\"" COUNT_WANTED },
		{ "[Daemon]\nClientsMax=18446744073709551617\n",
		  AT(2) "ClientsMax: \"18446744073709551617\"" COUNT_WANTED },
		{ "[Defaults]\nLow=" SHORT_VALUE "his life\n",
		  AT(2) "Low: \"" SHORT_VALUE "h...\": the unit is none of us, ms, s, min and "
			"h" TRIGGER_WANTED },
		/* the second one is right, the first is still a mistake */
		{ "[Daemon]\nServeOthers=\"yes\"\nServeOthers=yes\n",
		  AT(2) "ServeOthers: \"\"yes\"\"" NO_QUOTES "yes or no was expected\n" AT(
			  3) "warning: ServeOthers: line 2 of this file says it for the same section; "
			     "this one counts\n" },
		/* what people seem to mean */
		{ "[Watch a]\nLow=60%\n", AT(2) "Low: \"60%\"" NO_SHARE TRIGGER_WANTED },
		{ "[Watch a]\nLow=some 10%\n", AT(2) "Low: \"some 10%\"" NO_SHARE TRIGGER_WANTED },
		{ "[Watch a]\nLow=\"some 1s/2s\"\n",
		  AT(2) "Low: \"\"some 1s/2s\"\": values are written without quotes" TRIGGER_WANTED },
		{ "[Watch a]\nRearm='30s'\n", AT(2) "Rearm: \"'30s'\"" NO_QUOTES TIME_WANTED },
	};

	expect_each(table, ELEMENTSOF(table));
}

PROMISE(an_unknown_name_is_answered_with_the_nearest_one)
{
	static const struct wrong table[] = {
		{ "[Defaults]\nErly=some 1ms/1s\n",
		  AT(2) "Erly: there is no such key in [Defaults]; did you mean Early?\n" },
		{ "[Watch a]\nlow=some 1ms/1s\n",
		  AT(2) "low: there is no such key in [Watch]; did you mean Low?\n" },
		{ "[Watch a]\nHighHeadRoom=5\n",
		  AT(2) "HighHeadRoom: there is no such key in [Watch]; did you mean HighHeadroom?\n" },
		{ "[Watch a]\nHeadroom=30%\n",
		  AT(2) "Headroom: there is no such key in [Watch]; did you mean HighHeadroom?\n" },
		{ "[Daemon]\nClientPerUID=5\n",
		  AT(2) "ClientPerUID: there is no such key in [Daemon]; did you mean ClientsPerUid?\n" },
		{ "[Daemon]\nColour=green\n",
		  AT(2) "Colour: there is no such key in [Daemon]; psibridged.conf(5) lists them\n" },
		{ "[Defaults]\nServeOthers=no\n",
		  AT(2) "ServeOthers: this key belongs to [Daemon], not to [Defaults]\n" },
		{ "[Defaults]\nEnabled=no\n",
		  AT(2) "Enabled: this key belongs to [Watch], not to [Defaults]\n" },
		{ "[Daemon]\nLow=some 1ms/1s\n",
		  AT(2) "Low: this key belongs to [Defaults] or [Watch], not to [Daemon]\n" },
		{ "[Watchs a/*]\nLow=nonsense, but whose?\n",
		  AT(1) "[Watchs a/*]: there is no such section; did you mean [Watch PATTERN]?\n" },
		{ "[watch a]\n",
		  AT(1) "[watch a]: there is no such section; did you mean [Watch PATTERN]?\n" },
		{ "[Default]\n",
		  AT(1) "[Default]: there is no such section; did you mean [Defaults]?\n" },
		{ "[Defaults x]\n",
		  AT(1) "[Defaults x]: there is no such section; did you mean [Defaults]?\n" },
		{ "[Service]\n",
		  AT(1) "[Service]: there is no such section; [Daemon], [Defaults] or "
			"[Watch PATTERN] was expected\n" },
		{ "[]\n", AT(1) "[]: there is no such section; [Daemon], [Defaults] or "
				"[Watch PATTERN] was expected\n" },
	};

	expect_each(table, ELEMENTSOF(table));
}

PROMISE(a_wrong_pattern_is_said)
{
	static const struct wrong table[] = {
		{ "[Watch]\n", AT(1) "[Watch]: which? [Watch PATTERN] was expected, such as "
				     "[Watch system.slice/*.service]\n" },
		{ "[Watch a/../b]\n",
		  AT(1) "[Watch a/../b]: \"..\" is not allowed in it" PATH_WANTED },
		{ "[Watch a**]\n",
		  AT(1) "[Watch a**]: two stars must be a component of their own" PATH_WANTED },
		{ "[Watch **/a/**]\n",
		  AT(1) "[Watch **/a/**]: two stars may stand in it only once" PATH_WANTED },
		{ "[Watch /sys/fs/cgroup/a]\n",
		  AT(1) "[Watch /sys/fs/cgroup/a]: paths begin below the cgroup2 mount: leave it "
			"away" PATH_WANTED },
		{ "[Watch a /]\n", AT(1) "[Watch a /]: a blank begins or ends it" PATH_WANTED },
		{ "[Watch / a]\n", AT(1) "[Watch / a]: a blank begins or ends it" PATH_WANTED },
		{ "[Watch a\tb]\n", AT(1) "[Watch a?b]: a tab is not allowed in it" PATH_WANTED },
		/* and the keys below are looked at all the same */
		{ "[Watch ..]\nLow=x\nServeOthers=no\n",
		  AT(1) "[Watch ..]: \"..\" is not allowed in it" PATH_WANTED AT(
			  2) "Low: \"x\": it begins with neither some nor full" TRIGGER_WANTED
			  AT(3) "ServeOthers: this key belongs to [Daemon], not to [Watch]\n" },
	};
	char text[2 * CGPATH_MAX], complaint[512];

	expect_each(table, ELEMENTSOF(table));

	for (size_t length = CGPATH_MAX - 1; length <= CGPATH_MAX + 2; length++) {
		snprintf(text, sizeof(text), "[Watch %0*u]\n", (int)length, 0u);
		snprintf(complaint, sizeof(complaint),
			 AT(1) "[Watch %080u...]: it is longer than 4095 bytes" PATH_WANTED, 0u);
		fake_write(MAIN, text);
		expect(-EINVAL, complaint);
	}
	/* not even where it would be shorter, once normalised */
	memcpy(text, "[Watch ", 7);
	memset(text + 7, '/', 5000);
	snprintf(text + 5007, sizeof(text) - 5007, "b]");
	snprintf(complaint, sizeof(complaint),
		 AT(1) "[Watch %.80s...]: it is longer than 4095 bytes" PATH_WANTED, text + 7);
	fake_write(MAIN, text);
	expect(-EINVAL, complaint);
}

PROMISE(a_line_that_could_be_misunderstood_is_refused)
{
	static const struct wrong table[] = {
		{ "Low=some 1ms/1s\n", AT(1) "Low: it stands before the first section; [Daemon], "
					     "[Defaults] or [Watch PATTERN] was expected\n" },
		{ "[Defaults]\nLow\n", AT(2) "Low" LINE_WANTED },
		{ "[Defaults]\nLow: some 1ms/1s\n", AT(2) "Low: some 1ms/1s" LINE_WANTED },
		{ "[Defaults]\nLow: some=1ms/1s\n", AT(2) "Low: some=1ms/1s" LINE_WANTED },
		{ "[Defaults]\n= 5\n", AT(2) "= 5: the key in front of \"=\" is missing\n" },
		{ "[Defaults]\nCalm=5s ; five\n",
		  AT(2) "Calm=5s ; five: a comment must have a line of its own\n" },
		{ "[Defaults]\nCalm=5s\t# five\n",
		  AT(2) "Calm=5s?# five: a comment must have a line of its own\n" },
		{ "[Defaults]\nCalm=\\\n  5s\n",
		  AT(2) "Calm=\\: a line cannot be continued on the next one\n" AT(
			  3) "5s" LINE_WANTED },
		{ "[Defaults]\nCalm=5s\n  6s\n", AT(3) "6s" LINE_WANTED },
		{ "[Defaults]\nCalm=5s\x01\n",
		  AT(2) "Calm=5s?: the control character 0x01 is not allowed\n" },
		{ "[Defaults]\n\x0c"
		  "Calm=5s\n",
		  AT(2) "?Calm=5s: the control character 0x0c is not allowed\n" },
		{ "[Defaults]\rCalm=5s\n",
		  AT(1) "[Defaults]?Calm=5s: the control character 0x0d is not allowed\n" },
		{ "[Watch a\n", AT(1) "[Watch a: a section ends its line with \"]\"\n" },
		{ "[Defaults] # all\nCalm=x\n",
		  AT(1) "[Defaults] # all: a section ends its line with \"]\"\n" },
		{ "[Defaults]\n\xef\xbb\xbf"
		  "Calm=5s\n",
		  AT(2) "\xef\xbb\xbf"
			"Calm: there is no such key in [Defaults]; psibridged.conf(5) lists them\n" },
	};
	char text[512];
	FILE *f;

	expect_each(table, ELEMENTSOF(table));

	/* a NUL ends a line for many a reader */
	f = fopen(fake_path(MAIN), "we");
	assert_non_null(f);
	fwrite("[Defaults]\nCalm=5s\0 or more\n", 1, 28, f);
	fclose(f);
	expect(-EINVAL, AT(2) "Calm=5s: the control character 0x00 is not allowed\n");

	snprintf(text, sizeof(text), "[Daemon]\n  ClientsMax=%0*u\n", 400, 5);
	config_free(load_text(text));
	/* a comment may be as long as it likes */
	snprintf(text, sizeof(text), "#%0*u\n[Daemon]\nClientsMax=5", 400, 5);
	config_free(load_text(text));
}

PROMISE(thresholds_that_contradict_each_other_are_refused)
{
#define OVER_LOW(early, low, most)                                                                \
	"Early \"" early "\" is over Low \"" low "\", which stalls could reach unnoticed; Early " \
	"of at most \"" most "\" was expected\n"
#define OVER_CRITICAL(early, critical, most)                                               \
	"Early \"" early "\" is over Critical \"" critical "\", which stalls could reach " \
	"unnoticed; Early of at most \"" most "\" was expected\n"
#define UNDER_LOW(critical, low)                                                               \
	"Critical \"" critical "\" is under Low \"" low "\", so every Low would be critical; " \
	"Critical over Low was expected\n"
	static const struct wrong table[] = {
		{ "[Defaults]\nEarly=some 300ms/2s\nCritical=full 1s/2s\n",
		  AT(2) "Early: " OVER_LOW("some 300ms/2s", "some 200ms/2s", "some 200ms/2s") },
		/* whoever was written there is named first */
		{ "[Defaults]\nLow=some 10ms/2s\n",
		  AT(2) "Low: " OVER_LOW("some 20ms/2s", "some 10ms/2s", "some 10ms/2s") },
		{ "[Defaults]\nLow=some 10ms/2s\nEarly=some 30ms/2s\n",
		  AT(3) "Early: " OVER_LOW("some 30ms/2s", "some 10ms/2s", "some 10ms/2s") },
		/* the same share, but 200 ms in 2 s may be spread over 14 windows of 150 ms */
		{ "[Defaults]\nEarly=some 15ms/150ms\nCritical=full 1s/2s\n",
		  AT(2) "Early: " OVER_LOW("some 15ms/150ms", "some 200ms/2s",
					   "some 14285us/150ms") },
		{ "[Defaults]\nEarly=full 20ms/2s\n",
		  AT(2) "Early: " OVER_LOW("full 20ms/2s", "some 200ms/2s", "some 200ms/2s") },
		{ "[Watch a]\nCritical=full 10ms/2s\n",
		  AT(2) "Critical: " OVER_CRITICAL("some 20ms/2s", "full 10ms/2s",
						   "full 10ms/2s") },
		{ "[Defaults]\nCritical=some 199ms/2s\n",
		  AT(2) "Critical: " UNDER_LOW("some 199ms/2s", "some 200ms/2s") },
		{ "[Defaults]\nLow=full 1s/2s\n",
		  AT(2) "Low: " UNDER_LOW("full 100ms/2s", "full 1s/2s") },
		/* said once, not once for each watch */
		{ "[Watch a]\n[Watch b]\nCalm=5s\n[Defaults]\nEarly=some 1s/2s\nCritical=full 1s/2s\n",
		  AT(5) "Early: " OVER_LOW("some 1s/2s", "some 200ms/2s", "some 200ms/2s") },
		/* a watch against its [Defaults] */
		{ "[Defaults]\nEarly=some 100ms/2s\n[Watch a]\nLow=some 50ms/2s\n",
		  AT(4) "Low: " OVER_LOW("some 100ms/2s", "some 50ms/2s", "some 50ms/2s") },
		/* a value that is wrong is not compared as well */
		{ "[Defaults]\nLow=some 1s/2s\nLow=\nLow=x\nCritical=some 500ms/2s\n",
		  AT(4) "Low: \"x\": it begins with neither some nor full" TRIGGER_WANTED },
		{ "[Defaults]\nEarly=some 300ms/2s\nLow=x\nCritical=x\n",
		  AT(3) "Low: \"x\": it begins with neither some nor full" TRIGGER_WANTED AT(
			  4) "Critical: \"x\": it begins with neither some nor full; a trigger such as "
			     "full 100ms/2s was expected\n" },
	};
	static const char *const good[] = {
		"[Defaults]\nEarly=some 100ms/2s\nCritical=some 200ms/2s\n",
		"[Defaults]\nEarly=some 14285us/150ms\nCritical=full 1s/2s\n",
		"[Defaults]\nEarly=some 100ms/10s\n",
		"[Watch a]\nEarly=some 2s/2s\nEnabled=no\n",
	};

	expect_each(table, ELEMENTSOF(table));
	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		config_free(load_text(good[i]));
	}
}

PROMISE(all_mistakes_of_all_files_are_said)
{
	fake_write(MAIN, "[Defaults]\nCalm=x\n\n[Nonsense]\nCalm=x\n[Daemon]\nServeOther=no\n");
	fake_write("run/psibridge/psibridged.conf.d/b.conf", "[Watch a/..]\nCalm=y");
	fake_write("etc/psibridge/psibridged.conf.d/a.conf", "Calm=z");
	expect(-EINVAL,
	       AT(2) "Calm: \"x\": it does not begin with a digit; " TIME_WANTED AT(
		       4) "[Nonsense]: there is no such section; [Daemon], [Defaults] or "
			  "[Watch PATTERN] was expected\n" AT(
				  7) "ServeOther: there is no such key in "
				     "[Daemon]; did you mean ServeOthers?\n"
				     "ROOT/etc/psibridge/psibridged.conf.d/a.conf:1: Calm: it stands before the "
				     "first section; [Daemon], [Defaults] or [Watch PATTERN] was expected\n"
				     "ROOT/run/psibridge/psibridged.conf.d/b.conf:1: [Watch a/..]: \"..\" is not "
				     "allowed in it" PATH_WANTED
				     "ROOT/run/psibridge/psibridged.conf.d/b.conf:2: "
				     "Calm: \"y\": it does not begin with a digit; " TIME_WANTED);
}

#define TOO_MANY ": 256 watches were expected at most; a pattern watches many cgroups\n"

PROMISE(more_watches_than_there_may_be_are_refused)
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
	expect(-EINVAL, AT(505) "[Watch more]" TOO_MANY AT(507) "[Watch and/more]" TOO_MANY AT(
				508) "Calm: \"x\": it does not begin with a digit; " TIME_WANTED);
}

PROMISE(a_file_that_cannot_be_read_is_an_error)
{
	const char *drop_in = "etc/psibridge/psibridged.conf.d/a.conf";
	char *big = calloc(1, (1 << 20) + 2);

	fake_write("etc/psibridge/psibridged.conf.d/", "");
	fake_write("usr/lib/psibridge/psibridged.conf.d/a.conf", "[Defaults]\nCalm=5s\n");
	assert_int_equal(symlink("nowhere", fake_path(drop_in)), 0);
	expect(-ENOENT, "ROOT/etc/psibridge/psibridged.conf.d/a.conf: it is a link to a file that "
			"does not exist\n");
	unlink(fake_path(drop_in));
	assert_int_equal(symlink("a.conf", fake_path(drop_in)), 0);
	expect(-ELOOP, "ROOT/etc/psibridge/psibridged.conf.d/a.conf: Too many levels of symbolic "
		       "links\n");
	unlink(fake_path(drop_in));
	assert_int_equal(mkfifo(fake_path(drop_in), 0600), 0);
	expect(-EINVAL, "ROOT/etc/psibridge/psibridged.conf.d/a.conf: it is not a regular file\n");
	unlink(fake_path(drop_in));
	assert_int_equal(mkdir(fake_path(drop_in), 0700), 0);
	expect(-EINVAL, "ROOT/etc/psibridge/psibridged.conf.d/a.conf: it is not a regular file\n");
	rmdir(fake_path(drop_in));

	assert_non_null(big);
	memset(big, '\n', (1 << 20) + 1);
	fake_write(drop_in, big);
	free(big);
	/* what else is wrong is said too */
	fake_write(MAIN, "[Nonsense of the day]\n");
	expect(-EFBIG,
	       AT(1) "[Nonsense of the day]: there is no such section; [Daemon], [Defaults] "
		     "or [Watch PATTERN] was expected\n"
		     "ROOT/etc/psibridge/psibridged.conf.d/a.conf: it is bigger than 1 MiB\n");
	/* and a directory in place of the main file does not make the next one count */
	unlink(fake_path(drop_in));
	unlink(fake_path(MAIN));
	assert_int_equal(mkdir(fake_path(MAIN), 0700), 0);
	fake_write("usr/lib/psibridge/psibridged.conf", "[Defaults]\nCalm=5s\n");
	expect(-EINVAL, "ROOT/etc/psibridge/psibridged.conf: it is not a regular file\n");
}

/* That is no mistake, and the configuration counts. */
PROMISE(what_is_said_twice_in_one_file_is_warned_of)
{
	static const struct wrong table[] = {
		{ "[Watch a]\nCalm=5s\nCalm=6s\n",
		  AT(3) "warning: Calm: line 2 of this file says it for the same section; this one "
			"counts\n" },
		{ "[Watch a]\nCalm=5s\n[Defaults]\n[Watch /a/]\nCalm=6s\n",
		  AT(4) "warning: [Watch a]: line 1 of this file has this section; both count\n" AT(
			  5) "warning: Calm: line 2 of this file says it for the same section; this "
			     "one counts\n" },
		{ "[Defaults]\n[Daemon]\n[Defaults]\n[Daemon]\n",
		  AT(3) "warning: [Defaults]: line 1 of this file has this section; both count\n" AT(
			  4) "warning: [Daemon]: line 2 of this file has this section; both count\n" },
		{ "[Watch a]\nShadow=yes\n[Watch a]\nCalm=6s\n[Watch a]\nShadow=yes\n",
		  AT(5) "warning: [Watch a with Shadow=yes]: line 1 of this file has this section; "
			"both count\n" AT(
				6) "warning: Shadow: line 2 of this file says it for the same "
				   "section; this one counts\n" },
		/* taken back first, or in another file */
		{ "[Watch a]\nCalm=5s\nCalm=\nCalm=6s\n", "" },
		{ "[Watch b]\nCalm=6s\n", "" },
	};

	fake_write(MAIN ".d/50.conf", "[Watch b]\nCalm=5s\n");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct config *config = NULL;
		char *text;

		fake_write(MAIN, table[i].text);
		assert_int_equal(load(&config, &text), 0);
		assert_string_equal(text, table[i].complaint);
		free(text);
		config_free(config);
	}
}

PROMISE(the_nearest_word_is_at_most_two_slips_away)
{
#define LETTERS_32 "abcdefghijklmnopqrstuvwxyzabcdef"
	static const char *const names[] = { "Early", "Low",	  "Critical",
					     "Rearm", LETTERS_32, LETTERS_32 LETTERS_32 };
	static const struct {
		const char *word, *nearest;
	} table[] = {
		{ "Early", "Early" },
		{ "EARLY", "Early" },
		{ "Erly", "Early" },
		{ "Eearly", "Early" },
		{ "Eraly", "Early" },
		{ "Erl", "Early" },
		{ "Er", NULL },
		{ "Lwo", "Low" },
		{ "Slow", "Low" },
		{ "Flows", NULL },
		{ "Critcial", "Critical" },
		{ "kritikal", "Critical" },
		{ "kritikel", NULL },
		{ "", NULL },
		{ "Ream", "Rearm" },
		{ LETTERS_32, LETTERS_32 },
		{ LETTERS_32 "g", NULL },
		{ LETTERS_32 LETTERS_32, NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *found = nearest_word(table[i].word, strlen(table[i].word), names,
						 ELEMENTSOF(names));

		if (found ? !table[i].nearest || strcmp(found, table[i].nearest) != 0
			  : table[i].nearest != NULL)
			fail_msg("%s: %s", table[i].word, found ? found : "none");
	}
}

EACH(fake_set_up, fake_tear_down)
