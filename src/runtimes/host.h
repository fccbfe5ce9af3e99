/* SPDX-License-Identifier: MIT */
/*
 * host.h - what a native host does to be told: a bridge, a watch, a memory manager, and a callback for it
 *
 * Every host of ours begins its own structure with this one. The callback is an object of the CLR hosting ABI, as a runtime
 * of its time would register it; it outlives its registration, so its references are not counted.
 */
#pragma once

#include <psibridge/hosting.h>
#include <psibridge/tools.h>

#include <stdio.h>
#include <string.h>

struct host {
	ICLRMemoryNotificationCallback callback; /* first: its address is the host's */
	/* On a thread of libpsibridge's: hand over and return. */
	HRESULT (*told)(struct host *host, EMemoryAvailable available);
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
	char why[320]; /* host_start() failed */
};

static HRESULT callback_query(ICLRMemoryNotificationCallback *This, REFIID riid, void **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (memcmp(riid, &IID_IUnknown, sizeof(*riid)) != 0 &&
	    memcmp(riid, &IID_ICLRMemoryNotificationCallback, sizeof(*riid)) != 0)
		return E_NOINTERFACE;
	*ret = This;
	return S_OK;
}

/* Nothing is counted. The CLR's own did the same. */
static ULONG callback_count(ICLRMemoryNotificationCallback *This)
{
	(void)This;
	return 1;
}

static HRESULT callback_told(ICLRMemoryNotificationCallback *This, EMemoryAvailable available)
{
	return ((struct host *)This)->told((struct host *)This, available);
}

static const ICLRMemoryNotificationCallbackVtbl callback_vtbl = {
	.QueryInterface = callback_query,
	.AddRef = callback_count,
	.Release = callback_count,
	.OnMemoryNotification = callback_told,
};

/* Makes the three, and starts the bridge; told() is called once the callback is registered. `bridge` may be NULL. Returns 0, or a
 * negative errno, with host->why in words; then host_end() is due, too. */
static inline int host_start(struct host *host, const struct psb_bridge_options *bridge,
			     struct psb_watch_options *watch)
{
	int r = psb_bridge_new(bridge, &host->bridge);

	host->callback.lpVtbl = &callback_vtbl;
	watch->error_text = host->why;
	watch->error_text_size = sizeof(host->why);
	if (r == 0)
		r = psb_watch_new(host->bridge, watch, &host->watch);
	if (r == 0)
		r = psb_host_memory_manager_new(host->watch, &host->manager);
	if (r == 0)
		r = psb_bridge_start(host->bridge);
	if (r < 0 && !host->why[0])
		snprintf(host->why, sizeof(host->why), "%s", strerror(-r));
	return r;
}

/* The present level is told if it is Low. `callback` NULL: when it returns told() is not running, but where that called it. */
static inline HRESULT host_register(struct host *host, ICLRMemoryNotificationCallback *callback)
{
	return host->manager ? IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager,
										     callback)
			     : E_FAIL;
}

static inline void host_end(struct host *host)
{
	if (host->manager)
		IHostMemoryManager_Release(host->manager);
	psb_watch_unref(host->watch);
	psb_bridge_unref(host->bridge);
}
