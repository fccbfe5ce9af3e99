/* SPDX-License-Identifier: MIT */
/*
 * corprof.h - what a profiler of CoreCLR sees of the runtime, and the runtime of it
 *
 * Two COM interfaces: the runtime calls ICorProfilerCallback, the profiler calls ICorProfilerInfo. Each is a pointer to a table of
 * functions ("slots"), in the order of the IDL. A later version of an interface appends slots and has an IID of its own, so one
 * table serves all versions. What we use has a number here, and its type beside it.
 *
 * Source: src/coreclr/inc/corprof.idl and corerror.xml in dotnet/runtime (MIT). IClassFactory, its
 * IID and CLASS_E_CLASSNOTAVAILABLE are COM's own. BOOL and UINT have 32 bits.
 */
#pragma once

#include <psibridge/hosting.h>

#include <stdint.h>

#define PROFILER_HRESULT(value) ((HRESULT)UINT32_C(value))
#define CLASS_E_CLASSNOTAVAILABLE PROFILER_HRESULT(0x80040111)
#define CLASS_E_NOAGGREGATION PROFILER_HRESULT(0x80040110)
#define CORPROF_E_NOT_YET_AVAILABLE PROFILER_HRESULT(0x8013135B)
#define CORPROF_E_PROFILER_DETACHING PROFILER_HRESULT(0x80131367)
#define CORPROF_E_PROFILER_ALREADY_ACTIVE PROFILER_HRESULT(0x8013136A)
#define CORPROF_E_PROFILER_CANCEL_ACTIVATION PROFILER_HRESULT(0x80131375)

#define COR_PRF_MONITOR_NONE 0u
#define COR_PRF_MONITOR_ASSEMBLY_LOADS 8u

static const IID IID_IClassFactory = {
	0x00000001, 0x0000, 0x0000, { 0xC0, 0, 0, 0, 0, 0, 0, 0x46 }
};
static const IID IID_ICorProfilerInfo3 = {
	0xB555ED4F, 0x452A, 0x4E54, { 0x8B, 0x39, 0xB5, 0x36, 0x0B, 0xAD, 0x32, 0xA0 }
};

/* Of ICorProfilerCallback and its versions, what the runtime cannot do without (profilinghelper.cpp, eetoprofinterfaceimpl.cpp):
 * IUnknown aside, it asks for version 2 first, for 3 to attach, and for 11 to ask LoadAsNotificationOnly(). */
static const IID profiler_callback_iids[] = {
	{ 0x8A8CC829, 0xCCF2, 0x49FE, { 0xBB, 0xAE, 0x0F, 0x02, 0x22, 0x28, 0x07, 0x1A } },
	{ 0x4FD2ED52, 0x7731, 0x4B8D, { 0x94, 0x69, 0x03, 0xD2, 0xCC, 0x30, 0x86, 0xC5 } },
	{ 0x42350846, 0xAAED, 0x47F7, { 0xB1, 0x28, 0xFD, 0x0C, 0x98, 0x88, 0x1C, 0xDE } },
};

typedef void (*profiler_slot)(void);
typedef struct {
	const profiler_slot *slots;
} profiler_object;

typedef HRESULT profiler_set_event_mask(profiler_object *This, DWORD events);
typedef HRESULT profiler_force_gc(profiler_object *This);
typedef HRESULT profiler_enum_modules(profiler_object *This, profiler_object **ret);
typedef HRESULT profiler_get_count(profiler_object *This, ULONG *ret);

enum {
	/* every interface */
	SLOT_QUERY_INTERFACE = 0, /* (This, REFIID riid, void **ret) */
	SLOT_ADD_REF = 1,
	SLOT_RELEASE = 2,
	/* ICorProfilerInfo3: what we call */
	SLOT_SET_EVENT_MASK = 16,
	SLOT_FORCE_GC = 28,
	SLOT_ENUM_MODULES = 66,
	/* ICorProfilerModuleEnum, which that gives */
	SLOT_GET_COUNT = 6,
	/* IClassFactory */
	SLOT_CREATE_INSTANCE = 3, /* (This, IUnknown *outer, REFIID riid, void **ret) */
	SLOT_LOCK_SERVER = 4,
	/* ICorProfilerCallback11: what the runtime calls */
	SLOT_INITIALIZE = 3, /* (This, IUnknown *info) */
	SLOT_SHUTDOWN = 4,
	SLOT_ASSEMBLY_LOAD_FINISHED = 10, /* (This, AssemblyID assembly, HRESULT status) */
	SLOT_INITIALIZE_FOR_ATTACH = 80,  /* (This, IUnknown *info, void *data, UINT size) */
	SLOT_PROFILER_DETACH_SUCCEEDED = 82,
	SLOT_LOAD_AS_NOTIFICATION_ONLY = 97, /* (This, BOOL *ret) */
	PROFILER_CALLBACK_SLOTS,
};
