/* SPDX-License-Identifier: MIT */
/*
 * refusals.h - refused clients: counted, and logged at most once in ten seconds
 */
#pragma once

#include "daemon/daemon.h"
#include "daemon/event.h"

struct refusals {
	struct daemon *daemon;
	sd_event_source *timer;
	uint64_t count;
	uint64_t untold; /* of them: not logged yet */
	uint64_t logged_usec;
	char why[256]; /* of the last one */
};

/* Errors: -ENOMEM. */
int refusals_init(struct refusals *refusals, struct daemon *daemon);
void refusals_add(struct refusals *refusals, const char *format, ...) _printf_(2, 3);
/* Logs what is not logged yet. */
void refusals_end(struct refusals *refusals);
