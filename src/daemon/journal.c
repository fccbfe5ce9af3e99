/* SPDX-License-Identifier: MIT */
/*
 * journal.c - a ring of lines and the thread that writes them
 *
 * Whoever logs formats on its own stack and copies the result into the ring, under a lock that is
 * held for that copy only. The thread copies a record out, gives its place back, and only then
 * writes, for as long as that takes. So nobody waits for journald but the thread.
 *
 * The ring is RING_BYTES of records of different length, each a header and its bytes, rounded up
 * to 8. A record is never split: where the end is too near, a PAD fills it. `used` counts all
 * between `head` (the oldest) and `tail`; pads count.
 *
 * A record that finds no room is lost, and counted. The count goes out in front of the next record
 * that finds room, where the gap is, or alone when the thread has written everything.
 *
 * The end: journal_free() gives the thread a second. If it sleeps in a write still, the journal is
 * `orphaned`, and the thread frees it when it comes back, if ever.
 *
 * Facts relied on: sd_journal_sendv(3) allocates nothing, but it waits as long as journald does not
 * read (sendmsg(2) without MSG_DONTWAIT). $JOURNAL_STREAM is device and inode of the journal's
 * stream, so it can be told from a stderr that was sent elsewhere (systemd.exec(5)).
 */
#include "daemon/journal.h"
#include "daemon/names.h"

#include "core/scan.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* the place in the source is no news: it would be this file for every line */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define RING_BYTES 65536
#define TEXT_MAX 512
#define CGROUP_MAX 4096	    /* with the NUL; as long as any can be (core/cgpath.h) */
#define CGROUP_SAID_MAX 240 /* of it, in a sentence: leaves room for the rest within TEXT_MAX */
#define FIELDS_MAX 10
#define FIELD_MAX 64		 /* of a field with a number or a word */
#define STACK_BYTES (256 * 1024) /* mlockall(2) locks all of it */

enum record_kind { RECORD_PAD, RECORD_TEXT, RECORD_LEVEL };

struct record {
	uint32_t size; /* all of it, rounded up; of a PAD only these two members count */
	uint8_t kind;
	uint8_t priority;
	uint8_t message;
	uint8_t shadow;
	uint32_t lost;	 /* so many before this one */
	uint32_t length; /* of the text, or of the cgroup's path behind `level` */
};

struct level {
	enum psb_kind kind;
	enum psb_available available;
	enum psb_reason reason;
	bool critical;
	unsigned avg10_centi;
	uint64_t stall_usec, current_bytes, limit_bytes;
};

#define PAYLOAD_MAX (sizeof(struct level) + CGROUP_MAX)

/* Somewhere to copy a record to, aligned for its parts. */
struct slot {
	struct record record;
	_Alignas(8) char payload[PAYLOAD_MAX];
};

struct journal {
	pthread_mutex_t lock;
	pthread_cond_t wake, ended;
	pthread_t thread;
	bool stopping, done, orphaned;
	uint32_t lost;
	size_t head, tail, used;
	/* constant */
	bool structured;
	bool with_priority;
	/* the thread's */
	struct slot now;
	char cgroup_field[32 + CGROUP_MAX];
	_Alignas(8) char ring[RING_BYTES];
};

_Static_assert(sizeof(struct record) == 16, "a record's payload is aligned as the ring is");

/* Random, and never to be changed: units/psibridge.catalog has a text for each. */
static const char *message_id(enum message message)
{
	switch (message) {
	case MESSAGE_OTHER:
		break;
	case MESSAGE_LOW:
		return "9da8afaec7d4423497b08c1f88bad823";
	case MESSAGE_CRITICAL:
		return "9fdc1ef0705f45408b7afd59f89cf948";
	case MESSAGE_NEUTRAL:
		return "96521449c93f4796afac0f80d39f4bf2";
	case MESSAGE_HIGH:
		return "5a8363229a4142f49c8fa9f88ee2862d";
	case MESSAGE_WATCH_STARTED:
		return "7a50e1b940804be08c414823d42988ff";
	case MESSAGE_WATCH_FAILED:
		return "a263bf27f2654841bb1a5b5dbcb1dbce";
	case MESSAGE_WATCH_ABSENT:
		return "f74c161071504c63ba08faf4c304a029";
	case MESSAGE_CONFIG_BAD:
		return "b7f6774a76b2496682e90bc98c0082ce";
	case MESSAGE_CLIENT_REFUSED:
		return "42dbbe4ce2e04cbdb1be16018d9be132";
	}
	return NULL;
}

/* ---- the ring ---------------------------------------------------------------------------------- */

/* With the lock held. NULL: no room. */
static struct record *ring_take(struct journal *j, size_t size)
{
	size_t to_end = RING_BYTES - j->tail, pad = size > to_end ? to_end : 0;
	struct record *record;

	if (j->used + pad + size > RING_BYTES)
		return NULL;
	if (pad > 0) {
		record = (struct record *)(void *)(j->ring + j->tail);
		record->size = (uint32_t)pad;
		record->kind = RECORD_PAD;
		j->tail = 0;
	}
	record = (struct record *)(void *)(j->ring + j->tail);
	j->tail = (j->tail + size) % RING_BYTES;
	j->used += pad + size;
	return record;
}

static void ring_put(struct journal *j, struct record *record, const void *payload, size_t size,
		     const char *bytes)
{
	struct record *place;

	record->size = (uint32_t)((sizeof(*record) + size + record->length + 7) & ~(size_t)7);
	pthread_mutex_lock(&j->lock);
	place = ring_take(j, record->size);
	if (!place) {
		j->lost++;
	} else {
		record->lost = j->lost;
		j->lost = 0;
		*place = *record;
		if (size > 0)
			memcpy(place + 1, payload, size);
		memcpy((char *)(place + 1) + size, bytes, record->length);
		pthread_cond_signal(&j->wake);
	}
	pthread_mutex_unlock(&j->lock);
}

/* With the lock held, and something in it. False: that was a pad. */
static bool ring_get(struct journal *j)
{
	const struct record *oldest = (const void *)(j->ring + j->head);
	size_t size = oldest->size;
	bool pad = oldest->kind == RECORD_PAD;

	if (!pad)
		memcpy(&j->now, oldest, size);
	j->head = (j->head + size) % RING_BYTES;
	j->used -= size;
	return !pad;
}

/* ---- one line ---------------------------------------------------------------------------------- */

/* Not in the middle of a UTF-8 sequence, which journald would take for binary data. */
static size_t cut_text(const char *text, size_t length, size_t max)
{
	size_t n = MIN(length, max);

	if (length > max)
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
	return n;
}

static void clean_text(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			text[i] = '?';
}

static const char *what_happened(const struct level *level)
{
	switch (level->kind) {
	case PSB_KIND_GONE:
		return "the cgroup was removed";
	case PSB_KIND_SOURCE:
		return "it is watched in another way now";
	case PSB_KIND_LEVEL:
		break;
	}
	switch (level->available) {
	case PSB_LOW:
		return level->critical ? "memory is very short (Low, critical)"
				       : "memory is short (Low)";
	case PSB_NEUTRAL:
		return "memory is no longer short, or getting scarce (Neutral)";
	case PSB_HIGH:
		return "memory is plentiful (High)";
	}
	return "";
}

static size_t say_level(const struct level *level, bool shadow, const char *cgroup, char *buf,
			size_t size)
{
	const uint64_t mb = UINT64_C(1) << 20;
	int n;

	n = snprintf(buf, size, "%.*s: %s", (int)cut_text(cgroup, strlen(cgroup), CGROUP_SAID_MAX),
		     cgroup, what_happened(level));
	if (level->reason == PSB_REASON_OOM)
		n += snprintf(buf + n, size - (size_t)n, "; the kernel found no memory for it");
	if (level->reason == PSB_REASON_SIMULATED)
		n += snprintf(buf + n, size - (size_t)n, "; simulated");
	if (level->available == PSB_LOW && level->stall_usec > 0)
		n += snprintf(buf + n, size - (size_t)n,
			      "; waited %llu ms for it, %u.%02u %% of 10 s",
			      (unsigned long long)(level->stall_usec / USEC_PER_MSEC),
			      level->avg10_centi / 100, level->avg10_centi % 100);
	if (level->limit_bytes > 0)
		n += snprintf(buf + n, size - (size_t)n, "; %llu of %llu MB in use",
			      (unsigned long long)(level->current_bytes / mb),
			      (unsigned long long)(level->limit_bytes / mb));
	if (shadow)
		n += snprintf(buf + n, size - (size_t)n, "; in shadow, nobody was told");
	clean_text(buf, (size_t)n);
	return (size_t)n;
}

/* ---- the thread -------------------------------------------------------------------------------- */

static void write_all(const char *p, size_t left)
{
	while (left > 0) {
		struct pollfd poll_fd = { .fd = STDERR_FILENO, .events = POLLOUT };
		ssize_t n = write(STDERR_FILENO, p, left);

		if (n < 0 && errno == EAGAIN)
			poll(&poll_fd, 1, -1);
		else if (n < 0 && errno != EINTR)
			return; /* nobody is left to tell */
		if (n > 0) {
			p += n;
			left -= (size_t)n;
		}
	}
}

static void write_text(const struct journal *j, int priority, const char *text, size_t length)
{
	char line[8 + TEXT_MAX + 1];
	int n = j->with_priority ? snprintf(line, sizeof(line), "<%d>", priority) : 0;

	/* in one go, so that lines of others do not get in between */
	memcpy(line + n, text, length);
	line[(size_t)n + length] = '\n';
	write_all(line, (size_t)n + length + 1);
}

/* Fields of one entry; their texts are in `space`, or somebody else's. */
struct fields {
	struct iovec iov[FIELDS_MAX];
	int count;
	char space[FIELDS_MAX][FIELD_MAX];
};

static void add_number(struct fields *fields, const char *name, uint64_t value)
{
	char *space = fields->space[fields->count];
	int n = snprintf(space, FIELD_MAX, "%s=%llu", name, (unsigned long long)value);

	fields->iov[fields->count++] = (struct iovec){ space, (size_t)n };
}

static void add_word(struct fields *fields, const char *name, const char *word)
{
	char *space = fields->space[fields->count];
	int n = snprintf(space, FIELD_MAX, "%s=%s", name, word);

	fields->iov[fields->count++] = (struct iovec){ space, (size_t)n };
}

/* The fields of a level; its sentence goes to `text`, and its length is returned. */
static size_t add_level(struct journal *j, const struct record *record, const char *payload,
			struct fields *fields, char *text, size_t size)
{
	struct level level;
	int n;

	memcpy(&level, payload, sizeof(level));
	n = snprintf(j->cgroup_field, sizeof(j->cgroup_field), "PSIBRIDGE_CGROUP=%.*s",
		     (int)record->length, payload + sizeof(level));
	fields->iov[fields->count++] = (struct iovec){ j->cgroup_field, (size_t)n };
	add_word(fields, "PSIBRIDGE_AVAILABLE", name_of_available(level.available));
	add_number(fields, "PSIBRIDGE_CRITICAL", level.critical);
	add_word(fields, "PSIBRIDGE_REASON", name_of_reason(level.reason));
	add_number(fields, "PSIBRIDGE_STALL_USEC", level.stall_usec);
	add_number(fields, "PSIBRIDGE_SHADOW", record->shadow);
	return say_level(&level, record->shadow, strchr(j->cgroup_field, '=') + 1, text, size);
}

static void write_record(struct journal *j, const struct record *record, const char *payload)
{
	static const char prefix[] = "MESSAGE=";
	const char *id = message_id((enum message)record->message);
	char text[sizeof(prefix) + TEXT_MAX];
	size_t n = strlen(prefix), length;
	struct fields fields = { .count = 1 };

	memcpy(text, prefix, n);
	if (record->kind == RECORD_LEVEL) {
		length = add_level(j, record, payload, &fields, text + n, sizeof(text) - n);
	} else {
		length = record->length;
		memcpy(text + n, payload, length);
	}
	add_number(&fields, "PRIORITY", record->priority);
	if (id)
		add_word(&fields, "MESSAGE_ID", id);
	fields.iov[0] = (struct iovec){ text, n + length };
	if (j->structured && sd_journal_sendv(fields.iov, fields.count) >= 0)
		return;
	write_text(j, record->priority, text + n, length);
}

static void write_loss(struct journal *j, uint32_t lost)
{
	struct record record = { .kind = RECORD_TEXT, .priority = LOG_IS_WARNING };
	char text[80];

	record.length = (uint32_t)snprintf(
		text, sizeof(text), "%u lines were lost here: the journal was too slow", lost);
	write_record(j, &record, text);
}

/* With the lock held, which it gives up while it writes. False: there is nothing to be written. */
static bool write_next(struct journal *j)
{
	uint32_t lost = 0;
	bool record = false;

	while (j->used > 0 && !record)
		record = ring_get(j);
	if (record) {
		lost = j->now.record.lost;
	} else {
		lost = j->lost;
		j->lost = 0;
	}
	if (!record && lost == 0)
		return false;
	pthread_mutex_unlock(&j->lock);
	if (lost > 0)
		write_loss(j, lost);
	if (record)
		write_record(j, &j->now.record, j->now.payload);
	pthread_mutex_lock(&j->lock);
	return true;
}

static struct journal *journal_destroy(struct journal *j)
{
	pthread_mutex_destroy(&j->lock);
	pthread_cond_destroy(&j->wake);
	pthread_cond_destroy(&j->ended);
	free(j);
	return NULL;
}

static void *journal_run(void *arg)
{
	struct journal *j = arg;
	bool orphaned;

	pthread_setname_np(pthread_self(), "psb-journal");
	pthread_mutex_lock(&j->lock);
	for (;;) {
		if (write_next(j))
			continue;
		if (j->stopping)
			break;
		pthread_cond_wait(&j->wake, &j->lock);
	}
	j->done = true;
	orphaned = j->orphaned;
	pthread_cond_signal(&j->ended);
	pthread_mutex_unlock(&j->lock);
	if (orphaned)
		journal_destroy(j);
	return NULL;
}

/* ---- for others -------------------------------------------------------------------------------- */

static bool stderr_is_the_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	uint64_t device, inode;
	struct stat st;
	struct scan s;

	if (!text || fstat(STDERR_FILENO, &st) < 0)
		return false;
	s = scan_string(text);
	if (scan_u64(&s, &device) < 0 || !scan_word(&s, ":") || scan_u64(&s, &inode) < 0)
		return false;
	return s.left == 0 && device == (uint64_t)st.st_dev && inode == (uint64_t)st.st_ino;
}

static int start_thread(struct journal *j)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, MAX((size_t)PTHREAD_STACK_MIN, (size_t)STACK_BYTES));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&j->thread, &attr, journal_run, j);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

int journal_new(struct journal **ret)
{
	struct journal *j = calloc(1, sizeof(*j));
	pthread_condattr_t monotonic;
	int r;

	if (!j)
		return -ENOMEM;
	j->structured = stderr_is_the_journal();
	j->with_priority = getenv("NOTIFY_SOCKET") != NULL;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->wake, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&j->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	r = start_thread(j);
	if (r < 0) {
		journal_destroy(j);
		return r;
	}
	*ret = j;
	return 0;
}

struct journal *journal_free(struct journal *j)
{
	struct timespec until;
	bool done;

	if (!j)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_mutex_lock(&j->lock);
	j->stopping = true;
	pthread_cond_signal(&j->wake);
	while (!j->done && pthread_cond_timedwait(&j->ended, &j->lock, &until) != ETIMEDOUT)
		;
	done = j->done;
	j->orphaned = !done;
	if (!done)
		pthread_detach(j->thread);
	pthread_mutex_unlock(&j->lock);
	if (done) {
		pthread_join(j->thread, NULL);
		journal_destroy(j);
	}
	return NULL;
}

void journal_log(struct journal *j, int priority, enum message message, const char *format, ...)
{
	struct record record = { .kind = RECORD_TEXT,
				 .priority = (uint8_t)priority,
				 .message = (uint8_t)message };
	char text[TEXT_MAX + 2]; /* one more than is kept, to see what the cut would split */
	va_list args;
	int n;

	if (!j)
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0)
		return;
	record.length = (uint32_t)cut_text(text, (size_t)n, TEXT_MAX);
	clean_text(text, record.length);
	ring_put(j, &record, NULL, 0, text);
}

static void grade(const struct psb_notification *n, struct record *record)
{
	record->priority = LOG_IS_INFO;
	record->message = MESSAGE_OTHER;
	if (n->kind != PSB_KIND_LEVEL)
		return;
	switch (n->available) {
	case PSB_LOW:
		record->priority = n->critical ? LOG_IS_WARNING : LOG_IS_NOTICE;
		record->message = n->critical ? MESSAGE_CRITICAL : MESSAGE_LOW;
		break;
	case PSB_NEUTRAL:
		record->message = MESSAGE_NEUTRAL;
		break;
	case PSB_HIGH:
		record->message = MESSAGE_HIGH;
		break;
	}
}

void journal_level(struct journal *j, const struct psb_notification *n, bool shadow)
{
	struct record record = { .kind = RECORD_LEVEL, .shadow = shadow };
	struct level level = { .kind = n->kind,
			       .available = n->available,
			       .reason = n->reason,
			       .critical = n->critical,
			       .avg10_centi = n->some_avg10_centi,
			       .stall_usec = n->stall_usec,
			       .current_bytes = n->current_bytes,
			       .limit_bytes = n->limit_bytes };

	if (!j)
		return;
	grade(n, &record);
	record.length = (uint32_t)strnlen(n->cgroup, CGROUP_MAX - 1);
	ring_put(j, &record, &level, sizeof(level), n->cgroup);
}
