/* SPDX-License-Identifier: MIT */
/*
 * libpsibridge as a client of the real psibridged: levels arrive whole, a restart is not noticed,
 * and while the daemon is away the library helps itself.
 */
#include "../unit/unit.h"
#include "daemon-bench.h"
#include "record.h"

#include <signal.h>

#define CONFIGURATION "[Defaults]\nHighHeadroom=off\nQuiet=1s\nCalm=2s\n[Watch %s/**]\n"

static struct bench bench;

struct host {
	psb_bridge *bridge;
	psb_watch *watch;
	struct record record;
};
static struct host host;

static int set_up(_unused_ void **state)
{
	static const char *const groups[] = { "b", NULL };

	bench_open_lab("psb-client", groups);
	if (!no_lab)
		lab_make(&lab, "a", LAB_LIMIT);
	return 0;
}

/* A host in `group`, as its unit's two variables would make it. */
static void start_host(const char *group)
{
	char error[320] = "";
	struct psb_watch_options o = { .size = sizeof(o),
				       .headroom_percent = PSB_HEADROOM_OFF,
				       .error_text = error,
				       .error_text_size = sizeof(error) };
	int r;

	host = (struct host){ .record = RECORD_INIT };
	setenv("MEMORY_PRESSURE_WATCH", bench.notify, 1);
	setenv("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMAA=", 1);
	lab_enter(&lab, group);
	assert_int_equal(psb_bridge_new(NULL, &host.bridge), 0);
	r = psb_watch_new(host.bridge, &o, &host.watch);
	if (r < 0)
		fail_msg("psb_watch_new: %d %s", r, error);
	assert_int_equal(psb_watch_add_callback(host.watch, record_told, &host.record, 0, NULL), 0);
	assert_int_equal(psb_bridge_start(host.bridge), 0);
}

static void stop_host(void)
{
	host.watch = psb_watch_unref(host.watch);
	host.bridge = psb_bridge_unref(host.bridge);
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	lab_enter(&lab, HOME);
}

static void start(_unused_ void **state)
{
	bench_need_lab();
	bench_start(&bench, CONFIGURATION);
	start_host("a");
}

static int stop(_unused_ void **state)
{
	if (no_lab)
		return 0;
	lab_kill_all();
	stop_host();
	lab_enter(&lab, NULL);
	bench_stop(&bench);
	return 0;
}

static bool source_is(const char *name)
{
	struct psb_source source = { .size = sizeof(source) };

	assert_int_equal(psb_watch_source(host.watch, &source), 0);
	return strcmp(source.name, name) == 0;
}

static unsigned count(enum psb_available available)
{
	unsigned n = 0;

	for (unsigned i = 0; i < record_count(&host.record); i++)
		n += host.record.told[i].n.available == available;
	return n;
}

#define EXPECT(ms, condition)                                             \
	do {                                                              \
		if (!LAB_WAIT(ms, condition)) {                           \
			record_print(&host.record);                       \
			fail_msg("not within %u ms: %s", ms, #condition); \
		}                                                         \
	} while (0)

PROMISE(it_is_recognised_and_tells_levels_whole_and_real_stalls_with_their_numbers)
{
	const struct told *low;
	pid_t presser;

	EXPECT(5000, source_is("psibridged"));
	EXPECT(5000, bench_number(&bench, "clients", "records") == 1);
	bench_simulate(&bench, "b", "low");
	bench_simulate(&bench, "a", "critical");
	EXPECT(5000, count(PSB_LOW) == 1);
	assert_int_equal(host.record.told[0].n.critical, 1);
	EXPECT(10000, count(PSB_NEUTRAL) == 1 && count(PSB_HIGH) == 1);
	assert_int_equal(record_count(&host.record), 3);

	presser = lab_press(&lab, "a");
	EXPECT(20000, count(PSB_LOW) > 1);
	low = record_find(&host.record, 3, PSB_KIND_LEVEL, PSB_LOW, NULL);
	assert_true(low->n.some_total_usec > 0 && low->n.stall_usec > 0 && low->n.since_usec > 0);
	lab_kill(presser);
	EXPECT(20000, psb_watch_available(host.watch, NULL) == PSB_HIGH);
}

/* In the middle of a Low. */
PROMISE(a_restart_is_not_noticed_and_nor_is_kill_9)
{
	static const int how[] = { SIGTERM, SIGKILL };

	EXPECT(5000, source_is("psibridged"));
	for (unsigned i = 0; i < ELEMENTSOF(how); i++) {
		bench_simulate(&bench, "a", "low");
		EXPECT(5000, count(PSB_LOW) == i + 1);
		bench_restart(&bench, how[i]);
		EXPECT(10000, count(PSB_NEUTRAL) == i + 1 && count(PSB_HIGH) == i + 1);
		assert_int_equal(record_count(&host.record), 3 * (i + 1));
		assert_true(source_is("psibridged"));
	}
	bench_simulate(&bench, "a", "low");
	EXPECT(5000, count(PSB_LOW) == 3);
}

static bool was_repeated(void)
{
	for (unsigned i = 0; i < record_count(&host.record); i++)
		if (host.record.told[i].n.reason == PSB_REASON_REPEAT)
			return true;
	return false;
}

/* Each process lives for a fraction of Rearm. */
PROMISE(a_repeat_is_due_however_often_it_is_killed)
{
	uint64_t end;

	EXPECT(5000, source_is("psibridged"));
	lab_press(&lab, "a");
	EXPECT(20000, count(PSB_LOW) > 0);
	end = lab_now_usec() + 40000000; /* beside other work a stall is not Low all the time */
	while (lab_now_usec() < end && !was_repeated()) {
		bench_restart(&bench, SIGKILL);
		LAB_WAIT(1500, was_repeated());
	}
	EXPECT(0, was_repeated());
}

PROMISE(while_it_is_away_the_library_helps_itself_and_comes_back)
{
	pid_t presser;
	unsigned lows;

	EXPECT(5000, source_is("psibridged"));
	bench_simulate(&bench, "a", "low");
	EXPECT(5000, count(PSB_LOW) == 1);
	bench_end(&bench);
	EXPECT(10000, !source_is("psibridged"));
	/* what it was told comes to its end all the same */
	EXPECT(30000, psb_watch_available(host.watch, NULL) == PSB_HIGH);
	lows = count(PSB_LOW);
	presser = lab_press(&lab, "a");
	EXPECT(20000, count(PSB_LOW) > lows);
	lab_kill(presser);

	bench_again(&bench);
	EXPECT(70000, source_is("psibridged"));
	EXPECT(30000, psb_watch_available(host.watch, NULL) == PSB_HIGH);
	lows = count(PSB_LOW);
	lab_enter(&lab, HOME);
	bench_simulate(&bench, "a", "low");
	EXPECT(5000, count(PSB_LOW) > lows);
}

GROUP(set_up, bench_close_lab)
FIXTURE(start, stop)
