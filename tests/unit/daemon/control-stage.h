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
	/* what was simulated last */
	char simulated[CGPATH_MAX];
	enum psb_available available;
	bool critical;
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
bool history_get(struct history *history, size_t index, uint64_t now_usec, struct past *ret)
{
	(void)history;
	(void)index;
	(void)now_usec;
	(void)ret;
	return false;
}

bool table_watch(struct table *table, size_t index, struct watch_view *ret)
{
	(void)table;
	if (index >= stage.watch_count)
		return false;
	*ret = stage.watches[index];
	for (size_t i = 0; i < stage.cgroup_count; i++)
		if (stage.cgroups[i].watch == ret->id)
			ret->available = MIN(ret->available, stage.cgroups[i].present.available);
	return true;
}

void table_each_cgroup(struct table *table,
		       void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata)
{
	(void)table;
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
int table_simulate(struct table *table, const char *cgroup, enum psb_available available,
		   bool critical)
{
	(void)table;
	snprintf(stage.simulated, sizeof(stage.simulated), "%s", cgroup);
	stage.available = available;
	stage.critical = critical;
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

int lowmemory_simulate(struct lowmemory *lowmemory, enum psb_available available, bool critical)
{
	(void)lowmemory;
	(void)available;
	(void)critical;
	return stage.lowmemory_result;
}

void server_view(const struct server *server, struct server_view *ret)
{
	(void)server;
	*ret = stage.server;
}

static bool bridge_answers(struct daemon *daemon)
{
	(void)daemon;
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

/* A listening socket at `path`, that everybody may connect to. */
static inline int stage_listen(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return -1;
	strcpy(address.sun_path, path);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 64) < 0 ||
	    chmod(path, 0777) < 0)
		return -1;
	return fd;
}

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
	if (r < 0)
		return r;
	fd = stage_listen(path);
	return fd < 0 ? -errno : control_new(&stage.daemon, fd, &stage.daemon.control);
}

static inline void stage_close(void)
{
	stage.daemon.control = control_free(stage.daemon.control);
	stage.daemon.bridge = psb_bridge_unref(stage.daemon.bridge);
	stage.daemon.event = sd_event_unref(stage.daemon.event);
	free(stage.cgroups);
	stage.cgroups = NULL;
}
