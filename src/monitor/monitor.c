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
 * check of a stream, the next try at a better rung, and the measurement of a Low's effect. On a
 * privileged trigger and at rest it is not set.
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

#define SAFETY_USEC (10 * USEC_PER_SEC)

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

static uint64_t next_tick(const struct monitor *m, uint64_t now)
{
	uint64_t next = MIN(m->deadline_usec, rest_deadline(m, now));

	next = MIN(next, monitor_records_deadline(m));
	next = MIN(next, monitor_stream_deadline(m));
	if (m->climb_usec > 0)
		next = MIN(next, m->climb_usec);
	if (m->effect_usec > 0)
		next = MIN(next, m->effect_usec);
	return next;
}

/* ---- what the loop calls ---------------------------------------------------------------------- */

static void tick(struct loop_timer *timer, uint64_t now)
{
	struct monitor *m = CONTAINER_OF(timer, struct monitor, timer);
	uint64_t elapsed = now - m->sampled_usec, before = m->psi.some.total_usec, growth;
	bool resting = monitor_is_resting(m);

	monitor_measure_effect(m, now);
	if (!monitor_records_rule(m, now))
		monitor_look(m, POLICY_TICK, now);
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
	if (!m->has_next && monitor_stream_left(m, now) && !monitor_climb_anew(m))
		monitor_end_source(m, "the FIFO is not there any more");
	if (!m->ended && m->climb_usec > 0 && now >= m->climb_usec)
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
	monitor_look(m, broke ? POLICY_TICK : POLICY_ALARM, now);
	if (m->lost_cgroup)
		return;
	if (broke)
		monitor_end_source(m, result < 0 ? strerror(-result)
						 : "the kernel dropped the trigger");
	else if (resting &&
		 usec_sub(m->psi.some.total_usec, before) < m->source.armed.threshold_usec)
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
	monitor_look(m, POLICY_EVENTS, now);
	if (m->lost_cgroup)
		return;
	if (result < 0 && result != -ENOTSUP)
		monitor_end_source(m, strerror(-result));
	monitor_settle(m, now);
}

static void stream_spoke(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, stream_op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	if (m->source.kind == SOURCE_RECORDS)
		monitor_records_take(m, result, now);
	else
		monitor_stream_take(m, result, now);
	monitor_settle(m, now);
}

static void answered(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, answer_op);
	uint64_t now = now_usec();

	if (m->detaching || !m->proving)
		return;
	monitor_end_proof(m, result > 0 && (result & POLLIN), now);
	monitor_settle(m, now);
}

/* ---- operations ------------------------------------------------------------------------------- */

static bool is_busy(const struct monitor *m)
{
	return loop_op_is_busy(&m->trigger_op) || loop_op_is_busy(&m->events_op) ||
	       loop_op_is_busy(&m->stream_op) || loop_op_is_busy(&m->answer_op);
}

static void take_next(struct monitor *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	source_close(&m->source, m->context->closer);
	m->source = m->next;
	m->next = (struct source)SOURCE_INIT;
	m->has_next = m->ended = m->file_ended = false;
	m->polling_usec = m->hear_usec = 0;
	if (m->source.events_fd >= 0 || m->source.stream_fd >= 0)
		m->events_lost = false;
	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	m->told_some_usec = m->psi.some.total_usec;
	/* a baseline as any: totals of another file are no growth */
	policy_forget(&m->policy);
	monitor_judge(m, POLICY_TICK, &s, now);
	monitor_moved_on(m, now);
	monitor_attach(m);
}

static void listen_to_events(struct monitor *m);

/* An operation is released: go on with what waited for it. */
static void op_released(struct monitor *m)
{
	if (!is_busy(m) && m->detaching) {
		if (m->leaving) /* else detach() is in the queue, and comes to the same end */
			m->owner->detached(m);
	} else if (!is_busy(m) && m->has_next) {
		take_next(m);
	} else {
		listen_to_events(m);
	}
}

static void trigger_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, trigger_op));
}

static void events_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, events_op));
}

static void stream_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, stream_op));
}

static void answer_released(struct loop_op *op)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, answer_op);
	uint64_t now = now_usec();

	if (m->detaching) {
		op_released(m);
		return;
	}
	if (!m->has_next)
		monitor_drop_next(m, now);
	monitor_settle(m, now);
}

/* Take everything out of the loop. What is busy is released from a later dispatch, and the last one
 * goes on with what waited for it: detaching, or the next source. */
static void cancel_all(struct monitor *m)
{
	if (!is_busy(m)) {
		op_released(m);
		return;
	}
	if (loop_op_is_busy(&m->trigger_op))
		loop_cancel(&m->trigger_op, trigger_released);
	if (loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, events_released);
	if (loop_op_is_busy(&m->stream_op))
		loop_cancel(&m->stream_op, stream_released);
	if (loop_op_is_busy(&m->answer_op))
		loop_cancel(&m->answer_op, answer_released);
}

static void listen_to_events(struct monitor *m)
{
	if (m->detaching || m->has_next || m->lost_cgroup || m->source.events_fd < 0)
		return;
	if (m->listening && !loop_op_is_busy(&m->events_op))
		m->events_deaf = loop_poll(m->context->loop, &m->events_op, m->source.events_fd,
					   POLLPRI, events_rang) < 0;
	else if (!m->listening && loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, events_released);
}

static int listen_to_stream(struct monitor *m)
{
	if (m->source.stream_fd < 0)
		return 0;
	if (m->hear_usec == 0 && !loop_op_is_busy(&m->stream_op))
		return m->source.kind == SOURCE_SOCKET
			       ? loop_drain(m->context->loop, &m->stream_op, m->source.stream_fd,
					    stream_spoke)
			       : loop_poll(m->context->loop, &m->stream_op, m->source.stream_fd,
					   POLLIN, stream_spoke);
	if (m->hear_usec > 0 && loop_op_is_busy(&m->stream_op))
		loop_cancel(&m->stream_op, NULL);
	return 0;
}

static void wait_for_answer(struct monitor *m, uint64_t now)
{
	if (m->proving && !loop_op_is_busy(&m->answer_op) &&
	    loop_poll(m->context->loop, &m->answer_op, m->next.stream_fd, POLLIN, answered) < 0) {
		monitor_end_proof(m, false, now);
		monitor_drop_next(m, now);
	} else if (!m->proving && loop_op_is_busy(&m->answer_op)) {
		loop_cancel(&m->answer_op, answer_released);
	}
}

/* After each step: what is to be heard, and the one timer. */
void monitor_settle(struct monitor *m, uint64_t now)
{
	int r;

	if (m->lost_cgroup || m->detaching)
		return;
	if (m->file_ended && !m->ended)
		monitor_end_source(m, "the file ended, but its cgroup is there");
	if (m->ended && !m->has_next)
		monitor_replace_source(m, now);
	wait_for_answer(m, now);
	if (m->has_next) {
		cancel_all(m); /* where nothing is busy the next one is settled already */
		if (!m->has_next)
			return;
	} else {
		listen_to_events(m);
		r = listen_to_stream(m);
		if (r < 0) {
			monitor_end_source(m, strerror(-r));
			monitor_settle(m, now);
			return;
		}
	}
	loop_timer_set(m->context->loop, &m->timer, next_tick(m, now));
	if (m->owner->stepped)
		m->owner->stepped(m);
	if (m->deadline_usec == USEC_NEVER && m->effect_usec == 0 && m->owner->rests)
		m->owner->rests(m);
}

void monitor_signal(struct monitor *m, enum level level, bool critical, enum reason reason)
{
	uint64_t now = now_usec();

	if (m->lost_cgroup || m->detaching)
		return;
	monitor_judge_signal(m, level, critical, reason, now);
	monitor_settle(m, now);
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
	if (m->source.kind == SOURCE_RECORDS)
		monitor_records_begin(m, now);
	else
		monitor_stream_begin(m, now);
	if (m->source.rung > 0)
		m->best_rung = m->best_rung > 0 ? MIN(m->best_rung, m->source.rung)
						: m->source.rung;
	if (m->climb_usec == 0 && monitor_may_climb(m))
		monitor_climb_later(m, now);
	if (r < 0)
		monitor_end_source(m, strerror(-r));
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
