/* SPDX-License-Identifier: MIT */
/*
 * hresult.c - errors of the native API in the words of the hosting ABI
 */
#include "psibridge/hosting.h"

#include <errno.h>

HRESULT psb_hresult_from_errno(int error)
{
	if (error >= 0)
		return S_OK;
	switch (-error) {
	case EINVAL:
	case ERANGE:
	case ENAMETOOLONG:
		return E_INVALIDARG;
	case EFAULT:
		return E_POINTER;
	case ENOMEM:
	case EAGAIN: /* no thread */
	case EMFILE:
	case ENFILE:
		return E_OUTOFMEMORY;
	case EACCES:
	case EPERM:
	case EROFS:
		return E_ACCESSDENIED;
	case ENOSYS:
	case EOPNOTSUPP:
		return E_NOTIMPL;
	case EDEADLK:
		return HOST_E_DEADLOCK;
	case EINTR:
		return HOST_E_INTERRUPTED;
	case EALREADY:
	case EBUSY:
	case EXDEV:
		return HOST_E_INVALIDOPERATION;
	case ECHILD:
		return HOST_E_CLRNOTAVAILABLE;
	case ETIMEDOUT:
		return HOST_E_TIMEOUT;
	case ECANCELED:
		return HOST_E_ABANDONED;
	default: /* never E_FAIL: that would say that the runtime itself is dead */
		return E_UNEXPECTED;
	}
}
