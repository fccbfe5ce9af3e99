/* SPDX-License-Identifier: MIT */
/*
 * server.h - the notify socket: its clients, from their first bytes to what they are told
 *
 * Refused are: peers that cannot be identified, more than ClientsMax= in all, ClientsPerUid= of one user other than root, and
 * ClientsPerCgroup= of one cgroup. A refused connection is closed before anything was said; refusals are logged, at most once
 * in ten seconds.
 */
#pragma once

#include "daemon/daemon.h"
#include "daemon/state.h"

/* Takes the listening descriptor over, also on failure, and the clients of the process before. Errors: -ENOMEM, as
 * sd_event_add_io(3) and states_new(). */
int server_new(struct daemon *daemon, int listen_fd, struct server **ret);
/* Tells clients that understand it that we stop, and closes our ends; what the manager keeps, it keeps. */
struct server *server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free);

/* What outlives the process. */
struct states *server_states(const struct server *server);

/* The configuration is another: a client without a watch may get one now. */
void server_resubscribe(struct server *server);
