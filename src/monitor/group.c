/* SPDX-License-Identifier: MIT */
/*
 * group.c - alarm of the root -> sweep -> children that sample
 *
 *     root (monitor on the fixed part, the only alarm)
 *       | not at rest
 *       v
 *     sweep of the tree --- found --> child (monitor without an alarm) --- told --> callbacks
 *       ^                               | rests (High), or its cgroup is gone
 *       |                               v
 *       +-- again, less and less often  leaving --- detached --> freed
 *
 * All cgroups of the pattern without a child are High. A simulation makes a child where there is none,
 * and the child lives as any does; the sweeps know children by their inodes, so they find no second one.
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
 * With a forecast the limits of those that rest are looked at, too (ahead.h), and a limit that will be reached makes a child, which
 * tells Low, and ends as any does. All that is remembered of how a limit is approached is there, not in the child.
 *
 * When the fixed part is removed the group waits for the next one of that name.
 */
#include "monitor/group.h"

#include "kernel/file.h"
#include "kernel/pathwait.h"
#include "kernel/pressure.h"
#include "monitor/ahead.h"
#include "monitor/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define PAUSE_FACTOR_FIRST 2
#define PAUSE_FACTOR_MAX 50

struct child {
	struct child *next;
	struct group *group;
	uint64_t inode;
	uint64_t number; /* of those ever made: descending along the list */
	struct monitor *monitor;
	bool leaving, told;
};

struct group {
	struct monitor_context *context;
	const struct group_owner *owner;
	void *userdata;
	const struct policy_options *options; /* of its children */
	const struct target *target;
	struct label *label; /* the root's path */
	struct cgpattern *pattern;
	struct tree *tree;
	struct ahead *ahead;	       /* NULL: no forecast */
	struct loop_timer ahead_timer; /* its next sweep */
	struct monitor *root;
	struct memory_shared *shared; /* what is open of those above the root and its children */
	unsigned mask;
	struct child *children;
	uint64_t made;		    /* children, ever */
	struct loop_timer timer;    /* the next sweep */
	struct path_wait path_wait; /* of the next root */
	uint64_t swept_some_usec;   /* the root's total at the last sweep ... */
	uint64_t swept_killed;	    /* ... and its count of kills */
	unsigned pause_factor;
	bool detaching, path_wait_busy;
	struct psb_stats
		past; /* of monitors that were dropped, the count of sweeps, and the last effect */
};

/* Of the root only what it heard counts: its level is not told. */
static void add_stats(struct psb_stats *sum, const struct psb_stats *one, bool root)
{
	sum->samples += one->samples;
	sum->sample_usec = MAX(sum->sample_usec, one->sample_usec);
	if (root) {
		sum->alarms += one->alarms;
		sum->false_alarms += one->false_alarms;
		sum->lost_alarms += one->lost_alarms;
		sum->alarm_usec = MAX(sum->alarm_usec, one->alarm_usec);
		sum->stall_usec += one->stall_usec;
		return;
	}
	sum->low += one->low;
	sum->critical += one->critical;
	sum->neutral += one->neutral;
	sum->high += one->high;
	sum->bytes_back += one->bytes_back;
	sum->effects += one->effects;
}

/* The last one of all children: what the owner is told of is in the counters then. */
static void keep_effect(struct psb_stats *last, const struct psb_stats *one)
{
	last->unanswered = one->unanswered;
	last->effect_usec = one->effect_usec;
	last->effect_bytes = one->effect_bytes;
	last->effect_reported_bytes = one->effect_reported_bytes;
	last->first_back_usec = one->first_back_usec;
	last->stall_before_usec = one->stall_before_usec;
	last->stall_after_usec = one->stall_after_usec;
}

static void stop_timers(struct group *g)
{
	loop_timer_stop(g->context->loop, &g->timer);
	loop_timer_stop(g->context->loop, &g->ahead_timer);
}

/* If it is detaching, and nothing of it is in the loop any more: tell the owner. */
static void finish_detach(struct group *g)
{
	if (g->detaching && !g->children && !g->root && !g->path_wait_busy)
		g->owner->detached(g->userdata);
}

/* ---- children -------------------------------------------------------------------------------- */

static void child_drop(struct child *child)
{
	if (child->leaving)
		return;
	child->leaving = true;
	monitor_detach(child->monitor);
}

static void child_told(struct monitor *monitor, const struct psb_notification *n)
{
	struct child *child = monitor->userdata;

	child->told = true;
	if (child->group->ahead && n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW &&
	    n->reason != PSB_REASON_SIMULATED)
		ahead_told(child->group->ahead, monitor->label->path,
			   n->reason == PSB_REASON_FORECAST);
	if (n->kind == PSB_KIND_EFFECT)
		keep_effect(&child->group->past, &monitor->stats);
	child->group->owner->told(child->group->userdata, monitor->label, n);
}

static void child_gone(struct monitor *monitor, const struct psb_notification *n)
{
	struct child *child = monitor->userdata;

	child_drop(child); /* first, so that it counts no more when it is told */
	if (child->told)   /* without a notification before, none is needed now */
		child->group->owner->told(child->group->userdata, monitor->label, n);
}

static void child_sampled(struct monitor *monitor, const struct psb_notification *n)
{
	const struct child *child = monitor->userdata;

	child->group->owner->sampled(child->group->userdata, monitor->label, n);
}

static void child_rests(struct monitor *monitor)
{
	child_drop(monitor->userdata);
}

static void child_free(struct child *child)
{
	child->group->owner->release(child->group->userdata);
	monitor_free(child->monitor);
	free(child);
}

static void child_detached(struct monitor *monitor)
{
	struct child *child = monitor->userdata, **p;
	struct group *g = child->group;

	tree_know_oom(g->tree, child->inode,
		      (uint32_t)(monitor->events.oom + monitor->events.oom_kill));
	for (p = &g->children; *p != child; p = &(*p)->next)
		;
	*p = child->next;
	add_stats(&g->past, &monitor->stats, false);
	child_free(child);
	g->owner->stepped(g->userdata);
	finish_detach(g);
}

static const struct monitor_owner child_owner = {
	.told = child_told,
	.gone = child_gone,
	.sampled = child_sampled,
	.rests = child_rests,
	.detached = child_detached,
};

static int open_child(struct group *g, const char *path, struct source *ret)
{
	int dirfd = cgroup_open(&g->target->cgroups, path), r;

	if (dirfd < 0)
		return dirfd;
	*ret = (struct source)SOURCE_INIT;
	ret->kind = SOURCE_SAMPLING;
	ret->rung = g->root ? g->root->source.rung : PSB_RUNG_SAMPLING;
	r = pressure_open(dirfd, "memory.pressure", &ret->sample_fd);
	if (r == 0)
		r = memory_events_open(dirfd, &ret->events_fd);
	close(dirfd);
	return ret->sample_fd < 0 || is_shortage(r) ? r : 0;
}

/* Its cgroup was removed and made anew, and the old one's end must not be told after what the new one
 * has to say. */
static void end_earlier(struct group *g, const char *path)
{
	for (struct child *child = g->children; child; child = child->next)
		if (!child->leaving && strcmp(child->monitor->label->path, path) == 0)
			monitor_lose_cgroup(child->monitor);
}

/* Not in the list yet; the caller has found no child of this inode. Errors: -ENOENT, -ENODEV (the cgroup
 * is gone), what opening says, -ENOMEM. */
static int child_new(struct group *g, const char *path, uint64_t inode, struct child **ret)
{
	struct child *child = calloc(1, sizeof(*child));
	struct source source = SOURCE_INIT;
	struct label *label = NULL;
	int r = -ENOMEM;

	if (!child || label_new(path, &label) < 0)
		goto out;
	r = open_child(g, path, &source);
	if (r < 0)
		goto out;
	child->group = g;
	child->inode = inode;
	r = monitor_new(g->context, &child_owner, child, g->options, &g->target->cgroups, label,
			true, g->target->cgroups.has_v1 ? label->path : NULL, &g->shared, &source,
			&child->monitor);
	if (r == 0)
		r = g->owner->reserve(g->userdata);
	if (r < 0)
		goto out;
	child->monitor->foreseen = true;
	end_earlier(g, path);
	*ret = steal(child);
out:
	source_close(&source, NULL);
	label_unref(label);
	if (child)
		monitor_free(child->monitor);
	free(child);
	return r;
}

static void child_add(struct group *g, struct child *child)
{
	child->number = ++g->made;
	child->next = g->children;
	g->children = child;
}

static struct child *find_child(const struct group *g, uint64_t inode, bool leaving_too)
{
	for (struct child *child = g->children; child; child = child->next)
		if (child->inode == inode && (leaving_too || !child->leaving))
			return child;
	return NULL;
}

/* ---- sweeps --------------------------------------------------------------------------------- */

static void found(void *userdata, const struct tree_finding *finding)
{
	struct group *g = userdata;
	struct psi baseline = finding->psi;
	const struct memory_events known = { .oom = finding->oom_known };
	struct child *child;
	int r;

	if (find_child(g, finding->inode, true))
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
	baseline.some.total_usec = finding->baseline_some_usec;
	monitor_start_alarmed(child->monitor, finding->baseline_usec, &baseline,
			      finding->oom_known == TREE_OOM_UNKNOWN ? NULL : &known);
}

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

	g->past.sweeps++;
	if (r == 0)
		g->swept_killed = killed_now;
	g->swept_some_usec = g->root->psi.some.total_usec;
	if (r < 0 && r != -ENOENT)
		context_log(g->context, LOG_ERROR, "%s: the walk broke off: %s",
			    cgpattern_text(g->pattern), strerror(-r));
	if (s.baseline) /* what grew could not be told from what had grown before */
		g->pause_factor = PAUSE_FACTOR_FIRST;
	schedule(g, now_usec(), s.duration_usec);
	g->owner->stepped(g->userdata);
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

/* ---- the root ------------------------------------------------------------------------------- */

static void root_stepped(struct monitor *monitor)
{
	struct group *g = monitor->userdata;

	if (monitor_is_resting(monitor)) {
		loop_timer_stop(g->context->loop, &g->timer);
		g->pause_factor = PAUSE_FACTOR_FIRST;
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

static void root_detached(struct monitor *monitor)
{
	struct group *g = monitor->userdata;

	add_stats(&g->past, &monitor->stats, true);
	g->root = monitor_free(monitor);
	g->owner->moved(g->userdata);
	stop_timers(g);
	if (g->detaching) {
		finish_detach(g);
	} else {
		g->path_wait_busy = true;
		path_wait_start(&g->path_wait, g->label->path, path_appeared);
	}
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
	if (g->ahead)
		loop_timer_set(g->context->loop, &g->ahead_timer, now_usec());
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
	options.forecast_usec = FORECAST_OFF;
	options.descendants = DESCENDANTS_COUNT;
	r = monitor_new(g->context, &root_owner, g, &options, &g->target->cgroups, g->label,
			g->target->has_cgroup, NULL, &g->shared, &source, &g->root);
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

/* ---- simulation ------------------------------------------------------------------------------ */

bool group_matches(const struct group *g, const char *path)
{
	return cgpattern_match(g->pattern, path);
}

/* The child for a cgroup whose level comes from elsewhere (simulated, taken over, foreseen); 1: there is none,
 * and High needs none. */
static int child_for(struct group *g, const char *path, enum level level, struct child **ret)
{
	struct child *child;
	uint64_t inode = 0;
	int r = cgroup_inode(&g->target->cgroups, path, &inode);

	if (r < 0)
		return r;
	child = find_child(g, inode, false);
	if (!child && level == LEVEL_HIGH)
		return 1;
	if (!child) {
		r = child_new(g, path, inode, &child);
		if (r < 0)
			return r;
		r = monitor_start_calm(child->monitor);
		if (r < 0) {
			child_free(child);
			return r;
		}
		child_add(g, child);
	}
	*ret = child;
	return 0;
}

/* A program was told Low by another process, and nothing here would tell it the end. */
static void end_untold(struct group *g, struct label *label)
{
	struct psb_notification n = {
		.size = sizeof(n),
		.kind = PSB_KIND_LEVEL,
		.available = PSB_HIGH,
		.reason = PSB_REASON_CALM,
		.time_usec = now_usec(),
	};

	g->owner->told(g->userdata, label, &n);
}

void group_simulate(struct group *g, struct label *label, enum level level, bool critical,
		    uint64_t told_usec)
{
	struct child *child;
	int r;

	if (g->detaching)
		return;
	r = child_for(g, label->path, level, &child);
	if (r < 0) {
		bool gone = r == -ENOENT || r == -ENODEV;

		context_log(g->context, gone ? LOG_NOTE : LOG_ERROR, "%s: no level can be set: %s",
			    label->path, strerror(-r));
		if (told_usec > 0 && !gone && level != LEVEL_HIGH)
			end_untold(g, label);
	}
	if (r != 0)
		return;
	if (told_usec > 0) {
		/* a Low must be followed by its end, even if that is GONE */
		child->told = child->told || level != LEVEL_HIGH;
		monitor_resume(child->monitor, level, critical, told_usec);
	} else {
		monitor_signal(child->monitor, level, critical, REASON_SIMULATED);
	}
	g->owner->stepped(g->userdata);
}

void group_report(struct group *g, const char *path, uint64_t bytes, uint64_t usec)
{
	struct child *child = NULL;

	if (!g->detaching)
		(void)child_for(g, path, LEVEL_HIGH, &child);
	if (child)
		monitor_report(child->monitor, bytes, usec);
}

/* ---- forecast --------------------------------------------------------------------------------- */

static void foreseen(void *userdata, const char *path, size_t length, uint64_t left_usec)
{
	struct group *g = userdata;
	struct child *child;
	int r = g->detaching ? -ENODEV : child_for(g, path, LEVEL_LOW, &child);

	if (r == 0) {
		monitor_foresee(child->monitor, left_usec, length);
		g->owner->stepped(g->userdata);
	} else if (r != -ENOENT && r != -ENODEV) {
		context_log(g->context, LOG_ERROR,
			    "%s reaches a limit soon, but cannot be measured: %s", path,
			    strerror(-r));
	}
}

static void look_ahead(struct loop_timer *timer, uint64_t now)
{
	struct group *g = CONTAINER_OF(timer, struct group, ahead_timer);
	uint64_t next = ahead_sweep(g->ahead, now, foreseen, g);

	if (!g->detaching && g->root)
		loop_timer_set(g->context->loop, timer, next);
}

/* ---- questions -------------------------------------------------------------------------------- */

void group_list(struct group *g, psb_member_fn *fn, void *userdata)
{
	uint64_t before = UINT64_MAX;

	/* from the front each time: `fn` may dispatch, and children be freed meanwhile */
	for (struct child *child = g->children; child;) {
		struct psb_notification n;
		struct label *label;

		if (child->leaving || child->number >= before) {
			child = child->next;
			continue;
		}
		before = child->number;
		monitor_describe(child->monitor, PSB_REASON_PRESENT, &n);
		label = label_ref(child->monitor->label);
		fn(&n, userdata);
		label_unref(label);
		child = g->children;
	}
}

enum psb_available group_level(const struct group *g, bool *ret_critical)
{
	enum level lowest = LEVEL_HIGH;

	*ret_critical = false;
	for (const struct child *child = g->children; child; child = child->next) {
		const struct policy *p = &child->monitor->policy;

		if (child->leaving)
			continue;
		lowest = MIN(lowest, p->level);
		if (p->level == LEVEL_LOW && p->told_critical)
			*ret_critical = true;
	}
	return (enum psb_available)lowest;
}

void group_count(const struct group *g, struct psb_stats *ret)
{
	*ret = g->past;
	ret->size = sizeof(*ret);
	if (g->root)
		add_stats(ret, &g->root->stats, true);
	for (const struct child *child = g->children; child; child = child->next) {
		add_stats(ret, &child->monitor->stats, false);
		ret->members++;
	}
}

const struct monitor *group_root(const struct group *g)
{
	return g->root;
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
	g->timer = (struct loop_timer){ .expired = expired };
	g->ahead_timer = (struct loop_timer){ .expired = look_ahead };
	g->path_wait.inotify_fd = -1;
	r = cgpattern_new(pattern, target->cgroups.v2.point, &g->pattern, NULL);
	if (r == 0)
		r = tree_new(&target->cgroups, g->pattern, &options->early, &g->tree);
	if (r == 0 && options->forecast_usec != FORECAST_OFF && options->forecast_usec > 0)
		r = ahead_new(&target->cgroups, g->pattern, g->tree, options->forecast_usec,
			      &g->ahead);
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
	stop_timers(g);
	for (struct child *child = g->children; child; child = child->next)
		child_drop(child);
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
	ahead_free(g->ahead);
	tree_free(g->tree);
	cgpattern_free(g->pattern);
	free(g);
	return NULL;
}
