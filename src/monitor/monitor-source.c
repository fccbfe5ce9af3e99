/* SPDX-License-Identifier: MIT */
/*
 * monitor-source.c - which source a monitor listens to, and whether its alarms are reliable
 *
 * Moving. A source that works is put into `next`, and every operation on the old one is
 * cancelled. The loop releases them from later dispatches; with the last one take_next() closes the
 * old source, takes a baseline (totals of another file are no growth) and attaches the new one. So
 * there never are two sources in the loop, and a descriptor is closed only after its poll has been
 * reaped: cancelling a poll of a closed descriptor would run the trigger's destruction in the ring's
 * thread. Where nothing works the next source is none, on rung 0: then a Low ends as it does when
 * stalls end, and the ladder is tried again and again.
 *
 * psibridged's sockets are there, and take connections, also while it cannot start. So a source that
 * works is left for it only when it has answered.
 *
 * Lost alarms. Any read of a memory.pressure, by any process, can swallow the evaluation of an
 * unprivileged trigger (measured: a 10 Hz reader swallowed all of them). A safety sample may find
 * growth that should have given an alarm and did not. A stall that began just before the sample is
 * not due yet, for the kernel evaluates once a window. So growth too large for one window switches to
 * sampling at once; smaller growth must be seen three times; an alarm resets the count. Sampling then
 * lasts ten minutes, the next time twenty, up to two hours.
 */
#include "monitor/monitor-internal.h"

#include "kernel/file.h"
#include "kernel/pressure.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DISTRUST_MIN_USEC (600 * USEC_PER_SEC)
#define DISTRUST_MAX_USEC (7200 * USEC_PER_SEC)
#define CLIMB_MIN_USEC (1 * USEC_PER_SEC)
#define CLIMB_MAX_USEC (60 * USEC_PER_SEC)
#define CLIMB_SOON_MAX_USEC (10 * USEC_PER_SEC)
#define ANSWER_USEC (1 * USEC_PER_SEC)
#define SUSPICIONS_MAX 3

void monitor_moved_on(struct monitor *m, uint64_t now)
{
	struct psb_notification n;

	if (!m->owner->moved)
		return;
	monitor_present(m, PSB_REASON_PRESENT, &n);
	n.kind = PSB_KIND_SOURCE;
	n.time_usec = now;
	m->owner->moved(m, &n);
}

/* ---- lost alarms ----------------------------------------------------------------------------- */

void monitor_doubt_alarms(struct monitor *m, uint64_t growth, uint64_t elapsed_usec, uint64_t now)
{
	const struct trigger *armed = &m->source.armed;
	uint64_t must_ring;

	if (m->source.trigger_fd < 0 || m->source.privileged)
		return;
	/* more than this exceeds the threshold in some window of the kernel's; two more than elapsed,
	 * as those tumble and may begin before and end after */
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
	monitor_moved_on(m, now);
	context_log(
		m->context, LOG_WARN,
		"%s: an alarm was lost because another program reads the same file; sampling instead",
		m->source.path);
}

void monitor_trust_alarms(struct monitor *m, uint64_t now)
{
	m->polling_usec = 0;
	monitor_moved_on(m, now);
}

bool monitor_cgroup_is_gone(const struct monitor *m)
{
	uint64_t inode;
	int r;

	if (m->inode == 0)
		return false;
	r = cgroup_inode(m->cgroups, m->v2_path, &inode);
	return r == 0 ? inode != m->inode : r == -ENOENT || r == -ENODEV;
}

int monitor_check(struct monitor *m, int r)
{
	if (r != -ENODEV)
		return r;
	if (monitor_cgroup_is_gone(m))
		return r;
	m->file_ended = true;
	return 0;
}

/* ---- moving to another source ------------------------------------------------------------------ */

static void take_next(struct monitor *m)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	source_close(&m->source, m->context->closer);
	m->source = m->next;
	m->next = (struct source)SOURCE_INIT;
	m->has_next = m->file_ended = false;
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

static void answer_released(struct loop_op *op);

static bool is_busy(const struct monitor *m)
{
	return loop_op_is_busy(&m->trigger_op) || loop_op_is_busy(&m->events_op) ||
	       loop_op_is_busy(&m->stream_op) || loop_op_is_busy(&m->answer_op);
}

/* An operation is released: go on with what waited for it. */
static void op_released(struct monitor *m)
{
	if (is_busy(m)) {
		monitor_listen(m);
		return;
	}
	if (m->detaching) {
		if (m->leaving) /* else detach() is in the queue, and comes to the same end */
			m->owner->detached(m);
	} else if (m->has_next) {
		take_next(m);
	} else {
		monitor_listen(m);
	}
}

static void trigger_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, trigger_op));
}

void monitor_events_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, events_op));
}

static void stream_released(struct loop_op *op)
{
	op_released(CONTAINER_OF(op, struct monitor, stream_op));
}

void monitor_cancel_all(struct monitor *m)
{
	if (!is_busy(m)) {
		op_released(m);
		return;
	}
	if (loop_op_is_busy(&m->trigger_op))
		loop_cancel(&m->trigger_op, trigger_released);
	if (loop_op_is_busy(&m->events_op))
		loop_cancel(&m->events_op, monitor_events_released);
	if (loop_op_is_busy(&m->stream_op))
		loop_cancel(&m->stream_op, stream_released);
	if (loop_op_is_busy(&m->answer_op))
		loop_cancel(&m->answer_op, answer_released);
}

/* ---- has psibridged answered? ------------------------------------------------------------------ */

static void replace_source(struct monitor *m, unsigned mask, const char *what, uint64_t now);

static void answer_released(struct loop_op *op)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, answer_op);

	if (m->detaching) {
		op_released(m);
	} else if (m->has_next) {
		monitor_cancel_all(m);
	} else {
		unsigned mask = m->broke;
		char what[WHY_MAX];

		source_close(&m->next, m->context->closer);
		m->broke = 0;
		if (mask) {
			memcpy(what, m->source.why, sizeof(what));
			replace_source(m, mask, what, now_usec());
		}
	}
}

static void end_proof(struct monitor *m, bool answered, uint64_t now)
{
	m->proving = false;
	m->has_next = answered;
	m->climb_usec = 0;
	if (!answered)
		monitor_climb_later(m, now);
	loop_cancel(&m->answer_op, answer_released);
}

static void answered(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, answer_op);
	uint64_t now = now_usec();

	if (m->detaching || !m->proving)
		return;
	end_proof(m, result > 0 && (result & POLLIN), now);
	monitor_settle(m, now);
}

static bool prove(struct monitor *m)
{
	if (loop_poll(m->context->loop, &m->answer_op, m->next.stream_fd, POLLIN, answered) < 0) {
		source_close(&m->next, m->context->closer);
		return false;
	}
	m->proving = true;
	m->broke = 0;
	m->climb_usec = now_usec() + ANSWER_USEC;
	return true;
}

/* ---- climbing ---------------------------------------------------------------------------------- */

/* Try the rungs of `mask`; a source that works is taken as soon as the old one is out of the loop.
 * `lost`, if not NULL, says why it is not the old one. why[WHY_MAX] gets why there is none. */
static bool climb(struct monitor *m, unsigned mask, const char *lost, char *why)
{
	why[0] = '\0';
	if (!m->target || m->has_next || loop_op_is_busy(&m->answer_op) ||
	    ladder_climb(m->target, &m->early, mask & m->rungs, false, NULL, NULL, &m->next, why) <
		    0)
		return false;
	if (!lost && m->next.kind == SOURCE_RECORDS && m->source.rung > 0)
		return prove(m);
	if (lost)
		snprintf(m->next.why, sizeof(m->next.why), "%.180s: %.120s", m->source.path, lost);
	m->has_next = true;
	monitor_cancel_all(m);
	return true;
}

bool monitor_climb_anew(struct monitor *m)
{
	char why[WHY_MAX];

	return climb(m, 1u << m->source.rung, NULL, why);
}

void monitor_climb_later(struct monitor *m, uint64_t now)
{
	const char *stream = m->target ? m->target->stream_path : "";
	/* there is no source at all, or a stat(2) is enough to see that the named one is not there */
	bool soon = m->source.rung == 0 || (stream[0] && access(stream, F_OK) < 0);

	m->climb_pace_usec = CLAMP(2 * m->climb_pace_usec, CLIMB_MIN_USEC,
				   soon ? CLIMB_SOON_MAX_USEC : CLIMB_MAX_USEC);
	m->climb_usec = now + m->climb_pace_usec;
}

static bool stream_is_broken(const struct monitor *m)
{
	return m->source.stream_fd >= 0 && !loop_op_is_busy(&m->stream_op) && m->hear_usec == 0;
}

bool monitor_may_climb(const struct monitor *m)
{
	unsigned rung = m->source.rung;

	return m->target && (rung == 0 || rung >= 5 || rung > m->best_rung || m->events_lost ||
			     stream_is_broken(m) || (rung > 1 && m->target->stream_path[0]));
}

/* Nothing else works. A child of a pattern has its own files, and one that can still be read is
 * enough. */
static void take_none(struct monitor *m, const char *why)
{
	struct psi psi;

	if (m->has_next)
		return;
	if (!m->target && m->source.sample_fd >= 0 &&
	    pressure_read(m->source.sample_fd, &psi) == 0) {
		m->next.kind = SOURCE_SAMPLING;
		m->next.rung = m->source.rung;
		memcpy(m->next.path, m->source.path, sizeof(m->next.path));
		m->next.sample_fd = steal_fd(&m->source.sample_fd);
	}
	snprintf(m->next.why, sizeof(m->next.why), "%s", why);
	m->has_next = true;
	monitor_cancel_all(m);
}

static void replace_source(struct monitor *m, unsigned mask, const char *what, uint64_t now)
{
	char why[WHY_MAX];

	if (climb(m, mask, what, why))
		return;
	if (m->source.stream_fd < 0) {
		take_none(m, why[0] ? why : what);
		return;
	}
	loop_cancel(&m->stream_op, NULL);
	m->hear_usec = 0;
	snprintf(m->source.why, sizeof(m->source.why), "%s", what);
	if (m->source.kind == SOURCE_RECORDS) /* so that the reason of a refusal is logged */
		monitor_moved_on(m, now);
	monitor_settle(m, now);
}

void monitor_source_broke(struct monitor *m, const char *what, uint64_t now)
{
	/* a file that ended may be there again, or was not the main one */
	unsigned mask = m->file_ended ? ~0u : ~0u << (m->source.rung + 1);

	m->file_ended = false;
	context_log(m->context, LOG_WARN, "%s: %s; looking for another source", m->source.path,
		    what);
	monitor_climb_later(m, now);
	if (loop_op_is_busy(&m->answer_op)) { /* `next` is not free: when that is released */
		m->broke = mask;
		snprintf(m->source.why, sizeof(m->source.why), "%s", what);
		if (m->proving)
			end_proof(m, false, now);
		return;
	}
	replace_source(m, mask, what, now);
}

/* Is memory.events there again? */
static bool events_are_back(const struct monitor *m)
{
	int dirfd = cgroup_open(m->cgroups, m->v2_path), fd, r;

	if (dirfd < 0)
		return false;
	r = memory_events_open(dirfd, &fd);
	close(dirfd);
	if (r == 0)
		close(fd);
	return r == 0;
}

void monitor_climb_again(struct monitor *m, uint64_t now)
{
	unsigned rung = m->source.rung, better = (1u << rung) - 1;
	char why[WHY_MAX];

	m->climb_usec = 0;
	if (m->proving) {
		end_proof(m, false, now);
		return;
	}
	if (rung == 0) {
		if (monitor_cgroup_is_gone(m)) {
			monitor_lose_cgroup(m);
			return;
		}
		better = ~0u;
	}
	/* rung 3 lacks CAP_SYS_RESOURCE, which does not change, and trying rung 2 reads the file,
	 * which may swallow an alarm */
	if (m->source.kind == SOURCE_TRIGGER)
		better &= ~(1u << 2);
	/* a stream that broke is tried again itself */
	if (stream_is_broken(m) || (m->events_lost && events_are_back(m)))
		better |= 1u << rung;
	if (!climb(m, better, NULL, why) && monitor_may_climb(m))
		monitor_climb_later(m, now);
	else if (!m->proving && (m->has_next ? &m->next : &m->source)->kind != SOURCE_RECORDS)
		m->climb_pace_usec = 0; /* for psibridged monitor-records.c resets it */
}
