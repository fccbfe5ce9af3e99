/* SPDX-License-Identifier: MIT */
/*
 * mailbox.c - notifications that a thread of the host takes
 *
 * A mailbox is a registration without callback and thread, and a reference on its watch, so that the
 * watch cannot end under it. The registration is `running` while a thread is in psb_mailbox_take(). The
 * mailbox owns the label of the notification it gave out last, for that one's `cgroup` points into it.
 */
#include "library/sized.h"
#include "library/watch.h"

#include <errno.h>
#include <stdlib.h>

struct psb_mailbox {
	psb_watch *watch;
	psb_registration *registration;
	struct label *label; /* of what was taken last */
	uint64_t taken_usec; /* when, by a take that waits: the call that goes on since; or 0 */
};

int psb_mailbox_new(psb_watch *w, unsigned flags, psb_mailbox **ret)
{
	struct psb_mailbox *mailbox;
	int r = watch_check(w);

	if (r == 0 && (!ret || (flags & PSB_INLINE)))
		r = -EINVAL;
	if (r < 0)
		return r;
	mailbox = calloc(1, sizeof(*mailbox));
	if (!mailbox)
		return -ENOMEM;
	r = dispatch_add(&w->dispatch, NULL, NULL, flags, &mailbox->registration);
	if (r < 0) {
		free(mailbox);
		return r;
	}
	mailbox->watch = psb_watch_ref(w);
	if (flags & PSB_TELL_PRESENT)
		watch_present(w);
	*ret = mailbox;
	return 0;
}

/* Nothing of the mailbox is touched after dispatch_leave(), for which psb_mailbox_free() waits. */
static int take(struct psb_mailbox *mailbox, uint64_t timeout_usec, struct psb_notification *ret)
{
	struct psb_registration *reg = mailbox->registration;
	uint64_t now = now_usec();
	struct entry entry;
	int r;

	pthread_mutex_lock(&reg->bridge->lock);
	if (reg->running) {
		pthread_mutex_unlock(&reg->bridge->lock);
		return -EBUSY;
	}
	if (mailbox->taken_usec > 0) {
		reg->duration_usec = usec_sub(now, mailbox->taken_usec);
		reg->dispatch->total_usec += reg->duration_usec;
		mailbox->taken_usec = 0;
	}
	reg->running = true;
	r = dispatch_take(reg, usec_add(now, timeout_usec), &entry);
	if (r == 1) {
		/* the time until the next take is no call for a program that polls */
		mailbox->taken_usec = timeout_usec > 0 ? now_usec() : 0;
		label_unref(mailbox->label);
		mailbox->label = entry.label;
		*ret = entry.notification;
	}
	dispatch_leave(reg);
	return r;
}

static int check(const psb_mailbox *mailbox)
{
	return mailbox ? watch_check(mailbox->watch) : -EINVAL;
}

int psb_mailbox_take(psb_mailbox *mailbox, uint64_t timeout_usec, struct psb_notification *ret)
{
	struct psb_notification n;
	size_t size;
	int r = ret ? check(mailbox) : -EINVAL;

	if (r == 0)
		r = sized_check(ret, &size);
	if (r == 0)
		r = take(mailbox, timeout_usec, &n);
	if (r == 1)
		sized_fill(ret, &n, sizeof(n));
	return r;
}

psb_registration *psb_mailbox_registration(psb_mailbox *mailbox)
{
	return mailbox ? mailbox->registration : NULL;
}

int psb_mailbox_close(psb_mailbox *mailbox)
{
	int r = check(mailbox);

	if (r < 0)
		return r;
	LOCKED(mailbox->watch->bridge);
	mailbox->registration->closed = true;
	pthread_cond_broadcast(&mailbox->registration->wake);
	return 0;
}

psb_mailbox *psb_mailbox_free(psb_mailbox *mailbox)
{
	if (!mailbox)
		return NULL;
	psb_registration_remove(mailbox->registration); /* in a forked child it is the watch's */
	label_unref(mailbox->label);
	psb_watch_unref(mailbox->watch);
	free(mailbox);
	return NULL;
}
