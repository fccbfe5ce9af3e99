/* SPDX-License-Identifier: MIT */
/*
 * bridge.h - one loop, its thread, and what all watches share
 *
 * One mutex a bridge, `lock`, guards everything that more than one thread sees: registrations and
 * their mailboxes, published levels and counters, references. It is held for moments only, never
 * during a callback, a system call that may wait, or an allocation on the way of an event.
 *
 * The life of a watch: made and armed on the caller's thread; attached, run and detached on the
 * loop's; freed when detached. What is posted before there is a loop thread waits in `pending`.
 */
#pragma once

#include "kernel/closer.h"
#include "kernel/loop.h"
#include "psibridge/psibridge.h"

#include <pthread.h>

enum bridge_mode { MODE_UNDECIDED, MODE_THREAD, MODE_FOREIGN };

struct psb_bridge {
	pthread_mutex_t lock;
	pthread_cond_t idle; /* a callback returned, a lingering registration ended */
	unsigned refs;	     /* handles of the host, and one a watch that the host holds */
	uint32_t *alive;     /* 1; a page that reads 0 in a forked child */
	enum bridge_mode mode;
	enum loop_backend backend;
	struct loop *loop;
	const char *why_not_uring;
	struct closer *closer;
	pthread_t thread; /* the library's, or the host's that dispatches, if `driven` */
	bool driven;
	bool stopping;	  /* the thread shall end */
	bool dispatching; /* inside psb_bridge_dispatch() */
	bool ended;	  /* the last reference went inside a dispatch: end when it returns */
	struct loop_work *pending, **pending_last;
	struct psb_watch *watches; /* all that are not freed */
	unsigned lingering;	   /* registrations that are removed and not freed yet */
	psb_log_fn *log;
	void *log_userdata;
};

/* Are these handles those of a parent process? Reads memory only. */
static inline bool bridge_is_child(const struct psb_bridge *bridge)
{
	return *(volatile uint32_t *)bridge->alive == 0;
}

/* Run `work` on the loop's thread, in order. Any thread; with the lock held or not. */
void bridge_post(struct psb_bridge *bridge, struct loop_work *work);

/* What names and variables of other people put into our words must not begin a line of its own. */
void make_one_line(char *text);

_printf_(3, 4) void bridge_log(struct psb_bridge *bridge, int priority, const char *format, ...);

#define LOG_ERROR 3
#define LOG_WARN 4
#define LOG_NOTE 6
