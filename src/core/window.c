/* SPDX-License-Identifier: MIT */
/*
 * window.c - a ring of (time, total) slots, oldest first
 *
 * Invariants: times rise strictly from slot to slot; at most one slot is older than the window's far
 * edge (it is kept to interpolate from); all slots but the newest are at least length/32, rounded up,
 * after the one before, hence 32 + 1 older + the newest always fit into WINDOW_SLOTS.
 */
#include "window.h"

void window_init(struct window *window, uint64_t length_usec)
{
	*window = (struct window){ .length_usec = length_usec };
}

/* The newest slot has changed. Of those before it one at most is before the window's edge. */
static void measure(struct window *window)
{
	const struct window_slot *a = WINDOW_SLOT(window, 0), *b = WINDOW_SLOT(window, 1);
	const struct window_slot *newest = WINDOW_SLOT(window, window->count - 1);
	uint64_t edge = usec_sub(newest->at_usec, window->length_usec), inside, product;

	window->growth = newest->total - a->total;
	if (window->count < 2 || a->at_usec >= edge)
		return;
	inside = b->at_usec - edge;
	if (__builtin_mul_overflow(b->total - a->total, inside, &product)) /* years */
		window->growth = newest->total - b->total +
				 (uint64_t)((unsigned __int128)(b->total - a->total) * inside /
					    (b->at_usec - a->at_usec));
	else
		window->growth = newest->total - b->total + product / (b->at_usec - a->at_usec);
}

void window_add(struct window *window, uint64_t at_usec, uint64_t total)
{
	struct window_slot *last = NULL;

	if (window->count > 0) {
		last = WINDOW_SLOT(window, window->count - 1);
		if (total < last->total) {
			window_init(window, window->length_usec);
		} else if (at_usec <= last->at_usec) {
			/* the same moment: what grew counts as growth of the interval before */
			window->grown += total - last->total;
			last->total = total;
			measure(window);
			return;
		} else {
			window->grown_usec = at_usec - last->at_usec;
			window->grown = total - last->total;
		}
	}

	/* The newest slot moves along until it is far enough from the one before it. */
	if (window->count > 1 && last->at_usec - WINDOW_SLOT(window, window->count - 2)->at_usec <
					 (window->length_usec + 31) / 32)
		window->count--;

	uint64_t edge = usec_sub(at_usec, window->length_usec);

	while (window->count > 1 && WINDOW_SLOT(window, 1)->at_usec <= edge) {
		window->first = (window->first + 1) % WINDOW_SLOTS;
		window->count--;
	}
	*WINDOW_SLOT(window, window->count) = (struct window_slot){ at_usec, total };
	window->count++;
	measure(window);
}

uint64_t window_recent(uint64_t length_usec, uint64_t growth, uint64_t elapsed_usec,
		       uint64_t vouched_usec, uint32_t avg10_centi)
{
	/* a hundredth of a percent of 2 s is 200 us */
	uint64_t by_avg10 = avg10_centi * UINT64_C(200) * 10000 / 1813;
	uint64_t evenly = elapsed_usec <= length_usec ? growth
						      : (uint64_t)((unsigned __int128)growth *
								   length_usec / elapsed_usec);
	uint64_t recent = MAX(evenly, MIN(growth, MAX(vouched_usec, by_avg10)));

	return MIN(recent, length_usec);
}

void window_resume(struct window *window, uint64_t at_usec, uint64_t total, uint64_t recent)
{
	uint64_t edge = usec_sub(at_usec, window->length_usec);

	recent = MIN(recent, total);
	window_init(window, window->length_usec);
	window_add(window, edge, total - recent);
	window_add(window, at_usec, total);
}
