/* SPDX-License-Identifier: MIT */
/*
 * lowmemory.c - org.freedesktop.LowMemoryMonitor: the machine's level becomes a signal on the system bus
 *
 *     watch of "/" --told()--> `warning`, one byte --after_event()--> LowMemoryWarning(y)
 *
 * The interface is that of the program low-memory-monitor; GLib's GMemoryMonitor and Flatpak's portal
 * listen to it. Its levels 50, 100 and 255 mean low, medium and critical there; here Neutral, Low, and
 * Low with critical. It has no level for relief, programs free memory at any signal: so nothing is sent
 * for High, nor for a Neutral that follows a Low. The watch is on the root cgroup, where the kernel keeps
 * the pressure of the whole machine. It is judged by [Defaults], exists only while the name is ours, and
 * Shadow=yes there silences it. The signal is sent after the clients were told: an allocation of sd-bus must not stand
 * between a stall and them.
 *
 * The connection. sd-bus is attached to the daemon's loop and waits for nothing. Where the bus's socket is missing, or
 * nothing listens on it, sd-bus waits for it with inotify, on each directory on the way there and without a timer
 * (sd_bus_set_watch_bind()). Where inotify cannot tell (an abstract address, a bus that accepts and hangs up) there is an
 * attempt after 0.1 s, 0.2 s and so on up to a minute; one that lasted for a minute starts that anew. What sd-bus does not
 * tell is looked for after each event of the loop, while that matters: a queue that is empty again, and a socket that was
 * bound a moment before it is listened on (of which inotify says nothing): then there is one more attempt.
 *
 * The name is requested with a place in the queue: it comes to us when the program that owns it gives it
 * up. Nothing takes it from us again, for we do not allow replacement.
 */
#include "daemon/lowmemory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>

#define NAME "org.freedesktop.LowMemoryMonitor"
#define OBJECT "/org/freedesktop/LowMemoryMonitor"
#define BUS "org.freedesktop.DBus"
#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"

#define SEND_BUFFER 4096 /* sd-bus asks for 8 MiB */
#define RETRY_MIN_USEC (100 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define LISTENS_WITHIN_USEC (1 * USEC_PER_SEC)

enum { WARNING_LOW = 50, WARNING_MEDIUM = 100, WARNING_CRITICAL = 255 };

struct lowmemory {
	struct daemon *daemon;
	sd_event_source
		*due; /* a timer: connect where there is no connection; a warning is to be sent */
	sd_event_source *post; /* after_event(), on while there is no connection or a warning */
	sd_bus *bus;	       /* NULL: not wanted, or the next attempt is due later */
	uint64_t tried_usec, retry_usec;
	struct timespec bound; /* the socket's file that the last attempt saw is of then */
	bool noted;	       /* the journal says that there is no bus */
	bool owned;	       /* the name is ours */
	psb_watch *watch;
	struct settings settings; /* it was made with */
	bool was_low;		  /* its level before */
	uint8_t warning;	  /* to be sent; 0: none */
};

/* ---- the warning ----------------------------------------------------------------------------- */

static void told(const struct psb_notification *n, void *userdata)
{
	struct lowmemory *l = userdata;
	bool was_low = l->was_low;

	if (n->kind != PSB_KIND_LEVEL || l->settings.shadow)
		return;
	l->was_low = n->available == PSB_LOW;
	if (n->available == PSB_LOW)
		l->warning = n->critical ? WARNING_CRITICAL : WARNING_MEDIUM;
	else
		l->warning = n->available == PSB_NEUTRAL && !was_low ? WARNING_LOW : 0;
	if (!l->warning)
		return;
	(void)sd_event_source_set_enabled(l->post, SD_EVENT_ON);
	timer_set(l->due, now_usec());
}

static void drop_watch(struct lowmemory *l)
{
	l->watch = psb_watch_unref(l->watch);
	l->warning = 0;
	l->was_low = false;
}

static void make_watch(struct lowmemory *l)
{
	struct settings_text text;
	char why[320] = "";
	struct psb_watch_options options = {
		.size = sizeof(options),
		.cgroup = "/",
		.error_text = why,
		.error_text_size = sizeof(why),
	};
	int r;

	settings_write(&l->settings.policy, &text, &options);
	r = psb_watch_new(l->daemon->bridge, &options, &l->watch);
	if (r == 0)
		r = psb_watch_add_callback(l->watch, told, l, PSB_INLINE, NULL);
	if (r == 0)
		return;
	journal_log(l->daemon->journal, LOG_IS_WARNING, MESSAGE_WATCH_FAILED,
		    "D-Bus: " NAME " stays silent: %s", why[0] ? why : strerror(-r));
	drop_watch(l);
}

/* Have a watch, or none, as the name and the configuration say. */
static void update_watch(struct lowmemory *l)
{
	const struct settings *settings = &l->daemon->config->defaults;

	if (l->watch && (!l->owned || !settings_equal(settings, &l->settings)))
		drop_watch(l);
	if (!l->owned || l->watch)
		return;
	l->settings = *settings;
	make_watch(l);
}

/* A bus that does not read gets the newest when it reads again. */
static void send_warning(struct lowmemory *l)
{
	uint64_t queued;

	if (l->warning == 0 || sd_bus_get_n_queued_write(l->bus, &queued) < 0 || queued > 0)
		return;
	(void)sd_bus_emit_signal(l->bus, OBJECT, NAME, "LowMemoryWarning", "y", l->warning);
	l->warning = 0;
}

/* For introspection. */
static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_SIGNAL_WITH_ARGS("LowMemoryWarning", SD_BUS_ARGS("y", level), 0),
	SD_BUS_VTABLE_END,
};

/* ---- the name -------------------------------------------------------------------------------- */

/* The first answer on a connection, so it also says that there is one. */
static int name_answered(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *ret_error)
{
	struct lowmemory *l = userdata;
	struct journal *journal = l->daemon->journal;
	const sd_bus_error *error = sd_bus_message_get_error(m);
	sd_bus *bus = sd_bus_message_get_bus(m);
	uint32_t answer;

	if (sd_bus_is_open(bus) <= 0)
		return 0; /* the end of the connection answers every call */
	(void)setsockopt(sd_bus_get_fd(bus), SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER },
			 sizeof(int));
	if (l->noted)
		journal_log(journal, LOG_IS_INFO, MESSAGE_OTHER, "D-Bus: connected");
	l->noted = false;
	if (error)
		journal_log(journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "D-Bus: the bus refuses us the name " NAME ": %s",
			    error->message ? error->message : error->name);
	else if (sd_bus_message_read(m, "u", &answer) > 0 && answer == 2) /* ..._REPLY_IN_QUEUE */
		journal_log(journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "D-Bus: another program owns the name " NAME
			    "; it comes to us when that one gives it up");
	return 0;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void hang_up(struct lowmemory *l)
{
	timer_stop(l->due);
	l->owned = false;
	drop_watch(l);
	l->bus = sd_bus_close_unref(l->bus);
}

static void note_absence(struct lowmemory *l, const char *why)
{
	if (!l->noted)
		journal_log(l->daemon->journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "D-Bus: there is no bus (%s); it is used as soon as it can be", why);
	l->noted = true;
}

/* The connection ended, or did not come about: try again later. */
static void lost(struct lowmemory *l, int error)
{
	uint64_t now = now_usec();

	note_absence(l, strerror(-error));
	l->owned = false;
	drop_watch(l);
	if (now - l->tried_usec >= RETRY_MAX_USEC)
		l->retry_usec = 0;
	l->retry_usec = CLAMP(2 * l->retry_usec, RETRY_MIN_USEC, RETRY_MAX_USEC);
	timer_set(l->due, now + l->retry_usec);
}

/* Sees every message. Any program may send a signal called NameAcquired; the bus's own counts. */
static int filter(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *ret_error)
{
	struct lowmemory *l = userdata;
	const char *sender = sd_bus_message_get_sender(m), *name;

	if (sd_bus_message_is_signal(m, BUS ".Local", "Disconnected") > 0) {
		lost(l, -ECONNRESET);
	} else if (sender && strcmp(sender, BUS) == 0 &&
		   sd_bus_message_is_signal(m, BUS, "NameAcquired") > 0 &&
		   sd_bus_message_read(m, "s", &name) > 0 && strcmp(name, NAME) == 0) {
		l->owned = true;
		update_watch(l);
	}
	return 0;
}

static const char *bus_address(void)
{
	const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");

	return address && *address ? address : DEFAULT_ADDRESS;
}

/* Until there is a socket to connect to, the descriptor of sd-bus is its inotify's. */
static bool has_socket(sd_bus *bus)
{
	struct stat st;

	return fstat(sd_bus_get_fd(bus), &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Is there another file at the bus's path than the last time? */
static bool is_bound_anew(struct lowmemory *l)
{
	static const char prefix[] = "unix:path=";
	const char *address = bus_address();
	struct timespec before = l->bound;
	struct stat st;

	if (strncmp(address, prefix, strlen(prefix)) != 0 ||
	    stat(address + strlen(prefix), &st) < 0)
		return false;
	l->bound = st.st_ctim;
	return before.tv_sec != st.st_ctim.tv_sec || before.tv_nsec != st.st_ctim.tv_nsec;
}

static int after_event(sd_event_source *post, void *userdata)
{
	struct lowmemory *l = userdata;

	if (!l->bus || timer_is_set(l->due))
		return 0;
	if (!has_socket(l->bus)) {
		if (is_bound_anew(l))
			timer_set(l->due, now_usec() + LISTENS_WITHIN_USEC);
		return 0;
	}
	send_warning(l);
	return l->warning || sd_bus_is_ready(l->bus) <= 0
		       ? 0
		       : sd_event_source_set_enabled(post, SD_EVENT_OFF);
}

static int start(struct lowmemory *l)
{
	_cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
	int r;

	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, bus_address());
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_set_watch_bind(bus, 1);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, 0);
	if (r >= 0)
		r = sd_bus_add_filter(bus, NULL, filter, l);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, OBJECT, NAME, vtable, l);
	if (r == -ENOMEM) {
		/* lost: bus_free() of libsystemd 252 asserts that no half-made object is left */
		sd_bus_close(steal(bus));
		return r;
	}
	(void)is_bound_anew(l);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0) /* queued behind Hello */
		r = sd_bus_request_name_async(bus, NULL, NAME, SD_BUS_NAME_QUEUE, name_answered, l);
	if (r >= 0)
		r = sd_bus_attach_event(bus, l->daemon->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_event_source_set_enabled(l->post, SD_EVENT_ON);
	if (r < 0)
		return r;
	l->bus = steal(bus);
	return 0;
}

static int is_due(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct lowmemory *l = userdata;
	int r;

	if (l->bus && has_socket(l->bus) && sd_bus_is_open(l->bus) > 0)
		return 0; /* the warning is sent behind us */
	l->bus = sd_bus_close_unref(l->bus);
	l->tried_usec = now_usec();
	r = start(l);
	if (r < 0)
		lost(l, r);
	else if (!has_socket(l->bus))
		note_absence(l, "its socket is missing, or nothing listens on it");
	return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

void lowmemory_config_changed(struct lowmemory *l)
{
	if (!l)
		return;
	if (!l->daemon->config->low_memory_monitor) {
		hang_up(l);
		l->noted = false;
	} else if (l->bus) {
		update_watch(l);
	} else if (!timer_is_set(l->due)) {
		timer_set(l->due, now_usec());
	}
}

int lowmemory_simulate(struct lowmemory *l, enum psb_available available, bool critical)
{
	return l && l->watch ? psb_watch_simulate(l->watch, available, critical) : -ENODATA;
}

int lowmemory_new(struct daemon *daemon, struct lowmemory **ret)
{
	struct lowmemory *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->daemon = daemon;
	r = timer_new(daemon->event, is_due, l, &l->due);
	if (r >= 0)
		r = sd_event_add_post(daemon->event, &l->post, after_event, l);
	if (r >= 0)
		r = sd_event_source_set_enabled(l->post, SD_EVENT_OFF);
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
	if (l->due)
		hang_up(l);
	sd_event_source_disable_unref(l->post);
	sd_event_source_disable_unref(l->due);
	free(l);
	return NULL;
}
