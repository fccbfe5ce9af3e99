/* SPDX-License-Identifier: MIT */
/*
 * wait.h - what verbs need that run for a while: the time, how long to sleep, and to be ended
 */
#pragma once

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
