/* SPDX-License-Identifier: MIT */
/*
 * monitor-start.c - starting a monitor in the middle of a stall, a simulation or a level told before
 *
 * A sweep of a tree finds a cgroup that stalls, and knows where its counters stood before; so the
 * policy sees the growth in between as if the monitor had been there. A simulation begins with a cgroup
 * of which nothing is known: where its counters stand now is the baseline. A process that takes over
 * from another begins with a level that was told already.
 */
#include "monitor/monitor-internal.h"

#include <errno.h>

void monitor_start_alarmed(struct monitor *m, uint64_t baseline_usec, const struct psi *baseline,
			   const struct memory_events *known)
{
	struct policy_sample s = { 0 };
	uint64_t now = now_usec();

	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}

	struct psi psi = m->psi;
	struct memory_events events = m->events;

	m->psi = *baseline;
	m->told_some_usec = baseline->some.total_usec;
	if (known)
		m->events = *known;
	monitor_judge(m, POLICY_TICK, &s, baseline_usec);
	m->psi = psi;
	m->events = events;
	s = (struct policy_sample){ 0 };
	monitor_judge(m, POLICY_ALARM, &s, now);
	monitor_settle(m, now);
}

int monitor_start_calm(struct monitor *m)
{
	int r = monitor_sample(m, now_usec());

	if (r < 0)
		return r;
	m->told_some_usec = m->psi.some.total_usec;
	memory_read_use(&m->memory, &m->use);
	return 0;
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
