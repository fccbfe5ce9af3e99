/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - sockets of AF_UNIX for tests; what goes wrong fails the test. Include it after unit.h.
 */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef int socket_call(int fd, const struct sockaddr *address, socklen_t size);

/* `call` is bind or connect. A path that begins with '@' is abstract. */
static inline int socket_at(const char *path, int type, socket_call *call)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && length < sizeof(address.sun_path));
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	if (call(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@'))) <
	    0)
		fail_msg("%s: %s", path, strerror(errno));
	return fd;
}

static inline int listen_here(const char *path)
{
	int fd = socket_at(path, SOCK_STREAM, bind);

	assert_int_equal(listen(fd, SOMAXCONN), 0);
	return fd;
}

/* The next datagram, or "" if there is none. *ret_fd: what came with it, or -1. Valid until the next one. */
static inline const char *receive(int fd, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	static char text[8192];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);

	text[n > 0 ? n : 0] = '\0';
	*ret_fd = -1;
	if (n >= 0 && CMSG_FIRSTHDR(&message))
		memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return text;
}
