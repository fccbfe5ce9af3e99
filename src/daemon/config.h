/* SPDX-License-Identifier: MIT */
/*
 * config.h - psibridged.conf(5): what is to be watched, and how it is to be judged
 *
 * Later assignments replace earlier ones; an empty value is the default again. Sections:
 *
 *   [Daemon]           the daemon itself: clients, D-Bus
 *   [Defaults]         thresholds and times for every watch
 *   [Watch PATTERN]    one watch: a cgroup's path or a pattern (cgpattern.h); keys as in
 *                      [Defaults], and Enabled=no, which takes it away
 *
 * A configuration is made whole or not at all: every mistake of all files is reported, each as
 * FILE:LINE: KEY: what is wrong and what was expected, and nothing is returned.
 */
#pragma once

#include "core/cgpath.h"
#include "core/setting.h"
#include "psibridge/psibridge.h"

#include <stdio.h> /* FILE */

/* The early threshold is never over the others: no stall reaches Low or critical without passing it. */
struct settings {
	struct policy_options policy; /* core/setting.h; complete */
	bool shadow; /* Shadow=: compute and log beside what is live, deliver nothing */
};

struct config_watch {
	const char *path;	  /* normalised; a pattern if it has a star */
	struct settings settings; /* complete: [Defaults] are in it */
};

#define CONFIG_WATCHES_MAX 256

struct config {
	struct settings defaults;
	struct config_watch *watches; /* in the order of their first appearance; a path stands once
					 in the shadow at most, and once out of it */
	size_t watch_count;
	/* [Daemon] */
	unsigned clients_max;	     /* ClientsMax=, 16384 */
	unsigned clients_per_cgroup; /* ClientsPerCgroup=, 256: of one peer's cgroup */
	unsigned clients_per_uid;    /* ClientsPerUid=, 2048: of one user other than root */
	bool serve_others;	     /* ServeOthers=, yes: clients whose cgroup no watch matches get
					 a watch of their own, with [Defaults] */
	bool low_memory_monitor;     /* LowMemoryMonitor=, yes: org.freedesktop.LowMemoryMonitor */
	char **files;		     /* that were read, in order, ended by NULL */
	struct origins *origins;     /* where each value came from; for config_show() */
};

/* Where lines about a configuration go, each FILE:LINE: KEY: what is wrong. */
struct complaints {
	/* A mistake; or not, and probably not meant. It is counted before. */
	void (*say)(const struct complaints *complaints, const char *line, bool mistake);
	void *userdata;
	unsigned mistakes; /* 0 at first */
};

/*
 * `root` is "" or a directory to stand for "/" (tests, offline checks). What keeps a file from being read is a mistake,
 * too. Errors: -EINVAL: there are mistakes; -ENOMEM; what reading a file said, also if there were mistakes.
 */
int config_load(const char *root, struct complaints *complaints, struct config **ret);
struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free);

/* Warns of each watch that a file names and that waits for a cgroup, with what was probably meant: a watch with a
 * misspelt path waits for ever. Looks at all cgroups of this machine, which takes its time. */
void config_warn_absent(const struct config *config, struct complaints *complaints);

/* All effective values as a configuration file, each with the file and line it came from as a
 * comment. Errors: -errno of writing. */
int config_show(const struct config *config, FILE *out);

bool settings_equal(const struct settings *a, const struct settings *b);

/* As psb_watch_new() takes them: `ret` points into `text`. */
struct settings_text {
	char early[TRIGGER_TEXT_MAX], low[TRIGGER_TEXT_MAX], critical[TRIGGER_TEXT_MAX];
};
void settings_write(const struct policy_options *policy, struct settings_text *text,
		    struct psb_watch_options *ret);
