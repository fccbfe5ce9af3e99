/* SPDX-License-Identifier: MIT */
/*
 * memory-high.h - memory.high of our own cgroup, where there is only memory.max
 */
#pragma once

#include <stdbool.h>

#define MEMORY_HIGH_NOTE_MAX 512

/*
 * Set it to `percent` of memory.max, or look whether that could be (`dry_run`). The cgroup must be ours alone, for nothing takes
 * it back. `note`: in words, what it is now, or why it stays. Errors: it stays as it is.
 */
int memory_high_set(unsigned percent, bool dry_run, char note[MEMORY_HIGH_NOTE_MAX]);
