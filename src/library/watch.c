/* SPDX-License-Identifier: MIT */
/*
 * watch.c - the public watch: made on the caller's thread, run on the loop's, freed when neither uses
 * it
 *
 * psb_watch_new() does all that can fail: it resolves the target, climbs the ladder, arms, takes
 * the baseline. Only then is the watch posted to the loop. psb_watch_unref() removes the
 * registrations, marks the watch closed and posts its detachment; the memory goes when the loop has
 * no operation of it in flight any more, or with the bridge. Where the loop has not seen the watch
 * yet, it goes at once.
 *
 *     running --GONE told, monitor detached--> waiting for the next --a new monitor--> running
 *
 * What is waited for is the next cgroup of that path; where our own was watched it is where this
 * process is now, for a cgroup can only be removed when it was moved elsewhere.
 *
 * What the host may ask for at any time (level, counters, source) is a copy under the lock,
 * published by the loop's thread after each step.
 */
#include "library/watch.h"
#include "library/sized.h"

#include "kernel/thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Triggers of watches that were given up and wait to be closed. Closing one takes 9 to 20 ms, making
 * one a tenth of a millisecond: from here on psb_watch_new() closes one, too. */
#define CLOSING_MAX 32

/* ---- the end ------------------------------------------------------------------------------------ */

static void free_rest(struct psb_watch *w)
{
	watch_forget_simulations(w);
	w->monitor = monitor_free(w->monitor);
	w->group = group_free(w->group);
	if (bridge_is_child(w->bridge))
		w->path_wait.closer = NULL;
	path_wait_close(&w->path_wait);
	memory_close(&w->load_memory);
	pthread_mutex_destroy(&w->load_lock);
	free(w);
}

/* Detached from the loop, or the loop is no more. */
static void watch_free(struct psb_watch *w)
{
	pthread_mutex_lock(&w->bridge->lock);
	if (w->back) {
		*w->back = w->next;
		if (w->next)
			w->next->back = w->back;
	}
	/* a callback that gave the watch up may still run, and its notification names the cgroup */
	while (w->label) {
		struct label *older = w->label->older;

		label_unref(w->label);
		w->label = older;
	}
	pthread_mutex_unlock(&w->bridge->lock);
	free_rest(w);
}

/* The first of its bridge's. */
static void watch_free_in_child(struct psb_watch *w)
{
	struct label *label = w->label, *older;

	w->bridge->watches = w->next;
	dispatch_clear_in_child(&w->dispatch);
	free_rest(w);
	for (; label; label = older) { /* other references were those of the parent's threads */
		older = label->older;
		free(label);
	}
}

static const struct watch_class watch_class = {
	.free = watch_free,
	.free_in_child = watch_free_in_child,
};

/* ---- what monitors tell -------------------------------------------------------------------------- */

void watch_publish(struct psb_watch *w)
{
	const struct monitor *monitor = w->group ? group_root(w->group) : w->monitor;
	struct psb_stats stats = { .size = sizeof(stats) };
	enum psb_available level = PSB_HIGH;
	bool critical = false;

	if (w->group) {
		group_count(w->group, &stats);
		level = group_level(w->group, &critical);
	} else if (monitor) {
		stats = monitor->stats;
		level = (enum psb_available)monitor->policy.level;
		critical = level == PSB_LOW && monitor->policy.told_critical;
	} else {
		stats = w->past;
		level = w->available;
	}
	pthread_mutex_lock(&w->bridge->lock);
	w->stats = stats;
	w->available = level;
	w->critical = critical;
	pthread_mutex_unlock(&w->bridge->lock);
}

void watch_publish_source(struct psb_watch *w)
{
	const struct monitor *monitor = w->group ? group_root(w->group) : w->monitor;
	const struct source none = SOURCE_INIT, *source = monitor ? &monitor->source : &none;
	struct psb_source s = {
		.size = sizeof(s),
		.rung = source->rung,
		.name = source_kind_name(source->kind),
		.cgroup = w->label->path,
		.events = source->events_fd >= 0,
	};

	if (source->trigger_fd >= 0)
		trigger_format_kernel(&source->armed, s.trigger);
	memcpy(s.why, source->why, sizeof(s.why));
	memcpy(s.path, source->path, sizeof(s.path));
	if (!monitor) {
		snprintf(s.why, sizeof(s.why),
			 "the cgroup was removed; waiting for the next of that name");
	} else if (monitor->polling_usec > 0 && source->sample_fd >= 0) {
		s.rung = PSB_RUNG_SAMPLING;
		s.name = source_kind_name(SOURCE_SAMPLING);
		snprintf(
			s.why, sizeof(s.why),
			"alarms were lost: another program reads the same file; sampling for a while");
	}
	pthread_mutex_lock(&w->bridge->lock);
	w->source = s;
	pthread_mutex_unlock(&w->bridge->lock);
}

void watch_tell(struct psb_watch *w, struct label *label, const struct psb_notification *n)
{
	watch_publish(w); /* first: callbacks may ask for it */
	dispatch_deliver(&w->dispatch, label, n);
}

static void monitor_told(struct monitor *monitor, const struct psb_notification *n)
{
	watch_tell(monitor->userdata, monitor->label, n);
}

static void monitor_gone(struct monitor *monitor, const struct psb_notification *n)
{
	struct psb_watch *w = monitor->userdata;

	pthread_mutex_lock(&w->bridge->lock);
	w->gone = true;
	pthread_mutex_unlock(&w->bridge->lock);
	watch_tell(w, monitor->label, n);
	monitor_detach(monitor);
}

static void monitor_moved(struct monitor *monitor, const struct psb_notification *n)
{
	watch_publish_source(monitor->userdata);
	watch_tell(monitor->userdata, monitor->label, n);
}

static void monitor_stepped(struct monitor *monitor)
{
	watch_publish(monitor->userdata);
}

static int path_appeared(struct path_wait *wait);

static void monitor_detached(struct monitor *monitor)
{
	struct psb_watch *w = monitor->userdata;
	bool closed;

	pthread_mutex_lock(&w->bridge->lock);
	w->running = false;
	closed = w->closed;
	pthread_mutex_unlock(&w->bridge->lock);
	w->past = monitor->stats;
	w->monitor = monitor_free(monitor);
	if (closed) {
		watch_free(w);
		return;
	}
	watch_publish_source(w);
	path_wait_start(&w->path_wait, w->target.own ? "/" : w->label->path, path_appeared);
}

static const struct monitor_owner monitor_owner = {
	.told = monitor_told,
	.gone = monitor_gone,
	.moved = monitor_moved,
	.stepped = monitor_stepped,
	.detached = monitor_detached,
};

/* ---- what groups tell -------------------------------------------------------------------------- */

static void group_told(void *userdata, struct label *label, const struct psb_notification *n)
{
	watch_tell(userdata, label, n);
}

static void group_stepped(void *userdata)
{
	watch_publish(userdata);
}

static void group_moved(void *userdata)
{
	watch_publish_source(userdata);
}

static void group_detached(void *userdata)
{
	watch_free(userdata);
}

static int group_reserve(void *userdata)
{
	struct psb_watch *w = userdata;

	return dispatch_reserve(&w->dispatch);
}

static void group_release(void *userdata)
{
	struct psb_watch *w = userdata;

	dispatch_release(&w->dispatch);
}

static const struct group_owner group_owner = {
	.told = group_told,
	.stepped = group_stepped,
	.moved = group_moved,
	.detached = group_detached,
	.reserve = group_reserve,
	.release = group_release,
};

/* ---- on the loop's thread ---------------------------------------------------------------------- */

static void attach(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, attach_work);
	bool closed;

	pthread_mutex_lock(&w->bridge->lock);
	closed = w->closed;
	w->running = true;
	pthread_mutex_unlock(&w->bridge->lock);
	/* not sooner: psb_bridge_fd() takes another loop */
	path_wait_init(&w->path_wait, w->bridge->context.loop, &w->target.cgroups);
	w->path_wait.closer = w->bridge->context.closer;
	if (closed) /* its detachment is in the queue behind us */
		return;
	if (w->group)
		group_attach(w->group);
	else
		monitor_attach(w->monitor);
}

static void waits_no_more(struct path_wait *wait)
{
	watch_free(CONTAINER_OF(wait, struct psb_watch, path_wait));
}

static void detach(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, detach_work);

	if (w->group)
		group_detach(w->group);
	else if (w->monitor)
		monitor_detach(w->monitor);
	else
		path_wait_cancel(&w->path_wait, waits_no_more);
}

static void present(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, present_work);
	const struct monitor *monitor = w->group ? group_root(w->group) : w->monitor;
	struct psb_notification n = { .size = sizeof(n),
				      .kind = PSB_KIND_LEVEL,
				      .time_usec = now_usec() };
	bool critical;

	pthread_mutex_lock(&w->bridge->lock);
	w->present_posted = false;
	pthread_mutex_unlock(&w->bridge->lock);
	if (monitor)
		monitor_present(monitor, PSB_REASON_PRESENT, &n);
	if (w->group) {
		n.available = group_level(w->group, &critical);
		n.critical = critical;
	}
	n.reason = PSB_REASON_PRESENT;
	dispatch_present(&w->dispatch, w->label, &n);
}

/* ---- making one -------------------------------------------------------------------------------- */

/* With a PSI file of the protocol the manager's own trigger for Low comes along. */
static void honour_protocol_trigger(struct psb_watch *w, const struct psb_watch_options *o)
{
	const struct trigger *t = &w->target.write_trigger;

	if (!w->target.has_write_trigger || o->low || t->window_usec < TRIGGER_WINDOW_MIN_USEC)
		return;
	w->options.low = *t;
	if (!o->early)
		w->options.early = trigger_early_of(t, &w->options.critical);
}

static const char *v1_of(const struct psb_watch *w)
{
	return w->target.v1_cgroup[0] ? w->target.v1_cgroup : NULL;
}

static int make_monitor(struct psb_watch *w, char *why)
{
	struct source source = SOURCE_INIT;
	int r = ladder_climb(&w->target, &w->options.early, w->rungs, false, NULL, NULL, &source,
			     why);

	if (r < 0)
		return r;
	r = monitor_new(&w->bridge->context, &monitor_owner, w, &w->options, &w->target.cgroups,
			w->label, w->target.has_cgroup, v1_of(w), &source, &w->monitor);
	source_close(&source, w->bridge->context.closer);
	if (r < 0)
		return r;
	w->monitor->target = &w->target;
	w->monitor->rungs = w->rungs;
	w->monitor->stats = w->past;
	if (w->available != PSB_HIGH) /* what was told of the cgroup before, and has to end */
		policy_resume(&w->monitor->policy, (enum level)w->available, false, now_usec());
	r = monitor_first_look(w->monitor);
	if (r < 0) {
		snprintf(why, WHY_MAX, "%.200s: %s", w->monitor->source.path, strerror(-r));
		w->monitor = monitor_free(w->monitor);
	}
	return r;
}

static int open_load(struct psb_watch *w)
{
	return memory_open(&w->load_memory, &w->target.cgroups,
			   w->target.has_cgroup ? w->target.cgroup : NULL, v1_of(w));
}

static int take_label(struct psb_watch *w)
{
	struct label *label;
	int r;

	if (w->label && strcmp(w->label->path, w->target.cgroup) == 0)
		return 0;
	r = label_new(w->target.cgroup, &label);
	if (r < 0)
		return r;
	pthread_mutex_lock(&w->bridge->lock);
	label->older = w->label;
	w->label = label;
	pthread_mutex_unlock(&w->bridge->lock);
	return 0;
}

/* The next cgroup is there, or ours is another one. */
static int path_appeared(struct path_wait *wait)
{
	struct psb_watch *w = CONTAINER_OF(wait, struct psb_watch, path_wait);
	enum psb_available told = w->available;
	struct psb_notification n;
	char why[WHY_MAX];
	int r = 0;

	pthread_mutex_lock(&w->load_lock);
	if (w->target.own)
		r = target_find_own(&w->target, "/proc");
	if (r == 0) {
		memory_close(&w->load_memory);
		r = open_load(w);
	}
	pthread_mutex_unlock(&w->load_lock);
	if (r == 0)
		r = take_label(w);
	if (r == 0)
		r = make_monitor(w, why);
	if (r < 0)
		return r;
	pthread_mutex_lock(&w->bridge->lock);
	w->running = true;
	w->gone = false;
	pthread_mutex_unlock(&w->bridge->lock);
	monitor_present(w->monitor, PSB_REASON_HEADROOM, &n);
	if (n.available != told) /* there is little room in it */
		monitor_told(w->monitor, &n);
	n.kind = PSB_KIND_SOURCE;
	n.reason = PSB_REASON_PRESENT;
	monitor_moved(w->monitor, &n);
	monitor_attach(w->monitor);
	return 0;
}

static int make(struct psb_watch *w, const struct psb_watch_options *o, char *why)
{
	struct policy_options asked;
	int r;

	r = watch_options_parse(o, &asked, &w->options, why);
	if (r == 0)
		r = watch_target_parse(o, &asked, &w->target, why);
	if (r < 0)
		return r;
	if (why[0]) { /* resolved, with a warning */
		context_log(&w->bridge->context, LOG_WARN, "%s", why);
		why[0] = '\0';
	}
	honour_protocol_trigger(w, o);
	w->rungs = o->rungs ? o->rungs : ~0u;
	r = take_label(w);
	if (r == 0)
		r = open_load(w);
	if (r < 0)
		return r;
	if (o->pattern) {
		w->dispatch.many = true;
		w->dispatch.reserved = 2; /* for its source, and for its end */
		return group_new(&w->bridge->context, &group_owner, w, &w->options, &w->target,
				 w->label, o->pattern, w->rungs, &w->group, why);
	}
	return make_monitor(w, why);
}

int psb_watch_new(psb_bridge *bridge, const struct psb_watch_options *options, psb_watch **ret)
{
	struct psb_watch_options o;
	char why[WHY_MAX] = "";
	struct psb_watch *w;
	int r;

	if (!bridge || !ret)
		return -EINVAL;
	if (bridge_is_child(bridge))
		return -ECHILD;
	r = watch_options_take(options, &o);
	if (r < 0)
		return r;
	closer_help(bridge->context.closer, CLOSING_MAX);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->bridge = bridge;
	w->refs = 1;
	w->dispatch.bridge = bridge;
	w->available = PSB_HIGH;
	w->path_wait.inotify_fd = -1;
	w->attach_work.run = attach;
	w->detach_work.run = detach;
	w->present_work.run = present;
	w->simulate_work.run = watch_simulate;
	pthread_mutex_init(&w->load_lock, NULL);

	r = make(w, &o, why);
	if (r < 0) {
		watch_explain(&o, why, r);
		watch_free(w);
		return r;
	}
	watch_publish(w);
	watch_publish_source(w);
	pthread_mutex_lock(&bridge->lock);
	bridge->refs++;
	w->next = bridge->watches;
	w->back = &bridge->watches;
	if (w->next)
		w->next->back = &w->next;
	bridge->watches = w;
	bridge->watch_class = &watch_class;
	pthread_mutex_unlock(&bridge->lock);
	bridge_post(bridge, &w->attach_work);
	*ret = w;
	return 0;
}

psb_watch *psb_watch_ref(psb_watch *w)
{
	if (!w || bridge_is_child(w->bridge))
		return w;
	pthread_mutex_lock(&w->bridge->lock);
	w->refs++;
	pthread_mutex_unlock(&w->bridge->lock);
	return w;
}

psb_watch *psb_watch_unref(psb_watch *w)
{
	struct psb_bridge *bridge;
	bool last, never_ran;

	if (!w)
		return NULL;
	bridge = w->bridge;
	if (bridge_is_child(bridge)) { /* watches end with their bridge, and each has a reference */
		if (--w->refs == 0)
			psb_bridge_unref(bridge);
		return NULL;
	}
	pthread_mutex_lock(&bridge->lock);
	last = --w->refs == 0;
	pthread_mutex_unlock(&bridge->lock);
	if (!last)
		return NULL;

	dispatch_clear(&w->dispatch);
	pthread_mutex_lock(&bridge->lock);
	w->closed = true;
	never_ran = bridge_unpost(bridge, &w->attach_work);
	if (never_ran) {
		bridge_unpost(bridge, &w->present_work);
		bridge_unpost(bridge, &w->simulate_work);
	}
	pthread_mutex_unlock(&bridge->lock);
	if (never_ran)
		watch_free(w);
	else
		bridge_post(bridge, &w->detach_work);
	psb_bridge_unref(bridge);
	return NULL;
}

/* ---- callbacks and questions
 * --------------------------------------------------------------------- */

void watch_present(struct psb_watch *w)
{
	bool post = false;

	pthread_mutex_lock(&w->bridge->lock);
	if (!w->present_posted)
		post = w->present_posted = true;
	pthread_mutex_unlock(&w->bridge->lock);
	if (post)
		bridge_post(w->bridge, &w->present_work);
}

int psb_watch_add_callback(psb_watch *w, psb_callback_fn *fn, void *userdata, unsigned flags,
			   psb_registration **ret)
{
	int r;

	if (!w)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	r = dispatch_add(&w->dispatch, fn, userdata, flags, ret);
	if (r == 0 && (flags & PSB_TELL_PRESENT))
		watch_present(w);
	return r;
}

enum psb_available psb_watch_available(psb_watch *w, int *ret_critical)
{
	enum psb_available available = PSB_HIGH;
	bool critical = false;

	if (w && !bridge_is_child(w->bridge)) {
		pthread_mutex_lock(&w->bridge->lock);
		available = w->available;
		critical = w->critical;
		pthread_mutex_unlock(&w->bridge->lock);
	}
	if (ret_critical)
		*ret_critical = critical;
	return available;
}

int psb_watch_load(psb_watch *w, struct psb_load *ret)
{
	struct memory_load load;
	struct psb_load l;
	bool gone;
	int r;

	if (!w || !ret)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	pthread_mutex_lock(&w->bridge->lock);
	gone = w->gone;
	pthread_mutex_unlock(&w->bridge->lock);
	if (gone)
		return -ENODEV;
	NO_CANCEL;
	pthread_mutex_lock(&w->load_lock);
	/* opens files; while memory is short the limits known are good enough */
	if (psb_watch_available(w, NULL) == PSB_HIGH)
		(void)memory_refresh(&w->load_memory);
	r = memory_read(&w->load_memory, &load);
	if (r == -ENODEV && memory_refresh(&w->load_memory) == 0)
		r = memory_read(&w->load_memory, &load);
	pthread_mutex_unlock(&w->load_lock);
	if (r < 0)
		return r;
	l = (struct psb_load){
		.current_bytes = load.current_bytes,
		.working_set_bytes = load.working_set_bytes,
		.limit_bytes = load.limit_bytes,
		.high_bytes = load.high_bytes == UINT64_MAX ? 0 : load.high_bytes,
		.available_bytes = load.available_bytes,
		.percent = load.percent,
		.machine = load.machine,
	};
	return sized_fill(ret, &l, sizeof(l));
}

int psb_watch_source(psb_watch *w, struct psb_source *ret)
{
	int r;

	if (!w || !ret)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	pthread_mutex_lock(&w->bridge->lock);
	r = sized_fill(ret, &w->source, sizeof(w->source));
	pthread_mutex_unlock(&w->bridge->lock);
	return r;
}

int psb_watch_stats(psb_watch *w, struct psb_stats *ret)
{
	struct psb_stats stats;

	if (!w || !ret)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	pthread_mutex_lock(&w->bridge->lock);
	stats = w->stats;
	dispatch_count(&w->dispatch, &stats);
	pthread_mutex_unlock(&w->bridge->lock);
	return sized_fill(ret, &stats, sizeof(stats));
}
