/* SPDX-License-Identifier: MIT */
/*
 * hresult.c - errors of the native API and of system calls as results of the hosting ABI
 */
#include "library/hosting-internal.h"

#include <errno.h>

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
	case ECHILD:
		return HOST_E_CLRNOTAVAILABLE;
	case ETIMEDOUT:
		return HOST_E_TIMEOUT;
	default: /* never E_FAIL: that would say that the runtime itself is dead */
		return E_UNEXPECTED;
	}
}
