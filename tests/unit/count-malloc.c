/* SPDX-License-Identifier: MIT */
/*
 * count-malloc.c - an allocator that counts, see count-malloc.h
 */
#include "unit.h"
#include "count-malloc.h"

atomic_bool count_malloc_on;
atomic_uint count_malloc_allocations, count_malloc_frees;

#if !COUNT_MALLOC_SANITIZED
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *p);
void *memalign(size_t alignment, size_t size);

static void count_malloc_one(atomic_uint *counter)
{
	if (atomic_load(&count_malloc_on))
		atomic_fetch_add(counter, 1);
}

void *malloc(size_t size)
{
	count_malloc_one(&count_malloc_allocations);
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	count_malloc_one(&count_malloc_allocations);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	count_malloc_one(&count_malloc_allocations);
	return __libc_realloc(p, size);
}

void *memalign(size_t alignment, size_t size)
{
	count_malloc_one(&count_malloc_allocations);
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	*ret = memalign(alignment, size);
	return *ret ? 0 : ENOMEM;
}

void free(void *p)
{
	if (p)
		count_malloc_one(&count_malloc_frees);
	__libc_free(p);
}
#endif

void count_malloc_start(void)
{
	void *volatile p;

	atomic_store(&count_malloc_allocations, 0);
	atomic_store(&count_malloc_frees, 0);
	atomic_store(&count_malloc_on, true);
	/* does it count at all? */
	p = malloc(1);
	free(p);
	assert_int_equal(atomic_exchange(&count_malloc_allocations, 0), 1);
	assert_int_equal(atomic_exchange(&count_malloc_frees, 0), 1);
}

void count_malloc_stop(void)
{
	atomic_store(&count_malloc_on, false);
	assert_int_equal(atomic_load(&count_malloc_allocations), 0);
	assert_int_equal(atomic_load(&count_malloc_frees), 0);
}
