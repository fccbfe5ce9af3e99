/* SPDX-License-Identifier: MIT */
/*
 * attach.h - psibridge attach: a hook into a process that runs already
 *
 *     attach-target.c   what is it, may we, what stands against it  -> struct target
 *     attach-ipc.c      the runtime's diagnostics protocol          -> struct runtime_info, HRESULTs
 *     attach-file.c     a path of the hook that the target can open -> struct visible
 *     attach.c          in which order; what came of it
 *
 * Everything about the target is looked at through descriptors of /proc/PID and its root, so that
 * a process that ends meanwhile, or another one with its number, is an error and nothing worse.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "core/executable.h"
#include "core/util.h"

#define ATTACH_WHY_MAX 512

/* ---- the target ------------------------------------------------------------------------------- */

struct target {
	pid_t pid;	 /* as we see it */
	pid_t inner_pid; /* as it sees itself */
	uid_t uid;
	gid_t gid;
	uint64_t start; /* in clock ticks since boot: tells it from another one with its number */
	int proc;	/* /proc/PID */
	int root;	/* what it calls "/" */
	char exe[PATH_MAX];
	struct executable image;
	void *map;
	size_t map_size;
	char *environment; /* VAR=VALUE, a NUL behind each */
	size_t environment_size;
	/* from its mappings */
	char runtime[PATH_MAX]; /* libcoreclr.so; "" if it is not there */
	bool has_hook; /* the profiler, or managed code that the program was started with */
};

/*
 * Looks at process `pid`. Errors, with why[ATTACH_WHY_MAX]: -ESRCH (no such process, it has ended),
 * -EPERM (another user's), -EOPNOTSUPP (not .NET, Mono, NativeAOT, another machine or libc),
 * -EBUSY: it is stopped, and would not answer.
 */
int target_open(pid_t pid, struct target *ret, char *why);
void target_done(struct target *target);

/* Looks at the mappings again. Errors: -ESRCH: it is gone. */
int target_look_again(struct target *target);

/* NULL: not set. */
const char *target_getenv(const struct target *target, const char *name);

/* The variable it was started with that forbids to attach; NULL: none. */
const char *target_forbids(const struct target *target);

/* Opens `path` as the target would, below its root. Errors: -errno. */
int target_open_path(const struct target *target, const char *path, int flags);

/* The directory where the runtime keeps its socket. */
const char *target_tmpdir(const struct target *target);

/* ---- the protocol ----------------------------------------------------------------------------- */

#define RUNTIME_VERSION_MAX 64

/* The socket of the target, found and tried. */
struct ipc {
	int directory;
	char name[NAME_MAX + 1];
	char version[RUNTIME_VERSION_MAX]; /* "10.0.12"; "" if it does not tell */
	uint64_t timeout_usec;
	pid_t listener; /* the process that must be behind it, and */
	uid_t uid;	/* whose it is */
};

/*
 * Finds the socket behind which this process answers. Errors, with why[ATTACH_WHY_MAX]: -ENOENT
 * (none), -ETIMEDOUT (it is there and nobody answers), -EOPNOTSUPP (a runtime before .NET 5),
 * -EPERM, -EBADMSG.
 */
int ipc_find(const struct target *target, uint64_t timeout_usec, struct ipc *ret, char *why);
void ipc_done(struct ipc *ipc);

/* What the hook is to be told, beside the target's environment: "NAME=VALUE", NULL at the end. */
#define SETTINGS_MAX 32
#define SETTINGS_BYTES_MAX 4096 /* all together, with a NUL behind each */

struct settings {
	const char *texts[SETTINGS_MAX + 1];
	size_t n, bytes;
};

/* Puts the runtime's HRESULT into ret. Errors: -ETIMEDOUT, -EBADMSG, -EILSEQ (the path is not UTF-8),
 * -EPIPE (hung up), -ESTALE (another process is behind the socket now), other errnos of the socket. */
int ipc_attach_profiler(const struct ipc *ipc, const char *path, const struct settings *settings,
			uint32_t *ret_hresult);

/* In words; NULL: none are known. */
const char *ipc_words(uint32_t hresult);

/* ---- the file --------------------------------------------------------------------------------- */

/* A hook as the target can open it: the file itself, or a copy in a directory of its own. */
struct visible {
	char path[PATH_MAX];
	uid_t uid; /* whose it is */
	gid_t gid;
	int above;		 /* -1: it is no copy */
	int directory;		 /* ... the one that was made */
	char made[NAME_MAX + 1]; /* its name in `above` */
	char file[NAME_MAX + 1];
};

/*
 * Makes sure that the target can open `hook`. Errors: -errno, with why[ATTACH_WHY_MAX].
 * visible_done() removes the copy: what is mapped stays.
 */
int visible_make(const struct target *target, const char *hook, struct visible *ret, char *why);
void visible_done(struct visible *visible);
