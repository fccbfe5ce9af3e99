/* SPDX-License-Identifier: MIT */
/*
 * bus-objects.c - org.psibridge1.Manager and org.psibridge1.Watch: what is asked, and who may ask
 *
 * Nothing is kept for answers: a property is read when it is asked for. The objects of watches are
 * a fallback vtable: sd-bus asks find_watch() whether /org/psibridge1/watch/ID exists, and hands
 * what it found (bus->view) to the properties. sd-bus finishes one object before it finds another,
 * so one view is enough.
 *
 * Everybody may read. Reload and Simulate are for root, which the policy file of the bus says, and
 * which is checked here too: a bus may be configured otherwise. Who the sender is, only the bus
 * knows; sd-bus would wait for its answer, so we ask ourselves (GetConnectionUnixUser) and go on
 * when it comes. A unique name is never given to a second connection, so the answer is about
 * whoever sent the call, even when he has gone meanwhile; then the bus knows no user, and nothing
 * is done. At most BUS_ERRANDS_MAX calls wait for such an answer.
 */
#include "daemon/bus-internal.h"
#include "daemon/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_CONFIGURATION BUS_NAME ".Error.BadConfiguration"
#define ERROR_NO_CGROUP BUS_NAME ".Error.NoSuchCgroup"

/* ---- trees and their objects ----------------------------------------------------------------- */

void bus_watch_path(unsigned id, char ret[static BUS_WATCH_PATH_MAX])
{
	snprintf(ret, BUS_WATCH_PATH_MAX, BUS_WATCHES "/%u", id);
}

static bool watch_of_path(const char *path, unsigned *ret)
{
	const char *p = path + strlen(BUS_WATCHES "/");
	uint64_t id = 0;

	if (strncmp(path, BUS_WATCHES "/", strlen(BUS_WATCHES "/")) != 0 || !*p)
		return false;
	if (p[0] == '0' && p[1])
		return false; /* one path for each id */
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		id = id * 10 + (unsigned)(*p - '0');
		if (id > UINT32_MAX)
			return false;
	}
	*ret = (unsigned)id;
	return true;
}

static bool view_at(struct bus *bus, size_t index)
{
	struct tree_view *view = &bus->view;

	memset(view, 0, sizeof(*view));
	if (!forest_tree(bus->daemon->forest, index, view))
		return false;
	if (view->state != TREE_WATCHING) {
		memset(&view->source, 0, sizeof(view->source));
		memset(&view->stats, 0, sizeof(view->stats));
	}
	if (!view->source.name)
		view->source.name = "";
	return true;
}

bool bus_tree_view(struct bus *bus, unsigned id, size_t *index)
{
	if (index && view_at(bus, *index) && bus->view.id == id)
		return true;
	for (size_t i = 0; view_at(bus, i); i++) {
		if (bus->view.id != id)
			continue;
		if (index)
			*index = i;
		return true;
	}
	return false;
}

static int find_watch(sd_bus *sd, const char *path, const char *interface, void *userdata,
		      void **ret_found, sd_bus_error *ret_error)
{
	struct bus *bus = userdata;
	unsigned id;

	(void)sd;
	(void)interface;
	(void)ret_error;
	if (!watch_of_path(path, &id) || !bus_tree_view(bus, id, NULL))
		return 0;
	*ret_found = &bus->view;
	return 1;
}

static int list_nodes(sd_bus *sd, const char *prefix, void *userdata, char ***ret_nodes,
		      sd_bus_error *ret_error)
{
	struct bus *bus = userdata;
	size_t n = 0;
	char **nodes;

	(void)sd;
	(void)prefix;
	(void)ret_error;
	while (view_at(bus, n))
		n++;
	nodes = calloc(n + 1, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	for (size_t i = 0; i < n && view_at(bus, i); i++) {
		char path[BUS_WATCH_PATH_MAX];

		bus_watch_path(bus->view.id, path);
		nodes[i] = strdup(path);
		if (!nodes[i]) {
			while (i > 0)
				free(nodes[--i]);
			free(nodes);
			return -ENOMEM;
		}
	}
	*ret_nodes = nodes;
	return 0;
}

/* ---- properties of a watch ------------------------------------------------------------------- */

static int get_word(sd_bus *sd, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	const struct tree_view *view = userdata;
	const char *word;

	(void)sd;
	(void)path;
	(void)interface;
	(void)ret_error;
	if (strcmp(property, "State") == 0)
		word = name_of_state(view->state);
	else if (strcmp(property, "Why") == 0)
		word = view->why;
	else if (strcmp(property, "Available") == 0)
		word = name_of_available(view->available);
	else if (strcmp(property, "SourceWhy") == 0)
		word = view->source.why;
	else if (strcmp(property, "SourcePath") == 0)
		word = view->source.path;
	else
		word = view->source.trigger;
	return sd_bus_message_append(reply, "s", word ? word : "");
}

static int get_bool(sd_bus *sd, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	const bool *value = userdata;

	(void)sd;
	(void)path;
	(void)interface;
	(void)property;
	(void)ret_error;
	return sd_bus_message_append(reply, "b", (int)*value);
}

static int get_trigger(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	const struct trigger *trigger = userdata;
	char text[TRIGGER_TEXT_MAX];

	(void)sd;
	(void)path;
	(void)interface;
	(void)property;
	(void)ret_error;
	trigger_format(trigger, text);
	return sd_bus_message_append(reply, "s", text);
}

#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define AT(member) offsetof(struct tree_view, member)
#define COUNTER(name, member) SD_BUS_PROPERTY(name, "t", NULL, AT(stats.member), 0)

static const sd_bus_vtable watch_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Path", "s", NULL, AT(path), SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Configured", "b", get_bool, AT(configured), CHANGES),
	SD_BUS_PROPERTY("State", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("Why", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("Available", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("Critical", "b", get_bool, AT(critical), CHANGES),
	SD_BUS_PROPERTY("Shadow", "b", get_bool, AT(settings.shadow), CHANGES),
	SD_BUS_PROPERTY("Clients", "u", NULL, AT(clients), 0),
	SD_BUS_PROPERTY("Source", "s", NULL, AT(source.name), CHANGES),
	SD_BUS_PROPERTY("SourcePath", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("SourceWhy", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("Rung", "u", NULL, AT(source.rung), CHANGES),
	SD_BUS_PROPERTY("Trigger", "s", get_word, 0, CHANGES),
	SD_BUS_PROPERTY("EarlyTrigger", "s", get_trigger, AT(settings.early), CHANGES),
	SD_BUS_PROPERTY("LowTrigger", "s", get_trigger, AT(settings.low), CHANGES),
	SD_BUS_PROPERTY("CriticalTrigger", "s", get_trigger, AT(settings.critical), CHANGES),
	SD_BUS_PROPERTY("RearmUSec", "t", NULL, AT(settings.rearm_usec), CHANGES),
	SD_BUS_PROPERTY("QuietUSec", "t", NULL, AT(settings.quiet_usec), CHANGES),
	SD_BUS_PROPERTY("CalmUSec", "t", NULL, AT(settings.calm_usec), CHANGES),
	SD_BUS_PROPERTY("HighHeadroom", "u", NULL, AT(settings.headroom_percent), CHANGES),
	COUNTER("Alarms", alarms),
	COUNTER("FalseAlarms", false_alarms),
	COUNTER("LostAlarms", lost_alarms),
	COUNTER("Samples", samples),
	COUNTER("Sweeps", sweeps),
	COUNTER("LowCount", low),
	COUNTER("CriticalCount", critical),
	COUNTER("NeutralCount", neutral),
	COUNTER("HighCount", high),
	COUNTER("BytesBack", bytes_back),
	COUNTER("Members", members),
	SD_BUS_VTABLE_END,
};

/* ---- properties and lists of the manager ----------------------------------------------------- */

static int get_manager(sd_bus *sd, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
	struct daemon *daemon = ((struct bus *)userdata)->daemon;

	(void)sd;
	(void)path;
	(void)interface;
	(void)ret_error;
	if (strcmp(property, "Version") == 0)
		return sd_bus_message_append(reply, "s", psb_version());
	if (strcmp(property, "ConfigurationError") == 0)
		return sd_bus_message_append(reply, "s", daemon->config_error);
	if (strcmp(property, "Configuration") == 0)
		return sd_bus_message_append_strv(reply, daemon->config->files);
	if (strcmp(property, "Clients") == 0) {
		struct server_view view = { 0 };

		if (daemon->server)
			server_view(daemon->server, &view);
		return sd_bus_message_append(reply, "u", view.clients);
	}
	return sd_bus_message_append(reply, "s",
				     psb_bridge_backend(daemon->bridge, NULL) == PSB_BACKEND_URING
					     ? "io_uring"
					     : "epoll");
}

static int list_watches(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct bus *bus = userdata;
	const struct tree_view *view = &bus->view;
	int r = sd_bus_message_new_method_return(m, &reply);

	(void)ret_error;
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(uosb)");
	for (size_t i = 0; r >= 0 && view_at(bus, i); i++) {
		char path[BUS_WATCH_PATH_MAX];

		bus_watch_path(view->id, path);
		r = sd_bus_message_append(reply, "(uosb)", view->id, path, view->path,
					  (int)view->configured);
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

struct listing {
	sd_bus_message *reply;
	int r;
};

static void list_one(const struct cgroup_view *view, void *userdata)
{
	struct listing *listing = userdata;
	char path[BUS_WATCH_PATH_MAX];

	if (listing->r < 0)
		return;
	bus_watch_path(view->tree, path);
	listing->r = sd_bus_message_append(listing->reply, "(sosbu)", view->present->cgroup, path,
					   name_of_available(view->present->available),
					   view->present->critical, view->clients);
}

static int list_cgroups(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct bus *bus = userdata;
	struct listing listing = { .r = sd_bus_message_new_method_return(m, &reply) };

	(void)ret_error;
	listing.reply = reply;
	if (listing.r >= 0)
		listing.r = sd_bus_message_open_container(reply, 'a', "(sosbu)");
	if (listing.r >= 0)
		forest_each_cgroup(bus->daemon->forest, list_one, &listing);
	if (listing.r >= 0)
		listing.r = sd_bus_message_close_container(reply);
	return listing.r < 0 ? listing.r : sd_bus_send(NULL, reply, NULL);
}

/* ---- what only root may do ------------------------------------------------------------------- */

typedef int errand_fn(struct bus *bus, sd_bus_message *call);

/* A call that waits for the bus to say whose it is. */
struct errand {
	struct bus *bus;
	sd_bus_message *call;
	errand_fn *run;
};

static void errand_free(void *userdata)
{
	struct errand *errand = userdata;

	errand->bus->errands--;
	sd_bus_message_unref(errand->call);
	free(errand);
}

static int sender_is_known(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error)
{
	struct errand *errand = userdata;
	uint32_t uid;
	int r;

	(void)ret_error;
	if (sd_bus_is_open(sd_bus_message_get_bus(answer)) <= 0)
		return 0;
	if (sd_bus_message_is_method_error(answer, NULL) > 0 ||
	    sd_bus_message_read(answer, "u", &uid) <= 0 || uid != 0)
		r = sd_bus_reply_method_errorf(errand->call, SD_BUS_ERROR_ACCESS_DENIED,
					       "Only root may call %s()",
					       sd_bus_message_get_member(errand->call));
	else
		r = errand->run(errand->bus, errand->call);
	if (r < 0)
		(void)sd_bus_reply_method_errno(errand->call, r, NULL);
	return 0;
}

static int if_privileged(struct bus *bus, sd_bus_message *call, errand_fn *run)
{
	sd_bus_slot *slot;
	struct errand *errand;
	int r;

	if (bus->errands >= BUS_ERRANDS_MAX)
		return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_LIMITS_EXCEEDED,
						  "Too many calls at once");
	errand = malloc(sizeof(*errand));
	if (!errand)
		return -ENOMEM;
	*errand = (struct errand){ bus, sd_bus_message_ref(call), run };
	bus->errands++;
	r = sd_bus_call_method_async(sd_bus_message_get_bus(call), &slot, "org.freedesktop.DBus",
				     "/org/freedesktop/DBus", "org.freedesktop.DBus",
				     "GetConnectionUnixUser", sender_is_known, errand, "s",
				     sd_bus_message_get_sender(call));
	if (r < 0) {
		errand_free(errand);
		return r;
	}
	(void)sd_bus_slot_set_destroy_callback(slot, errand_free);
	(void)sd_bus_slot_set_floating(slot, 1);
	sd_bus_slot_unref(slot);
	return 1; /* the answer comes later */
}

static int run_reload(struct bus *bus, sd_bus_message *call)
{
	struct daemon *daemon = bus->daemon;
	int r = daemon_reload(daemon);

	if (r == -EINVAL)
		return sd_bus_reply_method_errorf(call, ERROR_CONFIGURATION, "%s",
						  daemon->config_error);
	return r < 0 ? r : sd_bus_reply_method_return(call, NULL);
}

static int reload(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	(void)ret_error;
	return if_privileged(userdata, m, run_reload);
}

/* For "/" both may have a watch; one is enough. */
static int simulate_all(struct bus *bus, const char *cgroup, enum psb_available available,
			bool critical)
{
	int r = -ENOENT, q;

	if (strcmp(cgroup, "/") == 0 && bus->lowmem.watch)
		r = psb_watch_simulate(bus->lowmem.watch, available, critical);
	q = forest_simulate(bus->daemon->forest, cgroup, available, critical);
	return r == 0 ? 0 : q;
}

static int run_simulate(struct bus *bus, sd_bus_message *call)
{
	const struct cgroups *cgroups = &bus->daemon->cgroups;
	const char *text, *word, *why = "";
	char cgroup[CGPATH_MAX];
	enum psb_available available;
	int critical, r;

	r = sd_bus_message_read(call, "ssb", &text, &word, &critical);
	if (r < 0)
		return r;
	if (!available_of_name(word, &available))
		return sd_bus_reply_method_errorf(
			call, SD_BUS_ERROR_INVALID_ARGS,
			"available is \"%.32s\"; it is \"low\", \"neutral\" or \"high\"", word);
	if (critical && available != PSB_LOW)
		return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_INVALID_ARGS,
						  "only \"low\" can be critical");
	if (cgpath_normalise(text, cgroups->has_v2 ? cgroups->v2.point : NULL, cgroup, &why) < 0)
		return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_INVALID_ARGS,
						  "cgroup \"%.200s\": %s", text, why);
	r = simulate_all(bus, cgroup, available, critical);
	if (r == -ENOENT || r == -ENODATA)
		return sd_bus_reply_method_errorf(
			call, ERROR_NO_CGROUP, "no such cgroup, or no watch covers it: %s", cgroup);
	return r < 0 ? r : sd_bus_reply_method_return(call, NULL);
}

static int simulate(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	(void)ret_error;
	return if_privileged(userdata, m, run_simulate);
}

/* "Unprivileged" tells sd-bus not to ask (and wait for) the bus who the sender is. */
#define ANYBODY SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, reload, ANYBODY),
	SD_BUS_METHOD_WITH_ARGS("Simulate", SD_BUS_ARGS("s", cgroup, "s", available, "b", critical),
				SD_BUS_NO_RESULT, simulate, ANYBODY),
	SD_BUS_METHOD_WITH_ARGS("ListWatches", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(uosb)", watches),
				list_watches, ANYBODY),
	SD_BUS_METHOD_WITH_ARGS("ListCgroups", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sosbu)", cgroups),
				list_cgroups, ANYBODY),
	SD_BUS_PROPERTY("Version", "s", get_manager, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Backend", "s", get_manager, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Clients", "u", get_manager, 0, 0),
	SD_BUS_PROPERTY("Configuration", "as", get_manager, 0, CHANGES),
	SD_BUS_PROPERTY("ConfigurationError", "s", get_manager, 0, CHANGES),
	SD_BUS_SIGNAL_WITH_ARGS("WatchAdded", SD_BUS_ARGS("u", id, "o", object), 0),
	SD_BUS_SIGNAL_WITH_ARGS("WatchRemoved", SD_BUS_ARGS("u", id, "o", object), 0),
	SD_BUS_SIGNAL_WITH_ARGS("LevelChanged",
				SD_BUS_ARGS("s", cgroup, "s", available, "b", critical, "s", reason,
					    "t", stall_usec),
				0),
	SD_BUS_SIGNAL_WITH_ARGS("LevelsMissed", SD_BUS_ARGS("u", count), 0),
	SD_BUS_VTABLE_END,
};

int bus_objects_add(struct bus *bus, sd_bus *sd)
{
	int r = sd_bus_add_object_vtable(sd, NULL, BUS_PATH, BUS_MANAGER, manager_vtable, bus);

	if (r >= 0)
		r = sd_bus_add_fallback_vtable(sd, NULL, BUS_WATCHES, BUS_WATCH, watch_vtable,
					       find_watch, bus);
	if (r >= 0)
		r = sd_bus_add_node_enumerator(sd, NULL, BUS_WATCHES, list_nodes, bus);
	return r;
}
