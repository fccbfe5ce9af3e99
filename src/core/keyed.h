/* SPDX-License-Identifier: MIT */
/*
 * keyed.h - numbers from kernel files of keys and values
 *
 * "Flat keyed" is the kernel's word (Documentation/admin-guide/cgroup-v2.rst) for memory.events,
 * memory.stat and cgroup.events: `KEY VALUE\n` a line. /proc/meminfo is the same with a colon,
 * blanks and "kB". The values of unknown keys are not looked at.
 */
#pragma once

#include "util.h"

/* What memory.events counts. Keys that a kernel does not have stay 0. */
struct memory_events {
	uint64_t low, high, max, oom, oom_kill;
};

/*
 * `text` must be the whole file. Errors: -EBADMSG: nothing at all, a line that is no `KEY VALUE`,
 * or a last line without a newline (a counter that is missing or cut short would look like a
 * reset).
 */
int memory_events_parse(const char *text, size_t size, struct memory_events *ret);

/*
 * One key; the first of that name. `text` may be cut off at the end: a last line without a newline
 * is ignored, so a long memory.stat can be read into a small buffer. Errors: -ENOENT: it is not
 * there; -EBADMSG: a line before it that is no `KEY VALUE`, or its value is no number in 64 bits.
 */
int keyed_get(const char *text, size_t size, const char *key, uint64_t *ret);

/*
 * One key of /proc/meminfo ("MemTotal"), in bytes; `text` may be cut off. Errors: -ENOENT;
 * -EBADMSG: as above, or what it counts is not kB (HugePages_Total counts pages).
 */
int meminfo_get(const char *text, size_t size, const char *key, uint64_t *ret_bytes);

/* A limit file: a number or "max", which gives UINT64_MAX, then a newline. Errors: -EBADMSG. */
int limit_parse(const char *text, size_t size, uint64_t *ret_bytes);
