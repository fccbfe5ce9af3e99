/* SPDX-License-Identifier: MIT */
/*
 * watch-simulate.c - levels that were judged elsewhere, and which cgroups have one
 *
 * A simulation is put into the watch's queue by any thread, and done by the loop's in the order of
 * the calls. Told, it goes through the policy as a signal; untold, the policy goes on from it.
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

static void free_simulation(struct psb_watch *w, struct simulation *s)
{
	bool locked = !bridge_is_child(w->bridge);

	if (locked && s->label)
		dispatch_release(&w->dispatch);
	label_unref(s->label);
	free(s);
}

static void simulate_one(struct psb_watch *w, const struct simulation *s)
{
	if (w->group) {
		group_simulate(w->group, s->label, s->level, s->critical, s->told_usec);
	} else if (s->told_usec > 0) {
		dispatch_assume(&w->dispatch, (enum psb_available)s->level, s->critical);
		monitor_resume(w->monitor, s->level, s->critical, s->told_usec);
	} else {
		monitor_signal(w->monitor, s->level, s->critical, REASON_SIMULATED);
	}
}

void watch_simulate(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, simulate_work);
	struct simulation *list;

	pthread_mutex_lock(&w->bridge->lock);
	list = w->simulations;
	w->simulations = NULL;
	pthread_mutex_unlock(&w->bridge->lock);
	while (list) {
		struct simulation *next = list->next;

		if (w->running)
			simulate_one(w, list);
		free_simulation(w, list);
		list = next;
	}
}

void watch_forget_simulations(struct psb_watch *w)
{
	while (w->simulations) {
		struct simulation *next = w->simulations->next;

		free_simulation(w, w->simulations);
		w->simulations = next;
	}
}

/* Takes `s` over, and hands it to the loop. */
static int queue_simulation(struct psb_watch *w, struct simulation *s)
{
	struct simulation **last;
	bool gone, post;

	pthread_mutex_lock(&w->bridge->lock);
	gone = w->gone;
	post = !gone && !w->simulations;
	if (!gone) {
		for (last = &w->simulations; *last; last = &(*last)->next)
			;
		*last = s;
	}
	pthread_mutex_unlock(&w->bridge->lock);
	if (gone) {
		free_simulation(w, s);
		return -ENODEV;
	}
	if (post)
		bridge_post(w->bridge, &w->simulate_work);
	return 0;
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

int psb_watch_simulate_at(psb_watch *w, const char *cgroup, enum psb_available available,
			  int critical, uint64_t told_usec)
{
	char buf[CGPATH_MAX];
	struct simulation *s;
	const char *path;
	int r;

	if (!w || available < PSB_LOW || available > PSB_HIGH || (critical && available != PSB_LOW))
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
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
	if (w && !bridge_is_child(w->bridge) && w->group && available >= PSB_LOW &&
	    available <= PSB_HIGH && (!critical || available == PSB_LOW))
		return -EOPNOTSUPP;
	return psb_watch_simulate_at(w, NULL, available, critical, 0);
}

/* Is this the thread that dispatches, or may it still become it? */
static bool may_dispatch(struct psb_bridge *b)
{
	bool may = false;

	pthread_mutex_lock(&b->lock);
	switch (b->mode) {
	case MODE_UNDECIDED:
		may = true;
		break;
	case MODE_THREAD:
		may = pthread_equal(b->thread, pthread_self());
		break;
	case MODE_FOREIGN:
		may = !b->driven || pthread_equal(b->thread, pthread_self());
		break;
	}
	pthread_mutex_unlock(&b->lock);
	return may;
}

int psb_watch_list(psb_watch *w, psb_member_fn *fn, void *userdata)
{
	struct psb_notification n;

	if (!w || !fn)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
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
