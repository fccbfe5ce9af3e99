/* SPDX-License-Identifier: MIT */
/*
 * ground.h - cgroups of a benchmark's own, and real pressure in them
 *
 * All is made below one directory, "psibridge-bench.PID" at the root of the cgroup2 mount, and goes with the benchmark, however that
 * ends. On a hybrid host a v1 memory group of the same name carries the limit: PSI follows the v2 membership.
 */
#pragma once

#include "bench.h"

#define GROUND_PATH 600

/*
 * Runs `work` in a child, and removes the ground when it is over: after its return, its crash, or a signal to us.
 * Returns: the exit status of the benchmark, that of `work`; or 2, when it died.
 */
int ground_run(int (*work)(void));

/* In `work`. Why there can be no cgroups here; NULL: there can. */
const char *ground_why_not(void);
/* unified: the memory controller is on cgroup2; hybrid: it is on v1; else there is none, and no pressure can be made. */
bool ground_is_unified(void);
bool ground_has_memory(void);
/* "psibridge-bench.PID", as psibridge wants cgroups named; and its directory. */
const char *ground_cgroup(void);
const char *ground_directory(void);

/* Makes "psibridge-bench.PID/NAME", parents first. Processes can be in it, or groups below it, not both. Dies if it cannot. */
void ground_make(const char *name);
void ground_make_parent(const char *name);
void ground_remove(const char *name);
/* The path of a file of one, "" for the file: its directory. */
void ground_file(const char *name, const char *file, char ret[GROUND_PATH]);

/* ---- memory ---------------------------------------------------------------------------------------- */

/* The limit of one: memory.max, or that of its v1 twin, which is made here; 0: none. No swap in there: idle garbage is what the kernel
 * would swap out first, and containers have none. Dies if it cannot. */
void ground_limit(const char *name, uint64_t limit_bytes);
/* memory.high. Returns: false: there is none (v1 has no such thing). */
bool ground_high(const char *name, uint64_t high_bytes);
/* In a child of the benchmark: moves it in, into the twin too (there must be one). Ends it with status 2 if that fails. */
void ground_enter(const char *name);

struct ground_memory {
	uint64_t used_bytes, peak_bytes; /* 0: unknown */
	uint64_t oom_kills; /* of processes in this very group, with v1; below it too, with cgroup2 */
};
struct ground_memory ground_memory(const char *name);

/* ---- pressure ------------------------------------------------------------------------------------- */

enum pressure_kind {
	PRESSURE_REFAULT, /* reads a file twice the limit, round and round: what it reads was just thrown out. Tasks stall */
	PRESSURE_CLEAN, /* reads an endless hole once: the limit is hit all the time, nobody needs what is thrown out */
};

struct pressure;

/* Makes a process in `name`, with a limit of `limit_bytes` there, that waits. Dies if it cannot. */
struct pressure *pressure_new(const char *name, enum pressure_kind kind, uint64_t limit_bytes);
/* From here on it works for `busy_usec` of each 100 ms; 0: it waits again. */
void pressure_set(struct pressure *pressure, unsigned busy_usec);
void pressure_free(struct pressure *pressure);

struct stall {
	uint64_t some_usec, full_usec;
};
/* The `total=`s of an open memory.pressure. */
struct stall stall_read(int fd);
int stall_open(const char *name);
/* memory.events: how often the limit was hit (`max`) or throttled (`high`). 0 where there is none. */
uint64_t events_read(const char *name);
