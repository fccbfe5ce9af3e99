/* SPDX-License-Identifier: MIT */
/*
 * maps.h - what the process has mapped, from /proc/self/maps
 */
#pragma once

#include "core/util.h"

/* One line: [start, end), PROT_... of mmap(2), and the inode of its file or 0. */
struct mapping {
	uintptr_t start, end;
	int access;
	uint64_t inode;
};

/* The first mapping that ends behind `address`. Errors: -ENOENT: there is none; or why the file cannot
 * be read. */
int maps_find(uintptr_t address, struct mapping *ret);
