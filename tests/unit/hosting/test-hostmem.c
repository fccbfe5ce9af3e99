/* SPDX-License-Identifier: MIT */
/*
 * test-hostmem.c - the memory slots of the hosting ABI: VirtualAlloc() and its family, and heaps
 *
 * What a page really allows is asked of the kernel: write(2) from it and read(2) into it answer
 * EFAULT where the processor would raise a signal.
 */
#include "../unit.h"
#include "../../threads.h"
#include "hosting-runtime.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define IMM_Free IHostMemoryManager_VirtualFree

static size_t page;
static int pipe_fds[2];

static int prepare(void **state)
{
	(void)state;
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

/* 16 pages without access. */
static char *reserve(struct fixture *f)
{
	void *p;

	assert_int_equal(alloc(f, NULL, 16 * page, MEM_RESERVE, PAGE_READWRITE, &p), S_OK);
	assert_int_equal((uintptr_t)p % 65536, 0);
	return p;
}

static void commit(struct fixture *f, char *p, size_t pages, DWORD protect)
{
	void *at;

	assert_int_equal(alloc(f, p, pages * page, MEM_COMMIT, protect, &at), S_OK);
	assert_ptr_equal(at, p);
}

static void release(struct fixture *f, void *p)
{
	assert_int_equal(IMM_Free(f->manager, p, 0, MEM_RELEASE), S_OK);
}

/* What VirtualQuery() says of page `first` of a reservation. */
static void assert_run(struct fixture *f, char *base, size_t first, size_t n, DWORD state,
		       DWORD protect)
{
	MEMORY_BASIC_INFORMATION info;
	size_t size;

	assert_int_equal(IHostMemoryManager_VirtualQuery(f->manager, base + first * page + 5, &info,
							 sizeof(info), &size),
			 S_OK);
	assert_int_equal(size, sizeof(info));
	assert_ptr_equal(info.BaseAddress, base + first * page);
	assert_ptr_equal(info.AllocationBase, base);
	assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
	assert_int_equal(info.RegionSize, n * page);
	assert_int_equal(info.State, state);
	assert_int_equal(info.Protect, protect);
	assert_int_equal(info.Type, MEM_PRIVATE);
}

/* ---- VirtualAlloc() and its family ----------------------------------------------------------- */

PROMISE(reserved_pages_have_no_access_and_committed_ones_what_was_asked)
{
	static const struct {
		DWORD protect;
		bool readable, writable;
	} table[] = {
		{ PAGE_NOACCESS, false, false },    { PAGE_READONLY, true, false },
		{ PAGE_READWRITE, true, true },	    { PAGE_EXECUTE, true, false },
		{ PAGE_EXECUTE_READ, true, false }, { PAGE_EXECUTE_READWRITE, true, true },
	};
	struct fixture *f = *state;
	char *p = reserve(f);

	assert_run(f, p, 0, 16, MEM_RESERVE, 0);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_false(is_readable(p + i * page));
		commit(f, p + i * page, 1, table[i].protect);
		assert_int_equal(is_readable(p + i * page), table[i].readable);
		assert_int_equal(is_writable(p + i * page), table[i].writable);
		assert_run(f, p, i, 1, MEM_COMMIT, table[i].protect);
		assert_run(f, p, i + 1, 15 - i, MEM_RESERVE, 0);
	}
	release(f, p);
}

PROMISE(a_commit_covers_every_page_it_touches_and_keeps_what_is_there)
{
	struct fixture *f = *state;
	char *p = reserve(f);
	void *at;

	assert_int_equal(alloc(f, p + page - 1, 2, MEM_COMMIT, PAGE_READWRITE, &at), S_OK);
	assert_ptr_equal(at, p);
	assert_run(f, p, 0, 2, MEM_COMMIT, PAGE_READWRITE);
	p[0] = 42;
	commit(f, p, 4, PAGE_READONLY);
	assert_int_equal(p[0], 42);
	assert_false(is_writable(p));
	release(f, p);
}

PROMISE(commit_without_an_address_reserves_too)
{
	static const DWORD types[] = { MEM_COMMIT, MEM_COMMIT | MEM_RESERVE,
				       MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN };
	struct fixture *f = *state;
	void *p;

	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		assert_int_equal(alloc(f, NULL, 3 * page + 1, types[i], PAGE_READWRITE, &p), S_OK);
		memset(p, 1, 4 * page);
		assert_run(f, p, 0, 4, MEM_COMMIT, PAGE_READWRITE);
		release(f, p);
		assert_false(is_readable(p));
	}
}

PROMISE(what_is_not_done_is_refused)
{
	struct fixture *f = *state;
	char *p = reserve(f);
	const struct {
		void *address;
		size_t size;
		DWORD type, protect;
		HRESULT result;
	} table[] = {
		{ NULL, 0, MEM_RESERVE, PAGE_READWRITE, E_INVALIDARG },
		{ NULL, page, 0, PAGE_READWRITE, E_INVALIDARG },
		{ NULL, page, MEM_TOP_DOWN, PAGE_READWRITE, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE | MEM_DECOMMIT, PAGE_READWRITE, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE | 0x20000000u, PAGE_READWRITE, E_INVALIDARG },
		{ p, page, MEM_RESET, PAGE_READWRITE, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, 0, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_READONLY, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_NOCACHE, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_WRITECOMBINE, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_WRITECOPY, E_INVALIDARG },
		{ NULL, page, MEM_RESERVE, PAGE_EXECUTE_WRITECOPY, E_INVALIDARG },
		{ p + 1024 * page, page, MEM_RESERVE, PAGE_READWRITE, E_OUTOFMEMORY },
		{ p, page, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, E_OUTOFMEMORY },
		{ NULL, SIZE_MAX, MEM_RESERVE, PAGE_READWRITE, E_OUTOFMEMORY },
		{ NULL, PTRDIFF_MAX, MEM_RESERVE, PAGE_READWRITE, E_OUTOFMEMORY },
		{ p, SIZE_MAX, MEM_COMMIT, PAGE_READWRITE, E_INVALIDARG },
		{ p, 16 * page + 1, MEM_COMMIT, PAGE_READWRITE, E_INVALIDARG },
		{ p + 16 * page, 1, MEM_COMMIT, PAGE_READWRITE, E_INVALIDARG },
		{ &f, 1, MEM_COMMIT, PAGE_READWRITE, E_INVALIDARG },
	};
	void *at;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		HRESULT result;

		at = f;
		result = alloc(f, table[i].address, table[i].size, table[i].type, table[i].protect,
			       &at);
		if (result != table[i].result || at)
			fail_msg("row %zu: %#x", i, (unsigned)result);
	}
	assert_run(f, p, 0, 16, MEM_RESERVE, 0);
	release(f, p);
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
	char *p = reserve(f);

	for (int locked = 0; locked < 2; locked++) {
		commit(f, p, 16, PAGE_READWRITE);
		memset(p, 1, 16 * page);
		if (locked && mlock(p, page) < 0)
			continue; /* no RLIMIT_MEMLOCK */
		assert_int_equal(IMM_Free(f->manager, p + 1, page, MEM_DECOMMIT), S_OK);
		assert_run(f, p, 0, 2, MEM_RESERVE, 0);
		assert_run(f, p, 2, 14, MEM_COMMIT, PAGE_READWRITE);
		assert_false(is_resident(p) || is_resident(p + page));
		assert_true(is_resident(p + 2 * page));
		assert_false(is_readable(p));
		commit(f, p, 1, PAGE_READWRITE);
		assert_int_equal(p[0], 0);
		assert_int_equal(IMM_Free(f->manager, p, 0, MEM_DECOMMIT), S_OK);
		assert_run(f, p, 0, 16, MEM_RESERVE, 0);
	}
	release(f, p);
}

PROMISE(release_wants_the_base_and_no_size)
{
	struct fixture *f = *state;
	char *p = reserve(f), *other = reserve(f);
	const struct {
		void *address;
		size_t size;
		DWORD type;
	} table[] = {
		{ p, 16 * page, MEM_RELEASE },
		{ p + page, 0, MEM_RELEASE },
		{ p + page, 0, MEM_DECOMMIT },
		{ p + page, 16 * page, MEM_DECOMMIT },
		{ p, 0, MEM_RELEASE | MEM_DECOMMIT },
		{ p, 0, MEM_COMMIT },
		{ NULL, 0, MEM_RELEASE },
		{ &f, 0, MEM_RELEASE },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (IMM_Free(f->manager, table[i].address, table[i].size, table[i].type) !=
		    E_INVALIDARG)
			fail_msg("row %zu", i);
	commit(f, p + 3 * page, 2, PAGE_READWRITE);
	release(f, p);
	assert_false(is_readable(p + 3 * page));
	assert_int_equal(IMM_Free(f->manager, p, 0, MEM_RELEASE), E_INVALIDARG);
	release(f, other);
}

PROMISE(protect_tells_what_the_first_page_had)
{
	struct fixture *f = *state;
	char *p = reserve(f);
	DWORD old = 99;
	const struct {
		void *address;
		size_t size;
		DWORD protect;
	} refused[] = { { p, 5 * page, PAGE_READONLY },
			{ p, 0, PAGE_READONLY },
			{ p, page, PAGE_GUARD },
			{ p, page, 0 },
			{ &old, 1, PAGE_READONLY } };

	commit(f, p, 2, PAGE_READWRITE);
	commit(f, p + 2 * page, 2, PAGE_READONLY);
	for (size_t i = 0; i < ELEMENTSOF(refused); i++)
		assert_int_equal(IHostMemoryManager_VirtualProtect(f->manager, refused[i].address,
								   refused[i].size,
								   refused[i].protect, &old),
				 E_INVALIDARG);
	assert_int_equal(old, 99);
	assert_true(is_writable(p));
	assert_int_equal(IHostMemoryManager_VirtualProtect(f->manager, p + page, 2 * page,
							   PAGE_EXECUTE_READ, &old),
			 S_OK);
	assert_int_equal(old, PAGE_READWRITE);
	assert_false(is_writable(p + page));
	assert_run(f, p, 0, 1, MEM_COMMIT, PAGE_READWRITE);
	assert_run(f, p, 1, 2, MEM_COMMIT, PAGE_EXECUTE_READ);
	assert_run(f, p, 3, 1, MEM_COMMIT, PAGE_READONLY);
	assert_run(f, p, 4, 12, MEM_RESERVE, 0);
	release(f, p);
}

PROMISE(a_query_answers_for_reservations_alone)
{
	struct fixture *f = *state;
	MEMORY_BASIC_INFORMATION info;
	char *p = reserve(f);
	void *const strangers[] = { NULL, &info, p - 1, p + 16 * page, (void *)UINTPTR_MAX };
	size_t size = 99;

	for (size_t i = 0; i <= ELEMENTSOF(strangers); i++) {
		bool small = i == ELEMENTSOF(strangers);

		assert_int_equal(IHostMemoryManager_VirtualQuery(f->manager,
								 small ? p : strangers[i], &info,
								 sizeof(info) - small, &size),
				 E_INVALIDARG);
	}
	assert_int_equal(size, 99);
	release(f, p);
}

#ifndef __SANITIZE_THREAD__ /* which has no memory left itself then */
/* A line of status, in bytes: VmData is what RLIMIT_DATA is about, VmSize the address space. */
static rlim_t status_bytes(const char *name)
{
	return (rlim_t)thread_number(getpid(), "status", name, 10) << 10;
}

PROMISE(a_commit_that_the_kernel_refuses_half_way_leaves_nothing_behind)
{
	struct fixture *f = *state;
	struct rlimit old, tight;
	char *p = reserve(f);
	rlim_t mapped;
	HRESULT part, whole;
	void *at;

	/* Two pages more may become writable: the first mapping in the range is changed, and the
	 * second one, which is larger, refused. */
	commit(f, p, 1, PAGE_READONLY);
	assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
	mapped = status_bytes("VmSize:");
	tight = old;
	tight.rlim_cur = status_bytes("VmData:") + 2 * page;
	assert_int_equal(setrlimit(RLIMIT_DATA, &tight), 0);
	part = alloc(f, p, 16 * page, MEM_COMMIT, PAGE_READWRITE, &at);
	whole = alloc(f, NULL, 4096 * page, MEM_COMMIT, PAGE_READWRITE, &at);
	assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
	assert_int_equal(part, E_OUTOFMEMORY);
	assert_int_equal(whole, E_OUTOFMEMORY);
	assert_null(at);
	assert_true(status_bytes("VmSize:") < mapped + 1000 * page);
	assert_run(f, p, 0, 1, MEM_COMMIT, PAGE_READONLY);
	assert_run(f, p, 1, 15, MEM_RESERVE, 0);
	assert_true(is_readable(p));
	assert_false(is_writable(p));
	assert_false(is_readable(p + page));
	release(f, p);
}
#endif

PROMISE(memory_stays_when_its_manager_goes_and_another_one_takes_it_back)
{
	struct fixture *f = *state;
	IHostMemoryManager *other;
	char *p;

	assert_int_equal(psb_host_memory_manager_new(f->watch, &other), 0);
	p = reserve(f);
	commit(f, p, 1, PAGE_READWRITE);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	f->manager = other;
	assert_true(is_writable(p));
	release(f, p);
	assert_false(is_readable(p));
}

/* ---- heaps ----------------------------------------------------------------------------------- */

PROMISE(a_heap_gives_aligned_memory_and_takes_it_back)
{
	struct fixture *f = *state;
	char file[] = "file.cpp";

	for (DWORD type = 0; type <= (MALLOC_THREADSAFE | MALLOC_EXECUTABLE); type++) {
		IHostMalloc *heap;
		void *p, *q;

		assert_int_equal(IHostMemoryManager_CreateMalloc(f->manager, type, &heap), S_OK);
		assert_int_equal(IHostMalloc_Alloc(heap, 0, eTaskCritical, &p), S_OK);
		assert_non_null(p);
		assert_int_equal(
			IHostMalloc_DebugAlloc(heap, 100000, eProcessCritical, file, 1, &q), S_OK);
		assert_ptr_not_equal(p, q);
		assert_int_equal((uintptr_t)p % 16 + (uintptr_t)q % 16, 0);
		memset(q, 7, 100000);
		assert_int_equal(IHostMalloc_Free(heap, p), S_OK);
		assert_int_equal(IHostMalloc_Free(heap, q), S_OK);
		assert_int_equal(IHostMalloc_Free(heap, NULL), S_OK);

		assert_int_equal(IHostMalloc_Alloc(heap, SIZE_MAX, eTaskCritical, &p),
				 E_OUTOFMEMORY);
		assert_null(p);
		assert_int_equal(IHostMalloc_Alloc(heap, 1, eTaskCritical, NULL), E_POINTER);
		assert_int_equal(IHostMalloc_Alloc(heap, 1, (EMemoryCriticalLevel)3, &p),
				 E_INVALIDARG);
		assert_int_equal(IHostMalloc_Alloc(heap, 1, (EMemoryCriticalLevel)-1, &p),
				 E_INVALIDARG);

		assert_int_equal(IHostMalloc_QueryInterface(heap, &IID_IHostMalloc, &p), S_OK);
		assert_ptr_equal(p, heap);
		assert_int_equal(IHostMalloc_QueryInterface(heap, &IID_IHostMemoryManager, &q),
				 E_NOINTERFACE);
		assert_null(q);
		assert_int_equal(IHostMalloc_Release(heap), 2);
		assert_int_equal(IHostMalloc_Release(heap), 1);
	}
}

PROMISE(executable_memory_can_be_written_and_run)
{
	struct fixture *f = *state;
	IHostMalloc *heap;
	void *p, *q;

	assert_int_equal(IHostMemoryManager_CreateMalloc(f->manager, MALLOC_EXECUTABLE, &heap),
			 S_OK);
	assert_int_equal(IHostMalloc_Alloc(heap, 6, eTaskCritical, &p), S_OK);
	assert_int_equal(IHostMalloc_Alloc(heap, 5000, eTaskCritical, &q), S_OK);
#ifdef __x86_64__
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov eax, 42; ret */
	union {
		void *pointer;
		int (*function)(void);
	} jump = { .pointer = p };

	memcpy(p, code, sizeof(code));
	assert_int_equal(jump.function(), 42);
#endif
	assert_int_equal(IHostMalloc_Free(heap, (char *)q + 1), E_INVALIDARG);
	assert_int_equal(IHostMalloc_Free(heap, heap), E_INVALIDARG);
	assert_int_equal(IHostMalloc_Free(heap, q), S_OK);
	assert_int_equal(IHostMalloc_Free(heap, q), E_INVALIDARG);
	/* One block is not freed: it stays when the heap goes. */
	assert_int_equal(IHostMalloc_Release(heap), 1);
	assert_true(is_writable(p));
	release(f, p);
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
			if (*(char *)p[i] != (char)i ||
			    IMM_Free(f->manager, p[i], 0, MEM_RELEASE) != S_OK)
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
