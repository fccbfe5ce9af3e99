/* SPDX-License-Identifier: MIT */
/*
 * test-driving.c - whatever drives a bridge, and whatever it waits with, it tells the same, at the same time
 *
 * A chain of cgroups, one in the other, with a program that stalls in the innermost: each has the same pressure, and one
 * watch, of a bridge of its own, so that none takes another one's alarms. The first bridge has its own thread and is what
 * the others are compared with. No loop here has a timeout: a descriptor that does not ring is found out.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "fixture.h"
#include "../deny.h"

#ifdef HAVE_EVENT_LOOPS
#include <glib-unix.h>
#include <systemd/sd-event.h>
#include <uv.h>
#endif

#define EPISODES 15 /* at most: on a busy machine any thread may come late once */
#define QUIET_USEC 1000000
#define LATE_USEC 100000
#define MACHINE_USEC 400000 /* at most so much more on a busy machine */
/* What is found out by a sample: those of two bridges may be so far apart; at rest by low's window. */
#define SAMPLING_USEC 1000000
#define SAMPLED_END_USEC (QUIET_USEC / 2)

static int stop_fd; /* readable: the loops end */

/* ---- ways to drive ---------------------------------------------------------------------------------------------------- */

static void drive_poll(psb_bridge *bridge)
{
	struct pollfd fds[] = { { .fd = psb_bridge_fd(bridge), .events = POLLIN },
				{ .fd = stop_fd, .events = POLLIN } };

	while (poll(fds, 2, -1) >= 0 && !fds[1].revents)
		psb_bridge_dispatch(bridge);
}

/* The descriptor in a set, edge-triggered, and that set in another one. */
static void drive_epoll(psb_bridge *bridge)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = 1 };
	int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(inner, EPOLL_CTL_ADD, psb_bridge_fd(bridge), &event);
	epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event);
	event = (struct epoll_event){ .events = EPOLLIN, .data.u32 = 0 };
	epoll_ctl(outer, EPOLL_CTL_ADD, stop_fd, &event);
	while (epoll_wait(outer, &event, 1, -1) == 1 && event.data.u32 == 1)
		if (epoll_wait(inner, &event, 1, 0) == 1)
			psb_bridge_dispatch(bridge);
	close(inner);
	close(outer);
}

#ifdef HAVE_EVENT_LOOPS
static int sd_event_rang(sd_event_source *source, int fd, uint32_t revents, void *bridge)
{
	(void)fd;
	(void)revents;
	return bridge ? psb_bridge_dispatch(bridge)
		      : sd_event_exit(sd_event_source_get_event(source), 0);
}

static void drive_sd_event(psb_bridge *bridge)
{
	sd_event *event = NULL;

	assert_int_equal(sd_event_new(&event), 0);
	sd_event_add_io(event, NULL, psb_bridge_fd(bridge), EPOLLIN, sd_event_rang, bridge);
	sd_event_add_io(event, NULL, stop_fd, EPOLLIN, sd_event_rang, NULL);
	sd_event_loop(event);
	sd_event_unref(event);
}

static gboolean glib_rang(gint fd, GIOCondition condition, gpointer bridge)
{
	(void)condition;
	if (fd != stop_fd)
		psb_bridge_dispatch(bridge);
	return fd != stop_fd;
}

static void drive_glib(psb_bridge *bridge)
{
	GMainContext *context = g_main_context_new();
	GSource *sources[] = { g_unix_fd_source_new(psb_bridge_fd(bridge), G_IO_IN),
			       g_unix_fd_source_new(stop_fd, G_IO_IN) };

	for (int i = 0; i < 2; i++) {
		g_source_set_callback(sources[i], G_SOURCE_FUNC(glib_rang), bridge, NULL);
		g_source_attach(sources[i], context);
	}
	while (!g_source_is_destroyed(sources[1]))
		g_main_context_iteration(context, TRUE);
	for (int i = 0; i < 2; i++)
		g_source_unref(sources[i]);
	g_main_context_unref(context);
}

static void uv_rang(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	if (handle->data)
		psb_bridge_dispatch(handle->data);
	else
		uv_stop(handle->loop);
}

static void drive_libuv(psb_bridge *bridge)
{
	int fds[] = { psb_bridge_fd(bridge), stop_fd };
	uv_poll_t handles[2];
	uv_loop_t loop;

	uv_loop_init(&loop);
	for (int i = 0; i < 2; i++) {
		uv_poll_init(&loop, &handles[i], fds[i]);
		handles[i].data = i == 0 ? bridge : NULL;
		uv_poll_start(&handles[i], UV_READABLE, uv_rang);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&handles[i], NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}
#endif

static const struct way {
	const char *name;
	void (*drive)(
		psb_bridge *bridge); /* until stop_fd is readable; NULL: it has its own thread */
} ways[] = {
	{ "own thread", NULL },		{ "poll", drive_poll }, { "epoll in epoll", drive_epoll },
#ifdef HAVE_EVENT_LOOPS
	{ "sd-event", drive_sd_event }, { "GLib", drive_glib }, { "libuv", drive_libuv },
#endif
};

#define WAYS ELEMENTSOF(ways)
#define DRIVEN (2 * WAYS)

/* ---- the bridges ------------------------------------------------------------------------------------------------------ */

struct driven {
	const struct way *way;
	psb_bridge *bridge;
	psb_watch *watch;
	pthread_t thread;
	struct record record;
};

static struct driven driven[DRIVEN];
static unsigned driven_count;
static char chain[4 * DRIVEN + 1];

/* Containers may forbid io_uring. */
static bool can_wait_with(enum psb_backend backend)
{
	struct psb_bridge_options options = { .size = sizeof(options), .backend = backend };
	psb_bridge *bridge = NULL;
	bool can = psb_bridge_new(&options, &bridge) == 0;

	psb_bridge_unref(bridge);
	return can;
}

static void *drive(void *userdata)
{
	struct driven *d = userdata;

	d->way->drive(d->bridge);
	return NULL;
}

static void arm(struct driven *d, const struct way *way, enum psb_backend backend, unsigned rungs)
{
	static const char *const names[] = { [PSB_RUNG_PRIVILEGED] = "psi-privileged",
					     [PSB_RUNG_TRIGGER] = "psi",
					     [PSB_RUNG_EVENTS] = "events",
					     [PSB_RUNG_SAMPLING] = "sampling" };
	struct psb_bridge_options bridge = { .size = sizeof(bridge), .backend = backend };
	struct psb_watch_options options = {
		.size = sizeof(options),
		.cgroup = lab_path(&lab, chain),
		.rungs = rungs,
		.quiet_usec = QUIET_USEC,
		.calm_usec = 2 * QUIET_USEC,
		.headroom_percent = PSB_HEADROOM_OFF,
	};
	struct psb_source source = { .size = sizeof(source) };

	*d = (struct driven){ .way = way, .record = RECORD_INIT };
	assert_int_equal(psb_bridge_new(&bridge, &d->bridge), 0);
	assert_int_equal(psb_watch_new(d->bridge, &options, &d->watch), 0);
	assert_int_equal(psb_watch_source(d->watch, &source), 0);
	assert_true(rungs & PSB_RUNG_MASK(source.rung));
	assert_string_equal(source.name, names[source.rung]);
	assert_int_equal(source.trigger[0] != '\0', source.rung <= PSB_RUNG_TRIGGER);
	assert_true(source.events || source.rung != PSB_RUNG_EVENTS);
	assert_int_equal(
		psb_watch_add_callback(d->watch, record_told, &d->record, PSB_INLINE, NULL), 0);
}

/* The first Low of this episode, or what came after it; 0: not yet. */
static uint64_t told_usec(struct driven *d, int level)
{
	const struct told *t = record_find(&d->record, 0, PSB_KIND_LEVEL, PSB_LOW, NULL);

	if (t && level != PSB_LOW)
		t = record_find(&d->record, (unsigned)record_index(&d->record, t), PSB_KIND_LEVEL,
				level, NULL);
	return t ? t->called_usec : 0;
}

/* Returns the first that was not told, or NULL. */
static struct driven *not_told(int level)
{
	for (unsigned i = 0; i < driven_count; i++)
		if (told_usec(&driven[i], level) == 0)
			return &driven[i];
	return NULL;
}

static void all_must_be_told(int level)
{
	if (LAB_WAIT(20000, !not_told(level)))
		return;
	record_print(&not_told(level)->record);
	fail_msg("%s: %d was not told", not_told(level)->way->name, level);
}

/* How far it was from the first bridge. */
static uint64_t late_usec(struct driven *d, int level)
{
	uint64_t at = told_usec(d, level), first = told_usec(&driven[0], level);

	return at > first ? at - first : first - at;
}

/* Was each level told in time? How far the two own threads are apart is the machine's part of it: 248 ms beside eight
 * busy loops, emulated, and 1 to 30 ms alone. */
static bool all_were_in_time(unsigned rung, int level)
{
	uint64_t most = LATE_USEC, latest = 0;
	const char *name = "";

	if (driven_count > WAYS)
		most += MIN(late_usec(&driven[WAYS], level), MACHINE_USEC);
	if (level != PSB_LOW)
		most += SAMPLED_END_USEC;
	else if (rung == PSB_RUNG_SAMPLING)
		most += SAMPLING_USEC;
	for (unsigned i = 0; i < driven_count; i++)
		if (late_usec(&driven[i], level) > latest) {
			latest = late_usec(&driven[i], level);
			name = driven[i].way->name;
		}
	print_message("# rung %u, level %d: at most %llu ms from the first bridge (%s)\n", rung,
		      level, (unsigned long long)latest / 1000, name);
	return latest <= most;
}

/* Returns: all were in time. */
static bool play_an_episode(unsigned rung)
{
	bool good = true;
	pid_t pid;

	for (unsigned i = 0; i < driven_count; i++)
		driven[i].record.count = 0; /* nothing is told at rest */
	pid = lab_press(&lab, chain);
	all_must_be_told(PSB_LOW);
	lab_kill(pid);
	all_must_be_told(PSB_HIGH);
	for (int level = PSB_LOW; level <= PSB_HIGH; level++)
		good = all_were_in_time(rung, level) && good;
	return good;
}

/* A bridge for each way and backend, each in a cgroup within that of the one before. */
static void start_all(unsigned rung)
{
	driven_count = 0;
	chain[0] = '\0';
	for (unsigned backend = PSB_BACKEND_URING; backend <= PSB_BACKEND_EPOLL; backend++)
		for (unsigned w = 0; w < WAYS && can_wait_with(backend); w++) {
			size_t n = strlen(chain);

			if (n > 0)
				lab_delegate(&lab, chain);
			snprintf(chain + n, sizeof(chain) - n, "%s%u", n ? "/" : "", driven_count);
			/* the limit is the innermost one's: reclaim begins where it is hit first */
			lab_make(&lab, chain,
				 w == WAYS - 1 && backend == PSB_BACKEND_EPOLL ? LAB_LIMIT : 0);
			arm(&driven[driven_count++], &ways[w], backend, PSB_RUNG_MASK(rung));
		}
	for (unsigned i = 0; i < driven_count; i++)
		if (driven[i].way->drive)
			pthread_create(&driven[i].thread, NULL, drive, &driven[i]);
		else
			assert_int_equal(psb_bridge_start(driven[i].bridge), 0);
}

static void each_way_tells_the_same(unsigned rung)
{
	struct psb_stats stats = { .size = sizeof(stats) };
	unsigned in_time = 0;

	stop_fd = eventfd(0, EFD_CLOEXEC);
	start_all(rung);
	for (unsigned i = 0; i < EPISODES && in_time < 2; i++)
		in_time += play_an_episode(rung);
	eventfd_write(stop_fd, 1);
	for (unsigned i = 0; i < driven_count; i++) {
		if (driven[i].way->drive)
			pthread_join(driven[i].thread, NULL);
		assert_int_equal(psb_watch_stats(driven[i].watch, &stats), 0);
		assert_true(stats.alarms >= 1 || rung != PSB_RUNG_EVENTS);
		psb_watch_unref(driven[i].watch);
		psb_bridge_unref(driven[i].bridge);
	}
	close(stop_fd);
	assert_int_equal(in_time, 2);
}

PROMISE(on_a_trigger)
{
	each_way_tells_the_same(PSB_RUNG_TRIGGER);
}

PROMISE(on_a_privileged_trigger)
{
	if (!lab.privileged)
		SKIP("no CAP_SYS_RESOURCE");
	each_way_tells_the_same(PSB_RUNG_PRIVILEGED);
}

PROMISE(on_memory_events)
{
	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	each_way_tells_the_same(PSB_RUNG_EVENTS);
}

PROMISE(on_samples)
{
	each_way_tells_the_same(PSB_RUNG_SAMPLING);
}

/* ---- a program that sandboxes itself ---------------------------------------------------------------------------------- */

/* In a process of its own, for a filter is for good. Says when it is in its sandbox, and when it was told Low. */
static int watch_in_a_sandbox(unsigned rungs, int out)
{
	static const int forbidden[] = { SYS_io_uring_enter, SYS_io_uring_register,
					 SYS_epoll_create1,  SYS_epoll_ctl,
					 SYS_epoll_wait,     SYS_epoll_pwait,
					 SYS_epoll_pwait2,   0 };
	struct driven *d = &driven[0];
	const char *why;

	arm(d, &ways[0], PSB_BACKEND_AUTO, rungs);
	if (psb_bridge_start(d->bridge) < 0 || !deny(forbidden) || write(out, "s", 1) != 1)
		return 1;
	if (!LAB_WAIT(30000, told_usec(d, PSB_LOW)) || write(out, "l", 1) != 1)
		return 2;
	if (!LAB_WAIT(30000, told_usec(d, PSB_HIGH)))
		return 3;
	if (psb_bridge_backend(d->bridge, &why) != PSB_BACKEND_NONE || !strstr(why, "failed"))
		return 4;
	return 0;
}

PROMISE(a_program_that_forbids_itself_all_of_it_is_told_all_the_same)
{
	/* without its trigger a watch samples; memory.events is read on the clock */
	static const unsigned rungs[] = { PSB_RUNG_MASK(PSB_RUNG_TRIGGER) |
						  PSB_RUNG_MASK(PSB_RUNG_SAMPLING),
					  PSB_RUNG_MASK(PSB_RUNG_EVENTS) };

	for (unsigned i = 0; i < (lab.v1 ? 1 : 2); i++) {
		int fds[2], status;
		pid_t child, presser;
		char c = 0;

		snprintf(chain, sizeof(chain), "sandbox%u", i);
		lab_make(&lab, chain, LAB_LIMIT);
		assert_int_equal(pipe(fds), 0);
		child = fork();
		if (child == 0)
			_exit(watch_in_a_sandbox(rungs[i], fds[1]));
		close(fds[1]);
		assert_int_equal(read(fds[0], &c, 1), 1);
		presser = lab_press(&lab, chain);
		(void)!read(fds[0], &c, 1);
		lab_kill(presser);
		close(fds[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

PROMISE(the_event_loops_of_others_are_tried)
{
#ifndef HAVE_EVENT_LOOPS
	SKIP("built without libsystemd, GLib or libuv");
#endif
}
