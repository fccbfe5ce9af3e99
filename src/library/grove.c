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
 * When the fixed part is removed the grove waits for the next one of that name, looking once a
 * second, then every ten.
 */
#include "library/grove.h"

#include "kernel/file.h"
#include "kernel/pressure.h"
#include "kernel/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define PAUSE_FACTOR_FIRST 2
#define PAUSE_FACTOR_MAX 50
#define REBIRTH_MIN_USEC (1 * USEC_PER_SEC)
#define REBIRTH_MAX_USEC (10 * USEC_PER_SEC)

struct member {
	struct member *next;
	struct grove *grove;
	uint64_t inode;
	struct meter *meter;
	bool leaving, told;
};

struct grove {
	struct psb_watch *watch;
	struct cgpattern *pattern;
	struct tree *tree;
	struct meter *trunk;
	unsigned mask;
	struct member *members;
	unsigned member_count;
	struct loop_timer timer;  /* the next sweep, or the next look for a new trunk */
	uint64_t swept_some_usec; /* the trunk's total at the last sweep */
	unsigned pause_factor;
	uint64_t rebirth_usec;
	bool detaching;
	struct psb_stats past; /* of members that were dropped */
	unsigned sweeps;
};

static void sweep(struct grove *g, bool oom, uint64_t now);

/* ---- members --------------------------------------------------------------------------------- */

static void add_stats(struct psb_stats *sum, const struct psb_stats *one)
{
	sum->samples += one->samples;
	sum->low += one->low;
	sum->critical += one->critical;
	sum->neutral += one->neutral;
	sum->high += one->high;
	sum->bytes_back += one->bytes_back;
}

static void drop(struct member *member)
{
	if (member->leaving)
		return;
	member->leaving = true;
	meter_detach(member->meter);
}

static void member_told(struct meter *meter, const struct psb_notification *n)
{
	struct member *member = meter->userdata;

	member->told = true;
	watch_tell(member->grove->watch, meter->label, n);
}

static void member_gone(struct meter *meter, const struct psb_notification *n)
{
	struct member *member = meter->userdata;

	drop(member);	  /* first, so that it counts no more when it is told */
	if (member->told) /* who was never spoken of may go in silence */
		watch_tell(member->grove->watch, meter->label, n);
}

static void member_rests(struct meter *meter)
{
	drop(meter->userdata);
}

static void finish_detach(struct grove *g)
{
	if (g->detaching && !g->members && !g->trunk)
		watch_free(g->watch);
}

static void member_detached(struct meter *meter)
{
	struct member *member = meter->userdata, **p;
	struct grove *g = member->grove;

	for (p = &g->members; *p != member; p = &(*p)->next)
		;
	*p = member->next;
	g->member_count--;
	add_stats(&g->past, &meter->stats);
	meter_free(meter);
	free(member);
	watch_publish(g->watch);
	finish_detach(g);
}

static const struct meter_owner member_owner = {
	.told = member_told,
	.gone = member_gone,
	.rests = member_rests,
	.detached = member_detached,
};

static int open_member(struct grove *g, const char *path, struct source *ret)
{
	int dirfd = cgroup_open(&g->watch->target.cgroups, path), r;

	if (dirfd < 0)
		return dirfd;
	*ret = (struct source)SOURCE_INIT;
	ret->kind = SOURCE_SAMPLING;
	ret->rung = g->trunk->source.rung;
	r = pressure_open(dirfd, "memory.pressure", &ret->sample_fd);
	if (r == 0)
		memory_events_open(dirfd, &ret->events_fd);
	close(dirfd);
	return r;
}

static int member_new(struct grove *g, const struct tree_finding *finding, struct member **ret)
{
	struct psb_watch *w = g->watch;
	struct member *member = calloc(1, sizeof(*member));
	struct source source = SOURCE_INIT;
	struct label *label = NULL;
	int r = -ENOMEM;

	if (!member || label_new(finding->path, &label) < 0)
		goto out;
	r = open_member(g, finding->path, &source);
	if (r < 0)
		goto out;
	member->grove = g;
	member->inode = finding->inode;
	r = meter_new(w->bridge, &member_owner, member, &w->options, &w->target.cgroups, label,
		      true, NULL, &source, &member->meter);
	if (r < 0)
		goto out;
	*ret = steal(member);
out:
	source_close(&source, NULL);
	pthread_mutex_lock(&w->bridge->lock);
	label_unref(label);
	pthread_mutex_unlock(&w->bridge->lock);
	free(member);
	return r;
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
	r = member_new(g, finding, &member);
	if (r < 0) {
		if (r != -ENOENT && r != -ENODEV)
			bridge_log(g->watch->bridge, LOG_ERROR,
				   "%s stalls, but cannot be measured: %s", finding->path,
				   strerror(-r));
		return;
	}
	member->next = g->members;
	g->members = member;
	g->member_count++;
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

static void trunk_detached(struct meter *meter)
{
	struct grove *g = meter->userdata;

	g->past.samples += meter->stats.samples;
	g->past.alarms += meter->stats.alarms;
	g->past.false_alarms += meter->stats.false_alarms;
	g->past.lost_alarms += meter->stats.lost_alarms;
	g->trunk = meter_free(meter);
	if (g->detaching) {
		finish_detach(g);
	} else {
		g->rebirth_usec = REBIRTH_MIN_USEC;
		loop_timer_set(g->watch->bridge->loop, &g->timer, now_usec() + g->rebirth_usec);
	}
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

static void expired(struct loop_timer *timer, uint64_t now)
{
	struct grove *g = CONTAINER_OF(timer, struct grove, timer);
	char why[WHY_MAX];

	if (g->trunk && !g->trunk->lost_cgroup) {
		/* nothing can have grown below that did not grow here */
		if (g->trunk->psi.some.total_usec > g->swept_some_usec)
			sweep(g, false, now);
		else
			schedule(g, now, 0);
	} else if (!g->trunk && !g->detaching) {
		if (plant_trunk(g, why) == 0) {
			watch_publish_source(g->watch);
			begin(g);
			return;
		}
		g->rebirth_usec = MIN(2 * g->rebirth_usec, REBIRTH_MAX_USEC);
		loop_timer_set(g->watch->bridge->loop, timer, now + g->rebirth_usec);
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
	begin(g);
}

void grove_detach(struct grove *g)
{
	g->detaching = true;
	loop_timer_stop(g->watch->bridge->loop, &g->timer);
	for (struct member *m = g->members; m; m = m->next)
		drop(m);
	if (g->trunk)
		meter_detach(g->trunk);
	else
		finish_detach(g);
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
	meter_free(g->trunk);
	tree_free(g->tree);
	cgpattern_free(g->pattern);
	free(g);
	return NULL;
}

enum psb_available grove_level(const struct grove *g, bool *ret_critical)
{
	enum psb_available lowest = PSB_HIGH;
	bool critical = false;

	for (const struct member *m = g->members; m; m = m->next) {
		if (m->leaving)
			continue;
		lowest = MIN(lowest, (enum psb_available)m->meter->policy.level);
		critical = critical ||
			   (m->meter->policy.level == LEVEL_LOW && m->meter->policy.told_critical);
	}
	*ret_critical = critical;
	return lowest;
}

void grove_count(const struct grove *g, struct psb_stats *stats)
{
	add_stats(stats, &g->past);
	stats->alarms += g->past.alarms;
	stats->false_alarms += g->past.false_alarms;
	stats->lost_alarms += g->past.lost_alarms;
	stats->sweeps = g->sweeps;
	stats->members = g->member_count;
	if (g->trunk) {
		stats->alarms += g->trunk->stats.alarms;
		stats->false_alarms += g->trunk->stats.false_alarms;
		stats->lost_alarms += g->trunk->stats.lost_alarms;
		stats->samples += g->trunk->stats.samples;
	}
	for (const struct member *m = g->members; m; m = m->next)
		add_stats(stats, &m->meter->stats);
}

const struct meter *grove_trunk(const struct grove *g)
{
	return g->trunk;
}
