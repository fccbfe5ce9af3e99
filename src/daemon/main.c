/* SPDX-License-Identifier: MIT */
/*
 * main.c - psibridged(8): options, what is inherited, sd-event's loop, and the order in which things begin and end
 *
 * The loop's sources:
 *
 *     signals    TERM, INT: stop; HUP: reload
 *     bridge     libpsibridge has work: psb_bridge_dispatch()
 *     status     STATUS= for `systemctl status`, a second after something changed
 *
 * and what server, control, lowmemory and the table put in. At rest, without a watchdog, nothing of it wakes up. The
 * watchdog is not sd_event_set_watchdog(3): it is fed from the bridge's loop, through ours, for without its alarms the
 * daemon is useless.
 *
 * The daemon has to work while memory is short, so it must not wait for a page: all that is mapped at the start is locked,
 * code of libraries included; later mappings are locked page by page as they are touched (whole, they would be the full
 * stacks of threads and room for the state of a million clients). What is allocated later comes from a heap that was touched
 * at the start and is never given back.
 */
#include "daemon/daemon.h"

#include "daemon/control.h"
#include "daemon/history.h"
#include "daemon/listen.h"
#include "daemon/lowmemory.h"
#include "daemon/memoryhigh.h"
#include "daemon/ring.h"
#include "daemon/server.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define NOTIFY_PATH "/run/psibridge/notify"
#define CONTROL_PATH "/run/psibridge/control"
#define HEAP_BYTES (1 << 20)
#define STATUS_USEC (1 * USEC_PER_SEC)
#define BEAT_WITHIN_USEC (1 * USEC_PER_SEC)
#define PAUSE_SEC 30 /* between two starts with a wrong configuration */

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

static const char help[] =
	"psibridged - tells services and containers when memory is short\n"
	"\n"
	"Usage: psibridged [OPTION...]\n"
	"\n"
	"  --check-config   read the configuration, report every mistake, exit\n"
	"  --show-config    print all values and where each came from, exit\n"
	"  --root DIR       read the configuration below DIR\n"
	"  --notify PATH    listen here if no socket is inherited (" NOTIFY_PATH ")\n"
	"  --control PATH   listen here for psibridge(1) (" CONTROL_PATH ")\n"
	"  --help, --version\n"
	"\n"
	"Usually started by systemd: systemctl enable --now psibridged. The manual is\n"
	"psibridged(8), the configuration psibridged.conf(5).\n";

struct arguments {
	const char *root, *notify, *control;
	char look; /* 'k': --check-config, 's': --show-config; 0: serve */
};

/* Returns -1 to go on, or the exit status. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "check-config", no_argument, NULL, 'k' },
		{ "show-config", no_argument, NULL, 's' },
		{ "root", required_argument, NULL, 'r' },
		{ "notify", required_argument, NULL, 'n' },
		{ "control", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	int c;

	*ret = (struct arguments){ "", NOTIFY_PATH, CONTROL_PATH, 0 };
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'k':
		case 's':
			ret->look = (char)c;
			break;
		case 'r':
			ret->root = strcmp(optarg, "/") == 0 ? "" : optarg;
			break;
		case 'n':
			ret->notify = optarg;
			break;
		case 'c':
			ret->control = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return STATUS_OK;
		case 'v':
			printf("psibridged %s\n", psb_version());
			return STATUS_OK;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "psibridged: %s: no such option; see psibridged --help\n", argv[optind]);
	return STATUS_USAGE;
}

/* Logs an error, and returns it. */
static int step(struct daemon *d, int r, const char *what)
{
	if (r < 0)
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "%s: %s", what, strerror(-r));
	return r;
}

/* ---- status -------------------------------------------------------------------------------------- */

struct shortage {
	unsigned low;
	bool critical;
	char worst[256];
};

static void count_low(const struct cgroup_view *view, void *userdata)
{
	struct shortage *s = userdata;

	if (view->candidate || view->present->available != PSB_LOW)
		return;
	if (s->low++ == 0 || (view->present->critical && !s->critical))
		snprintf(s->worst, sizeof(s->worst), "%s", view->present->cgroup);
	s->critical |= view->present->critical;
}

static void tell_status(struct daemon *d)
{
	struct shortage s = { 0 };
	struct watch_view watch;
	struct server_view clients;
	unsigned count[3] = { 0 }; /* of watches, by their state */
	char level[sizeof(s.worst) + 64] = "Memory is plentiful";

	for (size_t i = 0; table_watch(d->table, i, &watch); i++)
		count[watch.state]++;
	table_each_cgroup(d->table, count_low, &s);
	server_view(d->server, &clients);
	if (s.low > 0)
		snprintf(level, sizeof(level), "LOW%s in %s, cgroups: %u",
			 s.critical ? " (critical)" : "", s.worst, s.low);
	else if (count[WATCH_WATCHING] == 0)
		snprintf(level, sizeof(level), "Nothing is watched");
	(void)manager_try(
		d->manager, -1,
		"STATUS=%s; watches: %u armed, %u waiting for a cgroup, %u failed; clients: %u%s%s",
		level, count[WATCH_WATCHING], count[WATCH_ABSENT], count[WATCH_FAILED],
		clients.clients,
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
	if (!timer_is_set(d->status))
		timer_set(d->status, now_usec() + STATUS_USEC);
}

static void news(const struct psb_notification *n, void *userdata)
{
	struct daemon *d = userdata;

	if (n && d->history)
		history_level(d->history, n);
	status_changed(d);
}

static void sampled(const struct psb_notification *n, void *userdata)
{
	const struct daemon *d = userdata;

	ring_take(d->ring, n);
}

static void took_effect(const char *cgroup, const struct psb_stats *stats, uint64_t rearm_usec,
			void *userdata)
{
	struct daemon *d = userdata;
	uint64_t before = d->history ? history_effect(d->history, cgroup, stats) : 0;

	journal_effect(d->journal, cgroup, stats, before, rearm_usec);
}

/* ---- configuration ------------------------------------------------------------------------------- */

static void log_complaint(const struct complaints *c, const char *line, bool mistake)
{
	const struct daemon *d = c->userdata;

	journal_log(d->journal, mistake ? LOG_IS_ERROR : LOG_IS_WARNING,
		    mistake ? MESSAGE_CONFIG_BAD : MESSAGE_OTHER, "%s", line);
}

/* For want of one config_error becomes the first mistake, with the number of others. */
static struct config *load(struct daemon *d, struct complaints *c)
{
	struct config *config = config_load(d->root, NULL, c);
	char more[64] = "";

	if (c->mistakes > 1)
		snprintf(more, sizeof(more), " (and %u more%s)", c->mistakes - 1,
			 c->say ? "" : ": psibridged --check-config lists them");
	if (!config)
		snprintf(d->config_error, sizeof(d->config_error), "%.440s%s", c->first, more);
	return config;
}

static int take_config(struct daemon *d, struct config *config)
{
	int r = step(d, table_apply(d->table, config), "the watches");

	if (r < 0) {
		config_free(config);
		snprintf(d->config_error, sizeof(d->config_error), "%s", strerror(-r));
		return r;
	}
	config_free(d->config);
	d->config = config;
	d->config_error[0] = '\0';
	server_resubscribe(d->server);
	lowmemory_config_changed(d->lowmemory);
	memoryhigh_apply(d->memoryhigh, config);
	ring_apply(d->ring, config->trace_bytes);
	journal_log(d->journal, LOG_IS_INFO, MESSAGE_OTHER, "configuration reloaded; watches: %zu",
		    config->watch_count);
	return 0;
}

static int reload(struct daemon *d)
{
	struct complaints c = { .say = log_complaint, .userdata = d };
	struct config *config;
	int r = -EINVAL;

	/* Type=notify-reload takes only what was said after it asked */
	(void)manager_say(d->manager, "RELOADING=1\nMONOTONIC_USEC=%llu",
			  (unsigned long long)now_usec());
	config = load(d, &c);
	if (config)
		r = take_config(d, config);
	else
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_CONFIG_BAD,
			    "the configuration was not reloaded; the old one stays");
	(void)manager_say(d->manager, "READY=1");
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
	if (manager_watchdog_usec(d->manager) == 0)
		return;
	(void)manager_try(d->manager, -1, "WATCHDOG=1");
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

static int hung_up(_unused_ sd_event_source *source, _unused_ const struct signalfd_siginfo *info,
		   void *userdata)
{
	reload(userdata);
	return 0;
}

static const struct daemon_calls calls = {
	.reload = reload,
	.take = take_config,
	.bridge_answers = bridge_answers,
	.status_changed = status_changed,
};

/* ---- life ---------------------------------------------------------------------------------------- */

static void log_of_library(void *userdata, int priority, const char *message)
{
	journal_log(userdata, priority, MESSAGE_OTHER, "%s", message);
}

static int make_loop(struct daemon *d)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .log = log_of_library,
					      .log_userdata = d->journal };
	int r = psb_bridge_new(&options, &d->bridge);

	if (r >= 0)
		r = sd_event_new(&d->event);
	if (r >= 0)
		r = sd_event_set_signal_exit(d->event, 1); /* TERM, INT */
	if (r >= 0)
		r = sd_event_add_signal(d->event, NULL, SIGHUP, hung_up, d);
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

/* Its time begins before there is any baseline. */
static int make_ring(struct daemon *d)
{
	const char *state = getenv("STATE_DIRECTORY"); /* several have ":" between them */
	char directory[PATH_MAX] = "";
	int r;

	if (state)
		snprintf(directory, sizeof(directory), "%.*s/trace", (int)strcspn(state, ":"),
			 state);
	r = ring_new(d->event, d->journal, state ? directory : NULL, &d->ring);
	if (r >= 0)
		ring_apply(d->ring, d->config->trace_bytes);
	return r;
}

static int make_table(struct daemon *d)
{
	const struct table_options options = {
		.event = d->event,
		.bridge = d->bridge,
		.journal = d->journal,
		.cgroups = &d->cgroups,
		.news = news,
		.effect = took_effect,
		.sample = sampled,
		.userdata = d,
	};
	int r = table_new(&options, &d->table);

	return r < 0 ? r : table_apply(d->table, d->config);
}

static bool judges(void *userdata, const char *cgroup, const char *path)
{
	const struct daemon *d = userdata;

	return table_judges(d->table, cgroup, path);
}

/* As the configuration is, whatever the process before left. */
static int make_memoryhigh(struct daemon *d)
{
	const struct memoryhigh_options options = {
		.event = d->event,
		.journal = d->journal,
		.cgroups = &d->cgroups,
		.states = states_highs(server_states(d->server)),
		.judges = judges,
		.userdata = d,
	};
	int r = memoryhigh_new(&options, &d->memoryhigh);

	if (r >= 0)
		memoryhigh_apply(d->memoryhigh, d->config);
	return r;
}

/* An inherited one, or one of our own, whose file goes with us. */
static int get_listener(struct daemon *d, int inherited, const char *path, const char **ret_own)
{
	int r = inherited >= 0 ? inherited : step(d, listen_at(path), path);

	if (r >= 0 && inherited < 0)
		*ret_own = path;
	return r;
}

static int make_parts(struct daemon *d, const struct arguments *a)
{
	int r = cgroups_discover("/proc", &d->cgroups);

	if (r < 0 && r != -ENOENT)
		return step(d, r, "/proc/self/mountinfo");
	if (!d->cgroups.has_v2)
		return step(d, -ENOENT, cgroups_missing(&d->cgroups));
	r = step(d, make_loop(d), "the event loop");
	if (r >= 0)
		r = step(d, make_ring(d), "the trace");
	if (r >= 0)
		r = step(d, make_table(d), "the watches");
	if (r >= 0)
		r = step(d, history_new(d, &d->history), "the history");
	if (r >= 0)
		r = get_listener(d, manager_take(d->manager, MANAGER_LISTENER), a->notify,
				 &d->own_sockets[0]);
	if (r >= 0)
		r = step(d, server_new(d, r, &d->server), "the notify socket");
	if (r >= 0)
		r = step(d, make_memoryhigh(d), "MemoryHighAt=");
	if (r >= 0)
		r = get_listener(d, -1, a->control, &d->own_sockets[1]);
	if (r >= 0)
		r = step(d, control_new(d, r, CONTROL_PATIENCE_USEC, &d->control),
			 "the control socket");
	return r;
}

static int serve(struct daemon *d, const struct arguments *a)
{
	int r;

	d->calls = &calls;
	d->started_usec = now_usec();
	r = make_parts(d, a);
	if (r >= 0) {
		(void)lowmemory_new(d, &d->lowmemory); /* for want of memory there is none */
		(void)manager_say(d->manager, "READY=1");
		tell_status(d);
		r = step(d, sd_event_loop(d->event), "the event loop");
	}
	(void)manager_say(d->manager, "STOPPING=1");
	d->lowmemory = lowmemory_free(d->lowmemory);
	d->control = control_free(d->control);
	d->memoryhigh = memoryhigh_free(d->memoryhigh);
	d->server = server_free(d->server);
	d->table = table_free(d->table);
	d->history = history_free(d->history);
	d->ring = ring_free(d->ring);
	sd_event_source_disable_unref(d->status);
	sd_event_source_disable_unref(d->bridge_source);
	d->bridge = psb_bridge_unref(d->bridge);
	d->event = sd_event_unref(d->event);
	for (size_t i = 0; i < ELEMENTSOF(d->own_sockets); i++)
		if (d->own_sockets[i])
			unlink(d->own_sockets[i]);
	return r;
}

/* ---- the process ----------------------------------------------------------------------------------- */

/*
 * With a client waiting at the socket systemd restarts the daemon at once: the limits of systemd.socket(5)
 * either close the socket for good (TriggerLimitBurst=) or begin anew with each start (PollLimitBurst=).
 */
static void wait_with_clients(struct manager *manager)
{
	const struct timespec pause = { .tv_sec = PAUSE_SEC };
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	if (manager_has_clients(manager))
		sigtimedwait(&set, NULL, &pause);
}

/* Memory that malloc() has and the kernel will not take back. */
static void reserve_heap(void)
{
	char *heap;

	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	heap = malloc(HEAP_BYTES);
	if (heap)
		explicit_bzero(heap, HEAP_BYTES); /* is not optimised away */
	free(heap);
}

static void raise_limits(struct journal *journal)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;
	bool raised = setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0;

	reserve_heap();
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* under a finite limit a later mapping would not be late, but refused: there only what is mapped now is locked */
	if (mlockall(MCL_CURRENT) < 0 || !raised || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
		journal_log(
			journal, LOG_IS_WARNING, MESSAGE_OTHER,
			"not all memory can be locked (%s): notifications may be late when memory "
			"is short; see LimitMEMLOCK= in systemd.exec(5)",
			strerror(errno));
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Files that changed since may contradict what was set at run time: better without it than without the daemon. */
static struct config *load_without_set(struct daemon *d)
{
	struct complaints c = { .say = NULL };
	struct config *config = config_load(d->root, &(struct config_set){ "", "" }, &c);
	char path[FILENAME_MAX], aside[FILENAME_MAX + 16];

	snprintf(path, sizeof(path), "%s" CONFIG_SET_FILE, d->root);
	snprintf(aside, sizeof(aside), "%s.refused", path);
	if (!config || rename(path, aside) < 0)
		return config_free(config);
	journal_log(d->journal, LOG_IS_ERROR, MESSAGE_CONFIG_BAD,
		    "what psibridge set is left out, and is in %s now: %s", aside, d->config_error);
	d->config_error[0] = '\0';
	return config;
}

/* A wrong configuration is one line in the journal, however many mistakes there are: the start may be repeated. */
static int start(struct daemon *d, const struct arguments *a)
{
	struct complaints c = { .say = NULL };

	d->config = load(d, &c);
	if (!d->config)
		d->config = load_without_set(d);
	if (d->config) {
		raise_limits(d->journal);
		return serve(d, a) < 0 ? STATUS_FAILED : STATUS_OK;
	}
	journal_log(d->journal, LOG_IS_ERROR, MESSAGE_CONFIG_BAD, "not started: %s",
		    d->config_error);
	(void)manager_try(d->manager, -1, "STATUS=not started: %s", d->config_error);
	wait_with_clients(d->manager);
	return CONFIG_IS_WRONG;
}

int main(int argc, char **argv)
{
	struct daemon d = { .server = NULL };
	struct arguments a;
	int r = parse(argc, argv, &a), status = STATUS_FAILED;

	if (r >= 0)
		return r;
	if (a.look)
		return config_look(a.root, a.look == 's');

	d.root = a.root;
	block_signals(); /* before there are threads, which inherit it */
	r = journal_new(JOURNAL_SOCKET, &d.journal);
	if (r == 0)
		r = manager_new(&d.manager);
	if (r < 0)
		fprintf(stderr, "psibridged: %s\n", strerror(-r));
	else
		status = start(&d, &a);
	manager_free(d.manager);
	journal_free(d.journal);
	config_free(d.config);
	return status;
}
