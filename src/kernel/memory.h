/* SPDX-License-Identifier: MIT */
/*
 * memory.h - how much a cgroup uses, how much it may use, and what the kernel says of it
 *
 * Working set is what kubelet means by it: use minus inactive_file; page cache nobody needs is not
 * load. The limit is effective: the least memory.max and memory.high over all visible ancestors, or
 * hierarchical_memory_limit where the memory controller is on v1, else the machine's MemTotal.
 *
 * Descriptors of the files that are read under pressure are opened before: a thread over
 * memory.high that charges memory is put to sleep, and open(2) charges memory. Only the ancestors'
 * limits are read by path; they are asked for while calm.
 */
#pragma once

#include "core/keyed.h"
#include "kernel/cgroup.h"

struct memory {
	int current_fd; /* memory.current, or v1 memory.usage_in_bytes; -1: unknown */
	int stat_fd;	/* memory.stat of the same cgroup */
	bool v1;
	uint64_t limit_bytes; /* as of the last memory_read_limits(); UINT64_MAX: none */
	uint64_t high_bytes;
	uint64_t machine_bytes; /* MemTotal */
};

struct memory_load {
	uint64_t current_bytes, working_set_bytes;
	uint64_t limit_bytes; /* MemTotal where there is no other */
	uint64_t high_bytes;  /* UINT64_MAX: none */
	uint64_t available_bytes;
	unsigned percent;
	bool machine; /* no limit: these are the machine's numbers */
};

/*
 * `v2_path` and `v1_path` may be NULL: not known. The v1 one counts only where the v2 cgroup has no
 * memory controller. Never fails for missing files: then the machine's numbers are what there is.
 * Errors: -EMFILE, -ENFILE.
 */
int memory_open(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		const char *v1_path);
void memory_close(struct memory *memory);

/* Read the limits of the cgroup and its visible ancestors anew. Opens files: not for moments of
 * pressure. */
void memory_read_limits(struct memory *memory, const struct cgroups *cgroups, const char *v2_path);

/* Is there a limit below the machine's own size, and something to compare with it? As of the last
 * memory_read_limits(). */
bool memory_has_limit(const struct memory *memory);

/* With a limit two preads, no open, no allocation; without one it opens /proc/meminfo. Errors:
 * -ENODEV: the cgroup was removed; -errno. */
int memory_read(const struct memory *memory, struct memory_load *ret);
/* Only what is in use; 0 where it is unknown. */
uint64_t memory_read_current(const struct memory *memory);

/* memory.events. Reading takes the edge off its POLLPRI: read once, poll, read again on each ring.
 * Errors: -ENOENT (the root cgroup, or no memory controller), -ENODEV (removed). */
int memory_events_open(int dirfd, int *ret_fd);
int memory_events_read(int fd, struct memory_events *ret);
