/* SPDX-License-Identifier: MIT */
/*
 * mono.c - unmodified Mono programs give back memory when it is short
 *
 * libmono-profiler-psibridge.so. Mono loads it when MONO_ENV_OPTIONS or the command line says --profile=psibridge, from where
 * dlopen(3) finds it (LD_LIBRARY_PATH), and calls mono_profiler_init_psibridge(). To Mono it is a profiler that profiles nothing:
 * the code Mono makes is the same as without it. What is the same for all runtimes is hook.h.
 *
 * A collection is two visits, each by a thread that lives no longer than it takes:
 *
 *     collect()                 a visitor                 Mono
 *        starts it          ->  attach
 *                               mono_gc_collect()     ->  stops the world, marks, frees
 *        waits                  detach, end
 *        waits                                            finalizers run
 *        starts another     ->  the same once more
 *        malloc_trim()
 *
 * Why visitors: under Mono's hybrid suspend, an attached thread that is in native code is waited for until it comes to a safe point
 * (mono/metadata/threads.c): one that slept between two notifications would stall every collection of the program.
 * mono_jit_thread_attach() is no way: such a thread aborts the process when it detaches.
 *
 * Why twice: what has a finalizer is only queued for it by the first collection, with all that hangs on it. Why malloc_trim():
 * finalizers free native memory, which malloc() keeps.
 *
 * The end. Returning from Main() waits for attached threads, so for a running visit too. But Environment.Exit() does not; a thread
 * that attaches after it has begun sleeps in there for ever (mono_thread_internal_attach()), and one that attaches when all is over
 * runs into freed memory. So a visit goes through these stages, under the lock, and `ending` is set before the runtime goes on:
 *
 *     STARTED -> ATTACHING -> INSIDE -> DONE
 *        \            \          \-> (ending: leaves at once; is waited for)
 *         \            \-> (ending: is waited for, but not for long)
 *          \-> DONE (ending: never gets near Mono)
 *
 * The functions of Mono are declared here, so that this builds where Mono is not installed, and are weak: what is missing is said,
 * not crashed upon. Names and types are those of the published headers (mono/metadata/profiler.h, threads.h, mono-gc.h: MIT).
 */
#include "runtimes/effect.h"
#include "runtimes/hook.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static const struct log to_stderr = { "mono", LOG_WARNING };

/* How long finalizers may take before we go on without them. Only our caller waits for this. */
#define FINALIZERS_USEC USEC_PER_SEC
/* How long one that attaches may take when the runtime ends. It takes microseconds, or for ever. */
#define ATTACH_USEC (USEC_PER_SEC / 5)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct _MonoDomain MonoDomain;
typedef struct _MonoThread MonoThread;
typedef struct _MonoProfiler MonoProfiler;
typedef struct _MonoProfilerDesc *MonoProfilerHandle;
typedef void mono_event_fn(MonoProfiler *profiler);

#define MONO extern __attribute__((weak, visibility("default")))
MONO MonoProfilerHandle mono_profiler_create(MonoProfiler *);
MONO void mono_profiler_set_runtime_initialized_callback(MonoProfilerHandle, mono_event_fn *);
MONO void mono_profiler_set_runtime_shutdown_begin_callback(MonoProfilerHandle, mono_event_fn *);
MONO void mono_profiler_set_gc_finalized_callback(MonoProfilerHandle, mono_event_fn *);
MONO MonoDomain *mono_get_root_domain(void);
MONO MonoThread *mono_thread_attach(MonoDomain *);
MONO void mono_thread_detach(MonoThread *);
MONO void mono_gc_collect(int generation);
MONO int mono_gc_max_generation(void);
MONO int mono_gc_pending_finalizers(void);
/* Not in the headers, but exported and documented; nothing is lost without them but time. */
MONO void *mono_threads_enter_gc_safe_region(void **stackdata);
MONO void mono_threads_exit_gc_safe_region(void *cookie, void **stackdata);

enum stage {
	STARTED,   /* not yet there */
	ATTACHING, /* in mono_thread_attach() */
	INSIDE,	   /* attached, or detaching */
	DONE,	   /* detached: about to end */
};

/* What Mono looks up and calls. */
__attribute__((visibility("default"))) void mono_profiler_init_psibridge(const char *description);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t turned; /* what is below has changed */
	enum stage stage;
	bool ending;
	bool finalized; /* a batch of finalizers has run since the visit began */
} mono = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.turned = PTHREAD_COND_INITIALIZER,
};

static struct timespec from_now(uint64_t usec)
{
	uint64_t then = now_usec() + usec;

	return (struct timespec){ (time_t)(then / USEC_PER_SEC),
				  (long)(then % USEC_PER_SEC * 1000) };
}

/* ---- a visit ------------------------------------------------------------------------------- */

/* Mono stops threads with signals (6.8: three above SIGRTMIN; before: SIGPWR, SIGXCPU and one above SIGRTMIN;
 * mono-threads-posix-signals.c). A visitor that waits for the collector's lock with these blocked, as the hook's thread has them,
 * would be waited for by the holder, for ever. So it blocks, before it attaches, only what people send to processes. */
static void let_signals_in(void)
{
	static const int of_processes[] = {
		SIGHUP,	 SIGINT,  SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,  SIGALRM,	  SIGCHLD,
		SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH, SIGVTALRM, SIGIO,
	};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT(of_processes); i++)
		sigaddset(&set, of_processes[i]);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
}

/* When it ends, the visitor need not go on: false. */
static bool turn(enum stage stage)
{
	bool ending;

	pthread_mutex_lock(&mono.lock);
	ending = mono.ending;
	mono.stage = stage == ATTACHING && ending ? DONE : stage;
	pthread_cond_broadcast(&mono.turned);
	pthread_mutex_unlock(&mono.lock);
	return !ending;
}

static void *visitor(void *unused)
{
	MonoThread *self;

	(void)unused;
	let_signals_in();
	if (!turn(ATTACHING))
		return NULL;
	self = mono_thread_attach(mono_get_root_domain());
	if (turn(INSIDE))
		mono_gc_collect(mono_gc_max_generation());
	mono_thread_detach(self);
	turn(DONE);
	return NULL;
}

/* With the lock. Returns whether it came to its end. */
static bool await_visitor(void)
{
	struct timespec until;

	while (mono.stage != DONE && !(mono.ending && mono.stage == ATTACHING))
		pthread_cond_wait(&mono.turned, &mono.lock);
	until = from_now(ATTACH_USEC);
	while (mono.stage == ATTACHING &&
	       pthread_cond_clockwait(&mono.turned, &mono.lock, CLOCK_MONOTONIC, &until) == 0)
		;
	if (mono.stage == ATTACHING)
		return false;
	while (mono.stage != DONE)
		pthread_cond_wait(&mono.turned, &mono.lock);
	return true;
}

/* One collection. Errors: -ENOMEM (no thread), -ECANCELED (the runtime ends). */
static int visit(void)
{
	pthread_t thread;
	bool done;
	int r;

	pthread_mutex_lock(&mono.lock);
	mono.stage = STARTED;
	mono.finalized = false;
	r = mono.ending ? -ECANCELED : hook_thread_start(&thread, visitor);
	done = r == 0 && await_visitor();
	pthread_mutex_unlock(&mono.lock);
	if (r < 0)
		return r;
	if (!done) {
		pthread_detach(thread);
		return -ECANCELED;
	}
	/* Until its end it is on Mono's list of threads. */
	return -pthread_join(thread, NULL);
}

/* ---- a collection -------------------------------------------------------------------------- */

static void await_finalizers(void)
{
	struct timespec until = from_now(FINALIZERS_USEC);

	pthread_mutex_lock(&mono.lock);
	while (!mono.finalized && !mono.ending && mono_gc_pending_finalizers() &&
	       pthread_cond_clockwait(&mono.turned, &mono.lock, CLOCK_MONOTONIC, &until) == 0)
		;
	pthread_mutex_unlock(&mono.lock);
}

static int collect(const char **unused_why)
{
	int r = visit();

	(void)unused_why;
	if (r < 0)
		return r;
	await_finalizers();
	r = visit();
	if (r == 0)
		malloc_trim(0);
	return r;
}

/* An address in the collector's code. */
static const void *code(void)
{
	return (const void *)(uintptr_t)mono_gc_collect;
}

static const struct hook_runtime runtime = {
	.name = "mono",
	.collect = collect,
	.code = code,
};

/* ---- the runtime's life -------------------------------------------------------------------- */

static void initialized(MonoProfiler *unused)
{
	(void)unused;
	hook_start(&runtime, NULL);
}

static void finalized(MonoProfiler *unused)
{
	(void)unused;
	pthread_mutex_lock(&mono.lock);
	mono.finalized = true;
	pthread_cond_broadcast(&mono.turned);
	pthread_mutex_unlock(&mono.lock);
}

/*
 * On a thread that is attached, and about to wait for a visitor, which may be waiting for it: to stop
 * the world. In a "GC safe region" it counts as stopped.
 */
static void shutdown_begins(MonoProfiler *unused)
{
	bool both = mono_threads_enter_gc_safe_region && mono_threads_exit_gc_safe_region;
	void *stack = NULL, *cookie = NULL;

	(void)unused;
	pthread_mutex_lock(&mono.lock);
	mono.ending = true;
	pthread_cond_broadcast(&mono.turned);
	pthread_mutex_unlock(&mono.lock);

	if (both)
		cookie = mono_threads_enter_gc_safe_region(&stack);
	hook_stop();
	if (both)
		mono_threads_exit_gc_safe_region(cookie, &stack);
}

/* `description` is what stands behind --profile=, "psibridge" or "psibridge:something". */
void mono_profiler_init_psibridge(const char *description)
{
	static bool loaded; /* --profile=psibridge may stand there twice */
	const char *options = description ? strchr(description, ':') : NULL;
	MonoProfilerHandle profiler;

	if (loaded)
		return;
	loaded = true;
	/* What else is used is older than these two. */
	if (!mono_profiler_create || !mono_profiler_set_gc_finalized_callback) {
		log_line(&to_stderr, LOG_ERR,
			 "this Mono has no mono_profiler_create(); the program runs on without");
		return;
	}
	if (options)
		log_line(&to_stderr, LOG_WARNING,
			 "--profile=%s: \"%s\" is ignored, there are no options here; "
			 "the variables PSIBRIDGE_... are read, see psibridge-runtimes(7)",
			 description, options + 1);
	profiler = mono_profiler_create(NULL);
	mono_profiler_set_runtime_initialized_callback(profiler, initialized);
	mono_profiler_set_runtime_shutdown_begin_callback(profiler, shutdown_begins);
	mono_profiler_set_gc_finalized_callback(profiler, finalized);
}
