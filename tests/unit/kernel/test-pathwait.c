/* SPDX-License-Identifier: MIT */
/*
 * test-pathwait.c - waiting until a cgroup is there (src/kernel/pathwait.h)
 *
 * Each promise is kept on both backends of the loop, in a plain directory that stands in for a
 * cgroup2 mount, and in a real one, which says less when something is removed.
 */
#include <pthread.h>

#include "../unit.h"
#include "../fake-root.h"
#include "../../threads.h"
#include "kernel/pathwait.h"
#include "kernel/closer.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC) /* for what must happen */

struct variant {
	const char *name;
	enum loop_backend backend;
	bool real; /* a cgroup, else a directory */
};

static const struct variant variants[] = {
	{ "io_uring, directory", LOOP_URING, false },
	{ "epoll, directory", LOOP_EPOLL, false },
	{ "io_uring, cgroup", LOOP_URING, true },
	{ "epoll, cgroup", LOOP_EPOLL, true },
};

static bool suits(const void *variant, const struct promise *promise)
{
	(void)promise;
	return ((const struct variant *)variant)->backend != LOOP_URING ||
	       !getenv("PSIBRIDGE_TEST_DENIED");
}

static struct cgroups cgroups;
static char top[64]; /* the directory that is this test's own, as a path under the mount */
static struct loop *loop;
static struct path_wait path_wait;
static unsigned appeared_count, released_count;

/* The directory "a" of ours, as a path under the mount (which is how path_wait_start() wants it), and from the root. */
static const char *path_of(const char *name)
{
	static char buf[256];

	snprintf(buf, sizeof(buf), "%s%s%s", top, *name ? "/" : "", name);
	return buf;
}

static const char *in_mount(const char *name)
{
	static char buf[2 * CGPATH_MAX];

	snprintf(buf, sizeof(buf), "%s%s%s%s", cgroups.v2.point, top, *name ? "/" : "", name);
	return buf;
}

static int count_appeared(struct path_wait *b)
{
	assert_ptr_equal(b, &path_wait);
	assert_false(b->waiting);
	assert_false(loop_op_is_busy(&b->op));
	appeared_count++;
	return 0;
}

static path_wait_fn *appeared = count_appeared;

static void count_released(struct path_wait *b)
{
	assert_ptr_equal(b, &path_wait);
	assert_false(loop_op_is_busy(&b->op));
	released_count++;
}

/* Do all that is due now. */
static void go_on(void)
{
	int r;

	do {
		r = loop_dispatch(loop, 0);
		assert_true(r >= 0);
	} while (r > 0);
}

static void await(unsigned *counter, unsigned count)
{
	uint64_t until = now_usec() + PATIENCE_USEC;

	while (*counter < count && now_usec() < until)
		assert_true(loop_dispatch(loop, until) >= 0);
	assert_int_equal(*counter, count);
}

/*
 * Words, one after the other: +a makes the directory, -a removes it, ?a begins to wait for it, x gives that up; ! it appears, once;
 * = what is due now is done, and that is nothing, nor does a clock run.
 */
static void play(const char *script)
{
	char text[128], *rest;
	unsigned before;

	snprintf(text, sizeof(text), "%s", script);
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		before = *word == 'x' ? released_count : appeared_count;
		if (*word == '+' && mkdir(in_mount(word + 1), 0755) < 0)
			fail_msg("\"%s\": mkdir %s: %s", script, word, strerror(errno));
		else if (*word == '-' && rmdir(in_mount(word + 1)) < 0)
			fail_msg("\"%s\": rmdir %s: %s", script, word, strerror(errno));
		else if (*word == '?')
			path_wait_start(&path_wait, path_of(word + 1), appeared);
		else if (*word == 'x')
			path_wait_cancel(&path_wait, count_released);
		else if (*word == '=')
			go_on();
		if (*word == 'x' || *word == '!')
			await(*word == 'x' ? &released_count : &appeared_count, before + 1);
		else if (appeared_count != before)
			fail_msg("\"%s\": appeared at %s", script, word);
		if (*word == '=')
			assert_false(path_wait.timer.queued);
	}
}

static void begin(void **state)
{
	const struct variant *v = *state;

	appeared_count = released_count = 0;
	appeared = count_appeared;
	cgroups = (struct cgroups){ .has_v2 = true };
	loop = NULL;
	assert_int_equal(fake_set_up(NULL), 0);
	if (v->real) {
		snprintf(top, sizeof(top), "/psb-pathwait-%d", (int)getpid());
		if (cgroups_discover("/proc", &cgroups) < 0 || !cgroups.has_v2 ||
		    mkdir(in_mount(""), 0755) < 0)
			SKIP("there is no cgroup2 hierarchy to write to");
	} else {
		snprintf(top, sizeof(top), "/top");
		snprintf(cgroups.v2.point, sizeof(cgroups.v2.point), "%s", fake_root);
		play("+");
	}
	if (loop_new(&(struct loop_options){ .backend = v->backend }, &loop, NULL) < 0) {
		assert_int_equal(v->backend, LOOP_URING);
		SKIP("io_uring cannot be had here");
	}
	path_wait_init(&path_wait, loop, &cgroups);
}

static int end(void **state)
{
	static const char *const left[] = { "a/b/c", "a/b", "a", "x", "" };

	loop = loop_free(loop);
	path_wait_close(&path_wait);
	for (size_t i = 0; cgroups.has_v2 && i < ELEMENTSOF(left); i++)
		rmdir(in_mount(left[i]));
	return fake_tear_down(state);
}

VARIANTS(variants, suits)
FIXTURE(begin, end)

/* ---- promises ---------------------------------------------------------------------------------- */

PROMISE(it_appears_from_a_dispatch_when_it_is_there_and_then_nothing_is_left)
{
	static const char *const scripts[] = {
		"+a ?a ! = -a",
		/* a path that grows is followed */
		"?a/b/c = +a = +a/b = +a/b/c ! = -a/b/c -a/b -a",
		/* a removed directory says nothing on a cgroup file system: its parent must be heard */
		"+a ?a/b = -a +a +a/b ! = -a/b -a",
		"+a ?a/b = -a = +a +a/b ! = -a/b -a",
		"+a ?a/b = -a +a = +a/b ! = -a/b -a",
		"+a ?a/b = -a = +a = +a/b ! = -a/b -a",
		/* given up: idle, waiting, found and not told yet */
		"x ?a = x +a = -a",
		"+a ?a x = -a",
	};

	for (size_t i = 0; i < ELEMENTSOF(scripts); i++) {
		play(scripts[i]);
		assert_int_equal(path_wait.inotify_fd, -1);
	}
}

PROMISE(other_paths_are_nothing_to_it)
{
	int newest;

	play("+a ?a/b =");
	newest = path_wait.newest;
	play("+x +a/bb = -a/bb =");
	assert_int_equal(path_wait.newest, newest); /* it did not begin anew */
	play("+a/b !");
}

static unsigned count_watches(int fd)
{
	char path[64], line[256];
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strncmp(line, "inotify ", 8) == 0;
	fclose(f);
	return n;
}

PROMISE(watches_of_what_was_removed_do_not_pile_up)
{
	unsigned before;

	play("+a ?a/b/c =");
	before = count_watches(path_wait.inotify_fd);
	assert_in_range(before, 2, 4); /* the mount, ours, a; sometimes one above it */
	for (unsigned i = 0; i < 50; i++)
		play("-a = +a =");
	assert_int_equal(count_watches(path_wait.inotify_fd), before);
	play("+a/b +a/b/c !");
}

static int wait_again(struct path_wait *b)
{
	count_appeared(b);
	assert_int_equal(rmdir(in_mount("a")), 0);
	path_wait_start(b, path_of("a"), appeared);
	return 0;
}

PROMISE(it_may_be_started_again_when_it_is_told)
{
	appeared = wait_again;
	play("?a = +a ! = +a !");
}

static int refuse_twice(struct path_wait *b)
{
	count_appeared(b);
	return appeared_count < 3 ? -EMFILE : 0;
}

PROMISE(who_could_not_use_it_is_told_again_later)
{
	uint64_t begin = now_usec();

	appeared = refuse_twice;
	play("+a ?a !");
	assert_true(path_wait.waiting);
	play("! ! =");
	assert_true(now_usec() - begin >= (100 + 200) * USEC_PER_MSEC);
	assert_false(path_wait.waiting);

	/* it went in between: the next one is waited for, and no clock runs */
	appeared_count = 1;
	play("?a ! -a");
	while (path_wait.timer.queued)
		assert_true(loop_dispatch(loop, now_usec() + PATIENCE_USEC) >= 0);
	play("+a !");

	/* given up in between */
	appeared_count = 1;
	play("?a ! x =");
}

PROMISE(a_closer_closes_for_it)
{
	struct closer *closer;
	int fd;

	assert_int_equal(closer_new(&closer), 0);
	path_wait.closer = closer;
	play("?a =");
	fd = path_wait.inotify_fd;
	play("+a !");
	closer_free(closer);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	path_wait.closer = NULL;
}

PROMISE(out_of_descriptors_it_looks_every_ten_seconds_and_what_is_there_is_found)
{
	uint64_t begin = now_usec();

	descriptors_allow(0);
	play("?a");
	descriptors_allow(DESCRIPTORS_ALL);
	assert_int_equal(path_wait.inotify_fd, -1);
	assert_true(path_wait.timer.queued);
	assert_in_range(path_wait.timer.deadline_usec, begin + 10 * USEC_PER_SEC,
			now_usec() + 10 * USEC_PER_SEC);
	loop_timer_set(loop, &path_wait.timer, now_usec()); /* ten seconds later it listens again */
	play("= +a");
	descriptors_allow(0);
	go_on();
	descriptors_allow(DESCRIPTORS_ALL);
	assert_int_equal(appeared_count, 1);
}

/* Makes and removes the path all the time, and leaves it there at the end. */
static void *make_restlessly(void *arg)
{
	const char *const *paths = arg; /* a, a/b */

	for (unsigned i = 0; i < 20; i++) {
		mkdir(paths[0], 0755);
		mkdir(paths[1], 0755);
		rmdir(paths[1]);
		rmdir(paths[0]);
	}
	mkdir(paths[0], 0755);
	mkdir(paths[1], 0755);
	return NULL;
}

static const char *restless_path;

static int try_again_if_gone(struct path_wait *b)
{
	appeared_count = access(restless_path, F_OK) == 0;
	if (appeared_count == 0)
		path_wait_start(b, path_of("a/b"), try_again_if_gone);
	return 0;
}

PROMISE(nothing_is_lost_between_looking_and_listening)
{
	static char path[2][2 * CGPATH_MAX];
	static const char *const paths[] = { path[0], path[1] };

	snprintf(path[0], sizeof(path[0]), "%s", in_mount("a"));
	snprintf(path[1], sizeof(path[1]), "%s", in_mount("a/b"));
	restless_path = path[1];
	for (unsigned i = 0; i < 40; i++) {
		pthread_t thread;

		appeared_count = 0;
		assert_int_equal(
			pthread_create(&thread, NULL, make_restlessly, (void *)(uintptr_t)paths),
			0);
		path_wait_start(&path_wait, path_of("a/b"), try_again_if_gone);
		/* a pass may bring no call: where the kernel says that it took a poll back, for example */
		for (uint64_t until = now_usec() + PATIENCE_USEC; appeared_count == 0;) {
			assert_int_equal(path_wait.timer.queued && path_wait.inotify_fd < 0 &&
						 path_wait.timer.deadline_usec >
							 now_usec() + USEC_PER_SEC,
					 0);
			assert_true(loop_dispatch(loop, until) >= 0 && now_usec() < until);
		}
		pthread_join(thread, NULL);
		appeared_count = 0; /* it may have been there in between only */
		path_wait_cancel(&path_wait, NULL);
		go_on();
		path_wait_start(&path_wait, path_of("a/b"), count_appeared);
		await(&appeared_count, 1);
		play("-a/b -a");
	}
}
