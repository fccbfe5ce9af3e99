/* SPDX-License-Identifier: MIT */
/*
 * test-hostmem.c - the memory slots of the hosting ABI: VirtualAlloc() and its family, and the heap
 *
 * What a page really allows is asked of the kernel: write(2) from it and read(2) into it answer
 * EFAULT where the processor would raise a signal.
 */
#include "../unit.h"
#include "../../threads.h"
#include "hosting-runtime.h"

#include <sys/mman.h>
#include <sys/resource.h>

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

struct step {
	enum { ALLOC, FREE, PROTECT, QUERY } what;
	void *address;
	size_t size;
	DWORD type, protect;
	HRESULT result;
	DWORD before;	   /* PROTECT: what the first page had */
	const char *pages; /* afterwards */
};

/* What goes wrong writes nothing, but for the NULL of VirtualAlloc(). */
static HRESULT run(struct fixture *f, const struct step *s)
{
	MEMORY_BASIC_INFORMATION info;
	DWORD before = 99;
	size_t size = 99;
	void *at = f;
	HRESULT r = E_FAIL;

	switch (s->what) {
	case ALLOC:
		r = alloc(f, s->address, s->size, s->type, s->protect, &at);
		assert_ptr_equal(at, r == S_OK ? (char *)s->address - (uintptr_t)s->address % page
					       : NULL);
		break;
	case FREE:
		r = IHostMemoryManager_VirtualFree(f->manager, s->address, s->size, s->type);
		break;
	case PROTECT:
		r = IHostMemoryManager_VirtualProtect(f->manager, s->address, s->size, s->protect,
						      &before);
		assert_int_equal(before, r == S_OK ? s->before : 99);
		break;
	case QUERY:
		r = IHostMemoryManager_VirtualQuery(f->manager, s->address, &info, s->size, &size);
		assert_int_equal(size, 99);
		break;
	}
	return r;
}

PROMISE(pages_are_committed_protected_and_decommitted_each_by_itself_and_the_rest_is_refused)
{
#define COMMIT(at, size, protect, pages)                                   \
	{                                                                  \
		ALLOC, p + (at), size, MEM_COMMIT, protect, S_OK, 0, pages \
	}
#define DECOMMIT(at, size, pages)                                     \
	{                                                             \
		FREE, p + (at), size, MEM_DECOMMIT, 0, S_OK, 0, pages \
	}
#define CHANGE(at, size, protect, before, pages)                         \
	{                                                                \
		PROTECT, p + (at), size, 0, protect, S_OK, before, pages \
	}
#define REFUSED(what, address, size, type, protect)                       \
	{                                                                 \
		what, address, size, type, protect, E_INVALIDARG, 0, NULL \
	}
#define NO_ROOM(address, size, type)                                               \
	{                                                                          \
		ALLOC, address, size, type, PAGE_READWRITE, E_OUTOFMEMORY, 0, NULL \
	}
	struct fixture *f = *state;
	char *p = reserve(f);
	const size_t end = PAGES * page;
	const struct step steps[] = {
		COMMIT(0, 1, PAGE_NOACCESS, "n......."),
		COMMIT(page, page, PAGE_READONLY, "nr......"),
		COMMIT(2 * page, page, PAGE_EXECUTE, "nre....."),
		COMMIT(3 * page, page, PAGE_EXECUTE_READ, "nrex...."),
		COMMIT(4 * page, page, PAGE_EXECUTE_READWRITE, "nrexa..."),
		/* every page that is touched, committed or not */
		COMMIT(page - 1, 2, PAGE_READWRITE, "wwexa..."),
		COMMIT(0, end, PAGE_READWRITE, "wwwwwwww"),
		CHANGE(3 * page, 2 * page, PAGE_EXECUTE_READ, PAGE_READWRITE, "wwwxxwww"),
		CHANGE(4 * page, page + 1, PAGE_READONLY, PAGE_EXECUTE_READ, "wwwxrrww"),
		DECOMMIT(page + 1, page, "w..xrrww"),
		COMMIT(page, 1, PAGE_READWRITE, "ww.xrrww"),
		DECOMMIT(7 * page, page, "ww.xrrw."),
		/* what is not done */
		REFUSED(ALLOC, NULL, 0, MEM_RESERVE, PAGE_READWRITE),
		REFUSED(ALLOC, NULL, page, 0, PAGE_READWRITE),
		REFUSED(ALLOC, NULL, page, MEM_TOP_DOWN, PAGE_READWRITE),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE | MEM_DECOMMIT, PAGE_READWRITE),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE | 0x20000000u, PAGE_READWRITE),
		REFUSED(ALLOC, p, page, MEM_RESET, PAGE_READWRITE),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, 0),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_READONLY),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_WRITECOPY),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_EXECUTE_WRITECOPY),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_NOCACHE),
		REFUSED(ALLOC, NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_WRITECOMBINE),
		REFUSED(ALLOC, p, SIZE_MAX, MEM_COMMIT, PAGE_READWRITE),
		REFUSED(ALLOC, p, end + 1, MEM_COMMIT, PAGE_READWRITE),
		REFUSED(ALLOC, p + end, 1, MEM_COMMIT, PAGE_READWRITE),
		REFUSED(ALLOC, &f, 1, MEM_COMMIT, PAGE_READWRITE),
		NO_ROOM(p, page, MEM_RESERVE | MEM_COMMIT),
		NO_ROOM(NULL, SIZE_MAX, MEM_RESERVE),
		NO_ROOM(NULL, PTRDIFF_MAX, MEM_RESERVE),
		REFUSED(FREE, p, end, MEM_RELEASE, 0),
		REFUSED(FREE, p + page, 0, MEM_RELEASE, 0),
		REFUSED(FREE, p + page, 0, MEM_DECOMMIT, 0),
		REFUSED(FREE, p + page, end, MEM_DECOMMIT, 0),
		REFUSED(FREE, p, 0, MEM_RELEASE | MEM_DECOMMIT, 0),
		REFUSED(FREE, p, 0, MEM_COMMIT, 0),
		REFUSED(FREE, NULL, 0, MEM_RELEASE, 0),
		REFUSED(FREE, &f, 0, MEM_RELEASE, 0),
		REFUSED(PROTECT, p, 3 * page, 0, PAGE_READONLY), /* one is not committed */
		REFUSED(PROTECT, p, 0, 0, PAGE_READONLY),
		REFUSED(PROTECT, p, page, 0, PAGE_GUARD),
		REFUSED(PROTECT, p, page, 0, 0),
		REFUSED(PROTECT, &f, 1, 0, PAGE_READONLY),
		REFUSED(QUERY, NULL, sizeof(MEMORY_BASIC_INFORMATION), 0, 0),
		REFUSED(QUERY, &f, sizeof(MEMORY_BASIC_INFORMATION), 0, 0),
		REFUSED(QUERY, p - 1, sizeof(MEMORY_BASIC_INFORMATION), 0, 0),
		REFUSED(QUERY, p + end, sizeof(MEMORY_BASIC_INFORMATION), 0, 0),
		REFUSED(QUERY, p, sizeof(MEMORY_BASIC_INFORMATION) - 1, 0, 0),
		DECOMMIT(0, 0, "........"),
	};
	const char *pages = "........";

	for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
		HRESULT result = run(f, &steps[i]);

		if (result != steps[i].result)
			fail_msg("step %zu: %#x", i, (unsigned)result);
		pages = steps[i].pages ? steps[i].pages : pages;
		assert_pages(f, p, pages);
	}
	assert_int_equal(release(f, p), S_OK);
	assert_false(is_readable(p));
	assert_int_equal(release(f, p), E_INVALIDARG);
}

static bool is_resident(char *p)
{
	unsigned char there;

	assert_int_equal(mincore(p, page, &there), 0);
	return there & 1;
}

/* The last reservation stays when the manager goes. */
PROMISE(memory_keeps_what_is_there_until_it_is_decommitted_also_where_it_is_locked)
{
	static const DWORD types[] = { MEM_COMMIT, MEM_COMMIT | MEM_RESERVE,
				       MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN };
	struct fixture *f = *state;
	void *at;
	char *p;

	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		assert_int_equal(alloc(f, NULL, 3 * page + 1, types[i], PAGE_READWRITE, &at), S_OK);
		p = at;
		memset(p, 42, 4 * page);
		if (i == 1)
			(void)mlock(p, page); /* if RLIMIT_MEMLOCK permits */
		assert_pages(f, p, "wwww");
		assert_int_equal(alloc(f, p, 2 * page, MEM_COMMIT, PAGE_READONLY, &at), S_OK);
		assert_int_equal(p[1] + p[page + 1], 42 + 42);
		assert_int_equal(IHostMemoryManager_VirtualFree(f->manager, p, page, MEM_DECOMMIT),
				 S_OK);
		assert_false(is_resident(p));
		assert_true(is_resident(p + page));
		assert_int_equal(alloc(f, p, page, MEM_COMMIT, PAGE_READWRITE, &at), S_OK);
		assert_int_equal(p[1], 0);
		if (i + 1 < ELEMENTSOF(types))
			assert_int_equal(release(f, p), S_OK);
	}
	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	f->manager = NULL;
	assert_true(is_writable(p));
}

#ifndef __SANITIZE_THREAD__ /* which has no memory left itself then */
/* A line of status, in bytes: VmData is what RLIMIT_DATA is about, VmSize the address space. */
static rlim_t status_bytes(const char *name)
{
	return (rlim_t)thread_number(getpid(), "status", name, 10) << 10;
}

PROMISE(a_commit_that_the_kernel_refuses_leaves_nothing_behind)
{
	struct rlimit old, tight;
	rlim_t mapped;
	HRESULT result;
	void *at;

	assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
	mapped = status_bytes("VmSize:");
	tight = old;
	tight.rlim_cur = status_bytes("VmData:") + 16 * page;
	assert_int_equal(setrlimit(RLIMIT_DATA, &tight), 0);
	result = alloc(*state, NULL, 4096 * page, MEM_COMMIT, PAGE_READWRITE, &at);
	assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
	assert_int_equal(result, E_OUTOFMEMORY);
	assert_null(at);
	assert_true(status_bytes("VmSize:") < mapped + 1000 * page);
}
#endif

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

	for (size_t i = 0; i < 10 * ELEMENTSOF(p); i++) {
		void **at = &p[i % ELEMENTSOF(p)];

		if (i >= ELEMENTSOF(p) && (**(char **)at != 'x' || release(f, *at) != S_OK))
			return arg;
		if (alloc(f, NULL, 1 + i, MEM_COMMIT, PAGE_READWRITE, at) != S_OK)
			return arg;
		**(char **)at = 'x';
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
