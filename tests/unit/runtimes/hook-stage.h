/* SPDX-License-Identifier: MIT */
/*
 * hook-stage.h - a hook (src/runtimes/hook.h) with a runtime that a test moves
 *
 * The runtime is `struct fake`: its garbage is real memory, which collect() gives back, so that RSS
 * is what it says. Its pressure comes from a double of psibridged, so a level lasts until the test
 * tells another one, and no clock takes part. What the hook writes to stderr comes through a pipe, and tests wait for lines
 * of it: no line is lost, and each is looked at: is it one of those that hook.h promises?
 */
#pragma once

#include <poll.h>
#include <regex.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/sockios.h>

#define NO_VARIANTS /* the hook takes the backend that is to be had */
#include "../library/library-bench.h"
#include "core/wire.h"
#include "runtimes/hook.h"

#define MIB(n) ((size_t)(n) << 20)
#define LINES_MAX 256

struct fake {
	struct receiver rx; /* `calls`: collections begun; `inside`: running */
	int result;	    /* what collect() returns */
	unsigned work_usec; /* how long it takes, at least */
	void *garbage;
	size_t garbage_size;
	char thread_name[16]; /* of who collects, */
	sigset_t blocked;     /* and the signals that do not go there */
	uint64_t returned_usec;
	unsigned steps;		/* how often settle() wants to be called, */
	unsigned step_usec;	/* and after what time again */
	unsigned settled;	/* how often it was */
	uint64_t settled_bytes; /* and what the process had then */
	void (*act)(struct fake *fake);
	struct hook *hook;
	int peer; /* the hook's connection to our psibridged, 0: there is none */
};

static struct fake *on_stage[2]; /* for what a test that failed left behind */
static char said[LINES_MAX][800];
static unsigned said_count, read_count; /* lines that came, lines that were waited for */
static int said_fd = -1, real_stderr = -1, listener = -1;

/* ---- the runtime --------------------------------------------------------------------------------- */

/* Memory that is there: by raw calls, for a sanitizer would add to it. */
static inline void fake_grow(struct fake *fake, size_t size)
{
	size_t whole = fake->garbage_size + size;
	void *p = (void *)syscall(SYS_mmap, NULL, whole, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	pthread_mutex_lock(&fake->rx.lock);
	if (fake->garbage)
		syscall(SYS_munmap, fake->garbage, fake->garbage_size);
	fake->garbage = p;
	fake->garbage_size = whole;
	pthread_mutex_unlock(&fake->rx.lock);
}

/* Its members are under the rx's lock. */
#define SET(fake, member, value)                        \
	do {                                            \
		pthread_mutex_lock(&(fake)->rx.lock);   \
		(fake)->member = value;                 \
		pthread_mutex_unlock(&(fake)->rx.lock); \
	} while (0)

static inline int fake_collect(void *userdata)
{
	struct fake *fake = userdata;
	struct receiver *rx = &fake->rx;
	void (*act)(struct fake *);
	unsigned work_usec;
	int result;

	pthread_mutex_lock(&rx->lock);
	rx->calls++;
	rx->inside++;
	pthread_getname_np(pthread_self(), fake->thread_name, sizeof(fake->thread_name));
	pthread_sigmask(SIG_BLOCK, NULL, &fake->blocked);
	pthread_cond_broadcast(&rx->changed);
	while (rx->held)
		pthread_cond_wait(&rx->changed, &rx->lock);
	result = fake->result;
	work_usec = fake->work_usec;
	act = fake->act;
	pthread_mutex_unlock(&rx->lock);
	if (work_usec > 0) /* the time it takes is what the test looks at */
		usleep(work_usec);
	if (act)
		act(fake);
	pthread_mutex_lock(&rx->lock);
	if (fake->garbage && result == 0) {
		syscall(SYS_munmap, fake->garbage, fake->garbage_size);
		fake->garbage = NULL;
		fake->garbage_size = 0;
	}
	rx->inside--;
	fake->returned_usec = clock_usec(CLOCK_MONOTONIC);
	pthread_cond_broadcast(&rx->changed);
	pthread_mutex_unlock(&rx->lock);
	return result;
}

static inline int fake_settle(uint64_t rss_bytes, void *userdata, uint64_t *ret_next_usec)
{
	struct fake *fake = userdata;
	int go;

	pthread_mutex_lock(&fake->rx.lock);
	fake->settled_bytes = rss_bytes;
	go = ++fake->settled < fake->steps;
	*ret_next_usec = fake->step_usec;
	pthread_cond_broadcast(&fake->rx.changed);
	pthread_mutex_unlock(&fake->rx.lock);
	return go;
}

static const struct hook_runtime fake_runtime = {
	.name = "fake",
	.collect = fake_collect,
};

static inline unsigned collected(struct fake *fake)
{
	return READ(&fake->rx, calls);
}

/* ---- what is said -------------------------------------------------------------------------------- */

static inline void assert_documented(const char *line)
{
	static const char *const forms[] = {
		"ready: rung [1-6], [a-z-]+ on /.*, (io_uring|epoll)",
		"told (Low \\(memory is short\\)|Low, critical \\(memory is very short\\)|Neutral|"
		"High \\(memory is plentiful\\))",
		"collected: [0-9]+\\.[0-9] -> [0-9]+\\.[0-9] MiB, [0-9]+ ms",
		"kept: [0-9]+\\.[0-9] MiB, (little has grown since the last collection|"
		"the last collection is not long ago)",
		"ended",
		"the runtime did not collect: .*",
		"(not watching|cannot watch): .*",
		"watching the whole machine, not this cgroup: .*",
		"the cgroup .* was removed; what takes its place will be watched",
		"PSIBRIDGE.*(the default counts|did you mean PSIBRIDGE_[A-Z_]+\\?)",
	};
	char pattern[300];
	regex_t regex;

	for (size_t i = 0; i < ELEMENTSOF(forms); i++) {
		bool met;

		snprintf(pattern, sizeof(pattern), "^psibridge\\[fake\\]: %s$", forms[i]);
		assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
		met = regexec(&regex, line, 0, NULL, 0) == 0;
		regfree(&regex);
		if (met)
			return;
	}
	fail_msg("hook.h knows no such line: %s", line);
}

/* Takes in what is there, and waits up to `usec` for more. False: nothing came. */
static inline bool listen_to_stderr(uint64_t usec)
{
	static char buf[2 * sizeof(said[0])];
	static size_t used;
	struct pollfd p = { .fd = said_fd, .events = POLLIN };
	char *newline;
	ssize_t n;

	if (poll(&p, 1, (int)(usec / USEC_PER_MSEC)) <= 0)
		return false;
	n = read(said_fd, buf + used, sizeof(buf) - used);
	if (n <= 0)
		return false;
	used += (size_t)n;
	while ((newline = memchr(buf, '\n', used)) != NULL) {
		size_t length = (size_t)(newline - buf);

		assert_true(length < sizeof(said[0]) && said_count < LINES_MAX);
		memcpy(said[said_count], buf, length);
		said[said_count++][length] = '\0';
		used -= length + 1;
		memmove(buf, newline + 1, used);
		assert_documented(said[said_count - 1]);
	}
	return true;
}

/* The next line that begins so, behind the prefix; those before it are passed over. NULL: none. */
static inline const char *find_line(const char *begin, uint64_t usec)
{
	uint64_t until = clock_usec(CLOCK_MONOTONIC) + usec;

	for (;;) {
		uint64_t now = clock_usec(CLOCK_MONOTONIC);

		while (read_count < said_count) {
			const char *line = said[read_count++] + strlen("psibridge[fake]: ");

			if (strncmp(line, begin, strlen(begin)) == 0)
				return line;
		}
		if (!listen_to_stderr(now < until ? until - now : 0) && now >= until)
			return NULL;
	}
}

static inline const char *await_line(const char *begin)
{
	const char *line = find_line(begin, PATIENCE_SEC * USEC_PER_SEC);

	if (!line)
		fail_msg("waited in vain for \"%s\"; the last line is \"%s\"", begin,
			 said_count > 0 ? said[said_count - 1] : "");
	return line;
}

/* Of all that was said so far. */
static inline unsigned count_lines(const char *begin)
{
	unsigned n = 0;

	while (listen_to_stderr(0))
		;
	for (unsigned i = 0; i < said_count; i++)
		n += strncmp(said[i] + strlen("psibridge[fake]: "), begin, strlen(begin)) == 0;
	return n;
}

/* ---- the life of a case --------------------------------------------------------------------------- */

static inline int set_stage(void **state)
{
	static const char *const names[] = { "",       "_LOG",		"_COLLECT", "_APART",
					     "_GROWN", "_CGROUP",	"_SOURCE",  "_EARLY",
					     "_LOW",   "_CRITICAL",	"_REARM",   "_QUIET",
					     "_CALM",  "_HIGH_HEADROOM" };
	int ends[2];
	char name[64];

	(void)state;
	descriptors_before = count_descriptors();
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		snprintf(name, sizeof(name), "PSIBRIDGE%s", names[i]);
		unsetenv(name);
	}
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	setenv("PSIBRIDGE_LOG", "debug", 1);
	setenv("PSIBRIDGE_SOURCE", in_directory("psibridge/notify"), 1);
	if ((mkdir(in_directory("psibridge"), 0700) < 0 && errno != EEXIST) ||
	    pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	listener = listen_at(getenv("PSIBRIDGE_SOURCE"));
	said_count = read_count = 0;
	said_fd = ends[0];
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	return 0;
}

static inline unsigned count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		char path[300], name[32] = "";
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof(name) - 1) > 0)
			n += strncmp(name, "psb-", 4) == 0;
		close(fd);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* The kernel strikes a thread off its list a moment after it was joined. */
static inline void assert_no_thread_is_left(void)
{
	uint64_t until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_SEC * USEC_PER_SEC;

	while (count_threads() > 0) {
		assert_true(clock_usec(CLOCK_MONOTONIC) < until);
		usleep(500);
	}
}

static inline int clear_stage(void **state)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(said_fd);
	close(listener);
	unlink(in_directory("psibridge/notify"));
	rmdir(in_directory("psibridge"));
	for (size_t i = 0; i < ELEMENTSOF(on_stage); i++) {
		struct fake *fake = on_stage[i];

		on_stage[i] = NULL;
		if (!fake)
			continue;
		if (fake->hook) {
			hold_receiver(&fake->rx, false);
			hook_stop(steal(fake->hook));
		}
		if (fake->peer > 0)
			close(fake->peer);
	}
	return no_descriptor_is_left(state);
}

/* Whatever the environment says is its source. */
static inline void start_as(const struct hook_runtime *runtime, struct fake *fake)
{
	*fake = (struct fake){ 0 };
	receiver_init(&fake->rx);
	if (on_stage[0] != fake)
		on_stage[on_stage[0] != NULL] = fake;
	assert_int_equal(hook_start(runtime, fake, NULL, &fake->hook), 1);
}

static inline void tell_record(struct fake *fake, uint8_t kind, enum psb_available available,
			       bool critical)
{
	struct wire_record r = { .magic = WIRE_MAGIC, .size = WIRE_RECORD_SIZE };

	r.kind = kind;
	r.available = (uint8_t)available;
	r.critical = critical;
	r.reason = PSB_REASON_STALL;
	assert_int_equal(send(fake->peer, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
}

static inline void tell(struct fake *fake, enum psb_available available)
{
	tell_record(fake, WIRE_LEVEL, available, false);
}

/* A hook whose source is our psibridged, and has been told that memory is plentiful. */
static inline void start_told(const struct hook_runtime *runtime, struct fake *fake)
{
	start_as(runtime, fake);
	fake->peer = accept_soon(listener);
	tell_record(fake, WIRE_WELCOME, PSB_HIGH, false);
}

static inline void start(struct fake *fake)
{
	start_told(&fake_runtime, fake);
}

static inline void start_and_await_ready(struct fake *fake)
{
	start(fake);
	await_line("ready: ");
}

/* Until its bridge has read what it was told. */
static inline void await_read(struct fake *fake)
{
	uint64_t until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_SEC * USEC_PER_SEC;
	int unread = 1;

	while (ioctl(fake->peer, SIOCOUTQ, &unread) == 0 && unread > 0) {
		assert_true(clock_usec(CLOCK_MONOTONIC) < until);
		usleep(500);
	}
	assert_int_equal(unread, 0);
}

static inline void clear_fake(struct fake *fake)
{
	if (fake->garbage)
		syscall(SYS_munmap, fake->garbage, fake->garbage_size);
	fake->garbage = NULL;
	if (fake->peer > 0)
		close(fake->peer);
	fake->peer = 0;
	receiver_destroy(&fake->rx);
}

/* ... and nothing of it is left. */
static inline void stop(struct fake *fake)
{
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);

	assert_null(hook_stop(steal(fake->hook)));
	assert_true(clock_usec(CLOCK_MONOTONIC) - begin < 2 * USEC_PER_SEC);
	assert_no_thread_is_left();
	clear_fake(fake);
}

/* From High to Low and back; what a Low leads to is over when the High is told. */
static inline void press_once(struct fake *fake)
{
	tell(fake, PSB_LOW);
	await_line("told Low (memory is short)");
	tell(fake, PSB_HIGH);
	await_line("told High (memory is plentiful)");
}

EACH(set_stage, clear_stage)
