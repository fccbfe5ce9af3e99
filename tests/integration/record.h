/* SPDX-License-Identifier: MIT */
/*
 * record.h - a callback that writes down what it is told
 */
#pragma once

#include <psibridge/tools.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../pressure.h"

#define RECORD_MAX 128

struct told {
	struct psb_notification n; /* n.cgroup points to `cgroup` */
	char cgroup[160];
	uint64_t called_usec;
};

struct record {
	pthread_mutex_t lock;
	unsigned count;
	struct told told[RECORD_MAX];
};

#define RECORD_INIT                               \
	{                                         \
		.lock = PTHREAD_MUTEX_INITIALIZER \
	}

static inline void record_told(const struct psb_notification *n, void *userdata)
{
	struct record *record = userdata;

	pthread_mutex_lock(&record->lock);
	if (record->count < RECORD_MAX) {
		struct told *t = &record->told[record->count++];

		t->n = *n;
		t->called_usec = lab_now_usec();
		snprintf(t->cgroup, sizeof(t->cgroup), "%s", n->cgroup);
		t->n.cgroup = t->cgroup;
	}
	pthread_mutex_unlock(&record->lock);
}

static inline unsigned record_count(struct record *record)
{
	unsigned count;

	pthread_mutex_lock(&record->lock);
	count = record->count;
	pthread_mutex_unlock(&record->lock);
	return count;
}

/* The first from number `from` on of that kind and, if not 0, level, and if not NULL, cgroup; NULL:
 * there is none (yet). */
static inline const struct told *record_find(struct record *record, unsigned from,
					     enum psb_kind kind, int available, const char *cgroup)
{
	unsigned count = record_count(record);

	for (unsigned i = from; i < count; i++) {
		const struct told *t = &record->told[i];

		if (t->n.kind == kind && (available == 0 || (int)t->n.available == available) &&
		    (!cgroup || strcmp(t->cgroup, cgroup) == 0))
			return t;
	}
	return NULL;
}

/* One line a notification, for a test that fails. */
static inline void record_print(struct record *record)
{
	static const char *const level[] = { "?", "Low", "Neutral", "High" };

	for (unsigned i = 0; i < record_count(record); i++) {
		const struct psb_notification *n = &record->told[i].n;

		printf("# %u: kind %d %s%s reason %d %s at %.3f s, since %.3f s, stall %llu ms\n",
		       i, n->kind, level[n->available & 3], n->critical ? " critical" : "",
		       n->reason, n->cgroup, (double)n->time_usec / 1e6,
		       (double)n->since_usec / 1e6, (unsigned long long)(n->stall_usec / 1000));
	}
	fflush(stdout);
}

static inline int record_index(const struct record *record, const struct told *t)
{
	return (int)(t - record->told);
}
