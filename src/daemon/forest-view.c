/* SPDX-License-Identifier: MIT */
/*
 * forest-view.c - trees, cgroups and counts, for status
 *
 * Nothing here changes anything. What is said of a tree is what its own lens sees: lenses with
 * clients' terms are only counted.
 */
#include "daemon/forest-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned count_seats(const struct tree *tree)
{
	unsigned seats = 0;

	for (const struct lens *l = tree->lenses; l; l = l->next)
		seats += l->seats;
	return seats;
}

struct lowest {
	const struct tree *tree;
	struct tree_view *view;
};

static void take_lower(const struct psb_notification *n, void *userdata)
{
	const struct lowest *l = userdata;

	if (!forest_tree_judges(l->tree, n->cgroup) || n->available > l->view->available)
		return;
	l->view->critical = n->critical ||
			    (n->available == l->view->available && l->view->critical);
	l->view->available = n->available;
}

bool forest_tree(struct forest *f, size_t index, struct tree_view *ret)
{
	const struct tree *t = f->trees;

	while (t && index-- > 0)
		t = t->next;
	if (!t)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->id = t->id;
	ret->path = t->path;
	ret->configured = t->configured;
	ret->state = t->state;
	ret->why = t->why;
	ret->settings = t->settings;
	ret->available = PSB_HIGH;
	ret->clients = count_seats(t);
	for (const struct lens *l = t->lenses; l; l = l->next)
		ret->lenses++;
	ret->source.size = sizeof(ret->source);
	ret->stats.size = sizeof(ret->stats);
	if (t->state == TREE_WATCHING) {
		psb_watch_list(t->lenses->watch, take_lower,
			       &(struct lowest){ .tree = t, .view = ret });
		psb_watch_source(t->lenses->watch, &ret->source);
		psb_watch_stats(t->lenses->watch, &ret->stats);
		ret->stats.low = t->tally.low;
		ret->stats.critical = t->tally.critical;
		ret->stats.neutral = t->tally.neutral;
		ret->stats.high = t->tally.high;
	}
	return true;
}

struct each {
	const struct forest *forest;
	const struct tree *tree;
	void (*fn)(const struct cgroup_view *view, void *userdata);
	void *userdata;
};

static unsigned clients_in(const struct forest *f, const struct tree *t, const char *path)
{
	unsigned n = 0;

	for (const struct place *p = places_like(f, path); p; p = p->next)
		if (p->lens->tree == t && strcmp(p->path, path) == 0)
			for (const struct seat *s = p->seats; s; s = s->next)
				n++;
	return n;
}

static bool is_candidate(const struct tree *t, const char *path)
{
	return t->settings.shadow && forest_find_tree(t->forest, path) != t;
}

static void show_observed(const struct psb_notification *n, void *userdata)
{
	const struct each *e = userdata;
	struct cgroup_view view = {
		.present = n,
		.tree = e->tree->id,
		.candidate = is_candidate(e->tree, n->cgroup),
		.clients = clients_in(e->forest, e->tree, n->cgroup),
	};

	if (forest_tree_judges(e->tree, n->cgroup))
		e->fn(&view, e->userdata);
}

struct sought {
	const char *path;
	bool found;
};

static void seek(const struct psb_notification *n, void *userdata)
{
	struct sought *s = userdata;

	s->found = s->found || strcmp(n->cgroup, s->path) == 0;
}

/* Is it among those that show_observed() shows, or was it shown through an earlier lens? */
static bool is_shown(const struct forest *f, const struct place *p)
{
	const struct tree *t = p->lens->tree;
	struct sought s = { .path = p->path };

	if (t->state == TREE_WATCHING)
		psb_watch_list(t->lenses->watch, seek, &s);
	if (s.found)
		return true;
	for (const struct place *q = places_like(f, p->path); q != p; q = q->next)
		if (q->lens->tree == t && strcmp(q->path, p->path) == 0)
			return true;
	return false;
}

void forest_each_cgroup(struct forest *f,
			void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata)
{
	struct each e = { .forest = f, .fn = fn, .userdata = userdata };

	for (const struct tree *t = f->trees; t; t = t->next) {
		e.tree = t;
		if (t->state == TREE_WATCHING)
			psb_watch_list(t->lenses->watch, show_observed, &e);
	}
	for (unsigned i = 0; i < f->bucket_count; i++) {
		for (const struct place *p = f->buckets[i]; p; p = p->next) {
			struct psb_notification n;
			struct cgroup_view view = { .present = &n,
						    .tree = p->lens->tree->id,
						    .candidate = is_candidate(p->lens->tree,
									      p->path) };

			if (is_shown(f, p))
				continue;
			place_present(p, &n);
			view.clients = clients_in(f, p->lens->tree, p->path);
			fn(&view, userdata);
		}
	}
}

void forest_news(struct forest *f, const struct tree *tree, const struct psb_notification *n)
{
	if (f->options.news)
		f->options.news(tree ? tree->id : 0, n, f->options.news_userdata);
}
