/* SPDX-License-Identifier: MIT */
/*
 * monitor.c - alarm -> sample -> policy -> owner; choosing the source, and lost alarms, are in
 * monitor-source.c
 *
 *      trigger rings      memory.events rings      stream speaks      timer
 *           |                     |                     |               |
 *           +----------+----------+                     |               |
 *                      v                                v               v
 *               monitor_sample() <------------------------+------------ tick()
 *                      |
 *                      v
 *                monitor_judge() --------> owner->told(), next deadline
 *
 * One timer has the earliest of these times: the policy's deadline, the safety sample, the next
 * check of a stream, the next try at a better rung, and the measurement of a Low's effect. On a
 * privileged trigger and at rest it is not set.
 *
 * Facts it relies on:
 *  - An unprivileged trigger loses alarms when any other process reads the file (measured: a 10 Hz
 *    reader loses all). So there a sample is taken every 10 s, and growth that the kernel must have
 *    announced and did not moves the monitor to sampling.
 *  - A removed cgroup answers pread with ENODEV. Its poll gives POLLERR|POLLPRI, which is no
 *    pressure. But so does memory.pressure after `echo 0 >cgroup.pressure`, and memory.events after
 *    the memory controller was taken from the parent's cgroup.subtree_control, and both files may
 *    come back: only the directory tells.
 *  - memory.events stays ready until it is read, so it is read before it is polled again.
 */
#include "monitor/monitor-internal.h"

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

static void describe(const struct monitor *m, enum psb_reason reason, const struct memory_use *use,
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
		.current_bytes = use->current_bytes,
		.limit_bytes = use->limit_bytes,
	};
}

void monitor_present(const struct monitor *m, enum psb_reason reason, struct psb_notification *ret)
{
	struct memory_use use;

	memory_read_use(&m->memory, &use);
	describe(m, reason, &use, ret);
}

void monitor_describe(const struct monitor *m, enum psb_reason reason, struct psb_notification *ret)
{
	describe(m, reason, &m->use, ret);
}

/* What a FIFO or a socket said is told at once: no file is read before the call that was read less
 * than RECENT_USEC ago. */
static const struct memory_use *recent_use(struct monitor *m, uint64_t now)
{
	if (m->source.stream_fd < 0 || m->use_usec == 0 || now - m->use_usec >= RECENT_USEC) {
		memory_read_use(&m->memory, &m->use);
		m->use_usec = now;
	}
	return &m->use;
}

void monitor_deliver(struct monitor *m, const struct psb_notification *n, uint64_t now)
{
	m->told_some_usec = m->psi.some.total_usec;
	switch (n->available) {
	case PSB_LOW:
		m->stats.low++;
		m->stats.critical += n->critical != 0;
		if (m->effect_usec == 0) {
			m->effect_usec = now + EFFECT_USEC;
			m->effect_bytes = m->use.own_bytes;
		}
		break;
	case PSB_NEUTRAL:
		m->stats.neutral++;
		break;
	case PSB_HIGH:
		m->stats.high++;
		break;
	}
	if (m->owner->told)
		m->owner->told(m, n);
}

static void tell(struct monitor *m, const struct policy_verdict *v, uint64_t now)
{
	struct psb_notification n;

	describe(m, (enum psb_reason)v->reason, recent_use(m, now), &n);
	n.time_usec = now;
	n.since_usec = v->since_usec;
	monitor_deliver(m, &n, now);
}

void monitor_lose_cgroup(struct monitor *m)
{
	struct psb_notification n;

	if (m->lost_cgroup)
		return;
	m->lost_cgroup = true;
	loop_timer_stop(m->context->loop, &m->timer);
	monitor_present(m, PSB_REASON_GONE, &n);
	n.kind = PSB_KIND_GONE;
	n.time_usec = now_usec();
	n.critical = 0;
	if (n.available == PSB_LOW) /* a CLR stays in low-memory mode until told otherwise */
		n.available = PSB_NEUTRAL;
	m->policy.level = (enum level)n.available;
	m->policy.told_critical = false;
	m->owner->gone(m, &n);
}

/* ---- sampling ------------------------------------------------------------------------------- */

/* `calm`: there is time to read the limits anew, which opens files. */
static enum headroom read_headroom(struct monitor *m, bool calm)
{
	struct memory_load load;

	if (calm)
		(void)memory_refresh(&m->memory); /* on an error the earlier limits stay */
	/* asked before reading: the machine's numbers would have to be opened, and do not count
	 * here */
	if (!memory_has_limit(&m->memory))
		return HEADROOM_ENOUGH;
	if (memory_read(&m->memory, &load) < 0) /* neither: the level stays */
		return m->policy.level == LEVEL_HIGH ? HEADROOM_ENOUGH : HEADROOM_SHORT;
	return 100 - load.percent >= m->policy.options.headroom_percent ? HEADROOM_ENOUGH
									: HEADROOM_SHORT;
}

void monitor_count_alarm(struct monitor *m, uint64_t now)
{
	m->stats.alarms++;
	m->stats.alarm_usec = now;
}

int monitor_sample(struct monitor *m, uint64_t now)
{
	int r;

	if (m->source.sample_fd >= 0) {
		r = monitor_check(m, pressure_read(m->source.sample_fd, &m->psi));
		if (r < 0)
			return r;
		m->stats.samples++;
		m->stats.sample_usec = now;
	}
	if (m->source.events_fd >= 0) {
		r = memory_events_read(m->source.events_fd, &m->events);
		m->events_lost = r == -ENODEV;
		r = monitor_check(m, r);
		if (r < 0)
			return r;
	}
	m->sampled_usec = now;
	return 0;
}

void monitor_judge(struct monitor *m, enum policy_event event, struct policy_sample *s,
		   uint64_t now)
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
static bool is_low_blindly(const struct monitor *m, const struct memory_events *before)
{
	struct memory_load load;

	return m->source.sample_fd < 0 && m->source.events_fd >= 0 &&
	       m->events.high + m->events.max > before->high + before->max &&
	       memory_read(&m->memory, &load) == 0 && load.percent >= BLIND_LOW_PERCENT;
}

static void look(struct monitor *m, enum policy_event event, uint64_t now)
{
	struct policy_sample s = { .signal = LEVEL_LOW, .signal_reason = REASON_HEADROOM };
	struct memory_events before = m->events;
	int r = monitor_sample(m, now);

	if (r == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	if (is_low_blindly(m, &before))
		event = POLICY_SIGNAL;
	monitor_judge(m, event, &s, now);
}

int monitor_first_look(struct monitor *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };
	struct policy_verdict v;
	int r = monitor_sample(m, now);

	if (r < 0)
		return r;
	m->told_some_usec = m->psi.some.total_usec;
	memory_read_use(&m->memory, &m->use);
	s.headroom = read_headroom(m, false);	/* it was opened a moment ago */
	if (m->source.kind == SOURCE_RECORDS) { /* the level is psibridged's */
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

bool monitor_is_resting(const struct monitor *m)
{
	return m->policy.level == LEVEL_HIGH && m->policy.alarm_usec == 0;
}

/* ---- when to sample again -------------------------------------------------------------------- */

static bool has_alarm(const struct monitor *m)
{
	return m->source.trigger_fd >= 0 || m->source.events_fd >= 0 || m->source.stream_fd >= 0;
}

/* Is there no alarm, only the timer? */
static bool is_polling(const struct monitor *m, uint64_t now)
{
	return m->source.sample_fd >= 0 &&
	       (!has_alarm(m) || m->source.kind == SOURCE_SAMPLING || now < m->polling_usec);
}

/* At rest: the sample that the policy does not ask for. */
static uint64_t rest_deadline(const struct monitor *m, uint64_t now)
{
	if (m->events_deaf && m->source.trigger_fd < 0)
		return m->sampled_usec + POLLING_PACE_MIN_USEC;
	if (m->source.sample_fd < 0)
		return USEC_NEVER;
	if (is_polling(m, now))
		return m->sampled_usec + m->polling_pace_usec;
	if (m->source.trigger_fd >= 0 && m->source.privileged)
		return USEC_NEVER;
	return m->sampled_usec + SAFETY_USEC;
}

/* After each step: set the one timer, and listen to memory.events or not. */
void monitor_settle(struct monitor *m, uint64_t now)
{
	uint64_t next = m->deadline_usec;

	if (m->lost_cgroup || m->detaching)
		return;
	if (m->file_ended && !m->has_next) {
		monitor_source_broke(m, "the file ended, but its cgroup is there", now);
		return;
	}
	monitor_listen(m);
	next = MIN(next, rest_deadline(m, now));
	next = MIN(next, monitor_records_deadline(m));
	next = MIN(next, monitor_stream_deadline(m));
	if (m->climb_usec > 0)
		next = MIN(next, m->climb_usec);
	if (m->effect_usec > 0)
		next = MIN(next, m->effect_usec);
	loop_timer_set(m->context->loop, &m->timer, next);
	if (m->owner->stepped)
		m->owner->stepped(m);
	if (m->deadline_usec == USEC_NEVER && m->effect_usec == 0 && m->owner->rests)
		m->owner->rests(m);
}

static void measure_effect(struct monitor *m, uint64_t now)
{
	struct memory_use use;

	if (m->effect_usec == 0 || now < m->effect_usec)
		return;
	m->effect_usec = 0;
	memory_read_use(&m->memory, &use);
	if (use.own_bytes > 0 && use.own_bytes < m->effect_bytes)
		m->stats.bytes_back += m->effect_bytes - use.own_bytes;
}

/* ---- what the loop calls ---------------------------------------------------------------------- */

static void tick(struct loop_timer *timer, uint64_t now)
{
	struct monitor *m = CONTAINER_OF(timer, struct monitor, timer);
	uint64_t elapsed = now - m->sampled_usec, before = m->psi.some.total_usec, growth;
	bool resting = monitor_is_resting(m);

	measure_effect(m, now);
	if (!monitor_records_rule(m, now))
		look(m, POLICY_TICK, now);
	if (m->lost_cgroup)
		return;
	growth = usec_sub(m->psi.some.total_usec, before);
	if (m->polling_usec > 0 && now >= m->polling_usec)
		monitor_trust_alarms(m, now);
	else if (resting && m->polling_usec == 0)
		monitor_doubt_alarms(m, growth, elapsed, now);
	if (is_polling(m, now))
		m->polling_pace_usec = growth > 0 ? POLLING_PACE_MIN_USEC
						  : CLAMP(2 * m->polling_pace_usec,
							  POLLING_PACE_MIN_USEC,
							  m->policy.options.low.window_usec);
	monitor_stream_tick(m, now);
	if (m->climb_usec > 0 && now >= m->climb_usec)
		monitor_climb_again(m, now);
	monitor_settle(m, now);
}

static void trigger_rang(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, trigger_op);
	uint64_t now = now_usec(), before = m->psi.some.total_usec;
	bool resting = monitor_is_resting(m), broke = result < 0 || (result & POLLERR);

	if (m->detaching)
		return;
	monitor_count_alarm(m, now);
	/* while sampling anyway, an alarm is no news */
	if (!resting && !broke && now - m->sampled_usec < POLICY_PACE_MIN_USEC)
		return;
	look(m, broke ? POLICY_TICK : POLICY_ALARM, now);
	if (m->lost_cgroup)
		return;
	if (broke) {
		monitor_source_broke(
			m, result < 0 ? strerror(-result) : "the kernel dropped the trigger", now);
		return;
	}
	if (resting && usec_sub(m->psi.some.total_usec, before) < m->source.armed.threshold_usec)
		m->stats.false_alarms++;
	else if (resting)
		m->suspicions = 0;
	monitor_settle(m, now);
}

static void events_rang(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, events_op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	monitor_count_alarm(m, now);
	if (!m->listening)
		return;
	look(m, POLICY_EVENTS, now);
	if (m->lost_cgroup)
		return;
	if (result < 0 && result != -ENOTSUP) {
		monitor_source_broke(m, strerror(-result), now);
		return;
	}
	monitor_settle(m, now);
}

void monitor_signal(struct monitor *m, enum level level, bool critical, enum reason reason)
{
	uint64_t now = now_usec();
	struct policy_sample s = { .signal = level,
				   .signal_critical = critical,
				   .signal_reason = reason };

	if (m->lost_cgroup || m->detaching)
		return;
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	m->records.following = false; /* until what was simulated is over */
	monitor_judge(m, POLICY_SIGNAL, &s, now);
	monitor_settle(m, now);
}

void monitor_listen(struct monitor *m)
{
	if (m->detaching || m->has_next || m->lost_cgroup || m->source.events_fd < 0)
		return;
	if (m->listening && !loop_op_is_busy(&m->events_op))
		m->events_deaf = loop_poll(m->context->loop, &m->events_op, m->source.events_fd,
					   POLLPRI, events_rang) < 0;
	else if (!m->listening && loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, monitor_events_released);
}

/* ---- life ------------------------------------------------------------------------------------- */

int monitor_new(struct monitor_context *context, const struct monitor_owner *owner, void *userdata,
		const struct policy_options *options, const struct cgroups *cgroups,
		struct label *label, bool has_cgroup, const char *v1_cgroup, struct source *source,
		struct monitor **ret)
{
	struct monitor *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->cgroups = cgroups;
	m->v2_path = has_cgroup ? label->path : NULL;
	r = m->v2_path ? cgroup_inode(cgroups, m->v2_path, &m->inode) : 0;
	if (r == 0)
		r = memory_open(&m->memory, cgroups, m->v2_path, v1_cgroup);
	if (r < 0) {
		free(m);
		return r;
	}
	m->owner = owner;
	m->userdata = userdata;
	m->context = context;
	m->early = options->early;
	m->next = (struct source)SOURCE_INIT;
	m->source = *source;
	*source = (struct source)SOURCE_INIT;
	m->timer = (struct loop_timer){ .expired = tick };
	m->polling_pace_usec = POLLING_PACE_MIN_USEC;
	policy_init(&m->policy, options);
	m->label = label_ref(label);
	*ret = m;
	return 0;
}

void monitor_attach(struct monitor *m)
{
	struct loop *loop = m->context->loop;
	uint64_t now = now_usec();
	int r = 0;

	if (m->source.trigger_fd >= 0)
		r = loop_poll(loop, &m->trigger_op, m->source.trigger_fd, POLLPRI, trigger_rang);
	if (r == 0 && m->source.kind == SOURCE_RECORDS)
		r = monitor_records_attach(m, now);
	else if (r == 0 && m->source.stream_fd >= 0)
		r = monitor_stream_attach(m, now);
	if (m->source.rung > 0)
		m->best_rung = m->best_rung > 0 ? MIN(m->best_rung, m->source.rung)
						: m->source.rung;
	if (m->climb_usec == 0 && monitor_may_climb(m))
		monitor_climb_later(m, now);
	if (r < 0)
		monitor_source_broke(m, strerror(-r), now);
	else
		monitor_settle(m, now);
}

static void detach(struct loop_work *work)
{
	struct monitor *m = CONTAINER_OF(work, struct monitor, work);

	m->leaving = true;
	monitor_cancel_all(m);
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
