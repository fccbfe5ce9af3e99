/* SPDX-License-Identifier: MIT */
/*
 * table-watch.c - one watch: whether it could be armed, and when to try again
 *
 *     watch_start() --> WATCHING --(its one cgroup is removed)--> watch_start()
 *          |
 *          +----------> ABSENT (the fixed part is not there) --(it appears)--> watch_start()
 *          |
 *          +----------> FAILED (it cannot be armed) --(10 s)--> watch_start()
 *
 * A pattern whose fixed part is removed waits for the next one inside the library. One cgroup does not: the table starts
 * its watch again. Only FAILED has a timer.
 *
 * While it is ABSENT inotify is asked about the last directory of the path that exists, which tells that the next one was
 * made, and about the one above, which tells that it was removed: the removed directory itself does not, for kernfs leaves
 * the link count of a removed inode as it was, and the kernel sends IN_DELETE_SELF when that is 0 (seen on 6.18). Only an
 * empty cgroup can be removed and none renamed, so nothing above that can change. The path is looked at again when both
 * are listened to: no change is missed. Other names made and removed in these directories cost a wake-up.
 *
 * All ask for the same events. sd-event has one queue for what is asked of a directory, and what none of its sources wants
 * any more, since the one that did was given up, stays at its head: sd_event_wait(3) then never returns
 * (event_inotify_data_process() in sd-event.c, 252 and 257; seen with 252).
 */
#include "daemon/table-watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define RETRY_USEC (10 * USEC_PER_SEC)
#define FILE_MAX (2 * CGPATH_MAX)

const char *watch_fixed(const struct watch *w)
{
	return w->pattern ? cgpattern_fixed(w->pattern) : w->path;
}

/* Errors: as psb_watch_new(), with words in w->why. */
static int arm(struct watch *w)
{
	struct settings_text text;
	struct psb_watch_options o = {
		.size = sizeof(o),
		.cgroup = w->pattern ? NULL : w->path,
		.pattern = w->pattern ? w->path : NULL,
		/* the machine's pressure says nothing of one cgroup but the root */
		.rungs = strcmp(w->path, "/") == 0 ? 0
						   : PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) |
							     PSB_RUNG_MASK(PSB_RUNG_TRIGGER) |
							     PSB_RUNG_MASK(PSB_RUNG_EVENTS) |
							     PSB_RUNG_MASK(PSB_RUNG_SAMPLING),
		.error_text = w->why,
		.error_text_size = sizeof(w->why),
	};
	int r;

	w->psb = psb_watch_unref(w->psb);
	w->why[0] = '\0';
	settings_write(&w->settings.policy, &text, &o);
	r = psb_watch_new(w->owner->options.bridge, &o, &w->psb);
	if (r < 0)
		return r;
	r = psb_watch_add_callback(w->psb, w->owner->told, w,
				   PSB_INLINE | PSB_TELL_SOURCE | PSB_TELL_EFFECT |
					   (w->base ? 0 : PSB_TELL_SAMPLE),
				   NULL);
	if (r < 0) {
		snprintf(w->why, sizeof(w->why), "%s", strerror(-r));
		w->psb = psb_watch_unref(w->psb);
	}
	return r;
}

/* ---- waiting for its cgroup ---------------------------------------------------------------------- */

/* The last directory of its path that exists, into file[FILE_MAX]. Is that the whole path? */
static bool find_existing(const struct watch *w, char *file)
{
	const char *mount = w->owner->options.cgroups->v2.point;

	snprintf(file, FILE_MAX, "%s%s", mount, watch_fixed(w));
	if (access(file, F_OK) == 0)
		return true;
	do
		*strrchr(file, '/') = '\0';
	while (strlen(file) > strlen(mount) && access(file, F_OK) < 0);
	return false;
}

/* Of its own path only. Without a name it is about the queue. */
static int path_changed(_unused_ sd_event_source *source, const struct inotify_event *event,
			void *userdata)
{
	char name[NAME_MAX + 3], path[CGPATH_MAX + 2];
	struct watch *w = userdata;

	snprintf(name, sizeof(name), "/%s/", event->len > 0 ? event->name : "");
	snprintf(path, sizeof(path), "%s/", watch_fixed(w));
	if (event->len == 0 || strstr(path, name))
		timer_set(w->retry, now_usec());
	return 0;
}

static int listen_to(struct watch *w, const char *directory, sd_event_source **ret)
{
	return sd_event_add_inotify(w->owner->options.event, ret, directory,
				    IN_CREATE | IN_DELETE | IN_ONLYDIR, path_changed, w);
}

static void stop_listening(struct watch *w)
{
	w->made = sd_event_source_disable_unref(w->made);
	w->removed = sd_event_source_disable_unref(w->removed);
}

static void listen_for_it(struct watch *w)
{
	const char *mount = w->owner->options.cgroups->v2.point;
	char last[FILE_MAX], file[FILE_MAX];
	int r;

	find_existing(w, last);
	snprintf(file, sizeof(file), "%s", last);
	r = listen_to(w, last, &w->made);
	if (r >= 0 && strcmp(last, mount) != 0) {
		*strrchr(file, '/') = '\0';
		r = listen_to(w, file, &w->removed);
	}
	if (find_existing(w, file) || strcmp(file, last) != 0)
		timer_set(w->retry, now_usec());
	else if (r < 0)
		timer_set(w->retry, now_usec() + RETRY_USEC);
}

/* ---- states -------------------------------------------------------------------------------------- */

/* `was` is what was said of it last. */
static void enter(struct watch *w, enum watch_state state, const char *was, enum message message,
		  int priority)
{
	bool is_news = w->state != state || strcmp(w->why, was) != 0;

	w->state = state;
	if (is_news && (!w->base || state == WATCH_FAILED))
		journal_log(w->owner->options.journal, priority, message, "%s%s: %s", w->path,
			    w->base ? ", thresholds of clients" : "",
			    w->why[0] ? w->why : "watching");
	w->owner->changed(w);
}

int watch_start(struct watch *w)
{
	char was[sizeof(w->why)], file[FILE_MAX];
	int r;

	strcpy(was, w->why);
	r = arm(w);
	stop_listening(w);
	timer_stop(w->retry);
	if (r == 0) {
		enter(w, WATCH_WATCHING, was, MESSAGE_WATCH_STARTED, LOG_IS_INFO);
	} else if ((r == -ENOENT || r == -ENODEV) && !find_existing(w, file)) {
		snprintf(w->why, sizeof(w->why), "%.200s does not exist yet; waiting for it",
			 watch_fixed(w));
		listen_for_it(w);
		enter(w, WATCH_ABSENT, was, MESSAGE_WATCH_ABSENT, LOG_IS_INFO);
	} else { /* such as a cgroup without PSI and memory.events */
		timer_set(w->retry, now_usec() + RETRY_USEC);
		enter(w, WATCH_FAILED, was, MESSAGE_WATCH_FAILED, LOG_IS_ERROR);
	}
	return r;
}

/* ---- what it told --------------------------------------------------------------------------------- */

/* A pattern's watch is Low as long as anything is that it measures, though a more specific one judges it. */
void watch_count(struct watch *w, const struct psb_notification *n)
{
	bool is_level = n->kind == PSB_KIND_LEVEL, is_low = is_level && n->available == PSB_LOW;

	w->low += is_low;
	w->critical += is_level && n->critical;
	w->neutral += is_level && n->available == PSB_NEUTRAL;
	w->high += is_level && n->available == PSB_HIGH;
	if (is_low)
		w->low_last_usec = n->time_usec;
	if (is_low && w->low_since_usec == 0) {
		w->low_since_usec = n->time_usec;
	} else if (w->low_since_usec > 0 && psb_watch_available(w->psb, NULL) != PSB_LOW) {
		w->low_usec = watch_low_usec(w);
		w->low_since_usec = 0;
	}
}

uint64_t watch_low_usec(const struct watch *w)
{
	return w->low_usec + (w->low_since_usec > 0 ? usec_sub(now_usec(), w->low_since_usec) : 0);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static int retry(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	(void)watch_start(userdata);
	return 0;
}

int watch_new(struct watch_owner *owner, const char *path, const struct settings *settings,
	      struct watch **ret)
{
	size_t size = strlen(path) + 1;
	struct watch *w = calloc(1, sizeof(*w) + size);
	int r = w ? timer_new(owner->options.event, retry, w, &w->retry) : -ENOMEM;

	if (r >= 0 && strchr(path, '*'))
		r = cgpattern_new(path, NULL, &w->pattern, NULL);
	if (r < 0) {
		if (w)
			watch_end(w);
		return r;
	}
	memcpy(w->path, path, size);
	w->owner = owner;
	w->settings = *settings;
	w->state = WATCH_FAILED;
	w->made_usec = now_usec();
	*ret = w;
	return 0;
}

void watch_end(struct watch *w)
{
	stop_listening(w);
	psb_watch_unref(w->psb);
	sd_event_source_disable_unref(w->retry);
	cgpattern_free(w->pattern);
	free(w);
}
