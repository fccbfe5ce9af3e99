/* SPDX-License-Identifier: MIT */
/*
 * dispatch.h - from notifications to callbacks, with the guarantees of psibridge.h
 */
#pragma once

#include "library/bridge.h"
#include "monitor/label.h"

/* The registrations of one watch. */
struct dispatch {
	struct psb_bridge *bridge;
	struct psb_registration *first;
	uint64_t sequence; /* of the newest notification */
	bool many;	   /* notifications speak of many cgroups: an entry for each */
	unsigned reserved; /* ... of them */
	uint64_t calls, total_usec, superseded; /* of all that ever were registered */
};

/*
 * Tell all. On the loop's thread, without the lock; mailboxes are filled and inline callbacks
 * called. `label` names the cgroup and is what a slot belongs to; notification->cgroup is set from
 * it.
 */
void dispatch_deliver(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification);

/* Tell the present state to those that asked for it and were not told yet. On the loop's thread. */
void dispatch_present(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification);

/*
 * Of many: notifications may speak of one more label, or of one less. Each mailbox, those to come
 * too, keeps an entry for each, so that what was told can be followed without an allocation. Errors:
 * -ENOMEM (nothing is reserved).
 */
int dispatch_reserve(struct dispatch *dispatch);
void dispatch_release(struct dispatch *dispatch);

/* Another process told all of them this. */
void dispatch_assume(struct dispatch *dispatch, enum psb_available available, bool critical);

/* As psb_watch_add_callback(); for PSB_TELL_PRESENT the caller sees to it that dispatch_present()
 * follows. */
int dispatch_add(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		 psb_registration **ret);

/* `userdata` of a registration that is no more, without any lock. */
typedef void psb_ended_fn(void *userdata);

/*
 * psb_registration_remove() with an end to its patience, and with news: once no call runs or will come, `ended`
 * (or NULL) is called, before this returns. If this is called inside that call, or returns -ETIMEDOUT (the call
 * still runs) or -EDEADLK (it cannot end before this returns), then after the call, on the registration's thread.
 * Of one with a thread of its own, for `ended`.
 */
int dispatch_remove(struct psb_registration *reg, uint64_t patience_usec, psb_ended_fn *ended);

/* Remove all, as psb_registration_remove() does. */
void dispatch_clear(struct dispatch *dispatch);
/* In a forked child: free, touch nothing. */
void dispatch_clear_in_child(struct dispatch *dispatch);

/* Calls made, time spent in them, and notifications overtaken; with the lock held. */
void dispatch_count(const struct dispatch *dispatch, struct psb_stats *stats);

/* Is the calling thread inside a callback, of whichever bridge? */
bool dispatch_is_inside_any(void);
