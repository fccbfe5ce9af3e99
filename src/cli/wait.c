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
#include <sys/socket.h>
#include <sys/time.h>
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

/* ---- a socket -------------------------------------------------------------------------------- */

/* The next call takes no longer than what is left. */
static int limit(int fd, int option, uint64_t end_usec)
{
	uint64_t left = usec_sub(end_usec, now_usec());
	struct timeval timeout = { .tv_sec = (time_t)(left / USEC_PER_SEC),
				   .tv_usec = (suseconds_t)(left % USEC_PER_SEC) };

	/* 0 would be no limit */
	if (left == 0)
		return -ETIMEDOUT;
	return setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout)) < 0 ? -errno : 0;
}

static int failed(void)
{
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int socket_connect(int fd, const struct sockaddr_un *address, uint64_t end_usec)
{
	int r;

	do {
		r = limit(fd, SO_SNDTIMEO, end_usec);
		if (r == 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
			r = failed();
	} while (r == -EINTR);
	return r;
}

int socket_send(int fd, const void *bytes, size_t size, uint64_t end_usec)
{
	const char *p = bytes;

	while (size > 0) {
		int r = limit(fd, SO_SNDTIMEO, end_usec);
		ssize_t n = r < 0 ? r : send(fd, p, size, MSG_NOSIGNAL);

		if (r == 0 && n < 0)
			r = failed();
		if (r < 0 && r != -EINTR)
			return r;
		p += MAX(n, 0);
		size -= (size_t)MAX(n, 0);
	}
	return 0;
}

ssize_t socket_receive(int fd, void *buf, size_t size, uint64_t end_usec)
{
	ssize_t n;

	do {
		n = limit(fd, SO_RCVTIMEO, end_usec);
		if (n == 0 && (n = recv(fd, buf, size, 0)) < 0)
			n = failed();
	} while (n == -EINTR);
	return n;
}
