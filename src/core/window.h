/* SPDX-License-Identifier: MIT */
/*
 * window.h - how much a counter grew during the last so many microseconds
 *
 * A true sliding window over `total=` of PSI, fed with samples at any spacing. Samples closer
 * together than 1/32 of the window share a slot, so the memory is fixed however often one samples.
 * Between two slots growth is taken as even: the answer is off by at most what grew between the two
 * samples around the window's far edge, and in 1/32 of the window on either side of them. Before a
 * whole window has been seen the answer is the growth since the first sample, exactly.
 *
 * Unlike the kernel's own window it does not tumble, and does not begin with all that grew before
 * it was there.
 */
#pragma once

#include "util.h"

#define WINDOW_SLOTS 40

struct window {
	uint64_t length_usec;
	unsigned first, count;
	struct window_slot {
		uint64_t at_usec, total;
	} slots[WINDOW_SLOTS];
	uint64_t growth;     /* within the window that ends at the newest slot */
	uint64_t grown_usec; /* length of the newest interval ... */
	uint64_t grown;	     /* ... and the growth in it */
};

#define WINDOW_SLOT(window, i) (&(window)->slots[((window)->first + (i)) % WINDOW_SLOTS])

void window_init(struct window *window, uint64_t length_usec);

/* `at_usec` never goes back. A total that does (the cgroup is another one) starts afresh. */
void window_add(struct window *window, uint64_t at_usec, uint64_t total);

/*
 * After a rest the last sample may be hours old, and "evenly spread since then" would hide a burst.
 * What is recent of `growth` over `elapsed_usec` is then the most that two facts allow: an
 * alarm of the kernel, which means its threshold within its window (`vouched_usec`, 0 without
 * alarm), and avg10 of the same read. avg10 moves by 1 - e^(-2/10) = 18.13 % of what a period of 2
 * s stalled (calc_avgs() in kernel/sched/psi.c), so avg10 / 18.13 % is the most that the last
 * period can have seen. Never more than growth, or than the window.
 */
uint64_t window_recent(uint64_t length_usec, uint64_t growth, uint64_t elapsed_usec,
		       uint64_t vouched_usec, uint32_t avg10_centi);

/* As window_add(), where the last sample is older than the window and the caller knows better than
 * "evenly" how much of the growth since then is recent: `recent` within the window that ends now. */
void window_resume(struct window *window, uint64_t at_usec, uint64_t total, uint64_t recent);

/* When the newest sample was taken; 0: there is none. */
static inline uint64_t window_last_usec(const struct window *w)
{
	return w->count == 0 ? 0 : WINDOW_SLOT(w, w->count - 1)->at_usec;
}

static inline uint64_t window_last_total(const struct window *w)
{
	return w->count == 0 ? 0 : WINDOW_SLOT(w, w->count - 1)->total;
}

/* How much of the window was seen: from its oldest sample to its newest, at most its length. */
static inline uint64_t window_seen_usec(const struct window *w)
{
	return w->count < 2 ? 0
			    : MIN(window_last_usec(w) - WINDOW_SLOT(w, 0)->at_usec, w->length_usec);
}

/* Growth within the window that ends at the newest sample; 0 with fewer than two samples. */
static inline uint64_t window_growth(const struct window *w)
{
	return w->growth;
}

/* How fast it grew between the two newest samples: 1024 is a microsecond per microsecond. Never
 * more. */
static inline unsigned window_rate_1024(const struct window *w)
{
	if (w->grown_usec == 0)
		return 0;
	return w->grown >= w->grown_usec ? 1024 : (unsigned)(w->grown * 1024 / w->grown_usec);
}
