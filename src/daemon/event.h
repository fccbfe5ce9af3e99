/* SPDX-License-Identifier: MIT */
/*
 * event.h - sd-event(3) in the words of this folder
 *
 * A timer is a source that stays: it is set, stopped and set again, which allocates nothing. All are exact to a
 * millisecond.
 */
#pragma once

#include "core/util.h"
#include "kernel/loop.h" /* now_usec() */

#include <systemd/sd-event.h>

/* Off at first. Errors: -ENOMEM. */
static inline int timer_new(sd_event *event, sd_event_time_handler_t fn, void *userdata,
			    sd_event_source **ret)
{
	int r = sd_event_add_time(event, ret, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, fn, userdata);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static inline void timer_set(sd_event_source *timer, uint64_t usec)
{
	(void)sd_event_source_set_time(timer, usec);
	(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static inline void timer_stop(sd_event_source *timer)
{
	(void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}

static inline bool timer_is_set(sd_event_source *timer)
{
	return sd_event_source_get_enabled(timer, NULL) > 0;
}
