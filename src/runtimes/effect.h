/* SPDX-License-Identifier: MIT */
/*
 * effect.h - is a collection worth it, and what did the last one give back?
 *
 * The first one is worth it. Later ones only when some time has passed since the last, and if the process has grown since:
 * walking a heap touches memory, which is just what is scarce. What went back is read from RSS, a while after the collection:
 * the kernel takes its time, and what allocators return says nothing. MemoryPolicy.cs has the same rule, and both pass
 * tests/unit/runtimes/worth.cases. Times are CLOCK_MONOTONIC.
 */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define EFFECT_MEASURE_USEC (7 * USEC_PER_SEC / 10) /* after the collection */
#define EFFECT_APART_USEC (10 * USEC_PER_SEC)	    /* the defaults of PSIBRIDGE_APART */
#define EFFECT_GROWN_BYTES (UINT64_C(50) << 20)	    /* and PSIBRIDGE_GROWN */
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

/* What is resident now; 0: unknown. */
static inline uint64_t effect_rss(const struct effect *effect)
{
	char text[128];
	ssize_t n = pread(effect->statm, text, sizeof(text) - 1, 0);
	const char *second;

	text[n > 0 ? n : 0] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* NULL: it is worth it, or why not. `grown_bytes` 0: no growth is asked for. */
static inline const char *effect_why_not(const struct effect *effect, uint64_t now, uint64_t rss,
					 uint64_t apart_usec, uint64_t grown_bytes)
{
	uint64_t freed = 0, needed = grown_bytes;

	if (effect->collected_usec == 0)
		return NULL;
	if (now - effect->collected_usec < apart_usec)
		return "the last collection is not long ago";
	if (grown_bytes == 0)
		return NULL;
	if (effect->before_bytes > effect->after_bytes)
		freed = effect->before_bytes - effect->after_bytes;
	if (freed / 100 * EFFECT_GROWN_PERCENT > needed)
		needed = freed / 100 * EFFECT_GROWN_PERCENT;
	return rss >= effect->after_bytes + needed ? NULL
						   : "little has grown since the last collection";
}

/* A collection that began at `start`, with `rss`, has ended. after_bytes is to be read again later. */
static inline void effect_collected(struct effect *effect, uint64_t start, uint64_t rss)
{
	effect->collected_usec = now_usec();
	effect->took_usec = effect->collected_usec - start;
	effect->before_bytes = rss;
	effect->after_bytes = effect_rss(effect);
}
