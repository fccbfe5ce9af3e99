/* SPDX-License-Identifier: MIT */
/*
 * test-loop.c - poll, drain and cancel (src/kernel/loop.h), on each engine; what has to do with time and threads is in
 * test-loop-time.c
 */
#include "loop-variants.h"

#include <sys/eventfd.h>

/* An object that has an op, as a caller would have. */
struct object {
	struct loop_op op; /* first: callbacks cast */
	struct loop *loop;
	struct object *other;
	int fd;
	int calls, released, last;
};

static void told(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	assert_int_equal(object->released, 0);
	object->calls++;
	object->last = result;
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
	close(((struct object *)op)->fd);
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
	if (loop_op_is_busy(&object->other->op))
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
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
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

/* PSI without a trigger is POLLERR | POLLPRI for ever (facts.md), as is memory.events until it is
 * read. */
PROMISE(a_pressure_file_that_stays_ready_does_not_spin)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object object = { 0 };
	int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		fd = open("/proc/pressure/memory", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		SKIP("no /proc/pressure/memory: PSI is off");
	assert_int_equal(loop_poll(loop, &object.op, fd, POLLPRI, told), 0);
	run_until(loop, &object.calls, 1);
	assert_true(object.last & POLLERR);

	assert_true(run_for(loop, 200 * USEC_PER_MSEC) <= 1); /* and few passes */
	cancel_and_wait(loop, &object);
	close(fd);
}

PROMISE(a_full_completion_queue_loses_nothing)
{
	enum { MANY = 300 };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
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

PROMISE(a_bad_descriptor_is_a_result_or_an_error)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object object = { 0 };
	int fd = eventfd(0, EFD_CLOEXEC), r;

	close(fd);
	r = loop_poll(loop, &object.op, fd, POLLIN, told);
	if (r == 0) {
		run_until(loop, &object.calls, 1);
		r = object.last;
	}
	assert_int_equal(r, -EBADF);
	assert_false(loop_op_is_busy(&object.op));
}

PROMISE(a_descriptor_may_be_replaced_when_its_poll_is_released)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object object = { 0 };
	int kept;

	SOCKETS(old, SOCK_STREAM);
	SOCKETS(new, SOCK_STREAM);
	kept = fcntl(old[0], F_DUPFD_CLOEXEC, 3); /* the old file lives on, as after a fork */
	assert_int_equal(loop_poll(loop, &object.op, old[0], POLLIN, told), 0);
	put(old[1], "old", 3);
	run_until(loop, &object.calls, 1);
	cancel_and_wait(loop, &object);
	object = (struct object){ 0 };
	/* the same number, another file */
	assert_int_equal(dup3(new[0], old[0], O_CLOEXEC), old[0]);
	assert_int_equal(loop_poll(loop, &object.op, old[0], POLLIN, told), 0);
	put(old[1], "stale", 5);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	put(new[1], "new!", 4);
	run_until(loop, &object.calls, 1);
	cancel_and_wait(loop, &object);
	close(kept);
}

/* ---- drain -------------------------------------------------------------------------------- */

static void count_bytes(struct loop_op *op, int result)
{
	struct object *object = (struct object *)op;

	object->calls += result;
	object->last = result;
}

static void is_left(int fd, ssize_t bytes)
{
	char buf[16];

	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), bytes);
}

PROMISE(a_drain_tells_all_bytes_takes_them_and_ends_with_the_stream)
{
	static const char much[100000];
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object object = { .last = -1 };

	SOCKETS(fds, SOCK_STREAM);
	put(fds[1], "abc", 3);
	assert_int_equal(loop_drain(loop, &object.op, fds[0], count_bytes), 0);
	run_until(loop, &object.calls, 3);
	is_left(fds[0], -1);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	put(fds[1], "d", 1);
	run_until(loop, &object.calls, 4);
	put(fds[1], much, sizeof(much));
	shut(&fds[1]);
	run_until(loop, &object.calls, 4 + sizeof(much));
	while (loop_op_is_busy(&object.op))
		assert_true(loop_dispatch(loop, now_usec() + PATIENCE_USEC) >= 0);
	assert_int_equal(object.last, 0);
}

PROMISE(a_cancelled_drain_takes_nothing_more)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object object = { 0 };

	SOCKETS(fds, SOCK_STREAM);
	assert_int_equal(loop_drain(loop, &object.op, fds[0], count_bytes), 0);
	run_for(loop, USEC_PER_MSEC);
	cancel_and_wait(loop, &object);
	put(fds[1], "a", 1);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	is_left(fds[0], 1);

	object.released = 0;
	assert_int_equal(loop_drain(loop, &object.op, fds[0], told_cancel), 0);
	put(fds[1], "b", 1);
	run_until(loop, &object.released, 1);
	put(fds[1], "cd", 2);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	is_left(fds[0], 2);
	assert_int_equal(object.calls, 1);
}

/* ---- cancel ------------------------------------------------------------------------------- */

PROMISE(released_comes_once_later_and_last)
{
	enum { FRESH, ARMED, RINGING, WAYS };
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);

	for (int way = 0; way < WAYS; way++) {
		struct object object = { 0 };

		SOCKETS(fds, SOCK_STREAM);
		assert_int_equal(loop_poll(loop, &object.op, fds[0], POLLIN, told), 0);
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
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct object a = { 0 }, b = { 0 }, self = { 0 };

	/* Both ring in the same pass; whoever is first cancels the other. */
	a.other = &b;
	b.other = &a;
	SOCKETS(fds, SOCK_STREAM);
	SOCKETS(other, SOCK_STREAM);
	SOCKETS(spare, SOCK_STREAM);
	assert_int_equal(loop_poll(loop, &a.op, fds[0], POLLIN, told_cancel_other), 0);
	assert_int_equal(loop_poll(loop, &b.op, other[0], POLLIN, told_cancel_other), 0);
	run_for(loop, USEC_PER_MSEC);
	put(fds[1], "x", 1);
	put(other[1], "x", 1);
	run_for(loop, GLANCE_USEC);
	assert_int_equal(a.calls + b.calls, 1);
	assert_int_equal(a.released + b.released, 1);
	cancel_and_wait(loop, a.calls ? &a : &b);

	assert_int_equal(loop_poll(loop, &self.op, spare[0], POLLIN, told_cancel), 0);
	put(spare[1], "x", 1);
	run_until(loop, &self.released, 1);
	put(spare[1], "x", 1);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	assert_int_equal(self.calls, 1);
}

PROMISE(an_object_may_be_freed_in_released)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);

	SOCKETS(fds, SOCK_STREAM);
	freed = 0;
	for (int round = 0; round < 20; round++) {
		struct object *objects[10];

		for (int i = 0; i < 10; i++) {
			objects[i] = calloc(1, sizeof(*objects[i]));
			assert_non_null(objects[i]);
			objects[i]->fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
			assert_int_equal(
				loop_poll(loop, &objects[i]->op, objects[i]->fd, POLLIN, told), 0);
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
