/* SPDX-License-Identifier: MIT */
/*
 * test-hosting.c - the hosting ABI: layout, objects, what is told and what is answered
 *
 * Over fake-watch.c.
 */
#include "../unit.h"
#include "hosting-runtime.h"

/* ---- layout ---------------------------------------------------------------------------------- */

#define SLOT(type, name, number)                                                \
	_Static_assert(offsetof(type##Vtbl, name) == (number) * sizeof(void *), \
		       "slot of " #type "." #name)
#define SLOTS(type, count)             \
	SLOT(type, QueryInterface, 0); \
	SLOT(type, AddRef, 1);         \
	SLOT(type, Release, 2);        \
	_Static_assert(sizeof(type##Vtbl) == (count) * sizeof(void *), "no slot more")

SLOTS(IUnknown, 3);
SLOTS(ICLRMemoryNotificationCallback, 4);
SLOT(ICLRMemoryNotificationCallback, OnMemoryNotification, 3);
SLOTS(IHostMalloc, 6);
SLOT(IHostMalloc, Alloc, 3);
SLOT(IHostMalloc, DebugAlloc, 4);
SLOT(IHostMalloc, Free, 5);
SLOTS(IHostMemoryManager, 13);
SLOT(IHostMemoryManager, CreateMalloc, 3);
SLOT(IHostMemoryManager, VirtualAlloc, 4);
SLOT(IHostMemoryManager, VirtualFree, 5);
SLOT(IHostMemoryManager, VirtualQuery, 6);
SLOT(IHostMemoryManager, VirtualProtect, 7);
SLOT(IHostMemoryManager, GetMemoryLoad, 8);
SLOT(IHostMemoryManager, RegisterMemoryNotificationCallback, 9);
SLOT(IHostMemoryManager, NeedsVirtualAddressSpace, 10);
SLOT(IHostMemoryManager, AcquiredVirtualAddressSpace, 11);
SLOT(IHostMemoryManager, ReleasedVirtualAddressSpace, 12);
SLOTS(IHostControl, 5);
SLOT(IHostControl, GetHostManager, 3);
SLOT(IHostControl, SetAppDomainManager, 4);
_Static_assert(sizeof(IHostMemoryManager) == sizeof(void *), "a pointer to the slots, and no more");

PROMISE(every_iid_is_that_of_the_document_byte_for_byte)
{
	/* In memory the first three fields are little-endian on every machine .NET runs on. */
	static const struct {
		const IID *iid;
		const char *bytes;
	} iids[] = {
		{ &IID_IUnknown,
		  "\x00\x00\x00\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46" },
		{ &IID_ICLRMemoryNotificationCallback,
		  "\x57\x8E\xEB\x47\x46\x08\x46\x45\xAF\x76\x6F\x42\xFC\xFC\x26\x49" },
		{ &IID_IHostMalloc,
		  "\x1C\x99\x31\x18\x53\xCC\x31\x4A\xB2\x18\x04\xE9\x10\x44\x64\x79" },
		{ &IID_IHostMemoryManager,
		  "\xD1\x98\xC6\x7B\xE3\xF9\x60\x44\x9C\xDE\xD0\x42\x48\xE9\xFA\x25" },
		{ &IID_IHostControl,
		  "\x3C\x07\xCA\x02\x79\x70\x60\x48\x88\x0A\xC2\xF7\xA4\x49\xC9\x91" },
	};

	assert_int_equal(sizeof(IID), 16);
	for (size_t i = 0; i < ELEMENTSOF(iids); i++)
		assert_memory_equal(iids[i].iid, iids[i].bytes, 16);
}

PROMISE(every_number_is_that_of_the_document)
{
	static const struct {
		uint32_t value, document;
	} numbers[] = {
#define HR(name) (uint32_t)(name)
		{ HR(S_OK), 0 },
		{ HR(S_FALSE), 1 },
		{ HR(E_NOTIMPL), 0x80004001 },
		{ HR(E_NOINTERFACE), 0x80004002 },
		{ HR(E_POINTER), 0x80004003 },
		{ HR(E_FAIL), 0x80004005 },
		{ HR(E_UNEXPECTED), 0x8000FFFF },
		{ HR(E_ACCESSDENIED), 0x80070005 },
		{ HR(E_OUTOFMEMORY), 0x8007000E },
		{ HR(E_INVALIDARG), 0x80070057 },
		{ eMemoryAvailableLow, 1 },
		{ eMemoryAvailableNeutral, 2 },
		{ eMemoryAvailableHigh, 3 },
		{ eTaskCritical, 0 },
		{ eAppDomainCritical, 1 },
		{ eProcessCritical, 2 },
		{ MALLOC_THREADSAFE, 1 },
		{ MALLOC_EXECUTABLE, 2 },
		{ sizeof(EMemoryAvailable), 4 },
		{ sizeof(HRESULT), 4 },
		{ sizeof(DWORD), 4 },
#if UINTPTR_MAX > UINT32_MAX
		{ offsetof(MEMORY_BASIC_INFORMATION, AllocationBase), 8 },
		{ offsetof(MEMORY_BASIC_INFORMATION, AllocationProtect), 16 },
		{ offsetof(MEMORY_BASIC_INFORMATION, RegionSize), 24 },
		{ offsetof(MEMORY_BASIC_INFORMATION, State), 32 },
		{ offsetof(MEMORY_BASIC_INFORMATION, Protect), 36 },
		{ offsetof(MEMORY_BASIC_INFORMATION, Type), 40 },
		{ sizeof(MEMORY_BASIC_INFORMATION), 48 },
#endif
	};
	static const HRESULT host_errors[] = { HOST_E_DEADLOCK,
					       HOST_E_INTERRUPTED,
					       HOST_E_INVALIDOPERATION,
					       HOST_E_CLRNOTAVAILABLE,
					       HOST_E_TIMEOUT,
					       HOST_E_NOT_OWNER,
					       HOST_E_ABANDONED,
					       HOST_E_EXITPROCESS_THREADABORT,
					       HOST_E_EXITPROCESS_ADUNLOAD,
					       HOST_E_EXITPROCESS_TIMEOUT,
					       HOST_E_EXITPROCESS_OUTOFMEMORY,
					       HOST_E_EXITPROCESS_STACKOVERFLOW };

	for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
		assert_int_equal(numbers[i].value, numbers[i].document);
	for (uint32_t i = 0; i < ELEMENTSOF(host_errors); i++)
		assert_int_equal((uint32_t)host_errors[i], 0x80131020 + i);
	assert_true(SUCCEEDED(S_OK) && SUCCEEDED(S_FALSE) && !FAILED(S_FALSE));
	assert_true(FAILED(E_FAIL) && FAILED(HOST_E_DEADLOCK) && !SUCCEEDED(E_FAIL));
}

/* ---- objects --------------------------------------------------------------------------------- */

PROMISE(a_manager_is_itself_and_an_unknown_and_nothing_else)
{
	struct fixture *f = *state;
	void *p = f;

	assert_int_equal(IHostMemoryManager_QueryInterface(f->manager, &IID_IHostMemoryManager, &p),
			 S_OK);
	assert_ptr_equal(p, f->manager);
	assert_int_equal(IHostMemoryManager_QueryInterface(f->manager, &IID_IUnknown, &p), S_OK);
	assert_ptr_equal(p, f->manager);
	assert_int_equal(IUnknown_AddRef((IUnknown *)p), 4);
	assert_int_equal(IHostMemoryManager_QueryInterface(f->manager, &IID_IHostMalloc, &p),
			 E_NOINTERFACE);
	assert_null(p);
	assert_int_equal(IHostMemoryManager_QueryInterface(f->manager, &IID_IUnknown, NULL),
			 E_POINTER);
	assert_int_equal(IHostMemoryManager_QueryInterface(f->manager, NULL, &p), E_POINTER);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 3);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 2);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 1);
}

/* Those of a kind: `p` is no address of ours. */
PROMISE(bad_arguments_are_named)
{
	struct fixture *f = *state;
	IHostMemoryManager *m = f->manager, *none = NULL;
	char buffer[sizeof(MEMORY_BASIC_INFORMATION)];
	size_t size;
	DWORD number;
	void *p = f;

	assert_int_equal(psb_host_memory_manager_new(NULL, &none), -EINVAL);
	assert_int_equal(psb_host_memory_manager_new(f->watch, NULL), -EINVAL);
	assert_null(none);
	const HRESULT without_output[] = {
		IHostMemoryManager_CreateMalloc(m, 0, NULL),
		IHostMemoryManager_VirtualAlloc(m, NULL, 1, MEM_RESERVE, PAGE_READWRITE,
						eTaskCritical, NULL),
		IHostMemoryManager_VirtualQuery(m, p, NULL, sizeof(buffer), &size),
		IHostMemoryManager_VirtualQuery(m, p, buffer, sizeof(buffer), NULL),
		IHostMemoryManager_VirtualProtect(m, p, 1, PAGE_READONLY, NULL),
		IHostMemoryManager_GetMemoryLoad(m, NULL, &size),
		IHostMemoryManager_GetMemoryLoad(m, &number, NULL),
	};
	for (size_t i = 0; i < ELEMENTSOF(without_output); i++)
		assert_int_equal(without_output[i], E_POINTER);
	for (DWORD type = MALLOC_EXECUTABLE; type <= 4; type++) {
		assert_int_equal(IHostMemoryManager_CreateMalloc(m, type, (IHostMalloc **)&p),
				 E_INVALIDARG);
		assert_null(p);
	}
}

PROMISE(the_load_is_that_of_the_watch)
{
	struct fixture *f = *state;
	struct psb_load load = { .size = sizeof(load) };
	DWORD percent = 101;
	size_t bytes = 0;

	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes), S_OK);
	assert_int_equal(psb_watch_load(f->watch, &load), 0);
	assert_in_range(percent + 5, load.percent, load.percent + 10); /* others use it too */
	assert_in_range(bytes, load.available_bytes / 2, load.available_bytes * 2);
	percent = 101;
	f->watch->gone = true;
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes),
			 E_UNEXPECTED);
	f->watch->gone = false;
	f->watch->available = PSB_LOW;			      /* nothing is read anew */
	f->watch->load_memory.machine_bytes = MEMORY_UNKNOWN; /* which is not plenty */
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes),
			 E_UNEXPECTED);
	assert_int_equal(percent, 101);
}

/* ---- being told ------------------------------------------------------------------------------ */

PROMISE(every_level_is_told_with_its_number)
{
	static const enum psb_available levels[] = { PSB_LOW, PSB_LOW, PSB_NEUTRAL, PSB_HIGH,
						     PSB_LOW };
	struct fixture *f = *state;

	assert_int_equal(IMM_Register(f->manager, &f->a.interface), S_OK);
	for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
		tell(f, levels[i]);
		assert_int_equal(f->a.calls, i + 1);
		assert_int_equal(f->a.last, levels[i]);
	}
	fake_watch_send(f->watch, PSB_KIND_SOURCE, PSB_LOW);
	fake_watch_settle(f->watch);
	assert_int_equal(f->a.calls, ELEMENTSOF(levels));
	fake_watch_send(f->watch, PSB_KIND_GONE, PSB_HIGH); /* the cgroup goes: Low ends */
	fake_watch_settle(f->watch);
	assert_int_equal(f->a.calls, ELEMENTSOF(levels) + 1);
	assert_int_equal(f->a.last, eMemoryAvailableHigh);
}

/* Two registrations at one manager: what the first one is sent and answers, and whether the second one is told the present
 * level. What a dead runtime was told counts as not told: as with one that is not up yet when memory gets short. */
PROMISE(a_registration_is_told_what_is_news_and_only_the_answer_of_a_dead_runtime_ends_it)
{
	static const struct {
		enum psb_available sent; /* 0: there was no first one */
		HRESULT answer;
		bool deadly;
		enum psb_available present;
		unsigned calls;
	} table[] = {
		{ 0, S_OK, false, PSB_HIGH, 0 },
		{ 0, S_OK, false, PSB_NEUTRAL, 0 },
		{ 0, S_OK, false, PSB_LOW, 1 },
		{ PSB_LOW, S_OK, false, PSB_HIGH, 1 },
		{ PSB_NEUTRAL, S_FALSE, false, PSB_NEUTRAL, 0 },
		{ PSB_LOW, HOST_E_TIMEOUT, false, PSB_LOW, 1 },
		{ PSB_LOW, HOST_E_EXITPROCESS_OUTOFMEMORY, false, PSB_NEUTRAL, 1 },
		{ PSB_LOW, E_UNEXPECTED, false, PSB_HIGH, 1 },
		{ PSB_LOW, INT32_MIN, false, PSB_HIGH, 1 },
		{ PSB_LOW, -1, false, PSB_HIGH, 1 },
		{ PSB_LOW, E_FAIL, true, PSB_LOW, 1 },
		{ PSB_NEUTRAL, E_FAIL, true, PSB_NEUTRAL, 1 },
		{ PSB_LOW, HOST_E_CLRNOTAVAILABLE, true, PSB_NEUTRAL, 1 },
		{ PSB_LOW, HOST_E_CLRNOTAVAILABLE, true, PSB_HIGH, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		unsigned before = f->a.calls, b_before = f->b.calls;
		IHostMemoryManager *manager;

		fake_watch_set_present(f->watch, PSB_HIGH);
		assert_int_equal(psb_host_memory_manager_new(f->watch, &manager), 0);
		if (table[i].sent) {
			f->a.answer = table[i].answer;
			assert_int_equal(IMM_Register(manager, &f->a.interface), S_OK);
			tell(f, table[i].sent);
			assert_int_equal(f->a.refs, !table[i].deadly);
			assert_int_equal(fake_watch_registrations(f->watch), !table[i].deadly);
			tell(f, PSB_LOW);
			tell(f, table[i].sent);
			assert_int_equal(f->a.calls - before, table[i].deadly ? 1 : 3);
		}
		fake_watch_set_present(f->watch, table[i].present);
		assert_int_equal(IMM_Register(manager, &f->b.interface), S_OK);
		fake_watch_settle(f->watch);
		assert_int_equal(f->a.refs, 0);
		assert_int_equal(f->b.calls - b_before, table[i].calls);
		if (table[i].calls > 0)
			assert_int_equal(f->b.last, table[i].present);
		assert_int_equal(IHostMemoryManager_Release(manager), 0);
	}
}
