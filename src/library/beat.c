/* SPDX-License-Identifier: MIT */
/*
 * beat.c - does the loop still run?
 *
 * Descriptors and levels of a bridge look the same whether its loop waits or hangs. Only a call from
 * it tells them apart: its own timer, so that posted work, timers and waking the host all have to work.
 */
#include "library/bridge.h"

#include <errno.h>

static void beat_expired(struct loop_timer *timer, uint64_t now)
{
	struct psb_bridge *b = CONTAINER_OF(timer, struct psb_bridge, beat_timer);
	psb_beat_fn *fn;
	void *userdata;

	(void)now;
	pthread_mutex_lock(&b->lock);
	fn = b->beat;
	userdata = b->beat_userdata;
	pthread_mutex_unlock(&b->lock);
	fn(userdata);
	bridge_leave_child(b);
}

static void beat_asked(struct loop_work *work)
{
	struct psb_bridge *b = CONTAINER_OF(work, struct psb_bridge, beat_work);
	uint64_t at;

	pthread_mutex_lock(&b->lock);
	b->beat_posted = false;
	at = b->beat_usec;
	pthread_mutex_unlock(&b->lock);
	b->beat_timer.expired = beat_expired;
	loop_timer_set(b->context.loop, &b->beat_timer, at);
}

int psb_bridge_beat(psb_bridge *b, uint64_t after_usec, psb_beat_fn *fn, void *userdata)
{
	bool post;

	if (!b || !fn)
		return -EINVAL;
	if (bridge_is_child(b))
		return -ECHILD;
	pthread_mutex_lock(&b->lock);
	b->beat = fn;
	b->beat_userdata = userdata;
	b->beat_usec = usec_add(now_usec(), after_usec);
	post = !b->beat_posted;
	b->beat_posted = true;
	b->beat_work.run = beat_asked;
	pthread_mutex_unlock(&b->lock);
	if (post)
		bridge_post(b, &b->beat_work);
	return 0;
}
