/* SPDX-License-Identifier: MIT */
/*
 * refusals.c - the first refusal is logged at once, those of the next ten seconds in one line
 */
#include "daemon/refusals.h"

#include <stdarg.h>
#include <stdio.h>

#define REFUSALS_USEC (10 * USEC_PER_SEC)

static void log_refusals(struct refusals *r, uint64_t now)
{
	if (r->untold == 1)
		journal_log(r->daemon->journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
			    "refused a client: %s", r->why);
	else
		journal_log(r->daemon->journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
			    "clients refused: %llu, the last one: %s",
			    (unsigned long long)r->untold, r->why);
	r->untold = 0;
	r->logged_usec = now;
}

static int due(_unused_ sd_event_source *timer, uint64_t usec, void *userdata)
{
	struct refusals *r = userdata;

	if (r->untold > 0)
		log_refusals(r, usec);
	return 0;
}

int refusals_init(struct refusals *r, struct daemon *daemon)
{
	*r = (struct refusals){ .daemon = daemon };
	return timer_new(daemon->event, due, r, &r->timer);
}

void refusals_add(struct refusals *r, const char *format, ...)
{
	uint64_t now = now_usec();
	va_list args;

	va_start(args, format);
	vsnprintf(r->why, sizeof(r->why), format, args);
	va_end(args);
	r->count++;
	r->untold++;
	if (r->logged_usec == 0 || now - r->logged_usec >= REFUSALS_USEC)
		log_refusals(r, now);
	else
		timer_set(r->timer, r->logged_usec + REFUSALS_USEC);
}

void refusals_end(struct refusals *r)
{
	r->timer = sd_event_source_disable_unref(r->timer);
	if (r->untold > 0)
		log_refusals(r, now_usec());
}
