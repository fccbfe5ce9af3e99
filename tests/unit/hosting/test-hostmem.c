/* SPDX-License-Identifier: MIT */
/*
 * test-hostmem.c - the memory slots of the hosting ABI: VirtualAlloc() and its family, and the heap
 *
 * What a page really allows is asked of the kernel: write(2) from it and read(2) into it answer
 * EFAULT where the processor would raise a signal.
 */
#include "../unit.h"
#include "hosting-runtime.h"

#include <sys/mman.h>

#define PAGES 8

static const struct kind {
	char letter;
	DWORD protect;
	bool readable, writable;
} kinds[] = {
	{ '.', 0, false, false }, /* reserved only */
	{ 'n', PAGE_NOACCESS, false, false },
	{ 'r', PAGE_READONLY, true, false },
	{ 'w', PAGE_READWRITE, true, true },
	{ 'e', PAGE_EXECUTE, true, false },
	{ 'x', PAGE_EXECUTE_READ, true, false },
	{ 'a', PAGE_EXECUTE_READWRITE, true, true },
};

static size_t page;
static int pipe_fds[2];

static int prepare(_unused_ void **state)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	return pipe(pipe_fds);
}

GROUP(prepare, NULL)

static bool is_readable(const char *p)
{
	char c;

	if (write(pipe_fds[1], p, 1) != 1)
		return false;
	assert_int_equal(read(pipe_fds[0], &c, 1), 1);
	return true;
}

/* Writes a 7. */
static bool is_writable(char *p)
{
	char seven = 7;

	assert_int_equal(write(pipe_fds[1], &seven, 1), 1);
	if (read(pipe_fds[0], p, 1) == 1)
		return true;
	assert_int_equal(read(pipe_fds[0], &seven, 1), 1);
	return false;
}

static HRESULT alloc(struct fixture *f, void *address, size_t size, DWORD type, DWORD protect,
		     void **ret)
{
	return IHostMemoryManager_VirtualAlloc(f->manager, address, size, type, protect,
					       eTaskCritical, ret);
}

static HRESULT release(struct fixture *f, void *p)
{
	return IHostMemoryManager_VirtualFree(f->manager, p, 0, MEM_RELEASE);
}

static char *reserve(struct fixture *f)
{
	void *p;

	assert_int_equal(alloc(f, NULL, PAGES * page, MEM_RESERVE, PAGE_READWRITE, &p), S_OK);
	assert_int_equal((uintptr_t)p % 65536, 0);
	return p;
}

/* What VirtualQuery() and the kernel say of the pages, a letter for each. */
static void assert_pages(struct fixture *f, char *base, const char *pages)
{
	for (size_t i = 0; pages[i]; i++) {
		const struct kind *kind = kinds;
		MEMORY_BASIC_INFORMATION info;
		char *p = base + i * page;
		size_t size, run = 1;

		while (kind->letter != pages[i])
			kind++;
		while (pages[i + run] == pages[i])
			run++;
		assert_int_equal(IHostMemoryManager_VirtualQuery(f->manager, p + 5, &info,
								 sizeof(info), &size),
				 S_OK);
		assert_int_equal(size, sizeof(info));
		assert_ptr_equal(info.BaseAddress, p);
		assert_ptr_equal(info.AllocationBase, base);
		assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
		assert_int_equal(info.RegionSize, run * page);
		assert_int_equal(info.State, kind->protect ? MEM_COMMIT : MEM_RESERVE);
		assert_int_equal(info.Protect, kind->protect);
		assert_int_equal(info.Type, MEM_PRIVATE);
		assert_int_equal(is_readable(p), kind->readable);
		assert_int_equal(is_writable(p), kind->writable);
	}
}

PROMISE(pages_are_committed_protected_and_decommitted_each_by_itself)
{
#define COMMIT MEM_COMMIT
#define FREE MEM_DECOMMIT
#define PROTECT 0 /* and what the first page had before */
	struct fixture *f = *state;
	const struct {
		DWORD what, protect;
		size_t at, size;
		DWORD before;
		const char *pages;
	} steps[] = {
		{ COMMIT, PAGE_NOACCESS, 0, 1, 0, "n......." },
		{ COMMIT, PAGE_READONLY, page, page, 0, "nr......" },
		{ COMMIT, PAGE_EXECUTE, 2 * page, page, 0, "nre....." },
		{ COMMIT, PAGE_EXECUTE_READ, 3 * page, page, 0, "nrex...." },
		{ COMMIT, PAGE_EXECUTE_READWRITE, 4 * page, page, 0, "nrexa..." },
		/* every page that is touched, committed or not */
		{ COMMIT, PAGE_READWRITE, page - 1, 2, 0, "wwexa..." },
		{ COMMIT, PAGE_READWRITE, 0, 8 * page, 0, "wwwwwwww" },
		{ PROTECT, PAGE_EXECUTE_READ, 3 * page, 2 * page, PAGE_READWRITE, "wwwxxwww" },
		{ PROTECT, PAGE_READONLY, 4 * page, page + 1, PAGE_EXECUTE_READ, "wwwxrrww" },
		{ FREE, 0, page + 1, page, 0, "w..xrrww" },
		{ COMMIT, PAGE_READWRITE, page, 1, 0, "ww.xrrww" },
		{ FREE, 0, 7 * page, page, 0, "ww.xrrw." },
		{ FREE, 0, 0, 0, 0, "........" },
	};
	char *p = reserve(f);

	assert_pages(f, p, "........");
	for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
		char *at = p + steps[i].at;
		HRESULT result;
		DWORD old = 0;
		void *start;

		if (steps[i].what == COMMIT) {
			result = alloc(f, at, steps[i].size, MEM_COMMIT, steps[i].protect, &start);
			assert_ptr_equal(start, p + steps[i].at / page * page);
		} else if (steps[i].what == FREE) {
			result = IHostMemoryManager_VirtualFree(f->manager, at, steps[i].size,
								MEM_DECOMMIT);
		} else {
			result = IHostMemoryManager_VirtualProtect(f->manager, at, steps[i].size,
								   steps[i].protect, &old);
		}
		if (result != S_OK || old != steps[i].before)
			fail_msg("step %zu: %#x, %u", i, (unsigned)result, old);
		assert_pages(f, p, steps[i].pages);
	}
	assert_int_equal(release(f, p), S_OK);
	assert_false(is_readable(p));
}

PROMISE(commit_without_an_address_reserves_too_and_both_keep_what_is_there)
{
	static const DWORD types[] = { MEM_COMMIT, MEM_COMMIT | MEM_RESERVE,
				       MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN };
	struct fixture *f = *state;
	void *p, *at;

	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		assert_int_equal(alloc(f, NULL, 3 * page + 1, types[i], PAGE_READWRITE, &p), S_OK);
		memset(p, 42, 4 * page);
		assert_pages(f, p, "wwww");
		assert_int_equal(alloc(f, p, page, MEM_COMMIT, PAGE_READONLY, &at), S_OK);
		assert_int_equal(((char *)p)[1], 42);
		assert_int_equal(release(f, p), S_OK);
	}
}

static bool is_resident(char *p)
{
	unsigned char there;

	assert_int_equal(mincore(p, page, &there), 0);
	return there & 1;
}

PROMISE(decommit_gives_pages_back_and_they_read_as_zero_later)
{
	struct fixture *f = *state;
	void *p, *at;

	for (int locked = 0; locked < 2; locked++) {
		assert_int_equal(alloc(f, NULL, page, MEM_COMMIT, PAGE_READWRITE, &p), S_OK);
		memset(p, 1, page);
		if (!locked || mlock(p, page) == 0) { /* or no RLIMIT_MEMLOCK */
			assert_int_equal(
				IHostMemoryManager_VirtualFree(f->manager, p, page, MEM_DECOMMIT),
				S_OK);
			assert_false(is_resident(p));
			assert_int_equal(alloc(f, p, page, MEM_COMMIT, PAGE_READWRITE, &at), S_OK);
			assert_int_equal(*(char *)p, 0);
		}
		assert_int_equal(release(f, p), S_OK);
	}
}

PROMISE(what_is_not_done_is_refused)
{
	struct fixture *f = *state;
	char *p = reserve(f);
	const size_t end = PAGES * page;
	const struct {
		void *address;
		size_t size;
		DWORD type, protect;
	} allocs[] = {
		{ NULL, 0, MEM_RESERVE, PAGE_READWRITE },
		{ NULL, page, 0, PAGE_READWRITE },
		{ NULL, page, MEM_TOP_DOWN, PAGE_READWRITE },
		{ NULL, page, MEM_RESERVE | MEM_DECOMMIT, PAGE_READWRITE },
		{ NULL, page, MEM_RESERVE | 0x20000000u, PAGE_READWRITE },
		{ p, page, MEM_RESET, PAGE_READWRITE },
		{ NULL, page, MEM_RESERVE, 0 },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_READONLY },
		{ NULL, page, MEM_RESERVE, PAGE_WRITECOPY },
		{ NULL, page, MEM_RESERVE, PAGE_EXECUTE_WRITECOPY },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_NOCACHE },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_WRITECOMBINE },
		{ p, SIZE_MAX, MEM_COMMIT, PAGE_READWRITE },
		{ p, end + 1, MEM_COMMIT, PAGE_READWRITE },
		{ p + end, 1, MEM_COMMIT, PAGE_READWRITE },
		{ &f, 1, MEM_COMMIT, PAGE_READWRITE },
		/* no room: E_OUTOFMEMORY */
		{ p, page, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE },
		{ NULL, SIZE_MAX, MEM_RESERVE, PAGE_READWRITE },
		{ NULL, PTRDIFF_MAX, MEM_RESERVE, PAGE_READWRITE },
	}, frees[] = {
		{ p, end, MEM_RELEASE, 0 },
		{ p + page, 0, MEM_RELEASE, 0 },
		{ p + page, 0, MEM_DECOMMIT, 0 },
		{ p + page, end, MEM_DECOMMIT, 0 },
		{ p, 0, MEM_RELEASE | MEM_DECOMMIT, 0 },
		{ p, 0, MEM_COMMIT, 0 },
		{ NULL, 0, MEM_RELEASE, 0 },
		{ &f, 0, MEM_RELEASE, 0 },
	}, protects[] = {
		{ p, 3 * page, 0, PAGE_READONLY }, /* one is not committed */
		{ p, 0, 0, PAGE_READONLY },
		{ p, page, 0, PAGE_GUARD },
		{ p, page, 0, 0 },
		{ &f, 1, 0, PAGE_READONLY },
	};
	void *const unknown[] = { NULL, &f, p - 1, p + end, (void *)UINTPTR_MAX };
	MEMORY_BASIC_INFORMATION info;
	size_t size = 99;
	DWORD old = 99;
	void *at;

	assert_int_equal(alloc(f, p, 2 * page, MEM_COMMIT, PAGE_READWRITE, &at), S_OK);
	for (size_t i = 0; i < ELEMENTSOF(allocs); i++) {
		HRESULT result = alloc(f, allocs[i].address, allocs[i].size, allocs[i].type,
				       allocs[i].protect, &at);

		if (result != (i < ELEMENTSOF(allocs) - 3 ? E_INVALIDARG : E_OUTOFMEMORY) || at)
			fail_msg("alloc %zu: %#x", i, (unsigned)result);
	}
	for (size_t i = 0; i < ELEMENTSOF(frees); i++)
		if (IHostMemoryManager_VirtualFree(f->manager, frees[i].address, frees[i].size,
						   frees[i].type) != E_INVALIDARG)
			fail_msg("free %zu", i);
	for (size_t i = 0; i < ELEMENTSOF(protects); i++)
		if (IHostMemoryManager_VirtualProtect(f->manager, protects[i].address,
						      protects[i].size, protects[i].protect,
						      &old) != E_INVALIDARG)
			fail_msg("protect %zu", i);
	for (size_t i = 0; i < ELEMENTSOF(unknown); i++)
		assert_int_equal(IHostMemoryManager_VirtualQuery(f->manager, unknown[i], &info,
								 sizeof(info), &size),
				 E_INVALIDARG);
	assert_int_equal(
		IHostMemoryManager_VirtualQuery(f->manager, p, &info, sizeof(info) - 1, &size),
		E_INVALIDARG);
	assert_int_equal(size + old, 99 + 99);
	assert_pages(f, p, "ww......");
	assert_int_equal(release(f, p), S_OK);
	assert_int_equal(release(f, p), E_INVALIDARG);
}

PROMISE(memory_stays_when_its_manager_goes)
{
	struct fixture *f = *state;
	void *p;

	assert_int_equal(alloc(f, NULL, 1, MEM_COMMIT, PAGE_READWRITE, &p), S_OK);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	f->manager = NULL;
	assert_true(is_writable(p));
}

PROMISE(a_heap_gives_aligned_memory_and_shares_the_managers_references)
{
	struct fixture *f = *state;
	char file[] = "file.cpp";
	IHostMalloc *heap;
	void *p, *q;

	assert_int_equal(IHostMemoryManager_CreateMalloc(f->manager, MALLOC_THREADSAFE, &heap),
			 S_OK);
	assert_int_equal(IHostMalloc_Alloc(heap, 0, eTaskCritical, &p), S_OK);
	assert_non_null(p);
	assert_int_equal(IHostMalloc_DebugAlloc(heap, 100000, eProcessCritical, file, 1, &q), S_OK);
	assert_int_equal((uintptr_t)p % 16 + (uintptr_t)q % 16, 0);
	memset(q, 7, 100000);
	assert_int_equal(IHostMalloc_Free(heap, p), S_OK);
	assert_int_equal(IHostMalloc_Free(heap, q), S_OK);
	assert_int_equal(IHostMalloc_Free(heap, NULL), S_OK);
	assert_int_equal(IHostMalloc_Alloc(heap, SIZE_MAX, eTaskCritical, &p), E_OUTOFMEMORY);
	assert_null(p);
	assert_int_equal(IHostMalloc_Alloc(heap, 1, eTaskCritical, NULL), E_POINTER);

	assert_int_equal(IHostMalloc_QueryInterface(heap, &IID_IHostMalloc, &p), S_OK);
	assert_ptr_equal(p, heap);
	assert_int_equal(IHostMalloc_QueryInterface(heap, &IID_IHostMemoryManager, &q),
			 E_NOINTERFACE);
	assert_null(q);
	assert_int_equal(IHostMalloc_Release(heap), 2);
	assert_int_equal(IHostMalloc_Release(heap), 1);
}

/* Each page is its thread's alone, so what is read back is what was written. */
static void *reserve_and_release(void *arg)
{
	struct fixture *f = arg;
	void *p[40];

	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < ELEMENTSOF(p); i++) {
			if (alloc(f, NULL, i + 1, MEM_COMMIT, PAGE_READWRITE, &p[i]) != S_OK)
				return arg;
			*(char *)p[i] = (char)i;
		}
		for (size_t i = 0; i < ELEMENTSOF(p); i++)
			if (*(char *)p[i] != (char)i || release(f, p[i]) != S_OK)
				return arg;
	}
	return NULL;
}

PROMISE(many_threads_may_reserve_and_release_at_once)
{
	pthread_t threads[4];
	void *failed;

	for (size_t i = 0; i < ELEMENTSOF(threads); i++)
		pthread_create(&threads[i], NULL, reserve_and_release, *state);
	for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}
