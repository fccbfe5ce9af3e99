/* SPDX-License-Identifier: MIT */
/*
 * grove-member.c - the cgroups of a pattern that are under observation
 *
 *     found by a sweep, or simulated --> member --told--> callbacks
 *                                          | rests (High), or its cgroup is gone
 *                                          v
 *                                       leaving --detached--> freed
 *
 * A member is a meter without an alarm of its own: sampling begins when something is the matter, and
 * the member goes when it is over. All others of the pattern are High.
 *
 * A simulation makes a member where there is none, and the member lives as any does. The sweeps know
 * members by their inodes, so they find no second one.
 */
#include "library/grove-internal.h"

#include "kernel/file.h"
#include "kernel/pressure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

static void add_stats(struct psb_stats *sum, const struct psb_stats *one)
{
	sum->samples += one->samples;
	sum->low += one->low;
	sum->critical += one->critical;
	sum->neutral += one->neutral;
	sum->high += one->high;
	sum->bytes_back += one->bytes_back;
}

void member_drop(struct member *member)
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

	member_drop(member); /* first, so that it counts no more when it is told */
	if (member->told)    /* who was never spoken of may go in silence */
		watch_tell(member->grove->watch, meter->label, n);
}

static void member_rests(struct meter *meter)
{
	member_drop(meter->userdata);
}

static void member_detached(struct meter *meter)
{
	struct member *member = meter->userdata, **p;
	struct grove *g = member->grove;

	for (p = &g->members; *p != member; p = &(*p)->next)
		;
	*p = member->next;
	g->member_count--;
	g->freed++;
	add_stats(&g->past, &meter->stats);
	meter_free(meter);
	free(member);
	watch_publish(g->watch);
	grove_finish_detach(g);
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
	ret->rung = g->trunk ? g->trunk->source.rung : PSB_RUNG_SAMPLING;
	r = pressure_open(dirfd, "memory.pressure", &ret->sample_fd);
	if (r == 0)
		memory_events_open(dirfd, &ret->events_fd);
	close(dirfd);
	return r;
}

int member_new(struct grove *g, const char *path, uint64_t inode, struct member **ret)
{
	struct psb_watch *w = g->watch;
	struct member *member = calloc(1, sizeof(*member));
	struct source source = SOURCE_INIT;
	struct label *label = NULL;
	int r = -ENOMEM;

	if (!member || label_new(path, &label) < 0)
		goto out;
	r = open_member(g, path, &source);
	if (r < 0)
		goto out;
	member->grove = g;
	member->inode = inode;
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

void member_add(struct grove *g, struct member *member)
{
	member->number = ++g->made;
	member->next = g->members;
	g->members = member;
	g->member_count++;
}

/* ---- simulation ------------------------------------------------------------------------------ */

bool grove_matches(const struct grove *g, const char *path)
{
	return cgpattern_match(g->pattern, path);
}

static int inode_of(const struct grove *g, const char *path, uint64_t *ret)
{
	int dirfd = cgroup_open(&g->watch->target.cgroups, path), r;
	struct stat st;

	if (dirfd < 0)
		return dirfd;
	r = fstat(dirfd, &st) < 0 ? -errno : 0;
	close(dirfd);
	if (r == 0)
		*ret = st.st_ino;
	return r;
}

/* The member for a cgroup that is to be told what it would not notice itself; 1: there is none, and
 * High needs none. */
static int member_for(struct grove *g, const char *path, enum level level, struct member **ret)
{
	struct member *m;
	uint64_t inode = 0;
	int r = inode_of(g, path, &inode);

	if (r < 0)
		return r;
	for (m = g->members; m; m = m->next)
		if (m->inode == inode && !m->leaving) {
			*ret = m;
			return 0;
		}
	if (level == LEVEL_HIGH)
		return 1;
	r = member_new(g, path, inode, &m);
	if (r < 0)
		return r;
	r = meter_start_calm(m->meter);
	if (r < 0) {
		meter_free(m->meter);
		free(m);
		return r;
	}
	member_add(g, m);
	*ret = m;
	return 0;
}

void grove_simulate(struct grove *g, const char *path, enum level level, bool critical, bool untold)
{
	struct member *member;
	int r;

	if (g->detaching)
		return;
	r = member_for(g, path, level, &member);
	if (r < 0)
		bridge_log(g->watch->bridge, r == -ENOENT || r == -ENODEV ? LOG_NOTE : LOG_ERROR,
			   "%s: no level can be set: %s", path, strerror(-r));
	if (r != 0)
		return;
	if (untold) {
		/* who was told that memory is short must hear of the end, even if that is GONE */
		member->told = member->told || level != LEVEL_HIGH;
		meter_resume(member->meter, level, critical);
	} else {
		meter_signal(member->meter, level, critical, REASON_SIMULATED);
	}
	watch_publish(g->watch);
}

/* ---- questions -------------------------------------------------------------------------------- */

void grove_list(struct grove *g, psb_member_fn *fn, void *userdata)
{
	struct psb_bridge *bridge = g->watch->bridge;
	struct member *m = g->members;

	while (m) {
		uint64_t number = m->number, freed = g->freed;
		struct psb_notification n;
		struct label *label;

		if (m->leaving) {
			m = m->next;
			continue;
		}
		meter_describe(m->meter, PSB_REASON_PRESENT, &n);
		pthread_mutex_lock(&bridge->lock);
		label = label_ref(m->meter->label);
		pthread_mutex_unlock(&bridge->lock);
		fn(&n, userdata);
		pthread_mutex_lock(&bridge->lock);
		label_unref(label);
		pthread_mutex_unlock(&bridge->lock);
		if (g->freed == freed) {
			m = m->next;
			continue;
		}
		/* `fn` dispatched, and a member is no more: perhaps this one */
		for (m = g->members; m && m->number >= number; m = m->next)
			;
	}
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
