/* SPDX-License-Identifier: MIT */
/*
 * test-hook-life.c - how a hook begins and ends (src/runtimes/hook.h), and that it never keeps the
 * program from either
 */
#include "../unit.h"
#include "hook-stage.h"

#include <signal.h>
#include <sys/wait.h>

static struct fake fake;

static uint64_t elapsed_usec(uint64_t since)
{
	return clock_usec(CLOCK_MONOTONIC) - since;
}

/* ---- beginning ------------------------------------------------------------------------------------ */

PROMISE(ready_says_what_is_watched_and_how)
{
	char expected[300];
	int fd;

	assert_int_equal(mkfifo(in_directory("fifo"), 0600), 0);
	setenv("PSIBRIDGE_SOURCE", in_directory("fifo"), 1);
	start_as(&fake_runtime, &fake);
	snprintf(expected, sizeof(expected), "rung 1, fifo on %s, ", in_directory("fifo"));
	assert_non_null(strstr(await_line("ready: "), expected));
	assert_int_equal(READ(&fake.rx, calls), 0); /* High, the present state, is no news */
	fd = open(in_directory("fifo"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	AWAIT(&fake.rx, fake.rx.calls == 1);
	assert_int_equal(count_lines("told "), 1);
	close(fd);
	stop(&fake);
	unlink(in_directory("fifo"));
}

PROMISE(switched_off_it_is_not_there_and_says_nothing)
{
	static const char *const words[] = { "off", "no", "0" };
	struct hook *untouched = (struct hook *)1;

	setenv("PSIBRIDGE_LOW", "nonsense", 1);
	for (size_t i = 0; i < ELEMENTSOF(words); i++) {
		setenv("PSIBRIDGE", words[i], 1);
		assert_int_equal(hook_start(&fake_runtime, &fake, NULL, &untouched), 0);
		assert_ptr_equal(untouched, (struct hook *)1);
	}
	assert_int_equal(count_threads(), 0);
	assert_int_equal(count_lines(""), 0);
	assert_null(hook_stop(NULL));
}

PROMISE(nonsense_is_told_once_by_name_and_the_hook_works)
{
	setenv("PSIBRIDGE_CRITICAL", "often", 1);
	setenv("PSIBRIDGE_APART", "10", 1);
	setenv("PSIBRIDGE_COLECT", "off", 1);
	start(&fake);
	unsetenv("PSIBRIDGE_COLECT");
	await_line("ready: ");
	press_once(&fake);
	assert_int_equal(collected(&fake), 1);
	assert_int_equal(count_lines("PSIBRIDGE_CRITICAL=often: "), 1);
	assert_int_equal(count_lines("PSIBRIDGE_APART=10: "), 1);
	assert_int_equal(count_lines("PSIBRIDGE_COLECT: there is no such variable; did you mean "
				     "PSIBRIDGE_COLLECT?"),
			 1);
	assert_int_equal(count_lines("PSIBRIDGE"), 3);
	stop(&fake);
}

/* Each in one line that says what and why, and the program has a hook it can stop. */
PROMISE(where_nothing_can_be_watched_it_says_why_and_ends)
{
	static const struct {
		const char *name, *text, *said;
	} table[] = {
		{ "PSIBRIDGE_BACKEND", "kqueue",
		  "cannot watch: PSIBRIDGE_BACKEND=kqueue: auto, uring or epoll was expected; "
		  "the program runs on without" },
		{ "PSIBRIDGE_CGROUP", "../x",
		  "cannot watch: cgroup \"../x\": \"..\" is not allowed in it; "
		  "the program runs on without" },
		/* whatever a path contains, a line is a line */
		{ "PSIBRIDGE_CGROUP", "a\nb\x1b[2J", "cannot watch: cgroup \"a?b?[2J\": " },
		{ "PSIBRIDGE_SOURCE", "/no/such/fifo", "cannot watch: " },
		{ "MEMORY_PRESSURE_WATCH", "/dev/null", "not watching: " },
	};
	const char *backend = getenv("PSIBRIDGE_BACKEND");
	char *kept = backend ? strdup(backend) : NULL;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		said_count = read_count = 0;
		unsetenv("PSIBRIDGE_SOURCE");
		setenv(table[i].name, table[i].text, 1);
		start_as(&fake_runtime, &fake);
		await_line(table[i].said);
		await_line("ended");
		assert_int_equal(count_lines(""), 2);
		stop(&fake);
		unsetenv(table[i].name);
		if (kept)
			setenv("PSIBRIDGE_BACKEND", kept, 1);
	}
	free(kept);
}

PROMISE(two_of_them_and_one_after_the_other_are_no_trouble)
{
	static struct fake other;

	for (int i = 0; i < 3; i++) {
		start_and_await_ready(&fake);
		start_and_await_ready(&other);
		tell(&fake, PSB_LOW);
		await_line("told Low");
		AWAIT(&fake.rx, fake.rx.calls == 1);
		assert_int_equal(collected(&other), 0);
		assert_null(hook_stop(steal(fake.hook)));
		press_once(&other);
		assert_int_equal(collected(&other), 1);
		assert_int_equal(collected(&fake), 1);
		stop(&other);
		clear_fake(&fake);
	}
	assert_int_equal(count_lines("ended"), 6);
}

/* ---- ending --------------------------------------------------------------------------------------- */

/* At every moment of its start; descriptors are counted by the stage. */
PROMISE(it_may_be_stopped_while_it_starts)
{
	assert_int_equal(mkfifo(in_directory("fifo"), 0600), 0);
	setenv("PSIBRIDGE_SOURCE", in_directory("fifo"), 1);
	for (unsigned i = 0; i < 60; i++) {
		start_as(&fake_runtime, &fake);
		if (i % 6)
			AWAIT_FOR(&fake.rx, false, i % 6 * 40);
		stop(&fake);
		assert_int_equal(count_lines("ended"), 1);
		said_count = read_count = 0;
	}
	unlink(in_directory("fifo"));
}

static void *open_the_ear_late(void *arg)
{
	struct fake *f = arg;

	AWAIT_FOR(&f->rx, f->rx.calls == 99, 300 * USEC_PER_MSEC); /* never */
	hold_receiver(&f->rx, false);
	return NULL;
}

PROMISE(stopping_waits_for_a_collection_that_ends)
{
	pthread_t thread;

	start_and_await_ready(&fake);
	hold_receiver(&fake.rx, true);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.rx.inside == 1);
	pthread_create(&thread, NULL, open_the_ear_late, &fake);
	assert_null(hook_stop(steal(fake.hook)));
	assert_int_equal(READ(&fake.rx, inside), 0);
	pthread_join(thread, NULL);
	assert_no_thread_is_left();
	assert_int_equal(count_lines("collected: "), 1); /* its effect is told all the same */
	clear_fake(&fake);
}

/* A runtime that ends stops its threads, and those that collect too. */
PROMISE(a_collection_that_does_not_end_is_given_up_after_two_seconds)
{
	uint64_t begin;

	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start_and_await_ready(&fake);
	hold_receiver(&fake.rx, true);
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.rx.inside == 1);
	tell(&fake, PSB_HIGH); /* which waits for it meanwhile */
	await_read(&fake);
	begin = clock_usec(CLOCK_MONOTONIC);
	assert_null(hook_stop(steal(fake.hook)));
	assert_in_range(elapsed_usec(begin), 1900 * USEC_PER_MSEC, 4 * USEC_PER_SEC);
	assert_int_equal(READ(&fake.rx, inside), 1);

	/* it comes back, after all */
	tell(&fake, PSB_LOW);
	hold_receiver(&fake.rx, false);
	await_line("ended");
	assert_no_thread_is_left();
	assert_int_equal(collected(&fake), 1);
	assert_int_equal(count_lines("told "), 1);
	clear_fake(&fake);
}

static void stop_myself(struct fake *f)
{
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);
	struct hook *hook = hook_stop(steal(f->hook));

	note_done(&f->rx, hook == NULL && elapsed_usec(begin) < USEC_PER_SEC);
}

/* A finalizer, say, that calls exit(3). */
PROMISE(it_may_be_stopped_inside_of_a_collection)
{
	start_and_await_ready(&fake);
	SET(&fake, act, stop_myself);
	tell(&fake, PSB_LOW);
	await_line("ended");
	assert_no_thread_is_left();
	assert_int_equal(fake.rx.done, 1);
	assert_int_equal(fake.rx.result, 1);
	assert_int_equal(fake.rx.calls, 1);
	clear_fake(&fake);
}

/* Fills what stderr can hold but for `room` bytes: the next line but one waits. */
static void fill_stderr(size_t room)
{
	int size = fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096);
	char x[4096];

	assert_int_equal(size, 4096);
	memset(x, 'x', sizeof(x));
	assert_int_equal(write(STDERR_FILENO, x, sizeof(x) - room), sizeof(x) - room);
}

static void drain_stderr(void)
{
	struct pollfd p = { .fd = said_fd, .events = POLLIN };
	char x[4096];

	while (poll(&p, 1, 0) > 0 && read(said_fd, x, sizeof(x)) > 0)
		;
}

/* Between its last look and collect() it has something to say, and nobody listens. */
PROMISE(who_does_not_read_stderr_makes_no_collection_begin_after_the_end)
{
	uint64_t begin;

	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start_and_await_ready(&fake);
	press_once(&fake);
	AWAIT_FOR(&fake.rx, false,
		  2 * USEC_PER_MSEC); /* PSIBRIDGE_APART; its effect is not told yet */
	if (sysconf(_SC_PAGESIZE) > 4096)
		SKIP("a pipe is larger here");
	fill_stderr(strlen("psibridge[fake]: told Low (memory is short)\n"));
	tell(&fake, PSB_LOW);
	begin = clock_usec(CLOCK_MONOTONIC);
	while (count_threads() > 0 && elapsed_usec(begin) < 200 * USEC_PER_MSEC)
		usleep(1000); /* until it hangs in there */
	begin = clock_usec(CLOCK_MONOTONIC);
	assert_null(hook_stop(steal(fake.hook)));
	assert_true(elapsed_usec(begin) < 4 * USEC_PER_SEC);
	while (count_threads() > 0) { /* the driver's timeout is the bound */
		drain_stderr();
		usleep(1000);
	}
	assert_int_equal(collected(&fake), 1);
	clear_fake(&fake);
}

PROMISE(a_stderr_that_is_gone_hurts_nobody)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	void (*before)(int);

	start_and_await_ready(&fake);
	dup3(null, said_fd, O_CLOEXEC); /* nobody reads any more: each write is a SIGPIPE */
	close(null);
	before = signal(SIGPIPE, SIG_DFL); /* systemd starts us with it ignored */
	tell(&fake, PSB_LOW);
	AWAIT(&fake.rx, fake.rx.calls == 1 && fake.rx.inside == 0); /* "told" was said before */
	tell(&fake, PSB_HIGH);
	stop(&fake); /* which has what became of the collection to say, and that it ended */
	signal(SIGPIPE, before);
}

/* ---- fork ----------------------------------------------------------------------------------------- */

/* Returns the line of the first broken promise, or 0. */
static int child_forgets(void)
{
	uint64_t begin = clock_usec(CLOCK_MONOTONIC);

	if (hook_stop(fake.hook) != NULL)
		return __LINE__;
	if (elapsed_usec(begin) > USEC_PER_SEC)
		return __LINE__;
	if (fake.rx.calls > 0)
		return __LINE__;
	return 0;
}

PROMISE(a_forked_child_only_forgets_and_the_parent_goes_on)
{
	int status;
	pid_t pid;

	start_and_await_ready(&fake);
	pid = fork();
	if (pid == 0)
		_exit(child_forgets() & 0xff);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status))
		fail_msg("in the child, line %d (modulo 256)", WEXITSTATUS(status));
	press_once(&fake);
	assert_int_equal(collected(&fake), 1);
	assert_int_equal(count_lines("ended"), 0);
	stop(&fake);
}
