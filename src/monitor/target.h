/* SPDX-License-Identifier: MIT */
/*
 * target.h - what is to be watched, resolved once, before any rung is tried
 *
 * A target is a cgroup (named, of a process, of a unit, our own), or what systemd's protocol names
 * (docs/MEMORY_PRESSURE.md of systemd): $MEMORY_PRESSURE_WATCH is a path to a PSI file, a FIFO, an
 * AF_UNIX stream socket, or /dev/null for "off"; $MEMORY_PRESSURE_WRITE is base64 of what to write
 * to it. The variables count only where nothing else was named, and where they lead nowhere the
 * ladder's first rung fails, no more: what the path is, is looked at each time that rung is tried.
 */
#pragma once

#include "core/wire.h"
#include "kernel/cgroup.h"

#define WHY_MAX 320
#define TARGET_WRITE_MAX 256

struct target_request {
	const char *proc;   /* "/proc" */
	const char *cgroup; /* at most one of these; none: the protocol's variables, or our own
			       cgroup */
	int64_t pid;
	const char *unit;
	const char *source;
	const void *source_write;
	size_t source_write_size;
};

enum stream_kind { STREAM_NONE, STREAM_PSI_FILE, STREAM_FIFO, STREAM_SOCKET };

struct target {
	struct cgroups cgroups;
	char cgroup[CGPATH_MAX];    /* v2 path; "/" where it can't be known */
	char v1_cgroup[CGPATH_MAX]; /* "" if there is none, or it can't be known */
	bool has_cgroup;	    /* there is a cgroup2 directory for it */
	bool own;      /* our own, so that the machine's pressure may stand in for it */
	int own_error; /* where that was not found: what cgroup_of_pid() said */
	/* the protocol */
	bool has_stream; /* a source was named, by the caller or by the variables */
	bool from_environment;
	bool foreign_unit; /* the variables name another cgroup's file: inherited from its unit */
	char stream_path[CGPATH_MAX]; /* "": the variables are invalid, and stream_why says why */
	char stream_why[WHY_MAX];
	char write[TARGET_WRITE_MAX];
	size_t write_size;
	bool has_write_trigger; /* `write` is a PSI trigger: */
	struct trigger write_trigger;
	struct policy_options terms; /* what the caller asks of a psibridged, and fills in */
};

/*
 * Errors: -EINVAL (more than one target, an invalid path, a `source` that is no pressure
 * source), -ENOENT (no such cgroup, unit or `source`; no cgroup2), -ESRCH (no such process), -ENODATA
 * (/dev/null: switched off), -EACCES, -ENODEV. why[WHY_MAX] gets one line in words on failure; on
 * success too where the variables were ignored, or lead nowhere now, else "".
 */
int target_resolve(const struct target_request *request, struct target *ret, char *why);

/* In words, why the target has no cgroup; what would help, or "". Both are constants. */
const char *target_no_cgroup(const struct target *target, const char **ret_advice);

/* Where this process is now, into a target of its own cgroup; the rest of it stays. Errors: as
 * cgroup_of_pid(). */
int target_find_own(struct target *target, const char *proc);

/*
 * What is at the target's stream_path now. Nothing is opened but what is a pressure file by its name.
 * Errors: -EINVAL (neither a memory pressure file, a FIFO nor a socket; the variables are invalid),
 * -ENAMETOOLONG, or what stat(2) says; why[WHY_MAX] gets the words.
 */
int target_look_at_stream(const struct target *target, enum stream_kind *ret, char *why);
