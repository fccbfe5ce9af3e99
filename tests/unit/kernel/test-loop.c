/* SPDX-License-Identifier: MIT */
/*
 * test-loop.c - poll, recv, send and cancel (src/kernel/loop.h), on each engine
 *
 * Accept is in test-loop-accept.c, what has to do with time and threads in test-loop-time.c.
 */
#include "loop-variants.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

/* An object that has an op, as a caller would have. */
struct object {
	struct loop_op op; /* first: callbacks cast */
	struct loop *loop;
	struct object *other;
	int fd, new_fd;
	int calls, released, last, total;
	bool again, heap;
	char buf[4096];
};

static void told(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	assert_int_equal(object->released, 0);
	object->calls++;
	object->last = result;
	if (result > 0)
		object->total += result;
}

static void told_recv(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	assert_false(loop_op_is_busy(op));
	told(op, result);
	if (object->again && result > 0)
		assert_int_equal(loop_recv(object->loop, op, object->fd, object->buf,
					   sizeof(object->buf), told_recv),
				 0);
}

static void released(struct loop_op *op)
{
	struct object *object = (struct object *)op;

	assert_false(loop_op_is_busy(op));
	object->released++;
}

static int freed;

static void released_free(struct loop_op *op)
{
	freed++;
	free(op);
}

static void told_cancel(struct loop_op *op, int result)
{
	told(op, result);
	loop_cancel(op, released);
	assert_true(loop_op_is_busy(op));
	assert_int_equal(((struct object *)op)->released, 0);
}

static void told_cancel_other(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	told(op, result);
	if (object->other->op.kind != LOOP_OP_NONE)
		loop_cancel(&object->other->op, released);
}

static void cancel_and_wait(struct loop *loop, struct object *object)
{
	object->released = 0;
	loop_cancel(&object->op, released);
	run_until(loop, &object->released, 1);
	assert_int_equal(object->released, 1);
}

/* ---- poll --------------------------------------------------------------------------------- */

PROMISE(poll_tells_the_present_state_once_then_each_change)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { 0 };

	SOCKETS(fds, SOCK_STREAM);
	put(fds[1], "x", 1);
	assert_int_equal(loop_poll(loop, &object.op, fds[0], POLLIN, told), 0);
	run_until(loop, &object.calls, 1);
	assert_int_equal(object.last, POLLIN);

	/* Nothing was read: still ready, but no change. */
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	for (int i = 2; i < 10; i++) {
		put(fds[1], "x", 1);
		run_until(loop, &object.calls, i);
	}
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	assert_int_equal(object.calls, 9);

	cancel_and_wait(loop, &object);
}

PROMISE(poll_on_a_fifo_tells_bytes_and_the_end_of_its_writer)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { 0 };
	char path[] = "/tmp/psibridge-fifo-XXXXXX";
	char byte;
	int reader, writer;

	assert_non_null(mkdtemp(path));
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(loop_poll(loop, &object.op, reader, POLLIN, told), 0);
	for (int i = 1; i < 6; i += 2) {
		object.calls = 0;
		writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		put(writer, "x", 1);
		run_until(loop, &object.calls, 1);
		assert_true(object.last & POLLIN);
		assert_int_equal(read(reader, &byte, 1), 1);

		object.calls = 0;
		close(writer);
		run_until(loop, &object.calls, 1);
		assert_true(object.last & POLLHUP);
		assert_true(run_for(loop, GLANCE_USEC) <= 1);
	}
	cancel_and_wait(loop, &object);
	close(reader);
	unlink(path);
}

/* PSI without a trigger is POLLERR | POLLPRI for ever (facts.md), as is memory.events until it is
 * read. */
PROMISE(a_pressure_file_that_stays_ready_does_not_spin)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { 0 };
	struct rusage before, after;
	int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fd = open("/proc/pressure/memory", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		SKIP("no /proc/pressure/memory: PSI is off");
	assert_int_equal(loop_poll(loop, &object.op, fd, POLLPRI, told), 0);
	run_until(loop, &object.calls, 1);
	assert_true(object.last & POLLERR);

	assert_int_equal(getrusage(RUSAGE_THREAD, &before), 0);
	assert_true(run_for(loop, 200 * USEC_PER_MSEC) <= 1);
	assert_int_equal(getrusage(RUSAGE_THREAD, &after), 0);
	assert_true(after.ru_stime.tv_sec == before.ru_stime.tv_sec ||
		    after.ru_stime.tv_usec + 1000000 - before.ru_stime.tv_usec < 50000);
	assert_true(after.ru_nvcsw - before.ru_nvcsw <= 10);

	cancel_and_wait(loop, &object);
	close(fd);
}

PROMISE(a_full_completion_queue_loses_nothing)
{
	enum { MANY = 300 };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 1);
	struct object *objects = calloc(MANY, sizeof(*objects));

	assert_non_null(objects);
	for (int i = 0; i < MANY; i++) {
		objects[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		assert_int_equal(loop_poll(loop, &objects[i].op, objects[i].fd, POLLIN, told), 0);
	}
	run_for(loop, 1);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < MANY; i++) {
			objects[i].calls = 0;
			assert_int_equal(eventfd_write(objects[i].fd, 1), 0);
		}
		for (int i = 0; i < MANY; i++)
			run_until(loop, &objects[i].calls, 1);
		/* An old state may be told once more by a poll that was armed again. */
		run_for(loop, USEC_PER_MSEC);
	}
	for (int i = 0; i < MANY; i++)
		loop_cancel(&objects[i].op, released);
	for (int i = 0; i < MANY; i++) {
		run_until(loop, &objects[i].released, 1);
		close(objects[i].fd);
	}
	free(objects);
}

/* ---- recv and send ------------------------------------------------------------------------ */

PROMISE(recv_waits_on_any_socket_and_a_burst_is_one_completion)
{
	static const int types[] = { SOCK_STREAM, SOCK_STREAM | SOCK_NONBLOCK };

	for (size_t t = 0; t < ELEMENTSOF(types); t++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
		struct object object = { .loop = loop, .again = true };

		SOCKETS(fds, types[t]);
		object.fd = fds[0];
		assert_int_equal(loop_recv(loop, &object.op, fds[0], object.buf, sizeof(object.buf),
					   told_recv),
				 0);
		for (int i = 0; i < 100; i++)
			put(fds[1], "x", 1);
		run_until(loop, &object.total, 100);
		assert_int_equal(object.calls, 1);
		assert_int_equal(run_for(loop, GLANCE_USEC), 0);

		/* Armed now. Without DEFER_TASKRUN our first write makes the kernel complete it at
		 * once, with one byte; the others wait for the next recv. */
		for (int i = 0; i < 100; i++)
			put(fds[1], "x", 1);
		run_until(loop, &object.total, 200);
		assert_true(object.calls <= 3);

		cancel_and_wait(loop, &object);
	}
}

PROMISE(a_closed_peer_is_one_end_of_file_and_no_spin)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { .loop = loop, .again = true };

	SOCKETS(fds, SOCK_STREAM);
	object.fd = fds[0];
	assert_int_equal(
		loop_recv(loop, &object.op, fds[0], object.buf, sizeof(object.buf), told_recv), 0);
	put(fds[1], "end", 3);
	shut(&fds[1]);
	run_until(loop, &object.calls, 2);
	assert_int_equal(object.last, 0);
	assert_int_equal(object.total, 3);
	assert_memory_equal(object.buf, "end", 3);
	assert_false(loop_op_is_busy(&object.op));
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
}

PROMISE(bad_descriptors_are_a_result_or_an_error)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { 0 };
	int fds[2], r;

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	put(fds[1], "x", 1);
	assert_int_equal(loop_recv(loop, &object.op, fds[0], object.buf, 1, told), 0);
	run_until(loop, &object.calls, 1);
	assert_int_equal(object.last, -ENOTSOCK);
	assert_false(loop_op_is_busy(&object.op));

	close(fds[0]);
	r = loop_poll(loop, &object.op, fds[0], POLLIN, told);
	if (r == 0) {
		run_until(loop, &object.calls, 2);
		r = object.last;
	}
	assert_int_equal(r, -EBADF);
	assert_false(loop_op_is_busy(&object.op));
	close(fds[1]);

	/* No SIGPIPE either: it would end this process. */
	make_sockets(SOCK_STREAM, fds);
	close(fds[1]);
	assert_int_equal(loop_send(loop, &object.op, fds[0], "x", 1, told), 0);
	object.calls = 0;
	run_until(loop, &object.calls, 1);
	assert_int_equal(object.last, -EPIPE);
	close(fds[0]);
}

PROMISE(poll_recv_and_send_wait_side_by_side_on_one_descriptor)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object reads = { 0 }, writes = { 0 }, polls = { 0 };
	static char junk[65536];
	ssize_t n;

	SOCKETS(fds, SOCK_STREAM | SOCK_NONBLOCK);
	while (send(fds[0], junk, sizeof(junk), MSG_NOSIGNAL) > 0)
		;
	assert_int_equal(loop_poll(loop, &polls.op, fds[0], POLLRDHUP, told), 0);
	assert_int_equal(loop_recv(loop, &reads.op, fds[0], reads.buf, 16, told), 0);
	assert_int_equal(loop_send(loop, &writes.op, fds[0], "last", 4, told), 0);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);

	put(fds[1], "in", 2);
	run_until(loop, &reads.calls, 1);
	assert_int_equal(reads.last, 2);
	assert_int_equal(writes.calls + polls.calls, 0);

	while (!writes.calls) {
		n = read(fds[1], junk, sizeof(junk));
		assert_true(n > 0 || errno == EAGAIN);
		assert_true(loop_dispatch(loop, now_usec() + USEC_PER_MSEC) >= 0);
	}
	assert_int_equal(writes.last, 4);
	assert_int_equal(polls.calls, 0);

	assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
	run_until(loop, &polls.calls, 1);
	assert_true(polls.last & POLLRDHUP);
	cancel_and_wait(loop, &polls);
}

static void told_echo(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	assert_true(result > 0);
	object->total += result;
	object->calls++;
	if (object->total < 1000000)
		assert_int_equal(loop_send(object->loop, op, object->fd, object->other->buf,
					   (size_t)MIN(1000000 - object->total, 4096), told_echo),
				 0);
}

PROMISE(a_megabyte_goes_through_whole)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object from = { .loop = loop }, to = { .loop = loop, .again = true };

	SOCKETS(fds, SOCK_STREAM);
	from.fd = fds[0];
	to.fd = fds[1];
	from.other = &from;
	assert_int_equal(loop_send(loop, &from.op, from.fd, from.buf, sizeof(from.buf), told_echo),
			 0);
	assert_int_equal(loop_recv(loop, &to.op, to.fd, to.buf, sizeof(to.buf), told_recv), 0);
	run_until(loop, &to.total, 1000000);
	assert_int_equal(from.total, 1000000);
	assert_int_equal(to.total, 1000000);
	cancel_and_wait(loop, &to);
}

static void told_replace(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	told(op, result);
	if (object->new_fd < 0)
		return;
	/* The same number, another file. */
	assert_int_equal(dup3(object->new_fd, object->fd, O_CLOEXEC), object->fd);
	close(object->new_fd);
	object->new_fd = -1;
	assert_int_equal(loop_recv(object->loop, op, object->fd, object->buf, 8, told_replace), 0);
}

PROMISE(a_descriptor_may_be_replaced_from_within_done)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object object = { .loop = loop };
	int kept;

	SOCKETS(old, SOCK_STREAM);
	SOCKETS(new, SOCK_STREAM);
	kept = fcntl(old[0], F_DUPFD_CLOEXEC, 3); /* the old file lives on, as after a fork */
	object.fd = old[0];
	object.new_fd = new[0];
	assert_int_equal(loop_recv(loop, &object.op, object.fd, object.buf, 8, told_replace), 0);
	put(old[1], "old", 3);
	run_until(loop, &object.calls, 1);
	put(old[1], "stale", 5);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	put(new[1], "new!", 4);
	run_until(loop, &object.calls, 2);
	assert_int_equal(object.last, 4);
	close(kept);
}

/* ---- cancel ------------------------------------------------------------------------------- */

PROMISE(released_comes_once_later_and_last)
{
	enum { FRESH, ARMED, RINGING, WAYS };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);

	for (int kind = 0; kind < 2; kind++)
		for (int way = 0; way < WAYS; way++) {
			struct object object = { 0 };

			SOCKETS(fds, SOCK_STREAM);
			if (kind)
				assert_int_equal(loop_poll(loop, &object.op, fds[0], POLLIN, told),
						 0);
			else
				assert_int_equal(
					loop_recv(loop, &object.op, fds[0], object.buf, 8, told),
					0);
			if (way >= ARMED)
				run_for(loop, USEC_PER_MSEC);
			if (way >= RINGING)
				put(fds[1], "x", 1);
			loop_cancel(&object.op, NULL);
			loop_cancel(&object.op, released);
			loop_cancel(&object.op, NULL);
			assert_int_equal(object.released, 0);
			assert_true(loop_op_is_busy(&object.op));
			assert_int_equal(loop_poll(loop, &object.op, fds[0], POLLIN, told), -EBUSY);
			run_until(loop, &object.released, 1);
			run_for(loop, USEC_PER_MSEC);
			assert_int_equal(object.released, 1);
			assert_int_equal(object.calls, 0);

			/* Idle: from within the call. */
			loop_cancel(&object.op, released);
			assert_int_equal(object.released, 2);
		}
}

PROMISE(a_callback_may_cancel_itself_and_others)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct object a = { 0 }, b = { 0 }, self = { 0 };

	/* Both ring in the same pass; whoever is first cancels the other. */
	a.other = &b;
	b.other = &a;
	SOCKETS(fds, SOCK_STREAM);
	SOCKETS(other, SOCK_STREAM);
	assert_int_equal(loop_poll(loop, &a.op, fds[0], POLLIN, told_cancel_other), 0);
	assert_int_equal(loop_poll(loop, &b.op, other[0], POLLIN, told_cancel_other), 0);
	run_for(loop, USEC_PER_MSEC);
	put(fds[1], "x", 1);
	put(other[1], "x", 1);
	run_for(loop, GLANCE_USEC);
	assert_int_equal(a.calls + b.calls, 1);
	assert_int_equal(a.released + b.released, 1);
	cancel_and_wait(loop, a.calls ? &a : &b);

	assert_int_equal(loop_poll(loop, &self.op, fds[0], POLLIN, told_cancel), 0);
	run_until(loop, &self.released, 1);
	put(fds[1], "x", 1);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	assert_int_equal(self.calls, 1);
}

PROMISE(an_object_may_be_freed_in_released)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 4);

	SOCKETS(fds, SOCK_STREAM);
	freed = 0;
	for (int round = 0; round < 20; round++) {
		struct object *objects[10];

		for (int i = 0; i < 10; i++) {
			objects[i] = calloc(1, sizeof(*objects[i]));
			assert_non_null(objects[i]);
			assert_int_equal(loop_poll(loop, &objects[i]->op, fds[0], POLLIN, told), 0);
		}
		if (round % 2)
			assert_true(loop_dispatch(loop, 0) >= 0);
		put(fds[1], "x", 1);
		for (int i = 0; i < 10; i++)
			loop_cancel(&objects[i]->op, released_free);
		run_until(loop, &freed, 10 * (round + 1));
	}
	assert_int_equal(freed, 200);
}
