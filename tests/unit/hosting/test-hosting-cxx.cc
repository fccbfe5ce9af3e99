/* SPDX-License-Identifier: MIT */
/*
 * test-hosting-cxx.cc - a host in C++11 needs no glue: it derives, and is called
 *
 * Links as test-hosting does, compiled with -Wnon-virtual-dtor -Woverloaded-virtual.
 */
#include <atomic>
#include <csetjmp>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstring>

extern "C" {
#include <cmocka.h>
}

#include "../unit.h"
#include "fake-watch.h"
#include "psibridge/hosting.h"

namespace
{

/* What an application writes: one class, no tables. Its destructor is virtual, behind the slots. */
class Runtime : public ICLRMemoryNotificationCallback
{
      public:
	HRESULT QueryInterface(REFIID riid, void **ppvObject) override
	{
		if (std::memcmp(&riid, &IID_ICLRMemoryNotificationCallback, sizeof(riid)) != 0) {
			*ppvObject = nullptr;
			return E_NOINTERFACE;
		}
		AddRef();
		*ppvObject = static_cast<ICLRMemoryNotificationCallback *>(this);
		return S_OK;
	}

	ULONG AddRef() override
	{
		return ++references;
	}

	ULONG Release() override
	{
		ULONG left = --references;

		if (left == 0)
			delete this;
		return left;
	}

	HRESULT OnMemoryNotification(EMemoryAvailable eMemoryAvailable) override
	{
		last = eMemoryAvailable;
		calls++;
		return S_OK;
	}

	static std::atomic<int> calls, last, alive;

	Runtime()
	{
		alive++;
	}

      protected:
	virtual ~Runtime()
	{
		alive--;
	}

      private:
	std::atomic<ULONG> references{ 1 };
};

std::atomic<int> Runtime::calls, Runtime::last, Runtime::alive;

void a_class_that_derives_is_called_and_released(void **)
{
	psb_watch *watch = fake_watch_new();
	IHostMemoryManager *manager;
	Runtime *runtime = new Runtime;

	assert_int_equal(psb_host_memory_manager_new(watch, &manager), 0);
	assert_int_equal(manager->RegisterMemoryNotificationCallback(runtime), S_OK);
	assert_int_equal(runtime->Release(), 1);
	fake_watch_send(watch, PSB_KIND_LEVEL, PSB_LOW);
	fake_watch_settle(watch);
	assert_int_equal(Runtime::calls, 1);
	assert_int_equal(Runtime::last, eMemoryAvailableLow);
	fake_watch_send(watch, PSB_KIND_LEVEL, PSB_HIGH);
	fake_watch_settle(watch);
	assert_int_equal(Runtime::last, eMemoryAvailableHigh);
	assert_int_equal(manager->RegisterMemoryNotificationCallback(nullptr), S_OK);
	assert_int_equal(Runtime::alive, 0);
	assert_int_equal(manager->Release(), 0);
	psb_watch_unref(watch);
	assert_int_equal(fake_watches_wait(), 0);
}

void every_method_of_our_manager_can_be_called(void **)
{
	psb_watch *watch = fake_watch_new();
	psb_load load = psb_load();
	IHostMemoryManager *manager;
	IHostMalloc *heap;
	MEMORY_BASIC_INFORMATION info;
	DWORD old, percent;
	size_t size;
	void *p;

	load.percent = 12;
	load.available_bytes = 34;
	fake_watch_set_load(watch, 0, &load);
	assert_int_equal(psb_host_memory_manager_new(watch, &manager), 0);
	assert_int_equal(manager->QueryInterface(IID_IHostMemoryManager, &p), S_OK);
	assert_ptr_equal(p, manager);
	assert_int_equal(manager->AddRef(), 3);
	assert_int_equal(manager->Release(), 2);
	assert_int_equal(manager->Release(), 1);
	assert_int_equal(manager->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
	assert_int_equal(heap->Alloc(10, eTaskCritical, &p), S_OK);
	assert_int_equal(heap->Free(p), S_OK);
	assert_int_equal(heap->DebugAlloc(10, eTaskCritical, nullptr, 0, &p), S_OK);
	assert_int_equal(heap->Free(p), S_OK);
	assert_int_equal(heap->Release(), 1);
	assert_int_equal(manager->VirtualAlloc(nullptr, 4096, MEM_RESERVE | MEM_COMMIT,
					       PAGE_READWRITE, eProcessCritical, &p),
			 S_OK);
	std::memset(p, 1, 4096);
	assert_int_equal(manager->VirtualProtect(p, 4096, PAGE_READONLY, &old), S_OK);
	assert_int_equal(old, PAGE_READWRITE);
	assert_int_equal(manager->VirtualQuery(p, &info, sizeof(info), &size), S_OK);
	assert_int_equal(size, sizeof(info));
	assert_int_equal(info.Protect, PAGE_READONLY);
	assert_int_equal(manager->VirtualFree(p, 0, MEM_RELEASE), S_OK);
	assert_int_equal(manager->GetMemoryLoad(&percent, &size), S_OK);
	assert_int_equal(percent, 12);
	assert_int_equal(size, 34);
	assert_true(FAILED(manager->NeedsVirtualAddressSpace(nullptr, 1)));
	assert_int_equal(manager->AcquiredVirtualAddressSpace(nullptr, 1), S_OK);
	assert_int_equal(manager->ReleasedVirtualAddressSpace(nullptr), S_OK);

	assert_int_equal(manager->Release(), 0);
	psb_watch_unref(watch);
	assert_int_equal(fake_watches_wait(), 0);
}

/* In the Itanium C++ ABI the first word of a pointer to a virtual function says where in the table
 * it is: the offset, plus 1 where functions may not have odd addresses. */
template <typename Method> size_t slot_of(Method method)
{
	std::uintptr_t word;

	std::memcpy(&word, &method, sizeof(word));
	return (word & ~static_cast<std::uintptr_t>(1)) / sizeof(void *);
}

void every_slot_is_where_c_expects_it(void **)
{
	const size_t slots[][2] = {
		{ slot_of(&IUnknown::QueryInterface), 0 },
		{ slot_of(&IUnknown::AddRef), 1 },
		{ slot_of(&IUnknown::Release), 2 },
		{ slot_of(&ICLRMemoryNotificationCallback::OnMemoryNotification), 3 },
		{ slot_of(&IHostMalloc::Alloc), 3 },
		{ slot_of(&IHostMalloc::DebugAlloc), 4 },
		{ slot_of(&IHostMalloc::Free), 5 },
		{ slot_of(&IHostMemoryManager::CreateMalloc), 3 },
		{ slot_of(&IHostMemoryManager::VirtualAlloc), 4 },
		{ slot_of(&IHostMemoryManager::VirtualFree), 5 },
		{ slot_of(&IHostMemoryManager::VirtualQuery), 6 },
		{ slot_of(&IHostMemoryManager::VirtualProtect), 7 },
		{ slot_of(&IHostMemoryManager::GetMemoryLoad), 8 },
		{ slot_of(&IHostMemoryManager::RegisterMemoryNotificationCallback), 9 },
		{ slot_of(&IHostMemoryManager::NeedsVirtualAddressSpace), 10 },
		{ slot_of(&IHostMemoryManager::AcquiredVirtualAddressSpace), 11 },
		{ slot_of(&IHostMemoryManager::ReleasedVirtualAddressSpace), 12 },
		{ slot_of(&IHostControl::GetHostManager), 3 },
		{ slot_of(&IHostControl::SetAppDomainManager), 4 },
	};

	for (const auto &slot : slots)
		assert_int_equal(slot[0], slot[1]);
	assert_int_equal(sizeof(IHostMemoryManager), sizeof(void *));
	assert_int_equal(sizeof(MEMORY_BASIC_INFORMATION), sizeof(void *) == 8 ? 48 : 28);
}

} // namespace

TEST_GROUP(hosting_cxx)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_class_that_derives_is_called_and_released),
		cmocka_unit_test(every_method_of_our_manager_can_be_called),
		cmocka_unit_test(every_slot_is_where_c_expects_it),
	};

	return cmocka_run_group_tests(tests, nullptr, nullptr);
}
