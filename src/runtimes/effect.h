/* SPDX-License-Identifier: MIT */
/*
 * effect.h - is a collection worth it, and what did the last one give back?
 *
 * The first one is worth it. Later ones only when some time has passed since the last, and if the process has grown since:
 * walking a heap touches memory, which is just what is scarce. At critical it need not have grown: the kernel is about to
 * kill. What counts are anonymous pages that are resident, which is what heaps are made of: pages of files come and go by the
 * kernel's choice. They are read a while after the collection: the kernel takes its time, and what allocators return says
 * nothing. Effect.cs has the same rule, and both pass tests/unit/runtimes/worth.cases. Times are CLOCK_MONOTONIC.
 */
#pragma once

#include <psibridge/tools.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define EFFECT_MEASURE_USEC (7 * USEC_PER_SEC / 10) /* after the collection */
/* The default of PSIBRIDGE_APART. What a Low achieved is known 5 s after it, and Low is repeated after 8.192 s: so each one can
 * be acted on, also after a collection of 3 s, and no collection is taken for the effect of the one before. */
#define EFFECT_APART_USEC (5 * USEC_PER_SEC)
/* With PSB_GROWN_SHARE: a 20th of the limit. 50 MiB are enough for a heap of any size, and under 8 MiB there is little to gain. */
#define EFFECT_GROWN_SHARE 20
#define EFFECT_GROWN_MIN_BYTES (UINT64_C(8) << 20)
#define EFFECT_GROWN_MAX_BYTES (UINT64_C(50) << 20) /* also where the limit is not known */
#define EFFECT_GROWN_PERCENT 20			    /* of what the last collection gave back */

struct effect {
	int statm;
	uint64_t collected_usec; /* when the last collection ended; 0: there was none */
	uint64_t before_bytes, after_bytes, took_usec;
};

static inline uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

/* Keeps /proc/self/statm open: opening a file charges memory, and what does that when it is short may be put to sleep. */
static inline void effect_open(struct effect *effect)
{
	effect->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

static inline void effect_close(struct effect *effect)
{
	if (effect->statm >= 0)
		close(effect->statm);
}

/* Anonymous pages that are resident now, in bytes; 0: unknown. The second number of the line is what is resident, the third what
 * of it are pages of files and shared memory; both in pages. */
static inline uint64_t effect_read(const struct effect *effect)
{
	char text[128];
	ssize_t n = pread(effect->statm, text, sizeof(text) - 1, 0);
	uint64_t resident, shared;
	char *p;

	text[n > 0 ? n : 0] = '\0';
	p = strchr(text, ' ');
	if (!p)
		return 0;
	resident = strtoull(p, &p, 10);
	shared = strtoull(p, NULL, 10);
	return resident > shared ? (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* What is asked of effect_why_not(). */
struct effect_ask {
	uint64_t now_usec, bytes; /* effect_read() */
	uint64_t limit_bytes;	  /* as in a notification; 0: unknown */
	uint64_t apart_usec;
	uint64_t grown_bytes; /* or PSB_GROWN_SHARE; 0: no growth is asked for */
	int anyway;	      /* nor is it now: critical */
};

static inline uint64_t effect_growth(const struct effect *effect, const struct effect_ask *ask)
{
	uint64_t freed = 0, needed = ask->grown_bytes;

	if (needed == PSB_GROWN_SHARE) {
		needed = EFFECT_GROWN_MAX_BYTES;
		if (ask->limit_bytes > 0 && ask->limit_bytes / EFFECT_GROWN_SHARE < needed)
			needed = ask->limit_bytes / EFFECT_GROWN_SHARE;
		if (needed < EFFECT_GROWN_MIN_BYTES)
			needed = EFFECT_GROWN_MIN_BYTES;
	}
	if (effect->before_bytes > effect->after_bytes)
		freed = effect->before_bytes - effect->after_bytes;
	freed = freed / 100 * EFFECT_GROWN_PERCENT;
	return freed > needed ? freed : needed;
}

/* NULL: it is worth it, or why not. */
static inline const char *effect_why_not(const struct effect *effect, const struct effect_ask *ask)
{
	if (effect->collected_usec == 0)
		return NULL;
	if (ask->now_usec - effect->collected_usec < ask->apart_usec)
		return "the last collection is not long ago";
	if (ask->anyway || ask->grown_bytes == 0)
		return NULL;
	return ask->bytes >= effect->after_bytes + effect_growth(effect, ask)
		       ? NULL
		       : "little has grown since the last collection";
}

/* A collection that began at `start`, with so many bytes, has ended. after_bytes is to be read again later. */
static inline void effect_collected(struct effect *effect, uint64_t start, uint64_t bytes)
{
	effect->collected_usec = now_usec();
	effect->took_usec = effect->collected_usec - start;
	effect->before_bytes = bytes;
	effect->after_bytes = effect_read(effect);
}
