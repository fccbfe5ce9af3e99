/* SPDX-License-Identifier: MIT */
/*
 * forest.h - which watch serves which client
 *
 *   tree    what one [Watch PATTERN] asks for, or what was made for clients that none matches
 *   lens    one psb_watch of a tree: its thresholds. The first has the tree's own; clients that
 *           bring their own share one for each set of terms
 *   place   one cgroup that clients are in, seen through one lens
 *   seat    a client's membership in a place
 *
 * All of it runs on the daemon's one thread. Nothing is allocated between a notification and the
 * seats' told().
 *
 * The pressure of a cgroup includes that of the cgroups below it: a place is Low when it or
 * something below is.
 */
#pragma once

#include "core/wire.h"
#include "daemon/config.h"
#include "daemon/journal.h"
#include "kernel/cgroup.h"
#include "kernel/loop.h"
#include "psibridge/tools.h"

struct forest;
struct seat;

/* The functions of a client. */
struct seat_class {
	/* `notification` is complete, `cgroup` is the place's. Called from the bridge's dispatch. */
	void (*told)(struct seat *seat, const struct psb_notification *notification);
	/* The terms it brought; all zero: none. Asked when it has to move. */
	void (*terms)(const struct seat *seat, struct policy_options *ret);
};

/* Embedded in a client; `class` is set by it. */
struct seat {
	const struct seat_class *class;
	struct place *place;
	struct seat *next, **back;
};

/*
 * News of the tree with that id: `notification` is NULL when trees came, went or changed their state.
 * Called from within the bridge's dispatch, after all seats were told, or from within forest_apply();
 * keep it short and do the rest from a timer.
 */
typedef void forest_news_fn(unsigned tree, const struct psb_notification *notification,
			    void *userdata);

struct forest_options {
	struct loop *loop;
	struct psb_bridge *bridge; /* dispatched by the caller, on this thread */
	struct journal *journal;
	const struct cgroups *cgroups;
	forest_news_fn *news; /* may be NULL */
	void *news_userdata;
};

int forest_new(const struct forest_options *options, struct forest **ret);
/* Ends all watches; seats must be empty. */
struct forest *forest_free(struct forest *forest);
DEFINE_CLEANUP(struct forest *, forest_free);

/*
 * Make the trees those of `config`, which stays the caller's and must stay. Trees that did not
 * change keep their watches; seats move to where they belong now, and a level that was told goes
 * on. A watch that cannot be armed is logged and shown as failed, and the rest goes on.
 * Errors: -ENOMEM.
 */
int forest_apply(struct forest *forest, const struct config *config);

/*
 * Take a seat for `cgroup` (normalised). `terms` may be NULL. `last` is what the client was told by
 * an earlier process, from which its level goes on; NULL: nothing. Errors: -ENOENT (no such cgroup,
 * or none that this daemon serves), -EUSERS (too many different terms; try without), -ENOMEM, and
 * what psb_watch_new() says. *ret_why, if not NULL, gets words (a constant string, or one that
 * lives until the next call).
 */
int forest_sit(struct forest *forest, struct seat *seat, const char *cgroup,
	       const struct policy_options *terms, const struct psb_notification *last,
	       const char **ret_why);
void forest_rise(struct seat *seat);
/* Its cgroup, into buf[CGPATH_MAX]; "" if it could not be placed anywhere. */
void forest_path(const struct seat *seat, char *buf);
/* The present state of the seat's place, as a notification. */
void forest_present(const struct seat *seat, struct psb_notification *ret);
/* Is it in shadow: then nothing is delivered? */
bool forest_in_shadow(const struct seat *seat);

/* Why the watch that covers it cannot be armed; NULL: it can, or its cgroup is not there yet. */
const char *forest_failure(const struct seat *seat);

/*
 * Behave as if `cgroup` had been judged so. Errors: -ENOENT (no such cgroup),
 * -ENODATA (no watch covers it now), -EINVAL.
 */
int forest_simulate(struct forest *forest, const char *cgroup, enum psb_available available,
		    bool critical);

/* The watch that judges it, of those that are not in the shadow: its id; 0: none. */
unsigned forest_judge(const struct forest *forest, const char *cgroup);

/* ---- for control.c --------------------------------------------------------------------------- */

enum tree_state { TREE_WATCHING, TREE_ABSENT, TREE_FAILED };

struct tree_view {
	unsigned id;	  /* stable as long as the tree lives, also across reloads */
	const char *path; /* the pattern, or the cgroup */
	bool configured;  /* by [Watch]; else made for clients */
	enum tree_state state;
	const char *why; /* ABSENT, FAILED: in words; else "" */
	struct settings settings;
	enum psb_available available; /* the lowest of its cgroups */
	bool critical;
	unsigned clients, lenses;
	struct psb_source source; /* WATCHING only, like stats */
	struct psb_stats stats;
};

/* In the order of the configuration. Returns false behind the last. */
bool forest_tree(struct forest *forest, size_t index, struct tree_view *ret);

struct cgroup_view {
	const struct psb_notification *present;
	unsigned tree;	/* its id */
	bool candidate; /* what a watch in the shadow makes of it, beside the live one */
	unsigned clients;
};
/* Every cgroup that is not at rest or has clients, once for each that judges it: what is live, and
 * what is in the shadow. */
void forest_each_cgroup(struct forest *forest,
			void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata);
