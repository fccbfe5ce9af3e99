/* SPDX-License-Identifier: MIT */
/*
 * corprof.h - what a profiler of CoreCLR sees of the runtime, and the runtime of it
 *
 * Two COM interfaces: the runtime calls ICorProfilerCallback, the profiler calls
 * ICorProfilerInfo. Each is a pointer to a table of functions ("slots"), in the order of the IDL. A
 * later version of an interface appends slots and has an IID of its own, so one table serves all
 * versions. Only what we use is named; the rest are numbered, and the assertions below hold
 * the numbers.
 *
 * Source: src/coreclr/inc/corprof.idl and corerror.xml in dotnet/runtime (MIT). IClassFactory, its
 * IID and CLASS_E_CLASSNOTAVAILABLE are COM's own. BOOL and UINT have 32 bits.
 */
#pragma once

#include <psibridge/hosting.h>

#include <stddef.h>
#include <stdint.h>

#define PROFILER_HRESULT(value) ((HRESULT)UINT32_C(value))
#define CLASS_E_CLASSNOTAVAILABLE PROFILER_HRESULT(0x80040111)
#define CLASS_E_NOAGGREGATION PROFILER_HRESULT(0x80040110)
#define CORPROF_E_NOT_YET_AVAILABLE PROFILER_HRESULT(0x8013135B)
#define CORPROF_E_PROFILER_DETACHING PROFILER_HRESULT(0x80131367)
#define CORPROF_E_PROFILER_ALREADY_ACTIVE PROFILER_HRESULT(0x8013136A)
#define CORPROF_E_PROFILER_CANCEL_ACTIVATION PROFILER_HRESULT(0x80131375)

#define COR_PRF_MONITOR_NONE 0u

static const IID IID_IClassFactory = {
	0x00000001, 0x0000, 0x0000, { 0xC0, 0, 0, 0, 0, 0, 0, 0x46 }
};
static const IID IID_ICorProfilerInfo = {
	0x28B5557D, 0x3F3F, 0x48B4, { 0x90, 0xB2, 0x5F, 0x9E, 0xEA, 0x2F, 0x6C, 0x48 }
};

/* Of ICorProfilerCallback and its versions, what the runtime cannot do without (profilinghelper.cpp, eetoprofinterfaceimpl.cpp):
 * IUnknown aside, it asks for version 2 first, for 3 to attach, and for 11 to ask LoadAsNotificationOnly(). */
static const IID profiler_callback_iids[] = {
	{ 0x8A8CC829, 0xCCF2, 0x49FE, { 0xBB, 0xAE, 0x0F, 0x02, 0x22, 0x28, 0x07, 0x1A } },
	{ 0x4FD2ED52, 0x7731, 0x4B8D, { 0x94, 0x69, 0x03, 0xD2, 0xCC, 0x30, 0x86, 0xC5 } },
	{ 0x42350846, 0xAAED, 0x47F7, { 0xB1, 0x28, 0xFD, 0x0C, 0x98, 0x88, 0x1C, 0xDE } },
};

typedef HRESULT (*profiler_slot)(void);

#define PROFILER_UNKNOWN_SLOTS(type)                                     \
	HRESULT (*QueryInterface)(type * This, REFIID riid, void **ret); \
	ULONG (*AddRef)(type * This);                                    \
	ULONG (*Release)(type * This)

/* ---- what we call -------------------------------------------------------------------------- */

typedef struct ICorProfilerInfo ICorProfilerInfo;
typedef struct ICorProfilerInfoVtbl {
	PROFILER_UNKNOWN_SLOTS(ICorProfilerInfo);
	profiler_slot slots_3_to_15[13];
	HRESULT (*SetEventMask)(ICorProfilerInfo *This, DWORD dwEvents);
	profiler_slot slots_17_to_27[11];
	HRESULT (*ForceGC)(ICorProfilerInfo *This);
} ICorProfilerInfoVtbl;
struct ICorProfilerInfo {
	const ICorProfilerInfoVtbl *lpVtbl;
};

/* ---- what the runtime calls ---------------------------------------------------------------- */

typedef struct IClassFactory IClassFactory;
typedef struct IClassFactoryVtbl {
	PROFILER_UNKNOWN_SLOTS(IClassFactory);
	HRESULT (*CreateInstance)(IClassFactory *This, IUnknown *outer, REFIID riid, void **ret);
	profiler_slot LockServer;
} IClassFactoryVtbl;
struct IClassFactory {
	const IClassFactoryVtbl *lpVtbl;
};

typedef struct ICorProfilerCallback11 ICorProfilerCallback11;
typedef struct ICorProfilerCallback11Vtbl {
	PROFILER_UNKNOWN_SLOTS(ICorProfilerCallback11);
	HRESULT (*Initialize)(ICorProfilerCallback11 *This, IUnknown *info);
	HRESULT (*Shutdown)(ICorProfilerCallback11 *This);
	profiler_slot slots_5_to_79[75];
	HRESULT(*InitializeForAttach)
	(ICorProfilerCallback11 *This, IUnknown *info, void *data, uint32_t data_size);
	profiler_slot ProfilerAttachComplete;
	HRESULT (*ProfilerDetachSucceeded)(ICorProfilerCallback11 *This);
	profiler_slot slots_83_to_96[14];
	HRESULT (*LoadAsNotificationOnly)(ICorProfilerCallback11 *This, int32_t *ret);
} ICorProfilerCallback11Vtbl;
struct ICorProfilerCallback11 {
	const ICorProfilerCallback11Vtbl *lpVtbl;
};

#define PROFILER_SLOT(type, name, number) \
	_Static_assert(offsetof(type, name) == (number) * sizeof(void *), #name " is slot " #number)
PROFILER_SLOT(IClassFactoryVtbl, CreateInstance, 3);
PROFILER_SLOT(ICorProfilerInfoVtbl, SetEventMask, 16);
PROFILER_SLOT(ICorProfilerInfoVtbl, ForceGC, 28);
PROFILER_SLOT(ICorProfilerCallback11Vtbl, Initialize, 3);
PROFILER_SLOT(ICorProfilerCallback11Vtbl, Shutdown, 4);
PROFILER_SLOT(ICorProfilerCallback11Vtbl, InitializeForAttach, 80);
PROFILER_SLOT(ICorProfilerCallback11Vtbl, ProfilerDetachSucceeded, 82);
PROFILER_SLOT(ICorProfilerCallback11Vtbl, LoadAsNotificationOnly, 97);
