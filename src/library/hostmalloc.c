/* SPDX-License-Identifier: MIT */
/*
 * hostmalloc.c - the IHostMalloc that CreateMalloc() hands out
 *
 * Two kinds of heap. The plain one is malloc(3): thread-safe whether MALLOC_THREADSAFE was asked
 * for or not, no books, no lock. The executable one gives every block pages of its own that are
 * readable, writable and executable at once, because that is what MALLOC_EXECUTABLE promises; its
 * blocks are kept in a tree by address, outside of the pages: their size is needed to unmap them,
 * and a header next to writable code would be no place for it. A runtime asks for few such blocks.
 *
 * The object holds a reference on its manager, and neither owns the memory: what was not freed
 * before the last Release stays, since a runtime may still be using it.
 *
 * Kernel facts: writable and executable pages may be forbidden (SELinux execmem, seccomp as in
 * systemd's MemoryDenyWriteExecute=, prctl PR_SET_MDWE): EACCES or EPERM.
 */
#include "library/hostmem.h"
#include "library/hostobject.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct heap {
	IHostMalloc interface; /* first: the object's address */
	_Atomic uint32_t refs;
	IHostMemoryManager *owner;
	bool executable;
	pid_t pid;
	/* of an executable heap */
	pthread_mutex_t lock;
	void *blocks; /* tsearch(3) tree of struct block */
};

struct block {
	void *address;
	size_t size;
};

static struct heap *heap_of(IHostMalloc *interface)
{
	return CONTAINER_OF(interface, struct heap, interface);
}

static int block_compare(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct block *)a)->address;
	uintptr_t y = (uintptr_t)((const struct block *)b)->address;

	return (x > y) - (x < y);
}

static HRESULT executable_alloc(struct heap *heap, size_t size, void **ret)
{
	struct block *block;
	int error = -ENOMEM;
	void *slot = NULL;

	if (is_forked(heap->pid))
		return HOST_E_CLRNOTAVAILABLE;
	block = malloc(sizeof(*block));
	if (!block)
		return E_OUTOFMEMORY;
	block->size = size;
	block->address = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block->address == MAP_FAILED) {
		error = -errno;
		free(block);
		return psb_hresult_from_errno(error);
	}

	pthread_mutex_lock(&heap->lock);
	slot = tsearch(block, &heap->blocks, block_compare);
	pthread_mutex_unlock(&heap->lock);
	if (!slot) {
		munmap(block->address, size);
		free(block);
		return E_OUTOFMEMORY;
	}
	*ret = block->address;
	return S_OK;
}

static HRESULT executable_free(struct heap *heap, void *address)
{
	struct block key = { .address = address }, *block = NULL;
	void *slot;

	if (is_forked(heap->pid))
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&heap->lock);
	slot = tfind(&key, &heap->blocks, block_compare);
	if (slot) {
		block = *(struct block **)slot;
		(void)tdelete(block, &heap->blocks, block_compare);
	}
	pthread_mutex_unlock(&heap->lock);
	if (!block)
		return E_INVALIDARG;
	munmap(block->address, block->size);
	free(block);
	return S_OK;
}

static HRESULT heap_query_interface(IHostMalloc *interface, REFIID riid, void **ret)
{
	if (!riid || !ret)
		return E_POINTER;
	if (!guid_equal(riid, &IID_IUnknown) && !guid_equal(riid, &IID_IHostMalloc)) {
		*ret = NULL;
		return E_NOINTERFACE;
	}
	IHostMalloc_AddRef(interface);
	*ret = interface;
	return S_OK;
}

static ULONG heap_add_ref(IHostMalloc *interface)
{
	return atomic_fetch_add(&heap_of(interface)->refs, 1) + 1;
}

static ULONG heap_release(IHostMalloc *interface)
{
	struct heap *heap = heap_of(interface);
	ULONG left = atomic_fetch_sub(&heap->refs, 1) - 1;

	if (left > 0)
		return left;
	tdestroy(heap->blocks, free);
	pthread_mutex_destroy(&heap->lock);
	IHostMemoryManager_Release(heap->owner);
	free(heap);
	return 0;
}

static HRESULT heap_alloc(IHostMalloc *interface, size_t size, EMemoryCriticalLevel level,
			  void **ret)
{
	struct heap *heap = heap_of(interface);

	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if ((int)level < eTaskCritical || (int)level > eProcessCritical)
		return E_INVALIDARG;
	if (size > PTRDIFF_MAX)
		return E_OUTOFMEMORY;
	size = MAX(size, 1u); /* also nothing has an address */
	if (heap->executable)
		return executable_alloc(heap, size, ret);
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

	if (!address)
		return S_OK;
	if (heap->executable)
		return executable_free(heap, address);
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

int hostmalloc_new(IHostMemoryManager *owner, DWORD type, IHostMalloc **ret)
{
	struct heap *heap;

	if (type & ~(DWORD)(MALLOC_THREADSAFE | MALLOC_EXECUTABLE))
		return -EINVAL;
	heap = calloc(1, sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	heap->interface.lpVtbl = &heap_vtbl;
	atomic_init(&heap->refs, 1);
	heap->executable = type & MALLOC_EXECUTABLE;
	heap->pid = getpid();
	pthread_mutex_init(&heap->lock, NULL);
	heap->owner = owner;
	IHostMemoryManager_AddRef(owner);
	*ret = &heap->interface;
	return 0;
}
