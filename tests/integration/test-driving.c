/* SPDX-License-Identifier: MIT */
/*
 * test-driving.c - whatever drives a bridge, and whatever it waits with, it tells the same, at the same time
 *
 * A chain of cgroups, one in the other, with a program that stalls in the innermost: each has the same pressure, and one
 * watch, of a bridge of its own, so that none takes another one's alarms. The first bridge has its own thread and is what
 * the others are compared with. sd-event is psibridged's own. No loop here has a timeout: a descriptor that does not ring is found out.
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

#define EPISODES_MIN 3
#define EPISODES_MAX 15 /* on a busy machine any thread may come late once */
#define LEVELS 3	/* Low, Neutral, High: each is told once an episode */
#define QUIET_USEC 1000000
/* Two own threads: 1 to 30 ms apart, 248 ms beside eight busy loops, emulated. What is found out by a sample is by low's window. */
#define LATE_USEC 500000
#define SAMPLING_USEC 1000000
#define SAMPLED_END_USEC (QUIET_USEC / 2)

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

static void drive_epoll_with(psb_bridge *bridge, uint32_t flags)
{
	struct epoll_event event = { .events = EPOLLIN | flags };
	int set = epoll_create1(EPOLL_CLOEXEC);

	epoll_ctl(set, EPOLL_CTL_ADD, psb_bridge_fd(bridge), &event);
	while (turn(bridge, epoll_wait(set, &event, 1, -1)))
		;
	close(set);
}

static void drive_epoll(psb_bridge *bridge)
{
	drive_epoll_with(bridge, 0);
}

static void drive_epoll_edge(psb_bridge *bridge)
{
	drive_epoll_with(bridge, EPOLLET);
}

static void drive_epoll_nested(psb_bridge *bridge)
{
	struct epoll_event event = { .events = EPOLLIN };
	int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC), n;

	epoll_ctl(inner, EPOLL_CTL_ADD, psb_bridge_fd(bridge), &event);
	epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event);
	do {
		n = epoll_wait(outer, &event, 1, -1);
		if (n == 1)
			n = epoll_wait(inner, &event, 1, 0);
	} while (turn(bridge, n));
	close(inner);
	close(outer);
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
	{ "own thread", NULL },
	{ "poll", drive_poll },
	{ "epoll", drive_epoll },
	{ "epoll, edge", drive_epoll_edge },
	{ "epoll in epoll", drive_epoll_nested },
#ifdef HAVE_EVENT_LOOPS
	{ "GLib", drive_glib },
	{ "libuv", drive_libuv },
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
	unsigned late[LEVELS]; /* so many episodes */
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

/* The first Low of this episode, or what came after it; 0: not yet. */
static uint64_t told_usec(struct driven *d, enum psb_available level)
{
	const struct told *t = record_find(&d->record, 0, PSB_KIND_LEVEL, PSB_LOW, NULL);

	if (t && level != PSB_LOW)
		t = record_find(&d->record, (unsigned)record_index(&d->record, t), PSB_KIND_LEVEL,
				level, NULL);
	return t ? t->called_usec : 0;
}

static bool all_were_told(enum psb_available level)
{
	for (unsigned i = 0; i < driven_count; i++)
		if (told_usec(&driven[i], level) == 0)
			return false;
	return true;
}

/* Of which bridge that is, for a test that fails. */
static void print_driven(struct driven *d)
{
	print_error("%s, %s: late for Low, Neutral, High: %u, %u, %u times\n",
		    psb_bridge_backend(d->bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll",
		    d->way->name, d->late[0], d->late[1], d->late[2]);
}

static void all_must_be_told(enum psb_available level)
{
	if (LAB_WAIT(20000, all_were_told(level)))
		return;
	for (unsigned i = 0; i < driven_count; i++)
		if (told_usec(&driven[i], level) == 0) {
			print_driven(&driven[i]);
			record_print(&driven[i].record);
		}
	fail_msg("%d was not told", level);
}

static void play_an_episode(unsigned rung)
{
	static const enum psb_available levels[LEVELS] = { PSB_LOW, PSB_NEUTRAL, PSB_HIGH };
	pid_t pid;

	for (unsigned i = 0; i < driven_count; i++)
		driven[i].record.count = 0; /* nothing is told at rest */
	pid = lab_press(&lab, chain);
	all_must_be_told(PSB_LOW);
	lab_kill(pid);
	all_must_be_told(PSB_HIGH);
	for (unsigned l = 0; l < LEVELS; l++) {
		uint64_t first = told_usec(&driven[0], levels[l]),
			 most = LATE_USEC + (l > 0			 ? SAMPLED_END_USEC
					     : rung == PSB_RUNG_SAMPLING ? SAMPLING_USEC
									 : 0);

		for (unsigned i = 0; i < driven_count; i++) {
			uint64_t at = told_usec(&driven[i], levels[l]);

			driven[i].late[l] += at > first + most || first > at + most;
		}
	}
}

/* Those that were late as often as not, at any level. */
static unsigned late_ones(unsigned episodes, bool print)
{
	unsigned n = 0;

	for (unsigned i = 0; i < driven_count; i++)
		for (unsigned l = 0; l < LEVELS; l++)
			if (2 * driven[i].late[l] >= episodes) {
				if (print)
					print_driven(&driven[i]);
				n++;
				break;
			}
	return n;
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
	unsigned episodes = 0;

	over = false;
	make_chain(rung);
	for (unsigned i = 0; i < driven_count; i++)
		if (driven[i].way->drive)
			pthread_create(&driven[i].thread, NULL, drive, &driven[i]);
		else
			assert_int_equal(psb_bridge_start(driven[i].bridge), 0);
	do {
		play_an_episode(rung);
		episodes++;
	} while (episodes < EPISODES_MIN ||
		 (late_ones(episodes, false) > 0 && episodes < EPISODES_MAX));

	over = true;
	for (unsigned i = 0; i < driven_count; i++) {
		if (driven[i].way->drive) {
			assert_int_equal(psb_watch_simulate(driven[i].watch, PSB_NEUTRAL, 0), 0);
			pthread_join(driven[i].thread, NULL);
		}
		assert_int_equal(psb_watch_stats(driven[i].watch, &stats), 0);
		assert_true(stats.alarms >= 1 || rung != PSB_RUNG_EVENTS);
	}
	assert_int_equal(late_ones(episodes, true), 0);
	for (unsigned i = 0; i < driven_count; i++) {
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
