/* SPDX-License-Identifier: MIT */
/*
 * watch-simulate.c - levels that were judged elsewhere, and which cgroups have one
 *
 * A simulation is put into the watch's queue by any thread, and done by the loop's in the order of
 * the calls. Told, it goes through the policy as a signal; untold, the policy goes on from it.
 * What others freed is not queued: who tells of it dispatches.
 */
#include "library/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One that waits for the loop. It is the watch's and goes with it: a reference of its own would
 * keep the watch, and the callbacks, after the host gave them up. */
struct simulation {
	struct simulation *next;
	enum level level;
	bool critical;
	uint64_t told_usec;  /* 0: tell it */
	struct label *label; /* of a pattern's cgroup; NULL for a single one */
};

void watch_forget(struct psb_watch *w, struct simulation *list)
{
	while (list) {
		struct simulation *next = list->next;

		if (list->label && !bridge_is_child(w->bridge))
			dispatch_release(&w->dispatch);
		label_unref(list->label);
		free(list);
		list = next;
	}
}

static void simulate_one(struct psb_watch *w, const struct simulation *s)
{
	if (w->group) {
		group_simulate(w->group, s->label, s->level, s->critical, s->told_usec);
	} else if (!w->monitor) {
		return; /* the cgroup was removed meanwhile */
	} else if (s->told_usec > 0) {
		dispatch_assume(&w->dispatch, (enum psb_available)s->level, s->critical);
		monitor_resume(w->monitor, s->level, s->critical, s->told_usec);
	} else {
		monitor_signal(w->monitor, s->level, s->critical, REASON_SIMULATED);
	}
}

void watch_simulate(struct psb_watch *w, struct simulation *list)
{
	for (const struct simulation *s = list; s; s = s->next)
		simulate_one(w, s);
	watch_forget(w, list);
}

/* Takes `s` over, and hands it to the loop. */
static int queue_simulation(struct psb_watch *w, struct simulation *s)
{
	struct simulation **last = &w->simulations;
	bool gone;

	pthread_mutex_lock(&w->bridge->lock);
	gone = w->gone;
	if (!gone) {
		while (*last)
			last = &(*last)->next;
		*last = s;
		watch_post(w);
	}
	pthread_mutex_unlock(&w->bridge->lock);
	if (!gone)
		return 0;
	watch_forget(w, s);
	return -ENODEV;
}

/* Is it one of the watch's? *ret_path gets what the loop needs to know of it. */
static int find_cgroup(const struct psb_watch *w, const char *cgroup, char *buf,
		       const char **ret_path)
{
	*ret_path = "";
	if (!cgroup)
		return w->group ? -EINVAL : 0;
	if (cgpath_normalise(cgroup, w->target.cgroups.v2.point, buf, NULL) < 0)
		return -EINVAL;
	if (!w->group)
		return strcmp(buf, w->label->path) == 0 ? 0 : -EINVAL;
	*ret_path = buf;
	return group_matches(w->group, buf) ? 0 : -EINVAL;
}

static bool is_level(enum psb_available available, int critical)
{
	return available >= PSB_LOW && available <= PSB_HIGH && (!critical || available == PSB_LOW);
}

int psb_watch_simulate_at(psb_watch *w, const char *cgroup, enum psb_available available,
			  int critical, uint64_t told_usec)
{
	char buf[CGPATH_MAX];
	struct simulation *s;
	const char *path;
	int r = is_level(available, critical) ? watch_check(w) : -EINVAL;

	if (r == 0)
		r = find_cgroup(w, cgroup, buf, &path);
	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (*path && label_new(path, &s->label) < 0) {
		free(s);
		return -ENOMEM;
	}
	if (s->label && dispatch_reserve(&w->dispatch) < 0) {
		free(s->label);
		free(s);
		return -ENOMEM;
	}
	s->level = (enum level)available;
	s->critical = critical;
	s->told_usec = told_usec;
	return queue_simulation(w, s);
}

int psb_watch_simulate(psb_watch *w, enum psb_available available, int critical)
{
	if (is_level(available, critical) && watch_check(w) == 0 && w->group)
		return -EOPNOTSUPP;
	return psb_watch_simulate_at(w, NULL, available, critical, 0);
}

/* Is this the thread that dispatches, or may it still become it? */
static bool may_dispatch(struct psb_bridge *b)
{
	LOCKED(b);
	return (b->mode != MODE_THREAD && !b->driven) || pthread_equal(b->thread, pthread_self());
}

int psb_watch_report_at(psb_watch *w, const char *cgroup, uint64_t bytes, uint64_t usec)
{
	char buf[CGPATH_MAX];
	const char *path;
	int r = watch_check(w);

	if (r == 0)
		r = find_cgroup(w, cgroup, buf, &path);
	if (r < 0)
		return r;
	if (!may_dispatch(w->bridge))
		return -EXDEV;
	if (bytes > 0 && w->group)
		group_report(w->group, path, bytes, usec);
	else if (bytes > 0 && w->monitor && !w->gone)
		monitor_report(w->monitor, bytes, usec);
	LOCKED(w->bridge);
	w->dispatch.reported_bytes += bytes;
	w->dispatch.reported_usec += usec;
	return 0;
}

int psb_watch_list(psb_watch *w, psb_member_fn *fn, void *userdata)
{
	struct psb_notification n;
	int r = fn ? watch_check(w) : -EINVAL;

	if (r < 0)
		return r;
	if (!may_dispatch(w->bridge))
		return -EXDEV;
	if (w->group) {
		group_list(w->group, fn, userdata);
	} else if (w->monitor && !w->gone) {
		monitor_describe(w->monitor, PSB_REASON_PRESENT, &n);
		fn(&n, userdata);
	}
	return 0;
}
