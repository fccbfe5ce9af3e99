/* SPDX-License-Identifier: MIT */
/*
 * hook.c - one thread that takes from a mailbox, and judges whether a collection is worth it
 *
 * The thread makes its bridge and its watch itself: the program's start does not wait for the
 * kernel. It is no thread of the runtime, blocks all signals, and is the only one that touches what
 * is below "the hook's thread" in struct hook.
 *
 * hook_stop() may come at any time, from any thread, also while the thread is still starting or in
 * the middle of a collection that will never end because the runtime is ending. So it waits, but
 * not for ever, and the hook belongs to both: the last of them frees it.
 *
 * After a fork the child has this memory and not the thread: everything here is dead there
 * (hook->pid). A runtime that forks and goes on without exec(2) cannot collect either.
 */
#include "runtimes/hook.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtimes/effect.h"

#define STOP_SEC 2
#define EARLY_USEC (2 * USEC_PER_SEC) /* a runtime has started by then, or never will */
#define EARLY_STEP_USEC (USEC_PER_SEC / 50)
#define STACK_BYTES ((size_t)1 << 20)

struct hook {
	const struct hook_runtime *runtime;
	void *userdata;
	pid_t pid;
	struct log log;
	struct psb_settings settings;
	struct psb_watch_options options; /* settings.watch */
	pthread_t thread;
	atomic_int owners; /* the thread, and who stops it */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic int stopping; /* changed under the lock */
	int ended;
	psb_mailbox *mailbox; /* set by the hook's thread, closed by hook_stop() */

	/* the hook's thread */
	struct effect effect; /* of the last collection */
	int complained, complained_code;
	char *complaints; /* about settings, a NUL behind each, then an empty one; made by hook_start() */
	psb_code *code; /* NULL: the program locks memory itself, or it cannot be had */
	/* What is due without being told, and when: another try to collect, settle(), or to look at what came of it; NULL: nothing. */
	void (*next)(struct hook *hook);
	uint64_t next_usec, try_until_usec;
};

static void hook_unref(struct hook *hook)
{
	if (atomic_fetch_sub(&hook->owners, 1) > 1)
		return;
	free(hook->complaints);
	free(hook);
}

/* ---- collecting: the hook's thread --------------------------------------------------------------- */

/* "%.1f" would write what the program's locale has for a point. */
struct mib {
	char text[24];
};

static struct mib mib(uint64_t bytes)
{
	uint64_t tenths = (bytes * 10 + (1 << 19)) >> 20;
	struct mib mib;

	snprintf(mib.text, sizeof(mib.text), "%" PRIu64 ".%u", tenths / 10,
		 (unsigned)(tenths % 10));
	return mib;
}

static void later(struct hook *hook, uint64_t usec, void (*next)(struct hook *hook))
{
	hook->next = next;
	hook->next_usec = now_usec() + usec;
}

static void measure(struct hook *hook)
{
	hook->next = NULL;
	hook->effect.after_bytes = effect_rss(&hook->effect);
	log_line(&hook->log, LOG_INFO, "collected: %s -> %s MiB, %" PRIu64 " ms",
		 mib(hook->effect.before_bytes).text, mib(hook->effect.after_bytes).text,
		 (hook->effect.took_usec + 500) / 1000);
}

static void settle(struct hook *hook)
{
	uint64_t start = now_usec(), next = 0;
	int go;

	if (hook->stopping)
		return;
	hook->effect.after_bytes = effect_rss(&hook->effect);
	go = hook->runtime->settle(hook->effect.after_bytes, hook->userdata, &next);
	hook->effect.took_usec += now_usec() - start;
	later(hook, go ? next : EFFECT_MEASURE_USEC, go ? settle : measure);
}

static void try_to_collect(struct hook *hook)
{
	const char *why = NULL;
	uint64_t start, rss;
	int r;

	hook->next = NULL;
	/* Only here: what was said before may have waited long for the reader of our stderr. */
	if (hook->stopping)
		return;
	rss = effect_rss(&hook->effect);
	start = now_usec();
	r = hook->runtime->collect(hook->userdata, &why);
	if (r == -ECANCELED)
		return;
	if (r == -EAGAIN && now_usec() < hook->try_until_usec) {
		later(hook, EARLY_STEP_USEC, try_to_collect);
		return;
	}
	if (r < 0) {
		/* It will be asked again, and would say the same again. */
		if (!hook->complained)
			log_line(&hook->log, LOG_ERR, "the runtime did not collect: %s",
				 r == -EAGAIN ? "it is still starting"
				 : why	      ? why
					      : strerror(-r));
		hook->complained = 1;
		return;
	}
	effect_collected(&hook->effect, start, rss);
	if (hook->runtime->settle)
		later(hook, 0, settle);
	else
		later(hook, EFFECT_MEASURE_USEC, measure);
}

static void measure_at_last(struct hook *hook)
{
	if (hook->next == settle || hook->next == measure)
		measure(hook);
}

static void collect(struct hook *hook)
{
	uint64_t now = now_usec(), rss = effect_rss(&hook->effect);
	const char *why = effect_why_not(&hook->effect, now, rss, hook->settings.apart_usec,
					 hook->settings.grown_bytes);

	if (why) {
		log_line(&hook->log, LOG_INFO, "kept: %s MiB, %s", mib(rss).text, why);
		return;
	}
	measure_at_last(hook);
	hook->try_until_usec = now + EARLY_USEC;
	try_to_collect(hook);
}

/* From the first sign on: later the code is gone, and is read in again page by page. */
static void keep_code(struct hook *hook, enum psb_available available)
{
	uint64_t refused = 0;

	if (available == PSB_HIGH) {
		psb_code_unlock(hook->code);
		return;
	}
	if (psb_code_lock(hook->code, &refused) < 0 || refused == 0 || hook->complained_code)
		return;
	hook->complained_code = 1;
	log_line(&hook->log, LOG_INFO,
		 "%s MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
		 mib(refused).text);
}

static void react(struct hook *hook, const struct psb_notification *n)
{
	keep_code(hook, n->available);
	if (n->kind == PSB_KIND_GONE)
		log_line(&hook->log, LOG_WARNING,
			 "the cgroup %s was removed; what takes its place will be watched",
			 n->cgroup);
	if (n->reason != PSB_REASON_PRESENT || n->available == PSB_LOW)
		log_line(&hook->log, LOG_INFO, "told %s",
			 log_level((int)n->available, n->critical));
	if (n->available == PSB_LOW &&
	    (hook->settings.collect == PSB_COLLECT_LOW ||
	     (hook->settings.collect == PSB_COLLECT_CRITICAL && n->critical)))
		collect(hook);
}

/* ---- the life of the hook's thread --------------------------------------------------------------- */

/* Returns 0, or a negative errno, which was told. */
static int arm(struct hook *hook, psb_bridge **ret_bridge, psb_watch **ret_watch,
	       psb_mailbox **ret_mailbox)
{
	struct psb_bridge_options bridge_options = {
		.size = sizeof(bridge_options),
		.log = log_from_library,
		.log_userdata = &hook->log,
	};
	char why[320] = "";
	int r;

	hook->options.error_text = why;
	hook->options.error_text_size = sizeof(why);
	r = psb_bridge_new(&bridge_options, ret_bridge);
	if (r == -EINVAL) /* the options are ours and make sense */
		snprintf(why, sizeof(why),
			 "PSIBRIDGE_BACKEND=%.100s: auto, uring or epoll was expected",
			 getenv("PSIBRIDGE_BACKEND") ?: "");
	if (r == 0)
		r = psb_watch_new(*ret_bridge, &hook->options, ret_watch);
	if (r == 0)
		r = psb_mailbox_new(*ret_watch, PSB_TELL_PRESENT, ret_mailbox);
	if (r == 0)
		r = psb_bridge_start(*ret_bridge);
	if (r == -ENODATA) /* the operator's wish */
		log_line(&hook->log, LOG_INFO, "not watching: %s", why[0] ? why : strerror(-r));
	else if (r < 0)
		log_line(&hook->log, LOG_WARNING, "cannot watch: %s; the program runs on without",
			 why[0] ? why : strerror(-r));
	return r;
}

static void take_all(struct hook *hook, psb_mailbox *mailbox)
{
	struct psb_notification n;
	uint64_t now, idle_usec;
	int r;

	for (;;) {
		now = now_usec();
		idle_usec = !hook->next		    ? PSB_FOREVER
			    : hook->next_usec > now ? hook->next_usec - now
						    : 0;
		n.size = sizeof(n);
		r = psb_mailbox_take(mailbox, idle_usec, &n);
		if (r < 0)
			return;
		if (hook->next && hook->next_usec <= now_usec())
			hook->next(hook);
		if (r > 0)
			react(hook, &n);
	}
}

/* NULL: it was stopped meanwhile. */
static void set_mailbox(struct hook *hook, psb_mailbox *mailbox)
{
	pthread_mutex_lock(&hook->lock);
	hook->mailbox = hook->stopping ? NULL : mailbox;
	pthread_mutex_unlock(&hook->lock);
}

static void *hook_run(void *userdata)
{
	struct hook *hook = userdata;
	psb_mailbox *mailbox = NULL;
	psb_bridge *bridge = NULL;
	psb_watch *watch = NULL;

	pthread_setname_np(pthread_self(), "psb-hook");
	for (const char *line = hook->complaints; *line; line += strlen(line) + 1)
		log_line(&hook->log, LOG_WARNING, "%s", line);
	effect_open(&hook->effect);
	if (psb_code_new(&hook->code) == 0 && hook->runtime->code)
		psb_code_keep(hook->code, hook->runtime->code(hook->userdata));
	if (arm(hook, &bridge, &watch, &mailbox) == 0) {
		set_mailbox(hook, mailbox);
		if (!hook->stopping) {
			log_ready(&hook->log, bridge, watch);
			take_all(hook, mailbox);
		}
	}
	measure_at_last(hook);

	set_mailbox(hook, NULL);
	psb_mailbox_free(mailbox);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	psb_code_free(hook->code);
	effect_close(&hook->effect);
	log_line(&hook->log, LOG_DEBUG, "ended");
	pthread_mutex_lock(&hook->lock);
	hook->ended = 1;
	pthread_cond_signal(&hook->changed);
	pthread_mutex_unlock(&hook->lock);
	hook_unref(hook);
	return NULL;
}

/* ---- for the runtime's threads ------------------------------------------------------------------ */

static void keep_complaint(void *userdata, int priority, const char *message)
{
	(void)priority;
	fprintf(userdata, "%s%c", message, '\0');
}

/* The environment is read now, before the program changes it, and what is wrong with it told later: stderr may be a pipe
 * that is not emptied before the program has started. */
static int read_settings(struct hook *hook, const char *const *own)
{
	size_t n = 0, owned = 0, size;
	const char **all;
	FILE *complaints;
	int r;

	while (own && own[owned])
		owned++;
	while (environ && environ[n])
		n++;
	all = calloc(owned + n + 1, sizeof(*all));
	complaints = all ? open_memstream(&hook->complaints, &size) : NULL;
	if (!complaints) {
		free(all);
		return -ENOMEM;
	}
	for (size_t i = 0; i < owned; i++)
		all[i] = own[i];
	for (size_t i = 0; i < n && environ[i]; i++)
		all[owned + i] = environ[i];
	hook->options.size = sizeof(hook->options);
	hook->settings.size = sizeof(hook->settings);
	hook->settings.watch = &hook->options;
	r = psb_settings_read_from(all, 0, keep_complaint, complaints, &hook->settings);
	fclose(complaints);
	free(all);
	return r;
}

int hook_thread_start(pthread_t *ret, void *(*run)(void *), void *userdata)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(ret, &attributes, run, userdata);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return r;
}

int hook_start(const struct hook_runtime *runtime, void *userdata, const char *const *own,
	       struct hook **ret)
{
	const struct log log = { runtime->name, LOG_WARNING };
	struct hook *hook = calloc(1, sizeof(*hook));
	int r = hook ? read_settings(hook, own) : -ENOMEM, running = 0;

	if (r == 0 && hook->settings.enabled) {
		hook->runtime = runtime;
		hook->userdata = userdata;
		hook->pid = getpid();
		hook->log = (struct log){ runtime->name, hook->settings.log_priority };
		hook->owners = 2;
		pthread_mutex_init(&hook->lock, NULL);
		pthread_cond_init(&hook->changed, NULL);
		r = hook_thread_start(&hook->thread, hook_run, hook);
		running = r == 0;
	}
	if (r < 0)
		log_line(&log, LOG_ERR, "cannot start: %s; the program runs on without",
			 strerror(-r));
	if (running) {
		pthread_detach(hook->thread);
		*ret = hook;
		return 1;
	}
	if (hook) {
		hook->owners = 1;
		hook_unref(hook);
	}
	return r;
}

struct hook *hook_stop(struct hook *hook)
{
	struct timespec until;
	int r = 0;

	if (!hook || hook->pid != getpid())
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_SEC;
	pthread_mutex_lock(&hook->lock);
	hook->stopping = 1;
	if (hook->mailbox)
		psb_mailbox_close(hook->mailbox);
	if (pthread_equal(hook->thread, pthread_self())) /* a collect() that ends the program */
		r = -EDEADLK;
	while (!hook->ended && r == 0)
		r = pthread_cond_clockwait(&hook->changed, &hook->lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&hook->lock);
	hook_unref(hook);
	return NULL;
}
