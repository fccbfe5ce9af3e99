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

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_MIN_USEC (50 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC (1 * USEC_PER_SEC)
#define FIFO_USEC (10 * USEC_PER_SEC)
/* The largest pipe that other users may make (fs.pipe-max-size) has 1 MiB. */
#define READS_MAX 256

/* Returns: whether there was anything. A short read is the end, whatever is written meanwhile. */
static bool empty_stream(struct monitor *m)
{
	char buf[4096];
	ssize_t n = sizeof(buf);
	bool any = false;

	for (int i = 0; i < READS_MAX && n == (ssize_t)sizeof(buf); i++) {
		n = read(m->source.stream_fd, buf, sizeof(buf));
		any = any || n > 0;
	}
	return any;
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

static void take_from_socket(struct monitor *m, int result)
{
	if (result <= 0) {
		monitor_end_source(m, result == 0 ? "the peer closed the connection"
						  : strerror(-result));
		return;
	}
	/* before it is told: what comes afterwards is new */
	if ((size_t)result == sizeof(m->stream_buf))
		(void)empty_stream(m);
	tell_low(m);
}

static void take_from_fifo(struct monitor *m, int result, uint64_t now)
{
	if (result < 0)
		monitor_end_source(m, strerror(-result));
	else if (empty_stream(m))
		tell_low(m);
	else if (now - m->heard_usec >= PAUSE_MIN_USEC) /* a writer left; we have none */
		m->heard_usec = now;
	else /* writers open and close in a loop */
		begin_pause(m, now);
}

void monitor_stream_take(struct monitor *m, int result, uint64_t now)
{
	if (m->source.kind == SOURCE_FIFO)
		take_from_fifo(m, result, now);
	else
		take_from_socket(m, result);
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
