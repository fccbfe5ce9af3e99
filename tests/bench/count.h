/* SPDX-License-Identifier: MIT */
/*
 * count.h - how many system calls a piece of code makes, by thread and by phase
 *
 * The code runs in a traced child. ptrace(2) of one's own child needs no privilege and no tool: strace(1) would have
 * to be installed and its output taken apart, the raw_syscalls tracepoint needs CAP_PERFMON and tracefs, and a seccomp user
 * notifier answers every call from another process just as slowly. What is traced is slow, so this says how many
 * calls, never how long: time is measured in another run.
 */
#pragma once

#include "bench.h"

#define COUNT_PHASES 4
#define COUNT_NUMBERS 512 /* system calls above are counted in the sum only */

struct counts {
	/* Made by threads other than the first, which conducts. */
	unsigned calls[COUNT_PHASES];
	unsigned by_number[COUNT_PHASES][COUNT_NUMBERS];
};

typedef int count_fn(void *userdata);

/* Runs `fn` in a child until it returns. Call while there is one thread only. Errors: what ptrace(2) said; what `fn` returned. */
int count_syscalls(count_fn *fn, void *userdata, struct counts *ret);

/* In the child: from here on it is phase 0 to COUNT_PHASES - 1. */
void count_phase(unsigned phase);

/* "1.00 io_uring_enter + 0.98 pread64": the calls of a phase divided by `events`, the frequent ones. */
void count_format(const struct counts *counts, unsigned phase, double events, char *ret,
		  size_t size);
