/* SPDX-License-Identifier: MIT */
/*
 * bridge.c - the public bridge
 *
 * A bridge is undecided until psb_bridge_start() gives it a thread or psb_bridge_fd() hands its
 * loop to the host. Until then work waits in `pending`. The loop is made by psb_bridge_new(), so
 * that a refused io_uring is told there; psb_bridge_fd() replaces it by one that is fit for a
 * foreign loop.
 *
 * The end: the thread is joined first, then the loop freed, which ends all operations in flight,
 * and then every watch that is left. From inside a callback none of that is possible on the spot: a
 * thread of its own does it, or psb_bridge_dispatch() before it returns.
 *
 * Fork: a page that the kernel zeroes in the child (MADV_WIPEONFORK) says whose handles these are;
 * nothing is registered with the process, and raw clone(2) is seen as well.
 */
#include "library/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *psb_version(void)
{
	return STRING(PSB_VERSION_MAJOR) "." STRING(PSB_VERSION_MINOR) "." STRING(
		PSB_VERSION_PATCH);
}

void make_one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void bridge_log(struct psb_bridge *bridge, int priority, const char *format, ...)
{
	char line[512];
	va_list args;

	if (!bridge->log)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	make_one_line(line);
	bridge->log(bridge->log_userdata, priority, line);
}

void bridge_post(struct psb_bridge *bridge, struct loop_work *work)
{
	bool decided;

	pthread_mutex_lock(&bridge->lock);
	decided = bridge->mode != MODE_UNDECIDED;
	if (!decided) {
		work->next = NULL;
		*bridge->pending_last = work;
		bridge->pending_last = &work->next;
	}
	pthread_mutex_unlock(&bridge->lock);
	if (decided)
		loop_post(bridge->loop, work);
}

/* The loop has found its driver: hand over what waited. Lock held, so that nothing posted now comes
 * first. */
static void decide(struct psb_bridge *bridge, enum bridge_mode mode)
{
	struct loop_work *work = bridge->pending;

	bridge->pending = NULL;
	bridge->pending_last = &bridge->pending;
	bridge->mode = mode;
	while (work) {
		struct loop_work *next = work->next;

		loop_post(bridge->loop, work);
		work = next;
	}
}

static int make_alive_page(uint32_t **ret)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, size, MADV_WIPEONFORK) < 0) {
		int r = -errno;

		munmap(page, size);
		return r;
	}
	*page = 1;
	*ret = page;
	return 0;
}

static int choose_backend(enum psb_backend wanted, enum loop_backend *ret)
{
	const char *text = getenv("PSIBRIDGE_BACKEND");

	switch (wanted) {
	case PSB_BACKEND_URING:
		*ret = LOOP_URING;
		return 0;
	case PSB_BACKEND_EPOLL:
		*ret = LOOP_EPOLL;
		return 0;
	case PSB_BACKEND_AUTO:
		break;
	}
	if (wanted != PSB_BACKEND_AUTO)
		return -EINVAL;
	if (!text || !*text || strcmp(text, "auto") == 0)
		*ret = LOOP_AUTO;
	else if (strcmp(text, "uring") == 0 || strcmp(text, "io_uring") == 0)
		*ret = LOOP_URING;
	else if (strcmp(text, "epoll") == 0)
		*ret = LOOP_EPOLL;
	else
		return -EINVAL;
	return 0;
}

static void free_parts(struct psb_bridge *bridge)
{
	pthread_cond_destroy(&bridge->idle);
	pthread_mutex_destroy(&bridge->lock);
	munmap(bridge->alive, (size_t)sysconf(_SC_PAGESIZE));
	free(bridge);
}

int psb_bridge_new(const struct psb_bridge_options *options, psb_bridge **ret)
{
	struct psb_bridge_options o = { 0 };
	struct psb_bridge *b;
	int r;

	if (!ret)
		return -EINVAL;
	if (options) {
		if (options->size < sizeof(size_t) || options->size > sizeof(o))
			return -EINVAL;
		memcpy(&o, options, options->size);
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->refs = 1;
	b->log = o.log;
	b->log_userdata = o.log_userdata;
	b->pending_last = &b->pending;
	r = make_alive_page(&b->alive);
	if (r < 0) {
		free(b);
		return r;
	}
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->idle, NULL);
	r = choose_backend(o.backend, &b->backend);
	if (r == 0)
		r = loop_new(&(struct loop_options){ .backend = b->backend }, &b->loop,
			     &b->why_not_uring);
	if (r == 0)
		r = closer_new(&b->closer);
	if (r < 0) {
		loop_free(b->loop);
		free_parts(b);
		return r;
	}
	*ret = b;
	return 0;
}

psb_bridge *psb_bridge_ref(psb_bridge *bridge)
{
	if (!bridge || bridge_is_child(bridge))
		return bridge;
	pthread_mutex_lock(&bridge->lock);
	bridge->refs++;
	pthread_mutex_unlock(&bridge->lock);
	return bridge;
}

/* ---- the end
 * ------------------------------------------------------------------------------------- */

static void end(struct psb_bridge *b)
{
	if (b->mode == MODE_THREAD) {
		pthread_mutex_lock(&b->lock);
		b->stopping = true;
		pthread_mutex_unlock(&b->lock);
		loop_wake(b->loop);
		pthread_join(b->thread, NULL);
	}
	pthread_mutex_lock(&b->lock);
	while (b->lingering > 0)
		pthread_cond_wait(&b->idle, &b->lock);
	pthread_mutex_unlock(&b->lock);
	b->loop = loop_free(b->loop);
	while (b->watches)
		watch_free(b->watches);
	closer_free(b->closer);
	free_parts(b);
}

static void *end_run(void *arg)
{
	pthread_setname_np(pthread_self(), "psb-end");
	end(arg);
	return NULL;
}

static void end_elsewhere(struct psb_bridge *b)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, end_run, b) == 0)
		pthread_detach(thread);
	else
		bridge_log(b, LOG_ERROR, "no thread to end the bridge with; its memory is lost");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void end_in_child(struct psb_bridge *b)
{
	loop_free_in_child(b->loop);
	while (b->watches) {
		struct psb_watch *w = b->watches;

		b->watches = w->next;
		watch_free_in_child(w);
	}
	closer_free_in_child(b->closer);
	munmap(b->alive, (size_t)sysconf(_SC_PAGESIZE));
	free(b);
}

psb_bridge *psb_bridge_unref(psb_bridge *b)
{
	bool last;

	if (!b)
		return NULL;
	if (bridge_is_child(b)) {
		if (--b->refs == 0)
			end_in_child(b);
		return NULL;
	}
	pthread_mutex_lock(&b->lock);
	last = --b->refs == 0;
	if (last && b->dispatching) {
		b->ended = true;
		last = false;
	}
	pthread_mutex_unlock(&b->lock);
	if (!last)
		return NULL;
	if (dispatch_is_inside(b) ||
	    (b->mode == MODE_THREAD && pthread_equal(b->thread, pthread_self())))
		end_elsewhere(b);
	else
		end(b);
	return NULL;
}

/* ---- driving
 * ------------------------------------------------------------------------------------- */

static void *bridge_run(void *arg)
{
	struct psb_bridge *b = arg;
	bool stopping = false;

	pthread_setname_np(pthread_self(), "psb-loop");
	while (!stopping) {
		int r = loop_dispatch(b->loop, USEC_NEVER);

		if (r < 0) {
			bridge_log(b, LOG_ERROR, "the event loop failed: %s", strerror(-r));
			break;
		}
		pthread_mutex_lock(&b->lock);
		stopping = b->stopping;
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

/* Lock held. */
static int start_thread(struct psb_bridge *b)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&b->thread, NULL, bridge_run, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0)
		decide(b, MODE_THREAD);
	return -r;
}

/* Lock held. */
static int become_foreign(struct psb_bridge *b)
{
	struct loop_options o = { .backend = b->backend, .foreign = true };
	struct loop *loop;
	int r = loop_new(&o, &loop, &b->why_not_uring);

	if (r < 0)
		return r;
	loop_free(b->loop);
	b->loop = loop;
	decide(b, MODE_FOREIGN);
	return 0;
}

int psb_bridge_start(psb_bridge *b)
{
	int r = -EBUSY;

	if (!b)
		return -EINVAL;
	if (bridge_is_child(b))
		return -ECHILD;
	pthread_mutex_lock(&b->lock);
	switch (b->mode) {
	case MODE_UNDECIDED:
		r = start_thread(b);
		break;
	case MODE_THREAD:
		r = -EALREADY;
		break;
	case MODE_FOREIGN:
		break;
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

int psb_bridge_fd(psb_bridge *b)
{
	int r = 0;

	if (!b)
		return -EINVAL;
	if (bridge_is_child(b))
		return -ECHILD;
	pthread_mutex_lock(&b->lock);
	if (b->mode == MODE_UNDECIDED)
		r = become_foreign(b);
	if (r == 0)
		r = b->mode == MODE_THREAD ? -EBUSY : loop_fd(b->loop);
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* May this thread dispatch now? Then the bridge is its own from here on. Lock held. */
static int enter(struct psb_bridge *b)
{
	int r = b->mode == MODE_UNDECIDED ? become_foreign(b) : 0;

	if (r < 0)
		return r;
	if (b->mode == MODE_THREAD)
		return -EBUSY;
	if (b->driven && !pthread_equal(b->thread, pthread_self()))
		return -EXDEV;
	if (b->dispatching)
		return -EBUSY;
	b->thread = pthread_self();
	b->driven = b->dispatching = true;
	return 0;
}

int psb_bridge_dispatch(psb_bridge *b)
{
	bool ended;
	int r;

	if (!b)
		return -EINVAL;
	if (bridge_is_child(b))
		return -ECHILD;
	pthread_mutex_lock(&b->lock);
	r = enter(b);
	pthread_mutex_unlock(&b->lock);
	if (r < 0)
		return r;
	r = loop_dispatch(b->loop, 0);
	pthread_mutex_lock(&b->lock);
	b->dispatching = false;
	ended = b->ended;
	pthread_mutex_unlock(&b->lock);
	if (ended)
		end(b);
	return r;
}

enum psb_backend psb_bridge_backend(psb_bridge *b, const char **ret_why)
{
	bool locked = !bridge_is_child(b);
	enum psb_backend backend;

	if (locked) /* psb_bridge_fd() takes another loop */
		pthread_mutex_lock(&b->lock);
	if (ret_why)
		*ret_why = b->why_not_uring;
	backend = loop_backend(b->loop) == LOOP_URING ? PSB_BACKEND_URING : PSB_BACKEND_EPOLL;
	if (locked)
		pthread_mutex_unlock(&b->lock);
	return backend;
}
