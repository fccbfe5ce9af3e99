/* SPDX-License-Identifier: MIT */
/*
 * test-hosting-windows.cc - a host in C++ needs no glue, and one as people wrote them for Windows compiles, and works
 *
 * Compiled with -Wnon-virtual-dtor -Woverloaded-virtual. A class in the style of the public hosts of the CLR: methods
 * declared with STDMETHOD or with STDMETHODCALLTYPE, defined with STDMETHODIMP, a LONG that counts references, IIDs
 * compared with ==. Nothing is changed for Linux but the calls into Windows, which here are psibridge's: memory and
 * notification come from its manager. The test is the CLR's part: it asks for the manager, gets a heap, registers, and is
 * told.
 */
#include <atomic>
#include <cstring>

#include "../unit.h"
#include "fake-watch.h"
#include "psibridge/hosting.h"

/* ---- the host -------------------------------------------------------------------------------- */

/* A method that hands its arguments on. */
#define FORWARD(method, parameters, ...)               \
	STDMETHOD(method) parameters                   \
	{                                              \
		return m_pMemory->method(__VA_ARGS__); \
	}

class MyHostMemoryManager : public IHostMemoryManager
{
      private:
	volatile LONG m_cRef;
	IHostMemoryManager *m_pMemory;

      public:
	BOOL m_fRegistered;
	static LONG s_cAlive;

	MyHostMemoryManager(IHostMemoryManager *pMemory)
	    : m_cRef(1), m_pMemory(pMemory), m_fRegistered(0)
	{
		m_pMemory->AddRef();
		s_cAlive++;
	}
	virtual ~MyHostMemoryManager()
	{
		m_pMemory->Release();
		s_cAlive--;
	}
	virtual HRESULT STDMETHODCALLTYPE QueryInterface(
		/* [in] */ REFIID riid,
		/* [iid_is][out] */ void **ppvObject);
	virtual ULONG STDMETHODCALLTYPE AddRef();
	virtual ULONG STDMETHODCALLTYPE Release();
	STDMETHOD(RegisterMemoryNotificationCallback)(ICLRMemoryNotificationCallback *pCallback);
	FORWARD(CreateMalloc, (DWORD dwMallocType, IHostMalloc **ppMalloc), dwMallocType, ppMalloc)
	FORWARD(VirtualAlloc,
		(void *pAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect,
		 EMemoryCriticalLevel eCriticalLevel, void **ppMem),
		pAddress, dwSize, flAllocationType, flProtect, eCriticalLevel, ppMem)
	FORWARD(VirtualFree, (LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType), lpAddress, dwSize,
		dwFreeType)
	FORWARD(VirtualQuery, (void *lpAddress, void *lpBuffer, SIZE_T dwLength, SIZE_T *pResult),
		lpAddress, lpBuffer, dwLength, pResult)
	FORWARD(VirtualProtect,
		(void *lpAddress, SIZE_T dwSize, DWORD flNewProtect, DWORD *pflOldProtect),
		lpAddress, dwSize, flNewProtect, pflOldProtect)
	FORWARD(GetMemoryLoad, (DWORD * pMemoryLoad, SIZE_T *pAvailableBytes), pMemoryLoad,
		pAvailableBytes)
	FORWARD(NeedsVirtualAddressSpace, (LPVOID startAddress, SIZE_T size), startAddress, size)
	FORWARD(AcquiredVirtualAddressSpace, (LPVOID startAddress, SIZE_T size), startAddress, size)
	FORWARD(ReleasedVirtualAddressSpace, (LPVOID startAddress), startAddress)
};

LONG MyHostMemoryManager::s_cAlive = 0;

STDMETHODIMP MyHostMemoryManager::QueryInterface(REFIID riid, void **ppvObject)
{
	if (ppvObject == NULL)
		return E_POINTER;
	if (riid == IID_IUnknown || riid == IID_IHostMemoryManager) {
		*ppvObject = static_cast<IHostMemoryManager *>(this);
		AddRef();
		return S_OK;
	}
	*ppvObject = NULL;
	return E_NOINTERFACE;
}

STDMETHODIMP_(ULONG) MyHostMemoryManager::AddRef()
{
	return (ULONG)__sync_add_and_fetch(&m_cRef, 1); /* InterlockedIncrement() */
}

STDMETHODIMP_(ULONG) MyHostMemoryManager::Release()
{
	LONG cRef = __sync_sub_and_fetch(&m_cRef, 1);

	if (cRef == 0)
		delete this;
	return (ULONG)cRef;
}

STDMETHODIMP
MyHostMemoryManager::RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback *pCallback)
{
	HRESULT hr = m_pMemory->RegisterMemoryNotificationCallback(pCallback);

	if (FAILED(hr))
		return hr;
	m_fRegistered = pCallback != NULL;
	return S_OK;
}

/* ---- what the CLR does with it ----------------------------------------------------------------- */

namespace
{

/* What a runtime of today writes: one class, no tables. Its destructor is virtual, behind the slots. */
class Clr : public ICLRMemoryNotificationCallback
{
      public:
	static std::atomic<int> calls, last, alive;

	Clr()
	{
		alive++;
	}
	HRESULT __stdcall QueryInterface(const IID &riid, LPVOID *ppv) override
	{
		*ppv = riid == IID_ICLRMemoryNotificationCallback ? this : nullptr;
		if (*ppv)
			AddRef();
		return *ppv ? S_OK : E_NOINTERFACE;
	}
	STDMETHODIMP_(ULONG) AddRef() override
	{
		return ++references;
	}
	STDMETHODIMP_(ULONG) Release() override
	{
		ULONG left = --references;

		if (left == 0)
			delete this;
		return left;
	}
	STDMETHODIMP OnMemoryNotification(EMemoryAvailable eMemoryAvailable) override
	{
		last = eMemoryAvailable;
		calls++;
		return S_OK;
	}

      protected:
	virtual ~Clr()
	{
		alive--;
	}

      private:
	std::atomic<ULONG> references{ 1 };
};

std::atomic<int> Clr::calls, Clr::last, Clr::alive;

/* Every method once: ours is a table in C, so each is in the slot where C++ expects it. */
void use_memory(IHostMemoryManager *manager)
{
	MEMORY_BASIC_INFORMATION info;
	DWORD old, percent;
	IHostMalloc *heap;
	LPVOID memory;
	SIZE_T size;

	assert_int_equal(manager->CreateMalloc(MALLOC_THREADSAFE, &heap), S_OK);
	assert_int_equal(heap->Alloc(100, eTaskCritical, &memory), S_OK);
	assert_int_equal(heap->Free(memory), S_OK);
	assert_int_equal(heap->DebugAlloc(10, eTaskCritical, nullptr, 0, &memory), S_OK);
	assert_int_equal(heap->Free(memory), S_OK);
	heap->Release();
	assert_int_equal(manager->VirtualAlloc(NULL, 1 << 16, MEM_RESERVE | MEM_COMMIT,
					       PAGE_READWRITE, eProcessCritical, &memory),
			 S_OK);
	assert_int_equal(manager->VirtualProtect(memory, 4096, PAGE_READONLY, &old), S_OK);
	assert_int_equal(old, PAGE_READWRITE);
	assert_int_equal(manager->VirtualQuery(memory, &info, sizeof(info), &size), S_OK);
	assert_int_equal(info.Protect, PAGE_READONLY);
	assert_int_equal(manager->VirtualFree(memory, 0, MEM_RELEASE), S_OK);
	assert_int_equal(manager->GetMemoryLoad(&percent, &size), S_OK);
	assert_in_range(percent, 0, 100);
	assert_true(FAILED(manager->NeedsVirtualAddressSpace(nullptr, 1)));
	assert_int_equal(manager->AcquiredVirtualAddressSpace(nullptr, 1), S_OK);
	assert_int_equal(manager->ReleasedVirtualAddressSpace(nullptr), S_OK);
}

PROMISE(a_host_written_for_windows_is_asked_and_told)
{
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *ours, *theirs;
	MyHostMemoryManager *manager;
	Clr *clr = new Clr;
	LPVOID object;

	assert_int_equal(psb_bridge_new(nullptr, &bridge), 0);
	watch = fake_watch_new(bridge);
	assert_int_equal(psb_host_memory_manager_new(watch, &ours), 0);
	manager = new MyHostMemoryManager(ours);
	assert_int_equal(manager->QueryInterface(IID_IHostMalloc, &object), E_NOINTERFACE);
	assert_int_equal(manager->QueryInterface(IID_IHostMemoryManager, &object), S_OK);
	theirs = static_cast<IHostMemoryManager *>(object);
	use_memory(theirs);
	assert_int_equal(theirs->RegisterMemoryNotificationCallback(clr), S_OK);
	assert_int_equal(clr->Release(), 1);
	assert_true(manager->m_fRegistered);

	fake_watch_send(watch, PSB_KIND_LEVEL, PSB_LOW);
	fake_watch_settle(watch);
	assert_int_equal(Clr::last, eMemoryAvailableLow);
	assert_int_equal(Clr::calls, 1);

	assert_int_equal(theirs->RegisterMemoryNotificationCallback(NULL), S_OK);
	assert_int_equal(Clr::alive, 0);
	theirs->Release();
	assert_int_equal(manager->Release(), 0);
	assert_int_equal(MyHostMemoryManager::s_cAlive, 0);
	assert_int_equal(ours->Release(), 0);
	psb_watch_unref(watch);
	assert_int_equal(fake_watches_end(bridge), 0);
}

PROMISE(guids_are_equal_byte_for_byte)
{
	assert_true(IID_IUnknown == IID_IUnknown);
	assert_false(IID_IUnknown != IID_IUnknown);
	for (SIZE_T i = 0; i < sizeof(GUID); i++) {
		GUID other = IID_IHostMemoryManager;

		reinterpret_cast<unsigned char *>(&other)[i] ^= 1;
		assert_true(other != IID_IHostMemoryManager);
		assert_false(other == IID_IHostMemoryManager);
	}
}

} /* namespace */
