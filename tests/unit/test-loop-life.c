/* SPDX-License-Identifier: MIT */
/*
 * test-loop-life.c - choice, foreign owners, and end of the loop (src/kernel/loop.h), on each
 * engine
 *
 * Operations are in test-loop.c, timers and threads in test-loop-time.c.
 */
#include "loop-variants.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define FAR_USEC (3600 * USEC_PER_SEC)

struct clock {
	struct loop_timer timer; /* first: callbacks cast */
	uint64_t at_usec;
};

static int fired;

static void expired(struct loop_timer *timer, uint64_t now)
{
	((struct clock *)timer)->at_usec = now;
	fired++;
}

enum { WORKS = 2000, PINGS = 500 };

struct poster {
	struct loop *loop;
	struct loop_work works[WORKS];
};

static int works_run;

static void work_run(struct loop_work *work)
{
	(void)work;
	works_run++;
}

static void *poster_thread(void *userdata)
{
	struct poster *poster = userdata;

	for (int i = 0; i < WORKS; i++) {
		poster->works[i].run = work_run;
		loop_post(poster->loop, &poster->works[i]);
	}
	return NULL;
}

static void *dispatch_thread(void *userdata)
{
	return (void *)(intptr_t)loop_dispatch(userdata, 0);
}

static int dispatch_elsewhere(struct loop *loop)
{
	pthread_t thread;
	void *r;

	assert_int_equal(pthread_create(&thread, NULL, dispatch_thread, loop), 0);
	assert_int_equal(pthread_join(thread, &r), 0);
	return (int)(intptr_t)r;
}

static void ignore(struct loop_op *op, int result)
{
	(void)op;
	(void)result;
}

/* ---- foreign ------------------------------------------------------------------------------ */

struct pinger {
	struct loop_op op; /* first: callbacks cast */
	struct loop *loop;
	int fd, calls;
	char buf[16];
};

static void ponged(struct loop_op *op, int result)
{
	struct pinger *pinger = (struct pinger *)op;

	assert_int_equal(result, 1);
	pinger->calls++;
	assert_int_equal(loop_recv(pinger->loop, op, pinger->fd, pinger->buf, 16, ponged), 0);
	put(pinger->fd, "a", 1);
}

static void *ping_thread(void *userdata)
{
	int fd = *(int *)userdata;
	char byte;

	for (int i = 0; i < PINGS; i++) {
		put(fd, "q", 1);
		assert_int_equal(read(fd, &byte, 1), 1);
	}
	return NULL;
}

static bool is_readable(int fd, int timeout_msec)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	int r = poll(&pollfd, 1, timeout_msec);

	assert_true(r >= 0);
	return r > 0;
}

/* Until it is not readable any more, as an owner's loop would. */
static void settle(struct loop *loop)
{
	int fd = loop_fd(loop);

	for (int i = 0; is_readable(fd, 0); i++) {
		assert_true(i < 100);
		assert_true(loop_dispatch(loop, 0) >= 0);
	}
}

/* The owner of a foreign loop; fails by telling, because assertions belong to the main thread. */
struct owner {
	struct pinger pinger;
	int set, failures;
};

static void *owner_thread(void *userdata)
{
	struct owner *owner = userdata;
	struct loop *loop = owner->pinger.loop;
	struct pollfd pollfd = { .fd = loop_fd(loop), .events = POLLIN };
	struct epoll_event event;

	while (owner->pinger.calls < PINGS && !owner->failures) {
		/* In turn; the kernel restarts poll(2), but not epoll_wait(2). */
		if (owner->pinger.calls % 2)
			owner->failures += poll(&pollfd, 1, 10000) != 1;
		else
			owner->failures += epoll_wait(owner->set, &event, 1, 10000) != 1;
		owner->failures += loop_dispatch(loop, 0) < 0;
	}
	return NULL;
}

/* In a thread of its own: that a ring of an earlier test is closed may interrupt the main thread
 * later. */
static void a_foreign_owner_is_never_interrupted_and_misses_nothing(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, true, 0);
	struct owner owner = { .pinger.loop = loop };
	struct epoll_event event = { .events = EPOLLIN };
	pthread_t thread;
	int fds[2];

	make_sockets(SOCK_STREAM, fds);
	owner.pinger.fd = fds[0];
	owner.set = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(owner.set, EPOLL_CTL_ADD, loop_fd(loop), &event), 0);
	assert_int_equal(loop_recv(loop, &owner.pinger.op, fds[0], owner.pinger.buf, 16, ponged),
			 0);
	assert_int_equal(pthread_create(&thread, NULL, owner_thread, &owner), 0);
	ping_thread(&fds[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(owner.failures, 0);
	loop = loop_free(loop);
	close(owner.set);
	close(fds[0]);
	close(fds[1]);
}

static void count_release(struct loop_op *op)
{
	(void)op;
	fired++;
}

struct late {
	struct loop_timer timer; /* first: callbacks cast */
	struct loop *loop;
	struct loop_op *cancels, sends;
	int fd;
};

static void count_done(struct loop_op *op, int result)
{
	(void)op;
	assert_int_equal(result, 1);
	fired++;
}

static void expired_late(struct loop_timer *timer, uint64_t now)
{
	struct late *late = (struct late *)timer;

	(void)now;
	loop_cancel(late->cancels, count_release);
	assert_int_equal(loop_send(late->loop, &late->sends, late->fd, "x", 1, count_done), 0);
}

static void a_foreign_descriptor_tells_timers_work_and_what_was_set_outside(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, true, 0);
	struct clock clock = { .timer.expired = expired }, far = { .timer.expired = expired };
	struct late late = { .timer.expired = expired_late };
	struct poster *poster = calloc(1, sizeof(*poster));
	struct loop_op op = { 0 };
	int fds[2], fd = loop_fd(loop);
	pthread_t thread;

	assert_non_null(poster);
	make_sockets(SOCK_STREAM, fds);
	fired = works_run = 0;
	poster->loop = loop;
	assert_false(is_readable(fd, 0));

	/* before the first dispatch, and after it */
	for (int i = 1; i <= 3; i++) {
		uint64_t until_usec = now_usec() + 20 * USEC_PER_MSEC;

		loop_timer_set(loop, &far.timer, until_usec + FAR_USEC);
		settle(loop);
		loop_timer_set(loop, &clock.timer, until_usec);
		settle(loop);
		while (fired < i) {
			assert_true(is_readable(fd, 10000));
			assert_true(loop_dispatch(loop, 0) >= 0);
		}
		assert_true(clock.at_usec >= until_usec && clock.at_usec < until_usec + FAR_USEC);
	}

	/* One that is stopped does not ring, and the far one has not been forgotten. */
	loop_timer_set(loop, &clock.timer, now_usec() + 20 * USEC_PER_MSEC);
	settle(loop);
	loop_timer_stop(loop, &clock.timer);
	loop_timer_stop(loop, &far.timer);
	assert_int_equal(loop_dispatch(loop, 0), 0);
	settle(loop);
	assert_false(is_readable(fd, 50));

	assert_int_equal(pthread_create(&thread, NULL, poster_thread, poster), 0);
	while (works_run < WORKS) {
		assert_true(is_readable(fd, 10000));
		assert_true(loop_dispatch(loop, 0) >= 0);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	settle(loop);

	fired = 0;
	assert_int_equal(loop_poll(loop, &op, fds[0], POLLIN, ignore), 0);
	settle(loop);
	loop_cancel(&op, count_release);
	settle(loop);
	assert_int_equal(fired, 1);
	assert_int_equal(loop_poll(loop, &op, fds[0], POLLIN, ignore), 0);
	settle(loop);
	put(fds[1], "x", 1);
	assert_true(is_readable(fd, 10000));
	assert_int_equal(loop_dispatch(loop, 0), 1);
	settle(loop);

	/* What a timer does is too late for this pass. */
	late.cancels = &op;
	late.loop = loop;
	late.fd = fds[0];
	fired = 0;
	loop_timer_set(loop, &late.timer, 0);
	while (fired < 2) {
		assert_true(is_readable(fd, 10000));
		assert_true(loop_dispatch(loop, 0) >= 0);
	}
	settle(loop);

	/* And it can wait by itself, too. */
	fired = 0;
	loop_timer_set(loop, &clock.timer, now_usec() + USEC_PER_MSEC);
	run_until(loop, &fired, 1);

	loop = loop_free(loop);
	free(poster);
	close(fds[0]);
	close(fds[1]);
}

static void only_a_foreign_loop_has_a_descriptor(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, false, 0);

	assert_int_equal(loop_fd(loop), -EINVAL);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void free_is_quick_and_takes_every_buffer_back(void **state)
{
	enum { MANY = 150, WAYS = 3 };

	/* 0: never dispatched, 1: dispatched here, 2: by a thread that has ended */
	for (int way = 0; way < WAYS; way++) {
		struct loop *loop = make_loop(*state, false, 0);
		struct loop_op *ops = calloc(2 * MANY, sizeof(*ops));
		char(*bufs)[8] = calloc(MANY, sizeof(*bufs));
		int(*fds)[2] = calloc(MANY, sizeof(*fds));
		uint64_t before_usec;

		assert_true(ops && bufs && fds);
		for (int i = 0; i < MANY; i++) {
			make_sockets(SOCK_STREAM, fds[i]);
			assert_int_equal(loop_recv(loop, &ops[i], fds[i][0], bufs[i], 8, ignore),
					 0);
			assert_int_equal(
				loop_poll(loop, &ops[MANY + i], fds[i][0], POLLRDHUP, ignore), 0);
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
			put(fds[i][1], "x", 1);
			assert_int_equal(recv(fds[i][0], &byte, 1, MSG_DONTWAIT), 1);
			assert_int_equal(byte, 'x');
			assert_int_equal(bufs[i][0], 0);
			close(fds[i][0]);
			/* Nor does the kernel hold the descriptor, if we could ask it to let go. */
			if (way != 2)
				assert_int_equal(recv(fds[i][1], &byte, 1, MSG_DONTWAIT), 0);
			close(fds[i][1]);
		}
		free(ops);
		free(bufs);
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

static void a_forked_child_frees_and_the_parent_goes_on(void **state)
{
	int before = count_descriptors();
	_cleanup_(loop_freep) struct loop *loop = make_loop(*state, false, 0);
	struct pinger pinger = { .loop = loop };
	struct loop_op polls = { 0 };
	int fds[2], status;
	pthread_t thread;
	pid_t child;

	make_sockets(SOCK_STREAM, fds);
	pinger.fd = fds[0];
	assert_int_equal(loop_recv(loop, &pinger.op, fds[0], pinger.buf, 16, ponged), 0);
	assert_int_equal(loop_poll(loop, &polls, fds[0], POLLRDHUP, ignore), 0);
	assert_true(loop_dispatch(loop, 0) >= 0);

	assert_int_equal(rings_are_mapped(), loop_backend(loop) == LOOP_URING);
	child = fork();
	if (child == 0) {
		loop_free_in_child(loop);
		_exit(count_descriptors() != before + 2 ? 1 : rings_are_mapped() ? 2 : 0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);

	assert_int_equal(pthread_create(&thread, NULL, ping_thread, &fds[1]), 0);
	run_until(loop, &pinger.calls, PINGS);
	assert_int_equal(pthread_join(thread, NULL), 0);
	loop = loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

/* ---- choice ------------------------------------------------------------------------------- */

/* Once would do, but it costs nothing on each variant. */
static void auto_takes_io_uring_or_says_why_not(void **state)
{
	const char *denied = getenv("PSIBRIDGE_TEST_DENIED");
	const char *why = NULL;
	struct loop_options options = { .backend = LOOP_URING };
	struct loop *loop = NULL;
	int uring;

	(void)state;
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

	/* A kernel that would interrupt the owner's system calls. */
	options.foreign = true;
	options.without = LOOP_WITHOUT_DEFER_TASKRUN;
	assert_int_equal(loop_new(&options, &loop, &why), 0);
	assert_int_equal(loop_backend(loop), LOOP_EPOLL);
	if (uring == 0)
		assert_non_null(strstr(why, "6.1"));
	loop_free(loop);
	options.backend = LOOP_URING;
	assert_int_equal(loop_new(&options, &loop, &why), -EINVAL);
}

static const struct promise loop_life[] = {
#define P(name)                    \
	{                          \
#name, name, false \
	}
	FOREIGN_PROMISE(a_foreign_owner_is_never_interrupted_and_misses_nothing),
	FOREIGN_PROMISE(a_foreign_descriptor_tells_timers_work_and_what_was_set_outside),
	PROMISE(only_a_foreign_loop_has_a_descriptor),
	PROMISE(free_is_quick_and_takes_every_buffer_back),
	PROMISE(a_forked_child_frees_and_the_parent_goes_on),
	PROMISE(auto_takes_io_uring_or_says_why_not),
};

int main(void)
{
	return run_promises(loop_life);
}
