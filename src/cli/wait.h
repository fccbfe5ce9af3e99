/* SPDX-License-Identifier: MIT */
/*
 * wait.h - the time, how long to sleep, to be ended, and calls on a socket that end in time
 */
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include "core/util.h"

/* CLOCK_MONOTONIC. */
uint64_t now_usec(void);

/* Milliseconds until `usec`, for poll(2): rounded up, so that it is over then; -1: USEC_NEVER. */
int msec_until(uint64_t usec);

/*
 * Blocks these signals (ended by a 0), SIGINT and SIGTERM, and ignores SIGPIPE. To be called before
 * threads are made, which inherit that. Returns a signalfd(2) for the blocked ones, or -errno.
 */
int catch_signals(const int *more);

/*
 * Calls on a blocking AF_UNIX stream socket, which gets the time that is left until `end_usec` (of
 * now_usec()) as its timeout before each. Errors: -ETIMEDOUT, and what the call says.
 */
/* Also where the listener's queue is full, and it does not take from it. */
int socket_connect(int fd, const struct sockaddr_un *address, uint64_t end_usec);
/* All of it. */
int socket_send(int fd, const void *bytes, size_t size, uint64_t end_usec);
/* What is there, or comes. Returns: how much; 0: the other end has closed. */
ssize_t socket_receive(int fd, void *buf, size_t size, uint64_t end_usec);
