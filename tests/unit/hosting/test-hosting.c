/* SPDX-License-Identifier: MIT */
/*
 * test-hosting.c - the hosting ABI: layout, objects, what is told and what is answered
 *
 * Over fake-watch.c.
 */
#include "../unit.h"
#include "hosting-runtime.h"

/* ---- layout ---------------------------------------------------------------------------------- */

#define SLOT(type, name, number)                                    \
	{                                                           \
#type "." #name, offsetof(type##Vtbl, name), number \
	}
#define UNKNOWN(type) SLOT(type, QueryInterface, 0), SLOT(type, AddRef, 1), SLOT(type, Release, 2)

PROMISE(every_slot_is_where_the_document_has_it)
{
	static const struct {
		const char *name;
		size_t offset, slot;
	} slots[] = {
		UNKNOWN(IUnknown),
		UNKNOWN(ICLRMemoryNotificationCallback),
		SLOT(ICLRMemoryNotificationCallback, OnMemoryNotification, 3),
		UNKNOWN(IHostMalloc),
		SLOT(IHostMalloc, Alloc, 3),
		SLOT(IHostMalloc, DebugAlloc, 4),
		SLOT(IHostMalloc, Free, 5),
		UNKNOWN(IHostMemoryManager),
		SLOT(IHostMemoryManager, CreateMalloc, 3),
		SLOT(IHostMemoryManager, VirtualAlloc, 4),
		SLOT(IHostMemoryManager, VirtualFree, 5),
		SLOT(IHostMemoryManager, VirtualQuery, 6),
		SLOT(IHostMemoryManager, VirtualProtect, 7),
		SLOT(IHostMemoryManager, GetMemoryLoad, 8),
		SLOT(IHostMemoryManager, RegisterMemoryNotificationCallback, 9),
		SLOT(IHostMemoryManager, NeedsVirtualAddressSpace, 10),
		SLOT(IHostMemoryManager, AcquiredVirtualAddressSpace, 11),
		SLOT(IHostMemoryManager, ReleasedVirtualAddressSpace, 12),
		UNKNOWN(IHostControl),
		SLOT(IHostControl, GetHostManager, 3),
		SLOT(IHostControl, SetAppDomainManager, 4),
	};

	for (size_t i = 0; i < ELEMENTSOF(slots); i++)
		if (slots[i].offset != slots[i].slot * sizeof(void *))
			fail_msg("%s is at %zu", slots[i].name, slots[i].offset);
	assert_int_equal(sizeof(IUnknownVtbl), 3 * sizeof(void *));
	assert_int_equal(sizeof(ICLRMemoryNotificationCallbackVtbl), 4 * sizeof(void *));
	assert_int_equal(sizeof(IHostMallocVtbl), 6 * sizeof(void *));
	assert_int_equal(sizeof(IHostMemoryManagerVtbl), 13 * sizeof(void *));
	assert_int_equal(sizeof(IHostControlVtbl), 5 * sizeof(void *));
	assert_int_equal(offsetof(IHostMemoryManager, lpVtbl), 0);
	assert_int_equal(sizeof(IHostMemoryManager), sizeof(void *));
}

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
		HRESULT value;
		uint32_t document;
	} results[] = {
		{ S_OK, 0 },
		{ S_FALSE, 1 },
		{ E_NOTIMPL, 0x80004001 },
		{ E_NOINTERFACE, 0x80004002 },
		{ E_POINTER, 0x80004003 },
		{ E_FAIL, 0x80004005 },
		{ E_UNEXPECTED, 0x8000FFFF },
		{ E_ACCESSDENIED, 0x80070005 },
		{ E_OUTOFMEMORY, 0x8007000E },
		{ E_INVALIDARG, 0x80070057 },
		{ HOST_E_DEADLOCK, 0x80131020 },
		{ HOST_E_INTERRUPTED, 0x80131021 },
		{ HOST_E_INVALIDOPERATION, 0x80131022 },
		{ HOST_E_CLRNOTAVAILABLE, 0x80131023 },
		{ HOST_E_TIMEOUT, 0x80131024 },
		{ HOST_E_NOT_OWNER, 0x80131025 },
		{ HOST_E_ABANDONED, 0x80131026 },
		{ HOST_E_EXITPROCESS_THREADABORT, 0x80131027 },
		{ HOST_E_EXITPROCESS_ADUNLOAD, 0x80131028 },
		{ HOST_E_EXITPROCESS_TIMEOUT, 0x80131029 },
		{ HOST_E_EXITPROCESS_OUTOFMEMORY, 0x8013102A },
		{ HOST_E_EXITPROCESS_STACKOVERFLOW, 0x8013102B },
	};

	for (size_t i = 0; i < ELEMENTSOF(results); i++) {
		assert_int_equal((uint32_t)results[i].value, results[i].document);
		assert_int_equal(SUCCEEDED(results[i].value), results[i].document < 0x80000000);
		assert_int_equal(FAILED(results[i].value), results[i].document >= 0x80000000);
	}
	assert_int_equal(eMemoryAvailableLow, 1);
	assert_int_equal(eMemoryAvailableNeutral, 2);
	assert_int_equal(eMemoryAvailableHigh, 3);
	assert_int_equal(eTaskCritical, 0);
	assert_int_equal(eAppDomainCritical, 1);
	assert_int_equal(eProcessCritical, 2);
	assert_int_equal(MALLOC_THREADSAFE, 1);
	assert_int_equal(MALLOC_EXECUTABLE, 2);
	assert_int_equal(sizeof(EMemoryAvailable), 4);
	assert_int_equal(sizeof(HRESULT), 4);
	assert_int_equal(sizeof(DWORD), 4);
	if (sizeof(void *) == 8) {
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, AllocationBase), 8);
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, AllocationProtect), 16);
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, RegionSize), 24);
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, State), 32);
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, Protect), 36);
		assert_int_equal(offsetof(MEMORY_BASIC_INFORMATION, Type), 40);
		assert_int_equal(sizeof(MEMORY_BASIC_INFORMATION), 48);
	}
}

PROMISE(every_errno_has_an_hresult_and_none_says_that_the_runtime_is_dead)
{
	static const struct {
		int error;
		HRESULT result;
	} table[] = {
		{ 0, S_OK },
		{ 7, S_OK },
		{ -EINVAL, E_INVALIDARG },
		{ -ENOMEM, E_OUTOFMEMORY },
		{ -EAGAIN, E_OUTOFMEMORY },
		{ -EMFILE, E_OUTOFMEMORY },
		{ -EACCES, E_ACCESSDENIED },
		{ -EPERM, E_ACCESSDENIED },
		{ -EDEADLK, HOST_E_DEADLOCK },
		{ -ETIMEDOUT, HOST_E_TIMEOUT },
		{ -ENODEV, E_UNEXPECTED },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		assert_int_equal(hresult_from_errno(table[i].error), table[i].result);
	for (int error = 1; error < 4096; error++) {
		assert_true(FAILED(hresult_from_errno(-error)));
		assert_int_not_equal(hresult_from_errno(-error), E_FAIL);
	}
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

PROMISE(bad_arguments_are_named)
{
	struct fixture *f = *state;
	IHostMemoryManager *m = f->manager, *none = NULL;
	IHostMalloc *heap;
	size_t size;
	DWORD number;
	void *p = f;
	char buffer[sizeof(MEMORY_BASIC_INFORMATION)];

	assert_int_equal(psb_host_memory_manager_new(NULL, &none), -EINVAL);
	assert_int_equal(psb_host_memory_manager_new(f->watch, NULL), -EINVAL);
	assert_null(none);

	assert_int_equal(IHostMemoryManager_CreateMalloc(m, 0, NULL), E_POINTER);
	assert_int_equal(IHostMemoryManager_CreateMalloc(m, 4, &heap), E_INVALIDARG);
	assert_null(heap);
	assert_int_equal(IHostMemoryManager_VirtualAlloc(m, NULL, 1, MEM_RESERVE, PAGE_READWRITE,
							 eTaskCritical, NULL),
			 E_POINTER);
	for (int level = -1; level <= 3; level += 4) {
		p = f;
		assert_int_equal(IHostMemoryManager_VirtualAlloc(m, NULL, 1, MEM_RESERVE,
								 PAGE_READWRITE,
								 (EMemoryCriticalLevel)level, &p),
				 E_INVALIDARG);
		assert_null(p);
	}
	assert_int_equal(IHostMemoryManager_VirtualFree(m, NULL, 0, MEM_RELEASE), E_INVALIDARG);
	assert_int_equal(IHostMemoryManager_VirtualQuery(m, p, NULL, sizeof(buffer), &size),
			 E_POINTER);
	assert_int_equal(IHostMemoryManager_VirtualQuery(m, p, buffer, sizeof(buffer), NULL),
			 E_POINTER);
	assert_int_equal(IHostMemoryManager_VirtualQuery(m, p, buffer, sizeof(buffer) - 1, &size),
			 E_INVALIDARG);
	assert_int_equal(IHostMemoryManager_VirtualProtect(m, p, 1, PAGE_READONLY, NULL),
			 E_POINTER);
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(m, NULL, &size), E_POINTER);
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(m, &number, NULL), E_POINTER);
}

PROMISE(the_load_is_that_of_the_watch)
{
	struct fixture *f = *state;
	struct psb_load load = { .size = sizeof(load),
				 .percent = 73,
				 .available_bytes = 123456789 };
	DWORD percent = 0;
	size_t bytes = 0;

	fake_watch_set_load(f->watch, 0, &load);
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes), S_OK);
	assert_int_equal(percent, 73);
	assert_int_equal(bytes, 123456789);
	fake_watch_set_load(f->watch, -ENODEV, &load);
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes),
			 E_UNEXPECTED);
	assert_int_equal(percent, 73);
	load.available_bytes = PSB_UNKNOWN; /* which is not plenty */
	fake_watch_set_load(f->watch, 0, &load);
	assert_int_equal(IHostMemoryManager_GetMemoryLoad(f->manager, &percent, &bytes),
			 E_UNEXPECTED);
	assert_int_equal(bytes, 123456789);
}

PROMISE(the_runtime_is_never_told_to_try_for_address_space_again)
{
	struct fixture *f = *state;

	assert_true(FAILED(IHostMemoryManager_NeedsVirtualAddressSpace(f->manager, NULL, 4096)));
	assert_int_equal(IHostMemoryManager_AcquiredVirtualAddressSpace(f->manager, f, 4096), S_OK);
	assert_int_equal(IHostMemoryManager_ReleasedVirtualAddressSpace(f->manager, f), S_OK);
}

PROMISE(a_heap_keeps_its_manager)
{
	struct fixture *f = *state;
	IHostMalloc *heap;
	void *p;

	assert_int_equal(IHostMemoryManager_CreateMalloc(f->manager, MALLOC_THREADSAFE, &heap),
			 S_OK);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 1);
	assert_int_equal(IHostMalloc_Alloc(heap, 10, eTaskCritical, &p), S_OK);
	assert_int_equal(IHostMalloc_Free(heap, p), S_OK);
	assert_int_equal(IHostMalloc_Release(heap), 0);
	f->manager = NULL;
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
}

PROMISE(when_the_cgroup_goes_low_ends)
{
	struct fixture *f = *state;

	assert_int_equal(IMM_Register(f->manager, &f->a.interface), S_OK);
	tell(f, PSB_LOW);
	fake_watch_send(f->watch, PSB_KIND_GONE, PSB_HIGH);
	fake_watch_settle(f->watch);
	assert_int_equal(f->a.calls, 2);
	assert_int_equal(f->a.last, eMemoryAvailableHigh);
}

PROMISE(the_present_level_is_told_at_registration_only_if_it_is_low)
{
	static const struct {
		enum psb_available present;
		unsigned calls;
	} table[] = { { PSB_HIGH, 0 }, { PSB_NEUTRAL, 0 }, { PSB_LOW, 1 } };
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		IHostMemoryManager *manager;

		fake_watch_set_present(f->watch, table[i].present);
		assert_int_equal(psb_host_memory_manager_new(f->watch, &manager), 0);
		assert_int_equal(IMM_Register(manager, &f->a.interface), S_OK);
		fake_watch_settle(f->watch);
		assert_int_equal(f->a.calls, table[i].calls);
		IHostMemoryManager_Release(manager);
	}
	assert_int_equal(f->a.last, eMemoryAvailableLow);
}

PROMISE(a_low_that_ended_between_two_registrations_is_told_to_have_ended)
{
	struct fixture *f = *state;

	assert_int_equal(IMM_Register(f->manager, &f->a.interface), S_OK);
	tell(f, PSB_LOW);
	assert_int_equal(IMM_Register(f->manager, NULL), S_OK);
	tell(f, PSB_HIGH);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(IMM_Register(f->manager, &f->b.interface), S_OK);
	fake_watch_settle(f->watch);
	assert_int_equal(f->b.calls, 1);
	assert_int_equal(f->b.last, eMemoryAvailableHigh);
}

/* As with a runtime that is not up yet when memory gets short. */
PROMISE(what_a_dead_runtime_was_told_is_told_to_the_next_one)
{
	static const struct {
		enum psb_available refused, present;
		unsigned calls;
	} table[] = {
		{ PSB_LOW, PSB_LOW, 1 },
		{ PSB_NEUTRAL, PSB_NEUTRAL, 1 },
		{ PSB_LOW, PSB_NEUTRAL, 1 },
		{ PSB_LOW, PSB_HIGH, 0 },
	};
	static const HRESULT answers[] = { HOST_E_CLRNOTAVAILABLE, E_FAIL };
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTSOF(table) * ELEMENTSOF(answers); i++) {
		size_t row = i / ELEMENTSOF(answers);
		IHostMemoryManager *manager;
		unsigned before = f->b.calls;

		fake_watch_set_present(f->watch, PSB_HIGH);
		assert_int_equal(psb_host_memory_manager_new(f->watch, &manager), 0);
		f->a.answer = answers[i % ELEMENTSOF(answers)];
		assert_int_equal(IMM_Register(manager, &f->a.interface), S_OK);
		tell(f, table[row].refused);
		assert_int_equal(f->a.calls, i + 1);
		fake_watch_set_present(f->watch, table[row].present);
		assert_int_equal(IMM_Register(manager, &f->b.interface), S_OK);
		fake_watch_settle(f->watch);
		assert_int_equal(f->b.calls - before, table[row].calls);
		if (table[row].calls > 0)
			assert_int_equal(f->b.last, table[row].present);
		IHostMemoryManager_Release(manager);
	}
}

/* ---- answers --------------------------------------------------------------------------------- */

PROMISE(only_answers_that_mean_a_dead_runtime_end_a_registration)
{
	static const struct {
		HRESULT answer;
		int deadly;
	} table[] = {
		{ S_OK, 0 },
		{ S_FALSE, 0 },
		{ E_FAIL, 1 },
		{ HOST_E_CLRNOTAVAILABLE, 1 },
		{ HOST_E_TIMEOUT, 0 },
		{ HOST_E_NOT_OWNER, 0 },
		{ HOST_E_ABANDONED, 0 },
		{ HOST_E_DEADLOCK, 0 },
		{ HOST_E_EXITPROCESS_OUTOFMEMORY, 0 },
		{ E_NOTIMPL, 0 },
		{ E_POINTER, 0 },
		{ E_UNEXPECTED, 0 },
		{ E_OUTOFMEMORY, 0 },
		{ INT32_MIN, 0 },
		{ -1, 0 },
		{ INT32_MAX, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		IHostMemoryManager *manager;
		unsigned before = f->a.calls;

		fake_watch_set_present(f->watch, PSB_HIGH);
		assert_int_equal(psb_host_memory_manager_new(f->watch, &manager), 0);
		f->a.answer = table[i].answer;
		assert_int_equal(IMM_Register(manager, &f->a.interface), S_OK);
		tell(f, PSB_LOW);
		assert_int_equal(f->a.refs, !table[i].deadly);
		assert_int_equal(fake_watch_registrations(f->watch), !table[i].deadly);
		tell(f, PSB_NEUTRAL);
		tell(f, PSB_LOW);
		assert_int_equal(f->a.calls - before, table[i].deadly ? 1 : 3);

		/* After a dead runtime another one may come. */
		assert_int_equal(IMM_Register(manager, &f->b.interface), S_OK);
		assert_int_equal(f->a.refs, 0);
		tell(f, PSB_LOW);
		assert_int_equal(f->b.last, eMemoryAvailableLow);
		assert_int_equal(IHostMemoryManager_Release(manager), 0);
	}
}
