/* SPDX-License-Identifier: MIT */
/*
 * monitor-stream.c - a FIFO or a socket of systemd's protocol: each byte says that memory is short
 *
 *     listening --bytes--> told --right after others--> paused --pause over--> listening
 *
 * Writers decide how much comes on it. Bytes that come right after others say nothing new: after
 * those it is not listened to for a pause. That doubles while they keep coming, so a writer in a loop
 * (which cost 93 % of a core) costs a wake-up a second; and it ends before Quiet would let a Low end
 * in between.
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

/* Was there something? A short read is the end, whatever is written meanwhile. */
static bool empty_fifo(int fd)
{
	char buf[4096];
	ssize_t n = sizeof(buf);
	bool ret = false;

	for (int i = 0; i < READS_MAX && n == (ssize_t)sizeof(buf); i++) {
		n = read(fd, buf, sizeof(buf));
		ret = ret || n > 0;
	}
	return ret;
}

static void set_pace(struct monitor *m, uint64_t now)
{
	uint64_t longest = CLAMP(m->policy.options.quiet_usec / 2, PAUSE_MIN_USEC, PAUSE_MAX_USEC);
	bool right_after = m->heard_usec > 0 &&
			   now - m->heard_usec < PAUSE_MIN_USEC + 2 * m->pause_usec;

	m->pause_usec = right_after ? CLAMP(2 * m->pause_usec, PAUSE_MIN_USEC, longest) : 0;
	m->hear_usec = right_after ? now + m->pause_usec : 0;
	m->heard_usec = now;
}

void monitor_stream_take(struct monitor *m, int result, uint64_t now)
{
	bool fifo = m->source.kind == SOURCE_FIFO;

	if (result < 0 || (result == 0 && !fifo)) {
		monitor_end_source(m, monitor_lower_rungs(m),
				   result < 0 ? strerror(-result)
					      : "the peer closed the connection");
		return;
	}
	set_pace(m, now);
	if (fifo && !empty_fifo(m->source.stream_fd)) /* a writer left */
		return;
	monitor_count_alarm(m, now);
	monitor_judge_signal(m, LEVEL_LOW, false, REASON_SIGNAL, now);
}

void monitor_stream_begin(struct monitor *m, uint64_t now)
{
	m->fifo_usec = m->source.kind == SOURCE_FIFO ? now + FIFO_USEC : USEC_NEVER;
}

uint64_t monitor_stream_deadline(const struct monitor *m)
{
	return MIN(m->hear_usec > 0 ? m->hear_usec : USEC_NEVER, m->fifo_usec);
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
		m->hear_usec = loop_op_is_busy(&m->ops[OP_STREAM].op) ? now + PAUSE_MIN_USEC : 0;
	if (now < m->fifo_usec)
		return;
	m->fifo_usec = now + FIFO_USEC;
	if (!is_same_fifo(&m->source)) /* another one may be there: this rung again */
		monitor_end_source(m, ~0u, "the FIFO is not there any more");
}
