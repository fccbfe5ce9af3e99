/* SPDX-License-Identifier: MIT */
/*
 * random.h - many inputs, the same ones in every run: numbers that look random (splitmix64), and all small texts
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint64_t random_state = 1;

static inline uint64_t random_u64(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Less than `below`, and than 2^53. */
static inline uint64_t draw(uint64_t below)
{
	return (random_u64() >> 11) % below;
}

static inline uint64_t random_between(uint64_t low, uint64_t high)
{
	return low + random_u64() % (high - low + 1);
}

/* The i-th of all texts over these characters, the shorter ones first; 0 is "". Returns its length. */
static inline size_t small_text(unsigned i, const char *characters, char *buf)
{
	unsigned base = (unsigned)strlen(characters);
	size_t n = 0;

	for (; i > 0; i = (i - 1) / base)
		buf[n++] = characters[(i - 1) % base];
	buf[n] = '\0';
	return n;
}
