/* SPDX-License-Identifier: MIT */
/*
 * hostcontrol.c - the IHostControl that hands out a memory manager
 *
 * A runtime asks its host's IHostControl for each kind of manager by IID. E_NOINTERFACE means that
 * the host leaves that matter to the runtime. Ours has a memory manager and nothing else. It never
 * changes after it was made, so it needs no lock and works in a forked child too.
 */
#include "psibridge/hosting.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "library/hostobject.h"

struct control {
	IHostControl interface; /* first: the object's address */
	_Atomic uint32_t refs;
	IHostMemoryManager *manager;
};

static struct control *control_of(IHostControl *interface)
{
	return CONTAINER_OF(interface, struct control, interface);
}

static HRESULT control_query_interface(IHostControl *interface, REFIID riid, void **ret)
{
	if (!riid || !ret)
		return E_POINTER;
	if (!guid_equal(riid, &IID_IUnknown) && !guid_equal(riid, &IID_IHostControl)) {
		*ret = NULL;
		return E_NOINTERFACE;
	}
	IHostControl_AddRef(interface);
	*ret = interface;
	return S_OK;
}

static ULONG control_add_ref(IHostControl *interface)
{
	return atomic_fetch_add(&control_of(interface)->refs, 1) + 1;
}

static ULONG control_release(IHostControl *interface)
{
	struct control *control = control_of(interface);
	ULONG left = atomic_fetch_sub(&control->refs, 1) - 1;

	if (left > 0)
		return left;
	IHostMemoryManager_Release(control->manager);
	free(control);
	return 0;
}

static HRESULT control_get_host_manager(IHostControl *interface, REFIID riid, void **ret)
{
	struct control *control = control_of(interface);

	if (!riid || !ret)
		return E_POINTER;
	*ret = NULL;
	/* Only by its own name: as an IUnknown it would pass for any manager. */
	if (!guid_equal(riid, &IID_IHostMemoryManager))
		return E_NOINTERFACE;
	IHostMemoryManager_AddRef(control->manager);
	*ret = control->manager;
	return S_OK;
}

static HRESULT control_set_app_domain_manager(IHostControl *interface, DWORD id, IUnknown *domain)
{
	(void)interface;
	(void)id;
	(void)domain;
	return S_OK;
}

static const IHostControlVtbl control_vtbl = {
	.QueryInterface = control_query_interface,
	.AddRef = control_add_ref,
	.Release = control_release,
	.GetHostManager = control_get_host_manager,
	.SetAppDomainManager = control_set_app_domain_manager,
};

int psb_host_control_new(IHostMemoryManager *manager, IHostControl **ret)
{
	struct control *control;

	if (!manager || !ret)
		return -EINVAL;
	control = calloc(1, sizeof(*control));
	if (!control)
		return -ENOMEM;
	control->interface.lpVtbl = &control_vtbl;
	atomic_init(&control->refs, 1);
	control->manager = manager;
	IHostMemoryManager_AddRef(manager);
	*ret = &control->interface;
	return 0;
}
