/* SPDX-License-Identifier: MIT */
/*
 * history.c - a table without order; the kernel's log -> the journal, and the table
 *
 * A search compares a thousand paths at most, and there is one for each notification. The cgroup of a service that was
 * killed is gone before anything could read its files, but the kernel's log names it.
 */
#include "daemon/history.h"

#include "kernel/file.h"
#include "kernel/kmsg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define REMEMBERED_USEC (3600 * USEC_PER_SEC)
#define MIB (UINT64_C(1) << 20)

struct history {
	struct past items[HISTORY_MAX];
	size_t count;
	struct daemon *daemon;
	int kmsg; /* /dev/kmsg; -1: it is not read */
	sd_event_source *source;
	struct oom_kill kill; /* the report as read so far */
};

static void drop(struct history *h, size_t i)
{
	free(h->items[i].cgroup);
	free(h->items[i].limit);
	h->items[i] = h->items[--h->count];
}

static struct past *find(struct history *h, const char *cgroup)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->items[i].cgroup, cgroup) == 0)
			return &h->items[i];
	return NULL;
}

/* NULL: no memory. */
static struct past *find_or_add(struct history *h, const char *cgroup)
{
	struct past *p = find(h, cgroup);
	char *copy = p ? NULL : strdup(cgroup);
	size_t oldest = 0;

	if (!copy)
		return p;
	for (size_t i = 1; i < h->count; i++)
		if (h->items[i].heard_usec < h->items[oldest].heard_usec)
			oldest = i;
	if (h->count == HISTORY_MAX)
		drop(h, oldest);
	p = &h->items[h->count++];
	*p = (struct past){ .cgroup = copy };
	return p;
}

void history_level(struct history *h, const struct psb_notification *n)
{
	bool low = n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW;
	/* one that was never Low has no history */
	struct past *p = low ? find_or_add(h, n->cgroup) : find(h, n->cgroup);

	if (!p)
		return;
	p->heard_usec = n->time_usec;
	if (low && p->since_usec == 0) {
		p->low++;
		p->since_usec = n->time_usec;
	} else if (!low && p->since_usec > 0) {
		p->low_usec += usec_sub(n->time_usec, p->since_usec);
		p->since_usec = 0;
	}
	if (n->kind == PSB_KIND_GONE || n->available == PSB_HIGH)
		p->unanswered = 0;
}

uint64_t history_effect(struct history *h, const char *cgroup, const struct psb_stats *stats)
{
	struct past *p = find(h, cgroup);
	uint64_t before = p ? p->unanswered : 0;

	if (!p)
		return 0;
	p->effects++;
	p->bytes_back += stats->effect_bytes;
	p->unanswered = stats->unanswered;
	p->effect_usec = stats->effect_usec;
	p->effect_bytes = stats->effect_bytes;
	p->effect_reported_bytes = stats->effect_reported_bytes;
	p->first_back_usec = stats->first_back_usec;
	p->stall_before_usec = stats->stall_before_usec;
	p->stall_after_usec = stats->stall_after_usec;
	return before;
}

void history_kill(struct history *h, const struct oom_kill *kill, uint64_t now)
{
	struct past *p = find_or_add(h, kill->cgroup);

	if (!p)
		return;
	p->heard_usec = p->killed_usec = now;
	p->killed++;
	p->pid = kill->pid;
	p->usage_bytes = kill->usage_bytes;
	p->limit_bytes = kill->limit_bytes;
	memcpy(p->task, kill->task, sizeof(p->task));
	free(p->limit);
	p->limit = strdup(kill->limit);
}

bool history_get(struct history *h, size_t index, uint64_t now, struct past *ret)
{
	for (size_t i = index == 0 ? h->count : 0; i-- > 0;)
		if (h->items[i].since_usec == 0 &&
		    usec_sub(now, h->items[i].heard_usec) > REMEMBERED_USEC)
			drop(h, i);
	if (index >= h->count)
		return false;
	*ret = h->items[index];
	if (ret->since_usec > 0)
		ret->low_usec += usec_sub(now, ret->since_usec);
	return true;
}

/* ---- the kernel's log ---------------------------------------------------------------------------- */

static void log_kill(struct journal *journal, const struct oom_kill *kill)
{
	bool own = strcmp(kill->limit, kill->cgroup) == 0;
	char numbers[64] = "";

	if (kill->limit_bytes > 0)
		snprintf(numbers, sizeof(numbers), "; %llu of %llu MiB in use",
			 (unsigned long long)(kill->usage_bytes / MIB),
			 (unsigned long long)(kill->limit_bytes / MIB));
	journal_cgroup(journal, LOG_IS_WARNING, MESSAGE_KILLED, kill->cgroup,
		       "the kernel killed %s (process %llu) for want of memory, at %s%.200s%s",
		       kill->task, (unsigned long long)kill->pid,
		       own		? "its own limit"
		       : kill->limit[0] ? "the limit of "
					: "the end of the machine's memory",
		       own ? "" : kill->limit, numbers);
}

static void read_line(const char *text, size_t size, void *userdata)
{
	struct history *h = userdata;

	if (!oom_kill_line(&h->kill, text, size))
		return;
	if (table_judges(h->daemon->table, h->kill.cgroup, NULL)) {
		log_kill(h->daemon->journal, &h->kill);
		history_kill(h, &h->kill, now_usec());
	}
	h->kill.usage_bytes = h->kill.limit_bytes = 0;
}

static int written(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events,
		   void *userdata)
{
	return kmsg_read(fd, read_line, userdata);
}

static void follow_kernel(struct history *h)
{
	struct daemon *d = h->daemon;
	int r = h->kmsg = kmsg_open(manager_take(d->manager, "kmsg"));

	if (r >= 0)
		r = sd_event_add_io(d->event, &h->source, h->kmsg, EPOLLIN, written, h);
	if (r < 0)
		journal_log(d->journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "what the kernel kills is not told: /dev/kmsg: %s", strerror(-r));
}

/* ---- life ---------------------------------------------------------------------------------------- */

int history_new(struct daemon *daemon, struct history **ret)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->kmsg = -1;
	h->daemon = daemon;
	if (daemon)
		follow_kernel(h);
	*ret = h;
	return 0;
}

struct history *history_free(struct history *h)
{
	if (!h)
		return NULL;
	while (h->count > 0)
		drop(h, h->count - 1);
	sd_event_source_disable_unref(h->source);
	fd_close(&h->kmsg);
	free(h);
	return NULL;
}
