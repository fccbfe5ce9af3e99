/* SPDX-License-Identifier: MIT */
/*
 * resident.h - keeps code in memory while memory is short
 *
 * One thread at a time. Locks are the process's: a forked child has none (mlock(2)).
 */
#pragma once

#include "core/util.h"

struct resident;

/* What it needs later is there when this returns. Errors: -EALREADY (the program has locked memory
 * itself), -ENOMEM, open(2)'s. */
int resident_new(struct resident **ret);
struct resident *resident_free(struct resident *resident);

/*
 * Lock the file that `address` is mapped from, for good: code that must be there when the first sign
 * comes. Returns 0, or 1: there is no room for (all of) it. Errors: -ENOENT (no file is mapped
 * there), -ENOSPC (too many), -ENOSYS, -EIO.
 */
int resident_keep(struct resident *resident, const void *address);

/* Lock all code that is mapped now. `*ret_refused_bytes` is what RLIMIT_MEMLOCK leaves no room for,
 * half of which is left alone. Errors: -ENOSYS, -EIO. */
int resident_lock(struct resident *resident, uint64_t *ret_refused_bytes);
void resident_unlock(struct resident *resident);
