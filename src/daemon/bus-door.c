/* SPDX-License-Identifier: MIT */
/*
 * bus-door.c - wait until there is a socket to connect to
 *
 * inotify on the directory of the socket or, where that is missing, on the nearest one above it
 * that exists: when the next name on the way appears, one goes down. So a machine without a bus
 * costs one inotify watch and no wake-up at all.
 *
 * The race (a name is made between looking for it and listening) is closed by looking again after
 * listening. The root directory always exists, so there is always something to listen to. bind(2)
 * makes the name before listen(2) makes it work: who is told may find the connection refused for a
 * moment, and has to try again.
 */
#include "daemon/bus-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <poll.h>
#include <unistd.h>

#define DOOR_MASK (IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

void door_init(struct door *door, struct loop *loop, void (*opened)(struct door *door))
{
	*door = (struct door){ .loop = loop, .opened = opened, .inotify_fd = -1, .wd = -1 };
}

/* The first `size` bytes of the path as a string. */
static const char *head(const struct door *door, size_t size, char buf[static 108])
{
	memcpy(buf, door->path, size);
	buf[size] = '\0';
	return buf;
}

static bool exists(const struct door *door, size_t size)
{
	char buf[108];

	return access(head(door, size, buf), F_OK) == 0;
}

static bool is_whole(const struct door *door)
{
	return door->path[door->next] == '\0';
}

/* Where the parent of the first `size` bytes ends. "/" is its own first byte. */
static size_t parent_of(const struct door *door, size_t size)
{
	while (size > 1 && door->path[size - 1] != '/')
		size--;
	return size > 1 ? size - 1 : 1;
}

/* Listen as far down the path as there are directories. */
static int place(struct door *door)
{
	char buf[108];

	for (unsigned tries = 0; tries < 16; tries++) {
		size_t next = strlen(door->path), parent;
		int wd;

		do {
			parent = parent_of(door, next);
			wd = inotify_add_watch(door->inotify_fd, head(door, parent, buf),
					       DOOR_MASK);
			if (wd >= 0 || parent == 1)
				break;
			next = parent;
		} while (errno == ENOENT || errno == ENOTDIR);
		if (wd < 0)
			return -errno;
		/* the kernel knows a directory by one number: adding it again gives the same */
		if (door->wd >= 0 && door->wd != wd)
			(void)inotify_rm_watch(door->inotify_fd, door->wd);
		door->wd = wd;
		door->parent = parent;
		door->next = next;
		if (is_whole(door) || !exists(door, next))
			return 0;
	}
	return 0; /* somebody makes and removes directories all the time; the next event helps */
}

static bool names_next(const struct door *door, const struct inotify_event *event)
{
	const char *name = door->path + door->parent + (door->parent > 1);
	size_t size = door->next - (size_t)(name - door->path);

	return event->len > size && strncmp(event->name, name, size) == 0 &&
	       event->name[size] == '\0';
}

static void rang(struct loop_op *op, int result)
{
	struct door *door = CONTAINER_OF(op, struct door, op);
	bool moved = false, came = false;

	if (result < 0) { /* it listens no more: let the owner look for himself */
		close(door->inotify_fd);
		door->inotify_fd = -1;
		door->opened(door);
		return;
	}
	for (;;) {
		char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
		ssize_t n = read(door->inotify_fd, buf, sizeof(buf));

		if (n <= 0)
			break;
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const struct inotify_event *)p;

			p += sizeof(*event) + event->len;
			if (event->mask & IN_Q_OVERFLOW)
				moved = came = true;
			if (event->wd != door->wd)
				continue;
			if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))
				moved = true;
			else if (names_next(door, event))
				came = true;
		}
	}
	if (moved || (came && !is_whole(door))) {
		bool was_whole = is_whole(door);

		if (moved) {
			(void)inotify_rm_watch(door->inotify_fd, door->wd);
			door->wd = -1;
		}
		/* without a place nothing rings any more: let the owner look for himself */
		came = place(door) < 0 ||
		       (is_whole(door) && (exists(door, door->next) || (came && was_whole)));
	}
	if (came)
		door->opened(door);
}

int door_open(struct door *door, const char *path)
{
	int r;

	if (loop_op_is_busy(&door->op))
		return door->closing ? -EBUSY : 0;
	if (path[0] != '/' || !path[1] || strlen(path) >= sizeof(door->path))
		return -EINVAL;
	strcpy(door->path, path);
	door->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (door->inotify_fd < 0)
		return -errno;
	door->wd = -1;
	r = place(door);
	if (r == 0)
		r = loop_poll(door->loop, &door->op, door->inotify_fd, POLLIN, rang);
	if (r < 0) {
		close(door->inotify_fd);
		door->inotify_fd = -1;
	}
	return r;
}

static void released(struct loop_op *op)
{
	struct door *door = CONTAINER_OF(op, struct door, op);

	if (door->inotify_fd >= 0)
		close(door->inotify_fd);
	door->inotify_fd = -1;
	door->closing = false;
	if (door->released)
		door->released(door);
}

void door_close(struct door *door, void (*told)(struct door *door))
{
	door->released = told;
	door->closing = true;
	loop_cancel(&door->op, released);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int unescape(const char *text, size_t size, char ret[static 108])
{
	char path[108];
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (c == '%') {
			if (size - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return -EINVAL;
			c = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
			i += 2;
		}
		if (c == '\0')
			return -EINVAL;
		if (n + 1 >= sizeof(path))
			return -ENAMETOOLONG;
		path[n++] = c;
	}
	if (n < 2 || path[0] != '/')
		return -EINVAL;
	path[n] = '\0';
	memcpy(ret, path, n + 1);
	return 0;
}

int door_path_of_address(const char *address, char ret[static 108])
{
	while (*address) {
		size_t size = strcspn(address, ";");
		const char *end = address + size, *key = address + strlen("unix:");

		if (strncmp(address, "unix:", strlen("unix:")) == 0) {
			while (key < end) {
				size_t n = MIN(strcspn(key, ","), (size_t)(end - key));

				if (n > 5 && strncmp(key, "path=", 5) == 0)
					return unescape(key + 5, n - 5, ret);
				key += n < (size_t)(end - key) ? n + 1 : n;
			}
		}
		address = *end ? end + 1 : end;
	}
	return -ENOENT;
}
