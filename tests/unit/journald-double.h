/* SPDX-License-Identifier: MIT */
/*
 * journald-double.h - a journald and a stderr of a test's own, to see what journal.c writes
 *
 * sd_journal_sendv(3) is ours here: it keeps what it was given, or sleeps as long as a test wants
 * journald to be slow. stderr is a pipe of the test between set_up() and tear_down(). Included by
 * the one file of a test.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "daemon/journal.h"

#define ENTRIES_MAX 2048
#define PATIENCE_SEC 20

/* ---- a journald of our own --------------------------------------------------------------------- */

struct entry {
	int count;
	char field[12][5000];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool slow;   /* sleep in there, */
	int permits; /* after so many entries */
	bool sleeping;
	int result;
	int count;
	struct entry *entries;
	char (*messages)[600];
} journald = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

int sd_journal_sendv(const struct iovec *iov, int n);
int sd_journal_sendv(const struct iovec *iov, int n)
{
	struct entry *entry;
	int result;

	pthread_mutex_lock(&journald.lock);
	while (journald.slow && journald.permits == 0) {
		journald.sleeping = true;
		pthread_cond_broadcast(&journald.changed);
		pthread_cond_wait(&journald.changed, &journald.lock);
	}
	journald.sleeping = false;
	if (journald.slow)
		journald.permits--;
	if (journald.count == ENTRIES_MAX || n > 12)
		abort();
	entry = &journald.entries[0]; /* the last one whole, of all others the message */
	entry->count = n;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len >= sizeof(entry->field[i]))
			abort();
		memcpy(entry->field[i], iov[i].iov_base, iov[i].iov_len);
		entry->field[i][iov[i].iov_len] = '\0';
	}
	memcpy(journald.messages[journald.count], entry->field[0], 599);
	journald.messages[journald.count++][599] = '\0';
	result = journald.result;
	pthread_cond_broadcast(&journald.changed);
	pthread_mutex_unlock(&journald.lock);
	return result;
}

static inline struct timespec soon(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_SEC;
	return until;
}

#define JOURNALD_AWAIT(condition)                                                                \
	do {                                                                                     \
		struct timespec _until = soon();                                                 \
		int _r = 0;                                                                      \
		pthread_mutex_lock(&journald.lock);                                              \
		while (!(condition) && _r == 0)                                                  \
			_r = pthread_cond_timedwait(&journald.changed, &journald.lock, &_until); \
		pthread_mutex_unlock(&journald.lock);                                            \
		assert_int_equal(_r, 0);                                                         \
	} while (0)

/* Let it take `permits` entries and then sleep, or all. */
static inline void make_slow_after(bool slow, int permits)
{
	pthread_mutex_lock(&journald.lock);
	journald.slow = slow;
	journald.permits = permits;
	pthread_cond_broadcast(&journald.changed);
	pthread_mutex_unlock(&journald.lock);
}

static inline void make_slow(bool slow)
{
	make_slow_after(slow, 0);
}

/* The value of a field of the last entry, or NULL. */
static inline const char *field(const char *name)
{
	const struct entry *entry = &journald.entries[0];
	size_t n = strlen(name);

	for (int i = 0; i < entry->count; i++)
		if (strncmp(entry->field[i], name, n) == 0 && entry->field[i][n] == '=')
			return entry->field[i] + n + 1;
	return NULL;
}

/* ---- stderr ------------------------------------------------------------------------------------ */

static int real_stderr = -1, out = -1; /* what the journal writes to stderr is read from `out` */

static inline int set_up(void **state)
{
	int ends[2];

	(void)state;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	out = ends[0];
	journald.entries = calloc(1, sizeof(*journald.entries));
	journald.messages = calloc(ENTRIES_MAX, sizeof(*journald.messages));
	journald.count = journald.result = 0;
	journald.slow = false;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	return journald.entries && journald.messages ? 0 : -1;
}

static inline int tear_down(void **state)
{
	(void)state;
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(out);
	free(journald.entries);
	free(journald.messages);
	return 0;
}

/* Everything up to the next newline, without it. */
static inline const char *line(void)
{
	static char text[1024];
	struct pollfd poll_fd = { .fd = out, .events = POLLIN };
	size_t n = 0;

	while (n < sizeof(text) - 1) {
		if (poll(&poll_fd, 1, PATIENCE_SEC * 1000) != 1 || read(out, text + n, 1) != 1)
			return "(nothing)";
		if (text[n] == '\n')
			break;
		n++;
	}
	text[n] = '\0';
	return text;
}

static inline bool nothing_is_there(void)
{
	struct pollfd poll_fd = { .fd = out, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 0;
}

static inline struct journal *new_journal(void)
{
	struct journal *j = NULL;

	assert_int_equal(journal_new(&j), 0);
	return j;
}

static inline struct journal *new_structured(void)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
	return new_journal();
}

static const struct psb_notification low = {
	.size = sizeof(low),
	.kind = PSB_KIND_LEVEL,
	.available = PSB_LOW,
	.reason = PSB_REASON_STALL,
	.cgroup = "/system.slice/a.service",
	.stall_usec = 213456,
	.some_avg10_centi = 1205,
	.current_bytes = UINT64_C(90) << 20,
	.limit_bytes = UINT64_C(100) << 20,
};

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
