/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - sd-event's loop, and its sources
 *
 *     signals    TERM, INT: stop; HUP: reload
 *     bridge     libpsibridge has work: psb_bridge_dispatch()
 *     status     STATUS= for `systemctl status`, a second after something changed
 *
 * The watchdog is not sd_event_set_watchdog(3): it is fed from the bridge's loop, through ours, for without its alarms the
 * daemon is useless.
 *
 * and what server, control, lowmemory and the table put in. At rest, without a watchdog, nothing of it wakes
 * up.
 */
#include "daemon/daemon.h"

#include "daemon/control.h"
#include "daemon/history.h"
#include "daemon/lowmemory.h"
#include "daemon/server.h"
#include "kernel/file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define STATUS_USEC (1 * USEC_PER_SEC)
#define BEAT_WITHIN_USEC (1 * USEC_PER_SEC)

/* ---- status -------------------------------------------------------------------------------------- */

struct shortage {
	unsigned low, critical;
	char worst[256];
	bool worst_is_critical;
};

static void count_low(const struct cgroup_view *view, void *userdata)
{
	struct shortage *s = userdata;
	bool critical = view->present->critical != 0;

	if (view->candidate || view->present->available != PSB_LOW)
		return;
	s->low++;
	s->critical += critical;
	if (s->low == 1 || (critical && !s->worst_is_critical)) {
		snprintf(s->worst, sizeof(s->worst), "%s", view->present->cgroup);
		s->worst_is_critical = critical;
	}
}

static void tell_status(struct daemon *d)
{
	struct shortage s = { 0 };
	struct watch_view watch;
	struct server_view clients;
	unsigned watches[3] = { 0 }; /* by their state */
	char levels[sizeof(s.worst) + 64] = "Memory is plentiful", more[32] = "";
	char absent[48] = "", failed[48] = "";

	for (size_t i = 0; table_watch(d->table, i, &watch); i++)
		watches[watch.state]++;
	table_each_cgroup(d->table, count_low, &s);
	server_view(d->server, &clients);
	if (s.low > 1)
		snprintf(more, sizeof(more), " and %u more", s.low - 1);
	if (s.low > 0)
		snprintf(levels, sizeof(levels), "LOW%s in %s%s", s.critical ? " (critical)" : "",
			 s.worst, more);
	else if (watches[WATCH_WATCHING] == 0)
		snprintf(levels, sizeof(levels), "Nothing is watched");
	if (watches[WATCH_ABSENT])
		snprintf(absent, sizeof(absent), ", %u waiting for a cgroup",
			 watches[WATCH_ABSENT]);
	if (watches[WATCH_FAILED])
		snprintf(failed, sizeof(failed), ", %u FAILED", watches[WATCH_FAILED]);
	manager_status(d->manager, "%s; %u watch%s%s%s; %u client%s%s%s", levels,
		       watches[WATCH_WATCHING], watches[WATCH_WATCHING] == 1 ? "" : "es", absent,
		       failed, clients.clients, clients.clients == 1 ? "" : "s",
		       d->config_error[0] ? "; configuration refused, the old one stays: " : "",
		       d->config_error);
}

static int status_due(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	tell_status(userdata);
	return 0;
}

static void status_changed(struct daemon *d)
{
	if (!timer_is_set(d->status) && !d->stopping)
		timer_set(d->status, now_usec() + STATUS_USEC);
}

static void news(unsigned watch, const struct psb_notification *n, void *userdata)
{
	struct daemon *d = userdata;

	if (n && d->history && watch == table_judge(d->table, n->cgroup))
		history_level(d->history, n);
	status_changed(d);
}

/* ---- reload -------------------------------------------------------------------------------------- */

/* The first mistake is for the status. */
static void note(const struct complaints *c, const char *line, bool mistake)
{
	struct daemon *d = c->userdata;

	if (mistake && c->mistakes == 1)
		snprintf(d->config_error, sizeof(d->config_error), "%s", line);
}

static void report(const struct complaints *c, const char *line, bool mistake)
{
	const struct daemon *d = c->userdata;

	note(c, line, mistake);
	journal_log(d->journal, mistake ? LOG_IS_ERROR : LOG_IS_WARNING,
		    mistake ? MESSAGE_CONFIG_BAD : MESSAGE_OTHER, "%s", line);
}

/* `more`: a format for how many other mistakes there are. */
static int load(struct daemon *d, void (*say)(const struct complaints *, const char *, bool),
		const char *more, struct config **ret)
{
	struct complaints c = { .say = say, .userdata = d };
	int r = config_load(d->root, &c, ret);

	if (r < 0 && c.mistakes == 0)
		snprintf(d->config_error, sizeof(d->config_error), "%s", strerror(-r));
	if (r < 0 && c.mistakes > 1) {
		size_t used = strlen(d->config_error);

		snprintf(d->config_error + used, sizeof(d->config_error) - used, " (and %u more%s)",
			 c.mistakes - 1, more);
	}
	return r;
}

/* A wrong one is one line in the journal, however many mistakes there are: the start may be repeated. */
int daemon_load_config(struct daemon *d)
{
	int r = load(d, note, ": psibridged --check-config lists them", &d->config);

	if (r < 0) {
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_CONFIG_BAD, "not started: %s",
			    d->config_error);
		manager_status(d->manager, "not started: %s", d->config_error);
	}
	return r;
}

static int reload(struct daemon *d)
{
	struct config *config = NULL;
	int r;

	manager_reloading(d->manager);
	r = load(d, report, "", &config);
	if (r < 0) {
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_CONFIG_BAD,
			    "the configuration was not reloaded; the old one stays");
	} else if ((r = table_apply(d->table, config)) < 0) {
		config_free(config);
		snprintf(d->config_error, sizeof(d->config_error), "%s", strerror(-r));
	} else {
		config_free(d->config);
		d->config = config;
		d->config_error[0] = '\0';
		server_resubscribe(d->server);
		journal_log(d->journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "configuration reloaded: %zu watch%s", config->watch_count,
			    config->watch_count == 1 ? "" : "es");
	}
	lowmemory_config_changed(d->lowmemory);
	manager_ready(d->manager);
	tell_status(d);
	return r;
}

/* ---- what wakes us ------------------------------------------------------------------------------- */

static int dispatch_bridge(_unused_ sd_event_source *source, _unused_ int fd,
			   _unused_ uint32_t events, void *userdata)
{
	struct daemon *d = userdata;
	int r;

	while ((r = psb_bridge_dispatch(d->bridge)) > 0)
		;
	return r < 0 ? sd_event_exit(d->event, r) : 0;
}

static void beat(void *userdata)
{
	struct daemon *d = userdata;

	d->beat_usec = now_usec();
	journal_say_lost(d->journal);
	if (manager_watchdog_usec(d->manager) == 0 || d->stopping)
		return;
	manager_alive(d->manager);
	psb_bridge_beat(d->bridge, manager_watchdog_usec(d->manager), beat, d);
}

static bool bridge_answers(struct daemon *d)
{
	uint64_t asked = now_usec(), end = asked + BEAT_WITHIN_USEC, now = asked;
	struct pollfd p = { .fd = psb_bridge_fd(d->bridge), .events = POLLIN };
	int r = 0;

	psb_bridge_beat(d->bridge, 0, beat, d);
	while (d->beat_usec < asked && now < end && r >= 0) {
		if (poll(&p, 1, (int)((end - now) / USEC_PER_MSEC) + 1) == 1)
			r = dispatch_bridge(NULL, -1, 0, d);
		now = now_usec();
	}
	return d->beat_usec >= asked;
}

static int signalled(_unused_ sd_event_source *source, const struct signalfd_siginfo *info,
		     void *userdata)
{
	struct daemon *d = userdata;

	if (info->ssi_signo == SIGHUP) {
		reload(d);
		return 0;
	}
	d->stopping = true;
	return sd_event_exit(d->event, 0);
}

static const struct daemon_calls calls = {
	.reload = reload,
	.bridge_answers = bridge_answers,
	.status_changed = status_changed,
};

/* ---- life ---------------------------------------------------------------------------------------- */

static void log_of_library(void *userdata, int priority, const char *message)
{
	journal_log(userdata, priority, MESSAGE_OTHER, "%s", message);
}

static int fail(struct daemon *d, int error, const char *what)
{
	journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "%s: %s", what, strerror(-error));
	return error;
}

static int attach(struct daemon *d)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	int r = sd_event_new(&d->event);

	for (size_t i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
		r = sd_event_add_signal(d->event, NULL, signals[i], signalled, d);
	if (r >= 0)
		r = psb_bridge_fd(d->bridge);
	if (r >= 0)
		r = sd_event_add_io(d->event, &d->bridge_source, r, EPOLLIN, dispatch_bridge, d);
	/* a thousand clients that speak at once wait for what they are to be told */
	if (r >= 0)
		r = sd_event_source_set_priority(d->bridge_source, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = timer_new(d->event, status_due, d, &d->status);
	return r < 0 ? r : psb_bridge_beat(d->bridge, 0, beat, d);
}

static int make_parts(struct daemon *d)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .log = log_of_library,
					      .log_userdata = d->journal };
	struct table_options table;
	int r;

	r = cgroups_discover("/proc", &d->cgroups);
	if (r < 0 && r != -ENOENT)
		return fail(d, r, "/proc/self/mountinfo");
	if (!d->cgroups.has_v2)
		return fail(d, -ENOENT, cgroups_missing(&d->cgroups));
	r = psb_bridge_new(&options, &d->bridge);
	if (r < 0)
		return fail(d, r, "the bridge");
	r = attach(d);
	if (r < 0)
		return fail(d, r, "the event loop");
	table = (struct table_options){
		.event = d->event,
		.bridge = d->bridge,
		.journal = d->journal,
		.cgroups = &d->cgroups,
		.notify = client_notify,
		.terms = client_terms,
		.news = news,
		.userdata = d,
	};
	r = table_new(&table, &d->table);
	if (r == 0)
		r = table_apply(d->table, d->config);
	if (r < 0)
		return fail(d, r, "the watches");
	r = history_new(&d->history);
	if (r < 0)
		return fail(d, r, "the history");
	history_follow_kernel(d->history, d);
	r = server_new(d, &d->server);
	if (r < 0)
		return fail(d, r, "the notify socket");
	r = control_new(d, steal_fd(&d->control_fd), &d->control);
	return r < 0 ? fail(d, r, "the control socket") : 0;
}

/* Clients of the process before us. */
static void restore(struct daemon *d)
{
	size_t clients = 0;
	int fd;

	for (; (fd = manager_take(d->manager, INHERITED_CLIENT)) >= 0; clients++)
		client_restore(d->server, fd);
	server_restored(d->server);
	if (clients > 0)
		journal_log(d->journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "took over %zu client%s of the process before", clients,
			    clients == 1 ? "" : "s");
}

int daemon_run(struct daemon *d)
{
	int r;

	d->calls = &calls;
	d->started_usec = now_usec();
	r = make_parts(d);
	if (r < 0)
		return r;
	restore(d);
	(void)lowmemory_new(d, &d->lowmemory); /* for want of memory there is none */
	r = server_listen(d->server);
	if (r < 0)
		return fail(d, r, "the notify socket");
	manager_ready(d->manager);
	tell_status(d);
	r = sd_event_loop(d->event);
	return r < 0 ? fail(d, r, "the event loop ended") : 0;
}

void daemon_end(struct daemon *d)
{
	manager_stopping(d->manager);
	d->stopping = true;
	if (d->server)
		server_say_bye(d->server);
	d->lowmemory = lowmemory_free(d->lowmemory);
	d->control = control_free(d->control);
	d->server = server_free(d->server);
	d->table = table_free(d->table);
	d->history = history_free(d->history);
	sd_event_source_disable_unref(d->status);
	sd_event_source_disable_unref(d->bridge_source);
	d->bridge = psb_bridge_unref(d->bridge);
	d->event = sd_event_unref(d->event);
}
