/* SPDX-License-Identifier: MIT */
/*
 * pathwait.c - wait until a cgroup is there
 *
 *     idle --path_wait_start()--> waiting --the path is there--> ending --poll released--> idle, path_appeared()
 *       ^                     | ^                                                        |
 *       +-- released ---------+ +------------- later, where it could not be used --------+
 *              path_wait_cancel()
 *
 * While it waits there is an inotify watch on each directory of the path that exists, from the mount down. The last
 * of them tells that the next one was made. The others tell that the one below was removed: the removed directory
 * itself does not (kernfs leaves its link count, and IN_DELETE_SELF comes when that is 0; seen on 6.18).
 *
 * No change is missed: watches are added from the top down, each before the directory below is looked up. Every
 * change of a name in the path begins that anew, without the old watches, since those of directories that were
 * removed would pile up. Other names made and removed there cost a wake-up and one read(2). No timer runs, unless
 * inotify fails (fs.inotify.max_user_instances, no right to read a directory). Cgroups made through another mount
 * or from another cgroup namespace give events as well (seen on 6.18).
 *
 * Closing an inotify descriptor waits for an SRCU grace period where watches were removed before (15 ms measured),
 * hence `closer`.
 */
#include "kernel/pathwait.h"

#include "kernel/closer.h"
#include "kernel/file.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_USEC (10 * USEC_PER_SEC)
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (10 * USEC_PER_SEC)

#define ABOVE (IN_DELETE | IN_MOVED_FROM)
#define BIRTHS (IN_CREATE | IN_MOVED_TO)
#define OWN_END (IN_DELETE_SELF | IN_MOVE_SELF)

static void look(struct path_wait *b);

/* Out of descriptors, too: no event would tell of it later. */
static bool is_there(const struct path_wait *b)
{
	char path[2 * CGPATH_MAX];

	snprintf(path, sizeof(path), "%s%s", b->cgroups->v2.point, b->path);
	return b->cgroups->has_v2 && access(path, F_OK) == 0;
}

/* A user has 128 instances of inotify (fs.inotify.max_user_instances) for all programs. A wait
 * beyond this number looks every 10 s. */
#define INSTANCES_MAX 32

static atomic_uint instances;

void path_wait_close(struct path_wait *b)
{
	if (b->inotify_fd >= 0)
		atomic_fetch_sub(&instances, 1);
	if (b->closer)
		closer_close(b->closer, steal_fd(&b->inotify_fd));
	else
		fd_close(&b->inotify_fd);
}

/* Idle from here on. */
static void finish(struct path_wait *b)
{
	loop_timer_stop(b->loop, &b->timer);
	path_wait_close(b);
	if (b->waiting) {
		b->waiting = false;
		if (b->path_appeared(b) >= 0)
			return;
		b->waiting = true;
		b->retry_usec = CLAMP(2 * b->retry_usec, RETRY_MIN_USEC, RETRY_MAX_USEC);
		loop_timer_set(b->loop, &b->timer, now_usec() + b->retry_usec);
	} else if (b->released) {
		b->released(b);
	}
}

static void op_released(struct loop_op *op)
{
	finish(CONTAINER_OF(op, struct path_wait, op));
}

/* Is it one of the names in our path? */
static bool is_ours(const struct path_wait *b, const char *name)
{
	size_t size = strlen(name);

	for (const char *p = b->path; (p = strchr(p, '/')) != NULL;) {
		p++;
		if (strncmp(p, name, size) == 0 && (p[size] == '/' || p[size] == '\0'))
			return true;
	}
	return false;
}

/* Takes all events out. Is there one among them that matters? */
static bool drain(struct path_wait *b)
{
	_Alignas(struct inotify_event) char buf[4096];
	bool any = false;
	ssize_t n;

	while ((n = read(b->inotify_fd, buf, sizeof(buf))) > 0) {
		const struct inotify_event *event;

		for (const char *p = buf; p < buf + n; p += sizeof(*event) + event->len) {
			event = (const void *)p;
			any = any || (event->mask & (IN_Q_OVERFLOW | OWN_END)) ||
			      (event->len > 0 && is_ours(b, event->name));
		}
	}
	return any;
}

static void rang(struct loop_op *op, int result)
{
	struct path_wait *b = CONTAINER_OF(op, struct path_wait, op);

	if (result < 0) { /* the poll ended by itself, and might do so at once again */
		path_wait_close(b);
		loop_timer_set(b->loop, &b->timer, now_usec() + LOOK_USEC);
	} else if (drain(b)) {
		look(b);
	}
}

static void forget_watches(struct path_wait *b)
{
	/* what is in between and gone already is refused, which does no harm */
	for (int wd = b->oldest; wd <= b->newest; wd++)
		inotify_rm_watch(b->inotify_fd, wd);
	b->oldest = 1;
	b->newest = 0;
}

static int listen_to(struct path_wait *b, const char *path, uint32_t mask)
{
	int wd = inotify_add_watch(b->inotify_fd, path, mask | OWN_END | IN_ONLYDIR);

	if (wd < 0)
		return -errno;
	b->oldest = b->newest > 0 ? MIN(b->oldest, wd) : wd;
	b->newest = MAX(b->newest, wd);
	return 0;
}

/* Add watches from the mount down to the last directory that is there, which may be the one we wait
 * for. */
static int listen_down(struct path_wait *b)
{
	char path[2 * CGPATH_MAX];
	size_t mount = (size_t)snprintf(path, CGPATH_MAX, "%s", b->cgroups->v2.point);
	size_t size = strlen(b->path), last = 0;
	int r = listen_to(b, path, ABOVE | BIRTHS);

	if (r < 0 || size == 1) /* the root */
		return r;
	while (last < size) {
		size_t next = last + 1 + strcspn(b->path + last + 1, "/");

		snprintf(path + mount, CGPATH_MAX, "%.*s", (int)next, b->path);
		r = listen_to(b, path, ABOVE | BIRTHS);
		if (r < 0) /* not there: the one above says when it will be */
			return r == -ENOENT ? 0 : r;
		/* other names that appear above do not matter any more */
		path[mount + last] = '\0';
		r = listen_to(b, path, ABOVE);
		if (r < 0)
			return r == -ENOENT ? 0 : r;
		last = next;
	}
	return 0;
}

static int listen_for_it(struct path_wait *b)
{
	int r;

	if (!b->cgroups->has_v2)
		return -ENOENT;
	if (b->inotify_fd < 0) {
		if (atomic_load(&instances) >= INSTANCES_MAX)
			return -EMFILE;
		b->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		if (b->inotify_fd < 0)
			return -errno;
		atomic_fetch_add(&instances, 1);
		b->oldest = 1;
		b->newest = 0;
	}
	forget_watches(b);
	r = listen_down(b);
	if (r == 0 && !loop_op_is_busy(&b->op))
		r = loop_poll(b->loop, &b->op, b->inotify_fd, POLLIN, rang);
	return r;
}

/* First add the watches, then look whether it is there: nothing is missed in between. */
static void look(struct path_wait *b)
{
	int r = listen_for_it(b);

	if (is_there(b)) {
		if (loop_op_is_busy(&b->op))
			loop_cancel(&b->op, op_released);
		else
			loop_timer_set(b->loop, &b->timer, now_usec());
	} else {
		loop_timer_set(b->loop, &b->timer, r < 0 ? now_usec() + LOOK_USEC : USEC_NEVER);
	}
}

static void expired(struct loop_timer *timer, uint64_t now)
{
	struct path_wait *b = CONTAINER_OF(timer, struct path_wait, timer);

	(void)now;
	if (is_there(b) && !loop_op_is_busy(&b->op))
		finish(b);
	else
		look(b);
}

void path_wait_init(struct path_wait *b, struct loop *loop, const struct cgroups *cgroups)
{
	*b = (struct path_wait){
		.loop = loop, .cgroups = cgroups, .inotify_fd = -1, .timer = { .expired = expired }
	};
}

void path_wait_start(struct path_wait *b, const char *path, path_wait_fn *path_appeared)
{
	b->path = path;
	b->path_appeared = path_appeared;
	b->released = NULL;
	b->waiting = true;
	b->retry_usec = 0;
	/* the path may be there already: then inotify is not needed */
	if (is_there(b))
		loop_timer_set(b->loop, &b->timer, now_usec());
	else
		look(b);
}

void path_wait_cancel(struct path_wait *b, void (*released)(struct path_wait *wait))
{
	b->waiting = false;
	b->released = released;
	loop_timer_stop(b->loop, &b->timer);
	if (loop_op_is_busy(&b->op))
		loop_cancel(&b->op, op_released);
	else
		finish(b);
}
