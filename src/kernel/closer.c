/* SPDX-License-Identifier: MIT */
/*
 * closer.c - a queue of descriptors, and a thread while it is not empty
 *
 * `running` says whether a thread will look at the queue again. The thread clears it under the lock
 * when it finds the queue empty, and ends; queueing the next descriptor joins the old thread (which
 * is at its end) and starts a new one.
 *
 * While it serves a loop one thread is enough: the loop does not wait for it. closer_free() does, and
 * then up to 32 threads empty the queue together, for threads that wait for an RCU grace period at
 * the same time wait for the same one.
 */
#include "kernel/closer.h"

#include "kernel/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define QUEUE_MAX 16384 /* closing one here would hold the loop for up to 20 ms */
#define HELPERS_MAX 31	/* and the thread that was there before */

struct closer {
	pthread_mutex_t lock;
	pthread_t thread;
	bool running, joinable;
	size_t count;
	int fds[QUEUE_MAX];
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

/* With the lock held before and after, not during. */
static void close_until(struct closer *c, size_t max)
{
	while (c->count > max) {
		int fd = c->fds[--c->count];

		pthread_mutex_unlock(&c->lock);
		close(fd);
		pthread_mutex_lock(&c->lock);
	}
}

static void *closer_run(void *arg)
{
	struct closer *c = arg;

	pthread_setname_np(pthread_self(), "psb-closer");
	pthread_mutex_lock(&c->lock);
	close_until(c, 0);
	c->running = false;
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* With the lock held. */
static int closer_start(struct closer *c)
{
	int r;

	if (c->running)
		return 0;
	if (c->joinable) {
		pthread_join(c->thread, NULL);
		c->joinable = false;
	}
	r = thread_start(&c->thread, THREAD_STACK_SMALL, closer_run, c);
	if (r < 0)
		return r;
	c->running = c->joinable = true;
	return 0;
}

void closer_close(struct closer *c, int fd)
{
	bool queued;

	if (fd < 0)
		return;
	pthread_mutex_lock(&c->lock);
	queued = c->count < QUEUE_MAX && closer_start(c) == 0; /* which waits for the lock */
	if (queued)
		c->fds[c->count++] = fd;
	pthread_mutex_unlock(&c->lock);
	if (!queued)
		close(fd);
}

void closer_help(struct closer *c, size_t max)
{
	pthread_mutex_lock(&c->lock);
	close_until(c, max);
	pthread_mutex_unlock(&c->lock);
}

struct closer *closer_free(struct closer *c)
{
	pthread_t helpers[HELPERS_MAX];
	size_t count = 0, left;

	if (!c)
		return NULL;
	pthread_mutex_lock(&c->lock);
	left = MIN(c->count, (size_t)HELPERS_MAX);
	pthread_mutex_unlock(&c->lock);
	while (count < left &&
	       thread_start(&helpers[count], THREAD_STACK_SMALL, closer_run, c) == 0)
		count++;
	while (count > 0)
		pthread_join(helpers[--count], NULL);
	if (c->joinable)
		pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	free(c);
	return NULL;
}

struct closer *closer_free_in_child(struct closer *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		close(c->fds[i]);
	free(c);
	return NULL;
}
