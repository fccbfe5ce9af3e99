/* SPDX-License-Identifier: MIT */
/*
 * hosting.c - the IHostMemoryManager of a watch
 *
 * A registration of the runtime is a `slot`: one callback, and one psb_registration of our own, which brings a thread.
 * Registering puts a new slot in the place of the current one and removes that one's registration, so that a callback
 * that is stuck does not take the thread of the next one with it. Waiting for a call, and for how long, deadlocks and
 * calls from inside are dispatch.c's; it says when the slot can be freed (slot_ended()).
 *
 * Invariants, all under the lock:
 *  - The native registration is made and put in place in one step. What was sent before is told by the old slot only,
 *    what is sent later reaches both and is told by the current one only. What the old slot cannot tell any more the
 *    new one learns, because it asks for the present level (PSB_TELL_PRESENT).
 *  - That present level is news if it is Low, or if it is not what this manager told last. Before the first
 *    notification, the level at the first registration counts as told: a runtime starts out in the belief that memory
 *    is not short. A level that a dead runtime was told does not count.
 *  - Nothing of the runtime's is called, and dispatch_remove() neither, with the lock held.
 *
 * `refs` counts references of the outside world; with the last one the manager ends its slot. `holds` counts that, and
 * each slot; with the last hold memory and watch are given up. So a callback that is stuck keeps its manager in memory,
 * and may even release it itself.
 */
#include "psibridge/hosting.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "library/dispatch.h"
#include "library/hosting-internal.h"

_Static_assert((int)PSB_LOW == (int)eMemoryAvailableLow &&
		       (int)PSB_NEUTRAL == (int)eMemoryAvailableNeutral &&
		       (int)PSB_HIGH == (int)eMemoryAvailableHigh,
	       "the levels have the same numbers");

uint64_t hosting_patience_usec = 10 * USEC_PER_SEC;

struct manager {
	struct hostmem mem; /* first: the object's address */
	_Atomic uint32_t refs;
	_Atomic uint32_t holds;
	psb_watch *watch;

	pthread_mutex_t lock; /* of: */
	struct slot *current;
	enum psb_available told; /* last, to any callback; 0: nothing yet */
};

struct slot {
	struct manager *manager;		  /* a hold */
	ICLRMemoryNotificationCallback *callback; /* a reference; NULL when it was given back */
	psb_registration *registration;
};

/* Of 0 and more, or a negative errno. Never E_FAIL: that would say that the runtime itself is dead. */
static HRESULT hresult_from_errno(int error)
{
	switch (-error) {
	case ENOMEM:
	case EAGAIN: /* no thread */
	case EMFILE:
	case ENFILE:
		return E_OUTOFMEMORY;
	case EDEADLK:
		return HOST_E_DEADLOCK;
	case ETIMEDOUT:
		return HOST_E_TIMEOUT;
	default:
		return error >= 0 ? S_OK : E_UNEXPECTED;
	}
}

/* ---- lifetime ------------------------------------------------------------------------------ */

static void manager_unhold(struct manager *manager)
{
	if (atomic_fetch_sub(&manager->holds, 1) > 1)
		return;
	psb_watch_unref(manager->watch);
	free(manager);
}

static struct slot *slot_new(struct manager *manager, ICLRMemoryNotificationCallback *callback)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	atomic_fetch_add(&manager->holds, 1);
	slot->manager = manager;
	ICLRMemoryNotificationCallback_AddRef(callback);
	slot->callback = callback;
	return slot;
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
	return n->reason != PSB_REASON_PRESENT || n->available == PSB_LOW ||
	       n->available != manager->told;
}

/* The documentation's results for a runtime that cannot be called any more. */
static bool is_deadly(HRESULT result)
{
	return result == HOST_E_CLRNOTAVAILABLE || result == E_FAIL;
}

/* Called with the lock, which it gives back: `slot` is the current one no more, and ends. */
static int slot_retire(struct slot *slot, uint64_t patience_usec)
{
	pthread_mutex_unlock(&slot->manager->lock);
	return dispatch_remove(slot->registration, patience_usec, slot_ended);
}

/* A psb_callback_fn: one notification, on the thread of the slot's registration. */
static void slot_notified(const struct psb_notification *n, void *userdata)
{
	struct slot *slot = userdata;
	struct manager *manager = slot->manager;
	ICLRMemoryNotificationCallback *callback = slot->callback;
	enum psb_available told_before;
	bool told;

	pthread_mutex_lock(&manager->lock);
	told = manager->current == slot && is_news(manager, n);
	told_before = manager->told;
	if (told)
		manager->told = n->available;
	pthread_mutex_unlock(&manager->lock);
	if (!told || !is_deadly(ICLRMemoryNotificationCallback_OnMemoryNotification(
			     callback, (EMemoryAvailable)n->available)))
		return;

	pthread_mutex_lock(&manager->lock);
	if (manager->current == slot) /* or its successor may have been told */
		manager->told = told_before;
	pthread_mutex_unlock(&manager->lock);
	/* while it is the current one: who replaces it waits for this Release too */
	slot->callback = NULL;
	ICLRMemoryNotificationCallback_Release(callback);
	pthread_mutex_lock(&manager->lock);
	if (manager->current == slot) {
		manager->current = NULL;
		slot_retire(slot, 0);
	} else {
		pthread_mutex_unlock(&manager->lock);
	}
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
		return slot_retire(old, hosting_patience_usec);
	pthread_mutex_unlock(&manager->lock);
	return 0;
}

static HRESULT manager_register(IHostMemoryManager *This, ICLRMemoryNotificationCallback *callback)
{
	struct manager *manager = (struct manager *)This;
	struct slot *next = NULL;
	int r = 0;

	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (callback) {
		next = slot_new(manager, callback);
		if (!next)
			return E_OUTOFMEMORY;
	}

	pthread_mutex_lock(&manager->lock);
	if (next && manager->told == 0)
		manager->told = psb_watch_available(manager->watch, NULL);
	if (next)
		r = psb_watch_add_callback(manager->watch, slot_notified, next, PSB_TELL_PRESENT,
					   &next->registration);
	if (r < 0) {
		pthread_mutex_unlock(&manager->lock);
		slot_ended(next);
		return hresult_from_errno(r);
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
		pthread_mutex_lock(&manager->lock);
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
static HRESULT manager_needs_address_space(IHostMemoryManager *This, _unused_ void *start,
					   _unused_ size_t size)
{
	return is_forked(This) ? HOST_E_CLRNOTAVAILABLE : E_OUTOFMEMORY;
}

static HRESULT manager_acquired_address_space(IHostMemoryManager *This, _unused_ void *start,
					      _unused_ size_t size)
{
	return is_forked(This) ? HOST_E_CLRNOTAVAILABLE : S_OK;
}

static HRESULT manager_released_address_space(IHostMemoryManager *This, _unused_ void *start)
{
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

	if (!watch || !ret)
		return -EINVAL;
	manager = calloc(1, sizeof(*manager));
	if (!manager)
		return -ENOMEM;
	hostmem_init(&manager->mem);
	manager->mem.interface.lpVtbl = &manager_vtbl;
	pthread_mutex_init(&manager->lock, NULL);
	atomic_init(&manager->refs, 1);
	atomic_init(&manager->holds, 1);
	manager->watch = psb_watch_ref(watch);
	*ret = &manager->mem.interface;
	return 0;
}
