/* SPDX-License-Identifier: MIT */
/*
 * hostmem.c - VirtualAlloc() and its family over mmap(2)
 *
 * A region is what one reserving call made: a private anonymous mapping without access (PROT_NONE,
 * MAP_NORESERVE), so it costs address space and nothing else. Each of its pages is reserved or
 * committed. Committed pages have a protection, PAGE_NOACCESS to PAGE_EXECUTE_READWRITE, all of
 * which are single bits of one byte; so a page's state is that byte, and 0 is "reserved". The
 * bytes of a region lie in a mapping of their own that the kernel fills in where it is written to:
 * a reservation of 256 GiB (a .NET heap) has a table of 64 MiB, of which nothing exists at first.
 * `touched` is the page behind the last one ever committed: nobody has to look for states there.
 *
 * Invariants: regions do not overlap and are sorted by address. A page whose byte is 0 has no
 * access and reads as zero after its next commit. When a system call fails, table and kernel still
 * agree: protections that mprotect(2) had already changed are put back.
 *
 * Decommit maps fresh memory without access over the pages. That is one atomic step, gives the
 * pages and their commit charge back, and works for locked memory too, where
 * madvise(MADV_DONTNEED) says EINVAL: a host may well have called mlockall(2).
 *
 * Kernel facts: MAP_FIXED_NOREPLACE is Linux 4.17 (an older kernel takes the address as a hint, so
 * the result is compared); mprotect and munmap of a part split mappings, of which a process has
 * vm.max_map_count (ENOMEM); /proc/self/maps is sorted, and shows neighbours that are alike as one
 * line, so ours are asked first and cut out of it.
 */
#include "library/hostmem.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernel/maps.h"

/* Where user space ends. Mappings above 47 bits are handed out on x86-64 only to those who ask. */
#if UINTPTR_MAX <= 0xffffffffu
#define ADDRESS_END ((uintptr_t)0xfffff000u)
#elif defined(__x86_64__)
#define ADDRESS_END ((uintptr_t)1 << 47)
#else
#define ADDRESS_END ((uintptr_t)1 << 48)
#endif

struct region {
	uintptr_t base;
	size_t pages;
	size_t touched;
	uint32_t protect; /* as reserved */
	uint8_t *state;	  /* one for each page */
};

/* Some pages of one region. */
struct span {
	struct region *region;
	size_t first, pages;
};

struct hostmem {
	pthread_mutex_t lock;
	size_t page_size;
	struct region *regions;
	size_t n_regions, capacity;
	size_t reserved_pages, committed_pages;
};

int hostmem_new(struct hostmem **ret)
{
	struct hostmem *mem = calloc(1, sizeof(*mem));

	if (!mem)
		return -ENOMEM;
	pthread_mutex_init(&mem->lock, NULL);
	mem->page_size = (size_t)sysconf(_SC_PAGESIZE);
	*ret = mem;
	return 0;
}

struct hostmem *hostmem_free(struct hostmem *mem)
{
	if (!mem)
		return NULL;
	for (size_t i = 0; i < mem->n_regions; i++)
		munmap(mem->regions[i].state, mem->regions[i].pages);
	free(mem->regions);
	pthread_mutex_destroy(&mem->lock);
	free(mem);
	return NULL;
}

static uintptr_t round_down(uintptr_t value, size_t unit)
{
	return value - value % unit;
}

/* The whole pages that [address, address + size) touches. Errors: -EINVAL: none, or beyond the end. */
static int page_range(struct hostmem *mem, const void *address, size_t size, uintptr_t *ret_start,
		      uintptr_t *ret_end)
{
	uintptr_t start = (uintptr_t)address;

	if (size == 0 || start >= ADDRESS_END || size > ADDRESS_END - start)
		return -EINVAL;
	*ret_start = round_down(start, mem->page_size);
	*ret_end = round_down(start + size - 1, mem->page_size) + mem->page_size;
	return 0;
}

/* The access a protection means, or -EINVAL: not one that a private page can have. */
static int page_access(uint32_t protect)
{
	switch (protect) {
	case PAGE_NOACCESS:
		return PROT_NONE;
	case PAGE_READONLY:
		return PROT_READ;
	case PAGE_READWRITE:
		return PROT_READ | PROT_WRITE;
	case PAGE_EXECUTE: /* x86 code of that time relied on its being readable */
	case PAGE_EXECUTE_READ:
		return PROT_READ | PROT_EXEC;
	case PAGE_EXECUTE_READWRITE:
		return PROT_READ | PROT_WRITE | PROT_EXEC;
	default:
		return -EINVAL;
	}
}

/* ---- regions ------------------------------------------------------------------------------- */

/* The index of the first region that ends behind `address`; n_regions if there is none. */
static size_t region_index(struct hostmem *mem, uintptr_t address)
{
	size_t low = 0, high = mem->n_regions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct region *region = &mem->regions[middle];

		if (region->base + region->pages * mem->page_size <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The region that `address` is in, or NULL. */
static struct region *region_find(struct hostmem *mem, uintptr_t address)
{
	size_t i = region_index(mem, address);

	return i < mem->n_regions && mem->regions[i].base <= address ? &mem->regions[i] : NULL;
}

/* Errors: -EINVAL: [start, end) is not within one region. */
static int span_find(struct hostmem *mem, uintptr_t start, uintptr_t end, struct span *ret)
{
	struct region *region = region_find(mem, start);

	if (!region || end > region->base + region->pages * mem->page_size)
		return -EINVAL;
	*ret = (struct span){ region, (start - region->base) / mem->page_size,
			      (end - start) / mem->page_size };
	return 0;
}

static void *page_pointer(struct hostmem *mem, const struct region *region, size_t page)
{
	return (void *)(region->base + page * mem->page_size);
}

/* How many pages from `first` on have the state of that one, at most up to `end`. */
static size_t region_run(const struct region *region, size_t first, size_t end)
{
	size_t n = 1;

	if (first >= region->touched)
		return end - first;
	while (first + n < end && first + n < region->touched &&
	       region->state[first + n] == region->state[first])
		n++;
	if (first + n == region->touched && region->state[first] == 0)
		n = end - first;
	return n;
}

static void span_set(struct hostmem *mem, const struct span *span, uint8_t state)
{
	struct region *region = span->region;
	size_t end = span->first + span->pages;

	for (size_t i = span->first; i < end && i < region->touched; i++)
		mem->committed_pages -= region->state[i] != 0;
	if (state != 0) {
		mem->committed_pages += span->pages;
		region->touched = MAX(region->touched, end);
	}
	if (span->first < region->touched)
		memset(region->state + span->first, state, MIN(end, region->touched) - span->first);
}

/* Every page of it committed? */
static bool span_is_committed(const struct span *span)
{
	const struct region *region = span->region;
	size_t end = span->first + span->pages;

	return end <= region->touched && !memchr(region->state + span->first, 0, span->pages);
}

/* Gives the pages the protection; all of them, or none. */
static int span_protect(struct hostmem *mem, const struct span *span, uint32_t protect)
{
	const struct region *region = span->region;
	size_t end = span->first + span->pages;
	int error;

	if (mprotect(page_pointer(mem, region, span->first), span->pages * mem->page_size,
		     page_access(protect)) == 0)
		return 0;
	error = -errno;

	/* The kernel may have come half way. Back to what the table says needs no new split. */
	for (size_t i = span->first, n; i < end; i += n) {
		uint8_t state = i < region->touched ? region->state[i] : 0;

		n = region_run(region, i, end);
		(void)mprotect(page_pointer(mem, region, i), n * mem->page_size,
			       state ? page_access(state) : PROT_NONE);
	}
	return error;
}

static int regions_grow(struct hostmem *mem)
{
	size_t capacity = mem->capacity ? mem->capacity * 2 : 16;
	struct region *regions;

	if (mem->n_regions < mem->capacity)
		return 0;
	regions = reallocarray(mem->regions, capacity, sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	mem->regions = regions;
	mem->capacity = capacity;
	return 0;
}

/* ---- address space ------------------------------------------------------------------------- */

static void *map_reserved(void *address, size_t size, int flags)
{
	return mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags,
		    -1, 0);
}

/* Address space of `size` bytes at exactly `start`. */
static int reserve_at(uintptr_t start, size_t size)
{
	void *wanted = (void *)start, *got;

	/* A null pointer must stay one, also where we may map page 0 (CAP_SYS_RAWIO). */
	if (start == 0)
		return -ENOMEM;
	got = map_reserved(wanted, size, MAP_FIXED_NOREPLACE);
	if (got == wanted)
		return 0;
	if (got != MAP_FAILED)
		munmap(got, size);
	return -ENOMEM;
}

/* Address space of `size` bytes anywhere, at a multiple of the granularity. */
static int reserve_anywhere(struct hostmem *mem, size_t size, uintptr_t *ret_start)
{
	size_t unit = MAX(HOSTMEM_GRANULARITY, mem->page_size);
	uintptr_t got, start;
	void *p;

	p = map_reserved(NULL, size + unit - mem->page_size, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	got = (uintptr_t)p;
	start = round_down(got + unit - 1, unit);
	if (start > got)
		munmap(p, start - got);
	if (got + unit - mem->page_size > start)
		munmap((void *)(start + size), got + unit - mem->page_size - start);
	*ret_start = start;
	return 0;
}

static int reserve(struct hostmem *mem, void *address, size_t size, uint32_t protect,
		   struct span *ret)
{
	uintptr_t start, end;
	uint8_t *state;
	size_t i;
	int r;

	if (!address && size > ADDRESS_END - HOSTMEM_GRANULARITY)
		return -ENOMEM;
	r = page_range(mem, address, size, &start, &end);
	if (r < 0)
		return r;
	start = round_down(start, MAX(HOSTMEM_GRANULARITY, mem->page_size));
	size = end - start;
	r = regions_grow(mem);
	if (r < 0)
		return r;
	state = mmap(NULL, size / mem->page_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (state == MAP_FAILED)
		return -ENOMEM;
	r = address ? reserve_at(start, size) : reserve_anywhere(mem, size, &start);
	if (r < 0) {
		munmap(state, size / mem->page_size);
		return r;
	}

	i = region_index(mem, start);
	memmove(&mem->regions[i + 1], &mem->regions[i],
		(mem->n_regions - i) * sizeof(*mem->regions));
	mem->regions[i] = (struct region){
		.base = start, .pages = size / mem->page_size, .protect = protect, .state = state
	};
	mem->n_regions++;
	mem->reserved_pages += mem->regions[i].pages;
	*ret = (struct span){ &mem->regions[i], 0, mem->regions[i].pages };
	return 0;
}

/* Gives a whole region back. */
static int unreserve(struct hostmem *mem, struct region *region)
{
	struct span all = { region, 0, region->pages };
	size_t i = (size_t)(region - mem->regions);

	if (munmap(page_pointer(mem, region, 0), region->pages * mem->page_size) < 0)
		return -errno;
	span_set(mem, &all, 0);
	munmap(region->state, region->pages);
	mem->reserved_pages -= region->pages;
	mem->n_regions--;
	memmove(region, region + 1, (mem->n_regions - i) * sizeof(*region));
	return 0;
}

static int commit(struct hostmem *mem, const struct span *span, uint32_t protect)
{
	int r = span_protect(mem, span, protect);

	if (r < 0)
		return r;
	span_set(mem, span, (uint8_t)protect);
	return 0;
}

static int alloc_locked(struct hostmem *mem, void *address, size_t size, uint32_t type,
			uint32_t protect, void **ret_address)
{
	bool fresh = (type & MEM_RESERVE) || (type == MEM_COMMIT && !address);
	struct span span;
	uintptr_t start, end;
	int r;

	if (fresh) {
		r = reserve(mem, address, size, protect, &span);
		if (r < 0)
			return r;
	} else {
		r = page_range(mem, address, size, &start, &end);
		if (r < 0)
			return r;
		r = span_find(mem, start, end, &span);
		if (r < 0)
			return r;
	}

	if (type & MEM_COMMIT) {
		r = commit(mem, &span, protect);
		if (r < 0) {
			if (fresh)
				(void)unreserve(mem, span.region);
			return r;
		}
	} else if (type == MEM_RESET) {
		if (!span_is_committed(&span))
			return -EINVAL;
		/* Advice; a kernel that does not take it (locked memory) keeps the contents. */
		(void)madvise(page_pointer(mem, span.region, span.first),
			      span.pages * mem->page_size, MADV_FREE);
	}
	*ret_address = page_pointer(mem, span.region, span.first);
	return 0;
}

int hostmem_alloc(struct hostmem *mem, void *address, size_t size, uint32_t type, uint32_t protect,
		  void **ret_address)
{
	int r;

	type &= ~MEM_TOP_DOWN;
	if (type != MEM_RESERVE && type != MEM_COMMIT && type != (MEM_RESERVE | MEM_COMMIT) &&
	    type != MEM_RESET)
		return -EINVAL;
	if (size == 0 || page_access(protect) < 0)
		return -EINVAL;

	pthread_mutex_lock(&mem->lock);
	r = alloc_locked(mem, address, size, type, protect, ret_address);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

static int decommit(struct hostmem *mem, const struct span *span)
{
	void *p = page_pointer(mem, span->region, span->first);

	if (map_reserved(p, span->pages * mem->page_size, MAP_FIXED) == MAP_FAILED)
		return -errno;
	span_set(mem, span, 0);
	return 0;
}

static int release_locked(struct hostmem *mem, void *address, size_t size, uint32_t type)
{
	struct region *region;
	uintptr_t start, end;
	struct span span;
	int r;

	if (size == 0) {
		region = region_find(mem, (uintptr_t)address);
		if (!region || region->base != (uintptr_t)address)
			return -EINVAL;
		if (type == MEM_RELEASE)
			return unreserve(mem, region);
		span = (struct span){ region, 0, region->pages };
		return decommit(mem, &span);
	}
	if (type == MEM_RELEASE)
		return -EINVAL;
	r = page_range(mem, address, size, &start, &end);
	if (r < 0)
		return r;
	r = span_find(mem, start, end, &span);
	if (r < 0)
		return r;
	return decommit(mem, &span);
}

int hostmem_release(struct hostmem *mem, void *address, size_t size, uint32_t type)
{
	int r;

	if (type != MEM_DECOMMIT && type != MEM_RELEASE)
		return -EINVAL;
	pthread_mutex_lock(&mem->lock);
	r = release_locked(mem, address, size, type);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

static int protect_locked(struct hostmem *mem, void *address, size_t size, uint32_t protect,
			  uint32_t *ret_old)
{
	uintptr_t start, end;
	struct span span;
	uint32_t old;
	int r;

	r = page_range(mem, address, size, &start, &end);
	if (r < 0)
		return r;
	r = span_find(mem, start, end, &span);
	if (r < 0)
		return r;
	if (!span_is_committed(&span))
		return -EINVAL;
	old = span.region->state[span.first];
	r = commit(mem, &span, protect);
	if (r < 0)
		return r;
	*ret_old = old;
	return 0;
}

int hostmem_protect(struct hostmem *mem, void *address, size_t size, uint32_t protect,
		    uint32_t *ret_old)
{
	int r;

	if (page_access(protect) < 0)
		return -EINVAL;
	pthread_mutex_lock(&mem->lock);
	r = protect_locked(mem, address, size, protect, ret_old);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

/* ---- questions ----------------------------------------------------------------------------- */

/* What others mapped at `start`, or nobody, up to `end`. */
static int query_foreign(uintptr_t start, uintptr_t end, MEMORY_BASIC_INFORMATION *ret)
{
	static const uint32_t protects[8] = {
		[PROT_NONE] = PAGE_NOACCESS,
		[PROT_READ] = PAGE_READONLY,
		[PROT_WRITE] = PAGE_READWRITE,
		[PROT_READ | PROT_WRITE] = PAGE_READWRITE,
		[PROT_EXEC] = PAGE_EXECUTE,
		[PROT_READ | PROT_EXEC] = PAGE_EXECUTE_READ,
		[PROT_WRITE | PROT_EXEC] = PAGE_EXECUTE_READWRITE,
		[PROT_READ | PROT_WRITE | PROT_EXEC] = PAGE_EXECUTE_READWRITE,
	};
	struct mapping mapping = { .start = ADDRESS_END, .end = ADDRESS_END };
	uint32_t protect;
	int r;

	r = maps_find(start, &mapping);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = (MEMORY_BASIC_INFORMATION){ .BaseAddress = (void *)start };
	if (mapping.start > start) {
		ret->RegionSize = MIN(end, mapping.start) - start;
		ret->State = MEM_FREE;
		ret->Protect = PAGE_NOACCESS;
		return 0;
	}
	protect = protects[mapping.access];
	ret->AllocationBase = (void *)mapping.start;
	ret->AllocationProtect = protect;
	ret->RegionSize = MIN(end, mapping.end) - start;
	ret->Type = mapping.inode ? MEM_MAPPED : MEM_PRIVATE;
	if (protect == PAGE_NOACCESS) {
		ret->State = MEM_RESERVE;
	} else {
		ret->State = MEM_COMMIT;
		ret->Protect = protect;
	}
	return 0;
}

static int query_locked(struct hostmem *mem, const void *address, MEMORY_BASIC_INFORMATION *ret)
{
	const struct region *region;
	uintptr_t start, end;
	size_t i, page;
	uint8_t state;
	int r;

	r = page_range(mem, address, 1, &start, &end);
	if (r < 0)
		return r;
	i = region_index(mem, start);
	region = i < mem->n_regions ? &mem->regions[i] : NULL;
	if (!region || region->base > start)
		return query_foreign(start, region ? region->base : ADDRESS_END, ret);

	page = (start - region->base) / mem->page_size;
	state = page < region->touched ? region->state[page] : 0;
	*ret = (MEMORY_BASIC_INFORMATION){
		.BaseAddress = (void *)start,
		.AllocationBase = (void *)region->base,
		.AllocationProtect = region->protect,
		.RegionSize = region_run(region, page, region->pages) * mem->page_size,
		.State = state ? MEM_COMMIT : MEM_RESERVE,
		.Protect = state,
		.Type = MEM_PRIVATE,
	};
	return 0;
}

int hostmem_query(struct hostmem *mem, const void *address, MEMORY_BASIC_INFORMATION *ret)
{
	int r;

	pthread_mutex_lock(&mem->lock);
	r = query_locked(mem, address, ret);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

void hostmem_totals(struct hostmem *mem, uint64_t *ret_reserved_bytes,
		    uint64_t *ret_committed_bytes)
{
	pthread_mutex_lock(&mem->lock);
	*ret_reserved_bytes = (uint64_t)mem->reserved_pages * mem->page_size;
	*ret_committed_bytes = (uint64_t)mem->committed_pages * mem->page_size;
	pthread_mutex_unlock(&mem->lock);
}
