/* SPDX-License-Identifier: MIT */
/*
 * manager.c - the protocols of the service manager
 *
 * What comes in is read by libsystemd (sd_listen_fds_with_names(3), sd_watchdog_enabled(3)), once,
 * at the start. What goes out is one datagram a message to $NOTIFY_SOCKET, and that is written
 * here: sd_notify(3) wants the variable to stay in the environment, opens a socket for each
 * message, and sleeps while the manager's queue is full. Our socket is opened once and not
 * connected, so that a manager which binds its socket anew is found again.
 *
 * Two ways to send:
 *
 *   now      status, watchdog, store, forget: never waits. A full queue is -EAGAIN, and the caller
 *            tries again.
 *   surely   ready, reloading, stopping: waits for room, for SURELY_USEC at most. One that is lost
 *            is a start that times out, and there are few of them.
 *
 * Facts relied on:
 *  - A Unix datagram socket is full when `net.unix.max_dgram_qlen` messages wait (systemd makes
 *    that 512 at boot, the kernel's own value is 10); a send then waits for SO_SNDTIMEO, or not at
 *    all with MSG_DONTWAIT (unix_dgram_sendmsg() in net/unix/af_unix.c).
 *  - The kernel adds our pid to each message, because the receiver asked for it (SO_PASSCRED); the
 *    manager takes the message only from the process it started.
 *  - systemd drops a stored descriptor on POLLHUP or POLLERR, and one that refers to the same thing
 *    as one it has (service_add_fd_store() in src/core/service.c).
 */
#include "daemon/manager.h"

#include "core/scan.h"
#include "kernel/file.h"
#include "kernel/loop.h" /* now_usec() */

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define MESSAGE_MAX 1024
#define SURELY_USEC USEC_PER_SEC

struct manager {
	int socket; /* -1: no manager */
	struct sockaddr_un address;
	socklen_t address_size;
	bool can_store;
	uint64_t watchdog_usec;
	struct {
		int fd; /* -1: taken */
		enum inherited kind;
	} * inherited;
	size_t inherited_count;
};

/* ---- what comes in --------------------------------------------------------------------------- */

/* A path, or "@name" of the abstract namespace. */
static int take_notify_socket(struct manager *m)
{
	const struct timeval patience = { .tv_sec = SURELY_USEC / USEC_PER_SEC };
	const char *name = getenv("NOTIFY_SOCKET");
	size_t size;

	if (!name)
		return 0;
	size = strlen(name);
	if ((name[0] != '/' && name[0] != '@') || size < 2 || size >= sizeof(m->address.sun_path))
		return -EINVAL;
	m->address.sun_family = AF_UNIX;
	memcpy(m->address.sun_path, name, size);
	m->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	if (name[0] == '@')
		m->address.sun_path[0] = '\0';
	else
		m->address_size++; /* the NUL of a path counts */

	/* blocks, so that "surely" can wait; each other send says MSG_DONTWAIT */
	m->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (m->socket < 0)
		return -errno;
	if (setsockopt(m->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return 0;
}

static int take_fdstore(struct manager *m)
{
	const char *text = getenv("FDSTORE");
	struct scan s;
	uint64_t max;

	m->can_store = m->socket >= 0;
	if (!text)
		return 0;
	s = scan_string(text);
	if (scan_u64(&s, &max) < 0 || s.left > 0)
		return -EINVAL;
	m->can_store = m->can_store && max > 0;
	return 0;
}

static enum inherited kind_of(int fd, const char *name)
{
	int listens = 0;
	socklen_t size = sizeof(listens);

	/* by its type, for the .socket unit may give a listener any name */
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens)
		return INHERITED_LISTENER;
	if (strcmp(name, "client") == 0)
		return INHERITED_CLIENT;
	if (strcmp(name, "state") == 0)
		return INHERITED_STATE;
	if (strcmp(name, "kmsg") == 0)
		return INHERITED_KMSG;
	return INHERITED_OTHER;
}

static int take_descriptors(struct manager *m)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(0, &names), r = 0;

	if (count < 0)
		return count;
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
			m->inherited[m->inherited_count].fd = fd;
			m->inherited[m->inherited_count++].kind = kind_of(fd, names[i]);
		}
		free(names[i]);
	}
	free(names);
	return r;
}

static int take_watchdog(struct manager *m)
{
	uint64_t usec = 0;
	int r;

	r = sd_watchdog_enabled(0, &usec);
	if (r < 0)
		return r;
	if (r > 0)
		m->watchdog_usec = MAX(usec / 2, 1);
	return 0;
}

int manager_new(struct manager **ret)
{
	_cleanup_(manager_freep) struct manager *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		r = -ENOMEM;
	else
		m->socket = -1;
	if (r == 0)
		r = take_notify_socket(m);
	if (r == 0)
		r = take_fdstore(m);
	if (r == 0)
		r = take_watchdog(m);
	if (r == 0)
		r = take_descriptors(m);
	if (r < 0)
		return r;
	*ret = steal(m);
	return 0;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->inherited_count; i++)
		fd_close(&m->inherited[i].fd);
	free(m->inherited);
	fd_close(&m->socket);
	free(m);
	return NULL;
}

int manager_take(struct manager *m, enum inherited kind)
{
	for (size_t i = 0; i < m->inherited_count; i++)
		if (m->inherited[i].kind == kind && m->inherited[i].fd >= 0)
			return steal_fd(&m->inherited[i].fd);
	return -1;
}

bool manager_has_clients(const struct manager *m)
{
	for (size_t i = 0; i < m->inherited_count; i++) {
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

static int send_message(struct manager *m, struct msghdr *message, char *text, size_t size,
			int flags)
{
	struct iovec iov = { text, size };
	ssize_t n;

	if (m->socket < 0)
		return 0;
	message->msg_name = &m->address;
	message->msg_namelen = m->address_size;
	message->msg_iov = &iov;
	message->msg_iovlen = 1;
	do
		n = sendmsg(m->socket, message, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int say(struct manager *m, int flags, const char *format, ...) _printf_(3, 4);
static int say(struct manager *m, int flags, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return send_message(m, &(struct msghdr){ 0 }, text, strlen(text), flags);
}

int manager_store(struct manager *m, const char *name, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct msghdr message = { .msg_control = &control,
				  .msg_controllen = sizeof(control.space) };
	char text[64];
	int n = snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return fd < 0 ? -EBADF : send_message(m, &message, text, (size_t)n, MSG_DONTWAIT);
}

int manager_forget(struct manager *m, const char *name)
{
	return say(m, MSG_DONTWAIT, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int manager_ready(struct manager *m)
{
	return say(m, 0, "READY=1");
}

int manager_reloading(struct manager *m)
{
	/* Type=notify-reload takes only what was said after it asked */
	return say(m, 0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)now_usec());
}

int manager_stopping(struct manager *m)
{
	return say(m, 0, "STOPPING=1");
}

int manager_status(struct manager *m, const char *format, ...)
{
	char text[MESSAGE_MAX - sizeof("STATUS=")];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; (p = strchr(p, '\n'));) /* one line, whatever is in it */
		*p = ' ';
	return say(m, MSG_DONTWAIT, "STATUS=%s", text);
}

int manager_alive(struct manager *m)
{
	return say(m, MSG_DONTWAIT, "WATCHDOG=1");
}
