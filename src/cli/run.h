/* SPDX-License-Identifier: MIT */
/*
 * run.h - psibridge run: from a command to a program with a hook
 *
 *     run-program.c      which file is it, and what is in it?      -> struct program
 *     run-runtimes.c     the table: whose program is that, which ways in are there
 *     run-environment.c  what has to be in its environment         -> struct environment
 *     run.c              says so, or does it
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "core/executable.h"
#include "core/util.h"

/* ---- program ---------------------------------------------------------------------------------- */

#define PROGRAM_WORD_MAX 512

/*
 * A command, resolved. A script is its interpreter; `image` is what will really run. The file may
 * be unreadable and still be run: then `image` is EXECUTABLE_OTHER.
 */
struct program {
	char **argv;		   /* as typed; argv[0] is the command */
	char path[PATH_MAX];	   /* what exec(2) gets */
	char image_path[PATH_MAX]; /* the last interpreter; the same as `path` if there is none */
	struct executable image;
	void *map;
	size_t map_size;
	bool script; /* `path` begins with #!, or is a text for the shell */
	bool readable;
	bool privileged; /* set-user-ID or the like: the dynamic linker ignores its environment */
	bool cleared;	 /* `env -i` in the #! line: our environment does not get through */
	/* the first argument of `image`, as far as it can be known; "" if there is none */
	char first[PROGRAM_WORD_MAX];
};

/*
 * Finds argv[0] as a shell would, follows #! lines and `env`. Errors: -ENOENT (not found), -EACCES
 * (found, not executable, or a directory), -ELOOP (interpreters of interpreters), -ENAMETOOLONG.
 */
int program_find(char **argv, struct program *ret);
void program_done(struct program *program);

/* Our own executable, to compare with: a hook is made for one machine and one libc. */
int program_own(struct executable *ret, void **ret_map, size_t *ret_size);

/* ---- environment ------------------------------------------------------------------------------ */

#define CHANGES_MAX 16

/* What is to be different in the environment of the program. */
struct environment {
	struct change {
		const char *name;
		char *value;
	} changes[CHANGES_MAX];
	size_t n;
};

void environment_done(struct environment *e);
/* With the changes so far; NULL: not set. */
const char *environment_get(const struct environment *e, const char *name);
int environment_set(struct environment *e, const char *name, const char *value);
/* `item` behind what is there, with `separator` between them unless there is one. */
int environment_append(struct environment *e, const char *name, char separator, const char *item);
/* Is a hexadecimal number, as .NET reads its switches: 0, another one, or not set (-1)? */
int environment_switch(const struct environment *e, const char *name);
/* `text` as a word for the shell, into buf of 4 x strlen(text) + 3 bytes. */
void environment_quote(const char *text, char *buf);

/* ---- runtimes --------------------------------------------------------------------------------- */

#define NOTES_MAX 12
#define NOTE_MAX 512

struct plan {
	struct program program;
	struct environment environment;
	const struct runtime *runtime;	 /* never NULL: the last row takes all */
	const struct way *way;		 /* NULL: nothing is changed */
	char what[NOTE_MAX];		 /* "a .NET app (apphost)" */
	char hook[PATH_MAX];		 /* the file; "" if the way needs none */
	char notes[NOTES_MAX][NOTE_MAX]; /* what a person should know */
	size_t n;
	bool nested; /* a hook is there already */
};

/* One way into a runtime. */
struct way {
	const char *name; /* --hook=NAME */
	const char *file; /* the hook; NULL: none is needed */
	/* Is it in the environment already? */
	bool (*present)(const struct environment *e);
	/* What forbids it; NULL: nothing. The text may name a variable. */
	const char *(*forbidden)(const struct environment *e);
	int (*apply)(struct plan *plan, const char *hook);
};

#define WAYS_MAX 3

/* One kind of program. The first row that recognises a program has it. */
struct runtime {
	const char *id;	  /* for scripts: "coreclr" */
	const char *name; /* for people: ".NET" */
	/* Writes plan->what, and notes that are due whatever way is taken. */
	bool (*recognise)(struct plan *plan);
	struct way ways[WAYS_MAX]; /* the best first; ended by one without a name */
	const char *no_way;	   /* why there is none */
};

void plan_note(struct plan *plan, const char *format, ...) _printf_(2, 3);

/* The way of that name, in whatever runtime; NULL: there is none. */
const struct way *runtimes_way(const char *name, const struct runtime **ret_runtime);

/*
 * From plan->program to runtime, way and environment. `wanted`: a way that was asked for, or NULL.
 * What stands in the way becomes a note; the program can be run in any case. Errors: -EINVAL:
 * `wanted` is a way into another runtime, plan->what says what this is; -ENOMEM.
 */
int plan_make(struct plan *plan, const struct way *wanted, const struct runtime *wanted_of);
