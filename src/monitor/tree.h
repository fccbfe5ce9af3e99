/* SPDX-License-Identifier: MIT */
/*
 * tree.h - finding the cgroups of a pattern that stall now
 *
 * When a child's `some` grows, so do its parents', if less: they are averages over the CPUs that
 * were not idle. So one sensitive alarm at the fixed part of a pattern is enough for all below, and
 * only after an alarm a sweep walks down, following growth, and reports the cgroups that match and
 * stall now.
 *
 * Nothing stays open between sweeps. What stays is a table of inodes and totals, 40 bytes for each
 * cgroup that was seen, so that the next sweep knows what grew. The kernfs inode number names a
 * cgroup for its whole life and comes with readdir.
 */
#pragma once

#include "core/cgpattern.h"
#include "core/psi.h"
#include "core/trigger.h"
#include "kernel/cgroup.h"

struct tree;

#define TREE_OOM_UNKNOWN UINT32_MAX

/* A cgroup that stalls. */
struct tree_finding {
	const char *path; /* normalised; valid during the call */
	uint64_t inode;
	struct psi psi;		     /* now */
	uint64_t baseline_usec;	     /* since then, at most early's window ago ... */
	uint64_t baseline_some_usec; /* ... it grew from this, as far as can be told */
	uint32_t oom_known; /* of the oom and oom_kill that its memory.events counts, so many are no
			       news; TREE_OOM_UNKNOWN: none of those that it counts now is */
};
typedef void tree_found_fn(void *userdata, const struct tree_finding *finding);

struct tree_sweep {
	bool survey; /* look at everything below, find nothing: what stalled or was killed before is
			no news later */
	bool look_for_oom;
	/* results */
	unsigned seen, found;
	bool baseline; /* some totals were new or old: what they grew by could not be told. Sweep
			  again */
	uint64_t duration_usec;
};

/* `early`: what counts as stalling. `pattern` and `cgroups` stay as long as the tree. Errors:
 * -ENOMEM. */
int tree_new(const struct cgroups *cgroups, const struct cgpattern *pattern,
	     const struct trigger *early, struct tree **ret);
struct tree *tree_free(struct tree *tree);
DEFINE_CLEANUP(struct tree *, tree_free);

/* Errors: -ENOENT: the fixed part is not there; -EMFILE; -ENOMEM. What vanishes during the walk is
 * no error. */
int tree_sweep(struct tree *tree, struct tree_sweep *sweep, uint64_t now_usec, tree_found_fn *found,
	       void *userdata);

/*
 * All cgroups in the pattern's reach (those that match, and those that may have such below them) below `from`; NULL: the fixed
 * part. Found is what `counts` says so of and matches, as in a sweep. Nothing is remembered. Errors: as there.
 */
typedef bool tree_counts_fn(void *userdata, const char *path, uint64_t inode);
int tree_list(struct tree *tree, const char *from, tree_counts_fn *counts, tree_found_fn *found,
	      void *userdata);

/* Of this cgroup, `oom` kills are no news: its own monitor saw them. One not in the table: nothing. */
void tree_know_oom(struct tree *tree, uint64_t inode, uint32_t oom);

/* How many cgroups the table knows. */
size_t tree_known(const struct tree *tree);
