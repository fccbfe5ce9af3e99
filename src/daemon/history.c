/* SPDX-License-Identifier: MIT */
/*
 * history.c - a table without order
 *
 * A search compares a thousand paths at most, and there is one for each notification.
 */
#include "daemon/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REMEMBERED_USEC (3600 * USEC_PER_SEC)

struct entry {
	char *cgroup, *limit; /* limit NULL: as the cgroup */
	uint64_t heard_usec;
	uint64_t since_usec; /* it is Low since then; 0: it is not */
	struct past past;
};

struct history {
	struct entry *entries[HISTORY_MAX];
	size_t count;
};

static void entry_free(struct entry *e)
{
	free(e->cgroup);
	free(e->limit);
	free(e);
}

int history_new(struct history **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct history *history_free(struct history *h)
{
	for (size_t i = 0; h && i < h->count; i++)
		entry_free(h->entries[i]);
	free(h);
	return NULL;
}

static bool is_over(const struct entry *e, uint64_t now)
{
	return e->since_usec == 0 && usec_sub(now, e->heard_usec) > REMEMBERED_USEC;
}

static void drop(struct history *h, size_t i)
{
	entry_free(h->entries[i]);
	h->entries[i] = h->entries[--h->count];
}

static void forget(struct history *h, uint64_t now)
{
	for (size_t i = h->count; i-- > 0;)
		if (is_over(h->entries[i], now))
			drop(h, i);
}

static void make_room(struct history *h)
{
	size_t oldest = 0;

	if (h->count < HISTORY_MAX)
		return;
	for (size_t i = 1; i < h->count; i++)
		if (h->entries[i]->heard_usec < h->entries[oldest]->heard_usec)
			oldest = i;
	drop(h, oldest);
}

static struct entry *find(struct history *h, const char *cgroup)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->entries[i]->cgroup, cgroup) == 0)
			return h->entries[i];
	return NULL;
}

/* NULL: no memory. */
static struct entry *find_or_add(struct history *h, const char *cgroup, uint64_t now)
{
	struct entry *e;

	forget(h, now);
	e = find(h, cgroup);
	if (e)
		return e;
	make_room(h);
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->cgroup = strdup(cgroup);
	if (!e->cgroup) {
		free(e);
		return NULL;
	}
	h->entries[h->count++] = e;
	return e;
}

void history_level(struct history *h, const struct psb_notification *n)
{
	bool low = n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW;
	uint64_t now = n->time_usec;
	struct entry *e;

	if (n->kind == PSB_KIND_SOURCE)
		return;
	/* one that was never Low has no history */
	e = low ? find_or_add(h, n->cgroup, now) : find(h, n->cgroup);
	if (!e)
		return;
	e->heard_usec = now;
	if (low && e->since_usec == 0) {
		e->past.low++;
		e->since_usec = now;
	} else if (!low && e->since_usec > 0) {
		e->past.low_usec += usec_sub(now, e->since_usec);
		e->since_usec = 0;
	}
}

void history_kill(struct history *h, const struct oom_kill *kill, uint64_t now)
{
	struct entry *e = find_or_add(h, kill->cgroup, now);

	if (!e)
		return;
	e->heard_usec = now;
	e->past.killed++;
	e->past.killed_usec = now;
	e->past.pid = kill->pid;
	e->past.usage_bytes = kill->usage_bytes;
	e->past.limit_bytes = kill->limit_bytes;
	memcpy(e->past.task, kill->task, sizeof(e->past.task));
	free(e->limit);
	e->limit = strcmp(kill->limit, kill->cgroup) == 0 ? NULL : strdup(kill->limit);
}

bool history_get(struct history *h, size_t index, uint64_t now, struct past *ret)
{
	const struct entry *e;

	if (index == 0)
		forget(h, now);
	if (index >= h->count)
		return false;
	e = h->entries[index];
	*ret = e->past;
	ret->cgroup = e->cgroup;
	ret->limit = e->limit ? e->limit : e->cgroup;
	if (e->since_usec > 0)
		ret->low_usec += usec_sub(now, e->since_usec);
	return true;
}
