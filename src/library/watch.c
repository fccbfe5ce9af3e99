/* SPDX-License-Identifier: MIT */
/*
 * watch.c - the public watch: made on the caller's thread, run on the loop's, freed when both let
 * go
 *
 * psb_watch_new() does all that can fail: it resolves the target, climbs the ladder, arms, takes
 * the baseline. Only then is the watch posted to the loop. psb_watch_unref() removes the
 * registrations, marks the watch closed and posts its detachment; the memory goes when the loop has
 * no operation of it in flight any more, or with the bridge.
 *
 * What the host may ask for at any time (level, counters, source) is a copy under the lock,
 * published by the loop's thread after each step.
 */
#include "library/grove.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what meters tell -------------------------------------------------------------------------- */

void watch_publish(struct psb_watch *w)
{
	const struct meter *meter = w->grove ? grove_trunk(w->grove) : w->meter;
	struct psb_stats stats = { .size = sizeof(stats) };
	enum psb_available level = PSB_HIGH;
	bool critical = false;

	if (w->grove) {
		grove_count(w->grove, &stats);
		level = grove_level(w->grove, &critical);
	} else {
		stats = meter->stats;
		level = (enum psb_available)meter->policy.level;
		critical = level == PSB_LOW && meter->policy.told_critical;
	}
	pthread_mutex_lock(&w->bridge->lock);
	w->stats = stats;
	w->available = level;
	w->critical = critical;
	pthread_mutex_unlock(&w->bridge->lock);
}

void watch_publish_source(struct psb_watch *w)
{
	const struct meter *meter = w->grove ? grove_trunk(w->grove) : w->meter;
	const struct source *source = &meter->source;
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
	if (meter->polling_usec > 0 && source->sample_fd >= 0) {
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
	watch_publish(w); /* who is told may ask */
	dispatch_deliver(&w->dispatch, label, n);
}

static void meter_told(struct meter *meter, const struct psb_notification *n)
{
	watch_tell(meter->userdata, meter->label, n);
}

static void meter_gone(struct meter *meter, const struct psb_notification *n)
{
	struct psb_watch *w = meter->userdata;

	pthread_mutex_lock(&w->bridge->lock);
	w->gone = true;
	pthread_mutex_unlock(&w->bridge->lock);
	watch_tell(w, meter->label, n);
	meter_detach(meter);
}

static void meter_moved(struct meter *meter, const struct psb_notification *n)
{
	watch_publish_source(meter->userdata);
	watch_tell(meter->userdata, meter->label, n);
}

static void meter_stepped(struct meter *meter)
{
	watch_publish(meter->userdata);
}

static void meter_detached(struct meter *meter)
{
	struct psb_watch *w = meter->userdata;
	bool closed;

	pthread_mutex_lock(&w->bridge->lock);
	w->running = false;
	closed = w->closed;
	pthread_mutex_unlock(&w->bridge->lock);
	/* a watch whose cgroup is gone lives on until the host gives it up; its trigger need not */
	source_close(&meter->source, w->bridge->closer);
	source_close(&meter->next, w->bridge->closer);
	if (closed)
		watch_free(w);
}

static const struct meter_owner owner = {
	.told = meter_told,
	.gone = meter_gone,
	.moved = meter_moved,
	.stepped = meter_stepped,
	.detached = meter_detached,
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
	if (closed) /* its detachment is in the queue behind us */
		return;
	if (w->grove)
		grove_attach(w->grove);
	else
		meter_attach(w->meter);
}

static void detach(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, detach_work);

	if (w->grove)
		grove_detach(w->grove);
	else if (!w->running) /* its cgroup went before */
		watch_free(w);
	else
		meter_detach(w->meter);
}

static void present(struct loop_work *work)
{
	struct psb_watch *w = CONTAINER_OF(work, struct psb_watch, present_work);
	const struct meter *meter = w->grove ? grove_trunk(w->grove) : w->meter;
	struct psb_notification n = { .size = sizeof(n),
				      .kind = PSB_KIND_LEVEL,
				      .time_usec = now_usec() };
	bool critical;

	pthread_mutex_lock(&w->bridge->lock);
	w->present_posted = false;
	pthread_mutex_unlock(&w->bridge->lock);
	if (meter)
		meter_present(meter, PSB_REASON_PRESENT, &n);
	if (w->grove) {
		n.available = grove_level(w->grove, &critical);
		n.critical = critical;
	}
	n.reason = PSB_REASON_PRESENT;
	dispatch_present(&w->dispatch, w->label, &n);
}

/* ---- making one -------------------------------------------------------------------------------- */

/* A PSI file of the protocol comes with the manager's own idea of when memory is short. */
static void honour_protocol_trigger(struct psb_watch *w, const struct psb_watch_options *o)
{
	const struct trigger *t = &w->target.write_trigger;

	if (!w->target.has_write_trigger || o->low || t->window_usec < TRIGGER_WINDOW_MIN_USEC)
		return;
	w->options.low = *t;
	if (!o->early)
		w->options.early = (struct trigger){ t->kind, MAX(t->threshold_usec / 10, 1u),
						     t->window_usec };
}

static int make_meter(struct psb_watch *w, unsigned mask, char *why)
{
	const char *v1 = w->target.v1_cgroup[0] ? w->target.v1_cgroup : NULL;
	struct source source = SOURCE_INIT;
	int r = ladder_climb(&w->target, &w->options.early, mask, false, NULL, NULL, &source, why);

	if (r < 0)
		return r;
	r = meter_new(w->bridge, &owner, w, &w->options, &w->target.cgroups, w->label,
		      w->target.has_cgroup, v1, &source, &w->meter);
	source_close(&source, w->bridge->closer);
	if (r < 0)
		return r;
	w->meter->target = &w->target;
	w->meter->rungs = mask;
	r = meter_first_look(w->meter);
	if (r < 0)
		snprintf(why, WHY_MAX, "%.200s: %s", w->meter->source.path, strerror(-r));
	return r;
}

static int make(struct psb_watch *w, const struct psb_watch_options *o, char *why)
{
	unsigned mask = o->rungs ? o->rungs : ~0u;
	const char *v1;
	int r;

	r = watch_options_parse(o, &w->options, why);
	if (r == 0)
		r = watch_target_parse(o, &w->target, why);
	if (r < 0)
		return r;
	if (why[0]) { /* resolved, with a word about it */
		bridge_log(w->bridge, LOG_WARN, "%s", why);
		why[0] = '\0';
	}
	honour_protocol_trigger(w, o);
	r = label_new(w->target.cgroup, &w->label);
	if (r < 0)
		return r;
	v1 = w->target.v1_cgroup[0] ? w->target.v1_cgroup : NULL;
	r = memory_open(&w->load_memory, &w->target.cgroups,
			w->target.has_cgroup ? w->target.cgroup : NULL, v1);
	if (r < 0)
		return r;
	if (o->pattern) {
		w->dispatch.many = true;
		return grove_new(w, o->pattern, mask, &w->grove, why);
	}
	return make_meter(w, mask, why);
}

int psb_watch_new(psb_bridge *bridge, const struct psb_watch_options *options, psb_watch **ret)
{
	struct psb_watch_options o = { 0 };
	char why[WHY_MAX] = "";
	struct psb_watch *w;
	int r;

	if (!bridge || !ret)
		return -EINVAL;
	if (bridge_is_child(bridge))
		return -ECHILD;
	if (options) {
		if (options->size < sizeof(size_t) || options->size > sizeof(o))
			return -EINVAL;
		memcpy(&o, options, options->size);
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->bridge = bridge;
	w->refs = 1;
	w->dispatch.bridge = bridge;
	w->load_memory = (struct memory){ .current_fd = -1, .stat_fd = -1 };
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
	bool last;

	if (!w)
		return NULL;
	bridge = w->bridge;
	if (bridge_is_child(bridge)) { /* watches die with their bridge, which each keeps alive */
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
	pthread_mutex_unlock(&bridge->lock);
	bridge_post(bridge, &w->detach_work);
	psb_bridge_unref(bridge);
	return NULL;
}

static void free_rest(struct psb_watch *w)
{
	watch_forget_simulations(w);
	w->meter = meter_free(w->meter);
	w->grove = grove_free(w->grove);
	memory_close(&w->load_memory);
	pthread_mutex_destroy(&w->load_lock);
	free(w);
}

void watch_free(struct psb_watch *w)
{
	pthread_mutex_lock(&w->bridge->lock);
	if (w->back) {
		*w->back = w->next;
		if (w->next)
			w->next->back = w->back;
	}
	/* a callback that gave the watch up may still run, and its notification names the cgroup */
	label_unref(w->label);
	pthread_mutex_unlock(&w->bridge->lock);
	free_rest(w);
}

void watch_free_in_child(struct psb_watch *w)
{
	struct label *label = w->label;

	dispatch_clear_in_child(&w->dispatch);
	free_rest(w);
	free(label); /* who else spoke of it was a thread of the parent's */
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

/* Copy as much of `from` as the caller's structure has room for. */
static int copy_out(void *ret, const void *from, size_t size)
{
	size_t theirs;

	memcpy(&theirs, ret, sizeof(theirs));
	if (theirs < sizeof(theirs))
		return -EINVAL;
	memcpy((char *)ret + sizeof(theirs), (const char *)from + sizeof(theirs),
	       MIN(size, theirs) - sizeof(theirs));
	if (theirs > size) /* a newer caller's members, of which we know nothing */
		memset((char *)ret + size, 0, theirs - size);
	return 0;
}

int psb_watch_load(psb_watch *w, struct psb_load *ret)
{
	struct memory_load load;
	struct psb_load l;
	int r;

	if (!w || !ret)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	pthread_mutex_lock(&w->load_lock);
	/* opens files; while memory is short the limits known are good enough */
	if (psb_watch_available(w, NULL) == PSB_HIGH)
		memory_read_limits(&w->load_memory, &w->target.cgroups,
				   w->target.has_cgroup ? w->target.cgroup : NULL);
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
	return copy_out(ret, &l, sizeof(l));
}

int psb_watch_source(psb_watch *w, struct psb_source *ret)
{
	int r;

	if (!w || !ret)
		return -EINVAL;
	if (bridge_is_child(w->bridge))
		return -ECHILD;
	pthread_mutex_lock(&w->bridge->lock);
	r = copy_out(ret, &w->source, sizeof(w->source));
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
	return copy_out(ret, &stats, sizeof(stats));
}
