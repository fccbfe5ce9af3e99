/* SPDX-License-Identifier: MIT */
/*
 * ring.h - Trace=: the trace of what is observed, always on, in files whose sum is bounded
 *
 * Each file is a trace of its own (psibridge-trace(5)), DIRECTORY/<when it was begun, in microseconds since the Epoch, 20 digits>.trace,
 * so by name they are in the order of time. A new one is begun when the last has an eighth of the bound; before the sum would pass it the
 * oldest is removed. At rest nothing is written, and no file is begun.
 */
#pragma once

#include "daemon/event.h"
#include "daemon/journal.h"

#define RING_BOUND_MIN (UINT64_C(1) << 20)

struct ring;

/* `directory` is made when it is needed; NULL: nothing can be kept. No calls of the loop's thread wait for a disk but ring_free(). Errors:
 * -ENOMEM. */
int ring_new(sd_event *event, struct journal *journal, const char *directory, struct ring **ret);
/* Writes what there is. */
struct ring *ring_free(struct ring *ring);
/* So many bytes from now on, at least RING_BOUND_MIN; 0: nothing is kept any more, and what there is stays. What cannot be is logged. */
void ring_apply(struct ring *ring, uint64_t bound_bytes);
/* A sample, or the end of a cgroup (PSB_KIND_GONE). Allocates nothing. */
void ring_take(struct ring *ring, const struct psb_notification *n);
