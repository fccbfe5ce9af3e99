/* SPDX-License-Identifier: MIT */
/*
 * test-hook.c - what every hook does (src/runtimes/hook.h): when it collects, what it says, how it begins and ends
 *
 * The runtime is `fake`: its garbage is real memory, which collect() gives back, so that RSS is what it says. Its pressure
 * comes from a double of psibridged, so a level lasts until the test tells another one, and no clock takes part. What
 * the hook writes to stderr comes through a pipe, and tests wait for its lines.
 */
#include "../unit.h"
#include "../../skip.h"
#include "core/util.h"
#include "core/wire.h"
#include "runtimes/effect.h"
#include "runtimes/hook.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MSEC UINT64_C(1000)
#define MIB(n) ((size_t)(n) << 20)
#define PREFIX "psibridge[fake]: "

/* Polled, for what must happen; the time is for the day on which it does not. */
#define AWAIT(condition)                                              \
	do {                                                          \
		uint64_t until_usec = now_usec() + 20 * USEC_PER_SEC; \
                                                                      \
		while (!(condition)) {                                \
			assert_true(now_usec() < until_usec);         \
			usleep(500);                                  \
		}                                                     \
	} while (0)

/* ---- the runtime --------------------------------------------------------------------------------- */

static struct {
	atomic_uint calls, inside, settled;
	atomic_int held;   /* collect() does not return */
	atomic_int result; /* what it returns */
	unsigned work_usec, steps, step_usec;
	void (*act)(void);
	char thread_name[16]; /* of who collects, */
	sigset_t blocked;     /* and the signals that do not go there */
	void *garbage;
	size_t garbage_size;
	_Atomic uint64_t returned_usec;
} fake;

static struct hook *hook;

/* By raw calls, for a sanitizer would add to it. */
static void drop(void)
{
	if (fake.garbage)
		syscall(SYS_munmap, fake.garbage, fake.garbage_size);
	fake.garbage = NULL;
}

static void grow(size_t size)
{
	fake.garbage_size = size;
	fake.garbage = (void *)syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	assert_ptr_not_equal(fake.garbage, MAP_FAILED);
}

static int fake_collect(void *unused, const char **ret_why)
{
	int result;

	(void)unused;
	pthread_getname_np(pthread_self(), fake.thread_name, sizeof(fake.thread_name));
	pthread_sigmask(SIG_BLOCK, NULL, &fake.blocked);
	fake.inside++;
	fake.calls++;
	while (fake.held)
		usleep(500);
	usleep(fake.work_usec); /* the time it takes is what a test looks at */
	if (fake.act)
		fake.act();
	result = fake.result;
	if (result == 0)
		drop();
	if (result == -EPROTO)
		*ret_why = "it says why";
	fake.returned_usec = now_usec();
	fake.inside--;
	return result;
}

static int fake_settle(uint64_t rss_bytes, void *unused, uint64_t *ret_next_usec)
{
	(void)unused;
	(void)rss_bytes;
	*ret_next_usec = fake.step_usec;
	return (unsigned)++fake.settled < fake.steps;
}

static const struct hook_runtime plain = { .name = "fake", .collect = fake_collect };
static const struct hook_runtime settling = {
	.name = "fake",
	.collect = fake_collect,
	.settle = fake_settle,
};

/* ---- what is said -------------------------------------------------------------------------------- */

static char said[1 << 16];
static size_t said_size, heard; /* up to there lines were waited for */
static int said_fd, real_stderr;

static bool listen_to_stderr(int msec)
{
	struct pollfd p = { .fd = said_fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, msec) <= 0)
		return false;
	n = read(said_fd, said + said_size, sizeof(said) - 1 - said_size);
	if (n <= 0)
		return false;
	said_size += (size_t)n;
	said[said_size] = '\0';
	return true;
}

/* The next line that begins so; those before it are passed over. */
static const char *await_line(const char *begin)
{
	uint64_t until = now_usec() + 20 * USEC_PER_SEC;
	char text[200];
	const char *line;

	snprintf(text, sizeof(text), PREFIX "%s", begin);
	while (!(line = strstr(said + heard, text)) || !strchr(line, '\n')) {
		if (!listen_to_stderr(100) && now_usec() > until)
			fail_msg("waited in vain for \"%s\" in:\n%s", text, said + heard);
	}
	heard = (size_t)(strchr(line, '\n') - said);
	return line + strlen(PREFIX);
}

static unsigned count_lines(const char *begin)
{
	unsigned n = 0;
	char text[200];

	while (listen_to_stderr(0))
		;
	snprintf(text, sizeof(text), PREFIX "%s", begin);
	for (const char *p = said; (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}

static void forget_lines(void)
{
	while (listen_to_stderr(0))
		;
	said_size = heard = 0;
	said[0] = '\0';
}

/* "collected: A -> B MiB, T ms", A and B in tenths. */
struct report {
	unsigned before, after, msec;
};

static struct report await_effect(void)
{
	unsigned a, b, c, d, msec;

	assert_int_equal(sscanf(await_line("collected: "), "collected: %u.%u -> %u.%u MiB, %u ms",
				&a, &b, &c, &d, &msec),
			 5);
	return (struct report){ 10 * a + b, 10 * c + d, msec };
}

/* ---- the life of a case --------------------------------------------------------------------------- */

static const char *const variables[] = {
	"PSIBRIDGE",	   "PSIBRIDGE_LOG",    "PSIBRIDGE_COLLECT",	"PSIBRIDGE_APART",
	"PSIBRIDGE_GROWN", "PSIBRIDGE_CGROUP", "PSIBRIDGE_SOURCE",	"PSIBRIDGE_EARLY",
	"PSIBRIDGE_LOW",   "PSIBRIDGE_REARM",  "PSIBRIDGE_CRITICAL",	"PSIBRIDGE_QUIET",
	"PSIBRIDGE_CALM",  "PSIBRIDGE_COLECT", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
};
static char directory[] = "/tmp/psibridge-hook.XXXXXX";
static int listener, peer, descriptors, tasks;

static int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* More than before. */
static int threads(void)
{
	return count_entries("/proc/self/task") - tasks;
}

#ifdef __SANITIZE_THREAD__
static void *nothing(void *arg)
{
	return arg;
}

/* From the first thread on it has one of its own. */
static void await_sanitizer(void)
{
	static int before;
	pthread_t thread;

	if (before > 0)
		return;
	before = count_entries("/proc/self/task");
	assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), 0);
	pthread_join(thread, NULL);
	AWAIT(count_entries("/proc/self/task") == before + 1);
}
#else
static void await_sanitizer(void)
{
}
#endif

static void set_stage(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ends[2];

	(void)state;
	memset(&fake, 0, sizeof(fake));
	for (size_t i = 0; i < ELEMENTSOF(variables); i++)
		unsetenv(variables[i]);
	setenv("PSIBRIDGE_LOG", "debug", 1);
	descriptors = count_entries("/proc/self/fd");
	await_sanitizer();
	tasks = count_entries("/proc/self/task");
	strcpy(strrchr(directory, '.') + 1, "XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/psibridge", directory);
	assert_int_equal(mkdir(address.sun_path, 0700), 0);
	strcat(address.sun_path, "/notify");
	setenv("PSIBRIDGE_SOURCE", address.sun_path, 1);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	said_fd = ends[0];
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	peer = -1;
	forget_lines();
}

static int clear_stage(void **state)
{
	char command[100];

	(void)state;
	fake.held = 0;
	hook_stop(steal(hook));
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(said_fd);
	close(listener);
	if (peer >= 0)
		close(peer);
	drop();
	snprintf(command, sizeof(command), "rm -r %s", directory);
	if (system(command) != 0)
		return -1;
#if !defined(__SANITIZE_THREAD__) /* its symbolizer is a process with pipes */
	AWAIT(count_entries("/proc/self/fd") == descriptors);
#endif
	return 0;
}

FIXTURE(set_stage, clear_stage)

static void tell_record(unsigned kind, enum psb_available available, bool critical)
{
	struct wire_record r = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = (uint8_t)available,
		.critical = critical,
		.reason = PSB_REASON_STALL,
	};

	assert_int_equal(send(peer, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
}

static void tell(enum psb_available available)
{
	tell_record(WIRE_LEVEL, available, false);
}

/* A hook whose source is our psibridged, and has been told that memory is plentiful. */
static void start(const struct hook_runtime *runtime)
{
	assert_int_equal(hook_start(runtime, NULL, NULL, &hook), 1);
	do { /* the end of an io_uring interrupts system calls of the thread that made it */
		peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (peer < 0 && errno == EINTR);
	assert_true(peer >= 0);
	tell_record(WIRE_WELCOME, PSB_HIGH, false);
	if (strcmp(getenv("PSIBRIDGE_LOG"), "debug") == 0)
		await_line("ready: ");
}

static void start_eager(const struct hook_runtime *runtime)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start(runtime);
}

/* ... and nothing of it is left. */
static void stop(void)
{
	uint64_t begin = now_usec();

	assert_null(hook_stop(steal(hook)));
	assert_true(now_usec() - begin < 2 * USEC_PER_SEC);
	AWAIT(threads() == 0);
	if (peer >= 0)
		close(peer);
	peer = -1;
}

/* From High to Low and back; what a Low leads to is over when the High is told. */
static void press_once(void)
{
	tell(PSB_LOW);
	await_line("told Low (memory is short)");
	tell(PSB_HIGH);
	await_line("told High (memory is plentiful)");
	usleep(2 * MSEC); /* a start_eager()'s PSIBRIDGE_APART */
}

/* ---- worth it? ------------------------------------------------------------------------------------ */

/* PolicyTests.cs reads the same table. */
PROMISE(a_collection_is_worth_it_as_the_table_says)
{
	const uint64_t now = 7200 * USEC_PER_SEC, mib = MIB(1);
	char path[PATH_MAX], line[200], since[20], answer[20];
	unsigned cases = 0, before, after, rss, apart, grown;
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/unit/runtimes/worth.cases", getenv("srcdir"));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct effect effect = { 0 };
		const char *why;

		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%19s %u %u %u %u %u %19s", since, &before, &after,
					&rss, &apart, &grown, answer),
				 7);
		if (since[0] != '-')
			effect.collected_usec = now - strtoul(since, NULL, 10) * USEC_PER_SEC;
		effect.before_bytes = before * mib;
		effect.after_bytes = after * mib;
		why = effect_why_not(&effect, now, rss * mib, apart * USEC_PER_SEC, grown * mib);
		why = !why ? "yes" : strstr(why, "long ago") ? "soon" : "little";
		if (strcmp(why, answer) != 0)
			fail_msg("%s", line);
		cases++;
	}
	fclose(file);
	assert_true(cases > 20);
}

PROMISE(a_low_makes_the_runtime_collect_and_what_went_back_is_told)
{
	struct report effect;
	char ready[200];

	start(&plain);
	snprintf(ready, sizeof(ready), "ready: rung 1, psibridged on %s, ",
		 getenv("PSIBRIDGE_SOURCE"));
	assert_int_equal(count_lines(ready), 1);
	assert_int_equal(fake.calls, 0);
	grow(MIB(64));
	fake.work_usec = 30 * MSEC;
	tell(PSB_LOW);
	await_line("told Low (memory is short)");
	effect = await_effect();
	/* memory may go back a while after the collection: that is waited for */
	assert_true(now_usec() - fake.returned_usec >= 650 * MSEC);
	/* the kernel counts RSS in batches, and others allocate, too */
	assert_in_range(effect.before - effect.after, 600, 680);
	assert_in_range(effect.msec, 30, 5000);
	assert_int_equal(fake.calls, 1);
	/* never on the bridge's thread, and not one that gets the program's signals */
	assert_string_equal(fake.thread_name, "psb-hook");
	assert_int_equal(sigismember(&fake.blocked, SIGTERM), 1);
	assert_int_equal(sigismember(&fake.blocked, SIGCHLD), 1);
	assert_int_equal(threads(), 2); /* and the loop's */
	stop();
}

PROMISE(later_lows_are_worth_a_collection_if_enough_has_grown)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	start(&plain); /* PSIBRIDGE_GROWN is 50 MiB */
	press_once();
	await_effect();
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("kept: "), 1);
	assert_non_null(strstr(said, " MiB, little has grown since the last collection\n"));
	grow(MIB(60));
	press_once();
	assert_int_equal(fake.calls, 2);
	stop();

	setenv("PSIBRIDGE_APART", "1h", 1);
	start(&plain);
	press_once();
	grow(MIB(100));
	press_once();
	assert_int_equal(fake.calls, 3);
	assert_int_equal(count_lines("kept: "), 2);
	stop();
}

PROMISE(what_the_runtime_refuses_is_told_once_and_asked_for_again)
{
	start(&plain);
	fake.result = -EPROTO;
	press_once();
	press_once();
	assert_int_equal(fake.calls, 2);
	assert_int_equal(count_lines("the runtime did not collect: it says why\n"), 1);
	assert_int_equal(count_lines("collected: "), 0);
	fake.result = -ECANCELED; /* it ends, and that is not our business */
	press_once();
	fake.result = 0; /* that was no collection, so the next one is not too soon */
	press_once();
	assert_int_equal(fake.calls, 4);
	await_effect();
	assert_int_equal(count_lines("the runtime did not collect: "), 1);
	stop();
}

PROMISE(a_runtime_that_is_still_starting_is_asked_again_for_two_seconds)
{
	uint64_t begin = now_usec();

	start_eager(&plain);
	fake.result = -EAGAIN;
	tell(PSB_LOW);
	AWAIT(fake.calls >= 3);
	assert_int_equal(count_lines("the runtime did not collect: "), 0);
	await_line("the runtime did not collect: it is still starting");
	assert_true(now_usec() - begin >= 2 * USEC_PER_SEC);
	fake.result = 0;
	tell(PSB_HIGH);
	await_line("told High");
	press_once();
	await_effect();
	stop();
}

/* ---- settling ------------------------------------------------------------------------------------- */

PROMISE(while_it_settles_it_is_told_and_may_be_stopped)
{
	unsigned before;

	start(&settling);
	fake.steps = UINT_MAX;
	fake.step_usec = 10 * MSEC;
	tell(PSB_LOW);
	AWAIT(fake.settled >= 2);
	tell(PSB_HIGH);
	await_line("told High");
	before = fake.settled;
	AWAIT((unsigned)fake.settled > before); /* it goes on: what was freed is still here */
	assert_int_equal(count_lines("collected: "), 0);
	stop();
	assert_int_equal(count_lines("collected: "), 1);
}

/* 20 times its length would keep the next Low away for 10 s. */
PROMISE(the_time_it_settles_keeps_no_low_away)
{
	uint64_t begin;

	start_eager(&settling);
	fake.steps = 6;
	fake.step_usec = 100 * MSEC;
	tell(PSB_LOW);
	AWAIT(fake.settled == 6);
	tell(PSB_LOW);
	begin = now_usec();
	AWAIT(fake.calls == 2);
	assert_true(now_usec() - begin < 5 * USEC_PER_SEC);
	stop();
}

/* ---- what it is told to do ------------------------------------------------------------------------- */

PROMISE(collect_says_at_which_level)
{
	static const struct {
		const char *collect;
		unsigned calls;
	} table[] = { { "low", 2 }, { "critical", 1 }, { "off", 0 } };

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		fake.calls = 0;
		setenv("PSIBRIDGE_COLLECT", table[i].collect, 1);
		start_eager(&plain);
		press_once();
		tell_record(WIRE_LEVEL, PSB_LOW, true);
		await_line("told Low, critical (memory is very short)");
		tell(PSB_NEUTRAL);
		await_line("told Neutral");
		assert_int_equal(fake.calls, table[i].calls);
		stop();
	}
}

/* "ready", two levels, one refusal, one setting that makes no sense, "ended": each has its priority. */
PROMISE(it_says_as_much_as_it_is_told_to)
{
	static const struct {
		const char *log;
		unsigned lines;
	} table[] = {
		{ "off", 0 }, { "error", 1 }, { "warning", 2 }, { "info", 5 }, { "debug", 6 }
	};

	setenv("PSIBRIDGE_GROWN", "a lot", 1);
	fake.result = -EPERM;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		forget_lines();
		fake.calls = 0;
		setenv("PSIBRIDGE_LOG", table[i].log, 1);
		start(&plain);
		tell(PSB_LOW);
		AWAIT(fake.calls == 1);
		tell(PSB_HIGH);
		if (table[i].lines > 2)
			await_line("told High");
		stop();
		assert_int_equal(count_lines(""), table[i].lines);
	}
	assert_int_equal(count_lines("the runtime did not collect: Operation not permitted\n"), 1);
	assert_int_equal(count_lines("PSIBRIDGE_GROWN=a lot: "), 1);
}

/* ---- beginning ------------------------------------------------------------------------------------ */

PROMISE(switched_off_it_is_not_there_and_says_nothing)
{
	struct hook *untouched = (struct hook *)1;

	setenv("PSIBRIDGE_LOW", "nonsense", 1);
	setenv("PSIBRIDGE", "off", 1);
	assert_int_equal(hook_start(&plain, NULL, NULL, &untouched), 0);
	assert_ptr_equal(untouched, (struct hook *)1);
	assert_int_equal(threads(), 0);
	assert_int_equal(count_lines(""), 0);
	assert_null(hook_stop(NULL));
}

PROMISE(nonsense_is_told_once_by_name_and_settings_of_its_own_count_first)
{
	const char *const own[] = { "PSIBRIDGE_COLLECT=low", NULL };

	setenv("PSIBRIDGE_CRITICAL", "often", 1);
	setenv("PSIBRIDGE_COLECT", "off", 1);
	setenv("PSIBRIDGE_COLLECT", "off", 1);
	assert_int_equal(hook_start(&plain, NULL, own, &hook), 1);
	unsetenv("PSIBRIDGE_SOURCE"); /* it was read when the hook was started */
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	tell_record(WIRE_WELCOME, PSB_HIGH, false);
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("PSIBRIDGE_CRITICAL=often: "), 1);
	assert_int_equal(count_lines("PSIBRIDGE_COLECT: there is no such variable; did you mean "
				     "PSIBRIDGE_COLLECT?"),
			 1);
	assert_int_equal(count_lines("PSIBRIDGE"), 2);
	stop();
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
		forget_lines();
		unsetenv("PSIBRIDGE_SOURCE");
		setenv(table[i].name, table[i].text, 1);
		assert_int_equal(hook_start(&plain, NULL, NULL, &hook), 1);
		await_line(table[i].said);
		await_line("ended");
		assert_int_equal(count_lines(""), 2);
		stop();
		unsetenv(table[i].name);
		if (kept)
			setenv("PSIBRIDGE_BACKEND", kept, 1);
	}
	free(kept);
}

/* ---- ending --------------------------------------------------------------------------------------- */

/* At every moment of its start; descriptors are counted by the stage. */
PROMISE(it_may_be_stopped_while_it_starts)
{
	for (unsigned i = 1; i <= 60; i++) {
		assert_int_equal(hook_start(&plain, NULL, NULL, &hook), 1);
		usleep(i % 6 * 40);
		stop();
		AWAIT(count_lines("ended") == 1);
		forget_lines();
	}
}

static void *release_later(void *unused)
{
	usleep(300 * MSEC);
	fake.held = 0;
	return unused;
}

PROMISE(stopping_waits_for_a_collection_that_ends)
{
	pthread_t thread;

	start(&plain);
	fake.held = 1;
	tell(PSB_LOW);
	AWAIT(fake.inside == 1);
	pthread_create(&thread, NULL, release_later, NULL);
	stop();
	assert_int_equal(fake.inside, 0);
	pthread_join(thread, NULL);
	assert_int_equal(count_lines("collected: "), 1); /* its effect is told all the same */
}

/* A runtime that ends stops its threads, and those that collect too. */
PROMISE(a_collection_that_does_not_end_is_given_up_after_two_seconds)
{
	uint64_t begin;
	int unread = 1;

	start_eager(&plain);
	fake.held = 1;
	tell(PSB_LOW);
	AWAIT(fake.inside == 1);
	tell(PSB_LOW); /* which waits for it meanwhile */
	AWAIT(ioctl(peer, SIOCOUTQ, &unread) == 0 && unread == 0);
	begin = now_usec();
	assert_null(hook_stop(steal(hook)));
	assert_in_range(now_usec() - begin, 1900 * MSEC, 4 * USEC_PER_SEC);
	assert_int_equal(fake.inside, 1);

	/* it comes back, after all */
	fake.held = 0;
	await_line("ended");
	AWAIT(threads() == 0);
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("told "), 1);
}

static void stop_myself(void)
{
	uint64_t begin = now_usec();

	hook_stop(steal(hook));
	fake.settled = now_usec() - begin < USEC_PER_SEC;
}

/* A finalizer, say, that calls exit(3). */
PROMISE(it_may_be_stopped_inside_of_a_collection)
{
	start(&plain);
	fake.act = stop_myself;
	tell(PSB_LOW);
	await_line("ended");
	AWAIT(threads() == 0);
	assert_int_equal(fake.settled, 1);
	assert_int_equal(fake.calls, 1);
}

/* Between its last look and collect() it has something to say, and nobody listens. */
PROMISE(who_does_not_read_stderr_makes_no_collection_begin_after_the_end)
{
	const size_t room = strlen(PREFIX "told Low (memory is short)\n");
	char full[4096];

	if (sysconf(_SC_PAGESIZE) > 4096)
		SKIP("a pipe is larger here");
	start_eager(&plain);
	press_once(); /* its effect is not told yet */
	forget_lines();
	assert_int_equal(fcntl(STDERR_FILENO, F_SETPIPE_SZ, sizeof(full)), sizeof(full));
	memset(full, 'x', sizeof(full));
	assert_int_equal(write(STDERR_FILENO, full, sizeof(full) - room), sizeof(full) - room);
	tell(PSB_LOW);
	usleep(200 * MSEC); /* until it hangs in there */
	assert_null(hook_stop(steal(hook)));
	while (threads() > 0) /* the driver's timeout is the bound */
		listen_to_stderr(1);
	assert_int_equal(fake.calls, 1);
}

PROMISE(a_stderr_that_is_gone_hurts_nobody)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	void (*before)(int);

	start(&plain);
	dup3(null, said_fd, O_CLOEXEC); /* nobody reads any more: each write is a SIGPIPE */
	close(null);
	before = signal(SIGPIPE, SIG_DFL); /* systemd starts us with it ignored */
	tell(PSB_LOW);
	AWAIT(fake.calls == 1 && fake.inside == 0); /* "told" was said before */
	assert_null(hook_stop(steal(hook)));	    /* which has what became of it to say */
	AWAIT(threads() == 0);
	signal(SIGPIPE, before);
}

PROMISE(a_forked_child_only_forgets_and_the_parent_goes_on)
{
	int status;
	pid_t pid;

	start(&plain);
	pid = fork();
	if (pid == 0) {
		alarm(1);
		_exit(hook_stop(hook) != NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	press_once();
	assert_int_equal(fake.calls, 1);
	stop();
}
