/* SPDX-License-Identifier: MIT */
/*
 * client.h - one connection of the notify socket
 */
#pragma once

#include "daemon/daemon.h"
#include "daemon/listen.h"
#include "daemon/peer.h"
#include "daemon/state.h"

#include <sys/queue.h>

/* What all clients share; server.h makes it. */
struct server {
	struct daemon *daemon;
	struct states *states;
	struct acceptor acceptor;
	LIST_HEAD(, client) clients;
	sd_event_source *store; /* a timer: the manager had no room */
	bool store_failed;
	unsigned refused_unlogged;
	uint64_t refused_logged_usec;
	struct server_view view; /* counters only */
};

/* One was refused. It is counted, and logged unless another was within ten seconds. */
void server_refused(struct server *server, const char *format, ...) _printf_(2, 3);

struct client {
	LIST_ENTRY(client) list;
	struct server *server;
	struct subscriber subscriber;
	sd_event_source *source;
	struct client_state *state; /* protocol, terms, what it was told */
	int fd;
	uint32_t events; /* polled for now */
	bool pending;	 /* a record waits for room in the socket */
	bool unstored;	 /* the manager has no copy of it yet */
};

/* A new connection; takes the descriptor over in any case. Errors were told to the server. */
void client_new(struct server *server, int fd, const struct peer *peer);
/* One of the process before; takes the descriptor over. */
void client_restore(struct server *server, int fd);
/* Does not hang up on it. */
void client_free(struct client *client);
/* After a reload: a client without a watch may get one now. */
void client_resubscribe(struct client *client);
void client_say_bye(struct client *client);

/* For the table. */
void client_notify(struct subscriber *subscriber, const struct psb_notification *notification);
void client_terms(const struct subscriber *subscriber, struct policy_options *ret);

uint64_t peer_hash(const struct peer *peer);
