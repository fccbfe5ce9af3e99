/* SPDX-License-Identifier: MIT */
/*
 * grove.c - the trunk rings, a sweep finds, members measure
 *
 *     trunk (meter on the fixed part, the only alarm)
 *       | not at rest
 *       v
 *     sweep of the tree --- found --> member (meter without an alarm) --- told --> callbacks
 *       ^                               |
 *       +-- again, less and less often  +-- rests: dropped
 *
 * The trunk's own level is told to nobody; it only says whether something below stalls. It says so
 * faintly: the kernel averages `some` over CPUs, weighted by how long each was not idle
 * (collect_percpu_times() in kernel/sched/psi.c), so CPUs that are busy with other cgroups dilute a
 * stall. Measured on two CPUs: a child's 2963 ms were 1482 ms at its parent while the other CPU was
 * busy, and 2132 of 2133 ms while it was idle. trunk_early() is what is left of early in the worst
 * case. A busy machine may so keep the trunk awake for nothing; the growing pauses bound what that
 * costs.
 *
 * Sweeping goes on while the trunk is awake, because `some` of the trunk cannot show a second cgroup
 * that stalls while a first one does. A sweep costs time in proportion to the cgroups, so the pause
 * after it is a multiple of what it took: short at first and after news, up to 50 times when sweeps
 * find nothing new, so that it stays under 2 % of a core and only while somebody stalls.
 *
 * When the fixed part is removed the grove waits for the birth of the next one of that name. What
 * was just born may refuse to be watched; then it tries again, less and less often.
 */
#include "library/grove-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define PAUSE_FACTOR_FIRST 2
#define PAUSE_FACTOR_MAX 50
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (10 * USEC_PER_SEC)

static void sweep(struct grove *g, bool oom, uint64_t now);

void grove_finish_detach(struct grove *g)
{
	if (g->detaching && !g->members && !g->trunk && !g->birth_busy)
		watch_free(g->watch);
}

static void found(void *userdata, const struct tree_finding *finding)
{
	struct grove *g = userdata;
	struct psi baseline = finding->psi;
	struct member *member;
	int r;

	for (member = g->members; member; member = member->next)
		if (member->inode == finding->inode)
			return;
	r = member_new(g, finding->path, finding->inode, &member);
	if (r < 0) {
		if (r != -ENOENT && r != -ENODEV)
			bridge_log(g->watch->bridge, LOG_ERROR,
				   "%s stalls, but cannot be measured: %s", finding->path,
				   strerror(-r));
		return;
	}
	member_add(g, member);
	g->pause_factor = PAUSE_FACTOR_FIRST;
	baseline.some.total_usec = finding->baseline_some_usec;
	meter_start_alarmed(member->meter, finding->baseline_usec, &baseline, finding->oom);
}

/* ---- the trunk ------------------------------------------------------------------------------- */

static void schedule(struct grove *g, uint64_t now, uint64_t cost_usec)
{
	uint64_t pause = CLAMP(g->pause_factor * cost_usec, PAUSE_MIN_USEC,
			       MAX(PAUSE_MAX_USEC, PAUSE_FACTOR_MAX * cost_usec));

	g->pause_factor = MIN(2 * g->pause_factor, (unsigned)PAUSE_FACTOR_MAX);
	loop_timer_set(g->watch->bridge->loop, &g->timer, now + pause);
}

static void sweep(struct grove *g, bool oom, uint64_t now)
{
	struct tree_sweep s = { .look_for_oom = oom };
	int r = tree_sweep(g->tree, &s, now, found, g);

	g->sweeps++;
	g->swept_some_usec = g->trunk->psi.some.total_usec;
	if (r < 0 && r != -ENOENT)
		bridge_log(g->watch->bridge, LOG_ERROR, "%s: the walk broke off: %s",
			   cgpattern_text(g->pattern), strerror(-r));
	if (s.baseline) /* what grew could not be told from what had grown before */
		g->pause_factor = PAUSE_FACTOR_FIRST;
	schedule(g, now_usec(), s.duration_usec);
	watch_publish(g->watch);
}

static void trunk_stepped(struct meter *meter)
{
	struct grove *g = meter->userdata;

	if (meter_is_resting(meter)) {
		loop_timer_stop(g->watch->bridge->loop, &g->timer);
		g->pause_factor = PAUSE_FACTOR_FIRST;
	} else if (!g->timer.queued) {
		watch_publish(
			g->watch); /* the alarm is counted before the walk, which takes its time */
		sweep(g, false, now_usec());
	}
	watch_publish(g->watch);
}

static void trunk_told(struct meter *meter, const struct psb_notification *n)
{
	/* somebody below was killed, or is about to be: PSI may have seen next to nothing of it */
	if (n->reason == PSB_REASON_OOM)
		sweep(meter->userdata, true, now_usec());
}

static void trunk_gone(struct meter *meter, const struct psb_notification *n)
{
	struct grove *g = meter->userdata;

	(void)n;
	bridge_log(g->watch->bridge, LOG_NOTE, "%s was removed; waiting for the next of that name",
		   meter->label->path);
	meter_detach(meter);
}

static void trunk_moved(struct meter *meter, const struct psb_notification *n)
{
	struct grove *g = meter->userdata;

	watch_publish_source(g->watch);
	watch_tell(g->watch, meter->label, n);
}

static void born(struct birth *birth);

static void await_trunk(struct grove *g)
{
	g->birth_busy = true;
	birth_wait(&g->birth, g->watch->label->path, born);
}

static void trunk_detached(struct meter *meter)
{
	struct grove *g = meter->userdata;

	g->past.samples += meter->stats.samples;
	g->past.alarms += meter->stats.alarms;
	g->past.false_alarms += meter->stats.false_alarms;
	g->past.lost_alarms += meter->stats.lost_alarms;
	g->trunk = meter_free(meter);
	loop_timer_stop(g->watch->bridge->loop, &g->timer);
	if (g->detaching)
		grove_finish_detach(g);
	else
		await_trunk(g);
}

static const struct meter_owner trunk_owner = {
	.told = trunk_told,
	.gone = trunk_gone,
	.moved = trunk_moved,
	.stepped = trunk_stepped,
	.detached = trunk_detached,
};

/* A stall of t in the window W is all that its CPU was busy with, and the other CPUs were busy
 * throughout: t of t is averaged with 0 of W on each of them. */
static struct trigger trunk_early(const struct trigger *early)
{
	uint64_t t = early->threshold_usec,
		 others = (uint64_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1L) - 1;

	return (struct trigger){ early->kind, MAX(t * t / (t + early->window_usec * others), 1u),
				 early->window_usec };
}

/*
 * On the loop's thread: note where everybody stands, so that what stalled or was killed before is
 * no news later, then listen. It takes time in proportion to the cgroups, which is why
 * psb_watch_new() does not wait for it; an alarm that rings meanwhile is not lost, the trigger is
 * armed.
 */
static void begin(struct grove *g)
{
	struct tree_sweep s = { .survey = true };
	int r = tree_sweep(g->tree, &s, now_usec(), found, g);

	if (r < 0 && r != -ENOENT) /* the first sweep will have to do without */
		bridge_log(g->watch->bridge, LOG_ERROR, "%s: the first look round broke off: %s",
			   cgpattern_text(g->pattern), strerror(-r));
	meter_attach(g->trunk);
}

static int plant_trunk(struct grove *g, char *why)
{
	struct psb_watch *w = g->watch;
	struct policy_options options = w->options;
	struct source source = SOURCE_INIT;
	int r;

	options.early = trunk_early(&w->options.early);
	r = ladder_climb(&w->target, &options.early, g->mask, false, NULL, NULL, &source, why);

	if (r < 0)
		return r;
	options.headroom_percent = 0; /* nobody is told the trunk's level */
	r = meter_new(w->bridge, &trunk_owner, g, &options, &w->target.cgroups, w->label,
		      w->target.has_cgroup, NULL, &source, &g->trunk);
	source_close(&source, w->bridge->closer);
	if (r < 0)
		return r;
	g->trunk->target = &w->target;
	g->trunk->rungs = g->mask;
	r = meter_first_look(g->trunk);
	if (r < 0)
		g->trunk = meter_free(g->trunk);
	return r;
}

static void born(struct birth *birth)
{
	struct grove *g = CONTAINER_OF(birth, struct grove, birth);
	char why[WHY_MAX];

	g->birth_busy = false;
	if (plant_trunk(g, why) < 0) {
		g->retry_usec = CLAMP(2 * g->retry_usec, RETRY_MIN_USEC, RETRY_MAX_USEC);
		loop_timer_set(g->watch->bridge->loop, &g->timer, now_usec() + g->retry_usec);
		return;
	}
	g->retry_usec = 0;
	watch_publish_source(g->watch);
	begin(g);
}

static void birth_over(struct birth *birth)
{
	struct grove *g = CONTAINER_OF(birth, struct grove, birth);

	g->birth_busy = false;
	grove_finish_detach(g);
}

static void expired(struct loop_timer *timer, uint64_t now)
{
	struct grove *g = CONTAINER_OF(timer, struct grove, timer);

	if (g->trunk && !g->trunk->lost_cgroup) {
		/* nothing can have grown below that did not grow here */
		if (g->trunk->psi.some.total_usec > g->swept_some_usec)
			sweep(g, false, now);
		else
			schedule(g, now, 0);
	} else if (!g->trunk && !g->birth_busy) {
		await_trunk(g);
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

int grove_new(struct psb_watch *watch, const char *pattern, unsigned mask, struct grove **ret,
	      char *why)
{
	struct grove *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->watch = watch;
	g->mask = mask;
	g->pause_factor = PAUSE_FACTOR_FIRST;
	g->timer = (struct loop_timer){ .expired = expired };
	g->birth.inotify_fd = -1;
	r = cgpattern_new(pattern, watch->target.cgroups.v2.point, &g->pattern, NULL);
	if (r == 0)
		r = tree_new(&watch->target.cgroups, g->pattern, &watch->options.early, &g->tree);
	if (r == 0)
		r = plant_trunk(g, why);
	if (r < 0) {
		grove_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void grove_attach(struct grove *g)
{
	/* not sooner: psb_bridge_fd() takes another loop */
	birth_init(&g->birth, g->watch->bridge->loop, &g->watch->target.cgroups);
	g->birth.closer = g->watch->bridge->closer;
	begin(g);
}

void grove_detach(struct grove *g)
{
	g->detaching = true;
	loop_timer_stop(g->watch->bridge->loop, &g->timer);
	for (struct member *m = g->members; m; m = m->next)
		member_drop(m);
	if (g->trunk)
		meter_detach(g->trunk);
	else if (g->birth_busy)
		birth_cancel(&g->birth, birth_over);
	else
		grove_finish_detach(g);
}

struct grove *grove_free(struct grove *g)
{
	if (!g)
		return NULL;
	while (g->members) {
		struct member *member = g->members;

		g->members = member->next;
		meter_free(member->meter);
		free(member);
	}
	if (bridge_is_child(g->watch->bridge))
		g->birth.closer = NULL;
	birth_close(&g->birth);
	meter_free(g->trunk);
	tree_free(g->tree);
	cgpattern_free(g->pattern);
	free(g);
	return NULL;
}

const struct meter *grove_trunk(const struct grove *g)
{
	return g->trunk;
}
