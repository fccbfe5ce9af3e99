/* SPDX-License-Identifier: MIT */
/*
 * test-hostmem.c - VirtualAlloc() and its family (src/library/hostmem.h)
 *
 * What a page really allows is asked of the kernel: write(2) from it and read(2) into it answer
 * EFAULT where the processor would raise a signal. Links hostmem.o and maps.o alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "library/hostmem.h"

#define KiB UINT64_C(1024)
#define GiB (KiB * KiB * KiB)

static size_t page;
static int pipe_fds[2];

struct fixture {
	struct hostmem *mem;
	char *p; /* 16 pages, reserved */
};

static int alloc(struct fixture *f, void *address, size_t size, uint32_t type, void **ret)
{
	return hostmem_alloc(f->mem, address, size, type, PAGE_READWRITE, ret);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	void *p;

	assert_int_equal(hostmem_new(&f->mem), 0);
	assert_int_equal(alloc(f, NULL, 16 * page, MEM_RESERVE, &p), 0);
	f->p = p;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hostmem_release(f->mem, f->p, 0, MEM_RELEASE);
	hostmem_free(f->mem);
	free(f);
	return 0;
}

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

static int commit(struct fixture *f, size_t first, size_t n, uint32_t protect)
{
	void *p;

	return hostmem_alloc(f->mem, f->p + first * page, n * page, MEM_COMMIT, protect, &p);
}

/* Compares what VirtualQuery() says of a page of the fixture. */
static void assert_run(struct fixture *f, size_t first, size_t n, uint32_t state, uint32_t protect)
{
	MEMORY_BASIC_INFORMATION info;

	assert_int_equal(hostmem_query(f->mem, f->p + first * page + 5, &info), 0);
	assert_ptr_equal(info.BaseAddress, f->p + first * page);
	assert_ptr_equal(info.AllocationBase, f->p);
	assert_int_equal(info.AllocationProtect, PAGE_READWRITE);
	assert_int_equal(info.RegionSize, n * page);
	assert_int_equal(info.State, state);
	assert_int_equal(info.Protect, protect);
	assert_int_equal(info.Type, MEM_PRIVATE);
}

static uint64_t reserved_bytes(struct hostmem *mem)
{
	uint64_t reserved, committed;

	hostmem_totals(mem, &reserved, &committed);
	return reserved;
}

static uint64_t committed_bytes(struct hostmem *mem)
{
	uint64_t reserved, committed;

	hostmem_totals(mem, &reserved, &committed);
	return committed;
}

/* ---- reserve and commit ---------------------------------------------------------------------- */

static void reserved_pages_have_no_access_and_committed_ones_what_was_asked(void **state)
{
	static const struct {
		uint32_t protect;
		bool readable, writable;
	} table[] = {
		{ PAGE_NOACCESS, false, false },    { PAGE_READONLY, true, false },
		{ PAGE_READWRITE, true, true },	    { PAGE_EXECUTE, true, false },
		{ PAGE_EXECUTE_READ, true, false }, { PAGE_EXECUTE_READWRITE, true, true },
	};
	struct fixture *f = *state;

	assert_int_equal((uintptr_t)f->p % HOSTMEM_GRANULARITY, 0);
	assert_false(is_readable(f->p));
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_int_equal(commit(f, i, 1, table[i].protect), 0);
		assert_int_equal(is_readable(f->p + i * page), table[i].readable);
		if (table[i].readable)
			assert_int_equal(f->p[i * page], 0);
		assert_int_equal(is_writable(f->p + i * page), table[i].writable);
		assert_false(is_readable(f->p + (i + 1) * page));
	}
	assert_int_equal(committed_bytes(f->mem), ELEMENTSOF(table) * page);
	assert_int_equal(reserved_bytes(f->mem), 16 * page);
}

static void a_commit_covers_every_page_it_touches_and_keeps_what_is_there(void **state)
{
	struct fixture *f = *state;
	void *p;

	assert_int_equal(alloc(f, f->p + page - 1, 2, MEM_COMMIT, &p), 0);
	assert_ptr_equal(p, f->p);
	assert_run(f, 0, 2, MEM_COMMIT, PAGE_READWRITE);
	f->p[0] = 42;
	assert_int_equal(commit(f, 0, 4, PAGE_READONLY), 0);
	assert_int_equal(f->p[0], 42);
	assert_false(is_writable(f->p));
	assert_int_equal(committed_bytes(f->mem), 4 * page);
}

static void commit_without_an_address_reserves_too(void **state)
{
	static const uint32_t types[] = { MEM_COMMIT, MEM_COMMIT | MEM_RESERVE,
					  MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN };
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTSOF(types); i++) {
		void *p;

		assert_int_equal(alloc(f, NULL, 3 * page + 1, types[i], &p), 0);
		assert_int_equal((uintptr_t)p % HOSTMEM_GRANULARITY, 0);
		memset(p, 1, 4 * page);
		assert_int_equal(committed_bytes(f->mem), 4 * page);
		assert_int_equal(hostmem_release(f->mem, p, 0, MEM_RELEASE), 0);
		assert_int_equal(committed_bytes(f->mem), 0);
	}
}

static void an_address_is_honoured_or_refused(void **state)
{
	struct fixture *f = *state;
	char *base, *somewhere;
	void *p;

	assert_int_equal(alloc(f, NULL, 1024 * page, MEM_RESERVE, &p), 0);
	base = p;
	assert_int_equal(alloc(f, base, page, MEM_RESERVE, &p), -ENOMEM);
	assert_int_equal(alloc(f, base + 1023 * page, 2 * page, MEM_RESERVE | MEM_COMMIT, &p),
			 -ENOMEM);
	somewhere = (char *)&base; /* the stack is not ours either */
	assert_int_equal(alloc(f, somewhere, page, MEM_RESERVE, &p), -ENOMEM);
	assert_int_equal(alloc(f, (void *)16, page, MEM_RESERVE, &p), -ENOMEM);
	assert_int_equal(hostmem_release(f->mem, base, 0, MEM_RELEASE), 0);

	/* Free now: a reservation begins at the multiple of 64 KiB below. */
	assert_int_equal(alloc(f, base + page + 1, page, MEM_RESERVE | MEM_COMMIT, &p), 0);
	assert_ptr_equal(p, base);
	memset(base, 1, 3 * page);
	assert_int_equal(reserved_bytes(f->mem), 19 * page);
	assert_int_equal(hostmem_release(f->mem, base, 0, MEM_RELEASE), 0);
}

static void nonsense_is_refused(void **state)
{
	struct fixture *f = *state;
	const struct {
		void *address;
		size_t size;
		uint32_t type, protect;
		int error;
	} table[] = {
		{ NULL, 0, MEM_RESERVE, PAGE_READWRITE, -EINVAL },
		{ NULL, page, 0, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_TOP_DOWN, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_RESERVE | MEM_RESET, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_RESERVE | MEM_DECOMMIT, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_RESERVE | 0x20000000u, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_RESERVE, 0, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_READONLY, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_NOCACHE, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_READWRITE | PAGE_WRITECOMBINE, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_WRITECOPY, -EINVAL },
		{ NULL, page, MEM_RESERVE, PAGE_EXECUTE_WRITECOPY, -EINVAL },
		{ NULL, SIZE_MAX, MEM_RESERVE, PAGE_READWRITE, -ENOMEM },
		{ NULL, (size_t)1 << 46, MEM_RESERVE | MEM_COMMIT, PAGE_GUARD, -EINVAL },
		{ f->p, SIZE_MAX, MEM_RESERVE, PAGE_READWRITE, -EINVAL },
		{ (void *)UINTPTR_MAX, 1, MEM_RESERVE, PAGE_READWRITE, -EINVAL },
		{ f->p, SIZE_MAX, MEM_COMMIT, PAGE_READWRITE, -EINVAL },
		{ f->p, 16 * page + 1, MEM_COMMIT, PAGE_READWRITE, -EINVAL },
		{ f->p + 16 * page - 1, 2, MEM_COMMIT, PAGE_READWRITE, -EINVAL },
		{ (char *)&f, 1, MEM_COMMIT, PAGE_READWRITE, -EINVAL },
		{ f->p, page, MEM_RESET, PAGE_READWRITE, -EINVAL },
		{ NULL, page, MEM_RESET, PAGE_READWRITE, -EINVAL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		void *p = f;
		int r = hostmem_alloc(f->mem, table[i].address, table[i].size, table[i].type,
				      table[i].protect, &p);

		if (r != table[i].error || p != f)
			fail_msg("row %zu: %d", i, r);
	}
	assert_int_equal(reserved_bytes(f->mem), 16 * page);
	assert_int_equal(committed_bytes(f->mem), 0);
}

static void reset_wants_committed_pages(void **state)
{
	struct fixture *f = *state;
	void *p;

	assert_int_equal(commit(f, 0, 2, PAGE_READWRITE), 0);
	assert_int_equal(alloc(f, f->p, 2 * page, MEM_RESET, &p), 0);
	assert_ptr_equal(p, f->p);
	assert_true(is_writable(f->p));
	assert_int_equal(alloc(f, f->p, 3 * page, MEM_RESET, &p), -EINVAL);
}

/* ---- decommit and release -------------------------------------------------------------------- */

static bool is_resident(const char *p)
{
	unsigned char there;

	assert_int_equal(mincore((void *)(uintptr_t)p, page, &there), 0);
	return there & 1;
}

static void decommit_gives_pages_back_and_they_read_as_zero_later(void **state)
{
	struct fixture *f = *state;

	for (int locked = 0; locked < 2; locked++) {
		assert_int_equal(commit(f, 0, 16, PAGE_READWRITE), 0);
		memset(f->p, 1, 16 * page);
		if (locked && mlock(f->p, page) < 0)
			continue; /* no RLIMIT_MEMLOCK */
		assert_int_equal(hostmem_release(f->mem, f->p + 1, page, MEM_DECOMMIT), 0);
		assert_run(f, 0, 2, MEM_RESERVE, 0);
		assert_run(f, 2, 14, MEM_COMMIT, PAGE_READWRITE);
		assert_false(is_resident(f->p));
		assert_false(is_resident(f->p + page));
		assert_true(is_resident(f->p + 2 * page));
		assert_false(is_readable(f->p));
		assert_int_equal(committed_bytes(f->mem), 14 * page);
		assert_int_equal(commit(f, 0, 1, PAGE_READWRITE), 0);
		assert_int_equal(f->p[0], 0);
		assert_int_equal(hostmem_release(f->mem, f->p, 0, MEM_DECOMMIT), 0);
		assert_int_equal(committed_bytes(f->mem), 0);
		assert_run(f, 0, 16, MEM_RESERVE, 0);
	}
}

static void release_wants_the_base_and_no_size(void **state)
{
	struct fixture *f = *state;
	MEMORY_BASIC_INFORMATION info;

	assert_int_equal(hostmem_release(f->mem, f->p, page, MEM_RELEASE), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p, 16 * page, MEM_RELEASE), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p + page, 0, MEM_RELEASE), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p + page, 0, MEM_DECOMMIT), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p + page, 16 * page, MEM_DECOMMIT), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p, 0, MEM_RELEASE | MEM_DECOMMIT), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, f->p, 0, MEM_COMMIT), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, NULL, 0, MEM_RELEASE), -EINVAL);
	assert_int_equal(hostmem_release(f->mem, (char *)&info, 0, MEM_RELEASE), -EINVAL);
	assert_int_equal(commit(f, 3, 2, PAGE_READWRITE), 0);
	assert_int_equal(hostmem_release(f->mem, f->p, 0, MEM_RELEASE), 0);
	assert_int_equal(reserved_bytes(f->mem), 0);
	assert_int_equal(committed_bytes(f->mem), 0);
	assert_int_equal(hostmem_release(f->mem, f->p, 0, MEM_RELEASE), -EINVAL);
	assert_int_equal(hostmem_query(f->mem, f->p, &info), 0);
	assert_int_equal(info.State, MEM_FREE);
}

static void what_is_reserved_survives_its_books(void **state)
{
	struct hostmem *mem;
	void *p;

	(void)state;
	assert_int_equal(hostmem_new(&mem), 0);
	assert_int_equal(hostmem_alloc(mem, NULL, page, MEM_COMMIT, PAGE_READWRITE, &p), 0);
	assert_null(hostmem_free(mem));
	assert_true(is_writable(p));
	assert_int_equal(munmap(p, page), 0);
}

/* ---- protect and query ----------------------------------------------------------------------- */

static void protect_tells_what_the_first_page_had(void **state)
{
	struct fixture *f = *state;
	uint32_t old = 99;

	assert_int_equal(commit(f, 0, 2, PAGE_READWRITE), 0);
	assert_int_equal(commit(f, 2, 2, PAGE_READONLY), 0);
	assert_int_equal(hostmem_protect(f->mem, f->p, 5 * page, PAGE_READONLY, &old), -EINVAL);
	assert_int_equal(hostmem_protect(f->mem, f->p, 0, PAGE_READONLY, &old), -EINVAL);
	assert_int_equal(hostmem_protect(f->mem, f->p, page, PAGE_READWRITE | PAGE_GUARD, &old),
			 -EINVAL);
	assert_int_equal(hostmem_protect(f->mem, (char *)&old, 1, PAGE_READONLY, &old), -EINVAL);
	assert_int_equal(old, 99);
	assert_true(is_writable(f->p));
	assert_int_equal(hostmem_protect(f->mem, f->p + page, 2 * page, PAGE_EXECUTE_READ, &old),
			 0);
	assert_int_equal(old, PAGE_READWRITE);
	assert_false(is_writable(f->p + page));
	assert_run(f, 0, 1, MEM_COMMIT, PAGE_READWRITE);
	assert_run(f, 1, 2, MEM_COMMIT, PAGE_EXECUTE_READ);
	assert_run(f, 3, 1, MEM_COMMIT, PAGE_READONLY);
	assert_run(f, 4, 12, MEM_RESERVE, 0);
	assert_int_equal(committed_bytes(f->mem), 4 * page);
}

static void a_query_answers_for_runs_of_equal_pages(void **state)
{
	struct fixture *f = *state;

	assert_run(f, 0, 16, MEM_RESERVE, 0);
	assert_int_equal(commit(f, 2, 3, PAGE_READWRITE), 0);
	assert_int_equal(commit(f, 5, 1, PAGE_READONLY), 0);
	assert_int_equal(commit(f, 15, 1, PAGE_NOACCESS), 0);
	assert_run(f, 0, 2, MEM_RESERVE, 0);
	assert_run(f, 1, 1, MEM_RESERVE, 0);
	assert_run(f, 2, 3, MEM_COMMIT, PAGE_READWRITE);
	assert_run(f, 5, 1, MEM_COMMIT, PAGE_READONLY);
	assert_run(f, 6, 9, MEM_RESERVE, 0);
	assert_run(f, 15, 1, MEM_COMMIT, PAGE_NOACCESS);
	assert_int_equal(hostmem_release(f->mem, f->p + 4 * page, 12 * page, MEM_DECOMMIT), 0);
	assert_run(f, 3, 1, MEM_COMMIT, PAGE_READWRITE);
	assert_run(f, 4, 12, MEM_RESERVE, 0);
}

static int answer(void)
{
	return 42;
}

static void a_query_is_honest_about_what_is_not_ours(void **state)
{
	static const char constant[] = "constant";
	struct fixture *f = *state;
	MEMORY_BASIC_INFORMATION info = { 0 };
	char *mine;

	assert_int_equal(hostmem_query(f->mem, &info, &info), 0);
	assert_int_equal(info.State, MEM_COMMIT);
	assert_int_equal(info.Protect, PAGE_READWRITE);
	assert_int_equal(hostmem_query(f->mem, constant, &info), 0);
	assert_int_equal(info.Protect, PAGE_READONLY);
	assert_int_equal(info.Type, MEM_MAPPED);
	assert_int_equal(hostmem_query(f->mem, (void *)(uintptr_t)answer, &info), 0);
	assert_int_equal(info.Protect, PAGE_EXECUTE_READ);

	mine = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(mine != MAP_FAILED);
	assert_int_equal(hostmem_query(f->mem, mine + page, &info), 0);
	assert_ptr_equal(info.BaseAddress, mine + page);
	assert_int_equal(info.State, MEM_RESERVE);
	assert_int_equal(info.Protect, 0);
	munmap(mine, 3 * page);

	assert_int_equal(hostmem_query(f->mem, NULL, &info), 0);
	assert_int_equal(info.State, MEM_FREE);
	assert_null(info.AllocationBase);
	assert_int_equal(info.Type, 0);
	assert_int_equal(hostmem_query(f->mem, (void *)UINTPTR_MAX, &info), -EINVAL);
}

static void queries_cover_the_whole_address_space_without_gap_or_overlap(void **state)
{
	struct fixture *f = *state;
	MEMORY_BASIC_INFORMATION info;
	uintptr_t at = 0, hole = 0;
	size_t ours = 0, runs = 0;
	void *p;

	assert_int_equal(commit(f, 4, 4, PAGE_READWRITE), 0);
	while (hostmem_query(f->mem, (void *)at, &info) == 0) {
		assert_int_equal((uintptr_t)info.BaseAddress, at);
		assert_true(info.RegionSize > 0 && info.RegionSize % page == 0);
		assert_true(info.State == MEM_FREE || info.State == MEM_RESERVE ||
			    info.State == MEM_COMMIT);
		ours += info.AllocationBase == f->p ? info.RegionSize : 0;
		if (info.State == MEM_FREE && at > GiB && info.RegionSize > GiB)
			hole = at - at % HOSTMEM_GRANULARITY + HOSTMEM_GRANULARITY;
		at += info.RegionSize;
		runs++;
	}
	assert_int_equal(ours, 16 * page);
	assert_true(runs > 10);
	assert_true(at >= (uintptr_t)1 << 46);

	/* What it calls free can be had. */
	assert_true(hole != 0);
	assert_int_equal(alloc(f, (void *)hole, page, MEM_RESERVE, &p), 0);
	assert_int_equal((uintptr_t)p, hole);
	assert_int_equal(hostmem_release(f->mem, p, 0, MEM_RELEASE), 0);
}

static void sixty_four_gigabytes_cost_nothing_until_they_are_used(void **state)
{
	struct fixture *f = *state;
	MEMORY_BASIC_INFORMATION info;
	struct rusage before, after;
	void *p, *q;

	getrusage(RUSAGE_SELF, &before);
	assert_int_equal(alloc(f, NULL, 64 * GiB, MEM_RESERVE, &p), 0);
	assert_int_equal(alloc(f, (char *)p + 32 * GiB, page, MEM_COMMIT, &q), 0);
	assert_true(is_writable(q));
	assert_int_equal(hostmem_query(f->mem, (char *)q + page, &info), 0);
	assert_int_equal(info.RegionSize, 32 * GiB - page);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_minflt - before.ru_minflt < 1000);
	assert_int_equal(hostmem_release(f->mem, p, 0, MEM_RELEASE), 0);
}

/* ---- when the kernel refuses ----------------------------------------------------------------- */

/* VmData, what RLIMIT_DATA is about. */
static rlim_t data_bytes(void)
{
	static char buf[8192];
	FILE *file = fopen("/proc/self/status", "re");
	size_t n;
	const char *line;

	assert_non_null(file);
	n = fread(buf, 1, sizeof(buf) - 1, file);
	fclose(file);
	buf[n] = 0;
	line = strstr(buf, "VmData:");
	assert_non_null(line);
	return strtoul(line + strlen("VmData:"), NULL, 10) * KiB;
}

static void a_commit_that_the_kernel_refuses_half_way_leaves_nothing_behind(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;
	int r;

	/* One page more may become writable, the second mapping in the range is larger: it is refused
	 * when the first is done. */
	assert_int_equal(commit(f, 0, 1, PAGE_READONLY), 0);
	assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
	tight = old;
	tight.rlim_cur = data_bytes() + 2 * page;
	assert_int_equal(setrlimit(RLIMIT_DATA, &tight), 0);
	r = commit(f, 0, 16, PAGE_READWRITE);
	assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
	assert_int_equal(r, -ENOMEM);
	assert_run(f, 0, 1, MEM_COMMIT, PAGE_READONLY);
	assert_run(f, 1, 15, MEM_RESERVE, 0);
	assert_true(is_readable(f->p));
	assert_false(is_writable(f->p));
	assert_false(is_readable(f->p + page));
	assert_int_equal(committed_bytes(f->mem), page);
}

static void a_reservation_whose_commit_is_refused_is_given_back(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, tight;
	void *p = f;
	int r;

	assert_int_equal(getrlimit(RLIMIT_DATA, &old), 0);
	tight = old;
	tight.rlim_cur = data_bytes() + 4 * page;
	assert_int_equal(setrlimit(RLIMIT_DATA, &tight), 0);
	r = alloc(f, NULL, 4096 * page, MEM_COMMIT, &p);
	assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
	assert_int_equal(r, -ENOMEM);
	assert_ptr_equal(p, f);
	assert_int_equal(reserved_bytes(f->mem), 16 * page);
	assert_int_equal(committed_bytes(f->mem), 0);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *churn(void *arg)
{
	struct hostmem *mem = arg;
	MEMORY_BASIC_INFORMATION info;
	uint32_t old;
	void *p[40];

	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < ELEMENTSOF(p); i++) {
			if (hostmem_alloc(mem, NULL, (i + 1) * page, MEM_COMMIT, PAGE_READWRITE,
					  &p[i]) < 0)
				return arg;
			memset(p[i], 1, (i + 1) * page);
		}
		for (size_t i = 0; i < ELEMENTSOF(p); i++)
			if (hostmem_protect(mem, p[i], page, PAGE_READONLY, &old) < 0 ||
			    hostmem_query(mem, p[i], &info) < 0 || info.AllocationBase != p[i] ||
			    hostmem_release(mem, p[i], 0, MEM_RELEASE) < 0)
				return arg;
	}
	return NULL;
}

static void many_threads_may_reserve_and_release_at_once(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[4];
	void *failed;

	for (size_t i = 0; i < ELEMENTSOF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, f->mem), 0);
	for (size_t i = 0; i < ELEMENTSOF(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(reserved_bytes(f->mem), 16 * page);
	assert_int_equal(committed_bytes(f->mem), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(reserved_pages_have_no_access_and_committed_ones_what_was_asked),
		TEST(a_commit_covers_every_page_it_touches_and_keeps_what_is_there),
		TEST(commit_without_an_address_reserves_too),
		TEST(an_address_is_honoured_or_refused),
		TEST(nonsense_is_refused),
		TEST(reset_wants_committed_pages),
		TEST(decommit_gives_pages_back_and_they_read_as_zero_later),
		TEST(release_wants_the_base_and_no_size),
		cmocka_unit_test(what_is_reserved_survives_its_books),
		TEST(protect_tells_what_the_first_page_had),
		TEST(a_query_answers_for_runs_of_equal_pages),
		TEST(a_query_is_honest_about_what_is_not_ours),
		TEST(queries_cover_the_whole_address_space_without_gap_or_overlap),
		TEST(sixty_four_gigabytes_cost_nothing_until_they_are_used),
		TEST(a_commit_that_the_kernel_refuses_half_way_leaves_nothing_behind),
		TEST(a_reservation_whose_commit_is_refused_is_given_back),
		TEST(many_threads_may_reserve_and_release_at_once),
	};

	alarm(120); /* instead of a hang */
	page = (size_t)sysconf(_SC_PAGESIZE);
	if (pipe(pipe_fds) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
