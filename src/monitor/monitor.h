/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - one cgroup under observation: a source, samples, the policy
 *
 * A monitor belongs to an owner (a watch, or a pattern for each cgroup it found) and tells it three
 * things. All of it runs on the loop's thread, but monitor_new() and monitor_first_look(), which run
 * before anything is attached, so that arming errors reach the caller.
 */
#pragma once

#include "core/forecast.h"
#include "core/policy.h"
#include "core/psi.h"
#include "core/trace.h"
#include "core/wire.h"
#include "monitor/ladder.h"
#include "kernel/memory.h"
#include "monitor/context.h"
#include "monitor/effect.h"
#include "monitor/label.h"

struct monitor;

struct monitor_owner {
	/* The level was judged anew, or the effect of a Low is known: `notification` is complete but for `cgroup`; may
	 * be NULL: nothing is told, nor measured. */
	void (*told)(struct monitor *monitor, const struct psb_notification *notification);
	/* The cgroup was removed. Detach and free. */
	void (*gone)(struct monitor *monitor, const struct psb_notification *notification);
	/* It moved to another rung; may be NULL. */
	void (*moved)(struct monitor *monitor, const struct psb_notification *notification);
	/* It rests: High, nothing to sample; only alarms can wake it; may be NULL. */
	void (*rests)(struct monitor *monitor);
	/* Something was looked at, and what came of it was told; may be NULL. */
	void (*sampled)(struct monitor *monitor, const struct psb_notification *sample);
	/* A step is done: counters changed. */
	void (*stepped)(struct monitor *monitor);
	/* Nothing of the loop refers to it any more: monitor_free() is allowed. */
	void (*detached)(struct monitor *monitor);
};

/* What comes from psibridged (monitor-records.c). */
struct records {
	struct wire_record record; /* as far as it came */
	size_t filled;
	bool begun;		   /* no more single bytes */
	bool following;		   /* its levels are told; else the policy's own rules hold */
	uint64_t answer_usec;	   /* a WELCOME must have come by then; 0: nothing is waited for */
	uint64_t welcome_usec;	   /* when the first one came; 0: none */
	uint64_t guard_usec;	   /* no repeat before: that Low was judged and told here */
	bool takes_reports;	   /* it does ... */
	bool owes_report;	   /* ... and may be sent one, for it told a Low since the last */
	struct wire_report report; /* what was not sent yet */
	/* what it said last */
	enum level level;
	bool critical;
	uint64_t since_usec;
};

enum { OP_TRIGGER, OP_EVENTS, OP_STREAM, OPS };

struct monitor {
	const struct monitor_owner *owner;
	void *userdata;
	struct monitor_context *context;
	struct label *label;
	const struct cgroups *cgroups;
	const char *v2_path;	     /* NULL: not known */
	uint64_t inode;		     /* of the cgroup; 0: none is known */
	const struct target *target; /* for climbing the ladder again; NULL: it never does */
	unsigned rungs;		     /* that climbing may use */
	struct trigger early;
	struct memory memory;
	struct policy policy;

	struct monitor_op {
		struct loop_op op;
		struct monitor *monitor;
	} ops[OPS];
	struct loop_timer timer;
	struct loop_work work;
	uint64_t deadline_usec; /* the policy's */
	bool listening;		/* to memory.events, as the policy says */
	bool events_deaf;	/* the loop cannot poll memory.events: it is read on the clock */
	bool lost_cgroup;
	bool detaching; /* monitor_detach() was called ... */
	bool leaving; /* ... and its work has run: the last operation that is released is the end */

	unsigned broke; /* the source, why is in source.why: the rungs to try now; 0: it works */
	bool has_next; /* `next` is taken when `source` is out of the loop; else, if it is open, it is
			     psibridged's and has not answered yet */
	bool events_lost; /* memory.events ended, and may come back */
	uint64_t climb_usec, climb_pace_usec;

	struct psi psi; /* the last sample */
	struct memory_events events;
	uint64_t sampled_usec;
	uint64_t told_some_usec; /* `some` at the last notification */
	uint64_t polling_usec;	 /* alarms are not to be trusted until then; 0: they are */
	uint64_t polling_pace_usec, distrust_usec;
	unsigned suspicions;   /* that an alarm was lost */
	struct memory_use use; /* at the last notification, and when it was read: */
	uint64_t use_usec;
	struct memory_use
		kept; /* ... without inactive page cache, when headroom was last asked for */
	struct memory_cause cause; /* of the last Low or Neutral */
	uint64_t marked_usec;	   /* the last memory_mark() while calm */
	uint64_t hear_usec; /* the stream is not listened to until then; 0: it is; USEC_NEVER: it broke */
	uint64_t heard_usec, pause_usec; /* when it last spoke, and how long was paused then */
	uint64_t fifo_usec;		 /* when to look whether the FIFO is still there */
	struct records records;
	struct psb_stats stats;
	struct effect effect; /* of the last Low */
	/* Last, for each has room for a path: all that an alarm touches lies together, and is
	 * seldom in the caches. */
	struct source source, next;
	/* of each level of `memory`, and when to look ahead next; USEC_NEVER: with any other sample */
	struct forecast forecasts[MEMORY_LEVELS_MAX];
	uint64_t ahead_usec, looked_ahead_usec;
	unsigned nearest; /* whose limit is reached first */
	bool foreseen;	  /* its owner looks ahead: monitor_foresee() */
};

/*
 * Takes over `source`, and a reference to `label`, whose path is that of the cgroup (lock not
 * held). `cgroups` stays as long as the monitor. `has_cgroup`: there is a v2 directory for it;
 * `v1_cgroup` may be NULL, as may `shared`, of memory_open_shared(). Set `target` and `rungs` to let it climb.
 */
int monitor_new(struct monitor_context *context, const struct monitor_owner *owner, void *userdata,
		const struct policy_options *options, const struct cgroups *cgroups,
		struct label *label, bool has_cgroup, const char *v1_cgroup,
		struct memory_shared **shared, struct source *source, struct monitor **ret);

/* The baseline, taken on the caller's thread. Errors: -ENODEV. */
int monitor_first_look(struct monitor *monitor);

/* On the loop's thread, instead of monitor_first_look() and monitor_attach(): begin as after an alarm,
 * from a baseline that a sweep of a tree took. `known`: events that are no news; NULL: those that are
 * counted now. */
void monitor_start_alarmed(struct monitor *monitor, uint64_t baseline_usec,
			   const struct psi *baseline, const struct memory_events *known);

void monitor_attach(struct monitor *monitor);
/* Is it High, with nothing to be sampled? */
bool monitor_is_resting(const struct monitor *monitor);
/* Its cgroup is gone, others found: owner->gone. */
void monitor_lose_cgroup(struct monitor *monitor);
/* owner->detached follows from a later dispatch. */
void monitor_detach(struct monitor *monitor);
struct monitor *monitor_free(struct monitor *monitor);
DEFINE_CLEANUP(struct monitor *, monitor_free);

/* The same for a cgroup that nothing is known of: what it stalled before is no news. Errors: -ENODEV,
 * and then the owner is not told. */
int monitor_start_calm(struct monitor *monitor);

/* The level was judged elsewhere. */
void monitor_signal(struct monitor *monitor, enum level level, bool critical, enum reason reason);
/* The limit of it, or of an ancestor (its path is `length` long), is reached in that time. */
void monitor_foresee(struct monitor *monitor, uint64_t left_usec, size_t length);
/* The level was judged and told elsewhere, at that time: go on from there. */
void monitor_resume(struct monitor *monitor, enum level level, bool critical, uint64_t told_usec);

/* The host freed something by itself, or because of a Low: more than 0 bytes. */
void monitor_report(struct monitor *monitor, uint64_t bytes, uint64_t usec);

/* The present state as a notification with that reason. */
void monitor_present(const struct monitor *monitor, enum psb_reason reason,
		     struct psb_notification *ret);
/* The same without reading anything: memory in use is as of the last notification. */
void monitor_describe(const struct monitor *monitor, enum psb_reason reason,
		      struct psb_notification *ret);
