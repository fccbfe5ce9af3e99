/* SPDX-License-Identifier: MIT */
/*
 * monitor-stream.c - a FIFO or a socket of systemd's protocol: each byte says that memory is short
 *
 *     listening --bytes--> told, emptied, paused --pause over--> listening
 *
 * Writers decide how much comes on it. After each event it is not listened to for a pause, and then
 * emptied in one go, since a second byte right after the first says nothing new. The pause doubles
 * while the bytes keep coming, so a writer in a loop (which cost 93 % of a core) costs a wake-up a
 * second; and it ends before Quiet would let a Low end in between.
 *
 * A FIFO that was removed and made anew is another file of the same name: the descriptor of the old
 * one gives no event again, not even for the removal. So the name is checked every 10 s.
 */
#include "monitor/monitor-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define FIFO_USEC (10 * USEC_PER_SEC)
/* The largest pipe that other users may make (fs.pipe-max-size) has 1 MiB. */
#define READS_MAX 256

/* Reads what is there. Returns: 1 (something was), 0 (nothing), -errno, -EPIPE (the peer closed). A
 * short read is the end, whatever is written meanwhile. */
static int empty_stream(struct monitor *m)
{
	char buf[4096];
	ssize_t n = sizeof(buf);
	int r = 0;

	for (int i = 0; i < READS_MAX && n == (ssize_t)sizeof(buf); i++) {
		n = m->source.kind == SOURCE_FIFO
			    ? read(m->source.stream_fd, buf, sizeof(buf))
			    : recv(m->source.stream_fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n > 0)
			r = 1;
		else if (r == 0 && m->source.kind != SOURCE_FIFO)
			r = n == 0 ? -EPIPE : errno == EAGAIN || errno == EINTR ? 0 : -errno;
	}
	return r;
}

static void begin_pause(struct monitor *m, uint64_t now)
{
	uint64_t longest = CLAMP(m->policy.options.quiet_usec / 2, PAUSE_MIN_USEC, PAUSE_MAX_USEC);

	m->pause_usec = m->heard_usec > 0 && now - m->heard_usec < 2 * longest
				? MIN(2 * m->pause_usec, longest)
				: PAUSE_MIN_USEC;
	m->heard_usec = now;
	m->hear_usec = now + m->pause_usec;
}

static void tell_low(struct monitor *m)
{
	uint64_t now = now_usec();

	monitor_count_alarm(m, now);
	begin_pause(m, now);
	monitor_judge_signal(m, LEVEL_LOW, false, REASON_SIGNAL, now);
}

void monitor_stream_take(struct monitor *m, int result, uint64_t now)
{
	int r = result < 0 ? result : empty_stream(m);

	if (r < 0)
		monitor_end_source(m,
				   r == -EPIPE ? "the peer closed the connection" : strerror(-r));
	else if (r > 0)
		tell_low(m);
	else if (now - m->heard_usec >= PAUSE_MIN_USEC) /* a writer left; we have none */
		m->heard_usec = now;
	else /* writers open and close in a loop */
		begin_pause(m, now);
}

void monitor_stream_begin(struct monitor *m, uint64_t now)
{
	m->fifo_usec = m->source.kind == SOURCE_FIFO ? now + FIFO_USEC : 0;
}

uint64_t monitor_stream_deadline(const struct monitor *m)
{
	uint64_t next = m->hear_usec > 0 ? m->hear_usec : USEC_NEVER;

	return m->source.kind == SOURCE_FIFO ? MIN(next, m->fifo_usec) : next;
}

static bool is_same_fifo(const struct source *source)
{
	struct stat ours, there;

	return fstat(source->stream_fd, &ours) < 0 ||
	       (stat(source->path, &there) == 0 && there.st_dev == ours.st_dev &&
		there.st_ino == ours.st_ino);
}

void monitor_stream_tick(struct monitor *m, uint64_t now)
{
	if (m->hear_usec > 0 && now >= m->hear_usec) /* its cancelling takes a dispatch */
		m->hear_usec = loop_op_is_busy(&m->stream_op) ? now + PAUSE_MIN_USEC : 0;
}

bool monitor_stream_left(struct monitor *m, uint64_t now)
{
	if (m->source.kind != SOURCE_FIFO || now < m->fifo_usec)
		return false;
	m->fifo_usec = now + FIFO_USEC;
	return !is_same_fifo(&m->source);
}
