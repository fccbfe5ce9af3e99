/* SPDX-License-Identifier: MIT */
/*
 * effect-ways.h - the ways into a runtime that a build has, and how each starts a program
 */
#pragma once

#include "../program.h"
#include "stalls.h"

#define WAY_WHY_MAX 200

struct way {
	const char *runtime; /* "coreclr", "mono" */
	const char *name;    /* as the table calls it */
	const char *argv[5]; /* "@x" is x in the build tree, "APP" the program; ends with NULL */
	const char *env[5];  /* the same, anywhere in the value */
	const char *needs;   /* "@x": one more file it cannot do without */
	bool bridge;	     /* something of psibridge's is in there */
	bool attach;	     /* it comes when the program is ready: psibridge attach PID */
	bool own_app;	     /* only with a program that was made for it: not APP */
};

/* The n-th way into `runtime`, NULL after the last; the first one is "none". */
const struct way *way_at(const char *runtime, unsigned n);
const struct way *way_named(const char *runtime, const char *name);
/* What runs `app` ("Garbage/garbage", project and assembly) with `args` (ends with NULL) in this way. Returns: NULL, or why this build (or
 * machine) has no such thing. Memory of both stays for good. */
const char *way_command(const struct way *way, const char *app, const char *const *args,
			struct command *ret_command);
/* As program_start(), in our laboratory. Dies if it cannot. */
struct program *way_start(const char *group, const struct command *command);
/* Waits until the program, and what of psibridge's is in it, says that it is ready; attaches before that, where this is the way.
 * Returns: false: it never got ready; `ret` says why. */
bool way_ready(const struct way *way, struct program *program, char ret[WAY_WHY_MAX]);
/* Is that way missing? Then it says so, or, with --allow-missing, not. */
bool way_is_missing(const char *name, const char *why);
/* The value of --allow-missing. */
extern const char *allow_missing;
#define ALLOW_MISSING                           \
	{                                       \
		"allow-missing", &allow_missing \
	}
#define ALLOW_MISSING_HELP \
	"  --allow-missing  a way in that this build does not have is no failure\n"
