/* SPDX-License-Identifier: MIT */
/*
 * test-config.c - psibridged.conf (src/daemon/config.h): what files mean when all is well
 *
 * Files stand in a directory of the test's own that stands for "/". What is wrong in a file is in
 * test-config-errors.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../unit.h"
#include "config-bench.h"
#include "core/policy.h"
#include "core/scan.h"

PROMISE(without_a_file_it_is_as_built_in)
{
	static const char *const paths[] = { "/system.slice/**", "/user.slice/**",
					     "/machine.slice/**", "/kubepods.slice/**" };
	static const struct settings expected = {
		.policy = { .early = { PSI_SOME, 20000, 2000000 },
			    .low = { PSI_SOME, 200000, 2000000 },
			    .critical = { PSI_FULL, 100000, 2000000 },
			    .rearm_usec = 8192000,
			    .quiet_usec = 0,
			    .calm_usec = 10000000,
			    .headroom_percent = 25 },
		.shadow = false,
	};
	_cleanup_(config_freep) struct config *c = load_well();

	assert_null(c->files[0]);
	assert_true(settings_equal(&c->defaults, &expected));
	assert_int_equal(c->watch_count, ELEMENTSOF(paths));
	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		assert_string_equal(c->watches[i].path, paths[i]);
		assert_true(settings_equal(&c->watches[i].settings, &expected));
	}
	assert_int_equal(c->clients_max, 16384);
	assert_int_equal(c->clients_per_cgroup, 256);
	assert_int_equal(c->clients_per_uid, 2048);
	assert_true(c->serve_others && c->low_memory_monitor);
}

/* Is there a line `wanted` below a comment that it is from a file? */
static bool is_shown(const char *shown, const char *wanted)
{
	struct scan rest = scan_string(shown), line;
	bool from_file = false;

	while (scan_item(&rest, '\n', &line)) {
		if (from_file && scan_is(line, wanted))
			return true;
		from_file = scan_word(&line, "# from ROOT/" MAIN ":");
	}
	return false;
}

/* `shown` is its line in what config_show() writes. */
PROMISE(every_value_is_understood)
{
	static const struct {
		const char *text, *shown;
	} table[] = {
		{ "[Defaults]\nEarly=some 10ms/1s\n", "Early=some 10ms/1s" },
		{ "[Defaults]\nEarly=some 10000 1000000\n", "Early=some 10ms/1s" },
		{ "[Defaults]\nLow=full 1s/10s\nCritical=full 5s/5s\n", "Low=full 1s/10s" },
		{ "[Defaults]\nCritical=some 900ms/2s\n", "Critical=some 900ms/2s" },
		{ "[Defaults]\nRearm=1ms\n", "Rearm=1ms" },
		{ "[Defaults]\nRearm=24h\n", "Rearm=24h" },
		{ "[Defaults]\nRearm=1.5min\n", "Rearm=90s" },
		{ "[Defaults]\nQuiet=auto\n", "Quiet=auto" },
		{ "[Defaults]\nQuiet=7s\n", "Quiet=7s" },
		{ "[Defaults]\nCalm=500000us\n", "Calm=500ms" },
		{ "[Defaults]\nHighHeadroom=1\n", "HighHeadroom=1%" },
		{ "[Defaults]\nHighHeadroom=99%\n", "HighHeadroom=99%" },
		{ "[Defaults]\nHighHeadroom=off\n", "HighHeadroom=off" },
		{ "[Defaults]\nShadow=yes\n", "Shadow=yes" },
		{ "[Defaults]\nShadow=no\n", "Shadow=no" },
		{ "[Daemon]\nClientsMax=1\n", "ClientsMax=1" },
		{ "[Daemon]\nClientsMax=1048576\n", "ClientsMax=1048576" },
		{ "[Daemon]\nClientsPerCgroup=3\n", "ClientsPerCgroup=3" },
		{ "[Daemon]\nClientsPerUid=4\n", "ClientsPerUid=4" },
		{ "[Daemon]\nServeOthers=no\n", "ServeOthers=no" },
		{ "[Daemon]\nLowMemoryMonitor=no\n", "LowMemoryMonitor=no" },
		{ "[Watch a]\nEnabled=yes\nShadow=yes\n", "Shadow=yes" },
		/* the way it is written */
		{ "[Defaults]\n  Calm  =\t 5s \t\r\n", "Calm=5s" },
		{ "  [ Defaults ]  \r\nCalm=5s", "Calm=5s" },
		{ "\xef\xbb\xbf[Defaults]\nCalm=5s\n", "Calm=5s" },
		{ "\xef\xbb\xbf# a comment\n;another\n\n[Defaults]\nCalm=5s\n", "Calm=5s" },
		{ "[Defaults]\nRearm=1s\n    Calm=5s\n", "Calm=5s" },
		{ "[Defaults]\nCalm=5s\n  ; Calm=6s\n  #Calm=7s\n", "Calm=5s" },
		{ "[Defaults]\nCalm=5s\nCalm=\nCalm=6s\n", "Calm=6s" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		char *shown;

		c = load_text(table[i].text);
		shown = show(c);
		hide_root(shown);
		if (!is_shown(shown, table[i].shown))
			fail_msg("%s\nis shown without %s:\n%s", table[i].text, table[i].shown,
				 shown);
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
		  7 },
		true,
	};
	_cleanup_(config_freep) struct config *c = load_text(
		"[Watch a]\nEarly=some 1ms/1s\nLow=some 2ms/1s\nCritical=full 3ms/1s\n"
		"Rearm=4s\nQuiet=5s\nCalm=6s\nHighHeadroom=7\nShadow=yes\n"
		"[Daemon]\nClientsMax=11\nClientsPerCgroup=12\nClientsPerUid=13\n"
		"ServeOthers=yes\nLowMemoryMonitor=no\n");

	assert_int_equal(c->watch_count, 5);
	assert_string_equal(c->watches[4].path, "/a");
	assert_true(settings_equal(&c->watches[4].settings, &expected));
	assert_false(settings_equal(&c->defaults, &expected));
	assert_int_equal(c->clients_max, 11);
	assert_int_equal(c->clients_per_cgroup, 12);
	assert_int_equal(c->clients_per_uid, 13);
	assert_true(c->serve_others);
	assert_false(c->low_memory_monitor);
	fake_write(MAIN, "[Daemon]\nServeOthers=no\n");
	config_free(c);
	c = load_well();
	assert_false(c->serve_others);
	assert_true(c->low_memory_monitor);
}

PROMISE(a_long_path_is_never_cut)
{
	_cleanup_(config_freep) struct config *c = NULL;
	char text[CGPATH_MAX + 64], path[CGPATH_MAX];

	for (size_t length = 40; length < CGPATH_MAX;
	     length = length < 4000 ? length * 2 : CGPATH_MAX) {
		memset(path, 'x', length);
		path[0] = '/';
		path[length] = '\0';
		snprintf(text, sizeof(text), "[Watch %s]\nCalm=5s\n", path + 1);
		c = load_text(text);
		assert_int_equal(c->watch_count, 5);
		assert_string_equal(c->watches[4].path, path);
		assert_int_equal(c->watches[4].settings.policy.calm_usec, 5000000);
		c = config_free(c);
	}
}

PROMISE(paths_and_patterns_are_normalised)
{
	static const struct {
		const char *written, *path;
	} table[] = {
		{ "/", "/" },
		{ "a.service", "/a.service" },
		{ "/a//./b/", "/a/b" },
		{ "a b", "/a b" },
		{ "a]b[c]", "/a]b[c]" },
		{ "a ;b #c", "/a ;b #c" },
		{ "a=b:c", "/a=b:c" },
		{ "dev-disk\\x2dby.swap", "/dev-disk\\x2dby.swap" },
		{ "sys/fs/cgroup/a", "/sys/fs/cgroup/a" },
		{ "\xc3\xa4", "/\xc3\xa4" },
		{ "a/*.service", "/a/*.service" },
		{ "/a/**/b", "/a/**/b" },
		{ "**", "/**" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		char text[128];

		snprintf(text, sizeof(text), "[Watch \t%s ]\n", table[i].written);
		c = load_text(text);
		assert_int_equal(c->watch_count, 5);
		assert_string_equal(c->watches[4].path, table[i].path);
		check_reload(c);
	}
}

PROMISE(a_watch_takes_from_defaults_wherever_they_stand)
{
	_cleanup_(config_freep) struct config *c = load_text(
		"[Watch a]\nCalm=5s\n[Watch b]\nCalm=6s\nCalm=\n[Watch c]\n"
		"[Defaults]\nCalm=7s\n");

	assert_int_equal(c->watch_count, 7);
	assert_int_equal(c->watches[0].settings.policy.calm_usec, 7000000);
	assert_int_equal(c->watches[4].settings.policy.calm_usec, 5000000);
	assert_int_equal(c->watches[5].settings.policy.calm_usec, 7000000);
	assert_int_equal(c->watches[6].settings.policy.calm_usec, 7000000);
	assert_int_equal(c->defaults.policy.calm_usec, 7000000);
}

PROMISE(an_empty_value_is_the_default_again)
{
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write(MAIN, "[Defaults]\nCalm=7s\nLow=some 1s/2s\n[Daemon]\nClientsMax=5\n"
			 "[Watch user.slice/**]\nEnabled=no\n");
	fake_write(MAIN ".d/50.conf", "[Defaults]\nCalm=\n[Daemon]\nClientsMax= \n"
				      "[Watch user.slice/**]\nEnabled=\n");
	c = load_well();
	assert_int_equal(c->defaults.policy.calm_usec, 10000000);
	assert_int_equal(c->defaults.policy.low.threshold_usec, 1000000);
	assert_int_equal(c->clients_max, 16384);
	assert_int_equal(c->watch_count, 4);
}

PROMISE(a_drop_in_extends_and_takes_away)
{
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write(MAIN, "[Watch a/*]\nCalm=5s\nRearm=5s\n[Watch b]\n");
	fake_write(MAIN ".d/50.conf", "[Watch /a//*]\nCalm=6s\n[Watch b]\nEnabled=no\n"
				      "[Watch user.slice/**]\nEnabled=no\n");
	c = load_well();
	assert_int_equal(c->watch_count, 4);
	assert_string_equal(c->watches[0].path, "/system.slice/**");
	assert_string_equal(c->watches[1].path, "/machine.slice/**");
	assert_string_equal(c->watches[3].path, "/a/*");
	assert_int_equal(c->watches[3].settings.policy.calm_usec, 6000000);
	assert_int_equal(c->watches[3].settings.policy.rearm_usec, 5000000);
	check_reload(c);
}

/* What is live stays as it was, and the candidate says only what is different. */
PROMISE(a_watch_in_the_shadow_stands_beside_the_live_one)
{
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write(MAIN,
		   "[Watch a]\nCalm=5s\nLow=some 300ms/2s\n[Watch user.slice/**]\nEnabled=no\n");
	fake_write(MAIN ".d/50.conf", "[Watch a]\nLow=some 600ms/2s\nShadow=yes\n"
				      "[Watch user.slice/**]\nShadow=yes\n"
				      "[Watch b]\nShadow=yes\n");
	fake_write(MAIN ".d/60.conf", "[Watch b]\nShadow=yes\nEnabled=no\n");
	c = load_well();
	assert_int_equal(c->watch_count, 6);
	assert_string_equal(c->watches[3].path, "/a");
	assert_false(c->watches[3].settings.shadow);
	assert_int_equal(c->watches[3].settings.policy.low.threshold_usec, 300000);
	assert_string_equal(c->watches[4].path, "/a");
	assert_true(c->watches[4].settings.shadow);
	assert_int_equal(c->watches[4].settings.policy.low.threshold_usec, 600000);
	assert_int_equal(c->watches[4].settings.policy.calm_usec, 5000000);
	assert_string_equal(c->watches[5].path, "/user.slice/**");
	assert_true(c->watches[5].settings.shadow);
	check_reload(c);
}

PROMISE(where_all_are_in_the_shadow_there_is_one_of_each)
{
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write(MAIN, "[Defaults]\nShadow=yes\n[Watch a]\nCalm=5s\n"
			 "[Watch machine.slice/**]\nShadow=no\n");
	fake_write(MAIN ".d/50.conf", "[Watch a]\nShadow=yes\nRearm=1s\n");
	c = load_well();
	assert_int_equal(c->watch_count, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(c->watches[i].settings.shadow,
				 strcmp(c->watches[i].path, "/machine.slice/**") != 0);
	assert_int_equal(c->watches[4].settings.policy.calm_usec, 5000000);
	assert_int_equal(c->watches[4].settings.policy.rearm_usec, 1000000);
	check_reload(c);
}

PROMISE(every_watch_may_be_taken_away)
{
	_cleanup_(config_freep) struct config *c = load_text(
		"[Watch system.slice/**]\nEnabled=no\n[Watch user.slice/**]\nEnabled=no\n"
		"[Watch machine.slice/**]\nEnabled=no\n"
		"[Watch kubepods.slice/**]\nEnabled=no\n");

	assert_int_equal(c->watch_count, 0);
	check_reload(c);
}

/* ---- files ----------------------------------------------------------------------------------- */

#define REARM(t) "[Defaults]\nRearm=" t "\n"

PROMISE(the_first_main_file_counts_alone)
{
	static const char *const directories[] = { "usr/lib", "usr/local/lib", "run", "etc" };

	for (unsigned i = 0; i < ELEMENTSOF(directories); i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		char path[64], text[64];

		snprintf(path, sizeof(path), "%s/psibridge/psibridged.conf", directories[i]);
		snprintf(text, sizeof(text), i == 0 ? "[Defaults]\nCalm=5s\n" : REARM("%us"), i);
		fake_write(path, text);
		c = load_well();
		assert_string_equal(c->files[0], fake_path(path));
		assert_null(c->files[1]);
		assert_int_equal(c->defaults.policy.calm_usec, i == 0 ? 5000000 : 10000000);
		assert_int_equal(c->defaults.policy.rearm_usec, i == 0 ? 8192000 : i * 1000000);
	}
}

PROMISE(drop_ins_come_by_name_and_one_name_once)
{
	static const char *const order[] = { MAIN, "usr/lib/psibridge/psibridged.conf.d/10.conf",
					     "etc/psibridge/psibridged.conf.d/20.conf",
					     "usr/local/lib/psibridge/psibridged.conf.d/30.conf",
					     "run/psibridge/psibridged.conf.d/40.conf" };
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write(order[0], REARM("1s"));
	fake_write(order[1], REARM("10s"));
	fake_write(order[2], "[Defaults]\nCalm=20s\n");
	fake_write("run/psibridge/psibridged.conf.d/20.conf", "[Defaults]\nCalm=21s\n");
	fake_write("usr/lib/psibridge/psibridged.conf.d/20.conf", "nonsense, but hidden\n");
	fake_write(order[3], REARM("30s"));
	fake_write("usr/lib/psibridge/psibridged.conf.d/30.conf", REARM("31s"));
	fake_write(order[4], "[Defaults]\nQuiet=40s\n");
	/* what editors and package managers leave behind */
	fake_write("etc/psibridge/psibridged.conf.d/.50.conf", "nonsense\n");
	fake_write("etc/psibridge/psibridged.conf.d/50.conf~", "nonsense\n");
	fake_write("etc/psibridge/psibridged.conf.d/50.conf.dpkg-new", "nonsense\n");
	fake_write("etc/psibridge/psibridged.conf.d/README", "nonsense\n");
	fake_write("etc/psibridge/psibridged.conf.d/nginxconf", "nonsense\n");
	c = load_well();
	for (size_t i = 0; i < ELEMENTSOF(order); i++)
		assert_string_equal(c->files[i], fake_path(order[i]));
	assert_null(c->files[ELEMENTSOF(order)]);
	assert_int_equal(c->defaults.policy.rearm_usec, 30000000);
	assert_int_equal(c->defaults.policy.calm_usec, 20000000);
	assert_int_equal(c->defaults.policy.quiet_usec, 40000000);
}

PROMISE(an_empty_file_or_dev_null_masks)
{
	_cleanup_(config_freep) struct config *c = NULL;

	fake_write("usr/lib/psibridge/psibridged.conf", REARM("1s"));
	fake_write("usr/lib/psibridge/psibridged.conf.d/10.conf", REARM("2s"));
	fake_write("usr/lib/psibridge/psibridged.conf.d/20.conf", REARM("3s"));
	fake_write("etc/psibridge/psibridged.conf.d/10.conf", "");
	assert_int_equal(symlink("/dev/null", fake_path("etc/psibridge/psibridged.conf.d/20.conf")),
			 0);
	c = load_well();
	assert_string_equal(c->files[0], fake_path("usr/lib/psibridge/psibridged.conf"));
	assert_null(c->files[1]);
	assert_int_equal(c->defaults.policy.rearm_usec, 1000000);

	assert_int_equal(symlink("/dev/null", fake_path(MAIN)), 0);
	config_free(c);
	c = load_well();
	assert_null(c->files[0]);
	assert_int_equal(c->defaults.policy.rearm_usec, 8192000);

	unlink(fake_path(MAIN));
	fake_write(MAIN, "");
	config_free(c);
	c = load_well();
	assert_null(c->files[0]);
	assert_int_equal(c->defaults.policy.rearm_usec, 8192000);
}

/* ---- config_show() --------------------------------------------------------------------------- */

PROMISE(a_shown_configuration_loads_as_itself)
{
	static const char *const texts[] = {
		"",
		"# nothing\n",
		"[Defaults]\nEarly=some 1us/10s\nLow=some 333333us/1.000001s\nCritical=some 10s/10s\n",
		"[Defaults]\nQuiet=24h\nHighHeadroom=off\nShadow=yes\n[Watch a]\nShadow=no\nQuiet=\n",
		"[Watch user.slice/**]\nEnabled=no\nCalm=3s\n[Watch /]\nLow=full 90ms/2s\n",
		"[Watch x]\nEnabled=no\n[Watch y z]\nHighHeadroom=3\n[Daemon]\nClientsMax=2\nServeOthers=no\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		_cleanup_(config_freep) struct config *c = NULL;

		c = load_text(texts[i]);
		check_reload(c);
	}
}

PROMISE(every_value_shown_says_where_it_came_from)
{
	static const char *const expected[] = {
		"# What psibridged goes by.\n# read: ROOT/etc/psibridge/psibridged.conf\n"
		"# read: ROOT/run/psibridge/psibridged.conf.d/a.conf\n\n[Daemon]\n",
		"# from ROOT/etc/psibridge/psibridged.conf:6\nClientsMax=7\n",
		"[Daemon]\n# from ROOT",
		"# built in\nClientsPerUid=2048\n",
		"[Defaults]\n# built in\nEarly=some 20ms/2s\n",
		"# from ROOT/run/psibridge/psibridged.conf.d/a.conf:2\nCalm=6s\n",
		"\n# built in\n[Watch system.slice/**]\n# built in\nEarly=",
		"\n# built in\n[Watch user.slice/**]\n"
		"# from ROOT/run/psibridge/psibridged.conf.d/a.conf:4\nEnabled=no\n\n# built in\n[Watch machine",
		"\n# from ROOT/etc/psibridge/psibridged.conf:3\n[Watch a]\n# built in\nEarly=",
		"# from ROOT/etc/psibridge/psibridged.conf:4\nCalm=5s\n",
	};
	_cleanup_(config_freep) struct config *c = NULL;
	char *shown;

	fake_write(MAIN, "[Defaults]\nCalm=8s\n[Watch a]\nCalm=5s\n[Daemon]\nClientsMax=7\n");
	fake_write("run/psibridge/psibridged.conf.d/a.conf",
		   "[Defaults]\nCalm=6s\n[Watch user.slice/**]\nEnabled=no\n");
	c = load_well();
	shown = show(c);
	hide_root(shown);
	for (size_t i = 0; i < ELEMENTSOF(expected); i++)
		if (!strstr(shown, expected[i]))
			fail_msg("not shown: %s\nin:\n%s", expected[i], shown);
	free(shown);
}

PROMISE(showing_says_when_it_could_not_be_written)
{
	_cleanup_(config_freep) struct config *c = load_well();
	FILE *full = fopen("/dev/full", "we");

	assert_non_null(full);
	assert_int_equal(config_show(c, full), -ENOSPC);
	fclose(full);
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
	/* every key: 5 of [Daemon], 8 of [Defaults], Enabled of four watches */
	assert_int_equal(values, 17);
	fake_write(MAIN, text);
	free(text);
	sample = load_well();
	assert_same(sample, nothing);
	assert_int_equal(sample->origins->daemon.keys[KEY_LOW_MEMORY_MONITOR].origin.line > 0, 1);
	for (enum config_key key = 0; key < KEY_COUNT; key++)
		assert_true(sample->origins->daemon.keys[key].assigned ||
			    sample->origins->defaults.keys[key].assigned ||
			    sample->origins->watches[0]->keys[key].assigned);
}

/* Each literal block of the manual that begins with a section is a configuration. */
PROMISE(the_examples_of_the_manual_are_right)
{
	FILE *f = open_source("src/daemon/psibridged.conf.5");
	char line[256], text[2048];
	unsigned examples = 0;
	size_t size = 0;
	bool inside = false;

	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, ".Bd ", 4) == 0) {
			inside = true;
			size = 0;
		} else if (inside && strcmp(line, ".Ed\n") == 0) {
			inside = false;
			if (text[0] != '[')
				continue;
			config_free(load_text(text));
			examples++;
		} else if (inside) {
			assert_true(size + strlen(line) < sizeof(text));
			strcpy(text + size, line);
			size += strlen(line);
		}
	}
	fclose(f);
	assert_int_equal(examples, 5);
}

PROMISE(settings_differ_when_any_of_them_does)
{
	_cleanup_(config_freep) struct config *c = load_well();
	struct settings s[13];

	for (size_t i = 0; i < ELEMENTSOF(s); i++)
		s[i] = c->defaults;
	s[0].policy.early.kind = PSI_FULL;
	s[1].policy.early.threshold_usec++;
	s[2].policy.early.window_usec++;
	s[3].policy.low.threshold_usec++;
	s[4].policy.low.kind = PSI_FULL;
	s[5].policy.critical.window_usec++;
	s[6].policy.critical.kind = PSI_SOME;
	s[7].policy.rearm_usec++;
	s[8].policy.quiet_usec++;
	s[9].policy.calm_usec++;
	s[10].policy.headroom_percent++;
	s[11].shadow = true;
	for (size_t i = 0; i < 12; i++)
		assert_false(settings_equal(&s[i], &c->defaults));
	assert_true(settings_equal(&s[12], &c->defaults));
}

EACH(fake_set_up, fake_tear_down)
