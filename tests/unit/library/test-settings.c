/* SPDX-License-Identifier: MIT */
/*
 * test-settings.c - psb_settings_read(): what the PSIBRIDGE_ variables say, and what is said of
 * those that make no sense
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

/* NULL: of the process's own. */
static struct psb_settings read_from(const char *const *environment, unsigned flags)
{
	struct psb_settings settings;

	memset(&settings, 0xa5, sizeof(settings));
	memset(&options, 0xa5, sizeof(options));
	settings.size = sizeof(settings);
	settings.watch = &options;
	options.size = sizeof(options);
	line_count = 0;
	assert_int_equal(environment ? psb_settings_read_from(environment, flags, note_line, lines,
							      &settings)
				     : psb_settings_read(note_line, lines, &settings),
			 0);
	assert_int_equal(settings.refused, line_count);
	return settings;
}

/* NAME=VALUE, and nothing else. */
static struct psb_settings read_one(const char *variable, unsigned flags)
{
	const char *const one[] = { variable, NULL };

	return read_from(one, flags);
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

PROMISE(without_a_variable_or_with_empty_ones_the_defaults_count)
{
	static const char *const nothing[] = { NULL };
	static const char *const empty[] = {
		"PSIBRIDGE=",	     "PSIBRIDGE_LOG=",	  "PSIBRIDGE_COLLECT=", "PSIBRIDGE_LOW=",
		"PSIBRIDGE_CGROUP=", "PSIBRIDGE_SOURCE=", "PSIBRIDGE_GROWN=",	NULL,
	};
	char **theirs = environ;
	struct psb_settings s = read_from(nothing, 0);

	assert_are_defaults(&s);
	s = read_from(empty, 0);
	assert_are_defaults(&s);
	environ = NULL; /* as clearenv(3) leaves it */
	s = read_from(NULL, 0);
	environ = theirs;
	assert_are_defaults(&s);
	assert_int_equal(line_count, 0);
	setenv("PSIBRIDGE_GROWN", "1M", 1);
	assert_int_equal(read_from(NULL, 0).grown_bytes, 1 << 20);
	unsetenv("PSIBRIDGE_GROWN");
}

/* Of two the first counts. */
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
		"PSIBRIDGE_LOW=",
		"PSIBRIDGE_APART=nonsense",
		NULL,
	};
	struct psb_settings s = read_from(all, 0);

	assert_int_equal(line_count, 0);
	assert_int_equal(s.size, sizeof(s));
	assert_int_equal(s.enabled, 0);
	assert_int_equal(s.log_priority, 7);
	assert_int_equal(s.collect, PSB_COLLECT_CRITICAL);
	assert_int_equal(s.apart_usec, 60 * USEC_PER_SEC);
	assert_int_equal(s.grown_bytes, 1 << 30);
	/* not copies */
	assert_ptr_equal(s.watch->cgroup, strchr(all[5], '=') + 1);
	assert_ptr_equal(s.watch->source, strchr(all[6], '=') + 1);
	assert_ptr_equal(s.watch->early, strchr(all[7], '=') + 1);
	assert_ptr_equal(s.watch->low, strchr(all[8], '=') + 1);
	assert_ptr_equal(s.watch->critical, strchr(all[9], '=') + 1);
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
		const char *variable;
		bool of_watch;
		size_t offset, size;
		int64_t value;
	} table[] = {
		{ "PSIBRIDGE=on", FROM(enabled), 1 },
		{ "PSIBRIDGE=YES", FROM(enabled), 1 },
		{ "PSIBRIDGE=0", FROM(enabled), 0 },
		{ "PSIBRIDGE=Off", FROM(enabled), 0 },
		{ "PSIBRIDGE_LOG=off", FROM(log_priority), -1 },
		{ "PSIBRIDGE_LOG=error", FROM(log_priority), 3 },
		{ "PSIBRIDGE_LOG=warning", FROM(log_priority), 4 },
		{ "PSIBRIDGE_LOG=info", FROM(log_priority), 6 },
		{ "PSIBRIDGE_COLLECT=low", FROM(collect), PSB_COLLECT_LOW },
		{ "PSIBRIDGE_COLLECT=off", FROM(collect), PSB_COLLECT_OFF },
		{ "PSIBRIDGE_APART=1ms", FROM(apart_usec), 1000 },
		{ "PSIBRIDGE_GROWN=0", FROM(grown_bytes), 0 },
		{ "PSIBRIDGE_GROWN=4096", FROM(grown_bytes), 4096 },
		{ "PSIBRIDGE_QUIET=auto", FROM_WATCH(quiet_usec), 0 },
		{ "PSIBRIDGE_HIGH_HEADROOM=25", FROM_WATCH(headroom_percent), 25 },
		{ "PSIBRIDGE_HIGH_HEADROOM=off", FROM_WATCH(headroom_percent),
		  (int64_t)PSB_HEADROOM_OFF },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct psb_settings s;
		int64_t value = 0;

		s = read_one(table[i].variable, 0);
		assert_int_equal(line_count, 0);
		memcpy(&value,
		       (const char *)(table[i].of_watch ? (void *)s.watch : &s) + table[i].offset,
		       table[i].size);
		if (table[i].size == sizeof(int) && table[i].value < 0)
			value = (int)value;
		if (value != table[i].value)
			fail_msg("%s is taken for %lld", table[i].variable, (long long)value);
	}
}

PROMISE(nonsense_is_told_by_name_and_then_the_default_counts)
{
	static const struct {
		const char *variable, *told;
	} table[] = {
		{ "PSIBRIDGE=maybe",
		  "PSIBRIDGE=maybe: on or off was expected; the default counts" },
		{ "PSIBRIDGE_LOG=loud",
		  "PSIBRIDGE_LOG=loud: off, error, warning, info or debug was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_LOG=Info",
		  "PSIBRIDGE_LOG=Info: off, error, warning, info or debug was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_COLLECT=always",
		  "PSIBRIDGE_COLLECT=always: low, critical or off was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_APART=0",
		  "PSIBRIDGE_APART=0: a time from 1ms to 24h, such as 10s, was expected; "
		  "the default counts" },
		{ "PSIBRIDGE_GROWN=50MB",
		  "PSIBRIDGE_GROWN=50MB: a size such as 50M was expected; the default counts" },
		{ "PSIBRIDGE_GROWN=99999999T",
		  "PSIBRIDGE_GROWN=99999999T: that is more than there is; a size such as 50M was "
		  "expected; the default counts" },
		{ "PSIBRIDGE_REARM=25h",
		  "PSIBRIDGE_REARM=25h: a time from 1ms to 24h, such as 10s, was expected; "
		  "the default counts" },
		{
			"PSIBRIDGE_CALM=\x1b[2J",
			"PSIBRIDGE_CALM=?[2J: ",
		},
		{ "PSIBRIDGE_QUIET=7s\nforged", "PSIBRIDGE_QUIET=7s?forged: " },
		{ "PSIBRIDGE_EARLY=some", "PSIBRIDGE_EARLY=some: " },
		{ "PSIBRIDGE_LOW=some 3s/2s", "PSIBRIDGE_LOW=some 3s/2s: " },
		{ "PSIBRIDGE_LOW=full 1ms", "a trigger such as some 200ms/2s was expected" },
		{ "PSIBRIDGE_CRITICAL=10%", "PSIBRIDGE_CRITICAL=10%: " },
		{ "PSIBRIDGE_CRITICAL=10%", "a trigger such as full 100ms/2s was expected" },
		{ "PSIBRIDGE_HIGH_HEADROOM=100%",
		  "PSIBRIDGE_HIGH_HEADROOM=100%: a percentage from 1% to 99%, or off, was "
		  "expected; the default counts" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct psb_settings s = read_one(table[i].variable, 0);

		assert_are_defaults(&s);
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
	char low[4096] = "PSIBRIDGE_LOW=", apart[4096] = "PSIBRIDGE_APART=";
	const char *const some[] = { low, apart, "PSIBRIDGE_CRITICAL=full 50ms/1s",
				     "PSIBRIDGE_GROWN=1M", NULL };
	struct psb_settings s;

	memset(low + strlen(low), 'x', sizeof(low) - strlen(low) - 1);
	memset(apart + strlen(apart), 'x', sizeof(apart) - strlen(apart) - 1);
	s = read_from(some, 0);
	assert_int_equal(line_count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_memory_equal(lines[i], some[i], 30);
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
	} table[] = { { "PSIBRIDGE_LWO", "PSIBRIDGE_LOW" },
		      { "PSIBRIDGE_COLECT", "PSIBRIDGE_COLLECT" },
		      { "PSIBRIDGE_HIGHHEADROOM", "PSIBRIDGE_HIGH_HEADROOM" },
		      { "PSIBRIDGE_log", "PSIBRIDGE_LOG" } };
	static const char *const harmless[] = { "PSIBRIDGE_BACKEND=x",
						"PSIBRIDGE_CONTROL=x",
						"PSIBRIDGE_HOOKS=x",
						"PSIBRIDGE_TEST_TIMEOUT=x",
						"PSIBRIDGE_=x",
						"PSIBRIDGE_LOW",
						"PSIBRIDGE_FROM_A_NEWER=x",
						"PSIBRIDGELOW=x",
						"MYPSIBRIDGE_LWO=x",
						"PATH=/bin",
						NULL };
	struct psb_settings s = read_from(harmless, 0);

	assert_are_defaults(&s);
	assert_int_equal(line_count, 0);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char variable[64], told[128];

		snprintf(variable, sizeof(variable), "%s=off", table[i].name);
		s = read_one(variable, 0);
		assert_are_defaults(&s);
		assert_int_equal(line_count, 1);
		snprintf(told, sizeof(told), "%s: there is no such variable; did you mean %s?",
			 table[i].name, table[i].near);
		assert_string_equal(lines[0], told);
	}
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
		{ "LOW=x", "LOW: there is no such variable; did you mean PSIBRIDGE_LOW?" },
		{ "DOTNET_gcServer=1", "DOTNET_gcServer: there is no such setting" },
		{ "PSIBRIDGE_BACKEND=epoll", "PSIBRIDGE_BACKEND: there is no such setting" },
		{ "PSIBRIDGE_APRAT=1s", "PSIBRIDGE_APRAT: there is no such variable; did you mean "
					"PSIBRIDGE_APART?" },
		{ "PSIBRIDGE_LOG=loud", "PSIBRIDGE_LOG=loud: off, error, warning, info or debug "
					"was expected" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		(void)read_one(table[i].text, PSB_SETTINGS_STRICT);
		assert_int_equal(line_count, table[i].told != NULL);
		if (table[i].told)
			assert_string_equal(lines[0], table[i].told);
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
	s.size = 0;
	assert_int_equal(psb_settings_read(NULL, NULL, &s), -EINVAL);
	s.size = sizeof(s);
	o.size = 0;
	assert_int_equal(psb_settings_read(NULL, NULL, &s), -EINVAL);
	assert_int_equal(s.refused, 77);
	o.size = sizeof(o);
	assert_int_equal(psb_settings_read_from(nonsense, 0, NULL, NULL, &s), 0);
	assert_int_equal(s.refused, 2);
	assert_null(o.low);
}
