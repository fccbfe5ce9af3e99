/* SPDX-License-Identifier: MIT */
/*
 * birth.h - wait until a cgroup is there, without looking at the clock
 *
 * mkdir(2) in a cgroup file system tells inotify (IN_CREATE on the parent), so the nearest
 * directory that exists is listened to, and the next one when the path has grown.
 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/loop.h"

struct birth;
struct closer;

/* `path` exists; the birth is idle now, and may be started again. Returns 0; or a negative errno: it
 * could not be used, call again, 0.1 s later and later each time, up to 10 s. */
typedef int birth_fn(struct birth *birth);

/*
 * A birth is embedded; after birth_init() it is idle. `born` is called from a dispatch, perhaps at
 * once.
 */
struct birth {
	struct loop *loop;
	const struct cgroups *cgroups;
	struct closer *closer; /* closing an inotify descriptor takes up to 20 ms: set it after
				  birth_init() to have that done elsewhere; NULL: done here */
	const char *path;      /* the caller's, as long as it waits */
	birth_fn *born;
	void (*released)(struct birth *birth);
	int inotify_fd;
	int oldest, newest; /* watch descriptors in use lie between these */
	bool waiting;
	uint64_t retry_usec;
	struct loop_op op;
	struct loop_timer timer; /* runs at once where it is there already, or inotify fails: then
				    every 10 s */
};

void birth_init(struct birth *birth, struct loop *loop, const struct cgroups *cgroups);
/* On the loop's thread, and not before an earlier wait ended or its cancelling was released.
 * Errors: none that matter: where inotify cannot be had it looks every 10 s. */
void birth_wait(struct birth *birth, const char *path, birth_fn *born);
/* `released` follows, from within the call or from a later dispatch: then it may be freed. */
void birth_cancel(struct birth *birth, void (*released)(struct birth *birth));
/* The loop was freed before: close what is left. */
void birth_close(struct birth *birth);
