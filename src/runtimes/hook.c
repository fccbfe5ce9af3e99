/* SPDX-License-Identifier: MIT */
/*
 * hook.c - one thread that takes from a mailbox, and judges whether a collection is worth it
 *
 * The thread makes its bridge and its watch itself: the program's start does not wait for the kernel. It is no thread of the
 * runtime and blocks all signals.
 *
 * hook_stop() may come at any time, also while the thread is still starting or in the middle of a collection that will never
 * end because the runtime is ending. So it waits, but not for ever, and what the thread works on is never freed.
 *
 * After a fork the child has this memory and not the thread: everything here is dead there (self.pid). A runtime that forks and
 * goes on without exec(2) cannot collect either.
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
#define FORECAST_USEC (2 * USEC_PER_SEC) /* psb_watch_options's for a process that watches itself */
#define STACK_BYTES ((size_t)1 << 20)

/* set by hook_start() */
static struct {
	const struct hook_runtime *runtime;
	pid_t pid;
	struct log log;
	struct psb_settings settings;
	struct psb_watch_options options; /* settings.watch */
	char complaints[1024];		  /* about settings, a NUL behind each */
	size_t complaints_size;
} self;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	_Atomic int running;  /* hook_stop() was not called */
	int alive;	      /* the thread was started, and has not ended */
	psb_mailbox *mailbox; /* set by the thread, closed by hook_stop() */
} life = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* the hook's thread */
static struct {
	struct effect effect; /* of the last collection */
	int complained, complained_code;
	psb_code *code; /* NULL: the program locks memory itself, or it cannot be had */
	/* What is due without being told, and when: settle(), or to look at what came of it; NULL: nothing. */
	void (*next)(void);
	uint64_t next_usec;
} work;

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

static void later(uint64_t usec, void (*next)(void))
{
	work.next = next;
	work.next_usec = now_usec() + usec;
}

static void measure(void)
{
	uint64_t before = work.effect.before_bytes, after = effect_read(&work.effect);

	work.next = NULL;
	work.effect.after_bytes = after;
	(void)psb_registration_report(psb_mailbox_registration(life.mailbox),
				      before > after ? before - after : 0, work.effect.took_usec);
	log_line(&self.log, LOG_INFO, "collected: %s -> %s MiB, %" PRIu64 " ms", mib(before).text,
		 mib(after).text, (work.effect.took_usec + 500) / 1000);
}

static void settle(void)
{
	uint64_t start = now_usec(), next = 0;
	int go;

	if (!life.running)
		return;
	work.effect.after_bytes = effect_read(&work.effect);
	go = self.runtime->settle(work.effect.after_bytes, &next);
	work.effect.took_usec += now_usec() - start;
	later(go ? next : EFFECT_MEASURE_USEC, go ? settle : measure);
}

static void measure_at_last(void)
{
	if (work.next)
		measure();
}

/* Returns whether it was one. */
static int try_to_collect(uint64_t bytes)
{
	uint64_t start = now_usec();
	const char *why = NULL;
	int r = self.runtime->collect(&why);

	if (r == 0) {
		effect_collected(&work.effect, start, bytes);
	} else if (r != -ECANCELED && r != -EAGAIN && !work.complained) {
		/* It will be asked again, and would say the same again. */
		work.complained = 1;
		log_line(&self.log, LOG_ERR, "the runtime did not collect: %s",
			 why ? why : strerror(-r));
	}
	return r == 0;
}

static void collect(const struct psb_notification *n)
{
	struct effect_ask ask = {
		.now_usec = now_usec(),
		.bytes = effect_read(&work.effect),
		.limit_bytes = n->limit_bytes,
		.apart_usec = self.settings.apart_usec,
		.grown_bytes = self.settings.grown_bytes,
		.anyway = n->critical,
	};
	const char *why = effect_why_not(&work.effect, &ask);

	if (why) {
		log_line(&self.log, LOG_INFO, "kept: %s MiB, %s", mib(ask.bytes).text, why);
		return;
	}
	measure_at_last();
	/* Only here: what was said before may have waited long for the reader of our stderr. */
	if (life.running && try_to_collect(ask.bytes))
		later(self.runtime->settle ? 0 : EFFECT_MEASURE_USEC,
		      self.runtime->settle ? settle : measure);
}

/* From the first sign on: later the code is gone, and is read in again page by page. */
static void keep_code(enum psb_available available)
{
	uint64_t refused = 0;

	if (available == PSB_HIGH) {
		psb_code_unlock(work.code);
		return;
	}
	if (psb_code_lock(work.code, &refused) < 0 || refused == 0 || work.complained_code)
		return;
	work.complained_code = 1;
	log_line(&self.log, LOG_INFO,
		 "%s MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
		 mib(refused).text);
}

static void react(const struct psb_notification *n)
{
	char cause[PSB_CAUSE_TEXT_MAX];

	keep_code(n->available);
	if (n->kind == PSB_KIND_GONE)
		log_line(&self.log, LOG_WARNING,
			 "the cgroup %s was removed; what takes its place will be watched",
			 n->cgroup);
	if (n->reason != PSB_REASON_PRESENT || n->available == PSB_LOW)
		log_line(&self.log, LOG_INFO, "told %s%s%s",
			 log_level((int)n->available, n->critical),
			 psb_cause_text(n, cause) > 0 ? ": " : "", cause);
	if (n->available == PSB_LOW &&
	    (self.settings.collect == PSB_COLLECT_LOW ||
	     (self.settings.collect == PSB_COLLECT_CRITICAL && n->critical)))
		collect(n);
}

/* ---- the life of the hook's thread --------------------------------------------------------------- */

/* Returns 0, or a negative errno, which was told. */
static int arm(psb_bridge **ret_bridge, psb_watch **ret_watch, psb_mailbox **ret_mailbox)
{
	struct psb_bridge_options bridge_options = {
		.size = sizeof(bridge_options),
		.log = log_from_library,
		.log_userdata = &self.log,
	};
	char why[320] = "";
	int r;

	/* what PSIBRIDGE_CGROUP names is what the program is in */
	if (self.options.cgroup && self.options.forecast_usec == 0)
		self.options.forecast_usec = FORECAST_USEC;
	self.options.error_text = why;
	self.options.error_text_size = sizeof(why);
	r = psb_bridge_new(&bridge_options, ret_bridge);
	if (r == -EINVAL) /* the options are ours and make sense */
		snprintf(why, sizeof(why),
			 "PSIBRIDGE_BACKEND=%.100s: auto, uring or epoll was expected",
			 getenv("PSIBRIDGE_BACKEND") ?: "");
	if (r == 0)
		r = psb_watch_new(*ret_bridge, &self.options, ret_watch);
	if (r == 0)
		r = psb_mailbox_new(*ret_watch, PSB_TELL_PRESENT, ret_mailbox);
	if (r == 0)
		r = psb_bridge_start(*ret_bridge);
	if (r == -ENODATA) /* the operator's wish */
		log_line(&self.log, LOG_INFO, "not watching: %s", why[0] ? why : strerror(-r));
	else if (r < 0)
		log_line(&self.log, LOG_WARNING, "cannot watch: %s; the program runs on without",
			 why[0] ? why : strerror(-r));
	return r;
}

static void take_all(psb_mailbox *mailbox)
{
	struct psb_notification n;
	uint64_t now, idle_usec;
	int r;

	for (;;) {
		now = now_usec();
		idle_usec = !work.next		   ? PSB_FOREVER
			    : work.next_usec > now ? work.next_usec - now
						   : 0;
		n.size = sizeof(n);
		r = psb_mailbox_take(mailbox, idle_usec, &n);
		if (r < 0)
			return;
		if (work.next && work.next_usec <= now_usec())
			work.next();
		if (r > 0)
			react(&n);
	}
}

/* Returns whether it is not stopped yet. */
static int set_mailbox(psb_mailbox *mailbox)
{
	int running;

	pthread_mutex_lock(&life.lock);
	life.mailbox = mailbox;
	running = life.running;
	pthread_mutex_unlock(&life.lock);
	return running;
}

static void *hook_run(void *unused)
{
	psb_mailbox *mailbox = NULL;
	psb_bridge *bridge = NULL;
	psb_watch *watch = NULL;

	(void)unused;
	pthread_setname_np(pthread_self(), "psb-hook");
	for (size_t at = 0; at < self.complaints_size; at += strlen(self.complaints + at) + 1)
		log_line(&self.log, LOG_WARNING, "%s", self.complaints + at);
	memset(&work, 0, sizeof(work));
	effect_open(&work.effect);
	if (psb_code_new(&work.code) == 0 && self.runtime->code)
		psb_code_keep(work.code, self.runtime->code());
	if (arm(&bridge, &watch, &mailbox) == 0 && set_mailbox(mailbox)) {
		log_ready(&self.log, bridge, watch);
		take_all(mailbox);
	}
	measure_at_last();

	set_mailbox(NULL);
	psb_mailbox_free(mailbox);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	psb_code_free(work.code);
	effect_close(&work.effect);
	log_line(&self.log, LOG_DEBUG, "ended");
	pthread_mutex_lock(&life.lock);
	life.alive = 0;
	pthread_cond_signal(&life.changed);
	pthread_mutex_unlock(&life.lock);
	return NULL;
}

/* ---- for the runtime's threads ------------------------------------------------------------------ */

static void keep_complaint(void *unused, int priority, const char *message)
{
	size_t room = sizeof(self.complaints) - self.complaints_size;
	size_t size = (size_t)snprintf(self.complaints + self.complaints_size, room, "%s",
				       message) +
		      1;

	(void)unused;
	(void)priority;
	self.complaints_size += size < room ? size : room;
}

/* The environment is read now, before the program changes it, and what is wrong with it told later: stderr may be a pipe
 * that is not emptied before the program has started. */
static int read_settings(const char *const *own)
{
	size_t n = 0, owned = 0;
	const char **all;
	int r;

	while (own && own[owned])
		owned++;
	while (environ && environ[n])
		n++;
	all = calloc(owned + n + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < owned; i++)
		all[i] = own[i];
	for (size_t i = 0; i < n && environ[i]; i++)
		all[owned + i] = environ[i];
	self.options.size = sizeof(self.options);
	self.settings.size = sizeof(self.settings);
	self.settings.watch = &self.options;
	r = psb_settings_read_from(all, 0, keep_complaint, NULL, &self.settings);
	free(all);
	return r;
}

int hook_thread_start(pthread_t *ret, void *(*run)(void *))
{
	pthread_attr_t attributes;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, &attributes, run, NULL) ? -ENOMEM : 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return r;
}

int hook_start(const struct hook_runtime *runtime, const char *const *own)
{
	int r;

	memset(&self, 0, sizeof(self));
	self.runtime = runtime;
	self.pid = getpid();
	self.log = (struct log){ runtime->name, LOG_WARNING };
	r = read_settings(own);
	if (r == 0 && !self.settings.enabled)
		return 0;
	if (r == 0) {
		self.log.priority = self.settings.log_priority;
		life.running = life.alive = 1;
		r = hook_thread_start(&life.thread, hook_run);
		if (r == 0)
			pthread_detach(life.thread);
		else
			life.running = life.alive = 0;
	}
	if (r < 0)
		log_line(&self.log, LOG_ERR, "cannot start: %s; the program runs on without",
			 strerror(-r));
	return r < 0 ? r : 1;
}

void hook_stop(void)
{
	struct timespec until;
	int r;

	if (self.pid != getpid())
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_SEC;
	pthread_mutex_lock(&life.lock);
	r = life.running ? 0 : -EALREADY;
	life.running = 0;
	if (life.mailbox)
		psb_mailbox_close(life.mailbox);
	if (pthread_equal(life.thread, pthread_self())) /* a collect() that ends the program */
		r = -EDEADLK;
	while (life.alive && r == 0)
		r = pthread_cond_clockwait(&life.changed, &life.lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&life.lock);
}
