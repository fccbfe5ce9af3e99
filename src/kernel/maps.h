/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what the process has mapped, from /proc/self/maps
 */
#pragma once

#include "core/util.h"

/* One line: [start, end), PROT_... of mmap(2), MAP_PRIVATE or MAP_SHARED, and its file: device and inode, or 0. */
struct mapping {
	uintptr_t start, end;
	int access;
	bool is_private;
	uint64_t device, inode;
};

/* Every mapping in order of addresses, until `fn` returns false. `fd` is /proc/self/maps, open: nothing
 * is opened or allocated here. Errors: why it cannot be read. */
typedef bool maps_fn(const struct mapping *mapping, void *userdata);
int maps_each(int fd, maps_fn *fn, void *userdata);
