/* SPDX-License-Identifier: MIT */
/*
 * fixture.h - a lab, a bridge with its own thread, one watch, and what its callback was told
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "../skip.h"
#include "record.h"

/* From the threshold to Low. With CAP_SYS_RESOURCE an alarm comes a tenth of a short window after
 * the threshold; without it only every 2 s, and emulated machines are slow: 334 ms beside two other
 * tests. How fast it is, the benchmarks say; this is below the 2 s of the other trigger. */
#define LOW_WITHIN_PRIVILEGED_USEC 1500000
#define LOW_WITHIN_USEC 5000000

static struct lab lab;
static const char *no_lab;

static struct fixture *running; /* which a test that fails leaves behind */

struct fixture {
	psb_bridge *bridge;
	psb_watch *watch;
	struct record record;
};

/* `group` NULL: no cgroup is named. Short quiet and calm times, and no headroom unless `o` says so.
 */
static inline void start_with(struct fixture *f, struct psb_watch_options *o, const char *group,
			      unsigned flags)
{
	char error[320] = "";
	int r;

	*f = (struct fixture){ .record = RECORD_INIT };
	o->size = sizeof(*o);
	if (!o->source && !o->pattern && group)
		o->cgroup = lab_path(&lab, group);
	o->quiet_usec = 1000000;
	o->calm_usec = 2000000;
	if (o->headroom_percent == 0)
		o->headroom_percent = PSB_HEADROOM_OFF;
	o->error_text = error;
	o->error_text_size = sizeof(error);
	assert_int_equal(psb_bridge_new(NULL, &f->bridge), 0);
	running = f;
	r = psb_watch_new(f->bridge, o, &f->watch);
	if (r < 0)
		fail_msg("psb_watch_new: %d %s", r, error);
	assert_int_equal(psb_watch_add_callback(f->watch, record_told, &f->record, flags, NULL), 0);
	assert_int_equal(psb_bridge_start(f->bridge), 0);
}

static inline void start(struct fixture *f, const char *group)
{
	start_with(f, &(struct psb_watch_options){ 0 }, group, PSB_INLINE);
}

static inline void stop(struct fixture *f)
{
	psb_watch_unref(f->watch);
	psb_bridge_unref(f->bridge);
	running = NULL;
}

/* After each test, so that one that failed does not spoil the next. */
static inline int clean_up(void **state)
{
	(void)state;
	if (running)
		stop(running);
	lab_kill_all();
	return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, clean_up)

static inline unsigned rung_of(struct fixture *f)
{
	struct psb_source source = { .size = sizeof(source) };

	assert_int_equal(psb_watch_source(f->watch, &source), 0);
	return source.rung;
}

static inline struct psb_stats stats_of(struct fixture *f)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	assert_int_equal(psb_watch_stats(f->watch, &stats), 0);
	return stats;
}

#define WAIT_FOR(f, ms, condition)                                        \
	do {                                                              \
		if (!LAB_WAIT(ms, condition)) {                           \
			record_print(&(f)->record);                       \
			fail_msg("not within %u ms: %s", ms, #condition); \
		}                                                         \
	} while (0)

#define HEARD(f, level) record_find(&(f)->record, 0, PSB_KIND_LEVEL, level, NULL)
