/* SPDX-License-Identifier: MIT */
/*
 * forest.c - which tree covers a cgroup: those of the configuration, and trees for all other clients
 *
 * Watches in the shadow are candidates, and run beside those that are live: they have no clients but where [Defaults]
 * has everything in the shadow. What is said here of trees goes for either kind among themselves.
 *
 * A cgroup is judged by the most specific tree that covers it, and by no other: its clients belong there, and what a
 * wider tree measures of it is neither logged nor shown. A client whose cgroup no [Watch] matches gets a
 * tree of its own making: everything below the topmost component of its path, so that there are as
 * many as there are such components, not as clients. It goes with its last seat.
 *
 * When the configuration changes, trees that are the same stay as they are; a client that belongs to
 * another tree then is moved, and what it was told goes on there.
 *
 * Watches are given up from chores(), never inside a notification.
 */
#include "daemon/forest-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the list ------------------------------------------------------------------------------- */

static void unlink_tree(struct forest *f, struct tree *tree)
{
	struct tree **p;

	for (p = &f->trees; *p != tree; p = &(*p)->next)
		;
	*p = tree->next;
	f->tree_count--;
	f->other_count -= !tree->configured;
}

static void link_tree(struct forest *f, struct tree *tree, struct tree **where)
{
	tree->next = *where;
	*where = tree;
	f->tree_count++;
	f->other_count += !tree->configured;
}

/* ---- which tree covers a path -------------------------------------------------------------------- */

static bool covers(const struct tree *t, const char *path)
{
	return t->pattern ? cgpattern_match(t->pattern, path) : strcmp(t->path, path) == 0;
}

/* One cgroup before a pattern, a longer fixed part before a shorter one, more text before less, the
 * later before the earlier. */
static bool is_more_specific(const struct tree *a, const struct tree *b)
{
	size_t fixed_a = strlen(forest_tree_fixed(a)), fixed_b = strlen(forest_tree_fixed(b));

	if (!a->pattern != !b->pattern)
		return !a->pattern;
	if (fixed_a != fixed_b)
		return fixed_a > fixed_b;
	return strlen(a->path) >= strlen(b->path);
}

static struct tree *most_specific(const struct forest *f, const char *path, bool shadow)
{
	struct tree *best = NULL;

	for (struct tree *t = f->trees; t; t = t->next)
		if (t->settings.shadow == shadow && covers(t, path) &&
		    (!best || (t->configured && !best->configured) ||
		     (t->configured == best->configured && is_more_specific(t, best))))
			best = t;
	return best;
}

struct tree *forest_find_tree(const struct forest *f, const char *path)
{
	struct tree *tree = most_specific(f, path, false);

	/* a candidate has no clients, unless [Defaults] has them all in the shadow */
	if (!tree && f->config->defaults.shadow)
		tree = most_specific(f, path, true);
	return tree;
}

unsigned forest_judge(const struct forest *f, const char *cgroup)
{
	const struct tree *tree = most_specific(f, cgroup, false);

	return tree ? tree->id : 0;
}

/* A tree for a path that none covers. */
static int plant_other(struct forest *f, const char *path, struct tree **ret)
{
	char pattern[CGPATH_MAX + 4];
	const char *second = strchr(path + 1, '/');
	size_t top = second ? (size_t)(second - path) : 0;
	struct tree *tree, **last = &f->trees;
	int r;

	if (f->other_count >= OTHER_TREES_MAX)
		return -EUSERS;
	if (second && !memchr(path, '*', top))
		snprintf(pattern, sizeof(pattern), "%.*s/**", (int)top, path);
	else if (!strchr(path, '*'))
		snprintf(pattern, sizeof(pattern), "%s", path);
	else /* a star in a name would be taken for a pattern's */
		return -EINVAL;
	r = forest_tree_new(f, pattern, false, &f->config->defaults, &tree);
	if (r < 0)
		return r;
	tree->id = ++f->last_id;
	while (*last)
		last = &(*last)->next;
	link_tree(f, tree, last);
	forest_tree_start(tree);
	*ret = tree;
	return 0;
}

static int cgroup_exists(const struct forest *f, const char *path)
{
	int fd = cgroup_open(f->options.cgroups, path);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int forest_sit(struct forest *f, struct seat *seat, const char *cgroup,
	       const struct policy_options *terms, const struct psb_notification *last,
	       const char **ret_why)
{
	struct tree *tree = forest_find_tree(f, cgroup);
	struct lens *lens;
	struct place *place;
	const char *why = NULL;
	int r;

	f->why[0] = '\0';
	r = cgroup_exists(f, cgroup);
	if (r < 0) {
		why = "there is no such cgroup";
		goto fail;
	}
	if (!tree && !f->config->serve_others) {
		r = -ENOENT;
		why = "no [Watch] covers this cgroup, and ServeOthers= is off";
		goto fail;
	}
	if (!tree) {
		r = plant_other(f, cgroup, &tree);
		if (r == -EUSERS)
			why = "too many cgroups that no [Watch] covers";
		else if (r == -EINVAL)
			why = "a star in a cgroup's name";
	}
	if (r == 0) {
		r = lens_get(tree, terms, &lens);
		if (r == -EUSERS)
			why = "too many different thresholds for this tree";
	}
	if (r == 0)
		r = place_get(lens, cgroup, &place);
	if (r < 0)
		goto fail;
	place_seat(place, seat);
	place_learn(place, last);
	return 0;
fail:
	loop_timer_set(f->options.loop, &f->chores, now_usec()); /* what was made for it goes */
	if (ret_why)
		*ret_why = why ? why : f->why[0] ? f->why : strerror(-r);
	return r;
}

void forest_rise(struct seat *seat)
{
	struct place *place = seat->place;
	struct lens *lens;

	if (!place)
		return;
	lens = place->lens;
	place_unseat(seat);
	place_put(place);
	if ((lens->own_terms && lens->seats == 0) || !lens->tree->configured)
		loop_timer_set(lens->tree->forest->options.loop, &lens->tree->forest->chores,
			       now_usec());
}

void forest_path(const struct seat *seat, char *buf)
{
	snprintf(buf, CGPATH_MAX, "%s", seat->place ? seat->place->path : "");
}

void forest_present(const struct seat *seat, struct psb_notification *ret)
{
	if (seat->place) {
		place_present(seat->place, ret);
		return;
	}
	*ret = (struct psb_notification){ .size = sizeof(*ret),
					  .kind = PSB_KIND_LEVEL,
					  .available = PSB_HIGH,
					  .reason = PSB_REASON_PRESENT,
					  .cgroup = "/",
					  .time_usec = now_usec() };
}

bool forest_in_shadow(const struct seat *seat)
{
	return !seat->place || seat->place->lens->settings.shadow;
}

const char *forest_failure(const struct seat *seat)
{
	const struct tree *tree = seat->place ? seat->place->lens->tree : NULL;

	return tree && tree->state == TREE_FAILED ? tree->why : NULL;
}

static bool is_empty(const struct tree *tree)
{
	for (const struct lens *l = tree->lenses; l; l = l->next)
		if (l->seats > 0)
			return false;
	return true;
}

/* What may not be done inside a notification, nor while a client changes its seat. */
static void chores(struct loop_timer *timer, uint64_t now)
{
	struct forest *f = CONTAINER_OF(timer, struct forest, chores);
	struct tree *t, *next_tree;

	(void)now;
	for (t = f->trees; t; t = next_tree) {
		struct lens *l, *next;

		next_tree = t->next;
		if (t->gone) {
			t->gone = false;
			forest_tree_disarm(t);
			forest_tree_start(t);
		}
		for (l = t->lenses; l; l = next) {
			next = l->next;
			if (l->own_terms && l->seats == 0)
				lens_free(l);
		}
		if (!t->configured && is_empty(t)) {
			unlink_tree(f, t);
			forest_tree_end(t);
			forest_news(f, NULL, NULL);
		}
	}
}

/* ---- configuration ------------------------------------------------------------------------------- */

/* Will clients in `path` be told of levels there? */
static bool stays_served(const struct forest *f, const char *path)
{
	const struct tree *tree = forest_find_tree(f, path);
	int r = cgroup_exists(f, path);

	if (r < 0)
		return false;
	return tree ? !tree->settings.shadow
		    : f->config->serve_others && !f->config->defaults.shadow;
}

/* Moves every seat of `place` to where it belongs now. */
static void move(struct forest *f, struct place *place)
{
	struct psb_notification last = { .size = sizeof(last),
					 .available = place->available,
					 .critical = place->critical,
					 .time_usec = place->told_usec };
	bool was_in_shadow = place->lens->settings.shadow;
	char path[CGPATH_MAX];

	snprintf(path, sizeof(path), "%s", place->path);
	while (place->seats) {
		struct seat *seat = place->seats;
		bool ends = !was_in_shadow && last.available == PSB_LOW;
		struct policy_options terms;
		const char *why = NULL;
		int r;

		if (ends && !stays_served(f, path)) {
			struct psb_notification end;

			forest_present(seat, &end);
			end.available = PSB_NEUTRAL;
			end.critical = 0;
			end.reason = PSB_REASON_CALM;
			end.time_usec = now_usec();
			seat->class->told(seat, &end);
		}
		place_unseat(seat);
		seat->class->terms(seat, &terms);
		r = forest_sit(f, seat, path, &terms, &last, &why);
		if (r == -EUSERS)
			r = forest_sit(f, seat, path, NULL, &last, &why);
		if (r < 0) {
			journal_log(f->options.journal, LOG_IS_ERROR, MESSAGE_CLIENT_REFUSED,
				    "%s: a client is not served any more: %s", path, why);
			continue;
		}
		if (was_in_shadow && !forest_in_shadow(seat) && last.available != PSB_HIGH) {
			struct psb_notification n;

			forest_present(seat, &n);
			seat->class->told(seat, &n);
		}
	}
	place_put(place);
}

bool forest_tree_judges(const struct tree *tree, const char *path)
{
	return most_specific(tree->forest, path, tree->settings.shadow) == tree;
}

static bool belongs(const struct forest *f, const struct place *place)
{
	return !place->lens->tree->ending && forest_find_tree(f, place->path) == place->lens->tree;
}

/* Moving changes the table, but no place in it other than the one that is left. `misplaced` has room
 * for all. */
static void move_all(struct forest *f, struct place **misplaced)
{
	size_t n = 0;

	for (unsigned i = 0; i < f->bucket_count; i++)
		for (struct place *p = f->buckets[i]; p; p = p->next)
			if (!belongs(f, p))
				misplaced[n++] = p;
	for (size_t i = 0; i < n; i++)
		move(f, misplaced[i]);
}

int forest_apply(struct forest *f, const struct config *config)
{
	struct tree *fresh = NULL, **last = &fresh, *old = NULL, *t, *next;
	struct place **places;
	int r;

	/* first all that can fail */
	places = calloc(f->place_count + 1, sizeof(struct place *));
	if (!places)
		return -ENOMEM;
	for (size_t i = 0; i < config->watch_count; i++) {
		const struct config_watch *w = &config->watches[i];

		r = forest_tree_new(f, w->path, true, &w->settings, &t);
		if (r < 0) {
			while (fresh) {
				next = fresh->next;
				forest_tree_end(fresh);
				fresh = next;
			}
			free(places);
			return r;
		}
		*last = t;
		last = &t->next;
	}
	f->config = config;

	/* put the list together: in the new order, those that did not change as they are */
	for (t = steal(f->trees); t; t = next) {
		next = t->next;
		t->next = old;
		old = t;
	}
	f->tree_count = f->other_count = 0;
	last = &f->trees;
	for (t = fresh; t; t = next) {
		struct tree *same = NULL, **p;

		next = t->next;
		for (p = &old; *p; p = &(*p)->next)
			if ((*p)->configured && strcmp((*p)->path, t->path) == 0 &&
			    (*p)->settings.shadow == t->settings.shadow) {
				same = *p;
				break;
			}
		if (same)
			t->id = same->id;
		else
			t->id = ++f->last_id;
		if (same && settings_equal(&same->settings, &t->settings)) {
			*p = same->next;
			forest_tree_end(t);
			t = same;
		}
		t->next = NULL;
		link_tree(f, t, last);
		last = &t->next;
	}
	/* those made for other clients stay behind them until they have no seats */
	for (struct tree **p = &old; *p;) {
		t = *p;
		if (t->configured || !config->serve_others ||
		    !settings_equal(&t->settings, &config->defaults)) {
			t->ending = true;
			p = &t->next;
			continue;
		}
		*p = t->next;
		t->next = NULL;
		link_tree(f, t, last);
		last = &t->next;
	}
	for (t = f->trees; t; t = t->next)
		if (t->state != TREE_WATCHING && !t->path_wait.waiting && !t->retry.queued)
			forest_tree_start(t);
	move_all(f, places);
	free(places);
	while (old) {
		next = old->next;
		forest_tree_end(old);
		old = next;
	}
	loop_timer_set(f->options.loop, &f->chores, now_usec());
	forest_news(f, NULL, NULL);
	return 0;
}

int forest_simulate(struct forest *f, const char *cgroup, enum psb_available available,
		    bool critical)
{
	char path[CGPATH_MAX];
	struct tree *tree;
	int r = cgpath_normalise(cgroup, f->options.cgroups->v2.point, path, NULL);

	if (r < 0)
		return r;
	r = cgroup_exists(f, path);
	if (r < 0)
		return r;
	tree = forest_find_tree(f, path);
	if (!tree || tree->state != TREE_WATCHING)
		return -ENODATA;
	for (struct lens *l = tree->lenses; l && r == 0; l = l->next)
		r = psb_watch_simulate_at(l->watch, path, available, critical, 0);
	return r;
}

/* ---- life ---------------------------------------------------------------------------------------- */

int forest_new(const struct forest_options *options, struct forest **ret)
{
	struct forest *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->options = *options;
	f->chores.expired = chores;
	*ret = f;
	return 0;
}

struct forest *forest_free(struct forest *f)
{
	if (!f)
		return NULL;
	loop_timer_stop(f->options.loop, &f->chores);
	while (f->trees) {
		struct tree *t = f->trees;

		unlink_tree(f, t);
		forest_tree_end(t);
	}
	free(f->buckets);
	free(f);
	return NULL;
}
