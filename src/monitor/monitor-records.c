/* SPDX-License-Identifier: MIT */
/*
 * monitor-records.c - the socket is psibridged's: it judges, and the monitor follows
 *
 *     attached --WELCOME--> following --BYE--> following, for 5 s --WELCOME--> following
 *        |                   |  ^   |                  |
 *        | 5 s, REFUSED      |  |   | EOF, malformed,  | 5 s
 *        v                   |  |   v GONE             v
 *      broken <--------------|--+---+------------------+
 *        |                   v  |
 *        |               a simulation: the policy's own rules, until it is as psibridged says
 *        v
 *     another source of the ladder, or none; later psibridged again (monitor-source.c)
 *
 * Following, what a record says is told at once and as it is: the daemon has applied thresholds,
 * Rearm, Quiet and Calm, ours or its operator's. There is no sample, no timer, no wake-up.
 * policy.level is the level that was told last, judged here or there, so moving between sources
 * cannot repeat a level or forget one:
 *  - to psibridged: WELCOME is told only if it says something else, and a repeat of a Low that we
 *    told ourselves is not told before Rearm has passed.
 *  - away from it: the level stays, and Quiet and Calm begin to run. So a Low ends, even where no
 *    other source is left.
 *
 * Facts it relies on: records have one size and a magic number in front, which does not begin with
 * 'L'; a stream may be cut anywhere, so what came is kept in records.record until it is whole; its
 * times are CLOCK_MONOTONIC, which is one for the machine, except in a time namespace
 * (time_namespaces(7)): there a time may lie ahead of ours, and now stands in for it.
 */
#include "monitor/monitor-internal.h"

#include "core/utf8.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_USEC (5 * USEC_PER_SEC)
/* A daemon that did not answer before gets less time now: it is time without a source. */
#define ANSWER_AGAIN_USEC (1 * USEC_PER_SEC)
#define READS_MAX 16 /* in one go */

void monitor_records_begin(struct monitor *m, uint64_t now)
{
	m->records = (struct records){
		.level = LEVEL_HIGH,
		.answer_usec = now + (m->climb_pace_usec > 0 ? ANSWER_AGAIN_USEC : ANSWER_USEC),
	};
}

uint64_t monitor_records_deadline(const struct monitor *m)
{
	return m->source.kind == SOURCE_RECORDS && m->records.answer_usec > 0
		       ? m->records.answer_usec
		       : USEC_NEVER;
}

/* The policy's level is this now, but it was not told now: the next repeat is due when it was. */
static void set_level(struct monitor *m, enum level level, bool critical, uint64_t since_usec,
		      uint64_t now)
{
	uint64_t told = m->policy.told_usec;

	policy_resume(&m->policy, level, critical, now);
	m->policy.told_usec = told;
	m->policy.since_usec = since_usec;
}

static void broke(struct monitor *m, const char *what, uint64_t now)
{
	struct records *r = &m->records;
	struct policy *p = &m->policy;
	struct policy_sample s = { 0 };

	if (r->following) /* the level stays, and Quiet or Calm begins */
		set_level(m, p->level, p->told_critical, p->since_usec, now);
	/* a connection that lasted longer than the back-off resets it */
	if (r->welcome_usec > 0 && now - r->welcome_usec >= m->climb_pace_usec)
		m->climb_pace_usec = 0;
	r->following = false;
	r->welcome_usec = r->answer_usec = 0;
	/* it may still be in the loop, so it is closed later; the daemon need not wait for that */
	shutdown(m->source.stream_fd, SHUT_RDWR);
	/* the deadline, should no other source be found */
	monitor_judge(m, POLICY_TICK, &s, now);
	monitor_end_source(m, monitor_lower_rungs(m), what);
}

/* ---- what it says ----------------------------------------------------------------------------- */

static void follow(struct monitor *m, const struct wire_record *from, uint64_t now)
{
	struct records *r = &m->records;

	r->level = (enum level)from->available;
	r->critical = from->critical;
	r->since_usec = MIN(from->since_usec, now);
	r->following = true;
	set_level(m, r->level, r->critical, r->since_usec, now);
	m->deadline_usec = USEC_NEVER;
	m->listening = false;

	m->sampled_usec = now;
	m->psi = (struct psi){ 0 };
	m->psi.some.total_usec = from->some_total_usec;
	m->psi.some.avg10_centi = from->some_avg10_centi;
	m->psi.full.total_usec = from->full_total_usec;
	m->told_some_usec = from->some_total_usec;
	memory_read_use(&m->memory, &m->use);
	m->use_usec = now;
	/* numbers that the daemon read when it judged; else our own */
	if (from->limit_bytes > 0)
		m->use.limit_bytes = from->limit_bytes;
	if (from->current_bytes > 0)
		m->use.current_bytes = from->current_bytes;
	m->cause = (struct memory_cause){
		.cause = from->cause <= CAUSE_MACHINE ? (enum cause)from->cause : CAUSE_UNKNOWN,
		.is_high = from->cause_is_high,
		.length = from->cause == CAUSE_OWN || from->cause_up > 0
				  ? cgpath_front(m->label->path, from->cause_up)
				  : 0,
	};
}

static void tell(struct monitor *m, const struct wire_record *from, uint64_t now)
{
	/* a newer daemon may have reasons that this library does not know */
	bool known = from->reason >= PSB_REASON_STALL && from->reason <= PSB_REASON_FORECAST;
	struct psb_notification n;

	monitor_describe(m, known ? (enum psb_reason)from->reason : PSB_REASON_SIGNAL, &n);
	n.time_usec = from->time_usec > 0 && from->time_usec <= now ? from->time_usec : now;
	n.stall_usec = from->stall_usec;
	if (n.available == PSB_LOW)
		m->policy.told_usec = now;
	monitor_deliver(m, &n, now);
}

/* The present level, or a new one: the present one is told only if it is another. */
static void take_level(struct monitor *m, const struct wire_record *from, uint64_t now)
{
	struct records *r = &m->records;
	const struct policy *p = &m->policy;
	enum level level = p->level;
	bool critical = level == LEVEL_LOW && p->told_critical;
	bool same = from->available == level && (!from->critical || critical);

	r->owes_report = r->owes_report || from->available == PSB_LOW;
	if (from->kind == WIRE_LEVEL) {
		monitor_count_alarm(m, now);
		same = same && level == LEVEL_LOW && now < r->guard_usec;
	} else {
		if (r->welcome_usec == 0)
			r->welcome_usec = now;
		r->answer_usec = 0;
		r->takes_reports = from->takes_reports;
		r->guard_usec = p->told_usec > 0 ? usec_add(p->told_usec, p->options.rearm_usec)
						 : 0;
	}
	follow(m, from, now);
	if (!same)
		tell(m, from, now);
}

/* What we measure of it ourselves is not needed any more, nor is it where our view of the cgroup has no numbers. */
static void take_effect(struct monitor *m, const struct wire_record *from, uint64_t now)
{
	const struct wire_effect *e = &from->effect;

	if (!m->records.following || !m->owner->told)
		return;
	m->effect.low_usec = 0;
	m->policy.unanswered = (unsigned)MIN(e->unanswered, UINT_MAX);
	m->stats.effects++;
	m->stats.unanswered = m->policy.unanswered;
	m->stats.effect_usec = MIN(from->time_usec, now);
	m->stats.effect_bytes = e->bytes_back;
	m->stats.bytes_back += e->bytes_back;
	m->stats.first_back_usec = e->first_back_usec;
	m->stats.stall_before_usec = e->stall_before_usec;
	m->stats.stall_after_usec = e->stall_after_usec;
	monitor_tell_effect(m, now);
}

static void take(struct monitor *m, const struct wire_record *from, uint64_t now)
{
	char what[WIRE_TEXT_MAX + 64];
	int error = wire_record_check(from);
	bool early = m->records.welcome_usec == 0 &&
		     (from->kind == WIRE_LEVEL || from->kind == WIRE_GONE);

	if (error == -ENOTSUP) /* from a newer daemon: skipped */
		return;
	if (error < 0 || early) {
		broke(m, "what psibridged sent makes no sense", now);
		return;
	}
	switch ((enum wire_record_kind)from->kind) {
	case WIRE_WELCOME:
	case WIRE_LEVEL:
		take_level(m, from, now);
		break;
	case WIRE_EFFECT:
		take_effect(m, from, now);
		break;
	case WIRE_REPORT: /* none of it */
		break;
	case WIRE_BYE:
		m->records.answer_usec = now + ANSWER_USEC;
		break;
	case WIRE_GONE:
		broke(m, "psibridged says that the cgroup was removed", now);
		break;
	case WIRE_REFUSED:
		snprintf(what, sizeof(what), "psibridged refuses: %s",
			 from->text[0] ? from->text : strerror((int)from->error));
		utf8_hide_controls(what, strlen(what));
		broke(m, what, now);
		break;
	}
}

/* ---- reading it --------------------------------------------------------------------------------- */

/* Single bytes from before our line was read stand in front of the first record. */
static void drop_bytes(struct records *r)
{
	char *bytes = (char *)&r->record;
	size_t n = 0;

	while (n < r->filled && bytes[n] == WIRE_LOW)
		n++;
	r->filled -= n;
	memmove(bytes, bytes + n, r->filled);
	r->begun = r->filled > 0;
}

/* A callback may have given the watch up. */
static bool is_over(const struct monitor *m)
{
	return m->broke || m->detaching || m->lost_cgroup;
}

static void take_bytes(struct monitor *m, const char *bytes, size_t n, uint64_t now)
{
	struct records *r = &m->records;

	while (n > 0 && !is_over(m)) {
		size_t part = MIN(n, sizeof(r->record) - r->filled);

		memcpy((char *)&r->record + r->filled, bytes, part);
		r->filled += part;
		bytes += part;
		n -= part;
		if (!r->begun)
			drop_bytes(r);
		if (r->filled == sizeof(r->record)) {
			r->filled = 0;
			take(m, &r->record, now);
		}
	}
}

/* A short read has taken all, unless the end is behind it. */
void monitor_records_take(struct monitor *m, int result, uint64_t now)
{
	char buf[4 * sizeof(struct wire_record)];
	bool ends = result & ~POLLIN;
	ssize_t n = sizeof(buf);

	if (result < 0) {
		broke(m, strerror(-result), now);
		return;
	}
	for (int i = 0; (n == (ssize_t)sizeof(buf) || ends) && !is_over(m); i++) {
		if (i == READS_MAX) { /* others have a turn; it is polled anew for the rest */
			m->hear_usec = now;
			return;
		}
		n = recv(m->source.stream_fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			broke(m, n == 0 ? "psibridged hung up" : strerror(errno), now);
			return;
		}
		take_bytes(m, buf, (size_t)n, now);
	}
}

/* ---- beside the policy ------------------------------------------------------------------------ */

/* A simulated Low is over, and psibridged's own level is not higher. */
static bool is_back(const struct monitor *m)
{
	const struct records *r = &m->records;

	return r->welcome_usec > 0 && !r->following && m->policy.level != LEVEL_LOW &&
	       r->level <= m->policy.level;
}

static void follow_again(struct monitor *m, uint64_t now)
{
	struct records *r = &m->records;
	struct wire_record last = {
		.available = (uint8_t)r->level,
		.critical = r->critical,
		.reason = PSB_REASON_PRESENT,
		.since_usec = r->since_usec,
		.some_total_usec = m->psi.some.total_usec,
		.full_total_usec = m->psi.full.total_usec,
	};
	bool news = r->level != m->policy.level;

	follow(m, &last, now);
	if (news)
		tell(m, &last, now);
}

bool monitor_records_rule(struct monitor *m, uint64_t now)
{
	struct records *r = &m->records;

	if (m->source.kind != SOURCE_RECORDS)
		return false;
	if (r->answer_usec > 0 && now >= r->answer_usec) {
		broke(m,
		      r->welcome_usec > 0 ? "psibridged stopped, and did not come back"
					  : "psibridged does not answer",
		      now);
		return true;
	}
	if (is_back(m))
		follow_again(m, now);
	return r->following;
}

/* ---- the other way ------------------------------------------------------------------------------ */

/* What finds nothing owed, or no room, goes with the next one. */
static void send_report(struct monitor *m, uint64_t bytes, uint64_t usec)
{
	struct records *r = &m->records;
	struct wire_record record = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = WIRE_REPORT,
	};

	r->report.bytes += bytes;
	r->report.usec += usec;
	record.report = r->report;
	if (!r->takes_reports || !r->owes_report ||
	    send(m->source.stream_fd, &record, sizeof(record), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
	r->owes_report = false;
	r->report = (struct wire_report){ 0 };
}

void monitor_report(struct monitor *m, uint64_t bytes, uint64_t usec)
{
	if (m->lost_cgroup || m->detaching)
		return;
	effect_report(&m->effect, bytes);
	monitor_answer(m, true, now_usec());
	if (m->source.kind == SOURCE_RECORDS)
		send_report(m, bytes, usec);
	if (m->owner->stepped)
		m->owner->stepped(m);
}
