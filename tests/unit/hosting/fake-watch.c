/* SPDX-License-Identifier: MIT */
/*
 * fake-watch.c - a psb_watch that a test speaks for
 *
 * Its registrations are the library's (dispatch.c), on a bridge whose loop does not run: only where levels come from is the
 * test's.
 */
#include "fake-watch.h"

#include "library/dispatch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct psb_watch {
	psb_bridge *bridge;
	struct dispatch dispatch;
	struct label *label;
	atomic_uint refs;
	pthread_mutex_t lock; /* a registration is told the present level before anything else */
	enum psb_available present;
	int add_error, load_error;
	struct psb_load load;
};

static atomic_uint watches;

int fake_watches_wait(void)
{
	for (int i = 0; i < 10000 && watches > 0; i++)
		usleep(1000);
	return watches == 0 ? 0 : -1;
}

psb_watch *fake_watch_new(void)
{
	psb_watch *watch = calloc(1, sizeof(*watch));

	if (!watch || psb_bridge_new(NULL, &watch->bridge) < 0 ||
	    label_new("/fake", &watch->label) < 0)
		abort();
	pthread_mutex_init(&watch->lock, NULL);
	dispatch_init(&watch->dispatch, watch->bridge);
	watch->refs = 1;
	watch->present = PSB_HIGH;
	watches++;
	return watch;
}

psb_watch *psb_watch_ref(psb_watch *watch)
{
	watch->refs++;
	return watch;
}

psb_watch *psb_watch_unref(psb_watch *watch)
{
	if (!watch || --watch->refs > 0 || bridge_is_child(watch->bridge))
		return NULL;
	if (watch->dispatch.first)
		abort(); /* the manager forgot one */
	label_unref(watch->label);
	psb_bridge_unref(watch->bridge);
	free(watch);
	watches--;
	return NULL;
}

/* The time is late enough for a repeated Low. */
static struct psb_notification notification(enum psb_kind kind, enum psb_available available,
					    enum psb_reason reason)
{
	return (struct psb_notification){ .size = sizeof(struct psb_notification),
					  .kind = kind,
					  .available = available,
					  .reason = reason,
					  .time_usec = now_usec() + 3600 * USEC_PER_SEC };
}

int psb_watch_add_callback(psb_watch *watch, psb_callback_fn *fn, void *userdata, unsigned flags,
			   psb_registration **ret)
{
	struct psb_notification n;
	int r = watch->add_error;

	watch->add_error = 0;
	if (r < 0)
		return r;
	pthread_mutex_lock(&watch->lock);
	n = notification(PSB_KIND_LEVEL, watch->present, PSB_REASON_PRESENT);
	r = dispatch_add(&watch->dispatch, fn, userdata, flags, ret);
	if (r == 0)
		dispatch_present(&watch->dispatch, watch->label, &n);
	pthread_mutex_unlock(&watch->lock);
	return r;
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
	struct psb_notification n = notification(
		kind, available, kind == PSB_KIND_GONE ? PSB_REASON_GONE : PSB_REASON_STALL);

	watch->present = available;
	dispatch_deliver(&watch->dispatch, watch->label, &n);
}

static bool is_settled(psb_watch *watch)
{
	bool busy = false;

	pthread_mutex_lock(&watch->bridge->lock);
	for (const struct psb_registration *reg = watch->dispatch.first; reg; reg = reg->next)
		busy = busy || reg->queued > 0 || reg->running;
	busy = busy ||
	       watch->bridge->lingering > 0; /* a call of one that was removed, or its end */
	pthread_mutex_unlock(&watch->bridge->lock);
	return !busy;
}

/* Returns with the lock. Not with it while it waits: a call may want to register. */
static void settle(psb_watch *watch)
{
	pthread_mutex_lock(&watch->lock);
	while (!is_settled(watch)) {
		pthread_mutex_unlock(&watch->lock);
		usleep(50);
		pthread_mutex_lock(&watch->lock);
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
	settle(watch);
	pthread_mutex_unlock(&watch->lock);
}

void fake_watch_send_settled(psb_watch *watch, enum psb_available available)
{
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
	unsigned n = 0;

	pthread_mutex_lock(&watch->bridge->lock);
	for (const struct psb_registration *reg = watch->dispatch.first; reg; reg = reg->next)
		n++;
	pthread_mutex_unlock(&watch->bridge->lock);
	return n;
}
