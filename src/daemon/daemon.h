/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - psibridged as a whole, and the functions of main.c for its parts
 *
 * One thread, one loop: sd-event's. The bridge of libpsibridge is one descriptor in it. The map (src/README.md) has the picture.
 */
#pragma once

#include "daemon/config.h"
#include "daemon/journal.h"
#include "daemon/manager.h"
#include "daemon/table.h"

struct server;
struct control;
struct lowmemory;
struct memoryhigh;
struct history;
struct ring;
struct daemon;

/* main.c's functions for its parts. */
struct daemon_calls {
	/* Read the configuration anew. A bad one changes nothing: -EINVAL, and d->config_error says why; it is logged and
	 * shown in the status. */
	int (*reload)(struct daemon *daemon);
	/* Goes by that configuration, which it takes over. Errors: -ENOMEM; the old one stays. */
	int (*take)(struct daemon *daemon, struct config *config);
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
	struct server *server;
	struct control *control;
	struct lowmemory *lowmemory; /* NULL: none */
	struct history *history;
	struct memoryhigh *memoryhigh;
	struct ring *ring;
	const char *root; /* of configuration files, "" */
	uint64_t started_usec;
	char config_error[512]; /* the last reload was refused: its first complaint; "" */
	sd_event_source *bridge_source;
	sd_event_source *status;    /* a timer */
	uint64_t beat_usec;	    /* the bridge's last beat */
	const char *own_sockets[2]; /* their paths; NULL: inherited */
};

/* Numbers of clients, for status and the like (server.c). */
struct server_view {
	unsigned clients, plain, records; /* connected now */
	uint64_t accepted, refused;
	uint64_t told;	   /* bytes and records sent */
	uint64_t replaced; /* repeats that a slow client lost to newer ones */
};
void server_view(const struct server *server, struct server_view *ret);
