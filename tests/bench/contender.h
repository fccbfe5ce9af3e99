/* SPDX-License-Identifier: MIT */
/*
 * contender.h - four ways to be told: psibridge (on io_uring, on epoll), the loop one would write by hand, and sd-event
 *
 * Each calls on a thread of its own and lives until the process ends: there is no way to stop one, and none is needed.
 */
#pragma once

#include "bench.h"

enum contender_kind { PSIBRIDGE_URING, PSIBRIDGE_EPOLL, BARE_EPOLL, SD_EVENT };
#define CONTENDERS 4
extern const char *const contender_names[CONTENDERS];

/* What is listened to. */
struct stimulus {
	bool each; /* psibridge shall tell each signal that comes more than 50 ms after the last */
	enum { STIMULUS_SOCKET, STIMULUS_FIFO, STIMULUS_PSI } kind;
	const char *path;
	bool trigger; /* STIMULUS_PSI: one is armed; else nothing is (psibridge then arms its own) */
	const char *cgroup; /* STIMULUS_PSI: as psibridge wants to be told; NULL: it gets the path */
};

typedef void contender_told_fn(void *userdata);

struct contender {
	enum contender_kind kind;
	contender_told_fn *told;
	void *userdata;
	struct stimulus stimulus;
	char why[160];	   /* on failure */
	_Atomic int ended; /* what its loop returned, if it gave up */
	int fd;
	struct watched watched; /* psibridge's */
	_Atomic uint64_t reads; /* of the others */
};

/* `ret` must not move from here on. Call from the main thread, one at a time. Errors: why is set. */
int contender_start(enum contender_kind kind, const struct stimulus *stimulus,
		    contender_told_fn *told, void *userdata, struct contender *ret);
/* How often it woke up and read its stream. */
uint64_t contender_reads(const struct contender *contender);

/* The other end of a socket: a listening AF_UNIX socket at `path`; its next client's connection. They die if they cannot. */
int server_new(const char *path);
int server_accept(int fd);
