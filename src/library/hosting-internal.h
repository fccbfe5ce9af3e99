/* SPDX-License-Identifier: MIT */
/*
 * hosting-internal.h - a seam for the tests of hosting.c
 */
#pragma once

#include "library/hostobject.h"

/* How long Register and the last Release wait for a call that is running, unless a test says else. */
#define HOSTING_PATIENCE_USEC (10 * USEC_PER_SEC)

/* Only for a manager of ours, and before it is used. Errors: -EINVAL. */
int host_memory_manager_set_patience(IHostMemoryManager *manager, uint64_t usec);
