/* SPDX-License-Identifier: MIT */
/*
 * listen.c - bind a socket, unless another process listens at its path; accept
 *
 * A socket's file stays behind when its process is killed. Connecting to it says ECONNREFUSED then,
 * and only then it is removed.
 */
#include "daemon/listen.h"

#include "kernel/file.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096
#define ACCEPT_AT_ONCE 64 /* then all else has a turn */
#define ACCEPT_AGAIN_USEC (1 * USEC_PER_SEC)

/* With the directory that it is to be in. `fd` is still to be bound. */
static int make_way(int fd, const struct sockaddr_un *address)
{
	char parent[sizeof(address->sun_path)];
	char *slash;
	struct stat st;

	strcpy(parent, address->sun_path);
	slash = strrchr(parent, '/');
	if (slash)
		*slash = '\0';
	if (slash > parent && mkdir(parent, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return -EADDRINUSE;
	/* a file that is no socket refuses connections too, and is not ours to remove */
	if (errno == ECONNREFUSED && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(address->sun_path);
	return 0;
}

int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = make_way(fd, &address);
	if (r == 0 && (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		       chmod(path, 0666) < 0 || listen(fd, BACKLOG) < 0))
		r = -errno;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int ready(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
	struct acceptor *a = userdata;
	int client = 0;

	for (int i = 0; i < ACCEPT_AT_ONCE && client >= 0; i++) {
		client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (client >= 0)
			a->accepted(client, a->userdata);
	}
	if (client < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
		journal_log(a->journal, LOG_IS_ERROR, MESSAGE_OTHER,
			    "cannot accept clients: %s; trying again", strerror(errno));
		(void)sd_event_source_set_enabled(a->io, SD_EVENT_OFF);
		timer_set(a->again, now_usec() + ACCEPT_AGAIN_USEC);
	}
	return 0;
}

static int again(_unused_ sd_event_source *source, _unused_ uint64_t usec, void *userdata)
{
	struct acceptor *a = userdata;

	return sd_event_source_set_enabled(a->io, SD_EVENT_ON);
}

int acceptor_start(struct acceptor *a, sd_event *event)
{
	int r = timer_new(event, again, a, &a->again);

	return r < 0 ? r : sd_event_add_io(event, &a->io, a->fd, EPOLLIN, ready, a);
}

void acceptor_end(struct acceptor *a)
{
	a->io = sd_event_source_disable_unref(a->io);
	a->again = sd_event_source_disable_unref(a->again);
	fd_close(&a->fd);
}
