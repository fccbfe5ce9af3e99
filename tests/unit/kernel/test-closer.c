/* SPDX-License-Identifier: MIT */
/*
 * test-closer.c - descriptors whose closing takes long (src/kernel/closer.h)
 *
 * A TCP socket with unsent data and SO_LINGER is such a descriptor on every kernel: close(2) waits
 * for the peer, here one second.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../unit.h"
#include "kernel/closer.h"
#include "kernel/loop.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* *ret_peer stays open and is never read. */
static int slow_to_close(int *ret_peer)
{
	struct sockaddr_in address;
	struct linger linger = { .l_onoff = 1, .l_linger = 1 };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(address);
	static char block[1 << 16];

	assert_int_equal(listen(listener, 1), 0); /* at a port of the kernel's choice */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, size), 0);
	*ret_peer = accept(listener, NULL, NULL);
	assert_true(*ret_peer >= 0);
	close(listener);
	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

PROMISE(handing_over_does_not_wait_and_the_end_closes_what_is_left_at_the_same_time)
{
	struct closer *closer;
	int fds[40], peers[40];
	uint64_t start_usec;

	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		fds[i] = slow_to_close(&peers[i]);
	assert_int_equal(closer_new(&closer), 0);
	start_usec = now_usec();
	for (size_t i = 0; i < ELEMENTSOF(fds); i++)
		closer_close(closer, fds[i]);
	assert_true(now_usec() - start_usec < 500 * USEC_PER_MSEC);
	start_usec = now_usec();
	assert_null(closer_free(closer));
	/* one after the other they take 40 s, 32 at a time 2 s */
	assert_in_range(now_usec() - start_usec, 1500 * USEC_PER_MSEC, 10 * USEC_PER_SEC);
	for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
		assert_false(is_open(fds[i]));
		close(peers[i]);
	}
}

/* The thread ends when there is nothing more to close; the next descriptor starts another one. */
PROMISE(it_starts_again_after_a_rest)
{
	struct closer *closer;

	assert_int_equal(closer_new(&closer), 0);
	for (int i = 0; i < 50; i++) {
		int fds[2];
		struct pollfd p;

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		p = (struct pollfd){ .fd = fds[1] };
		closer_close(closer, fds[0]);
		/* a pipe without a reader is in error: that is how we hear of it, without waiting
		 * for closer_free() */
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_true(p.revents & POLLERR);
		close(fds[1]);
	}
	closer_close(closer, -1);
	closer_free(closer);
	assert_null(closer_free(NULL));
	assert_null(closer_free_in_child(NULL));
}

PROMISE(a_forked_child_closes_what_was_left_and_waits_for_no_thread)
{
	struct closer *closer;
	int peer, fd = slow_to_close(&peer), left = open("/dev/null", O_RDONLY | O_CLOEXEC), status;
	pid_t child;

	assert_int_equal(closer_new(&closer), 0);
	closer_close(closer, fd);
	usleep(50000); /* so that the thread is inside of close(2), and what follows waits in the
			  queue */
	closer_close(closer, left);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		bool was_open = is_open(left);

		alarm(5);
		closer_free_in_child(closer);
		_exit(was_open && !is_open(left) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	closer_free(closer);
	assert_false(is_open(left));
	close(peer);
}
