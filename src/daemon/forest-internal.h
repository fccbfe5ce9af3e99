/* SPDX-License-Identifier: MIT */
/*
 * forest-internal.h - between forest.c (trees and lenses: which watches there are), forest-place.c
 * (places and seats: which client is told what) and forest-view.c (for status)
 */
#pragma once

#include "core/cgpattern.h"
#include "daemon/forest.h"
#include "kernel/pathwait.h"

#define LENSES_MAX 8			  /* of one tree: sets of terms that clients may bring */
#define OTHER_TREES_MAX 256		  /* made for clients that no [Watch] matches */
#define RETRY_MIN_USEC (1 * USEC_PER_SEC) /* after a failure, then twice as long each time */
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define TREE_WHY_MAX 256

struct place {
	struct place *next; /* in its bucket */
	uint32_t hash;
	struct lens *lens;
	struct seat *seats;
	/* as its seats were told last, or found it when the first sat down */
	bool known;
	enum psb_available available;
	bool critical;
	uint64_t told_usec;
	char path[];
};

struct lens {
	struct lens *next; /* of the tree */
	struct tree *tree;
	struct settings settings;
	bool own_terms; /* brought by clients: goes with the last of them */
	unsigned seats;
	psb_watch *watch; /* NULL: absent or failed */
};

/* How often a tree judged one of its cgroups so. */
struct tally {
	uint64_t low, critical, neutral, high;
};

struct tree {
	struct tree *next;
	struct forest *forest;
	unsigned id;
	bool configured;
	struct settings settings;
	struct cgpattern *pattern; /* NULL: one cgroup */
	enum tree_state state;
	char why[TREE_WHY_MAX];
	struct lens *lenses; /* the first is the tree's own */
	struct path_wait path_wait;
	struct loop_timer retry;
	uint64_t retry_usec;
	struct tally tally;
	bool gone;   /* its one cgroup was removed, and that is not dealt with yet */
	bool ending; /* out of the list; waits for path_wait to be released */
	char path[];
};

struct forest {
	struct forest_options options;
	const struct config *config;
	struct tree *trees; /* configured ones first, in their order */
	unsigned tree_count, other_count, last_id;
	struct place **buckets;
	unsigned bucket_count, place_count;
	struct loop_timer chores; /* what may not be done inside a notification */
	char why[TREE_WHY_MAX];
};

/* ---- forest-tree.c ---- */

int forest_tree_new(struct forest *forest, const char *path, bool configured,
		    const struct settings *settings, struct tree **ret);
/* It is out of the forest's list and has no seats. Freed when the loop has released it. */
void forest_tree_end(struct tree *tree);
/* Arm all its lenses, or say why not and when again. */
void forest_tree_start(struct tree *tree);
void forest_tree_disarm(struct tree *tree);
/* The fixed part of what it watches. */
const char *forest_tree_fixed(const struct tree *tree);
/* Its one cgroup was removed; the rest is done later. */
void forest_tree_lost(struct tree *tree);
/* The lens for those terms, made if need be. Errors: -EUSERS, -ENOMEM, as psb_watch_new(). */
int lens_get(struct tree *tree, const struct policy_options *terms, struct lens **ret);
void lens_free(struct lens *lens);

/* ---- forest.c ---- */

/* Where clients in `path` belong: the most specific tree that covers it; NULL: none. */
struct tree *forest_find_tree(const struct forest *forest, const char *path);
/* Is it the most specific one of its kind (live, or in the shadow)? A pattern's watch measures
 * cgroups that a more specific one judges, too. */
bool forest_tree_judges(const struct tree *tree, const char *path);

/* ---- forest-place.c ---- */

/* The callback of every watch: userdata is the lens. */
void lens_told(const struct psb_notification *notification, void *userdata);
/* Errors: -ENOMEM. */
int place_get(struct lens *lens, const char *path, struct place **ret);
/* The bucket that has all places of that path, and others. NULL: none. */
const struct place *places_like(const struct forest *forest, const char *path);
/* Frees it if it has no seats. */
void place_put(struct place *place);
void place_seat(struct place *place, struct seat *seat);
void place_unseat(struct seat *seat);
/* What its seats were told goes on in a watch that has not judged it yet. */
void place_resume(struct place *place);
/* The first seat is taken: `last` is what an earlier process told it; NULL: nothing. */
void place_learn(struct place *place, const struct psb_notification *last);
/* As seats were told, with the watch's latest numbers. */
void place_present(const struct place *place, struct psb_notification *ret);

/* ---- forest-view.c ---- */

void forest_news(struct forest *forest, const struct tree *tree,
		 const struct psb_notification *notification);
