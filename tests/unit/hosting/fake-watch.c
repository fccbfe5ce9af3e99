/* SPDX-License-Identifier: MIT */
/*
 * fake-watch.c - a psb_watch that a test speaks for
 *
 * One lock and one condition for everything, broadcast at each change. A registration is freed by
 * who removes it; from inside its own call, by its thread when the call is over.
 */
#include "fake-watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct psb_watch {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pid_t pid;
	_Atomic unsigned refs; /* the host's, and one of each registration's thread */
	unsigned registered;
	struct psb_registration *first;
	enum psb_available present;
	uint64_t clock;
	int add_error, load_error;
	struct psb_load load;
};

struct psb_registration {
	struct psb_watch *watch;
	struct psb_registration *next;
	psb_callback_fn *fn;
	void *userdata;
	pthread_t thread;
	bool full, running, removed, orphan;
	struct psb_notification letter;
};

static __thread struct psb_registration *inside;
static pthread_mutex_t watches_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t watches_changed = PTHREAD_COND_INITIALIZER;
static unsigned watches;

static void count_watch(int difference)
{
	pthread_mutex_lock(&watches_lock);
	watches += (unsigned)difference;
	pthread_cond_broadcast(&watches_changed);
	pthread_mutex_unlock(&watches_lock);
}

int fake_watches_wait(void)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&watches_lock);
	while (watches > 0 && r == 0)
		r = pthread_cond_timedwait(&watches_changed, &watches_lock, &until);
	watches = 0; /* whatever one test lost is not the next one's fault */
	pthread_mutex_unlock(&watches_lock);
	return r == 0 ? 0 : -1;
}

psb_watch *fake_watch_new(void)
{
	psb_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		abort();
	pthread_mutex_init(&watch->lock, NULL);
	pthread_cond_init(&watch->changed, NULL);
	watch->pid = getpid();
	watch->refs = 1;
	watch->present = PSB_HIGH;
	count_watch(1);
	return watch;
}

psb_watch *psb_watch_ref(psb_watch *watch)
{
	watch->refs++;
	return watch;
}

psb_watch *psb_watch_unref(psb_watch *watch)
{
	if (!watch || --watch->refs > 0)
		return NULL;
	if (watch->pid == getpid()) {
		if (watch->registered > 0)
			abort(); /* the manager forgot one */
		pthread_mutex_destroy(&watch->lock);
		pthread_cond_destroy(&watch->changed);
	}
	free(watch);
	count_watch(-1);
	return NULL;
}

/* Lock held. */
static void put(struct psb_registration *reg, enum psb_kind kind, enum psb_available available,
		enum psb_reason reason)
{
	reg->letter = (struct psb_notification){
		.size = sizeof(reg->letter),
		.kind = kind,
		.available = available,
		.reason = reason,
		.cgroup = "/fake",
		.time_usec = reg->watch->clock,
	};
	reg->full = true;
	pthread_cond_broadcast(&reg->watch->changed);
}

static void *run(void *arg)
{
	struct psb_registration *reg = arg;
	struct psb_watch *watch = reg->watch;

	pthread_mutex_lock(&watch->lock);
	while (!reg->removed) {
		struct psb_notification letter = reg->letter;

		if (!reg->full) {
			pthread_cond_wait(&watch->changed, &watch->lock);
			continue;
		}
		reg->full = false;
		reg->running = true;
		pthread_mutex_unlock(&watch->lock);
		inside = reg;
		reg->fn(&letter, reg->userdata);
		inside = NULL;
		pthread_mutex_lock(&watch->lock);
		reg->running = false;
		pthread_cond_broadcast(&watch->changed);
	}
	pthread_mutex_unlock(&watch->lock);
	if (reg->orphan) {
		pthread_detach(pthread_self());
		free(reg);
	}
	psb_watch_unref(watch);
	return NULL;
}

int psb_watch_add_callback(psb_watch *watch, psb_callback_fn *fn, void *userdata, unsigned flags,
			   psb_registration **ret)
{
	struct psb_registration *reg;
	int r = watch->add_error;

	watch->add_error = 0;
	if (watch->pid != getpid())
		return -ECHILD;
	if (r < 0)
		return r;
	reg = calloc(1, sizeof(*reg));
	if (!reg)
		return -ENOMEM;
	reg->watch = watch;
	reg->fn = fn;
	reg->userdata = userdata;
	pthread_mutex_lock(&watch->lock);
	reg->next = watch->first;
	watch->first = reg;
	watch->registered++;
	watch->refs++;
	if (flags & PSB_TELL_PRESENT)
		put(reg, PSB_KIND_LEVEL, watch->present, PSB_REASON_PRESENT);
	if (pthread_create(&reg->thread, NULL, run, reg) != 0)
		abort();
	*ret = reg; /* the fake is harsh: the callback may run before the caller has it */
	pthread_mutex_unlock(&watch->lock);
	return 0;
}

int psb_registration_remove(psb_registration *reg)
{
	struct psb_watch *watch = reg->watch;

	if (watch->pid != getpid())
		return -ECHILD;
	pthread_mutex_lock(&watch->lock);
	for (struct psb_registration **p = &watch->first; *p; p = &(*p)->next)
		if (*p == reg) {
			*p = reg->next;
			break;
		}
	watch->registered--;
	reg->removed = true;
	reg->orphan = inside == reg;
	pthread_cond_broadcast(&watch->changed);
	pthread_mutex_unlock(&watch->lock);
	if (inside == reg)
		return 0;
	pthread_join(reg->thread, NULL);
	free(reg);
	return 0;
}

enum psb_available psb_watch_available(psb_watch *watch, int *ret_critical)
{
	enum psb_available present;

	pthread_mutex_lock(&watch->lock);
	present = watch->present;
	pthread_mutex_unlock(&watch->lock);
	if (ret_critical)
		*ret_critical = 0;
	return present;
}

int psb_watch_load(psb_watch *watch, struct psb_load *ret)
{
	if (watch->load_error < 0)
		return watch->load_error;
	if (ret->size != sizeof(*ret))
		return -EINVAL;
	*ret = watch->load;
	return 0;
}

/* Lock held. */
static void send_all(psb_watch *watch, enum psb_kind kind, enum psb_available available)
{
	watch->clock++;
	watch->present = available;
	for (struct psb_registration *reg = watch->first; reg; reg = reg->next)
		put(reg, kind, available,
		    kind == PSB_KIND_GONE ? PSB_REASON_GONE : PSB_REASON_STALL);
}

/* Lock held. */
static void settle(psb_watch *watch)
{
	struct psb_registration *reg = watch->first;

	while (reg) {
		if (reg->full || reg->running) {
			pthread_cond_wait(&watch->changed, &watch->lock);
			reg = watch->first;
		} else {
			reg = reg->next;
		}
	}
}

void fake_watch_send(psb_watch *watch, enum psb_kind kind, enum psb_available available)
{
	pthread_mutex_lock(&watch->lock);
	send_all(watch, kind, available);
	pthread_mutex_unlock(&watch->lock);
}

void fake_watch_settle(psb_watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	settle(watch);
	pthread_mutex_unlock(&watch->lock);
}

void fake_watch_send_settled(psb_watch *watch, enum psb_available available)
{
	pthread_mutex_lock(&watch->lock);
	settle(watch);
	send_all(watch, PSB_KIND_LEVEL, available);
	pthread_mutex_unlock(&watch->lock);
}

void fake_watch_set_present(psb_watch *watch, enum psb_available available)
{
	pthread_mutex_lock(&watch->lock);
	watch->present = available;
	pthread_mutex_unlock(&watch->lock);
}

void fake_watch_fail_add(psb_watch *watch, int error)
{
	watch->add_error = error;
}

void fake_watch_set_load(psb_watch *watch, int error, const struct psb_load *load)
{
	watch->load_error = error;
	watch->load = *load;
}

unsigned fake_watch_registrations(psb_watch *watch)
{
	unsigned n;

	pthread_mutex_lock(&watch->lock);
	n = watch->registered;
	pthread_mutex_unlock(&watch->lock);
	return n;
}
