/* SPDX-License-Identifier: MIT */
/*
 * effect.c - is a collection worth it, and what did the last one give back?
 */
#include "runtimes/effect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROWN_PERCENT 20 /* of what the last collection gave back */

void effect_open(struct effect *effect)
{
	effect->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

void effect_close(struct effect *effect)
{
	if (effect->statm >= 0)
		close(effect->statm);
}

uint64_t effect_rss(const struct effect *effect)
{
	char text[128];
	ssize_t n = pread(effect->statm, text, sizeof(text) - 1, 0);
	const char *second;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' ');
	return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

const char *effect_why_not(const struct effect *effect, uint64_t now, uint64_t rss,
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
	if (freed / 100 * GROWN_PERCENT > needed)
		needed = freed / 100 * GROWN_PERCENT;
	return rss >= effect->after_bytes + needed ? NULL
						   : "little has grown since the last collection";
}

void effect_collected(struct effect *effect, uint64_t start, uint64_t rss)
{
	effect->collected_usec = now_usec();
	effect->took_usec = effect->collected_usec - start;
	effect->before_bytes = rss;
	effect->after_bytes = effect_rss(effect);
}
