/* SPDX-License-Identifier: MIT */
/*
 * managed.c - the table, and the one piece of news
 *
 * In a slot, the newest wins: a level that was not taken in time is over. One lock for all of it, held for no call that waits but
 * those to the library that are documented not to.
 */
#include "runtimes/managed.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const struct psb_settings *settings;
	void (*silence)(void);
	int open;	  /* there is a hook */
	psb_watch *watch; /* NULL: it is about to watch, or cannot */
	psb_registration *registration;
	int joined, fresh; /* fresh: this was not taken yet: */
	int available, critical, reason, cause;

	pthread_mutex_t code_lock;
	psb_code *code;
} self = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.code_lock = PTHREAD_MUTEX_INITIALIZER,
};

/* ---- the managed side --------------------------------------------------------------------------- */

static int join(struct psb_settings *ret)
{
	int r = 0;

	pthread_mutex_lock(&self.lock);
	if (ret->size != sizeof(*ret))
		r = -EINVAL; /* of another age */
	else if (!self.open)
		r = -ECANCELED;
	else if (self.joined)
		r = -EALREADY;
	if (r == 0) {
		*ret = *self.settings;
		ret->watch = NULL;
		self.joined = 1;
	}
	pthread_mutex_unlock(&self.lock);
	return r;
}

static int take(int *ret_available, int *ret_critical, int *ret_reason, int *ret_cause)
{
	int taken;

	pthread_mutex_lock(&self.lock);
	while (!self.fresh && self.open && self.joined)
		pthread_cond_wait(&self.changed, &self.lock);
	taken = self.open && self.joined;
	self.fresh = 0;
	*ret_available = self.available;
	*ret_critical = self.critical;
	*ret_reason = self.reason;
	*ret_cause = self.cause;
	pthread_mutex_unlock(&self.lock);
	return taken;
}

static void report(uint64_t bytes, uint64_t usec)
{
	pthread_mutex_lock(&self.lock);
	if (self.watch)
		(void)psb_registration_report(self.registration, bytes, usec);
	pthread_mutex_unlock(&self.lock);
}

static int load(struct psb_load *ret)
{
	int r;

	pthread_mutex_lock(&self.lock);
	r = self.watch ? psb_watch_load(self.watch, ret) : -ECANCELED;
	pthread_mutex_unlock(&self.lock);
	return r;
}

static int stats(struct psb_stats *ret)
{
	int r;

	pthread_mutex_lock(&self.lock);
	r = self.watch ? psb_watch_stats(self.watch, ret) : -ECANCELED;
	pthread_mutex_unlock(&self.lock);
	return r;
}

static int keep(const void *address)
{
	int r;

	managed_code_begin();
	r = self.code ? psb_code_keep(self.code, address) : -ECANCELED;
	managed_code_end();
	return r;
}

static void leave(int silent)
{
	pthread_mutex_lock(&self.lock);
	silent = silent && self.joined && self.open;
	self.joined = 0;
	pthread_cond_broadcast(&self.changed);
	pthread_mutex_unlock(&self.lock);
	if (silent)
		self.silence();
}

static const struct managed_table table = {
	sizeof(table), join, take, report, load, stats, keep, leave,
};

/* ---- the hook's side ------------------------------------------------------------------------------ */

static int publish(void)
{
	static int done; /* a mapping that stays */
	int fd, r = 0;

	if (done)
		return 0;
	fd = memfd_create(MANAGED_MAPPING, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(MANAGED_MAPPING, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, &table, sizeof(table)) != (ssize_t)sizeof(table) ||
	    mmap(NULL, sizeof(table), PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
		r = -errno;
	close(fd);
	done = r == 0;
	return r;
}

int managed_open(const struct psb_settings *settings, psb_code *code, void (*silence)(void))
{
	pthread_mutex_lock(&self.lock);
	self.settings = settings;
	self.silence = silence;
	self.joined = self.fresh = 0;
	self.open = 1;
	pthread_mutex_unlock(&self.lock);
	managed_code_begin();
	self.code = code;
	managed_code_end();
	return publish();
}

void managed_watch(psb_watch *watch, psb_registration *registration)
{
	pthread_mutex_lock(&self.lock);
	self.watch = watch;
	self.registration = registration;
	self.open = self.open && watch;
	pthread_cond_broadcast(&self.changed);
	pthread_mutex_unlock(&self.lock);
	if (watch)
		return;
	managed_code_begin();
	self.code = NULL;
	managed_code_end();
}

int managed_joined(void)
{
	int joined;

	pthread_mutex_lock(&self.lock);
	joined = self.joined;
	pthread_mutex_unlock(&self.lock);
	return joined;
}

int managed_put(const struct psb_notification *n)
{
	int joined;

	pthread_mutex_lock(&self.lock);
	joined = self.joined;
	/* also when there is none yet: one that joins is told the present level */
	self.available = (int)n->available;
	self.critical = n->critical;
	self.reason = (int)n->reason;
	self.cause = (int)n->cause;
	self.fresh = 1;
	pthread_cond_broadcast(&self.changed);
	pthread_mutex_unlock(&self.lock);
	return joined;
}

void managed_code_begin(void)
{
	pthread_mutex_lock(&self.code_lock);
}

void managed_code_end(void)
{
	pthread_mutex_unlock(&self.code_lock);
}
