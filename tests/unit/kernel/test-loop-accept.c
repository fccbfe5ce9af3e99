/* SPDX-License-Identifier: MIT */
/*
 * test-loop-accept.c - loop_accept() (src/kernel/loop.h), on each engine
 */
#include "loop-variants.h"

#include <fcntl.h>
#include <sys/un.h>

struct server {
	struct loop_op op; /* first: callbacks cast */
	int calls, last, released;
	bool cancels; /* cancel from within the callback */
};

static void released(struct loop_op *op)
{
	((struct server *)op)->released++;
}

static int make_listener(struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = {
		.sun_family = AF_UNIX
	}; /* an abstract name of the kernel's */
	socklen_t size = sizeof(sa_family_t);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 128), 0);
	size = sizeof(*ret_address);
	memset(ret_address, 0, size);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
	return fd;
}

static int make_client(const struct sockaddr_un *address)
{
	/* The kernel's abstract names are a NUL and five characters. */
	socklen_t size = sizeof(sa_family_t) + 6;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)address, size), 0);
	return fd;
}

static void told_accept(struct loop_op *op, int result)
{
	struct server *server = (struct server *)op;

	server->calls++;
	server->last = result;
	if (result < 0)
		return;
	assert_true(fcntl(result, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(result, F_GETFL) & O_NONBLOCK);
	close(result);
	if (server->cancels)
		loop_cancel(op, released);
}

PROMISE(accept_stays_armed_and_gives_clean_descriptors)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct server server = { 0 };
	struct sockaddr_un address;
	int listener = make_listener(&address);
	int clients[100];

	assert_int_equal(loop_accept(loop, &server.op, listener, told_accept), 0);
	for (int i = 0; i < 5; i++) {
		clients[i] = make_client(&address);
		run_until(loop, &server.calls, i + 1);
	}
	for (int i = 5; i < 100; i++)
		clients[i] = make_client(&address);
	run_until(loop, &server.calls, 100);
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);
	loop_cancel(&server.op, released);
	run_until(loop, &server.released, 1);
	assert_int_equal(server.calls, 100);
	for (int i = 0; i < 100; i++)
		close(clients[i]);
	close(listener);
}

/* That nothing leaks is what no_descriptor_is_left() checks after every test. */
PROMISE(a_connection_that_nobody_is_told_of_is_closed)
{
	for (int in_callback = 0; in_callback < 2; in_callback++) {
		struct loop *loop = make_loop(*state, 0);
		struct server server = { .cancels = in_callback };
		struct sockaddr_un address;
		int listener = make_listener(&address);
		int clients[10];

		assert_int_equal(loop_accept(loop, &server.op, listener, told_accept), 0);
		run_for(loop, USEC_PER_MSEC);
		for (int i = 0; i < 10; i++)
			clients[i] = make_client(&address);
		if (in_callback) {
			run_until(loop, &server.released, 1);
			assert_int_equal(server.calls, 1);
		}
		loop_free(loop);
		for (int i = 0; i < 10; i++)
			close(clients[i]);
		close(listener);
	}
}

PROMISE(accept_without_descriptors_says_so_once)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, 0);
	struct server server = { 0 };
	struct sockaddr_un address;
	struct rlimit old, none;
	int listener = make_listener(&address);
	int client;

	/* io_uring remembers the limit of the time when it was armed. */
	client = make_client(&address);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(loop_accept(loop, &server.op, listener, told_accept), 0);
	run_until(loop, &server.calls, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(server.last, -EMFILE);
	assert_false(loop_op_is_busy(&server.op));
	assert_int_equal(run_for(loop, GLANCE_USEC), 0);

	assert_int_equal(loop_accept(loop, &server.op, client, told_accept), -EINVAL);
	assert_int_equal(loop_accept(loop, &server.op, 1 << 20, told_accept), -EBADF);
	close(client);
	close(listener);
}
