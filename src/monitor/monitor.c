/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - a monitor in the loop: its operations, its timer, its life
 *
 *      trigger rings      memory.events rings      stream speaks      timer
 *           |                     |                     |               |
 *           +----------+----------+                     |               |
 *                      v                                v               v
 *               monitor_sample() <-----------------------+------------- tick()
 *                      |
 *                      v
 *                monitor_judge() --------> owner->told(), next deadline
 *
 * One timer has the earliest of these times: the policy's deadline, the safety sample, the next
 * check of a stream, the next try at a better rung, the next look at a Low's effect, and the next look ahead. On a
 * privileged trigger, at rest and without a forecast it is not set.
 *
 * Facts it relies on:
 *  - An unprivileged trigger loses alarms when any other process reads the file (measured: a 10 Hz
 *    reader loses all). So there a sample is taken every 10 s, and growth that the kernel must have
 *    announced and did not moves the monitor to sampling.
 *  - memory.events stays ready until it is read, so it is read before it is polled again.
 */
#include "monitor/monitor-internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* All but the looks that need no sample: ahead, and at a Low's effect until it is known. */
static uint64_t next_sample(const struct monitor *m, uint64_t now)
{
	uint64_t next = MIN(m->deadline_usec, monitor_rest_deadline(m, now));

	next = MIN(next, monitor_records_deadline(m));
	next = MIN(next, monitor_stream_deadline(m));
	if (m->climb_usec > 0)
		next = MIN(next, m->climb_usec);
	return MIN(next, effect_end_usec(&m->effect));
}

static uint64_t next_tick(const struct monitor *m, uint64_t now)
{
	return MIN(next_sample(m, now), MIN(m->ahead_usec, effect_deadline(&m->effect)));
}

/* ---- what the loop calls ---------------------------------------------------------------------- */

static struct monitor *monitor_of(struct loop_op *op)
{
	return CONTAINER_OF(op, struct monitor_op, op)->monitor;
}

static void tick(struct loop_timer *timer, uint64_t now)
{
	struct monitor *m = CONTAINER_OF(timer, struct monitor, timer);
	uint64_t elapsed = now - m->sampled_usec, before = m->psi.some.total_usec;
	bool resting = monitor_is_resting(m);

	if (now < next_sample(m, now)) { /* a look changes no level sooner than it would be */
		monitor_follow_effect(m, now);
		if (now >= m->ahead_usec && !m->detaching)
			monitor_look_ahead(m, now);
		monitor_settle(m, now);
		return;
	}
	if (!monitor_records_rule(m, now))
		monitor_look(m, POLICY_TICK, now);
	else
		monitor_follow_effect(m, now);
	if (m->lost_cgroup)
		return;
	monitor_weigh_alarms(m, resting, usec_sub(m->psi.some.total_usec, before), elapsed, now);
	monitor_stream_tick(m, now);
	if (!m->broke && !m->has_next && m->climb_usec > 0 && now >= m->climb_usec)
		monitor_climb_again(m, now);
	monitor_settle(m, now);
}

static void trigger_rang(struct loop_op *op, int result)
{
	struct monitor *m = monitor_of(op);
	uint64_t now = now_usec(), before = m->psi.some.total_usec;
	bool resting = monitor_is_resting(m), dropped = result < 0 || (result & POLLERR);

	if (m->detaching)
		return;
	monitor_count_alarm(m, now);
	/* while sampling anyway, an alarm is no news */
	if (!resting && !dropped && now - m->sampled_usec < POLICY_PACE_MIN_USEC)
		return;
	monitor_look(m, dropped ? POLICY_TICK : POLICY_ALARM, now);
	if (m->lost_cgroup)
		return;
	if (dropped && !m->broke)
		monitor_end_source(m, monitor_lower_rungs(m),
				   result < 0 ? strerror(-result)
					      : "the kernel dropped the trigger");
	else if (resting && !dropped &&
		 usec_sub(m->psi.some.total_usec, before) < m->source.armed.threshold_usec)
		m->stats.false_alarms++;
	else if (resting && !dropped)
		m->suspicions = 0;
	monitor_settle(m, now);
}

static void events_rang(struct loop_op *op, int result)
{
	struct monitor *m = monitor_of(op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	monitor_count_alarm(m, now);
	if (!m->listening)
		return;
	monitor_look(m, POLICY_EVENTS, now);
	if (m->lost_cgroup)
		return;
	if (result < 0 && result != -ENOTSUP && !m->broke)
		monitor_end_source(m, monitor_lower_rungs(m), strerror(-result));
	monitor_settle(m, now);
}

static void stream_spoke(struct loop_op *op, int result)
{
	struct monitor *m = monitor_of(op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	if (m->source.kind == SOURCE_RECORDS)
		monitor_records_take(m, result, now);
	else
		monitor_stream_take(m, result, now);
	monitor_settle(m, now);
}

/* ---- operations ------------------------------------------------------------------------------- */

static bool is_busy(const struct monitor *m)
{
	for (unsigned i = 0; i < OPS; i++)
		if (loop_op_is_busy(&m->ops[i].op))
			return true;
	return false;
}

static void take_next(struct monitor *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	source_close(&m->source, m->context->closer);
	m->source = m->next;
	m->next = (struct source)SOURCE_INIT;
	m->has_next = false;
	m->broke = 0;
	m->polling_usec = m->hear_usec = 0;
	if (m->source.events_fd >= 0 || m->source.stream_fd >= 0)
		m->events_lost = false;
	effect_forget(&m->effect); /* a baseline as any: totals of another file are no growth */
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	m->told_some_usec = m->psi.some.total_usec;
	policy_forget(&m->policy);
	monitor_judge(m, POLICY_TICK, &s, now);
	monitor_moved_on(m, now);
	monitor_attach(m);
}

static void listen_to_events(struct monitor *m);

/* An operation was released: go on with what waited for the last of them. */
static void released(struct loop_op *op)
{
	struct monitor *m = monitor_of(op);

	if (!m->detaching && !m->has_next) {
		listen_to_events(m);
	} else if (!is_busy(m)) {
		if (!m->detaching)
			take_next(m);
		else if (m->leaving) /* else detach() is in the queue, and comes to the same end */
			m->owner->detached(m);
	}
}

/* Take everything out of the loop; what is busy is released from a later dispatch. */
static void cancel_all(struct monitor *m)
{
	if (!is_busy(m)) {
		released(&m->ops[0].op);
		return;
	}
	for (unsigned i = 0; i < OPS; i++)
		if (loop_op_is_busy(&m->ops[i].op))
			loop_cancel(&m->ops[i].op, released);
}

static int poll_for(struct monitor *m, unsigned op, int fd, unsigned events, loop_done_fn *done)
{
	return loop_poll(m->context->loop, &m->ops[op].op, fd, events, done);
}

static void listen_to_events(struct monitor *m)
{
	struct loop_op *op = &m->ops[OP_EVENTS].op;

	if (m->lost_cgroup || m->source.events_fd < 0)
		return;
	if (m->listening && !loop_op_is_busy(op))
		m->events_deaf = poll_for(m, OP_EVENTS, m->source.events_fd, POLLPRI, events_rang) <
				 0;
	else if (!m->listening && loop_op_is_busy(op))
		loop_cancel(op, released);
}

/* Returns: false: it broke. */
static bool listen_to_stream(struct monitor *m)
{
	struct loop_op *op = &m->ops[OP_STREAM].op;
	int r = 0;

	if (m->source.stream_fd < 0)
		return true;
	if (m->hear_usec > 0 && loop_op_is_busy(op))
		loop_cancel(op, NULL);
	else if (m->hear_usec == 0 && !loop_op_is_busy(op))
		r = m->source.kind == SOURCE_SOCKET
			    ? loop_drain(m->context->loop, op, m->source.stream_fd, stream_spoke)
			    : poll_for(m, OP_STREAM, m->source.stream_fd, POLLIN, stream_spoke);
	if (r < 0)
		monitor_end_source(m, monitor_lower_rungs(m), strerror(-r));
	return r == 0;
}

/* After each step: what is to be heard, and the one timer. */
void monitor_settle(struct monitor *m, uint64_t now)
{
	if (m->lost_cgroup || m->detaching)
		return;
	if (m->broke && !m->has_next)
		monitor_replace_source(m, now);
	if (m->has_next) {
		cancel_all(m); /* where nothing is busy the next one is settled already */
		if (!m->has_next)
			return;
	} else {
		listen_to_events(m);
		if (!listen_to_stream(m)) {
			monitor_settle(m, now);
			return;
		}
	}
	loop_timer_set(m->context->loop, &m->timer, next_tick(m, now));
	if (m->owner->stepped)
		m->owner->stepped(m);
	if (m->deadline_usec == USEC_NEVER && !effect_is_measured(&m->effect) && m->owner->rests)
		m->owner->rests(m);
}

/* ---- levels from elsewhere, and a start in the middle of a stall ---------------------------------- */

void monitor_signal(struct monitor *m, enum level level, bool critical, enum reason reason)
{
	uint64_t now = now_usec();

	if (m->lost_cgroup || m->detaching)
		return;
	monitor_judge_signal(m, level, critical, reason, now);
	monitor_settle(m, now);
}

void monitor_foresee(struct monitor *m, uint64_t left_usec, size_t length)
{
	struct policy_sample s = { .left_usec = MAX(left_usec, 1u) };
	uint64_t now = now_usec();

	if (m->lost_cgroup || m->detaching)
		return;
	for (m->nearest = 0; m->nearest + 1 < m->memory.count; m->nearest++)
		if (m->memory.levels[m->nearest].length == length)
			break;
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	monitor_judge(m, POLICY_TICK, &s, now);
	monitor_settle(m, now);
}

void monitor_resume(struct monitor *m, enum level level, bool critical, uint64_t told_usec)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	if (m->lost_cgroup || m->detaching)
		return;
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	m->told_some_usec = m->psi.some.total_usec;
	m->records.following = false; /* as after a simulation */
	policy_resume(&m->policy, level, critical, now);
	if (level == LEVEL_LOW) /* however often it is taken over, the repeat is due when it was */
		m->policy.told_usec = MIN(told_usec, now);
	monitor_judge(m, POLICY_TICK, &s, now);
	monitor_settle(m, now);
}

/* The policy sees the growth since the baseline as if the monitor had been there. */
void monitor_start_alarmed(struct monitor *m, uint64_t baseline_usec, const struct psi *baseline,
			   const struct memory_events *known)
{
	struct policy_sample then = { 0 }, s = { 0 };
	uint64_t now = now_usec();
	struct psi psi;
	struct memory_events events;

	(void)effect_stall(&m->effect, baseline_usec, baseline->some.total_usec,
			   baseline->some.avg10_centi);
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	psi = m->psi;
	events = m->events;
	m->psi = *baseline;
	m->told_some_usec = baseline->some.total_usec;
	if (known)
		m->events = *known;
	monitor_judge(m, POLICY_TICK, &then, baseline_usec);
	m->psi = psi;
	m->events = events;
	monitor_mark_limits(m, false, now);
	monitor_judge(m, POLICY_ALARM, &s, now);
	monitor_settle(m, now);
}

/* ---- life ------------------------------------------------------------------------------------- */

int monitor_new(struct monitor_context *context, const struct monitor_owner *owner, void *userdata,
		const struct policy_options *options, const struct cgroups *cgroups,
		struct label *label, bool has_cgroup, const char *v1_cgroup,
		struct memory_shared **shared, struct source *source, struct monitor **ret)
{
	struct monitor *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->cgroups = cgroups;
	m->v2_path = has_cgroup ? label->path : NULL;
	r = m->v2_path ? cgroup_inode(cgroups, m->v2_path, &m->inode) : 0;
	if (r == 0)
		r = memory_open_shared(&m->memory, cgroups, m->v2_path, v1_cgroup, shared);
	if (r < 0) {
		free(m);
		return r;
	}
	m->owner = owner;
	m->userdata = userdata;
	m->context = context;
	m->early = options->early;
	m->ahead_usec = USEC_NEVER;
	m->next = (struct source)SOURCE_INIT;
	m->source = *source;
	*source = (struct source)SOURCE_INIT;
	m->timer = (struct loop_timer){ .expired = tick };
	for (unsigned i = 0; i < OPS; i++)
		m->ops[i].monitor = m;
	policy_init(&m->policy, options);
	m->label = label_ref(label);
	*ret = m;
	return 0;
}

void monitor_attach(struct monitor *m)
{
	uint64_t now = now_usec();
	int r = 0;

	/* at High it goes on as one that knows nothing else */
	monitor_show(m, m->policy.level == LEVEL_HIGH ? EVENT_BEGIN : EVENT_TICK, NULL,
		     m->sampled_usec);
	if (m->source.trigger_fd >= 0)
		r = poll_for(m, OP_TRIGGER, m->source.trigger_fd, POLLPRI, trigger_rang);
	monitor_stream_begin(m, now);
	if (m->source.kind == SOURCE_RECORDS)
		monitor_records_begin(m, now);
	if (m->climb_usec == 0)
		monitor_climb_later(m, now);
	if (r < 0)
		monitor_end_source(m, monitor_lower_rungs(m), strerror(-r));
	monitor_settle(m, now);
}

static void detach(struct loop_work *work)
{
	struct monitor *m = CONTAINER_OF(work, struct monitor, work);

	m->leaving = true;
	cancel_all(m);
}

void monitor_detach(struct monitor *m)
{
	if (m->detaching)
		return;
	m->detaching = true;
	loop_timer_stop(m->context->loop, &m->timer);
	/* later: the caller may be a callback of this monitor */
	m->work = (struct loop_work){ .run = detach };
	loop_post(m->context->loop, &m->work);
}

struct monitor *monitor_free(struct monitor *m)
{
	struct closer *closer;

	if (!m)
		return NULL;
	closer = context_is_child(m->context) ? NULL : m->context->closer;
	source_close(&m->source, closer);
	source_close(&m->next, closer);
	memory_close(&m->memory);
	label_unref(m->label);
	free(m);
	return NULL;
}
