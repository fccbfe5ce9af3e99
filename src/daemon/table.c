/* SPDX-License-Identifier: MIT */
/*
 * table.c - which watch covers a cgroup, and who subscribes to it
 *
 * A cgroup is judged by the most specific watch that covers it, and by no other: its subscribers belong there, and what a wider one measures
 * of it is neither logged nor shown. That goes for watches that are live, and for those in the shadow, among themselves; in the shadow there
 * are subscribers only where [Defaults] has everything there.
 *
 * A subscriber whose cgroup no [Watch] covers gets a watch of everything below the topmost component of its path. One that brings thresholds
 * gets a watch like the one that covers it (`base`) but for them, which judges nothing else than what its subscribers are told. Both go with
 * the last of them, from chores(), never inside a notification.
 *
 * A pattern's watch reports the deepest cgroup that stalls. Subscribers of cgroups above it are judged from all cgroups under observation,
 * as the lowest of those at or below theirs. They are told when that changes, or when Low is repeated and they were last told a rearm time
 * ago: of several cgroups below that repeat their Lows they are told one.
 */
#include "core/scan.h"
#include "daemon/table-watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THRESHOLDS_MAX 8 /* for one [Watch]: its own, and sets that subscribers may bring */
#define OTHERS_MAX 256	 /* watches for subscribers that no [Watch] covers */

struct table {
	struct watch_owner owner;
	const struct config *config;
	struct watch *watches; /* one that has a base stands behind it */
	unsigned last_id, last_view;
	sd_event_source *
		chores; /* a timer: what may not be done inside a notification, nor while a subscriber moves */
	char why[sizeof(((struct watch *)0)->why)];
};

static struct table *table_of(const struct watch *w)
{
	return CONTAINER_OF(w->owner, struct table, owner);
}

static void news(const struct table *t, const struct psb_notification *n)
{
	t->owner.options.news(n, t->owner.options.userdata);
}

static void do_chores_soon(struct table *t)
{
	timer_set(t->chores, now_usec());
}

/* ---- lists --------------------------------------------------------------------------------------- */

static void append(struct watch **list, struct watch *w)
{
	while (*list)
		list = &(*list)->next;
	w->next = NULL;
	*list = w;
}

/* The next one with that base, from `w` on. */
static struct watch *next_of(struct watch *w, const struct watch *base)
{
	while (w && w->base != base)
		w = w->next;
	return w;
}

#define EACH_OF(w, list, base) \
	for (struct watch *w = next_of(list, base); w; w = next_of(w->next, base))

static struct watch *base_of(struct watch *w)
{
	return w->base ? w->base : w;
}

static void end_all(struct watch *list)
{
	for (struct watch *next; list; list = next) {
		next = list->next;
		watch_end(list);
	}
}

/* One that is told may leave: then it is out of the list, and the next one is still in it. */
#define EACH_SUBSCRIBER(s, w)                                          \
	for (struct subscriber *s = LIST_FIRST(&(w)->list),            \
			       *next_ = s ? LIST_NEXT(s, list) : NULL; \
	     s; s = next_, next_ = s ? LIST_NEXT(s, list) : NULL)

/* ---- which watch covers a path ------------------------------------------------------------------- */

static bool covers(const struct watch *w, const char *path)
{
	return w->pattern ? cgpattern_match(w->pattern, path) : strcmp(w->path, path) == 0;
}

/* Configured before made for others. */
static bool is_more_specific(const struct watch *a, const struct watch *b)
{
	return a->configured != b->configured ? a->configured
					      : cgpattern_is_more_specific(a->path, b->path);
}

static struct watch *most_specific(const struct table *t, const char *path, bool shadow)
{
	struct watch *best = NULL;

	EACH_OF(w, t->watches, NULL)
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
	return most_specific(table_of(w), path, w->settings.shadow) == w;
}

bool table_judges(const struct table *t, const char *cgroup, const char *path)
{
	const struct watch *w = most_specific(t, cgroup, false);

	return w && (!path || (w->configured && strcmp(w->path, path) == 0));
}

/* ---- the present --------------------------------------------------------------------------------- */

static bool is_lower(const struct psb_notification *a, const struct psb_notification *b)
{
	return a->available < b->available ||
	       (a->available == b->available && a->critical > b->critical);
}

static const struct psb_notification at_rest = {
	.size = sizeof(at_rest),
	.kind = PSB_KIND_LEVEL,
	.available = PSB_HIGH,
	.reason = PSB_REASON_PRESENT,
	.cgroup = "/",
};

struct lowest {
	const struct watch *watch;
	const char *path; /* NULL: of all that the watch judges, else of those at or below it */
	bool any;
	struct psb_notification found;
};

void table_see_from(const char *path, bool descendants, struct psb_notification *n)
{
	size_t length = strlen(path);
	bool own = strcmp(n->cgroup, path) == 0;

	if (n->cause_length == length)
		n->cause = PSB_CAUSE_OWN;
	else if (!own && (n->cause == PSB_CAUSE_OWN || n->cause_length > length))
		n->cause = PSB_CAUSE_DESCENDANT;
	if (n->cause != PSB_CAUSE_DESCENDANT || own)
		return;
	n->cause_length = 0;
	if (n->available == PSB_LOW && !descendants) {
		n->available = PSB_NEUTRAL;
		n->critical = 0;
	}
}

static void take_lower(const struct psb_notification *one, void *userdata)
{
	struct lowest *l = userdata;
	struct psb_notification seen = *one, *n = &seen;

	if (l->path ? !cgpath_is_at_or_below(n->cgroup, l->path) : !judges(l->watch, n->cgroup))
		return;
	if (l->path)
		table_see_from(l->path, l->watch->settings.policy.descendants == DESCENDANTS_COUNT,
			       n);
	if (!l->any || is_lower(n, &l->found))
		l->found = *n;
	l->any = true;
}

/* Where nothing is under observation only level and time are known. */
static void judge(const struct watch *w, const char *path, struct psb_notification *ret)
{
	struct lowest lowest = { .watch = w, .path = path, .found = at_rest };

	lowest.found.time_usec = now_usec();
	if (w && w->psb)
		psb_watch_list(w->psb, take_lower, &lowest);
	*ret = lowest.found;
	ret->cgroup = path ? path : "/";
	ret->reason = PSB_REASON_PRESENT;
}

void subscriber_present(const struct subscriber *s, struct psb_notification *ret)
{
	judge(s->watch, s->path, ret);
	if (!s->watch)
		return;
	ret->available = s->available;
	ret->critical = s->critical;
}

bool subscriber_in_shadow(const struct subscriber *s)
{
	return !s->watch || s->watch->settings.shadow;
}

void subscriber_report(const struct subscriber *s, uint64_t bytes, uint64_t usec)
{
	struct watch *base = s->watch ? base_of(s->watch) : NULL;

	for (struct watch *w = base; w; w = next_of(w->next, base))
		(void)psb_watch_report_at(w->psb, s->path, bytes, usec);
}

const char *subscriber_failure(const struct subscriber *s)
{
	return s->watch && s->watch->state == WATCH_FAILED ? s->watch->why : NULL;
}

/* ---- a watch is notified ------------------------------------------------------------------------- */

static void learn(struct subscriber *s, const struct psb_notification *n)
{
	s->available = n->available;
	s->critical = n->critical != 0;
	s->told_usec = n->time_usec;
}

static void tell(struct subscriber *s, const struct psb_notification *n)
{
	learn(s, n);
	s->notify(s, n);
}

/* Something at or below its cgroup was judged anew, and `sum` is the lowest there. */
static void consider(struct subscriber *s, const struct psb_notification *n,
		     struct psb_notification *sum)
{
	bool is_own = strcmp(s->path, n->cgroup) == 0, is_due, is_known;

	if (is_own && (n->kind == PSB_KIND_GONE || !is_lower(sum, n))) {
		tell(s, n);
		return;
	}
	is_known = sum->available == s->available && sum->critical <= s->critical;
	is_due = sum->available == PSB_LOW && n->available == PSB_LOW &&
		 n->time_usec >= s->told_usec + s->watch->settings.policy.rearm_usec;
	if (is_known && !is_due)
		return;
	sum->reason = n->reason == PSB_REASON_GONE ? PSB_REASON_CALM : n->reason;
	sum->time_usec = n->time_usec;
	sum->stall_usec = n->stall_usec;
	tell(s, sum);
}

static void tell_all(struct watch *w, const struct psb_notification *n)
{
	struct psb_notification sum;

	EACH_SUBSCRIBER(s, w)
		if (cgpath_is_at_or_below(n->cgroup, s->path)) {
			judge(w, s->path, &sum);
			consider(s, n, &sum);
		}
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

static void judged(struct watch *w, const struct psb_notification *n)
{
	watch_count(w, n);
	journal_level(w->owner->options.journal, n, w->settings.shadow,
		      threshold_of(&w->settings, n));
	/* levels are news where they are delivered; of others only the watch's own state is */
	news(table_of(w), w->settings.shadow ? NULL : n);
}

static bool is_heard(struct watch *w, const char *cgroup)
{
	EACH_SUBSCRIBER(s, w)
		if (cgpath_is_at_or_below(cgroup, s->path))
			return true;
	return false;
}

/* The effect of a Low that no subscriber was told is none. Those with terms of their own are told by theirs; what is counted and logged
 * is the base's, as its levels are. */
static void took_effect(struct watch *w, const struct psb_notification *n)
{
	const struct table_options *o = &w->owner->options;
	struct psb_stats stats = { .size = sizeof(stats) };
	struct watch *base = base_of(w);
	bool heard = is_heard(base, n->cgroup);

	EACH_OF(terms, table_of(w)->watches, base)
		heard = heard || is_heard(terms, n->cgroup);
	if (!heard || w->settings.shadow || !judges(base, n->cgroup) ||
	    psb_watch_stats(w->psb, &stats) < 0)
		return;
	EACH_SUBSCRIBER(s, w)
		if (s->effect && strcmp(s->path, n->cgroup) == 0)
			s->effect(s, &stats);
	if (w == base)
		o->effect(n->cgroup, &stats, w->settings.policy.rearm_usec, o->userdata);
}

/* Of a cgroup it is one series: what is live, or, where nothing is, what is in the shadow. */
static void sampled(const struct watch *w, const struct psb_notification *n)
{
	if (w->owner->options.sample && find_watch(table_of(w), n->cgroup) == w)
		w->owner->options.sample(n, w->owner->options.userdata);
}

static void told(const struct psb_notification *n, void *userdata)
{
	struct watch *w = userdata;

	if (n->kind == PSB_KIND_SOURCE)
		news(table_of(w), NULL);
	else if (n->kind == PSB_KIND_EFFECT)
		took_effect(w, n);
	else if (n->kind == PSB_KIND_SAMPLE || (n->kind == PSB_KIND_GONE && !w->base))
		sampled(w, n);
	if (n->kind != PSB_KIND_LEVEL && n->kind != PSB_KIND_GONE)
		return;
	tell_all(w, n);
	if (!w->base && judges(w, n->cgroup))
		judged(w, n);
	if (n->kind == PSB_KIND_GONE && !w->pattern)
		timer_set(w->retry, now_usec()); /* not inside its own notification */
}

/* What was told goes on in a watch that has not judged it yet. */
static void resume(struct subscriber *s)
{
	struct psb_notification n;

	if (s->available == PSB_HIGH || !s->watch->psb ||
	    psb_watch_simulate_at(s->watch->psb, s->path, s->available, s->critical,
				  MAX(s->told_usec, UINT64_C(1))) == 0)
		return;
	/* the watch did not take it over, and would never end it */
	judge(s->watch, s->path, &n);
	n.reason = PSB_REASON_CALM;
	tell(s, &n);
}

static void changed(struct watch *w)
{
	if (!w->base)
		news(table_of(w), NULL);
	EACH_SUBSCRIBER(s, w)
		resume(s);
}

/* Ends watches that were made for subscribers which are gone. */
static int chores(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct table *t = userdata;

	for (struct watch **p = &t->watches, *w = *p; w; w = *p) {
		if (w->configured || w->subscribers > 0 || next_of(t->watches, w)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		if (w->base)
			do_chores_soon(t); /* its base may go, too */
		else
			news(t, NULL);
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

	EACH_OF(w, t->watches, NULL)
		others += !w->configured;
	if (others >= OTHERS_MAX)
		return scan_refuse(-EUSERS, "too many cgroups that no [Watch] covers", ret_why);
	if (second && !memchr(path, '*', (size_t)(second - path)))
		snprintf(pattern, sizeof(pattern), "%.*s/**", (int)(second - path), path);
	else if (!strchr(path, '*'))
		snprintf(pattern, sizeof(pattern), "%s", path);
	else /* it would be taken for a pattern's */
		return scan_refuse(-EINVAL, "a star in a cgroup's name", ret_why);
	r = watch_new(&t->owner, pattern, &t->config->defaults, ret);
	if (r < 0)
		return r;
	(*ret)->id = ++t->last_id;
	append(&t->watches, *ret);
	(void)watch_start(*ret);
	return 0;
}

/* The settings of `base` with what a subscriber brought. */
static struct settings apply_terms(const struct settings *base, const struct policy_options *terms)
{
	struct settings s = *base;

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
	struct table *t = table_of(base);
	unsigned sets = 1;
	int r;

	*ret = base;
	if (settings_equal(&base->settings, &s))
		return 0;
	EACH_OF(w, t->watches, base) {
		*ret = w;
		if (settings_equal(&w->settings, &s))
			return 0;
		sets++;
	}
	if (sets >= THRESHOLDS_MAX) {
		journal_log(t->owner.options.journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
			    "%s: a client cannot have its thresholds: too many different ones for "
			    "this watch",
			    base->path);
		*ret = base;
		return 0;
	}
	r = watch_new(&t->owner, base->path, &s, ret);
	if (r < 0)
		return r;
	(*ret)->base = base;
	r = watch_start(*ret);
	if (r < 0 && base->state == WATCH_WATCHING) { /* it is the terms */
		snprintf(t->why, sizeof(t->why), "%s", (*ret)->why);
		*ret_why = t->why;
		watch_end(*ret);
		return r;
	}
	append(&t->watches, *ret);
	return 0;
}

static int cgroup_exists(const struct table *t, const char *path)
{
	uint64_t inode;

	return cgroup_inode(t->owner.options.cgroups, path, &inode);
}

static bool serves_others(const struct table *t, const struct subscriber *s)
{
	return t->config->serve_others || s->is_ours;
}

static int find_place(struct table *t, const struct subscriber *s, const char *cgroup,
		      struct watch **ret, const char **ret_why)
{
	struct watch *w = find_watch(t, cgroup);
	int r = cgroup_exists(t, cgroup);

	if (r < 0)
		return scan_refuse(r, "there is no such cgroup", ret_why);
	if (!w && !serves_others(t, s))
		return scan_refuse(
			-ENOENT, "no [Watch] covers this cgroup, and ServeOthers= is off", ret_why);
	if (!w)
		r = add_other(t, cgroup, &w, ret_why);
	return r < 0 ? r : get_watch(w, s->terms, ret, ret_why);
}

int subscribe(struct table *t, struct subscriber *s, const char *cgroup, const char **ret_why)
{
	struct psb_notification n;
	const char *why = NULL;
	struct watch *w;
	int r = find_place(t, s, cgroup, &w, &why);

	s->path = r < 0 ? NULL : strdup(cgroup);
	if (!s->path) {
		do_chores_soon(t); /* what was made for it goes */
		r = r < 0 ? r : -ENOMEM;
		*ret_why = why ? why : strerror(-r);
		return r;
	}
	s->watch = w;
	LIST_INSERT_HEAD(&w->list, s, list);
	w->subscribers++;
	if (s->available == 0) {
		judge(w, s->path, &n);
		learn(s, &n);
	} else {
		resume(s);
	}
	return 0;
}

void unsubscribe(struct subscriber *s)
{
	if (!s->watch)
		return;
	LIST_REMOVE(s, list);
	s->watch->subscribers--;
	if (!s->watch->configured)
		do_chores_soon(table_of(s->watch));
	s->watch = NULL;
	free(s->path);
	s->path = NULL;
}

/* ---- another configuration ----------------------------------------------------------------------- */

/* Will it be told of levels in `path`? */
static bool stays_served(const struct table *t, const struct subscriber *s, const char *path)
{
	const struct watch *w = find_watch(t, path);

	if (cgroup_exists(t, path) < 0)
		return false;
	return w ? !w->settings.shadow : serves_others(t, s) && !t->config->defaults.shadow;
}

/* To where it belongs now. A Low that nothing would end there ends; what was kept back in the shadow is told. */
static void move(struct table *t, struct subscriber *s)
{
	bool was_in_shadow = subscriber_in_shadow(s);
	struct psb_notification n;
	const char *why = NULL;
	char path[CGPATH_MAX];

	snprintf(path, sizeof(path), "%s", s->path);
	if (!was_in_shadow && s->available == PSB_LOW && !stays_served(t, s, path)) {
		judge(s->watch, s->path, &n);
		n.available = PSB_NEUTRAL;
		n.critical = 0;
		n.reason = PSB_REASON_CALM;
		n.time_usec = now_usec();
		s->notify(s, &n);
	}
	unsubscribe(s);
	if (subscribe(t, s, path, &why) < 0) {
		journal_log(t->owner.options.journal, LOG_IS_ERROR, MESSAGE_CLIENT_REFUSED,
			    "%s: a client is not served any more: %s", path, why);
	} else if (was_in_shadow && !subscriber_in_shadow(s) && s->available != PSB_HIGH) {
		subscriber_present(s, &n);
		s->notify(s, &n);
	}
}

/* From the watches of that list. */
static void move_all(struct table *t, struct watch *list)
{
	for (struct watch *w = list; w; w = w->next)
		EACH_SUBSCRIBER(s, w)
			if (find_watch(t, s->path) != base_of(w))
				move(t, s);
}

static int keep_or_make(struct table *t, const struct config_watch *c, struct watch **fresh)
{
	struct watch *made;
	int r;

	EACH_OF(w, t->watches, NULL)
		if (w->configured && strcmp(w->path, c->path) == 0 &&
		    settings_equal(&w->settings, &c->settings)) {
			w->ending = false;
			return 0;
		}
	r = watch_new(&t->owner, c->path, &c->settings, &made);
	if (r < 0)
		return r;
	made->configured = true;
	made->id = ++t->last_id;
	append(fresh, made);
	return 0;
}

int table_apply(struct table *t, const struct config *config)
{
	struct watch *fresh = NULL, *ending = NULL, *w;
	int r = 0;

	/* those for others stay as long as they are as [Defaults] says, those for terms with their base */
	EACH_OF(old, t->watches, NULL)
		old->ending = old->configured || !config->serve_others ||
			      !settings_equal(&old->settings, &config->defaults);
	for (size_t i = 0; i < config->watch_count && r == 0; i++)
		r = keep_or_make(t, &config->watches[i], &fresh);
	if (r < 0) {
		end_all(fresh);
		return r;
	}
	t->config = config;
	for (struct watch *old = steal(t->watches); (w = old);) {
		old = w->next;
		w->ending = w->base ? w->base->ending : w->ending;
		append(w->ending ? &ending : &t->watches, w);
	}
	while ((w = fresh)) {
		fresh = w->next;
		append(&t->watches, w);
	}
	EACH_OF(new, t->watches, NULL)
		if (new->state == WATCH_FAILED && !timer_is_set(new->retry))
			(void)watch_start(new);
	move_all(t, t->watches);
	move_all(t, ending);
	end_all(ending);
	do_chores_soon(t);
	news(t, NULL);
	return 0;
}

int table_simulate(struct table *t, const char *cgroup, enum psb_available available, bool critical)
{
	struct watch *base = find_watch(t, cgroup);
	int r = cgroup_exists(t, cgroup);

	if (r < 0)
		return r;
	if (!base || !base->psb)
		return -ENODATA;
	r = psb_watch_simulate_at(base->psb, cgroup, available, critical, 0);
	EACH_OF(w, t->watches, base)
		if (w->psb && r == 0)
			r = psb_watch_simulate_at(w->psb, cgroup, available, critical, 0);
	return r;
}

/* ---- views --------------------------------------------------------------------------------------- */

bool table_watch(struct table *t, size_t index, struct watch_view *ret)
{
	struct watch *w = next_of(t->watches, NULL);
	struct psb_notification lowest;

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
		.clients = w->subscribers,
		.thresholds = 1,
		.made_usec = w->made_usec,
		.low_usec = watch_low_usec(w),
		.low_last_usec = w->low_last_usec,
		.source.size = sizeof(ret->source),
		.stats.size = sizeof(ret->stats),
	};
	EACH_OF(terms, t->watches, w) {
		ret->thresholds++;
		ret->clients += terms->subscribers;
	}
	judge(w, NULL, &lowest);
	ret->available = lowest.available;
	ret->critical = lowest.critical != 0;
	if (w->psb) {
		psb_watch_source(w->psb, &ret->source);
		psb_watch_stats(w->psb, &ret->stats);
		ret->stats.low = w->low;
		ret->stats.critical = w->critical;
		ret->stats.neutral = w->neutral;
		ret->stats.high = w->high;
	}
	return true;
}

struct each {
	struct table *table;
	struct watch *watch;
	void (*fn)(const struct cgroup_view *view, void *userdata);
	void *userdata;
};

/* Its subscribers, whatever their thresholds, count as shown. */
static void show(const struct each *e, const struct psb_notification *n)
{
	struct cgroup_view view = {
		.present = n,
		.watch = e->watch->id,
		.candidate = e->watch->settings.shadow &&
			     find_watch(e->table, n->cgroup) != e->watch,
	};

	for (struct watch *w = e->watch; w; w = next_of(w->next, e->watch))
		EACH_SUBSCRIBER(s, w)
			if (strcmp(s->path, n->cgroup) == 0) {
				s->shown = e->table->last_view;
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

	t->last_view++;
	EACH_OF(w, t->watches, NULL) {
		e.watch = w;
		if (w->psb)
			psb_watch_list(w->psb, show_observed, &e);
	}
	for (struct watch *w = t->watches; w; w = w->next)
		EACH_SUBSCRIBER(s, w)
			if (s->shown != t->last_view) {
				subscriber_present(s, &n);
				e.watch = base_of(w);
				show(&e, &n);
			}
}

/* ---- life ---------------------------------------------------------------------------------------- */

int table_new(const struct table_options *options, struct table **ret)
{
	struct table *t = calloc(1, sizeof(*t));
	int r = t ? timer_new(options->event, chores, t, &t->chores) : -ENOMEM;

	if (r < 0) {
		free(t);
		return r;
	}
	t->owner = (struct watch_owner){ *options, told, changed };
	*ret = t;
	return 0;
}

struct table *table_free(struct table *t)
{
	if (!t)
		return NULL;
	sd_event_source_disable_unref(t->chores);
	end_all(t->watches);
	free(t);
	return NULL;
}
