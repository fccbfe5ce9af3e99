/* SPDX-License-Identifier: MIT */
/*
 * effect.h - did a Low help?
 *
 *     Low told --looks at what is held, less and less often--> EFFECT_USEC later: the effect is known
 *
 * What went back is what the cgroup held before (memory_read_held()), less the least that it held within EFFECT_USEC.
 * Under 2 MiB, or 1 %, it is nothing: that is never still. A further Low within that time belongs to the same effect.
 * Plain numbers in and out; the monitor reads the files (monitor-judge.c).
 *
 * What it costs: some 23 looks of 50 us for each Low, 0.01 % of a core where Low is repeated every 8.192 s.
 */
#pragma once

#include "core/window.h"
#include "psibridge/psibridge.h"

#define EFFECT_USEC (5 * USEC_PER_SEC)

struct effect {
	struct window stalls; /* of the last EFFECT_USEC, whether a Low was told or not */
	uint64_t low_usec;    /* when the Low was told that is measured; 0: none is */
	uint64_t since_usec;  /* when its stall began */
	uint64_t look_usec;   /* when to look next at what is held */
	uint64_t before_bytes, least_bytes; /* held */
	uint64_t first_back_usec;   /* from since_usec; PSB_UNKNOWN: nothing came back yet */
	uint64_t stall_before_usec; /* or PSB_UNKNOWN */
	uint64_t patience_usec;	    /* it is known so much later, for another may know it better */
	uint64_t reported_bytes;    /* that the host says it freed */
};

/* Each sample of `some`, whether something is measured or not. Returns: what it grew by since the last one. */
uint64_t effect_stall(struct effect *effect, uint64_t now, uint64_t total_usec,
		      uint32_t avg10_centi);
/* Those samples were of another source. */
void effect_forget(struct effect *effect);

static inline bool effect_is_measured(const struct effect *effect)
{
	return effect->low_usec > 0;
}

/* A Low is told now, for a stall since then (0: none), with so much held. */
void effect_begin(struct effect *effect, uint64_t now, uint64_t since_usec, uint64_t bytes);
/* When to look, and when it will be known; USEC_NEVER: nothing is measured. */
uint64_t effect_deadline(const struct effect *effect);
uint64_t effect_end_usec(const struct effect *effect);
/* The host says that it freed so much. */
void effect_report(struct effect *effect, uint64_t bytes);
/* What is held now; PSB_UNKNOWN: it could not be read. Returns: something came back, which was not seen before. */
bool effect_look(struct effect *effect, uint64_t now, uint64_t bytes);
/* Is it known by now? Then it goes into the counters, and nothing is measured any more; *ret_gave: was anything given back? */
bool effect_end(struct effect *effect, uint64_t now, struct psb_stats *stats, bool *ret_gave);
