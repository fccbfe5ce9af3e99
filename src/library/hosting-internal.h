/* SPDX-License-Identifier: MIT */
/*
 * hosting-internal.h - what the two halves of an IHostMemoryManager share
 *
 * hosting.c is the object: its life, what is registered and told. hostmem.c is its memory slots and heaps, which know of the
 * object only what is here.
 */
#pragma once

#include <sys/types.h>

#include "core/util.h"
#include "psibridge/hosting.h"

/* What CreateMalloc() hands out, two in each manager: to the outside an object of its own, with the manager's references. */
struct heap {
	IHostMalloc interface; /* first: the object's address */
	IHostMemoryManager *owner;
	bool executable;
};

struct hostmem {
	IHostMemoryManager interface; /* first: the manager's address */
	pid_t pid;
	struct domain *domain;
	struct heap heap, executable_heap;
};

/* Errors: -ENOMEM. */
int hostmem_init(struct hostmem *mem);

/* Is this a child of the process that made it? */
bool is_forked(const IHostMemoryManager *manager);

/* QueryInterface() of an object with the one interface `own`. */
HRESULT hosting_query(void *object, const IID *own, REFIID riid, void **ret);

/* The HRESULT for 0 and more (S_OK) or a negative errno: E_UNEXPECTED where none fits. */
HRESULT hresult_from_errno(int error);

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
