/* SPDX-License-Identifier: MIT */
/*
 * forest-tree.c - one tree: its watches, whether they could be armed, and when to try again
 *
 *               +-> WATCHING --(its one cgroup is removed)--+
 *     new ------|                                           |
 *       ^       +-> ABSENT (fixed part is not there) <------+
 *       |       |      | path_wait: it appears
 *       +-------|------+
 *       ^       +-> FAILED (cannot be armed)
 *       |              | a minute later
 *       +--------------+
 *
 * A pattern whose fixed part is removed waits for the next one inside the library. One cgroup does
 * not: its watch ends, and the tree is ABSENT until the cgroup is there again. Only FAILED has a
 * timer.
 *
 * The state is that of the tree's own lens. A lens with a client's terms that cannot be armed is
 * logged, and its clients are told nothing until the tree starts anew.
 */
#include "daemon/forest-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- lenses ------------------------------------------------------------------------------------- */

/* The tree's settings, with what the client brought. */
static struct settings apply_terms(const struct settings *base, const struct policy_options *t)
{
	struct settings s = *base;

	if (!t)
		return s;
	settings_over(&s.policy, t);
	/* what is Low must be noticed on the way there */
	if (setting_is_set(t, SETTING_LOW) && !setting_is_set(t, SETTING_EARLY) &&
	    !trigger_is_same(&t->low, &base->policy.low))
		s.policy.early = trigger_early_of(&s.policy.low, &s.policy.critical);
	return s;
}

/* Errors: as psb_watch_new(), with words in why. */
static int arm(struct lens *lens, char *why, size_t why_size)
{
	const struct tree *t = lens->tree;
	struct settings_text text;
	struct psb_watch_options o = {
		.size = sizeof(o),
		.cgroup = t->pattern ? NULL : t->path,
		.pattern = t->pattern ? t->path : NULL,
		/* the machine's pressure says nothing of one cgroup */
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) | PSB_RUNG_MASK(PSB_RUNG_TRIGGER) |
			 PSB_RUNG_MASK(PSB_RUNG_EVENTS) | PSB_RUNG_MASK(PSB_RUNG_SAMPLING),
		.error_text = why,
		.error_text_size = why_size,
	};
	int r;

	settings_write(&lens->settings.policy, &text, &o);
	r = psb_watch_new(t->forest->options.bridge, &o, &lens->watch);
	if (r < 0)
		return r;
	r = psb_watch_add_callback(lens->watch, lens_told, lens, PSB_INLINE | PSB_TELL_SOURCE,
				   NULL);
	if (r < 0) {
		snprintf(why, why_size, "%s", strerror(-r));
		lens->watch = psb_watch_unref(lens->watch);
	}
	return r;
}

static int lens_new(struct tree *tree, const struct settings *settings, bool own_terms,
		    struct lens **ret)
{
	struct lens *lens = calloc(1, sizeof(*lens)), **last = &tree->lenses;

	if (!lens)
		return -ENOMEM;
	lens->tree = tree;
	lens->settings = *settings;
	lens->own_terms = own_terms;
	while (*last)
		last = &(*last)->next;
	*last = lens;
	*ret = lens;
	return 0;
}

void lens_free(struct lens *lens)
{
	struct lens **p = &lens->tree->lenses;

	for (; *p != lens; p = &(*p)->next)
		;
	*p = lens->next;
	psb_watch_unref(lens->watch);
	free(lens);
}

int lens_get(struct tree *tree, const struct policy_options *terms, struct lens **ret)
{
	struct settings s = apply_terms(&tree->settings, terms);
	struct lens *lens;
	unsigned count = 0;
	int r;

	for (lens = tree->lenses; lens; lens = lens->next, count++) {
		if (settings_equal(&lens->settings, &s)) {
			*ret = lens;
			return 0;
		}
	}
	if (count >= LENSES_MAX)
		return -EUSERS;
	r = lens_new(tree, &s, true, &lens);
	if (r < 0)
		return r;
	if (tree->state == TREE_WATCHING) {
		r = arm(lens, tree->forest->why, sizeof(tree->forest->why));
		if (r < 0) {
			lens_free(lens);
			return r;
		}
	}
	*ret = lens;
	return 0;
}

/* ---- trees -------------------------------------------------------------------------------------- */

const char *forest_tree_fixed(const struct tree *tree)
{
	return tree->pattern ? cgpattern_fixed(tree->pattern) : tree->path;
}

void forest_tree_disarm(struct tree *tree)
{
	for (struct lens *l = tree->lenses; l; l = l->next)
		l->watch = psb_watch_unref(l->watch);
}

static int path_appeared(struct path_wait *wait)
{
	forest_tree_start(CONTAINER_OF(wait, struct tree, path_wait));
	return 0;
}

static void retry(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	forest_tree_start(CONTAINER_OF(timer, struct tree, retry));
}

static void enter(struct tree *tree, enum tree_state state, enum message message, int priority)
{
	bool changed = tree->state != state;

	tree->state = state;
	if (changed || state == TREE_FAILED)
		journal_log(tree->forest->options.journal, priority, message, "%s: %s", tree->path,
			    tree->why[0] ? tree->why : "watching");
	forest_news(tree->forest, tree, NULL);
}

static void retry_later(struct tree *tree)
{
	loop_timer_set(tree->forest->options.loop, &tree->retry, now_usec() + tree->retry_usec);
	tree->retry_usec = MIN(2 * tree->retry_usec, RETRY_MAX_USEC);
}

/* With cgroup.pressure 0 and no memory.events it is there, and cannot be watched. */
static bool is_there(const struct tree *tree)
{
	int fd = cgroup_open(tree->forest->options.cgroups, forest_tree_fixed(tree));

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

void forest_tree_start(struct tree *tree)
{
	struct forest *f = tree->forest;
	int r;

	tree->why[0] = '\0';
	r = arm(tree->lenses, tree->why, sizeof(tree->why));
	for (struct lens *l = tree->lenses->next; l && r == 0; l = l->next)
		if (arm(l, f->why, sizeof(f->why)) < 0)
			journal_log(f->options.journal, LOG_IS_ERROR, MESSAGE_WATCH_FAILED,
				    "%s: the thresholds of %u client%s: %s", tree->path, l->seats,
				    l->seats == 1 ? "" : "s", f->why);
	if (r == 0) {
		tree->retry_usec = RETRY_MIN_USEC;
		enter(tree, TREE_WATCHING, MESSAGE_WATCH_STARTED, LOG_IS_INFO);
		for (unsigned i = 0; i < f->bucket_count; i++)
			for (struct place *p = f->buckets[i], *next; p; p = next) {
				next = p->next; /* a client that is told may leave, and free it */
				if (p->lens->tree == tree)
					place_resume(p);
			}
		return;
	}
	forest_tree_disarm(tree);
	if ((r == -ENOENT || r == -ENODEV) && !is_there(tree)) {
		snprintf(tree->why, sizeof(tree->why), "%.200s does not exist yet; waiting for it",
			 forest_tree_fixed(tree));
		enter(tree, TREE_ABSENT, MESSAGE_WATCH_ABSENT, LOG_IS_INFO);
		path_wait_start(&tree->path_wait, forest_tree_fixed(tree), path_appeared);
	} else {
		enter(tree, TREE_FAILED, MESSAGE_WATCH_FAILED, LOG_IS_ERROR);
		retry_later(tree);
	}
}

int forest_tree_new(struct forest *f, const char *path, bool configured,
		    const struct settings *settings, struct tree **ret)
{
	size_t size = strlen(path) + 1;
	struct tree *t = calloc(1, sizeof(*t) + size);
	struct lens *lens;
	int r = 0;

	if (!t)
		return -ENOMEM;
	memcpy(t->path, path, size);
	t->forest = f;
	t->configured = configured;
	t->settings = *settings;
	t->state = TREE_FAILED; /* nothing was tried yet */
	t->retry.expired = retry;
	t->retry_usec = RETRY_MIN_USEC;
	path_wait_init(&t->path_wait, f->options.loop, f->options.cgroups);
	if (strchr(path, '*'))
		r = cgpattern_new(path, NULL, &t->pattern, NULL);
	if (r == 0)
		r = lens_new(t, settings, false, &lens);
	if (r < 0) {
		cgpattern_free(t->pattern);
		free(t);
		return r;
	}
	*ret = t;
	return 0;
}

static void released(struct path_wait *wait)
{
	struct tree *tree = CONTAINER_OF(wait, struct tree, path_wait);

	cgpattern_free(tree->pattern);
	free(tree);
}

void forest_tree_end(struct tree *tree)
{
	tree->ending = true;
	while (tree->lenses)
		lens_free(tree->lenses);
	loop_timer_stop(tree->forest->options.loop, &tree->retry);
	path_wait_cancel(&tree->path_wait, released);
}

void forest_tree_lost(struct tree *tree)
{
	tree->gone = true;
	loop_timer_set(tree->forest->options.loop, &tree->forest->chores, now_usec());
}
