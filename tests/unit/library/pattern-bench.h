/* SPDX-License-Identifier: MIT */
/*
 * pattern-bench.h - real, empty cgroups below one trunk, and a watch of all of them
 *
 * The trunk has a parent of its own: what other tests make beside it must not wake who waits for the trunk.
 *
 * Nothing stalls in them, so all that is told is simulated, or follows from it.
 */
#pragma once

#include "library-bench.h"

#define MANY 20
#define QUIET_USEC (100 * USEC_PER_MSEC)

static char trunk[64];	       /* a path under the mount, "" if there is none */
static struct receiver log_rx; /* done: lines that say that no level can be set */
static unsigned waits_for_one; /* under its lock: lines that say that the trunk is waited for */

static inline const char *in_mount(const char *path)
{
	static char buf[4][512];
	static unsigned turn;
	char *p = buf[turn++ % 4];

	snprintf(p, sizeof(buf[0]), "%.200s%.250s", cgroup2_mount(), path);
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

static char trunks_parent[48];

static void fell(void)
{
	for (unsigned i = 0; i < MANY; i++)
		rmdir(in_mount(numbered(i)));
	rmdir(in_mount(trunk));
}

static void end_parent(void)
{
	rmdir(in_mount(trunks_parent));
}

/* The trunk and `many` cgroups below it. */
static inline void plant(unsigned many)
{
	if (!*cgroup2_mount())
		SKIP("there is no cgroup2 hierarchy");
	if (!*trunks_parent) {
		snprintf(trunks_parent, sizeof(trunks_parent), "/psb-members-%d", (int)getpid());
		snprintf(trunk, sizeof(trunk), "%s/trunk", trunks_parent);
		mkdir(in_mount(trunks_parent), 0755);
		atexit(end_parent);
	}
	end_more = fell;
	if (mkdir(in_mount(trunk), 0755) < 0)
		SKIP("the cgroup2 hierarchy is not ours to write to");
	for (unsigned i = 0; i < many; i++)
		assert_int_equal(mkdir(in_mount(numbered(i)), 0755), 0);
}

static inline void listen_to_log(void *userdata, int priority, const char *message)
{
	(void)userdata;
	(void)priority;
	pthread_mutex_lock(&log_rx.lock);
	log_rx.done += strstr(message, "no level can be set") != NULL;
	waits_for_one += strstr(message, "waiting for the next") != NULL;
	pthread_cond_broadcast(&log_rx.changed);
	pthread_mutex_unlock(&log_rx.lock);
}

/* A bridge that is not driven yet, and a watch of the trunk's `many` cgroups. */
static inline struct bench *watch_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct psb_watch_options options = quick_options(NULL);
	struct psb_bridge_options bridge = { .size = sizeof(bridge), .log = listen_to_log };
	struct bench *b;
	char pattern[128];
	int r;

	plant(many);
	b = bench_bare(state);
	bridge.backend = b->variant->backend;
	receiver_init(&log_rx);
	waits_for_one = 0;
	r = psb_bridge_new(&bridge, &b->bridge);
	if (r < 0 && bridge.backend == PSB_BACKEND_URING)
		SKIP("io_uring cannot be had here");
	assert_int_equal(r, 0);
	snprintf(pattern, sizeof(pattern), "%s/*", trunk);
	options.pattern = pattern;
	options.rungs = 0;
	options.quiet_usec = quiet_usec;
	options.calm_usec = 2 * quiet_usec;
	r = psb_watch_new(b->bridge, &options, &b->watch);
	if (r < 0)
		SKIP("PSI cannot be had here");
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
