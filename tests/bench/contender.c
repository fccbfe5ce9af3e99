/* SPDX-License-Identifier: MIT */
/*
 * contender.c - the contenders
 *
 * All call the same function on a thread of their own that waits. What differs is how they wait and read:
 *
 *  psibridge   a watch on the same source. Its policy tells Low at most once per Rearm, which would hide the loop behind it, and so
 *              it is short where each byte is to be told (stimulus.each). After a byte that comes within 50 ms of another it does
 *              not listen for a while (monitor-stream.c).
 *  bare epoll  epoll_wait(2), read(2), the call: what a program would have without any library. It does what comes to mind first:
 *              level-triggered, and it waits again whatever happened.
 *  sd-event    sd_event_add_memory_pressure(3), found by dlopen(3); it came with systemd 254. It takes its source from the
 *              environment, which is set around its start.
 */
#include "contender.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* 2 s windows are what everybody may arm. In base64 for $MEMORY_PRESSURE_WRITE, with its NUL. */
#define TRIGGER "some 200000 2000000"
#define TRIGGER_BASE64 "c29tZSAyMDAwMDAgMjAwMDAwMAA="

const char *const contender_names[] = { "psibridge-uring", "psibridge-epoll", "bare epoll",
					"sd-event" };

static int fail(struct contender *c, int error, const char *what)
{
	snprintf(c->why, sizeof(c->why), "%s: %.80s: %s", contender_names[c->kind], what,
		 strerror(-error));
	return error;
}

static void call(struct contender *c)
{
	atomic_store_explicit(&c->told_nsec, now_nsec(), memory_order_release);
	atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
}

/* ---- psibridge ------------------------------------------------------------------------------------ */

static void psibridge_told(const struct psb_notification *n, void *userdata)
{
	if (n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW)
		call(userdata);
}

static int start_psibridge(struct contender *c)
{
	const struct stimulus *s = &c->stimulus;
	struct psb_watch_options options = {
		.cgroup = s->cgroup,
		.source = s->cgroup ? NULL : s->path,
		.rearm_usec = s->each ? 1000 : 0,
		.quiet_usec = s->each ? 100000 : 0,
	};
	int r = watch_start(&c->watched,
			    c->kind == PSIBRIDGE_EPOLL ? PSB_BACKEND_EPOLL : PSB_BACKEND_URING,
			    options, psibridge_told, c);

	return r < 0 ? fail(c, r, c->watched.why) : 0;
}

/* ---- the bare loop ---------------------------------------------------------------------------------- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

static int open_stimulus(const struct stimulus *s)
{
	struct sockaddr_un address = address_of(s->path);
	int fd;

	if (s->kind == STIMULUS_SOCKET) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : fd;
	}
	fd = open(s->path, (s->kind == STIMULUS_PSI ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || (s->trigger && write(fd, TRIGGER, sizeof(TRIGGER)) < 0))
		return -errno;
	return fd;
}

static void *bare_run(void *arg)
{
	struct contender *c = arg;
	bool psi = c->stimulus.kind == STIMULUS_PSI;
	struct epoll_event event = { .events = psi ? EPOLLPRI : EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	char buf[4096];

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		bench_die("epoll: %s", strerror(errno));
	for (;;) {
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		if (psi || read(c->fd, buf, sizeof(buf)) > 0)
			call(c);
	}
	return NULL;
}

static int start_bare(struct contender *c)
{
	pthread_t thread;
	int r;

	c->fd = open_stimulus(&c->stimulus);
	if (c->fd < 0)
		return fail(c, c->fd, c->stimulus.path);
	r = -pthread_create(&thread, NULL, bare_run, c);
	return r < 0 ? fail(c, r, "no thread") : 0;
}

/* ---- sd-event --------------------------------------------------------------------------------------- */

static int (*event_new)(void **ret);
static int (*event_add)(void *event, void **ret, int (*told)(void *source, void *userdata),
			void *userdata);
static int (*event_loop)(void *event);

static int sd_told(_unused_ void *source, void *userdata)
{
	call(userdata);
	return 0;
}

/* An sd-event loop belongs to the thread that made it. */
static void *sd_run(void *arg)
{
	struct contender *c = arg;
	void *event;
	int r = event_new(&event);

	if (r >= 0)
		r = event_add(event, NULL, sd_told, c);
	c->ended = MIN(r, 0);
	sem_post(&c->started);
	if (r >= 0)
		c->ended = event_loop(event);
	return NULL;
}

static int start_sd_event(struct contender *c)
{
	void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	pthread_t thread;
	int r;

	if (library) {
		*(void **)&event_new = dlsym(library, "sd_event_new");
		*(void **)&event_add = dlsym(library, "sd_event_add_memory_pressure");
		*(void **)&event_loop = dlsym(library, "sd_event_loop");
	}
	if (!event_new || !event_add || !event_loop)
		return fail(c, -EOPNOTSUPP, "no libsystemd here, or one older than 254");
	setenv("MEMORY_PRESSURE_WATCH", c->stimulus.path, 1);
	/* unset, it would write its default (strace of 257) */
	if (c->stimulus.kind == STIMULUS_PSI)
		setenv("MEMORY_PRESSURE_WRITE", c->stimulus.trigger ? TRIGGER_BASE64 : "", 1);
	sem_init(&c->started, 0, 0);
	r = -pthread_create(&thread, NULL, sd_run, c);
	while (r == 0 && sem_wait(&c->started) < 0)
		;
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	r = r < 0 ? r : c->ended;
	return r < 0 ? fail(c, r, "not started") : 0;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

int contender_start(enum contender_kind kind, const struct stimulus *stimulus,
		    struct contender *ret)
{
	*ret = (struct contender){ .kind = kind, .stimulus = *stimulus, .fd = -1 };
	return kind == BARE_EPOLL ? start_bare(ret)
	       : kind == SD_EVENT ? start_sd_event(ret)
				  : start_psibridge(ret);
}

uint64_t contender_reads(const struct contender *c)
{
	/* of a stream an alarm is a read; the others call for each */
	return c->watched.watch ? watch_stats(&c->watched).alarms : atomic_load(&c->calls);
}

int server_new(const char *path)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		bench_die("%s: %s", path, strerror(errno));
	return fd;
}

int server_accept(int fd)
{
	int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (connection < 0)
		bench_die("accept: %s", strerror(errno));
	return connection;
}
