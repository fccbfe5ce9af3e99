/* SPDX-License-Identifier: MIT */
/*
 * watch.c - the public watch: made on the caller's thread, run on the loop's, freed when neither uses
 * it
 *
 * psb_watch_new() does all that can fail: it resolves the target, climbs the ladder, arms, takes
 * the baseline. What the loop has to do for a watch is noted in it, and one piece of work does all of it:
 * attach, simulate, tell the present state, and, once it is closed, detach. The memory goes when the loop
 * has no operation of it in flight any more, or with the bridge; of one that the loop has not seen, at once.
 *
 *     attached --GONE told, monitor detached--> waiting for the next --a new monitor--> attached
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

/* ---- life on the caller's side ------------------------------------------------------------------ */

/* All but the memory. */
static void release(struct psb_watch *w)
{
	watch_forget(w, steal(w->simulations));
	w->monitor = monitor_free(w->monitor);
	w->group = group_free(w->group);
	if (bridge_is_child(w->bridge))
		w->path_wait.closer = NULL;
	path_wait_close(&w->path_wait);
	memory_close(&w->load_memory);
}

static void free_rest(struct psb_watch *w)
{
	release(w);
	pthread_mutex_destroy(&w->load_lock);
	free(w);
}

/* Out of the bridge's list, if it is in there. Lock held. */
static void unlink_watch(struct psb_watch *w)
{
	if (!w->back)
		return;
	*w->back = w->next;
	if (w->next)
		w->next->back = w->back;
	w->back = NULL;
}

/* Detached from the loop, or the loop is no more. */
static void watch_free(struct psb_watch *w)
{
	pthread_mutex_lock(&w->bridge->lock);
	unlink_watch(w);
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

static void post_all(struct psb_watch *w)
{
	for (; w; w = w->next)
		watch_post(w);
}

static const struct watch_class watch_class = {
	.post = post_all,
	.free = watch_free,
	.free_in_child = watch_free_in_child,
};

/* ---- what monitors tell -------------------------------------------------------------------------- */

/* The monitor whose source is the watch's; NULL: the cgroup was removed. */
static const struct monitor *main_monitor(const struct psb_watch *w)
{
	return w->group ? group_root(w->group) : w->monitor;
}

/* Level and counters. */
static void publish(void *watch)
{
	struct psb_watch *w = watch;
	const struct monitor *monitor = main_monitor(w);
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
	LOCKED(w->bridge);
	w->stats = stats;
	w->available = level;
	w->critical = critical;
}

static void publish_source(void *watch)
{
	struct psb_watch *w = watch;
	const struct monitor *monitor = main_monitor(w);
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
	LOCKED(w->bridge);
	w->source = s;
}

static void tell(void *watch, struct label *label, const struct psb_notification *n)
{
	struct psb_watch *w = watch;

	publish(w); /* first: callbacks may ask for it */
	dispatch_deliver(&w->dispatch, label, n, false);
}

static void show(void *watch, struct label *label, const struct psb_notification *n)
{
	struct psb_watch *w = watch;

	/* without the lock: of each sample of all that do not ask */
	if (atomic_load_explicit(&w->dispatch.samples, memory_order_relaxed))
		dispatch_deliver(&w->dispatch, label, n, false);
}

static void monitor_sampled(struct monitor *monitor, const struct psb_notification *n)
{
	show(monitor->userdata, monitor->label, n);
}

static void monitor_told(struct monitor *monitor, const struct psb_notification *n)
{
	tell(monitor->userdata, monitor->label, n);
}

static void monitor_gone(struct monitor *monitor, const struct psb_notification *n)
{
	struct psb_watch *w = monitor->userdata;

	pthread_mutex_lock(&w->bridge->lock);
	w->gone = true;
	pthread_mutex_unlock(&w->bridge->lock);
	tell(w, monitor->label, n);
	monitor_detach(monitor);
}

static void monitor_moved(struct monitor *monitor, const struct psb_notification *n)
{
	publish_source(monitor->userdata);
	tell(monitor->userdata, monitor->label, n);
}

static void monitor_stepped(struct monitor *monitor)
{
	publish(monitor->userdata);
}

static int path_appeared(struct path_wait *wait);

static void monitor_detached(struct monitor *monitor)
{
	struct psb_watch *w = monitor->userdata;
	bool closed;

	pthread_mutex_lock(&w->bridge->lock);
	closed = w->closed;
	pthread_mutex_unlock(&w->bridge->lock);
	w->past = monitor->stats;
	w->past.unanswered = 0;
	w->monitor = monitor_free(monitor);
	if (closed) {
		watch_free(w);
		return;
	}
	publish_source(w);
	path_wait_start(&w->path_wait, w->target.own ? "/" : w->label->path, path_appeared);
}

static const struct monitor_owner monitor_owner = {
	.told = monitor_told,
	.gone = monitor_gone,
	.moved = monitor_moved,
	.sampled = monitor_sampled,
	.stepped = monitor_stepped,
	.detached = monitor_detached,
};

/* ---- what groups tell -------------------------------------------------------------------------- */

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
	.told = tell,
	.sampled = show,
	.stepped = publish,
	.moved = publish_source,
	.detached = group_detached,
	.reserve = group_reserve,
	.release = group_release,
};

/* ---- on the loop's thread ---------------------------------------------------------------------- */

static void waits_no_more(struct path_wait *wait)
{
	watch_free(CONTAINER_OF(wait, struct psb_watch, path_wait));
}

static void attach(struct psb_watch *w)
{
	path_wait_init(&w->path_wait, w->bridge->context.loop, &w->target.cgroups);
	w->path_wait.closer = w->bridge->context.closer;
	if (w->group)
		group_attach(w->group);
	else
		monitor_attach(w->monitor);
}

static void detach(struct psb_watch *w)
{
	if (w->group)
		group_detach(w->group);
	else if (w->monitor)
		monitor_detach(w->monitor);
	else
		path_wait_cancel(&w->path_wait, waits_no_more);
}

static void present(struct psb_watch *w)
{
	const struct monitor *monitor = main_monitor(w);
	struct psb_notification n = { .size = sizeof(n),
				      .kind = PSB_KIND_LEVEL,
				      .available = w->available,
				      .time_usec = now_usec() };
	bool critical;

	if (monitor)
		monitor_present(monitor, PSB_REASON_PRESENT, &n);
	if (w->group) {
		n.available = group_level(w->group, &critical);
		n.critical = critical;
	}
	n.reason = PSB_REASON_PRESENT;
	dispatch_deliver(&w->dispatch, w->label, &n, true);
}

static void do_work(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, work);
	struct simulation *simulations = NULL;
	bool closed, released, attached, asked_present;
	struct wire_report report;

	pthread_mutex_lock(&w->bridge->lock);
	w->posted = false;
	closed = w->closed;
	released = w->released;
	attached = w->attached;
	asked_present = w->asked_present;
	report = w->report;
	w->report = (struct wire_report){ 0 };
	if (!closed) {
		w->attached = true;
		w->asked_present = false;
		simulations = steal(w->simulations);
	}
	pthread_mutex_unlock(&w->bridge->lock);
	if (closed) {
		if (attached)
			detach(w);
		else if (released)
			watch_free(w);
		return;
	}
	if (!attached)
		attach(w);
	watch_simulate(w, simulations);
	if (report.bytes > 0 && w->monitor)
		monitor_report(w->monitor, report.bytes, report.usec);
	if (asked_present) /* what was simulated before it was asked for is present */
		present(w);
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
			w->label, w->target.has_cgroup, v1_of(w), NULL, &source, &w->monitor);
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
	LOCKED(w->bridge);
	label->older = w->label;
	w->label = label;
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
	int r = watch_options_resolve(o, &w->options, &w->target, why);

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
	int r = ret ? bridge_check(bridge) : -EINVAL;

	if (r == 0)
		r = watch_options_take(options, &o);
	if (r < 0)
		return r;
	closer_help(bridge->context.closer, CLOSING_MAX);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->bridge = bridge;
	w->refs = 1;
	dispatch_init(&w->dispatch, bridge);
	w->available = PSB_HIGH;
	w->path_wait.inotify_fd = -1;
	w->work.run = do_work;
	pthread_mutex_init(&w->load_lock, NULL);

	r = make(w, &o, why);
	if (r < 0) {
		watch_explain(&o, why, r);
		watch_free(w);
		return r;
	}
	publish(w);
	publish_source(w);
	pthread_mutex_lock(&bridge->lock);
	bridge->refs++;
	w->next = bridge->watches;
	w->back = &bridge->watches;
	if (w->next)
		w->next->back = &w->next;
	bridge->watches = w;
	bridge->watch_class = &watch_class;
	watch_post(w);
	pthread_mutex_unlock(&bridge->lock);
	*ret = w;
	return 0;
}

psb_watch *psb_watch_ref(psb_watch *w)
{
	if (watch_check(w) < 0)
		return w;
	LOCKED(w->bridge);
	w->refs++;
	return w;
}

/* The loop has not seen it. Its descriptors go now: a loop may be busy with other things for long. */
static void free_unseen(struct psb_watch *w)
{
	struct psb_bridge *bridge = w->bridge;
	bool posted;

	release(w);
	pthread_mutex_lock(&bridge->lock);
	posted = w->posted;
	w->released = true;
	if (!posted)
		unlink_watch(w);
	pthread_mutex_unlock(&bridge->lock);
	if (!posted)
		watch_free(w);
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
	never_ran = !w->attached;
	if (!never_ran)
		watch_post(w);
	pthread_mutex_unlock(&bridge->lock);
	if (never_ran)
		free_unseen(w);
	psb_bridge_unref(bridge);
	return NULL;
}

/* ---- callbacks and questions ------------------------------------------------------------------ */

void watch_present(struct psb_watch *w)
{
	LOCKED(w->bridge);
	w->asked_present = true;
	watch_post(w);
}

int psb_watch_add_callback(psb_watch *w, psb_callback_fn *fn, void *userdata, unsigned flags,
			   psb_registration **ret)
{
	int r = fn ? watch_check(w) : -EINVAL;

	if (r == 0)
		r = dispatch_add(&w->dispatch, fn, userdata, flags, ret);
	if (r == 0 && (flags & PSB_TELL_PRESENT))
		watch_present(w);
	return r;
}

/* Of a pattern it is not known which of its cgroups a report is about. */
int psb_registration_report(psb_registration *reg, uint64_t bytes, uint64_t usec)
{
	int r = reg ? bridge_check(reg->bridge) : -EINVAL;
	struct psb_watch *w;

	if (r < 0)
		return r;
	LOCKED(reg->bridge);
	if (!reg->dispatch) /* removed, from inside its own call */
		return 0;
	w = CONTAINER_OF(reg->dispatch, struct psb_watch, dispatch);
	w->dispatch.reported_bytes += bytes;
	w->dispatch.reported_usec += usec;
	if (bytes > 0 && !w->group) {
		w->report.bytes += bytes;
		w->report.usec += usec;
		watch_post(w);
	}
	return 0;
}

enum psb_available psb_watch_available(psb_watch *w, int *ret_critical)
{
	enum psb_available available = PSB_HIGH;
	bool critical = false;

	if (watch_check(w) == 0) {
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
	int r = ret ? watch_check(w) : -EINVAL;

	if (r < 0)
		return r;
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
	int r = ret ? watch_check(w) : -EINVAL;

	if (r < 0)
		return r;
	LOCKED(w->bridge);
	return sized_fill(ret, &w->source, sizeof(w->source));
}

int psb_watch_stats(psb_watch *w, struct psb_stats *ret)
{
	struct psb_stats stats;
	int r = ret ? watch_check(w) : -EINVAL;

	if (r < 0)
		return r;
	LOCKED(w->bridge);
	stats = w->stats;
	stats.callbacks = w->dispatch.calls;
	stats.callback_usec = w->dispatch.total_usec;
	stats.superseded = w->dispatch.superseded;
	stats.reported_bytes = w->dispatch.reported_bytes;
	stats.reported_usec = w->dispatch.reported_usec;
	return sized_fill(ret, &stats, sizeof(stats));
}
