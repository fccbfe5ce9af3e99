/* SPDX-License-Identifier: MIT */
/*
 * What becomes of psibridged's clients when its configuration changes, and of watches whose cgroups
 * come and go. Levels are simulated.
 */
#include "../unit/unit.h"
#include "daemon-stage.h"

#include <time.h>

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
	int fd = subscriber("a");
	const char *error;

	bench_configure(&bench, "[Defaults]\nLow=some 200ms\n[Watch %s/**]\n");
	error = reload_error();
	assert_non_null(strstr(error, "psibridged.conf:2"));
	assert_non_null(strstr(error, "Low"));
	bench_simulate(&bench, "a", "low");
	bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
	bench_configure(&bench, CONFIGURATION);
	assert_string_equal(reload_error(), "");
}

/* What psibridged says with that option, all of it in one text. */
static const char *run_with(const char *option, int *ret_status)
{
	const char *builddir = getenv("builddir");
	static char text[4096];
	char command[512];
	size_t size;
	FILE *f;

	snprintf(command, sizeof(command), "%s/psibridged %s --root %s/root 2>&1",
		 builddir ? builddir : ".", option, bench.dir);
	f = popen(command, "re");
	assert_non_null(f);
	size = fread(text, 1, sizeof(text) - 1, f);
	text[size] = '\0';
	*ret_status = WEXITSTATUS(pclose(f));
	return text;
}

/* It may be started again and again, as long as a client waits. */
PROMISE(a_bad_one_at_the_start_is_one_line)
{
	const char *text;
	int status;

	bench_configure(&bench, "[Watch ../x]\nLow=soon\n[Bad]\n");
	text = run_with("", &status);
	assert_non_null(strstr(text, "psibridged.conf:1: "));
	assert_non_null(strstr(text, "(and 2 more: psibridged --check-config lists them)\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_int_equal(status, 78);
}

#define IN_SHADOW "[Defaults]\nShadow=yes\n"

PROMISE(in_shadow_nothing_is_delivered_and_who_subscribes_is_told_high)
{
	int plain = client("shadow", NULL), records = subscriber("shadow");

	bench_configure(&bench, CONFIGURATION IN_SHADOW);
	assert_string_equal(reload_error(), "");
	bench_simulate(&bench, "shadow", "low");
	subscriber("shadow");
	lab_sleep_ms(500);
	assert_true(bench_is_silent(plain));
	assert_true(bench_is_silent(records));
}

/* Whatever the operator takes away: a CLR stays in low-memory mode until it is told otherwise. */
PROMISE(a_low_ends_also_when_the_watch_is_taken_away_or_put_into_shadow)
{
	static const char *const rows[] = {
		"[Daemon]\nServeOthers=no\n",
		"[Defaults]\nShadow=yes\n[Watch %s/**]\n",
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		int fd = subscriber("a"), plain = client("a", NULL);

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
		leave(fd);
		leave(plain);
		assert_true(LAB_WAIT(5000, bench_number(&bench, "clients", "connected") == 0));
		assert_true(LAB_WAIT(10000, bench_is_high(&bench, "a")));
	}
}

static uint64_t cpu_msec(void)
{
	struct timespec used;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(bench.service, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

PROMISE(a_cgroup_that_is_there_and_cannot_be_watched_is_a_failure_not_a_spin)
{
	uint64_t before;

	if (!lab.v1) /* there memory.events is left to watch */
		SKIP("unified: a cgroup without PSI can be watched all the same");
	lab_make(&lab, "deaf", 0);
	lab_write(lab_file(&lab, "deaf", "cgroup.pressure"), "0");
	bench_configure(&bench, CONFIGURATION "[Watch %s/deaf]\n");
	assert_string_equal(reload_error(), "");
	before = cpu_msec();
	lab_sleep_ms(1500);
	assert_true(cpu_msec() - before < 500);
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
	leave(fd);
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
		fd = subscriber("later");
		bench_simulate(&bench, "later", "low");
		bench_expect(fd, 5000, WIRE_LEVEL, PSB_LOW, NULL);
		leave(fd);
		lab_remove(&lab, "later");
		lab_sleep_ms(200);
	}
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
	text = run_with("--check-config", &status);
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
	assert_non_null(strstr(run_with("--check-config", &status),
			       "psibridged.conf: Permission denied\n"));
	assert_int_equal(status, 78);
	assert_int_equal(chmod(path, 0644), 0);
	run_with("--check-config", &status);
	assert_int_equal(status, 0);
}
