/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - notifications that a thread of the host takes
 *
 * A mailbox is a registration without callback and thread (`pulled`, dispatch.c), and a reference
 * on its watch, so that the watch cannot end under it. It owns the label of the notification it
 * gave out last, for that one's `cgroup` points into it.
 *
 * Closing and freeing are two steps: a runtime that ends closes from any thread, and the thread that
 * takes gets -ECANCELED.
 */
#include "library/dispatch-internal.h"
#include "library/sized.h"
#include "library/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct psb_mailbox {
	psb_watch *watch;
	psb_registration *registration;
	struct label *label; /* of what was taken last */
};

/* Lock held. */
static void stop_taking(void *userdata)
{
	struct psb_registration *reg = userdata;
	struct psb_bridge *bridge = reg->bridge;

	reg->running = false;
	pthread_cond_broadcast(&bridge->idle);
	pthread_mutex_unlock(&bridge->lock);
}

/* Lock held. The one place where a thread may be cancelled. False: the time is over. */
static bool wait_until(struct psb_registration *reg, uint64_t until_usec)
{
	struct timespec until = usec_timespec(until_usec);

	if (until_usec != PSB_FOREVER && now_usec() >= until_usec)
		return false;
	pthread_cleanup_push(stop_taking, reg);
	pthread_cond_clockwait(&reg->wake, &reg->bridge->lock, CLOCK_MONOTONIC, &until);
	pthread_cleanup_pop(0);
	return true;
}

/* The next entry. psb_mailbox_free() waits for `running` only: nothing of the mailbox is touched after
 * it. Returns 1, or 0: none came in time. */
static int take(struct psb_mailbox *mailbox, uint64_t timeout_usec, struct psb_notification *ret)
{
	struct psb_registration *reg = mailbox->registration;
	struct psb_bridge *bridge = reg->bridge;
	uint64_t now = now_usec(), until = usec_add(now, timeout_usec);
	int r = 0;

	pthread_mutex_lock(&bridge->lock);
	if (reg->running) {
		pthread_mutex_unlock(&bridge->lock);
		return -EBUSY;
	}
	if (reg->taken_usec > 0) {
		reg->duration_usec = usec_sub(now, reg->taken_usec);
		reg->dispatch->total_usec += reg->duration_usec;
		reg->taken_usec = 0;
	}
	reg->running = true;
	while (r == 0) {
		struct entry entry;

		if (reg->closed) {
			r = -ECANCELED;
			break;
		}
		if (!reg->entries) {
			if (!wait_until(reg, until))
				break;
			continue;
		}
		entry = registration_take_entry(reg);
		entry.notification.cgroup = entry.label->path;
		if (registration_is_too_soon(reg, &entry.notification) ||
		    registration_is_old_news(reg, &entry.notification)) {
			label_unref(entry.label);
			continue;
		}
		now = now_usec();
		/* the time until the next take is no call for a program that polls */
		reg->taken_usec = timeout_usec > 0 ? now : 0;
		registration_told(reg, &entry.notification, now, true);
		reg->dispatch->calls++;
		label_unref(mailbox->label);
		mailbox->label = entry.label;
		*ret = entry.notification;
		r = 1;
	}
	stop_taking(reg);
	return r;
}

int psb_mailbox_new(psb_watch *w, unsigned flags, psb_mailbox **ret)
{
	struct psb_mailbox *mailbox;
	int r;

	if (!w || !ret || (flags & ~(PSB_TELL_PRESENT | PSB_TELL_SOURCE)))
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	mailbox = calloc(1, sizeof(*mailbox));
	if (!mailbox)
		return -ENOMEM;
	r = registration_new(&w->dispatch, NULL, NULL, flags, &mailbox->registration);
	if (r < 0) {
		free(mailbox);
		return r;
	}
	mailbox->registration->pulled = true;
	r = registration_enlist(mailbox->registration, NULL);
	if (r < 0) {
		registration_free(mailbox->registration);
		free(mailbox);
		return r;
	}
	mailbox->watch = psb_watch_ref(w);
	if (flags & PSB_TELL_PRESENT)
		watch_present(w);
	*ret = mailbox;
	return 0;
}

int psb_mailbox_take(psb_mailbox *mailbox, uint64_t timeout_usec, struct psb_notification *ret)
{
	struct psb_notification n;
	size_t size;
	int r;

	if (!mailbox || !ret)
		return -EINVAL;
	r = sized_check(ret, &size);
	if (r < 0)
		return r;
	if (bridge_is_child(mailbox->watch->bridge))
		return -ECHILD;
	r = take(mailbox, timeout_usec, &n);
	if (r <= 0)
		return r;
	sized_fill(ret, &n, sizeof(n));
	return 1;
}

static void close_slot(struct psb_registration *reg)
{
	pthread_mutex_lock(&reg->bridge->lock);
	reg->closed = true;
	pthread_cond_broadcast(&reg->wake);
	pthread_mutex_unlock(&reg->bridge->lock);
}

int psb_mailbox_close(psb_mailbox *mailbox)
{
	if (!mailbox)
		return -EINVAL;
	if (bridge_is_child(mailbox->watch->bridge))
		return -ECHILD;
	close_slot(mailbox->registration);
	return 0;
}

psb_mailbox *psb_mailbox_free(psb_mailbox *mailbox)
{
	if (!mailbox)
		return NULL;
	if (!bridge_is_child(mailbox->watch->bridge)) {
		close_slot(mailbox->registration);
		psb_registration_remove(mailbox->registration);
	}
	label_unref(mailbox->label);
	psb_watch_unref(mailbox->watch);
	free(mailbox);
	return NULL;
}
