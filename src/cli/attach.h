/* SPDX-License-Identifier: MIT */
/*
 * attach.h - psibridge attach: a hook into a process that runs already
 *
 *     attach-target.c   what is it, may we, what stands against it  -> struct target
 *     attach-ipc.c      the runtime's diagnostics protocol          -> its socket, its answer
 *     attach.c          a path of the hook that the target can open; in which order; what came of it
 *
 * Everything about the target is looked at through descriptors of /proc/PID, its root and its socket, so that a process that ends
 * meanwhile, or another one with its number, is an error and nothing worse. Functions that complain return -ECANCELED then.
 *
 * A process that has just begun will have a runtime, a socket, and one that takes the hook, in a moment: where that is what stands
 * against it, it is looked at again, until the time is over. Functions say -EAGAIN then, and nothing else.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "core/util.h"

struct target {
	uint64_t end_usec; /* until then it is waited for */
	pid_t pid;	   /* as we see it */
	pid_t inner_pid;   /* as it sees itself */
	uid_t uid;
	gid_t gid;
	char state; /* proc(5): 'R', 'Z' ... */
	int proc;   /* /proc/PID */
	int root;   /* what it calls "/" */
	int socket; /* its runtime's, once it was found */
	char exe[PATH_MAX];
	char *environment;  /* as it was at the start: "NAME=VALUE", a NUL behind each */
	const char *tmpdir; /* where the runtime keeps its socket */
	/* from its mappings */
	bool has_coreclr, has_mono, has_host; /* has_host: what loads CoreCLR */
	bool has_hook;			      /* the profiler, or the managed policy, */
	bool has_managed; /* which the profiler has had loaded, or the program was started with */
};

/* Complains. */
int refuse(const struct target *target, const char *format, ...) _printf_(2, 3);

/* Takes hold of process `pid`. It complains. target_done() is due in any case. */
int target_open(pid_t pid, uint64_t end_usec, struct target *ret);
/* Looks at it, anew: it may have become another program. It complains. */
int target_look(struct target *target);
void target_done(struct target *target);

/* Looks at the mappings (again). Errors: -errno. */
int target_look_at_maps(struct target *target);
/* May what it lacks be there in a moment? */
bool target_has_just_begun(const struct target *target);
/* Opens `path` as the target would, below its root. Errors: -errno. */
int target_open_path(const struct target *target, const char *path, int flags);
/* All of a file of /proc/PID, with two NULs behind it, to be freed. Errors: -errno. */
int target_read(const struct target *target, const char *file, char **ret);

/* What the hook is to be told, beside the target's environment: "NAME=VALUE", a NUL behind each. */
#define SETTINGS_MAX 32
#define SETTINGS_BYTES_MAX 4096

struct settings {
	size_t n, size;
	char bytes[SETTINGS_BYTES_MAX];
};

/* Finds the socket behind which this process answers. It complains. */
int runtime_find(struct target *target, uint64_t timeout_usec);
/* Has it load the profiler at `path`; it says that it did. It complains. */
int runtime_attach_profiler(const struct target *target, const char *path,
			    const struct settings *settings, uint64_t timeout_usec);
