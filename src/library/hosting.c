/* SPDX-License-Identifier: MIT */
/*
 * hosting.c - the IHostMemoryManager of a watch
 *
 * A registration of the runtime is a `slot`: one callback, and one psb_registration of our own, which brings a
 * thread. The manager has at most one current slot. Registering makes a new one, puts it in the place of the old
 * one and removes that one's registration, so that the old callback can be stuck without taking the thread of the new
 * one with it. Waiting for a call, and for how long, deadlocks and calls from inside are dispatch.c's; it says when the
 * slot can be freed (slot_ended()).
 *
 * Invariants, all under the lock:
 *  - The native registration is made and put in place in one step. What was sent before is in the
 *    mailbox of the old slot only, what is sent later reaches both but is told by the new one
 *    only. So nothing is told to two callbacks. What the old slot had in its mailbox and cannot
 *    tell any more, the new one learns, because it asks for the present level (PSB_TELL_PRESENT).
 *  - That present level is news if it is Low, or if it is not what this manager told last. Before
 *    the first notification, the level at the first registration counts as told: a runtime starts
 *    out in the belief that memory is not short, and a new one must not be sent a needless High. A
 *    level that a dead runtime was told does not count: the next one is told it.
 *  - Nothing of the runtime's is called, and dispatch_remove() neither, with the lock held.
 *
 * Lifetime: `refs` counts references of the outside world; with the last one the manager ends its
 * slot. `holds` counts that, and each slot; with the last hold memory and watch are given up. So a
 * callback that is stuck keeps its manager in memory, and may even release it itself.
 *
 * What the runtime's answers mean is from the reference documentation of
 * ICLRMemoryNotificationCallback::OnMemoryNotification; psibridge-hosting(3) has the table.
 */
#include "psibridge/hosting.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "library/dispatch.h"
#include "library/hosting-internal.h"

_Static_assert((int)PSB_LOW == (int)eMemoryAvailableLow, "the levels have the same numbers");
_Static_assert((int)PSB_NEUTRAL == (int)eMemoryAvailableNeutral,
	       "the levels have the same numbers");
_Static_assert((int)PSB_HIGH == (int)eMemoryAvailableHigh, "the levels have the same numbers");

struct manager {
	struct hostmem mem; /* first: the object's address */
	_Atomic uint32_t refs;
	_Atomic uint32_t holds;
	psb_watch *watch;
	uint64_t patience_usec;

	/* under the domain's lock */
	struct slot *current;
	enum psb_available told; /* last, to any callback; 0: nothing yet */
};

struct slot {
	struct manager *manager;		  /* a hold */
	ICLRMemoryNotificationCallback *callback; /* a reference; NULL when it was given back */
	psb_registration *registration;
	bool detached; /* under the domain's lock: no longer the current one, and not to be called */
};

static _Atomic(struct domain *) the_domain;

static int domain_get(struct domain **ret)
{
	struct domain *old = atomic_load(&the_domain), *domain;

	if (old && old->pid == getpid()) {
		*ret = old;
		return 0;
	}
	domain = calloc(1, sizeof(*domain));
	if (!domain)
		return -ENOMEM;
	domain->pid = getpid();
	pthread_mutex_init(&domain->lock, NULL);
	pthread_mutex_init(&domain->memory_lock, NULL);
	if (!atomic_compare_exchange_strong(&the_domain, &old, domain)) {
		free(domain);
		domain = old;
	}
	*ret = domain;
	return 0;
}

/* ---- lifetime ------------------------------------------------------------------------------ */

static void manager_unhold(struct manager *manager)
{
	if (atomic_fetch_sub(&manager->holds, 1) > 1)
		return;
	psb_watch_unref(manager->watch);
	free(manager);
}

static int slot_new(struct manager *manager, ICLRMemoryNotificationCallback *callback,
		    struct slot **ret)
{
	struct slot *slot;

	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	atomic_fetch_add(&manager->holds, 1);
	slot->manager = manager;
	ICLRMemoryNotificationCallback_AddRef(callback);
	slot->callback = callback;
	*ret = slot;
	return 0;
}

/* A psb_ended_fn: calls the runtime's Release(). No other pointer to the slot is left. */
static void slot_ended(void *userdata)
{
	struct slot *slot = userdata;
	struct manager *manager = slot->manager;

	if (slot->callback)
		ICLRMemoryNotificationCallback_Release(slot->callback);
	free(slot);
	manager_unhold(manager);
}

/* ---- notifications ------------------------------------------------------------------------- */

/* Does the runtime have to be told this? */
static bool is_news(const struct manager *manager, const struct psb_notification *n)
{
	if (n->reason == PSB_REASON_PRESENT)
		return n->available == PSB_LOW || n->available != manager->told;
	return n->kind == PSB_KIND_LEVEL || n->kind == PSB_KIND_GONE;
}

/* The documentation's results for a runtime that cannot be called any more. */
static bool is_deadly(HRESULT result)
{
	return result == HOST_E_CLRNOTAVAILABLE || result == E_FAIL;
}

/* A psb_callback_fn: one notification, on the thread of the slot's registration. */
static void slot_notified(const struct psb_notification *n, void *userdata)
{
	struct slot *slot = userdata;
	struct manager *manager = slot->manager;
	pthread_mutex_t *lock = &manager->mem.domain->lock;
	ICLRMemoryNotificationCallback *callback = slot->callback;
	enum psb_available told_before;
	HRESULT result;
	bool retired;

	pthread_mutex_lock(lock);
	if (slot->detached || !is_news(manager, n)) {
		pthread_mutex_unlock(lock);
		return;
	}
	told_before = manager->told;
	manager->told = n->available;
	pthread_mutex_unlock(lock);

	result = ICLRMemoryNotificationCallback_OnMemoryNotification(
		callback, (EMemoryAvailable)n->available);
	if (!is_deadly(result))
		return;

	pthread_mutex_lock(lock);
	if (!slot->detached) /* or its successor may have been told */
		manager->told = told_before;
	pthread_mutex_unlock(lock);
	/* while it is the current one: who replaces it waits for this Release too */
	slot->callback = NULL;
	ICLRMemoryNotificationCallback_Release(callback);
	pthread_mutex_lock(lock);
	retired = manager->current == slot;
	if (retired) {
		manager->current = NULL;
		slot->detached = true;
	}
	pthread_mutex_unlock(lock);
	if (retired)
		dispatch_remove(slot->registration, 0, slot_ended);
}

/* ---- registration -------------------------------------------------------------------------- */

/*
 * Puts `next` (or nothing) in the place of the current slot, and ends that one. Called with the
 * lock, which it gives back. Errors: -ETIMEDOUT, -EDEADLK: done, but a call of the old one goes on.
 */
static int manager_replace(struct manager *manager, struct slot *next)
{
	struct slot *old = manager->current;

	manager->current = next;
	if (old)
		old->detached = true;
	pthread_mutex_unlock(&manager->mem.domain->lock);
	return old ? dispatch_remove(old->registration, manager->patience_usec, slot_ended) : 0;
}

static HRESULT manager_register(IHostMemoryManager *This, ICLRMemoryNotificationCallback *callback)
{
	struct manager *manager = (struct manager *)This;
	struct slot *next = NULL;
	int r;

	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (callback) {
		r = slot_new(manager, callback, &next);
		if (r < 0)
			return hresult_from_errno(r);
	}

	pthread_mutex_lock(&manager->mem.domain->lock);
	if (next) {
		if (manager->told == 0)
			manager->told = psb_watch_available(manager->watch, NULL);
		r = psb_watch_add_callback(manager->watch, slot_notified, next, PSB_TELL_PRESENT,
					   &next->registration);
		if (r < 0) {
			pthread_mutex_unlock(&manager->mem.domain->lock);
			slot_ended(next);
			return hresult_from_errno(r);
		}
	}
	return hresult_from_errno(manager_replace(manager, next));
}

/* ---- IUnknown ------------------------------------------------------------------------------ */

static HRESULT manager_query_interface(IHostMemoryManager *This, REFIID riid, void **ret)
{
	return hosting_query(This, &IID_IHostMemoryManager, riid, ret);
}

static ULONG manager_add_ref(IHostMemoryManager *This)
{
	return atomic_fetch_add(&((struct manager *)This)->refs, 1) + 1;
}

static ULONG manager_release(IHostMemoryManager *This)
{
	struct manager *manager = (struct manager *)This;
	ULONG left = atomic_fetch_sub(&manager->refs, 1) - 1;

	if (left > 0)
		return left;
	if (is_forked(This)) {
		/* No thread is left that could be in a call, and the lock may be locked for ever. */
		if (manager->current) {
			free(manager->current);
			atomic_fetch_sub(&manager->holds, 1);
		}
	} else {
		pthread_mutex_lock(&manager->mem.domain->lock);
		(void)manager_replace(manager, NULL);
	}
	manager_unhold(manager);
	return 0;
}

/* ---- memory -------------------------------------------------------------------------------- */

static HRESULT manager_get_memory_load(IHostMemoryManager *This, DWORD *ret_percent,
				       size_t *ret_available_bytes)
{
	struct manager *manager = (struct manager *)This;
	struct psb_load load = { .size = sizeof(load) };
	int r;

	if (!ret_percent || !ret_available_bytes)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	r = psb_watch_load(manager->watch, &load);
	if (r < 0)
		return hresult_from_errno(r);
	if (load.available_bytes == PSB_UNKNOWN)
		return E_UNEXPECTED;
	*ret_percent = load.percent;
	*ret_available_bytes = (size_t)MIN(load.available_bytes, (uint64_t)SIZE_MAX);
	return S_OK;
}

/* To the runtime any success means "room was made, try again", for ever. There is none to make: the
 * address space it lacks is its own process's, and what the manager reserved there is the runtime's. */
static HRESULT manager_needs_address_space(IHostMemoryManager *This, void *start, size_t size)
{
	(void)start;
	(void)size;
	return is_forked(This) ? HOST_E_CLRNOTAVAILABLE : E_OUTOFMEMORY;
}

static HRESULT manager_acquired_address_space(IHostMemoryManager *This, void *start, size_t size)
{
	(void)start;
	(void)size;
	return is_forked(This) ? HOST_E_CLRNOTAVAILABLE : S_OK;
}

static HRESULT manager_released_address_space(IHostMemoryManager *This, void *start)
{
	(void)start;
	return is_forked(This) ? HOST_E_CLRNOTAVAILABLE : S_OK;
}

static const IHostMemoryManagerVtbl manager_vtbl = {
	.QueryInterface = manager_query_interface,
	.AddRef = manager_add_ref,
	.Release = manager_release,
	.CreateMalloc = hostmem_create_malloc,
	.VirtualAlloc = hostmem_alloc,
	.VirtualFree = hostmem_free,
	.VirtualQuery = hostmem_query,
	.VirtualProtect = hostmem_protect,
	.GetMemoryLoad = manager_get_memory_load,
	.RegisterMemoryNotificationCallback = manager_register,
	.NeedsVirtualAddressSpace = manager_needs_address_space,
	.AcquiredVirtualAddressSpace = manager_acquired_address_space,
	.ReleasedVirtualAddressSpace = manager_released_address_space,
};

int psb_host_memory_manager_new(psb_watch *watch, IHostMemoryManager **ret)
{
	struct manager *manager;
	int r;

	if (!watch || !ret)
		return -EINVAL;
	manager = calloc(1, sizeof(*manager));
	if (!manager)
		return -ENOMEM;
	r = domain_get(&manager->mem.domain);
	if (r < 0) {
		free(manager);
		return r;
	}
	manager->mem.interface.lpVtbl = &manager_vtbl;
	hostmem_init(&manager->mem);
	atomic_init(&manager->refs, 1);
	atomic_init(&manager->holds, 1);
	manager->watch = psb_watch_ref(watch);
	manager->patience_usec = HOSTING_PATIENCE_USEC;
	*ret = &manager->mem.interface;
	return 0;
}

int host_memory_manager_set_patience(IHostMemoryManager *This, uint64_t usec)
{
	if (!This || This->lpVtbl != &manager_vtbl)
		return -EINVAL;
	((struct manager *)This)->patience_usec = usec;
	return 0;
}
