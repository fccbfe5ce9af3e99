/* SPDX-License-Identifier: MIT */
/*
 * lab.h - real cgroups under real memory pressure, for tests
 *
 * A lab is one cgroup of this test's own below the cgroup2 mount, with groups in it. Where the memory controller sits on v1
 * (a hybrid host) each group has a twin there that carries the limit: PSI follows the v2 membership, so the stalls
 * of a process in both show up in the v2 group all the same.
 *
 * Whatever becomes of the test, a guardian process kills what runs in the lab and removes its cgroups.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LAB_MB (UINT64_C(1) << 20)
#define LAB_LIMIT (48 * LAB_MB) /* enough for a stall: the file that is read is LAB_FILE long */
#define LAB_FILE (64 * LAB_MB)

struct lab {
	char mount[64];	 /* of cgroup2 */
	bool v1;	 /* the memory controller sits on v1 */
	bool privileged; /* CAP_SYS_RESOURCE: any window */
	char name[64];	 /* of its cgroup, without a slash: "psb-pressure-1234" */
};

/* NULL, or why there can be no lab here: a reason to skip. */
const char *lab_open(struct lab *lab, const char *name);
void lab_close(struct lab *lab);

/* `group` is a path below the lab: "a", "a/b"; "" is the lab itself. `limit` 0: none. Fails the test on errors. */
void lab_make(const struct lab *lab, const char *group, uint64_t limit_bytes);
/* It must be empty of processes. */
void lab_remove(const struct lab *lab, const char *group);
/* The path under the mount, "/psb-pressure-1234/a", valid until 8 calls later; and that of a file in it. */
const char *lab_path(const struct lab *lab, const char *group);
const char *lab_file(const struct lab *lab, const char *group, const char *file);
/* A limit file of v2 or, on a hybrid host, of the v1 twin. */
const char *lab_v1_file(const struct lab *lab, const char *group, const char *file);
void lab_write(const char *path, const char *text);
/* -errno instead of failing. */
int lab_try_write(const char *path, const char *text);

/* Processes in `group` that read a file bigger than LAB_LIMIT, over and over; they end with the first, which is returned. */
pid_t lab_press(const struct lab *lab, const char *group);
/* A process in `group` that keeps all CPUs but the first busy; whoever presses from then on runs on the first. */
pid_t lab_burn(const struct lab *lab, const char *group);
/* A process in `group` that takes `bytes` of anonymous memory as fast as it can, then sleeps. */
pid_t lab_hog(const struct lab *lab, const char *group, uint64_t bytes);
void lab_kill(pid_t pid);
void lab_kill_all(void); /* those that a failed test left behind */

struct lab_psi {
	uint64_t some_usec, full_usec;
};
struct lab_psi lab_psi(const struct lab *lab, const char *group);

uint64_t lab_now_usec(void);
void lab_sleep_ms(unsigned ms);
/* Wait for `condition` for up to `ms`, looking every few milliseconds; true when it came true. */
#define LAB_WAIT(ms, condition)                                       \
	({                                                            \
		uint64_t _end = lab_now_usec() + (uint64_t)(ms)*1000; \
		bool _ok;                                             \
		while (!(_ok = (condition)) && lab_now_usec() < _end) \
			lab_sleep_ms(5);                              \
		_ok;                                                  \
	})

/* The thread of this process with that name; 0: none. What it used so far. */
pid_t lab_thread(const char *name);
uint64_t lab_thread_switches(pid_t tid); /* voluntary context switches */
uint64_t lab_thread_cpu_usec(pid_t tid);
