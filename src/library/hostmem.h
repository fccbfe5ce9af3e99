/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - the memory slots of an IHostMemoryManager: VirtualAlloc() and its family over mmap(2)
 *
 * A hostmem records what was reserved through it, and the state of each page of that. One
 * serves all managers of a process. Arguments and results are those of the interface, see
 * psibridge-hosting(3): S_OK, E_INVALIDARG (not known, not done, or not in one reservation of ours),
 * E_OUTOFMEMORY, E_ACCESSDENIED (the system forbids executable memory). Output pointers must not be
 * NULL, and are written on success only. Any thread; not in a forked child, which has a lock that
 * may be locked.
 */
#pragma once

#include <pthread.h>

#include "core/util.h"
#include "psibridge/hosting.h"

struct hostmem {
	pthread_mutex_t lock;	/* to be initialized */
	struct region *regions; /* NULL at first */
};

HRESULT hostmem_alloc(struct hostmem *mem, const void *address, size_t size, DWORD type,
		      DWORD protect, void **ret);
HRESULT hostmem_release(struct hostmem *mem, const void *address, size_t size, DWORD type);
HRESULT hostmem_protect(struct hostmem *mem, const void *address, size_t size, DWORD protect,
			DWORD *ret_old);
HRESULT hostmem_query(struct hostmem *mem, const void *address, MEMORY_BASIC_INFORMATION *ret);
