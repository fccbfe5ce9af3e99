/* SPDX-License-Identifier: MIT */
/*
 * meter.h - one cgroup under observation: a source, samples, the policy
 *
 * A meter belongs to an owner (a watch, or a pattern for each cgroup it found) and tells it three
 * things. All of it runs on the loop's thread, but meter_new() and meter_first_look(), which run
 * before anything is attached, so that arming errors reach the caller.
 */
#pragma once

#include "core/policy.h"
#include "core/psi.h"
#include "kernel/ladder.h"
#include "kernel/memory.h"
#include "library/dispatch.h"

struct meter;

struct meter_owner {
	/* The level was judged anew: `notification` is complete but for `cgroup`. */
	void (*told)(struct meter *meter, const struct psb_notification *notification);
	/* The cgroup was removed. Detach and free. */
	void (*gone)(struct meter *meter, const struct psb_notification *notification);
	/* It moved to another rung; may be NULL. */
	void (*moved)(struct meter *meter, const struct psb_notification *notification);
	/* It rests: High, nothing to sample; only alarms can wake it; may be NULL. */
	void (*rests)(struct meter *meter);
	/* It went round once: counters changed. */
	void (*stepped)(struct meter *meter);
	/* Nothing of the loop refers to it any more: meter_free() is allowed. */
	void (*detached)(struct meter *meter);
};

/* What comes from psibridged (meter-records.c). */
struct records {
	struct wire_record record; /* as far as it came */
	size_t filled;
	bool begun;	       /* no more single bytes */
	bool welcomed;	       /* it told us where we stand */
	bool following;	       /* its judgement is ours; else the policy's own rules hold */
	uint64_t answer_usec;  /* a WELCOME must have come by then; 0: nothing is waited for */
	uint64_t welcome_usec; /* when the first one came */
	uint64_t guard_usec;   /* no repeat before: we told that Low ourselves */
	/* what it said last */
	enum level level;
	bool critical;
	uint64_t since_usec;
};

struct meter {
	const struct meter_owner *owner;
	void *userdata;
	struct psb_bridge *bridge;
	struct label *label;
	const struct cgroups *cgroups;
	const char *v2_path;	     /* NULL: not known */
	const struct target *target; /* for climbing the ladder again; NULL: it never does */
	unsigned rungs;		     /* that climbing may use */
	struct trigger early;

	bool has_next;
	struct memory memory;
	struct policy policy;

	struct loop_op trigger_op, events_op, stream_op;
	struct loop_timer timer;
	struct loop_work work;
	uint64_t deadline_usec; /* the policy's */
	bool detaching;		/* meter_detach() was called ... */
	bool leaving; /* ... and its work has run: the last operation that is released is the end */
	bool lost_cgroup, listening;

	struct psi psi; /* the last sample */
	struct memory_events events;
	uint64_t sampled_usec;
	uint64_t told_some_usec; /* `some` at the last notification */
	uint64_t polling_usec;	 /* alarms are not to be trusted until then; 0: they are */
	uint64_t polling_pace_usec, distrust_usec;
	unsigned suspicions; /* that an alarm was lost; see meter-source.c */
	uint64_t climb_usec, climb_pace_usec;
	uint64_t effect_usec, effect_bytes; /* due time and use at the last Low */
	uint64_t current_usec,
		current_bytes; /* use at the last notification, and when it was read */
	uint64_t limit_bytes;
	char stream_buf[64];
	struct records records;
	struct psb_stats stats;
	/* Last, for each has room for a path: all that an alarm touches lies together, and is
	 * seldom in the caches. */
	struct source source, next;
};

/*
 * Takes over `source`, and a reference to `label`, whose path is that of the cgroup (lock not
 * held). `cgroups` stays as long as the meter. `has_cgroup`: there is a v2 directory for it;
 * `v1_cgroup` may be NULL. Set `target` and `rungs` to let it climb.
 */
int meter_new(struct psb_bridge *bridge, const struct meter_owner *owner, void *userdata,
	      const struct policy_options *options, const struct cgroups *cgroups,
	      struct label *label, bool has_cgroup, const char *v1_cgroup, struct source *source,
	      struct meter **ret);

/* The baseline, taken on the caller's thread. Errors: -ENODEV. */
int meter_first_look(struct meter *meter);

/* On the loop's thread, instead of meter_first_look() and meter_attach(): begin as after an alarm,
 * from a baseline that somebody else took (a sweep of a tree). */
void meter_start_alarmed(struct meter *meter, uint64_t baseline_usec, const struct psi *baseline,
			 bool oom);

void meter_attach(struct meter *meter);
/* Is it High, with nothing to be sampled? */
bool meter_is_resting(const struct meter *meter);
/* owner->detached follows from a later dispatch. */
void meter_detach(struct meter *meter);
struct meter *meter_free(struct meter *meter);
DEFINE_CLEANUP(struct meter *, meter_free);

/* The same for a cgroup that nothing is known of: what it stalled before is no news. Errors: -ENODEV,
 * and then nobody was told. */
int meter_start_calm(struct meter *meter);

/* Somebody else judged. */
void meter_signal(struct meter *meter, enum level level, bool critical, enum reason reason);
/* Somebody else judged and told it: go on from there. */
void meter_resume(struct meter *meter, enum level level, bool critical);

/* The present state as a notification with that reason. */
void meter_present(const struct meter *meter, enum psb_reason reason, struct psb_notification *ret);
/* The same without reading anything: memory in use is as of the last notification. */
void meter_describe(const struct meter *meter, enum psb_reason reason,
		    struct psb_notification *ret);
