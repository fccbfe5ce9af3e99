/* SPDX-License-Identifier: MIT */
/*
 * table-watch.c - one watch: whether it could be armed, and when to try again
 *
 *               +-> WATCHING --(its one cgroup is removed)--+
 *     new ------|                                           |
 *       ^       +-> ABSENT (fixed part is not there) <------+
 *       |       |      | path_wait: it appears
 *       +-------|------+
 *       ^       +-> FAILED (cannot be armed)
 *       |              | after 1 s, then twice as long each time
 *       +--------------+
 *
 * A pattern whose fixed part is removed waits for the next one inside the library. One cgroup does not: its watch ends,
 * and it is ABSENT until the cgroup is there again. Only FAILED has a timer.
 */
#include "daemon/table-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_MIN_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)

const char *watch_fixed(const struct watch *w)
{
	return w->pattern ? cgpattern_fixed(w->pattern) : w->path;
}

void watch_disarm(struct watch *w)
{
	w->psb = psb_watch_unref(w->psb);
}

/* Errors: as psb_watch_new(), with words in w->why. */
static int arm(struct watch *w)
{
	struct settings_text text;
	struct psb_watch_options o = {
		.size = sizeof(o),
		.cgroup = w->pattern ? NULL : w->path,
		.pattern = w->pattern ? w->path : NULL,
		/* the machine's pressure says nothing of one cgroup */
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) | PSB_RUNG_MASK(PSB_RUNG_TRIGGER) |
			 PSB_RUNG_MASK(PSB_RUNG_EVENTS) | PSB_RUNG_MASK(PSB_RUNG_SAMPLING),
		.error_text = w->why,
		.error_text_size = sizeof(w->why),
	};
	int r;

	w->why[0] = '\0';
	settings_write(&w->settings.policy, &text, &o);
	r = psb_watch_new(w->table->options.bridge, &o, &w->psb);
	if (r < 0)
		return r;
	r = psb_watch_add_callback(w->psb, w->told, w, PSB_INLINE | PSB_TELL_SOURCE, NULL);
	if (r < 0) {
		snprintf(w->why, sizeof(w->why), "%s", strerror(-r));
		watch_disarm(w);
	}
	return r;
}

static void enter(struct watch *w, enum watch_state state, enum message message, int priority)
{
	const struct table_options *o = &w->table->options;
	bool changed = w->state != state;

	w->state = state;
	if (w->base && state == WATCH_FAILED)
		journal_log(o->journal, priority, message, "%s: the thresholds of %u client%s: %s",
			    w->path, w->subscribers, w->subscribers == 1 ? "" : "s", w->why);
	if (w->base)
		return;
	if (changed || state == WATCH_FAILED)
		journal_log(o->journal, priority, message, "%s: %s", w->path,
			    w->why[0] ? w->why : "watching");
	if (o->news)
		o->news(w->id, NULL, o->userdata);
}

/* With cgroup.pressure 0 and no memory.events it is there, and cannot be watched. */
static bool is_there(const struct watch *w)
{
	int fd = cgroup_open(w->table->options.cgroups, watch_fixed(w));

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void resume_records(struct watch *w)
{
	struct table *t = w->table;

	for (unsigned i = 0; w->subscribers > 0 && i < t->bucket_count; i++)
		for (struct record *r = t->buckets[i], *next; r; r = next) {
			next = r->next; /* a client that is told may leave, and free it */
			if (r->watch == w)
				record_resume(r);
		}
}

static int path_appeared(struct path_wait *wait)
{
	struct watch *w = CONTAINER_OF(wait, struct watch, path_wait);

	(void)watch_start(w);
	return 0;
}

static void retry(struct loop_timer *timer, uint64_t now)
{
	struct watch *w = CONTAINER_OF(timer, struct watch, retry);

	(void)now;
	(void)watch_start(w);
}

int watch_start(struct watch *w)
{
	int r = arm(w);

	if (r == 0) {
		w->retry_usec = RETRY_MIN_USEC;
		enter(w, WATCH_WATCHING, MESSAGE_WATCH_STARTED, LOG_IS_INFO);
		resume_records(w);
	} else if ((r == -ENOENT || r == -ENODEV) && !is_there(w)) {
		snprintf(w->why, sizeof(w->why), "%.200s does not exist yet; waiting for it",
			 watch_fixed(w));
		enter(w, WATCH_ABSENT, MESSAGE_WATCH_ABSENT, LOG_IS_INFO);
		path_wait_start(&w->path_wait, watch_fixed(w), path_appeared);
	} else {
		enter(w, WATCH_FAILED, MESSAGE_WATCH_FAILED, LOG_IS_ERROR);
		loop_timer_set(w->table->options.loop, &w->retry, now_usec() + w->retry_usec);
		w->retry_usec = MIN(2 * w->retry_usec, RETRY_MAX_USEC);
	}
	return r;
}

int watch_new(struct table *table, const char *path, const struct settings *settings,
	      psb_callback_fn *told, struct watch **ret)
{
	size_t size = strlen(path) + 1;
	struct watch *w = calloc(1, sizeof(*w) + size);
	int r = w ? 0 : -ENOMEM;

	if (r == 0 && strchr(path, '*'))
		r = cgpattern_new(path, NULL, &w->pattern, NULL);
	if (r < 0) {
		free(w);
		return r;
	}
	memcpy(w->path, path, size);
	w->table = table;
	w->settings = *settings;
	w->told = told;
	w->state = WATCH_FAILED; /* nothing was tried yet */
	w->retry.expired = retry;
	w->retry_usec = RETRY_MIN_USEC;
	path_wait_init(&w->path_wait, table->options.loop, table->options.cgroups);
	*ret = w;
	return 0;
}

static void released(struct path_wait *wait)
{
	struct watch *w = CONTAINER_OF(wait, struct watch, path_wait);

	cgpattern_free(w->pattern);
	free(w);
}

void watch_end(struct watch *w)
{
	w->ending = true;
	watch_disarm(w);
	loop_timer_stop(w->table->options.loop, &w->retry);
	path_wait_cancel(&w->path_wait, released);
}
