/* SPDX-License-Identifier: MIT */
/*
 * manager-store.c - what a service left with its manager
 *
 * Two descriptors are the same if they refer to the same open file (kcmp(2)), as systemd sees it;
 * the inode is compared first, so that a thousand sockets are not a million system calls. Hang-ups
 * come through an epoll set of all of them in which nothing is asked for: EPOLLHUP and EPOLLERR
 * come all the same.
 */
#include "manager-store.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
	struct stored stored;
	dev_t dev;
	ino_t ino;
};

static struct entry **entries;
static size_t count;
static int epoll_fd = -1;

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what)
{
	fprintf(stderr, "manager-store: %s: %s\n", what, strerror(errno));
	exit(2);
}

void store_open(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die("epoll_create1");
}

static void drop(size_t index)
{
	struct entry *entry = entries[index];

	/* the service has the same open file, which would stay in the epoll set */
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, entry->stored.fd, NULL);
	close(entry->stored.fd);
	free(entry);
	count--;
	memmove(entries + index, entries + index + 1, (count - index) * sizeof(struct entry *));
}

void store_close(void)
{
	while (count > 0)
		drop(count - 1);
	free(entries);
	entries = NULL;
	close(epoll_fd);
	epoll_fd = -1;
}

int store_poll_fd(void)
{
	return epoll_fd;
}

size_t store_count(void)
{
	return count;
}

const struct stored *store_get(size_t index)
{
	return &entries[index]->stored;
}

static bool is_same(const struct entry *entry, int fd, const struct stat *st)
{
	if (entry->dev != st->st_dev || entry->ino != st->st_ino)
		return false;
	/* forbidden: the same inode will have to do */
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, entry->stored.fd, fd) <= 0;
}

const char *store_add(const char *name, int fd)
{
	struct epoll_event event = { .events = 0 };
	struct entry **more, *entry;
	struct stat st;

	if (fstat(fd, &st) < 0)
		die("fstat");
	for (size_t i = 0; i < count; i++)
		if (is_same(entries[i], fd, &st)) {
			close(fd);
			return "duplicate";
		}
	entry = calloc(1, sizeof(*entry));
	more = realloc(entries, (count + 1) * sizeof(struct entry *));
	if (!entry || !more)
		die("store");
	entries = more;
	entries[count++] = entry;
	*entry = (struct entry){ .stored.fd = fd, .dev = st.st_dev, .ino = st.st_ino };
	snprintf(entry->stored.name, sizeof(entry->stored.name), "%s", name);
	event.data.ptr = entry;
	/* a memfd cannot be polled, nor hang up */
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EPERM)
		die("epoll_ctl");
	return "stored";
}

void store_remove(const char *name)
{
	for (size_t i = count; i-- > 0;)
		if (strcmp(entries[i]->stored.name, name) == 0)
			drop(i);
}

void store_hang_ups(void (*dropped)(const char *name))
{
	struct epoll_event events[64];
	int n = epoll_wait(epoll_fd, events, sizeof(events) / sizeof(events[0]), 0);
	char name[sizeof(entries[0]->stored.name)];

	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < count; k++)
			if (entries[k] == events[i].data.ptr) {
				memcpy(name, entries[k]->stored.name, sizeof(name));
				drop(k);
				dropped(name);
				break;
			}
}
