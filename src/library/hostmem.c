/* SPDX-License-Identifier: MIT */
/*
 * hostmem.c - the memory slots of an IHostMemoryManager: VirtualAlloc() and its family over mmap(2), the heap over malloc(3)
 *
 * A region is what one reserving call made: a private mapping without access, but for its beginning, where this structure is.
 * One byte for each of its pages says the protection, or 0 where it is reserved only. It stays when its manager goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "library/hosting-internal.h"

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
static HRESULT find(struct hostmem *mem, const void *address, size_t size, struct span *ret)
{
	for (struct region *region = mem->regions; region; region = region->next) {
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

static HRESULT reserve(struct hostmem *mem, size_t size, DWORD protect, struct span *ret)
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
	region->next = mem->regions;
	region->base = (char *)region + head + (-((uintptr_t)region + head) & (GRANULARITY - 1));
	region->page_size = page_size;
	region->pages = pages;
	region->map_size = map_size;
	region->protect = protect;
	mem->regions = region;
	*ret = (struct span){ region, region->base, region->state, pages };
	return S_OK;
}

static HRESULT release(struct hostmem *mem, struct region *region)
{
	struct region **p = &mem->regions, *next = region->next;

	if (munmap(region, region->map_size) < 0)
		return E_OUTOFMEMORY; /* it would split a mapping too many */
	while (*p != region)
		p = &(*p)->next;
	*p = next;
	return S_OK;
}

/* ---- the slots ----------------------------------------------------------------------------- */

HRESULT hostmem_alloc(IHostMemoryManager *This, void *address, size_t size, DWORD type,
		      DWORD protect, _unused_ EMemoryCriticalLevel level, void **ret)
{
	struct hostmem *mem = (struct hostmem *)This;
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
	pthread_mutex_lock(&mem->lock);
	result = address ? find(mem, address, size, &span) : reserve(mem, size, protect, &span);
	if (result == S_OK && (type & MEM_COMMIT)) {
		result = set_protection(&span, protect);
		if (result != S_OK && !address)
			(void)release(mem, span.region);
	}
	pthread_mutex_unlock(&mem->lock);
	if (result == S_OK)
		*ret = span.address;
	return result;
}

HRESULT hostmem_free(IHostMemoryManager *This, void *address, size_t size, DWORD type)
{
	struct hostmem *mem = (struct hostmem *)This;
	struct span span;
	HRESULT result;

	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&mem->lock);
	result = find(mem, address, size, &span);
	if (result == S_OK && size == 0) {
		result = address == span.region->base ? S_OK : E_INVALIDARG;
		span.pages = span.region->pages;
	}
	if (result == S_OK && type == MEM_RELEASE && size == 0)
		result = release(mem, span.region);
	else if (result == S_OK)
		result = type == MEM_DECOMMIT ? set_protection(&span, 0) : E_INVALIDARG;
	pthread_mutex_unlock(&mem->lock);
	return result;
}

HRESULT hostmem_protect(IHostMemoryManager *This, void *address, size_t size, DWORD protect,
			DWORD *ret_old)
{
	struct hostmem *mem = (struct hostmem *)This;
	struct span span;
	HRESULT result;
	DWORD old = 0;

	if (!ret_old)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&mem->lock);
	result = find(mem, address, size, &span);
	if (result == S_OK && (size == 0 || !is_protection(protect) ||
			       memchr(span.state, 0, span.pages))) /* not committed */
		result = E_INVALIDARG;
	if (result == S_OK) {
		old = *span.state;
		result = set_protection(&span, protect);
	}
	pthread_mutex_unlock(&mem->lock);
	if (result == S_OK)
		*ret_old = old;
	return result;
}

HRESULT hostmem_query(IHostMemoryManager *This, void *address, void *buffer, size_t length,
		      size_t *ret_length)
{
	MEMORY_BASIC_INFORMATION info = { .Type = MEM_PRIVATE };
	struct hostmem *mem = (struct hostmem *)This;
	struct span span;
	HRESULT result;

	if (!buffer || !ret_length)
		return E_POINTER;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&mem->lock);
	result = length < sizeof(info) ? E_INVALIDARG : find(mem, address, 1, &span);
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
	pthread_mutex_unlock(&mem->lock);
	return result;
}

/* ---- the heap: malloc(3) ------------------------------------------------------------------- */

static HRESULT heap_query_interface(IHostMalloc *This, REFIID riid, void **ret)
{
	return hosting_query(This, &IID_IHostMalloc, riid, ret);
}

static ULONG heap_add_ref(IHostMalloc *This)
{
	return IHostMemoryManager_AddRef(&CONTAINER_OF(This, struct hostmem, heap)->interface);
}

static ULONG heap_release(IHostMalloc *This)
{
	return IHostMemoryManager_Release(&CONTAINER_OF(This, struct hostmem, heap)->interface);
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

HRESULT hostmem_create_malloc(IHostMemoryManager *This, DWORD type, IHostMalloc **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (is_forked(This))
		return HOST_E_CLRNOTAVAILABLE;
	if (type & ~(DWORD)MALLOC_THREADSAFE)
		return E_INVALIDARG;
	IHostMemoryManager_AddRef(This);
	*ret = &((struct hostmem *)This)->heap;
	return S_OK;
}

void hostmem_init(struct hostmem *mem)
{
	mem->pid = getpid();
	pthread_mutex_init(&mem->lock, NULL);
	mem->heap.lpVtbl = &heap_vtbl;
}
