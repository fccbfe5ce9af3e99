/* SPDX-License-Identifier: MIT */
/*
 * pathwait.h - wait until a cgroup is there, without a timer
 *
 * mkdir(2) in a cgroup file system gives an inotify event (IN_CREATE on the parent), so the nearest
 * directory that exists is watched, and the next one when the path has grown.
 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/loop.h"

struct path_wait;
struct closer;

/* `path` exists; the wait is over now, and may be started again. Returns 0; or a negative errno: it
 * could not be used, call again, 0.1 s later and later each time, up to 10 s. */
typedef int path_wait_fn(struct path_wait *wait);

/*
 * A path_wait is embedded; after path_wait_init() it is idle. `path_appeared` is called from a dispatch, perhaps at
 * once.
 */
struct path_wait {
	struct loop *loop;
	const struct cgroups *cgroups;
	struct closer *closer; /* closing an inotify descriptor takes up to 20 ms: set it after
				  path_wait_init() to have that done elsewhere; NULL: done here */
	const char *path;      /* the caller's, as long as it waits */
	path_wait_fn *path_appeared;
	void (*released)(struct path_wait *wait);
	int inotify_fd;
	int oldest, newest; /* watch descriptors in use lie between these */
	bool waiting;
	uint64_t retry_usec;
	struct loop_op op;
	struct loop_timer timer; /* runs at once where it is there already, or inotify fails: then
				    every 10 s */
};

void path_wait_init(struct path_wait *wait, struct loop *loop, const struct cgroups *cgroups);
/* On the loop's thread, and not before an earlier wait ended or its cancelling was released.
 * No errors: where inotify fails it looks every 10 s. */
void path_wait_start(struct path_wait *wait, const char *path, path_wait_fn *path_appeared);
/* `released` follows, from within the call or from a later dispatch: then it may be freed. */
void path_wait_cancel(struct path_wait *wait, void (*released)(struct path_wait *wait));
/* The loop was freed before: close what is left. */
void path_wait_close(struct path_wait *wait);
