/* SPDX-License-Identifier: MIT */
/*
 * hostmalloc.c - the heaps that CreateMalloc() hands out
 *
 * The plain heap is malloc(3): safe for threads whether MALLOC_THREADSAFE was asked for or not. The
 * executable one asks its manager's VirtualAlloc() for pages that are readable, writable and
 * executable, for each block: a runtime asks for few of them.
 */
#include "library/hostmalloc.h"

#include <stdlib.h>

#include "library/hosting-internal.h"

static struct heap *heap_of(IHostMalloc *interface)
{
	return CONTAINER_OF(interface, struct heap, interface);
}

static HRESULT heap_query_interface(IHostMalloc *interface, REFIID riid, void **ret)
{
	HRESULT result = hosting_query(interface, &IID_IHostMalloc, riid, ret);

	if (result == S_OK)
		IHostMalloc_AddRef(interface);
	return result;
}

static ULONG heap_add_ref(IHostMalloc *interface)
{
	return IHostMemoryManager_AddRef(heap_of(interface)->owner);
}

static ULONG heap_release(IHostMalloc *interface)
{
	return IHostMemoryManager_Release(heap_of(interface)->owner);
}

static HRESULT heap_alloc(IHostMalloc *interface, size_t size, EMemoryCriticalLevel level,
			  void **ret)
{
	struct heap *heap = heap_of(interface);

	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (!is_critical_level(level))
		return E_INVALIDARG;
	if (size > PTRDIFF_MAX)
		return E_OUTOFMEMORY;
	size = MAX(size, 1u); /* also nothing has an address */
	if (heap->executable)
		return IHostMemoryManager_VirtualAlloc(heap->owner, NULL, size, MEM_COMMIT,
						       PAGE_EXECUTE_READWRITE, level, ret);
	*ret = malloc(size);
	return *ret ? S_OK : E_OUTOFMEMORY;
}

static HRESULT heap_debug_alloc(IHostMalloc *interface, size_t size, EMemoryCriticalLevel level,
				char *file, int line, void **ret)
{
	(void)file;
	(void)line;
	return heap_alloc(interface, size, level, ret);
}

static HRESULT heap_free(IHostMalloc *interface, void *address)
{
	struct heap *heap = heap_of(interface);

	if (address && heap->executable)
		return IHostMemoryManager_VirtualFree(heap->owner, address, 0, MEM_RELEASE);
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

void heap_init(struct heap *heap, IHostMemoryManager *owner, bool executable)
{
	*heap = (struct heap){ { &heap_vtbl }, owner, executable };
}
