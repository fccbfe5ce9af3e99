/* SPDX-License-Identifier: MIT */
/*
 * table-watch.h - one watch of the table: armed, waiting for its cgroup, or failed
 */
#pragma once

#include "core/cgpattern.h"
#include "daemon/table.h"

struct watch_owner {
	struct table_options options;
	psb_callback_fn *told;		      /* its userdata is the watch */
	void (*changed)(struct watch *watch); /* its state, from watch_start() */
};

struct watch {
	struct watch *next; /* this and what follows is the table's */
	struct watch *
		base; /* of one for terms that clients brought: the watch that covers them; else NULL */
	LIST_HEAD(, subscriber) list;
	unsigned id, subscribers;
	bool configured;
	bool ending; /* out of the list, or about to be */
	uint64_t low, critical, neutral,
		high; /* how often it judged one of its cgroups so, since: */
	uint64_t made_usec;
	uint64_t low_usec,
		low_since_usec; /* how long one of them or more was Low before that; 0: none is */
	uint64_t low_last_usec; /* the last Low */

	struct watch_owner *owner;
	struct settings settings;
	struct cgpattern *pattern; /* NULL: one cgroup */
	psb_watch *psb;		   /* WATCHING only */
	enum watch_state state;
	char why[256];
	sd_event_source *retry; /* a timer for watch_start(); set while it is FAILED */
	sd_event_source *made,
		*removed; /* while it is ABSENT: a directory that it waits for, or stands in */
	char path[];
};

/* It is FAILED until it is started, without a timer. Errors: -ENOMEM. */
int watch_new(struct watch_owner *owner, const char *path, const struct settings *settings,
	      struct watch **ret);
/* Without subscribers. */
void watch_end(struct watch *watch);
/* Arm it, or say why not and when again. Errors: as psb_watch_new(); it is ABSENT or FAILED then. */
int watch_start(struct watch *watch);
/* It judged one of its cgroups so. */
void watch_count(struct watch *watch, const struct psb_notification *n);
/* For how long one of its cgroups or more was Low, until now. */
uint64_t watch_low_usec(const struct watch *watch);
/* The fixed part of what it watches. */
const char *watch_fixed(const struct watch *watch);
