/* SPDX-License-Identifier: MIT */
/*
 * meter-source.c - which source a meter listens to, and whether it believes its alarms
 *
 * Moving. Whoever finds a source that works puts it into `next` and cancels every operation on the
 * old one. The loop releases them from later dispatches; with the last one take_next() closes the
 * old source, takes a baseline (totals of another file are no growth) and attaches the new one. So
 * there never are two sources in the loop, and a descriptor is closed only after its poll has been
 * reaped: cancelling a poll of a closed descriptor would run the trigger's destruction in the ring's
 * thread.
 *
 * Believing. Any read of a memory.pressure, by anyone, can swallow the evaluation of an
 * unprivileged trigger (facts: a 10 Hz reader swallowed all of them). A safety sample that finds
 * growth which must have rung and did not is evidence. How strong it is depends on its size: a
 * stall that began a moment before the sample is not due yet, for the kernel evaluates once a
 * window. What cannot all be so young is proof; what can counts a third, and an alarm that does come
 * clears the account. Then the meter samples on the clock for ten minutes, the next time for
 * twenty, up to two hours.
 */
#include "library/meter-internal.h"

#include <errno.h>
#include <stdio.h>

#define DISTRUST_MIN_USEC (600 * USEC_PER_SEC)
#define DISTRUST_MAX_USEC (7200 * USEC_PER_SEC)
#define CLIMB_MIN_USEC (1 * USEC_PER_SEC)
#define CLIMB_MAX_USEC (60 * USEC_PER_SEC)
#define SUSPICIONS_MAX 3

void meter_moved_on(struct meter *m, uint64_t now)
{
	struct psb_notification n;

	if (!m->owner->moved)
		return;
	meter_present(m, PSB_REASON_PRESENT, &n);
	n.kind = PSB_KIND_SOURCE;
	n.time_usec = now;
	m->owner->moved(m, &n);
}

/* ---- believing the alarms -------------------------------------------------------------------- */

void meter_doubt_alarms(struct meter *m, uint64_t growth, uint64_t elapsed_usec, uint64_t now)
{
	const struct trigger *armed = &m->source.armed;
	uint64_t must_ring;

	if (m->source.trigger_fd < 0 || m->source.privileged)
		return;
	/* so much cannot be spread thinly enough; one window may lie on either side of the kernel's
	 * tumbling ones */
	must_ring = (elapsed_usec / armed->window_usec + 2) * armed->threshold_usec;
	if (growth < must_ring)
		return;
	/* an alarm comes up to 2 % later than its window (2.04 s measured) */
	m->suspicions += growth - must_ring >= armed->window_usec + armed->window_usec / 20
				 ? SUSPICIONS_MAX
				 : 1;
	if (m->suspicions < SUSPICIONS_MAX)
		return;
	m->suspicions = 0;
	m->stats.lost_alarms++;
	m->distrust_usec = CLAMP(2 * m->distrust_usec, DISTRUST_MIN_USEC, DISTRUST_MAX_USEC);
	m->polling_usec = now + m->distrust_usec;
	m->polling_pace_usec = POLLING_PACE_MIN_USEC;
	meter_moved_on(m, now);
	bridge_log(
		m->bridge, LOG_WARN,
		"%s: an alarm was lost because another program reads the same file; sampling instead",
		m->source.path);
}

void meter_trust_alarms(struct meter *m, uint64_t now)
{
	m->polling_usec = 0;
	meter_moved_on(m, now);
}

/* ---- moving to another source ------------------------------------------------------------------ */

static void take_next(struct meter *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	source_close(&m->source, m->bridge->closer);
	m->source = m->next;
	m->next = (struct source)SOURCE_INIT;
	m->has_next = false;
	m->polling_usec = 0;
	if (meter_sample(m, now) == -ENODEV) {
		meter_lose_cgroup(m);
		return;
	}
	m->told_some_usec = m->psi.some.total_usec;
	/* a baseline as any: totals of another file are no growth */
	policy_forget(&m->policy);
	meter_judge(m, POLICY_TICK, &s, now);
	meter_moved_on(m, now);
	meter_attach(m);
}

static bool is_busy(const struct meter *m)
{
	return loop_op_is_busy(&m->trigger_op) || loop_op_is_busy(&m->events_op) ||
	       loop_op_is_busy(&m->stream_op);
}

/* An operation is released: go on with what waited for it. */
static void op_released(struct meter *m)
{
	if (is_busy(m)) {
		meter_listen(m);
		return;
	}
	if (m->detaching) {
		if (m->leaving) /* else detach() is in the queue, and comes to the same end */
			m->owner->detached(m);
	} else if (m->has_next) {
		take_next(m);
	} else {
		meter_listen(m);
	}
}

static void trigger_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct meter, trigger_op));
}

void meter_events_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct meter, events_op));
}

static void stream_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct meter, stream_op));
}

void meter_cancel_all(struct meter *m)
{
	if (!is_busy(m)) {
		op_released(m);
		return;
	}
	if (loop_op_is_busy(&m->trigger_op))
		loop_cancel(&m->trigger_op, trigger_released);
	if (loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, meter_events_released);
	if (loop_op_is_busy(&m->stream_op))
		loop_cancel(&m->stream_op, stream_released);
}

/* Try the rungs of `mask`; a source that works is taken as soon as the old one is out of the loop.
 * `lost`, if not NULL, says why it is not the old one. */
static bool climb(struct meter *m, unsigned mask, const char *lost)
{
	char why[WHY_MAX];

	if (!m->target || m->has_next ||
	    ladder_climb(m->target, &m->early, mask & m->rungs, false, NULL, NULL, &m->next, why) <
		    0)
		return false;
	if (lost)
		snprintf(m->next.why, sizeof(m->next.why), "%.180s: %.120s", m->source.path, lost);
	m->has_next = true;
	meter_cancel_all(m);
	return true;
}

void meter_climb_later(struct meter *m, uint64_t now)
{
	m->climb_pace_usec = CLAMP(2 * m->climb_pace_usec, CLIMB_MIN_USEC, CLIMB_MAX_USEC);
	m->climb_usec = now + m->climb_pace_usec;
}

void meter_source_broke(struct meter *m, const char *what, uint64_t now)
{
	bridge_log(m->bridge, LOG_WARN, "%s: %s; looking for another source", m->source.path, what);
	meter_climb_later(m, now);
	if (!climb(m, ~0u << (m->source.rung + 1), what)) {
		loop_cancel(&m->trigger_op, NULL);
		loop_cancel(&m->stream_op, NULL);
		snprintf(m->source.why, sizeof(m->source.why), "%s", what);
		if (m->source.kind == SOURCE_RECORDS) /* a refusal has words that people look for */
			meter_moved_on(m, now);
		meter_settle(m, now);
	}
}

void meter_climb_again(struct meter *m, uint64_t now)
{
	unsigned better = (1u << m->source.rung) - 1;

	m->climb_usec = 0;
	/* a stream that broke is tried anew itself */
	if (m->source.stream_fd >= 0 && !loop_op_is_busy(&m->stream_op))
		better |= 1u << m->source.rung;
	if (!climb(m, better, NULL))
		meter_climb_later(m, now);
	else if ((m->has_next ? &m->next : &m->source)->kind != SOURCE_RECORDS)
		m->climb_pace_usec = 0; /* psibridged has to prove itself (meter-records.c) */
}
