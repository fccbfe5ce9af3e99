/* SPDX-License-Identifier: MIT */
/*
 * wait.c - one poll(2) a verb, in which a signal is input like any other
 *
 * Signals are blocked and read from a descriptor: none is lost between a look at a flag and the
 * call that sleeps.
 */
#include "cli/wait.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / NSEC_PER_USEC;
}

int msec_until(uint64_t usec)
{
	uint64_t left = usec_sub(usec, now_usec());

	if (usec == USEC_NEVER)
		return -1;
	return (int)MIN(left / USEC_PER_MSEC + (left % USEC_PER_MSEC > 0), (uint64_t)INT32_MAX);
}

int catch_signals(const int *more)
{
	sigset_t signals;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	for (; more && *more; more++)
		sigaddset(&signals, *more);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}
