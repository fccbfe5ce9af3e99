/* SPDX-License-Identifier: MIT */
/*
 * dispatch-internal.h - what a registration is made of; for dispatch.c, and for mailbox.c, whose
 * registrations are pulled
 *
 * All functions with the bridge's lock held, but registration_new(), _free() and _enlist().
 */
#pragma once

#include "library/dispatch.h"

struct entry {
	struct entry *next;
	struct label *label; /* a reference while queued */
	struct psb_notification notification;
};

struct psb_registration {
	struct psb_bridge *bridge;
	struct dispatch *dispatch; /* NULL once removed */
	struct psb_registration *next;
	psb_callback_fn *fn;
	psb_ended_fn *ended; /* once removed: who is to be told that no call is left, or NULL */
	void *userdata;
	unsigned flags;

	bool removed, running, orphan, owes_present;
	bool pulled, closed;
	uint64_t taken_usec; /* pulled: when the last one was taken by a take that waits, or 0 */
	struct psb_registration *waits_for;
	uint64_t sequence; /* newest notification it was offered, inline */

	pthread_t thread;
	pthread_cond_t wake;
	struct entry *entries, **entries_last;
	struct entry slot[2]; /* of a single cgroup: its level, and its source */
	struct entry *spare;  /* of many: as many as are reserved, but for those that are queued */
	unsigned spare_count;

	enum psb_available told; /* what it was last told, 0: nothing; single cgroup only */
	bool told_critical;
	unsigned assumptions; /* how often another process told it */
	uint64_t low_usec, duration_usec;
	const char *low_cgroup; /* whose Low that was; compared, never read */
};

/* Without thread, and in no list yet; registration_free() undoes it. Errors: -ENOMEM. */
int registration_new(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		     struct psb_registration **ret);
void registration_free(struct psb_registration *reg);
/* Errors: -ENOMEM (and it is in no list). */
int registration_enlist(struct psb_registration *reg, psb_registration **ret);

/* Takes the oldest entry out: its contents and its reference to the label. There is one. */
struct entry registration_take_entry(struct psb_registration *reg);
bool registration_is_too_soon(const struct psb_registration *reg, const struct psb_notification *n);
bool registration_is_old_news(const struct psb_registration *reg, const struct psb_notification *n);
/* What was told, and when. `still`: it was told no other level meanwhile. */
void registration_told(struct psb_registration *reg, const struct psb_notification *n,
		       uint64_t at_usec, bool still);
