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
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtimes/effect.h"
#include "runtimes/managed.h"
#include "runtimes/tool.h"

#define STOP_SEC 2
#define FOLLOW_USEC (10 * USEC_PER_SEC)
#define LOAD_TRIES 8
#define LOAD_AGAIN_USEC (USEC_PER_SEC / 4)
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
	int tries;	/* of runtime->load() that are left */
	int asked;	/* it was done */
	uint64_t load_after_usec;
	psb_bridge *bridge;
	psb_watch *watch;
	int cgroup_fd;		    /* /proc/self/cgroup, */
	char cgroup[PATH_MAX + 64]; /* and what it said */
} work;

/* What is due without being told, and when; NULL: nothing. */
enum {
	AFTERWARDS, /* settle(), or to look at what came of a collection */
	LOADING,
	FOLLOWING,
	TIMERS,
};
static struct {
	void (*run)(void);
	uint64_t usec;
} due[TIMERS];

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

static void later(int timer, uint64_t usec, void (*run)(void))
{
	due[timer].run = run;
	due[timer].usec = now_usec() + usec;
}

static void measure(void)
{
	uint64_t before = work.effect.before_bytes, after = effect_read(&work.effect);

	due[AFTERWARDS].run = NULL;
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
	later(AFTERWARDS, go ? next : EFFECT_MEASURE_USEC, go ? settle : measure);
}

static void measure_at_last(void)
{
	if (due[AFTERWARDS].run)
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
	if (life.running && try_to_collect(ask.bytes))
		later(AFTERWARDS, self.runtime->settle ? 0 : EFFECT_MEASURE_USEC,
		      self.runtime->settle ? settle : measure);
}

/* From the first sign on: later the code is gone, and is read in again page by page. */
static void keep_code(enum psb_available available)
{
	uint64_t refused = 0;
	int r;

	managed_code_begin();
	r = available == PSB_HIGH ? psb_code_unlock(work.code) : psb_code_lock(work.code, &refused);
	managed_code_end();
	if (r < 0 || refused == 0 || work.complained_code)
		return;
	work.complained_code = 1;
	log_line(&self.log, LOG_INFO,
		 "%s MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
		 mib(refused).text);
}

/* Has the managed policy loaded, which joins by itself. Returns -EAGAIN: it is too early for that, or has not joined yet. */
static int load_managed(int last)
{
	const char *why = NULL;
	int r = 0;

	if (work.tries == 0)
		return 0;
	if (!managed_joined() && !work.asked) {
		r = self.runtime->load(last, &why);
		if (r == -EAGAIN && !last)
			return r;
		/* a runtime that is just about to call Main() loads it a moment after it has answered */
		work.asked = r == 0;
		if (work.asked && !managed_joined())
			return -EAGAIN;
	}
	work.tries = 0;
	if (managed_joined())
		log_line(&self.log, LOG_INFO, "the managed policy has taken over");
	else if (life.running)
		log_line(&self.log, LOG_INFO, "without the managed policy: %s",
			 why	 ? why
			 : r < 0 ? strerror(-r)
				 : "the program loads no start-up hooks");
	return 0;
}

static void load_in_time(void)
{
	due[LOADING].run = NULL;
	if (load_managed(work.tries == 1) == 0)
		return;
	work.tries--;
	work.load_after_usec = 2 * work.load_after_usec + LOAD_AGAIN_USEC;
	later(LOADING, work.load_after_usec, load_in_time);
}

static void react(const struct psb_notification *n)
{
	char cause[PSB_CAUSE_TEXT_MAX];

	keep_code(n->available);
	if (n->kind == PSB_KIND_GONE)
		log_line(&self.log, LOG_INFO,
			 "the cgroup %s was removed; what takes its place will be watched",
			 n->cgroup);
	if (n->reason != PSB_REASON_PRESENT || n->available == PSB_LOW)
		log_line(&self.log, LOG_INFO, "told %s%s%s",
			 log_level((int)n->available, n->critical),
			 psb_cause_text(n, cause) > 0 ? ": " : "", cause);
	if (n->available != PSB_HIGH && !work.asked)
		load_managed(0);
	if (managed_put(n) || !life.running)
		return;
	if (n->available == PSB_LOW &&
	    (self.settings.collect == PSB_COLLECT_LOW ||
	     (self.settings.collect == PSB_COLLECT_CRITICAL && n->critical)))
		collect(n);
}

/* ---- the life of the hook's thread --------------------------------------------------------------- */

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

/* Watches, in place of what was watched before, which stays on an error. Returns 1; 0: stopped meanwhile. */
static int watch(void)
{
	psb_watch *old_watch = work.watch, *new_watch;
	psb_mailbox *old_mailbox = life.mailbox, *mailbox;
	int running, r = psb_watch_new(work.bridge, &self.options, &new_watch);

	if (r < 0)
		return r;
	r = psb_mailbox_new(new_watch, PSB_TELL_PRESENT, &mailbox);
	if (r < 0) {
		psb_watch_unref(new_watch);
		return r;
	}
	work.watch = new_watch;
	managed_watch(new_watch, psb_mailbox_registration(mailbox));
	running = set_mailbox(mailbox);
	psb_mailbox_free(old_mailbox);
	psb_watch_unref(old_watch);
	return running;
}

/* Returns 1, 0 (stopped), or a negative errno, which was told. */
static int arm(void)
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
	r = psb_bridge_new(&bridge_options, &work.bridge);
	if (r == -EINVAL) /* the options are ours and make sense */
		snprintf(why, sizeof(why),
			 "PSIBRIDGE_BACKEND=%.100s: auto, uring or epoll was expected",
			 getenv("PSIBRIDGE_BACKEND") ?: "");
	if (r == 0)
		r = watch();
	self.options.error_text = NULL;
	if (r > 0 && (r = psb_bridge_start(work.bridge)) == 0)
		r = 1;
	if (r == -ENODATA) /* the operator's wish */
		log_line(&self.log, LOG_INFO, "not watching: %s", why[0] ? why : strerror(-r));
	else if (r < 0)
		log_line(&self.log, LOG_WARNING, "cannot watch: %s; the program runs on without",
			 why[0] ? why : strerror(-r));
	return r;
}

/* Nothing tells that a process is moved to another cgroup; only that one was removed is told. So it is looked at. */
static void follow(void)
{
	char now[sizeof(work.cgroup)];
	ssize_t n = pread(work.cgroup_fd, now, sizeof(now) - 1, 0);
	int r;

	later(FOLLOWING, FOLLOW_USEC, follow);
	now[n > 0 ? n : 0] = '\0';
	if (n <= 0 || strcmp(now, work.cgroup) == 0)
		return;
	strcpy(work.cgroup, now);
	r = watch();
	if (r > 0)
		log_ready(&self.log, work.bridge, work.watch);
	else if (r < 0)
		log_line(
			&self.log, LOG_WARNING,
			"was moved to another cgroup, which cannot be watched: %s; goes on with the one before",
			strerror(-r));
}

static void follow_begin(void)
{
	const struct psb_watch_options *o = &self.options;
	ssize_t n;

	work.cgroup_fd = -1;
	if (o->cgroup || o->source)
		return;
	work.cgroup_fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	n = pread(work.cgroup_fd, work.cgroup, sizeof(work.cgroup) - 1, 0);
	if (n > 0)
		later(FOLLOWING, FOLLOW_USEC, follow);
}

static uint64_t idle_usec(uint64_t now)
{
	uint64_t idle = PSB_FOREVER;

	for (int i = 0; i < TIMERS; i++) {
		uint64_t left = due[i].usec > now ? due[i].usec - now : 0;

		if (due[i].run && left < idle)
			idle = left;
	}
	return idle;
}

static void take_all(void)
{
	struct psb_notification n;
	int r;

	for (;;) {
		n.size = sizeof(n);
		r = psb_mailbox_take(life.mailbox, idle_usec(now_usec()), &n);
		if (r < 0)
			return;
		/* before all else: what it says is in the mailbox's memory, and a timer may replace that */
		if (r > 0)
			react(&n);
		for (int i = 0; i < TIMERS; i++)
			if (due[i].run && due[i].usec <= now_usec())
				due[i].run();
	}
}

/* Ends it, and does not wait. Returns whether it was running. */
static int end(void)
{
	int running;

	pthread_mutex_lock(&life.lock);
	running = life.running;
	life.running = 0;
	if (life.mailbox)
		psb_mailbox_close(life.mailbox);
	pthread_mutex_unlock(&life.lock);
	return running;
}

/* On a thread of the managed policy's. */
static void silence(void)
{
	end();
}

static void begin(void)
{
	memset(&work, 0, sizeof(work));
	memset(due, 0, sizeof(due));
	effect_open(&work.effect);
	if (psb_code_new(&work.code) == 0 && self.runtime->code)
		psb_code_keep(work.code, self.runtime->code());
	if (self.runtime->load && managed_open(&self.settings, work.code, silence) == 0) {
		work.tries = LOAD_TRIES;
		work.load_after_usec = self.runtime->load_after_usec;
		later(LOADING, work.load_after_usec, load_in_time);
	}
	follow_begin();
}

static void *hook_run(void *unused)
{
	psb_mailbox *mailbox;

	(void)unused;
	pthread_setname_np(pthread_self(), "psb-hook");
	for (size_t at = 0; at < self.complaints_size; at += strlen(self.complaints + at) + 1)
		log_line(&self.log, LOG_WARNING, "%s", self.complaints + at);
	begin();
	if (arm() > 0) {
		log_ready(&self.log, work.bridge, work.watch);
		take_all();
	}
	measure_at_last();

	managed_watch(NULL, NULL);
	mailbox = life.mailbox;
	set_mailbox(NULL);
	psb_mailbox_free(mailbox);
	psb_watch_unref(work.watch);
	psb_bridge_unref(work.bridge);
	psb_code_free(work.code);
	effect_close(&work.effect);
	if (work.cgroup_fd >= 0)
		close(work.cgroup_fd);
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

/* The environment is read now, before the program changes it, and what is wrong with it told later, by the hook's thread. */
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
	if (tool_is_self())
		self.settings.log_priority = -1;
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
	r = end() ? 0 : -EALREADY;
	pthread_mutex_lock(&life.lock);
	if (pthread_equal(life.thread, pthread_self())) /* a collect() that ends the program */
		r = -EDEADLK;
	while (life.alive && r == 0)
		r = pthread_cond_clockwait(&life.changed, &life.lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&life.lock);
}
