/* SPDX-License-Identifier: MIT */
/*
 * server.h - the notify socket: which clients may connect, and how many
 *
 * Refused are: peers that cannot be identified, more than ClientsMax= in all, ClientsPerUid= of one
 * user other than root, and ClientsPerCgroup= of one cgroup. A refused connection is closed before
 * anything was said; refusals are logged, at most once in ten seconds.
 */
#pragma once

#include "daemon/client.h"

/* Listens when server_listen() is called. Takes over the daemon's notify_fd and states. Errors: -ENOMEM. */
int server_new(struct daemon *daemon, struct server **ret);
int server_listen(struct server *server);
/* Closes our ends; what the manager keeps, it keeps. */
struct server *server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* All that were restored are there: other states are of clients that went. */
void server_restored(struct server *server);
/* The configuration is another. */
void server_resubscribe(struct server *server);
/* Tell clients that understand it that we stop. */
void server_say_bye(struct server *server);
