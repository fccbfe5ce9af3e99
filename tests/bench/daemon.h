/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - a psibridged of the benchmark's own, with its configuration, sockets and state in one directory
 */
#pragma once

#include "bench.h"

struct bench_daemon {
	char dir[64];
	pid_t pid;
};

/* With this text as its configuration. Clients connect to notify in `dir`, psibridge(1) to control; both are there when it returns. */
void bench_daemon_start(struct bench_daemon *ret, const char *configuration);
/* Kills it, and removes the directory, but what another one has put there. */
void bench_daemon_stop(const struct bench_daemon *daemon);
