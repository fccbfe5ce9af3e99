/* SPDX-License-Identifier: MIT */
/*
 * meter.c - alarm -> sample -> policy -> owner; which source rings, and whether to believe it, is
 * meter-source.c
 *
 *      trigger rings      memory.events rings      stream speaks      timer
 *           |                     |                     |               |
 *           +----------+----------+                     |               |
 *                      v                                v               v
 *               meter_sample() <------------------------+------------ tick()
 *                      |
 *                      v
 *                meter_judge() --------> owner->told(), next deadline
 *
 * One timer carries the earliest of four times: the policy's deadline, the safety sample, the next
 * try at a better rung, and the measurement of a Low's effect. On a privileged trigger and at rest
 * none of them is set.
 *
 * Facts it relies on:
 *  - An unprivileged trigger loses alarms when anybody else reads the file (measured: a 10 Hz
 *    reader loses all). So there a sample is taken every 10 s, and growth that the kernel must have
 *    announced and did not moves the meter to sampling.
 *  - A removed cgroup answers pread with ENODEV. Its poll gives POLLERR|POLLPRI, which is no
 *    pressure.
 *  - memory.events stays ready until it is read, so it is read before it is polled again.
 */
#include "library/meter-internal.h"

#include "kernel/pressure.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAFETY_USEC (10 * USEC_PER_SEC)
#define POLLING_PACE_MIN_USEC (250 * USEC_PER_MSEC)
#define EFFECT_USEC (1 * USEC_PER_SEC)
/* What a stream's Low says of the memory in use may be so old. */
#define RECENT_USEC (1 * USEC_PER_SEC)
/* Without PSI: so little room beside a moving memory.events is Low. */
#define BLIND_LOW_PERCENT 90

/* ---- telling -------------------------------------------------------------------------------- */

static void describe(const struct meter *m, enum psb_reason reason, uint64_t current_bytes,
		     struct psb_notification *ret)
{
	const struct policy *p = &m->policy;

	*ret = (struct psb_notification){
		.size = sizeof(*ret),
		.kind = PSB_KIND_LEVEL,
		.available = (enum psb_available)p->level,
		.critical = p->level == LEVEL_LOW && p->told_critical,
		.reason = reason,
		.cgroup = m->label->path,
		.time_usec = m->sampled_usec,
		.since_usec = p->level == LEVEL_HIGH ? 0 : p->since_usec,
		.some_total_usec = m->psi.some.total_usec,
		.full_total_usec = m->psi.full.total_usec,
		.stall_usec = m->psi.some.total_usec - m->told_some_usec,
		.some_avg10_centi = m->psi.some.avg10_centi,
		.current_bytes = current_bytes,
		.limit_bytes = m->limit_bytes,
	};
}

void meter_present(const struct meter *m, enum psb_reason reason, struct psb_notification *ret)
{
	describe(m, reason, memory_read_current(&m->memory), ret);
}

void meter_describe(const struct meter *m, enum psb_reason reason, struct psb_notification *ret)
{
	describe(m, reason, m->current_bytes, ret);
}

/* Who is told what a FIFO or a socket said is told at once: no file is read before the call that
 * was read a moment ago. */
static uint64_t recent_bytes(struct meter *m, uint64_t now)
{
	if (m->source.stream_fd < 0 || m->current_usec == 0 ||
	    now - m->current_usec >= RECENT_USEC) {
		m->current_bytes = memory_read_current(&m->memory);
		m->current_usec = now;
	}
	return m->current_bytes;
}

void meter_deliver(struct meter *m, const struct psb_notification *n, uint64_t now)
{
	m->told_some_usec = m->psi.some.total_usec;
	switch (n->available) {
	case PSB_LOW:
		m->stats.low++;
		m->stats.critical += n->critical != 0;
		if (m->effect_usec == 0) {
			m->effect_usec = now + EFFECT_USEC;
			m->effect_bytes = n->current_bytes;
		}
		break;
	case PSB_NEUTRAL:
		m->stats.neutral++;
		break;
	case PSB_HIGH:
		m->stats.high++;
		break;
	}
	m->owner->told(m, n);
}

static void tell(struct meter *m, const struct policy_verdict *v, uint64_t now)
{
	struct psb_notification n;

	describe(m, (enum psb_reason)v->reason, recent_bytes(m, now), &n);
	n.time_usec = now;
	n.since_usec = v->since_usec;
	meter_deliver(m, &n, now);
}

void meter_lose_cgroup(struct meter *m)
{
	struct psb_notification n;

	if (m->lost_cgroup)
		return;
	m->lost_cgroup = true;
	loop_timer_stop(m->bridge->loop, &m->timer);
	meter_present(m, PSB_REASON_GONE, &n);
	n.kind = PSB_KIND_GONE;
	n.time_usec = now_usec();
	n.critical = 0;
	if (n.available == PSB_LOW) /* a CLR stays in low-memory mode until told otherwise */
		n.available = PSB_NEUTRAL;
	m->policy.level = (enum level)n.available;
	m->policy.told_critical = false;
	m->owner->gone(m, &n);
}

/* ---- looking -------------------------------------------------------------------------------- */

/* `calm`: there is time to read the limits anew, which opens files. */
static enum headroom read_headroom(struct meter *m, bool calm)
{
	struct memory_load load;

	if (calm)
		memory_read_limits(&m->memory, m->cgroups, m->v2_path);
	m->limit_bytes = memory_has_limit(&m->memory) ? m->memory.limit_bytes : 0;
	/* asked before reading: the machine's numbers would have to be opened, and do not count
	 * here */
	if (m->limit_bytes == 0 || memory_read(&m->memory, &load) < 0)
		return HEADROOM_ENOUGH;
	return 100 - load.percent >= m->policy.options.headroom_percent ? HEADROOM_ENOUGH
									: HEADROOM_SHORT;
}

/* Read what there is into m->psi and m->events. */
int meter_sample(struct meter *m, uint64_t now)
{
	int r;

	if (m->source.sample_fd >= 0) {
		r = pressure_read(m->source.sample_fd, &m->psi);
		if (r < 0)
			return r;
		m->stats.samples++;
	}
	if (m->source.events_fd >= 0) {
		r = memory_events_read(m->source.events_fd, &m->events);
		if (r < 0)
			return r;
	}
	m->sampled_usec = now;
	return 0;
}

void meter_judge(struct meter *m, enum policy_event event, struct policy_sample *s, uint64_t now)
{
	struct policy_verdict v;

	s->has_psi = m->source.sample_fd >= 0;
	s->some_usec = m->psi.some.total_usec;
	s->full_usec = m->psi.full.total_usec;
	s->some_avg10_centi = m->psi.some.avg10_centi;
	s->full_avg10_centi = m->psi.full.avg10_centi;
	s->has_oom = m->source.events_fd >= 0;
	s->oom = m->events.oom + m->events.oom_kill;
	policy_step(&m->policy, event, s, now, &v);
	if (v.want_headroom) { /* a step that wants it tells nothing */
		s->headroom = read_headroom(m, event == POLICY_TICK);
		policy_step(&m->policy, event, s, now, &v);
	}
	if (v.tell)
		tell(m, &v, now);
	m->listening = v.listen;
	m->deadline_usec = v.deadline_usec;
}

/* Without PSI there is only this: the limit is being hit, and what is in use is not cache. */
static bool is_low_blindly(const struct meter *m, const struct memory_events *before)
{
	struct memory_load load;

	return m->source.sample_fd < 0 && m->source.events_fd >= 0 &&
	       m->events.high + m->events.max > before->high + before->max &&
	       memory_read(&m->memory, &load) == 0 && load.percent >= BLIND_LOW_PERCENT;
}

static void look(struct meter *m, enum policy_event event, uint64_t now)
{
	struct policy_sample s = { .signal = LEVEL_LOW, .signal_reason = REASON_HEADROOM };
	struct memory_events before = m->events;
	int r = meter_sample(m, now);

	if (r == -ENODEV) {
		meter_lose_cgroup(m);
		return;
	}
	if (is_low_blindly(m, &before))
		event = POLICY_SIGNAL;
	meter_judge(m, event, &s, now);
}

int meter_first_look(struct meter *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };
	struct policy_verdict v;
	int r = meter_sample(m, now);

	if (r < 0)
		return r;
	m->told_some_usec = m->psi.some.total_usec;
	m->current_bytes = memory_read_current(&m->memory);
	s.headroom = read_headroom(m, true);
	if (m->source.kind == SOURCE_RECORDS) { /* psibridged says where we stand */
		m->deadline_usec = USEC_NEVER;
		return 0;
	}
	s.has_psi = m->source.sample_fd >= 0;
	s.some_usec = m->psi.some.total_usec;
	s.full_usec = m->psi.full.total_usec;
	s.has_oom = m->source.events_fd >= 0;
	s.oom = m->events.oom + m->events.oom_kill;
	policy_step(&m->policy, POLICY_TICK, &s, now, &v);
	m->listening = v.listen;
	m->deadline_usec = v.deadline_usec;
	return 0;
}

bool meter_is_resting(const struct meter *m)
{
	return m->policy.level == LEVEL_HIGH && m->policy.alarm_usec == 0;
}

/* ---- when to look again ---------------------------------------------------------------------- */

static bool has_alarm(const struct meter *m)
{
	return m->source.trigger_fd >= 0 || m->source.events_fd >= 0 || m->source.stream_fd >= 0;
}

/* Is there nothing but the clock to wake us? */
static bool is_polling(const struct meter *m, uint64_t now)
{
	return m->source.sample_fd >= 0 &&
	       (!has_alarm(m) || m->source.kind == SOURCE_SAMPLING || now < m->polling_usec);
}

/* At rest: the sample that the policy does not ask for. */
static uint64_t rest_deadline(const struct meter *m, uint64_t now)
{
	if (m->source.sample_fd < 0)
		return USEC_NEVER;
	if (is_polling(m, now))
		return m->sampled_usec + m->polling_pace_usec;
	if (m->source.trigger_fd >= 0 && m->source.privileged)
		return USEC_NEVER;
	return m->sampled_usec + SAFETY_USEC;
}

/* After each step: set the one timer, and listen to memory.events or not. */
void meter_settle(struct meter *m, uint64_t now)
{
	uint64_t next = m->deadline_usec;

	if (m->lost_cgroup || m->detaching)
		return;
	next = MIN(next, rest_deadline(m, now));
	next = MIN(next, meter_records_deadline(m));
	if (m->climb_usec > 0)
		next = MIN(next, m->climb_usec);
	if (m->effect_usec > 0)
		next = MIN(next, m->effect_usec);
	loop_timer_set(m->bridge->loop, &m->timer, next);
	meter_listen(m);
	if (m->owner->stepped)
		m->owner->stepped(m);
	if (m->deadline_usec == USEC_NEVER && m->effect_usec == 0 && m->owner->rests)
		m->owner->rests(m);
}

static void measure_effect(struct meter *m, uint64_t now)
{
	uint64_t bytes;

	if (m->effect_usec == 0 || now < m->effect_usec)
		return;
	m->effect_usec = 0;
	bytes = memory_read_current(&m->memory);
	if (bytes > 0 && bytes < m->effect_bytes)
		m->stats.bytes_back += m->effect_bytes - bytes;
}

/* ---- what the loop calls ---------------------------------------------------------------------- */

static void tick(struct loop_timer *timer, uint64_t now)
{
	struct meter *m = CONTAINER_OF(timer, struct meter, timer);
	uint64_t elapsed = now - m->sampled_usec, before = m->psi.some.total_usec, growth;
	bool resting = meter_is_resting(m);

	measure_effect(m, now);
	if (!meter_records_rule(m, now))
		look(m, POLICY_TICK, now);
	if (m->lost_cgroup)
		return;
	growth = usec_sub(m->psi.some.total_usec, before);
	if (m->polling_usec > 0 && now >= m->polling_usec)
		meter_trust_alarms(m, now);
	else if (resting && m->polling_usec == 0)
		meter_doubt_alarms(m, growth, elapsed, now);
	if (is_polling(m, now))
		m->polling_pace_usec = growth > 0 ? POLLING_PACE_MIN_USEC
						  : CLAMP(2 * m->polling_pace_usec,
							  POLLING_PACE_MIN_USEC,
							  m->policy.options.low.window_usec);
	if (m->climb_usec > 0 && now >= m->climb_usec)
		meter_climb_again(m, now);
	meter_settle(m, now);
}

static void trigger_rang(struct loop_op *op, int result)
{
	struct meter *m = CONTAINER_OF(op, struct meter, trigger_op);
	uint64_t now = now_usec(), before = m->psi.some.total_usec;
	bool resting = meter_is_resting(m), broke = result < 0 || (result & POLLERR);

	if (m->detaching)
		return;
	m->stats.alarms++;
	/* while sampling anyway, an alarm is no news */
	if (!resting && !broke && now - m->sampled_usec < POLICY_PACE_MIN_USEC)
		return;
	look(m, broke ? POLICY_TICK : POLICY_ALARM, now);
	if (m->lost_cgroup)
		return;
	if (broke) {
		meter_source_broke(
			m, result < 0 ? strerror(-result) : "the kernel dropped the trigger", now);
		return;
	}
	if (resting && usec_sub(m->psi.some.total_usec, before) < m->source.armed.threshold_usec)
		m->stats.false_alarms++;
	else if (resting)
		m->suspicions = 0;
	meter_settle(m, now);
}

static void events_rang(struct loop_op *op, int result)
{
	struct meter *m = CONTAINER_OF(op, struct meter, events_op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	m->stats.alarms++;
	if (!m->listening)
		return;
	look(m, POLICY_EVENTS, now);
	if (m->lost_cgroup)
		return;
	if (result < 0) {
		meter_source_broke(m, strerror(-result), now);
		return;
	}
	meter_settle(m, now);
}

void meter_signal(struct meter *m, enum level level, bool critical, enum reason reason)
{
	uint64_t now = now_usec();
	struct policy_sample s = { .signal = level,
				   .signal_critical = critical,
				   .signal_reason = reason };

	if (m->lost_cgroup || m->detaching)
		return;
	if (meter_sample(m, now) == -ENODEV) {
		meter_lose_cgroup(m);
		return;
	}
	m->records.following = false; /* until what was simulated is over */
	meter_judge(m, POLICY_SIGNAL, &s, now);
	meter_settle(m, now);
}

static void socket_spoke(struct loop_op *op, int result)
{
	struct meter *m = CONTAINER_OF(op, struct meter, stream_op);

	if (m->detaching)
		return;
	if (result <= 0) {
		meter_source_broke(
			m, result == 0 ? "the peer closed the connection" : strerror(-result),
			now_usec());
		return;
	}
	m->stats.alarms++;
	meter_signal(m, LEVEL_LOW, false, REASON_SIGNAL);
	/* after it: the request goes in with the next wait anyway, and nothing of ours should be
	 * before the callback */
	if (m->detaching || m->lost_cgroup)
		return;
	result = loop_recv(op->loop, op, m->source.stream_fd, m->stream_buf, sizeof(m->stream_buf),
			   socket_spoke);
	if (result < 0)
		meter_source_broke(m, strerror(-result), now_usec());
}

static void fifo_spoke(struct loop_op *op, int result)
{
	struct meter *m = CONTAINER_OF(op, struct meter, stream_op);
	bool any = false;
	ssize_t n;

	if (m->detaching)
		return;
	if (result < 0) {
		meter_source_broke(m, strerror(-result), now_usec());
		return;
	}
	/* edge-triggered: empty it. A writer that outruns us must not keep us here. */
	for (int i = 0;
	     i < 4096 && (n = read(m->source.stream_fd, m->stream_buf, sizeof(m->stream_buf))) > 0;
	     i++)
		any = true;
	if (!any)
		return;
	m->stats.alarms++;
	meter_signal(m, LEVEL_LOW, false, REASON_SIGNAL);
}

void meter_listen(struct meter *m)
{
	if (m->detaching || m->has_next || m->lost_cgroup || m->source.events_fd < 0)
		return;
	if (m->listening && !loop_op_is_busy(&m->events_op))
		loop_poll(m->bridge->loop, &m->events_op, m->source.events_fd, POLLPRI,
			  events_rang);
	else if (!m->listening && loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, meter_events_released);
}

/* ---- life ------------------------------------------------------------------------------------- */

int meter_new(struct psb_bridge *bridge, const struct meter_owner *owner, void *userdata,
	      const struct policy_options *options, const struct cgroups *cgroups,
	      struct label *label, bool has_cgroup, const char *v1_cgroup, struct source *source,
	      struct meter **ret)
{
	struct meter *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->cgroups = cgroups;
	m->v2_path = has_cgroup ? label->path : NULL;
	r = memory_open(&m->memory, cgroups, m->v2_path, v1_cgroup);
	if (r < 0) {
		free(m);
		return r;
	}
	m->owner = owner;
	m->userdata = userdata;
	m->bridge = bridge;
	m->early = options->early;
	m->next = (struct source)SOURCE_INIT;
	m->source = *source;
	*source = (struct source)SOURCE_INIT;
	m->timer = (struct loop_timer){ .expired = tick };
	m->polling_pace_usec = POLLING_PACE_MIN_USEC;
	policy_init(&m->policy, options);
	pthread_mutex_lock(&bridge->lock);
	m->label = label_ref(label);
	pthread_mutex_unlock(&bridge->lock);
	*ret = m;
	return 0;
}

void meter_attach(struct meter *m)
{
	struct loop *loop = m->bridge->loop;
	uint64_t now = now_usec();
	int r = 0;

	if (m->source.trigger_fd >= 0)
		r = loop_poll(loop, &m->trigger_op, m->source.trigger_fd, POLLPRI, trigger_rang);
	if (r == 0 && m->source.kind == SOURCE_SOCKET)
		r = loop_recv(loop, &m->stream_op, m->source.stream_fd, m->stream_buf,
			      sizeof(m->stream_buf), socket_spoke);
	if (r == 0 && m->source.kind == SOURCE_RECORDS)
		r = meter_records_attach(m, now);
	if (r == 0 && m->source.kind == SOURCE_FIFO)
		r = loop_poll(loop, &m->stream_op, m->source.stream_fd, POLLIN, fifo_spoke);
	/* on a poor rung, or not on the stream that was named: a better one may come */
	if (m->target && m->climb_usec == 0 &&
	    (m->source.rung >= 5 || (m->source.rung > 1 && m->target->stream != STREAM_NONE)))
		meter_climb_later(m, now);
	if (r < 0)
		meter_source_broke(m, strerror(-r), now);
	else
		meter_settle(m, now);
}

static void detach(struct loop_work *work)
{
	struct meter *m = CONTAINER_OF(work, struct meter, work);

	m->leaving = true;
	meter_cancel_all(m);
}

void meter_detach(struct meter *m)
{
	if (m->detaching)
		return;
	m->detaching = true;
	loop_timer_stop(m->bridge->loop, &m->timer);
	/* not from within: the caller may be a callback of this meter's */
	m->work = (struct loop_work){ .run = detach };
	loop_post(m->bridge->loop, &m->work);
}

struct meter *meter_free(struct meter *m)
{
	struct closer *closer;

	if (!m)
		return NULL;
	closer = bridge_is_child(m->bridge) ? NULL : m->bridge->closer;
	source_close(&m->source, closer);
	source_close(&m->next, closer);
	memory_close(&m->memory);
	if (!bridge_is_child(m->bridge))
		pthread_mutex_lock(&m->bridge->lock);
	label_unref(m->label);
	if (!bridge_is_child(m->bridge))
		pthread_mutex_unlock(&m->bridge->lock);
	free(m);
	return NULL;
}
