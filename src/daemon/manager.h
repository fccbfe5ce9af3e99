/* SPDX-License-Identifier: MIT */
/*
 * manager.h - the service manager: readiness, status, watchdog, and descriptors that survive us
 *
 * systemd's protocols (sd_notify(3), sd_listen_fds(3), file descriptor store). Without a manager every call is a no-op
 * that answers 0, so the daemon runs by hand as well. The variables are read once.
 *
 * What is kept: the notify listener comes from the .socket unit; each client's socket ("client") and their state ("state")
 * are pushed into the store. systemd drops a stored socket by itself when its peer hangs up.
 */
#pragma once

#include "core/util.h"

struct manager;

/* Takes $LISTEN_FDS and the others. Errors: -ENOMEM, -EINVAL (invalid variables), -errno of socket(2). */
int manager_new(struct manager **ret);
/* Closes what was not taken over. */
struct manager *manager_free(struct manager *manager);
DEFINE_CLEANUP(struct manager *, manager_free);

#define MANAGER_LISTENER "" /* whatever its name, it listens */

/* The next one of that name ("client", "state", "kmsg"), O_CLOEXEC | O_NONBLOCK, to be closed by the caller; -1: there is
 * no more. */
int manager_take(struct manager *manager, const char *name);
/* Is there a listener with a connection that waits? */
bool manager_has_clients(const struct manager *manager);

/* Are we run by a manager that keeps descriptors ($FDSTORE > 0, or just $NOTIFY_SOCKET before systemd 254)? */
bool manager_can_store(const struct manager *manager);
/* 0: no watchdog. Half of what the manager allows. */
uint64_t manager_watchdog_usec(const struct manager *manager);

/* One message, "READY=1". It waits for room in the manager's queue, a second at most: for what must not get lost.
 * Errors: -EAGAIN, -errno of sendmsg(2). */
int manager_say(struct manager *manager, const char *format, ...) _printf_(2, 3);
/* The same without waiting: -EAGAIN. `fd`, which stays ours, goes with it; -1: none. */
int manager_try(struct manager *manager, int fd, const char *format, ...) _printf_(3, 4);
