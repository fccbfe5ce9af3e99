/* SPDX-License-Identifier: MIT */
/*
 * socket.h - calls on a blocking AF_UNIX stream socket that end by a given time
 *
 * Before each call the socket gets the time that is left as its timeout. `end_usec` is of now_usec().
 * Errors: -ETIMEDOUT, and what the call says.
 */
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include "core/util.h"

/* Also where the listener's queue is full, and it does not take from it. */
int socket_connect(int fd, const struct sockaddr_un *address, uint64_t end_usec);
/* All of it. */
int socket_send(int fd, const void *bytes, size_t size, uint64_t end_usec);
/* What is there, or comes. Returns: how much; 0: the other end has closed. */
ssize_t socket_receive(int fd, void *buf, size_t size, uint64_t end_usec);
