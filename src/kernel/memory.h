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
 * Unknown is not 0, and no limit is not what could not be read just now: out of descriptors, what was
 * known before stays.
 */
#pragma once

#include "core/keyed.h"
#include "kernel/cgroup.h"

#define MEMORY_UNKNOWN UINT64_MAX

/* Of more levels with a limit than these the least limits are kept. */
#define MEMORY_LEVELS_MAX 8

struct memory_level {
	int current_fd;	      /* memory.current, or v1 memory.usage_in_bytes; -1: unknown */
	int stat_fd;	      /* memory.stat of the same cgroup */
	uint64_t limit_bytes; /* the less of memory.max and memory.high; UINT64_MAX: none */
	size_t length;	      /* of its path, which is the front of ours */
};

struct memory {
	const struct cgroups *cgroups;
	const char *v2_path, *v1_path;
	/* the cgroup itself, then the ancestors that have a limit */
	struct memory_level levels[MEMORY_LEVELS_MAX];
	unsigned count;
	bool v1;
	uint64_t limit_bytes; /* the least, as of the last memory_refresh(); UINT64_MAX: none */
	uint64_t high_bytes;
	uint64_t machine_bytes; /* MemTotal, or MEMORY_UNKNOWN */
};

struct memory_load {
	uint64_t current_bytes, working_set_bytes; /* where the limit is; 0: unknown */
	uint64_t limit_bytes;	  /* MemTotal where there is no other, or MEMORY_UNKNOWN */
	uint64_t high_bytes;	  /* UINT64_MAX: none */
	uint64_t available_bytes; /* or MEMORY_UNKNOWN */
	unsigned percent;	  /* 0 where available_bytes is unknown */
	bool machine;		  /* no limit: these are the machine's numbers */
	size_t length;		  /* of the path of the cgroup whose limit it is */
};

struct memory_use {
	uint64_t own_bytes;	/* 0: unknown */
	uint64_t current_bytes; /* where the limit is */
	uint64_t limit_bytes;	/* 0: none */
};

/*
 * `cgroups` and the paths stay as long as it is open. `v2_path` and `v1_path` may be NULL: not known.
 * The v1 one counts only where the v2 cgroup has no memory controller. Never fails for missing files:
 * then the machine's numbers are what there is, or nothing. Errors: -EMFILE, -ENFILE, -ENOMEM.
 */
int memory_open(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		const char *v1_path);
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

/* memory.events. Reading takes the edge off its POLLPRI: read once, poll, read again on each ring.
 * Errors: -ENOENT (the root cgroup, or no memory controller), -ENODEV (removed). */
int memory_events_open(int dirfd, int *ret_fd);
int memory_events_read(int fd, struct memory_events *ret);
