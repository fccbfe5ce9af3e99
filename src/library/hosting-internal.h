/* SPDX-License-Identifier: MIT */
/*
 * hosting-internal.h - what the objects of the hosting ABI share, and a hook for the tests of hosting.c
 */
#pragma once

#include <string.h>

#include "core/util.h"
#include "psibridge/hosting.h"

/* The HRESULT for 0 and more (S_OK) or a negative errno: E_UNEXPECTED where none fits. */
HRESULT hresult_from_errno(int error);

/* QueryInterface() of an object with the one interface `own`, but for the reference. */
static inline HRESULT hosting_query(void *object, const IID *own, REFIID riid, void **ret)
{
	if (!riid || !ret)
		return E_POINTER;
	if (memcmp(riid, &IID_IUnknown, sizeof(*riid)) != 0 &&
	    memcmp(riid, own, sizeof(*riid)) != 0) {
		*ret = NULL;
		return E_NOINTERFACE;
	}
	*ret = object;
	return S_OK;
}

static inline bool is_critical_level(EMemoryCriticalLevel level)
{
	return (int)level >= eTaskCritical && (int)level <= eProcessCritical;
}

/* How long Register and the last Release wait for a call that is running, unless a test says else. */
#define HOSTING_PATIENCE_USEC (10 * USEC_PER_SEC)

/* Only for a manager of ours, and before it is used. Errors: -EINVAL. */
int host_memory_manager_set_patience(IHostMemoryManager *manager, uint64_t usec);
