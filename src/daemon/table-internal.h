/* SPDX-License-Identifier: MIT */
/*
 * table-internal.h - between the files of the table; each calls those above it in this list:
 *
 *   table-records.c   the cgroups with subscribers: what is told to which of them
 *   table-watch.c     one watch: armed, waiting for its cgroup, or failed
 *   table.c           which watch covers a cgroup; subscribing; another configuration; views
 */
#pragma once

#include "core/cgpattern.h"
#include "core/scan.h"
#include "daemon/table.h"

#define BUCKETS \
	1024 /* 8 KiB; sixteen records in each where ClientsMax= of them are in as many cgroups */
#define WHY_MAX 256
#define LEVELS_MAX 16 /* of a path; an absent cgroup deeper than that is looked for every 10 s */

struct record {
	SLIST_ENTRY(record) next; /* in its bucket */
	uint32_t hash;
	bool known; /* what follows is as its subscribers were told, or found it when the first came */
	bool critical;
	enum psb_available available;
	uint64_t told_usec;
	struct watch *watch;
	LIST_HEAD(, subscriber) subscribers;
	unsigned shown; /* in the view with that number */
	char path[];
};

/* How often a watch judged one of its cgroups so. */
struct tally {
	uint64_t low, critical, neutral, high;
};

struct watch {
	struct watch *next;
	struct table *table;
	struct watch *
		base; /* of one for terms that clients brought: the watch that covers them; else NULL */
	unsigned id;
	unsigned subscribers;
	bool configured;
	struct settings settings;
	struct cgpattern *pattern; /* NULL: one cgroup */
	psb_watch *psb;		   /* WATCHING only */
	psb_callback_fn *told;
	enum watch_state state;
	char why[WHY_MAX];
	sd_event_source *retry; /* a timer; set when not WATCHING, but for one that listens */
	uint64_t retry_usec;
	sd_event_source
		*listeners[LEVELS_MAX]; /* ABSENT: on each directory of its path that is there */
	struct tally tally;
	bool gone;   /* its one cgroup was removed, and that is not dealt with yet */
	bool ending; /* out of the list, or about to be */
	char path[];
};

struct table {
	struct table_options options;
	const struct config *config;
	struct watch *watches; /* configured ones first, in their order */
	unsigned last_id, last_view;
	SLIST_HEAD(, record) buckets[BUCKETS]; /* by the hash of the path */
	size_t record_count;
	sd_event_source *chores; /* a timer: what may not be done inside a notification */
	char why[WHY_MAX];
};

/* ---- table-records.c -------------------------------------------------------------------------- */

/* Errors: -ENOMEM. */
int record_get(struct watch *watch, const char *path, struct record **ret);
/* Frees it if it has no subscribers. */
void record_put(struct record *record);
void record_add(struct record *record, struct subscriber *subscriber);
void record_remove(struct subscriber *subscriber);
/* The first of the bucket that has all records of that path, and others; NULL: none. */
struct record *records_like(const struct table *table, const char *path);
/* The first subscriber came: `last` is what an earlier process told it; NULL: nothing. */
void record_learn(struct record *record, const struct psb_notification *last);
/* What was told goes on in a watch that has not judged it yet. */
void record_resume(struct record *record);
/* As was told, with the watch's latest numbers. */
void record_present(const struct record *record, struct psb_notification *ret);
/* `watch` was notified: so are the subscribers of that cgroup and of those above it. */
void records_tell(struct watch *watch, const struct psb_notification *notification);

/* ---- table-watch.c ---------------------------------------------------------------------------- */

/* `told` gets the notifications, its userdata is the watch. It is FAILED until it is started. Errors: -ENOMEM. */
int watch_new(struct table *table, const char *path, const struct settings *settings,
	      psb_callback_fn *told, struct watch **ret);
/* Out of the table's list and without subscribers. */
void watch_end(struct watch *watch);
/* Arm it, or say why not and when again. Errors: as psb_watch_new(); it is ABSENT or FAILED then. */
int watch_start(struct watch *watch);
void watch_disarm(struct watch *watch);
/* The fixed part of what it watches. */
const char *watch_fixed(const struct watch *watch);
