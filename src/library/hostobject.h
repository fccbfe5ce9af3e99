/* SPDX-License-Identifier: MIT */
/*
 * hostobject.h - what all objects of the hosting ABI need
 */
#pragma once

#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "core/util.h"
#include "psibridge/hosting.h"

static inline bool guid_equal(const GUID *a, const GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Is this a forked child of the process `pid` that made the object? Its locks may never open again. */
static inline bool is_forked(pid_t pid)
{
	return getpid() != pid;
}
