/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - psibridged as a whole, and the functions of daemon.c for its parts
 *
 * One thread, one loop: sd-event's. The bridge of libpsibridge is one descriptor in it. The map (src/README.md) has the picture.
 */
#pragma once

#include "daemon/config.h"
#include "daemon/journal.h"
#include "daemon/manager.h"
#include "daemon/table.h"

struct server;
struct states;
struct control;
struct lowmemory;
struct history;

struct daemon;

/* daemon.c's functions for its parts. */
struct daemon_calls {
	/* Read the configuration anew. A bad one changes nothing: -EINVAL, and d->config_error says why; it is logged and
	 * shown in the status. */
	int (*reload)(struct daemon *daemon);
	/* Does the bridge's loop run? It is asked now, and has a second to answer. */
	bool (*bridge_answers)(struct daemon *daemon);
	/* STATUS= anew, soon and not too often. */
	void (*status_changed)(struct daemon *daemon);
};

struct daemon {
	const struct daemon_calls *calls;
	sd_event *event;
	struct psb_bridge *bridge;
	struct cgroups cgroups;
	struct config *config;
	struct journal *journal;
	struct manager *manager;
	struct table *table;
	struct states *states; /* of clients; the server's from daemon_run() on, like notify_fd */
	int notify_fd, control_fd; /* listening; -1: none */
	struct server *server;
	struct control *control;
	struct lowmemory *lowmemory; /* NULL: none */
	struct history *history;
	const char *root; /* of configuration files, "" */
	uint64_t started_usec;
	char config_error[512]; /* the last reload was refused: its first complaint; "" */
	sd_event_source *bridge_source;
	sd_event_source *status; /* a timer */
	uint64_t beat_usec;	 /* the bridge's last beat */
};

/* `daemon` has root, journal and manager. Errors were logged, and are in the manager's status. */
bool daemon_load_config(struct daemon *daemon);
/* Serve until a signal says stop. `daemon` has what stands before `server` in it but for bridge, event and table;
 * SIGTERM, SIGINT and SIGHUP are blocked. Errors were logged. daemon_end() is to follow in any case. */
int daemon_run(struct daemon *daemon);
void daemon_end(struct daemon *daemon);

/* Numbers of clients, for status and the like (server.c). */
struct server_view {
	unsigned clients, plain, records; /* connected now */
	uint64_t accepted, refused;
	uint64_t told;	   /* bytes and records sent */
	uint64_t replaced; /* repeats that a slow client lost to newer ones */
};
void server_view(const struct server *server, struct server_view *ret);
