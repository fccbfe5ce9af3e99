/* SPDX-License-Identifier: MIT */
/*
 * journal.c - one message is one system call that does not wait
 *
 * A message is put together on the stack, a sentence and the fields of the journal's entry, and sent once: as a datagram to
 * journald's socket (its queue is full: lost; any other error: as text), or as text. Nothing is kept but the number of lost
 * messages.
 *
 * stderr is shared with other processes, and O_NONBLOCK would be theirs too: it belongs to the open file, not to the
 * descriptor. So a pipe or a terminal is opened once more, through /proc. Where that is not permitted (another user's pipe,
 * a socket) poll(2) is asked, which is as good unless another process writes at the same time: what is POLLOUT takes
 * PIPE_BUF bytes.
 *
 * An entry of journald's native protocol is a datagram of fields, "KEY=value\n"
 * (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). sd_journal_sendv(3) would wait as long as journald does not read. As there
 * (systemd's journal-send.c) the socket is not connected, so that another journald at the same path is found, SO_SNDBUF is
 * large, and SYSLOG_IDENTIFIER= is added.
 */
#include "daemon/journal.h"
#include "core/duration.h"
#include "core/names.h"
#include "core/policy.h"
#include "psibridge/tools.h"

#include "core/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 512	    /* less than PIPE_BUF, with all that is added */
#define CGROUP_SAID_MAX 240 /* of it, in a sentence: leaves room for the rest within TEXT_MAX */
#define FIELDS_MAX 8192	    /* a cgroup, two units, a text, and a dozen numbers and words */
#define SEND_BUFFER_BYTES (8 << 20)

struct journal {
	int socket_fd; /* -1: stderr is not the journal's */
	int text_fd;
	bool with_priority;
	struct sockaddr_un address; /* journald's */
	atomic_uint lost;
};

/* One message, on the stack of its thread. */
struct entry {
	int priority;
	char fields[FIELDS_MAX];
	char text[TEXT_MAX + 2]; /* one more than is kept, to see what the cut would split */
};

/* Random, and never to be changed: units/psibridge.catalog has a text for each. */
static const char *const message_ids[] = {
	[MESSAGE_LOW] = "9da8afaec7d4423497b08c1f88bad823",
	[MESSAGE_CRITICAL] = "9fdc1ef0705f45408b7afd59f89cf948",
	[MESSAGE_NEUTRAL] = "96521449c93f4796afac0f80d39f4bf2",
	[MESSAGE_HIGH] = "5a8363229a4142f49c8fa9f88ee2862d",
	[MESSAGE_WATCH_STARTED] = "7a50e1b940804be08c414823d42988ff",
	[MESSAGE_WATCH_FAILED] = "a263bf27f2654841bb1a5b5dbcb1dbce",
	[MESSAGE_WATCH_ABSENT] = "f74c161071504c63ba08faf4c304a029",
	[MESSAGE_CONFIG_BAD] = "b7f6774a76b2496682e90bc98c0082ce",
	[MESSAGE_CLIENT_REFUSED] = "42dbbe4ce2e04cbdb1be16018d9be132",
	[MESSAGE_KILLED] = "4458fbaad8be41269fb564aa77718c9c",
	[MESSAGE_EFFECT] = "189f79ee788c4efab8de65ad5d1b9e81",
};

/* ---- an entry ---------------------------------------------------------------------------------- */

/* To the C string in buf[capacity]; what does not fit is cut off. */
static void append(char *buf, size_t capacity, const char *format, ...) _printf_(3, 4);
static void append(char *buf, size_t capacity, const char *format, ...)
{
	size_t used = strlen(buf);
	va_list args;

	va_start(args, format);
	vsnprintf(buf + used, capacity - used, format, args);
	va_end(args);
}

/* Fields, "KEY=value\n": the longest of all fit together. The kernel allows no newline in a cgroup's name. */
#define add(e, ...) append((e)->fields, sizeof((e)->fields), __VA_ARGS__)
/* More of the sentence. */
#define say(e, ...) append((e)->text, sizeof((e)->text), __VA_ARGS__)

/* A text longer than `max` ends in "..." there; not in the middle of a UTF-8 sequence, which journald would take for
 * binary data. */
static void cut(struct entry *e, size_t max)
{
	size_t n = max - strlen("...");

	if (strlen(e->text) <= max)
		return;
	while (n > 0 && ((unsigned char)e->text[n] & 0xc0) == 0x80)
		n--;
	strcpy(e->text + n, "...");
}

/* `cgroup` NULL: none. */
static void begin(struct entry *e, int priority, enum message message, const char *cgroup)
{
	static const char *const fields[] = { "OBJECT_SYSTEMD_UNIT", "OBJECT_SYSTEMD_USER_UNIT" };
	const char *unit;

	e->priority = priority;
	e->fields[0] = e->text[0] = '\0';
	add(e, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", priority, program_invocation_short_name);
	if (message_ids[message])
		add(e, "MESSAGE_ID=%s\n", message_ids[message]);
	if (!cgroup)
		return;
	add(e, "PSIBRIDGE_CGROUP=%.4095s\n", cgroup); /* as long as any can be (core/cgpath.h) */
	for (int user = 0; user <= 1; user++) {
		size_t size = unit_of_cgroup(cgroup, user, &unit);

		if (size > 0 && size <= NAME_MAX)
			add(e, "%s=%.*s\n", fields[user], (int)size, unit);
	}
	say(e, "%s", cgroup);
	cut(e, CGROUP_SAID_MAX);
	say(e, ": ");
}

/* ---- sending ----------------------------------------------------------------------------------- */

static bool send_text(const struct journal *j, const struct entry *e)
{
	struct pollfd room = { .fd = j->text_fd, .events = POLLOUT };
	char line[sizeof("<7>") + TEXT_MAX + 1];
	int n = snprintf(line, sizeof(line), "<%d>%s\n", e->priority & 7, e->text);
	const char *begin = j->with_priority ? line : line + 3;
	size_t size = (size_t)(line + n - begin);

	return poll(&room, 1, 0) == 1 && write(j->text_fd, begin, size) == (ssize_t)size;
}

static bool send_entry(const struct journal *j, struct entry *e)
{
	cut(e, TEXT_MAX);
	utf8_hide_controls(e->text, strlen(e->text));
	add(e, "MESSAGE=%s\n", e->text);
	if (j->socket_fd >= 0) {
		if (sendto(j->socket_fd, e->fields, strlen(e->fields), MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&j->address, sizeof(j->address)) >= 0)
			return true;
		if (errno == EAGAIN || errno == ENOBUFS)
			return false;
	}
	return send_text(j, e);
}

bool journal_say_lost(struct journal *j)
{
	unsigned lost = j ? atomic_exchange(&j->lost, 0) : 0;
	struct entry e;

	if (lost == 0)
		return true;
	begin(&e, LOG_IS_WARNING, MESSAGE_OTHER, NULL);
	say(&e, "%u message%s lost here: there was no room", lost, lost == 1 ? " was" : "s were");
	if (send_entry(j, &e))
		return true;
	atomic_fetch_add(&j->lost, lost);
	return false;
}

static void submit(struct journal *j, struct entry *e)
{
	if (!journal_say_lost(j) || !send_entry(j, e))
		atomic_fetch_add(&j->lost, 1);
}

void journal_cgroup(struct journal *j, int priority, enum message message, const char *cgroup,
		    const char *format, ...)
{
	char text[TEXT_MAX + 2];
	struct entry e;
	va_list args;

	if (!j)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	begin(&e, priority, message, cgroup);
	say(&e, "%s", text);
	submit(j, &e);
}

/* ---- levels ------------------------------------------------------------------------------------ */

static const char *what_happened(const struct psb_notification *n)
{
	if (n->kind == PSB_KIND_GONE)
		return "the cgroup was removed";
	switch (n->available) {
	case PSB_LOW:
		return n->critical ? "memory is very short (Low, critical)"
				   : "memory is short (Low)";
	case PSB_NEUTRAL: /* a simulation says nothing of where it came from */
		return n->reason == PSB_REASON_CALM ? "memory is no longer short (Neutral)"
		       : n->reason == PSB_REASON_SIMULATED
			       ? "memory is neither short nor plentiful (Neutral)"
			       : "memory is getting scarce (Neutral)";
	case PSB_HIGH:
		return "memory is plentiful (High)";
	}
	return "";
}

static void say_level(struct entry *e, const struct psb_notification *n, bool shadow)
{
	char text[PSB_CAUSE_TEXT_MAX];

	say(e, "%s", what_happened(n));
	if (psb_cause_text(n, text) > 0)
		say(e, ": %s", text);
	else if (n->reason == PSB_REASON_FORECAST)
		say(e, "; at this growth its limit is soon reached");
	if (n->reason == PSB_REASON_OOM)
		say(e, "; the kernel found no memory for it");
	if (n->reason == PSB_REASON_SIMULATED)
		say(e, "; simulated");
	if (n->available == PSB_LOW && n->stall_usec > 0)
		say(e, "; waited %" PRIu64 " ms for it, %u.%02u %% of 10 s",
		    n->stall_usec / USEC_PER_MSEC, n->some_avg10_centi / 100,
		    n->some_avg10_centi % 100);
	if (n->limit_bytes > 0)
		say(e, "; %" PRIu64 " of %" PRIu64 " MiB in use", n->current_bytes >> 20,
		    n->limit_bytes >> 20);
	if (shadow)
		say(e, "; in shadow, no client was told");
}

void journal_level(struct journal *j, const struct psb_notification *n, bool shadow,
		   const struct trigger *threshold)
{
	static const enum message messages[] = {
		[PSB_LOW] = MESSAGE_LOW, [PSB_NEUTRAL] = MESSAGE_NEUTRAL, [PSB_HIGH] = MESSAGE_HIGH
	};
	enum message message = n->kind == PSB_KIND_LEVEL ? messages[n->available] : MESSAGE_OTHER;
	int priority = message == MESSAGE_LOW ? LOG_IS_NOTICE : LOG_IS_INFO;
	char text[TRIGGER_TEXT_MAX];
	struct entry e;

	if (!j)
		return;
	if (message == MESSAGE_LOW && n->critical)
		begin(&e, LOG_IS_WARNING, MESSAGE_CRITICAL, n->cgroup);
	else
		begin(&e, priority, message, n->cgroup);
	add(&e, "PSIBRIDGE_AVAILABLE=%s\nPSIBRIDGE_CRITICAL=%d\nPSIBRIDGE_REASON=%s\n",
	    name_of_available(n->available), n->critical != 0, name_of_reason(n->reason));
	add(&e, "PSIBRIDGE_STALL_USEC=%" PRIu64 "\nPSIBRIDGE_SHADOW=%d\n", n->stall_usec, shadow);
	if (threshold && trigger_format(threshold, text) > 0)
		add(&e, "PSIBRIDGE_THRESHOLD=%s\n", text);
	if (n->cause != PSB_CAUSE_UNKNOWN)
		add(&e, "PSIBRIDGE_CAUSE=%s\n", name_of_cause(n->cause));
	if (n->cause_length > 0)
		add(&e, "PSIBRIDGE_CAUSE_CGROUP=%.*s\n", (int)n->cause_length, n->cgroup);
	if (n->current_bytes > 0)
		add(&e, "PSIBRIDGE_CURRENT_BYTES=%" PRIu64 "\n", n->current_bytes);
	if (n->limit_bytes > 0)
		add(&e, "PSIBRIDGE_LIMIT_BYTES=%" PRIu64 "\n", n->limit_bytes);
	say_level(&e, n, shadow);
	submit(j, &e);
}

/* ---- effects ----------------------------------------------------------------------------------- */

static void add_known(struct entry *e, const char *field, uint64_t usec)
{
	if (usec != PSB_UNKNOWN)
		add(e, "%s=%" PRIu64 "\n", field, usec);
}

static void say_effect(struct entry *e, const struct psb_stats *stats, uint64_t before,
		       uint64_t rearm_usec)
{
	unsigned factor = policy_rearm_factor((unsigned)stats->unanswered);
	char text[DURATION_TEXT_MAX];

	if (stats->effect_bytes > 0)
		say(e, "gave back %" PRIu64 " MiB after Low", stats->effect_bytes >> 20);
	else if (stats->effect_reported_bytes > 0)
		say(e, "gave nothing back after Low that can be measured; %" PRIu64 " MiB, it says",
		    stats->effect_reported_bytes >> 20);
	else
		say(e, "gave nothing back after Low");
	if (stats->first_back_usec != PSB_UNKNOWN)
		say(e, ", the first of it %" PRIu64 " ms after the stall began",
		    stats->first_back_usec / USEC_PER_MSEC);
	if (stats->stall_before_usec != PSB_UNKNOWN && stats->stall_after_usec != PSB_UNKNOWN)
		say(e, "; waited %" PRIu64 " ms in the 5 s before, %" PRIu64 " ms in those after",
		    stats->stall_before_usec / USEC_PER_MSEC,
		    stats->stall_after_usec / USEC_PER_MSEC);
	if (factor == policy_rearm_factor((unsigned)before))
		return;
	duration_format(rearm_usec * factor, text);
	if (factor > 1)
		say(e, "; told %" PRIu64 " times, gave nothing back: Low is repeated after %s",
		    stats->unanswered, text);
	else
		say(e, "; Low is repeated after %s again", text);
}

void journal_effect(struct journal *j, const char *cgroup, const struct psb_stats *stats,
		    uint64_t before, uint64_t rearm_usec)
{
	struct entry e;

	if (!j)
		return;
	begin(&e, LOG_IS_INFO, MESSAGE_EFFECT, cgroup);
	add(&e,
	    "PSIBRIDGE_BYTES_BACK=%" PRIu64 "\nPSIBRIDGE_REPORTED_BYTES=%" PRIu64
	    "\nPSIBRIDGE_UNANSWERED=%" PRIu64 "\n",
	    stats->effect_bytes, stats->effect_reported_bytes, stats->unanswered);
	add_known(&e, "PSIBRIDGE_STALL_BEFORE_USEC", stats->stall_before_usec);
	add_known(&e, "PSIBRIDGE_STALL_AFTER_USEC", stats->stall_after_usec);
	add_known(&e, "PSIBRIDGE_FIRST_BACK_USEC", stats->first_back_usec);
	say_effect(&e, stats, before, rearm_usec);
	submit(j, &e);
}

/* ---- life -------------------------------------------------------------------------------------- */

/* $JOURNAL_STREAM is device and inode of the journal's stream (systemd.exec(5)). */
static bool is_the_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];

	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
	return stream && strcmp(stream, own) == 0;
}

int journal_new(const char *socket_path, struct journal **ret)
{
	_cleanup_(journal_freep) struct journal *j = calloc(1, sizeof(*j));
	const int buffer = SEND_BUFFER_BYTES;
	struct stat st = { 0 };

	if (!j)
		return -ENOMEM;
	(void)fstat(STDERR_FILENO, &st);
	j->socket_fd = j->text_fd = -1;
	j->with_priority = getenv("NOTIFY_SOCKET") != NULL;
	/* a file on disk keeps its one position, and a socket cannot be opened */
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		j->text_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (j->text_fd < 0)
		j->text_fd = STDERR_FILENO;
	if (strlen(socket_path) >= sizeof(j->address.sun_path))
		return -ENAMETOOLONG;
	j->address.sun_family = AF_UNIX;
	strcpy(j->address.sun_path, socket_path);
	if (is_the_journal(&st)) {
		j->socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (j->socket_fd < 0)
			return -errno;
		/* as much as is permitted: what it holds is what a slow journald does not lose */
		setsockopt(j->socket_fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	}
	*ret = steal(j);
	return 0;
}

struct journal *journal_free(struct journal *j)
{
	if (!j)
		return NULL;
	journal_say_lost(j);
	if (j->socket_fd >= 0)
		close(j->socket_fd);
	if (j->text_fd != STDERR_FILENO)
		close(j->text_fd);
	free(j);
	return NULL;
}
