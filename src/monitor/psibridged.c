/* SPDX-License-Identifier: MIT */
/*
 * psibridged.c - is that socket psibridged's, and the subscription that is sent to it
 *
 * A container has the daemon's socket bind-mounted at any path, and $MEMORY_PRESSURE_WATCH names
 * that. So the path it sees says nothing. But the kernel copies the address
 * a listener was bound to into each connection that it takes, and getpeername(2) of the client gives
 * it (unix(7); unix_stream_connect() in net/unix/af_unix.c): as the daemon wrote it, whatever the
 * mounts in between. So what ends in "/psibridge/notify" is psibridged's. That comes from the
 * kernel, not from the peer, and costs no round trip.
 *
 * connect(2) on a non-blocking AF_UNIX socket never waits: it succeeds as soon as the connection
 * is in the listener's queue, whether or not it is accepted from there, and says EAGAIN where
 * that queue is full.
 */
#include "monitor/psibridged.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BOUND_AT "/psibridge/notify"
#define SINGLE_BYTES_MAX 64 /* that came before our line was read */

bool psibridged_listens(int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t size = sizeof(address);
	size_t length;

	if (getpeername(fd, (struct sockaddr *)&address, &size) < 0 ||
	    address.sun_family != AF_UNIX || size <= offsetof(struct sockaddr_un, sun_path))
		return false;
	/* a path of full length has no NUL behind it */
	length = strnlen(address.sun_path, MIN(size, (socklen_t)sizeof(address)) -
						   offsetof(struct sockaddr_un, sun_path));
	return length >= strlen(BOUND_AT) && memcmp(address.sun_path + length - strlen(BOUND_AT),
						    BOUND_AT, strlen(BOUND_AT)) == 0;
}

void psibridged_terms(const struct target *t, struct policy_options *ret)
{
	/* systemd's MEMORY_PRESSURE_DEFAULT_THRESHOLD_USEC and _WINDOW_USEC */
	bool everybodys = t->write_trigger.kind == PSI_SOME &&
			  t->write_trigger.threshold_usec == 200 * USEC_PER_MSEC &&
			  t->write_trigger.window_usec == 2 * USEC_PER_SEC;

	*ret = t->terms;
	if (!setting_is_set(ret, SETTING_LOW) && t->has_write_trigger && !everybodys)
		ret->low = t->write_trigger;
}

int psibridged_connect(const char *path, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		error = -errno;
		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

int psibridged_subscribe(int fd, const struct policy_options *terms)
{
	char line[WIRE_LINE_MAX];
	size_t n = wire_hello_format(terms, line);
	/* the first thing ever written: it fits */
	ssize_t sent = send(fd, line, n, MSG_NOSIGNAL);

	if (sent < 0)
		return -errno;
	return (size_t)sent == n ? 0 : -EPIPE;
}

/* Exactly that many bytes. */
static int receive(int fd, void *buf, size_t size)
{
	ssize_t n;

	do
		n = recv(fd, buf, size, MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)n == size ? 0 : -ECONNRESET;
}

int psibridged_ask(const char *path, const struct policy_options *terms, uint64_t timeout_usec,
		   struct wire_record *ret)
{
	struct timeval timeout = { .tv_sec = (time_t)(timeout_usec / USEC_PER_SEC),
				   .tv_usec = (suseconds_t)(timeout_usec % USEC_PER_SEC) };
	struct wire_record record;
	char *bytes = (char *)&record;
	int fd, r = psibridged_connect(path, &fd);

	if (r < 0)
		return r;
	r = psibridged_listens(fd) ? psibridged_subscribe(fd, terms) : -ENOTSOCK;
	if (r == 0 && (fcntl(fd, F_SETFL, 0) < 0 ||
		       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0))
		r = -errno;
	bytes[0] = WIRE_LOW;
	for (int i = 0; r == 0 && bytes[0] == WIRE_LOW && i < SINGLE_BYTES_MAX; i++)
		r = receive(fd, bytes, 1);
	if (r == 0)
		r = receive(fd, bytes + 1, sizeof(record) - 1);
	close(fd);
	if (r == 0)
		r = wire_record_check(&record);
	if (r == 0)
		*ret = record;
	return r;
}
