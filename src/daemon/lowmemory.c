/* SPDX-License-Identifier: MIT */
/*
 * lowmemory.c - org.freedesktop.LowMemoryMonitor: the machine's level becomes a signal on the system bus
 *
 * The interface is that of the program low-memory-monitor, whose levels mean low, medium and critical. It has none for
 * relief, and programs free memory at any signal: so nothing is sent for High, nor for a Neutral that follows a Low. It
 * subscribes to the root cgroup, where the kernel keeps the pressure of the whole machine, while the name is ours. The signal
 * is sent after the clients were told: an allocation of sd-bus must not stand between a stall and them.
 *
 * sd-bus is attached to the daemon's loop and waits for nothing: what a bus does not read it queues; a socket that is missing
 * or where nothing listens it waits for with inotify (sd_bus_set_watch_bind()). A connection that fails or ends otherwise is
 * made again after a while. The name is requested with a place in the queue: it comes to us when its owner gives it up.
 */
#include "daemon/lowmemory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#define NAME "org.freedesktop.LowMemoryMonitor"
#define OBJECT "/org/freedesktop/LowMemoryMonitor"
#define BUS "org.freedesktop.DBus"
#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define RETRY_USEC (3 * USEC_PER_SEC)

struct lowmemory {
	struct daemon *daemon;
	sd_event_source *retry, *send; /* timers: connect; send the warning */
	sd_bus *bus;		       /* NULL: not wanted, or `retry` is set */
	bool noted;		       /* the journal says that there is no bus */
	bool owned;		       /* the name is ours */
	struct subscriber subscriber;
	struct policy_options terms; /* none */
	bool was_low;		     /* its level before */
	uint8_t warning;
};

/* ---- the warning ----------------------------------------------------------------------------- */

static void notify(struct subscriber *s, const struct psb_notification *n)
{
	enum { WARNING_LOW = 50, WARNING_MEDIUM = 100, WARNING_CRITICAL = 255 };
	struct lowmemory *l = CONTAINER_OF(s, struct lowmemory, subscriber);
	bool was_low = l->was_low, is_low = n->available == PSB_LOW;

	if (subscriber_in_shadow(s))
		return;
	l->was_low = is_low;
	l->warning = !is_low ? WARNING_LOW : n->critical ? WARNING_CRITICAL : WARNING_MEDIUM;
	if (is_low || (n->available == PSB_NEUTRAL && !was_low))
		timer_set(l->send, now_usec());
	else
		timer_stop(l->send);
}

static int send_warning(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct lowmemory *l = userdata;

	(void)sd_bus_emit_signal(l->bus, OBJECT, NAME, "LowMemoryWarning", "y", l->warning);
	return 0;
}

static void leave(struct lowmemory *l)
{
	unsubscribe(&l->subscriber);
	l->subscriber.available = 0;
	l->was_low = false;
	timer_stop(l->send);
}

static void join(struct lowmemory *l)
{
	const char *why;

	leave(l);
	if (subscribe(l->daemon->table, &l->subscriber, "/", &why) < 0)
		journal_log(l->daemon->journal, LOG_IS_WARNING, MESSAGE_WATCH_FAILED,
			    "D-Bus: " NAME " stays silent: %s", why);
}

/* ---- the connection -------------------------------------------------------------------------- */

#define note(l, priority, ...) \
	journal_log((l)->daemon->journal, priority, MESSAGE_OTHER, "D-Bus: " __VA_ARGS__)

static void note_absence(struct lowmemory *l, const char *why)
{
	if (!l->noted)
		note(l, LOG_IS_INFO, "there is no bus (%s); it is used as soon as it can be", why);
	l->noted = true;
}

static void disconnect(struct lowmemory *l)
{
	timer_stop(l->retry);
	l->owned = false;
	leave(l);
	l->bus = sd_bus_close_unref(l->bus);
}

static void retry_later(struct lowmemory *l, int error)
{
	note_absence(l, strerror(-error));
	l->owned = false;
	leave(l);
	timer_set(l->retry, now_usec() + RETRY_USEC);
}

/* The first answer on a connection, so it also says that there is one. */
static int name_answered(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *ret_error)
{
	struct lowmemory *l = userdata;
	const sd_bus_error *error = sd_bus_message_get_error(m);
	uint32_t answer;

	if (sd_bus_is_open(sd_bus_message_get_bus(m)) <= 0)
		return 0; /* the end of the connection answers every call */
	if (l->noted)
		note(l, LOG_IS_INFO, "connected");
	l->noted = false;
	if (error)
		note(l, LOG_IS_NOTICE, "the bus refuses us the name " NAME ": %s",
		     error->message ? error->message : error->name);
	else if (sd_bus_message_read(m, "u", &answer) > 0 && answer == 2) /* ..._REPLY_IN_QUEUE */
		note(l, LOG_IS_NOTICE,
		     "another program owns the name " NAME
		     "; it comes to us when that one gives it up");
	return 0;
}

/* Sees every message. Any program may send a signal called NameAcquired; the bus's own counts. */
static int filter(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *ret_error)
{
	struct lowmemory *l = userdata;
	const char *sender = sd_bus_message_get_sender(m), *name;

	if (sd_bus_message_is_signal(m, BUS ".Local", "Disconnected") > 0) {
		retry_later(l, -ECONNRESET);
	} else if (sender && strcmp(sender, BUS) == 0 &&
		   sd_bus_message_is_signal(m, BUS, "NameAcquired") > 0 &&
		   sd_bus_message_read(m, "s", &name) > 0 && strcmp(name, NAME) == 0) {
		l->owned = true;
		join(l);
	}
	return 0;
}

/* For introspection, without which some languages find no signal. */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_SIGNAL_WITH_ARGS("LowMemoryWarning", SD_BUS_ARGS("y", level), 0),
	SD_BUS_VTABLE_END,
};

static int start(struct lowmemory *l, sd_bus *bus)
{
	const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	int r = sd_bus_set_address(bus, address && *address ? address : DEFAULT_ADDRESS);

	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_set_watch_bind(bus, 1);
	if (r >= 0)
		r = sd_bus_add_filter(bus, NULL, filter, l);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0) /* queued behind Hello */
		r = sd_bus_request_name_async(bus, NULL, NAME, SD_BUS_NAME_QUEUE, name_answered, l);
	if (r >= 0)
		r = sd_bus_attach_event(bus, l->daemon->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, OBJECT, NAME, vtable, l);
	return r;
}

static int connect_again(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct lowmemory *l = userdata;
	struct stat st;
	int r;

	l->bus = sd_bus_close_unref(l->bus);
	r = sd_bus_new(&l->bus);
	if (r >= 0)
		r = start(l, l->bus);
	if (r ==
	    -ENOMEM) /* lost: bus_free() of libsystemd 252 asserts that no half-made object is left */
		sd_bus_close(steal(l->bus));
	if (r < 0)
		retry_later(l, r);
	else if (fstat(sd_bus_get_fd(l->bus), &st) == 0 && !S_ISSOCK(st.st_mode)) /* inotify's */
		note_absence(l, "its socket is missing, or nothing listens on it");
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

void lowmemory_config_changed(struct lowmemory *l)
{
	if (!l)
		return;
	if (!l->daemon->config->low_memory_monitor) {
		disconnect(l);
		l->noted = false;
	} else if (l->owned) {
		if (!l->subscriber.watch)
			join(l);
	} else if (!l->bus && !timer_is_set(l->retry)) {
		timer_set(l->retry, now_usec());
	}
}

int lowmemory_new(struct daemon *daemon, struct lowmemory **ret)
{
	struct lowmemory *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->daemon = daemon;
	l->subscriber.notify = notify;
	l->subscriber.terms = &l->terms;
	l->subscriber.is_ours = true;
	r = timer_new(daemon->event, connect_again, l, &l->retry);
	if (r >= 0)
		r = timer_new(daemon->event, send_warning, l, &l->send);
	if (r < 0) {
		lowmemory_free(l);
		return r;
	}
	lowmemory_config_changed(l);
	*ret = l;
	return 0;
}

struct lowmemory *lowmemory_free(struct lowmemory *l)
{
	if (!l)
		return NULL;
	disconnect(l);
	sd_event_source_disable_unref(l->send);
	sd_event_source_disable_unref(l->retry);
	free(l);
	return NULL;
}
