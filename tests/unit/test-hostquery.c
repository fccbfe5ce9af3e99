/* SPDX-License-Identifier: MIT */
/*
 * test-hostquery.c - where a region begins and ends among its neighbours (src/library/hostmem.h)
 *
 * Links hostmem.o and maps.o alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "library/hostmem.h"

static size_t page;

static int setup(void **state)
{
	struct hostmem *mem;

	assert_int_equal(hostmem_new(&mem), 0);
	*state = mem;
	return 0;
}

static int teardown(void **state)
{
	hostmem_free(*state);
	return 0;
}

static void neighbours_that_the_kernel_shows_as_one_are_told_apart(void **state)
{
	struct hostmem *mem = *state;
	const size_t unit = HOSTMEM_GRANULARITY;
	MEMORY_BASIC_INFORMATION info;
	char *area, *p;
	void *ours;

	/* what the allocator needs for a region, it maps now and not into the hole below */
	assert_int_equal(hostmem_alloc(mem, NULL, unit, MEM_RESERVE, PAGE_READWRITE, &ours), 0);

	/* Strangers in front of ours and behind it, with no access either: one line in maps. */
	area = mmap(NULL, 4 * unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(area != MAP_FAILED);
	p = area + unit + (unit - (uintptr_t)area % unit) % unit;
	assert_int_equal(munmap(p, unit), 0);
	assert_int_equal(hostmem_alloc(mem, p, unit, MEM_RESERVE, PAGE_READWRITE, &ours), 0);
	assert_ptr_equal(ours, p);

	assert_int_equal(hostmem_query(mem, p - page, &info), 0);
	assert_ptr_not_equal(info.AllocationBase, p);
	assert_int_equal(info.RegionSize, page);
	assert_int_equal(hostmem_query(mem, p, &info), 0);
	assert_ptr_equal(info.AllocationBase, p);
	assert_int_equal(info.RegionSize, unit);
	assert_int_equal(hostmem_query(mem, p + unit, &info), 0);
	assert_ptr_not_equal(info.AllocationBase, p);
	assert_int_equal(hostmem_release(mem, p, 0, MEM_RELEASE), 0);
	munmap(area, 4 * unit);
}

static void a_reserved_run_goes_on_behind_what_was_ever_committed(void **state)
{
	struct hostmem *mem = *state;
	MEMORY_BASIC_INFORMATION info;
	void *p, *q;

	assert_int_equal(hostmem_alloc(mem, NULL, 16 * page, MEM_RESERVE, PAGE_READWRITE, &p), 0);
	assert_int_equal(hostmem_alloc(mem, p, 8 * page, MEM_COMMIT, PAGE_READWRITE, &q), 0);
	assert_int_equal(hostmem_release(mem, (char *)p + 6 * page, 2 * page, MEM_DECOMMIT), 0);
	assert_int_equal(hostmem_query(mem, (char *)p + 6 * page, &info), 0);
	assert_int_equal(info.RegionSize, 10 * page);
	assert_int_equal(hostmem_query(mem, p, &info), 0);
	assert_int_equal(info.RegionSize, 6 * page);
	assert_int_equal(hostmem_release(mem, p, 0, MEM_RELEASE), 0);
}

/* The size of the address space in pages: the first number of statm. */
static unsigned long mapped_pages(void)
{
	char buf[64] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0);
	close(fd);
	return strtoul(buf, NULL, 10);
}

static void alignment_leaves_no_address_space_behind(void **state)
{
	struct hostmem *mem = *state;
	unsigned long before;
	void *p[10];

	/* The first one makes room in the books. */
	assert_int_equal(hostmem_alloc(mem, NULL, page, MEM_RESERVE, PAGE_READWRITE, &p[0]), 0);
	before = mapped_pages();
	for (size_t i = 1; i < ELEMENTSOF(p); i++)
		assert_int_equal(
			hostmem_alloc(mem, NULL, 3 * page, MEM_RESERVE, PAGE_READWRITE, &p[i]), 0);
	/* Three pages each, and one of states. */
	assert_int_equal(mapped_pages() - before, (ELEMENTSOF(p) - 1) * 4);
	for (size_t i = 0; i < ELEMENTSOF(p); i++)
		assert_int_equal(hostmem_release(mem, p[i], 0, MEM_RELEASE), 0);
	assert_int_equal(before - mapped_pages(), 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(neighbours_that_the_kernel_shows_as_one_are_told_apart),
		TEST(a_reserved_run_goes_on_behind_what_was_ever_committed),
		TEST(alignment_leaves_no_address_space_behind),
	};

	page = (size_t)sysconf(_SC_PAGESIZE);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
