/* SPDX-License-Identifier: MIT */
/*
 * count.h - how many system calls a piece of code makes
 *
 * The code runs in a traced child. ptrace(2) of one's own child needs no privilege and no tool: strace(1) would have
 * to be installed and its output taken apart, the raw_syscalls tracepoint needs CAP_PERFMON and tracefs, and a seccomp user
 * notifier answers every call from another process just as slowly. What is traced is slow, so this says how many
 * calls, never how long: time is measured in another run.
 */
#pragma once

#include <stdbool.h>

typedef int count_fn(void *userdata);

/* Runs `fn` in a child until it returns, and counts the calls of its threads, but for the first, which conducts. Call while there
 * is one thread only. Returns: how many; -errno: what ptrace(2) said, or what `fn` returned. */
int count_syscalls(count_fn *fn, void *userdata);
/* In the child: counts from here on, or not any more. */
void count_now(bool on);
