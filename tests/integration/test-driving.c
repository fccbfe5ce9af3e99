/* SPDX-License-Identifier: MIT */
/*
 * test-driving.c - whatever drives a bridge, and whatever it waits with, on each rung it tells the same
 *
 * A chain of cgroups, one in the other, with a program that stalls in the innermost: each has the same pressure, and one
 * watch, of a bridge of its own, so that none takes another one's alarms. No loop here has a timeout: a descriptor that does not
 * ring is found out. It is an eventfd, whatever the engine (kernel/loop-foreign.c); sd-event is psibridged's own.
 */
#include "../deny.h"
#include "fixture.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#ifdef HAVE_EVENT_LOOPS
#include <glib-unix.h>
#include <uv.h>
#endif

#define EPISODES 3
#define QUIET_USEC 1000000

static atomic_bool over; /* each bridge is rung once more then */

/* ---- ways to drive ---------------------------------------------------------------------------------------------------- */

/* `n` is what the call that waited returned. Returns: false: it is over. */
static bool turn(psb_bridge *bridge, int n)
{
	if (n > 0)
		psb_bridge_dispatch(bridge);
	return !over && (n >= 0 || errno == EINTR);
}

static void drive_poll(psb_bridge *bridge)
{
	struct pollfd p = { .fd = psb_bridge_fd(bridge), .events = POLLIN };

	while (turn(bridge, poll(&p, 1, -1)))
		;
}

static void drive_epoll_edge(psb_bridge *bridge)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int set = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(set, EPOLL_CTL_ADD, psb_bridge_fd(bridge), &event);
	while (turn(bridge, epoll_wait(set, &event, 1, -1)))
		;
	close(set);
}

#ifdef HAVE_EVENT_LOOPS
static gboolean glib_rang(gint fd, GIOCondition condition, gpointer bridge)
{
	(void)fd;
	(void)condition;
	return turn(bridge, 1);
}

static void drive_glib(psb_bridge *bridge)
{
	GMainContext *context = g_main_context_new();
	GSource *source = g_unix_fd_source_new(psb_bridge_fd(bridge), G_IO_IN);

	g_source_set_callback(source, G_SOURCE_FUNC(glib_rang), bridge, NULL);
	g_source_attach(source, context);
	while (!g_source_is_destroyed(source))
		g_main_context_iteration(context, TRUE);
	g_source_unref(source);
	g_main_context_unref(context);
}

static void uv_rang(uv_poll_t *handle, int status, int events)
{
	(void)status;
	(void)events;
	if (!turn(handle->data, 1))
		uv_close((uv_handle_t *)handle, NULL);
}

static void drive_libuv(psb_bridge *bridge)
{
	uv_loop_t loop;
	uv_poll_t handle = { .data = bridge };

	uv_loop_init(&loop);
	uv_poll_init(&loop, &handle, psb_bridge_fd(bridge));
	uv_poll_start(&handle, UV_READABLE, uv_rang);
	uv_run(&loop, UV_RUN_DEFAULT); /* as long as there is a handle */
	uv_loop_close(&loop);
}
#endif

static const struct way {
	const char *name;
	void (*drive)(psb_bridge *bridge); /* until it is over; NULL: it has its own thread */
} ways[] = {
	{ "own thread", NULL }, { "poll", drive_poll },	  { "epoll, edge", drive_epoll_edge },
#ifdef HAVE_EVENT_LOOPS
	{ "GLib", drive_glib }, { "libuv", drive_libuv },
#endif
};

#define DRIVEN (2 * ELEMENTSOF(ways))

/* ---- the bridges ------------------------------------------------------------------------------------------------------ */

static struct driven {
	const struct way *way;
	psb_bridge *bridge;
	psb_watch *watch;
	pthread_t thread;
	struct record record;
} driven[DRIVEN];
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
	struct psb_bridge_options bridge = { .size = sizeof(bridge), .backend = backend };
	struct psb_watch_options options = {
		.size = sizeof(options),
		.cgroup = lab_path(&lab, chain),
		.rungs = rungs,
		.quiet_usec = QUIET_USEC,
		.calm_usec = 2 * QUIET_USEC,
		.headroom_percent = PSB_HEADROOM_OFF,
		.descendants = 1, /* they are nested */
	};
	struct psb_source source = { .size = sizeof(source) };

	*d = (struct driven){ .way = way, .record = RECORD_INIT };
	assert_int_equal(psb_bridge_new(&bridge, &d->bridge), 0);
	assert_int_equal(psb_watch_new(d->bridge, &options, &d->watch), 0);
	assert_int_equal(psb_watch_source(d->watch, &source), 0);
	assert_true(rungs & PSB_RUNG_MASK(source.rung));
	assert_int_equal(source.trigger[0] != '\0', source.rung <= PSB_RUNG_TRIGGER);
	assert_true(source.events || source.rung != PSB_RUNG_EVENTS);
	assert_int_equal(
		psb_watch_add_callback(d->watch, record_told, &d->record, PSB_INLINE, NULL), 0);
}

/* In this episode: Low, or what came after it. */
static bool was_told(struct driven *d, enum psb_available level)
{
	const struct told *t = record_find(&d->record, 0, PSB_KIND_LEVEL, PSB_LOW, NULL);

	return t && record_find(&d->record, (unsigned)record_index(&d->record, t), PSB_KIND_LEVEL,
				level, NULL);
}

static struct driven *one_not_told(enum psb_available level)
{
	for (unsigned i = 0; i < driven_count; i++)
		if (!was_told(&driven[i], level))
			return &driven[i];
	return NULL;
}

static void all_must_be_told(enum psb_available level)
{
	struct driven *d;

	if (LAB_WAIT(20000, !(d = one_not_told(level))))
		return;
	record_print(&d->record);
	fail_msg("%d, %s: %d was not told", (int)(d - driven), d->way->name, level);
}

static void play_an_episode(void)
{
	pid_t pid;

	for (unsigned i = 0; i < driven_count; i++)
		driven[i].record.count = 0; /* nothing is told at rest */
	pid = lab_press(&lab, chain);
	all_must_be_told(PSB_LOW);
	lab_kill(pid);
	all_must_be_told(PSB_NEUTRAL);
	all_must_be_told(PSB_HIGH);
}

/* The limit is the innermost one's: reclaim begins where it is hit first. */
static void make_chain(unsigned rung)
{
	unsigned first = PSB_BACKEND_URING, last = PSB_BACKEND_EPOLL;

	driven_count = 0;
	chain[0] = '\0';
	for (unsigned backend = first; backend <= last; backend++)
		for (unsigned w = 0; w < ELEMENTSOF(ways) && can_wait_with(backend); w++) {
			size_t n = strlen(chain);

			if (n > 0)
				lab_delegate(&lab, chain);
			snprintf(chain + n, sizeof(chain) - n, "%s%u", n ? "/" : "", driven_count);
			lab_make(&lab, chain,
				 backend == last && w == ELEMENTSOF(ways) - 1 ? LAB_LIMIT : 0);
			arm(&driven[driven_count++], &ways[w], backend, PSB_RUNG_MASK(rung));
		}
}

static void each_way_tells_the_same(unsigned rung)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	over = false;
	make_chain(rung);
	for (unsigned i = 0; i < driven_count; i++)
		if (driven[i].way->drive)
			pthread_create(&driven[i].thread, NULL, drive, &driven[i]);
		else
			assert_int_equal(psb_bridge_start(driven[i].bridge), 0);
	for (unsigned i = 0; i < EPISODES; i++)
		play_an_episode();

	over = true;
	for (unsigned i = 0; i < driven_count; i++) {
		if (driven[i].way->drive) {
			assert_int_equal(psb_watch_simulate(driven[i].watch, PSB_NEUTRAL, 0), 0);
			pthread_join(driven[i].thread, NULL);
		}
		assert_int_equal(psb_watch_stats(driven[i].watch, &stats), 0);
		assert_true(stats.alarms >= 1 || rung != PSB_RUNG_EVENTS);
		psb_watch_unref(driven[i].watch);
		psb_bridge_unref(driven[i].bridge);
	}
	lab_clear(&lab);
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
	if (!LAB_WAIT(30000, was_told(d, PSB_LOW)) || write(out, "l", 1) != 1)
		return 2;
	if (!LAB_WAIT(30000, was_told(d, PSB_HIGH)))
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
		if (status != 0)
			print_error("%s: status 0x%x\n", chain, status);
		assert_int_equal(status, 0);
		lab_remove(&lab, chain);
	}
}

PROMISE(the_event_loops_of_others_are_tried)
{
#ifndef HAVE_EVENT_LOOPS
	SKIP("built without libsystemd, GLib or libuv");
#endif
}
