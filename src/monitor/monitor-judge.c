/* SPDX-License-Identifier: MIT */
/*
 * monitor-judge.c - sample -> policy -> owner: one step of a monitor, whatever began it
 *
 * Facts it relies on:
 *  - A removed cgroup answers pread with ENODEV. Its poll gives POLLERR|POLLPRI, which is no
 *    pressure. But so does memory.pressure after `echo 0 >cgroup.pressure`, and memory.events after
 *    the memory controller was taken from the parent's cgroup.subtree_control, and both files may
 *    come back: only the directory tells.
 */
#include "monitor/monitor-internal.h"

#include "kernel/pressure.h"

#include <errno.h>
#include <stdio.h>

/* What a stream's Low says of the memory in use may be so old. */
#define RECENT_USEC (1 * USEC_PER_SEC)
/* Limits that are reached while nothing stalls are counted anew no more often. */
#define MARK_USEC (1 * USEC_PER_SEC)
/* psibridged says what a Low achieved soon after we would; one before 0.2 never does. */
#define PATIENCE_USEC (1 * USEC_PER_SEC)
/* Without PSI: so little room beside a moving memory.events is Low. */
#define BLIND_LOW_PERCENT 90

/* ---- telling -------------------------------------------------------------------------------- */

static void describe(const struct monitor *m, enum psb_reason reason, const struct memory_use *use,
		     struct psb_notification *ret)
{
	const struct policy *p = &m->policy;
	bool stalls = p->level != LEVEL_HIGH;

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
		.cause = stalls ? (enum psb_cause)m->cause.cause : PSB_CAUSE_UNKNOWN,
		.cause_is_high = stalls && m->cause.is_high,
		.cause_length = stalls ? m->cause.length : 0,
		.full_avg10_centi = m->psi.full.avg10_centi,
		.oom_events = m->source.events_fd < 0 ? PSB_UNKNOWN
						      : m->events.oom + m->events.oom_kill,
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
static bool knows_use(const struct monitor *m, uint64_t now)
{
	return m->source.stream_fd >= 0 && m->use_usec > 0 && now - m->use_usec < RECENT_USEC;
}

static const struct memory_use *recent_use(struct monitor *m, uint64_t now)
{
	if (!knows_use(m, now)) {
		memory_read_use(&m->memory, &m->use);
		m->use_usec = now;
	}
	return &m->use;
}

/*
 * What is held is known after the call, for memory.stat makes the kernel add up all that is below, which takes an
 * emulated machine 0.1 s; and what was freed inside the call is what use is less by, which costs next to nothing to read.
 */
static void begin_effect(struct monitor *m, const struct psb_notification *n, uint64_t before,
			 uint64_t now)
{
	uint64_t bytes, after = memory_read_own(&m->memory);

	if (!m->owner->told || effect_is_measured(&m->effect) ||
	    memory_read_held(&m->memory, &bytes) < 0)
		return;
	effect_begin(&m->effect, now, n->since_usec, bytes + usec_sub(before, after));
	m->effect.patience_usec = m->records.following ? PATIENCE_USEC : 0;
}

void monitor_deliver(struct monitor *m, const struct psb_notification *n, uint64_t now)
{
	uint64_t before = n->available == PSB_LOW ? memory_read_own(&m->memory) : 0;

	m->told_some_usec = m->psi.some.total_usec;
	switch (n->available) {
	case PSB_LOW:
		m->stats.low++;
		m->stats.critical += n->critical != 0;
		break;
	case PSB_NEUTRAL:
		m->stats.neutral++;
		break;
	case PSB_HIGH:
		m->stats.high++;
		break;
	}
	m->stats.unanswered = m->policy.unanswered;
	if (m->owner->told)
		m->owner->told(m, n);
	if (n->available == PSB_LOW && !m->detaching)
		begin_effect(m, n, before, now);
}

/* What memory.events said at the last sample. */
static const struct memory_events *known_events(const struct monitor *m)
{
	return m->source.events_fd >= 0 ? &m->events : NULL;
}

static void find_cause(struct monitor *m, uint64_t now)
{
	memory_find_cause(&m->memory, known_events(m), now, &m->cause);
}

void monitor_mark_limits(struct monitor *m, bool calm, uint64_t now)
{
	if (calm && now - m->marked_usec < MARK_USEC)
		return;
	m->marked_usec = now;
	memory_mark(&m->memory, known_events(m), calm, now);
}

static void tell(struct monitor *m, const struct policy_verdict *v, uint64_t now)
{
	struct psb_notification n;

	(void)recent_use(m, now);
	if (m->cause.limit_bytes > 0 && v->level != LEVEL_HIGH) {
		m->use.current_bytes = m->cause.current_bytes;
		m->use.limit_bytes = m->cause.limit_bytes;
	}
	describe(m, (enum psb_reason)v->reason, &m->use, &n);
	n.time_usec = now;
	n.since_usec = v->since_usec;
	monitor_deliver(m, &n, now);
}

void monitor_show(struct monitor *m, enum trace_event event, const struct policy_verdict *v,
		  uint64_t now)
{
	struct psb_notification n;

	if (!m->owner->sampled)
		return;
	describe(m, v && v->tell ? (enum psb_reason)v->reason : PSB_REASON_PRESENT,
		 m->kept.limit_bytes > 0 ? &m->kept : &m->use, &n);
	n.kind = PSB_KIND_SAMPLE;
	n.time_usec = now;
	n.event = event;
	m->owner->sampled(m, &n);
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

/* ---- the source's end -------------------------------------------------------------------------- */

bool monitor_cgroup_is_gone(const struct monitor *m)
{
	uint64_t inode;
	int r;

	if (m->inode == 0)
		return false;
	r = cgroup_inode(m->cgroups, m->v2_path, &inode);
	return r == 0 ? inode != m->inode : r == -ENOENT || r == -ENODEV;
}

unsigned monitor_lower_rungs(const struct monitor *m)
{
	return ~0u << (m->source.rung + 1);
}

void monitor_end_source(struct monitor *m, unsigned rungs, const char *what)
{
	m->broke = rungs;
	snprintf(m->source.why, sizeof(m->source.why), "%s", what);
}

/* ---- sampling ------------------------------------------------------------------------------- */

/* `calm`: there is time to read the limits anew, which opens files. */
static enum headroom read_headroom(struct monitor *m, bool calm, uint64_t now)
{
	struct memory_load load;

	if (calm && memory_refresh(&m->memory) == 0) /* on an error the earlier limits stay */
		monitor_mark_limits(m, true, now);
	/* asked before reading: the machine's numbers would have to be opened, and do not count
	 * here */
	if (!memory_has_limit(&m->memory))
		return HEADROOM_ENOUGH;
	if (memory_read(&m->memory, &load) < 0) /* neither: the level stays */
		return m->policy.level == LEVEL_HIGH ? HEADROOM_ENOUGH : HEADROOM_SHORT;
	m->kept = (struct memory_use){ load.working_set_bytes, load.limit_bytes };
	if (100 - load.percent >= m->policy.options.headroom_percent)
		return HEADROOM_ENOUGH;
	memory_cause_of_load(&m->memory, &load, &m->cause);
	return HEADROOM_SHORT;
}

void monitor_count_alarm(struct monitor *m, uint64_t now)
{
	m->stats.alarms++;
	m->stats.alarm_usec = now;
}

/* What reading a file of the cgroup said. Returns: that, but 0 where the file ended and the cgroup is
 * there. */
static int check(struct monitor *m, int r)
{
	if (r != -ENODEV || monitor_cgroup_is_gone(m))
		return r;
	if (!m->broke) /* it may be there again, or was not the main one: all rungs */
		monitor_end_source(m, ~0u, "the file ended, but its cgroup is there");
	return 0;
}

int monitor_sample(struct monitor *m, uint64_t now)
{
	int r;

	if (m->source.sample_fd >= 0) {
		r = check(m, pressure_read(m->source.sample_fd, &m->psi));
		if (r < 0)
			return r;
		m->stats.samples++;
		m->stats.sample_usec = now;
		m->stats.stall_usec += effect_stall(&m->effect, now, m->psi.some.total_usec,
						    m->psi.some.avg10_centi);
	}
	if (m->source.events_fd >= 0) {
		r = memory_events_read(m->source.events_fd, &m->events);
		m->events_lost = r == -ENODEV;
		r = check(m, r);
		if (r < 0)
			return r;
	}
	m->sampled_usec = now;
	return 0;
}

static void fill_sample(const struct monitor *m, struct policy_sample *s)
{
	s->has_psi = m->source.sample_fd >= 0;
	s->some_usec = m->psi.some.total_usec;
	s->full_usec = m->psi.full.total_usec;
	s->some_avg10_centi = m->psi.some.avg10_centi;
	s->full_avg10_centi = m->psi.full.avg10_centi;
	s->has_oom = m->source.events_fd >= 0;
	s->oom = m->events.oom + m->events.oom_kill;
}

/* Whose limit is reached first. */
static const struct memory_level *nearest(const struct monitor *m)
{
	return &m->memory.levels[MIN(m->nearest, m->memory.count - 1)];
}

static void blame_nearest(struct monitor *m)
{
	struct memory_load load = { .level = nearest(m) };

	memory_cause_of_load(&m->memory, &load, &m->cause);
}

/* What a Low says of the growth that led there. */
static void teach_forecast(struct monitor *m, enum reason reason)
{
	for (unsigned i = 0; i < m->memory.count; i++) {
		if (reason == REASON_FORECAST)
			forecast_told(&m->forecasts[i]);
		else if (reason != REASON_SIMULATED)
			forecast_stalled(&m->forecasts[i]);
	}
}

/* Nothing stalls, not even a little: who is over memory.high sleeps for up to 2 s after the limit was counted. */
static bool is_calm(const struct policy *p)
{
	return p->level != LEVEL_LOW && p->since_usec == 0 && p->alarm_usec == 0 &&
	       window_growth(policy_window(p, THRESHOLD_EARLY)) == 0;
}

void monitor_judge(struct monitor *m, enum policy_event event, struct policy_sample *s,
		   uint64_t now)
{
	const struct policy *p = &m->policy;
	bool begins = !p->started;
	struct policy_verdict v;

	fill_sample(m, s);
	policy_step(&m->policy, event, s, now, &v);
	if (v.want_cause) { /* a step that wants something tells nothing */
		find_cause(m, now);
		s->has_cause = true;
		s->cause = m->cause.cause;
		policy_step(&m->policy, event, s, now, &v);
	}
	if (v.want_headroom) {
		s->headroom = read_headroom(m, event == POLICY_TICK, now);
		policy_step(&m->policy, event, s, now, &v);
	}
	if (v.tell && v.reason == REASON_SIMULATED)
		m->cause = (struct memory_cause){ .cause = CAUSE_UNKNOWN };
	else if (v.tell && v.reason == REASON_FORECAST)
		blame_nearest(m);
	else if (v.tell && !s->has_cause && v.reason != REASON_CALM &&
		 v.reason != REASON_HEADROOM && !knows_use(m, now))
		find_cause(m, now);
	if (v.tell && v.level == LEVEL_LOW)
		teach_forecast(m, v.reason);
	if (v.tell)
		tell(m, &v, now);
	if (v.tell ? v.level == LEVEL_HIGH : is_calm(p))
		monitor_mark_limits(m, true, now);
	m->listening = v.listen;
	m->deadline_usec = v.deadline_usec;
	monitor_show(m,
		     begins		      ? EVENT_BEGIN
		     : event == POLICY_ALARM  ? EVENT_ALARM
		     : event == POLICY_EVENTS ? EVENT_EVENTS
					      : EVENT_TICK,
		     &v, now);
}

/* ---- the effect of a Low ------------------------------------------------------------------------ */

void monitor_answer(struct monitor *m, bool gave, uint64_t now)
{
	policy_effect(&m->policy, gave);
	m->stats.unanswered = m->policy.unanswered;
	monitor_show(m, gave ? EVENT_GAVE : EVENT_KEPT, NULL, now);
}

void monitor_tell_effect(struct monitor *m, uint64_t now)
{
	struct psb_notification n;

	monitor_describe(m, PSB_REASON_PRESENT, &n);
	n.kind = PSB_KIND_EFFECT;
	n.time_usec = now;
	m->owner->told(m, &n);
}

void monitor_follow_effect(struct monitor *m, uint64_t now)
{
	uint64_t bytes = PSB_UNKNOWN;
	bool gave;

	if (now < effect_deadline(&m->effect))
		return;
	(void)memory_read_held(&m->memory, &bytes);
	if (effect_look(&m->effect, now, bytes))
		monitor_answer(m, true, now);
	if (!effect_end(&m->effect, now, &m->stats, &gave))
		return;
	if (!gave)
		monitor_answer(m, false, now);
	monitor_tell_effect(m, now);
}

/* ---- steps -------------------------------------------------------------------------------------- */

/* Without PSI there is only this: the limit is being hit, and what is in use is not cache. */
static bool is_low_blindly(const struct monitor *m, const struct memory_events *before)
{
	struct memory_load load;

	return m->source.sample_fd < 0 && m->source.events_fd >= 0 &&
	       m->events.high + m->events.max > before->high + before->max &&
	       memory_read(&m->memory, &load) == 0 && load.percent >= BLIND_LOW_PERCENT;
}

/* Looks at every limit. Returns: how soon the first one is reached. */
static uint64_t time_left(struct monitor *m, uint64_t now)
{
	uint64_t left = USEC_NEVER, one, used;

	m->ahead_usec = USEC_NEVER;
	m->looked_ahead_usec = now;
	if (m->policy.options.forecast_usec == 0 || m->records.following || m->foreseen)
		return left;
	for (unsigned i = 0; i < m->memory.count; i++) {
		uint64_t limit = m->memory.levels[i].limit_bytes;
		struct forecast *f = &m->forecasts[i];

		if (memory_read_rough(&m->memory, i, &used) < 0 ||
		    (!forecast_is_enough(f, &used, limit, FORECAST_HITS_UNKNOWN) &&
		     memory_read_kept(&m->memory, i, &used) < 0))
			continue;
		one = forecast_look(f, used, limit, now);
		if (one < left)
			m->nearest = i;
		left = MIN(left, one);
		m->ahead_usec = MIN(m->ahead_usec, forecast_next(f));
	}
	return left;
}

void monitor_look_ahead(struct monitor *m, uint64_t now)
{
	uint64_t left = time_left(m, now), limit;
	struct policy_sample s = { .left_usec = MAX(left, 1u) };

	if (left > m->policy.options.forecast_usec)
		return;
	limit = nearest(m)->limit_bytes;
	/* it may have been raised: that is looked at only here, for it opens files */
	if (memory_refresh(&m->memory) == 0)
		monitor_mark_limits(m, true, now);
	if (nearest(m)->limit_bytes != limit)
		(void)time_left(m, now);
	else if (m->sampled_usec != now && monitor_sample(m, now) == -ENODEV)
		monitor_lose_cgroup(m);
	else
		monitor_judge(m, POLICY_TICK, &s, now);
}

/* Where it is sampled anyway, after what that says was told. */
static void ride(struct monitor *m, enum policy_event event, uint64_t now)
{
	bool due = m->ahead_usec == USEC_NEVER || now >= m->ahead_usec || event != POLICY_TICK;

	if (due && now - m->looked_ahead_usec >= FORECAST_PACE_MIN_USEC)
		monitor_look_ahead(m, now);
}

void monitor_look(struct monitor *m, enum policy_event event, uint64_t now)
{
	struct policy_sample s = { .signal = LEVEL_LOW, .signal_reason = REASON_HEADROOM };
	struct memory_events before = m->events;

	if (monitor_sample(m, now) == -ENODEV) {
		monitor_lose_cgroup(m);
		return;
	}
	monitor_follow_effect(m, now);
	if (!m->detaching)
		monitor_judge(m, is_low_blindly(m, &before) ? POLICY_SIGNAL : event, &s, now);
	if (!m->detaching && !m->lost_cgroup)
		ride(m, event, now);
}

void monitor_judge_signal(struct monitor *m, enum level level, bool critical, enum reason reason,
			  uint64_t now)
{
	struct policy_sample s = { .signal = level,
				   .signal_critical = critical,
				   .signal_reason = reason };

	m->records.following = false; /* until what was simulated is over */
	if (monitor_sample(m, now) == -ENODEV)
		monitor_lose_cgroup(m);
	else
		monitor_judge(m, POLICY_SIGNAL, &s, now);
}

int monitor_start_calm(struct monitor *m)
{
	int r = monitor_sample(m, now_usec());

	if (r < 0)
		return r;
	m->told_some_usec = m->psi.some.total_usec;
	memory_read_use(&m->memory, &m->use);
	monitor_mark_limits(m, true, m->sampled_usec);
	return 0;
}

int monitor_first_look(struct monitor *m)
{
	struct policy_sample s = { 0 };
	struct policy_verdict v;
	int r = monitor_start_calm(m);

	if (r < 0)
		return r;
	m->deadline_usec = USEC_NEVER;
	if (m->source.kind == SOURCE_RECORDS) /* the level is psibridged's */
		return 0;
	fill_sample(m, &s);
	s.headroom = read_headroom(m, false, m->sampled_usec); /* it was opened a moment ago */
	policy_step(&m->policy, POLICY_TICK, &s, m->sampled_usec, &v);
	m->listening = v.listen;
	m->deadline_usec = v.deadline_usec;
	(void)time_left(m, m->sampled_usec);
	return 0;
}

bool monitor_is_resting(const struct monitor *m)
{
	return m->policy.level == LEVEL_HIGH && m->policy.alarm_usec == 0;
}
