/* SPDX-License-Identifier: MIT */
/*
 * bus-news.c - what changed since it was last said
 *
 * bus_news() is called by the forest while levels are told: it only notes, into memory that is
 * there already. bus_news_emit() runs from a timer, compares what is with what was last said, and
 * sends the difference. So whatever happens in between, the last word is the present state, and a
 * change that was undone again is not mentioned.
 *
 * Levels of single cgroups are kept by their path, the newest of each; the stalls add up. What
 * does not fit is counted, and LevelsMissed says so.
 *
 * While there is no bus nothing is noted: who connects then can look.
 */
#include "daemon/bus-internal.h"
#include "daemon/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- noting ---------------------------------------------------------------------------------- */

static struct bus_tree *tree_by_id(struct bus *bus, unsigned id)
{
	size_t low = 0, high = bus->tree_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (bus->trees[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < bus->tree_count && bus->trees[low].id == id ? &bus->trees[low] : NULL;
}

static void note_level(struct bus *bus, const struct psb_notification *n)
{
	size_t size = strlen(n->cgroup) + 1;
	uint32_t hash = 2166136261u; /* FNV-1a */
	struct bus_level *level;

	for (const char *p = n->cgroup; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	for (unsigned i = 0; i < bus->level_count; i++) {
		level = &bus->levels[i];
		if (level->hash != hash || strcmp(bus->level_text + level->text, n->cgroup) != 0)
			continue;
		level->available = n->available;
		level->critical = n->critical;
		level->reason = n->reason;
		level->stall_usec = usec_add(level->stall_usec, n->stall_usec);
		return;
	}
	if (bus->level_count == BUS_LEVELS_MAX || size > BUS_LEVELS_TEXT - bus->level_text_used) {
		bus->levels_missed++;
		return;
	}
	level = &bus->levels[bus->level_count++];
	*level = (struct bus_level){
		.hash = hash,
		.text = bus->level_text_used,
		.available = n->available,
		.critical = n->critical,
		.reason = n->reason,
		.stall_usec = n->stall_usec,
	};
	memcpy(bus->level_text + bus->level_text_used, n->cgroup, size);
	bus->level_text_used += (unsigned)size;
}

void bus_news(unsigned id, const struct psb_notification *n, void *userdata)
{
	struct bus *bus = userdata;
	struct bus_tree *tree;

	if (bus->freed || bus->state != BUS_READY || !bus->with_manager)
		return;
	if (n) {
		note_level(bus, n);
		tree = tree_by_id(bus, id);
		if (tree)
			tree->dirty = bus->any_dirty = true;
	} else {
		bus->trees_changed = true;
	}
	bus_soon(bus);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * UINT64_C(1099511628211); /* FNV-1a */
	return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
	return mix(hash, text ? text : "", strlen(text ? text : "") + 1);
}

#define MIX(hash, member) mix(hash, &(member), sizeof(member))

static uint64_t mix_trigger(uint64_t hash, const struct trigger *t)
{
	return MIX(MIX(MIX(hash, t->kind), t->threshold_usec), t->window_usec);
}

static uint64_t settings_hash(const struct tree_view *view)
{
	const struct settings *s = &view->settings;
	uint64_t hash = UINT64_C(14695981039346656037);

	hash = mix_trigger(mix_trigger(mix_trigger(hash, &s->early), &s->low), &s->critical);
	hash = MIX(MIX(MIX(hash, s->rearm_usec), s->quiet_usec), s->calm_usec);
	return MIX(MIX(MIX(hash, s->headroom_percent), s->shadow), view->configured);
}

static uint64_t source_hash(const struct tree_view *view)
{
	const struct psb_source *s = &view->source;
	uint64_t hash = UINT64_C(14695981039346656037);

	hash = mix_text(mix_text(MIX(hash, view->state), view->why), s->name);
	return mix_text(mix_text(mix_text(MIX(hash, s->rung), s->trigger), s->why), s->path);
}

static void read_tree(const struct bus *bus, size_t index, struct bus_tree *ret)
{
	const struct tree_view *view = &bus->view;

	*ret = (struct bus_tree){
		.id = view->id,
		.index = index,
		.available = view->available,
		.critical = view->critical,
		.settings_hash = settings_hash(view),
		.source_hash = source_hash(view),
	};
}

static int by_id(const void *a, const void *b)
{
	unsigned x = ((const struct bus_tree *)a)->id, y = ((const struct bus_tree *)b)->id;

	return (x > y) - (x < y);
}

/* All trees that are there now, by id. Errors: -ENOMEM. */
static int read_trees(struct bus *bus, struct bus_tree **ret, size_t *ret_count)
{
	struct bus_tree *trees = NULL;
	size_t count = 0, room = 0;

	/* an index behind the last finds none, whatever the hint */
	for (struct tree_view *view = &bus->view; forest_tree(bus->daemon->forest, count, view);
	     count++) {
		if (count == room) {
			struct bus_tree *more;

			room = MAX(16, room * 2);
			more = reallocarray(trees, room, sizeof(*trees));
			if (!more) {
				free(trees);
				return -ENOMEM;
			}
			trees = more;
		}
		if (!bus_tree_view(bus, view->id, &(size_t){ count }))
			break;
		read_tree(bus, count, &trees[count]);
	}
	if (count > 0)
		qsort(trees, count, sizeof(*trees), by_id);
	*ret = trees;
	*ret_count = count;
	return 0;
}

/* ---- saying ---------------------------------------------------------------------------------- */

static void say_watch(struct bus *bus, const char *signal, unsigned id)
{
	char path[BUS_WATCH_PATH_MAX];

	bus_watch_path(id, path);
	(void)sd_bus_emit_signal(bus->sd, BUS_PATH, BUS_MANAGER, signal, "uo", id, path);
}

/* What differs between what was said and what is. */
static void say_changes(struct bus *bus, const struct bus_tree *was, const struct bus_tree *is)
{
	static const char *const of_source[] = { "State",     "Why",  "Source", "SourcePath",
						 "SourceWhy", "Rung", "Trigger" };
	static const char *const of_settings[] = {
		"Configured", "Shadow",	   "EarlyTrigger", "LowTrigger",  "CriticalTrigger",
		"RearmUSec",  "QuietUSec", "CalmUSec",	   "HighHeadroom"
	};
	char path[BUS_WATCH_PATH_MAX];
	char *names[2 + ELEMENTSOF(of_source) + ELEMENTSOF(of_settings) + 1];
	size_t n = 0;

	/* sd-bus wants char **, and changes nothing */
	if (was->available != is->available)
		names[n++] = (char *)(uintptr_t) "Available";
	if (was->critical != is->critical)
		names[n++] = (char *)(uintptr_t) "Critical";
	for (size_t i = 0; was->source_hash != is->source_hash && i < ELEMENTSOF(of_source); i++)
		names[n++] = (char *)(uintptr_t)of_source[i];
	for (size_t i = 0; was->settings_hash != is->settings_hash && i < ELEMENTSOF(of_settings);
	     i++)
		names[n++] = (char *)(uintptr_t)of_settings[i];
	if (n == 0)
		return;
	names[n] = NULL;
	bus_watch_path(is->id, path);
	(void)sd_bus_emit_properties_changed_strv(bus->sd, path, BUS_WATCH, names);
}

/* Trees came, went or changed their state. */
static void say_trees(struct bus *bus)
{
	struct bus_tree *now, *was = bus->trees;
	size_t count, i = 0, k = 0;

	if (read_trees(bus, &now, &count) < 0)
		return; /* with the next news, then */
	while (i < bus->tree_count || k < count) {
		if (k == count || (i < bus->tree_count && was[i].id < now[k].id))
			say_watch(bus, "WatchRemoved", was[i++].id);
		else if (i == bus->tree_count || was[i].id > now[k].id)
			say_watch(bus, "WatchAdded", now[k++].id);
		else
			say_changes(bus, &was[i++], &now[k++]);
	}
	free(was);
	bus->trees = now;
	bus->tree_count = count;
	bus->trees_changed = bus->any_dirty = false;
}

static void say_dirty(struct bus *bus)
{
	bus->any_dirty = false;
	for (size_t i = 0; i < bus->tree_count; i++) {
		struct bus_tree *tree = &bus->trees[i], now;

		if (!tree->dirty)
			continue;
		if (!bus_takes(bus)) {
			bus->any_dirty = true;
			return;
		}
		tree->dirty = false;
		if (!bus_tree_view(bus, tree->id, &tree->index))
			continue; /* gone, and that will be told */
		read_tree(bus, tree->index, &now);
		say_changes(bus, tree, &now);
		*tree = now;
	}
}

static void say_levels(struct bus *bus)
{
	for (unsigned i = 0; i < bus->level_count; i++) {
		const struct bus_level *level = &bus->levels[i];

		(void)sd_bus_emit_signal(bus->sd, BUS_PATH, BUS_MANAGER, "LevelChanged", "ssbst",
					 bus->level_text + level->text,
					 name_of_available(level->available), (int)level->critical,
					 name_of_reason(level->reason), level->stall_usec);
	}
	if (bus->levels_missed > 0)
		(void)sd_bus_emit_signal(bus->sd, BUS_PATH, BUS_MANAGER, "LevelsMissed", "u",
					 bus->levels_missed);
	bus->level_count = bus->level_text_used = bus->levels_missed = 0;
}

void bus_news_emit(struct bus *bus)
{
	if (!bus->with_manager)
		bus->config_changed = false;
	if (!bus->with_manager || !bus_takes(bus))
		return;
	if (bus->config_changed)
		(void)sd_bus_emit_properties_changed(bus->sd, BUS_PATH, BUS_MANAGER,
						     "Configuration", "ConfigurationError", NULL);
	bus->config_changed = false;
	if (bus->trees_changed)
		say_trees(bus);
	if (bus->any_dirty)
		say_dirty(bus);
	if (bus_takes(bus))
		say_levels(bus);
}

void bus_news_reset(struct bus *bus)
{
	struct bus_tree *now;
	size_t count;

	bus->level_count = bus->level_text_used = bus->levels_missed = 0;
	bus->trees_changed = bus->any_dirty = bus->config_changed = false;
	if (read_trees(bus, &now, &count) < 0)
		return;
	free(bus->trees);
	bus->trees = now;
	bus->tree_count = count;
}
