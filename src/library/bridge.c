/* SPDX-License-Identifier: MIT */
/*
 * bridge.c - the public bridge
 *
 * A bridge is undecided until psb_bridge_start() gives it a thread or psb_bridge_fd() hands its
 * loop to the host. Work waits in `pending` until the loop takes it, one by one, so that a watch
 * that is given up before the loop has seen it can be freed at once.
 *
 * The end: the thread is joined first, then the loop freed, which ends all operations in flight,
 * and then every watch that is left. From inside a callback none of that is possible at once: a
 * thread of its own does it, or psb_bridge_dispatch() before it returns. So too from a callback of
 * another bridge: this one's may be ending that one.
 *
 * Fork: a page that the kernel zeroes in the child (MADV_WIPEONFORK) says whose handles these are;
 * nothing is registered with the process, and raw clone(2) is seen as well. A child that was forked
 * in a callback and returns from it leaves the pass with longjmp(3).
 */
#include "library/bridge.h"
#include "library/dispatch.h"
#include "library/sized.h"

#include "kernel/thread.h"

#include <errno.h>
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

void bridge_post(struct psb_bridge *bridge, struct loop_work *work)
{
	bool post;

	pthread_mutex_lock(&bridge->lock);
	work->next = NULL;
	*bridge->pending_last = work;
	bridge->pending_last = &work->next;
	post = bridge->mode != MODE_UNDECIDED && !bridge->posted;
	bridge->posted = bridge->posted || post;
	if (post) /* with the lock: the work may give up the bridge, and its end waits for the lock */
		loop_post(bridge->context.loop, &bridge->run_pending);
	pthread_mutex_unlock(&bridge->lock);
}

bool bridge_unpost(struct psb_bridge *bridge, struct loop_work *work)
{
	struct loop_work **p = &bridge->pending;

	while (*p && *p != work)
		p = &(*p)->next;
	if (!*p)
		return false;
	*p = work->next;
	if (!*p)
		bridge->pending_last = p;
	return true;
}

/* What is posted meanwhile is for the next pass: else a callback that posts could keep the pass
 * from ending. */
static void run_pending(struct loop_work *posted)
{
	struct psb_bridge *bridge = CONTAINER_OF(posted, struct psb_bridge, run_pending);
	size_t count = 0;
	bool again;

	pthread_mutex_lock(&bridge->lock);
	for (const struct loop_work *work = bridge->pending; work; work = work->next)
		count++;
	while (count-- > 0 && bridge->pending) {
		struct loop_work *work = bridge->pending;

		bridge_unpost(bridge, work);
		pthread_mutex_unlock(&bridge->lock);
		work->run(work);
		pthread_mutex_lock(&bridge->lock);
	}
	again = bridge->posted = bridge->pending != NULL;
	pthread_mutex_unlock(&bridge->lock);
	if (again)
		loop_post(bridge->context.loop, &bridge->run_pending);
}

/* The loop has found its driver: hand over what waited. Lock held, so that nothing posted now comes
 * first. */
static void decide(struct psb_bridge *bridge, enum bridge_mode mode)
{
	bridge->mode = mode;
	bridge->posted = bridge->pending != NULL;
	if (bridge->posted)
		loop_post(bridge->context.loop, &bridge->run_pending);
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
	case PSB_BACKEND_NONE:
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
	munmap(bridge->context.alive, (size_t)sysconf(_SC_PAGESIZE));
	free(bridge);
}

int psb_bridge_new(const struct psb_bridge_options *options, psb_bridge **ret)
{
	struct psb_bridge_options o = { 0 };
	struct psb_bridge *b;
	int r;

	if (!ret)
		return -EINVAL;
	r = options ? sized_take(&o, sizeof(o), options) : 0;
	if (r < 0)
		return r;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->refs = 1;
	b->context.log = o.log;
	b->context.log_userdata = o.log_userdata;
	b->pending_last = &b->pending;
	b->run_pending.run = run_pending;
	r = make_alive_page(&b->context.alive);
	if (r < 0) {
		free(b);
		return r;
	}
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->idle, NULL);
	r = choose_backend(o.backend, &b->backend);
	if (r == 0)
		r = loop_new(&(struct loop_options){ .backend = b->backend }, &b->context.loop,
			     &b->why_not_uring);
	if (r == 0)
		b->backend = loop_backend(b->context.loop);
	if (r == 0)
		r = closer_new(&b->context.closer);
	if (r < 0) {
		loop_free(b->context.loop);
		free_parts(b);
		return r;
	}
	*ret = b;
	return 0;
}

/* ---- the end
 * ------------------------------------------------------------------------------------- */

static void end(struct psb_bridge *b)
{
	NO_CANCEL;

	if (b->mode == MODE_THREAD) {
		pthread_mutex_lock(&b->lock);
		b->stopping = true;
		pthread_mutex_unlock(&b->lock);
		loop_wake(b->context.loop);
		pthread_join(b->thread, NULL);
	}
	pthread_mutex_lock(&b->lock);
	while (b->lingering > 0)
		pthread_cond_wait(&b->idle, &b->lock);
	pthread_mutex_unlock(&b->lock);
	b->context.loop = loop_free(b->context.loop);
	while (b->watches)
		b->watch_class->free(b->watches);
	closer_free(b->context.closer);
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
	pthread_t thread;

	if (thread_start(&thread, THREAD_STACK_CALLBACK, end_run, b) == 0)
		pthread_detach(thread);
	else
		context_log(&b->context, LOG_ERROR,
			    "no thread to end the bridge with; its memory is lost");
}

static void end_in_child(struct psb_bridge *b)
{
	loop_free_in_child(b->context.loop);
	while (b->watches)
		b->watch_class->free_in_child(b->watches);
	closer_free_in_child(b->context.closer);
	munmap(b->context.alive, (size_t)sysconf(_SC_PAGESIZE));
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
	if (dispatch_is_inside_any() ||
	    (b->mode == MODE_THREAD && pthread_equal(b->thread, pthread_self())))
		end_elsewhere(b);
	else
		end(b);
	return NULL;
}

/* ---- driving
 * ------------------------------------------------------------------------------------- */

static const char *backend_name(enum loop_backend backend)
{
	switch (backend) {
	case LOOP_URING:
		return "io_uring";
	case LOOP_EPOLL:
		return "epoll";
	case LOOP_AUTO:
	case LOOP_TIMERS:
		break;
	}
	return "timers alone: watches sample";
}

/* One pass of the loop. An engine that failed in it is told. Errors: -ECHILD (a callback forked, and
 * this is the child), those of loop_dispatch(). */
static int bridge_pass(struct psb_bridge *b, uint64_t until_usec, bool *ret_stopping)
{
	jmp_buf pass;
	bool failed;
	int r;

	b->pass = &pass;
	if (setjmp(pass) != 0)
		return -ECHILD;
	r = loop_dispatch(b->context.loop, until_usec);

	pthread_mutex_lock(&b->lock);
	failed = b->loop_failures != loop_failures(b->context.loop);
	b->loop_failures = loop_failures(b->context.loop);
	b->backend = loop_backend(b->context.loop);
	b->why_not_uring = loop_why(b->context.loop);
	*ret_stopping = b->stopping;
	pthread_mutex_unlock(&b->lock);
	if (failed)
		context_log(&b->context, LOG_WARN, "the event loop goes on with %s: %s",
			    backend_name(loop_backend(b->context.loop)), loop_why(b->context.loop));
	return r;
}

static void *bridge_run(void *arg)
{
	struct psb_bridge *b = arg;
	bool stopping = false;

	pthread_setname_np(pthread_self(), "psb-loop");
	while (!stopping && bridge_pass(b, USEC_NEVER, &stopping) != -ECHILD)
		; /* other errors are for other threads only */
	return NULL;
}

/* Lock held. */
static int start_thread(struct psb_bridge *b)
{
	int r = thread_start(&b->thread, THREAD_STACK_CALLBACK, bridge_run, b);

	if (r == 0)
		decide(b, MODE_THREAD);
	return r;
}

/* Lock held. */
static int become_foreign(struct psb_bridge *b)
{
	int r = loop_fd(b->context.loop);

	if (r < 0)
		return r;
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
		r = b->mode == MODE_THREAD ? -EBUSY : loop_fd(b->context.loop);
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
	r = bridge_pass(b, 0, &ended);
	if (r == -ECHILD)
		return r;
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
	enum loop_backend backend;
	bool locked;

	if (ret_why)
		*ret_why = "";
	if (!b)
		return PSB_BACKEND_AUTO;
	locked = !bridge_is_child(b);
	if (locked)
		pthread_mutex_lock(&b->lock);
	if (ret_why)
		*ret_why = b->why_not_uring;
	backend = b->backend;
	if (locked)
		pthread_mutex_unlock(&b->lock);
	switch (backend) {
	case LOOP_URING:
		return PSB_BACKEND_URING;
	case LOOP_EPOLL:
		return PSB_BACKEND_EPOLL;
	case LOOP_AUTO:
	case LOOP_TIMERS:
		break;
	}
	return PSB_BACKEND_NONE;
}
