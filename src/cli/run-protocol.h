/* SPDX-License-Identifier: MIT */
/*
 * run-protocol.h - what a program that understands systemd's protocol is told to listen to
 */
#pragma once

#include <limits.h>

#include "core/util.h"

#define PROTOCOL_WHY_MAX 320

/* base64 of "some 200000 2000000" and a NUL: sd-event's own default, and our "low". */
#define PROTOCOL_WRITE "c29tZSAyMDAwMDAgMjAwMDAwMAA="

/*
 * A value for MEMORY_PRESSURE_WATCH into buf[PATH_MAX]: psibridged's socket if it listens, else, if `own`,
 * memory.pressure of our own cgroup where it may be written. Not that file unless it was asked for: a hook
 * finds it by itself, with memory.events beside it, and processes that move to another cgroup would
 * inherit it. Errors: -ENOENT (psibridged does not run), what the own file said; why[PROTOCOL_WHY_MAX]
 * has it in words.
 */
int protocol_source(bool own, char *buf, char *why);
