/* SPDX-License-Identifier: MIT */
/*
 * table.h - the subscription table: which watch notifies which subscriber
 *
 *   watch        what one [Watch PATTERN] asks for, or what was made for subscribers that none covers: a psb_watch and
 *                its thresholds. Subscribers that bring thresholds share a further watch for each set of them
 *   subscriber   a client's membership in a watch, for one cgroup
 *
 * All of it runs on the daemon's one thread. Nothing is allocated between a notification and its subscribers.
 *
 * The pressure of a cgroup includes that of the cgroups below it: a subscriber is told Low when its cgroup or one below is.
 */
#pragma once

#include "core/wire.h"
#include "daemon/config.h"
#include "daemon/event.h"
#include "daemon/journal.h"
#include "kernel/cgroup.h"
#include "psibridge/tools.h"

#include <sys/queue.h>

struct table;

/* Embedded in a client, who sets what stands in front of `watch`. */
struct subscriber {
	/* `n` is complete, its cgroup is the subscriber's. Called from the bridge's dispatch. */
	void (*notify)(struct subscriber *subscriber, const struct psb_notification *n);
	/* What a Low of its own cgroup achieved that it was told: the last effect in `stats`. NULL: it is not asked. */
	void (*effect)(struct subscriber *subscriber, const struct psb_stats *stats);
	const struct policy_options *terms; /* that it brought; what is zero there is the watch's */
	/* What it was told last, or found when it came; 0: it is to find out. Goes on when it subscribes again. */
	enum psb_available available;
	bool critical;
	uint64_t told_usec;
	bool is_ours;	     /* whatever ServeOthers= says */
	struct watch *watch; /* NULL: it has none; and all that follows is the table's */
	char *path;	     /* its cgroup */
	LIST_ENTRY(subscriber) list;
	unsigned shown; /* in the view with that number */
};

struct table_options {
	sd_event *event;
	struct psb_bridge *bridge; /* dispatched by the caller, on this thread */
	struct journal *journal;
	const struct cgroups *cgroups;
	/* What a live watch told of a cgroup that it judges; NULL: watches came, went or changed their state. Called from
	 * the bridge's dispatch after all subscribers were notified, or from table_apply(): keep it short. */
	void (*news)(const struct psb_notification *n, void *userdata);
	/* What a Low achieved that a subscriber was told: the last effect in `stats`. Low is repeated after `rearm_usec`. */
	void (*effect)(const char *cgroup, const struct psb_stats *stats, uint64_t rearm_usec,
		       void *userdata);
	/* Of the watch that judges it: something was looked at, or the cgroup is gone. */
	void (*sample)(const struct psb_notification *n, void *userdata);
	void *userdata;
};

/* As it is seen from `path`, which is that of n->cgroup or of one above: what only a limit below that caused is no more than
 * Neutral there, unless `descendants`. */
void table_see_from(const char *path, bool descendants, struct psb_notification *n);

int table_new(const struct table_options *options, struct table **ret);
/* Ends all watches; there are no subscribers any more. */
struct table *table_free(struct table *table);

/*
 * Make the watches those of `config`, which stays the caller's and must stay. Those that did not change go on;
 * subscribers move to where they belong now, and a level that was told goes on. A watch that cannot be armed is logged
 * and shown as failed, and the rest goes on. Errors: -ENOMEM.
 */
int table_apply(struct table *table, const struct config *config);

/*
 * Subscribe to `cgroup` (normalised). Of too many different terms the watch's own count, which is logged. Errors: -ENOENT
 * (no such cgroup, or none that this daemon serves), -EUSERS (too many cgroups that no [Watch] covers), -ENOMEM, and what
 * psb_watch_new() says. *ret_why gets words (a constant string, or one that lives until the next call).
 */
int subscribe(struct table *table, struct subscriber *subscriber, const char *cgroup,
	      const char **ret_why);
void unsubscribe(struct subscriber *subscriber);
/* The present state of its cgroup, as a notification. */
void subscriber_present(const struct subscriber *subscriber, struct psb_notification *ret);
/* Is its watch in the shadow: then nothing is delivered? */
bool subscriber_in_shadow(const struct subscriber *subscriber);
/* Its programs say that they freed something in its cgroup: whatever watch judges that knows it. */
void subscriber_report(const struct subscriber *subscriber, uint64_t bytes, uint64_t usec);
/* Why its watch cannot be armed; NULL: it can, or its cgroup is not there yet. */
const char *subscriber_failure(const struct subscriber *subscriber);

/*
 * Behave as if `cgroup` (normalised) had been judged so. Errors: -ENOENT (no such cgroup), -ENODATA (no watch covers it now),
 * -EINVAL.
 */
int table_simulate(struct table *table, const char *cgroup, enum psb_available available,
		   bool critical);

/* Does a watch judge it that is not in the shadow? `path`: and is it that [Watch]? */
bool table_judges(const struct table *table, const char *cgroup, const char *path);

/* ---- for status ------------------------------------------------------------------------------- */

enum watch_state { WATCH_WATCHING, WATCH_ABSENT, WATCH_FAILED };

struct watch_view {
	unsigned id;	  /* stable as long as the watch lives, also across reloads */
	const char *path; /* the pattern, or the cgroup */
	bool configured;  /* by [Watch]; else made for subscribers */
	enum watch_state state;
	const char *why; /* ABSENT, FAILED: in words; else "" */
	struct settings settings;
	enum psb_available available; /* the lowest of its cgroups */
	bool critical;
	unsigned clients,
		thresholds; /* sets of thresholds: its own, and those that clients brought */
	uint64_t made_usec; /* levels are counted since */
	uint64_t low_usec, low_last_usec; /* how long one of its cgroups was Low; the last Low */
	struct psb_source source;	  /* WATCHING only, like stats */
	struct psb_stats stats;
};

/* Returns false behind the last. */
bool table_watch(struct table *table, size_t index, struct watch_view *ret);

struct cgroup_view {
	const struct psb_notification *present;
	unsigned watch; /* its id */
	bool candidate; /* what a watch in the shadow makes of it, beside the live one */
	unsigned clients;
};
/* Every cgroup that is not at rest or has clients, once for each that judges it: what is live, and what is in the
 * shadow. */
void table_each_cgroup(struct table *table,
		       void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata);
