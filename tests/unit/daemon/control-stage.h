/* SPDX-License-Identifier: MIT */
/*
 * control-stage.h - a daemon of cardboard for control.c: a table, a server and a reload that are
 * tables a test can change
 *
 * Included by one file of a program. The loop, the bridge and the control socket are real.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control.h"
#include "daemon/history.h"
#include "daemon/listen.h"
#include "daemon/lowmemory.h"

struct stage_cgroup {
	struct psb_notification present;
	unsigned watch, clients;
};

static struct stage {
	struct daemon daemon;
	struct config config;
	struct watch_view watches[8];
	size_t watch_count;
	struct stage_cgroup *cgroups;
	size_t cgroup_count;
	struct server_view server;
	unsigned times_shown; /* how often all cgroups were asked for */
	unsigned times_reloaded;
	int reload_result;
	bool deaf;
	int simulate_result, lowmemory_result;
	char simulated[CGPATH_MAX]; /* what was simulated last */
} stage;

static inline struct watch_view stage_watch(unsigned id, const char *path, enum watch_state state)
{
	struct watch_view v = {
		.id = id,
		.path = path,
		.configured = true,
		.state = state,
		.why = "",
		.settings.policy = {
			.early = { PSI_SOME, 20000, 2000000 },
			.low = { PSI_SOME, 200000, 2000000 },
			.critical = { PSI_FULL, 100000, 2000000 },
			.rearm_usec = 8192000,
			.quiet_usec = 4000000,
			.calm_usec = 10000000,
			.headroom_percent = 25,
		},
		.available = PSB_HIGH,
		.thresholds = 1,
		.source = { .size = sizeof(v.source), .name = "", .cgroup = "/" },
		.stats = { .size = sizeof(v.stats) },
	};

	if (state == WATCH_WATCHING) {
		v.source.rung = 2;
		v.source.name = "psi-privileged";
		v.source.events = 1;
		strcpy(v.source.trigger, "some 5000 500000");
		strcpy(v.source.path, "/sys/fs/cgroup/memory.pressure");
	}
	return v;
}

static inline struct stage_cgroup stage_cgroup(unsigned watch, const char *path,
					       enum psb_available available)
{
	return (struct stage_cgroup){
		.watch = watch,
		.present = {
			.size = sizeof(struct psb_notification),
			.kind = PSB_KIND_LEVEL,
			.available = available,
			.reason = PSB_REASON_PRESENT,
			.cgroup = path,
		},
	};
}

/* ---- what control.c asks of the daemon ------------------------------------------------------- */

/* test-killed.sh has a real one. */
bool history_get(_unused_ struct history *history, _unused_ size_t index,
		 _unused_ uint64_t now_usec, _unused_ struct past *ret)
{
	return false;
}

bool table_watch(_unused_ struct table *table, size_t index, struct watch_view *ret)
{
	if (index >= stage.watch_count)
		return false;
	*ret = stage.watches[index];
	for (size_t i = 0; i < stage.cgroup_count; i++)
		if (stage.cgroups[i].watch == ret->id)
			ret->available = MIN(ret->available, stage.cgroups[i].present.available);
	return true;
}

void table_each_cgroup(_unused_ struct table *table,
		       void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata)
{
	stage.times_shown++;
	for (size_t i = 0; i < stage.cgroup_count; i++) {
		struct cgroup_view view = {
			.present = &stage.cgroups[i].present,
			.watch = stage.cgroups[i].watch,
			.clients = stage.cgroups[i].clients,
		};

		fn(&view, userdata);
	}
}

/* A cgroup of the table is judged as was asked. */
int table_simulate(_unused_ struct table *table, const char *cgroup, enum psb_available available,
		   bool critical)
{
	snprintf(stage.simulated, sizeof(stage.simulated), "%s", cgroup);
	if (stage.simulate_result < 0)
		return stage.simulate_result;
	for (size_t i = 0; i < stage.cgroup_count; i++)
		if (strcmp(stage.cgroups[i].present.cgroup, cgroup) == 0) {
			stage.cgroups[i].present.available = available;
			stage.cgroups[i].present.critical = critical;
			return 0;
		}
	return -ENOENT;
}

int lowmemory_simulate(_unused_ struct lowmemory *lowmemory, _unused_ enum psb_available available,
		       _unused_ bool critical)
{
	return stage.lowmemory_result;
}

void server_view(_unused_ const struct server *server, struct server_view *ret)
{
	*ret = stage.server;
}

static bool bridge_answers(_unused_ struct daemon *daemon)
{
	return !stage.deaf;
}

static int reload(struct daemon *daemon)
{
	stage.times_reloaded++;
	if (stage.reload_result == 0)
		daemon->config_error[0] = '\0';
	return stage.reload_result;
}

/* ---- the stage itself ------------------------------------------------------------------------ */

/* `files` is ended by NULL and stays. */
static inline int stage_open(const char *path, char **files)
{
	static const struct daemon_calls calls = {
		.reload = reload,
		.bridge_answers = bridge_answers,
	};
	int fd, r;

	stage = (struct stage){ .config = { .files = files, .clients_max = 16384 },
				.lowmemory_result = -ENODATA };
	stage.daemon.calls = &calls;
	stage.daemon.config = &stage.config;
	stage.daemon.root = "";
	stage.daemon.started_usec = now_usec();
	strcpy(stage.daemon.cgroups.v2.point, "/sys/fs/cgroup");
	r = sd_event_new(&stage.daemon.event);
	if (r >= 0)
		r = psb_bridge_new(NULL, &stage.daemon.bridge);
	if (r >= 0)
		r = listen_at(path, &fd);
	return r < 0 ? r : control_new(&stage.daemon, fd, &stage.daemon.control);
}

static inline void stage_close(void)
{
	stage.daemon.control = control_free(stage.daemon.control);
	stage.daemon.bridge = psb_bridge_unref(stage.daemon.bridge);
	stage.daemon.event = sd_event_unref(stage.daemon.event);
	free(stage.cgroups);
	stage.cgroups = NULL;
}
