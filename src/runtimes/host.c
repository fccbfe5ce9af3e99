/* SPDX-License-Identifier: MIT */
/*
 * host.c - from a watch to an ICLRMemoryNotificationCallback that is told
 */
#include "runtimes/host.h"

#include <stdio.h>
#include <string.h>

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
	struct host *host = (struct host *)This;

	return host->told(host, available);
}

static const ICLRMemoryNotificationCallbackVtbl callback_vtbl = {
	.QueryInterface = callback_query,
	.AddRef = callback_count,
	.Release = callback_count,
	.OnMemoryNotification = callback_told,
};

int host_start(struct host *host, const struct psb_bridge_options *bridge,
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

HRESULT host_listen(struct host *host)
{
	return IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager,
								     &host->callback);
}

void host_unlisten(struct host *host)
{
	if (host->manager)
		IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager, NULL);
}

void host_end(struct host *host)
{
	if (host->manager)
		IHostMemoryManager_Release(host->manager);
	psb_watch_unref(host->watch);
	psb_bridge_unref(host->bridge);
}
