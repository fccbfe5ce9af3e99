/* SPDX-License-Identifier: MIT */
/*
 * grove-internal.h - between grove.c (the trunk, sweeps, life) and grove-member.c (the cgroups under
 * observation)
 */
#pragma once

#include "library/grove.h"

#include "kernel/birth.h"
#include "kernel/tree.h"

struct member {
	struct member *next;
	struct grove *grove;
	uint64_t inode;
	uint64_t number; /* of those ever made: descending along the list */
	struct meter *meter;
	bool leaving, told;
};

struct grove {
	struct psb_watch *watch;
	struct cgpattern *pattern;
	struct tree *tree;
	struct meter *trunk;
	unsigned mask;
	struct member *members;
	unsigned member_count;
	uint64_t made, freed;	  /* members, ever */
	struct loop_timer timer;  /* the next sweep, or the next try to plant a trunk */
	struct birth birth;	  /* of the next trunk */
	uint64_t swept_some_usec; /* the trunk's total at the last sweep */
	unsigned pause_factor;
	uint64_t retry_usec;
	bool detaching, birth_busy;
	struct psb_stats past; /* of members that were dropped */
	unsigned sweeps;
};

/* ---- grove.c ---- */

/* Detaching, and nothing of it is in the loop any more: free the watch. */
void grove_finish_detach(struct grove *grove);

/* ---- grove-member.c ---- */

/* Not in the list yet. Errors: -ENOENT, -ENODEV (the cgroup is gone), what opening says, -ENOMEM. */
int member_new(struct grove *grove, const char *path, uint64_t inode, struct member **ret);
void member_add(struct grove *grove, struct member *member);
void member_drop(struct member *member);
