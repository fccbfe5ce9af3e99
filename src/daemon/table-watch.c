/* SPDX-License-Identifier: MIT */
/*
 * table-watch.c - one watch: whether it could be armed, and when to try again
 *
 *               +-> WATCHING --(its one cgroup is removed)--+
 *     new ------|                                           |
 *       ^       +-> ABSENT (fixed part is not there) <------+
 *       |       |      | it appears
 *       +-------|------+
 *       ^       +-> FAILED (cannot be armed)
 *       |              | after 1 s, then twice as long each time
 *       +--------------+
 *
 * A pattern whose fixed part is removed waits for the next one inside the library. One cgroup does not: its watch ends,
 * and it is ABSENT until the cgroup is there again. Only FAILED has a timer.
 *
 * While it is ABSENT inotify is asked about each directory of the path that exists, from the mount down. The last of
 * them tells that the next one was made. The others tell that the one below was removed: the removed directory itself
 * does not, for kernfs leaves the link count of a removed inode as it was, and the kernel sends IN_DELETE_SELF when that
 * is 0 (seen on 6.18: only the parent's IN_DELETE). Each is asked before the directory below is looked up, and the path
 * once more when all are: no change is missed. Other names made and removed in these directories cost a wake-up.
 */
#include "daemon/table-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define RETRY_MIN_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)
#define LOOK_USEC (10 * USEC_PER_SEC) /* where inotify fails */

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

	for (unsigned i = 0; w->subscribers > 0 && i < BUCKETS; i++)
		for (struct record *r = SLIST_FIRST(&t->buckets[i]), *next; r; r = next) {
			next = SLIST_NEXT(r,
					  next); /* a client that is told may leave, and free it */
			if (r->watch == w)
				record_resume(r);
		}
}

/* ---- waiting for its cgroup ---------------------------------------------------------------------- */

static void stop_listening(struct watch *w)
{
	for (size_t i = 0; i < LEVELS_MAX; i++)
		w->listeners[i] = sd_event_source_disable_unref(w->listeners[i]);
}

/* Is it one of the names in our path? */
static bool is_ours(const char *path, const char *name)
{
	size_t size = strlen(name);

	while ((path = strchr(path, '/'))) {
		path++;
		if (strncmp(path, name, size) == 0 && (path[size] == '/' || path[size] == '\0'))
			return true;
	}
	return false;
}

static int changed(_unused_ sd_event_source *source, const struct inotify_event *event,
		   void *userdata)
{
	struct watch *w = userdata;

	/* without a name it is about the queue, or the directory itself */
	if (event->len == 0 || is_ours(watch_fixed(w), event->name))
		timer_set(w->retry, now_usec());
	return 0;
}

static int listen_down(struct watch *w)
{
	const uint32_t mask = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
	const char *fixed = watch_fixed(w);
	char path[2 * CGPATH_MAX];
	size_t size = 0;

	for (size_t i = 0; i < LEVELS_MAX; i++) {
		int r;

		snprintf(path, sizeof(path), "%s%.*s", w->table->options.cgroups->v2.point,
			 (int)size, fixed);
		r = sd_event_add_inotify(w->table->options.event, &w->listeners[i], path, mask,
					 changed, w);
		if (r < 0) /* not there: the one above says when it will be */
			return r == -ENOENT && i > 0 ? 0 : r;
		if (!fixed[size])
			return 0;
		size += 1 + strcspn(fixed + size + 1, "/");
	}
	return -ENOSPC;
}

static int retry(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	(void)watch_start(userdata);
	return 0;
}

int watch_start(struct watch *w)
{
	int r = arm(w);

	stop_listening(w);
	timer_stop(w->retry);
	if (r == 0) {
		w->retry_usec = RETRY_MIN_USEC;
		enter(w, WATCH_WATCHING, MESSAGE_WATCH_STARTED, LOG_IS_INFO);
		resume_records(w);
	} else if ((r == -ENOENT || r == -ENODEV) && !is_there(w)) {
		snprintf(w->why, sizeof(w->why), "%.200s does not exist yet; waiting for it",
			 watch_fixed(w));
		enter(w, WATCH_ABSENT, MESSAGE_WATCH_ABSENT, LOG_IS_INFO);
		if (listen_down(w) < 0)
			timer_set(w->retry, now_usec() + LOOK_USEC);
		if (is_there(w))
			timer_set(w->retry, now_usec());
	} else {
		enter(w, WATCH_FAILED, MESSAGE_WATCH_FAILED, LOG_IS_ERROR);
		timer_set(w->retry, now_usec() + w->retry_usec);
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

	if (r == 0)
		r = timer_new(table->options.event, retry, w, &w->retry);
	if (r >= 0 && strchr(path, '*'))
		r = cgpattern_new(path, NULL, &w->pattern, NULL);
	if (r < 0) {
		if (w)
			watch_end(w);
		return r;
	}
	memcpy(w->path, path, size);
	w->table = table;
	w->settings = *settings;
	w->told = told;
	w->state = WATCH_FAILED; /* nothing was tried yet */
	w->retry_usec = RETRY_MIN_USEC;
	*ret = w;
	return 0;
}

void watch_end(struct watch *w)
{
	stop_listening(w);
	watch_disarm(w);
	sd_event_source_disable_unref(w->retry);
	cgpattern_free(w->pattern);
	free(w);
}
