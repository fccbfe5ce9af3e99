/* SPDX-License-Identifier: MIT */
/*
 * config.h - psibridged.conf(5): what is to be watched, and how it is to be judged
 *
 * A configuration is made whole or not at all: every mistake of all files is said, each as
 * FILE:LINE: KEY: what is wrong and what was expected, and then there is none.
 */
#pragma once

#include "core/cgpath.h"
#include "core/scan.h"
#include "core/setting.h"
#include "psibridge/psibridge.h"

#include <stdio.h> /* FILE */

/* The early threshold is never over the others: no stall reaches Low or critical without passing it. */
struct settings {
	struct policy_options policy; /* core/setting.h; complete */
	bool shadow; /* Shadow=: compute and log beside what is live, deliver nothing */
};

/* Where something was written. No file: it is built in. */
struct origin {
	const char *file; /* one of config->files */
	unsigned line;
};

struct config_watch {
	const char *path;	  /* normalised; a pattern if it has a star */
	struct settings settings; /* complete: [Defaults] are in it */
	unsigned memory_high_at;  /* percent; 0: off, and always in the shadow */
	struct origin origin;
};

#define CONFIG_WATCHES_MAX 256
#define CONFIG_FILES_MAX 255
#define CONFIG_SECTIONS_MAX (CONFIG_WATCHES_MAX + 3)

struct config {
	struct settings defaults;
	/* in the order of their first appearance; a path stands once in the shadow at most, and once out of it */
	struct config_watch watches[CONFIG_WATCHES_MAX];
	size_t watch_count;
	unsigned clients_max, clients_per_cgroup, clients_per_uid; /* [Daemon] */
	bool serve_others, low_memory_monitor;
	uint64_t trace_bytes; /* at most; 0: no trace is kept */
	char **files;	      /* in the order of reading, ended by NULL */
	char *file_list[CONFIG_FILES_MAX + 1];
	struct section *sections[CONFIG_SECTIONS_MAX];
	size_t section_count;
};

/* Where lines about a configuration go. */
struct complaints {
	/* A mistake; or not, and probably not meant. May be NULL. */
	void (*say)(const struct complaints *complaints, const char *line, bool mistake);
	void *userdata;
	unsigned mistakes; /* 0 at first */
	char first[512];   /* mistake; "" at first */
};

/* What was set at run time (psibridge set): the daemon's own file, read after all others. */
#define CONFIG_SET_FILE "/run/psibridge/set.conf"

/* What is in place of that file. A [Watch] that only `more` has takes what it does not say from the watch that covers it
 * without that. */
struct config_set {
	const char *kept, *more;
};

/* NULL: there are mistakes. A file that cannot be read, and want of memory, are some, too. `root` is "" or a directory to
 * stand for "/". `set` NULL: the file counts. */
struct config *config_load(const char *root, const struct config_set *set,
			   struct complaints *complaints);
struct config *config_free(struct config *config);
DEFINE_CLEANUP(struct config *, config_free);

/* What config_load() does: what is built in, the text of each file in its order (`file` must live as long as the
 * configuration), what follows from all. config_finish() takes it over. */
struct config *config_new(struct complaints *complaints);
void config_read(struct config *config, const char *file, struct scan text,
		 struct complaints *complaints);
struct config *config_finish(struct config *config, struct complaints *complaints);

/* config_read() of it. */
void config_read_set(struct config *config, const char *file, const struct config_set *set,
		     struct complaints *complaints);

/* A cgroup or a pattern as it stands in [Watch] into path[CGPATH_MAX]. Errors: -EINVAL, -ENOMEM, in words. */
int config_path(const char *written, char *path, const char **ret_why);

/* Says and counts FILE:LINE: and the words; a line of 0 is left out. What cannot be printed becomes '?'. */
void config_say(struct complaints *complaints, bool mistake, struct origin where,
		const char *format, ...) _printf_(4, 5);

/* psibridged --check-config, or --show-config: reads it as the service may, says every mistake, and warns of each watch that
 * a file names and that waits for a cgroup, with what was probably meant. Returns the exit status. */
int config_look(const char *root, bool show);
#define CONFIG_IS_WRONG 78 /* EX_CONFIG */

/* All values that are in force as a configuration file that gives the same, each below a comment that says where it came
 * from. Errors: -errno of writing. */
int config_show(const struct config *config, FILE *out);

/* Lines as in a file: all that came from the file `all_of`, and what came from `from` for [Watch path], or `but` for that.
 * Each may be NULL. */
struct config_part {
	const char *all_of, *from, *path;
	bool but;
};
void config_write(const struct config *config, const struct config_part *part, FILE *out);

#define CONFIG_SECTION_MAX (CGPATH_MAX + 32)
struct config_difference {
	char section[CONFIG_SECTION_MAX]; /* as it stands in a file; of a candidate with Shadow=yes */
	const char *key;		  /* NULL: the section itself, which one side has not */
	struct config_side {
		bool is_there; /* the section; without it the value is that of the watch that covers it */
		char text[VALUE_TEXT_MAX];
		struct origin origin;
	} sides[2];
};
/* What is in force in one and not in the other, each where it is said: not again where it is inherited. */
void config_diff(const struct config *a, const struct config *b,
		 void (*fn)(const struct config_difference *difference, void *userdata),
		 void *userdata);

bool settings_equal(const struct settings *a, const struct settings *b);

/* As psb_watch_new() takes them: `ret` points into `text`. */
struct settings_text {
	char early[TRIGGER_TEXT_MAX], low[TRIGGER_TEXT_MAX], critical[TRIGGER_TEXT_MAX];
};
void settings_write(const struct policy_options *policy, struct settings_text *text,
		    struct psb_watch_options *ret);
