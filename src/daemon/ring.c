/* SPDX-License-Identifier: MIT */
/*
 * ring.c - samples -> lines in a buffer -> a thread -> files
 *
 *     ring_take() --> filling --(each second; sooner when something was told)--> writing --> the thread --> files
 *
 * A write may take long where memory is short or a disk is slow, so a thread does all that touches the file system, and the loop only
 * exchanges two buffers with it. While the thread has one the other fills; what then finds no room is counted, and said in the trace.
 * To wake the thread costs more than the lines do: what was told goes at once, but not more often than four times a second.
 * A disk that is full is tried again each second with what did not fit: what was half written is cut off.
 *
 * Of each cgroup the last sample is known, and the last line (trace_take()), by a hash of its path: eight to a row, and when all
 * are taken the one that was seen least recently goes, whose next sample is then a line.
 *
 * All files of one process count time from its start: the baseline of a stall may be older than the file that it is in.
 */
#include "daemon/ring.h"

#include "core/scan.h"
#include "core/trace.h"
#include "kernel/thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)64 << 10)
#define FLUSH_USEC USEC_PER_SEC
#define TOLD_USEC (USEC_PER_SEC / 4)
#define ROWS 128u
#define WAYS 8u
#define NAME_DIGITS 20
#define FILES_AT_LEAST 8 /* that the bound has room for */

struct known {
	uint64_t hash;
	uint64_t file; /* that its last line is in */
	struct trace_last series;
};

struct buffer {
	size_t size;
	uint64_t file; /* its name */
	char text[BUFFER_BYTES];
};

struct ring {
	sd_event_source *timer;
	struct journal *journal;
	char *directory;       /* NULL: there is none */
	uint64_t bound;	       /* 0: off */
	uint64_t started_usec; /* time 0 */
	struct known (*known)[WAYS];
	uint64_t file, file_bytes; /* the one that is filled, and how much it has so far */
	uint64_t lost;		   /* lines */
	int said;		   /* the error that the journal has; 0: all is well */
	struct buffer *filling;
	uint64_t handed_usec, due_usec; /* the last time that it went to the thread, the next */

	/* under the lock: what the thread and the loop share */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct buffer *writing; /* the thread's while it is busy; empty after it, unless `error` */
	uint64_t may;		/* the bound */
	bool busy, stop, runs;
	int error; /* of the last try */

	/* the thread's */
	int fd;
	uint64_t open_file; /* name of fd */
	uint64_t sum; /* of all files when the directory was read, and what was written since */
};

/* ---- the thread: files --------------------------------------------------------------------------- */

static uint64_t realtime_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static void name_of(uint64_t file, char *name)
{
	sprintf(name, "%0*" PRIu64 ".trace", NAME_DIGITS, file);
}

static bool is_ours(const char *name, uint64_t *ret)
{
	char again[NAME_DIGITS + 8];

	if (strlen(name) != NAME_DIGITS + strlen(".trace"))
		return false;
	*ret = strtoull(name, NULL, 10);
	name_of(*ret, again);
	return strcmp(name, again) == 0;
}

/* The sum of all; *ret_oldest is the one to go first, `keep` last; 0: there is none. One from the future was named by a clock that was wrong,
 * unless ours is, too: then it was set back since. */
static int sum_up(int dirfd, uint64_t keep, uint64_t *ret_sum, uint64_t *ret_oldest)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t file, age, now = MAX(realtime_usec(), keep), oldest = UINT64_MAX;
	struct dirent *entry;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? -errno : -ENOMEM;
	}
	*ret_sum = *ret_oldest = 0;
	while ((entry = readdir(dir))) {
		if (!is_ours(entry->d_name, &file) || fstatat(dirfd, entry->d_name, &st, 0) < 0)
			continue;
		*ret_sum += (uint64_t)st.st_size;
		age = file == keep ? UINT64_MAX - 1 : file > now ? 0 : file;
		if (age < oldest) {
			oldest = age;
			*ret_oldest = file;
		}
	}
	closedir(dir);
	return 0;
}

/* Remove the oldest until `more` has room. Errors: -EFBIG: it has none. */
static int make_room(struct ring *r, int dirfd, uint64_t bound, uint64_t more)
{
	char name[NAME_DIGITS + 8];
	uint64_t oldest = 0;
	int error;

	while ((error = sum_up(dirfd, r->open_file, &r->sum, &oldest)) == 0 &&
	       r->sum + more > bound) {
		name_of(oldest, name);
		if (r->sum == 0 || unlinkat(dirfd, name, 0) < 0)
			return r->sum == 0 ? -EFBIG : -errno;
	}
	return error;
}

static int open_directory(const struct ring *r)
{
	int fd = open(r->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && mkdir(r->directory, 0755) == 0) {
		fd = open(r->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			(void)!fchmod(fd, 0755); /* whatever the umask is */
	}
	return fd < 0 ? -errno : fd;
}

static int write_all(int fd, const char *text, size_t size, off_t at)
{
	ssize_t n = pwrite(fd, text, size, at);
	int r = n < 0 ? -errno : -ENOSPC;

	if (n == (ssize_t)size)
		return 0;
	if (n > 0)
		(void)!ftruncate(fd, at);
	return r;
}

static void close_file(struct ring *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->open_file = 0;
}

/* With its head, if it is new: by now somebody may have removed it. */
static int open_file(struct ring *r, int dirfd, uint64_t file, off_t *ret_size)
{
	char name[NAME_DIGITS + 8], head[TRACE_LINE_MAX];
	struct stat st;
	int error = 0;

	if (r->fd >= 0 && (r->open_file != file || fstat(r->fd, &st) < 0 || st.st_nlink == 0))
		close_file(r);
	if (r->fd < 0) {
		name_of(file, name);
		r->fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (r->fd < 0 || fchmod(r->fd, 0644) < 0 || fstat(r->fd, &st) < 0)
			return -errno;
		r->open_file = file;
	}
	*ret_size = st.st_size;
	if (*ret_size == 0) {
		*ret_size = (off_t)trace_begin(realtime_usec() - (now_usec() - r->started_usec),
					       head);
		error = write_all(r->fd, head, (size_t)*ret_size, 0);
		r->sum += (uint64_t)*ret_size;
	}
	return error;
}

/* Is the open file the one for this, still there, and within the bound? Then the directory is not read: that costs more than the write. */
static bool goes_on(const struct ring *r, const struct buffer *b, uint64_t bound, off_t *ret_size)
{
	struct stat st;

	if (r->fd < 0 || r->open_file != b->file || r->sum + b->size > bound ||
	    fstat(r->fd, &st) < 0 || st.st_nlink == 0)
		return false;
	*ret_size = st.st_size;
	return st.st_size > 0;
}

static int find_file(struct ring *r, const struct buffer *b, uint64_t bound, off_t *ret_size)
{
	int dirfd = open_directory(r), error;

	if (dirfd < 0)
		return dirfd;
	error = make_room(r, dirfd, bound, b->size > 0 ? b->size + TRACE_LINE_MAX : 0);
	if (error == 0 && b->size > 0)
		error = open_file(r, dirfd, b->file, ret_size);
	close(dirfd);
	return error;
}

static int write_buffer(struct ring *r, const struct buffer *b, uint64_t bound)
{
	off_t size;
	int error = goes_on(r, b, bound, &size) ? 0 : find_file(r, b, bound, &size);

	if (error == 0 && b->size > 0)
		error = write_all(r->fd, b->text, b->size, size);
	if (error == 0)
		r->sum += b->size;
	return error;
}

static void *run(void *arg)
{
	struct ring *r = arg;
	uint64_t bound;
	int error;

	pthread_mutex_lock(&r->lock);
	while (r->busy || !r->stop) {
		if (!r->busy) {
			pthread_cond_wait(&r->wake, &r->lock);
			continue;
		}
		bound = r->may;
		pthread_mutex_unlock(&r->lock);
		error = write_buffer(r, r->writing, bound);
		pthread_mutex_lock(&r->lock);
		r->error = error;
		r->busy = false;
		if (error == 0)
			r->writing->size = 0;
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- the loop: lines ------------------------------------------------------------------------------ */

static void say(struct ring *r, int error)
{
	if (error == r->said)
		return;
	if (error < 0)
		journal_log(r->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "the trace cannot be written: %s: %s; it is tried again each second",
			    r->directory, strerror(-error));
	else
		journal_log(r->journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "the trace is written again; lines that are missing: %" PRIu64,
			    r->lost);
	r->said = error;
}

/* The buffer that is filled next is empty, and of which file is known when the first line comes. */
static void begin_buffer(struct ring *r)
{
	struct buffer *b = r->filling;

	if (r->file == 0 || r->file_bytes + BUFFER_BYTES > r->bound / FILES_AT_LEAST) {
		r->file = MAX(realtime_usec(), r->file + 1);
		r->file_bytes = 0;
	}
	b->file = r->file;
	if (r->lost > 0)
		b->size = (size_t)sprintf(b->text, "# lines that are missing here: %" PRIu64 "\n",
					  r->lost);
	r->lost = 0;
}

/* Once it is off the one before holds for what was taken until then: what is there stays. */
static uint64_t bound_of(const struct ring *r)
{
	return r->bound > 0 ? r->bound : r->may;
}

static void hand_over_at(struct ring *r, uint64_t usec)
{
	r->due_usec = usec;
	timer_set(r->timer, usec);
}

/* What there is goes to the thread, if that is idle; first what it could not write. Looked at again in a second, until there is nothing. */
static void hand_over(struct ring *r)
{
	struct buffer *full;
	uint64_t bound = bound_of(r);
	int error = r->said;
	bool rests;

	pthread_mutex_lock(&r->lock);
	if (!r->busy) {
		error = r->error;
		if (error == 0 && r->filling->size > 0) {
			full = r->filling;
			r->filling = r->writing;
			r->writing = full;
		}
		r->busy = r->writing->size > 0 || r->may != bound || error < 0;
		r->may = bound;
	}
	rests = !r->busy && r->filling->size == 0;
	if (r->busy)
		pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	say(r, error);
	r->handed_usec = now_usec();
	if (rests)
		timer_stop(r->timer);
	else
		hand_over_at(r, r->handed_usec + FLUSH_USEC);
}

static int flush(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	hand_over(userdata);
	return 0;
}

static void put_line(struct ring *r, const struct trace_sample *sample, const char *cgroup)
{
	size_t length = strlen(cgroup);
	struct buffer *b = r->filling;
	size_t before;

	if (b->size == 0)
		begin_buffer(r);
	before = b->size;
	if (b->size + TRACE_LINE_MAX + length > BUFFER_BYTES) {
		r->lost++;
		return;
	}
	b->size += trace_format(sample, b->text + b->size);
	memcpy(b->text + b->size, cgroup, length);
	b->size += length;
	b->text[b->size++] = '\n';
	r->file_bytes += b->size - before;
}

static struct known *find(struct ring *r, const char *cgroup)
{
	uint64_t hash = scan_hash(scan_string(cgroup));
	struct known *row = r->known[hash % ROWS], *oldest = row;

	for (struct known *k = row; k < row + WAYS; k++) {
		if (k->hash == hash)
			return k;
		if (k->series.seen.time_usec < oldest->series.seen.time_usec)
			oldest = k;
	}
	*oldest = (struct known){ .hash = hash };
	return oldest;
}

/* The baseline of a new stall may be older than the end of the last one. */
static void no_sooner(struct trace_sample *s, const struct trace_sample *than)
{
	if (s->time_usec >= than->time_usec)
		return;
	s->time_usec = than->time_usec;
	s->some_usec = MAX(s->some_usec, than->some_usec);
	s->full_usec = MAX(s->full_usec, than->full_usec);
}

/* A baseline at another level than High goes on with what was told elsewhere. */
static bool is_told(const struct psb_notification *n)
{
	return n->kind == PSB_KIND_GONE || n->reason != PSB_REASON_PRESENT ||
	       (n->event == EVENT_BEGIN && n->available != PSB_HIGH);
}

/* A line was put: when does it go to the thread? */
static void hand_over_soon(struct ring *r, bool told)
{
	uint64_t now = now_usec(), due = told ? r->handed_usec + TOLD_USEC : now + FLUSH_USEC;

	if (due <= now)
		hand_over(r);
	else if (!timer_is_set(r->timer) || due < r->due_usec)
		hand_over_at(r, due);
}

void ring_take(struct ring *r, const struct psb_notification *n)
{
	struct trace_sample lines[2], sample = {
		.time_usec = usec_sub(n->time_usec, r->started_usec),
		.has_psi = true,
		.some_usec = n->some_total_usec,
		.full_usec = n->full_total_usec,
		.some_avg10_centi = n->some_avg10_centi,
		.full_avg10_centi = n->full_avg10_centi,
		.used_bytes = n->current_bytes,
		.limit_bytes = n->limit_bytes,
		.has_oom = n->oom_events != PSB_UNKNOWN,
		.oom = n->oom_events == PSB_UNKNOWN ? 0 : n->oom_events,
		.event = n->event,
		.told = is_told(n) ? (enum level)n->available : 0,
		.critical = n->critical != 0,
		.reason = (enum reason)n->reason,
		.cause = (enum cause)n->cause,
	};
	struct known *k;
	unsigned count;

	if (r->bound == 0 || !r->runs)
		return;
	k = find(r, n->cgroup);
	if (k->series.begun)
		no_sooner(&sample, &k->series.seen);
	if (k->file !=
	    r->file) /* its line before belongs into this file, too: not what was told then */
		k->series.written.time_usec = 0;
	count = trace_take(&k->series, &sample, lines);
	if (count == 2 && k->file != r->file) {
		lines[0].told = 0;
		lines[0].event = EVENT_TICK;
	}
	for (unsigned i = 0; i < count; i++)
		put_line(r, &lines[i], n->cgroup);
	if (count > 0)
		k->file = r->file;
	if (n->kind == PSB_KIND_GONE)
		k->series.begun = false;
	if (count > 0)
		hand_over_soon(r, sample.told != 0);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* All of it is there, and was touched, before memory is short. */
static int start(struct ring *r)
{
	size_t table = ROWS * sizeof(*r->known);

	r->known = calloc(1, table);
	r->filling = calloc(1, sizeof(*r->filling));
	r->writing = calloc(1, sizeof(*r->writing));
	if (!r->known || !r->filling || !r->writing)
		return -ENOMEM;
	explicit_bzero(r->known, table);
	explicit_bzero(r->filling, sizeof(*r->filling));
	explicit_bzero(r->writing, sizeof(*r->writing));
	r->runs = thread_start(&r->thread, THREAD_STACK_SMALL, run, r) == 0;
	return r->runs ? 0 : -EAGAIN;
}

void ring_apply(struct ring *r, uint64_t bound)
{
	int error = 0;

	r->bound = bound;
	if (bound == 0)
		return;
	if (!r->runs && r->directory)
		error = start(r);
	if (r->runs)
		hand_over(r);
	else if (!r->said)
		journal_log(
			r->journal, LOG_IS_NOTICE, MESSAGE_OTHER, "no trace is kept: %s",
			r->directory
				? strerror(-error)
				: "there is no STATE_DIRECTORY, see Trace= in psibridged.conf(5)");
	r->said = r->runs ? r->said : 1;
}

int ring_new(sd_event *event, struct journal *journal, const char *directory, struct ring **ret)
{
	struct ring *r = calloc(1, sizeof(*r));
	int error = r ? timer_new(event, flush, r, &r->timer) : -ENOMEM;

	if (error < 0) {
		free(r);
		return error;
	}
	r->journal = journal;
	r->fd = -1;
	r->started_usec = now_usec();
	r->directory = directory ? strdup(directory) : NULL;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	*ret = r;
	return 0;
}

struct ring *ring_free(struct ring *r)
{
	if (!r)
		return NULL;
	if (r->runs) {
		pthread_mutex_lock(&r->lock);
		r->stop = true;
		pthread_cond_signal(&r->wake);
		pthread_mutex_unlock(&r->lock);
		pthread_join(r->thread, NULL);
		if (r->error == 0 && r->filling->size > 0)
			(void)write_buffer(r, r->filling, bound_of(r));
		close_file(r);
	}
	sd_event_source_disable_unref(r->timer);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r->known);
	free(r->filling);
	free(r->writing);
	free(r->directory);
	free(r);
	return NULL;
}
