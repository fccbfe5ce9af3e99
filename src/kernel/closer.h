/* SPDX-License-Identifier: MIT */
/*
 * closer.h - close descriptors whose closing takes long
 *
 * Closing a descriptor with a PSI trigger waits for an RCU grace period: 9 to 20 ms measured
 * (psi_trigger_destroy() in kernel/sched/psi.c calls synchronize_rcu). The loop must not stand
 * still for that, so a thread does it. The thread exists only while there is something to close.
 */
#pragma once

#include "core/util.h"

struct closer;

/* Errors: -ENOMEM. */
int closer_new(struct closer **ret);
/* Waits until several threads, which is far faster, have closed everything. In a forked child the
 * thread does not exist: closes the rest here. */
struct closer *closer_free(struct closer *closer);
DEFINE_CLEANUP(struct closer *, closer_free);
struct closer *closer_free_in_child(struct closer *closer);

/* Takes the descriptor over. With 16,384 before it, or without a thread, it is closed at once. Negative ones are ignored. */
void closer_close(struct closer *closer, int fd);
/* Where descriptors come faster than they are closed: closes some here, until at most `max` wait. */
void closer_help(struct closer *closer, size_t max);
