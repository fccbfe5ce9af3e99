/* SPDX-License-Identifier: MIT */
/*
 * grow.h - a list of which only the count is kept
 */
#pragma once

#include <stdlib.h>

#include "core/util.h"

/* `list` has `count` items of that size; returned is where it is now, with room for one more. NULL: no memory, and `list` stays. */
static inline void *grow(void *list, size_t count, size_t size)
{
	if (count > 0 && (count & (count - 1)) != 0)
		return list;
	return reallocarray(list, MAX(2 * count, (size_t)1), size);
}
