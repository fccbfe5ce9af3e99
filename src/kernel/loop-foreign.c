/* SPDX-License-Identifier: MIT */
/*
 * loop-foreign.c - a loop that is driven by the event loop of its host
 *
 * A thread of the loop's own sleeps in the engine, and writes to an eventfd when it wakes up; the host polls that one.
 * The loop belongs to one of the two at a time:
 *
 *     the thread   sleeps in the engine  --- eventfd --->  the host   dispatches
 *          ^                                                    |
 *          +------------- condition variable -------------------+
 *
 * The descriptor of the engine itself is not handed out, because polling it has side effects, and may miss events:
 *  - Polling an epoll descriptor polls what is in the set, and polling a PSI trigger takes its event
 *    (psi_trigger_poll() in kernel/sched/psi.c): ready 4 times, the event found 0 times (6.12 and 6.18).
 *  - An eventfd registered with a ring (IORING_REGISTER_EVENTFD) is signalled by psimon with interrupts off. On
 *    6.12.117 such a signal is deferred once, and later ones never come.
 *  - The ring's own descriptor became ready 5 of 5 times on 6.12.117, and 2 of 5 on 6.18.
 * The cost is two context switches for each time there is something to do, and none at rest.
 */
#include "kernel/loop-engine.h"
#include "kernel/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct foreign {
	struct loop *loop;
	int (*wait)(struct loop *loop, uint64_t until_usec);
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t go;
	int fd;
	bool waiting;  /* the loop is the thread's */
	bool stopping; /* the thread shall end */
	uint64_t until_usec;
	int result; /* of the last wait */
};

static void *foreign_run(void *arg)
{
	struct foreign *f = arg;
	pthread_setname_np(pthread_self(), "psb-wait");
	pthread_mutex_lock(&f->lock);
	while (!f->stopping) {
		uint64_t until_usec = f->until_usec;
		int r;

		if (!f->waiting) {
			pthread_cond_wait(&f->go, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		r = f->wait(f->loop, until_usec);
		pthread_mutex_lock(&f->lock);
		f->result = r;
		f->waiting = false;
		(void)eventfd_ring(f->fd);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int foreign_fd(const struct foreign *f)
{
	return f->fd;
}

bool foreign_take(struct foreign *f, int *ret_result)
{
	uint64_t count;
	bool waiting;

	pthread_mutex_lock(&f->lock);
	waiting = f->waiting;
	if (!waiting) {
		(void)!read(f->fd, &count, sizeof(count));
		*ret_result = f->result;
	}
	pthread_mutex_unlock(&f->lock);
	return !waiting;
}

void foreign_go_on(struct foreign *f, uint64_t until_usec)
{
	pthread_mutex_lock(&f->lock);
	f->until_usec = until_usec;
	f->waiting = true;
	pthread_cond_signal(&f->go);
	pthread_mutex_unlock(&f->lock);
}

static void foreign_close(struct foreign *f)
{
	close(f->fd);
	free(f);
}

int foreign_new(struct loop *loop, int (*wait)(struct loop *loop, uint64_t until_usec),
		struct foreign **ret)
{
	struct foreign *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->loop = loop;
	f->wait = wait;
	f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->fd < 0) {
		r = -errno;
		free(f);
		return r;
	}
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->go, NULL);
	r = thread_start(&f->thread, THREAD_STACK_SMALL, foreign_run, f);
	if (r < 0) {
		foreign_close(f);
		return r;
	}
	*ret = f;
	return 0;
}

struct foreign *foreign_free(struct foreign *f)
{
	if (!f)
		return NULL;
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_signal(&f->go);
	pthread_mutex_unlock(&f->lock);
	loop_wake(f->loop);
	pthread_join(f->thread, NULL);
	pthread_cond_destroy(&f->go);
	pthread_mutex_destroy(&f->lock);
	foreign_close(f);
	return NULL;
}

struct foreign *foreign_free_in_child(struct foreign *f)
{
	if (f)
		foreign_close(f);
	return NULL;
}
