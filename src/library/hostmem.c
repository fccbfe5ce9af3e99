/* SPDX-License-Identifier: MIT */
/*
 * hostmem.c - the memory slots of an IHostMemoryManager: VirtualAlloc() and its family over mmap(2), heaps over malloc(3)
 *
 * A region is what one reserving call made: a private anonymous mapping without access, so it costs
 * address space and nothing else. The state of each of its pages is one byte: its protection, or 0 for one that is
 * reserved only, which has no access and reads as zero after its next commit. When a system call fails, states and
 * kernel still agree. The states of a large region get their memory from the kernel where they are written to.
 *
 * Windows reserves at multiples of 64 KiB, and a runtime may rely on that. So that much more is
 * mapped, and the region begins at the first multiple in it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "library/hosting-internal.h"

#define GRANULARITY ((size_t)65536)

struct region {
	struct region *next;
	char *base, *map; /* the region, and the mapping it is in */
	size_t pages, page_size;
	DWORD protect;	 /* as reserved */
	uint8_t state[]; /* of each page */
};

/* What all managers of a process share; never freed. A forked child makes another: this lock may never open there. */
struct domain {
	pid_t pid;
	pthread_mutex_t lock;
	struct region *regions;
};

/* Some pages of one region. */
struct span {
	struct region *region;
	size_t first, pages;
};

static _Atomic(struct domain *) the_domain;

bool is_forked(const IHostMemoryManager *manager)
{
	return getpid() != ((const struct hostmem *)manager)->pid;
}

HRESULT hosting_query(void *object, const IID *own, REFIID riid, void **ret)
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

HRESULT hresult_from_errno(int error)
{
	if (error >= 0)
		return S_OK;
	switch (-error) {
	case EINVAL:
		return E_INVALIDARG;
	case ENOMEM:
	case EAGAIN: /* no thread */
	case EMFILE:
	case ENFILE:
		return E_OUTOFMEMORY;
	case EACCES:
	case EPERM:
		return E_ACCESSDENIED;
	case EDEADLK:
		return HOST_E_DEADLOCK;
	case ETIMEDOUT:
		return HOST_E_TIMEOUT;
	default: /* never E_FAIL: that would say that the runtime itself is dead */
		return E_UNEXPECTED;
	}
}

static bool is_critical_level(EMemoryCriticalLevel level)
{
	return (int)level >= eTaskCritical && (int)level <= eProcessCritical;
}

/* ---- regions: with the lock ---------------------------------------------------------------- */

static struct domain *lock_regions(IHostMemoryManager *This)
{
	struct domain *domain = ((struct hostmem *)This)->domain;

	pthread_mutex_lock(&domain->lock);
	return domain;
}

static void unlock_regions(struct domain **domain)
{
	pthread_mutex_unlock(&(*domain)->lock);
}

/* Until the end of the function. */
#define LOCKED(domain, This) _cleanup_(unlock_regions) struct domain *domain = lock_regions(This)

static char *page_at(const struct region *region, size_t page)
{
	return region->base + page * region->page_size;
}

/* The whole pages that [address, address + size) touches, one at least. False: they are not all in
 * one region of ours. */
static bool find(const struct domain *domain, const void *address, size_t size, struct span *ret)
{
	for (struct region *region = domain->regions; region; region = region->next) {
		/* Of an address below the region this is huge. */
		size_t offset = (uintptr_t)address - (uintptr_t)region->base;
		size_t end = region->pages * region->page_size;

		if (offset >= end || size > end - offset)
			continue;
		ret->region = region;
		ret->first = offset / region->page_size;
		ret->pages = (offset + MAX(size, 1u) - 1) / region->page_size + 1 - ret->first;
		return true;
	}
	return false;
}

/* How many pages from `first` on are in the same state, at most up to `end`. */
static size_t run_of(const struct region *region, size_t first, size_t end)
{
	size_t n = 1;

	while (first + n < end && region->state[first + n] == region->state[first])
		n++;
	return n;
}

/* The access that a state means. -EINVAL: not one that a private page can have. */
static int access_of(DWORD protect)
{
	switch (protect) {
	case 0:
	case PAGE_NOACCESS:
		return PROT_NONE;
	case PAGE_READONLY:
		return PROT_READ;
	case PAGE_READWRITE:
		return PROT_READ | PROT_WRITE;
	case PAGE_EXECUTE: /* code of that time relied on its being readable */
	case PAGE_EXECUTE_READ:
		return PROT_READ | PROT_EXEC;
	case PAGE_EXECUTE_READWRITE:
		return PROT_READ | PROT_WRITE | PROT_EXEC;
	default:
		return -EINVAL;
	}
}

static bool is_protection(DWORD protect)
{
	return protect != 0 && access_of(protect) >= 0;
}

static int give_access(const struct region *region, size_t first, size_t pages, DWORD protect)
{
	return mprotect(page_at(region, first), pages * region->page_size, access_of(protect));
}

/* Commits the pages, or gives committed ones another protection; all of them, or none. */
static HRESULT commit(const struct span *span, DWORD protect)
{
	struct region *region = span->region;
	size_t end = span->first + span->pages, n;
	HRESULT result;

	if (give_access(region, span->first, span->pages, protect) == 0) {
		memset(region->state + span->first, (int)protect, span->pages);
		return S_OK;
	}
	result = hresult_from_errno(-errno);
	for (size_t i = span->first; i < end; i += n) {
		n = run_of(region, i, end);
		(void)give_access(region, i, n, region->state[i]);
	}
	return result;
}

static void *map(void *address, size_t size, int flags)
{
	return mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags,
		    -1, 0);
}

static HRESULT reserve(struct domain *domain, size_t size, DWORD protect, struct span *ret)
{
	size_t page_size = (size_t)sysconf(_SC_PAGESIZE), pages = (size - 1) / page_size + 1;
	size_t map_size = pages * page_size + GRANULARITY;
	struct region *region = NULL;
	char *at = size > PTRDIFF_MAX ? MAP_FAILED : map(NULL, map_size, 0);

	if (at != MAP_FAILED)
		region = calloc(1, sizeof(*region) + pages);
	if (!region) {
		if (at != MAP_FAILED)
			munmap(at, map_size);
		return E_OUTOFMEMORY;
	}
	region->map = at;
	region->base = at + (-(uintptr_t)at & (GRANULARITY - 1));
	region->pages = pages;
	region->page_size = page_size;
	region->protect = protect;
	region->next = domain->regions;
	domain->regions = region;
	*ret = (struct span){ region, 0, pages };
	return S_OK;
}

static HRESULT unreserve(struct domain *domain, struct region *region)
{
	struct region **p = &domain->regions;

	if (munmap(region->map, region->pages * region->page_size + GRANULARITY) < 0)
		return E_OUTOFMEMORY; /* it would split a mapping too many */
	while (*p != region)
		p = &(*p)->next;
	*p = region->next;
	free(region);
	return S_OK;
}

/* ---- the slots ----------------------------------------------------------------------------- */

HRESULT hostmem_alloc(IHostMemoryManager *This, void *address, size_t size, DWORD type,
		      DWORD protect, EMemoryCriticalLevel level, void **ret)
{
	HRESULT result = S_OK;
	struct span span;

	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	type &= ~MEM_TOP_DOWN; /* a hint */
	if (!is_critical_level(level) || size == 0 || type == 0 ||
	    (type & ~(MEM_RESERVE | MEM_COMMIT)) || !is_protection(protect))
		return E_INVALIDARG;
	if (address && (type & MEM_RESERVE)) /* only the kernel chooses the address */
		return E_OUTOFMEMORY;

	LOCKED(domain, This);
	if (!address)
		result = reserve(domain, size, protect, &span);
	else if (!find(domain, address, size, &span))
		result = E_INVALIDARG;
	if (result != S_OK)
		return result;
	if (type & MEM_COMMIT) {
		result = commit(&span, protect);
		if (result != S_OK && !address)
			(void)unreserve(domain, span.region);
	}
	if (result == S_OK)
		*ret = page_at(span.region, span.first);
	return result;
}

/* Decommit maps fresh memory without access over the pages: one step, which also works for locked memory, where
 * madvise(MADV_DONTNEED) says EINVAL. */
HRESULT hostmem_free(IHostMemoryManager *This, void *address, size_t size, DWORD type)
{
	struct region *region;
	struct span span;

	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (type != MEM_DECOMMIT && (type != MEM_RELEASE || size != 0))
		return E_INVALIDARG;

	LOCKED(domain, This);
	if (!find(domain, address, size, &span))
		return E_INVALIDARG;
	region = span.region;
	if (size == 0 && address != region->base)
		return E_INVALIDARG;
	if (type == MEM_RELEASE)
		return unreserve(domain, region);
	if (size == 0)
		span.pages = region->pages;
	if (map(page_at(region, span.first), span.pages * region->page_size, MAP_FIXED) ==
	    MAP_FAILED)
		return hresult_from_errno(-errno);
	memset(region->state + span.first, 0, span.pages);
	return S_OK;
}

HRESULT hostmem_protect(IHostMemoryManager *This, void *address, size_t size, DWORD protect,
			DWORD *ret_old)
{
	struct span span;
	HRESULT result;
	DWORD old;

	if (!ret_old)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;

	LOCKED(domain, This);
	if (size == 0 || !is_protection(protect) || !find(domain, address, size, &span) ||
	    memchr(span.region->state + span.first, 0, span.pages)) /* not committed */
		return E_INVALIDARG;
	old = span.region->state[span.first];
	result = commit(&span, protect);
	if (result == S_OK)
		*ret_old = old;
	return result;
}

HRESULT hostmem_query(IHostMemoryManager *This, void *address, void *buffer, size_t length,
		      size_t *ret_length)
{
	MEMORY_BASIC_INFORMATION info = { .Type = MEM_PRIVATE };
	const struct region *region;
	struct span span;

	if (!buffer || !ret_length)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;

	LOCKED(domain, This);
	if (length < sizeof(info) || !find(domain, address, 1, &span))
		return E_INVALIDARG;
	region = span.region;
	info.BaseAddress = page_at(region, span.first);
	info.AllocationBase = region->base;
	info.AllocationProtect = region->protect;
	info.RegionSize = run_of(region, span.first, region->pages) * region->page_size;
	info.Protect = region->state[span.first];
	info.State = info.Protect ? MEM_COMMIT : MEM_RESERVE;
	memcpy(buffer, &info, sizeof(info)); /* the caller's buffer may be of bytes */
	*ret_length = sizeof(info);
	return S_OK;
}

/* ---- heaps: malloc(3), or, for the few blocks of code that a runtime asks for, pages for each ---------------------- */

static HRESULT heap_query_interface(IHostMalloc *This, REFIID riid, void **ret)
{
	return hosting_query(This, &IID_IHostMalloc, riid, ret);
}

static ULONG heap_add_ref(IHostMalloc *This)
{
	return IHostMemoryManager_AddRef(((struct heap *)This)->owner);
}

static ULONG heap_release(IHostMalloc *This)
{
	return IHostMemoryManager_Release(((struct heap *)This)->owner);
}

static HRESULT heap_alloc(IHostMalloc *This, size_t size, EMemoryCriticalLevel level, void **ret)
{
	struct heap *heap = (struct heap *)This;

	if (!ret)
		return E_POINTER;
	size = MAX(size, 1u); /* also nothing has an address */
	if (heap->executable)
		return hostmem_alloc(heap->owner, NULL, size, MEM_COMMIT, PAGE_EXECUTE_READWRITE,
				     level, ret);
	*ret = NULL;
	if (!is_critical_level(level))
		return E_INVALIDARG;
	if (size <= PTRDIFF_MAX)
		*ret = malloc(size);
	return *ret ? S_OK : E_OUTOFMEMORY;
}

static HRESULT heap_debug_alloc(IHostMalloc *This, size_t size, EMemoryCriticalLevel level,
				_unused_ char *file, _unused_ int line, void **ret)
{
	return heap_alloc(This, size, level, ret);
}

static HRESULT heap_free(IHostMalloc *This, void *address)
{
	struct heap *heap = (struct heap *)This;

	if (address && heap->executable)
		return hostmem_free(heap->owner, address, 0, MEM_RELEASE);
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

HRESULT hostmem_create_malloc(IHostMemoryManager *This, DWORD type, IHostMalloc **ret)
{
	struct hostmem *mem = (struct hostmem *)This;

	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (type & ~(DWORD)(MALLOC_THREADSAFE | MALLOC_EXECUTABLE))
		return E_INVALIDARG;
	IHostMemoryManager_AddRef(This);
	*ret = type & MALLOC_EXECUTABLE ? &mem->executable_heap.interface : &mem->heap.interface;
	return S_OK;
}

int hostmem_init(struct hostmem *mem)
{
	struct domain *old = atomic_load(&the_domain), *domain = old;

	mem->pid = getpid();
	if (!old || old->pid != mem->pid) {
		domain = calloc(1, sizeof(*domain));
		if (!domain)
			return -ENOMEM;
		domain->pid = mem->pid;
		pthread_mutex_init(&domain->lock, NULL);
		if (!atomic_compare_exchange_strong(&the_domain, &old, domain)) {
			free(domain);
			domain = old;
		}
	}
	mem->domain = domain;
	mem->heap = (struct heap){ { &heap_vtbl }, &mem->interface, false };
	mem->executable_heap = (struct heap){ { &heap_vtbl }, &mem->interface, true };
	return 0;
}
