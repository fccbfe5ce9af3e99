/* SPDX-License-Identifier: MIT */
/*
 * group-child.c - the cgroups of a pattern that are under observation
 *
 *     found by a sweep, or simulated --> child --told--> callbacks
 *                                          | rests (High), or its cgroup is gone
 *                                          v
 *                                       leaving --detached--> freed
 *
 * A child is a monitor without an alarm of its own: it is made, and samples, when its cgroup stalls,
 * and is freed at High. All other cgroups of the pattern are High.
 *
 * A simulation makes a child where there is none, and the child lives as any does. The sweeps know
 * children by their inodes, so they find no second one.
 */
#include "monitor/group-internal.h"

#include "kernel/file.h"
#include "kernel/pressure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

static void add_stats(struct psb_stats *sum, const struct psb_stats *one)
{
	sum->samples += one->samples;
	sum->sample_usec = MAX(sum->sample_usec, one->sample_usec);
	sum->low += one->low;
	sum->critical += one->critical;
	sum->neutral += one->neutral;
	sum->high += one->high;
	sum->bytes_back += one->bytes_back;
}

void child_drop(struct child *child)
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
	child->group->owner->told(child->group->userdata, monitor->label, n);
}

static void child_gone(struct monitor *monitor, const struct psb_notification *n)
{
	struct child *child = monitor->userdata;

	child_drop(child); /* first, so that it counts no more when it is told */
	if (child->told)   /* without a notification before, none is needed now */
		child->group->owner->told(child->group->userdata, monitor->label, n);
}

static void child_rests(struct monitor *monitor)
{
	child_drop(monitor->userdata);
}

void child_free(struct child *child)
{
	child->group->owner->release(child->group->userdata);
	monitor_free(child->monitor);
	free(child);
}

static void child_detached(struct monitor *monitor)
{
	struct child *child = monitor->userdata, **p;
	struct group *g = child->group;
	const struct memory_events *events = &monitor->events;

	tree_know_oom(g->tree, child->inode, (uint32_t)(events->oom + events->oom_kill));
	for (p = &g->children; *p != child; p = &(*p)->next)
		;
	*p = child->next;
	g->child_count--;
	g->freed++;
	add_stats(&g->past, &monitor->stats);
	child_free(child);
	g->owner->stepped(g->userdata);
	g->child_ended(g);
}

static const struct monitor_owner child_owner = {
	.told = child_told,
	.gone = child_gone,
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

/* The caller has found no child of this inode. */
int child_new(struct group *g, const char *path, uint64_t inode, struct child **ret)
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
			true, NULL, &source, &child->monitor);
	if (r == 0)
		r = g->owner->reserve(g->userdata);
	if (r < 0)
		goto out;
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

void child_add(struct group *g, struct child *child)
{
	child->number = ++g->made;
	child->next = g->children;
	g->children = child;
	g->child_count++;
}

/* ---- simulation ------------------------------------------------------------------------------ */

bool group_matches(const struct group *g, const char *path)
{
	return cgpattern_match(g->pattern, path);
}

/* The child for a cgroup whose level comes from elsewhere (simulated, taken over); 1: there is none,
 * and High needs none. */
static int child_for(struct group *g, const char *path, enum level level, struct child **ret)
{
	struct child *m;
	uint64_t inode = 0;
	int r = cgroup_inode(&g->target->cgroups, path, &inode);

	if (r < 0)
		return r;
	for (m = g->children; m; m = m->next)
		if (m->inode == inode && !m->leaving) {
			*ret = m;
			return 0;
		}
	if (level == LEVEL_HIGH)
		return 1;
	r = child_new(g, path, inode, &m);
	if (r < 0)
		return r;
	r = monitor_start_calm(m->monitor);
	if (r < 0) {
		child_free(m);
		return r;
	}
	child_add(g, m);
	*ret = m;
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

/* ---- questions -------------------------------------------------------------------------------- */

void group_list(struct group *g, psb_member_fn *fn, void *userdata)
{
	struct child *m = g->children;

	while (m) {
		uint64_t number = m->number, freed = g->freed;
		struct psb_notification n;
		struct label *label;

		if (m->leaving) {
			m = m->next;
			continue;
		}
		monitor_describe(m->monitor, PSB_REASON_PRESENT, &n);
		label = label_ref(m->monitor->label);
		fn(&n, userdata);
		label_unref(label);
		if (g->freed == freed) {
			m = m->next;
			continue;
		}
		/* `fn` dispatched, and a child was freed: perhaps this one */
		for (m = g->children; m && m->number >= number; m = m->next)
			;
	}
}

enum psb_available group_level(const struct group *g, bool *ret_critical)
{
	enum psb_available lowest = PSB_HIGH;
	bool critical = false;

	for (const struct child *m = g->children; m; m = m->next) {
		if (m->leaving)
			continue;
		lowest = MIN(lowest, (enum psb_available)m->monitor->policy.level);
		critical = critical || (m->monitor->policy.level == LEVEL_LOW &&
					m->monitor->policy.told_critical);
	}
	*ret_critical = critical;
	return lowest;
}

void group_count(const struct group *g, struct psb_stats *stats)
{
	add_stats(stats, &g->past);
	stats->alarms += g->past.alarms;
	stats->false_alarms += g->past.false_alarms;
	stats->lost_alarms += g->past.lost_alarms;
	stats->alarm_usec = g->past.alarm_usec;
	stats->sweeps = g->sweeps;
	stats->members = g->child_count;
	if (g->root) {
		stats->alarms += g->root->stats.alarms;
		stats->false_alarms += g->root->stats.false_alarms;
		stats->lost_alarms += g->root->stats.lost_alarms;
		stats->samples += g->root->stats.samples;
		stats->alarm_usec = MAX(stats->alarm_usec, g->root->stats.alarm_usec);
		stats->sample_usec = MAX(stats->sample_usec, g->root->stats.sample_usec);
	}
	for (const struct child *m = g->children; m; m = m->next)
		add_stats(stats, &m->monitor->stats);
}
