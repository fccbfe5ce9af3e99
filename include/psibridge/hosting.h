/* SPDX-License-Identifier: MIT */
/*
 * hosting.h - the memory interfaces of the CLR hosting ABI, exactly as published
 *
 * A runtime that was written for this ABI calls RegisterMemoryNotificationCallback() of an
 * IHostMemoryManager and is then told, through ICLRMemoryNotificationCallback, when memory is Low,
 * Neutral or High. psb_host_memory_manager_new() makes such a manager out of a watch.
 *
 * What an interface pointer points to is a pointer to a table of functions ("slots"). In C++ the compiler makes the same
 * table for a class with virtual functions (struct Mine : ICLRMemoryNotificationCallback). C and C++:
 *
 *     IHostMemoryManager_RegisterMemoryNotificationCallback(manager, &mine.callback);
 *     manager->RegisterMemoryNotificationCallback(new Mine);
 *
 * C++ destructors of interfaces are protected and not virtual: a virtual one would take two slots of the table. So
 * Release() is the only way to end an object. In a class of your own a virtual destructor comes behind the slots.
 *
 * Where a function says nothing else, the conventions of psibridge.h hold for psb_ calls, and those of COM for
 * methods: S_OK or a failure, outputs are written on success only (except where COM wants a null pointer), a caller
 * owns the reference that an output pointer carries.
 *
 * A host that was written for Windows compiles: SIZE_T, LPVOID, BOOL, LONG, STDMETHODIMP and its family, __stdcall,
 * and == of GUIDs in C++ are here. Names that other headers define too: macros are left alone where they exist (MEM_
 * and PAGE_ as families), and a program's own == of GUIDs goes before ours. If mscoree.h (as MIDL generates it) was
 * included before, its interfaces, enumerations and types are used. If another header has HRESULT, DWORD, ULONG,
 * GUID, IID, REFIID and MEMORY_BASIC_INFORMATION, define PSB_HOSTING_TYPES_DEFINED before this one; if it has SIZE_T,
 * LPVOID, BOOL and LONG, and they are other types, PSB_HOSTING_NAMES_DEFINED.
 *
 * Source of slots, IIDs and values: MSCOREE.IDL in dotnet/coreclr, release/1.0.0 (MIT), and the reference
 * documentation of the hosting interfaces. On LP64 HRESULT, DWORD and ULONG have 32 bits, SIZE_T is size_t, and
 * __stdcall means nothing. C99, and clean under C++11. See psibridge-hosting(3).
 */
#ifndef PSIBRIDGE_HOSTING_H
#define PSIBRIDGE_HOSTING_H

#include <stddef.h>
#include <stdint.h>

#include "psibridge.h"

/* ---- types --------------------------------------------------------------------------------- */

#if !defined(PSB_HOSTING_TYPES_DEFINED) && !defined(__mscoree_h__)
#define PSB_HOSTING_TYPES_DEFINED

typedef int32_t HRESULT;
typedef uint32_t DWORD;
typedef uint32_t ULONG;

typedef struct GUID {
	uint32_t Data1;
	uint16_t Data2;
	uint16_t Data3;
	uint8_t Data4[8];
} GUID;
typedef GUID IID;

#if defined(__cplusplus) && !defined(CINTERFACE)
typedef const IID &REFIID;
#else
typedef const IID *REFIID;
#endif

/** What VirtualQuery() fills: a run of pages of one reservation that are alike. */
typedef struct MEMORY_BASIC_INFORMATION {
	void *BaseAddress;	    /* the page asked for */
	void *AllocationBase;	    /* what VirtualAlloc() returned when it was reserved */
	uint32_t AllocationProtect; /* PAGE_..., as reserved */
	uint16_t PartitionId;	    /* 0 */
	size_t RegionSize;	    /* bytes from BaseAddress on that are alike */
	uint32_t State;		    /* MEM_COMMIT or MEM_RESERVE */
	uint32_t Protect;	    /* PAGE_...; 0 for reserved pages */
	uint32_t Type;		    /* MEM_PRIVATE */
} MEMORY_BASIC_INFORMATION;

#ifndef PSB_HOSTING_NAMES_DEFINED
#define PSB_HOSTING_NAMES_DEFINED
typedef size_t SIZE_T;
typedef void *LPVOID;
typedef int BOOL;
typedef int32_t LONG;
#endif

#ifdef __cplusplus
/* Templates without need: of two that fit, the compiler takes a program's own that is none. */
extern "C++" {
template <int Ours = 0> inline bool operator==(const GUID &a, const GUID &b)
{
	if (a.Data1 != b.Data1 || a.Data2 != b.Data2 || a.Data3 != b.Data3)
		return false;
	for (int i = 0; i < 8; i++)
		if (a.Data4[i] != b.Data4[i])
			return false;
	return true;
}

template <int Ours = 0> inline bool operator!=(const GUID &a, const GUID &b)
{
	return !(a == b);
}
}
#endif

#endif /* PSB_HOSTING_TYPES_DEFINED */

/* There is one calling convention. */
#ifndef __stdcall
#define __stdcall
#endif
#ifndef STDMETHODCALLTYPE
#define STDMETHODCALLTYPE
#endif
#ifndef STDMETHODIMP
#define STDMETHODIMP HRESULT STDMETHODCALLTYPE
#endif
#ifndef STDMETHODIMP_
#define STDMETHODIMP_(type) type STDMETHODCALLTYPE
#endif
#ifdef __cplusplus
#ifndef STDMETHOD
#define STDMETHOD(method) virtual HRESULT STDMETHODCALLTYPE method
#endif
#ifndef STDMETHOD_
#define STDMETHOD_(type, method) virtual type STDMETHODCALLTYPE method
#endif
#endif

/* ---- results ------------------------------------------------------------------------------- */

#ifdef __cplusplus
#define PSB_HRESULT(value) (static_cast<HRESULT>(UINT32_C(value)))
#else
#define PSB_HRESULT(value) ((HRESULT)UINT32_C(value))
#endif

#ifndef S_OK
#define S_OK PSB_HRESULT(0)
#endif
#ifndef S_FALSE
#define S_FALSE PSB_HRESULT(1)
#endif
#ifndef E_NOTIMPL
#define E_NOTIMPL PSB_HRESULT(0x80004001)
#endif
#ifndef E_NOINTERFACE
#define E_NOINTERFACE PSB_HRESULT(0x80004002)
#endif
#ifndef E_POINTER
#define E_POINTER PSB_HRESULT(0x80004003)
#endif
#ifndef E_FAIL
#define E_FAIL PSB_HRESULT(0x80004005)
#endif
#ifndef E_UNEXPECTED
#define E_UNEXPECTED PSB_HRESULT(0x8000FFFF)
#endif
#ifndef E_ACCESSDENIED
#define E_ACCESSDENIED PSB_HRESULT(0x80070005)
#endif
#ifndef E_OUTOFMEMORY
#define E_OUTOFMEMORY PSB_HRESULT(0x8007000E)
#endif
#ifndef E_INVALIDARG
#define E_INVALIDARG PSB_HRESULT(0x80070057)
#endif

#ifndef HOST_E_DEADLOCK
#define HOST_E_DEADLOCK PSB_HRESULT(0x80131020)
#define HOST_E_INTERRUPTED PSB_HRESULT(0x80131021)
#define HOST_E_INVALIDOPERATION PSB_HRESULT(0x80131022)
#define HOST_E_CLRNOTAVAILABLE PSB_HRESULT(0x80131023)
#define HOST_E_TIMEOUT PSB_HRESULT(0x80131024)
#define HOST_E_NOT_OWNER PSB_HRESULT(0x80131025)
#define HOST_E_ABANDONED PSB_HRESULT(0x80131026)
#define HOST_E_EXITPROCESS_THREADABORT PSB_HRESULT(0x80131027)
#define HOST_E_EXITPROCESS_ADUNLOAD PSB_HRESULT(0x80131028)
#define HOST_E_EXITPROCESS_TIMEOUT PSB_HRESULT(0x80131029)
#define HOST_E_EXITPROCESS_OUTOFMEMORY PSB_HRESULT(0x8013102A)
#define HOST_E_EXITPROCESS_STACKOVERFLOW PSB_HRESULT(0x8013102B)
#endif

#ifndef SUCCEEDED
#define SUCCEEDED(result) ((result) >= 0)
#endif
#ifndef FAILED
#define FAILED(result) ((result) < 0)
#endif

/* ---- flags of VirtualAlloc() and its family ------------------------------------------------ */

#ifndef MEM_COMMIT
#define MEM_COMMIT 0x00001000u
#define MEM_RESERVE 0x00002000u
#define MEM_DECOMMIT 0x00004000u
#define MEM_RELEASE 0x00008000u
#define MEM_FREE 0x00010000u
#define MEM_PRIVATE 0x00020000u
#define MEM_MAPPED 0x00040000u
#define MEM_RESET 0x00080000u	 /* refused */
#define MEM_TOP_DOWN 0x00100000u /* makes no difference */
#endif

#ifndef PAGE_NOACCESS
#define PAGE_NOACCESS 0x01u
#define PAGE_READONLY 0x02u
#define PAGE_READWRITE 0x04u
#define PAGE_WRITECOPY 0x08u /* of file views: refused */
#define PAGE_EXECUTE 0x10u
#define PAGE_EXECUTE_READ 0x20u
#define PAGE_EXECUTE_READWRITE 0x40u
#define PAGE_EXECUTE_WRITECOPY 0x80u /* refused */
#endif
#ifndef PAGE_GUARD
#define PAGE_GUARD 0x100u	 /* refused: Linux has no page that raises an exception once */
#define PAGE_NOCACHE 0x200u	 /* refused */
#define PAGE_WRITECOMBINE 0x400u /* refused */
#endif

/* ---- interfaces ---------------------------------------------------------------------------- */

/* Each source file that uses an IID gets its own copy: nothing to link, nothing to clash. */
#define PSB_IID static const IID __attribute__((unused))

/*
 * An interface is declared once for both languages: in C++ an abstract class, in C a table of functions that get the object
 * as their first argument, This. The first three slots of every table are those of IUnknown.
 */
/* clang-format off */
#if defined(__cplusplus) && !defined(CINTERFACE)
#define PSB_INTERFACE(type) struct type : public IUnknown {
#define PSB_SLOT(type, method, ...) virtual HRESULT method(__VA_ARGS__) = 0;
#define PSB_END(type) protected: ~type() = default; };
#else
#define PSB_INTERFACE(type)                                                     \
	typedef struct type { const struct type##Vtbl *lpVtbl; } type;          \
	typedef struct type##Vtbl {                                             \
		HRESULT (*QueryInterface)(type *This, REFIID riid, void **ppv); \
		ULONG (*AddRef)(type *This);                                    \
		ULONG (*Release)(type *This);
#define PSB_SLOT(type, method, ...) HRESULT (*method)(type *This, __VA_ARGS__);
#define PSB_END(type) } type##Vtbl;
#endif

#if !defined(__IUnknown_INTERFACE_DEFINED__) && !defined(__mscoree_h__)
#define __IUnknown_INTERFACE_DEFINED__

PSB_IID IID_IUnknown = { 0x00000000, 0x0000, 0x0000, { 0xC0, 0, 0, 0, 0, 0, 0, 0x46 } };

#if defined(__cplusplus) && !defined(CINTERFACE)
struct IUnknown {
	virtual HRESULT QueryInterface(REFIID riid, void **ppvObject) = 0;
	virtual ULONG AddRef() = 0;
	virtual ULONG Release() = 0;
protected:
	~IUnknown() = default;
};
#else
PSB_INTERFACE(IUnknown)
PSB_END(IUnknown)
#endif
#endif /* __IUnknown_INTERFACE_DEFINED__ */

#ifndef __mscoree_h__

/** How much memory the runtime may count on. Low available means high memory load. */
typedef enum EMemoryAvailable {
	eMemoryAvailableLow = 1,
	eMemoryAvailableNeutral = 2,
	eMemoryAvailableHigh = 3
} EMemoryAvailable;

/** What breaks if an allocation fails. It makes no difference: psibridge refuses none on purpose. */
typedef enum EMemoryCriticalLevel {
	eTaskCritical = 0,
	eAppDomainCritical = 1,
	eProcessCritical = 2
} EMemoryCriticalLevel;

/** Flags of CreateMalloc(). The heap is always safe for threads, and never executable: that is refused. */
typedef enum MALLOC_TYPE { MALLOC_THREADSAFE = 1, MALLOC_EXECUTABLE = 2 } MALLOC_TYPE;

PSB_IID IID_ICLRMemoryNotificationCallback = { 0x47EB8E57, 0x0846, 0x4546, { 0xAF, 0x76, 0x6F, 0x42, 0xFC, 0xFC, 0x26, 0x49 } };
PSB_IID IID_IHostMalloc = { 0x1831991C, 0xCC53, 0x4A31, { 0xB2, 0x18, 0x04, 0xE9, 0x10, 0x44, 0x64, 0x79 } };
PSB_IID IID_IHostMemoryManager = { 0x7BC698D1, 0xF9E3, 0x4460, { 0x9C, 0xDE, 0xD0, 0x42, 0x48, 0xE9, 0xFA, 0x25 } };
PSB_IID IID_IHostControl = { 0x02CA073C, 0x7079, 0x4860, { 0x88, 0x0A, 0xC2, 0xF7, 0xA4, 0x49, 0xC9, 0x91 } };

/** Implemented by the runtime, called by the manager. Must not block: hand over, and return. */
PSB_INTERFACE(ICLRMemoryNotificationCallback)
PSB_SLOT(ICLRMemoryNotificationCallback, OnMemoryNotification, EMemoryAvailable eMemoryAvailable)
PSB_END(ICLRMemoryNotificationCallback)

/** A heap. */
PSB_INTERFACE(IHostMalloc)
PSB_SLOT(IHostMalloc, Alloc, size_t cbSize, EMemoryCriticalLevel eCriticalLevel, void **ppMem)
PSB_SLOT(IHostMalloc, DebugAlloc, size_t cbSize, EMemoryCriticalLevel eCriticalLevel,
	 char *pszFileName, int iLineNo, void **ppMem)
PSB_SLOT(IHostMalloc, Free, void *pMem)
PSB_END(IHostMalloc)

/** What a runtime asks its host for where memory is concerned. */
PSB_INTERFACE(IHostMemoryManager)
PSB_SLOT(IHostMemoryManager, CreateMalloc, DWORD dwMallocType, IHostMalloc **ppMalloc)
PSB_SLOT(IHostMemoryManager, VirtualAlloc, void *pAddress, size_t dwSize, DWORD flAllocationType,
	 DWORD flProtect, EMemoryCriticalLevel eCriticalLevel, void **ppMem)
PSB_SLOT(IHostMemoryManager, VirtualFree, void *lpAddress, size_t dwSize, DWORD dwFreeType)
PSB_SLOT(IHostMemoryManager, VirtualQuery, void *lpAddress, void *lpBuffer, size_t dwLength,
	 size_t *pResult)
PSB_SLOT(IHostMemoryManager, VirtualProtect, void *lpAddress, size_t dwSize, DWORD flNewProtect,
	 DWORD *pflOldProtect)
PSB_SLOT(IHostMemoryManager, GetMemoryLoad, DWORD *pMemoryLoad, size_t *pAvailableBytes)
PSB_SLOT(IHostMemoryManager, RegisterMemoryNotificationCallback,
	 ICLRMemoryNotificationCallback *pCallback)
PSB_SLOT(IHostMemoryManager, NeedsVirtualAddressSpace, void *startAddress, size_t size)
PSB_SLOT(IHostMemoryManager, AcquiredVirtualAddressSpace, void *startAddress, size_t size)
PSB_SLOT(IHostMemoryManager, ReleasedVirtualAddressSpace, void *startAddress)
PSB_END(IHostMemoryManager)

/** Where a runtime asks for the managers a host has. */
PSB_INTERFACE(IHostControl)
PSB_SLOT(IHostControl, GetHostManager, REFIID riid, void **ppObject)
PSB_SLOT(IHostControl, SetAppDomainManager, DWORD dwAppDomainID, IUnknown *pUnkAppDomainManager)
PSB_END(IHostControl)

#if !(defined(__cplusplus) && !defined(CINTERFACE))
/* Calls of methods in C, named as MIDL names them. */
#define PSB_CALL(This, method, ...) ((This)->lpVtbl->method(This, __VA_ARGS__))

#ifndef IUnknown_QueryInterface
#define IUnknown_QueryInterface(This, ...) PSB_CALL(This, QueryInterface, __VA_ARGS__)
#define IUnknown_AddRef(This) ((This)->lpVtbl->AddRef(This))
#define IUnknown_Release(This) ((This)->lpVtbl->Release(This))
#endif

#define ICLRMemoryNotificationCallback_QueryInterface IUnknown_QueryInterface
#define ICLRMemoryNotificationCallback_AddRef IUnknown_AddRef
#define ICLRMemoryNotificationCallback_Release IUnknown_Release
#define ICLRMemoryNotificationCallback_OnMemoryNotification(This, available) \
	PSB_CALL(This, OnMemoryNotification, available)

#define IHostMalloc_QueryInterface IUnknown_QueryInterface
#define IHostMalloc_AddRef IUnknown_AddRef
#define IHostMalloc_Release IUnknown_Release
#define IHostMalloc_Alloc(This, ...) PSB_CALL(This, Alloc, __VA_ARGS__)
#define IHostMalloc_DebugAlloc(This, ...) PSB_CALL(This, DebugAlloc, __VA_ARGS__)
#define IHostMalloc_Free(This, mem) PSB_CALL(This, Free, mem)

#define IHostMemoryManager_QueryInterface IUnknown_QueryInterface
#define IHostMemoryManager_AddRef IUnknown_AddRef
#define IHostMemoryManager_Release IUnknown_Release
#define IHostMemoryManager_CreateMalloc(This, ...) PSB_CALL(This, CreateMalloc, __VA_ARGS__)
#define IHostMemoryManager_VirtualAlloc(This, ...) PSB_CALL(This, VirtualAlloc, __VA_ARGS__)
#define IHostMemoryManager_VirtualFree(This, ...) PSB_CALL(This, VirtualFree, __VA_ARGS__)
#define IHostMemoryManager_VirtualQuery(This, ...) PSB_CALL(This, VirtualQuery, __VA_ARGS__)
#define IHostMemoryManager_VirtualProtect(This, ...) PSB_CALL(This, VirtualProtect, __VA_ARGS__)
#define IHostMemoryManager_GetMemoryLoad(This, ...) PSB_CALL(This, GetMemoryLoad, __VA_ARGS__)
#define IHostMemoryManager_RegisterMemoryNotificationCallback(This, callback) \
	PSB_CALL(This, RegisterMemoryNotificationCallback, callback)
#define IHostMemoryManager_NeedsVirtualAddressSpace(This, ...) \
	PSB_CALL(This, NeedsVirtualAddressSpace, __VA_ARGS__)
#define IHostMemoryManager_AcquiredVirtualAddressSpace(This, ...) \
	PSB_CALL(This, AcquiredVirtualAddressSpace, __VA_ARGS__)
#define IHostMemoryManager_ReleasedVirtualAddressSpace(This, start) \
	PSB_CALL(This, ReleasedVirtualAddressSpace, start)

#define IHostControl_QueryInterface IUnknown_QueryInterface
#define IHostControl_AddRef IUnknown_AddRef
#define IHostControl_Release IUnknown_Release
#define IHostControl_GetHostManager(This, ...) PSB_CALL(This, GetHostManager, __VA_ARGS__)
#define IHostControl_SetAppDomainManager(This, ...) PSB_CALL(This, SetAppDomainManager, __VA_ARGS__)
#endif
#endif /* __mscoree_h__ */
/* clang-format on */

#undef PSB_INTERFACE
#undef PSB_SLOT
#undef PSB_END
#undef PSB_IID

/* ---- psibridge's side ---------------------------------------------------------------------- */

PSB_BEGIN_DECLARATIONS

/**
 * psb_host_memory_manager_new() - an IHostMemoryManager that tells what `watch` sees
 *
 * It has one reference, the caller's, and takes one on the watch. Give it a watch of one cgroup: with a pattern the
 * levels of all cgroups arrive interleaved.
 *
 * RegisterMemoryNotificationCallback(): one callback at a time. It is AddRef'd, and Released after its last call.
 * Another one replaces it, NULL unregisters. Every level is told to the one callback that is registered at that moment.
 * When Register returns, the replaced one is not running and will not be called again; except from inside its own call,
 * where Register does not wait. Where its call does not end within 10 s the answer is HOST_E_TIMEOUT, and where two
 * callbacks wait for each other HOST_E_DEADLOCK: even so the new registration stands, the old one is never called
 * again, and is Released when its call returns. At registration the present level is told if it is Low, or not the one
 * this manager told last.
 *
 * A callback that answers HOST_E_CLRNOTAVAILABLE or E_FAIL is Released and never called again, and what it was told
 * then counts as not told. After any other answer it is called again next time.
 *
 * The memory methods do what a runtime needs, and refuse the rest. VirtualAlloc() reserves where the kernel has room;
 * with MEM_RESERVE an address is refused with E_OUTOFMEMORY. MEM_COMMIT, VirtualFree(), VirtualProtect() and
 * VirtualQuery() are for pages of one reservation that was made through this manager; other addresses, MEM_RESET,
 * PAGE_GUARD and what else is marked above as refused are E_INVALIDARG. VirtualFree() decommits pages, or releases a
 * whole reservation. The heap of CreateMalloc() shares the manager's references. psibridge-hosting(3) has the details.
 *
 * The last Release() unregisters as above. Memory that was got from the manager stays: a runtime may still be running in
 * it. In a forked child every method answers HOST_E_CLRNOTAVAILABLE, and Release() frees what is the manager's own
 * without calling the callback.
 *
 * Errors: -EINVAL (watch is NULL), -ENOMEM.  Since: 0.1
 */
int psb_host_memory_manager_new(psb_watch *watch, IHostMemoryManager **ret);

PSB_END_DECLARATIONS
#endif
