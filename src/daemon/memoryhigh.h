/* SPDX-License-Identifier: MIT */
/*
 * memoryhigh.h - MemoryHighAt=: memory.high where there is only memory.max
 *
 * Of each cgroup that a live [Watch] with MemoryHighAt= judges, that has a memory.max, and whose memory.high is "max". What was
 * set is taken back, where it still stands there, when it does not follow from the configuration any more, and at the end. It is
 * remembered in the state that outlives the process (state.h), so the next one takes back, or keeps, what a killed one set.
 */
#pragma once

#include "daemon/config.h"
#include "daemon/event.h"
#include "daemon/journal.h"
#include "daemon/state.h"
#include "kernel/cgroup.h"

struct memoryhigh;

struct memoryhigh_options {
	sd_event *event;
	struct journal *journal;
	const struct cgroups *cgroups;
	struct high_states *states;
	/* Is it the live [Watch] of that path that judges `cgroup`? */
	bool (*judges)(void *userdata, const char *cgroup, const char *path);
	void *userdata;
};

/* Errors: -ENOMEM. */
int memoryhigh_new(const struct memoryhigh_options *options, struct memoryhigh **ret);
/* Takes everything back. */
struct memoryhigh *memoryhigh_free(struct memoryhigh *high);
/* Make it those of `config`, which stays the caller's and must stay; the watches are those of `config` already. */
void memoryhigh_apply(struct memoryhigh *high, const struct config *config);

struct memoryhigh_view {
	unsigned percent;     /* MemoryHighAt=; 0: off */
	unsigned set, failed; /* cgroups that have it; that cannot */
	const char *why;      /* in words, of one that cannot; else "" */
};
/* Of the live [Watch] of that path. */
void memoryhigh_view(const struct memoryhigh *high, const char *path, struct memoryhigh_view *ret);
