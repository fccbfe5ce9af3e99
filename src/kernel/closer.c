/* SPDX-License-Identifier: MIT */
/*
 * closer.c - a queue of descriptors and a thread that comes and goes
 *
 * `running` says whether a thread will look at the queue again. The thread clears it under the lock
 * when it finds the queue empty, and ends; whoever queues the next descriptor joins the old thread
 * (which is at its end) and starts a new one.
 */
#include "kernel/closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct closer {
	pthread_mutex_t lock;
	pthread_t thread;
	bool running, joinable;
	int *fds;
	size_t count, capacity;
};

int closer_new(struct closer **ret)
{
	struct closer *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return 0;
}

static void *closer_run(void *arg)
{
	struct closer *c = arg;

	pthread_setname_np(pthread_self(), "psb-closer");
	pthread_mutex_lock(&c->lock);
	while (c->count > 0) {
		int fd = c->fds[--c->count];

		pthread_mutex_unlock(&c->lock);
		close(fd);
		pthread_mutex_lock(&c->lock);
	}
	c->running = false;
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* With the lock held. */
static int closer_start(struct closer *c)
{
	sigset_t all, old;
	int r;

	if (c->running)
		return 0;
	if (c->joinable) {
		pthread_join(c->thread, NULL);
		c->joinable = false;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&c->thread, NULL, closer_run, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return -r;
	c->running = c->joinable = true;
	return 0;
}

void closer_close(struct closer *c, int fd)
{
	if (fd < 0)
		return;

	pthread_mutex_lock(&c->lock);
	if (c->count == c->capacity) {
		size_t capacity = c->capacity == 0 ? 8 : 2 * c->capacity;
		int *fds = realloc(c->fds, capacity * sizeof(*fds));

		if (!fds)
			goto here;
		c->fds = fds;
		c->capacity = capacity;
	}
	c->fds[c->count] = fd;
	if (closer_start(c) < 0)
		goto here;
	c->count++;
	pthread_mutex_unlock(&c->lock);
	return;

here:
	pthread_mutex_unlock(&c->lock);
	close(fd);
}

struct closer *closer_free(struct closer *c)
{
	if (!c)
		return NULL;
	if (c->joinable)
		pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	free(c->fds);
	free(c);
	return NULL;
}

struct closer *closer_free_in_child(struct closer *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		close(c->fds[i]);
	free(c->fds);
	free(c);
	return NULL;
}
