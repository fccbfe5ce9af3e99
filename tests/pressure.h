/* SPDX-License-Identifier: MIT */
/*
 * pressure.h - real cgroups under real memory pressure: for tests, benchmarks and `psibridge demo`
 *
 * A lab is one cgroup of this process's own, with groups in it. Where the memory controller sits on v1 (a hybrid host) each group
 * has a twin there that carries the limit: PSI follows the v2 membership, so the stalls of a process in both show up in the v2 group
 * all the same. A process has one lab at a time.
 *
 * However this process ends, a guardian process kills what runs in the lab and removes its cgroups.
 *
 * Functions call lab_failed() on errors, but for those that say what they return then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/util.h"

#define LAB_MB (UINT64_C(1) << 20)
#define LAB_LIMIT (48 * LAB_MB) /* enough for a stall: the file that is read is LAB_FILE long */
#define LAB_FILE (64 * LAB_MB)
#define LAB_PATH_MAX 4224
#define LAB_WHY_MAX 512

struct lab {
	const char *mount;    /* of cgroup2, or the directory in it below which the lab is */
	const char *v1_mount; /* the same in the v1 hierarchy of the memory controller */
	bool v1;	      /* the memory controller sits on v1 */
	bool privileged;      /* CAP_SYS_RESOURCE: any window. Known after lab_open() alone */
	bool enabled;  /* the lab switched the memory controller on for the children of `mount` */
	char name[64]; /* of its cgroup, without a slash: "psb-pressure-1234" */
};

/* What an error means to the program: does not return. Weak: without another one the message goes to stderr, the status is 2. */
_Noreturn void lab_failed(const char *message);

/* Writes a line into why[LAB_WHY_MAX]. Returns `error`. */
int lab_why(char *why, int error, const char *format, ...) _printf_(3, 4);

/* A lab at the top of the hierarchy. NULL, or why there can be none here: a reason to skip. */
const char *lab_open(struct lab *lab, const char *name);
/* One with exactly this name in directories of the caller's choice, which are not copied. `v1_mount` NULL: the controller is on v2.
 * Errors: -errno, and why in words. */
int lab_open_in(struct lab *lab, const char *mount, const char *v1_mount, const char *name,
		char *why);
/* Kills and removes all. Errors: -EBUSY: something is left. Async-signal-safe. */
int lab_close(struct lab *lab);

/* `group` is a path below the lab: "a", "a/b"; "" is the lab itself. `limit` 0: none. */
void lab_make(const struct lab *lab, const char *group, uint64_t limit_bytes);
/* The memory controller for groups in `group`, where processes can then no longer be. On a hybrid host it is there. */
void lab_delegate(const struct lab *lab, const char *group);
/* With all below; what runs there is killed. */
void lab_remove(const struct lab *lab, const char *group);
void lab_clear(const struct lab *lab); /* of all groups */
/* The path under the mount, "/psb-pressure-1234/a", valid until 8 calls later; and that of a file in it ("": of its directory). */
const char *lab_path(const struct lab *lab, const char *group);
const char *lab_file(const struct lab *lab, const char *group, const char *file);
/* A limit file of the v1 twin. */
const char *lab_v1_file(const struct lab *lab, const char *group, const char *file);
void lab_write(const char *path, const char *text);
/* Errors: -errno. */
int lab_try_write(const char *path, const char *text);
/* The number behind the first `word` that begins a line of a file, or of a file of /proc/PID; 0: there is none. */
uint64_t lab_number(const char *path, const char *word);
uint64_t lab_proc_number(pid_t pid, const char *file, const char *word);

/* fork(), where the child goes on in `group` (NULL: stays where it is) and is killed when its parent ends. Returns: 0 in the child, a pid, -errno. */
pid_t lab_fork(const struct lab *lab, const char *group);
/* This process into `group`; NULL: out of the lab. On a hybrid host it stays where it is in v1. */
void lab_enter(const struct lab *lab, const char *group);
/* Processes in `group` that read a file bigger than LAB_LIMIT, over and over; they end with the first, which is returned. */
pid_t lab_press(const struct lab *lab, const char *group);
/* A process in `group` that keeps all CPUs but the first busy; those that press from then on run on the first. */
pid_t lab_burn(const struct lab *lab, const char *group);
/* A process in `group` that takes `bytes` of anonymous memory as fast as it can, then sleeps. */
pid_t lab_hog(const struct lab *lab, const char *group, uint64_t bytes);
void lab_kill(pid_t pid);
void lab_kill_all(void); /* those of the three above that a failed test left behind */

/* A descriptor of a file of noise on a disk, without a name. */
int lab_data(uint64_t size);
/* Out of memory with it: pages that another group was charged for make no pressure. */
void lab_data_evict(int fd);

/*
 * Processes in `group` that read the file block by block, each time in another order and without read-ahead, as a database would:
 * each block that is not in memory is then waited for, which is what "stalled for want of memory" means. As fast as they can, or
 * (`pace_usec`) a block in that time.
 */
#define LAB_BLOCK ((size_t)256 << 10)
struct lab_readers;
/* At most 4. */
struct lab_readers *lab_readers_start(const struct lab *lab, const char *group, int fd,
				      unsigned count, uint64_t pace_usec);
/* All they have read so far. */
uint64_t lab_readers_bytes(const struct lab_readers *readers);
bool lab_readers_alive(const struct lab_readers *readers);
struct lab_readers *lab_readers_free(struct lab_readers *readers);
/* Does a child run that was not waited for yet? */
bool lab_alive(pid_t pid);

struct lab_psi {
	uint64_t some_usec, full_usec;
};
struct lab_psi lab_psi(const struct lab *lab,
		       const char *group); /* zeros where it cannot be read */

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
