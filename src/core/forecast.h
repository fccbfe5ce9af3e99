/* SPDX-License-Identifier: MIT */
/*
 * forecast.h - when will the limit be reached?
 *
 * PSI sees a task wait; where nothing is left to reclaim the kernel kills a few milliseconds later. So what
 * is in use below a limit is looked at now and then, and what grows fast towards it is seen before it is there.
 *
 * In use is what cannot simply be dropped: page cache is no growth, active or not.
 *
 * When to look: what is free could be gone at the fastest recent growth in some time; an eighth of that, 100 ms to 10 s.
 *
 * What can be dropped is expensive to know (memory.stat). So as long as nothing can be told the use with all page cache stands for
 * it: under three quarters of the limit, and where neither grows and there is no reclaim, which trades one for the other. Near the
 * limit that is known only of how often it was reached.
 *
 * There is an answer only where it grows, and all of this holds:
 *  - three quarters of the limit are in use: so much room runtimes leave (.NET's collector stops at 75 % by itself);
 *  - it grew at the look before, too, and not much less, unless there is no time for a second one: most growth is a step;
 *  - more is in use than ever was without the limit being reached, by an eighth of what is free above that. A program that
 *    breathes between 60 and 85 % has been at 85 %, and came back. "Ever" is the last one to two hours.
 */
#pragma once

#include "util.h"

#define FORECAST_PACE_MIN_USEC (100 * USEC_PER_MSEC)
#define FORECAST_PACE_MAX_USEC (10 * USEC_PER_SEC)

/* One limit's; plain data, all zero at first. */
struct forecast {
	uint64_t looked_usec; /* 0: never */
	uint64_t used_bytes, limit_bytes;
	uint64_t rough_bytes; /* with all page cache, when it was last told apart; 0: it was not */
	uint64_t hits;	      /* of the limit, until then */
	uint64_t rate;	      /* bytes per second between the two newest looks */
	uint64_t fastest;     /* the fastest of late: halves with time */
	uint64_t most_bytes
		[2]; /* that was in use when it stopped growing: this hour, and the one before */
	uint64_t hour_usec;
	/* What it came to after a Low may have been the Low's doing. */
	uint64_t told_usec, told_most_bytes;
	bool passed; /* ... it was: the next time it went on growing */
};

/* So much is used that there may be reclaim. */
static inline bool forecast_is_near(uint64_t bytes, uint64_t limit_bytes)
{
	return bytes >= limit_bytes - limit_bytes / 16;
}

#define FORECAST_HITS_UNKNOWN UINT64_MAX

/* Before a look: `*bytes` is what is used with all page cache, `hits` how often the limit was reached, which is of use where it is
 * near. Returns: true: it is now what the look is to be given; false: what cannot be dropped must be known. */
bool forecast_is_enough(struct forecast *forecast, uint64_t *bytes, uint64_t limit_bytes,
			uint64_t hits);

/* `limit_bytes` > 0; `now_usec` never goes back. Returns: the time until the limit is reached; USEC_NEVER: there is
 * nothing to tell. */
uint64_t forecast_look(struct forecast *forecast, uint64_t used_bytes, uint64_t limit_bytes,
		       uint64_t now_usec);

/* When to look again; 0: never looked. */
uint64_t forecast_next(const struct forecast *forecast);

/* Low was told for that. */
void forecast_told(struct forecast *forecast);
/* It stalls: what was in use so far was too much. */
void forecast_stalled(struct forecast *forecast);
