/* SPDX-License-Identifier: MIT */
/*
 * test-settings.c - psb_settings_read(): what the PSIBRIDGE_ variables say, and what is said of
 * those that make no sense
 *
 * A case begins without any such variable and sets its own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "core/util.h"
#include "psibridge/tools.h"

#define LINES_MAX 40

static char lines[LINES_MAX][512];
static unsigned line_count;

static void note_line(void *userdata, int priority, const char *message)
{
	assert_ptr_equal(userdata, lines);
	assert_int_equal(priority, 4);
	assert_true(line_count < LINES_MAX);
	snprintf(lines[line_count++], sizeof(lines[0]), "%s", message);
}

static struct psb_watch_options options; /* that came of the newest reading */

static struct psb_settings read_settings(void)
{
	struct psb_settings settings;

	memset(&settings, 0xa5, sizeof(settings));
	memset(&options, 0xa5, sizeof(options));
	settings.size = sizeof(settings);
	settings.watch = &options;
	options.size = sizeof(options);
	line_count = 0;
	assert_int_equal(psb_settings_read(note_line, lines, &settings), 0);
	return settings;
}

static void forget_variables(void **state)
{
	static const char *const names[] = { "",       "_LOG",		 "_COLLECT", "_APART",
					     "_GROWN", "_CGROUP",	 "_SOURCE",  "_EARLY",
					     "_LOW",   "_CRITICAL",	 "_REARM",   "_QUIET",
					     "_CALM",  "_HIGH_HEADROOM", "_BACKEND", "_CONTROL",
					     "_HOOKS" };
	char name[64];

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		snprintf(name, sizeof(name), "PSIBRIDGE%s", names[i]);
		unsetenv(name);
	}
}

static void assert_are_defaults(const struct psb_settings *s)
{
	static const struct psb_watch_options nothing_asked = { .size = sizeof(nothing_asked) };

	assert_int_equal(s->size, sizeof(*s));
	assert_int_equal(s->enabled, 1);
	assert_int_equal(s->log_priority, 4);
	assert_int_equal(s->collect, PSB_COLLECT_LOW);
	assert_int_equal(s->apart_usec, 10 * USEC_PER_SEC);
	assert_int_equal(s->grown_bytes, 50 << 20);
	assert_memory_equal(s->watch, &nothing_asked, sizeof(nothing_asked));
}

PROMISE(without_a_variable_the_defaults_count)
{
	struct psb_settings s = read_settings();

	assert_are_defaults(&s);
	assert_int_equal(s.refused, 0);
	assert_int_equal(line_count, 0);
}

PROMISE(each_variable_ends_up_where_it_belongs)
{
	struct psb_settings s;

	setenv("PSIBRIDGE", "off", 1);
	setenv("PSIBRIDGE_LOG", "debug", 1);
	setenv("PSIBRIDGE_COLLECT", "critical", 1);
	setenv("PSIBRIDGE_APART", "1min", 1);
	setenv("PSIBRIDGE_GROWN", "1G", 1);
	setenv("PSIBRIDGE_CGROUP", "/a.slice/b.service", 1);
	setenv("PSIBRIDGE_SOURCE", "/run/fifo", 1);
	setenv("PSIBRIDGE_EARLY", "some 1ms/1s", 1);
	setenv("PSIBRIDGE_LOW", "some 2000 1000000", 1);
	setenv("PSIBRIDGE_CRITICAL", "full 3ms/1s", 1);
	setenv("PSIBRIDGE_REARM", "4s", 1);
	setenv("PSIBRIDGE_QUIET", "5s", 1);
	setenv("PSIBRIDGE_CALM", "6s", 1);
	setenv("PSIBRIDGE_HIGH_HEADROOM", "7%", 1);
	s = read_settings();
	assert_int_equal(line_count, 0);
	assert_int_equal(s.refused, 0);
	assert_int_equal(s.size, sizeof(s));
	assert_int_equal(s.enabled, 0);
	assert_int_equal(s.log_priority, 7);
	assert_int_equal(s.collect, PSB_COLLECT_CRITICAL);
	assert_int_equal(s.apart_usec, 60 * USEC_PER_SEC);
	assert_int_equal(s.grown_bytes, 1 << 30);
	assert_ptr_equal(s.watch->cgroup, getenv("PSIBRIDGE_CGROUP"));
	assert_ptr_equal(s.watch->source, getenv("PSIBRIDGE_SOURCE"));
	assert_ptr_equal(s.watch->early, getenv("PSIBRIDGE_EARLY"));
	assert_ptr_equal(s.watch->low, getenv("PSIBRIDGE_LOW"));
	assert_ptr_equal(s.watch->critical, getenv("PSIBRIDGE_CRITICAL"));
	assert_int_equal(s.watch->rearm_usec, 4 * USEC_PER_SEC);
	assert_int_equal(s.watch->quiet_usec, 5 * USEC_PER_SEC);
	assert_int_equal(s.watch->calm_usec, 6 * USEC_PER_SEC);
	assert_int_equal(s.watch->headroom_percent, 7);
}

#define FROM(member) \
	false, offsetof(struct psb_settings, member), sizeof(((struct psb_settings *)0)->member)
#define FROM_WATCH(member)                                \
	true, offsetof(struct psb_watch_options, member), \
		sizeof(((struct psb_watch_options *)0)->member)

PROMISE(every_word_means_what_the_manual_says)
{
	static const struct {
		const char *name, *text;
		bool of_watch;
		size_t offset, size;
		int64_t value;
	} table[] = {
		{ "PSIBRIDGE", "on", FROM(enabled), 1 },
		{ "PSIBRIDGE", "YES", FROM(enabled), 1 },
		{ "PSIBRIDGE", "0", FROM(enabled), 0 },
		{ "PSIBRIDGE", "Off", FROM(enabled), 0 },
		{ "PSIBRIDGE_LOG", "off", FROM(log_priority), -1 },
		{ "PSIBRIDGE_LOG", "error", FROM(log_priority), 3 },
		{ "PSIBRIDGE_LOG", "warning", FROM(log_priority), 4 },
		{ "PSIBRIDGE_LOG", "info", FROM(log_priority), 6 },
		{ "PSIBRIDGE_COLLECT", "low", FROM(collect), PSB_COLLECT_LOW },
		{ "PSIBRIDGE_COLLECT", "off", FROM(collect), PSB_COLLECT_OFF },
		{ "PSIBRIDGE_APART", "1ms", FROM(apart_usec), 1000 },
		{ "PSIBRIDGE_GROWN", "0", FROM(grown_bytes), 0 },
		{ "PSIBRIDGE_GROWN", "4096", FROM(grown_bytes), 4096 },
		{ "PSIBRIDGE_QUIET", "auto", FROM_WATCH(quiet_usec), 0 },
		{ "PSIBRIDGE_HIGH_HEADROOM", "25", FROM_WATCH(headroom_percent), 25 },
		{ "PSIBRIDGE_HIGH_HEADROOM", "off", FROM_WATCH(headroom_percent),
		  (int64_t)PSB_HEADROOM_OFF },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct psb_settings s;
		int64_t value = 0;

		forget_variables(state);
		setenv(table[i].name, table[i].text, 1);
		s = read_settings();
		assert_int_equal(line_count, 0);
		assert_int_equal(s.refused, 0);
		memcpy(&value,
		       (const char *)(table[i].of_watch ? (void *)s.watch : &s) + table[i].offset,
		       table[i].size);
		if (table[i].size == sizeof(int) && table[i].value < 0)
			value = (int)value;
		if (value != table[i].value)
			fail_msg("%s=%s is taken for %lld", table[i].name, table[i].text,
				 (long long)value);
	}
}

PROMISE(an_empty_value_is_no_value)
{
	static const char *const names[] = { "PSIBRIDGE",	  "PSIBRIDGE_LOG",
					     "PSIBRIDGE_COLLECT", "PSIBRIDGE_LOW",
					     "PSIBRIDGE_CGROUP",  "PSIBRIDGE_SOURCE",
					     "PSIBRIDGE_GROWN" };
	struct psb_settings s;

	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		setenv(names[i], "", 1);
	s = read_settings();
	assert_are_defaults(&s);
	assert_int_equal(s.refused, 0);
	assert_int_equal(line_count, 0);
}

PROMISE(nonsense_is_told_by_name_and_then_the_default_counts)
{
	static const struct {
		const char *name, *text, *told;
	} table[] = {
		{ "PSIBRIDGE", "maybe",
		  "PSIBRIDGE=maybe: on or off was expected; the default counts" },
		{ "PSIBRIDGE_LOG", "loud",
		  "PSIBRIDGE_LOG=loud: off, error, warning, info or debug was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_LOG", "Info",
		  "PSIBRIDGE_LOG=Info: off, error, warning, info or debug was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_COLLECT", "always",
		  "PSIBRIDGE_COLLECT=always: low, critical or off was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_APART", "0",
		  "PSIBRIDGE_APART=0: a time from 1ms to 24h, such as 10s, was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_GROWN", "50MB",
		  "PSIBRIDGE_GROWN=50MB: a size such as 50M was expected; the default counts" },
		{ "PSIBRIDGE_GROWN", "99999999T",
		  "PSIBRIDGE_GROWN=99999999T: that is more than there is; a size such as 50M was "
		  "expected; the default counts" },
		{ "PSIBRIDGE_REARM", "25h",
		  "PSIBRIDGE_REARM=25h: a time from 1ms to 24h, such as 10s, was expected; "
		  "the default counts" },
		{
			"PSIBRIDGE_CALM",
			"\x1b[2J",
			"PSIBRIDGE_CALM=?[2J: ",
		},
		{ "PSIBRIDGE_QUIET", "7s\nforged", "PSIBRIDGE_QUIET=7s?forged: " },
		{ "PSIBRIDGE_EARLY", "some", "PSIBRIDGE_EARLY=some: " },
		{ "PSIBRIDGE_LOW", "some 3s/2s", "PSIBRIDGE_LOW=some 3s/2s: " },
		{ "PSIBRIDGE_LOW", "full 1ms", "a trigger such as some 200ms/2s was expected" },
		{ "PSIBRIDGE_CRITICAL", "10%", "PSIBRIDGE_CRITICAL=10%: " },
		{ "PSIBRIDGE_CRITICAL", "10%", "a trigger such as full 100ms/2s was expected" },
		{ "PSIBRIDGE_HIGH_HEADROOM", "100%",
		  "PSIBRIDGE_HIGH_HEADROOM=100%: a percentage from 1% to 99%, or off, was "
		  "expected; the default counts" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct psb_settings s;

		forget_variables(state);
		setenv(table[i].name, table[i].text, 1);
		s = read_settings();
		assert_are_defaults(&s);
		assert_int_equal(s.refused, 1);
		assert_int_equal(line_count, 1);
		if (!strstr(lines[0], table[i].told))
			fail_msg("told: %s\ninstead of: %s", lines[0], table[i].told);
		assert_non_null(strstr(lines[0], " was expected; the default counts"));
		assert_null(strpbrk(lines[0], "\n\x1b"));
	}
}

/* One wrong word does not cost the others, and however long it is, its line says what it is about. */
PROMISE(each_variable_stands_for_itself)
{
	char huge[4096];
	struct psb_settings s;

	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	setenv("PSIBRIDGE_LOW", huge, 1);
	setenv("PSIBRIDGE_APART", huge, 1);
	setenv("PSIBRIDGE_CRITICAL", "full 50ms/1s", 1);
	setenv("PSIBRIDGE_GROWN", "1M", 1);
	s = read_settings();
	assert_int_equal(s.refused, 2);
	assert_int_equal(line_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_non_null(
			strstr(lines[i], i == 0 ? "PSIBRIDGE_LOW=xxx" : "PSIBRIDGE_APART=xxx"));
		assert_non_null(strstr(lines[i], " was expected; the default counts"));
	}
	assert_null(s.watch->low);
	assert_int_equal(s.apart_usec, 10 * USEC_PER_SEC);
	assert_string_equal(s.watch->critical, "full 50ms/1s");
	assert_int_equal(s.grown_bytes, 1 << 20);
}

PROMISE(a_slip_of_the_pen_is_told_and_what_others_read_is_not)
{
	static const struct {
		const char *name, *near;
	} table[] = {
		{ "PSIBRIDGE_LWO", "PSIBRIDGE_LOW" },
		{ "PSIBRIDGE_COLECT", "PSIBRIDGE_COLLECT" },
		{ "PSIBRIDGE_HIGHHEADROOM", "PSIBRIDGE_HIGH_HEADROOM" },
		{ "PSIBRIDGE_log", "PSIBRIDGE_LOG" },
	};
	static const char *const harmless[] = { "PSIBRIDGE_BACKEND",	  "PSIBRIDGE_CONTROL",
						"PSIBRIDGE_HOOKS",	  "PSIBRIDGE_TEST_TIMEOUT",
						"PSIBRIDGE_FROM_A_NEWER", "PSIBRIDGELOW",
						"MYPSIBRIDGE_LWO" };
	char told[128];
	struct psb_settings s;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		setenv(table[i].name, "off", 1);
		s = read_settings();
		unsetenv(table[i].name);
		assert_are_defaults(&s);
		assert_int_equal(s.refused, 1);
		assert_int_equal(line_count, 1);
		snprintf(told, sizeof(told), "%s: there is no such variable; did you mean %s?",
			 table[i].name, table[i].near);
		assert_string_equal(lines[0], told);
	}
	for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
		setenv(harmless[i], "whatever", 1);
	s = read_settings();
	assert_int_equal(line_count, 0);
	assert_int_equal(s.refused, 0);
	for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
		unsetenv(harmless[i]);
}

PROMISE(without_a_log_function_it_is_counted_all_the_same)
{
	struct psb_settings s = { .size = sizeof(s), .watch = &options };

	setenv("PSIBRIDGE_LOW", "nonsense", 1);
	setenv("PSIBRIDGE_LWO", "nonsense", 1);
	assert_int_equal(psb_settings_read(NULL, NULL, &s), 0);
	unsetenv("PSIBRIDGE_LWO");
	assert_int_equal(s.refused, 2);
	assert_null(s.watch->low);
}

/* The settings and the options grow each for themselves, and are refused each for themselves. */
PROMISE(a_size_that_makes_no_sense_leaves_both_alone)
{
	struct psb_settings s, s_before;
	struct psb_watch_options o, o_before;

	for (int i = 0; i < 2; i++) {
		memset(&s, 0xa5, sizeof(s));
		memset(&o, 0xa5, sizeof(o));
		s.watch = &o;
		s.size = i == 0 ? 0 : sizeof(s);
		o.size = i == 0 ? sizeof(o) : 0;
		s_before = s;
		o_before = o;
		assert_int_equal(psb_settings_read(note_line, lines, &s), -EINVAL);
		assert_memory_equal(&s, &s_before, sizeof(s));
		assert_memory_equal(&o, &o_before, sizeof(o));
	}
}

/* clearenv(3) leaves no environment at all. */
PROMISE(a_program_without_environment_has_the_defaults)
{
	char **theirs = environ;
	struct psb_settings s;

	environ = NULL;
	s = read_settings();
	environ = theirs;
	assert_are_defaults(&s);
	assert_int_equal(line_count, 0);
}

/* ---- somebody else's environment -------------------------------------------------------------- */

static struct psb_settings read_from(const char *const *environment, unsigned flags)
{
	struct psb_settings settings = { .size = sizeof(settings), .watch = &options };

	options.size = sizeof(options);
	line_count = 0;
	assert_int_equal(psb_settings_read_from(environment, flags, note_line, lines, &settings),
			 0);
	return settings;
}

PROMISE(an_environment_that_is_handed_over_is_the_only_one)
{
	static const char *const nothing[] = { NULL };
	static const char *const some[] = {
		"PATH=/bin",
		"PSIBRIDGE_LWO=x",
		"PSIBRIDGE_LOW=some 150ms/2s",
		"PSIBRIDGE_LOW=",
		"PSIBRIDGE_",
		"PSIBRIDGE_APART=5s",
		NULL,
	};
	struct psb_settings s;

	setenv("PSIBRIDGE_CRITICAL", "nonsense", 1);
	setenv("PSIBRIDGE_LOW", "some 200ms/2s", 1);
	s = read_from(nothing, 0);
	assert_are_defaults(&s);
	assert_int_equal(line_count, 0);
	s = read_from(some, 0);
	assert_ptr_equal(s.watch->low,
			 strchr(some[2], '=') + 1); /* the first of two, and not a copy */
	assert_int_equal(s.apart_usec, 5 * USEC_PER_SEC);
	assert_int_equal(line_count, 1);
	assert_string_equal(lines[0], "PSIBRIDGE_LWO: there is no such variable; "
				      "did you mean PSIBRIDGE_LOW?");
	assert_int_equal(s.refused, 1);
}

PROMISE(a_strict_reader_takes_settings_and_nothing_else)
{
	static const struct {
		const char *text, *told;
	} table[] = {
		{ "PSIBRIDGE=on", NULL },
		{ "PSIBRIDGE_LOG=info", NULL },
		{ "PSIBRIDGE_LOG=", NULL },
		{ "PSIBRIDGE_LOG", "PSIBRIDGE_LOG: NAME=VALUE was expected" },
		{ "", ": NAME=VALUE was expected" },
		{ "=", ": there is no such setting" },
		{ "PSIBRIDGE_=x", "PSIBRIDGE_: there is no such setting" },
		{ "PSIBRIDGES=x", "PSIBRIDGES: there is no such setting" },
		{ "psibridge_log=info", "psibridge_log: there is no such setting" },
		{ "LOW=some 150ms/2s",
		  "LOW: there is no such variable; did you mean PSIBRIDGE_LOW?" },
		{ "DOTNET_gcServer=1", "DOTNET_gcServer: there is no such setting" },
		{ "PSIBRIDGE_BACKEND=epoll", "PSIBRIDGE_BACKEND: there is no such setting" },
		{ "PSIBRIDGE_APRAT=1s", "PSIBRIDGE_APRAT: there is no such variable; did you mean "
					"PSIBRIDGE_APART?" },
		{ "PSIBRIDGE_LOG=loud", "PSIBRIDGE_LOG=loud: off, error, warning, info or debug "
					"was expected" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *const one[] = { table[i].text, NULL };
		struct psb_settings s = read_from(one, PSB_SETTINGS_STRICT);

		assert_int_equal(line_count, table[i].told != NULL);
		assert_int_equal(s.refused, table[i].told != NULL);
		if (table[i].told)
			assert_string_equal(lines[0], table[i].told);
	}
}

PROMISE(without_an_environment_or_with_unknown_flags_nothing_is_read)
{
	static const char *const nothing[] = { NULL };
	struct psb_settings s = { .size = sizeof(s) }, before = s;

	assert_int_equal(psb_settings_read(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(psb_settings_read_from(NULL, 0, NULL, NULL, &s), -EINVAL);
	assert_int_equal(psb_settings_read_from(nothing, 2, NULL, NULL, &s), -EINVAL);
	assert_memory_equal(&s, &before, sizeof(s));
}

FIXTURE(forget_variables, NULL)
