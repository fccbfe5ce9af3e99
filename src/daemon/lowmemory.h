/* SPDX-License-Identifier: MIT */
/*
 * lowmemory.h - org.freedesktop.LowMemoryMonitor on the system bus, for GLib's GMemoryMonitor
 *
 * /org/freedesktop/LowMemoryMonitor, interface org.freedesktop.LowMemoryMonitor
 *   LowMemoryWarning(y)    signal, about the whole machine: 50 Neutral, 100 Low, 255 Low, critical
 *
 * Nothing here waits for the bus. That there is none, that it goes away, does not read, or refuses the name is at most a
 * line in the journal; the connection is made as soon as it can be.
 */
#pragma once

#include "daemon/daemon.h"

/* Connects in a later dispatch, if the configuration wants it (LowMemoryMonitor=), now or after a reload. Of `daemon` it
 * uses event, table, config and journal. Errors: -ENOMEM. */
int lowmemory_new(struct daemon *daemon, struct lowmemory **ret);
/* Disconnects at once. The table must still be there. */
struct lowmemory *lowmemory_free(struct lowmemory *l);

/* daemon->config was replaced. `l` may be NULL. */
void lowmemory_config_changed(struct lowmemory *l);
