/* SPDX-License-Identifier: MIT */
/*
 * fake-forest.h - what the daemon's D-Bus and control sockets ask of the rest of it, from tables
 *
 * Implements forest_tree(), forest_each_cgroup(), forest_observe() and its opposite, and
 * forest_simulate() of forest.h; daemon_reload(), daemon_status_changed(), server_view() of
 * daemon.h; journal_log() of journal.h; settings_equal() of config.h. A test changes the tables and
 * says so with fake_tell().
 */
#pragma once

#include "daemon/daemon.h"

#define FAKE_TREES_MAX 64
#define FAKE_CGROUPS_MAX 64
#define FAKE_LINES_MAX 64

struct fake_forest {
	struct tree_view trees[FAKE_TREES_MAX];
	size_t tree_count;
	struct psb_notification cgroups[FAKE_CGROUPS_MAX]; /* their .cgroup is a constant string */
	struct cgroup_view views[FAKE_CGROUPS_MAX];	   /* .present is set by the fake */
	size_t cgroup_count;

	/* what was asked for */
	unsigned simulated, reloaded;
	char simulated_cgroup[CGPATH_MAX];
	enum psb_available simulated_available;
	bool simulated_critical;
	/* what it shall answer */
	int simulate_result, reload_result;
	char reload_error[512];
	void (*on_reload)(struct daemon *daemon);
	struct server_view server;

	char lines[FAKE_LINES_MAX][256]; /* of the journal */
	int priorities[FAKE_LINES_MAX];
	unsigned line_count;
};

extern struct fake_forest fake;

/* Forget everything, observers too. */
void fake_reset(void);
/* One more tree, with defaults for all that is not named. */
struct tree_view *fake_plant(unsigned id, const char *path);
void fake_fell(unsigned id);
struct tree_view *fake_tree(unsigned id);
/* As the forest does. */
void fake_tell_trees(void);
void fake_tell(unsigned id, const char *cgroup, enum psb_available available, bool critical,
	       enum psb_reason reason, uint64_t stall_usec);
/* The first line of the journal that has `text` in it, or NULL. */
const char *fake_line(const char *text);
