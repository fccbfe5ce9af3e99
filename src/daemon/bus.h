/* SPDX-License-Identifier: MIT */
/*
 * bus.h - D-Bus: org.psibridge1, and org.freedesktop.LowMemoryMonitor for GLib's GMemoryMonitor
 *
 * /org/psibridge1, interface org.psibridge1.Manager
 *   Reload()                         root only; the answer says what is wrong, if it is
 *   Simulate(s cgroup, s available, b critical)
 *                                    root only; available is "low", "neutral" or "high"; "/" is the
 *                                    whole machine, and then LowMemoryMonitor's watch is meant too
 *   ListWatches() -> a(uosb)         id, object, path, configured
 *   ListCgroups() -> a(sosbu)        cgroup, object of its watch, available, critical, clients: all
 *                                    that are not at rest or have clients
 *   Version s, Backend s, Clients u, Configuration as, ConfigurationError s    properties
 *   WatchAdded(u id, o object), WatchRemoved(u id, o object)                   signals
 *   LevelChanged(s cgroup, s available, b critical, s reason, t stall_usec)    signal; also repeats
 *   LevelsMissed(u count)            signal: so many did not fit; ListCgroups() has the truth
 * /org/psibridge1/watch/ID, interface org.psibridge1.Watch
 *   properties only, see org.psibridge1(5); PropertiesChanged for all but the counters
 * /org/freedesktop/LowMemoryMonitor, interface org.freedesktop.LowMemoryMonitor
 *   LowMemoryWarning(y)              signal, of the machine: 50 Neutral, 100 Low, 255 critical
 *
 * Signals are sent from a timer, at most every 50 ms and after all clients were told: an allocation
 * of sd-bus must not stand between a stall and its clients. Of several news about one cgroup or
 * property in that time the newest is sent.
 *
 * Nothing here waits for the bus. That there is none, that it goes away, refuses us a name or does
 * not read is a note in the journal at most; it is found again when its socket appears (inotify).
 */
#pragma once

#include "daemon/daemon.h"

/*
 * Connects if the configuration wants it (Bus=, LowMemoryMonitor=), in a later dispatch. Make one
 * whatever it says: a reload may want it. daemon->forest must be there; config, cgroups and server
 * are looked at when they are asked for. Errors: -ENOMEM, or what forest_observe() says.
 */
int bus_new(struct daemon *daemon, struct bus **ret);

/*
 * The configuration was read anew, or refused (daemon->config, daemon->config_error): do what it
 * says now. `bus` may be NULL. May be called from within daemon_reload().
 */
void bus_config_changed(struct bus *bus);

/*
 * Hangs up at once; the forest must still be there. The memory goes with one of the next dispatches
 * of the loop: so dispatch it until idle before loop_free().
 */
struct bus *bus_free(struct bus *bus);
DEFINE_CLEANUP(struct bus *, bus_free);
