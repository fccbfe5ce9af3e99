/* SPDX-License-Identifier: MIT */
/*
 * fake-watch.c - a psb_watch that a test speaks for
 *
 * It is one of the library's that has no monitor, on a bridge whose loop does not run: only where levels come from is the
 * test's.
 */
#include "fake-watch.h"

#include "library/watch.h"

#include <stdlib.h>
#include <unistd.h>

psb_watch *fake_watch_new(psb_bridge *bridge)
{
	static const struct cgroups none;
	psb_watch *watch = calloc(1, sizeof(*watch));

	if (!watch || label_new("/fake", &watch->label) < 0 ||
	    memory_open(&watch->load_memory, &none, NULL, NULL) < 0)
		abort();
	watch->bridge = bridge;
	watch->refs = 1;
	watch->available = PSB_HIGH;
	watch->path_wait.inotify_fd = -1;
	pthread_mutex_init(&watch->load_lock, NULL);
	dispatch_init(&watch->dispatch, bridge);
	bridge->refs++;
	return watch;
}

int fake_watches_end(psb_bridge *bridge)
{
	bool ended = false;

	for (int i = 0; i < 10000 && !ended; i++) {
		usleep(i > 0 ? 1000 : 0);
		pthread_mutex_lock(&bridge->lock);
		ended = bridge->refs == 1 && bridge->lingering == 0;
		pthread_mutex_unlock(&bridge->lock);
	}
	psb_bridge_unref(bridge);
	return ended ? 0 : -1;
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

void fake_watch_set_present(psb_watch *watch, enum psb_available available)
{
	pthread_mutex_lock(&watch->bridge->lock);
	watch->available = available;
	pthread_mutex_unlock(&watch->bridge->lock);
}

void fake_watch_move(psb_watch *watch)
{
	struct label *label;

	if (label_new("/elsewhere", &label) < 0)
		abort();
	label->older = watch->label;
	watch->label = label;
}

/* New registrations first: what the loop would do for them. */
void fake_watch_present(psb_watch *watch)
{
	struct psb_notification n = notification(PSB_KIND_LEVEL, psb_watch_available(watch, NULL),
						 PSB_REASON_PRESENT);

	dispatch_deliver(&watch->dispatch, watch->label, &n, true);
}

void fake_watch_send(psb_watch *watch, enum psb_kind kind, enum psb_available available)
{
	struct psb_notification n = notification(
		kind, available, kind == PSB_KIND_GONE ? PSB_REASON_GONE : PSB_REASON_STALL);

	fake_watch_present(watch);
	fake_watch_set_present(watch, available);
	dispatch_deliver(&watch->dispatch, watch->label, &n, false);
}

static bool is_settled(psb_watch *watch)
{
	bool busy;

	pthread_mutex_lock(&watch->bridge->lock);
	busy = watch->bridge->lingering > 0; /* a call of one that was removed, or its end */
	for (const struct psb_registration *reg = watch->dispatch.first; reg; reg = reg->next)
		busy = busy || reg->queued > 0 || reg->running || reg->owes_present;
	pthread_mutex_unlock(&watch->bridge->lock);
	return !busy;
}

void fake_watch_settle(psb_watch *watch)
{
	while (!is_settled(watch)) {
		fake_watch_present(watch);
		usleep(50);
	}
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
