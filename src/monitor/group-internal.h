/* SPDX-License-Identifier: MIT */
/*
 * group-internal.h - group-child.c (the cgroups under observation), for group.c (the root, sweeps,
 * life)
 */
#pragma once

#include "monitor/group.h"

#include "kernel/pathwait.h"
#include "monitor/tree.h"

struct child {
	struct child *next;
	struct group *group;
	uint64_t inode;
	uint64_t number; /* of those ever made: descending along the list */
	struct monitor *monitor;
	bool leaving, told;
};

struct group {
	struct monitor_context *context;
	const struct group_owner *owner;
	void *userdata;
	const struct policy_options *options; /* of its children */
	const struct target *target;
	struct label *label; /* the root's path */
	struct cgpattern *pattern;
	struct tree *tree;
	struct monitor *root;
	unsigned mask;
	struct child *children;
	unsigned child_count;
	uint64_t made, freed;	    /* children, ever */
	struct loop_timer timer;    /* the next sweep */
	struct path_wait path_wait; /* of the next root */
	uint64_t swept_some_usec;   /* the root's total at the last sweep ... */
	uint64_t swept_killed;	    /* ... and its count of kills */
	unsigned pause_factor;
	bool detaching, path_wait_busy;
	struct psb_stats past; /* of children that were dropped */
	unsigned sweeps;
	void (*child_ended)(struct group *group); /* one less is in the list */
};

/* Not in the list yet. Errors: -ENOENT, -ENODEV (the cgroup is gone), what opening says, -ENOMEM. */
int child_new(struct group *group, const char *path, uint64_t inode, struct child **ret);
/* Not in the list any more, or not yet; not in the loop. */
void child_free(struct child *child);
void child_add(struct group *group, struct child *child);
void child_drop(struct child *child);
