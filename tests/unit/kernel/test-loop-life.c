/* SPDX-License-Identifier: MIT */
/*
 * test-loop-life.c - choice and end of the loop, and a loop in the loop of its host (loop_fd() in src/kernel/loop.h), on each
 * engine. tests/integration/test-driving.c has more hosts.
 */
#include "loop-variants.h"

#include <sys/epoll.h>
#include <sys/wait.h>

/* A loop that answers each byte with one, and a thread that asks so often and waits for each answer. */
enum { PINGS = 200 };

struct pinger {
	struct loop_op op; /* first: callbacks cast */
	struct loop *loop;
	int fd, calls;
};

static void ponged(struct loop_op *op, int result)
{
	struct pinger *pinger = (struct pinger *)op;
	char byte;

	assert_int_equal(result, POLLIN);
	if (recv(pinger->fd, &byte, 1, MSG_DONTWAIT) != 1) /* the state that was told already */
		return;
	pinger->calls++;
	put(pinger->fd, "a", 1);
}

static void answer_pings(struct pinger *pinger, int fd)
{
	pinger->fd = fd;
	assert_int_equal(loop_poll(pinger->loop, &pinger->op, fd, POLLIN, ponged), 0);
}

static void *ping(void *fd)
{
	char byte;

	for (int i = 0; i < PINGS; i++) {
		put(*(int *)fd, "q", 1);
		assert_int_equal(read(*(int *)fd, &byte, 1), 1);
	}
	return NULL;
}

/* ---- the end ------------------------------------------------------------------------------ */

PROMISE(free_is_quick_and_takes_every_poll_back)
{
	enum { MANY = 300, WAYS = 3 };

	/* 0: never dispatched, 1: dispatched here, 2: by a thread that has ended */
	for (int way = 0; way < WAYS; way++) {
		struct loop *loop = make_loop(*state);
		struct loop_op *ops = calloc(MANY, sizeof(*ops));
		int(*fds)[2] = calloc(MANY, sizeof(*fds));
		uint64_t before_usec;

		assert_true(ops && fds);
		for (int i = 0; i < MANY; i++) {
			make_sockets(SOCK_STREAM, fds[i]);
			assert_int_equal(loop_poll(loop, &ops[i], fds[i][0], POLLIN, ignore), 0);
		}
		if (way == 1)
			assert_true(loop_dispatch(loop, 0) >= 0);
		if (way == 2)
			assert_true(dispatch_elsewhere(loop) >= 0);
		before_usec = now_usec();
		loop_free(loop);
		assert_true(now_usec() - before_usec < USEC_PER_SEC);

		for (int i = 0; i < MANY; i++) {
			char byte = 0;

			assert_false(loop_op_is_busy(&ops[i]));
			close(fds[i][0]);
			/* Nor does the kernel hold the descriptor, if we could ask it to let go. */
			if (way != 2)
				assert_int_equal(recv(fds[i][1], &byte, 1, MSG_DONTWAIT), 0);
			close(fds[i][1]);
		}
		free(ops);
		free(fds);
	}
	assert_null(loop_free(NULL));
	assert_null(loop_free_in_child(NULL));
}

static bool rings_are_mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[4352];
	bool found = false;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		found = found || strstr(line, "anon_inode:[io_uring]");
	fclose(maps);
	return found;
}

static void fork_and_free(struct loop *loop, int descriptors)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		loop_free_in_child(loop);
		_exit((int)descriptors_open() != descriptors ? 1 : rings_are_mapped() ? 2 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

PROMISE(a_forked_child_frees_and_the_parent_goes_on)
{
	int before = (int)descriptors_open();
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
	struct pinger pinger = { .loop = loop };
	struct loop_op polls = { 0 };
	pthread_t thread;

	SOCKETS(fds, SOCK_STREAM);
	answer_pings(&pinger, fds[0]);
	assert_int_equal(loop_poll(loop, &polls, fds[1], POLLRDHUP, ignore), 0);
	assert_true(loop_dispatch(loop, 0) >= 0);
	assert_int_equal(rings_are_mapped(), loop_backend(loop) == LOOP_URING);
	fork_and_free(loop, before + 2);
	assert_int_equal(pthread_create(&thread, NULL, ping, &fds[1]), 0);
	run_until(loop, &pinger.calls, PINGS);
	assert_int_equal(pthread_join(thread, NULL), 0);
	loop = loop_free(loop);
	/* where a thread of it waits */
	loop = make_loop(*state);
	assert_true(loop_fd(loop) >= 0);
	fork_and_free(loop, before + 2);
}

/* ---- in its host's loop ------------------------------------------------------------------------ */

/* One turn of the host's loop: poll(2), or epoll(7) by edges. */
static void host_turn(struct loop *loop, int set)
{
	struct pollfd pollfd = { .fd = loop_fd(loop), .events = POLLIN };
	struct epoll_event event;
	int n = set < 0 ? poll(&pollfd, 1, 10000) : epoll_wait(set, &event, 1, 10000);

	/* Each ring of before interrupts this thread once, which made it, when the kernel tears it down
	 * at last; what is told now does not. */
	assert_true(n >= 0 || errno == EINTR);
	if (n > 0)
		assert_true(loop_dispatch(loop, 0) >= 0);
}

PROMISE(each_way_to_poll_it_misses_nothing)
{
	for (int edge = 0; edge <= 1; edge++) {
		_cleanup_(loop_freep) struct loop *loop = make_loop(*state);
		struct epoll_event event = { .events = EPOLLIN | EPOLLET };
		struct pinger pinger = { .loop = loop };
		uint64_t until_usec = now_usec() + PATIENCE_USEC;
		struct loop_op late = { 0 };
		int fd, set = edge ? epoll_create1(EPOLL_CLOEXEC) : -1;
		pthread_t thread;

		SOCKETS(fds, SOCK_STREAM);
		answer_pings(&pinger, fds[0]);
		fd = loop_fd(loop);
		assert_true(fd >= 0 && loop_fd(loop) == fd);
		/* operations belong into a dispatch from then on */
		assert_int_equal(loop_poll(loop, &late, fds[1], POLLIN, ignore), -EBUSY);
		if (edge)
			assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
		assert_int_equal(pthread_create(&thread, NULL, ping, &fds[1]), 0);
		while (pinger.calls < PINGS) {
			host_turn(loop, set);
			assert_true(now_usec() < until_usec);
		}
		assert_int_equal(pthread_join(thread, NULL), 0);
		shut(&set);
		loop = loop_free(loop);
	}
}

PROMISE(a_loop_that_was_dispatched_has_no_descriptor)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state);

	assert_true(loop_dispatch(loop, 0) >= 0);
	assert_int_equal(loop_fd(loop), -EBUSY);
}

/* ---- choice ------------------------------------------------------------------------------- */

/* As programs set it that are to open nothing any more. ppoll(2) of one descriptor is EINVAL then. */
PROMISE(a_limit_of_no_descriptors_ends_no_engine)
{
	struct loop *loop = make_loop(*state);
	struct pinger pinger = { .loop = loop };
	int r;

	SOCKETS(fds, SOCK_STREAM);
	answer_pings(&pinger, fds[0]);
	descriptors_allow(0);
	r = loop_dispatch(loop, now_usec() + GLANCE_USEC); /* to its end, asleep */
	put(fds[1], "a", 1);
	while (r >= 0 && pinger.calls == 0)
		r = loop_dispatch(loop, USEC_NEVER);
	descriptors_allow(DESCRIPTORS_ALL);
	assert_true(r >= 0);
	assert_int_equal(loop_failures(loop), 0);
	loop_free(loop);
}

PROMISE(auto_takes_io_uring_or_says_why_not)
{
	const char *denied = getenv("PSIBRIDGE_TEST_DENIED");
	const char *why = NULL;
	struct loop_options options = { .backend = LOOP_URING };
	struct loop *loop = NULL;
	int uring;

	uring = loop_new(&options, &loop, NULL);
	loop_free(loop);
	options.backend = LOOP_AUTO;
	assert_int_equal(loop_new(&options, &loop, &why), 0);
	assert_non_null(why);
	assert_int_equal(loop_backend(loop), uring == 0 ? LOOP_URING : LOOP_EPOLL);
	assert_int_equal(why[0] == '\0', uring == 0);
	loop_free(loop);
	if (denied) {
		assert_int_equal(uring, strcmp(denied, "EPERM") == 0 ? -EPERM : -ENOSYS);
		assert_non_null(strstr(why, denied));
		assert_non_null(strstr(why, "seccomp"));
	}
}
