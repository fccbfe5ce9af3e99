/* SPDX-License-Identifier: MIT */
/*
 * A loop in a loop: what a bridge is in the loop of its host. Each engine inside each. An io_uring
 * that is rung by another one's eventfd ends its multishot poll (EPOLL_URING_WAKE), so the loop
 * outside must arm it again each time.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "../skip.h"
#include "kernel/loop.h"

#define ROUNDS 20
#define STEP_USEC (2 * USEC_PER_MSEC)
#define PATIENCE_USEC (10 * USEC_PER_SEC)

struct nested {
	struct loop *inner, *outer;
	struct loop_op op, pipe_op;
	struct loop_timer inside, outside;
	int pipe[2];
	unsigned rounds, pipe_rounds;
	bool late;
};

static void step(struct loop_timer *timer, uint64_t now)
{
	struct nested *n = CONTAINER_OF(timer, struct nested, inside);

	if (++n->rounds < ROUNDS)
		loop_timer_set(n->inner, timer, now + STEP_USEC);
	assert_int_equal(write(n->pipe[1], "x", 1), 1);
}

static void pipe_spoke(struct loop_op *op, int result)
{
	struct nested *n = CONTAINER_OF(op, struct nested, pipe_op);
	char buf[ROUNDS];
	ssize_t size;

	assert_true(result & POLLIN);
	while ((size = read(n->pipe[0], buf, sizeof(buf))) > 0)
		n->pipe_rounds += (unsigned)size;
}

static void too_late(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	CONTAINER_OF(timer, struct nested, outside)->late = true;
}

static void inner_has_work(struct loop_op *op, int result)
{
	struct nested *n = CONTAINER_OF(op, struct nested, op);

	assert_true(result > 0);
	while (loop_dispatch(n->inner, 0) > 0)
		;
}

static void run(enum loop_backend inside, enum loop_backend outside)
{
	struct loop_options inner = { .backend = inside, .foreign = true },
			    outer = { .backend = outside };
	struct nested n = { .inside = { .expired = step }, .outside = { .expired = too_late } };
	const char *why;

	if (loop_new(&inner, &n.inner, &why) < 0 || loop_new(&outer, &n.outer, &why) < 0) {
		loop_free(n.inner);
		SKIP("no io_uring here");
	}
	assert_int_equal(pipe2(n.pipe, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(loop_poll(n.outer, &n.op, loop_fd(n.inner), POLLIN, inner_has_work), 0);
	assert_int_equal(loop_poll(n.inner, &n.pipe_op, n.pipe[0], POLLIN, pipe_spoke), 0);
	loop_timer_set(n.inner, &n.inside, now_usec() + STEP_USEC);
	loop_timer_set(n.outer, &n.outside, now_usec() + PATIENCE_USEC);
	while (!n.late && n.pipe_rounds < ROUNDS)
		assert_true(loop_dispatch(n.outer, USEC_NEVER) >= 0);
	assert_false(n.late);
	assert_int_equal(n.rounds, ROUNDS);
	loop_free(n.outer);
	loop_free(n.inner);
	close(n.pipe[0]);
	close(n.pipe[1]);
}

static void io_uring_rings_io_uring_again_and_again(void **state)
{
	(void)state;
	run(LOOP_URING, LOOP_URING);
}

static void io_uring_rings_epoll_again_and_again(void **state)
{
	(void)state;
	run(LOOP_URING, LOOP_EPOLL);
}

static void epoll_rings_io_uring_again_and_again(void **state)
{
	(void)state;
	run(LOOP_EPOLL, LOOP_URING);
}

static void epoll_rings_epoll_again_and_again(void **state)
{
	(void)state;
	run(LOOP_EPOLL, LOOP_EPOLL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(io_uring_rings_io_uring_again_and_again),
		cmocka_unit_test(io_uring_rings_epoll_again_and_again),
		cmocka_unit_test(epoll_rings_io_uring_again_and_again),
		cmocka_unit_test(epoll_rings_epoll_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
