/* SPDX-License-Identifier: MIT */
/*
 * fake-forest.c - tables instead of watches
 */
#include "fake-forest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct fake_forest fake;

static struct {
	forest_news_fn *fn;
	void *userdata;
} observers[FOREST_OBSERVERS_MAX];

void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	memset(observers, 0, sizeof(observers));
}

struct tree_view *fake_plant(unsigned id, const char *path)
{
	struct tree_view *view = &fake.trees[fake.tree_count++];

	*view = (struct tree_view){
		.id = id,
		.path = path,
		.configured = true,
		.state = TREE_WATCHING,
		.why = "",
		.settings = {
			.early = { PSI_SOME, 20000, 2000000 },
			.low = { PSI_SOME, 200000, 2000000 },
			.critical = { PSI_FULL, 100000, 2000000 },
			.rearm_usec = 8192000,
			.calm_usec = 10000000,
			.headroom_percent = 25,
		},
		.available = PSB_HIGH,
		.source = {
			.size = sizeof(view->source),
			.rung = 2,
			.name = "psi-privileged",
			.cgroup = "/",
			.trigger = "some 20000 2000000",
			.path = "/sys/fs/cgroup/memory.pressure",
		},
		.stats.size = sizeof(view->stats),
	};
	return view;
}

struct tree_view *fake_tree(unsigned id)
{
	for (size_t i = 0; i < fake.tree_count; i++)
		if (fake.trees[i].id == id)
			return &fake.trees[i];
	return NULL;
}

void fake_fell(unsigned id)
{
	struct tree_view *view = fake_tree(id);
	size_t behind = view ? (size_t)(fake.trees + fake.tree_count - view) - 1 : 0;

	if (!view)
		return;
	memmove(view, view + 1, behind * sizeof(*view));
	fake.tree_count--;
}

static void news(unsigned id, const struct psb_notification *n)
{
	for (size_t i = 0; i < ELEMENTSOF(observers); i++)
		if (observers[i].fn)
			observers[i].fn(id, n, observers[i].userdata);
}

void fake_tell_trees(void)
{
	news(0, NULL);
}

void fake_tell(unsigned id, const char *cgroup, enum psb_available available, bool critical,
	       enum psb_reason reason, uint64_t stall_usec)
{
	struct psb_notification n = {
		.size = sizeof(n),
		.kind = PSB_KIND_LEVEL,
		.available = available,
		.critical = critical,
		.reason = reason,
		.cgroup = cgroup,
		.stall_usec = stall_usec,
	};
	struct tree_view *view = fake_tree(id);

	if (view) {
		view->available = available;
		view->critical = critical;
	}
	news(id, &n);
}

const char *fake_line(const char *text)
{
	for (unsigned i = 0; i < fake.line_count; i++)
		if (strstr(fake.lines[i], text))
			return fake.lines[i];
	return NULL;
}

/* ---- forest.h -------------------------------------------------------------------------------- */

bool forest_tree(struct forest *forest, size_t index, struct tree_view *ret)
{
	(void)forest;
	if (index >= fake.tree_count)
		return false;
	*ret = fake.trees[index];
	return true;
}

void forest_each_cgroup(struct forest *forest,
			void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata)
{
	(void)forest;
	for (size_t i = 0; i < fake.cgroup_count; i++) {
		fake.views[i].present = &fake.cgroups[i];
		fn(&fake.views[i], userdata);
	}
}

int forest_observe(struct forest *forest, forest_news_fn *fn, void *userdata)
{
	(void)forest;
	for (size_t i = 0; i < ELEMENTSOF(observers); i++) {
		if (observers[i].fn)
			continue;
		observers[i].fn = fn;
		observers[i].userdata = userdata;
		return 0;
	}
	return -ENOSPC;
}

void forest_unobserve(struct forest *forest, forest_news_fn *fn, void *userdata)
{
	(void)forest;
	for (size_t i = 0; i < ELEMENTSOF(observers); i++)
		if (observers[i].fn == fn && observers[i].userdata == userdata)
			observers[i].fn = NULL;
}

int forest_simulate(struct forest *forest, const char *cgroup, enum psb_available available,
		    bool critical)
{
	(void)forest;
	fake.simulated++;
	snprintf(fake.simulated_cgroup, sizeof(fake.simulated_cgroup), "%s", cgroup);
	fake.simulated_available = available;
	fake.simulated_critical = critical;
	return fake.simulate_result;
}

/* ---- daemon.h, journal.h, config.h ----------------------------------------------------------- */

int daemon_reload(struct daemon *daemon)
{
	fake.reloaded++;
	snprintf(daemon->config_error, sizeof(daemon->config_error), "%s", fake.reload_error);
	if (fake.on_reload)
		fake.on_reload(daemon);
	return fake.reload_result;
}

void daemon_status_changed(struct daemon *daemon)
{
	(void)daemon;
}

void server_view(const struct server *server, struct server_view *ret)
{
	(void)server;
	*ret = fake.server;
}

void journal_log(struct journal *journal, int priority, enum message message, const char *format,
		 ...)
{
	va_list args;

	(void)journal;
	(void)message;
	if (fake.line_count == FAKE_LINES_MAX)
		return;
	fake.priorities[fake.line_count] = priority;
	va_start(args, format);
	vsnprintf(fake.lines[fake.line_count++], sizeof(fake.lines[0]), format, args);
	va_end(args);
}

static bool triggers_equal(const struct trigger *a, const struct trigger *b)
{
	return a->kind == b->kind && a->threshold_usec == b->threshold_usec &&
	       a->window_usec == b->window_usec;
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	return triggers_equal(&a->early, &b->early) && triggers_equal(&a->low, &b->low) &&
	       triggers_equal(&a->critical, &b->critical) && a->rearm_usec == b->rearm_usec &&
	       a->quiet_usec == b->quiet_usec && a->calm_usec == b->calm_usec &&
	       a->headroom_percent == b->headroom_percent && a->shadow == b->shadow;
}
