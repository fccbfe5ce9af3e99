/* SPDX-License-Identifier: MIT */
/*
 * memoryhigh.c - look at all cgroups now and then, and put memory.high where it is missing
 *
 * The kernel tells of no cgroup that is made, and of no limit that changes; so they are looked at, once a second, less often where
 * that takes long (a thousandth of the time), and every ten seconds at least. A look goes through the patterns, then through the
 * entries of which it has not seen that they are right: those are taken back. That is all there is to the end of a setting, of
 * a watch, and of the daemon (nothing is asked for any more), and to a process before us that was killed.
 *
 * An entry is written before memory.high, and cleared after it: killed in between, the next process finds that what stands there
 * is not ours. memory.high that reads "max" again (systemd writes it when it applies a unit's properties) is one without, and
 * gets it again; any other value is its owner's.
 *
 * Where more is in use than memory.high is to be, the kernel before 6.16 makes the writer reclaim the difference (memory_high_write()
 * in mm/memcontrol.c), for seconds if need be; a later one asks O_NONBLOCK. A thread writes there, one at a time.
 */
#include "daemon/memoryhigh.h"

#include "core/keyed.h"
#include "kernel/cgwalk.h"
#include "kernel/file.h"
#include "kernel/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_USEC USEC_PER_SEC
#define LOOK_MOST_USEC (10 * USEC_PER_SEC)
#define LOOK_SHARE 1000
#define NO_LIMIT UINT64_MAX

/* What one [Watch] asks for. */
struct wish {
	const char *path; /* the configuration's */
	unsigned percent, set, failed;
	int error; /* as logged last; 0: all is well */
	char why[320];
};

struct memoryhigh {
	struct memoryhigh_options options;
	sd_event_source *timer;
	struct wish wishes[CONFIG_WATCHES_MAX], *wish; /* the one at hand */
	size_t count;
	uint64_t look; /* its number, from 1 on */
	uint32_t next; /* where the next entry probably stands: looks have one order */
};

/* The thread that writes; a process ends without it. */
static struct {
	uint64_t inode;
	int fd;
	char text[24];
	bool busy, joinable;
	pthread_t thread;
} writer;

/* ---- one file ------------------------------------------------------------------------------------ */

static int read_number(int dirfd, const char *name, uint64_t *ret)
{
	char text[32];
	size_t size;
	int r = file_read(dirfd, name, text, sizeof(text), &size);

	return r < 0 ? r : limit_parse(text, size, ret);
}

static void *write_elsewhere(_unused_ void *arg)
{
	(void)!write(writer.fd, writer.text, strlen(writer.text));
	close(writer.fd);
	__atomic_store_n(&writer.busy, false, __ATOMIC_RELEASE);
	return NULL;
}

static bool is_being_written(uint64_t inode)
{
	return __atomic_load_n(&writer.busy, __ATOMIC_ACQUIRE) && writer.inode == inode;
}

/* Errors: -EAGAIN: another one is being written. */
static int start_writer(int fd, uint64_t inode, const char *text)
{
	if (__atomic_load_n(&writer.busy, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	if (writer.joinable)
		pthread_join(writer.thread, NULL);
	writer.inode = inode;
	writer.fd = fd;
	strcpy(writer.text, text);
	writer.busy = true;
	writer.joinable = thread_start(&writer.thread, THREAD_STACK_SMALL, write_elsewhere, NULL) ==
			  0;
	if (!writer.joinable)
		writer.busy = false;
	return writer.joinable ? 0 : -EAGAIN;
}

/* Errors: -errno of open(2) or write(2); -EAGAIN: not now. */
static int write_high(int dirfd, uint64_t inode, uint64_t bytes)
{
	int fd = openat(dirfd, "memory.high", O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK), r = 0;
	uint64_t current = 0;
	char text[24] = "max\n";

	if (fd < 0)
		return -errno;
	if (bytes != NO_LIMIT) {
		snprintf(text, sizeof(text), "%" PRIu64 "\n", bytes);
		(void)read_number(dirfd, "memory.current", &current);
	}
	if (bytes < current) {
		r = start_writer(fd, inode, text);
		if (r == 0)
			return 0;
	} else if (write(fd, text, strlen(text)) < 0) {
		r = -errno;
	}
	close(fd);
	return r;
}

/* ---- what is remembered -------------------------------------------------------------------------- */

static void forget(struct high_state *e)
{
	__atomic_store_n(&e->inode, 0, __ATOMIC_RELEASE);
}

/* The one of that inode; of 0 a free one. */
static struct high_state *find(struct memoryhigh *h, uint64_t inode)
{
	struct high_states *s = h->options.states;

	for (uint32_t i = 0; i < s->used; i++) {
		uint32_t at = (h->next + i) % s->used;

		if (s->entries[at].inode == inode) {
			h->next = at + 1;
			return &s->entries[at];
		}
	}
	return inode == 0 && s->used < HIGHS_MAX ? &s->entries[s->used++] : NULL;
}

/* False: it is to be tried again. */
static bool take_back(struct memoryhigh *h, struct high_state *e)
{
	bool unsure = is_being_written(
		e->inode); /* asked first: what is read then was there before or after */
	int dirfd = cgroup_open(h->options.cgroups, e->cgroup), r = 0;
	uint64_t high = NO_LIMIT;
	struct stat st;

	if (dirfd < 0)
		return !is_shortage(dirfd);
	if (fstat(dirfd, &st) == 0 && st.st_ino == e->inode)
		r = read_number(dirfd, "memory.high", &high);
	if (r == 0 && high == e->set_bytes)
		r = write_high(dirfd, e->inode, NO_LIMIT);
	close(dirfd);
	if (r < 0 && r != -ENOENT && r != -ENODEV && !is_shortage(r))
		journal_cgroup(h->options.journal, LOG_IS_WARNING, MESSAGE_OTHER, e->cgroup,
			       "memory.high of %" PRIu64 " bytes cannot be taken back: %s",
			       e->set_bytes, strerror(-r));
	return !is_shortage(r) && !(high == NO_LIMIT && unsure);
}

/* All that was not seen since look `from`. Returns how many are left to be tried again. */
static unsigned take_back_unseen(struct memoryhigh *h, uint64_t from)
{
	struct high_states *s = h->options.states;
	unsigned left = 0, done = 0;

	for (struct high_state *e = s->entries; e < s->entries + s->used; e++) {
		if (e->inode == 0 || e->look >= from)
			continue;
		if (take_back(h, e)) {
			forget(e);
			done++;
		} else {
			left++;
		}
	}
	if (done > 0)
		journal_log(h->options.journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "MemoryHighAt=: memory.high is no longer set, cgroups: %u", done);
	return left;
}

/* ---- a look -------------------------------------------------------------------------------------- */

static void fail(struct memoryhigh *h, int error, const char *cgroup, const char *why)
{
	struct wish *w = h->wish;

	if (w->failed++ > 0)
		return;
	snprintf(w->why, sizeof(w->why), "%.240s: %s", cgroup, why);
	if (w->error != error)
		journal_log(h->options.journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "%.200s: MemoryHighAt=: %s", w->path, w->why);
	w->error = error;
}

static int set(struct memoryhigh *h, int dirfd, const char *path, uint64_t inode, uint64_t bytes)
{
	struct high_state *e = find(h, 0);
	int r;

	if (!e || strlen(path) >= sizeof(e->cgroup)) {
		fail(h, -ENOSPC, path,
		     e ? "its path is too long to be remembered"
		       : "there are too many such cgroups to be remembered");
		return 0;
	}
	e->set_bytes = bytes;
	e->look = h->look;
	strcpy(e->cgroup, path);
	__atomic_store_n(&e->inode, inode, __ATOMIC_RELEASE);
	r = write_high(dirfd, inode, bytes);
	if (r == 0) {
		h->wish->set++;
		journal_cgroup(h->options.journal, LOG_IS_INFO, MESSAGE_OTHER, path,
			       "memory.high is set to %" PRIu64 " bytes, %u %% of memory.max",
			       bytes, h->wish->percent);
		return 0;
	}
	forget(e);
	if (r != -EAGAIN && r != -ENODEV && r != -ENOENT && !is_shortage(r))
		fail(h, r, path, strerror(-r));
	return is_shortage(r) ? r : 0;
}

static int visit(int dirfd, const char *path, void *userdata)
{
	struct memoryhigh *h = userdata;
	const struct wish *w = h->wish;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), max, high, bytes;
	int r = read_number(dirfd, "memory.max", &max);
	struct high_state *e;
	struct stat st;

	if (r < 0 || max == NO_LIMIT) /* the most, and then nothing more is read */
		return is_shortage(r) ? r : 0;
	bytes = max / page * w->percent / 100 * page;
	r = read_number(dirfd, "memory.high", &high);
	if (r < 0 || bytes == 0 || fstat(dirfd, &st) < 0 ||
	    !h->options.judges(h->options.userdata, path, w->path))
		return is_shortage(r) ? r : 0;
	e = find(h, st.st_ino);
	if (e && ((e->set_bytes == bytes && high == bytes) || is_being_written(st.st_ino))) {
		e->look = h->look;
		h->wish->set++;
		return 0;
	}
	if (e && high == e->set_bytes) { /* memory.max changed, or the percentage */
		if (!take_back(h, e))
			return 0;
		high = NO_LIMIT;
	}
	if (e)
		forget(e);
	return high == NO_LIMIT ? set(h, dirfd, path, st.st_ino, bytes) : 0;
}

static uint64_t cpu_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void look(struct memoryhigh *h)
{
	uint64_t begun = cpu_usec(), from = ++h->look, took;
	bool v1 = h->options.cgroups->has_v1;
	unsigned left;

	for (h->wish = h->wishes; h->wish < h->wishes + h->count; h->wish++) {
		h->wish->set = h->wish->failed = 0;
		h->wish->why[0] = '\0';
		if (v1)
			fail(h, -EOPNOTSUPP, "/",
			     "the memory controller is on cgroup v1, which has no memory.high");
		else if (is_shortage(cgwalk(h->options.cgroups, h->wish->path, visit, h)))
			from = 0; /* it did not see all */
		if (h->wish->failed == 0)
			h->wish->error = 0;
	}
	left = take_back_unseen(h, from);
	took = cpu_usec() - begun;
	if (h->count > 0 || left > 0)
		timer_set(h->timer,
			  now_usec() + CLAMP(took * LOOK_SHARE, LOOK_USEC, LOOK_MOST_USEC));
}

static int look_again(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	look(userdata);
	return 0;
}

/* ---- for others ---------------------------------------------------------------------------------- */

void memoryhigh_apply(struct memoryhigh *h, const struct config *config)
{
	timer_stop(h->timer);
	h->count = 0;
	for (size_t i = 0; i < config->watch_count; i++) {
		const struct config_watch *w = &config->watches[i];

		if (w->memory_high_at > 0)
			h->wishes[h->count++] = (struct wish){ .path = w->path,
							       .percent = w->memory_high_at };
	}
	look(h);
}

void memoryhigh_view(const struct memoryhigh *h, const char *path, struct memoryhigh_view *ret)
{
	*ret = (struct memoryhigh_view){ .why = "" };
	for (const struct wish *w = h->wishes; w < h->wishes + h->count; w++)
		if (strcmp(w->path, path) == 0)
			*ret = (struct memoryhigh_view){ w->percent, w->set, w->failed, w->why };
}

int memoryhigh_new(const struct memoryhigh_options *options, struct memoryhigh **ret)
{
	struct memoryhigh *h = calloc(1, sizeof(*h));
	int r = h ? timer_new(options->event, look_again, h, &h->timer) : -ENOMEM;

	if (r < 0) {
		free(h);
		return r;
	}
	h->options = *options;
	*ret = h;
	return 0;
}

/* The writer's value stands there a moment after it was started: what it is to reclaim then is not waited for. */
struct memoryhigh *memoryhigh_free(struct memoryhigh *h)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (!h)
		return NULL;
	for (int i = 0; take_back_unseen(h, UINT64_MAX) > 0 && i < 1000; i++)
		nanosleep(&pause, NULL);
	sd_event_source_disable_unref(h->timer);
	free(h);
	return NULL;
}
