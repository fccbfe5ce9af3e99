/* SPDX-License-Identifier: MIT */
/*
 * monitor-source.c - which source a monitor listens to, and whether its alarms are reliable
 *
 * Moving. A source that works is put into `next`, and monitor.c takes the old one out of the loop first:
 * so there never are two in it, and a descriptor is closed only after its poll has been reaped
 * (cancelling a poll of a closed descriptor would run the trigger's destruction in the ring's thread).
 * Where nothing works the next source is none, on rung 0: then a Low ends as it does when stalls end,
 * and the ladder is tried again and again.
 *
 * psibridged's sockets are there, and take connections, also while it cannot start. So a source that
 * works is left for it only when it has answered, which is looked for ANSWER_USEC later.
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
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SAFETY_USEC (10 * USEC_PER_SEC)
/* Under polling the pace is never faster than this. */
#define POLLING_PACE_MIN_USEC (250 * USEC_PER_MSEC)
#define DISTRUST_MIN_USEC (600 * USEC_PER_SEC)
#define DISTRUST_MAX_USEC (7200 * USEC_PER_SEC)
#define SUSPICIONS_MAX 3
#define CLIMB_MIN_USEC (1 * USEC_PER_SEC)
#define CLIMB_MAX_USEC (60 * USEC_PER_SEC)
#define CLIMB_SOON_MAX_USEC (10 * USEC_PER_SEC)
#define ANSWER_USEC (1 * USEC_PER_SEC)

/* ---- lost alarms ----------------------------------------------------------------------------- */

/* Is there no alarm that counts, only the timer? */
static bool is_polling(const struct monitor *m, uint64_t now)
{
	const struct source *s = &m->source;

	return s->sample_fd >= 0 && (s->kind == SOURCE_SAMPLING || now < m->polling_usec ||
				     (s->trigger_fd < 0 && s->events_fd < 0 && s->stream_fd < 0));
}

uint64_t monitor_rest_deadline(const struct monitor *m, uint64_t now)
{
	const struct source *s = &m->source;

	if (m->events_deaf && s->trigger_fd < 0)
		return m->sampled_usec + POLLING_PACE_MIN_USEC;
	if (s->sample_fd < 0 || (s->trigger_fd >= 0 && s->privileged))
		return USEC_NEVER;
	return m->sampled_usec + (is_polling(m, now)
					  ? MAX(m->polling_pace_usec, POLLING_PACE_MIN_USEC)
					  : SAFETY_USEC);
}

/* How far `growth` in so long should have made the kernel ring: 0 not, 1 perhaps, SUSPICIONS_MAX surely. */
static unsigned suspicion(const struct source *s, uint64_t growth, uint64_t elapsed_usec)
{
	uint64_t window = s->armed.window_usec, must_ring;

	if (s->trigger_fd < 0 || s->privileged)
		return 0;
	/* more than this exceeds the threshold in some window of the kernel's; two more than elapsed,
	 * as those tumble and may begin before and end after */
	must_ring = (elapsed_usec / window + 2) * s->armed.threshold_usec;
	if (growth < must_ring)
		return 0;
	/* an alarm comes up to 2 % later than its window (2.04 s measured) */
	return growth - must_ring >= window + window / 20 ? SUSPICIONS_MAX : 1;
}

static void distrust_alarms(struct monitor *m, uint64_t now)
{
	m->suspicions = 0;
	m->stats.lost_alarms++;
	m->distrust_usec = CLAMP(2 * m->distrust_usec, DISTRUST_MIN_USEC, DISTRUST_MAX_USEC);
	m->polling_usec = now + m->distrust_usec;
	monitor_moved_on(m, now);
	context_log(
		m->context, LOG_WARN,
		"%s: an alarm was lost because another program reads the same file; sampling instead",
		m->source.path);
}

void monitor_weigh_alarms(struct monitor *m, bool resting, uint64_t growth, uint64_t elapsed_usec,
			  uint64_t now)
{
	if (m->polling_usec > 0 && now >= m->polling_usec) {
		m->polling_usec = 0;
		monitor_moved_on(m, now);
	} else if (m->polling_usec == 0 && resting) {
		m->suspicions += suspicion(&m->source, growth, elapsed_usec);
		if (m->suspicions >= SUSPICIONS_MAX)
			distrust_alarms(m, now);
	}
	m->polling_pace_usec = growth > 0 ? 0
					  : CLAMP(2 * m->polling_pace_usec, POLLING_PACE_MIN_USEC,
						  m->policy.options.low.window_usec);
}

/* ---- moving ------------------------------------------------------------------------------------ */

static bool is_proving(const struct monitor *m)
{
	return !m->has_next && m->next.stream_fd >= 0;
}

static void drop_next(struct monitor *m)
{
	source_close(&m->next, m->context->closer);
	m->next = (struct source)SOURCE_INIT;
}

static bool stream_is_broken(const struct monitor *m)
{
	return m->hear_usec == USEC_NEVER;
}

void monitor_climb_later(struct monitor *m, uint64_t now)
{
	unsigned rung = m->source.rung;
	const char *stream = m->target ? m->target->stream_path : "";
	/* there is no source at all, or a stat(2) is enough to see that the named one is not there */
	bool soon = rung == 0 || (stream[0] && access(stream, F_OK) < 0);

	/* rung 3 lacks CAP_SYS_RESOURCE, which does not come */
	if (!m->target || !(rung == 0 || rung > 3 || m->events_lost || stream_is_broken(m) ||
			    (rung > 1 && stream[0])))
		return;
	m->climb_pace_usec = CLAMP(2 * m->climb_pace_usec, CLIMB_MIN_USEC,
				   soon ? CLIMB_SOON_MAX_USEC : CLIMB_MAX_USEC);
	m->climb_usec = now + m->climb_pace_usec;
}

/* Try the rungs of `mask`; why[WHY_MAX] gets why there is none. */
static bool find_next(struct monitor *m, unsigned mask, char *why)
{
	why[0] = '\0';
	return m->target && ladder_climb(m->target, &m->early, mask & m->rungs, false, NULL, NULL,
					 &m->next, why) == 0;
}

/* Nothing else works. A child of a pattern has its own files, and one that can still be read is
 * enough. */
static void take_none(struct monitor *m, const char *why)
{
	struct psi psi;

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

void monitor_replace_source(struct monitor *m, uint64_t now)
{
	unsigned mask = m->broke;
	char why[WHY_MAX];

	m->broke = 0;
	m->climb_usec = 0;
	context_log(m->context, LOG_WARN, "%s: %s; looking for another source", m->source.path,
		    m->source.why);
	drop_next(m);
	if (find_next(m, mask, why)) {
		if (m->next.rung > m->source.rung)
			snprintf(m->next.why, sizeof(m->next.why), "%.180s: %.120s", m->source.path,
				 m->source.why);
		m->has_next = true;
	} else if (m->source.stream_fd < 0) {
		take_none(m, why[0] ? why : m->source.why);
	} else { /* it stays, and is tried again */
		m->hear_usec = USEC_NEVER;
		if (m->source.kind ==
		    SOURCE_RECORDS) /* so that the reason of a refusal is logged */
			monitor_moved_on(m, now);
		monitor_climb_later(m, now);
	}
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

/* Those that could be better than what there is now. */
static unsigned better_rungs(const struct monitor *m)
{
	unsigned rung = m->source.rung, better = rung == 0 ? ~0u : (1u << rung) - 1;

	/* trying rung 2 reads the file, which may swallow an alarm of rung 3 */
	if (m->source.kind == SOURCE_TRIGGER)
		better &= ~(1u << 2);
	/* a stream that broke is tried again itself */
	if (stream_is_broken(m) || (m->events_lost && events_are_back(m)))
		better |= 1u << rung;
	return better;
}

void monitor_climb_again(struct monitor *m, uint64_t now)
{
	bool proving = is_proving(m);
	char why[WHY_MAX], byte;

	m->climb_usec = 0;
	if (proving && recv(m->next.stream_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1) {
		m->has_next = true;
	} else if (m->source.rung == 0 && monitor_cgroup_is_gone(m)) {
		monitor_lose_cgroup(m);
	} else if (proving || !find_next(m, better_rungs(m), why)) {
		drop_next(m);
		monitor_climb_later(m, now);
	} else if (m->next.kind == SOURCE_RECORDS && m->source.rung > 0) {
		m->climb_usec = now + ANSWER_USEC;
	} else {
		m->has_next = true;
		if (m->next.kind != SOURCE_RECORDS) /* for psibridged monitor-records.c resets it */
			m->climb_pace_usec = 0;
	}
}
