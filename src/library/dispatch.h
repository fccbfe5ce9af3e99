/* SPDX-License-Identifier: MIT */
/*
 * dispatch.h - from notifications to callbacks, with the guarantees of psibridge.h
 */
#pragma once

#include <stdatomic.h>

#include "library/bridge.h"
#include "monitor/label.h"

/* What waits to be told of one cgroup. */
struct entry {
	struct label *label; /* a reference; NULL: unused */
	uint64_t order;	     /* the least is taken first */
	struct psb_notification notification;
};

/* `userdata` of a registration that is no more, without any lock. */
typedef void psb_ended_fn(void *userdata);

/* Under the bridge's lock. */
struct psb_registration {
	struct psb_bridge *bridge;
	struct dispatch *dispatch; /* NULL once removed */
	struct psb_registration *next;
	psb_callback_fn *fn; /* NULL: a mailbox's */
	void *userdata;
	unsigned flags;
	psb_ended_fn *ended; /* once removed: to be told that no call is left, or NULL */

	bool running; /* in a call, or, of a mailbox, a thread is in psb_mailbox_take() */
	bool closed;  /* nothing is taken any more */
	bool orphan;  /* removed, and freed by the thread that is in its call */
	bool owes_present;
	uint64_t sequence;		    /* inline: the newest notification it was offered */
	struct psb_registration *waits_for; /* its call is inside the removal of that one */

	pthread_t thread; /* neither of a mailbox nor inline */
	pthread_cond_t wake;
	struct entry *entries; /* not inline */
	unsigned room, queued;
	uint64_t order;

	enum psb_available told; /* last, 0: nothing; of a single cgroup */
	bool told_critical;
	uint64_t low_usec, duration_usec; /* when a Low was told, and how long the last call took */
	const char *low_cgroup;		  /* whose Low that was; compared, never read */
};

/* The registrations of one watch. */
struct dispatch {
	struct psb_bridge *bridge;
	struct psb_registration *first;
	uint64_t sequence;   /* of the newest notification */
	atomic_bool samples; /* somebody has asked for PSB_KIND_SAMPLE, once */
	bool many;	     /* notifications speak of many cgroups: an entry for each */
	unsigned reserved;   /* entries that each registration must have room for */
	uint64_t calls, total_usec, superseded; /* of all that ever were registered */
	uint64_t reported_bytes, reported_usec;
};

void dispatch_init(struct dispatch *dispatch, struct psb_bridge *bridge);

/*
 * Tell all; or, `present`, those that asked for the present state and were not told yet. On the loop's thread, without the lock;
 * mailboxes are filled, then inline callbacks called. `label` names the cgroup and is what an entry belongs to;
 * notification->cgroup is set from it.
 */
void dispatch_deliver(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification, bool present);

/*
 * Of many: notifications may speak of one more label, or of one less. There is room for each, so that
 * what was told can be followed without an allocation. Errors: -ENOMEM (nothing is reserved).
 */
int dispatch_reserve(struct dispatch *dispatch);
void dispatch_release(struct dispatch *dispatch);

/* Another process told all of them this. */
void dispatch_assume(struct dispatch *dispatch, enum psb_available available, bool critical);

/* As psb_watch_add_callback(), or, without `fn`, for a mailbox. For PSB_TELL_PRESENT the caller sees to
 * it that it is delivered. */
int dispatch_add(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		 psb_registration **ret);

/*
 * Lock held: the oldest entry that is to be told, and its reference to the label; it counts as told.
 * Returns 1; 0: none came until then. Errors: -ECANCELED (closed). The one place where a thread may be
 * cancelled: then dispatch_leave() is called.
 */
int dispatch_take(struct psb_registration *reg, uint64_t until_usec, struct entry *ret);
/* Lock held before, not after: no thread is in there. */
void dispatch_leave(void *registration);

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

/* Is the calling thread inside a callback, of whichever bridge? */
bool dispatch_is_inside_any(void);
