/* SPDX-License-Identifier: MIT */
/*
 * pattern-bench.h - real, empty cgroups below one trunk, and a watch of all of them
 *
 * Nothing stalls in them, so all that is told is simulated, or follows from it.
 */
#pragma once

#include "library-bench.h"
#include "../../pressure.h"

#define QUIET_USEC \
	(500 * USEC_PER_MSEC) /* longer than any thread is late, or a Neutral is overtaken */

static struct lab pattern_lab;
static char trunk[64]; /* a path under the mount */

static inline const char *in_mount(const char *path)
{
	static char buf[4][512];
	static unsigned turn;
	char *p = buf[turn++ % 4];

	snprintf(p, sizeof(buf[0]), "%.200s%.250s", pattern_lab.mount, path);
	return p;
}

/* "/trunk/NAME"; valid until 16 calls later */
static inline const char *cgroup(const char *name)
{
	static char buf[16][128];
	static unsigned turn;
	char *p = buf[turn++ % 16];

	snprintf(p, sizeof(buf[0]), "%s/%.40s", trunk, name);
	return p;
}

static inline const char *numbered(unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "c%u", i);
	return cgroup(name);
}

static inline void fell(void)
{
	lab_remove(&pattern_lab, "trunk");
}

static inline void close_pattern_lab(void)
{
	lab_close(&pattern_lab);
}

/* The trunk and `many` cgroups below it. */
static inline void plant(unsigned many)
{
	char group[32];

	lab_make(&pattern_lab, "trunk", 0);
	for (unsigned i = 0; i < many; i++) {
		snprintf(group, sizeof(group), "trunk/c%u", i);
		lab_make(&pattern_lab, group, 0);
	}
}

/* A bridge that is not driven yet, and a watch of the trunk's `many` cgroups. */
static inline struct bench *watch_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct psb_watch_options options = quick_options(NULL);
	const char *no_lab = pattern_lab.mount ? NULL : lab_open(&pattern_lab, "pattern");
	struct bench *b;

	if (no_lab)
		SKIP(no_lab);
	end_more = close_pattern_lab;
	snprintf(trunk, sizeof(trunk), "%s", lab_path(&pattern_lab, "trunk"));
	plant(many);
	b = bench_that_logs(state);
	options.pattern = cgroup("*");
	options.rungs = 0;
	options.quiet_usec = quiet_usec;
	options.calm_usec = 2 * quiet_usec;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), 0);
	return b;
}

/* ... whose bridge runs, and with somebody who listens. */
static inline struct bench *hear_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct bench *b = watch_all(state, many, quiet_usec);

	assert_int_equal(psb_bridge_start(b->bridge), 0);
	listen_with(b, &b->rx, b->variant->flags);
	return b;
}

static inline void simulate_at(struct bench *b, const char *path, enum psb_available available,
			       unsigned flags)
{
	assert_int_equal(psb_watch_simulate_at(b->watch, path, available, 0, flags), 0);
}
