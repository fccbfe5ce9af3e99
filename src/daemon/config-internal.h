/* SPDX-License-Identifier: MIT */
/*
 * config-internal.h - between the files that make a configuration
 *
 *   config-files.c  config_load(): which files there are, and in which order  --text-->
 *   config-parse.c  lines to assignments                       --struct section-->
 *   config.c        the keys; sections to effective values, and what does not go together
 *   config-show.c   sections back to text
 *   absent.c        sections compared with what cgroups there are
 */
#pragma once

#include "core/value.h"
#include "daemon/config.h"

#include "core/scan.h"

enum config_key {
	/* [Defaults] and [Watch]: first those of core/setting.h */
	KEY_EARLY = SETTING_EARLY,
	KEY_LOW = SETTING_LOW,
	KEY_CRITICAL = SETTING_CRITICAL,
	KEY_SHADOW = SETTING_COUNT,
	/* [Watch] */
	KEY_ENABLED,
	/* [Daemon] */
	KEY_CLIENTS_MAX,
	KEY_CLIENTS_PER_CGROUP,
	KEY_CLIENTS_PER_UID,
	KEY_SERVE_OTHERS,
	KEY_LOW_MEMORY_MONITOR,
	KEY_COUNT,
};

enum section_kind { SECTION_DAEMON, SECTION_DEFAULTS, SECTION_WATCH };

/* Where something was written. No file: it is built in. */
struct origin {
	const char *file; /* one of config->files */
	unsigned line;
};

struct assignment {
	bool assigned; /* not so, but with an origin: an empty value took it back */
	bool refused;  /* the last value was invalid */
	struct value value;
	struct origin origin;
};

struct section {
	enum section_kind kind;
	char *path;	      /* WATCH only: normalised */
	bool candidate;	      /* WATCH only: it has Shadow=yes, and stands beside the one without */
	struct origin origin; /* where it was first mentioned ... */
	struct origin last;   /* ... and last */
	struct assignment keys[KEY_COUNT];
};

/* Everything that was assigned, and where: kept behind struct config for config_show(). */
struct origins {
	struct assignment built_in[KEY_COUNT];
	struct section daemon, defaults;
	struct section *watches[CONFIG_WATCHES_MAX];
	size_t watch_count;
};

struct loader {
	struct complaints *complaints;
	struct config *config;
	struct origins *origins; /* the config's */
	int error;		 /* of reading a file: the first; 0: none */
};

/* ---- config.c -------------------------------------------------------------------------------- */

/* The built-in configuration, to which files add. Errors: -ENOMEM. */
int config_begin(struct complaints *complaints, struct loader *ret);
/* What was assigned becomes effective. Takes loader->config over, also in case of an error.
 * Errors: as config_load(). */
int config_finish(struct loader *loader, struct config **ret);

/* The section of a watch, made if there is none. Errors: -EUSERS (too many), -ENOMEM. */
int config_watch_section(struct loader *loader, const char *path, bool candidate,
			 const struct origin *origin, struct section **ret);

/* What holds for `key` in `section`: its own value, for a candidate that of the watch beside it,
 * that of [Defaults], or the built-in one. */
const struct assignment *config_effective(const struct origins *origins,
					  const struct section *section, enum config_key key);

/* A watch that is in the shadow itself, as [Defaults] may have it, beside a candidate of its path:
 * there need not be two. */
bool config_is_replaced(const struct origins *origins, const struct section *section);

/* One line about what stands there: FILE:LINE: and the words; a line of 0 is left out. What cannot be printed becomes
 * '?'. Not a mistake: a warning. */
void config_say(struct complaints *complaints, bool mistake, const struct origin *where,
		const char *format, ...) _printf_(4, 5);

struct key_row {
	const char *name, *built_in;
	enum value_form form;
	unsigned sections;    /* in which it may stand, a bit for each */
	const char *expected; /* "a trigger such as ..." */
};
struct key_row config_key(enum config_key key);
bool config_key_belongs(enum config_key key, enum section_kind kind);

/* ---- config-parse.c -------------------------------------------------------------------------- */

/* `file` must live as long as the configuration. Mistakes are in the loader. Errors: -ENOMEM. */
int config_parse(struct loader *loader, const char *file, const char *text, size_t size);
