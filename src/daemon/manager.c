/* SPDX-License-Identifier: MIT */
/*
 * manager.c - the protocols of the service manager
 *
 * What comes in is read by libsystemd, once, at the start. What goes out is one datagram a message, and that is written here:
 * sd_notify(3) and its kin sleep while the manager's queue is full (10 messages by the kernel's net.unix.max_dgram_qlen, 512
 * by systemd's), as long as the manager does not read: a daemon would be deaf that long. So all but what is said once in a life
 * says MSG_DONTWAIT. The socket is not connected: a manager that binds its own anew is found again.
 *
 * The kernel adds our pid to each message, because the receiver asked for it (SO_PASSCRED); the manager takes it only from the
 * process that it started. It drops a stored descriptor on POLLHUP or POLLERR, and one that refers to the same thing as one
 * it has (service_add_fd_store() in systemd's src/core/service.c).
 */
#include "daemon/manager.h"

#include "kernel/file.h"
#include "kernel/loop.h" /* now_usec() */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#define MESSAGE_MAX 1024
#define WAIT_SEC 1

struct manager {
	int socket; /* -1: no manager */
	struct sockaddr_un address;
	socklen_t address_size;
	bool can_store;
	uint64_t watchdog_usec;
	int inherited_count;
	struct {
		int fd; /* -1: taken */
		enum inherited kind;
	} * inherited;
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

static enum inherited kind_of(int fd, const char *name)
{
	static const char *const names[] = {
		[INHERITED_CLIENT] = "client", [INHERITED_STATE] = "state", [INHERITED_KMSG] = "kmsg"
	};
	int listens = 0, kind = INHERITED_CLIENT;
	socklen_t size = sizeof(listens);

	/* by its type, for the .socket unit may give a listener any name */
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
		return INHERITED_LISTENER;
	while (kind < INHERITED_OTHER && strcmp(name, names[kind]) != 0)
		kind++;
	return (enum inherited)kind;
}

static int take_descriptors(struct manager *m)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(0, &names), r = MIN(count, 0);

	if (count > 0)
		m->inherited = calloc((size_t)count, sizeof(*m->inherited));
	if (count > 0 && !m->inherited)
		r = -ENOMEM;
	for (int i = 0; i < count; i++) {
		int fd = SD_LISTEN_FDS_START + i, flags = fcntl(fd, F_GETFL);

		/* libsystemd made it O_CLOEXEC */
		if (r == 0 && (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
			r = -errno;
		if (r == 0) {
			m->inherited[i].fd = fd;
			m->inherited[i].kind = kind_of(fd, names[i]);
			m->inherited_count++;
		}
		free(names[i]);
	}
	free(names);
	return r;
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
		r = take_descriptors(m);
	if (r < 0)
		return r;
	m->watchdog_usec /= 2;
	m->can_store = name && (!store || atoi(store) > 0);
	*ret = steal(m);
	return 0;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	for (int i = 0; i < m->inherited_count; i++)
		fd_close(&m->inherited[i].fd);
	free(m->inherited);
	fd_close(&m->socket);
	free(m);
	return NULL;
}

int manager_take(struct manager *m, enum inherited kind)
{
	for (int i = 0; i < m->inherited_count; i++)
		if (m->inherited[i].kind == kind && m->inherited[i].fd >= 0)
			return steal_fd(&m->inherited[i].fd);
	return -1;
}

bool manager_has_clients(const struct manager *m)
{
	for (int i = 0; i < m->inherited_count; i++) {
		struct pollfd p = { .fd = m->inherited[i].fd, .events = POLLIN };

		if (m->inherited[i].kind == INHERITED_LISTENER && poll(&p, 1, 0) == 1)
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

/* `fd` -1: none goes with it. */
static int send_message(struct manager *m, const char *text, int fd, int flags)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { (char *)(uintptr_t)text, strlen(text) };
	struct msghdr message = { .msg_name = &m->address,
				  .msg_namelen = m->address_size,
				  .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = fd < 0 ? NULL : &control,
				  .msg_controllen = fd < 0 ? 0 : sizeof(control.space) };

	if (m->socket < 0)
		return 0;
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(m->socket, &message, MSG_NOSIGNAL | flags) < 0 ? -errno : 0;
}

int manager_store(struct manager *m, const char *name, int fd)
{
	char text[64];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	return fd < 0 ? -EBADF : send_message(m, text, fd, MSG_DONTWAIT);
}

int manager_forget(struct manager *m, const char *name)
{
	char text[64];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return send_message(m, text, -1, MSG_DONTWAIT);
}

int manager_ready(struct manager *m)
{
	return send_message(m, "READY=1", -1, 0);
}

int manager_reloading(struct manager *m)
{
	char text[64];

	/* Type=notify-reload takes only what was said after it asked */
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, now_usec());
	return send_message(m, text, -1, 0);
}

int manager_stopping(struct manager *m)
{
	return send_message(m, "STOPPING=1", -1, 0);
}

int manager_status(struct manager *m, const char *format, ...)
{
	char text[MESSAGE_MAX] = "STATUS=";
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
	for (char *p = text; (p = strchr(p, '\n'));) /* one line, whatever is in it */
		*p = ' ';
	return send_message(m, text, -1, MSG_DONTWAIT);
}

int manager_alive(struct manager *m)
{
	return send_message(m, "WATCHDOG=1", -1, MSG_DONTWAIT);
}
