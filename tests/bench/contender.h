/* SPDX-License-Identifier: MIT */
/*
 * contender.h - four ways to be told: psibridge (on io_uring, on epoll), the loop one would write by hand, and sd-event
 *
 * Each calls on a thread of its own and lives until the process ends: there is no way to stop one, and none is needed.
 */
#pragma once

#include "bench.h"

#include <semaphore.h>

enum contender_kind { PSIBRIDGE_URING, PSIBRIDGE_EPOLL, BARE_EPOLL, SD_EVENT };
#define CONTENDERS 4
extern const char *const contender_names[CONTENDERS];

/* What is listened to. */
struct stimulus {
	enum { STIMULUS_SOCKET, STIMULUS_FIFO, STIMULUS_PSI } kind;
	const char *path;
	bool each; /* psibridge shall tell each signal that comes more than 50 ms after the last */
	bool trigger; /* STIMULUS_PSI: one is armed; else nothing is (psibridge then arms its own) */
	const char *cgroup; /* STIMULUS_PSI: as psibridge wants to be told; NULL: it gets the path */
};

struct contender {
	enum contender_kind kind;
	struct stimulus stimulus;
	char why[200];		    /* on failure */
	_Atomic uint64_t told_nsec; /* when it called last, and how often */
	_Atomic uint64_t calls;
	_Atomic int ended; /* what sd-event's loop returned, if it gave up */
	sem_t started;	   /* ... or said when it was made */
	int fd;
	struct watched watched; /* psibridge's */
};

/* `ret` must not move from here on. Call from the main thread, one at a time. Errors: why is set. */
int contender_start(enum contender_kind kind, const struct stimulus *stimulus,
		    struct contender *ret);
/* How often it woke up and read its stream. */
uint64_t contender_reads(const struct contender *contender);

/* The other end of a socket: a listening AF_UNIX socket at `path`; its next client's connection. They die if they cannot. */
int server_new(const char *path);
int server_accept(int fd);

/*
 * Runs `fn` in a child until it returns, and counts the system calls of its threads, but for the first, which conducts. Call while
 * there is one thread only. What is traced is slow, so this says how many calls, never how long. Returns: how many; -errno: what
 * ptrace(2) said, or what `fn` returned.
 */
int count_syscalls(int (*fn)(void *userdata), void *userdata);
/* In the child: counts from here on, or not any more. */
void count_now(bool on);
