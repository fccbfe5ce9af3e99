/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - programs in managed runtimes: the ways into them that a build has, and where they run
 */
#pragma once

#include "../program.h"
#include "bench.h"

struct way {
	const char *runtime; /* "coreclr", "mono" */
	const char *name;    /* as the table calls it */
	const char *argv[8]; /* "@x" is x in the build tree, "APP" the program; ends with NULL */
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
/* The path of what the build has under this name. Its memory stays for good. */
const char *in_tree(const char *name);
/* Starts it, and waits until the program, and what of psibridge's is in it, says that it is ready; attaches before that, where
 * this is the way. NULL: it never got ready, and that row of the table fails. */
struct program *way_start(const struct way *way, const char *group, const struct command *command,
			  unsigned row);
/* Lets it end, which it has to do well and in time, or the row fails. NULL is none. */
void way_end(struct program *program, unsigned row);

/*
 * A group "NAME" to look at and "NAME/run" in it, for programs. They are two because reading memory.pressure can swallow an alarm
 * of an unprivileged trigger on the same file (facts): we read the outer one's, psibridge arms the inner one's.
 */
struct stage {
	const char *name;
	char run[64];
	uint64_t start_usec, before_usec;
};

/* Makes both anew. The limit is the inner one's; 0: none. `high_bytes` of 0: no memory.high. */
void stage_open(struct stage *stage, const char *name, uint64_t limit_bytes, uint64_t high_bytes);
/* From here time and stall count. */
void stage_begin(struct stage *stage);
uint64_t stage_stall_usec(const struct stage *stage);
