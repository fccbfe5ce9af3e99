/* SPDX-License-Identifier: MIT */
/*
 * table.c - which watch covers a cgroup: those of the configuration, and watches for all other subscribers
 *
 * A cgroup is judged by the most specific watch that covers it, and by no other: its subscribers belong there, and what
 * a wider one measures of it is neither logged nor shown. Watches in the shadow are candidates and run beside those that
 * are live: they have no subscribers but where [Defaults] has everything in the shadow. What is said here of watches goes
 * for either kind among themselves.
 *
 * A subscriber whose cgroup no [Watch] covers gets a watch of everything below the topmost component of its path, so
 * that there are as many as there are such components. One that brings thresholds gets a watch like the one that covers
 * it (`base`) but for them; it judges nothing else than what its subscribers are told. Both go with the last of them.
 *
 * When the configuration changes, watches that are the same stay as they are; a subscriber that belongs to another one
 * then is moved, and what it was told goes on there.
 *
 * Watches are given up from chores(), never inside a notification.
 */
#include "daemon/table-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THRESHOLDS_MAX 8 /* for one [Watch]: its own, and sets that subscribers may bring */
#define OTHERS_MAX 256	 /* watches for subscribers that no [Watch] covers */

static void news(const struct table *t, const struct watch *w, const struct psb_notification *n)
{
	if (t->options.news)
		t->options.news(w ? w->id : 0, n, t->options.userdata);
}

static void do_chores_soon(struct table *t)
{
	timer_set(t->chores, now_usec());
}

static void append(struct table *t, struct watch *w)
{
	struct watch **last = &t->watches;

	while (*last)
		last = &(*last)->next;
	w->next = NULL;
	*last = w;
}

/* The next one with that base, from `w` on. */
static struct watch *next_of(struct watch *w, const struct watch *base)
{
	while (w && w->base != base)
		w = w->next;
	return w;
}

static struct watch *base_of(struct watch *w)
{
	return w->base ? w->base : w;
}

/* ---- which watch covers a path ------------------------------------------------------------------- */

static bool covers(const struct watch *w, const char *path)
{
	return w->pattern ? cgpattern_match(w->pattern, path) : strcmp(w->path, path) == 0;
}

/* Configured before made for others, one cgroup before a pattern, a longer fixed part before a shorter one, more text
 * before less, the later before the earlier. */
static bool is_more_specific(const struct watch *a, const struct watch *b)
{
	size_t fixed_a = strlen(watch_fixed(a)), fixed_b = strlen(watch_fixed(b));

	if (a->configured != b->configured)
		return a->configured;
	if (!a->pattern != !b->pattern)
		return !a->pattern;
	if (fixed_a != fixed_b)
		return fixed_a > fixed_b;
	return strlen(a->path) >= strlen(b->path);
}

static struct watch *most_specific(const struct table *t, const char *path, bool shadow)
{
	struct watch *best = NULL;

	for (struct watch *w = next_of(t->watches, NULL); w; w = next_of(w->next, NULL))
		if (w->settings.shadow == shadow && covers(w, path) &&
		    (!best || is_more_specific(w, best)))
			best = w;
	return best;
}

/* The one that subscribers in `path` belong to. */
static struct watch *find_watch(const struct table *t, const char *path)
{
	struct watch *w = most_specific(t, path, false);

	/* a candidate has no subscribers, unless [Defaults] has them all in the shadow */
	if (!w && t->config->defaults.shadow)
		w = most_specific(t, path, true);
	return w;
}

/* A pattern's watch measures cgroups that a more specific one judges, too. */
static bool judges(const struct watch *w, const char *path)
{
	return most_specific(w->table, path, w->settings.shadow) == w;
}

unsigned table_judge(const struct table *t, const char *cgroup)
{
	const struct watch *w = most_specific(t, cgroup, false);

	return w ? w->id : 0;
}

/* ---- a watch is notified ------------------------------------------------------------------------- */

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

static void told(const struct psb_notification *n, void *userdata)
{
	struct watch *w = userdata;
	struct table *t = w->table;

	if (n->kind == PSB_KIND_SOURCE) {
		news(t, base_of(w), NULL);
		return;
	}
	records_tell(w, n);
	if (!w->base && judges(w, n->cgroup)) {
		count(&w->tally, n);
		journal_level(t->options.journal, n, w->settings.shadow,
			      threshold_of(&w->settings, n));
		/* levels are news where they are delivered; of others only the watch's own state is */
		news(t, w, w->settings.shadow ? NULL : n);
	}
	if (n->kind == PSB_KIND_GONE && !w->pattern) {
		w->gone = true;
		do_chores_soon(t);
	}
}

/* What may not be done inside a notification, nor while a subscriber moves. */
static int chores(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct table *t = userdata;

	for (struct watch **p = &t->watches, *w = *p; w; w = *p) {
		if (w->gone) {
			w->gone = false;
			watch_disarm(w);
			(void)watch_start(w);
		}
		if (w->configured || w->subscribers > 0 || next_of(t->watches, w)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		if (w->base)
			do_chores_soon(t); /* its base may go, too */
		else
			news(t, NULL, NULL);
		watch_end(w);
	}
	return 0;
}

/* ---- subscribing --------------------------------------------------------------------------------- */

/* A watch for a path that none covers. */
static int add_other(struct table *t, const char *path, struct watch **ret, const char **ret_why)
{
	char pattern[CGPATH_MAX + 4];
	const char *second = strchr(path + 1, '/');
	unsigned others = 0;
	int r;

	for (struct watch *w = t->watches; w; w = w->next)
		others += !w->configured && !w->base;
	if (others >= OTHERS_MAX)
		return scan_refuse(-EUSERS, "too many cgroups that no [Watch] covers", ret_why);
	if (second && !memchr(path, '*', (size_t)(second - path)))
		snprintf(pattern, sizeof(pattern), "%.*s/**", (int)(second - path), path);
	else if (!strchr(path, '*'))
		snprintf(pattern, sizeof(pattern), "%s", path);
	else /* it would be taken for a pattern's */
		return scan_refuse(-EINVAL, "a star in a cgroup's name", ret_why);
	r = watch_new(t, pattern, &t->config->defaults, told, ret);
	if (r < 0)
		return r;
	(*ret)->id = ++t->last_id;
	append(t, *ret);
	(void)watch_start(*ret);
	return 0;
}

/* The settings of `base` with what a subscriber brought. */
static struct settings apply_terms(const struct settings *base, const struct policy_options *terms)
{
	struct settings s = *base;

	if (!terms)
		return s;
	settings_over(&s.policy, terms);
	/* what is Low must be noticed on the way there */
	if (setting_is_set(terms, SETTING_LOW) && !setting_is_set(terms, SETTING_EARLY) &&
	    !trigger_is_same(&terms->low, &base->policy.low))
		s.policy.early = trigger_early_of(&s.policy.low, &s.policy.critical);
	return s;
}

/* The watch that has those terms: `base`, or one like it. */
static int get_watch(struct watch *base, const struct policy_options *terms, struct watch **ret,
		     const char **ret_why)
{
	struct settings s = apply_terms(&base->settings, terms);
	struct table *t = base->table;
	unsigned sets = 1;
	struct watch *w;
	int r;

	*ret = base;
	if (settings_equal(&base->settings, &s))
		return 0;
	for (w = next_of(t->watches, base); w; w = next_of(w->next, base), sets++) {
		*ret = w;
		if (settings_equal(&w->settings, &s))
			return 0;
	}
	if (sets >= THRESHOLDS_MAX)
		return scan_refuse(-EUSERS, "too many different thresholds for this watch",
				   ret_why);
	r = watch_new(t, base->path, &s, told, &w);
	if (r < 0)
		return r;
	w->base = base;
	r = watch_start(w);
	if (r < 0 && base->state == WATCH_WATCHING) { /* it is the terms */
		snprintf(t->why, sizeof(t->why), "%s", w->why);
		*ret_why = t->why;
		watch_end(w);
		return r;
	}
	append(t, w);
	*ret = w;
	return 0;
}

static int cgroup_exists(const struct table *t, const char *path)
{
	int fd = cgroup_open(t->options.cgroups, path);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int find_record(struct table *t, const char *cgroup, const struct policy_options *terms,
		       struct record **ret, const char **ret_why)
{
	struct watch *w = find_watch(t, cgroup);
	int r = cgroup_exists(t, cgroup);

	if (r < 0)
		return scan_refuse(r, "there is no such cgroup", ret_why);
	if (!w && !t->config->serve_others)
		return scan_refuse(
			-ENOENT, "no [Watch] covers this cgroup, and ServeOthers= is off", ret_why);
	if (!w)
		r = add_other(t, cgroup, &w, ret_why);
	if (r == 0)
		r = get_watch(w, terms, &w, ret_why);
	return r < 0 ? r : record_get(w, cgroup, ret);
}

int subscribe(struct table *t, struct subscriber *s, const char *cgroup,
	      const struct policy_options *terms, const struct psb_notification *last,
	      const char **ret_why)
{
	struct record *record;
	const char *why = NULL;
	int r = find_record(t, cgroup, terms, &record, &why);

	if (r < 0) {
		do_chores_soon(t); /* what was made for it goes */
		if (ret_why)
			*ret_why = why ? why : strerror(-r);
		return r;
	}
	record_add(record, s);
	record_learn(record, last);
	return 0;
}

void unsubscribe(struct subscriber *s)
{
	struct record *record = s->record;

	if (!record)
		return;
	record_remove(s);
	if (!record->watch->configured)
		do_chores_soon(record->watch->table);
	record_put(record);
}

const char *subscriber_path(const struct subscriber *s)
{
	return s->record ? s->record->path : "";
}

void subscriber_present(const struct subscriber *s, struct psb_notification *ret)
{
	if (s->record)
		record_present(s->record, ret);
	else
		*ret = (struct psb_notification){ .size = sizeof(*ret),
						  .kind = PSB_KIND_LEVEL,
						  .available = PSB_HIGH,
						  .reason = PSB_REASON_PRESENT,
						  .cgroup = "/",
						  .time_usec = now_usec() };
}

bool subscriber_in_shadow(const struct subscriber *s)
{
	return !s->record || s->record->watch->settings.shadow;
}

const char *subscriber_failure(const struct subscriber *s)
{
	const struct watch *w = s->record ? s->record->watch : NULL;

	return w && w->state == WATCH_FAILED ? w->why : NULL;
}

/* ---- another configuration ----------------------------------------------------------------------- */

/* Will subscribers in `path` be told of levels there? */
static bool stays_served(const struct table *t, const char *path)
{
	const struct watch *w = find_watch(t, path);

	if (cgroup_exists(t, path) < 0)
		return false;
	return w ? !w->settings.shadow : t->config->serve_others && !t->config->defaults.shadow;
}

/* Every subscriber of `record` to where it belongs now. */
static void move(struct table *t, struct record *record)
{
	struct psb_notification last = { .size = sizeof(last),
					 .available = record->available,
					 .critical = record->critical,
					 .time_usec = record->told_usec };
	bool was_in_shadow = record->watch->settings.shadow;
	struct psb_notification n;

	while (!LIST_EMPTY(&record->subscribers)) {
		struct subscriber *s = LIST_FIRST(&record->subscribers);
		struct policy_options terms;
		const char *why = NULL;
		int r;

		if (!was_in_shadow && last.available == PSB_LOW && !stays_served(t, record->path)) {
			record_present(record, &n);
			n.available = PSB_NEUTRAL;
			n.critical = 0;
			n.reason = PSB_REASON_CALM;
			n.time_usec = now_usec();
			t->options.notify(s, &n);
		}
		record_remove(s);
		t->options.terms(s, &terms);
		r = subscribe(t, s, record->path, &terms, &last, &why);
		if (r == -EUSERS)
			r = subscribe(t, s, record->path, NULL, &last, &why);
		if (r < 0) {
			journal_log(t->options.journal, LOG_IS_ERROR, MESSAGE_CLIENT_REFUSED,
				    "%s: a client is not served any more: %s", record->path, why);
		} else if (was_in_shadow && !subscriber_in_shadow(s) &&
			   last.available != PSB_HIGH) {
			subscriber_present(s, &n);
			t->options.notify(s, &n);
		}
	}
	record_put(record);
}

/* Moving changes the table, but no record in it other than the one that is left. `misplaced` has room for all. */
static void move_all(struct table *t, struct record **misplaced)
{
	struct record *r;
	size_t n = 0;

	for (unsigned i = 0; i < BUCKETS; i++)
		SLIST_FOREACH(r, &t->buckets[i], next)
	if (r->watch->ending || find_watch(t, r->path) != base_of(r->watch))
		misplaced[n++] = r;
	for (size_t i = 0; i < n; i++)
		move(t, misplaced[i]);
}

/* Where the list has the one that stands for the same section of the configuration; NULL: it has none. */
static struct watch **find_same(struct watch **list, const struct watch *fresh)
{
	for (struct watch **p = list, *w; (w = *p); p = &w->next)
		if (w->configured && strcmp(w->path, fresh->path) == 0 &&
		    w->settings.shadow == fresh->settings.shadow)
			return p;
	return NULL;
}

/* The list of the new configuration, from `fresh` and what is kept of the old one. Returns what is to end. */
static struct watch *replace(struct table *t, struct watch **fresh, size_t count)
{
	struct watch *old = steal(t->watches), *ending = NULL, *w;

	for (size_t i = 0; i < count; i++) {
		struct watch **same = find_same(&old, fresh[i]);

		w = fresh[i];
		w->id = same ? (*same)->id : ++t->last_id;
		if (same && settings_equal(&(*same)->settings, &w->settings)) {
			watch_end(w);
			w = *same;
			*same = w->next;
		}
		append(t, w);
	}
	/* those for others stay as long as they are as [Defaults] says, those for terms with their base */
	while ((w = old)) {
		old = w->next;
		w->ending = w->base ? w->base->ending
				    : w->configured || !t->config->serve_others ||
					      !settings_equal(&w->settings, &t->config->defaults);
		if (!w->ending) {
			append(t, w);
			continue;
		}
		w->next = ending;
		ending = w;
	}
	return ending;
}

int table_apply(struct table *t, const struct config *config)
{
	struct watch *fresh[CONFIG_WATCHES_MAX], *ending, *next;
	struct record **records = calloc(t->record_count + 1, sizeof(*records));
	size_t count = 0;
	int r = records ? 0 : -ENOMEM;

	/* first all that can fail */
	for (; count < config->watch_count && r == 0; count += r == 0)
		r = watch_new(t, config->watches[count].path, &config->watches[count].settings,
			      told, &fresh[count]);
	if (r < 0) {
		while (count > 0)
			watch_end(fresh[--count]);
		free(records);
		return r;
	}
	for (size_t i = 0; i < count; i++)
		fresh[i]->configured = true;
	t->config = config;
	ending = replace(t, fresh, count);
	for (struct watch *w = t->watches; w; w = w->next)
		if (w->state != WATCH_WATCHING && !w->listeners[0] && !timer_is_set(w->retry))
			(void)watch_start(w);
	move_all(t, records);
	free(records);
	for (; ending; ending = next) {
		next = ending->next;
		watch_end(ending);
	}
	do_chores_soon(t);
	news(t, NULL, NULL);
	return 0;
}

int table_simulate(struct table *t, const char *cgroup, enum psb_available available, bool critical)
{
	char path[CGPATH_MAX];
	struct watch *base;
	int r = cgpath_normalise(cgroup, t->options.cgroups->v2.point, path, NULL);

	if (r == 0)
		r = cgroup_exists(t, path);
	if (r < 0)
		return r;
	base = find_watch(t, path);
	if (!base || !base->psb)
		return -ENODATA;
	r = psb_watch_simulate_at(base->psb, path, available, critical, 0);
	for (struct watch *w = next_of(t->watches, base); w && r == 0; w = next_of(w->next, base))
		if (w->psb)
			r = psb_watch_simulate_at(w->psb, path, available, critical, 0);
	return r;
}

/* ---- views --------------------------------------------------------------------------------------- */

struct lowest {
	const struct watch *watch;
	struct watch_view *view;
};

static void take_lower(const struct psb_notification *n, void *userdata)
{
	const struct lowest *l = userdata;

	if (!judges(l->watch, n->cgroup) || n->available > l->view->available)
		return;
	l->view->critical = n->critical ||
			    (n->available == l->view->available && l->view->critical);
	l->view->available = n->available;
}

bool table_watch(struct table *t, size_t index, struct watch_view *ret)
{
	struct watch *w = next_of(t->watches, NULL);

	while (w && index-- > 0)
		w = next_of(w->next, NULL);
	if (!w)
		return false;
	*ret = (struct watch_view){
		.id = w->id,
		.path = w->path,
		.configured = w->configured,
		.state = w->state,
		.why = w->why,
		.settings = w->settings,
		.available = PSB_HIGH,
		.clients = w->subscribers,
		.thresholds = 1,
		.source.size = sizeof(ret->source),
		.stats.size = sizeof(ret->stats),
	};
	for (struct watch *own = next_of(t->watches, w); own; own = next_of(own->next, w)) {
		ret->thresholds++;
		ret->clients += own->subscribers;
	}
	if (w->state == WATCH_WATCHING) {
		psb_watch_list(w->psb, take_lower, &(struct lowest){ .watch = w, .view = ret });
		psb_watch_source(w->psb, &ret->source);
		psb_watch_stats(w->psb, &ret->stats);
		ret->stats.low = w->tally.low;
		ret->stats.critical = w->tally.critical;
		ret->stats.neutral = w->tally.neutral;
		ret->stats.high = w->tally.high;
	}
	return true;
}

struct each {
	struct table *table;
	struct watch *watch;
	void (*fn)(const struct cgroup_view *view, void *userdata);
	void *userdata;
};

/* Its records, whatever their thresholds, count as shown. */
static void show(const struct each *e, const struct psb_notification *n)
{
	struct table *t = e->table;
	struct cgroup_view view = {
		.present = n,
		.watch = e->watch->id,
		.candidate = e->watch->settings.shadow && find_watch(t, n->cgroup) != e->watch,
	};
	const struct subscriber *s;

	for (struct record *r = records_like(t, n->cgroup); r; r = SLIST_NEXT(r, next)) {
		if (base_of(r->watch) != e->watch || strcmp(r->path, n->cgroup) != 0)
			continue;
		r->shown = t->last_view;
		LIST_FOREACH(s, &r->subscribers, list)
		view.clients++;
	}
	e->fn(&view, e->userdata);
}

static void show_observed(const struct psb_notification *n, void *userdata)
{
	const struct each *e = userdata;

	if (judges(e->watch, n->cgroup))
		show(e, n);
}

void table_each_cgroup(struct table *t, void (*fn)(const struct cgroup_view *view, void *userdata),
		       void *userdata)
{
	struct each e = { .table = t, .fn = fn, .userdata = userdata };
	struct psb_notification n;
	struct record *r;

	t->last_view++;
	for (e.watch = next_of(t->watches, NULL); e.watch; e.watch = next_of(e.watch->next, NULL))
		if (e.watch->psb)
			psb_watch_list(e.watch->psb, show_observed, &e);
	for (unsigned i = 0; i < BUCKETS; i++)
		SLIST_FOREACH(r, &t->buckets[i], next)
		{
			if (r->shown == t->last_view)
				continue;
			record_present(r, &n);
			e.watch = base_of(r->watch);
			show(&e, &n);
		}
}

/* ---- life ---------------------------------------------------------------------------------------- */

int table_new(const struct table_options *options, struct table **ret)
{
	struct table *t = calloc(1, sizeof(*t));
	int r = t ? timer_new(options->event, chores, t, &t->chores) : -ENOMEM;

	if (r < 0) {
		table_free(t);
		return r;
	}
	t->options = *options;
	*ret = t;
	return 0;
}

struct table *table_free(struct table *t)
{
	struct watch *next;

	if (!t)
		return NULL;
	sd_event_source_disable_unref(t->chores);
	for (struct watch *w = t->watches; w; w = next) {
		next = w->next;
		watch_end(w);
	}
	free(t);
	return NULL;
}
