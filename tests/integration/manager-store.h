/* SPDX-License-Identifier: MIT */
/*
 * manager-store.h - the file descriptor store of the double of a service manager (manager-double.c)
 *
 * Descriptors by name, none twice, each dropped when its peer hangs up.
 */
#pragma once

#include <stddef.h>

struct stored {
	int fd;
	char name[256];
};

/* Ends the program if there is no memory. */
void store_open(void);
void store_close(void);

/* Readable when store_hang_ups() has something to do. */
int store_poll_fd(void);
size_t store_count(void);
const struct stored *store_get(size_t index);

/* Takes `fd` over, whatever becomes of it: "stored" or "duplicate". */
const char *store_add(const char *name, int fd);
void store_remove(const char *name);
/* `dropped` is called for each that is dropped, afterwards. */
void store_hang_ups(void (*dropped)(const char *name));
