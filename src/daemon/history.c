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

struct history {
	struct past items[HISTORY_MAX]; /* limit NULL: as the cgroup */
	size_t count;
};

int history_new(struct history **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

static void drop(struct history *h, size_t i)
{
	free(h->items[i].cgroup);
	free(h->items[i].limit);
	h->items[i] = h->items[--h->count];
}

struct history *history_free(struct history *h)
{
	while (h && h->count > 0)
		drop(h, h->count - 1);
	free(h);
	return NULL;
}

static void forget(struct history *h, uint64_t now)
{
	for (size_t i = h->count; i-- > 0;)
		if (h->items[i].since_usec == 0 &&
		    usec_sub(now, h->items[i].heard_usec) > REMEMBERED_USEC)
			drop(h, i);
}

static struct past *find(struct history *h, const char *cgroup)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->items[i].cgroup, cgroup) == 0)
			return &h->items[i];
	return NULL;
}

/* NULL: no memory. */
static struct past *find_or_add(struct history *h, const char *cgroup, uint64_t now)
{
	struct past *p;
	size_t oldest = 0;
	char *copy;

	forget(h, now);
	p = find(h, cgroup);
	if (p)
		return p;
	copy = strdup(cgroup);
	if (!copy)
		return NULL;
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
	uint64_t now = n->time_usec;
	struct past *p;

	if (n->kind == PSB_KIND_SOURCE)
		return;
	/* one that was never Low has no history */
	p = low ? find_or_add(h, n->cgroup, now) : find(h, n->cgroup);
	if (!p)
		return;
	p->heard_usec = now;
	if (low && p->since_usec == 0) {
		p->low++;
		p->since_usec = now;
	} else if (!low && p->since_usec > 0) {
		p->low_usec += usec_sub(now, p->since_usec);
		p->since_usec = 0;
	}
}

void history_kill(struct history *h, const struct oom_kill *kill, uint64_t now)
{
	struct past *p = find_or_add(h, kill->cgroup, now);

	if (!p)
		return;
	p->heard_usec = p->killed_usec = now;
	p->killed++;
	p->pid = kill->pid;
	p->usage_bytes = kill->usage_bytes;
	p->limit_bytes = kill->limit_bytes;
	memcpy(p->task, kill->task, sizeof(p->task));
	free(p->limit);
	p->limit = strcmp(kill->limit, kill->cgroup) == 0 ? NULL : strdup(kill->limit);
}

bool history_get(struct history *h, size_t index, uint64_t now, struct past *ret)
{
	if (index == 0)
		forget(h, now);
	if (index >= h->count)
		return false;
	*ret = h->items[index];
	if (!ret->limit)
		ret->limit = ret->cgroup;
	if (ret->since_usec > 0)
		ret->low_usec += usec_sub(now, ret->since_usec);
	return true;
}
