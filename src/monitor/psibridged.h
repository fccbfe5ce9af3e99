/* SPDX-License-Identifier: MIT */
/*
 * psibridged.h - is that socket psibridged's, and the subscription that is sent to it
 */
#pragma once

#include "core/wire.h"
#include "monitor/target.h"

/* Where the daemon listens where nothing else was said. */
#define PSIBRIDGED_SOCKET "/run/psibridge/notify"

/* Is the listener at the other end of this connected socket psibridged's, wherever its path is
 * mounted here? */
bool psibridged_listens(int fd);

/* What this target asks for: what the caller said; where it said nothing of Low, the trigger in
 * $MEMORY_PRESSURE_WRITE, unless that is systemd's default. */
void psibridged_terms(const struct target *target, struct policy_options *ret);

/* Connect to `path`, without waiting. Errors: -errno of socket(2), connect(2); -EAGAIN: its queue is
 * full. */
int psibridged_connect(const char *path, int *ret_fd);

/* Write the subscription. Errors: -errno of send(2). */
int psibridged_subscribe(int fd, const struct policy_options *terms);

/*
 * Ask once and give up again: the first record it answers, for diagnosis. Waits, for
 * each byte at most `timeout_usec`. Errors: as above; -ENOTSOCK (it is not psibridged's), -ETIMEDOUT,
 * -ECONNRESET (it hung up), -EBADMSG.
 */
int psibridged_ask(const char *path, const struct policy_options *terms, uint64_t timeout_usec,
		   struct wire_record *ret);
