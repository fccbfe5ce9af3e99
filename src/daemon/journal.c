/* SPDX-License-Identifier: MIT */
/*
 * journal.c - one message is one system call that does not wait
 *
 * A message is put together on the stack of the thread that logs it, a sentence and the fields of the
 * journal's entry, and sent once:
 *
 *     stderr is the journal    sendto(2) journald's socket, one datagram; its queue is full: lost;
 *                              any other error: as text
 *     it is not                as text: send(2), or write(2); not all of it was taken: lost
 *
 * Nothing is kept but the number of lost messages, which is sent before the next message; where it finds
 * no room, neither would the message.
 *
 * stderr is shared with other processes, and O_NONBLOCK would be theirs too: it belongs to the open
 * file, not to the descriptor. So a pipe or a terminal is opened once more, through /proc. Where that
 * is not permitted (another user's pipe) poll(2) is asked about the shared one. That is nearly as good
 * for a pipe, which takes PIPE_BUF bytes at once if it is POLLOUT and no other process is faster; a
 * terminal that is POLLOUT may wait for the end of the line. What was not taken of a line is lost.
 *
 * Facts relied on:
 *  - An entry of journald's native protocol is a datagram of fields, "KEY=value\n"
 *    (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
 *  - sd_journal_sendv(3) waits as long as journald does not read. As there (systemd's journal-send.c)
 *    the socket is not connected, so that another journald at the same path is found, SO_SNDBUF is
 *    large, and SYSLOG_IDENTIFIER= is added.
 *  - $JOURNAL_STREAM is device and inode of the journal's stream, so it can be told from a stderr
 *    that was sent elsewhere (systemd.exec(5)).
 *  - write(2) of up to PIPE_BUF bytes to a pipe is all or nothing (pipe(7)).
 */
#include "daemon/journal.h"
#include "daemon/names.h"

#include "core/scan.h"
#include "core/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 512	    /* less than PIPE_BUF, with all that is added */
#define CGROUP_MAX 4095	    /* as long as any can be (core/cgpath.h) */
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
	size_t fields_size, text_size;
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
};

/* ---- an entry ---------------------------------------------------------------------------------- */

/* "KEY=value". One that does not fit is left out; none is that long, see FIELDS_MAX. A newline would end it; no cgroup
 * has one in its name (cgroup_mkdir() in kernel/cgroup/cgroup.c). */
static void add(struct entry *e, const char *format, ...) _printf_(2, 3);
static void add(struct entry *e, const char *format, ...)
{
	char *field = e->fields + e->fields_size;
	size_t left = FIELDS_MAX - e->fields_size;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(field, left, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= left)
		return;
	for (char *p = field; (p = strchr(p, '\n'));)
		*p = '?';
	field[n] = '\n';
	e->fields_size += (size_t)n + 1;
}

static void add_cgroup(struct entry *e, const char *cgroup)
{
	const char *unit;
	size_t size;

	add(e, "PSIBRIDGE_CGROUP=%.*s", CGROUP_MAX, cgroup);
	size = unit_of_cgroup(cgroup, false, &unit);
	if (size > 0 && size <= NAME_MAX)
		add(e, "OBJECT_SYSTEMD_UNIT=%.*s", (int)size, unit);
	size = unit_of_cgroup(cgroup, true, &unit);
	if (size > 0 && size <= NAME_MAX)
		add(e, "OBJECT_SYSTEMD_USER_UNIT=%.*s", (int)size, unit);
}

static void entry_init(struct entry *e, int priority, enum message message)
{
	e->priority = priority;
	e->fields_size = e->text_size = 0;
	add(e, "PRIORITY=%d", priority);
	add(e, "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
	if (message_ids[message])
		add(e, "MESSAGE_ID=%s", message_ids[message]);
}

/* Adds to the sentence. */
static void say_args(struct entry *e, const char *format, va_list args) _printf_(2, 0);
static void say_args(struct entry *e, const char *format, va_list args)
{
	size_t left = sizeof(e->text) - e->text_size;
	int n = vsnprintf(e->text + e->text_size, left, format, args);

	if (n > 0)
		e->text_size += MIN((size_t)n, left - 1);
}

static void say(struct entry *e, const char *format, ...) _printf_(2, 3);
static void say(struct entry *e, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_args(e, format, args);
	va_end(args);
}

/* Where to cut for `max` bytes with the "..."; not in the middle of a UTF-8 sequence, which journald
 * would take for binary data. */
static size_t cut_at(const char *text, size_t max)
{
	size_t n = max - strlen("...");

	while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void say_cgroup(struct entry *e, const char *cgroup)
{
	bool long_one = strlen(cgroup) > CGROUP_SAID_MAX;

	say(e, "%.*s%s: ", long_one ? (int)cut_at(cgroup, CGROUP_SAID_MAX) : CGROUP_SAID_MAX,
	    cgroup, long_one ? "..." : "");
}

/* ---- sending ----------------------------------------------------------------------------------- */

static bool send_text(const struct journal *j, const struct entry *e)
{
	struct pollfd room = { .fd = j->text_fd, .events = POLLOUT };
	char line[sizeof("<7>") + TEXT_MAX + 1];
	int n = j->with_priority ? snprintf(line, sizeof(line), "<%d>", e->priority & 7) : 0;
	size_t size = (size_t)n;
	ssize_t sent;

	memcpy(line + size, e->text, e->text_size);
	size += e->text_size;
	line[size++] = '\n';
	sent = send(j->text_fd, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno == ENOTSOCK && poll(&room, 1, 0) == 1)
		sent = write(j->text_fd, line, size);
	return sent == (ssize_t)size;
}

static bool send_entry(const struct journal *j, struct entry *e)
{
	if (e->text_size > TEXT_MAX) {
		e->text_size = cut_at(e->text, TEXT_MAX);
		say(e, "...");
	}
	utf8_hide_controls(e->text, e->text_size);
	add(e, "MESSAGE=%.*s", (int)e->text_size, e->text);
	if (j->socket_fd >= 0) {
		if (sendto(j->socket_fd, e->fields, e->fields_size, MSG_DONTWAIT | MSG_NOSIGNAL,
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
	entry_init(&e, LOG_IS_WARNING, MESSAGE_OTHER);
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

/* ---- life -------------------------------------------------------------------------------------- */

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

/* stderr, or an open file of our own where writing to it may wait. A file on disk keeps its one
 * position, and a socket cannot be opened. */
static int open_text(void)
{
	struct stat st;
	int fd = -1;

	if (fstat(STDERR_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? STDERR_FILENO : fd;
}

int journal_new(const char *socket_path, struct journal **ret)
{
	_cleanup_(journal_freep) struct journal *j = calloc(1, sizeof(*j));
	const int buffer = SEND_BUFFER_BYTES;

	if (!j)
		return -ENOMEM;
	j->socket_fd = -1;
	j->text_fd = open_text();
	j->with_priority = getenv("NOTIFY_SOCKET") != NULL;
	j->address.sun_family = AF_UNIX;
	if (strlen(socket_path) >= sizeof(j->address.sun_path))
		return -ENAMETOOLONG;
	strcpy(j->address.sun_path, socket_path);
	if (stderr_is_the_journal()) {
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

/* ---- messages ---------------------------------------------------------------------------------- */

void journal_cgroup(struct journal *j, int priority, enum message message, const char *cgroup,
		    const char *format, ...)
{
	struct entry e;
	va_list args;

	if (!j)
		return;
	entry_init(&e, priority, message);
	if (cgroup) {
		add_cgroup(&e, cgroup);
		say_cgroup(&e, cgroup);
	}
	va_start(args, format);
	say_args(&e, format, args);
	va_end(args);
	submit(j, &e);
}

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
	const uint64_t mib = UINT64_C(1) << 20;

	say_cgroup(e, n->cgroup);
	say(e, "%s", what_happened(n));
	if (n->reason == PSB_REASON_OOM)
		say(e, "; the kernel found no memory for it");
	if (n->reason == PSB_REASON_SIMULATED)
		say(e, "; simulated");
	if (n->available == PSB_LOW && n->stall_usec > 0)
		say(e, "; waited %" PRIu64 " ms for it, %u.%02u %% of 10 s",
		    n->stall_usec / USEC_PER_MSEC, n->some_avg10_centi / 100,
		    n->some_avg10_centi % 100);
	if (n->limit_bytes > 0)
		say(e, "; %" PRIu64 " of %" PRIu64 " MiB in use", n->current_bytes / mib,
		    n->limit_bytes / mib);
	if (shadow)
		say(e, "; in shadow, no client was told");
}

static void entry_init_level(struct entry *e, const struct psb_notification *n)
{
	if (n->kind != PSB_KIND_LEVEL)
		entry_init(e, LOG_IS_INFO, MESSAGE_OTHER);
	else if (n->available == PSB_LOW && n->critical)
		entry_init(e, LOG_IS_WARNING, MESSAGE_CRITICAL);
	else if (n->available == PSB_LOW)
		entry_init(e, LOG_IS_NOTICE, MESSAGE_LOW);
	else
		entry_init(e, LOG_IS_INFO,
			   n->available == PSB_NEUTRAL ? MESSAGE_NEUTRAL : MESSAGE_HIGH);
}

void journal_level(struct journal *j, const struct psb_notification *n, bool shadow,
		   const struct trigger *threshold)
{
	char text[TRIGGER_TEXT_MAX];
	struct entry e;

	if (!j)
		return;
	entry_init_level(&e, n);
	add_cgroup(&e, n->cgroup);
	add(&e, "PSIBRIDGE_AVAILABLE=%s", name_of_available(n->available));
	add(&e, "PSIBRIDGE_CRITICAL=%d", n->critical != 0);
	add(&e, "PSIBRIDGE_REASON=%s", name_of_reason(n->reason));
	add(&e, "PSIBRIDGE_STALL_USEC=%" PRIu64, n->stall_usec);
	if (threshold && trigger_format(threshold, text) > 0)
		add(&e, "PSIBRIDGE_THRESHOLD=%s", text);
	if (n->current_bytes > 0)
		add(&e, "PSIBRIDGE_CURRENT_BYTES=%" PRIu64, n->current_bytes);
	if (n->limit_bytes > 0)
		add(&e, "PSIBRIDGE_LIMIT_BYTES=%" PRIu64, n->limit_bytes);
	add(&e, "PSIBRIDGE_SHADOW=%d", shadow);
	say_level(&e, n, shadow);
	submit(j, &e);
}
