/* SPDX-License-Identifier: MIT */
/*
 * manager.h - the service manager: readiness, status, watchdog, and descriptors that survive us
 *
 * systemd's protocols (sd_notify(3), sd_listen_fds(3), file descriptor store): $NOTIFY_SOCKET,
 * $LISTEN_FDS with $LISTEN_FDNAMES, $FDSTORE, $WATCHDOG_USEC. Without them every call is a no-op that answers
 * 0, so the daemon runs by hand as well. The variables are read once.
 *
 * What is kept: the notify and control listeners come from the .socket unit; each client's socket
 * ("client") and their state ("state") are pushed into the store. systemd drops a stored socket by
 * itself when its peer hangs up.
 */
#pragma once

#include "core/util.h"

enum inherited {
	INHERITED_LISTENER,
	INHERITED_CLIENT,
	INHERITED_STATE,
	INHERITED_KMSG, /* OpenFile= */
	INHERITED_OTHER,
};

struct manager;

/* Takes $LISTEN_FDS and the others. Errors: -ENOMEM, -EINVAL (invalid variables). */
int manager_new(struct manager **ret);
/* Closes what was not taken over. */
struct manager *manager_free(struct manager *manager);
DEFINE_CLEANUP(struct manager *, manager_free);

/* The next one of that kind, O_CLOEXEC | O_NONBLOCK, to be closed by the caller; -1: there is no more. */
int manager_take(struct manager *manager, enum inherited kind);
/* Is there a listener with a connection that waits? */
bool manager_has_clients(const struct manager *manager);

/* Are we run by a manager that keeps descriptors ($FDSTORE > 0, or just $NOTIFY_SOCKET before
 * systemd 254)? */
bool manager_can_store(const struct manager *manager);
/* "client" or "state". The descriptor stays ours. That the manager's store is full it does not say. Errors: -EBADF, and
 * those below. */
int manager_store(struct manager *manager, const char *name, int fd);
/* All of that name. */
int manager_forget(struct manager *manager, const char *name);

/* What must not get lost waits for room in the manager's queue, a second at most: ready, reloading
 * and stopping. All else answers -EAGAIN at once. Errors: -EAGAIN, -errno of sendmsg(2). */
int manager_ready(struct manager *manager);
int manager_reloading(struct manager *manager); /* with MONOTONIC_USEC, for notify-reload */
int manager_stopping(struct manager *manager);
int manager_status(struct manager *manager, const char *format, ...) _printf_(2, 3);

/* 0: no watchdog. Half of what the manager allows. */
uint64_t manager_watchdog_usec(const struct manager *manager);
int manager_alive(struct manager *manager); /* WATCHDOG=1 */
