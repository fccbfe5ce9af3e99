/* SPDX-License-Identifier: MIT */
/*
 * What becomes of psibridged's clients when its configuration changes, and of watches whose cgroups
 * come and go. Levels are simulated.
 */
#include "../unit/unit.h"
#include "daemon-stage.h"

/* ---- configuration ------------------------------------------------------------------------------- */

static const char *reload_error(void)
{
	static char text[512];
	json_t *answer = bench_ask(&bench, "{\"verb\":\"reload\"}\n");
	const char *error = json_string_value(json_object_get(answer, "error"));

	snprintf(text, sizeof(text), "%s", error ? error : "");
	json_decref(answer);
	return text;
}

PROMISE(a_bad_configuration_changes_nothing_and_is_named)
{
	int fd = client("a", SUBSCRIBE);
	const char *error;

	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_configure(&bench, "[Defaults]\nLow=some 200ms\n[Watch %s/**]\n");
	error = reload_error();
	assert_non_null(strstr(error, "psibridged.conf:2"));
	assert_non_null(strstr(error, "Low"));
	bench_simulate(&bench, "a", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	bench_configure(&bench, CONFIGURATION);
	assert_string_equal(reload_error(), "");
	close(fd);
}

/* It may be started again and again, as long as a client waits. */
PROMISE(a_bad_one_at_the_start_is_one_line)
{
	const char *builddir = getenv("builddir");
	char command[640], line[1024] = "", *more;
	FILE *out;
	int status;

	bench_configure(&bench, "[Watch ../x]\nLow=soon\n[Bad]\n");
	snprintf(command, sizeof(command), "%s/psibridged --root %s/root 2>&1",
		 builddir ? builddir : ".", bench.dir);
	out = popen(command, "re");
	assert_non_null(out);
	assert_non_null(fgets(line, sizeof(line), out));
	more = strstr(line, "psibridged.conf:1: ");
	assert_non_null(more);
	assert_non_null(strstr(more, "(and 2 more: psibridged --check-config lists them)\n"));
	assert_null(fgets(line, sizeof(line), out));
	status = pclose(out);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 78);
}

PROMISE(clients_move_with_a_new_configuration_and_a_level_goes_on)
{
	int fd = client("a", SUBSCRIBE), plain = client("b", NULL);

	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_simulate(&bench, "a", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	bench_configure(&bench, "[Defaults]\nHighHeadroom=off\nQuiet=2s\nCalm=1s\n"
				"Low=some 300ms/2s\n[Watch %s/**]\n[Watch %s/b]\n");
	assert_string_equal(reload_error(), "");
	bench_expect(fd, 10000, WIRE_LEVEL, PSB_NEUTRAL, NULL);
	bench_expect(fd, 10000, WIRE_LEVEL, PSB_HIGH, NULL);
	bench_simulate(&bench, "b", "low");
	assert_int_equal(bench_bytes(plain, 5000), 1);
	assert_int_equal(bench_number(&bench, "clients", "connected"), 2);
	close(fd);
	close(plain);
}

#define IN_SHADOW "[Defaults]\nShadow=yes\n"

PROMISE(in_shadow_nothing_is_delivered)
{
	int plain = client("shadow", NULL), records = client("shadow", SUBSCRIBE);

	bench_expect(records, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_configure(&bench, CONFIGURATION IN_SHADOW);
	assert_string_equal(reload_error(), "");
	bench_simulate(&bench, "shadow", "low");
	lab_sleep_ms(500);
	assert_true(bench_is_silent(plain));
	assert_true(bench_is_silent(records));
	close(plain);
	close(records);
}

PROMISE(who_subscribes_in_the_shadow_is_told_high)
{
	int fd;

	bench_configure(&bench, CONFIGURATION IN_SHADOW);
	assert_string_equal(reload_error(), "");
	bench_simulate(&bench, "shadow", "low");
	fd = client("shadow", SUBSCRIBE);
	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	close(fd);
}

PROMISE(a_candidate_in_the_shadow_silences_no_client)
{
	int plain = client("a", NULL), records = client("a", SUBSCRIBE);

	bench_expect(records, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_configure(&bench, CONFIGURATION "[Watch %s/**]\nLow=some 2s/2s\nShadow=yes\n"
					      "[Watch %s/a]\nShadow=yes\n");
	assert_string_equal(reload_error(), "");
	bench_simulate(&bench, "a", "low");
	bench_expect(records, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	assert_int_equal(bench_bytes(plain, 5000), 1);
	close(plain);
	close(records);
}

/* Whatever the operator takes away: a CLR stays in low-memory mode until it is told otherwise. */
PROMISE(a_low_ends_also_when_the_watch_is_taken_away_or_put_into_shadow)
{
	static const char *const rows[] = {
		"[Daemon]\nServeOthers=no\n",
		"[Defaults]\nShadow=yes\n[Watch %s/**]\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		int fd = client("a", SUBSCRIBE), plain = client("a", NULL);

		bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
		bench_simulate(&bench, "a", "low");
		bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
		assert_int_equal(bench_bytes(plain, 5000), 1);
		bench_configure(&bench, rows[i]);
		assert_string_equal(reload_error(), "");
		bench_expect(fd, 10000, WIRE_LEVEL, PSB_NEUTRAL, NULL);
		/* and when it is watched again they hear again, first what was kept back */
		bench_configure(&bench, CONFIGURATION);
		assert_string_equal(reload_error(), "");
		while (bench_bytes(fd, 1500) > 0)
			;
		bench_bytes(plain, 0);
		bench_simulate(&bench, "a", "low");
		bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
		assert_int_equal(bench_bytes(plain, 5000), 1);
		close(fd);
		close(plain);
		assert_true(LAB_WAIT(5000, bench_number(&bench, "clients", "connected") == 0));
		assert_true(LAB_WAIT(10000, bench_is_high(&bench, "a")));
	}
}

static long long cpu_ticks(void)
{
	char path[64], text[512];
	long long user = 0, kernel = 0;
	FILE *f;
	char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)bench.service);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	p = strrchr(text, ')') + 2;
	for (int field = 3; p && field <= 15; field++, p = strchr(p, ' ')) {
		if (p[0] == ' ')
			p++;
		if (field == 14)
			user = strtoll(p, NULL, 10);
		if (field == 15)
			kernel = strtoll(p, NULL, 10);
	}
	return user + kernel;
}

PROMISE(a_cgroup_that_is_there_and_cannot_be_watched_is_a_failure_not_a_spin)
{
	long long before;

	if (!lab.v1) /* there memory.events is left to watch */
		SKIP("unified: a cgroup without PSI can be watched all the same");
	lab_make(&lab, "deaf", 0);
	lab_write(lab_file(&lab, "deaf", "cgroup.pressure"), "0");
	bench_configure(&bench, CONFIGURATION "[Watch %s/deaf]\n");
	assert_string_equal(reload_error(), "");
	before = cpu_ticks();
	lab_sleep_ms(1500);
	assert_true(cpu_ticks() - before < 50);
	assert_string_equal(bench_state(&bench, "deaf"), "failed");
	lab_remove(&lab, "deaf");
}

/* As with psi=0, of which this is the part that a running kernel has. */
PROMISE(a_pattern_without_psi_has_failed_and_its_clients_are_sent_to_their_own_ladder)
{
	struct wire_record r;
	int fd;

	lab_make(&lab, "blind", 0);
	lab_write(lab_file(&lab, "blind", "cgroup.pressure"), "0");
	lab_make(&lab, "blind/child", 0);
	bench_configure(&bench, CONFIGURATION "[Watch %s/blind/**]\n");
	assert_string_equal(reload_error(), "");
	assert_string_equal(bench_state(&bench, "blind/**"), "failed");
	fd = client("blind/child", SUBSCRIBE);
	bench_expect(fd, 5000, WIRE_REFUSED, PSB_HIGH, &r);
	assert_non_null(strstr(r.text, "memory.pressure"));
	close(fd);
	lab_remove(&lab, "blind/child");
	lab_remove(&lab, "blind");
}

PROMISE(a_watch_whose_cgroup_vanishes_waits_and_hears_the_next_one)
{
	int fd;

	bench_configure(&bench, CONFIGURATION "[Watch %s/later]\n");
	assert_string_equal(reload_error(), "");
	for (int i = 0; i < 3; i++) {
		lab_make(&lab, "later", 0);
		fd = client("later", SUBSCRIBE);
		bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
		bench_simulate(&bench, "later", "low");
		bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
		close(fd);
		lab_remove(&lab, "later");
		lab_sleep_ms(200);
	}
}

PROMISE(a_client_that_no_watch_covers_is_served_all_the_same)
{
	int fd;

	bench_configure(&bench, "[Defaults]\nHighHeadroom=off\n[Watch %s/b]\n");
	assert_string_equal(reload_error(), "");
	fd = client("a", SUBSCRIBE);
	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	bench_simulate(&bench, "a", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	close(fd);
}

/* What `psibridged --check-config` says, all of it in one text. */
static const char *check_config(int *ret_status)
{
	const char *builddir = getenv("builddir");
	static char text[4096];
	char command[512];
	size_t size;
	FILE *f;

	snprintf(command, sizeof(command), "%s/psibridged --check-config --root %s/root 2>&1",
		 builddir ? builddir : ".", bench.dir);
	f = popen(command, "re");
	assert_non_null(f);
	size = fread(text, 1, sizeof(text) - 1, f);
	text[size] = '\0';
	*ret_status = WEXITSTATUS(pclose(f));
	return text;
}

PROMISE(a_watch_of_what_is_not_there_is_warned_of)
{
	char hint[512], unit[96];
	const char *text;
	int status;

	snprintf(unit, sizeof(unit), "underneath/%s.service", lab.name);
	lab_make(&lab, "underneath", 0);
	lab_make(&lab, unit, 0);
	bench_configure(&bench,
			"[Watch %s.service]\n[Watch %s/undreneath/**]\n[Watch %s/underneath/**]\n"
			"[Watch kubepods.slice/**]\nEnabled=no\n");
	text = check_config(&status);
	assert_int_equal(status, 0);
	snprintf(hint, sizeof(hint),
		 "conf:1: warning: [Watch %s.service]: it waits for /%s.service, which does not "
		 "exist on this machine now; did you mean /%s/%s?\n",
		 lab.name, lab.name, lab.name, unit);
	assert_non_null(strstr(text, hint));
	snprintf(hint, sizeof(hint),
		 "/undreneath, which does not exist on this machine now; did you mean "
		 "/%s/underneath?\n",
		 lab.name);
	assert_non_null(strstr(text, hint));
	assert_null(strstr(text, "conf:3:"));
	assert_null(strstr(text, "conf:4:"));
	lab_remove(&lab, unit);
	lab_remove(&lab, "underneath");
}

/* As root without CAP_DAC_OVERRIDE, which is how the service runs. */
PROMISE(what_the_service_cannot_read_is_no_good_configuration)
{
	char path[512];
	int status;

	if (geteuid() != 0)
		SKIP("only root can give files away");
	bench_configure(&bench, "[Defaults]\nCalm=5s\n");
	snprintf(path, sizeof(path), "%s/root/etc/psibridge/psibridged.conf", bench.dir);
	assert_int_equal(chown(path, 65534, 65534) | chmod(path, 0600), 0);
	assert_non_null(strstr(check_config(&status), "conf: Permission denied: it is not root's"));
	assert_int_equal(status, 78);
	assert_int_equal(chmod(path, 0644), 0);
	check_config(&status);
	assert_int_equal(status, 0);
}
