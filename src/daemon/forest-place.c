/* SPDX-License-Identifier: MIT */
/*
 * forest-place.c - from one notification to the seats it concerns
 *
 *     psb_watch -> lens_told(cgroup) -> place of that cgroup -> its seats
 *                        |
 *                        +-> places of the cgroups above it, as far as the tree reaches
 *
 * A pattern's watch reports the deepest cgroup that stalls. Clients of cgroups above it are told,
 * too, for the pressure of a cgroup is that of everything in it. So a place above is judged anew from
 * the list of all cgroups under observation: the lowest of those at or below it. It is told when that
 * changes, or when Low is repeated and it was last told a rearm time ago: of several cgroups below
 * that repeat their Lows it is told one.
 *
 * Places hang in a hash table by path; a notification costs one look-up for each component of
 * its path, and allocates nothing.
 */
#include "daemon/forest-internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---------------------------------------------------------------------------------- */

/* FNV-1a: names of cgroups are not secret, and colliding ones make look-ups slow for
 * CLIENTS_PER_UID places at most. */
#define HASH_INIT 2166136261u

static uint32_t hash_more(uint32_t hash, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	return hash;
}

static struct place *find(const struct lens *lens, const char *path, size_t size, uint32_t hash)
{
	const struct forest *f = lens->tree->forest;
	struct place *p;

	if (f->bucket_count == 0)
		return NULL;
	for (p = f->buckets[hash & (f->bucket_count - 1)]; p; p = p->next)
		if (p->hash == hash && p->lens == lens && strncmp(p->path, path, size) == 0 &&
		    p->path[size] == '\0')
			return p;
	return NULL;
}

const struct place *places_like(const struct forest *f, const char *path)
{
	if (f->bucket_count == 0)
		return NULL;
	return f->buckets[hash_more(HASH_INIT, path, strlen(path)) & (f->bucket_count - 1)];
}

static int grow(struct forest *f)
{
	unsigned count = f->bucket_count ? 2 * f->bucket_count : 64;
	struct place **buckets = calloc(count, sizeof(struct place *));

	if (!buckets)
		return -ENOMEM;
	for (unsigned i = 0; i < f->bucket_count; i++) {
		while (f->buckets[i]) {
			struct place *p = f->buckets[i];

			f->buckets[i] = p->next;
			p->next = buckets[p->hash & (count - 1)];
			buckets[p->hash & (count - 1)] = p;
		}
	}
	free(f->buckets);
	f->buckets = buckets;
	f->bucket_count = count;
	return 0;
}

int place_get(struct lens *lens, const char *path, struct place **ret)
{
	struct forest *f = lens->tree->forest;
	size_t size = strlen(path);
	uint32_t hash = hash_more(HASH_INIT, path, size);
	struct place *p = find(lens, path, size, hash);

	if (!p) {
		if (f->place_count >= f->bucket_count && grow(f) < 0 && f->bucket_count == 0)
			return -ENOMEM;
		p = calloc(1, sizeof(*p) + size + 1);
		if (!p)
			return -ENOMEM;
		memcpy(p->path, path, size + 1);
		p->hash = hash;
		p->lens = lens;
		p->available = PSB_HIGH;
		p->next = f->buckets[hash & (f->bucket_count - 1)];
		f->buckets[hash & (f->bucket_count - 1)] = p;
		f->place_count++;
	}
	*ret = p;
	return 0;
}

void place_put(struct place *p)
{
	struct forest *f = p->lens->tree->forest;
	struct place **q = &f->buckets[p->hash & (f->bucket_count - 1)];

	if (p->seats)
		return;
	for (; *q != p; q = &(*q)->next)
		;
	*q = p->next;
	f->place_count--;
	free(p);
}

void place_seat(struct place *p, struct seat *seat)
{
	seat->place = p;
	seat->next = p->seats;
	seat->back = &p->seats;
	if (seat->next)
		seat->next->back = &seat->next;
	p->seats = seat;
	p->lens->seats++;
}

void place_unseat(struct seat *seat)
{
	*seat->back = seat->next;
	if (seat->next)
		seat->next->back = seat->back;
	seat->place->lens->seats--;
	seat->next = NULL;
	seat->back = NULL;
	seat->place = NULL;
}

/* ---- the present -------------------------------------------------------------------------------- */

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

/* The lowest of all at or below the place. `n` is filled in all but for its level and reason where
 * nothing is under observation there. */
static void judge(const struct place *p, struct psb_notification *ret)
{
	struct lowest lowest = { .path = p->path };

	if (p->lens->watch)
		psb_watch_list(p->lens->watch, take_lower, &lowest);
	if (lowest.any)
		*ret = lowest.found;
	else
		*ret = (struct psb_notification){ .size = sizeof(*ret),
						  .kind = PSB_KIND_LEVEL,
						  .available = PSB_HIGH,
						  .time_usec = now_usec() };
	ret->cgroup = p->path;
	ret->reason = PSB_REASON_PRESENT;
}

void place_present(const struct place *p, struct psb_notification *ret)
{
	judge(p, ret);
	if (!p->known)
		return;
	ret->available = p->available;
	ret->critical = p->critical;
}

void place_learn(struct place *p, const struct psb_notification *last)
{
	struct psb_notification n;

	if (p->known)
		return;
	if (!last)
		judge(p, &n);
	else
		n = *last;
	p->known = true;
	p->available = n.available;
	p->critical = n.critical != 0;
	p->told_usec = n.time_usec;
	if (last)
		place_resume(p);
}

/* ---- telling ------------------------------------------------------------------------------------- */

static void tell(struct place *p, const struct psb_notification *n)
{
	struct seat *seat, *next;

	p->available = n->available;
	p->critical = n->critical != 0;
	p->told_usec = n->time_usec;
	for (seat = p->seats; seat; seat = next) {
		next = seat->next;
		seat->class->told(seat, n);
	}
}

void place_resume(struct place *p)
{
	struct psb_notification n;

	if (p->available == PSB_HIGH || !p->lens->watch ||
	    psb_watch_simulate_at(p->lens->watch, p->path, p->available, p->critical,
				  MAX(p->told_usec, UINT64_C(1))) == 0)
		return;
	/* the watch did not take it over, and would never end it */
	judge(p, &n);
	n.reason = PSB_REASON_CALM;
	tell(p, &n);
}

/* Something below the place was judged anew. */
static void tell_above(struct place *p, const struct psb_notification *n)
{
	struct psb_notification sum;
	bool repeat;

	judge(p, &sum);
	repeat = sum.available == PSB_LOW && n->available == PSB_LOW &&
		 n->time_usec >= p->told_usec + p->lens->settings.policy.rearm_usec;
	if (sum.available == p->available && sum.critical <= p->critical && !repeat)
		return;
	sum.reason = n->reason == PSB_REASON_GONE ? PSB_REASON_CALM : n->reason;
	sum.time_usec = n->time_usec;
	sum.stall_usec = n->stall_usec;
	tell(p, &sum);
}

/* The cgroup itself was judged; does something below it still stall worse? */
static void tell_own(struct place *p, const struct psb_notification *n)
{
	struct psb_notification sum;

	judge(p, &sum);
	if (n->kind == PSB_KIND_GONE || sum.available > n->available ||
	    (sum.available == n->available && sum.critical <= n->critical)) {
		tell(p, n);
		return;
	}
	if (sum.available == p->available && sum.critical <= p->critical)
		return; /* they were told that already */
	sum.reason = n->reason;
	tell(p, &sum);
}

static void count(struct tally *tally, const struct psb_notification *n)
{
	if (n->kind != PSB_KIND_LEVEL)
		return;
	tally->low += n->available == PSB_LOW;
	tally->critical += n->critical != 0;
	tally->neutral += n->available == PSB_NEUTRAL;
	tally->high += n->available == PSB_HIGH;
}

/* What was crossed, or is stayed under. */
static const struct trigger *threshold_of(const struct settings *s,
					  const struct psb_notification *n)
{
	if (n->kind != PSB_KIND_LEVEL)
		return NULL;
	if (n->critical)
		return &s->policy.critical;
	return n->available == PSB_LOW || n->reason == PSB_REASON_CALM ? &s->policy.low
								       : &s->policy.early;
}

void lens_told(const struct psb_notification *n, void *userdata)
{
	struct lens *lens = userdata;
	struct forest *f = lens->tree->forest;
	size_t size = strlen(n->cgroup);
	uint32_t hash = hash_more(HASH_INIT, n->cgroup, size);
	struct place *p;

	if (n->kind == PSB_KIND_SOURCE) {
		forest_news(f, lens->tree, NULL);
		return;
	}
	p = find(lens, n->cgroup, size, hash);
	if (p)
		tell_own(p, n);
	/* and the places above it, up to where the tree begins */
	while (size > 1 && f->place_count > 0) {
		do
			size--;
		while (size > 0 && n->cgroup[size] != '/');
		if (size == 0)
			break;
		p = find(lens, n->cgroup, size, hash_more(HASH_INIT, n->cgroup, size));
		if (p)
			tell_above(p, n);
	}
	if (lens == lens->tree->lenses && forest_tree_judges(lens->tree, n->cgroup)) {
		count(&lens->tree->tally, n);
		journal_level(f->options.journal, n, lens->settings.shadow,
			      threshold_of(&lens->settings, n));
		/* levels are news where they are delivered; of others only the tree's own state is */
		forest_news(f, lens->tree, lens->settings.shadow ? NULL : n);
	}
	if (n->kind == PSB_KIND_GONE && !lens->tree->pattern)
		forest_tree_lost(lens->tree);
}
