/* SPDX-License-Identifier: MIT */
/*
 * hostmalloc.h - the heaps that CreateMalloc() hands out
 *
 * A manager has one of each kind inside; to the outside it is an object of its own that shares its
 * manager's references. So it lives as long as the manager, and the manager as long as it is used.
 */
#pragma once

#include <stdbool.h>

#include "psibridge/hosting.h"

struct heap {
	IHostMalloc interface; /* first: the object's address */
	IHostMemoryManager *owner;
	bool executable;
};

/* Gives no reference and takes none: the caller, which hands it out, calls AddRef(). */
void heap_init(struct heap *heap, IHostMemoryManager *owner, bool executable);
