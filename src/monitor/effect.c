/* SPDX-License-Identifier: MIT */
/*
 * effect.c - see effect.h
 *
 * The pace of the looks is a quarter of the time since the Low, so that the first byte back is known to a quarter of
 * what it took, between LOOK_MIN_USEC and LOOK_MAX_USEC.
 */
#include "monitor/effect.h"

#define LOOK_MIN_USEC (50 * USEC_PER_MSEC)
#define LOOK_MAX_USEC (500 * USEC_PER_MSEC)
/* What the kernel keeps for a program comes and goes: 1.2 MiB were seen of one of 42 that freed nothing. */
#define NOISE_BYTES (UINT64_C(2) << 20)

uint64_t effect_stall(struct effect *e, uint64_t now, uint64_t total_usec, uint32_t avg10_centi)
{
	struct window *w = &e->stalls;
	uint64_t last = window_last_usec(w), growth = usec_sub(total_usec, window_last_total(w));

	w->length_usec = EFFECT_USEC;
	if (last == 0 || total_usec < window_last_total(w) || now - last <= EFFECT_USEC)
		window_add(w, now, total_usec);
	else
		window_resume(w, now, total_usec,
			      window_recent(EFFECT_USEC, growth, now - last, 0, avg10_centi));
	return last > 0 ? growth : 0;
}

void effect_forget(struct effect *e)
{
	window_init(&e->stalls, EFFECT_USEC);
}

void effect_begin(struct effect *e, uint64_t now, uint64_t since_usec, uint64_t bytes)
{
	if (effect_is_measured(e))
		return;
	e->low_usec = now;
	e->since_usec = since_usec > 0 ? since_usec : now;
	e->look_usec = now + LOOK_MIN_USEC;
	e->before_bytes = e->least_bytes = bytes;
	e->first_back_usec = PSB_UNKNOWN;
	e->stall_before_usec = window_seen_usec(&e->stalls) > 0 ? window_growth(&e->stalls)
								: PSB_UNKNOWN;
	e->reported_bytes = 0;
}

uint64_t effect_end_usec(const struct effect *e)
{
	return effect_is_measured(e) ? e->low_usec + EFFECT_USEC + e->patience_usec : USEC_NEVER;
}

uint64_t effect_deadline(const struct effect *e)
{
	return effect_is_measured(e) ? MIN(e->look_usec, effect_end_usec(e)) : USEC_NEVER;
}

static uint64_t given_back(const struct effect *e)
{
	uint64_t bytes = e->before_bytes - e->least_bytes;

	return bytes >= MAX(NOISE_BYTES, e->before_bytes / 100) ? bytes : 0;
}

/* Whoever says it, JSON's readers know no larger number. */
void effect_report(struct effect *e, uint64_t bytes)
{
	e->reported_bytes = MIN(usec_add(e->reported_bytes, bytes), (uint64_t)INT64_MAX);
}

bool effect_look(struct effect *e, uint64_t now, uint64_t bytes)
{
	e->look_usec = now + CLAMP((now - e->low_usec) / 4, LOOK_MIN_USEC, LOOK_MAX_USEC);
	e->least_bytes = MIN(e->least_bytes, bytes);
	if (e->first_back_usec != PSB_UNKNOWN || given_back(e) == 0)
		return false;
	e->first_back_usec = now - e->since_usec;
	return true;
}

bool effect_end(struct effect *e, uint64_t now, struct psb_stats *stats, bool *ret_gave)
{
	if (now < effect_end_usec(e))
		return false;
	stats->effects++;
	stats->effect_usec = e->low_usec;
	stats->effect_bytes = given_back(e);
	stats->bytes_back += stats->effect_bytes;
	stats->effect_reported_bytes = e->reported_bytes;
	stats->first_back_usec = e->first_back_usec;
	stats->stall_before_usec = e->stall_before_usec;
	/* as much again has been seen since, if the source is the same and was sampled */
	stats->stall_after_usec = window_last_usec(&e->stalls) >= e->low_usec + EFFECT_USEC &&
						  window_seen_usec(&e->stalls) >= EFFECT_USEC
					  ? window_growth(&e->stalls)
					  : PSB_UNKNOWN;
	*ret_gave = stats->effect_bytes > 0 || e->reported_bytes > 0;
	e->low_usec = 0;
	return true;
}
