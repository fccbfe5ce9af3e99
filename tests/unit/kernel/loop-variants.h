/* SPDX-License-Identifier: MIT */
/*
 * loop-variants.h - each test of the loop runs on both engines, and on what they do on old kernels
 *
 * The state of a promise is its `struct variant`. make_loop() makes the loop; a variant that cannot be had
 * here is skipped, or, where deny-io-uring forbids it on purpose, left out.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../unit.h"
#include "../../threads.h"
#include "kernel/loop.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC) /* for what must happen */
#define GLANCE_USEC (30 * USEC_PER_MSEC)  /* for what must not */

struct variant {
	const char *name;
	enum loop_backend backend;
	unsigned without;
};

static const struct variant variants[] = {
	{ "io_uring", LOOP_URING, 0 },
	{ "io_uring before 6.15", LOOP_URING, LOOP_WITHOUT_NO_IOWAIT },
	{ "io_uring before 6.1", LOOP_URING, LOOP_WITHOUT_DEFER_TASKRUN },
	{ "io_uring before 6.1 and 6.15", LOOP_URING,
	  LOOP_WITHOUT_DEFER_TASKRUN | LOOP_WITHOUT_NO_IOWAIT },
	{ "epoll", LOOP_EPOLL, 0 },
};

static inline bool suits(const void *variant, const struct promise *promise)
{
	(void)promise;
	return ((const struct variant *)variant)->backend != LOOP_URING ||
	       !getenv("PSIBRIDGE_TEST_DENIED");
}

VARIANTS(variants, suits)

static inline struct loop *make_loop(const struct variant *variant)
{
	struct loop_options options = {
		.backend = variant->backend,
		.without = variant->without,
	};
	struct loop *loop = NULL;
	int r;

	r = loop_new(&options, &loop, NULL);
	if (r < 0 && variant->backend == LOOP_URING)
		SKIP("io_uring cannot be had here");
	assert_int_equal(r, 0);
	assert_int_equal(loop_backend(loop), variant->backend);
	return loop;
}

static inline void make_sockets(int type, int ret[2])
{
	assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ret), 0);
}

/* `type` may have flags. Both ends are closed at the end of the block. */
#define SOCKETS(fds, type)                             \
	_cleanup_(close_pair) int fds[2] = { -1, -1 }; \
	make_sockets(type, fds)

static inline void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void close_pair(int (*fds)[2])
{
	shut(&(*fds)[0]);
	shut(&(*fds)[1]);
}

static inline void put(int fd, const void *data, size_t size)
{
	assert_int_equal(write(fd, data, size), (ssize_t)size);
}

/* Dispatches until *counter reached `want`. */
static inline void run_until(struct loop *loop, const int *counter, int want)
{
	uint64_t until_usec = now_usec() + PATIENCE_USEC;

	while (*counter < want) {
		assert_true(loop_dispatch(loop, until_usec) >= 0);
		assert_true(now_usec() < until_usec);
	}
}

/* Dispatches for a while, without spinning. Returns: how many callbacks that made. */
static inline int run_for(struct loop *loop, uint64_t usec)
{
	uint64_t until_usec = now_usec() + usec;
	int calls = 0, passes = 0;

	for (; now_usec() < until_usec; passes++) {
		int r = loop_dispatch(loop, until_usec);

		assert_true(r >= 0);
		calls += r;
	}
	assert_true(passes <= calls + 20);
	return calls;
}

static inline void ignore(struct loop_op *op, int result)
{
	(void)op;
	(void)result;
}

static inline void *dispatch_thread(void *userdata)
{
	return (void *)(intptr_t)loop_dispatch(userdata, 0);
}

static inline int dispatch_elsewhere(struct loop *loop)
{
	pthread_t thread;
	void *r;

	assert_int_equal(pthread_create(&thread, NULL, dispatch_thread, loop), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	return (int)(intptr_t)r;
}

static int descriptors_before;

static inline void count_before(void **state)
{
	(void)state;
	descriptors_before = (int)descriptors_open();
}

static inline int no_descriptor_is_left(void **state)
{
	int now = (int)descriptors_open();

	(void)state;
	if (now != descriptors_before)
		print_error("%d descriptors before, %d after\n", descriptors_before, now);
	return now == descriptors_before ? 0 : -1;
}

FIXTURE(count_before, no_descriptor_is_left)
