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

/* ---- climbing ---------------------------------------------------------------------------------- */

/* Is `next` in use? */
static bool has_candidate(const struct monitor *m)
{
	return m->has_next || m->next.kind != SOURCE_NONE;
}

/* psibridged's answer decides. */
static void prove(struct monitor *m)
{
	m->proving = true;
	m->broke = 0;
	m->climb_usec = now_usec() + ANSWER_USEC;
}

/* Try the rungs of `mask`; a source that works is taken as soon as the old one is out of the loop.
 * `lost`, if not NULL, says why it is not the old one. why[WHY_MAX] gets why there is none. */
static bool climb(struct monitor *m, unsigned mask, const char *lost, char *why)
{
	why[0] = '\0';
	if (!m->target || has_candidate(m) ||
	    ladder_climb(m->target, &m->early, mask & m->rungs, false, NULL, NULL, &m->next, why) <
		    0)
		return false;
	if (!lost && m->next.kind == SOURCE_RECORDS && m->source.rung > 0) {
		prove(m);
		return true;
	}
	if (lost)
		snprintf(m->next.why, sizeof(m->next.why), "%.180s: %.120s", m->source.path, lost);
	m->has_next = true;
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
	return m->hear_usec == USEC_NEVER;
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
}

/* Why is in source.why. A stream that broke stays where nothing else works: it is tried again. */
static void replace_source(struct monitor *m, unsigned mask, uint64_t now)
{
	char why[WHY_MAX];

	if (climb(m, mask, m->source.why, why))
		return;
	if (m->source.stream_fd < 0) {
		take_none(m, why[0] ? why : m->source.why);
		return;
	}
	m->hear_usec = USEC_NEVER;
	if (m->source.kind == SOURCE_RECORDS) /* so that the reason of a refusal is logged */
		monitor_moved_on(m, now);
}

void monitor_replace_source(struct monitor *m, uint64_t now)
{
	/* a file that ended may be there again, or was not the main one */
	unsigned mask = m->file_ended ? ~0u : ~0u << (m->source.rung + 1);

	m->ended = m->file_ended = false;
	context_log(m->context, LOG_WARN, "%s: %s; looking for another source", m->source.path,
		    m->source.why);
	monitor_climb_later(m, now);
	if (!has_candidate(m)) {
		replace_source(m, mask, now);
		return;
	}
	m->broke = mask; /* when `next` is free */
	if (m->proving)
		monitor_end_proof(m, false, now);
}

void monitor_end_proof(struct monitor *m, bool answered, uint64_t now)
{
	m->proving = false;
	m->has_next = answered;
	m->climb_usec = 0;
	if (!answered)
		monitor_climb_later(m, now);
}

void monitor_drop_next(struct monitor *m, uint64_t now)
{
	unsigned mask = m->broke;

	source_close(&m->next, m->context->closer);
	m->next = (struct source)SOURCE_INIT;
	m->broke = 0;
	if (mask)
		replace_source(m, mask, now);
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
		monitor_end_proof(m, false, now);
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
