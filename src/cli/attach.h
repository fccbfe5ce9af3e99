/* SPDX-License-Identifier: MIT */
/*
 * attach.h - psibridge attach: a hook into a process that runs already
 *
 *     attach-target.c   what is it, may we, what stands against it  -> struct target
 *     attach-ipc.c      the runtime's diagnostics protocol          -> struct runtime_socket, HRESULTs
 *     attach.c          a path of the hook that the target can open; in which order; what came of it
 *
 * Everything about the target is looked at through descriptors of /proc/PID and its root, so that
 * a process that ends meanwhile, or another one with its number, is an error and nothing worse.
 * What fails is said in words in `why` of the target, without its number.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "core/util.h"

/* ---- the target ------------------------------------------------------------------------------- */

struct target {
	pid_t pid;	 /* as we see it */
	pid_t inner_pid; /* as it sees itself */
	uid_t uid;
	gid_t gid;
	char state;	/* proc(5): 'R', 'Z' ... */
	uint64_t start; /* in clock ticks since boot: tells it from another one with its number */
	int proc;	/* /proc/PID */
	int root;	/* what it calls "/" */
	char exe[PATH_MAX];
	char tmpdir[PATH_MAX]; /* where the runtime keeps its socket */
	char switches[2][3];   /* of its environment, see target_forbids() */
	/* from its mappings */
	bool has_coreclr, has_mono, has_host; /* libcoreclr.so, Mono's library, libhostfxr.so */
	bool has_hook; /* the profiler, or managed code that the program was started with */
	const char *libc;
	char why[512];
};

/* Writes `why`, returns `error`. */
int target_refuse(struct target *target, int error, const char *format, ...) _printf_(3, 4);

/*
 * Looks at process `pid`. Errors: -ESRCH (no such process, it has ended), -EPERM (another user's),
 * -EOPNOTSUPP (not .NET, Mono, NativeAOT, another machine or libc), -EBUSY: it is stopped, and would
 * not answer. target_done() is due in any case.
 */
int target_open(pid_t pid, struct target *ret);
void target_done(struct target *target);

/* Looks at the mappings again. Errors: -ESRCH: it is gone. */
int target_look_again(struct target *target);

/* The switch it was started with that forbids to attach, without its prefix; NULL: none. */
const char *target_forbids(const struct target *target);

/* Opens `path` as the target would, below its root. Errors: -errno. */
int target_open_path(const struct target *target, const char *path, int flags);

/* Each piece of a file of /proc/PID that ends with `end`, which it is given without. Errors: -errno. */
int target_each(const struct target *target, const char *file, int end,
		void (*take)(char *piece, void *userdata), void *userdata);

/* ---- the protocol ----------------------------------------------------------------------------- */

/* The socket of the target, found and tried. */
struct runtime_socket {
	int directory;
	char name[NAME_MAX + 1];
	char version[64]; /* "10.0.12"; "" if it does not tell */
	uint64_t timeout_usec;
	const struct target *target; /* the process that must be behind it */
};

/*
 * Finds the socket behind which this process answers. Errors: -ENOENT (none), -ETIMEDOUT (it is
 * there and nothing answers), -EOPNOTSUPP (a runtime before .NET 5), -EPERM, -EBADMSG.
 */
int runtime_find(struct target *target, uint64_t timeout_usec, struct runtime_socket *ret);
void runtime_done(struct runtime_socket *runtime);

/* What the hook is to be told, beside the target's environment: "NAME=VALUE", NULL at the end. */
#define SETTINGS_MAX 32
#define SETTINGS_BYTES_MAX 4096 /* all together, with a NUL behind each */

struct settings {
	const char *texts[SETTINGS_MAX + 1];
	size_t n, bytes;
};

/* Puts the runtime's HRESULT into ret. Errors: -ETIMEDOUT, -EBADMSG, -EILSEQ (the path is not UTF-8),
 * -EPIPE (hung up), -ESTALE (another process is behind the socket now), other errnos of the socket. */
int runtime_attach_profiler(const struct runtime_socket *runtime, const char *path,
			    const struct settings *settings, uint32_t *ret_hresult);

/* In words. */
const char *runtime_words(uint32_t hresult);
