/* SPDX-License-Identifier: MIT */
/*
 * table-records.c - from one notification to the subscribers it concerns
 *
 *     psb_watch --records_tell(cgroup)--> record of that cgroup --> its subscribers
 *                       |
 *                       +--> records of the cgroups above it
 *
 * A pattern's watch reports the deepest cgroup that stalls. Subscribers of cgroups above it are told, too, for the
 * pressure of a cgroup is that of everything in it. So a record above is judged anew from the list of all cgroups under
 * observation: the lowest of those at or below it. It is told when that changes, or when Low is repeated and it was last
 * told a rearm time ago: of several cgroups below that repeat their Lows it is told one.
 *
 * Records are in a hash table by path; a notification costs one look-up for each component of its path.
 */
#include "daemon/table-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the hash table ------------------------------------------------------------------------------ */

/* FNV-1a: names of cgroups are not secret, and colliding ones make look-ups slow for ClientsPerUid= records at most. */
static uint32_t hash_of(const char *path, size_t size)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)path[i]) * 16777619u;
	return hash;
}

struct record *records_like(const struct table *t, const char *path)
{
	return SLIST_FIRST(&t->buckets[hash_of(path, strlen(path)) % BUCKETS]);
}

static struct record *find(const struct watch *watch, const char *path, size_t size)
{
	uint32_t hash = hash_of(path, size);
	struct record *r;

	SLIST_FOREACH(r, &watch->table->buckets[hash % BUCKETS], next)
	if (r->hash == hash && r->watch == watch && strncmp(r->path, path, size) == 0 &&
	    r->path[size] == '\0')
		return r;
	return NULL;
}

int record_get(struct watch *watch, const char *path, struct record **ret)
{
	struct table *t = watch->table;
	size_t size = strlen(path);
	struct record *r = find(watch, path, size);

	if (!r) {
		r = calloc(1, sizeof(*r) + size + 1);
		if (!r)
			return -ENOMEM;
		memcpy(r->path, path, size + 1);
		r->hash = hash_of(path, size);
		r->watch = watch;
		r->available = PSB_HIGH;
		SLIST_INSERT_HEAD(&t->buckets[r->hash % BUCKETS], r, next);
		t->record_count++;
	}
	*ret = r;
	return 0;
}

void record_put(struct record *r)
{
	struct table *t = r->watch->table;

	if (!LIST_EMPTY(&r->subscribers))
		return;
	SLIST_REMOVE(&t->buckets[r->hash % BUCKETS], r, record, next);
	t->record_count--;
	free(r);
}

void record_add(struct record *r, struct subscriber *s)
{
	s->record = r;
	LIST_INSERT_HEAD(&r->subscribers, s, list);
	r->watch->subscribers++;
}

void record_remove(struct subscriber *s)
{
	LIST_REMOVE(s, list);
	s->record->watch->subscribers--;
	s->record = NULL;
}

/* ---- the present --------------------------------------------------------------------------------- */

static bool is_at_or_below(const char *path, const char *top)
{
	size_t size = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

struct lowest {
	const char *path;
	bool any;
	struct psb_notification found;
};

static void take_lower(const struct psb_notification *n, void *userdata)
{
	struct lowest *l = userdata;

	if (!is_at_or_below(n->cgroup, l->path))
		return;
	if (!l->any || n->available < l->found.available ||
	    (n->available == l->found.available && n->critical > l->found.critical))
		l->found = *n;
	l->any = true;
}

/* The lowest of all at or below its cgroup. Where nothing is under observation there only level and time are known. */
static void judge(const struct record *r, struct psb_notification *ret)
{
	struct lowest lowest = { .path = r->path };

	if (r->watch->psb)
		psb_watch_list(r->watch->psb, take_lower, &lowest);
	if (!lowest.any)
		lowest.found = (struct psb_notification){ .size = sizeof(*ret),
							  .kind = PSB_KIND_LEVEL,
							  .available = PSB_HIGH,
							  .time_usec = now_usec() };
	*ret = lowest.found;
	ret->cgroup = r->path;
	ret->reason = PSB_REASON_PRESENT;
}

void record_present(const struct record *r, struct psb_notification *ret)
{
	judge(r, ret);
	if (!r->known)
		return;
	ret->available = r->available;
	ret->critical = r->critical;
}

static void learn(struct record *r, const struct psb_notification *n)
{
	r->known = true;
	r->available = n->available;
	r->critical = n->critical != 0;
	r->told_usec = n->time_usec;
}

void record_learn(struct record *r, const struct psb_notification *last)
{
	struct psb_notification n;

	if (r->known)
		return;
	if (!last)
		judge(r, &n);
	learn(r, last ? last : &n);
	if (last)
		record_resume(r);
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void tell(struct record *r, const struct psb_notification *n)
{
	learn(r, n);
	for (struct subscriber *s = LIST_FIRST(&r->subscribers), *next; s; s = next) {
		next = LIST_NEXT(s, list);
		r->watch->table->options.notify(s, n);
	}
}

void record_resume(struct record *r)
{
	struct psb_notification n;

	if (r->available == PSB_HIGH || !r->watch->psb ||
	    psb_watch_simulate_at(r->watch->psb, r->path, r->available, r->critical,
				  MAX(r->told_usec, UINT64_C(1))) == 0)
		return;
	/* the watch did not take it over, and would never end it */
	judge(r, &n);
	n.reason = PSB_REASON_CALM;
	tell(r, &n);
}

/* Is that nothing new for its subscribers? */
static bool is_known(const struct record *r, const struct psb_notification *n)
{
	return n->available == r->available && n->critical <= r->critical;
}

/* Something below the cgroup was judged anew. */
static void tell_above(struct record *r, const struct psb_notification *n)
{
	struct psb_notification sum;
	bool repeat;

	judge(r, &sum);
	repeat = sum.available == PSB_LOW && n->available == PSB_LOW &&
		 n->time_usec >= r->told_usec + r->watch->settings.policy.rearm_usec;
	if (is_known(r, &sum) && !repeat)
		return;
	sum.reason = n->reason == PSB_REASON_GONE ? PSB_REASON_CALM : n->reason;
	sum.time_usec = n->time_usec;
	sum.stall_usec = n->stall_usec;
	tell(r, &sum);
}

/* The cgroup itself was judged; does something below it still stall worse? */
static void tell_own(struct record *r, const struct psb_notification *n)
{
	struct psb_notification sum;

	judge(r, &sum);
	if (n->kind == PSB_KIND_GONE || sum.available > n->available ||
	    (sum.available == n->available && sum.critical <= n->critical)) {
		tell(r, n);
	} else if (!is_known(r, &sum)) {
		sum.reason = n->reason;
		tell(r, &sum);
	}
}

void records_tell(struct watch *watch, const struct psb_notification *n)
{
	size_t size = strlen(n->cgroup);
	struct record *r = find(watch, n->cgroup, size);

	if (r)
		tell_own(r, n);
	while (watch->subscribers > 0) {
		do
			size--;
		while (size > 0 && n->cgroup[size] != '/');
		if (size == 0)
			break;
		r = find(watch, n->cgroup, size);
		if (r)
			tell_above(r, n);
	}
}
