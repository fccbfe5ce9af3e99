/* SPDX-License-Identifier: MIT */
/*
 * hosting-internal.h - what the objects of the hosting ABI share, and a seam for their tests
 */
#pragma once

#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/util.h"
#include "psibridge/hosting.h"

/* How long Register and the last Release wait for a call that is running, unless a test says else. */
#define HOSTING_PATIENCE_USEC (10 * USEC_PER_SEC)

/* Only for a manager of ours, and before it is used. Errors: -EINVAL. */
int host_memory_manager_set_patience(IHostMemoryManager *manager, uint64_t usec);

static inline bool guid_equal(const GUID *a, const GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Is this a forked child of the process `pid` that made the object? Its locks may never open again. */
static inline bool is_forked(pid_t pid)
{
	return getpid() != pid;
}
