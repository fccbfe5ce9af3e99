/* SPDX-License-Identifier: MIT */
/*
 * bridge.c - the public bridge
 *
 * A bridge is undecided until psb_bridge_start() gives it a thread or psb_bridge_fd() hands its
 * loop to the host. Until then watches post nothing, so that one that is given up is freed at once.
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

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *psb_version(void)
{
	return PACKAGE_VERSION;
}

/* ---- the beginning ---------------------------------------------------------------------------- */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int make_alive_page(uint32_t **ret)
{
	uint32_t *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, page_size(), MADV_WIPEONFORK) < 0) {
		r = -errno;
		munmap(page, page_size());
		return r;
	}
	*page = 1;
	*ret = page;
	return 0;
}

static const struct {
	enum psb_backend is;
	const char *word; /* of the variable; NULL: cannot be asked for */
	const char *name;
} backends[] = {
	[LOOP_AUTO] = { PSB_BACKEND_AUTO, "auto", "" },
	[LOOP_URING] = { PSB_BACKEND_URING, "uring", "io_uring" },
	[LOOP_EPOLL] = { PSB_BACKEND_EPOLL, "epoll", "epoll" },
	[LOOP_TIMERS] = { PSB_BACKEND_NONE, NULL, "timers alone: watches sample" },
};

static int choose_backend(enum psb_backend wanted, enum loop_backend *ret)
{
	const char *text = getenv("PSIBRIDGE_BACKEND");

	if (wanted != PSB_BACKEND_AUTO)
		text = NULL;
	else if (!text || !*text)
		text = "auto";
	for (size_t i = 0; i < ELEMENTSOF(backends); i++) {
		if (!backends[i].word ||
		    (text ? strcmp(backends[i].word, text) != 0 : backends[i].is != wanted))
			continue;
		*ret = (enum loop_backend)i;
		return 0;
	}
	return -EINVAL;
}

/* Also of one that is half built. */
static void free_parts(struct psb_bridge *b)
{
	pthread_cond_destroy(&b->idle);
	pthread_mutex_destroy(&b->lock);
	if (b->context.alive)
		munmap(b->context.alive, page_size());
	free(b);
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
	pthread_mutex_init(&b->lock, NULL);
	thread_cond_init(&b->idle);
	r = make_alive_page(&b->context.alive);
	if (r == 0)
		r = choose_backend(o.backend, &b->backend);
	if (r == 0)
		r = loop_new(&(struct loop_options){ .backend = b->backend }, &b->context.loop,
			     &b->why_not_uring);
	if (r == 0)
		r = closer_new(&b->context.closer);
	if (r < 0) {
		loop_free(b->context.loop);
		free_parts(b);
		return r;
	}
	b->backend = loop_backend(b->context.loop);
	*ret = b;
	return 0;
}

/* ---- the end ---------------------------------------------------------------------------------- */

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
	munmap(b->context.alive, page_size());
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

/* ---- driving ---------------------------------------------------------------------------------- */

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
			    backends[loop_backend(b->context.loop)].name,
			    loop_why(b->context.loop));
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

/* The loop has found its driver: hand over what waited. Lock held, so that nothing posted now comes
 * first. */
static void decide(struct psb_bridge *b, enum bridge_mode mode)
{
	b->mode = mode;
	if (b->beat)
		bridge_post(b, &b->beat_work, &b->beat_posted);
	if (b->watch_class)
		b->watch_class->post(b->watches);
}

int psb_bridge_start(psb_bridge *b)
{
	int r = bridge_check(b);

	if (r < 0)
		return r;
	LOCKED(b);
	if (b->mode != MODE_UNDECIDED)
		return b->mode == MODE_THREAD ? -EALREADY : -EBUSY;
	r = thread_start(&b->thread, THREAD_STACK_CALLBACK, bridge_run, b);
	if (r == 0)
		decide(b, MODE_THREAD);
	return r;
}

/* The descriptor of a loop that is the host's. Lock held. */
static int become_foreign(struct psb_bridge *b)
{
	int fd = b->mode == MODE_THREAD ? -EBUSY : loop_fd(b->context.loop);

	if (fd >= 0 && b->mode == MODE_UNDECIDED)
		decide(b, MODE_FOREIGN);
	return fd;
}

int psb_bridge_fd(psb_bridge *b)
{
	int r = bridge_check(b);

	if (r < 0)
		return r;
	LOCKED(b);
	return become_foreign(b);
}

/* May this thread dispatch now? Then the bridge is its own from here on. */
static int enter(struct psb_bridge *b)
{
	int r;

	LOCKED(b);
	r = become_foreign(b);
	if (r < 0)
		return r;
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
	int r = bridge_check(b);
	bool ended;

	if (r == 0)
		r = enter(b);
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
	const char *why;
	bool locked = bridge_check(b) == 0;

	if (locked)
		pthread_mutex_lock(&b->lock);
	backend = b ? b->backend : LOOP_AUTO;
	why = b ? b->why_not_uring : "";
	if (locked)
		pthread_mutex_unlock(&b->lock);
	if (ret_why)
		*ret_why = why;
	return backends[backend].is;
}

/* ---- the beat --------------------------------------------------------------------------------- */

/* Descriptors and levels look the same whether the loop waits or hangs. A call from it, on a timer, proves
 * that posted work, timers and waking the host all go on. */
static void beat_expired(struct loop_timer *timer, _unused_ uint64_t now)
{
	struct psb_bridge *b = CONTAINER_OF(timer, struct psb_bridge, beat_timer);
	psb_beat_fn *fn;
	void *userdata;

	pthread_mutex_lock(&b->lock);
	fn = b->beat;
	userdata = b->beat_userdata;
	pthread_mutex_unlock(&b->lock);
	fn(userdata);
	bridge_leave_child(b);
}

static void beat_asked(struct loop_work *work)
{
	struct psb_bridge *b = CONTAINER_OF(work, struct psb_bridge, beat_work);

	LOCKED(b);
	b->beat_posted = false;
	b->beat_timer.expired = beat_expired;
	loop_timer_set(b->context.loop, &b->beat_timer, b->beat_usec);
}

int psb_bridge_beat(psb_bridge *b, uint64_t after_usec, psb_beat_fn *fn, void *userdata)
{
	int r = fn ? bridge_check(b) : -EINVAL;

	if (r < 0)
		return r;
	LOCKED(b);
	b->beat = fn;
	b->beat_userdata = userdata;
	b->beat_usec = usec_add(now_usec(), after_usec);
	b->beat_work.run = beat_asked;
	bridge_post(b, &b->beat_work, &b->beat_posted);
	return 0;
}
