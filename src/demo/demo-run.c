/* SPDX-License-Identifier: MIT */
/*
 * demo-run.c - what a run of the demo gave, and what all its files need
 */
#include "demo/demo.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

volatile sig_atomic_t demo_interrupted;

uint64_t demo_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / NSEC_PER_USEC;
}

int demo_why(char *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, DEMO_WHY_MAX, format, args);
	va_end(args);
	return error;
}

uint64_t demo_passes_tenths(const struct demo_run *run)
{
	return run->file_bytes == 0 ? 0 : run->read_bytes * 10 / run->file_bytes;
}

uint64_t demo_low_usec(const struct demo_run *run)
{
	for (unsigned i = 0; i < run->news_count; i++)
		if (run->news[i].available == PSB_LOW)
			return run->news[i].at_usec;
	return USEC_NEVER;
}
