/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - VirtualAlloc() and its family over mmap(2), and a heap that can be executable
 *
 * One hostmem keeps the books of one IHostMemoryManager: which address space was reserved through
 * it, and how each page of that stands. The arguments are those of the Win32 functions, the errors
 * are ours. All calls may be made from any thread.
 */
#pragma once

#include "core/util.h"
#include "psibridge/hosting.h"

/* Reservations start at multiples of this, as on Windows. Pages keep the system's size. */
#define HOSTMEM_GRANULARITY 65536u

struct hostmem;

/* Errors: -ENOMEM. */
int hostmem_new(struct hostmem **ret);
/* Forgets, and unmaps nothing: somebody may be running in that memory. */
struct hostmem *hostmem_free(struct hostmem *mem);
DEFINE_CLEANUP(struct hostmem *, hostmem_free);

/*
 * MEM_RESERVE, MEM_COMMIT or both, or MEM_RESET, with or without MEM_TOP_DOWN (which mmap does
 * anyway). Errors: -EINVAL (size 0, unknown or refused flags, commit or reset outside a
 * reservation, reset of pages that are not committed), -ENOMEM (no memory, or the address is
 * taken), -EACCES or -EPERM (the system forbids executable memory).
 */
int hostmem_alloc(struct hostmem *mem, void *address, size_t size, uint32_t type, uint32_t protect,
		  void **ret_address);

/* MEM_DECOMMIT or MEM_RELEASE. Errors: -EINVAL (not such a region, or a wrong size), -ENOMEM (the
 * kernel cannot split its mappings further). */
int hostmem_release(struct hostmem *mem, void *address, size_t size, uint32_t type);

/* Committed pages of one reservation only. `ret_old` gets what the first page had. Errors: -EINVAL,
 * -ENOMEM, -EACCES, -EPERM. */
int hostmem_protect(struct hostmem *mem, void *address, size_t size, uint32_t protect,
		    uint32_t *ret_old);

/* Any address, ours or not; of memory that is not ours /proc/self/maps tells. Errors: -EINVAL
 * (beyond the address space of a process), or why that file cannot be read. */
int hostmem_query(struct hostmem *mem, const void *address, MEMORY_BASIC_INFORMATION *ret);

void hostmem_totals(struct hostmem *mem, uint64_t *ret_reserved_bytes,
		    uint64_t *ret_committed_bytes);

/* The object of CreateMalloc(); takes a reference on `owner`, which may be any manager. `type` is
 * MALLOC_... flags. Errors: -EINVAL (unknown flags), -ENOMEM. */
int hostmalloc_new(IHostMemoryManager *owner, DWORD type, IHostMalloc **ret);
