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
 * A value for MEMORY_PRESSURE_WATCH into buf[PATH_MAX]: psibridged's socket if somebody listens
 * there, else memory.pressure of our own cgroup if it may be written. Errors: what the second one
 * said; why[PROTOCOL_WHY_MAX] has it in words.
 */
int protocol_source(char *buf, char *why);
