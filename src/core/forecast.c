/* SPDX-License-Identifier: MIT */
/*
 * forecast.c - growth, and what of it is worth a Low
 *
 * Where a Low came in time, the program gave memory back and never reached the limit, which looks just as if
 * it had stopped by itself. So what it came to shortly after a Low counts as the most that it needs once: if it
 * goes past that the next time, it does not stop by itself, and what it comes to after a Low counts no more.
 */
#include "forecast.h"

/* The fastest growth is half as recent after so long. */
#define FADE_USEC (8 * USEC_PER_SEC)
/* What is not known yet may fill the limit in so long: looked at about every second at first. */
#define UNKNOWN_SECONDS 8
#define URGENT_USEC (250 * USEC_PER_MSEC)
#define HOUR_USEC (3600 * USEC_PER_SEC)
#define AFTER_LOW_USEC (5 * USEC_PER_SEC)

static uint64_t muldiv(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 result = (unsigned __int128)a * b / c;

	return (uint64_t)MIN(result, (unsigned __int128)(USEC_NEVER - 1));
}

static uint64_t faded(uint64_t rate, uint64_t elapsed_usec)
{
	uint64_t halves = MIN(elapsed_usec / FADE_USEC, (uint64_t)63);

	rate >>= halves;
	return rate - muldiv(rate, elapsed_usec % FADE_USEC, 2 * FADE_USEC);
}

static void begin(struct forecast *f, uint64_t used, uint64_t limit, uint64_t now)
{
	*f = (struct forecast){
		.looked_usec = now,
		.used_bytes = used,
		.limit_bytes = limit,
		.rough_bytes = f->rough_bytes,
		.hits = f->hits,
		.fastest = limit / UNKNOWN_SECONDS,
		.most_bytes = { used },
		.hour_usec = now,
	};
}

/* It stopped growing, or an hour is over. */
static void remember(struct forecast *f, uint64_t used, uint64_t now)
{
	bool after_low = f->told_usec > 0 && now - f->told_usec < AFTER_LOW_USEC;

	if (now - f->hour_usec >= HOUR_USEC) {
		f->most_bytes[1] = now - f->hour_usec < 2 * HOUR_USEC ? f->most_bytes[0] : 0;
		f->most_bytes[0] = f->told_most_bytes = 0;
		f->passed = false;
		f->hour_usec = now;
	}
	if (after_low)
		f->told_most_bytes = MAX(f->told_most_bytes, MAX(used, f->used_bytes));
	else if (used <= f->used_bytes)
		f->most_bytes[0] = MAX(f->most_bytes[0], f->used_bytes);
}

/* Is it more than it ever was, by enough not to be the same again? */
static bool is_news(const struct forecast *f, uint64_t used)
{
	uint64_t most = MAX(f->most_bytes[0], f->most_bytes[1]);

	if (!f->passed)
		most = MAX(most, f->told_most_bytes);
	return used >= most + MAX(usec_sub(f->limit_bytes, most) / 8, f->limit_bytes / 128);
}

/* Nothing is told of what is less. */
static uint64_t three_quarters(uint64_t limit)
{
	return limit - limit / 4;
}

bool forecast_is_enough(struct forecast *f, uint64_t *bytes, uint64_t limit, uint64_t hits)
{
	uint64_t rough = *bytes, before = f->rough_bytes;
	bool reclaims = forecast_is_near(rough, limit) &&
			(hits == FORECAST_HITS_UNKNOWN || hits != f->hits);

	f->rough_bytes = 0;
	if (rough < three_quarters(limit))
		return true;
	f->rough_bytes = rough;
	f->hits = hits;
	if (before == 0 || limit != f->limit_bytes || f->rate > 0 || reclaims ||
	    rough > before + limit / 512)
		return false;
	f->rough_bytes = MIN(before, rough);
	*bytes = f->used_bytes;
	return true;
}

uint64_t forecast_look(struct forecast *f, uint64_t used, uint64_t limit, uint64_t now)
{
	uint64_t elapsed = now - f->looked_usec, before = f->rate, left;

	if (f->looked_usec == 0 || limit != f->limit_bytes) {
		begin(f, used, limit, now);
		return USEC_NEVER;
	}
	if (elapsed == 0)
		return USEC_NEVER;
	remember(f, used, now);
	f->rate = used > f->used_bytes ? muldiv(used - f->used_bytes, USEC_PER_SEC, elapsed) : 0;
	f->fastest = MAX(faded(f->fastest, elapsed), f->rate);
	f->used_bytes = used;
	f->looked_usec = now;
	if (f->rate == 0 || used < three_quarters(limit) || !is_news(f, used))
		return USEC_NEVER;
	left = muldiv(usec_sub(limit, used), USEC_PER_SEC, f->rate);
	return left <= URGENT_USEC || before >= f->rate / 4 ? left : USEC_NEVER;
}

uint64_t forecast_next(const struct forecast *f)
{
	uint64_t free = usec_sub(f->limit_bytes, f->used_bytes), wait = FORECAST_PACE_MAX_USEC;

	if (f->looked_usec == 0)
		return 0;
	if (f->fastest > 0)
		wait = CLAMP(muldiv(free, USEC_PER_SEC, f->fastest) / 8, FORECAST_PACE_MIN_USEC,
			     FORECAST_PACE_MAX_USEC);
	return f->looked_usec + wait;
}

void forecast_told(struct forecast *f)
{
	f->passed = f->passed || f->told_most_bytes > 0;
	f->told_most_bytes = f->used_bytes;
	f->told_usec = f->looked_usec;
}

void forecast_stalled(struct forecast *f)
{
	f->most_bytes[0] = f->most_bytes[1] = f->told_most_bytes = 0;
}
