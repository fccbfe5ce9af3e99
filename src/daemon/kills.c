/* SPDX-License-Identifier: MIT */
/*
 * kills.c - the kernel's log -> the journal, and the history
 */
#include "daemon/kills.h"

#include "core/oomkill.h"
#include "daemon/history.h"

#include "kernel/file.h"
#include "kernel/kmsg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

struct kills {
	struct daemon *daemon;
	int fd; /* /dev/kmsg; -1: it cannot be read */
	sd_event_source *source;
	struct oom_kill now; /* the report as read so far */
};

static void say(struct daemon *d, const struct oom_kill *kill)
{
	const uint64_t mib = UINT64_C(1) << 20;
	bool own = strcmp(kill->limit, kill->cgroup) == 0;
	char numbers[64] = "";

	if (kill->limit_bytes > 0)
		snprintf(numbers, sizeof(numbers), "; %llu of %llu MiB in use",
			 (unsigned long long)(kill->usage_bytes / mib),
			 (unsigned long long)(kill->limit_bytes / mib));
	journal_cgroup(d->journal, LOG_IS_WARNING, MESSAGE_KILLED, kill->cgroup,
		       "the kernel killed %s (process %llu) for want of memory, at %s%.200s%s",
		       kill->task, (unsigned long long)kill->pid,
		       own		? "its own limit"
		       : kill->limit[0] ? "the limit of "
					: "the end of the machine's memory",
		       own ? "" : kill->limit, numbers);
}

static void line(const char *text, size_t size, void *userdata)
{
	struct kills *k = userdata;

	if (!oom_kill_line(&k->now, text, size))
		return;
	if (table_judge(k->daemon->table, k->now.cgroup) > 0) {
		say(k->daemon, &k->now);
		history_kill(k->daemon->history, &k->now, now_usec());
	}
	k->now.usage_bytes = k->now.limit_bytes = 0;
}

static int written(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events,
		   void *userdata)
{
	return kmsg_read(fd, line, userdata);
}

int kills_new(struct daemon *d, struct kills **ret)
{
	struct kills *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->daemon = d;
	r = k->fd = kmsg_open(manager_take(d->manager, INHERITED_KMSG));
	if (r >= 0)
		r = sd_event_add_io(d->event, &k->source, k->fd, EPOLLIN, written, k);
	if (r < 0)
		journal_log(d->journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "what the kernel kills is not told: /dev/kmsg: %s", strerror(-r));
	*ret = k;
	return 0;
}

struct kills *kills_free(struct kills *k)
{
	if (!k)
		return NULL;
	sd_event_source_disable_unref(k->source);
	fd_close(&k->fd);
	free(k);
	return NULL;
}
