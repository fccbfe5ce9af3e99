/* SPDX-License-Identifier: MIT */
/*
 * bridge.h - one loop, its thread, and what all watches share
 *
 * One mutex a bridge, `lock`, guards everything that more than one thread sees: registrations and
 * their entries, published levels and counters, references. It is held for moments only, never
 * during a callback or an allocation on the way of an event. Making a thread (psb_bridge_start(), a
 * registration) is the longest that is done under it.
 */
#pragma once

#include "monitor/context.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>

enum bridge_mode { MODE_UNDECIDED, MODE_THREAD, MODE_FOREIGN };

/* What a bridge does with its watches. */
struct watch_class {
	/* The loop will run from now on: give it what waits. Lock held. */
	void (*post)(struct psb_watch *watch);
	/* Take it out of the list, and free it. */
	void (*free)(struct psb_watch *watch);
	void (*free_in_child)(struct psb_watch *watch);
};

struct psb_bridge {
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a callback returned, a lingering registration ended */
	unsigned refs;	     /* handles of the host, and one a watch that the host holds */
	enum bridge_mode mode;
	enum loop_backend backend;	/* as it is now */
	struct monitor_context context; /* the loop, its closer, the log */
	const char *why_not_uring;
	unsigned loop_failures; /* that were told */
	pthread_t thread;	/* the library's, or the host's that dispatches, if `driven` */
	bool driven;
	bool stopping;	  /* the thread shall end */
	bool dispatching; /* inside psb_bridge_dispatch() */
	bool ended;	  /* the last reference went inside a dispatch: end when it returns */
	jmp_buf *pass;	  /* where the pass that runs began */
	struct psb_watch *watches;	       /* all that are not freed; their links are theirs */
	const struct watch_class *watch_class; /* NULL: there was none yet */
	unsigned lingering; /* registrations that are removed and not freed yet */

	psb_beat_fn *beat;
	void *beat_userdata;
	uint64_t beat_usec;
	bool beat_posted;
	struct loop_work beat_work;
	struct loop_timer beat_timer;
};

/* Are these the handles of a parent process? Reads memory only. */
static inline bool bridge_is_child(const struct psb_bridge *bridge)
{
	return context_is_child(&bridge->context);
}

/* What every call begins with. Errors: -EINVAL (NULL), -ECHILD. */
static inline int bridge_check(const struct psb_bridge *bridge)
{
	if (!bridge)
		return -EINVAL;
	return bridge_is_child(bridge) ? -ECHILD : 0;
}

static inline struct psb_bridge *bridge_lock(struct psb_bridge *bridge)
{
	pthread_mutex_lock(&bridge->lock);
	return bridge;
}

static inline void bridge_unlock(struct psb_bridge **bridge)
{
	pthread_mutex_unlock(&(*bridge)->lock);
}

/* Until the end of the scope. */
#define LOCKED(bridge)                    \
	_unused_ _cleanup_(bridge_unlock) \
	struct psb_bridge *locked_ = bridge_lock(bridge)

/*
 * After a callback of the loop's thread: should this be a forked child that came back from it, the pass
 * ends here, for of the loop nothing may be touched (the rings are not in its memory).
 */
static inline void bridge_leave_child(struct psb_bridge *bridge)
{
	if (bridge_is_child(bridge))
		longjmp(*bridge->pass, 1);
}

/* Have `work` run on the loop's thread; not before there is one, see watch_class. Lock held: the work may
 * give up the bridge, and its end waits for the lock. `posted`: it is with the loop already. */
static inline void bridge_post(struct psb_bridge *bridge, struct loop_work *work, bool *posted)
{
	if (bridge->mode == MODE_UNDECIDED || *posted)
		return;
	*posted = true;
	loop_post(bridge->context.loop, work);
}
