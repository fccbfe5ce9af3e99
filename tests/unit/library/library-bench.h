/* SPDX-License-Identifier: MIT */
/*
 * library-bench.h - a bridge, a source the test speaks through, and receivers that hear
 *
 * Each promise is kept on both backends, and those that say INLINE_TOO() with callbacks on a thread of
 * their own and inline. The state of a test is its `struct variant`. Where io_uring cannot be had its
 * variants are skipped, or, where deny-io-uring forbids it on purpose, left out.
 *
 * The source is a FIFO or a socket in a directory of our own, as in systemd's protocol: no cgroup, right or pressure is needed.
 * AWAIT() waits for a condition, and its time is an upper bound. What must *not* happen is looked at after something later did.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>

#include "../unit.h"
#include "../../skip.h"
#include "../fake-root.h"
#include "core/util.h"
#include "psibridge/tools.h"

#define LONG_USEC (600 * USEC_PER_SEC)	 /* longer than any test */
#define PATIENCE_SEC 20			 /* for what must happen */
#define GLANCE_USEC (30 * USEC_PER_MSEC) /* for what must not */

struct variant {
	const char *name;
	enum psb_backend backend;
	unsigned flags; /* of the callbacks */
};

static const struct variant variants[] = {
	{ "io_uring", PSB_BACKEND_URING, 0 },
	{ "io_uring, inline", PSB_BACKEND_URING, PSB_INLINE },
	{ "epoll", PSB_BACKEND_EPOLL, 0 },
	{ "epoll, inline", PSB_BACKEND_EPOLL, PSB_INLINE },
};

/* A promise that is worth keeping inline too. */
#define INLINE_TOO(name) PROMISE_FLAGS(name, 1)

static inline bool suits(const void *row, const struct promise *promise)
{
	const struct variant *v = row;

	return (!v->flags || promise->flags) &&
	       (v->backend != PSB_BACKEND_URING || !getenv("PSIBRIDGE_TEST_DENIED"));
}

/* ---- receivers ------------------------------------------------------------------------------------ */

#define RECEIVED_MAX 64

struct receiver {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned calls, inside;
	bool held;     /* a call waits inside until hold_receiver(rx, false) */
	pid_t tid;     /* of who is about to wait for it */
	unsigned done; /* for tests: what else has happened */
	int result;    /* ... and what came of it */
	struct psb_notification received[RECEIVED_MAX];
	char cgroup[64]; /* as read at the end of the newest call */
	uint64_t at_usec[RECEIVED_MAX];
	void (*act)(struct receiver *rx, const struct psb_notification *n); /* without the lock */
	psb_registration *registration, *other;
	psb_bridge *bridge;
	psb_watch *watch;
};

static inline uint64_t clock_usec(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

static inline struct timespec from_now(uint64_t usec)
{
	uint64_t at = clock_usec(CLOCK_MONOTONIC) + usec;

	return (struct timespec){ .tv_sec = (time_t)(at / USEC_PER_SEC),
				  .tv_nsec = (long)(at % USEC_PER_SEC * NSEC_PER_USEC) };
}

/* Also in a forked child, where another thread's copy of the lock is never unlocked. */
static inline void receiver_init_lock(struct receiver *rx)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&rx->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&rx->changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

static inline void receiver_init(struct receiver *rx)
{
	*rx = (struct receiver){ 0 };
	receiver_init_lock(rx);
}

static inline void receiver_destroy(struct receiver *rx)
{
	pthread_cond_destroy(&rx->changed);
	pthread_mutex_destroy(&rx->lock);
}

/* The callback. */
static inline void receive(const struct psb_notification *n, void *userdata)
{
	struct receiver *rx = userdata;

	pthread_mutex_lock(&rx->lock);
	rx->received[rx->calls % RECEIVED_MAX] = *n;
	rx->at_usec[rx->calls % RECEIVED_MAX] = clock_usec(CLOCK_MONOTONIC);
	rx->calls++;
	rx->inside++;
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
	if (rx->act)
		rx->act(rx, n);
	pthread_mutex_lock(&rx->lock);
	while (rx->held)
		pthread_cond_wait(&rx->changed, &rx->lock);
	snprintf(rx->cgroup, sizeof(rx->cgroup), "%s", n->cgroup);
	rx->inside--;
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
}

static inline void hold_receiver(struct receiver *rx, bool held)
{
	pthread_mutex_lock(&rx->lock);
	rx->held = held;
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
}

static inline void note_done(struct receiver *rx, int result)
{
	pthread_mutex_lock(&rx->lock);
	rx->done++;
	rx->result = result;
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
}

/* For what nobody is told of: looks twice a millisecond. */
#define AWAIT_SEEN(condition)                                                                \
	do {                                                                                 \
		uint64_t _until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_SEC * USEC_PER_SEC; \
		while (!(condition)) {                                                       \
			if (clock_usec(CLOCK_MONOTONIC) > _until)                            \
				fail_msg("waited in vain for: %s", #condition);              \
			usleep(500);                                                         \
		}                                                                            \
	} while (0)

/* Waits until `condition`, which may look at *rx, or for `usec`. Returns: whether it came. */
#define AWAIT_FOR(rx, condition, usec)                                                            \
	({                                                                                        \
		struct timespec _until = from_now(usec);                                          \
		bool _met;                                                                        \
		pthread_mutex_lock(&(rx)->lock);                                                  \
		while (!(_met = (condition)) &&                                                   \
		       pthread_cond_timedwait(&(rx)->changed, &(rx)->lock, &_until) != ETIMEDOUT) \
			;                                                                         \
		pthread_mutex_unlock(&(rx)->lock);                                                \
		_met;                                                                             \
	})
#define AWAIT(rx, condition)                                                \
	do {                                                                \
		if (!AWAIT_FOR(rx, condition, PATIENCE_SEC * USEC_PER_SEC)) \
			fail_msg("waited in vain for: %s", #condition);     \
	} while (0)

/* One member, read under the lock. */
#define READ(rx, member)                           \
	({                                         \
		typeof((rx)->member) _value;       \
		pthread_mutex_lock(&(rx)->lock);   \
		_value = (rx)->member;             \
		pthread_mutex_unlock(&(rx)->lock); \
		_value;                            \
	})

/* A thread that is about to wait says so in `rx`, and others look until it sleeps, or is done. */
static inline void about_to_wait(struct receiver *rx)
{
	pthread_mutex_lock(&rx->lock);
	rx->tid = (pid_t)syscall(SYS_gettid);
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
}

static inline bool sleeps(pid_t tid)
{
	char path[64], state = 'S'; /* of one that has ended, too */
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	stat = fopen(path, "re");
	if (!stat)
		return true;
	(void)!fscanf(stat, "%*d (%*[^)]) %c", &state);
	fclose(stat);
	return state == 'S';
}

static inline void await_waiting(struct receiver *rx)
{
	int seen = 0;

	AWAIT(rx, rx->tid != 0);
	while (seen < 3 && READ(rx, done) == 0) { /* a lock is waited for once, perhaps */
		seen = sleeps(READ(rx, tid)) ? seen + 1 : 0;
		usleep(500);
	}
}

/* Number `i` of what it received, from 0. */
static inline struct psb_notification received(struct receiver *rx, unsigned i)
{
	assert_true(i < READ(rx, calls));
	return READ(rx, received[i % RECEIVED_MAX]);
}

static inline bool last_is(const struct receiver *rx, enum psb_available available)
{
	return rx->calls > 0 && rx->received[(rx->calls - 1) % RECEIVED_MAX].available == available;
}

/* What it was told from number `from` on, a letter each: Low, Critical, Neutral, High, Gone, Source. Under its lock. */
static inline const char *letters(const struct receiver *rx, unsigned from)
{
	static char text[RECEIVED_MAX + 1];
	unsigned n = 0;

	for (; from < rx->calls; from++) {
		const struct psb_notification *r = &rx->received[from % RECEIVED_MAX];

		text[n++] = r->kind == PSB_KIND_GONE	 ? 'G'
			    : r->kind == PSB_KIND_SOURCE ? 'S'
			    : r->critical		 ? 'C'
							 : "?LNH"[r->available & 3];
	}
	text[n] = '\0';
	return text;
}

/* Waits until it was told so much, and that it is that. */
static inline void await_told(struct receiver *rx, unsigned from, const char *wanted)
{
	AWAIT(rx, rx->calls >= from + strlen(wanted) && rx->inside == 0);
	pthread_mutex_lock(&rx->lock);
	assert_string_equal(letters(rx, from), wanted);
	pthread_mutex_unlock(&rx->lock);
}

/* How many of that kind; under its lock. */
static inline unsigned of_kind(const struct receiver *rx, enum psb_kind kind)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rx->calls; i++)
		n += rx->received[i % RECEIVED_MAX].kind == kind;
	return n;
}

/* ---- sources ---------------------------------------------------------------------------------- */

/* A path in the directory of our own, valid until 8 calls later. */
static inline const char *in_directory(const char *name)
{
	return fake_path(name);
}

static inline const char *make_fifo(const char *name)
{
	const char *path = in_directory(name);

	assert_true(mkfifo(path, 0600) == 0 || errno == EEXIST);
	return path;
}

static inline int open_fifo(const char *name)
{
	int fd = open(in_directory(name), O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* No call waits longer than the patience of a test. The end of an io_uring interrupts system calls of the thread that made it. */
static inline int accept_soon(int listener)
{
	struct timeval patience = { .tv_sec = PATIENCE_SEC };
	int fd;

	setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	do {
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static inline ssize_t recv_soon(int fd, void *bytes, size_t size)
{
	ssize_t n;

	do {
		n = recv(fd, bytes, size, 0);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* ---- bridges and watches ------------------------------------------------------------------------ */

static inline psb_bridge *make_bridge_that_logs(const struct variant *variant, psb_log_fn *log,
						void *userdata)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = variant->backend,
					      .log = log,
					      .log_userdata = userdata };
	psb_bridge *bridge;
	int r = psb_bridge_new(&options, &bridge);

	if (r < 0 && variant->backend == PSB_BACKEND_URING)
		SKIP("io_uring cannot be had here");
	assert_int_equal(r, 0);
	return bridge;
}

static inline psb_bridge *make_bridge(const struct variant *variant)
{
	return make_bridge_that_logs(variant, NULL, NULL);
}

static inline struct psb_watch_options quick_options(const char *source)
{
	return (struct psb_watch_options){
		.size = sizeof(struct psb_watch_options),
		.source = source,
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PROTOCOL),
		.early = "some 20ms/100ms",
		.low = "some 50ms/100ms",
		.critical = "full 90ms/100ms",
		.rearm_usec = LONG_USEC,
		.quiet_usec = 100 * USEC_PER_MSEC,
		.calm_usec = 200 * USEC_PER_MSEC,
		.headroom_percent = PSB_HEADROOM_OFF,
	};
}

/* On our own cgroup: so that real pressure, of whatever runs beside us, stays under every threshold. */
static inline void be_deaf(struct psb_watch_options *options)
{
	options->rungs = 0;
	options->early = options->low = "some 10s/10s";
	options->critical = "full 10s/10s";
}

/* A watch that listens to a FIFO, repeats a Low as often as told, and ends Low after `quiet_usec`,
 * Neutral after as long again. */
static inline psb_watch *watch_fifo(psb_bridge *bridge, uint64_t quiet_usec)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	psb_watch *watch;

	options.rearm_usec = 1;
	options.quiet_usec = quiet_usec;
	options.calm_usec = 2 * quiet_usec;
	assert_int_equal(psb_watch_new(bridge, &options, &watch), 0);
	return watch;
}

static inline struct psb_source source_of(psb_watch *watch)
{
	static struct psb_source source;

	source.size = sizeof(source);
	assert_int_equal(psb_watch_source(watch, &source), 0);
	return source;
}

static inline void need_rungs(void **state, unsigned rungs)
{
	struct psb_watch_options options = { .size = sizeof(options), .rungs = rungs };
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch = NULL;
	int r = psb_watch_new(bridge, &options, &watch);

	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	if (r < 0)
		SKIP("no other source: PSI of our own cgroup or the machine cannot be had here");
}

/* Not by the protocol. */
static inline void need_another_rung(void **state)
{
	need_rungs(state, ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL));
}

/* "": there is none. */
static inline const char *cgroup2_mount(void)
{
	static const char *const points[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

	for (size_t i = 0; i < ELEMENTSOF(points); i++) {
		struct statfs s;

		if (statfs(points[i], &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC)
			return points[i];
	}
	return "";
}

/* ---- a bench ------------------------------------------------------------------------------- */

/* A bridge, a watch, who listens to it, and the other end of its source. The fixture ends those that are left. */
struct bench {
	const struct variant *variant;
	psb_bridge *bridge;
	psb_watch *watch;
	struct receiver rx, fence;
	int listener, peer;
	char log[1024]; /* under rx.lock, of bench_that_logs() */
};

static struct bench *benches[4];

static inline void keep_line(void *userdata, int priority, const char *message)
{
	struct bench *b = userdata;
	size_t n;

	(void)priority;
	pthread_mutex_lock(&b->rx.lock);
	n = strlen(b->log);
	snprintf(b->log + n, sizeof(b->log) - n, "%s\n", message);
	pthread_cond_broadcast(&b->rx.changed);
	pthread_mutex_unlock(&b->rx.lock);
}

static inline struct bench *bench_alone(void **state, psb_log_fn *log)
{
	struct bench *b = calloc(1, sizeof(*b));
	size_t i = 0;

	assert_non_null(b);
	while (benches[i])
		i++;
	assert_true(i < ELEMENTSOF(benches));
	benches[i] = b;
	b->variant = *state;
	b->listener = b->peer = -1;
	receiver_init(&b->rx);
	receiver_init(&b->fence);
	b->bridge = make_bridge_that_logs(*state, log, b);
	return b;
}

/* Neither a watch yet, nor a driver. */
static inline struct bench *bench_bare(void **state)
{
	return bench_alone(state, NULL);
}

/* ... and what the bridge logs is in ->log. */
static inline struct bench *bench_that_logs(void **state)
{
	return bench_alone(state, keep_line);
}

static inline void bench_free(struct bench *b)
{
	for (size_t i = 0; i < ELEMENTSOF(benches); i++)
		if (benches[i] == b)
			benches[i] = NULL;
	psb_watch_unref(b->watch);
	psb_bridge_unref(b->bridge);
	receiver_destroy(&b->rx);
	receiver_destroy(&b->fence);
	if (b->listener >= 0)
		close(b->listener);
	if (b->peer >= 0)
		close(b->peer);
	free(b);
}

static inline void listen_with(struct bench *b, struct receiver *rx, unsigned flags)
{
	rx->bridge = b->bridge;
	rx->watch = b->watch;
	assert_int_equal(psb_watch_add_callback(b->watch, receive, rx, flags, &rx->registration),
			 0);
}

/* It runs, and ->rx listens; `flags` beside those of the variant. */
static inline struct bench *bench_with(void **state, const struct psb_watch_options *options,
				       unsigned flags)
{
	struct bench *b = bench_bare(state);

	assert_int_equal(psb_watch_new(b->bridge, options, &b->watch), 0);
	listen_with(b, &b->rx, b->variant->flags | flags);
	assert_int_equal(psb_bridge_start(b->bridge), 0);
	return b;
}

/* A watch that stays at the level it is told; nobody drives it yet. */
static inline struct bench *bench_at_rest(void **state)
{
	struct bench *b = bench_bare(state);

	b->watch = watch_fifo(b->bridge, LONG_USEC);
	return b;
}

static inline struct bench *bench_new(void **state)
{
	struct bench *b = bench_at_rest(state);

	assert_int_equal(psb_bridge_start(b->bridge), 0);
	return b;
}

/* A promise about such a bench; the second is worth keeping inline too. */
#define BENCH_FLAGS(name, flags)                \
	static void name##_on(struct bench *b); \
	PROMISE_FLAGS(name, flags)              \
	{                                       \
		name##_on(bench_new(state));    \
	}                                       \
	static void name##_on(struct bench *b)
#define BENCH(name) BENCH_FLAGS(name, 0)
#define BENCH_INLINE_TOO(name) BENCH_FLAGS(name, 1)

#define assert_received(b, i, level, why)                                 \
	do {                                                              \
		assert_int_equal(received(&(b)->rx, i).available, level); \
		assert_int_equal(received(&(b)->rx, i).reason, why);      \
	} while (0)

static inline void say(struct bench *b, enum psb_available available)
{
	assert_int_equal(psb_watch_simulate(b->watch, available, 0), 0);
}

static inline struct psb_stats stats_of(struct bench *b)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	assert_int_equal(psb_watch_stats(b->watch, &stats), 0);
	return stats;
}

static inline void await_log(struct bench *b, const char *words)
{
	if (!AWAIT_FOR(&b->rx, strstr(b->log, words) != NULL, PATIENCE_SEC * USEC_PER_SEC))
		fail_msg("\"%s\" was not logged, but: %s", words, b->log);
}

/* ---- around each promise ---------------------------------------------------------------------- */

static int descriptors_before;

static inline int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static inline void before_test(void **state)
{
	(void)state;
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	unsetenv("PSIBRIDGE_BACKEND");
	/* what a test that failed left behind does not read with us */
	unlink(in_directory("fifo"));
	descriptors_before = count_descriptors();
}

static void (*end_more)(void); /* what else a file has to end */

/* A bridge that was given up inside a callback ends on a thread of its own: that may take a moment. */
static inline int no_descriptor_is_left(void **state)
{
	uint64_t until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_SEC / 4 * USEC_PER_SEC;
	int now;

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(benches); i++)
		if (benches[i])
			bench_free(benches[i]);
	if (end_more)
		end_more();
#if defined(__SANITIZE_THREAD__)
	return 0; /* its symbolizer is a process with pipes */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
	return 0;
#endif
#endif
	while ((now = count_descriptors()) != descriptors_before) {
		if (clock_usec(CLOCK_MONOTONIC) > until) {
			print_error("%d descriptors before, %d after\n", descriptors_before, now);
			return -1;
		}
		usleep(1000);
	}
	return 0;
}

GROUP(fake_set_up, fake_tear_down)
VARIANTS(variants, suits)
FIXTURE(before_test, no_descriptor_is_left)
