/* SPDX-License-Identifier: MIT */
/*
 * meter-start.c - other beginnings than a watch's: in the middle of what somebody else noticed
 *
 * A sweep of a tree finds a cgroup that stalls, and knows where its counters stood before; so the
 * policy sees the growth in between as if the meter had been there. A simulation begins with a cgroup
 * of which nothing is known: where its counters stand now is the baseline. And who takes over from
 * another process begins with a level that was told already.
 */
#include "library/meter-internal.h"

#include <errno.h>

void meter_start_alarmed(struct meter *m, uint64_t baseline_usec, const struct psi *baseline,
			 bool oom)
{
	struct policy_sample s = { 0 };
	uint64_t now = now_usec();

	if (meter_sample(m, now) == -ENODEV) {
		meter_lose_cgroup(m);
		return;
	}

	struct psi psi = m->psi;
	struct memory_events events = m->events;

	m->psi = *baseline;
	m->told_some_usec = baseline->some.total_usec;
	if (oom) /* the sweep saw it grow */
		m->events.oom = m->events.oom_kill = 0;
	meter_judge(m, POLICY_TICK, &s, baseline_usec);
	m->psi = psi;
	m->events = events;
	s = (struct policy_sample){ 0 };
	meter_judge(m, POLICY_ALARM, &s, now);
	meter_settle(m, now);
}

int meter_start_calm(struct meter *m)
{
	int r = meter_sample(m, now_usec());

	if (r < 0)
		return r;
	m->told_some_usec = m->psi.some.total_usec;
	m->limit_bytes = memory_has_limit(&m->memory) ? m->memory.limit_bytes : 0;
	m->current_bytes = memory_read_current(&m->memory);
	return 0;
}

void meter_resume(struct meter *m, enum level level, bool critical)
{
	uint64_t now = now_usec();
	struct policy_sample s = { 0 };

	if (m->lost_cgroup || m->detaching)
		return;
	if (meter_sample(m, now) == -ENODEV) {
		meter_lose_cgroup(m);
		return;
	}
	m->told_some_usec = m->psi.some.total_usec;
	m->records.following = false; /* as after a simulation */
	policy_resume(&m->policy, level, critical, now);
	meter_judge(m, POLICY_TICK, &s, now);
	meter_settle(m, now);
}
