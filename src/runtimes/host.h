/* SPDX-License-Identifier: MIT */
/*
 * host.h - what a native host does to be told: a bridge, a watch, a memory manager, and a callback that is registered with it
 *
 * Every host of ours begins its own structure with this one. The callback is an object of the CLR hosting ABI, as a runtime
 * of its time would register it; it outlives its registration, so its references are not counted.
 */
#pragma once

#include <psibridge/hosting.h>
#include <psibridge/tools.h>

struct host {
	ICLRMemoryNotificationCallback callback; /* first: its address is the host's */
	/* On a thread of libpsibridge's: hand over and return. */
	HRESULT (*told)(struct host *host, EMemoryAvailable available);
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
	char why[320]; /* host_start() failed */
};

/* Makes the three, and starts the bridge; told() is called from host_listen() on. `bridge` may be NULL. Returns 0, or a
 * negative errno, with host->why in words; then host_end() is due, too. */
int host_start(struct host *host, const struct psb_bridge_options *bridge,
	       struct psb_watch_options *watch);

/* Registers the callback, which is told the present level if that is Low. Returns what the manager answers. */
HRESULT host_listen(struct host *host);
/* When it returns told() is not running, but where that called it. */
void host_unlisten(struct host *host);

void host_end(struct host *host);
