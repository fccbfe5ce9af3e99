/* SPDX-License-Identifier: MIT */
/*
 * sized.h - structures that begin with their size, between programs and libraries of different ages
 *
 * The rule is in the conventions of psibridge.h; Linux has the same for its system calls
 * (copy_struct_from_user()). These two functions are its only implementation.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "core/util.h"

/* No structure of any age is so long: this is a `size` that was never set. */
#define SIZED_MAX 16384

static inline int sized_check(const void *theirs, size_t *ret_size)
{
	size_t size;

	memcpy(&size, theirs, sizeof(size));
	if (size < sizeof(size))
		return -EINVAL;
	if (size > SIZED_MAX)
		return -E2BIG;
	*ret_size = size;
	return 0;
}

/* Take the options `theirs` into `ret`, of `size` bytes. Errors: -EINVAL (no size), -E2BIG (behind
 * what we know is something else than zeros; what we know is in `ret`). */
static inline int sized_take(void *ret, size_t size, const void *theirs)
{
	const char *bytes = theirs;
	size_t given;
	int r = sized_check(theirs, &given);

	if (r < 0)
		return r;
	memcpy(ret, theirs, MIN(size, given));
	for (size_t i = size; i < given; i++)
		if (bytes[i])
			return -E2BIG;
	return 0;
}

/* Fill `ret`, which says how long it is, from `ours`. Errors: -EINVAL (no size), -E2BIG. */
static inline int sized_fill(void *ret, const void *ours, size_t size)
{
	size_t wanted, filled;
	int r = sized_check(ret, &wanted);

	if (r < 0)
		return r;
	filled = MIN(size, wanted);
	memcpy(ret, ours, filled);
	memset((char *)ret + filled, 0, wanted - filled);
	memcpy(ret, &filled, sizeof(filled));
	return 0;
}
