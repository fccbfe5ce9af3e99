/* SPDX-License-Identifier: MIT */
/*
 * test-hostmalloc.c - the heaps of CreateMalloc() (src/library/hostmalloc.c)
 *
 * Links as test-hosting does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-watch.h"
#include "library/hosting-internal.h"

static int pipe_fds[2];

struct fixture {
	psb_watch *watch;
	IHostMemoryManager *manager;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->watch = fake_watch_new();
	assert_int_equal(psb_host_memory_manager_new(f->watch, &f->manager), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	psb_watch_unref(f->watch);
	free(f);
	return 0;
}

static void a_heap_gives_aligned_memory_and_takes_it_back(void **state)
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
		assert_int_equal(IHostMalloc_Release(heap), 1);
		assert_int_equal(IHostMalloc_Release(heap), 0);
	}
}

static void executable_memory_can_be_written_and_run(void **state)
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
	assert_int_equal(IHostMalloc_Release(heap), 0);
	assert_int_equal(write(pipe_fds[1], p, 1), 1);
	assert_int_equal(munmap(p, (size_t)sysconf(_SC_PAGESIZE)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_heap_gives_aligned_memory_and_takes_it_back,
						setup, teardown),
		cmocka_unit_test_setup_teardown(executable_memory_can_be_written_and_run, setup,
						teardown),
	};

	alarm(120); /* instead of a hang */
	if (pipe(pipe_fds) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
