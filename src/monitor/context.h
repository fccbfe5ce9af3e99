/* SPDX-License-Identifier: MIT */
/*
 * context.h - what all monitors of one event loop share
 *
 * It belongs to the owner of the loop (a psb_bridge) and outlives every monitor. This folder knows
 * nothing else of its owner, but for the tables of functions in monitor.h and group.h.
 */
#pragma once

#include "core/util.h"
#include "kernel/closer.h"
#include "kernel/loop.h"
#include "psibridge/tools.h" /* of which this folder uses the structures only */

struct monitor_context {
	struct loop *loop;     /* another one after psb_bridge_fd(), before anything is attached */
	struct closer *closer; /* closes what takes long to close */
	uint32_t *alive;       /* 1; on a page that reads 0 in a forked child */
	psb_log_fn *log;       /* may be NULL */
	void *log_userdata;
};

/* Does all of this belong to a parent process? Reads memory only. */
static inline bool context_is_child(const struct monitor_context *context)
{
	return *(volatile uint32_t *)context->alive == 0;
}

/* A line for the owner's log, of at most 511 bytes; control characters are replaced. Any thread. */
_printf_(3, 4) void context_log(const struct monitor_context *context, int priority,
				const char *format, ...);

/* Priorities: syslog(3)'s numbers. */
#define LOG_ERROR 3
#define LOG_WARN 4
#define LOG_NOTE 6
