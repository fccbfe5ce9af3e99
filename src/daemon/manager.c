/* SPDX-License-Identifier: MIT */
/*
 * manager.c - the protocols of the service manager
 *
 * What comes in is read by libsystemd, once, at the start. What goes out is one datagram a message, and that is written here:
 * sd_notify(3) and its kin sleep as long as the manager does not read and its queue is full (10 messages by the kernel's
 * net.unix.max_dgram_qlen, 512 by systemd's), and a daemon that sleeps is deaf. The socket is not connected: a manager that
 * binds its own anew is found again.
 *
 * The manager takes messages only from the process that it started. It drops a stored descriptor on POLLHUP or POLLERR, and
 * one that refers to the same thing as one it has (service_add_fd_store() in systemd's src/core/service.c).
 */
#include "daemon/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define MESSAGE_MAX 1024
#define WAIT_SEC 1

struct manager {
	int socket; /* -1: no manager */
	struct sockaddr_un address;
	socklen_t address_size;
	bool can_store;
	uint64_t watchdog_usec;
	int count;    /* of descriptors, from SD_LISTEN_FDS_START on */
	char **names; /* NULL: taken */
};

/* ---- what comes in --------------------------------------------------------------------------- */

/* A path, or "@name" of the abstract namespace. */
static int open_socket(struct manager *m, const char *name)
{
	const struct timeval patience = { .tv_sec = WAIT_SEC };
	size_t size = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || size < 2 || size >= sizeof(m->address.sun_path))
		return -EINVAL;
	m->address.sun_family = AF_UNIX;
	memcpy(m->address.sun_path, name, size);
	if (name[0] == '@')
		m->address.sun_path[0] = '\0';
	else
		size++; /* the NUL of a path counts */
	m->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	m->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (m->socket < 0 ||
	    setsockopt(m->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return 0;
}

int manager_new(struct manager **ret)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	const char *name = getenv("NOTIFY_SOCKET"), *store = getenv("FDSTORE");
	int r;

	if (!m)
		return -ENOMEM;
	m->socket = -1;
	r = name ? open_socket(m, name) : 0;
	if (r == 0)
		r = sd_watchdog_enabled(0, &m->watchdog_usec);
	if (r >= 0)
		r = sd_listen_fds_with_names(0, &m->names); /* they are O_CLOEXEC now */
	if (r < 0)
		return r;
	m->count = r;
	for (int i = 0; i < m->count; i++)
		if (sd_is_socket(SD_LISTEN_FDS_START + i, AF_UNIX, SOCK_STREAM, 1) > 0)
			strcpy(m->names[i], MANAGER_LISTENER);
	m->watchdog_usec /= 2;
	m->can_store = name && (!store || atoi(store) > 0);
	*ret = steal(m);
	return 0;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	for (int i = 0; i < m->count; i++)
		if (m->names[i]) {
			close(SD_LISTEN_FDS_START + i);
			free(m->names[i]);
		}
	free(m->names);
	if (m->socket >= 0)
		close(m->socket);
	free(m);
	return NULL;
}

int manager_take(struct manager *m, const char *name)
{
	for (int i = 0; i < m->count; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (!m->names[i] || strcmp(m->names[i], name) != 0)
			continue;
		free(steal(m->names[i]));
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		return fd;
	}
	return -1;
}

bool manager_has_clients(const struct manager *m)
{
	for (int i = 0; i < m->count; i++) {
		struct pollfd p = { .fd = SD_LISTEN_FDS_START + i, .events = POLLIN };

		if (m->names[i] && strcmp(m->names[i], MANAGER_LISTENER) == 0 &&
		    poll(&p, 1, 0) == 1)
			return true;
	}
	return false;
}

bool manager_can_store(const struct manager *m)
{
	return m->can_store;
}

uint64_t manager_watchdog_usec(const struct manager *m)
{
	return m->watchdog_usec;
}

/* ---- what goes out --------------------------------------------------------------------------- */

static int send_message(struct manager *m, int fd, int flags, const char *format, va_list args)
	_printf_(4, 0);
static int send_message(struct manager *m, int fd, int flags, const char *format, va_list args)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	char text[MESSAGE_MAX];
	struct iovec iov = { .iov_base = text };
	struct msghdr message = { .msg_name = &m->address,
				  .msg_namelen = m->address_size,
				  .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = fd < 0 ? NULL : &control,
				  .msg_controllen = fd < 0 ? 0 : sizeof(control.space) };

	if (m->socket < 0)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	iov.iov_len = strlen(text);
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(m->socket, &message, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

int manager_say(struct manager *m, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = send_message(m, -1, 0, format, args);
	va_end(args);
	return r;
}

int manager_try(struct manager *m, int fd, const char *format, ...)
{
	va_list args;
	int r;

	va_start(args, format);
	r = send_message(m, fd, MSG_DONTWAIT, format, args);
	va_end(args);
	return r;
}
