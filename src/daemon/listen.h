/* SPDX-License-Identifier: MIT */
/*
 * listen.h - listening sockets: of our own, for a daemon that runs without a .socket unit, and accepting
 */
#pragma once

#include "daemon/event.h"
#include "daemon/journal.h"

/*
 * Returns a listening stream socket at `path`, mode 0666; its directory is made (0755). What is left of a
 * process that is gone is replaced. Errors: -EADDRINUSE (a process listens there), -ENAMETOOLONG,
 * -ENOSPC (a full file system), -errno.
 */
int listen_at(const char *path);

/* Accepts one connection after the other. Out of descriptors it pauses for a second, and new clients wait in the
 * backlog of the socket. */
struct acceptor {
	int fd; /* listens; it is closed at the end */
	struct journal *journal;
	/* A connection, O_CLOEXEC | O_NONBLOCK; takes the descriptor over. */
	void (*accepted)(int fd, void *userdata);
	void *userdata;
	sd_event_source *io, *again; /* NULL at first */
};

/* Errors: as sd_event_add_io(3). */
int acceptor_start(struct acceptor *acceptor, sd_event *event);
/* Also of one that was not started. */
void acceptor_end(struct acceptor *acceptor);
