/* SPDX-License-Identifier: MIT */
/*
 * hosting-internal.h - what the two halves of an IHostMemoryManager share
 *
 * hosting.c is the object: its life, what is registered and told. hostmem.c is its memory slots and heaps, which know of the
 * object only what is here.
 */
#pragma once

#include <pthread.h>
#include <unistd.h>

#include "core/util.h"
#include "psibridge/hosting.h"

struct hostmem {
	IHostMemoryManager interface; /* first: the manager's address */
	pid_t pid;
	pthread_mutex_t lock; /* of: */
	struct region *regions;
	IHostMalloc heap; /* what CreateMalloc() hands out: with the manager's references */
};

void hostmem_init(struct hostmem *mem);

/* Is this a child of the process that made it? */
static inline bool is_forked(const IHostMemoryManager *manager)
{
	return getpid() != ((const struct hostmem *)manager)->pid;
}

/* QueryInterface() of an object with the one interface `own`. */
HRESULT hosting_query(void *object, const IID *own, REFIID riid, void **ret);

/* The slots: psibridge-hosting(3). */
HRESULT hostmem_create_malloc(IHostMemoryManager *This, DWORD type, IHostMalloc **ret);
HRESULT hostmem_alloc(IHostMemoryManager *This, void *address, size_t size, DWORD type,
		      DWORD protect, EMemoryCriticalLevel level, void **ret);
HRESULT hostmem_free(IHostMemoryManager *This, void *address, size_t size, DWORD type);
HRESULT hostmem_query(IHostMemoryManager *This, void *address, void *buffer, size_t length,
		      size_t *ret_length);
HRESULT hostmem_protect(IHostMemoryManager *This, void *address, size_t size, DWORD protect,
			DWORD *ret_old);

/* How long Register and the last Release wait for a call that is running. Tests have less. */
extern uint64_t hosting_patience_usec;
