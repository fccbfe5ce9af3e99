/* SPDX-License-Identifier: MIT */
/*
 * library-bench.h - a bridge, a source the test speaks through, and receivers that hear
 *
 * Each promise is kept on both backends, and those that say INLINE_TOO() with callbacks on a thread of their own and inline. The
 * state of a test is its `struct variant`. Where io_uring cannot be had its variants are skipped, or, where deny-io-uring forbids it
 * on purpose, left out.
 *
 * The source is a FIFO or a socket in a directory of our own, as in systemd's protocol: no cgroup, right or pressure is needed.
 *
 * What is told is a letter each: Low, Critical, Neutral, High, Gone, Source. say(b, "LN") simulates levels, hear(&b->rx, "LN") waits
 * until exactly that was told since the last hear(). What must *not* happen is looked at after something later did.
 */
#pragma once

#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "../unit.h"
#include "../fake-root.h"
#include "../../threads.h"
#include "core/util.h"
#include "kernel/loop.h"
#include "psibridge/tools.h"

#define LONG_USEC (600 * USEC_PER_SEC) /* longer than any test */
#define PATIENCE_SEC 20		       /* for what must happen */
#define PATIENCE_USEC (PATIENCE_SEC * USEC_PER_SEC)
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

/* Zeros are one that is ready. */
struct receiver {
	pthread_mutex_t lock;
	unsigned calls, inside;
	unsigned heard; /* calls that hear() knows */
	bool held;	/* a call waits inside until this is false */
	pid_t tid;	/* of who is about to wait for it */
	unsigned done;	/* for tests: what else has happened */
	int result;	/* ... and what came of it */
	struct psb_notification received[RECEIVED_MAX];
	uint64_t at_usec[RECEIVED_MAX];
	char cgroup[64]; /* as read at the end of the newest call */
	void (*act)(struct receiver *rx, const struct psb_notification *n); /* without the lock */
	void *other;							    /* for act() */
	psb_registration *registration;
	psb_bridge *bridge;
	psb_watch *watch;
};

static inline void lock(struct receiver *rx)
{
	if (rx)
		pthread_mutex_lock(&rx->lock);
}

static inline void unlock(struct receiver *rx)
{
	if (rx)
		pthread_mutex_unlock(&rx->lock);
}

/* Waits until `condition`, which may look at *rx, or for `usec`: looks twice a millisecond. Returns: whether it came. */
#define AWAIT_FOR(rx, condition, usec)                        \
	({                                                    \
		uint64_t _until = usec_add(now_usec(), usec); \
		struct receiver *_rx = rx;                    \
		bool _met;                                    \
		for (;;) {                                    \
			lock(_rx);                            \
			_met = (condition);                   \
			unlock(_rx);                          \
			if (_met || now_usec() > _until)      \
				break;                        \
			usleep(500);                          \
		}                                             \
		_met;                                         \
	})
#define AWAIT(rx, condition)                                            \
	do {                                                            \
		if (!AWAIT_FOR(rx, condition, PATIENCE_USEC))           \
			fail_msg("waited in vain for: %s", #condition); \
	} while (0)
/* For what no receiver is told of. */
#define AWAIT_SEEN(condition) AWAIT(NULL, condition)

/* One member, read under the lock. */
#define READ(rx, member)                     \
	({                                   \
		typeof((rx)->member) _value; \
		lock(rx);                    \
		_value = (rx)->member;       \
		unlock(rx);                  \
		_value;                      \
	})

static inline void hold(struct receiver *rx, bool held)
{
	lock(rx);
	rx->held = held;
	unlock(rx);
}

static inline void note_done(struct receiver *rx, int result)
{
	lock(rx);
	rx->done++;
	rx->result = result;
	unlock(rx);
}

/* The callback. */
static inline void receive(const struct psb_notification *n, void *userdata)
{
	struct receiver *rx = userdata;

	lock(rx);
	rx->received[rx->calls % RECEIVED_MAX] = *n;
	rx->at_usec[rx->calls % RECEIVED_MAX] = now_usec();
	rx->calls++;
	rx->inside++;
	unlock(rx);
	if (rx->act)
		rx->act(rx, n);
	AWAIT_FOR(rx, !rx->held, USEC_NEVER);
	lock(rx);
	snprintf(rx->cgroup, sizeof(rx->cgroup), "%s", n->cgroup);
	rx->inside--;
	unlock(rx);
}

/* Number `i` of what it received, from 0. */
static inline struct psb_notification received(struct receiver *rx, unsigned i)
{
	assert_true(i < READ(rx, calls));
	return READ(rx, received[i % RECEIVED_MAX]);
}

static inline char letter(const struct psb_notification *n)
{
	if (n->kind == PSB_KIND_GONE)
		return 'G';
	if (n->kind == PSB_KIND_SOURCE)
		return 'S';
	return n->critical ? 'C' : "?LNH"[n->available & 3];
}

static inline void hear(struct receiver *rx, const char *wanted)
{
	unsigned n = (unsigned)strlen(wanted), from = rx->heard;
	char told[RECEIVED_MAX + 1] = "";

	AWAIT(rx, rx->calls >= from + n && (rx->inside == 0 || rx->held));
	lock(rx);
	while (rx->heard < rx->calls) {
		told[rx->heard - from] = letter(&rx->received[rx->heard % RECEIVED_MAX]);
		rx->heard++;
	}
	unlock(rx);
	assert_string_equal(told, wanted);
}

/* The newest is of that letter; under its lock. */
static inline bool last_is(const struct receiver *rx, char wanted)
{
	return rx->calls > 0 && letter(&rx->received[(rx->calls - 1) % RECEIVED_MAX]) == wanted;
}

/* Whatever came before. */
static inline void hear_last(struct receiver *rx, char wanted)
{
	AWAIT(rx, last_is(rx, wanted) && rx->inside == 0);
	rx->heard = READ(rx, calls);
}

/* A thread that is about to wait says so in `rx`, and others look until it sleeps, or is done. */
static inline void about_to_wait(struct receiver *rx)
{
	lock(rx);
	rx->tid = (pid_t)syscall(SYS_gettid);
	unlock(rx);
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

/* ---- sources, in a directory of our own ---------------------------------------------------------------------------------- */

static inline const char *make_fifo(const char *name)
{
	const char *path = fake_path(name);

	assert_true(mkfifo(path, 0600) == 0 || errno == EEXIST);
	return path;
}

static inline int open_fifo(const char *name)
{
	int fd = open(fake_path(name), O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

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

/* ---- a bench ------------------------------------------------------------------------------- */

/* A bridge, a watch, who listens to it, and the other end of its source. The fixture ends those that are left. */
struct bench {
	const struct variant *variant;
	psb_bridge *bridge;
	psb_watch *watch;
	psb_mailbox *mailbox;
	struct receiver rx, fence;
	int listener, peer;
	char log[1024]; /* under rx.lock */
};

static struct bench *benches[4];

static inline void keep_line(void *userdata, _unused_ int priority, const char *message)
{
	struct bench *b = userdata;
	size_t n;

	lock(&b->rx);
	n = strlen(b->log);
	snprintf(b->log + n, sizeof(b->log) - n, "%s\n", message);
	unlock(&b->rx);
}

static inline void await_log(struct bench *b, const char *words)
{
	if (!AWAIT_FOR(&b->rx, strstr(b->log, words) != NULL, PATIENCE_USEC))
		fail_msg("\"%s\" was not logged, but: %s", words, b->log);
}

/* Neither a watch yet, nor a driver. */
static inline struct bench *bench_bare(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct psb_bridge_options options = { .size = sizeof(options),
					      .log = keep_line,
					      .log_userdata = b };
	size_t i = 0;
	int r;

	assert_non_null(b);
	while (benches[i])
		i++;
	assert_true(i < ELEMENTSOF(benches));
	benches[i] = b;
	b->variant = *state;
	b->listener = b->peer = -1;
	options.backend = b->variant->backend;
	r = psb_bridge_new(&options, &b->bridge);
	if (r < 0 && options.backend == PSB_BACKEND_URING)
		SKIP("io_uring cannot be had here");
	assert_int_equal(r, 0);
	return b;
}

/* Every second time the bridge is given up before its watch. */
static inline void bench_free(struct bench *b)
{
	static bool bridge_first;

	for (size_t i = 0; i < ELEMENTSOF(benches); i++)
		if (benches[i] == b)
			benches[i] = NULL;
	bridge_first = !bridge_first;
	if (bridge_first)
		psb_bridge_unref(steal(b->bridge));
	psb_mailbox_free(b->mailbox);
	psb_watch_unref(b->watch);
	psb_bridge_unref(b->bridge);
	if (b->listener >= 0)
		close(b->listener);
	if (b->peer >= 0)
		close(b->peer);
	free(b);
}

static inline void arm(struct bench *b, const struct psb_watch_options *options)
{
	assert_int_equal(psb_watch_new(b->bridge, options, &b->watch), 0);
}

static inline void run(struct bench *b)
{
	assert_int_equal(psb_bridge_start(b->bridge), 0);
}

static inline void listen_with(struct bench *b, struct receiver *rx, unsigned flags)
{
	rx->bridge = b->bridge;
	rx->watch = b->watch;
	assert_int_equal(psb_watch_add_callback(b->watch, receive, rx, flags, &rx->registration),
			 0);
}

/* In the way of the variant. */
static inline void listen_to(struct bench *b, struct receiver *rx)
{
	listen_with(b, rx, b->variant->flags);
}

/* A watch that listens to a FIFO, repeats a Low as often as told, and ends Low after `quiet_usec`, Neutral after as long again. */
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

/* It runs, and ->rx listens; `flags` beside those of the variant. */
static inline struct bench *bench_with(void **state, const struct psb_watch_options *options,
				       unsigned flags)
{
	struct bench *b = bench_bare(state);

	arm(b, options);
	listen_with(b, &b->rx, b->variant->flags | flags);
	run(b);
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

	run(b);
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

static inline void say(struct bench *b, const char *levels)
{
	for (; *levels; levels++)
		assert_int_equal(psb_watch_simulate(b->watch,
						    *levels == 'H'   ? PSB_HIGH
						    : *levels == 'N' ? PSB_NEUTRAL
								     : PSB_LOW,
						    *levels == 'C'),
				 0);
}

/* One after the other. */
static inline void say_and_hear(struct bench *b, struct receiver *rx, const char *levels)
{
	for (; *levels; levels++) {
		const char one[] = { *levels, '\0' };

		say(b, one);
		hear(rx, one);
	}
}

#define assert_received(b, i, why) assert_int_equal(received(&(b)->rx, i).reason, why)

static inline struct psb_stats stats_of(struct bench *b)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	assert_int_equal(psb_watch_stats(b->watch, &stats), 0);
	return stats;
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
	struct bench *b = bench_bare(state);
	int r = psb_watch_new(b->bridge, &options, &b->watch);

	bench_free(b);
	if (r < 0)
		SKIP("no other source: PSI of our own cgroup or the machine cannot be had here");
}

/* Not by the protocol. */
static inline void need_another_rung(void **state)
{
	need_rungs(state, ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL));
}

/* ---- around each promise ---------------------------------------------------------------------- */

static int descriptors_before;

static inline void before_test(_unused_ void **state)
{
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	unsetenv("PSIBRIDGE_BACKEND");
	/* what a test that failed left behind does not read with us */
	unlink(fake_path("fifo"));
	descriptors_before = (int)descriptors_open();
}

static void (*end_more)(void); /* what else a file has to end */

/* A bridge that was given up inside a callback ends on a thread of its own: that may take a moment. */
static inline int no_descriptor_is_left(_unused_ void **state)
{
	bool none_left;

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
	none_left = AWAIT_FOR(NULL, (int)descriptors_open() == descriptors_before,
			      PATIENCE_USEC / 4);
	if (!none_left)
		print_error("%d descriptors before, %d after\n", descriptors_before,
			    (int)descriptors_open());
	return none_left ? 0 : -1;
}

GROUP(fake_set_up, fake_tear_down)
VARIANTS(variants, suits)
FIXTURE(before_test, no_descriptor_is_left)
