/* SPDX-License-Identifier: MIT */
/*
 * effect-ways.h - the ways into a runtime that a build has, and how each starts a program
 */
#pragma once

#include "effect-program.h"

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
 * machine) has no such thing. Memory of *ret_command stays for good. */
const char *way_command(const struct way *way, const char *app, const char *const *args,
			struct command *ret_command);
/* Attaches to a running program. Returns: NULL, or what went wrong. */
const char *way_attach(pid_t pid);
