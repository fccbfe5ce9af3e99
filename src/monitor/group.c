/* SPDX-License-Identifier: MIT */
/*
 * group.c - alarm of the root -> sweep -> children that sample
 *
 *     root (monitor on the fixed part, the only alarm)
 *       | not at rest
 *       v
 *     sweep of the tree --- found --> child (monitor without an alarm) --- told --> callbacks
 *       ^                               |
 *       +-- again, less and less often  +-- rests: dropped
 *
 * The root's own level is not told; it only says whether something below stalls. It is less than the
 * child's: the kernel averages `some` over CPUs, weighted by how long each was not idle
 * (collect_percpu_times() in kernel/sched/psi.c), so CPUs that are busy with other cgroups dilute a
 * stall. Measured on two CPUs: a child's 2963 ms were 1482 ms at its parent while the other CPU was
 * busy, and 2132 of 2133 ms while it was idle. root_early() is what is left of early in the worst
 * case. A busy machine may so keep the root from resting without need; the growing pauses bound what
 * that costs.
 *
 * Sweeping goes on until the root rests, because `some` of the root cannot show a second cgroup
 * that stalls while a first one does. A sweep costs time in proportion to the cgroups, so the pause
 * after it is a multiple of what it took: short at first and after news, up to 50 times when sweeps
 * find nothing new, so that it stays under 2 % of a core and only while some cgroup stalls.
 *
 * When the fixed part is removed the group waits for the next one of that name.
 */
#include "monitor/group-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define PAUSE_FACTOR_FIRST 2
#define PAUSE_FACTOR_MAX 50

/* If it is detaching, and nothing of it is in the loop any more: tell the owner. */
static void finish_detach(struct group *g)
{
	if (g->detaching && !g->children && !g->root && !g->path_wait_busy)
		g->owner->detached(g->userdata);
}

static void found(void *userdata, const struct tree_finding *finding)
{
	struct group *g = userdata;
	struct psi baseline = finding->psi;
	const struct memory_events known = { .oom = finding->oom_known };
	struct child *child;
	int r;

	for (child = g->children; child; child = child->next)
		if (child->inode == finding->inode)
			return;
	r = child_new(g, finding->path, finding->inode, &child);
	if (r < 0) {
		if (r != -ENOENT && r != -ENODEV)
			context_log(g->context, LOG_ERROR, "%s stalls, but cannot be measured: %s",
				    finding->path, strerror(-r));
		return;
	}
	child_add(g, child);
	g->pause_factor = PAUSE_FACTOR_FIRST;
	g->child_ended = finish_detach;
	baseline.some.total_usec = finding->baseline_some_usec;
	monitor_start_alarmed(child->monitor, finding->baseline_usec, &baseline,
			      finding->oom_known == TREE_OOM_UNKNOWN ? NULL : &known);
}

/* ---- the root ------------------------------------------------------------------------------- */

static void schedule(struct group *g, uint64_t now, uint64_t cost_usec)
{
	uint64_t pause = CLAMP(g->pause_factor * cost_usec, PAUSE_MIN_USEC,
			       MAX(PAUSE_MAX_USEC, PAUSE_FACTOR_MAX * cost_usec));

	g->pause_factor = MIN(2 * g->pause_factor, (unsigned)PAUSE_FACTOR_MAX);
	loop_timer_set(g->context->loop, &g->timer, now + pause);
}

/* What was killed below, or is about to be: PSI may have seen next to nothing of it, and while one is
 * Low and critical already the root's level says nothing of another. */
static uint64_t killed(const struct group *g)
{
	return g->root->events.oom + g->root->events.oom_kill;
}

static void sweep(struct group *g, uint64_t now)
{
	uint64_t killed_now = killed(g);
	struct tree_sweep s = { .look_for_oom = killed_now != g->swept_killed };
	int r = tree_sweep(g->tree, &s, now, found, g);

	g->sweeps++;
	if (r == 0)
		g->swept_killed = killed_now;
	g->swept_some_usec = g->root->psi.some.total_usec;
	if (r < 0 && r != -ENOENT)
		context_log(g->context, LOG_ERROR, "%s: the walk broke off: %s",
			    cgpattern_text(g->pattern), strerror(-r));
	if (s.baseline) /* what grew could not be told from what had grown before */
		g->pause_factor = PAUSE_FACTOR_FIRST;
	g->child_ended = finish_detach;
	schedule(g, now_usec(), s.duration_usec);
	g->owner->stepped(g->userdata);
}

static void root_stepped(struct monitor *monitor)
{
	struct group *g = monitor->userdata;

	if (monitor_is_resting(monitor)) {
		loop_timer_stop(g->context->loop, &g->timer);
		g->pause_factor = PAUSE_FACTOR_FIRST;
		g->child_ended = finish_detach;
	} else if (!g->timer.queued || killed(g) != g->swept_killed) {
		g->owner->stepped(
			g->userdata); /* the alarm is counted before the walk, which takes its time */
		sweep(g, now_usec());
	}
	g->owner->stepped(g->userdata);
}

static void root_gone(struct monitor *monitor, const struct psb_notification *n)
{
	struct group *g = monitor->userdata;

	(void)n;
	context_log(g->context, LOG_NOTE, "%s was removed; waiting for the next of that name",
		    monitor->label->path);
	monitor_detach(monitor);
}

static void root_moved(struct monitor *monitor, const struct psb_notification *n)
{
	struct group *g = monitor->userdata;

	g->owner->moved(g->userdata);
	g->owner->told(g->userdata, monitor->label, n);
}

static int path_appeared(struct path_wait *wait);

static void await_root(struct group *g)
{
	g->path_wait_busy = true;
	path_wait_start(&g->path_wait, g->label->path, path_appeared);
}

static void root_detached(struct monitor *monitor)
{
	struct group *g = monitor->userdata;

	g->past.samples += monitor->stats.samples;
	g->past.alarm_usec = MAX(g->past.alarm_usec, monitor->stats.alarm_usec);
	g->past.sample_usec = MAX(g->past.sample_usec, monitor->stats.sample_usec);
	g->past.alarms += monitor->stats.alarms;
	g->past.false_alarms += monitor->stats.false_alarms;
	g->past.lost_alarms += monitor->stats.lost_alarms;
	g->root = monitor_free(monitor);
	g->owner->moved(g->userdata);
	loop_timer_stop(g->context->loop, &g->timer);
	if (g->detaching)
		finish_detach(g);
	else
		await_root(g);
}

static const struct monitor_owner root_owner = {
	.gone = root_gone,
	.moved = root_moved,
	.stepped = root_stepped,
	.detached = root_detached,
};

/* A stall of t in the window W is all that its CPU was busy with, and the other CPUs were busy
 * throughout: t of t is averaged with 0 of W on each of them. */
static struct trigger root_early(const struct trigger *early)
{
	uint64_t t = early->threshold_usec,
		 others = (uint64_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L) - 1;

	return (struct trigger){ early->kind, MAX(t * t / (t + early->window_usec * others), 1u),
				 early->window_usec };
}

/*
 * On the loop's thread: record all counters, so that what stalled or was killed before is no news
 * later, then listen. It takes time in proportion to the cgroups, which is why psb_watch_new() does
 * not wait for it; an alarm meanwhile is not lost, the trigger is armed.
 */
static void begin(struct group *g)
{
	struct tree_sweep s = { .survey = true };
	int r = tree_sweep(g->tree, &s, now_usec(), found, g);

	if (r < 0 && r != -ENOENT) /* then the first sweep has no baseline */
		context_log(g->context, LOG_ERROR, "%s: the first look round broke off: %s",
			    cgpattern_text(g->pattern), strerror(-r));
	g->swept_killed = killed(g);
	monitor_attach(g->root);
}

/* memory.events alone would do for a single cgroup, not here: a sweep follows growth of `some`, so
 * without PSI nothing below is ever found. */
static int find_source(struct group *g, const struct trigger *early, struct source *ret, char *why)
{
	const struct target *target = g->target;
	int r = ladder_climb(target, early, g->mask, false, NULL, NULL, ret, why);

	if (r < 0 || ret->sample_fd >= 0)
		return r;
	source_close(ret, NULL);
	return ladder_climb(target, early, g->mask & ~(1u << ret->rung), false, NULL, NULL, ret,
			    why);
}

static int make_root(struct group *g, char *why)
{
	struct policy_options options = *g->options;
	struct source source = SOURCE_INIT;
	int r;

	options.early = root_early(&g->options->early);
	r = find_source(g, &options.early, &source, why);
	if (r < 0)
		return r;
	options.headroom_percent = 0; /* the root's level is not told */
	r = monitor_new(g->context, &root_owner, g, &options, &g->target->cgroups, g->label,
			g->target->has_cgroup, NULL, &source, &g->root);
	source_close(&source, g->context->closer);
	if (r < 0)
		return r;
	g->root->target = g->target;
	g->root->rungs = g->mask;
	r = monitor_first_look(g->root);
	if (r < 0)
		g->root = monitor_free(g->root);
	return r;
}

static int path_appeared(struct path_wait *wait)
{
	struct group *g = CONTAINER_OF(wait, struct group, path_wait);
	char why[WHY_MAX];
	int r = make_root(g, why);

	if (r < 0)
		return r;
	g->path_wait_busy = false;
	g->owner->moved(g->userdata);
	begin(g);
	return 0;
}

static void path_wait_over(struct path_wait *wait)
{
	struct group *g = CONTAINER_OF(wait, struct group, path_wait);

	g->path_wait_busy = false;
	finish_detach(g);
}

static void expired(struct loop_timer *timer, uint64_t now)
{
	struct group *g = CONTAINER_OF(timer, struct group, timer);

	if (!g->root || g->root->lost_cgroup)
		return;
	/* nothing can have grown below that did not grow here */
	if (g->root->psi.some.total_usec > g->swept_some_usec || killed(g) != g->swept_killed)
		sweep(g, now);
	else
		schedule(g, now, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

int group_new(struct monitor_context *context, const struct group_owner *owner, void *userdata,
	      const struct policy_options *options, const struct target *target,
	      struct label *label, const char *pattern, unsigned mask, struct group **ret,
	      char *why)
{
	struct group *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->context = context;
	g->owner = owner;
	g->userdata = userdata;
	g->options = options;
	g->target = target;
	g->label = label;
	g->mask = mask;
	g->pause_factor = PAUSE_FACTOR_FIRST;
	g->child_ended = finish_detach;
	g->timer = (struct loop_timer){ .expired = expired };
	g->path_wait.inotify_fd = -1;
	r = cgpattern_new(pattern, target->cgroups.v2.point, &g->pattern, NULL);
	if (r == 0)
		r = tree_new(&target->cgroups, g->pattern, &options->early, &g->tree);
	if (r == 0)
		r = make_root(g, why);
	if (r < 0) {
		group_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void group_attach(struct group *g)
{
	/* not sooner: psb_bridge_fd() takes another loop */
	path_wait_init(&g->path_wait, g->context->loop, &g->target->cgroups);
	g->path_wait.closer = g->context->closer;
	begin(g);
}

void group_detach(struct group *g)
{
	g->detaching = true;
	loop_timer_stop(g->context->loop, &g->timer);
	for (struct child *m = g->children; m; m = m->next)
		child_drop(m);
	if (g->root)
		monitor_detach(g->root);
	else if (g->path_wait_busy)
		path_wait_cancel(&g->path_wait, path_wait_over);
	else
		finish_detach(g);
}

struct group *group_free(struct group *g)
{
	if (!g)
		return NULL;
	while (g->children) {
		struct child *child = g->children;

		g->children = child->next;
		monitor_free(child->monitor);
		free(child);
	}
	if (context_is_child(g->context))
		g->path_wait.closer = NULL;
	path_wait_close(&g->path_wait);
	monitor_free(g->root);
	tree_free(g->tree);
	cgpattern_free(g->pattern);
	free(g);
	return NULL;
}

const struct monitor *group_root(const struct group *g)
{
	return g->root;
}
