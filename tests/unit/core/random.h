/* SPDX-License-Identifier: MIT */
/*
 * random.h - numbers that look random, the same ones in every run: splitmix64
 */
#pragma once

#include <stdint.h>

static uint64_t random_state = 1;

static inline uint64_t random_u64(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint64_t random_between(uint64_t low, uint64_t high)
{
	return low + random_u64() % (high - low + 1);
}
