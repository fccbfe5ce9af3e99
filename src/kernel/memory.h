/* SPDX-License-Identifier: MIT */
/*
 * memory.h - how much a cgroup uses, how much it may use, and what the kernel says of it
 *
 * Working set is what kubelet means by it: use minus inactive_file; inactive page cache is not
 * load. The limit is effective: the least memory.max and memory.high over all visible ancestors, or
 * hierarchical_memory_limit where the memory controller is on v1, else the machine's MemTotal.
 *
 * Use counts where the limit is: a slice may be full of its other services. So each level with a limit
 * is read, and the one with the least left binds.
 *
 * Descriptors of the files that are read under pressure are opened before: a thread over
 * memory.high that charges memory is put to sleep, and open(2) charges memory. Only limits are
 * read by path; they are asked for while calm.
 *
 * Whose limit a stall comes from is what memory.events.local counts, which unlike memory.events knows
 * nothing of those below: growth of `high`, `max` and `oom` since memory_mark(). On v1 it is
 * memory.failcnt.
 *
 * Unknown is not 0, and no limit is not what could not be read just now: out of descriptors, what was
 * known before stays.
 */
#pragma once

#include "core/keyed.h"
#include "core/policy.h"
#include "kernel/cgroup.h"

#define MEMORY_UNKNOWN UINT64_MAX

/* The cgroup and eight ancestors: of more the least limits are kept. */
#define MEMORY_LEVELS_MAX 9

/* The files of a level that several have above them, as one list; NULL: none yet. One thread at a time. */
struct memory_shared;

struct memory_level {
	struct memory_shared *shared; /* whose the descriptors are; NULL: its own */
	int current_fd; /* memory.current, or v1 memory.usage_in_bytes; -1: unknown, or no limit */
	int stat_fd;	/* memory.stat of the same cgroup */
	int hits_fd;	/* memory.events.local, or v1 memory.failcnt; -1: there is none */
	int swap_fd;	/* memory.swap.current of the cgroup itself; -1: there is none, or v1 */
	uint64_t limit_bytes;	     /* the less of memory.max and memory.high; UINT64_MAX: none */
	uint64_t high_bytes;	     /* UINT64_MAX: none */
	size_t length;		     /* of its path, which is the front of ours */
	struct memory_events marked; /* as of memory_mark(); v1 counts in `max` */
};

struct memory {
	const struct cgroups *cgroups;
	const char *v2_path, *v1_path;
	/* the cgroup itself, then its ancestors: those that have a limit, and may get one */
	struct memory_level levels[MEMORY_LEVELS_MAX];
	unsigned count;
	bool v1;
	struct memory_shared **shared; /* NULL: nothing is shared */
	/* as of memory_mark() */
	uint64_t settled_usec; /* from then on it says something that no count has grown */
	uint64_t marked_below; /* hits in the cgroup and below it */
	uint64_t marked_kswapd, marked_direct;
	uint64_t limit_bytes; /* the least, as of the last memory_refresh(); UINT64_MAX: none */
	uint64_t high_bytes;
	uint64_t machine_bytes; /* MemTotal, or MEMORY_UNKNOWN */
};

struct memory_load {
	uint64_t current_bytes, working_set_bytes; /* where the limit is; 0: unknown */
	uint64_t limit_bytes;		  /* MemTotal where there is no other, or MEMORY_UNKNOWN */
	uint64_t high_bytes;		  /* UINT64_MAX: none */
	uint64_t available_bytes;	  /* or MEMORY_UNKNOWN */
	unsigned percent;		  /* 0 where available_bytes is unknown */
	bool machine;			  /* no limit: these are the machine's numbers */
	const struct memory_level *level; /* whose limit it is; NULL: the machine's */
};

struct memory_use {
	uint64_t current_bytes; /* where the limit is; 0: unknown */
	uint64_t limit_bytes;	/* 0: none */
};

struct memory_cause {
	enum cause cause;
	bool is_high;		/* memory.high was reached, not memory.max */
	uint64_t current_bytes; /* of the cgroup whose limit it is; 0: none, or unknown */
	uint64_t limit_bytes;
	size_t length; /* of its path; 0: it is none of v2 */
};

/*
 * `cgroups` and the paths stay as long as it is open. `v2_path` and `v1_path` may be NULL: not known.
 * The v1 one counts only where the v2 cgroup has no memory controller. Never fails for missing files:
 * then the machine's numbers are what there is, or nothing. Errors: -EMFILE, -ENFILE, -ENOMEM.
 */
int memory_open(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		const char *v1_path);
/* With one descriptor of each file of an ancestor for all that were opened with the same `shared`, which stays until the last of
 * them is closed. */
int memory_open_shared(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		       const char *v1_path, struct memory_shared **shared);
void memory_close(struct memory *memory);

/* Open it anew, for limits change, and files come and go with the memory controller. Not to be
 * called under pressure. Errors: as memory_open(), -ENODEV (removed), and then it stays what it was. */
int memory_refresh(struct memory *memory);

/* Is there a limit below the machine's own size, and something to compare with it? As of the last
 * memory_refresh(). */
bool memory_has_limit(const struct memory *memory);

/* With a limit two preads a level, no open, no allocation; without one it opens /proc/meminfo. Errors:
 * -ENODEV: the cgroup was removed, or the memory controller taken away; -errno. */
int memory_read(const struct memory *memory, struct memory_load *ret);
/* The same of use with all page cache: without memory.stat, which is expensive to read. */
void memory_read_use(const struct memory *memory, struct memory_use *ret);

/* What the cgroup itself uses, with all page cache: one pread; 0: unknown. */
uint64_t memory_read_own(const struct memory *memory);

/*
 * What the cgroup's programs hold: its own use, in memory and in swap, without page cache. Under pressure the
 * working set falls by itself, for the kernel makes active page cache inactive and swaps out (seen: 28 of 88 MiB
 * in 5 s); of this only they give back. Three preads. Errors: -ENOENT (nothing says what it uses), as memory_read().
 */
int memory_read_held(const struct memory *memory, uint64_t *ret_bytes);

/* What is counted from here on belongs to the next stall. A pread a level, and one of memory.stat. `events`: what
 * memory.events of the cgroup says, or NULL. `calm`: nothing stalls now. */
void memory_mark(struct memory *memory, const struct memory_events *events, bool calm,
		 uint64_t now_usec);
/*
 * Whose limit was reached most often since then; `events` as there. Where no count has grown it is the
 * machine that reclaims; but soon after a mark in the middle of a stall it is the cgroup whose use is at
 * its limit, or unknown. So it is on v1, where memory.failcnt (6.18) misses what memory.memsw.limit_in_bytes stops. A limit below the cgroup is the cause only while kswapd, which reclaims for the
 * machine alone, scans less of it than those who wait do themselves. Preads only.
 */
void memory_find_cause(const struct memory *memory, const struct memory_events *events,
		       uint64_t now_usec, struct memory_cause *ret);
/* The limit that leaves the least. */
void memory_cause_of_load(const struct memory *memory, const struct memory_load *load,
			  struct memory_cause *ret);
/* What one of `memory->levels` uses, with all page cache; and what of it cannot simply be dropped, which makes the kernel add up
 * memory.stat. No open, no allocation. Errors: -ENOENT (that level has no limit that counts), -ENODEV, -errno. */
int memory_read_rough(const struct memory *memory, unsigned level, uint64_t *ret_bytes);
int memory_read_kept(const struct memory *memory, unsigned level, uint64_t *ret_bytes);

/*
 * The same for one of very many, of which only the descriptors of cheap files stay open. On v1 it is the cgroup of the same path,
 * as systemd and container runtimes have it. Errors: -errno.
 */
/* Its own; UINT64_MAX: none. Errors: -EMFILE, -ENFILE, -ENOMEM. */
int memory_limit_of(const struct cgroups *cgroups, const char *path, uint64_t *ret_bytes);
/* What it uses; how often its limit was reached, for which on v1 there are two files. */
enum memory_file { MEMORY_USE, MEMORY_HITS, MEMORY_V1_SWAP_HITS, MEMORY_FILES };
int memory_file_open(const struct cgroups *cgroups, const char *path, enum memory_file file);
int memory_use_read(int fd, uint64_t *ret_bytes);
int memory_hits_read(const struct cgroups *cgroups, int fd, uint64_t *ret_hits);
int memory_kept_of(const struct cgroups *cgroups, const char *path, uint64_t *ret_bytes);

/* memory.events. Reading takes the edge off its POLLPRI: read once, poll, read again on each ring.
 * Errors: -ENOENT (the root cgroup, or no memory controller), -ENODEV (removed). */
int memory_events_open(int dirfd, int *ret_fd);
int memory_events_read(int fd, struct memory_events *ret);
