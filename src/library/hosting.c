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
 *
 * VirtualAlloc() and its family are mmap(2). A region is what one reserving call made: a private mapping without access,
 * but for its beginning, where its structure is, with a byte for each page: its protection, or 0 where it is reserved
 * only. It stays when its manager goes.
 */
#include "psibridge/hosting.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "library/dispatch.h"

_Static_assert((int)PSB_LOW == (int)eMemoryAvailableLow &&
		       (int)PSB_NEUTRAL == (int)eMemoryAvailableNeutral &&
		       (int)PSB_HIGH == (int)eMemoryAvailableHigh,
	       "the levels have the same numbers");

uint64_t hosting_patience_usec = 10 * USEC_PER_SEC;

/* Windows reserves at multiples of it, and a runtime may rely on that. */
#define GRANULARITY ((size_t)65536)

struct region {
	struct region *next;
	char *base; /* the first multiple of GRANULARITY behind this structure */
	size_t page_size, pages, map_size;
	DWORD protect;	 /* as reserved */
	uint8_t state[]; /* of each page */
};

/* Some pages of one region. */
struct span {
	struct region *region;
	char *address;
	uint8_t *state;
	size_t pages;
};

struct manager {
	IHostMemoryManager interface; /* first: the object's address */
	pid_t pid;
	_Atomic uint32_t refs;
	_Atomic uint32_t holds;
	psb_watch *watch;

	pthread_mutex_t lock; /* of: */
	struct slot *current;
	enum psb_available told; /* last, to any callback; 0: nothing yet */

	pthread_mutex_t regions_lock; /* of: */
	struct region *regions;
	IHostMalloc heap; /* what CreateMalloc() hands out: with the manager's references */
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

/* Is this a child of the process that made it? */
static bool is_forked(const IHostMemoryManager *manager)
{
	return getpid() != ((const struct manager *)manager)->pid;
}

/* Of an object with the one interface `own`. */
static HRESULT query_interface(void *object, const IID *own, REFIID riid, void **ret)
{
	if (!riid || !ret)
		return E_POINTER;
	*ret = NULL;
	if (memcmp(riid, &IID_IUnknown, sizeof(*riid)) != 0 &&
	    memcmp(riid, own, sizeof(*riid)) != 0)
		return E_NOINTERFACE;
	IUnknown_AddRef((IUnknown *)object);
	*ret = object;
	return S_OK;
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
	return query_interface(This, &IID_IHostMemoryManager, riid, ret);
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

/* ---- regions: with the lock ---------------------------------------------------------------- */

/* The access that a protection of private pages means; others have none. */
#define ALLOWED 0x80
static const uint8_t access_of[] = {
	[PAGE_NOACCESS] = ALLOWED | PROT_NONE,
	[PAGE_READONLY] = ALLOWED | PROT_READ,
	[PAGE_READWRITE] = ALLOWED | PROT_READ | PROT_WRITE,
	/* code of that time relied on its being readable */
	[PAGE_EXECUTE] = ALLOWED | PROT_READ | PROT_EXEC,
	[PAGE_EXECUTE_READ] = ALLOWED | PROT_READ | PROT_EXEC,
	[PAGE_EXECUTE_READWRITE] = ALLOWED | PROT_READ | PROT_WRITE | PROT_EXEC,
};

static bool is_protection(DWORD protect)
{
	return protect < ELEMENTSOF(access_of) && access_of[protect];
}

/* The whole pages that [address, address + size) touches, one at least. */
static HRESULT find(struct manager *manager, const void *address, size_t size, struct span *ret)
{
	for (struct region *region = manager->regions; region; region = region->next) {
		/* Of an address below the region this is huge. */
		size_t offset = (uintptr_t)address - (uintptr_t)region->base;
		size_t end = region->pages * region->page_size;
		size_t first = offset / region->page_size;
		size_t last = (offset + MAX(size, 1u) - 1) / region->page_size;

		if (offset >= end || size > end - offset)
			continue;
		*ret = (struct span){ region, region->base + first * region->page_size,
				      region->state + first, last + 1 - first };
		return S_OK;
	}
	return E_INVALIDARG;
}

static void *map(void *address, size_t size, int flags)
{
	return mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags,
		    -1, 0);
}

/* Commits pages, or gives committed ones another protection; 0 decommits. That maps fresh memory over them, which also works
 * where it is locked and madvise(MADV_DONTNEED) says EINVAL. */
static HRESULT set_protection(const struct span *span, DWORD protect)
{
	size_t size = span->pages * span->region->page_size;

	if (protect ? mprotect(span->address, size, access_of[protect] & ~ALLOWED) < 0
		    : map(span->address, size, MAP_FIXED) == MAP_FAILED)
		return errno == EACCES ? E_ACCESSDENIED : E_OUTOFMEMORY;
	memset(span->state, (int)protect, span->pages);
	return S_OK;
}

static HRESULT reserve(struct manager *manager, size_t size, DWORD protect, struct span *ret)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE), pages = (size - 1) / page_size + 1;
	size_t head = sizeof(struct region) + pages;
	size_t map_size = head + GRANULARITY + pages * page_size;
	struct region *region = size <= PTRDIFF_MAX ? map(NULL, map_size, 0) : MAP_FAILED;

	if (region == MAP_FAILED)
		return E_OUTOFMEMORY;
	if (mprotect(region, head, PROT_READ | PROT_WRITE) < 0) {
		munmap(region, map_size);
		return E_OUTOFMEMORY;
	}
	region->next = manager->regions;
	region->base = (char *)region + head + (-((uintptr_t)region + head) & (GRANULARITY - 1));
	region->page_size = page_size;
	region->pages = pages;
	region->map_size = map_size;
	region->protect = protect;
	manager->regions = region;
	*ret = (struct span){ region, region->base, region->state, pages };
	return S_OK;
}

static HRESULT release(struct manager *manager, struct region *region)
{
	struct region **p = &manager->regions, *next = region->next;

	if (munmap(region, region->map_size) < 0)
		return E_OUTOFMEMORY; /* it would split a mapping too many */
	while (*p != region)
		p = &(*p)->next;
	*p = next;
	return S_OK;
}

/* ---- the slots ----------------------------------------------------------------------------- */

static HRESULT manager_virtual_alloc(IHostMemoryManager *This, void *address, size_t size,
				     DWORD type, DWORD protect, _unused_ EMemoryCriticalLevel level,
				     void **ret)
{
	struct manager *manager = (struct manager *)This;
	struct span span;
	HRESULT result;

	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	type &= ~MEM_TOP_DOWN; /* a hint */
	if (size == 0 || type == 0 || (type & ~(MEM_RESERVE | MEM_COMMIT)) ||
	    !is_protection(protect))
		return E_INVALIDARG;
	if (address && (type & MEM_RESERVE)) /* only the kernel chooses the address */
		return E_OUTOFMEMORY;
	pthread_mutex_lock(&manager->regions_lock);
	result = address ? find(manager, address, size, &span)
			 : reserve(manager, size, protect, &span);
	if (result == S_OK && (type & MEM_COMMIT)) {
		result = set_protection(&span, protect);
		if (result != S_OK && !address)
			(void)release(manager, span.region);
	}
	pthread_mutex_unlock(&manager->regions_lock);
	if (result == S_OK)
		*ret = span.address;
	return result;
}

static HRESULT manager_virtual_free(IHostMemoryManager *This, void *address, size_t size,
				    DWORD type)
{
	struct manager *manager = (struct manager *)This;
	struct span span;
	HRESULT result;

	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&manager->regions_lock);
	result = find(manager, address, size, &span);
	if (result == S_OK && size == 0) {
		result = address == span.region->base ? S_OK : E_INVALIDARG;
		span.pages = span.region->pages;
	}
	if (result == S_OK && type == MEM_RELEASE && size == 0)
		result = release(manager, span.region);
	else if (result == S_OK)
		result = type == MEM_DECOMMIT ? set_protection(&span, 0) : E_INVALIDARG;
	pthread_mutex_unlock(&manager->regions_lock);
	return result;
}

static HRESULT manager_virtual_protect(IHostMemoryManager *This, void *address, size_t size,
				       DWORD protect, DWORD *ret_old)
{
	struct manager *manager = (struct manager *)This;
	struct span span;
	HRESULT result;
	DWORD old = 0;

	if (!ret_old)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&manager->regions_lock);
	result = find(manager, address, size, &span);
	if (result == S_OK && (size == 0 || !is_protection(protect) ||
			       memchr(span.state, 0, span.pages))) /* not committed */
		result = E_INVALIDARG;
	if (result == S_OK) {
		old = *span.state;
		result = set_protection(&span, protect);
	}
	pthread_mutex_unlock(&manager->regions_lock);
	if (result == S_OK)
		*ret_old = old;
	return result;
}

static HRESULT manager_virtual_query(IHostMemoryManager *This, void *address, void *buffer,
				     size_t length, size_t *ret_length)
{
	MEMORY_BASIC_INFORMATION info = { .Type = MEM_PRIVATE };
	struct manager *manager = (struct manager *)This;
	struct span span;
	HRESULT result;

	if (!buffer || !ret_length)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&manager->regions_lock);
	result = length < sizeof(info) ? E_INVALIDARG : find(manager, address, 1, &span);
	if (result == S_OK) {
		const uint8_t *state = span.state, *end = span.region->state + span.region->pages;

		while (state < end && *state == *span.state)
			state++;
		info.BaseAddress = span.address;
		info.AllocationBase = span.region->base;
		info.AllocationProtect = span.region->protect;
		info.RegionSize = (size_t)(state - span.state) * span.region->page_size;
		info.Protect = *span.state;
		info.State = info.Protect ? MEM_COMMIT : MEM_RESERVE;
		memcpy(buffer, &info, sizeof(info)); /* the caller's may be of bytes */
		*ret_length = sizeof(info);
	}
	pthread_mutex_unlock(&manager->regions_lock);
	return result;
}

/* ---- the heap: malloc(3) ------------------------------------------------------------------- */

static HRESULT heap_query_interface(IHostMalloc *This, REFIID riid, void **ret)
{
	return query_interface(This, &IID_IHostMalloc, riid, ret);
}

static ULONG heap_add_ref(IHostMalloc *This)
{
	return IHostMemoryManager_AddRef(&CONTAINER_OF(This, struct manager, heap)->interface);
}

static ULONG heap_release(IHostMalloc *This)
{
	return IHostMemoryManager_Release(&CONTAINER_OF(This, struct manager, heap)->interface);
}

static HRESULT heap_alloc(_unused_ IHostMalloc *This, size_t size,
			  _unused_ EMemoryCriticalLevel level, void **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = size <= PTRDIFF_MAX ? malloc(MAX(size, 1u)) : NULL; /* also nothing has an address */
	return *ret ? S_OK : E_OUTOFMEMORY;
}

static HRESULT heap_debug_alloc(IHostMalloc *This, size_t size, EMemoryCriticalLevel level,
				_unused_ char *file, _unused_ int line, void **ret)
{
	return heap_alloc(This, size, level, ret);
}

static HRESULT heap_free(_unused_ IHostMalloc *This, void *address)
{
	free(address);
	return S_OK;
}

static const IHostMallocVtbl heap_vtbl = {
	.QueryInterface = heap_query_interface,
	.AddRef = heap_add_ref,
	.Release = heap_release,
	.Alloc = heap_alloc,
	.DebugAlloc = heap_debug_alloc,
	.Free = heap_free,
};

static HRESULT manager_create_malloc(IHostMemoryManager *This, DWORD type, IHostMalloc **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (type & ~(DWORD)MALLOC_THREADSAFE)
		return E_INVALIDARG;
	IHostMemoryManager_AddRef(This);
	*ret = &((struct manager *)This)->heap;
	return S_OK;
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
	.CreateMalloc = manager_create_malloc,
	.VirtualAlloc = manager_virtual_alloc,
	.VirtualFree = manager_virtual_free,
	.VirtualQuery = manager_virtual_query,
	.VirtualProtect = manager_virtual_protect,
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
	manager->interface.lpVtbl = &manager_vtbl;
	manager->heap.lpVtbl = &heap_vtbl;
	manager->pid = getpid();
	pthread_mutex_init(&manager->lock, NULL);
	pthread_mutex_init(&manager->regions_lock, NULL);
	atomic_init(&manager->refs, 1);
	atomic_init(&manager->holds, 1);
	manager->watch = psb_watch_ref(watch);
	*ret = &manager->interface;
	return 0;
}
