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

#include <poll.h>
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

/* True: the stream is still ours afterwards. */
static bool tell_low(struct monitor *m)
{
	uint64_t now = now_usec();

	monitor_count_alarm(m, now);
	begin_pause(m, now);
	monitor_signal(m, LEVEL_LOW, false, REASON_SIGNAL);
	return !m->detaching && !m->lost_cgroup;
}

static void socket_spoke(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, stream_op);

	if (m->detaching)
		return;
	if (result <= 0) {
		monitor_source_broke(
			m, result == 0 ? "the peer closed the connection" : strerror(-result),
			now_usec());
		return;
	}
	/* before it is told: what comes afterwards is new */
	if ((size_t)result == sizeof(m->stream_buf))
		(void)empty_stream(m);
	(void)tell_low(m);
}

static void fifo_spoke(struct loop_op *op, int result)
{
	struct monitor *m = CONTAINER_OF(op, struct monitor, stream_op);
	uint64_t now = now_usec();

	if (m->detaching)
		return;
	if (result < 0) {
		monitor_source_broke(m, strerror(-result), now);
	} else if (empty_stream(m)) {
		if (tell_low(m))
			loop_cancel(op, NULL);
	} else if (now - m->heard_usec >= PAUSE_MIN_USEC) { /* a writer left; we have none */
		m->heard_usec = now;
	} else { /* writers open and close in a loop */
		begin_pause(m, now);
		loop_cancel(op, NULL);
		monitor_settle(m, now);
	}
}

static int listen_on(struct monitor *m)
{
	struct loop *loop = m->context->loop;

	m->hear_usec = 0;
	if (m->source.kind == SOURCE_FIFO)
		return loop_poll(loop, &m->stream_op, m->source.stream_fd, POLLIN, fifo_spoke);
	return loop_recv(loop, &m->stream_op, m->source.stream_fd, m->stream_buf,
			 sizeof(m->stream_buf), socket_spoke);
}

int monitor_stream_attach(struct monitor *m, uint64_t now)
{
	m->fifo_usec = m->source.kind == SOURCE_FIFO ? now + FIFO_USEC : 0;
	return listen_on(m);
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
	int r = 0;

	if (m->detaching || m->has_next)
		return;
	if (m->hear_usec > 0 && now >= m->hear_usec) {
		if (loop_op_is_busy(&m->stream_op)) /* its cancelling takes a dispatch */
			m->hear_usec = now + PAUSE_MIN_USEC;
		else
			r = listen_on(m);
	}
	if (r < 0) {
		monitor_source_broke(m, strerror(-r), now);
	} else if (m->source.kind == SOURCE_FIFO && now >= m->fifo_usec) {
		m->fifo_usec = now + FIFO_USEC;
		if (!is_same_fifo(&m->source) && !monitor_climb_anew(m))
			monitor_source_broke(m, "the FIFO is not there any more", now);
	}
}
