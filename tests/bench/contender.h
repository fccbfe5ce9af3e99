/* SPDX-License-Identifier: MIT */
/*
 * contender.h - four ways to be told: psibridge (on io_uring, on epoll), the loop one would write by hand, and sd-event
 *
 * Each runs on a thread of its own and lives until the process ends: there is no way to stop one, and none is needed.
 */
#pragma once

#include "bench.h"

enum contender_kind {
	PSIBRIDGE_URING,	/* PSB_INLINE, as all others call on the loop's thread */
	PSIBRIDGE_URING_THREAD, /* the default: a dispatch thread with a mailbox */
	PSIBRIDGE_EPOLL,
	BARE_EPOLL,
	SD_EVENT,
};
#define CONTENDERS 5

/* What is listened to. */
struct stimulus {
	bool each; /* psibridge shall tell each signal that comes more than 50 ms after the last */
	enum { STIMULUS_SOCKET, STIMULUS_FIFO, STIMULUS_PSI } kind;
	const char *path;
	bool trigger; /* STIMULUS_PSI: one is armed; else nothing is (psibridge then arms its own) */
	const char *
		cgroup; /* STIMULUS_PSI: whose it is, as psibridge wants to be told; NULL: it gets the path */
};

typedef void contender_told_fn(void *userdata);

struct contender {
	enum contender_kind kind;
	contender_told_fn *told;
	void *userdata;
	struct stimulus stimulus;
	pid_t threads[8]; /* that it started */
	unsigned thread_count;
	char why[160];	   /* on failure */
	_Atomic int ended; /* what its loop returned, if it gave up */
	int fd;
	struct watched watched; /* psibridge's */
	_Atomic uint64_t reads; /* the bare loop's */
};

const char *contender_name(enum contender_kind kind);
bool contender_is_ours(enum contender_kind kind);

/* `ret` must not move from here on. Call from the main thread, one at a time. Errors: why is set. */
int contender_start(enum contender_kind kind, const struct stimulus *stimulus,
		    contender_told_fn *told, void *userdata, struct contender *ret);

/* How often it woke up and read its stream; 0: unknown. */
uint64_t contender_reads(const struct contender *contender);
/* CPU time of its threads. */
uint64_t contender_cpu_nsec(const struct contender *contender);

/* ---- the other end of a socket -------------------------------------------------------------------- */

/* A listening AF_UNIX socket at `path`. Dies if it cannot. */
int server_new(const char *path);
/* The next client's connection, blocking. */
int server_accept(int fd);
